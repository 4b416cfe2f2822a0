//! The one tokio runtime of the harness, so that tests can be plain functions.

use std::future::Future;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// Waits for a future. Not to be called from a task of the harness.
pub fn block_on<F: Future>(work: F) -> F::Output {
    RUNTIME.block_on(work)
}

/// Runs a future in the background.
pub(crate) fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    RUNTIME.spawn(work)
}
