//! Files that no editor would save: every one gives a configuration, or problems that can be shown.

use std::path::Path;

use foreign_bytes::{cases, text, word};
use proptest::prelude::*;

use super::{tests::GOOD, *};

/// The good file and one with everything that may be left out.
fn files() -> Vec<String> {
    let all = "insecure = true\naudience = \"x\"\napi_version = \"2024-05-01\"\n\
               client_id = \"00000000-0000-0000-0000-000000000001\"\nca_file = \"/no/such/file\"\n";
    let inline = "node = { name = 'n1', data_dir = \"\"\"d\"\"\" }\npeers = [{ name = \"n1\", \
                  address = \"[fd00::4]:7600\" }]\nnics = []\n[azure]\n";
    let around = "[vips.demo]\nunits = ['a.service']\nunits_timeout = \"1s\"\n[[vips.demo.checks]]\n\
                  name = \"x\"\nhttp = \"http://h/\"\nstatus = [200]\ninterval = \"1s\"\nrise = 0x2\n\
                  [vips.demo.hooks]\non_fault = { command = ['/x'], timeout = \"1s\", shell = true }\n";
    vec![
        GOOD.to_owned(),
        format!("{GOOD}{all}"),
        format!("{inline}{all}"),
        format!("{GOOD}{around}"),
    ]
}

/// The good file with another value, or another key, somewhere.
fn odd_values() -> impl Strategy<Value = String> {
    let lines = GOOD.lines().count();
    let quoted = word().prop_map(|word| format!("\"{}\"", word.escape_default()));
    let bare = prop::sample::select(
        &[
            "1",
            "-0",
            "1e400",
            "true",
            "[]",
            "{}",
            "[[]]",
            "1979-05-27",
            "'x'",
            "inf",
            "\"\\u0000\"",
        ][..],
    );
    let value = prop_oneof![2 => quoted, 1 => bare.prop_map(str::to_owned)];
    (0..lines, value, any::<bool>()).prop_map(|(at, value, keep_key)| {
        let changed = |line: &str| match line.split_once('=') {
            Some((key, _)) if keep_key => format!("{key}= {value}"),
            Some((_, old)) => format!("{value} ={old}"),
            None => format!("[{value}]"),
        };
        let lines = GOOD.lines().enumerate();
        lines
            .map(|(here, line)| if here == at { changed(line) } else { line.to_owned() } + "\n")
            .collect()
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_file_gives_a_configuration_or_problems(
        text in prop_oneof![2 => text(files()), 3 => odd_values()],
    ) {
        let folder = Path::new("/etc/vipfence");
        match parse("agent.toml", &text, folder) {
            Ok(loaded) => {
                let _ = (loaded.warnings.render(true), loaded.warnings.render(false));
                prop_assert!(loaded.config.timing().check().is_ok());
                prop_assert!(loaded.config.nics.iter().all(|nic| nic.id.is_well_formed()));
            }
            Err(error) => {
                prop_assert!(!error.render(false).is_empty());
                prop_assert!(!error.render(true).is_empty());
            }
        }
    }
}
