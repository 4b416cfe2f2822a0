//! `ip` and `nft`, which must succeed.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs a program with a text on its standard input; what it printed.
pub(super) fn run(program: &str, args: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut line = child.stdin.take().expect("it is piped");
    // A program that fails early does not read all of it; how it ends says more.
    let _ = line.write_all(input.as_bytes());
    drop(line);
    let output = child.wait_with_output().expect("it is our child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}\n{input}", args.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
