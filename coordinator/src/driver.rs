//! Driver: the shell around the pure [`Coordinator`]. It receives, steps, carries out the effects in
//! order and feeds back what they bring; it decides nothing.
//!
//! Every effect that takes time runs as a task of its own and comes back as an input, so that a slow
//! disk or a slow Azure never holds up a heartbeat.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};
use vipfence_coordinator_core::{
    Ask, AskError, AskId, BeatId, Confirmed, Coordinator, Effect, HttpFault, Input, Method, Pace,
    Problem, ProblemKind, ProposeFault, Reply, Setup,
};
use vipfence_types::{Answer, Clocks, Heartbeat, NodeId, Refusal};

use crate::{arm::Arm, consensus::Consensus};

/// Reads all clocks of this machine.
pub type ReadClocks = Arc<dyn Fn() -> Clocks + Send + Sync>;

/// The most messages that wait; beyond it callers are told to come again.
const QUEUE: usize = 1_024;
/// While nothing is due the machine is still woken so often.
const IDLE: Duration = Duration::from_millis(500);
/// The most inputs that are taken in one step.
const AT_ONCE: usize = 256;

enum Message {
    Beat(Box<Heartbeat>, oneshot::Sender<Result<Answer, Refusal>>),
    Ask(Box<Ask>, oneshot::Sender<Result<Reply, AskError>>),
}

/// Talks to the driver of this node; cheap to clone.
#[derive(Clone)]
pub struct DriverHandle {
    messages: mpsc::Sender<Message>,
}

impl DriverHandle {
    /// Hands a heartbeat to the machine and waits for its answer.
    ///
    /// # Errors
    /// As the machine says; a driver that has stopped or is overloaded does not lead.
    pub async fn beat(&self, heartbeat: Heartbeat) -> Result<Answer, Refusal> {
        let (answer, answered) = oneshot::channel();
        let message = Message::Beat(Box::new(heartbeat), answer);
        if self.messages.try_send(message).is_err() {
            return Err(Refusal::NotLeader { leader: None });
        }
        answered.await.unwrap_or(Err(Refusal::NotLeader { leader: None }))
    }

    /// Asks the machine for something and waits for its reply.
    ///
    /// # Errors
    /// As the machine says.
    pub async fn ask(&self, ask: Ask) -> Result<Reply, AskError> {
        let (reply, replied) = oneshot::channel();
        if self.messages.try_send(Message::Ask(Box::new(ask), reply)).is_err() {
            return Err(AskError::NotReady);
        }
        replied.await.unwrap_or(Err(AskError::OutcomeUnknown))
    }
}

/// Counts what goes to and fro between this process and Azure; must not block.
pub trait Tally: Send + Sync {
    /// A request has ended, with an outcome in a word ([`Problem::outcome`]).
    fn request(&self, method: Method, outcome: &'static str);
    /// The machine met a problem.
    fn problem(&self, kind: &ProblemKind);
}

/// Counts nothing.
impl Tally for () {
    fn request(&self, _: Method, _: &'static str) {}
    fn problem(&self, _: &ProblemKind) {}
}

/// What a driver works with.
pub struct DriverParts {
    /// What the machine needs to know once.
    pub setup: Setup,
    /// Consensus.
    pub consensus: Consensus,
    /// The way to ARM.
    pub azure: Arc<dyn Arm>,
    /// The clocks.
    pub clocks: ReadClocks,
    /// Hints to a node that it should beat at once; must not block.
    pub nudge: Arc<dyn Fn(NodeId) + Send + Sync>,
    /// Counts.
    pub tally: Arc<dyn Tally>,
}

/// Starts the driver; it ends when consensus does.
#[must_use]
pub fn start(parts: DriverParts) -> DriverHandle {
    let (messages, inbox) = mpsc::channel(QUEUE);
    let machine = Coordinator::new(parts.setup.clone(), (parts.clocks)());
    let (done, results) = mpsc::unbounded_channel();
    let driver =
        Driver { machine, parts, done, next: 0, beats: BTreeMap::new(), asks: BTreeMap::new() };
    tokio::spawn(driver.run(inbox, results));
    DriverHandle { messages }
}

struct Driver {
    machine: Coordinator,
    parts: DriverParts,
    /// Bounded by what the machine has under way.
    done: mpsc::UnboundedSender<Input>,
    next: u64,
    beats: BTreeMap<BeatId, oneshot::Sender<Result<Answer, Refusal>>>,
    asks: BTreeMap<AskId, oneshot::Sender<Result<Reply, AskError>>>,
}

impl Driver {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Message>,
        mut results: mpsc::UnboundedReceiver<Input>,
    ) {
        let mut applied = self.parts.consensus.applied();
        let mut leadership = self.parts.consensus.leadership();
        applied.mark_changed();
        leadership.mark_changed();
        loop {
            let now = (self.parts.clocks)();
            let wake = self.machine.wake_in(now).unwrap_or(IDLE);
            let input = tokio::select! {
                biased;
                changed = applied.changed() => match changed {
                    Ok(()) => {
                        let seen = applied.borrow_and_update().clone();
                        Input::Applied { index: seen.index, state: seen.state }
                    }
                    Err(_) => return,
                },
                changed = leadership.changed() => match changed {
                    Ok(()) => {
                        let seen = leadership.borrow_and_update().clone();
                        Input::Leadership {
                            term: seen.term,
                            leader: seen.leader,
                            leading: seen.leading,
                        }
                    }
                    Err(_) => return,
                },
                Some(result) = results.recv() => result,
                message = inbox.recv() => match message {
                    Some(message) => self.receive(message),
                    None => return,
                },
                () = tokio::time::sleep(wake) => Input::Tick,
            };
            let mut inputs = vec![input];
            while inputs.len() < AT_ONCE {
                match results.try_recv() {
                    Ok(result) => inputs.push(result),
                    Err(_) => break,
                }
            }
            self.step(inputs);
        }
    }

