//! `vipfence doctor --rehearse VIP`: moves there and back on request, and looks whether the client,
//! the holder and the standby reach the VIP before and after.
//!
//! ```text
//!   doctor -> steps 1-3 -> move there -> steps 4-6 -> move back -> steps 7-9
//! ```
//!
//! What only a write shows (a policy, a NIC that Azure cannot change, a firewall of the standby)
//! shows here, at a time of one's own choice. Both moves say which holder and epoch they expect, so
//! that nobody else's move is undone; it never forces one. Whatever a step finds, the VIP is brought
//! back; where a move itself fails, how to bring it back is said.

mod args;
mod outage;
mod report;

use std::{future::Future, pin::Pin, time::Duration};

use tokio::time::sleep;
use vipfence_proto::v1::{
    DiagnoseRequest, FindingSeverity, GetVipRequest, Move, MoveVipRequest, Phase, Vip,
    vip_service_client::VipServiceClient,
};

use super::{
    Session,
    args::WaitArgs,
    doctor,
    execute::{GivenUp, Order, pursue},
    exit::Exit,
    failure::Failure,
    link::Link,
    output::{Output, Paint},
    progress, words,
};
pub(super) use args::RehearseArgs;
use outage::{EVERY, reach, steady};
use report::{Report, Stage, Step, Who, millis, remedy};

/// As the nodes try it.
const CLIENT_WITHIN: Duration = Duration::from_secs(4);
/// Before a step is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is rehearsed.
struct Rehearsal {
    report: Report,
    settle: Duration,
    wait: WaitArgs,
    force: bool,
    /// The epoch that the next move expects.
    epoch: u64,
}

/// Rehearses, and prints what there is to say.
pub(super) async fn run(
    session: &mut Session,
    vip: &str,
    args: &RehearseArgs,
) -> Result<Exit, Failure> {
    let mut rehearsal = prepare(session, vip, args).await?;
    session.out.line(&rehearsal.report.announcement());
    let result = perform(session, &mut rehearsal).await;
    let report = &mut rehearsal.report;
    report.passed = matches!(result, Ok(Exit::Done));
    if let Err(failure) = &result {
        report.failure.clone_from(&failure.message);
    }
    if session.out.is_json() {
        session.out.json_of(report);
    }
    result
}

/// Looks at the VIP and plans; changes nothing.
async fn prepare(
    session: &mut Session,
    name: &str,
    args: &RehearseArgs,
) -> Result<Rehearsal, Failure> {
    let request = GetVipRequest { name: name.to_owned(), ..GetVipRequest::default() };
    let call = async |channel, request| VipServiceClient::new(channel).get_vip(request).await;
    let vip = session.link.call(&request, call).await?;
    if vip.phase() != Phase::Held || vip.holder.is_empty() || vip.current_move.is_some() {
        let message = format!("{name} is {}, not at rest on a node", words::phase(vip.phase));
        let help = format!("wait until it is: `vipfence vip show {name}`");
        return Err(Failure::new(Exit::Refused, message).help(help));
    }
    let address = vip.spec.iter().flat_map(|spec| &spec.addresses).next();
    let probes = address.and_then(|address| args.probes(&address.address));
    let Some((client, nodes_probe)) = probes else {
        let message = "--rehearse needs --port PORT, where the VIP's service listens";
        let help = "or --client HOST:PORT, where clients reach it";
        return Err(Failure::new(Exit::Usage, message).help(help));
    };
    let target = args.to.as_deref().unwrap_or_default();
    let planned = MoveVipRequest { dry_run: true, ..order_of(&vip, target) };
    let planned = send(&mut session.link, &planned).await?;
    if planned.to_node == vip.holder {
        let message = format!("{} holds {name}: it is no standby", vip.holder);
        return Err(Failure::new(Exit::Refused, message).help("choose another with --to"));
    }
    let plan = planned.plan.unwrap_or_default();
    let expected = plan.expected_duration.as_ref().and_then(words::span);
    let report = Report {
        vip: vip.name,
        from: vip.holder,
        to: planned.to_node,
        expected_ms: expected.map(millis),
        expected_basis: plan.expected_basis,
        client,
        nodes_probe,
        doctor_errors: vec![],
        steps: vec![],
        moves: vec![],
        outage_resolution_ms: millis(EVERY),
        passed: false,
        failure: String::new(),
    };
    let wait = WaitArgs { timeout: args.timeout, ..WaitArgs::default() };
    Ok(Rehearsal { report, settle: args.settle, wait, force: args.force, epoch: vip.epoch })
}

fn order_of(vip: &Vip, target: &str) -> MoveVipRequest {
    MoveVipRequest {
        vip: vip.name.clone(),
        target_node: target.to_owned(),
        expected_holder: vip.holder.clone(),
        expected_epoch: vip.epoch,
        ..MoveVipRequest::default()
    }
}

