//! What a hub counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a hub since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Connections that are there now.
    pub connections: u64,
    /// Connections that have come in.
    pub accepted: u64,
    /// Topics that somebody wants now: connections or the application.
    pub topics: u64,
    /// Events of the application that found room.
    pub published: u64,
    /// Events of connections.
    pub received: u64,
    /// Events that the application was given.
    pub delivered: u64,
    /// Events written for connections: one that three of them get counts three times.
    pub sent: u64,
    /// Bytes handed to transports, with all that frames them.
    pub sent_bytes: u64,
    /// Writes in which they were handed over.
    pub writes: u64,
    /// Events that nobody wanted.
    pub unrouted: u64,
    /// Events that found no room, and those that waited for a connection when it ended.
    pub dropped: u64,
    /// Subscriptions and events that permissions do not allow.
    pub refused: u64,
    /// Messages that were no envelopes, and were skipped.
    pub malformed: u64,
    /// Control events that were unknown, ill-formed or out of place.
    pub ignored_controls: u64,
    /// Connections that were cut because they read too slowly.
    pub slow_consumers: u64,
    /// Defects that were contained.
    pub panics: u64,
    /// Events that other hubs may have got.
    pub backplane_published: u64,
    /// Events of other hubs.
    pub backplane_received: u64,
    /// Events that found no room on their way to other hubs, or from them.
    pub backplane_dropped: u64,
    /// How often events of other hubs were missing.
    pub backplane_gaps: u64,
    /// Topics that this hub hears from other hubs now.
    pub backplane_topics: u64,
}

/// Those of [`HubStats`] that are counted as things happen; the others are looked up.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) unrouted: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) ignored_controls: AtomicU64,
    pub(super) slow_consumers: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) backplane_published: AtomicU64,
    pub(super) backplane_dropped: AtomicU64,
    pub(super) backplane_gaps: AtomicU64,
    pub(super) backplane_topics: AtomicU64,
}

impl Counters {
    pub(super) fn snapshot(&self) -> HubStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HubStats {
            accepted: read(&self.accepted),
            received: read(&self.received),
            delivered: read(&self.delivered),
            sent: read(&self.sent),
            sent_bytes: read(&self.sent_bytes),
            writes: read(&self.writes),
            unrouted: read(&self.unrouted),
            dropped: read(&self.dropped),
            refused: read(&self.refused),
            malformed: read(&self.malformed),
            ignored_controls: read(&self.ignored_controls),
            slow_consumers: read(&self.slow_consumers),
            panics: read(&self.panics),
            backplane_published: read(&self.backplane_published),
            backplane_dropped: read(&self.backplane_dropped),
            backplane_gaps: read(&self.backplane_gaps),
            backplane_topics: read(&self.backplane_topics),
            ..HubStats::default()
        }
    }
}

pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
