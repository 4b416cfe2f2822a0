//! The contract of `vipfence dev` (design.md §9).

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use integration_tests::{
    Binaries, Dev, DevOptions, Ended, Process, Turn, VIP, eventually, get, is_alive, wait_until,
};
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn dev_is_ready_soon_and_says_what_to_try() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::default());
    println!("ready after {:?}", dev.ready_after());
    // Promised for a release build: 3 s.
    assert!(dev.ready_after() < Duration::from_secs(10), "{:?}", dev.ready_after());
    let manifest = dev.manifest();
    let output = wait_until("it says what to try", Duration::from_secs(2), || {
        let output = dev.output();
        let words = ["curl ", "grpcurl ", "kill -9 ", &manifest.vip.url, &manifest.nodes[0].grpc];
        match words.iter().find(|word| !output.contains(**word)) {
            Some(word) => Err(format!("no {word:?} in\n{output}")),
            None => Ok(output),
        }
    });
    assert!(output.contains("ready"), "{output}");

    // What is shaped by `Manifest` needs no word here; these are the rest of the contract.
    assert_eq!((manifest.vip.name.as_str(), manifest.vip.address.as_str()), (VIP, "10.5.0.110"));
    assert_eq!(manifest.arm.admin, format!("{}/admin", manifest.arm.endpoint));
    let names: Vec<&str> = manifest.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    for node in &manifest.nodes {
        assert!(is_alive(node.pid), "{node:?}");
        assert!(node.nic_id.ends_with(&format!("/networkInterfaces/{}-nic", node.name)));
        assert!(node.grpc.starts_with("127.0.0.1:"), "{node:?}");
        // A plain agent with a file that anybody could have written.
        let line = std::fs::read(format!("/proc/{}/cmdline", node.pid)).expect("it runs");
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let file = dev.dir().join(&node.name).join("agent.toml");
        assert!(line.trim_end().ends_with(&format!("agent --config {}", file.display())), "{line}");
        let instance = format!("{}/metadata/instance?api-version=2021-02-01", node.imds);
        assert_eq!(get(&instance).expect("it answers").status, 400, "without Metadata: true");
    }
    let text = std::fs::read_to_string(dev.dir().join("dev.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["nodes"][0]["nicId"].is_string());

    let vip = dev.vip();
    let answer = get(&manifest.vip.url).expect("the VIP answers");
    let expected =
        format!("{{\"node\":\"{}\",\"vip\":\"demo\",\"epoch\":{}}}", vip.holder, vip.epoch);
    assert_eq!((answer.status, answer.body), (200, expected));
    for node in dev.names() {
        let status = dev.responder(&node).expect("it answers").status;
        assert_eq!(status, if node == vip.holder { 200 } else { 503 }, "{node}");
    }

    a_second_dev_in_the_folder_is_refused(&dev);
    a_restarted_node_is_in_the_file(&dev);
}

fn a_second_dev_in_the_folder_is_refused(dev: &Dev) {
    let mut command = Command::new(&Binaries::get().vipfence);
    command.args(["dev", "--base-port", "0", "--dir"]).arg(dev.dir());
    let Ended { status, output, .. } =
        Process::start("a second dev", command).end_with_output(Duration::from_secs(10));
    assert_eq!(status.code(), Some(1), "{output}");
    let pid = dev.process().pid().to_string();
    for word in [&dev.dir().display().to_string(), &pid, "--dir"] {
        assert!(output.contains(word), "{word:?} is missing: {output}");
    }
    assert_eq!(dev.status().nodes.len(), 3, "the first one goes on");
}

/// `--restart-after` is off, so that the node stays dead until it is started by hand.
fn a_restarted_node_is_in_the_file(dev: &Dev) {
    let pid = dev.node("n3").pid;
    dev.kill("n3");
    eventually("dev tells that the node died", Duration::from_secs(5), || {
        dev.output().contains("n3") && !is_alive(pid)
    });
    assert_eq!(dev.node("n3").pid, pid, "a dead node keeps its process id in the file");
}

#[test]
fn a_node_that_died_is_started_again_when_that_is_asked_for() {
    let _turn = Turn::alone();
    let restart_after = Some(Duration::from_millis(300));
    let dev = Dev::start(DevOptions { restart_after, ..DevOptions::quick() });
    dev.settled();
    let pid = dev.node("n2").pid;
    dev.kill("n2");
    let new = wait_until("dev.json names the new process", Duration::from_secs(10), || {
        let now = dev.node("n2").pid;
        if now == pid { Err("the old one") } else { Ok(now) }
    });
    assert!(is_alive(new));
    dev.settled();
}

#[test]
fn ports_that_are_taken_are_named() {
    let _turn = Turn::alone();
    // Some port of the range: the one of the VIP, base + 401.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let base = port.checked_sub(401).expect("free ports are high");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(&Binaries::get().vipfence);
    command.args(["dev", "--base-port", &base.to_string(), "--dir"]).arg(folder.path());
    let Ended { status, output, .. } =
        Process::start("vipfence dev", command).end_with_output(Duration::from_secs(10));
    assert_eq!(status.code(), Some(1), "{output}");
    for word in [&port.to_string(), "--base-port"] {
        assert!(output.contains(word), "{word:?} is missing: {output}");
    }
    assert!(!folder.path().join("dev.json").exists());
}

#[test]
fn nothing_outlives_dev_not_even_what_is_stopped() {
    let _turn = Turn::alone();
    let dev = Dev::start(DevOptions::quick());
    let manifest = dev.manifest();
    let children = children_of(dev.process().pid());
    assert!(children.len() >= 4, "three nodes and the simulator: {children:?}");
    dev.signal("n2", Signal::STOP);
    dev.process().kill();
    eventually("all are gone", Duration::from_secs(5), || {
        children.iter().all(|pid| !is_alive(*pid))
    });
    assert!(get(&manifest.arm.endpoint).is_err() && get(&manifest.vip.url).is_err());
}

#[test]
fn dev_ends_cleanly_when_it_is_asked_to() {
    let _turn = Turn::alone();
    for signal in [Signal::INT, Signal::TERM] {
        let dev = Dev::start(DevOptions::quick());
        let children = children_of(dev.process().pid());
        dev.process().signal(signal);
        let status = dev.process().end(Duration::from_secs(10));
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", dev.output());
        assert!(children.iter().all(|pid| !is_alive(*pid)), "{signal:?}");
        assert!(!dev.dir().join("dev.json").exists(), "{signal:?}: nothing is served any more");
    }
}

fn children_of(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    found
}

#[test]
fn a_kept_folder_keeps_vips_and_epochs() {
    let _turn = Turn::alone();
    let folder = tempfile::tempdir().unwrap();
    let options = DevOptions { dir: Some(folder.path().into()), ..DevOptions::quick() };
    let dev = Dev::start(options.clone());
    dev.settled();
    let made = dev.cli().run(["vip", "create", "web", "--address", "10.5.0.130"]);
    assert_eq!(made.exit, 0, "{}", made.output);
    let highest = dev.status().vips.iter().map(|vip| vip.epoch).max().unwrap();
    drop(dev);

    let dev = Dev::start(DevOptions { keep: true, ..options.clone() });
    let status = dev.settled();
    let names: Vec<&str> = status.vips.iter().map(|vip| vip.name.as_str()).collect();
    assert_eq!(names, [VIP, "web"]);
    for vip in &status.vips {
        let url = format!("{}/{}", dev.node(&vip.holder).responder, vip.name);
        assert_eq!(get(&url).expect("it answers").status, 200, "{vip:?}");
    }
    let target = dev.names_but(&[&dev.holder()]).remove(0);
    dev.move_to(&target);
    assert!(dev.vip().epoch > highest, "the counter is kept");
    drop(dev);

    // Without --keep it starts fresh.
    let dev = Dev::start(options);
    let status = dev.settled();
    let names: Vec<&str> = status.vips.iter().map(|vip| vip.name.as_str()).collect();
    assert_eq!(names, [VIP]);
}
