//! What the simulator's journal says of a move: how long each operation took from the acceptance of
//! its PUT to its effect (the floor, which nobody gets below), and when the move was done.

use std::collections::BTreeMap;

use integration_tests::JournalEntry;

/// A write to a NIC that Azure accepted, and its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// The NIC's path.
    pub(super) nic: String,
    /// When the write was accepted.
    pub(super) accepted_ms: u64,
    /// When it took effect.
    pub(super) effect_ms: u64,
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
}

impl Operation {
    /// From accept to effect.
    pub(super) fn took_ms(&self) -> u64 {
        self.effect_ms - self.accepted_ms
    }
}

/// The operations that succeeded, in the order of their acceptance. A write that needs no time
/// has none and counts as done when it was accepted. Only PUTs: a tag PATCH moves nothing.
pub(super) fn operations(journal: &[JournalEntry]) -> Vec<Operation> {
    let succeeded =
        |entry: &&JournalEntry| entry.kind == "completion" && entry.status == "Succeeded";
    let ends: BTreeMap<&str, u64> = journal
        .iter()
        .filter(succeeded)
        .filter_map(|entry| Some((entry.operation.as_deref()?, entry.at_ms)))
        .collect();
    let ended = |entry: &JournalEntry| match entry.operation.as_deref() {
        Some(guid) => ends.get(guid).copied(),
        None => Some(entry.at_ms),
    };
    puts(journal)
        .filter(|entry| entry.is_accepted())
        .filter_map(|entry| {
            Some(Operation {
                nic: entry.resource.clone(),
                accepted_ms: entry.at_ms,
                effect_ms: ended(entry)?,
                added: entry.added.clone(),
                removed: entry.removed.clone(),
            })
        })
        .collect()
}

/// How many PUTs Azure accepted, and how many it refused.
pub(super) fn count_puts(journal: &[JournalEntry]) -> (usize, usize) {
    let accepted = puts(journal).filter(|entry| entry.is_accepted()).count();
    (accepted, puts(journal).count() - accepted)
}

fn puts(journal: &[JournalEntry]) -> impl Iterator<Item = &JournalEntry> {
    journal.iter().filter(|entry| entry.kind == "write" && entry.method == "PUT")
}

/// Each PUT in a line: when, counted from the first, to which NIC, and what came of it.
pub(super) fn told(journal: &[JournalEntry]) -> Vec<String> {
    let began = puts(journal).next().map_or(0, |entry| entry.at_ms);
    puts(journal)
        .map(|entry| {
            let at = seconds(entry.at_ms.saturating_sub(began));
            let nic = entry.resource.rsplit('/').next().unwrap_or_default();
            let (added, removed) = (entry.added.len(), entry.removed.len());
            let answer = if entry.is_accepted() { "accepted" } else { "refused" };
            format!("{at:7.3} s PUT {nic} +{added} -{removed} {answer}")
        })
        .collect()
}

/// When an operation was read back: the first GET of its NIC that was answered after its effect.
pub(super) fn read_back_ms(journal: &[JournalEntry], operation: &Operation) -> Option<u64> {
    let read = |entry: &&JournalEntry| {
        entry.kind == "read"
            && entry.method == "GET"
            && entry.is_accepted()
            && entry.at_ms >= operation.effect_ms
            && entry.resource.eq_ignore_ascii_case(&operation.nic)
    };
    journal.iter().find(read).map(|entry| entry.at_ms)
}

/// What moving some addresses cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// From the first PUT to the last read back.
    pub(super) took_ms: u64,
    /// The longest detach and the longest attach, one after the other.
    pub(super) floor_ms: u64,
    pub(super) accepted: usize,
    pub(super) refused: usize,
}

impl Span {
    pub(super) fn ratio(&self) -> f64 {
        seconds(self.took_ms) / seconds(self.floor_ms.max(1))
    }
}

