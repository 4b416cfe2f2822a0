//! A network namespace, and the thread that lives in it.
//!
//! Which namespace a socket belongs to is decided by the thread that makes it, and a process
//! inherits that of the thread that starts it. So each namespace has one thread, which does both on
//! behalf of others; a socket that it hands out may be used anywhere.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::shell::run;
use crate::Process;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace of this enclosure.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    jobs: Sender<Job>,
}

impl Namespace {
    /// Makes one. `ip -n NAME` knows it, and the enclosure's own namespace has an id for it.
    pub(super) fn make(name: &str) -> Self {
        run("ip", &["netns", "add", name], "");
        // Without it no event of this namespace would be told outside.
        run("ip", &["netns", "set", name, "auto"], "");
        let handle = File::open(format!("/run/netns/{name}")).expect("ip has made it");
        let (jobs, todo) = channel::<Job>();
        let thread = thread::Builder::new().name(format!("in {name}"));
        let living = move || {
            move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root of the user namespace may enter");
            for job in todo {
                job();
            }
        };
        thread.spawn(living).expect("a thread");
        Self { name: name.to_owned(), jobs }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does something there, and returns what came of it.
    ///
    /// # Panics
    /// If the job panics.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job = move || {
            // Nobody waits any more if the test has failed meanwhile.
            let _ = done.send(job());
        };
        self.jobs.send(Box::new(job)).expect("its thread runs");
        result.recv().expect("the job panicked in its namespace")
    }

    /// Starts a program there.
    #[must_use]
    pub fn start(&self, name: &str, command: Command) -> Process {
        let name = name.to_owned();
        self.run(move || Process::start(&name, command))
    }

    /// Runs lines of `ip -batch` there.
    pub fn ip(&self, lines: &str) {
        run("ip", &["-n", &self.name, "-batch", "-"], lines);
    }
}
