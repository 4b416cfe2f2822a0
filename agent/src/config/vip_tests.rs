//! `[vips.NAME]`: the values of a good section, and every kind of problem.

use std::{path::Path, time::Duration};

use vipfence_agent_core::{CheckRules, Task};

use super::{
    tests::{GOOD, errors_of, shows},
    *,
};
use crate::{
    duty::Hook,
    health::{CheckOn, Probe},
};

const VIP: &str = r#"
[vips.demo]
units = ["drbd-demo.service", "postgresql@16-main.service"]
units_timeout = "90s"
reset_connections = false
pre_acquire_failure = "proceed"

[[vips.demo.checks]]
name = "postgres"
tcp = "127.0.0.1:5432"

[[vips.demo.checks]]
name = "patroni"
http = "http://127.0.0.1:8008/primary"
status = [200, 0xCC]
body = "running"
on = "holder"
interval = "5s"
timeout = "500ms"
rise = 1
fall = 2

[vips.demo.hooks]
pre_acquire = { command = ["/usr/local/lib/x", "a"], timeout = "10s" }
on_fault = { command = ["logger vip lost | cat"], shell = true }

[vips.web]
checks = [{ name = "lag", command = ["/usr/lib/lag"] }, { name = "nginx", unit = "nginx.service" }]
"#;

fn vips(section: &str) -> BTreeMap<VipName, VipSetup> {
    let text = format!("{GOOD}{section}");
    let loaded =
        parse("agent.toml", &text, Path::new("")).unwrap_or_else(|error| panic!("{error}"));
    loaded.config.vips
}

fn problems_of(section: &str) -> String {
    errors_of(&format!("{GOOD}{section}"))
}

/// The section of a good VIP with one piece replaced.
fn with(piece: &str, replacement: &str) -> String {
    assert!(VIP.contains(piece), "the section has no {piece}");
    problems_of(&VIP.replacen(piece, replacement, 1))
}

#[test]
fn a_good_section_gives_typed_values_and_defaults() {
    let vips = vips(VIP);
    let names: Vec<&str> = vips.keys().map(VipName::as_str).collect();
    assert_eq!(names, ["demo", "web"]);
    let demo = &vips[&VipName::new("demo").unwrap()];
    assert_eq!(demo.units, ["drbd-demo.service", "postgresql@16-main.service"]);
    assert_eq!(demo.units_timeout, Duration::from_secs(90));
    assert!(!demo.reset_connections && demo.serve_all_the_same);
    let hook = |words: &[&str], secs| Hook {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        timeout: Duration::from_secs(secs),
    };
    let hooks = BTreeMap::from([
        (Task::PreAcquire, hook(&["/usr/local/lib/x", "a"], 10)),
        (Task::OnFault, hook(&["/bin/sh", "-c", "logger vip lost | cat"], 30)),
    ]);
    assert_eq!(demo.hooks, hooks);
    let [postgres, patroni] = &demo.checks[..] else { panic!("{:?}", demo.checks) };
    assert_eq!(postgres.probe, Probe::Tcp("127.0.0.1:5432".to_owned()));
    assert_eq!((postgres.on, postgres.rules), (CheckOn::Any, CheckRules { rise: 2, fall: 3 }));
    let times = (postgres.interval, postgres.timeout);
    assert_eq!(times, (Duration::from_secs(2), Duration::from_secs(1)));
    let Probe::Http(http) = &patroni.probe else { panic!("{patroni:?}") };
    assert_eq!((&http.status[..], http.body.as_deref()), (&[200, 204][..], Some("running")));
    assert!(http.verify_tls && patroni.on == CheckOn::Holder);
    assert_eq!(patroni.rules, CheckRules { rise: 1, fall: 2 });
    let web = &vips[&VipName::new("web").unwrap()];
    assert!(web.reset_connections && !web.serve_all_the_same && web.hooks.is_empty());
    assert_eq!(web.checks[0].probe, Probe::Command(vec!["/usr/lib/lag".to_owned()]));
    assert_eq!(web.checks[1].probe, Probe::Unit("nginx.service".to_owned()));
}

#[test]
fn a_file_without_such_a_section_runs_nothing() {
    assert!(vips("").is_empty());
}

#[test]
fn every_problem_of_a_section_is_marked_with_its_remedy() {
    for (report, pieces) in [
        (
            with("units_timeout", "unit_timeout"),
            &["`unit_timeout`", "did you mean `units_timeout`?"][..],
        ),
        (
            with("pre_acquire =", "pre_aquire ="),
            &["[vips.NAME.hooks]", "did you mean `pre_acquire`?"],
        ),
        (with("timeout = \"10s\"", "timout = \"10s\""), &["a hook", "did you mean `timeout`?"]),
        (with("\"90s\"", "90"), &["`units_timeout` must be a text"]),
        (with("\"90s\"", "\"90\""), &["`units_timeout` is not a time", "write 90s"]),
        (with("\"90s\"", "\"2h\""), &["too long", "from 50ms to 1h"]),
        (
            with("\"proceed\"", "\"go\""),
            &["pre_acquire_failure \"go\" is not known", "next, proceed"],
        ),
        (
            with("\"drbd-demo.service\", ", "\"drbd demo\", "),
            &["\"drbd demo\" is not the name of a unit"],
        ),
        (with("units = [", "units = [1, "), &["`units` must be a list of texts"]),
        (with("[\"/usr/local/lib/x\", \"a\"]", "[\"x\"]"), &["the whole path of a program"]),
        (
            with("command = [\"/usr/local/lib/x\", \"a\"], ", ""),
            &["the hook pre_acquire needs `command`"],
        ),
        (with("[\"logger vip lost | cat\"]", "[\"a\", \"b\"]"), &["the command is one line"]),
        (
            with("tcp = \"127.0.0.1:5432\"", ""),
            &["does not say what it asks", "tcp, http, command, unit"],
        ),
        (with("tcp = ", "unit = \"a.service\"\ntcp = "), &["this one has tcp and unit"]),
        (with("tcp = ", "body = \"x\"\ntcp = "), &["`body` is for `http` only"]),
        (with("http://127.0.0.1:8008/primary", "127.0.0.1:8008"), &["is not a URL"]),
        (with("0xCC", "900"), &["`status` lists codes from 100 to 599"]),
        (with("rise = 1", "rise = 0"), &["`rise` must be a whole number from 1 to 100"]),
        (with("\"500ms\"", "\"6s\""), &["`timeout` is longer than `interval`"]),
        (with("name = \"patroni\"", "name = \"postgres\""), &["check \"postgres\" stands twice"]),
        (with("[vips.web]", "[vips.Web_1]"), &["\"Web_1\" is not valid"]),
        (
            problems_of("[vips]\ndemo = 1\n"),
            &["`vips` must be a table for each name", "[vips.NAME]"],
        ),
        (with("[vips.web]", "[vips.web]\nunits = [\"drbd-demo.service\"]"), &["stands twice"]),
    ] {
        shows(&report, pieces);
    }
}

#[test]
fn units_and_an_agent_that_keeps_its_vips_do_not_go_together() {
    let kept = GOOD.replacen("[node]\n", "[node]\non_stop = \"keep\"\n", 1);
    let report = errors_of(&format!("{kept}{VIP}"));
    shows(&report, &["`on_stop = \"keep\"` keeps no units", "use `on_stop = \"move\"`"]);
    let without = VIP.replacen("units = [", "# units = [", 1);
    assert!(parse("f", &format!("{kept}{without}"), Path::new("")).is_ok());
}