#[expect(clippy::cast_precision_loss, reason = "minutes, in milliseconds")]
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// The move of these addresses, from a journal that has nothing else. None = it is not done: an
/// address was not detached, or not attached, or that was not read back.
pub(super) fn span(journal: &[JournalEntry], addresses: &[String]) -> Option<Span> {
    let all = operations(journal);
    let first = |of: fn(&Operation) -> &Vec<String>| {
        let ours = |operation: &&Operation| of(operation).iter().any(|one| addresses.contains(one));
        let done: Vec<&Operation> = all.iter().filter(ours).collect();
        let whole = |one: &String| done.iter().any(|operation| of(operation).contains(one));
        (!done.is_empty() && addresses.iter().all(whole)).then_some(done)
    };
    let (detaches, attaches) = (first(|one| &one.removed)?, first(|one| &one.added)?);
    let began = detaches.iter().map(|one| one.accepted_ms).min()?;
    let read: Option<Vec<u64>> = attaches.iter().map(|one| read_back_ms(journal, one)).collect();
    let longest = |of: &[&Operation]| of.iter().map(|one| one.took_ms()).max().unwrap_or_default();
    let (accepted, refused) = count_puts(journal);
    Some(Span {
        took_ms: read?.into_iter().max()?.checked_sub(began)?,
        floor_ms: longest(&detaches) + longest(&attaches),
        accepted,
        refused,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OLD: &str = "/nics/n1-nic";
    const NEW: &str = "/nics/n2-nic";
    const VIP: &str = "10.5.0.110";

    fn journal(entries: &[Value]) -> Vec<JournalEntry> {
        let parse = |(at, entry): (usize, &Value)| {
            let mut entry = entry.clone();
            entry["seq"] = json!(at + 1);
            serde_json::from_value(entry).expect("an entry")
        };
        entries.iter().enumerate().map(parse).collect()
    }

    fn put(at: u64, nic: &str, operation: &str, added: &[&str], removed: &[&str]) -> Value {
        json!({"at_ms": at, "kind": "write", "method": "PUT", "resource": nic, "status": 200,
            "operation": operation, "added": added, "removed": removed})
    }

    fn refused(at: u64, nic: &str) -> Value {
        json!({"at_ms": at, "kind": "write", "method": "PUT", "resource": nic, "status": 400})
    }

    fn ends(at: u64, operation: &str, status: &str) -> Value {
        json!({"at_ms": at, "kind": "completion", "operation": operation, "status": status})
    }

    fn get(at: u64, nic: &str) -> Value {
        json!({"at_ms": at, "kind": "read", "method": "GET", "resource": nic, "status": 200})
    }

    fn vip() -> Vec<String> {
        vec![VIP.to_owned()]
    }

    #[test]
    fn an_operation_takes_from_its_put_to_its_own_end() {
        let journal = journal(&[
            put(100, OLD, "a", &[], &[VIP]),
            put(150, NEW, "b", &[VIP], &[]),
            ends(2_150, "b", "Succeeded"),
            ends(2_160, "a", "Succeeded"),
        ]);
        let took: Vec<u64> = operations(&journal).iter().map(Operation::took_ms).collect();
        assert_eq!(took, [2_060, 2_000]);
    }

    #[test]
    fn what_failed_or_still_runs_or_was_refused_is_no_operation_that_counts() {
        let journal = journal(&[
            put(0, OLD, "a", &[], &[VIP]),
            ends(10, "a", "Failed"),
            put(20, OLD, "b", &[], &[VIP]),
            refused(30, NEW),
        ]);
        assert_eq!(operations(&journal), []);
        assert_eq!(count_puts(&journal), (2, 1));
    }

    #[test]
    fn a_move_ends_at_the_first_read_of_the_target_after_the_attach() {
        let mut entries = vec![
            put(1_000, OLD, "a", &[], &[VIP]),
            refused(1_100, NEW),
            ends(3_000, "a", "Succeeded"),
            put(3_200, NEW, "b", &[VIP], &[]),
            get(3_300, NEW),
            ends(5_200, "b", "Succeeded"),
            get(5_250, OLD),
        ];
        assert_eq!(span(&journal(&entries), &vip()), None, "not read back yet");
        entries.extend([get(5_300, "/NICS/n2-NIC"), get(9_000, NEW)]);
        let span = span(&journal(&entries), &vip()).expect("it is done");
        assert_eq!(span, Span { took_ms: 4_300, floor_ms: 4_000, accepted: 2, refused: 1 });
        assert!((span.ratio() - 1.075).abs() < 1e-9);
    }

    #[test]
    fn a_batch_ends_with_the_last_of_its_nics() {
        let both = ["10.5.1.1".to_owned(), "10.5.1.2".to_owned()];
        let entries = [
            put(0, OLD, "a", &[], &["10.5.1.1", "10.5.1.2"]),
            ends(1_000, "a", "Succeeded"),
            put(1_100, NEW, "b", &["10.5.1.1"], &[]),
            put(1_200, "/nics/n3-nic", "c", &["10.5.1.2"], &[]),
            ends(2_100, "b", "Succeeded"),
            ends(2_200, "c", "Succeeded"),
            get(2_150, NEW),
            get(2_300, "/nics/n3-nic"),
        ];
        let span = span(&journal(&entries), &both).expect("it is done");
        assert_eq!(span, Span { took_ms: 2_300, floor_ms: 2_000, accepted: 3, refused: 0 });
    }
}
