//! Starts processes from one thread.
//!
//! The kernel can be asked to kill a process when the *thread* that forked it ends
//! (`PR_SET_PDEATHSIG`). A worker of the runtime may end before the agent does; this thread does not.
//! And a fork, which copies the page tables of the whole process, holds up nobody who renews leases.

use std::{io, sync::mpsc as std_mpsc, thread};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

/// The thread that forks. It ends with the last clone of this.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    jobs: std_mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    command: Command,
    answer: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread, on the present runtime.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn new() -> io::Result<Self> {
        let (jobs, inbox) = std_mpsc::channel::<Job>();
        let runtime = Handle::current();
        thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            for mut job in inbox {
                // A child that nobody waits for is killed when it is dropped.
                let _ = job.answer.send(job.command.spawn());
            }
        })?;
        Ok(Self { jobs })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts processes is gone");
        let (answer, child) = oneshot::channel();
        self.jobs.send(Job { command, answer }).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}