async fn send(link: &mut Link, request: &MoveVipRequest) -> Result<Move, super::link::CallError> {
    let call = async |channel, request| VipServiceClient::new(channel).move_vip(request).await;
    link.call(request, call).await
}

async fn perform(session: &mut Session, rehearsal: &mut Rehearsal) -> Result<Exit, Failure> {
    examine(session, rehearsal).await?;
    look(session, rehearsal, Stage::Before)
        .await
        .map_err(|failure| failure.reason("nothing was moved"))?;
    if !rehearsal.report.failed().is_empty() && !rehearsal.force {
        let message = "it is not reached as it is; nothing was moved";
        let help = "mend what is said above, or rehearse all the same with --force";
        return Err(Failure::new(Exit::Failed, message).help(help));
    }
    for stage in [Stage::After, Stage::Back] {
        leg(session, rehearsal, stage).await.map_err(|failure| hinted(failure, rehearsal))?;
    }
    let report = &rehearsal.report;
    let good = report.failed().is_empty();
    let paint = if good { Paint::Good } else { Paint::Bad };
    let line = session.out.painted(&report.summary(), paint);
    session.out.line(&line);
    Ok(if good { Exit::Done } else { Exit::Failed })
}

/// What the doctor says; its errors end it here.
async fn examine(session: &mut Session, rehearsal: &mut Rehearsal) -> Result<(), Failure> {
    let vip = &rehearsal.report.vip;
    let request = DiagnoseRequest { vip: vip.clone(), ..DiagnoseRequest::default() };
    let work = doctor::ask(&mut session.link, &request);
    let answer = uninterrupted(&mut session.interrupt, work)
        .await
        .map_err(|failure| failure.reason("nothing was moved"))?;
    doctor::print(session, &answer);
    let all = doctor::all(&answer);
    let errors = all.filter(|(_, finding)| finding.severity() == FindingSeverity::Error);
    let errors = errors.map(|(node, finding)| {
        let node = if node.is_empty() { "the cluster" } else { node };
        format!("{} at {node}: {}", finding.check, finding.message)
    });
    let silent = answer.nodes.iter().filter(|node| !node.unreached.is_empty());
    let silent = silent.map(|node| format!("{} did not answer: {}", node.node, node.unreached));
    let errors: Vec<String> = errors.chain(silent).collect();
    let count = errors.len();
    rehearsal.report.doctor_errors = errors;
    if count == 0 || rehearsal.force {
        return Ok(());
    }
    let message = format!("the doctor found {count} errors; nothing was moved");
    let help = "mend what is said above, or rehearse all the same with --force";
    Err(Failure::new(Exit::Refused, message).help(help))
}

/// Moves, and makes the three steps that follow, while the client tries all the time.
async fn leg(
    session: &mut Session,
    rehearsal: &mut Rehearsal,
    stage: Stage,
) -> Result<(), Failure> {
    let client = rehearsal.report.client.clone();
    let work = async {
        let ended = shift(session, rehearsal, stage).await?;
        look(session, rehearsal, stage).await?;
        Ok::<Move, Failure>(ended)
    };
    let (ended, outage) = outage::during(&client, Box::pin(work)).await;
    let leg = rehearsal.report.add_move(&ended?, outage);
    let told = leg.told();
    session.out.line(&told);
    Ok(())
}

/// One move, as `vipfence move` does it.
async fn shift(
    session: &mut Session,
    rehearsal: &mut Rehearsal,
    stage: Stage,
) -> Result<Move, Failure> {
    let (from, to) = rehearsal.places(stage);
    let order = Order::new(&rehearsal.report.vip, &rehearsal.wait);
    let request = MoveVipRequest {
        vip: rehearsal.report.vip.clone(),
        target_node: to.to_owned(),
        expected_holder: from.to_owned(),
        expected_epoch: rehearsal.epoch,
        request_id: order.request_id.clone(),
        ..MoveVipRequest::default()
    };
    let request = async |link: &mut Link| send(link, &request).await;
    let (taken, last) = pursue(session, &order, request, |taken: &Move| Some(taken.clone()))
        .await
        .map_err(|GivenUp { failure, .. }| failure)?;
    let ended = last.unwrap_or(taken);
    let line = progress::ending(&ended)?;
    session.out.line(&line);
    rehearsal.epoch = ended.epoch;
    Ok(ended)
}

/// The three steps of a stage. What they find is no failure; that they were interrupted is.
async fn look(
    session: &mut Session,
    rehearsal: &mut Rehearsal,
    stage: Stage,
) -> Result<(), Failure> {
    let Session { link, out, interrupt } = session;
    uninterrupted(interrupt, async {
        steps(link, out, rehearsal, stage).await;
        Ok(())
    })
    .await
}

