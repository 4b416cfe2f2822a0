//! Walks a parsed TOML table: takes known keys, remembers the place of every value, and collects
//! problems instead of stopping at the first.

use std::ops::{Range, RangeInclusive};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problem::Problem;

/// How near a known key must be for "did you mean" (Jaro-Winkler: 1 = the same).
const NEAR: f64 = 0.75;

/// A value and where it stands. A value that was not given stands where its table does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> Placed<T> {
    pub(super) fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }

    /// The same place with another value.
    pub(super) fn with<U>(&self, value: U) -> Placed<U> {
        Placed::new(value, self.span.clone())
    }
}

/// Collects problems.
#[derive(Debug, Default)]
pub(super) struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Opens a table that may have these keys and no others. `title` is how it is written in the
    /// file: `[node]`.
    pub(super) fn section<'t>(
        &mut self,
        title: &'static str,
        table: &'t DeTable<'t>,
        span: Range<usize>,
        keys: &'static [&'static str],
    ) -> Section<'t> {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !keys.contains(&name) {
                self.report(unknown_key(title, name, keys).at(key.span()));
            }
        }
        Section { title, table, span, keys }
    }

    /// Turns a text into a value, reporting `problem(text)` where that fails.
    pub(super) fn convert<T>(
        &mut self,
        given: &Placed<String>,
        convert: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<Placed<T>> {
        match convert(&given.value) {
            Ok(value) => Some(given.with(value)),
            Err(problem) => {
                self.report(problem.at(given.span.clone()));
                None
            }
        }
    }
}

/// A table of the file.
#[derive(Clone, Debug)]
pub(super) struct Section<'t> {
    title: &'static str,
    table: &'t DeTable<'t>,
    /// Where it begins.
    pub(super) span: Range<usize>,
    keys: &'static [&'static str],
}

impl<'t> Section<'t> {
    /// A text that must be there. `example` completes the help: `add …`.
    pub(super) fn text(
        &self,
        reader: &mut Reader,
        key: &'static str,
        example: &str,
    ) -> Option<Placed<String>> {
        if !self.has(key) {
            let place = if self.title.is_empty() { "the file" } else { self.title };
            let problem = Problem::error(format!("{place} needs `{key}`"), "missing here")
                .at(self.span.clone())
                .help(format!("add `{key} = \"{example}\"`"));
            reader.report(problem);
        }
        self.optional_text(reader, key)
    }

