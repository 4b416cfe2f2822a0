//! Why `vipfence dev` ends without having been asked to.

use std::path::PathBuf;

use super::{folder::FolderError, ports::PortsError};

/// `vipfence dev` failed. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum DevError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The ports cannot be had.
    #[error(transparent)]
    Ports(#[from] PortsError),
    /// A file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A part of `dev` itself cannot be set up.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A process died before the cluster was ready.
    #[error("{who} died while the cluster was starting: {how}\nits log, {log}, ends with:\n{tail}")]
    Died {
        /// Which.
        who: String,
        /// How.
        how: String,
        /// Its log.
        log: String,
        /// The last lines of it, indented.
        tail: String,
    },
    /// The cluster did not come up.
    #[error(
        "the cluster was not ready after {seconds} s: {state}\nthe logs are in {dir}; if this \
         machine is busy, try --profile tolerant"
    )]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// What was missing.
        state: String,
        /// Where everything is.
        dir: PathBuf,
    },
}

impl DevError {
    /// For `map_err`: the file could not be written.
    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }
}
