//! The application's wish that a target be closed, and until when. It passes the queue: what waits there must not put the end off.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::mailbox::lock;
use crate::model::CloseReason;

/// Asked for at most once; asked again, only the time can become shorter.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    is_asked: AtomicBool,
    wish: Mutex<Option<(CloseReason, Instant)>>,
}

impl Closing {
    /// Asks for the end with this reason within this time; false if it was asked for before.
    pub(crate) fn ask(&self, reason: CloseReason, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut wish = lock(&self.wish);
        self.is_asked.store(true, Ordering::Release);
        if let Some((_, earlier)) = &mut *wish {
            *earlier = deadline.min(*earlier);
            return false;
        }
        *wish = Some((reason, deadline));
        true
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
