//! What runs around VIPs at the moment, each under its call.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use vipfence_agent_core::{Call, Input, Task};
use vipfence_types::{Epoch, VipName};

use crate::duty::Attendant;

/// A task to do.
pub(super) struct TaskCall {
    pub(super) call: Call,
    pub(super) vip: VipName,
    pub(super) epoch: Epoch,
    pub(super) task: Task,
}

struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: AbortHandle,
}

/// All that run. With this value they are killed.
pub(super) struct Tasks {
    attendant: Arc<Attendant>,
    outcomes: mpsc::Sender<Input>,
    running: BTreeMap<Call, Running>,
}

impl Tasks {
    pub(super) fn new(attendant: Arc<Attendant>, outcomes: mpsc::Sender<Input>) -> Self {
        Self { attendant, outcomes, running: BTreeMap::new() }
    }

    /// Begins a task as soon as `ready` says that what is to be on disk before it is there.
    pub(super) fn run(&mut self, to_do: TaskCall, ready: oneshot::Receiver<Result<(), String>>) {
        self.running.retain(|_, running| !running.task.is_finished());
        let (stop, mut stopped) = oneshot::channel();
        let (attendant, outcomes) = (Arc::clone(&self.attendant), self.outcomes.clone());
        let TaskCall { call, vip, epoch, task } = to_do;
        let begun = tokio::spawn(async move {
            let ready = match ready.await {
                // Units that run on would be worse than units that are stopped twice.
                Ok(Err(_)) if task == Task::StopUnits => Ok(()),
                Ok(ready) => ready,
                Err(_) => Err("the state directory is not written any more".to_owned()),
            };
            let unwanted = !matches!(stopped.try_recv(), Err(TryRecvError::Empty));
            let told_to_stop = async move {
                // Where the other end is gone this task is, too.
                let _told = stopped.await;
            };
            let outcome = match ready {
                Ok(()) if unwanted => Err("it was not begun".to_owned()),
                Ok(()) => attendant.perform(&vip, epoch, task, told_to_stop).await,
                Err(problem) => Err(problem),
            };
            // A node that has ended needs to hear nothing.
            let _ended = outcomes.send(Input::Ran { call, outcome }).await;
        });
        self.running.insert(call, Running { stop: Some(stop), task: begun.abort_handle() });
    }

    /// Stops a task. Its end is told as ever.
    pub(super) fn abort(&mut self, call: Call) {
        let stop = self.running.get_mut(&call).and_then(|running| running.stop.take());
        if let Some(stop) = stop {
            // One that has ended meanwhile needs no stop.
            let _ended = stop.send(());
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.running.values().for_each(|running| running.task.abort());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::duty::{Hook, VipSetup};

    fn attendant(script: &str) -> Arc<Attendant> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let hook = Hook { words, timeout: Duration::from_secs(1) };
        let setup = VipSetup {
            units: vec![],
            units_timeout: Duration::from_secs(1),
            reset_connections: true,
            serve_all_the_same: false,
            hooks: BTreeMap::from([(Task::PreAcquire, hook)]),
            checks: vec![],
        };
        Arc::new(Attendant::of(BTreeMap::from([(VipName::new("demo").unwrap(), setup)])))
    }

    fn begin(tasks: &mut Tasks, call: u64) -> oneshot::Sender<Result<(), String>> {
        let (reached, ready) = oneshot::channel();
        let vip = VipName::new("demo").unwrap();
        let to_do = TaskCall { call: Call(call), vip, epoch: Epoch(7), task: Task::PreAcquire };
        tasks.run(to_do, ready);
        reached
    }

    async fn there(path: &Path) {
        while std::fs::read_to_string(path).unwrap_or_default().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn next(inputs: &mut mpsc::Receiver<Input>) -> (Call, Result<(), String>) {
        match tokio::time::timeout(Duration::from_secs(20), inputs.recv()).await.unwrap() {
            Some(Input::Ran { call, outcome }) => (call, outcome),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_task_begins_when_the_disk_is_ready_and_not_at_all_where_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ran");
        let (outcomes, mut inputs) = mpsc::channel(8);
        let mut tasks = Tasks::new(attendant(&format!("echo x >> {}", file.display())), outcomes);
        let first = begin(&mut tasks, 1);
        let second = begin(&mut tasks, 2);
        second.send(Err("the disk is full".to_owned())).unwrap();
        assert_eq!(next(&mut inputs).await, (Call(2), Err("the disk is full".to_owned())));
        assert!(!file.exists());
        first.send(Ok(())).unwrap();
        assert_eq!(next(&mut inputs).await, (Call(1), Ok(())));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x\n");
    }

    #[tokio::test]
    async fn a_task_that_is_aborted_before_the_disk_is_ready_never_begins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ran");
        let (outcomes, mut inputs) = mpsc::channel(8);
        let mut tasks = Tasks::new(attendant(&format!("echo x > {}", file.display())), outcomes);
        let reached = begin(&mut tasks, 1);
        tasks.abort(Call(1));
        reached.send(Ok(())).unwrap();
        assert_eq!(next(&mut inputs).await, (Call(1), Err("it was not begun".to_owned())));
        assert!(!file.exists());
    }

    #[tokio::test]
    async fn a_task_that_is_aborted_is_killed_and_its_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("begun");
        let (outcomes, mut inputs) = mpsc::channel(8);
        let mut tasks =
            Tasks::new(attendant(&format!("echo x > {}; sleep 600", file.display())), outcomes);
        begin(&mut tasks, 1).send(Ok(())).unwrap();
        there(&file).await;
        tasks.abort(Call(2));
        tasks.abort(Call(1));
        tasks.abort(Call(1));
        let (call, outcome) = next(&mut inputs).await;
        assert_eq!(call, Call(1));
        assert!(outcome.unwrap_err().contains("took too long"));
    }
}
