//! Counts what comes too often: storms of errors are merged into one notice per kind and 100 ms, malformed messages are counted per
//! minute. Does not read the clock.

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
    /// An error happened `count` times; gives the notice if it is time for one.
    pub(crate) fn raise(&mut self, now: Instant, kind: ErrorKind, message: String, count: u64) -> Option<Notice> {
        let Some(known) = self.kinds.iter_mut().find(|known| known.kind == kind) else {
            self.kinds.push(Kind { kind, told_at: now, untold: 0, last: String::new() });
            return Some(notice(kind, message, count - 1));
        };
        if now.duration_since(known.told_at) < INTERVAL {
            known.untold += count;
            known.last = message;
            return None;
        }
        known.told_at = now;
        Some(notice(kind, message, std::mem::take(&mut known.untold) + count - 1))
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
            notice(known.kind, std::mem::take(&mut known.last), std::mem::take(&mut known.untold) - 1)
        })
        .collect()
    }

    /// Everything untold, due or not.
    pub(crate) fn rest(&mut self) -> Vec<Notice> {
        let untold = self.kinds.iter_mut().filter(|known| known.untold > 0);
        untold
            .map(|known| notice(known.kind, std::mem::take(&mut known.last), std::mem::take(&mut known.untold) - 1))
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
    fn a_storm_is_told_once_and_then_counted() {
        let mut meter = ErrorMeter::default();
        let start = Instant::now();
        assert_eq!(dropped(meter.raise(start, ErrorKind::Malformed, "a".into(), 1)), Some(0));
        assert_eq!(dropped(meter.raise(start, ErrorKind::Malformed, "b".into(), 3)), None);
        assert_eq!(dropped(meter.raise(start, ErrorKind::BufferFull, "c".into(), 1)), Some(0));
        assert_eq!(meter.next_due(), Some(start + INTERVAL));
        let told = meter.due(start + INTERVAL);
        assert_eq!(told.into_iter().map(|notice| dropped(Some(notice))).collect::<Vec<_>>(), [Some(2)]);
        assert_eq!(dropped(meter.raise(start + 2 * INTERVAL, ErrorKind::Malformed, "d".into(), 1)), Some(0));
        assert_eq!(meter.next_due(), None);
    }
}
