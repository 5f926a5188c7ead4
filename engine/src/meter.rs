//! Counts what comes too often: storms of errors are merged into one notice per kind and 100 ms, what is told of one link into one per
//! interval, malformed messages are counted per minute, events per second. Does not read the clock.

use std::time::{Duration, Instant};

use crate::delivery::{Failure, Notice};
use crate::model::ErrorKind;

/// One notice per kind in this time. Source: the contract.
const INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Kind {
    kind: ErrorKind,
    told_at: Instant,
    untold: u64,
    last: String,
}

/// What was told and what waits to be told.
#[derive(Debug, Default)]
pub(crate) struct ErrorMeter {
    kinds: Vec<Kind>,
}

impl ErrorMeter {
    /// An error happened `count` times, or cost so many events; gives the notice if it is time for one.
    pub(crate) fn raise(&mut self, now: Instant, kind: ErrorKind, message: String, count: u64) -> Option<Notice> {
        let Some(known) = self.kinds.iter_mut().find(|known| known.kind == kind) else {
            self.kinds.push(Kind { kind, told_at: now, untold: 0, last: String::new() });
            return Some(notice(kind, message, count));
        };
        if now.duration_since(known.told_at) < INTERVAL {
            known.untold += count;
            known.last = message;
            return None;
        }
        known.told_at = now;
        Some(notice(kind, message, std::mem::take(&mut known.untold) + count))
    }

    /// When something untold becomes due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.kinds.iter().filter(|known| known.untold > 0).map(|known| known.told_at + INTERVAL).min()
    }

    /// What is due.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Notice> {
        let due = self.kinds.iter_mut().filter(|known| known.untold > 0 && now >= known.told_at + INTERVAL);
        due.map(|known| {
            known.told_at = now;
            notice(known.kind, std::mem::take(&mut known.last), std::mem::take(&mut known.untold))
        })
        .collect()
    }

    /// Everything untold, due or not.
    pub(crate) fn rest(&mut self) -> Vec<Notice> {
        let untold = self.kinds.iter_mut().filter(|known| known.untold > 0);
        untold
            .map(|known| notice(known.kind, std::mem::take(&mut known.last), std::mem::take(&mut known.untold)))
            .collect()
    }
}

fn notice(kind: ErrorKind, message: String, dropped: u64) -> Notice {
    Notice::Error { failure: Failure { kind, message }, dropped }
}

/// Counts over minutes, each of which begins with what ends the last.
#[derive(Debug, Default)]
pub(crate) struct PerMinute {
    since: Option<Instant>,
    times: u32,
}

impl PerMinute {
    /// Counts once more; returns how often it was in this minute.
    pub(crate) fn count(&mut self, now: Instant) -> u32 {
        if self.since.is_none_or(|since| now.duration_since(since) > Duration::from_secs(60)) {
            *self = Self { since: Some(now), times: 0 };
        }
        self.times += 1;
        self.times
    }
}

/// Malformed messages of one link are told of so often. Source: the contract.
pub(crate) const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// Lets something be told once per interval, with how often it happened.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    told_at: Option<Instant>,
    untold: u64,
}

impl Pacer {
    /// It happened `times` more; the number to tell now, if it is time.
    pub(crate) fn count(&mut self, now: Instant, interval: Duration, times: u64) -> Option<u64> {
        self.untold += times;
        self.take_due(now, interval)
    }

    /// What became due since.
    pub(crate) fn take_due(&mut self, now: Instant, interval: Duration) -> Option<u64> {
        if self.untold == 0 || self.told_at.is_some_and(|told_at| now.duration_since(told_at) < interval) {
            return None;
        }
        self.told_at = Some(now);
        self.take_rest()
    }

    /// What was not told, due or not.
    pub(crate) fn take_rest(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.untold)).filter(|untold| *untold > 0)
    }

    /// When something untold becomes due.
    pub(crate) fn due_at(&self, interval: Duration) -> Option<Instant> {
        self.told_at.filter(|_| self.untold > 0).map(|told_at| told_at + interval)
    }
}

/// An allowance that refills with time: what is taken above it is paid by waiting. A second's worth may be saved up.
#[derive(Debug)]
pub(crate) struct Allowance {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    pub(crate) fn new(per_second: u64, now: Instant) -> Self {
        Self { per_second: per_second as f64, left: per_second as f64, at: now }
    }

    /// Takes `amount`, which has been used already; returns until when nothing more should be.
    pub(crate) fn take(&mut self, amount: u64, now: Instant) -> Option<Instant> {
        let earned = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.left = (self.left + earned).min(self.per_second) - amount as f64;
        (self.left < 0.0).then(|| now + Duration::from_secs_f64(-self.left / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(notice: Option<Notice>) -> Option<u64> {
        notice.map(|notice| match notice {
            Notice::Error { dropped, .. } => dropped,
            other => unreachable!("an error, not {other:?}"),
        })
    }

    #[test]
    fn what_is_paced_is_told_once_an_interval_with_its_number() {
        let (mut pacer, start, second) = (Pacer::default(), Instant::now(), Duration::from_secs(1));
        assert_eq!(pacer.count(start, second, 2), Some(2));
        assert_eq!(pacer.count(start, second, 1), None);
        assert_eq!(pacer.due_at(second), Some(start + second));
        assert_eq!(pacer.take_due(start + second / 2, second), None);
        assert_eq!(pacer.count(start + second, second, 1), Some(2));
        assert_eq!((pacer.due_at(second), pacer.take_rest()), (None, None));
        assert_eq!(pacer.count(start + second, second, 5), None);
        assert_eq!(pacer.take_rest(), Some(5));
    }

    #[test]
    fn an_allowance_is_a_second_and_what_exceeds_it_is_waited_for() {
        let start = Instant::now();
        let mut allowance = Allowance::new(10, start);
        assert_eq!(allowance.take(10, start), None);
        assert_eq!(allowance.take(5, start), Some(start + Duration::from_millis(500)));
        assert_eq!(allowance.take(5, start + Duration::from_secs(1)), None);
        assert_eq!(allowance.take(11, start + Duration::from_secs(100)), Some(start + Duration::from_millis(100_100)));
    }

    #[test]
    fn a_storm_is_told_once_and_then_counted() {
        let mut meter = ErrorMeter::default();
        let start = Instant::now();
        assert_eq!(dropped(meter.raise(start, ErrorKind::Malformed, "a".into(), 1)), Some(1));
        assert_eq!(dropped(meter.raise(start, ErrorKind::Malformed, "b".into(), 3)), None);
        assert_eq!(dropped(meter.raise(start, ErrorKind::BufferFull, "c".into(), 7)), Some(7));
        assert_eq!(meter.next_due(), Some(start + INTERVAL));
        let told = meter.due(start + INTERVAL);
        assert_eq!(told.into_iter().map(|notice| dropped(Some(notice))).collect::<Vec<_>>(), [Some(3)]);
        assert_eq!(dropped(meter.raise(start + 2 * INTERVAL, ErrorKind::Malformed, "d".into(), 1)), Some(1));
        assert_eq!(meter.next_due(), None);
    }
}
