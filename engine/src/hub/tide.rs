//! When a hub has freed so much that the allocator may give some of it back. Does not measure and does not free.

/// Less is not worth a walk through the heap. Source: none, a guess.
const WORTH_BYTES: usize = 32 << 20;

/// The highest level since the last ebb.
#[derive(Debug, Default)]
pub(super) struct Tide {
    highest: usize,
}

impl Tide {
    /// So many bytes are held now; true when that is much less, and less than half, of what it was.
    pub(super) fn ebbs(&mut self, level: usize) -> bool {
        self.highest = self.highest.max(level);
        let ebbs = self.highest - level >= WORTH_BYTES && level <= self.highest / 2;
        if ebbs {
            self.highest = level;
        }
        ebbs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ebb_is_told_once_and_only_a_great_one() {
        let mut tide = Tide::default();
        assert!(!tide.ebbs(WORTH_BYTES - 1) && !tide.ebbs(0));
        assert!(!tide.ebbs(3 * WORTH_BYTES));
        assert!(!tide.ebbs(2 * WORTH_BYTES), "two thirds are left");
        assert!(tide.ebbs(WORTH_BYTES) && !tide.ebbs(WORTH_BYTES));
        assert!(tide.ebbs(0) && !tide.ebbs(0));
    }
}
