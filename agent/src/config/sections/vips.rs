//! `[vips.NAME]`: what runs around a VIP on this node. Which VIPs there are is the cluster's to say: a
//! section for one that does not exist is no error, it may be made later.

use std::{collections::BTreeMap, time::Duration};

use vipfence_agent_core::{CheckRules, Task};
use vipfence_types::VipName;

use super::{
    super::{
        problem::Problem,
        reader::{Placed, Reader, Section, unknown_word},
    },
    PlacedVip, host_and_port, name, not_empty,
};
use crate::{
    cli::duration,
    duty::{Hook, VipSetup},
    health::{CheckOn, CheckSetup, HttpProbe, Probe},
};

const VIP: &[&str] =
    &["units", "units_timeout", "reset_connections", "pre_acquire_failure", "checks", "hooks"];
const HOOKS: &[&str] = &["pre_acquire", "post_acquire", "pre_release", "post_release", "on_fault"];
const HOOK: &[&str] = &["command", "timeout", "shell"];
const CHECK: &[&str] = &[
    "name",
    "tcp",
    "http",
    "command",
    "unit",
    "status",
    "body",
    "verify_tls",
    "on",
    "interval",
    "timeout",
    "rise",
    "fall",
];
/// What a check may ask; one of them.
const PROBES: &[&str] = &["tcp", "http", "command", "unit"];

const UNITS_TIMEOUT: Duration = Duration::from_secs(60);
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
/// Below, a busy machine looks like one that is not well.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(3_600);
const MOST_IN_A_ROW: u32 = 100;
/// The endings of the units that systemd can start and stop.
const UNIT_KINDS: &[&str] = &["service", "socket", "target", "mount", "timer", "path", "slice"];

pub(super) fn read(reader: &mut Reader, top: &Section<'_>) -> Vec<PlacedVip> {
    let sections = top.named_tables(reader, "vips", "[vips.NAME]", VIP);
    let vips = sections.into_iter().filter_map(|(given, section)| {
        let name = reader.convert(&given, |text| name(VipName::new(text)));
        let units = read_units(reader, &section);
        let serve_all_the_same = section.text_or(reader, "pre_acquire_failure", "next");
        let serve_all_the_same = reader.convert(&serve_all_the_same, |text| match text {
            "next" => Ok(false),
            "proceed" => Ok(true),
            other => Err(unknown_word("pre_acquire_failure", other, &["next", "proceed"])),
        });
        let setup = VipSetup {
            units: units.value.clone(),
            units_timeout: duration_or(reader, &section, "units_timeout", UNITS_TIMEOUT),
            reset_connections: section.flag_or(reader, "reset_connections", true),
            serve_all_the_same: serve_all_the_same?.value,
            hooks: read_hooks(reader, &section),
            checks: read_checks(reader, &section),
        };
        Some(PlacedVip { name: name?, units, setup })
    });
    vips.collect()
}

fn read_units(reader: &mut Reader, section: &Section<'_>) -> Placed<Vec<String>> {
    let none = Placed::new(Vec::new(), section.span.clone());
    let Some(units) = section.texts(reader, "units") else { return none };
    for given in &units.value {
        if let Err(problem) = unit(given) {
            reader.report(problem.at(units.span.clone()));
        }
    }
    units
}

fn read_hooks(reader: &mut Reader, section: &Section<'_>) -> BTreeMap<Task, Hook> {
    let Some(hooks) = section.table(reader, "hooks", "[vips.NAME.hooks]", HOOKS) else {
        return BTreeMap::new();
    };
    let tasks = [
        (Task::PreAcquire, "pre_acquire"),
        (Task::PostAcquire, "post_acquire"),
        (Task::PreRelease, "pre_release"),
        (Task::PostRelease, "post_release"),
        (Task::OnFault, "on_fault"),
    ];
    let hook = |(task, key): (Task, &'static str)| {
        let hook = hooks.table(reader, key, "a hook", HOOK)?;
        let timeout = duration_or(reader, &hook, "timeout", HOOK_TIMEOUT);
        let shell = hook.flag(reader, "shell");
        let command = hook.texts(reader, "command");
        if command.is_none() && !hook.has("command") {
            let problem = Problem::error(format!("the hook {key} needs `command`"), "missing here");
            let help =
                format!("write {key} = {{ command = [\"/usr/local/lib/x\", \"argument\"] }}");
            reader.report(problem.at(hook.span.clone()).help(help));
        }
        let command = command?;
        let words = if shell { line_of(reader, &command)? } else { words_of(reader, &command)? };
        Some((task, Hook { words, timeout }))
    };
    tasks.into_iter().filter_map(hook).collect()
}

/// What `/bin/sh -c` runs.
fn line_of(reader: &mut Reader, command: &Placed<Vec<String>>) -> Option<Vec<String>> {
    if let [line] = &command.value[..]
        && !line.trim().is_empty()
    {
        return Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()]);
    }
    let problem = Problem::error("with `shell = true` the command is one line", "not one line");
    reader.report(
        problem
            .at(command.span.clone())
            .help("write `command = [\"first | second\"]`, or leave `shell` out"),
    );
    None
}

/// A program by its whole path: nobody's PATH decides what root runs.
fn words_of(reader: &mut Reader, command: &Placed<Vec<String>>) -> Option<Vec<String>> {
    if command.value.first().is_some_and(|program| program.starts_with('/')) {
        return Some(command.value.clone());
    }
    let problem =
        Problem::error("the first word of a command is the whole path of a program", "not a path");
    reader.report(problem.at(command.span.clone()).help(
        "write `command = [\"/usr/local/lib/x\", \"argument\"]`; for a line of a shell, in a hook, \
         `shell = true`",
    ));
    None
}

