//! The port towards the application: events it listens to, and notices of what happened. The addon fills it; so do tests.
//!
//! Invariant: events and notices of one target are delivered in the order in which they happened.

use std::task::{Context, Poll};

use crate::link::Peer;
use crate::model::{CloseReason, ErrorKind};

/// Where a hub or spoke puts what the application asked to hear. Called from engine tasks: must not block.
pub trait Delivery: Send + Sync + 'static {
    /// An event; `connection` is zero on targets that have one link only. `payload` is exactly one JSON value.
    fn event(&self, connection: u32, type_: &str, id: &str, payload: &str);

    /// Something happened to the target. Never refused.
    fn notice(&self, notice: Notice);

    /// True when the application falls behind: whoever reads events for it should stop.
    fn is_full(&self) -> bool;

    /// Ready while there is room; else wakes when there is.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// A great deal of memory was freed at once: time to give the system back what the allocator keeps.
    fn freed_much(&self) {}
}

/// Why there is a hole in what a target heard or said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapCause {
    /// The link broke.
    ConnectionLost,
    /// This side read too slowly and was cut off.
    SlowConsumer,
    /// A queue overflowed.
    Overflow,
    /// The hub itself missed events.
    Upstream,
    /// The numbers of a publisher have a hole.
    Sequence,
}

/// Which way events may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Towards this target.
    In,
    /// From this target.
    Out,
    /// Both.
    Both,
}

/// A hole in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub cause: GapCause,
    /// Which way.
    pub direction: Direction,
    /// When the last byte came before it, milliseconds since 1970.
    pub from_ms: u64,
    /// When the last subscription was active again, milliseconds since 1970.
    pub to_ms: u64,
    /// Topics that were active before it and still have listeners.
    pub topics: Vec<Box<str>>,
    /// Events within it that came and could not be delivered in their place.
    pub dropped: u64,
}

/// An error as it is told to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

/// Something that happened to a target.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// A spoke's link is admitted; a hub is bound.
    Open { is_reconnected: bool, is_native: bool },
    /// A spoke's link was lost or an attempt failed; the next attempt follows after the delay.
    Reconnecting { attempt: u32, delay_ms: u64, cause: Failure },
    /// Events may be missing.
    Gap(Gap),
    /// Something went wrong. `dropped`: how many events were lost or how often it happened, this time included; 0: the target ends with it.
    Error { failure: Failure, dropped: u64 },
    /// The target is closed. The last notice.
    Closed { reason: CloseReason, error: Option<Failure> },
    /// A peer wants to come in: may it? The answer is `Hub::judge`.
    Authorize { token: u32, peer: Box<Peer> },
    /// The peer of an `Authorize` is gone, or was not waited for any longer: what was said of it is not needed.
    Withdrawn { token: u32 },
    /// A connection wants a topic that its grants do not allow: may it? The answer is `Hub::allow`.
    AuthorizeSubscribe { token: u32, connection: u32, topic: Box<str> },
    /// A hub has a connection; its events follow. `ticket` is the token of its `Authorize`, or zero.
    Connection { connection: u32, serial: u64, peer: Box<Peer>, ticket: u32 },
    /// A connection said hello; on a spoke (connection 0), the hub that was taken for plain did.
    Hello { connection: u32 },
    /// A connection is gone; nothing of it follows.
    Disconnection { connection: u32, reason: CloseReason, is_clean: bool },
    /// A connection reads too slowly and is cut off.
    Backpressure { connection: u32, buffered: usize },
    /// The answer to `confirm`.
    Confirmed { token: u32, outcome: Result<bool, Failure> },
    /// The answer to `flush`.
    Flushed { token: u32 },
    /// The answer to `drained`.
    Drained { token: u32 },
    /// A spoke needs its destination for an attempt.
    Dial { token: u32, attempt: u32 },
}
