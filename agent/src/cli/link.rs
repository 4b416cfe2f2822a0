//! The connection to the cluster: endpoints are tried in turn, every call has a deadline, and a
//! call that no node answered is told from one that a node answered with an error.

use std::{error::Error as _, fmt, future::Future, time::Duration};

use tokio::time::timeout;
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};

use super::{failure::reason_of, target::Target};

/// How long connecting to one endpoint may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long one endpoint may take to answer a call, or to open a stream.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// A link on which nothing is heard for so long is dead (peers.md bite 17).
const KEEPALIVE: Duration = Duration::from_secs(2);

/// An endpoint that did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tried {
    pub(super) endpoint: String,
    pub(super) why: String,
    /// The request may have arrived all the same.
    pub(super) sent: bool,
}

/// Why a call gave no result.
#[derive(Debug)]
pub(super) enum CallError {
    /// No endpoint answered.
    NoAnswer(Vec<Tried>),
    /// A node answered with an error.
    Answered {
        /// The error.
        status: Box<Status>,
        /// The node.
        endpoint: String,
    },
}

impl CallError {
    /// The same call may succeed later without anybody changing anything.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::Answered { status, .. } => status.code() == Code::Unavailable,
        }
    }

    /// The request has certainly reached no node.
    pub(super) fn is_unsent(&self) -> bool {
        match self {
            Self::NoAnswer(tried) => tried.iter().all(|tried| !tried.sent),
            Self::Answered { .. } => false,
        }
    }

    /// A node answered with this code.
    pub(super) fn is_code(&self, code: Code) -> bool {
        matches!(self, Self::Answered { status, .. } if status.code() == code)
    }
}

/// Whether a request that may have arrived can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Reads, and writes with a request id.
    Safe,
    /// Once more would be done once more.
    Never,
}

/// The endpoints, and a channel to the one in use.
pub(super) struct Link {
    targets: Vec<Target>,
    at: usize,
    channel: Option<Channel>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("targets", &self.targets).field("at", &self.at).finish()
    }
}

impl Link {
    pub(super) fn new(targets: Vec<Target>) -> Self {
        Self { targets, at: 0, channel: None }
    }

    /// Goes to the next endpoint, for instance since a stream of this one broke.
    pub(super) fn go_on(&mut self) {
        self.channel = None;
        self.at = (self.at + 1) % self.targets.len().max(1);
    }

    /// Calls the endpoints in turn until one answers with something else than "unavailable".
    pub(super) async fn call<Q, A, F, C>(&mut self, request: &Q, call: C) -> Result<A, CallError>
    where
        Q: Clone,
        C: Fn(Channel, Request<Q>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.call_with(request, Repeat::Safe, ANSWER, call).await
    }

    /// The same, with a say about repeating and the deadline at each endpoint.
    pub(super) async fn call_with<Q, A, F, C>(
        &mut self,
        request: &Q,
        repeat: Repeat,
        within: Duration,
        call: C,
    ) -> Result<A, CallError>
    where
        Q: Clone,
        C: Fn(Channel, Request<Q>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut tried = Vec::new();
        let mut unavailable = None;
        for _ in 0..self.targets.len() {
            match self.attempt(request, within, &call).await {
                Ok(answer) => return Ok(answer),
                Err(CallError::NoAnswer(these)) => {
                    let stop = repeat == Repeat::Never && these.iter().any(|tried| tried.sent);
                    tried.extend(these);
                    if stop {
                        break;
                    }
                }
                Err(answered @ CallError::Answered { .. }) => {
                    if !answered.is_passing() || !may_go_on(&answered, repeat) {
                        return Err(answered);
                    }
                    // The first word is the one of the endpoint that was named first.
                    unavailable.get_or_insert(answered);
                }
            }
            self.go_on();
        }
        Err(unavailable.unwrap_or(CallError::NoAnswer(tried)))
    }

    async fn attempt<Q, A, F, C>(
        &mut self,
        request: &Q,
        within: Duration,
        call: &C,
    ) -> Result<A, CallError>
    where
        Q: Clone,
        C: Fn(Channel, Request<Q>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let Some(target) = self.targets.get(self.at).cloned() else {
            return Err(CallError::NoAnswer(Vec::new()));
        };
        let endpoint = target.to_string();
        let no_answer = |why: String, sent: bool| {
            let endpoint = endpoint.clone();
            Err(CallError::NoAnswer(vec![Tried { endpoint, why, sent }]))
        };
        let channel = match self.channel.clone() {
            Some(channel) => channel,
            None => match timeout(CONNECT, connect(&target)).await {
                Ok(Ok(channel)) => channel,
                Ok(Err(error)) => return no_answer(deepest(&error), false),
                Err(_) => return no_answer("no connection within 1 s".to_owned(), false),
            },
        };
        self.channel = Some(channel.clone());
        let answer = timeout(within, call(channel, Request::new(request.clone()))).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) if is_transport(&status) => no_answer(deepest(&status), true),
            Ok(Err(status)) => Err(CallError::Answered { status: Box::new(status), endpoint }),
            Err(_) => no_answer(format!("no answer within {} s", within.as_secs_f32()), true),
        }
    }
}

/// "No leader" was said before anything was done, so that another node may be asked.
fn may_go_on(answered: &CallError, repeat: Repeat) -> bool {
    let CallError::Answered { status, .. } = answered else { return true };
    repeat == Repeat::Safe || reason_of(status).as_deref() == Some("NO_LEADER")
}

async fn connect(target: &Target) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from(target.uri())
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .connect()
        .await
}

/// Whether the status was made on this side, from a broken connection: what a node says has no
/// source.
pub(super) fn is_transport(status: &Status) -> bool {
    status.source().is_some() || matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded)
}

/// The innermost cause, which is the one that says something: "Connection refused".
pub(super) fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}
