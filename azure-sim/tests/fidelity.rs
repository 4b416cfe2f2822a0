//! `docs/fidelity.md` and the source tell the same: whatever the simulator can be set to, and
//! whatever it refuses with, stands there with its source.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use azure_sim::Settings;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names in backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn fields() -> BTreeSet<String> {
    let settings = serde_json::to_value(Settings::default()).expect("JSON");
    let fields = settings.as_object().expect("an object");
    let inner = fields["throttling"].as_object().expect("an object");
    fields.keys().chain(inner.keys()).cloned().collect()
}

/// Codes of errors in a source, without its tests: the first text that is given to what makes a
/// refusal, if it is one word.
fn codes(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let makers = ["network(", "front_door(", "with_detail(", "refuse(", "const CODE: &str ="];
    let mut codes = BTreeSet::new();
    for maker in makers {
        for rest in source.split(maker).skip(1) {
            let mut parts = rest.split('"');
            let before = parts.next().unwrap_or_default();
            let text = parts.next().unwrap_or_default();
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if before.len() < 80
                && !before.contains(['(', ')', ';', '{'])
                && !text.is_empty()
                && text.chars().all(is_word)
            {
                codes.insert(text.to_owned());
            }
        }
    }
    codes
}

fn all_codes() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state");
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            all.extend(codes(&fs::read_to_string(path).expect("a text")));
        }
    }
    all
}

/// The rows of the tables of statements: statement, mark, source, what changes it.
fn rows(page: &str) -> Vec<[&str; 4]> {
    let rows =
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| statement"));
    let cells =
        rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
    cells.filter_map(|cells| cells.try_into().ok()).collect()
}

#[test]
fn every_setting_is_explained() {
    let page = read("docs/fidelity.md");
    let named = quoted(&page);
    let missing: Vec<String> =
        fields().into_iter().filter(|field| !named.contains(field.as_str())).collect();
    assert!(missing.is_empty(), "docs/fidelity.md does not name these settings: {missing:?}");
}

#[test]
fn every_error_code_has_its_source() {
    let page = read("docs/fidelity.md");
    let named = quoted(&page);
    let codes = all_codes();
    assert!(
        codes.len() > 50 && codes.contains("PublicIPAddressInUse"),
        "the search works: {codes:?}"
    );
    let missing: Vec<&String> =
        codes.iter().filter(|code| !named.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "docs/fidelity.md does not name these codes: {missing:?}");
}

#[test]
fn every_statement_has_a_mark_and_a_source_and_what_is_inferred_can_be_changed_or_says_why_not() {
    let page = read("docs/fidelity.md");
    let rows = rows(&page);
    assert!(rows.len() > 90, "the search works: {}", rows.len());
    for row in rows {
        let [_, mark, source, changed_by] = row;
        let marks: Vec<&str> = mark.split(' ').collect();
        assert!(marks.iter().all(|mark| ["W", "S", "R", "I"].contains(mark)), "{row:?}");
        assert!(!source.is_empty() && (source != "-" || mark == "I"), "a source: {row:?}");
        assert!(!marks.contains(&"I") || !changed_by.is_empty(), "inferred: {row:?}");
    }
}

/// What is said to change something exists: a setting, or a word of the README's commands.
#[test]
fn what_is_said_to_change_something_exists() {
    let (page, readme) = (read("docs/fidelity.md"), read("README.md"));
    let fields = fields();
    for [statement, .., changed_by] in rows(&page) {
        if changed_by.starts_with("none") || changed_by.starts_with("not") {
            continue;
        }
        for name in quoted(changed_by) {
            let exists = fields.contains(name) || readme.contains(name) || name == "limits";
            assert!(exists, "{name}, of {statement}");
        }
    }
}

#[test]
fn codes_are_found_however_they_are_written() {
    let source = r#"
        ArmError::network(400, "One", format!("x")); ArmError::front_door(
            404,
            "Two",
        ); refuse("Three", "words"); refuse("no code"); .with_detail(CODE, why); refuse(x(), "No");
        const CODE: &str = "Four"; error.with_detail("Five", y)
        #[cfg(test)] mod tests { refuse("Six") }"#;
    let found = codes(source);
    let expected = ["Five", "Four", "One", "Three", "Two"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
}
