//! The way to Azure: carries the driver's requests to the simulator, over roads that are slow, lose
//! answers and are cut.
//!
//! It vouches for what the product's HTTP client vouches for: the window is checked at the moment of
//! handing over, nothing is sent twice, and `NotSent` is certain.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use vipfence_coordinator::Arm;
use vipfence_coordinator::consensus::Consensus;
use vipfence_coordinator_core::{HttpFault, HttpRequest, HttpResult, Method, Registry};
use vipfence_sim::azure::{Waiting, carried};
use vipfence_sim::{Happening, Spot, Who};

use super::plan::Moment;
use super::stage::Shared;
use crate::clock::ClockSource as _;

const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// See the module.
pub(super) struct Road {
    pub(super) stage: Shared,
    pub(super) who: Who,
    pub(super) consensus: Consensus,
}

impl Arm for Road {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, HttpResult> {
        // The machine has just stepped with exactly this state: one thread runs a host, and the driver
        // takes news of the state before anything else.
        let state = Arc::clone(&self.consensus.applied().borrow().state);
        carry(self.stage.clone(), self.who, request, state).boxed()
    }
}

async fn carry(stage: Shared, who: Who, request: HttpRequest, state: Arc<Registry>) -> HttpResult {
    let is_read = request.method == Method::Get;
    if !is_read {
        stage.enter().happens(Moment::WriteDecided);
    }
    connect(&stage, who).await?;
    let timeout = if is_read { READ_TIMEOUT } else { WRITE_TIMEOUT };
    let answered = hand_over(&stage, who, request, state)?;
    match tokio::time::timeout(timeout, answered).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(HttpFault::Unknown("nobody answers any more".to_owned())),
        Err(_) => {
            stage.enter().saw("an outcome is unknown");
            Err(HttpFault::Unknown("no answer in time".to_owned()))
        }
    }
}

async fn connect(stage: &Shared, who: Who) -> Result<(), HttpFault> {
    let (wait, cut) = {
        let mut stage = stage.enter();
        let wait = match stage.chance.within(0, 29) {
            // Longer than the write window.
            0 => stage.chance.within(900, 1_500),
            _ => stage.chance.within(0, 5),
        };
        (Duration::from_millis(wait), stage.nodes[who.node].arm_cut)
    };
    if cut {
        tokio::time::sleep(CONNECT_TIMEOUT).await;
        return Err(HttpFault::NotSent("no connection".to_owned()));
    }
    tokio::time::sleep(wait).await;
    Ok(())
}

fn hand_over(
    stage: &Shared,
    who: Who,
    request: HttpRequest,
    state: Arc<Registry>,
) -> Result<tokio::sync::oneshot::Receiver<HttpResult>, HttpFault> {
    let not_sent = |why: &str| HttpFault::NotSent(why.to_owned());
    let mut stage = stage.enter();
    let token = stage.token(who.node).ok_or_else(|| not_sent("no token"))?;
    let carried = carried(&request, &token, who.process);
    let from = Waiting { spot: Spot::Node(who.node), process: who.process, id: request.id };
    if request.method != Method::Get {
        let clocks = stage.nodes[who.node].clocks.now();
        if request.send_before.is_none_or(|window| !window.allows(clocks)) {
            stage.saw("a write window passed");
            return Err(not_sent("the write window has passed"));
        }
        stage.saw("a write to Azure");
        let rounds = stage.rounds(who);
        stage.learn(who, Happening::Writes { request, clocks, state, rounds });
    }
    Ok(stage.sets_out(from, carried))
}
