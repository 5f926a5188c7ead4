//! The third port that transports fill: a *backplane* joins hubs, so that what is published on one reaches the subscribers of all. It may
//! be remote, slow, cut off and lossy. Does not know hubs, routing or queues of hubs.
//!
//! Invariants: what one hub publishes comes to another in order, or a hole stands in its place; nobody waits for a backplane, and a
//! backplane waits for nobody but by [`Landing::poll_room`].

mod medium;

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::model::Error;

pub use medium::MediumBackplane;

/// What joins hubs.
pub trait Backplane: Send + Sync + 'static {
    /// Takes a hub; it hears nothing before it subscribes.
    fn join(self: Arc<Self>, hub: Arc<dyn Landing>) -> Box<dyn Branch>;
}

/// One hub's place at a backplane. Dropping it is leaving. No call waits: what cannot be done at once is queued within a bound.
///
/// Called on the hub's task, which holds no lock that [`Landing`] needs.
pub trait Branch: Send + Sync {
    /// The hub wants a topic that it did not want. After the backplane was cut off it subscribes anew by itself. `number` counts up and
    /// names this subscription in the answer.
    fn subscribe(&self, topic: &str, number: u64) -> Standing;

    /// The hub no longer wants it. What is still on its way may come.
    fn unsubscribe(&self, topic: &str);

    /// Carries an event to all other hubs that want it.
    fn publish(&self, event: &Outbound<'_>) -> Handed;

    /// The hub hears nothing any more, once this returns. What it has published is still carried.
    fn leave(&self);

    /// Ready when what the hub had published before it left is with the backplane, or is known never to get there; wakes when it is. A hub
    /// that was told to close waits for it as long as it has time.
    fn poll_left(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// Whether a subscription is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// What others publish from now on is heard.
    Active,
    /// [`Landing::active`] or [`Landing::refused`] follows.
    Pending,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// It is on its way, or waits for the link to come back.
    Taken,
    /// No other hub wants it, as far as is known.
    Unwanted,
    /// No room: it was dropped.
    Full,
    /// Larger than the backplane carries: it was dropped.
    TooLarge,
    /// The backplane was closed: it was dropped.
    Closed,
}

/// An event on its way out, in its publisher's buffer.
#[derive(Clone, Copy)]
pub struct Outbound<'a> {
    /// The hub that publishes: [`Landing::origin`].
    pub origin: &'a str,
    /// `type:id`.
    pub topic: &'a str,
    /// The type.
    pub type_: &'a str,
    /// The id.
    pub id: &'a str,
    /// Exactly one JSON value.
    pub payload: &'a str,
    /// The whole envelope as JSON; it ends with the payload and one `}`.
    pub envelope: &'a str,
}

impl std::fmt::Debug for Outbound<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("bytes", &self.envelope.len()).finish_non_exhaustive()
    }
}

/// A hub as a backplane sees it. No call blocks; what comes is queued within a bound, in order.
pub trait Landing: Send + Sync {
    /// Names the hub, differently from every other: what comes back with it is the hub's own.
    fn origin(&self) -> &str;

    /// An event came. `origin` is what it was published with, if the backplane brings own events back; `payload` is exactly one JSON
    /// value. What finds no room is dropped, and leaves a mark in its place.
    fn event(&self, origin: Option<&str>, type_: &str, id: &str, payload: &str);

    /// A subscription is in force: its events follow.
    fn active(&self, topic: &str, number: u64);

    /// A subscription cannot be had.
    fn refused(&self, topic: &str, number: u64, why: Error);

    /// The backplane can be reached, and everything that was subscribed is again. [`Landing::hole`] stands beside it, before any event that
    /// follows.
    fn up(&self);

    /// The backplane cannot be reached, for now.
    fn down(&self, why: Error);

    /// Something else went wrong, so many times: of events that were handed over, or that came and are none.
    fn trouble(&self, why: Error, times: u64);

    /// Events are missing here, in the order of events.
    fn hole(&self, hole: Hole);

    /// The backplane's owner has closed it: nothing comes any more.
    fn closed(&self);

    /// Ready while there is room; else wakes when there is. Whoever can wait does so before it reads on.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Why there is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoleCause {
    /// The link to the backplane broke.
    ConnectionLost,
    /// The hub was cut off, because it read too slowly.
    SlowConsumer,
    /// A queue overflowed.
    Overflow,
}

/// Which events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoleSide {
    /// Those of other hubs.
    In,
    /// Those of this hub.
    Out,
    /// Both.
    Both,
}

/// Events that a backplane has lost, or may have lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Why.
    pub cause: HoleCause,
    /// Whose.
    pub side: HoleSide,
    /// When the last byte came before it, milliseconds since 1970.
    pub from_ms: u64,
    /// When everything was subscribed again, milliseconds since 1970.
    pub to_ms: u64,
    /// The topics of it; nothing stands for every topic that was active before it.
    pub topics: Option<Vec<Box<str>>>,
}

impl Hole {
    /// A hole in what others have published.
    #[must_use]
    pub fn of(cause: HoleCause, from_ms: u64, to_ms: u64, topics: Option<Vec<Box<str>>>) -> Self {
        Self { cause, side: HoleSide::In, from_ms, to_ms, topics }
    }
}