    fn receive(&mut self, message: Message) -> Input {
        self.next += 1;
        match message {
            Message::Beat(heartbeat, answer) => {
                let id = BeatId(self.next);
                self.beats.insert(id, answer);
                Input::Beat { id, heartbeat: *heartbeat }
            }
            Message::Ask(ask, reply) => {
                let id = AskId(self.next);
                self.asks.insert(id, reply);
                Input::Asked { id, ask: *ask }
            }
        }
    }

    fn step(&mut self, inputs: Vec<Input>) {
        let now = (self.parts.clocks)();
        for effect in self.machine.step_all(now, inputs) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let done = self.done.clone();
        match effect {
            Effect::Propose { id, command } => {
                let consensus = self.parts.consensus.clone();
                tokio::spawn(async move {
                    let result = match consensus.propose(command).await {
                        Ok(committed) => Ok((committed.index, committed.applied)),
                        Err(error) if error.certainly_not_proposed() => {
                            Err(ProposeFault::NotProposed)
                        }
                        Err(_) => Err(ProposeFault::Unknown),
                    };
                    let _ = done.send(Input::Proposed { id, result });
                });
            }
            Effect::Round { id, pace } => {
                let consensus = self.parts.consensus.clone();
                tokio::spawn(async move {
                    let round = match pace {
                        Pace::AtOnce => consensus.confirm_leadership().await,
                        Pace::WithHeartbeat => consensus.confirm_with_heartbeat().await,
                    };
                    let result = round.ok().map(|confirmed| Confirmed {
                        term: confirmed.term,
                        read_index: confirmed.read_index,
                    });
                    let _ = done.send(Input::Round { id, result });
                });
            }
            Effect::Http(request) => {
                let (id, method) = (request.id, request.method);
                let tally = Arc::clone(&self.parts.tally);
                let sending = self.parts.azure.send(request);
                tokio::spawn(async move {
                    // A task of its own: should it ever end without a result, that is an unknown
                    // outcome, and the machine must hear of it.
                    let sent = tokio::spawn(sending).await;
                    let result =
                        sent.unwrap_or_else(|error| Err(HttpFault::Unknown(error.to_string())));
                    tally.request(method, Problem::outcome(&result));
                    let _ = done.send(Input::Http { id, result });
                });
            }
            Effect::Answer { id, answer } => {
                if let Some(waiting) = self.beats.remove(&id) {
                    let _ = waiting.send(answer);
                }
            }
            Effect::Reply { id, reply } => {
                if let Some(waiting) = self.asks.remove(&id) {
                    let _ = waiting.send(reply);
                }
            }
            Effect::Nudge { node } => (self.parts.nudge)(node),
            Effect::Problem { kind } => self.parts.tally.problem(&kind),
            Effect::StepDown => {
                let consensus = self.parts.consensus.clone();
                tracing::warn!("Azure does not answer this leader: another one is to be elected");
                tokio::spawn(async move { consensus.step_down().await });
            }
        }
    }
}
