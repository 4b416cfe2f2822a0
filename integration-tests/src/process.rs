//! Processes that die with the test: at the latest when the test process does, also of `kill -9`.

use std::io::Read;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait_until;

/// A process of ours, and what it prints.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    /// Of both streams, as it came.
    output: Arc<Mutex<String>>,
    /// Of standard output alone.
    out: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    watchdog: Watchdog,
}

/// A process that has ended, and what it printed.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Both streams, as they came: pieces of the two may stand in any order.
    pub output: String,
    /// Standard output.
    pub out: String,
}

/// A shell that kills a process as soon as our end of its standard input is gone.
#[derive(Debug)]
struct Watchdog {
    shell: Child,
    _line: ChildStdin,
}

impl Watchdog {
    fn of(pid: u32) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", "cat >/dev/null; kill -9 \"$1\" 2>/dev/null", "sh", &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let line = shell.stdin.take().expect("it is piped");
        Self { shell, _line: line }
    }

    fn dismiss(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

impl Process {
    /// Starts a program.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let watchdog = Watchdog::of(child.id());
        let (output, out) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take().expect("it is piped"), &[&output, &out]),
            collect(child.stderr.take().expect("it is piped"), &[&output]),
        ];
        Self { name: name.to_owned(), child, ended: None, output, out, readers, watchdog }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has printed so far, on both streams.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that it printed until its end, which this waits for.
    ///
    /// # Panics
    /// If it does not end within `limit`.
    pub fn end_with_output(mut self, limit: Duration) -> Ended {
        let status = self.end(limit);
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ended { status, output: self.output(), out }
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("it is our child");
            if self.ended.is_some() {
                // Its number may soon be another process's.
                self.watchdog.dismiss();
            }
        }
        self.ended
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not within `limit`.
    pub fn end(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait_until(&what, limit, || self.ended().ok_or_else(|| self.output()))
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            send(self.pid(), signal);
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
            self.watchdog.dismiss();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(mut from: impl Read + Send + 'static, into: &[&Arc<Mutex<String>>]) -> JoinHandle<()> {
    let into: Vec<Arc<Mutex<String>>> = into.iter().map(|into| Arc::clone(into)).collect();
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let text = String::from_utf8_lossy(&piece[..length]);
            for into in &into {
                into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        }
    })
}

/// Sends a signal to a process that the caller knows to be one of ours.
pub(crate) fn send(pid: u32, signal: Signal) {
    let number = i32::try_from(pid).expect("a process id");
    let pid = Pid::from_raw(number).expect("not 0");
    // It may have ended meanwhile.
    let _ = kill_process(pid, signal);
}

/// Whether a process runs; one that has ended and waits to be reaped does not.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // `17 (name) S ...`: the name may contain anything.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
