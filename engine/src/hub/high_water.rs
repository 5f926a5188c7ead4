//! When a hub has freed so much that the allocator may give some of it back. Does not measure and does not free.

/// Less is not worth a walk through the heap. Source: none, a guess.
const WORTH_BYTES: usize = 32 << 20;

/// The high-water mark of the bytes that a hub holds, since they fell far below it last.
#[derive(Debug, Default)]
pub(super) struct HighWater {
    highest: usize,
}

impl HighWater {
    /// So many bytes are held now; true when that is much less, and less than half, of what it was.
    pub(super) fn falls_far(&mut self, level: usize) -> bool {
        self.highest = self.highest.max(level);
        let falls_far = self.highest - level >= WORTH_BYTES && level <= self.highest / 2;
        if falls_far {
            self.highest = level;
        }
        falls_far
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_told_once_and_only_a_great_one() {
        let mut mark = HighWater::default();
        assert!(!mark.falls_far(WORTH_BYTES - 1) && !mark.falls_far(0));
        assert!(!mark.falls_far(3 * WORTH_BYTES));
        assert!(!mark.falls_far(2 * WORTH_BYTES), "two thirds are left");
        assert!(mark.falls_far(WORTH_BYTES) && !mark.falls_far(WORTH_BYTES));
        assert!(mark.falls_far(0) && !mark.falls_far(0));
    }
}
