//! The bytes of half-received messages of all connections together. Does not read and does not close connections.
//!
//! Invariants: the sum is exact, also when a reader is dropped; above the bound nobody reads on before somebody was sent away.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crate::mailbox::lock;

#[derive(Debug)]
pub(super) struct Halves {
    total: AtomicUsize,
    max: usize,
    waiting: Mutex<Vec<Waker>>,
}

impl Halves {
    pub(super) fn new(max: usize) -> Self {
        Self { total: AtomicUsize::new(0), max, waiting: Mutex::default() }
    }

    /// A connection that held `before` bytes holds `now`; true when that made it too much.
    pub(super) fn change(&self, before: usize, now: usize) -> bool {
        if now > before {
            return self.total.fetch_add(now - before, Ordering::AcqRel) + (now - before) > self.max;
        }
        let total = self.total.fetch_sub(before - now, Ordering::AcqRel) - (before - now);
        if before > now && total <= self.max {
            std::mem::take(&mut *lock(&self.waiting)).into_iter().for_each(Waker::wake);
        }
        false
    }

    /// Bytes that are held.
    pub(super) fn total(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    /// Bytes above the bound.
    pub(super) fn excess(&self) -> usize {
        self.total().saturating_sub(self.max)
    }

    /// Ready while more may be received; else wakes when it may.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.excess() == 0 {
            return Poll::Ready(());
        }
        let mut waiting = lock(&self.waiting);
        if self.excess() == 0 {
            return Poll::Ready(());
        }
        waiting.push(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_last_that_fits_and_who_waits_is_woken_when_it_fits_again() {
        let halves = Halves::new(100);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(!halves.change(0, 60) && !halves.change(0, 40));
        assert!(halves.poll_room(&mut cx).is_ready());
        assert!(halves.change(40, 41));
        assert_eq!(halves.excess(), 1);
        assert!(halves.poll_room(&mut cx).is_pending());
        assert!(!halves.change(60, 0));
        assert!(halves.poll_room(&mut cx).is_ready() && lock(&halves.waiting).is_empty());
    }
}