async fn steps(link: &mut Link, out: &mut Output, rehearsal: &mut Rehearsal, stage: Stage) {
    let patience = if stage == Stage::Before { Duration::ZERO } else { rehearsal.settle };
    let began = steady();
    let client = rehearsal.report.client.clone();
    let tried = until(patience, async || reach(&client, CLIENT_WITHIN).await).await;
    let took = steady().saturating_sub(began);
    rehearsal.add(out, stage, Who::Client, tried, took);

    let began = steady();
    let (mut of_holder, mut of_standby) = (Ok(()), Ok(()));
    let (vip, probe) = (rehearsal.report.vip.clone(), rehearsal.report.nodes_probe.clone());
    let (holder, standby) = {
        let (standby, holder) = rehearsal.places(stage);
        (holder.to_owned(), standby.to_owned())
    };
    let _ = until(patience, async || {
        (of_holder, of_standby) = from_nodes(link, &vip, &probe, &holder, &standby).await;
        of_holder.clone().and(of_standby.clone())
    })
    .await;
    let took = steady().saturating_sub(began);
    rehearsal.add(out, stage, Who::Holder, of_holder, took);
    rehearsal.add(out, stage, Who::Standby, of_standby, took);
}

/// Tries until it succeeds, or the time is up.
async fn until(
    patience: Duration,
    mut attempt: impl AsyncFnMut() -> Result<(), String>,
) -> Result<(), String> {
    let began = steady();
    loop {
        let result = attempt().await;
        if result.is_ok() || steady().saturating_sub(began) + PAUSE > patience {
            return result;
        }
        sleep(PAUSE).await;
    }
}

/// Whether two nodes reach the address, by their own account.
async fn from_nodes(
    link: &mut Link,
    vip: &str,
    probe: &str,
    holder: &str,
    standby: &str,
) -> (Result<(), String>, Result<(), String>) {
    let request = DiagnoseRequest {
        vip: vip.to_owned(),
        reach: probe.to_owned(),
        ..DiagnoseRequest::default()
    };
    let answer = match doctor::ask(link, &request).await {
        Ok(answer) => answer,
        Err(failure) => return (Err(failure.message.clone()), Err(failure.message)),
    };
    let of = |name: &str| {
        let Some(node) = answer.nodes.iter().find(|node| node.node == name) else {
            return Err("the node was not asked".to_owned());
        };
        match (node.unreached.as_str(), node.findings.first()) {
            ("", None) => Ok(()),
            ("", Some(finding)) => {
                let said = format!("{probe} is not reached from {name}: ");
                Err(finding.message.strip_prefix(&said).unwrap_or(&finding.message).to_owned())
            }
            (why, _) => Err(format!("the node did not tell: {why}")),
        }
    };
    (of(holder), of(standby))
}

impl Rehearsal {
    /// Between which nodes the move of this stage goes. Before the first one it is where the one
    /// back ends.
    fn places(&self, stage: Stage) -> (&str, &str) {
        let Report { from, to, .. } = &self.report;
        match stage {
            Stage::After => (from, to),
            Stage::Before | Stage::Back => (to, from),
        }
    }

    fn add(
        &mut self,
        out: &mut Output,
        stage: Stage,
        who: Who,
        tried: Result<(), String>,
        took: Duration,
    ) {
        let (standby, holder) = self.places(stage);
        let [client, first, second] = stage.numbers();
        let (number, node, address) = match who {
            Who::Client => (client, "", &self.report.client),
            Who::Holder => (first, holder, &self.report.nodes_probe),
            Who::Standby => (second, standby, &self.report.nodes_probe),
        };
        let failed = tried.is_err();
        let step = Step {
            number,
            stage,
            who,
            node: node.to_owned(),
            address: address.clone(),
            took_ms: millis(took),
            reached: !failed,
            why: tried.err().unwrap_or_default(),
            remedy: if failed { remedy(stage, who, holder) } else { String::new() },
        };
        out.line(&step.told());
        self.report.steps.push(step);
    }
}

type Interrupt = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Does something while nobody presses Ctrl-C.
async fn uninterrupted<T>(
    interrupt: &mut Interrupt,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        done = work => done,
        () = interrupt => Err(Failure::new(Exit::Interrupted, "interrupted")),
    }
}

/// Where the VIP may be elsewhere by now, how it comes back.
fn hinted(mut failure: Failure, rehearsal: &Rehearsal) -> Failure {
    let Report { vip, from, moves, .. } = &rehearsal.report;
    let goes_back = !moves.is_empty();
    match failure.exit {
        Exit::Refused | Exit::Usage if !goes_back => return failure,
        // Only the second move was refused: something was changed.
        Exit::Refused | Exit::Usage => failure.exit = Exit::Failed,
        Exit::TimedOut | Exit::Interrupted if goes_back => return failure,
        Exit::Done | Exit::Failed | Exit::Unavailable | Exit::TimedOut | Exit::Interrupted => {}
    }
    let back = format!("`vipfence move {vip} --to {from}` brings it back to where it was");
    let help = match &failure.help {
        Some(help) => format!("{help}; {back}"),
        None => back,
    };
    failure.help(help)
}
