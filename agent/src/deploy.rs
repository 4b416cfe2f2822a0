//! What deploy/ holds is read by those who are to read it: the files by the agent, the unit by
//! systemd-analyze. (The role: `cli/tests/azure.rs`.)

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{config, duty::drop_in};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, ending));
        } else if path.extension().is_some_and(|written| written == ending) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_example_is_a_good_configuration_without_a_warning() {
    let files = files_below(&deploy(), "toml");
    assert!(files.len() >= 11, "{files:?}");
    let mut checks = 0;
    for file in files {
        let loaded = config::load(&file).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.warnings.problems().is_empty(), "{}", loaded.warnings);
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert_eq!(loaded.config.node.as_str(), name, "{}", file.display());
        checks += loaded.config.vips.values().map(|vip| vip.checks.len()).sum::<usize>();
    }
    assert!(checks >= 5, "the examples show checks: {checks}");
}

/// The files of one example are one cluster.
#[test]
fn the_nodes_of_an_example_have_the_same_peers() {
    for example in ["two-nodes-and-witness", "three-nodes", "load-balancer"] {
        let files = files_below(&deploy().join("examples").join(example), "toml");
        let configs = files.iter().map(|file| config::load(file).unwrap().config);
        let clusters: Vec<_> =
            configs.map(|config| (config.cluster, config.profile, config.peers)).collect();
        assert!(
            clusters.len() == 3 && clusters.windows(2).all(|pair| pair[0] == pair[1]),
            "{example}"
        );
    }
}

/// systemd-analyze reads units as systemd does. It starts nothing, and needs no running systemd.
fn verify(folder: &Path, unit: &str) {
    let program = std::env::current_exe().unwrap();
    let service = fs::read_to_string(deploy().join("systemd/vipfence.service")).unwrap();
    // It wants programs that are there.
    let service = service.replace("/usr/bin/vipfence", program.to_str().unwrap());
    fs::write(folder.join("vipfence.service"), service).unwrap();
    let analyzed = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(folder.join(unit))
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.display()))
        .output();
    let Ok(analyzed) = analyzed else {
        let why = "there is no systemd-analyze: install the package systemd";
        assert!(std::env::var_os("CI").is_none(), "{why}");
        println!("skipped: {why}");
        return;
    };
    let said = String::from_utf8_lossy(&analyzed.stderr);
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| {
            line.contains(folder.to_str().unwrap())
                || line.contains("vipfence")
                || line.contains(unit)
        })
        .collect();
    assert!(analyzed.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn systemd_analyze_finds_nothing_wrong_with_the_unit_of_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let hooks = folder.path().join("vipfence.service.d");
    fs::create_dir(&hooks).unwrap();
    fs::copy(deploy().join("systemd/vipfence.service.d/hooks.conf"), hooks.join("hooks.conf"))
        .unwrap();
    verify(folder.path(), "vipfence.service");
}

#[test]
fn systemd_analyze_finds_nothing_wrong_with_a_unit_that_is_bound_to_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("web.service");
    fs::write(&unit, "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n").unwrap();
    let bound = folder.path().join("web.service.d");
    fs::create_dir(&bound).unwrap();
    let vip = vipfence_types::VipName::new("demo").unwrap();
    let text = drop_in("web.service", &vip, Path::new("/var/lib/vipfence"));
    fs::write(bound.join("50-vipfence.conf"), text).unwrap();
    verify(folder.path(), "web.service");
}
