//! vipfence with the log-in of the real az, through TLS with a CA of its own.

use std::fs;

use integration_tests::{AzureSim, Binaries, GROUP, JudgeShell, Turn};
use serde_json::Value;

use super::logged_in;

fn agent_file(azure: &AzureSim) -> String {
    let (arm, ca, imds) = (azure.arm_through_tls(), azure.ca().display(), azure.imds("n1"));
    let nic = format!("{GROUP}/providers/Microsoft.Network/networkInterfaces/n1-nic");
    format!(
        "cluster = \"c\"\n[node]\nname = \"n1\"\ndata_dir = \"data\"\n\
         [listen]\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:1\"\n\
         [[peers]]\nname = \"n1\"\naddress = \"127.0.0.1:1\"\n\
         [[nics]]\nid = \"{nic}\"\n\
         [azure]\narm = \"{arm}\"\nca_file = \"{ca}\"\nimds = \"{imds}\"\nidentity = \"az\"\n\
         [os]\ndriver = \"userspace\"\nresponder = \"127.0.0.1:1\"\n"
    )
}

/// The findings of the doctor in this shell.
fn findings(azure: &AzureSim, shell: &JudgeShell) -> Vec<Value> {
    let (file, root) = (azure.folder().join("agent.toml"), azure.folder().join("root"));
    fs::create_dir_all(&root).unwrap();
    fs::write(&file, agent_file(azure)).unwrap();
    let vipfence = Binaries::get().vipfence.to_string_lossy().into_owned();
    let (file, root) = (file.to_string_lossy(), root.to_string_lossy());
    let answer = shell.run(&[&vipfence, "doctor", "--json", "--config", &file, "--root", &root]);
    let json: Value = serde_json::from_str(&answer.out).unwrap_or_else(|_| panic!("{answer:?}"));
    let findings = json.pointer("/nodes/0/findings").and_then(Value::as_array);
    findings.cloned().unwrap_or_default()
}

#[test]
fn vipfence_takes_the_log_in_of_az_while_it_lasts() {
    let _turn = Turn::alone();
    let Some((azure, shell)) = logged_in() else { return };
    let seen = findings(&azure, &shell);
    let checks: Vec<&Value> = seen.iter().map(|finding| &finding["check"]).collect();
    assert_eq!(checks, ["PRIMARY_DYNAMIC"], "{seen:?}");

    shell.az("logout").expect_ok();
    let seen = findings(&azure, &shell);
    let missing = seen.iter().find(|finding| finding["check"] == "TOKEN_MISSING");
    let message = missing.and_then(|finding| finding["message"].as_str());
    let message = message.unwrap_or_else(|| panic!("{seen:?}"));
    assert!(message.contains("the log-in of az"), "{message}");
    assert!(message.contains("az login"), "{message}");
}
