//! The loop: receive, step, execute in order, feed back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use vipfence_agent_core::{Call, Effect, Event, HeldVip, Input, LOOK_EVERY, LocalView};
use vipfence_types::{BootId, Clocks, Heartbeat, VipName};

use super::calls::{AddCall, DiskCall, OsCall, watch_os, work_disk, work_os};
use super::state::NodeState;
use super::tasks::{TaskCall, Tasks};
use super::transport::{BeatError, BeatTransport};
use super::{NodeHandle, NodeTally, journal};
use crate::duty::Attendant;
use crate::os::{Addition, AddressDriver, Deadline};
use crate::supervisor::Supervisor;

/// How long an ending node waits for its queues, so that the state directory is free afterwards.
const END_WAIT: Duration = Duration::from_secs(1);

/// What only the loop needs.
pub(super) struct Workings {
    pub(super) boot: BootId,
    pub(super) driver: Arc<dyn AddressDriver>,
    pub(super) transport: Arc<dyn BeatTransport>,
    pub(super) state: NodeState,
    pub(super) published: watch::Sender<LocalView>,
    pub(super) served: watch::Sender<BTreeSet<VipName>>,
    pub(super) supervisor: Supervisor,
    pub(super) tally: Arc<dyn NodeTally>,
    pub(super) attendant: Arc<Attendant>,
    /// The VIPs around which all is done, or not yet.
    pub(super) complete: BTreeMap<VipName, bool>,
}

/// A node's loop.
pub(super) struct Runner {
    handle: NodeHandle,
    boot: BootId,
    transport: Arc<dyn BeatTransport>,
    published: watch::Sender<LocalView>,
    served: watch::Sender<BTreeSet<VipName>>,
    supervisor: Supervisor,
    tally: Arc<dyn NodeTally>,
    attendant: Arc<Attendant>,
    tasks: Tasks,
    complete: BTreeMap<VipName, bool>,
    os: UnboundedSender<OsCall>,
    disk: UnboundedSender<DiskCall>,
    workers: [JoinHandle<()>; 2],
    watching: JoinHandle<()>,
}

impl Runner {
    pub(super) fn new(handle: NodeHandle, workings: Workings) -> Self {
        let (os, os_calls) = mpsc::unbounded_channel();
        let (disk, disk_calls) = mpsc::unbounded_channel();
        let clocks = Arc::clone(&handle.clocks);
        let outcomes = handle.inputs.clone();
        let tasks = Tasks::new(Arc::clone(&workings.attendant), outcomes.clone());
        let watching = tokio::spawn(watch_os(Arc::clone(&workings.driver), outcomes.clone()));
        let workers = [
            tokio::spawn(work_os(os_calls, workings.driver, clocks, outcomes.clone())),
            tokio::spawn(work_disk(disk_calls, workings.state, outcomes)),
        ];
        Self {
            handle,
            boot: workings.boot,
            transport: workings.transport,
            published: workings.published,
            served: workings.served,
            supervisor: workings.supervisor,
            tally: workings.tally,
            attendant: workings.attendant,
            tasks,
            complete: workings.complete,
            os,
            disk,
            workers,
            watching,
        }
    }

    /// Runs until the machine has stopped. Whoever watches the views sees the end of them after
    /// the state directory was given back.
    pub(super) async fn run(mut self, first: Vec<Effect>, inputs: mpsc::Receiver<Input>) {
        self.repeat(first, inputs).await;
        self.watching.abort();
        drop((self.os, self.disk, self.tasks));
        for worker in self.workers {
            // One that hangs in the OS or on the disk dies with the process.
            let _hangs = tokio::time::timeout(END_WAIT, worker).await;
        }
        self.supervisor.end(&self.handle.view());
        drop(self.published);
    }

    async fn repeat(&mut self, first: Vec<Effect>, mut inputs: mpsc::Receiver<Input>) {
        let longest_sleep = LOOK_EVERY.min(self.supervisor.look_every());
        self.execute(first);
        loop {
            let wait = {
                let now = self.handle.clocks.now();
                self.handle.holder().next_deadline(now)
            };
            let Some(wait) = wait else {
                return;
            };
            let input = tokio::select! {
                Some(input) = inputs.recv() => input,
                () = self.handle.nudged.notified() => Input::Nudged,
                () = tokio::time::sleep(wait.min(longest_sleep)) => Input::Tick,
            };
            let effects = {
                // Read before the lock is waited for: early is safe, late is not.
                let now = self.handle.clocks.now();
                self.handle.holder().step(now, input)
            };
            self.execute(effects);
            self.publish();
        }
    }

