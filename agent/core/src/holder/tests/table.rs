//! Every state of a VIP against everything that an answer can say of it.

use super::bench::*;
use crate::Input;
use crate::record::Record;

fn state(bench: &Bench) -> String {
    match bench.holder.records.get(&name("demo")) {
        None => "none".into(),
        Some(Record::Holding(holding)) => format!("holding {}", holding.epoch),
        Some(Record::Dropping(dropping)) => match dropping.owed {
            None => "dropping".into(),
            Some(epoch) => format!("dropping {epoch}"),
        },
        Some(Record::Spending(spending)) => format!("spending {}", spending.epoch),
        Some(Record::Confirming(epoch)) => format!("confirming {epoch}"),
    }
}

/// A machine in the named state, with a heartbeat in flight.
fn in_state(wanted: &str) -> Bench {
    let mut bench = Bench::holding();
    bench.pass(secs(1));
    match wanted {
        "none" => {
            let effects = bench.answer(&[], &[]);
            let call = drop_call(&effects);
            bench.step(Input::Dropped { call });
        }
        "holding 5" => {}
        "dropping" => drop(bench.answer(&[], &[])),
        _ => {
            let effects = bench.answer(&[], &[at("demo", 5)]);
            if wanted != "dropping 5" {
                let call = drop_call(&effects);
                let effects = bench.step(Input::Dropped { call });
                if wanted != "spending 5" {
                    let call = persist_call(&effects);
                    bench.step(Input::Persisted { call });
                }
            }
        }
    }
    assert_eq!(state(&bench), wanted);
    bench
}

#[test]
fn every_state_meets_every_word() {
    let g = |epoch| vec![grant("demo", epoch)];
    let r = |epoch| vec![at("demo", epoch)];
    let words = [
        ("nothing", vec![], vec![]),
        ("grant 4", g(4), vec![]),
        ("grant 5", g(5), vec![]),
        ("grant 6", g(6), vec![]),
        ("both 5", g(5), r(5)),
        ("release 5", vec![], r(5)),
        ("release 6", vec![], r(6)),
        ("grant 6, release 5", g(6), r(5)),
        ("grant 5, release 6", g(5), r(6)),
    ];
    #[rustfmt::skip]
    let table = [
        // state         nothing       grant 4       grant 5         grant 6      both 5          release 5       release 6     6 and r 5    5 and r 6
        ("none",        ["none",       "holding 4",  "holding 5",    "holding 6", "dropping 5",   "dropping 5",   "dropping 6", "holding 6", "dropping 6"]),
        ("holding 5",   ["dropping",   "holding 5",  "holding 5",    "holding 6", "dropping 5",   "dropping 5",   "dropping 6", "holding 6", "dropping 6"]),
        ("dropping",    ["dropping",   "holding 4",  "holding 5",    "holding 6", "dropping 5",   "dropping 5",   "dropping 6", "holding 6", "dropping 6"]),
        ("dropping 5",  ["dropping",   "dropping 5", "dropping 5",   "holding 6", "dropping 5",   "dropping 5",   "dropping 6", "holding 6", "dropping 6"]),
        ("spending 5",  ["spending 5", "spending 5", "spending 5",   "holding 6", "spending 5",   "spending 5",   "dropping 6", "holding 6", "dropping 6"]),
        ("confirming 5", ["none",      "none",       "confirming 5", "holding 6", "confirming 5", "confirming 5", "dropping 6", "holding 6", "dropping 6"]),
    ];
    for (from, row) in table {
        for ((word, grants, releasing), to) in words.iter().zip(row) {
            let mut bench = in_state(from);
            bench.answer(grants, releasing);
            assert_eq!(state(&bench), to, "{from}, {word}");
        }
    }
}
