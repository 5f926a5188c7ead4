//! What may wait of all links of one hub together, before the hub takes it. Does not hold bytes and does not end links.
//!
//! Invariants: what the protocol gives every link (`FIRST_CREDIT`) is not asked for here; beyond that no link has more than it has a claim
//! for, the claims together are no more than the bound, and a claim ends with its link.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The claims of a hub's links. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    claimed: AtomicUsize,
    max: usize,
}

/// What one link may have waiting beyond what every link may.
#[derive(Debug)]
pub(super) struct Claim {
    /// `None`: nobody bounds it together with others.
    ledger: Option<Ledger>,
    bytes: usize,
}

impl Ledger {
    pub(super) fn new(max: usize) -> Self {
        Self { shared: Arc::new(Shared { claimed: AtomicUsize::new(0), max }) }
    }

    /// A claim to nothing yet.
    pub(super) fn open(&self) -> Claim {
        Claim { ledger: Some(self.clone()), bytes: 0 }
    }

    fn take(&self, bytes: usize) -> bool {
        let max = self.shared.max;
        let fits = |claimed: usize| claimed.checked_add(bytes).filter(|sum| *sum <= max);
        self.shared.claimed.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.shared.claimed.fetch_sub(bytes, Ordering::AcqRel);
    }
}

impl Claim {
    /// A claim of a link that is bounded by itself alone.
    pub(super) fn unshared() -> Self {
        Self { ledger: None, bytes: 0 }
    }

    /// So many bytes in all from now on; false when others have claimed too much, then it stays as it was.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        if let Some(ledger) = &self.ledger {
            if bytes > self.bytes && !ledger.take(bytes - self.bytes) {
                return false;
            }
            ledger.give_back(self.bytes.saturating_sub(bytes));
        }
        self.bytes = bytes;
        true
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_together_stay_within_the_bound_and_end_with_their_links() {
        let ledger = Ledger::new(100);
        let (mut one, mut two) = (ledger.open(), ledger.open());
        assert!(one.set(60) && two.set(40));
        assert!(!two.set(41));
        assert_eq!((one.bytes(), two.bytes()), (60, 40));
        assert!(one.set(59) && two.set(41));
        drop(one);
        assert!(two.set(100) && !two.set(101));
        drop(two);
        assert_eq!(ledger.shared.claimed.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_link_of_its_own_is_bounded_by_nobody_else() {
        assert!(Claim::unshared().set(usize::MAX));
    }
}
