//! JSON: valid documents, broken node by node.

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Map, Value, json};

use crate::bytes::{Raw, bytes};

/// One change of a document. Nodes are counted in the order of the text.
#[derive(Clone, Debug)]
enum Change {
    /// A node is gone.
    Remove(Index),
    /// An element stands twice, or a value under one more key.
    Double(Index),
    /// Something else stands there.
    Replace(Index, Value),
    /// What stands elsewhere stands here too: of the right type, at the wrong place.
    Copy(Index, Index),
    /// It is wrapped.
    Nest(Index, u8),
    /// A key that nobody has heard of.
    Add(Index, String, Value),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        2 => at().prop_map(Change::Remove),
        2 => at().prop_map(Change::Double),
        4 => (at(), oddity()).prop_map(|(at, value)| Change::Replace(at, value)),
        3 => (at(), at()).prop_map(|(from, to)| Change::Copy(from, to)),
        1 => (at(), 1..120_u8).prop_map(|(at, levels)| Change::Nest(at, levels)),
        1 => (at(), word(), oddity()).prop_map(|(at, key, value)| Change::Add(at, key, value)),
    ]
}

/// Texts that mean something to somebody, or break something somewhere.
pub fn word() -> BoxedStrategy<String> {
    const KNOWN: [&str; 40] = [
        "",
        " ",
        ".",
        "-",
        "/",
        "0",
        "-1",
        "1e999",
        "null",
        "true",
        "Succeeded",
        "Failed",
        "Updating",
        "Canceled",
        "InProgress",
        "10.5.0.4",
        "10.5.0.110",
        "10.5.0.110/28",
        "010.5.0.110",
        "::ffff:10.5.0.110",
        "fd00::110",
        "10.5.0.0/0",
        "::/0",
        "10.5.0.0/33",
        "/subnets/",
        "/SUBNETS/x",
        "/ipConfigurations/",
        "vipfence-v",
        "VIPFENCE-V",
        "W/\"1\"",
        "a\0b",
        "a\r\nb: c",
        "ä\u{202e}\u{1f980}",
        "İ/subnets/ß",
        "\u{feff}",
        "a",
        "b",
        "move-1",
        "18446744073709551615",
        "18446744073709551616",
    ];
    prop_oneof![
        6 => prop::sample::select(&KNOWN[..]).prop_map(str::to_owned),
        2 => ".{0,12}",
        1 => (1..20_000_usize).prop_map(|length| "x".repeat(length)),
    ]
    .boxed()
}

/// A value that does not belong there.
pub fn oddity() -> BoxedStrategy<Value> {
    let numbers = [
        json!(0),
        json!(-1),
        json!(1),
        json!(255),
        json!(65_536),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(u64::MAX / 4 + 1),
        json!(1e308),
        json!(-0.0),
        json!(0.1),
        json!(1e-320),
    ];
    prop_oneof![
        4 => word().prop_map(Value::String),
        4 => prop::sample::select(numbers.to_vec()),
        1 => any::<f64>().prop_map(|number| json!(number)),
        2 => any::<bool>().prop_map(Value::Bool),
        2 => Just(Value::Null),
        1 => Just(json!([])),
        1 => Just(json!({})),
        1 => vec(word(), 1..4).prop_map(|words| json!(words)),
    ]
    .boxed()
}

/// The places of all nodes, the whole document first.
fn places(document: &Value) -> Vec<Vec<Step>> {
    let mut found = vec![vec![]];
    let mut at = 0;
    while let Some(path) = found.get(at).cloned() {
        let children: Vec<Step> = match get(document, &path) {
            Some(Value::Object(map)) => map.keys().cloned().map(Step::Key).collect(),
            Some(Value::Array(list)) => (0..list.len()).map(Step::At).collect(),
            _ => vec![],
        };
        found.extend(children.into_iter().map(|step| [path.clone(), vec![step]].concat()));
        at += 1;
    }
    found
}

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    At(usize),
}

fn get<'a>(document: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(document, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::At(at) => value.get(at),
    })
}

fn get_mut<'a>(document: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(document, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::At(at) => value.get_mut(at),
    })
}