    fn execute(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { heartbeat, give_up_after } => self.send(*heartbeat, give_up_after),
                Effect::Add {
                    call,
                    vip,
                    epoch,
                    addresses,
                    lifetime,
                    computed_at,
                    start_within,
                    probe,
                } => {
                    let deadline = self.deadline(computed_at, start_within);
                    let addition = Addition { vip, epoch, addresses, lifetime, deadline, probe };
                    self.ask_os(OsCall::Add(AddCall { call, addition }));
                }
                Effect::Drop { call, vip, addresses } => {
                    let reset = self.attendant.resets_connections(&vip);
                    self.ask_os(OsCall::Remove { call, addresses, reset });
                }
                Effect::Sweep { call, managed, keep } => {
                    self.ask_os(OsCall::Sweep { call, managed, keep })
                }
                Effect::Tell { vip, connections, computed_at, start_within } => {
                    if self.attendant.resets_connections(&vip) {
                        let deadline = self.deadline(computed_at, start_within);
                        self.ask_os(OsCall::Tell { connections, deadline });
                    }
                }
                Effect::PersistSpent { call, vip, addresses, epoch } => {
                    self.ask_disk(DiskCall::Spend { call, vip, addresses, epoch })
                }
                Effect::PersistHighest { epoch } => self.ask_disk(DiskCall::See(epoch)),
                Effect::Reach { call, target, within } => self.reach(call, target, within),
                // The machine has an eye on the time, and aborts.
                Effect::Run { call, vip, epoch, task, within: _ } => {
                    let (reached, ready) = oneshot::channel();
                    self.ask_disk(DiskCall::Reached(vip.clone(), reached));
                    self.tasks.run(TaskCall { call, vip, epoch, task }, ready);
                }
                Effect::Abort { call } => self.tasks.abort(call),
                Effect::NoteServing { vip, serving } => {
                    match serving {
                        Some(serving) => self.complete.insert(vip.clone(), serving.complete),
                        None => self.complete.remove(&vip),
                    };
                    self.ask_disk(DiskCall::Serve(vip, serving));
                }
                Effect::Event(event) => {
                    self.show_token(&event);
                    journal::write(&event);
                    self.tally.event(&event);
                }
                Effect::Stopped => tracing::info!("the node has stopped"),
            }
        }
    }

    fn send(&self, heartbeat: Heartbeat, give_up_after: Duration) {
        let transport = Arc::clone(&self.transport);
        let inputs = self.handle.inputs.clone();
        let (boot, seq) = (self.boot.clone(), heartbeat.seq);
        tokio::spawn(async move {
            let beat = tokio::time::timeout(give_up_after, transport.beat(heartbeat));
            let outcome = match beat.await {
                Ok(Ok(answer)) => Input::Answered { boot, answer },
                Ok(Err(BeatError::Refused(refusal))) => Input::Refused { boot, seq, refusal },
                Ok(Err(BeatError::Unreachable(problem))) => {
                    Input::Unreachable { boot, seq, problem }
                }
                Err(_) => {
                    let problem = format!("no answer within {} ms", give_up_after.as_millis());
                    Input::Unreachable { boot, seq, problem }
                }
            };
            // A node that has ended needs to hear nothing.
            let _ended = inputs.send(outcome).await;
        });
    }

    fn reach(&self, call: Call, target: SocketAddr, within: Duration) {
        let inputs = self.handle.inputs.clone();
        tokio::spawn(async move {
            let answered = match tokio::time::timeout(within, TcpStream::connect(target)).await {
                Ok(Ok(_)) => true,
                // Whoever has the address says so.
                Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
                Err(_) => false,
            };
            // A node that has ended needs to hear nothing.
            let _ended = inputs.send(Input::Reached { call, answered }).await;
        });
    }

    /// The token stands in its file for as long as the node may hold the VIP.
    fn show_token(&self, event: &Event) {
        match event {
            Event::Entitled { vip, epoch } => {
                self.ask_disk(DiskCall::Token(vip.clone(), Some(*epoch)));
            }
            Event::NotEntitled { vip, .. } => self.ask_disk(DiskCall::Token(vip.clone(), None)),
            _ => {}
        }
    }

    fn deadline(&self, computed_at: Clocks, within: Duration) -> Deadline {
        Deadline { clocks: Arc::clone(&self.handle.clocks), computed_at, within }
    }

    fn ask_os(&self, call: OsCall) {
        // Without its worker nothing is confirmed, and the lifetimes run out.
        let _gone = self.os.send(call);
    }

    fn ask_disk(&self, call: DiskCall) {
        // Without its worker nothing is confirmed.
        let _gone = self.disk.send(call);
    }

    fn publish(&mut self) {
        let now = self.handle.clocks.now();
        let view = self.handle.holder().view(now);
        self.supervisor.look(now, &view);
        let serves = |held: &&HeldVip| held.added && self.complete.get(&held.vip) != Some(&false);
        // After every input, with up to hundreds of VIPs: both are in the order of their names.
        let served = || view.held.iter().filter(serves).map(|held| &held.vip);
        self.served.send_if_modified(|last| {
            let changed = !served().eq(last.iter());
            if changed {
                *last = served().cloned().collect();
            }
            changed
        });
        self.published.send_if_modified(|last| {
            let changed = !same_but_for_time(last, &view);
            *last = view;
            changed
        });
    }
}

fn same_but_for_time(a: &LocalView, b: &LocalView) -> bool {
    let same =
        |(x, y): (&HeldVip, &HeldVip)| (&x.vip, x.epoch, x.added) == (&y.vip, y.epoch, y.added);
    a.detail == b.detail && a.held.len() == b.held.len() && a.held.iter().zip(&b.held).all(same)
}
