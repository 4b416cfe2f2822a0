//! The logs of the children: plain files that they write themselves, so that a `dev` that is
//! stopped does not stop them. `dev` looks at their size now and then: beyond `LARGEST` a log
//! becomes `agent.log.1`, and the one before that goes.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// Of one log, in bytes; what is written between two looks comes on top.
const LARGEST: u64 = 16 << 20;
/// How much of the end of a log is looked at.
const TAIL: u64 = 8 << 10;

/// Opens a log for a child to append to.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // Appending is what makes cutting the file under the child's hands safe.
    File::options().create(true).append(true).open(path)
}

/// Puts the log of an earlier run aside.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    match fs::rename(path, path.with_extension("log.1")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Cuts a log that has grown too large.
pub(super) fn bound(path: &Path) -> io::Result<()> {
    bound_at(path, LARGEST)
}

fn bound_at(path: &Path, largest: u64) -> io::Result<()> {
    let log = File::options().read(true).write(true).open(path)?;
    if log.metadata()?.len() <= largest {
        return Ok(());
    }
    // The child has the file open: it is copied and emptied, not moved.
    fs::copy(path, path.with_extension("log.1"))?;
    log.set_len(0)
}

/// The last lines of a log; empty if there is nothing to be read.
pub(super) fn tail(path: &Path, lines: usize) -> Vec<String> {
    // Only for messages: what cannot be read is not shown.
    let end = read_end(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&end);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all.iter().skip(all.len().saturating_sub(lines)).map(|line| (*line).to_owned()).collect()
}

fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut log = File::open(path)?;
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut end = Vec::new();
    log.take(TAIL).read_to_end(&mut end)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_log_that_is_too_large_is_cut_while_its_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.log");
        let mut writer = open(&path).unwrap();
        writeln!(writer, "0123456789").unwrap();
        bound_at(&path, 100).unwrap();
        assert_eq!(tail(&path, 5), ["0123456789"]);
        bound_at(&path, 5).unwrap();
        writeln!(writer, "next").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "next\n");
        let before = dir.path().join("agent.log.1");
        assert_eq!(fs::read_to_string(&before).unwrap(), "0123456789\n");
        for _ in 0..2 {
            set_aside(&path).unwrap();
        }
        assert_eq!(fs::read_to_string(&before).unwrap(), "next\n");
    }

    #[test]
    fn the_tail_is_the_last_lines_with_something_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.log");
        fs::write(&path, "a\nb\n\nc\n\n").unwrap();
        assert_eq!(tail(&path, 2), ["b", "c"]);
        assert!(tail(&dir.path().join("none"), 2).is_empty());
    }
}
