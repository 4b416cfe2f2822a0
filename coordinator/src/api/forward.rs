//! Any node answers: what needs the leader is taken to it.
//!
//! The node that took the call looks for the leader and tries again while that can help, within the
//! caller's deadline; every request that changes something has a request id by then, so trying again
//! is safe (I4). A node that is not the leader never passes a forwarded call on.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Status, metadata::MetadataMap, transport::Channel};
use vipfence_types::RequestId;

use super::{Api, errors};

const FORWARDED: &str = "vipfence-forwarded";
const CALLER: &str = "vipfence-caller";
/// How long a call without a deadline is tried.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a read is tried: who asks without a quorum wants to know that there is none.
const READ_PATIENCE: Duration = Duration::from_secs(2);
const MOST_PATIENCE: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_millis(50);

/// Who calls, and for how long they wait.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// For the history: the address of the client, as the first node saw it.
    pub(super) caller: String,
    forwarded: bool,
    begun: Instant,
    deadline: Instant,
}

impl Call {
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        let metadata = request.metadata();
        let told = metadata.get(CALLER).and_then(|value| value.to_str().ok());
        let remote = request.remote_addr().map(|address| address.to_string());
        let caller = told.map(str::to_owned).or(remote).unwrap_or_else(|| "unknown".to_owned());
        let patience = asked_patience(metadata).unwrap_or(PATIENCE).min(MOST_PATIENCE);
        let begun = waiting_clock();
        let forwarded = metadata.contains_key(FORWARDED);
        Self { caller, forwarded, begun, deadline: begun + patience.mul_f64(0.9) }
    }

    /// The message, on its way to the leader.
    pub(super) fn pass_on<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(FORWARDED, tonic::metadata::MetadataValue::from_static("1"));
        if let Ok(caller) = self.caller.parse() {
            metadata.insert(CALLER, caller);
        }
        let left = self.deadline.saturating_duration_since(waiting_clock());
        request.set_timeout(left.max(PACE));
        request
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a gRPC deadline is about waiting, never about a lease"
)]
fn waiting_clock() -> Instant {
    Instant::now()
}

/// The caller's `grpc-timeout` header.
fn asked_patience(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount.saturating_mul(3_600)),
        "M" => Duration::from_secs(amount.saturating_mul(60)),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

impl Api {
    /// Does something at the leader: here if this node leads, else there.
    pub(super) async fn at_leader<T, H, There>(
        &self,
        call: &Call,
        request_id: Option<&RequestId>,
        here: impl Fn() -> H,
        there: impl Fn(Channel) -> There,
    ) -> Result<T, Status>
    where
        H: Future<Output = Result<T, Status>>,
        There: Future<Output = Result<T, Status>>,
    {
        let mut tried = false;
        let mut last = errors::no_leader();
        let attempts = async {
            loop {
                let attempt = Box::pin(self.attempt(call, &here, &there, &mut tried));
                match attempt.await {
                    Err(status) if errors::is_passing(&status) && !call.forwarded => last = status,
                    result => return result,
                }
                sleep(PACE).await;
            }
        };
        let deadline = match request_id {
            Some(_) => call.deadline,
            None => call.deadline.min(call.begun + READ_PATIENCE),
        };
        match timeout_at(deadline, attempts).await {
            Ok(result) => result,
            Err(_) if tried && request_id.is_some() => Err(errors::outcome_unknown(request_id)),
            Err(_) => Err(last),
        }
    }

    async fn attempt<T, H, There>(
        &self,
        call: &Call,
        here: &impl Fn() -> H,
        there: &impl Fn(Channel) -> There,
        tried: &mut bool,
    ) -> Result<T, Status>
    where
        H: Future<Output = Result<T, Status>>,
        There: Future<Output = Result<T, Status>>,
    {
        let mut leadership = self.consensus.leadership();
        let now = leadership.borrow_and_update().clone();
        if now.leading {
            *tried = true;
            return here().await;
        }
        let leader = now.leader.filter(|leader| *leader != self.node && !call.forwarded);
        let Some(channel) = leader.and_then(|leader| self.consensus.channel(&leader)) else {
            return Err(errors::no_leader());
        };
        *tried = true;
        tokio::select! {
            result = there(channel) => result,
            // Another leader: the one that was asked may never answer.
            _ = leadership.wait_for(|seen| seen.term > now.term && seen.leader.is_some()) => {
                Err(errors::no_leader())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_of_the_caller_is_understood_in_every_unit() {
        let cases = [("5S", 5_000), ("250m", 250), ("2M", 120_000), ("7000u", 7)];
        for (text, ms) in cases {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().expect("ASCII"));
            assert_eq!(asked_patience(&metadata), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(asked_patience(&MetadataMap::new()), None);
    }
}
