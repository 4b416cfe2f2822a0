//! Programs that the agent runs for others: hooks, checks, `systemctl`.
//!
//! Each is a process group of its own. It is told to stop by SIGTERM, and killed a second later; what
//! it leaves behind in its group when it ends is killed, too: what is to run on belongs into a unit.
//! What it says is kept up to a bound, the end of it.
//!
//! The program itself dies with the agent, however that dies: the kernel kills it (Linux). What it
//! has started dies with an agent that ends cleanly; of one that was killed it is the service manager
//! who ends it (systemd kills the whole control group of its unit).
//!
//! Deliberately not here: how long something may take.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    process::{Child, Command},
};

use crate::spawner::Spawner;

/// How much of what a program says is kept: the end of it.
const KEPT: usize = 4_096;
/// What a program gets to end by itself once it is told to.
const GRACE: Duration = Duration::from_secs(1);
/// What a pipe holds.
const PIPE: u64 = 64 * 1_024;

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
    /// All that is in its environment; none = the agent's.
    pub(crate) environment: Option<Vec<(&'static str, String)>>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code 0, or what else, in words for people.
    pub(crate) outcome: Result<(), String>,
    /// The end of what it said, on standard output and standard error.
    pub(crate) said: String,
}

impl Ended {
    /// The outcome, with what the program said where it failed.
    pub(crate) fn told(self) -> Result<(), String> {
        self.outcome.map_err(|problem| match self.said.trim() {
            "" => problem,
            said => format!("{problem}; it said: {said}"),
        })
    }
}

/// Runs a program to its end, or until `stop` is ready. Where the future is dropped, the program and
/// what it has started are killed.
pub(crate) async fn run(
    spawner: &Spawner,
    program: &Program,
    stop: impl Future<Output = ()>,
) -> Ended {
    match start_and_wait(spawner, program, stop).await {
        Ok(ended) => ended,
        Err(error) => {
            let name = program.words.first().map_or("", String::as_str);
            Ended { outcome: Err(format!("cannot run {name}: {error}")), said: String::new() }
        }
    }
}

async fn start_and_wait(
    spawner: &Spawner,
    program: &Program,
    stop: impl Future<Output = ()>,
) -> io::Result<Ended> {
    let (hears, speaks) = io::pipe()?;
    let child = spawner.spawn(command(program, speaks)?).await?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(hears))?;
    let mut running = Running { child, pipe, open: true, said: Vec::new() };
    let (stopped, status) = tokio::select! {
        status = running.end() => (false, status?),
        () = stop => {
            group.signal(Signal::TERM);
            let status = match tokio::time::timeout(GRACE, running.end()).await {
                Ok(status) => status?,
                Err(_) => {
                    group.signal(Signal::KILL);
                    // Whoever is beyond SIGKILL is waited for.
                    running.end().await?
                }
            };
            (true, status)
        }
    };
    // What it left behind, which may be in the middle of what must not go on.
    drop(group);
    let outcome = match (stopped, status.success()) {
        (true, _) => Err(format!("it took too long, or was not wanted any more ({status})")),
        (false, true) => Ok(()),
        (false, false) => Err(status.to_string()),
    };
    Ok(Ended { outcome, said: running.last_words() })
}

fn command(program: &Program, speaks: io::PipeWriter) -> io::Result<Command> {
    let [first, rest @ ..] = &program.words[..] else {
        return Err(io::Error::other("no program is named"));
    };
    let mut command = Command::new(first);
    if let Some(environment) = &program.environment {
        command.env_clear().envs(environment.iter().map(|(key, value)| (key, value)));
    }
    command
        .args(rest)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(speaks.try_clone()?)
        .stderr(speaks)
        .process_group(0)
        .kill_on_drop(true);
    die_with_agent(&mut command);
    Ok(command)
}