fn apply(document: &mut Value, change: &Change) {
    let all = places(document);
    let place = |at: &Index| at.get(&all).clone();
    match change {
        Change::Remove(at) => remove(document, &place(at)),
        Change::Double(at) => double(document, &place(at)),
        Change::Replace(at, value) => put(document, &place(at), value.clone()),
        Change::Copy(from, to) => {
            if let Some(value) = get(document, &place(from)).cloned() {
                put(document, &place(to), value);
            }
        }
        Change::Nest(at, levels) => {
            let path = place(at);
            if let Some(value) = get(document, &path).cloned() {
                let nested = (0..*levels).fold(value, |inner, level| match level % 2 {
                    0 => json!([inner]),
                    _ => json!({ "x": inner }),
                });
                put(document, &path, nested);
            }
        }
        Change::Add(at, key, value) => {
            if let Some(Value::Object(map)) = get_mut(document, &place(at)) {
                map.insert(key.clone(), value.clone());
            }
        }
    }
}

fn put(document: &mut Value, path: &[Step], value: Value) {
    if let Some(there) = get_mut(document, path) {
        *there = value;
    }
}

fn remove(document: &mut Value, path: &[Step]) {
    let Some((last, parent)) = path.split_last() else { return };
    match (get_mut(document, parent), last) {
        (Some(Value::Object(map)), Step::Key(key)) => {
            map.remove(key);
        }
        (Some(Value::Array(list)), Step::At(at)) => {
            list.remove(*at);
        }
        _ => {}
    }
}

fn double(document: &mut Value, path: &[Step]) {
    let Some((last, parent)) = path.split_last() else { return };
    let Some(value) = get(document, path).cloned() else { return };
    match (get_mut(document, parent), last) {
        (Some(Value::Object(map)), Step::Key(key)) => {
            map.insert(format!("{key}2"), value);
        }
        (Some(Value::Array(list)), Step::At(at)) => list.insert(*at, value),
        _ => {}
    }
}

/// One of these documents, with up to four changes.
///
/// # Panics
/// Without seeds.
pub fn mutated(seeds: Vec<Value>) -> BoxedStrategy<Value> {
    (prop::sample::select(seeds), vec(change(), 0..5))
        .prop_map(|(seed, changes)| {
            let mut document = seed;
            for change in &changes {
                // Deeper than any parser lets through: of no interest as a value.
                if depth(&document) < 120 {
                    apply(&mut document, change);
                }
            }
            document
        })
        .boxed()
}

/// Such documents as text, with damage of their own; and noise.
///
/// # Panics
/// Without seeds.
pub fn json_bytes(seeds: Vec<Value>) -> BoxedStrategy<Raw> {
    let plain: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_string().into_bytes()).collect();
    let mutated = mutated(seeds).prop_map(|document| Raw(document.to_string().into_bytes()));
    prop_oneof![4 => mutated, 1 => bytes(plain)].boxed()
}

/// What an HTTP client makes of such an answer: JSON, else a text, null where it is empty.
///
/// # Panics
/// Without seeds.
pub fn body(seeds: Vec<Value>) -> BoxedStrategy<Value> {
    json_bytes(seeds).prop_map(|bytes| parsed(&bytes)).boxed()
}

/// See [`body`].
#[must_use]
pub fn parsed(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

/// How deeply a value is nested; 0 = it holds no other.
#[must_use]
pub fn depth(value: &Value) -> usize {
    let mut deepest = 0;
    let mut open = vec![(value, 0)];
    while let Some((value, depth)) = open.pop() {
        deepest = deepest.max(depth);
        match value {
            Value::Array(list) => open.extend(list.iter().map(|inner| (inner, depth + 1))),
            Value::Object(map) => {
                open.extend(Map::values(map).map(|inner| (inner, depth + 1)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_containers_only() {
        assert_eq!(depth(&json!(1)), 0);
        assert_eq!(depth(&json!({"a": [1, {"b": 2}]})), 3);
    }

    #[test]
    fn every_node_has_a_place() {
        let document = json!({"a": [1, {"b": 2}], "c": null});
        assert_eq!(places(&document).len(), 6);
    }
}
