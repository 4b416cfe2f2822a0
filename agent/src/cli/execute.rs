//! Orders that start a move: sending them until they are acknowledged, always with the same
//! request id, and following the move to its end over lost streams and lost nodes.
//!
//! Giving up (`--timeout`, Ctrl-C, no node left) stops the watching, never the move, and says so.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use vipfence_proto::v1::{
    Move, MoveCause, MoveOutcome, WatchMoveRequest, vip_service_client::VipServiceClient,
};

use super::{
    Session,
    args::WaitArgs,
    exit::Exit,
    failure::{Failure, reason_of},
    link::{CallError, Link, is_transport},
    output::{Output, Paint},
    progress::{Progress, ending, has_ended, headline},
    words,
};

/// How long an order is repeated before the cluster counts as unavailable. Elections take less.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// The pause before an order is repeated, or a stream opened again.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a move is looked for when no node knows of it any more.
const LOST_FOR: Duration = Duration::from_secs(60);

/// An order: which VIP, under which id, and how to wait for it.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) vip: &'a str,
    pub(super) request_id: String,
    pub(super) wait: &'a WaitArgs,
}

impl<'a> Order<'a> {
    /// Takes the request id that was given, or makes one.
    pub(super) fn new(vip: &'a str, wait: &'a WaitArgs) -> Self {
        let made = || uuid::Uuid::new_v4().to_string();
        Self { vip, request_id: wait.request_id.clone().unwrap_or_else(made), wait }
    }
}

/// How far an order has come.
#[derive(Debug, Default)]
struct Course {
    /// The order may have been carried out, though nobody acknowledged it.
    may_be_done: bool,
    /// The move, as last seen. Set by the acknowledgement.
    last: Option<Move>,
}

/// What ended the waiting.
enum Cut<T> {
    Result(Result<T, Failure>),
    Interrupted,
    TimedOut(Duration),
}

/// Why an order was not followed to its end.
#[derive(Debug)]
pub(super) struct GivenUp {
    pub(super) failure: Failure,
    /// The move as last seen; it goes on.
    last: Option<Box<Move>>,
}

/// Sends an order until it is acknowledged and, unless told not to wait, follows its move until
/// that has ended. Returns the acknowledgement and the move as last seen.
pub(super) async fn carry_out<A>(
    session: &mut Session,
    order: &Order<'_>,
    send: impl AsyncFn(&mut Link) -> Result<A, CallError>,
    started: impl Fn(&A) -> Option<Move>,
) -> Result<(A, Option<Move>), Failure> {
    let GivenUp { failure, last } = match pursue(session, order, send, started).await {
        Ok(done) => return Ok(done),
        Err(given_up) => given_up,
    };
    if let Some(last) = last
        && session.out.is_json()
    {
        // Whoever reads JSON needs the id of the move that goes on.
        session.out.json(&*last);
    }
    Err(failure)
}

/// The same, with nothing printed of a move that was given up.
pub(super) async fn pursue<A>(
    session: &mut Session,
    order: &Order<'_>,
    send: impl AsyncFn(&mut Link) -> Result<A, CallError>,
    started: impl Fn(&A) -> Option<Move>,
) -> Result<(A, Option<Move>), GivenUp> {
    let mut course = Course::default();
    let Session { link, out, interrupt } = session;
    let work = async {
        let answer = acknowledge(link, out, order, &mut course, &send).await?;
        course.last = started(&answer);
        if let Some(taken) = &course.last
            && !order.wait.no_wait
            && !has_ended(taken)
        {
            out.line(&headline(taken));
            let taken = taken.clone();
            follow(link, out, taken, &mut course).await?;
        }
        Ok(answer)
    };
    let cut = tokio::select! {
        biased;
        result = work => Cut::Result(result),
        () = interrupt => Cut::Interrupted,
        limit = expired(order.wait.timeout) => Cut::TimedOut(limit),
    };
    let failure = match cut {
        Cut::Result(Ok(answer)) => return Ok((answer, course.last)),
        Cut::Result(Err(failure)) => failure,
        Cut::Interrupted => given_up(order, &course, Exit::Interrupted, "interrupted"),
        Cut::TimedOut(limit) => {
            let message = format!("not done within {}", words::duration(limit));
            given_up(order, &course, Exit::TimedOut, &message)
        }
    };
    Err(GivenUp { failure, last: course.last.map(Box::new) })
}

/// Prints how a move stands or ended, and tells success from failure.
pub(super) fn conclude(session: &mut Session, last: &Move) -> Result<Exit, Failure> {
    if session.out.is_json() {
        session.out.json(last);
    }
    if !has_ended(last) {
        session.out.line(&headline(last));
        session
            .out
            .line(&format!("acknowledged; `vipfence history {}` shows how it ends", last.vip));
        return Ok(Exit::Done);
    }
    let line = ending(last)?;
    let line = session.out.painted(&line, Paint::Good);
    session.out.line(&line);
    Ok(Exit::Done)
}