fn read_checks(reader: &mut Reader, section: &Section<'_>) -> Vec<CheckSetup> {
    let checks = section.tables(reader, "checks", "[[vips.NAME.checks]]", CHECK);
    let mut known = Vec::new();
    let checks = checks.iter().filter_map(|check| {
        let name = check.text(reader, "name", "postgres");
        let name = name.and_then(|given| reader.convert(&given, not_empty));
        if let Some(name) = &name {
            if known.contains(&name.value) {
                let problem =
                    Problem::error(format!("check \"{}\" stands twice", name.value), "this one");
                let help = "every check of a VIP has a name of its own";
                reader.report(problem.at(name.span.clone()).help(help));
            }
            known.push(name.value.clone());
        }
        read_check(reader, check, name?.value)
    });
    checks.collect()
}

fn read_check(reader: &mut Reader, check: &Section<'_>, name: String) -> Option<CheckSetup> {
    let on = check.text_or(reader, "on", "any");
    let on = reader.convert(&on, |text| match text {
        "any" => Ok(CheckOn::Any),
        "holder" => Ok(CheckOn::Holder),
        other => Err(unknown_word("on", other, &["any", "holder"])),
    });
    let interval = duration_or(reader, check, "interval", INTERVAL);
    let timeout = duration_or(reader, check, "timeout", TIMEOUT.min(interval));
    if timeout > interval {
        let problem = Problem::error("`timeout` is longer than `interval`", "this check");
        reader.report(
            problem.at(check.span.clone()).help(
                "a probe is over before the next begins: set `timeout` to `interval` at most",
            ),
        );
    }
    let in_a_row = |reader: &mut Reader, key, default| {
        check.number_or(reader, key, default, 1..=MOST_IN_A_ROW)
    };
    let rules = CheckRules { rise: in_a_row(reader, "rise", 2), fall: in_a_row(reader, "fall", 3) };
    let probe = read_probe(reader, check)?;
    Some(CheckSetup { name, probe, on: on?.value, interval, timeout, rules })
}

fn read_probe(reader: &mut Reader, check: &Section<'_>) -> Option<Probe> {
    let given: Vec<&str> = PROBES.iter().copied().filter(|key| check.has(key)).collect();
    let [kind] = given[..] else {
        let message = match given[..] {
            [] => "the check does not say what it asks".to_owned(),
            _ => format!("a check asks one thing, and this one has {}", given.join(" and ")),
        };
        let problem = Problem::error(message, "this check").at(check.span.clone());
        reader.report(problem.help(format!("give it one of: {}", PROBES.join(", "))));
        return None;
    };
    let http = ["status", "body", "verify_tls"].into_iter().find(|key| check.has(key));
    if let Some(key) = http.filter(|_| kind != "http") {
        let problem = Problem::error(format!("`{key}` is for `http` only"), "this check");
        reader.report(problem.at(check.span.clone()).help(format!("leave `{key}` out")));
    }
    match kind {
        "tcp" => {
            let at = check.optional_text(reader, kind)?;
            Some(Probe::Tcp(reader.convert(&at, host_and_port)?.value))
        }
        "http" => read_http(reader, check).map(Probe::Http),
        "command" => {
            let command = check.texts(reader, kind)?;
            words_of(reader, &command).map(Probe::Command)
        }
        _ => {
            let given = check.optional_text(reader, kind)?;
            Some(Probe::Unit(reader.convert(&given, unit)?.value))
        }
    }
}

fn read_http(reader: &mut Reader, check: &Section<'_>) -> Option<HttpProbe> {
    let url = check.optional_text(reader, "http")?;
    let url = reader.convert(&url, |text| {
        let url = reqwest::Url::parse(text).ok();
        url.filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
            Problem::error(format!("\"{text}\" is not a URL"), "not a URL")
                .help("write it whole, such as \"http://127.0.0.1:8008/primary\"")
        })
    })?;
    let status = check.numbers(reader, "status");
    let fits = |code: &u32| (100..=599).contains(code);
    if let Some(wrong) = status.as_ref().filter(|s| s.value.is_empty() || !s.value.iter().all(fits))
    {
        let problem = Problem::error("`status` lists codes from 100 to 599", "not such a list");
        reader.report(problem.at(wrong.span.clone()).help("write `status = [200]`"));
    }
    Some(HttpProbe {
        url: url.value,
        status: status.map_or(vec![200], |status| status.value),
        body: check.optional_text(reader, "body").map(|body| body.value),
        verify_tls: check.flag_or(reader, "verify_tls", true),
    })
}

/// The name of a unit, as systemd knows it.
fn unit(text: &str) -> Result<String, Problem> {
    let known = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let whole = text.rsplit_once('.').is_some_and(|(stem, kind)| {
        !stem.is_empty() && !stem.starts_with('-') && UNIT_KINDS.contains(&kind)
    });
    if whole && text.chars().all(known) {
        return Ok(text.to_owned());
    }
    Err(Problem::error(format!("\"{text}\" is not the name of a unit"), "this")
        .help("write it with its ending, such as \"postgresql@16-main.service\""))
}

fn duration_or(
    reader: &mut Reader,
    section: &Section<'_>,
    key: &str,
    default: Duration,
) -> Duration {
    let Some(given) = section.optional_text(reader, key) else { return default };
    let read = reader.convert(&given, |text| {
        let wrong = |why: String| {
            Problem::error(format!("`{key}` is not a time that can be used here"), why)
                .help("write a number with a unit, from 50ms to 1h, such as \"2s\"")
        };
        let read = duration(text).map_err(wrong)?;
        if (SHORTEST..=LONGEST).contains(&read) {
            return Ok(read);
        }
        Err(wrong(if read < SHORTEST { "too short" } else { "too long" }.to_owned()))
    });
    read.map_or(default, |placed| placed.value)
}