    /// A text that may be left out.
    pub(super) fn optional_text(&self, reader: &mut Reader, key: &str) -> Option<Placed<String>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Placed::new(text.clone().into_owned(), value.span())),
            other => {
                reader.report(
                    wrong_type(key, "a text", other)
                        .at(value.span())
                        .help(format!("write it in quotes: `{key} = \"…\"`")),
                );
                None
            }
        }
    }

    /// A text with a default.
    pub(super) fn text_or(&self, reader: &mut Reader, key: &str, default: &str) -> Placed<String> {
        self.optional_text(reader, key)
            .unwrap_or_else(|| Placed::new(default.to_owned(), self.span.clone()))
    }

    /// A truth value, false if left out.
    pub(super) fn flag(&self, reader: &mut Reader, key: &str) -> bool {
        self.flag_or(reader, key, false)
    }

    /// A truth value, with what it is if left out.
    pub(super) fn flag_or(&self, reader: &mut Reader, key: &str, default: bool) -> bool {
        let Some(value) = self.get(key) else { return default };
        if let DeValue::Boolean(flag) = value.get_ref() {
            return *flag;
        }
        let problem = wrong_type(key, "true or false", value.get_ref())
            .at(value.span())
            .help(format!("write `{key} = true` or `{key} = false`, without quotes"));
        reader.report(problem);
        default
    }

    /// A table inside of this one; reported if something else stands there.
    pub(super) fn table(
        &self,
        reader: &mut Reader,
        key: &'static str,
        title: &'static str,
        keys: &'static [&'static str],
    ) -> Option<Section<'t>> {
        let value = self.get(key)?;
        if let DeValue::Table(table) = value.get_ref() {
            return Some(reader.section(title, table, value.span(), keys));
        }
        let problem = wrong_type(key, "a table", value.get_ref())
            .at(value.span())
            .help(format!("begin the section with a line `{title}`"));
        reader.report(problem);
        None
    }

    /// The tables of a list such as `[[peers]]`; empty if left out.
    pub(super) fn tables(
        &self,
        reader: &mut Reader,
        key: &'static str,
        title: &'static str,
        keys: &'static [&'static str],
    ) -> Vec<Section<'t>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let wrong = |value: &Spanned<DeValue<'_>>| {
            wrong_type(key, "a list of tables", value.get_ref())
                .at(value.span())
                .help(format!("begin each entry with a line `{title}`"))
        };
        let DeValue::Array(entries) = value.get_ref() else {
            reader.report(wrong(value));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for entry in entries {
            match entry.get_ref() {
                DeValue::Table(table) => {
                    sections.push(reader.section(title, table, entry.span(), keys));
                }
                _ => reader.report(wrong(entry)),
            }
        }
        sections
    }

    /// The tables of a table whose keys are names, such as `[vips.NAME]`; empty if left out.
    pub(super) fn named_tables(
        &self,
        reader: &mut Reader,
        key: &'static str,
        title: &'static str,
        keys: &'static [&'static str],
    ) -> Vec<(Placed<String>, Section<'t>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let wrong = |value: &Spanned<DeValue<'_>>| {
            wrong_type(key, "a table for each name", value.get_ref())
                .at(value.span())
                .help(format!("begin each with a line `{title}`"))
        };
        let DeValue::Table(entries) = value.get_ref() else {
            reader.report(wrong(value));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (name, entry) in entries {
            match entry.get_ref() {
                DeValue::Table(table) => {
                    let name = Placed::new(name.get_ref().clone().into_owned(), name.span());
                    // An implicit table stands nowhere in the file.
                    let span =
                        if entry.span().is_empty() { name.span.clone() } else { entry.span() };
                    sections.push((name, reader.section(title, table, span, keys)));
                }
                _ => reader.report(wrong(entry)),
            }
        }
        sections
    }

    /// A list of texts that may be left out.
    pub(super) fn texts(&self, reader: &mut Reader, key: &str) -> Option<Placed<Vec<String>>> {
        let value = self.get(key)?;
        let text = |entry: &Spanned<DeValue<'_>>| match entry.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => None,
        };
        let texts = match value.get_ref() {
            DeValue::Array(entries) => entries.iter().map(text).collect(),
            _ => None,
        };
        if texts.is_none() {
            let problem = wrong_type(key, "a list of texts", value.get_ref());
            reader.report(
                problem.at(value.span()).help(format!("write it as `{key} = [\"…\", \"…\"]`")),
            );
        }
        Some(Placed::new(texts?, value.span()))
    }

    /// A list of whole numbers that may be left out.
    pub(super) fn numbers(&self, reader: &mut Reader, key: &str) -> Option<Placed<Vec<u32>>> {
        let value = self.get(key)?;
        let numbers = match value.get_ref() {
            DeValue::Array(entries) => {
                entries.iter().map(|entry| whole(entry.get_ref())).collect::<Option<Vec<u32>>>()
            }
            _ => None,
        };
        if numbers.is_none() {
            let problem = wrong_type(key, "a list of whole numbers", value.get_ref());
            reader.report(problem.at(value.span()).help(format!("write it as `{key} = [1, 2]`")));
        }
        Some(Placed::new(numbers?, value.span()))
    }

    /// A whole number with a default and bounds.
    pub(super) fn number_or(
        &self,
        reader: &mut Reader,
        key: &str,
        default: u32,
        bounds: RangeInclusive<u32>,
    ) -> u32 {
        let Some(value) = self.get(key) else { return default };
        match whole(value.get_ref()) {
            Some(number) if bounds.contains(&number) => number,
            _ => {
                let (least, most) = bounds.into_inner();
                let wanted = format!("a whole number from {least} to {most}");
                let problem = Problem::error(format!("`{key}` must be {wanted}"), "not one");
                reader.report(problem.at(value.span()).help(format!("write `{key} = {default}`")));
                default
            }
        }
    }

    /// Whether the key stands in the file, or one that was reported as meaning it.
    pub(super) fn has(&self, key: &str) -> bool {
        let misspelt = |written: &str| {
            !self.keys.contains(&written) && nearest(written, self.keys) == Some(key)
        };
        self.get(key).is_some() || self.table.keys().any(|written| misspelt(written.get_ref()))
    }

    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table.get(key)
    }
}

/// The known word that is nearest to what was written, if one is near.
pub(super) fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|key| (strsim::jaro_winkler(&written.to_ascii_lowercase(), key), *key))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

/// One of a few words; the problem says which there are, and which may be meant.
pub(super) fn unknown_word(what: &str, written: &str, known: &[&str]) -> Problem {
    let list = known.join(", ");
    let problem = Problem::error(format!("{what} \"{written}\" is not known"), "not known");
    match nearest(written, known) {
        Some(near) => problem.help(format!("did you mean \"{near}\"? Use one of: {list}")),
        None => problem.help(format!("use one of: {list}")),
    }
}

fn unknown_key(title: &str, written: &str, keys: &[&str]) -> Problem {
    let place = if title.is_empty() { "the top of the file".to_owned() } else { title.to_owned() };
    let list = keys.join(", ");
    let problem = Problem::error(format!("`{written}` is not a key of {place}"), "unknown key");
    match nearest(written, keys) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help(format!("the keys here are: {list}")),
    }
}

fn whole(value: &DeValue<'_>) -> Option<u32> {
    match value {
        DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

fn wrong_type(key: &str, wanted: &str, found: &DeValue<'_>) -> Problem {
    let found = match found {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Problem::error(format!("`{key}` must be {wanted}"), format!("this is {found}"))
}
