//! The application's wish that a target be closed, and until when. It passes the queue: what waits there must not put the end off.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use crate::mailbox::lock;
use crate::model::CloseReason;

/// Asked for at most once; asked again, only the time can become shorter.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    is_asked: AtomicBool,
    wish: Mutex<Option<(CloseReason, Instant)>>,
    waker: Mutex<Option<Waker>>,
}

impl Closing {
    /// Asks for the end with this reason within this time.
    pub(crate) fn ask(&self, reason: CloseReason, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut wish = lock(&self.wish);
        self.is_asked.store(true, Ordering::Release);
        let (_, earliest) = wish.get_or_insert((reason, deadline));
        *earliest = deadline.min(*earliest);
        drop(wish);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes the task at the next `ask`: one whose link is full sleeps on the link and not on its queue. Look at `deadline` afterwards.
    pub(crate) fn wake_when_asked(&self, cx: &Context<'_>) {
        let mut waker = lock(&self.waker);
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// When everything must be over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if !self.is_asked.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.wish).as_ref().map(|(_, deadline)| *deadline)
    }

    /// True once no time is left.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// What the peers are told.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        lock(&self.wish).as_ref().map(|(reason, _)| reason.clone())
    }
}
