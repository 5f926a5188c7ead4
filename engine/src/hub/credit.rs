//! How long the other readers still wait for one that is slow. Does not wait and does not know who waits.
//!
//! Invariants: who takes nothing has no credit left when the others have waited for `stall`; there is never more than `stall`.

use std::time::Duration;

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
}
