//! Whether the hub should look once more before it falls asleep. Does not look or sleep.
//!
//! A sleeping hub is woken by the thread that publishes, which costs that thread 1 to 4 µs, more than the rest of a dispatch. While events
//! come in bursts the hub stays awake between them for some 20 µs; where they come one by one it learns not to.

/// Turns of the thread that a hub stays awake; sockets are looked after in each. Source: measured: 16 of them, 1 to 2 µs each, take
/// 400 ns off a dispatch in bursts; pausing instead of yielding gained nothing.
pub(super) const LINGER_TURNS: usize = 16;

/// Successes that are remembered.
const MAX_TRUST: u8 = 8;
/// Without trust, one pass in so many tries again.
const RETRY_EVERY: u8 = 32;

/// What became of the last attempts.
#[derive(Debug)]
pub(super) struct Linger {
    trust: u8,
    skipped: u8,
    is_armed: bool,
}

impl Default for Linger {
    fn default() -> Self {
        Self { trust: MAX_TRUST, skipped: 0, is_armed: false }
    }
}

impl Linger {
    /// A pass begins; only the application's events are worth waiting for: readers wake the hub for nothing.
    pub(super) fn arm(&mut self, is_published: bool) {
        self.is_armed = is_published;
    }

    /// Asked once after each pass.
    pub(super) fn is_worth_it(&mut self) -> bool {
        if !std::mem::take(&mut self.is_armed) {
            return false;
        }
        if self.trust > 0 {
            return true;
        }
        self.skipped = (self.skipped + 1) % RETRY_EVERY;
        self.skipped == 0
    }

    pub(super) fn succeeded(&mut self) {
        self.trust = (self.trust + 1).min(MAX_TRUST);
    }

    pub(super) fn failed(&mut self) {
        self.trust = self.trust.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_events_teach_it_to_sleep_and_bursts_to_stay() {
        let mut linger = Linger::default();
        let mut tried = 0;
        for _ in 0..320 {
            linger.arm(true);
            if linger.is_worth_it() {
                tried += 1;
                linger.failed();
            }
        }
        assert_eq!(tried, u32::from(MAX_TRUST) + (320 - u32::from(MAX_TRUST)) / u32::from(RETRY_EVERY));
        linger.succeeded();
        linger.arm(true);
        assert!(linger.is_worth_it());
        linger.arm(false);
        assert!(!linger.is_worth_it());
    }
}
