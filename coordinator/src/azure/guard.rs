//! The last check before a write leaves (I7), and the proof that one did not leave (I2).
//!
//! A connection may have to be made, and a process may be stopped, between the moment a request is
//! given to the HTTP client and the moment its bytes are handed to the socket. So the check stands
//! where the bytes are: the body looks at the clocks when it is asked for them, and refuses if the
//! window has passed. What was sent by then is headers without a body, which ARM cannot execute.
//!
//! The HTTP client works in tasks of its own, which may ask for the body after the one who waits
//! has given up. So giving up and handing over are one atomic decision:
//!
//! ```text
//!   waiting --asked within the window--> handed     from here on the outcome is unknown
//!      |----asked after the window-----> too late   nothing was sent
//!      `----the sender gave up---------> withdrawn  nothing was sent, and never will be
//! ```

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use vipfence_coordinator_core::SendBefore;

use crate::driver::ReadClocks;

const WAITING: u8 = 0;
const HANDED: u8 = 1;
const TOO_LATE: u8 = 2;
const WITHDRAWN: u8 = 3;

/// What became of the bytes of a write.
#[derive(Clone, Debug, Default)]
pub(super) struct Handed(Arc<AtomicU8>);

impl Handed {
    fn decide(&self, for_what: u8) -> bool {
        self.0.compare_exchange(WAITING, for_what, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Keeps the bytes back for good; false when they were handed over already.
    pub(super) fn withdraw(&self) -> bool {
        self.decide(WITHDRAWN) || self.0.load(Ordering::Acquire) != HANDED
    }

    /// Whether they were asked for after the window had passed.
    pub(super) fn came_too_late(&self) -> bool {
        self.0.load(Ordering::Acquire) == TOO_LATE
    }
}

/// The bytes were kept back.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeptBack {
    /// The window has passed.
    #[error("the write window has passed")]
    TooLate,
    /// Nobody waits for the outcome any more.
    #[error("the write was withdrawn")]
    Withdrawn,
}

/// The body of a write.
pub(super) struct Guarded {
    bytes: Option<Bytes>,
    send_before: SendBefore,
    clocks: ReadClocks,
    handed: Handed,
}

impl Guarded {
    pub(super) fn new(
        bytes: Vec<u8>,
        send_before: SendBefore,
        clocks: ReadClocks,
        handed: Handed,
    ) -> Self {
        Self { bytes: Some(bytes.into()), send_before, clocks, handed }
    }

    fn pass(&self) -> Result<(), KeptBack> {
        let allowed = self.send_before.allows((self.clocks)());
        let passed = self.handed.decide(if allowed { HANDED } else { TOO_LATE });
        match (passed, allowed) {
            (true, true) => Ok(()),
            (true, false) => Err(KeptBack::TooLate),
            (false, _) => Err(KeptBack::Withdrawn),
        }
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = KeptBack;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, KeptBack>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(self.pass().map(|()| Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
    }
}
