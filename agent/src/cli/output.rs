//! Everything that is printed goes through here: answers to standard output, remarks and errors
//! to standard error.
//!
//! A reader that has gone away (`| head -1`) is no error: what follows is swallowed, and streams
//! end (`is_closed`). Any other fault of standard output is remembered and reported at the end,
//! since a script must not take half an answer for a whole one.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write},
};

use super::{args::Format, failure::Failure, json};

/// Bold red, bold green.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Bad,
    Good,
}

/// Where a command prints to.
pub(crate) struct Output {
    format: Format,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    out_colours: bool,
    err_colours: bool,
    closed: bool,
    fault: Option<io::Error>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Output {
    /// Standard output and standard error; colours only on a terminal, and never against
    /// `NO_COLOR`.
    pub(crate) fn standard(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            out_colours: wanted && io::stdout().is_terminal(),
            err_colours: wanted && io::stderr().is_terminal(),
            ..Self::to(format, Box::new(io::stdout()), Box::new(io::stderr()))
        }
    }

    /// Other places, without colours.
    pub(super) fn to(
        format: Format,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        Self {
            format,
            out,
            err,
            out_colours: false,
            err_colours: false,
            closed: false,
            fault: None,
        }
    }

    /// From now on answers are printed as JSON.
    pub(super) fn set_json(&mut self) {
        self.format = Format::Json;
    }

    /// Whether answers are printed as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed || self.fault.is_some()
    }

    /// Prints lines for people; nothing with `-o json`.
    pub(super) fn line(&mut self, text: &str) {
        if !self.is_json() {
            self.write(text);
        }
    }

    /// Prints a document that is the same for people and programs.
    pub(super) fn text(&mut self, text: &str) {
        self.write(text);
    }

    /// Prints an answer as JSON over several lines.
    pub(super) fn json<M: json::Named>(&mut self, message: &M) {
        self.document(json::pretty(message));
    }

    /// Prints an answer as JSON in one line.
    pub(super) fn json_line<M: json::Named>(&mut self, message: &M) {
        self.document(json::compact(message));
    }

    /// Prints what is no answer of the API as JSON over several lines.
    pub(super) fn json_of(&mut self, value: &impl serde::Serialize) {
        self.document(serde_json::to_string_pretty(value).map_err(json::JsonError::Write));
    }

    fn document(&mut self, text: Result<String, json::JsonError>) {
        match text {
            Ok(text) => self.write(&text),
            Err(error) => self.fault = Some(io::Error::other(error)),
        }
    }

    /// Prints a remark to standard error, whatever the format.
    pub(super) fn note(&mut self, text: &str) {
        // Where standard error is gone there is nobody left to tell.
        let _ = writeln!(self.err, "{text}");
    }

    /// Prints a failure to standard error.
    pub(super) fn failure(&mut self, failure: &Failure) {
        let word = paint("error:", Paint::Bad, self.err_colours);
        self.note(&format!("{word} {failure}"));
    }

    /// A word for standard output, in colour where there are any.
    pub(super) fn painted(&self, text: &str, colour: Paint) -> String {
        paint(text, colour, self.out_colours)
    }

    /// A word for standard error, in colour where there are any.
    pub(super) fn painted_note(&self, text: &str, colour: Paint) -> String {
        paint(text, colour, self.err_colours)
    }

    /// What went wrong with standard output, if anything but a reader that left.
    pub(super) fn take_fault(&mut self) -> Option<io::Error> {
        self.fault.take()
    }

    fn write(&mut self, text: &str) {
        if self.is_closed() {
            return;
        }
        let written = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            Err(error) => self.fault = Some(error),
        }
    }
}

fn paint(text: &str, colour: Paint, colours: bool) -> String {
    let code = match colour {
        Paint::Bad => "1;31",
        Paint::Good => "1;32",
    };
    if colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
pub(super) mod capture {
    //! Outputs that a test reads.

    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written.
    #[derive(Clone, Debug, Default)]
    pub(in crate::cli) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(in crate::cli) fn text(&self) -> String {
            let bytes = self.0.lock().expect("no test panics while writing").clone();
            String::from_utf8(bytes).expect("text")
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics while writing").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output, and what goes to its standard output and standard error.
    pub(in crate::cli) fn output(format: Format) -> (Output, Written, Written) {
        let (out, err) = (Written::default(), Written::default());
        (Output::to(format, Box::new(out.clone()), Box::new(err.clone())), out, err)
    }
}

#[cfg(test)]
mod tests {
    use super::{capture::output, *};

    /// Fails every write.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_fault_and_a_full_disk_is_one() {
        let broken = |kind| Output::to(Format::Table, Box::new(Broken(kind)), Box::new(io::sink()));
        let mut left = broken(io::ErrorKind::BrokenPipe);
        left.line("one");
        left.line("two");
        assert!(left.is_closed() && left.take_fault().is_none());
        let mut full = broken(io::ErrorKind::StorageFull);
        full.line("one");
        assert!(full.is_closed() && full.take_fault().is_some());
    }

    #[test]
    fn json_output_has_no_lines_for_people() {
        let (mut out, written, notes) = output(Format::Json);
        out.line("for people");
        out.note("a remark");
        assert_eq!((written.text().as_str(), notes.text().as_str()), ("", "a remark\n"));
    }

    #[test]
    fn colours_appear_only_where_they_are_wanted() {
        assert_eq!(paint("held", Paint::Good, false), "held");
        assert_eq!(paint("held", Paint::Good, true), "\u{1b}[1;32mheld\u{1b}[0m");
    }
}
