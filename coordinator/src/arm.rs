//! The driver's way to Azure Resource Manager, as narrow as it is: a request goes in, its result comes
//! out. [`Azure`] is the product's; a test gives a simulated one, since an HTTP client needs a network.

use futures_util::{FutureExt as _, future::BoxFuture};
use vipfence_coordinator_core::{HttpRequest, HttpResult};

use crate::azure::Azure;

/// Carries requests to ARM, and decides nothing.
///
/// Whoever implements it vouches for what the machines cannot see: a write is handed over only while
/// its window ([`HttpRequest::send_before`]) is open, checked as the last step (I7), and at most once
/// (no retry, no redirect); a fault says `NotSent` only if ARM can never execute the request (I2).
pub trait Arm: Send + Sync {
    /// Sends one request, once. Called at the moment of the decision and in the order of decisions;
    /// what takes time belongs into the future, which always ends.
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, HttpResult>;
}

impl Arm for Azure {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, HttpResult> {
        let azure = self.clone();
        async move { Self::send(&azure, request).await }.boxed()
    }
}