/// However the agent dies, its kernel kills the program. (Not one that is setuid, and nothing that it
/// has started.)
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "nothing else runs between fork and exec, and a program asks by itself \
                                only where it is ours"
)]
fn die_with_agent(command: &mut Command) {
    use rustix::process::{getppid, set_parent_process_death_signal};
    let agent = Pid::from_raw(i32::try_from(std::process::id()).unwrap_or_default());
    let tie = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // One that died before that line has left us to another.
        if getppid() == agent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: `tie` makes two system calls, and neither allocates nor takes a lock nor touches memory
    // that it does not own, so it may run in the child of a process with threads. (An `io::Error` of
    // a number or of a kind alone is no allocation.)
    unsafe { command.pre_exec(tie) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_agent(_command: &mut Command) {}

/// A program that runs.
struct Running {
    child: Child,
    pipe: pipe::Receiver,
    open: bool,
    said: Vec<u8>,
}

impl Running {
    /// Waits for its end, and listens meanwhile. May be given up and begun again.
    async fn end(&mut self) -> io::Result<ExitStatus> {
        let mut buffer = [0; KEPT];
        loop {
            tokio::select! {
                status = self.child.wait() => return status,
                read = self.pipe.read(&mut buffer), if self.open => match read {
                    Ok(0) | Err(_) => self.open = false,
                    Ok(length) => self.hear(&buffer[..length]),
                },
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
        let too_much = self.said.len().saturating_sub(KEPT);
        self.said.drain(..too_much);
    }

    /// What stands in the pipe is heard, too, up to a bound: one that left the group may go on.
    fn last_words(mut self) -> String {
        let mut said = std::mem::take(&mut self.said);
        // The runtime may not know yet that there is something; the kernel does, and nothing waits.
        if let Ok(pipe) = self.pipe.into_nonblocking_fd() {
            let mut rest = File::from(pipe).take(PIPE);
            let _would_wait = rest.read_to_end(&mut said);
        }
        let too_much = said.len().saturating_sub(KEPT);
        String::from_utf8_lossy(&said[too_much..]).into_owned()
    }
}

/// The process group of a program. It is killed when this is dropped, which is before its number can
/// belong to another: the program is not waited for yet, or has been a moment ago, and the kernel
/// gives numbers out in turn.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // An empty group hears nothing.
            let _empty = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, path::Path};

    use rustix::process::test_kill_process;

    use super::*;

    fn shell(script: &str) -> Program {
        let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Program { words, environment: Some(vec![("SAID", "hello".to_owned())]) }
    }

    async fn run_shell(script: &str, stop: impl Future<Output = ()>) -> Ended {
        let (spawner, program) = (Spawner::new().unwrap(), shell(script));
        let ended = run(&spawner, &program, stop);
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap()
    }

    /// Ready when there is such a file with something in it.
    async fn there(path: &Path) {
        while std::fs::read_to_string(path).unwrap_or_default().trim().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn process_in(path: &Path) -> Pid {
        let text = std::fs::read_to_string(path).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    async fn gone(pid: Pid) {
        // Whoever adopts it waits for it, in time.
        while test_kill_process(pid).is_ok() && !is_zombie(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_zombie(pid: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| stat.contains(") Z "))
    }

    #[tokio::test]
    async fn an_exit_code_and_what_was_said_are_told_and_nothing_else_is_in_the_environment() {
        let ended = run_shell("echo $SAID $HOME; pwd; echo oh >&2; exit 3", pending()).await;
        assert_eq!(ended.said, "hello\n/\noh\n");
        assert_eq!(ended.told().unwrap_err(), "exit status: 3; it said: hello\n/\noh");
        assert_eq!(run_shell("true", pending()).await.told(), Ok(()));
        assert_eq!(
            run_shell("kill -9 $$", pending()).await.told().unwrap_err(),
            "signal: 9 (SIGKILL)"
        );
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let program = Program { words: vec!["/no/such/program".to_owned()], environment: None };
        let ended = run(&Spawner::new().unwrap(), &program, pending()).await;
        let told = ended.told().unwrap_err();
        assert!(told.starts_with("cannot run /no/such/program: No such file"), "{told}");
    }

    #[tokio::test]
    async fn of_much_that_is_said_the_end_is_kept() {
        let ended =
            run_shell("i=0; while [ $i -lt 9999 ]; do echo $i; i=$((i+1)); done", pending());
        let said = ended.await.said;
        assert_eq!(said.len(), KEPT);
        assert!(said.ends_with("\n9997\n9998\n"), "{said}");
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_is_killed_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        // The shell ends at once; what it left behind holds its output open.
        let ended =
            run_shell(&format!("sleep 600 & echo $! > {}", file.display()), pending()).await;
        assert_eq!(ended.outcome, Ok(()));
        gone(process_in(&file)).await;
    }

    #[tokio::test]
    async fn a_program_that_is_told_to_stop_may_clean_up_and_is_killed_where_it_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        for (deaf, said) in [(false, "cleaned\n"), (true, "")] {
            let _ = std::fs::remove_file(&file);
            let trap = if deaf { "trap '' TERM" } else { "trap 'echo cleaned; exit 0' TERM" };
            let script = format!("{trap}; sleep 600 & echo $! > {}; wait; wait", file.display());
            let ended = run_shell(&script, there(&file)).await;
            assert!(ended.outcome.is_err(), "{ended:?}");
            assert_eq!(ended.said, said, "{ended:?}");
            gone(process_in(&file)).await;
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let spawner = Spawner::new().unwrap();
        let program = shell(&script);
        tokio::select! {
            ended = run(&spawner, &program, pending()) => panic!("{ended:?}"),
            () = there(&file) => {}
        }
        gone(process_in(&file)).await;
    }

    /// The thread that forks stands for the agent: the kernel knows no difference.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_program_dies_with_whoever_started_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let spawner = Spawner::new().unwrap();
        let script = format!("echo $$ > {}; exec sleep 600", file.display());
        let (_hears, speaks) = io::pipe().unwrap();
        let mut command = command(&shell(&script), speaks).unwrap();
        let mut child = spawner
            .spawn({
                command.kill_on_drop(false);
                command
            })
            .await
            .unwrap();
        there(&file).await;
        drop(spawner);
        let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.unwrap();
        assert_eq!(status.unwrap().to_string(), "signal: 9 (SIGKILL)");
    }
}
