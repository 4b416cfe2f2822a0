//! The life of a child of `vipfence dev` is tied to `dev` by the kernel: however `dev` dies, the
//! child is killed, also while it is stopped.
//!
//! The child asks for that itself, since doing it between fork and exec needs `unsafe`. Two
//! things to know about `PR_SET_PDEATHSIG`: it belongs to the *thread* that calls it (hence the
//! main thread, which lives as long as the process), and it fires when the *thread* that forked
//! the child ends (hence `children::Spawner`).

/// Names the process id of the `vipfence dev` that started this process.
pub(super) const PARENT: &str = "VIPFENCE_DEV_PARENT";

/// The `vipfence dev` that started this process is gone, or the life of this process cannot be
/// tied to it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Orphan {
    /// It died before this process could ask to die with it.
    #[error("the vipfence dev (process {0}) that started this process is gone")]
    Gone(String),
    /// The kernel refuses.
    #[error("cannot ask the kernel to end this process together with vipfence dev")]
    Refused(#[source] std::io::Error),
}

/// Asks the kernel to kill this process when the `vipfence dev` that started it dies. Does nothing
/// in a process that was not started by one. To be called on the main thread.
///
/// # Errors
/// That process is gone already: this one must not run.
pub(super) fn die_with_parent() -> Result<(), Orphan> {
    match std::env::var(PARENT) {
        Ok(parent) => tie(&parent),
        Err(_) => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn tie(parent: &str) -> Result<(), Orphan> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Orphan::Refused(error.into()))?;
    // Whoever dies after this line takes us along; who died before it has left us to another.
    let present = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if present.as_deref() == Some(parent) { Ok(()) } else { Err(Orphan::Gone(parent.to_owned())) }
}

#[cfg(not(target_os = "linux"))]
fn tie(_parent: &str) -> Result<(), Orphan> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_parent_is_another_one_must_not_run() {
        let text = tie("1234567890").expect_err("no such parent").to_string();
        assert!(text.contains("process 1234567890"), "{text}");
        rustix::process::set_parent_process_death_signal(None).expect("undone");
    }
}
