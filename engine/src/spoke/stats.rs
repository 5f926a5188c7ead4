//! What a spoke counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a spoke since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpokeStats {
    /// Events that were published and found room.
    pub published: u64,
    /// Events written for the hub.
    pub sent: u64,
    /// Bytes handed to the transport, with all that frames them.
    pub sent_bytes: u64,
    /// Writes in which they were handed over.
    pub writes: u64,
    /// Events that came.
    pub received: u64,
    /// Events that the application was given.
    pub delivered: u64,
    /// Events that nobody listened to when they came.
    pub unwanted: u64,
    /// Events that found no room, waited for too long or were left when the spoke ended, and those that it had to lose in gaps.
    pub dropped: u64,
    /// Events that the hub did not let pass.
    pub refused: u64,
    /// Messages that were no envelopes, and were skipped.
    pub malformed: u64,
    /// Control events that were unknown, ill-formed or out of place.
    pub ignored_controls: u64,
    /// How often the application was told that events may be missing.
    pub gaps: u64,
    /// Links that were made, admitted or not.
    pub connects: u64,
    /// Topics that are listened to now.
    pub topics: u64,
    /// Defects that were contained.
    pub panics: u64,
    /// Those of `dropped` that waited for too long for a link.
    pub aged: u64,
}

/// Those of [`SpokeStats`] that are counted as things happen; the others are looked up.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) unwanted: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) ignored_controls: AtomicU64,
    pub(super) gaps: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) topics: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) aged: AtomicU64,
}

impl Counters {
    pub(super) fn snapshot(&self) -> SpokeStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SpokeStats {
            sent: read(&self.sent),
            sent_bytes: read(&self.sent_bytes),
            writes: read(&self.writes),
            received: read(&self.received),
            delivered: read(&self.delivered),
            unwanted: read(&self.unwanted),
            dropped: read(&self.dropped),
            refused: read(&self.refused),
            malformed: read(&self.malformed),
            ignored_controls: read(&self.ignored_controls),
            gaps: read(&self.gaps),
            connects: read(&self.connects),
            topics: read(&self.topics),
            panics: read(&self.panics),
            aged: read(&self.aged),
            ..SpokeStats::default()
        }
    }
}

pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
