//! The node's fencing machine, and nothing else.
//!
//! [`Holder`] is told what happened ([`Input`]) and when ([`vipfence_types::Clocks`]), and says
//! what to do ([`Effect`]). Here it is decided when this node may have a VIP's address, for how
//! long, and when it may say that it has let go; nowhere else.
//!
//! **Architecture Invariant:** nothing here reads a clock, a disk, the network or the kernel, and
//! nothing here knows how a leader decides. The shell executes effects and decides nothing.

mod check;
mod duty;
mod effect;
mod event;
mod holder;
mod input;
mod lease;
mod pulse;
mod reach;
mod record;
mod service;
mod spent;
mod tell;
mod view;

pub use check::{Check, CheckRules, Verdict};
pub use duty::{Duties, Serving, Task};
pub use effect::{Call, Effect};
pub use event::{EndCause, Event};
pub use holder::{Holder, LOOK_EVERY};
pub use input::{Found, Input, OnStop, Sighting, Start};
pub use spent::Spent;
pub use view::{HeldVip, LocalView};
