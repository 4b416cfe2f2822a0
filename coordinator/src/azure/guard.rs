//! The last check before a write leaves (I7).
//!
//! A connection may have to be made, and a process may be stopped, between the moment a request is
//! given to the HTTP client and the moment its bytes are handed to the socket. So the check stands
//! where the bytes are: the body looks at the clocks when it is asked for them, and refuses if the
//! window has passed. What was sent by then is headers without a body, which ARM cannot execute.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use vipfence_coordinator_core::SendBefore;

use crate::driver::ReadClocks;

/// Whether the bytes of a body were handed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Handed(Arc<AtomicBool>);

impl Handed {
    pub(super) fn was(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The window has passed.
#[derive(Debug, thiserror::Error)]
#[error("the write window has passed")]
pub(super) struct TooLate;

/// The body of a write.
pub(super) struct Guarded {
    bytes: Option<Bytes>,
    send_before: Option<SendBefore>,
    clocks: ReadClocks,
    handed: Handed,
}

impl Guarded {
    pub(super) fn new(
        bytes: Vec<u8>,
        send_before: Option<SendBefore>,
        clocks: ReadClocks,
        handed: Handed,
    ) -> Self {
        Self { bytes: Some(bytes.into()), send_before, clocks, handed }
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        if let Some(send_before) = self.send_before
            && !send_before.allows((self.clocks)())
        {
            return Poll::Ready(Some(Err(TooLate)));
        }
        self.handed.0.store(true, Ordering::Release);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
    }
}
