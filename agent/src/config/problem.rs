//! What is wrong with a configuration file, and how it is shown: the message, the line with a
//! mark under the place, and what to do.

use std::{fmt, io, ops::Range, path::PathBuf};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};

/// Whether a problem keeps the node from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It does.
    Error,
    /// It does not, but is probably not meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Whether the node can start all the same.
    pub(crate) severity: Severity,
    /// One sentence.
    pub(crate) message: String,
    /// What stands under the mark.
    pub(crate) label: String,
    /// The bytes of the file that it is about; empty = the file as a whole.
    pub(crate) span: Range<usize>,
    /// What to do.
    pub(crate) help: Option<String>,
}

impl Problem {
    /// Something that keeps the node from starting.
    pub(crate) fn error(message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            label: label.into(),
            span: 0..0,
            help: None,
        }
    }

    /// Something that is probably not meant.
    pub(crate) fn warning(message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message, label) }
    }

    /// Where it is.
    pub(crate) fn at(mut self, span: Range<usize>) -> Self {
        self.span = span;
        self
    }

    /// What to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The problems of one file. Shown without colours by `Display`.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    file: String,
    text: String,
    problems: Vec<Problem>,
}

impl Report {
    /// Puts the problems in the order of the file.
    pub(crate) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.start);
        Self { file: file.to_owned(), text: text.to_owned(), problems }
    }

    /// The problems, in the order of the file.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All problems with their places, for a terminal that has colours or one that has none.
    pub(crate) fn render(&self, colours: bool) -> String {
        let theme =
            if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(100)
            .with_context_lines(1);
        let mut out = String::new();
        for problem in &self.problems {
            if !out.is_empty() {
                out.push('\n');
            }
            let shown = Shown { problem, source: NamedSource::new(&self.file, self.text.clone()) };
            if handler.render_report(&mut out, &shown).is_err() {
                // A span that the renderer cannot place must not hide the message.
                out.push_str(&problem.message);
                out.push('\n');
            }
        }
        out
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file says something that cannot be.
    #[error("the configuration {file} is not valid\n\n{0}", file = .0.file)]
    Invalid(Report),
}

impl ConfigError {
    /// The error as people read it, in colours if the terminal has them.
    pub(crate) fn render(&self, colours: bool) -> String {
        match self {
            Self::Invalid(report) => report.render(colours),
            Self::Unreadable { path, source } => {
                let help = match source.kind() {
                    io::ErrorKind::NotFound => "give the path of an existing file with --config",
                    io::ErrorKind::PermissionDenied => "let the user of the agent read the file",
                    _ => "--config needs the path of a text file",
                };
                let why = source.to_string();
                // The number of the error tells people nothing.
                let why = why.split(" (os error").next().unwrap_or_default();
                format!("error: cannot read {}: {why}\nhelp: {help}\n", path.display())
            }
        }
    }
}

/// A problem with the text that it is about, as miette wants it.
struct Shown<'a> {
    problem: &'a Problem,
    source: NamedSource<String>,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.problem, f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.problem.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = Some(self.problem.label.clone());
        let span = LabeledSpan::new_with_span(label, self.problem.span.clone());
        Some(Box::new(std::iter::once(span)))
    }
}
