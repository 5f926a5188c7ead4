//! Tells of what is missing: at once and in its place, unless there is too much of it. Does not find it.
//!
//! Invariants: whatever others do, gaps are told at a bounded rate, and every one that was found is part of one that is told; when a gap
//! begins is when something came last before it.

use std::time::{Duration, Instant};

use tracing::info;

use super::actor::{SwarmActor, now_ms};
use super::count;
use crate::delivery::{Direction, Gap, GapCause, Notice};
use crate::meter::{Allowance, Pacer};
use crate::trace;

/// Gaps in the numbers of authors that are told a second; more at once are one. Each names all topics, and costs a hostile author a message.
/// Source: as often as errors.
pub(super) const GAPS_PER_SECOND: u64 = 10;

/// Lags are told of so often; the holes they make are covered. Source: none, a guess.
const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// What was found and not told yet.
pub(super) struct Gaps {
    allowance: Allowance,
    not_before: Option<Instant>,
    missed: Option<Missed>,
    lags: Pacer,
    lag_from_ms: Option<u64>,
}

struct Missed {
    from_ms: u64,
    events: u64,
}

impl Gaps {
    pub(super) fn new(now: Instant) -> Self {
        let allowance = Allowance::new(GAPS_PER_SECOND, now);
        Self { allowance, not_before: None, missed: None, lags: Pacer::default(), lag_from_ms: None }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.missed.is_some() || self.lag_from_ms.is_some()
    }

    fn miss(&mut self, from_ms: u64, events: u64) {
        let missed = self.missed.get_or_insert(Missed { from_ms, events: 0 });
        missed.from_ms = missed.from_ms.min(from_ms);
        missed.events = missed.events.saturating_add(events);
    }

    /// What is to be told now.
    fn take_missed(&mut self, now: Instant) -> Option<Missed> {
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return None;
        }
        let missed = self.missed.take()?;
        self.not_before = self.allowance.take(1, now);
        Some(missed)
    }
}

impl SwarmActor {
    /// So many events of others will not come.
    pub(super) fn miss(&mut self, from_ms: u64, events: u64, now: Instant) {
        self.gaps.miss(from_ms, events);
        self.tell_missed(now);
    }

    fn tell_missed(&mut self, now: Instant) {
        if let Some(Missed { from_ms, events }) = self.gaps.take_missed(now) {
            self.tell_gap(GapCause::Sequence, from_ms, events, None, false);
        }
    }

    /// The overlay dropped messages, because this task was late.
    pub(super) fn lag(&mut self, now: Instant) {
        self.authors.excuse_all();
        self.gaps.lag_from_ms.get_or_insert(self.heard_ms);
        self.tell_lag(now, 1);
    }

    fn tell_lag(&mut self, now: Instant, times: u64) {
        if self.gaps.lags.count(now, LAG_INTERVAL, times).is_some()
            && let Some(from_ms) = self.gaps.lag_from_ms.take()
        {
            self.tell_gap(GapCause::SlowConsumer, from_ms, 0, None, false);
        }
    }

    /// What has become due.
    pub(super) fn tell_gaps(&mut self, now: Instant) {
        self.tell_missed(now);
        self.tell_lag(now, 0);
    }

    /// What was found and not told, before the end.
    pub(super) fn tell_all_gaps(&mut self) {
        if let Some(Missed { from_ms, events }) = self.gaps.missed.take() {
            self.tell_gap(GapCause::Sequence, from_ms, events, None, false);
        }
        if let Some(from_ms) = self.gaps.lag_from_ms.take() {
            self.tell_gap(GapCause::SlowConsumer, from_ms, 0, None, false);
        }
    }

    /// Tells of a gap, unless nothing can have been missed that somebody listens to.
    pub(super) fn tell_gap(
        &mut self,
        cause: GapCause,
        from_ms: u64,
        dropped: u64,
        topics: Option<Vec<Box<str>>>,
        is_out: bool,
    ) {
        let mut listened = Vec::new();
        self.shared.inward.for_each_topic(|topic| {
            if topics.as_ref().is_none_or(|topics| topics.iter().any(|known| **known == *topic)) {
                listened.push(topic.into());
            }
        });
        let direction = match (listened.is_empty(), is_out) {
            (true, false) => return,
            (true, true) => Direction::Out,
            (false, true) => Direction::Both,
            (false, false) => Direction::In,
        };
        count(&self.shared.counters.gaps, 1);
        info!(target: trace::SWARM, ?cause, dropped, topics = listened.len(), "gap");
        self.tell([Notice::Gap(Gap { cause, direction, from_ms, to_ms: now_ms(), topics: listened, dropped })]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_are_told_at_a_bounded_rate_and_none_is_lost() {
        let start = Instant::now();
        let (mut gaps, mut told, mut events) = (Gaps::new(start), 0, 0);
        let mut look = |gaps: &mut Gaps, now| {
            if let Some(missed) = gaps.take_missed(now) {
                assert_eq!(missed.from_ms, 5);
                (told, events) = (told + 1, events + missed.events);
            }
        };
        for ms in 0..3000 {
            let now = start + Duration::from_millis(ms);
            gaps.miss(5, 2);
            look(&mut gaps, now);
        }
        look(&mut gaps, start + Duration::from_secs(9));
        assert_eq!(events, 6000);
        assert!(told <= 4 * GAPS_PER_SECOND + 2, "{told}");
        assert!(!gaps.is_waiting());
    }

    #[test]
    fn what_an_author_says_of_its_numbers_does_not_overflow() {
        let mut gaps = Gaps::new(Instant::now());
        gaps.miss(5, u64::MAX);
        gaps.miss(3, u64::MAX);
        let missed = gaps.take_missed(Instant::now()).expect("some");
        assert_eq!((missed.from_ms, missed.events), (3, u64::MAX));
    }
}
