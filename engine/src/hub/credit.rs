//! How long the other readers still wait for one that is slow, and who was waited for lately. Does not wait.
//!
//! Invariants: who takes nothing has no credit left when the others have waited for `stall`; there is never more than `stall`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What is left of one connection's credit.
#[derive(Debug)]
pub(super) struct Credit {
    left: Duration,
    /// What had left its queue when that was reckoned last.
    reckoned: u64,
}

impl Credit {
    pub(super) fn new(stall: Duration) -> Self {
        Self { left: stall, reckoned: 0 }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left.is_zero()
    }

    /// Its queue is empty: it keeps up.
    pub(super) fn restore(&mut self, stall: Duration) {
        self.left = stall;
    }

    /// The others have `waited`, and `left_total` bytes have left its queue by now. Taking `price` bytes earns the whole credit.
    pub(super) fn charge(&mut self, waited: Duration, left_total: u64, stall: Duration, price: usize) {
        let taken = left_total.saturating_sub(self.reckoned);
        self.reckoned = left_total;
        let earned = stall.mul_f64((taken as f64 / price as f64).min(1.0));
        self.left = (self.left + earned).min(stall).saturating_sub(waited);
    }
}

/// A reader that was waited for is not counted among those who wait for others, for so long. Source: none, a guess: that readers of a busy
/// machine had their turn.
const LATELY: Duration = Duration::from_secs(5);
/// A reader that nobody else waits for has its credit back for this part of its bound. Source: none, a guess: 256 KiB in a second with
/// the defaults.
const LEAST_PART: usize = 16;

/// Who was waited for lately, by slot.
#[derive(Debug, Default)]
pub(super) struct WaitedFor {
    at: HashMap<usize, Instant>,
    pruned_at: Option<Instant>,
}

impl WaitedFor {
    pub(super) fn note(&mut self, slot: usize, now: Instant) {
        self.at.insert(slot, now);
        if self.pruned_at.is_none_or(|at| now - at >= LATELY / 16) {
            self.at.retain(|_, at| now - *at < LATELY);
            self.pruned_at = Some(now);
        }
    }

    pub(super) fn forget(&mut self, slot: usize) {
        self.at.remove(&slot);
    }

    /// Bytes that a reader of `open` must take to have its whole credit back: half of `max_buffered`, and less the fewer others wait for
    /// it. Where all read as slowly, because the machine is busy or the hub faster than any reader, waiting costs nobody anything.
    pub(super) fn price(&self, open: usize, max_buffered: usize) -> usize {
        let others = open.saturating_sub(self.at.len());
        (max_buffered / 2 * others / open.max(1)).max(max_buffered / LEAST_PART).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_millis(250);
    const STEP: Duration = Duration::from_millis(1);

    #[test]
    fn who_takes_nothing_has_no_credit_after_the_stall() {
        let mut credit = Credit::new(STALL);
        (0..249).for_each(|_| credit.charge(STEP, 0, STALL, 500));
        assert!(!credit.is_spent());
        credit.charge(STEP, 0, STALL, 500);
        assert!(credit.is_spent());
        credit.restore(STALL);
        assert!(!credit.is_spent());
    }

    #[test]
    fn who_keeps_reading_earns_by_what_it_takes_and_never_has_more_than_there_was() {
        let mut credit = Credit::new(STALL);
        (0..100).for_each(|_| credit.charge(STEP, 0, STALL, 500));
        credit.charge(STEP, 50, STALL, 500);
        assert_eq!(credit.left, STALL - 101 * STEP + STALL / 10);
        credit.charge(STEP, 50, STALL, 500);
        assert_eq!(credit.left, STALL - 102 * STEP + STALL / 10, "what was reckoned is not reckoned again");
        credit.charge(STEP, 1000, STALL, 500);
        assert_eq!(credit.left, STALL - STEP);
    }

    #[test]
    fn the_price_falls_with_the_number_of_those_who_were_waited_for_lately() {
        let (mut waited_for, now) = (WaitedFor::default(), Instant::now());
        assert_eq!(waited_for.price(10, 1600), 800);
        (0..5).for_each(|slot| waited_for.note(slot, now));
        assert_eq!(waited_for.price(10, 1600), 400);
        (5..10).for_each(|slot| waited_for.note(slot, now + LATELY));
        assert_eq!(waited_for.price(10, 1600), 400, "the first five are long ago");
        waited_for.forget(5);
        assert_eq!(waited_for.price(10, 1600), 480);
        assert_eq!((waited_for.price(4, 1600), waited_for.price(0, 0)), (100, 1), "never nothing");
    }
}
