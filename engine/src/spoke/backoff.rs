//! When a spoke or a swarm tries again: full jitter over a doubling bound. Does not sleep and does not roll dice.
//!
//! Source of full jitter: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: it spreads a herd best.

use std::time::Duration;

use super::Reconnect;

/// A link that held this long was good: the next loss starts again with the first delay. Source: the contract.
pub(super) const STABLE: Duration = Duration::from_secs(60);

/// The delay before an attempt, counted from one; `dice` is uniform in 0..1.
pub(crate) fn delay(reconnect: &Reconnect, attempt: u32, dice: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(30);
    let bound = reconnect.min_delay.saturating_mul(1 << doublings).min(reconnect.max_delay);
    bound.mul_f64(dice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_until_its_maximum() {
        let reconnect = Reconnect::default();
        let bounds: Vec<u128> = (1..=9).map(|attempt| delay(&reconnect, attempt, 1.0).as_millis()).collect();
        assert_eq!(bounds, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(delay(&reconnect, u32::MAX, 0.5), Duration::from_secs(15));
        assert_eq!(delay(&reconnect, 1, 0.0), Duration::ZERO);
    }
}