async fn expired(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

fn given_up(order: &Order<'_>, course: &Course, exit: Exit, message: &str) -> Failure {
    if let Some(last) = &course.last {
        let failure = Failure::new(exit, format!("{message}; {} goes on", last.id));
        return failure.help(format!("`vipfence history {}` shows how it ends", order.vip));
    }
    // Nobody said that there is a move, so that it cannot be said to go on.
    let exit = if exit == Exit::TimedOut { Exit::Unavailable } else { exit };
    perhaps_done(Failure::new(exit, format!("{message}; nothing was acknowledged")), order)
}

fn perhaps_done(failure: Failure, order: &Order<'_>) -> Failure {
    failure
        .reason(format!("it may be carried out all the same; request id {}", order.request_id))
        .help(format!(
            "repeat it with --request-id {}: it is executed once, however often it is sent",
            order.request_id
        ))
}

async fn acknowledge<A>(
    link: &mut Link,
    out: &mut Output,
    order: &Order<'_>,
    course: &mut Course,
    send: &impl AsyncFn(&mut Link) -> Result<A, CallError>,
) -> Result<A, Failure> {
    let mut last = None;
    let attempts = async {
        loop {
            let error = match send(link).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let nobody_there = error.is_unsent() && last.is_none();
            if nobody_there || !error.is_passing() {
                return Err(Failure::from(error));
            }
            course.may_be_done |= may_be_done(&error);
            let pause = retry_delay(&error).unwrap_or(PAUSE);
            let failure = Failure::from(error);
            if last.is_none() {
                out.note(&format!("{}; trying again with the same request id", failure.message));
            }
            last = Some(failure);
            sleep(pause).await;
        }
    };
    if let Ok(result) = timeout(ACKNOWLEDGED_WITHIN, attempts).await {
        return result;
    }
    let failure = last.unwrap_or_else(|| Failure::new(Exit::Unavailable, "no node answered"));
    Err(if course.may_be_done { perhaps_done(failure, order) } else { failure })
}

fn may_be_done(error: &CallError) -> bool {
    match error {
        CallError::NoAnswer(_) => !error.is_unsent(),
        CallError::Answered { status, .. } => {
            reason_of(status).is_none_or(|reason| reason == "OUTCOME_UNKNOWN")
        }
    }
}

fn retry_delay(error: &CallError) -> Option<Duration> {
    let CallError::Answered { status, .. } = error else { return None };
    status.get_details_retry_info()?.retry_delay.map(|delay| delay.clamp(PAUSE, 10 * PAUSE))
}

/// Shows a move until it has ended, reopening the stream on the next endpoint when it breaks.
async fn follow(
    link: &mut Link,
    out: &mut Output,
    taken: Move,
    course: &mut Course,
) -> Result<(), Failure> {
    let mut progress = Progress::default();
    show(out, &mut progress, &taken);
    loop {
        let mut stream = match reopen(link, out, &taken).await {
            Ok(stream) => stream,
            Err(error) => return forgotten(&taken, error, course),
        };
        let broken = loop {
            match stream.message().await {
                Ok(Some(now)) => {
                    show(out, &mut progress, &now);
                    let ended = has_ended(&now);
                    course.last = Some(now);
                    if ended {
                        return Ok(());
                    }
                }
                Ok(None) => break None,
                Err(status) => break Some(status),
            }
        };
        if let Some(status) = broken.filter(|status| !passes(status)) {
            return Err(Failure::of_status(&status));
        }
        link.go_on();
        sleep(PAUSE).await;
    }
}

fn passes(status: &Status) -> bool {
    is_transport(status) || status.code() == Code::Unavailable
}

fn show(out: &mut Output, progress: &mut Progress, now: &Move) {
    for line in progress.lines(now) {
        out.line(&line);
    }
}

async fn reopen(
    link: &mut Link,
    out: &mut Output,
    taken: &Move,
) -> Result<Streaming<Move>, CallError> {
    let request = WatchMoveRequest { id: taken.id.clone() };
    let call = async |channel, request| VipServiceClient::new(channel).watch_move(request).await;
    let mut last = CallError::NoAnswer(Vec::new());
    let mut said = false;
    let attempts = async {
        loop {
            match link.call(&request, call).await {
                Err(error) if error.is_passing() => last = error,
                result => return result,
            }
            if !said {
                said = true;
                out.note(&format!("{} is out of sight; it goes on, and is looked for", taken.id));
            }
            sleep(PAUSE).await;
        }
    };
    match timeout(LOST_FOR, attempts).await {
        Ok(result) => result,
        Err(_) => Err(last),
    }
}

/// A deletion that is done is forgotten together with its VIP; a node that does not know an
/// acknowledged deletion any more has carried it out.
fn forgotten(taken: &Move, error: CallError, course: &mut Course) -> Result<(), Failure> {
    if taken.cause() == MoveCause::Deleted && error.is_code(Code::NotFound) {
        if let Some(last) = &mut course.last {
            last.set_outcome(MoveOutcome::Done);
        }
        return Ok(());
    }
    let failure = Failure::from(error);
    let id = &taken.id;
    Err(failure
        .reason(format!("{id} was acknowledged and goes on"))
        .help(format!("`vipfence history {}` shows how it ends", taken.vip)))
}
