//! The processes that `vipfence dev` starts: started from one thread, watched until they end.
//!
//! A child asks the kernel to be killed when the *thread* that forked it ends (`parent`). A worker
//! of the runtime may end before the process does; the [`Spawner`]'s thread ends with `Children`.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use tokio::{
    process::Command,
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::parent::PARENT;
use crate::spawner::Spawner;

/// A child's place in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Simulator,
    /// By index.
    Node(usize),
}

/// A child has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exited {
    pub(super) who: Who,
    pub(super) pid: u32,
    /// Killed by a signal, so that its log says nothing of it.
    pub(super) killed: bool,
    /// "killed by signal 9"
    pub(super) how: String,
}

/// What is to be run.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) who: Who,
    pub(super) program: &'a OsStr,
    pub(super) arguments: Vec<&'a OsStr>,
    /// Takes standard output and standard error.
    pub(super) log: File,
}

/// All children. They end with this value.
#[derive(Debug)]
pub(super) struct Children {
    spawner: Spawner,
    watchers: JoinSet<()>,
    /// Any change ends all.
    stop: watch::Sender<()>,
    report: mpsc::UnboundedSender<Exited>,
    /// Bounded by the number of children, each of which is watched by somebody who restarts it.
    exits: mpsc::UnboundedReceiver<Exited>,
}

impl Children {
    pub(super) fn new() -> io::Result<Self> {
        let (report, exits) = mpsc::unbounded_channel();
        Ok(Self {
            spawner: Spawner::new()?,
            watchers: JoinSet::new(),
            stop: watch::Sender::new(()),
            report,
            exits,
        })
    }

    /// Starts a child and returns its process id.
    pub(super) async fn start(&mut self, start: Start<'_>) -> io::Result<u32> {
        let who = start.who;
        let mut child = self.spawner.spawn(command(start)?).await?;
        let pid = child.id().ok_or_else(|| io::Error::other("it has ended already"))?;
        let report = self.report.clone();
        let mut stop = self.stop.subscribe();
        self.watchers.spawn(async move {
            let status = tokio::select! {
                status = child.wait() => Some(status),
                _ = stop.changed() => None,
            };
            let Some(status) = status else {
                // SIGKILL, and reaps; also one that is stopped.
                let _ = child.kill().await;
                return;
            };
            // Nobody listens any more only when everything ends.
            let _ = report.send(exited(who, pid, status));
        });
        Ok(pid)
    }

    /// The next child that ends by itself.
    pub(super) async fn next_exit(&mut self) -> Exited {
        loop {
            tokio::select! {
                exited = self.exits.recv() => match exited {
                    Some(exited) => return exited,
                    // `self.report` keeps the channel open.
                    None => std::future::pending().await,
                },
                // What the watcher had to say is in the channel.
                Some(_) = self.watchers.join_next() => {}
            }
        }
    }

    /// Kills all, and waits until they are gone.
    pub(super) async fn stop(mut self) {
        self.stop.send_replace(());
        while self.watchers.join_next().await.is_some() {}
    }
}

fn command(start: Start<'_>) -> io::Result<Command> {
    let mut command = Command::new(start.program);
    command
        .args(start.arguments)
        .env(PARENT, std::process::id().to_string())
        // A proxy of this machine's user has no business between them.
        .env("NO_PROXY", "127.0.0.1,localhost")
        .env("no_proxy", "127.0.0.1,localhost")
        // For a file, not for a terminal.
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(start.log.try_clone()?)
        .stderr(start.log)
        // Ctrl-C is for `dev` alone, which ends them.
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

fn exited(who: Who, pid: u32, status: io::Result<ExitStatus>) -> Exited {
    let (killed, how) = match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => (true, format!("killed by signal {signal}")),
            (None, Some(code)) => (false, format!("ended with exit code {code}")),
            (None, None) => (false, status.to_string()),
        },
        Err(error) => (false, format!("cannot be waited for: {error}")),
    };
    Exited { who, pid, killed, how }
}

/// The program that runs, to be run again. The path of a binary that was built anew meanwhile
/// leads nowhere; the kernel still has the one that runs.
pub(super) fn own_program() -> PathBuf {
    match std::env::current_exe() {
        Ok(path) if path.exists() => path,
        _ => PathBuf::from("/proc/self/exe"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn shell(children: &mut Children, log: File, script: &str) -> u32 {
        let start = Start {
            who: Who::Node(1),
            program: OsStr::new("/bin/sh"),
            arguments: vec![OsStr::new("-c"), OsStr::new(script)],
            log,
        };
        children.start(start).await.unwrap()
    }

    #[tokio::test]
    async fn an_end_is_told_with_its_cause_and_the_log_has_what_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.log");
        let mut children = Children::new().unwrap();
        let script = format!("echo to ${PARENT}; echo and >&2; exit 3");
        let pid = shell(&mut children, super::super::logs::open(&path).unwrap(), &script).await;
        let exited = timeout(Duration::from_secs(10), children.next_exit()).await.unwrap();
        let how = "ended with exit code 3".to_owned();
        assert_eq!(exited, Exited { who: Who::Node(1), pid, killed: false, how });
        let log = std::fs::read_to_string(&path).unwrap();
        assert_eq!(log, format!("to {}\nand\n", std::process::id()));
        let pid = shell(&mut children, tempfile::tempfile().unwrap(), "kill -9 $$").await;
        let exited = timeout(Duration::from_secs(10), children.next_exit()).await.unwrap();
        assert_eq!((exited.pid, exited.how.as_str()), (pid, "killed by signal 9"));
    }

    #[tokio::test]
    async fn a_stopped_child_ends_with_the_others() {
        let mut children = Children::new().unwrap();
        let script = "kill -STOP $$; sleep 600";
        let pid = shell(&mut children, tempfile::tempfile().unwrap(), script).await;
        timeout(Duration::from_secs(10), children.stop()).await.unwrap();
        let raw = i32::try_from(pid).unwrap();
        let pid = rustix::process::Pid::from_raw(raw).unwrap();
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
