//! `mutants [--write FILE] [--only M7] [--words SEED]`: breaks each rule in turn, and shows by what
//! it was noticed; with `--words` also what happens in the dramas of that seed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use std::{path::PathBuf, process::ExitCode};

use vipfence_types::Mutation;

use crate::mutants::{Found, page, run_all, timeline};

/// Runs the command with what follows its name.
pub fn mutants(args: impl IntoIterator<Item = String>) -> ExitCode {
    let (mut write, mut only, mut words) = (None, Vec::new(), None);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--write", Some(path)) => write = Some(PathBuf::from(path)),
            ("--only", Some(name)) => match named(&name) {
                Some(mutation) => only.push(mutation),
                None => return wrong(&format!("there is no mutation {name}")),
            },
            ("--words", Some(seed)) => words = seed.parse::<u64>().ok(),
            _ => return wrong("usage: mutants [--write FILE] [--only M7] [--words SEED]"),
        }
    }
    let asked = if only.is_empty() { Mutation::ALL } else { &only };
    for (mutation, seed) in asked.iter().filter_map(|one| Some((*one, words?))) {
        println!("{}", timeline(mutation, seed).join("\n"));
    }
    let found = run_all(asked, |one| println!("{one}"));
    let missed: Vec<&Found> = found.iter().filter(|one| one.is_missed()).collect();
    for one in &missed {
        eprintln!("not noticed: {one}");
    }
    if let Some(path) = write
        && let Err(error) = std::fs::write(&path, page(&found))
    {
        return wrong(&format!("{}: {error}", path.display()));
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn wrong(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

/// By number (`M7`) or by name.
fn named(text: &str) -> Option<Mutation> {
    let is = |one: &Mutation| {
        format!("M{}", one.number()).eq_ignore_ascii_case(text) || format!("{one:?}") == text
    };
    Mutation::ALL.iter().copied().find(is)
}
