//! Reads one connection and pushes each whole read to the hub at once. Does not route or answer.
//!
//! Invariant: nothing is read while the hub's mailbox is full, while half-received messages are too much, while the connection has
//! published more than its share, nor, for a connection whose events reach the application, while the application falls behind.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::connection::ConnShared;
use super::{Op, Shared, count};
use crate::inbound::{self, Ending, Inbound};
use crate::link::{BoxFuture, LinkRead};
use crate::mailbox::Batch;
use crate::meter::Allowance;
use crate::model::{CloseCode, CloseReason, Limits};
use crate::route::ConnKey;

thread_local! {
    /// What one read brings; shared by all readers of a thread, so an idle connection holds none.
    static BATCH: RefCell<Batch<Op>> = RefCell::default();
}

/// A batch that has grown beyond this is given back.
const KEPT_BYTES: usize = 1 << 20;

/// The task of one connection. Written by hand: an `async fn` keeps room for everything that it may ever wait for, in every connection.
pub(super) struct Reader {
    link: Box<dyn LinkRead>,
    key: ConnKey,
    conn: Arc<ConnShared>,
    hub: Arc<Shared>,
    /// What it may publish, where that is bounded.
    share: Option<Box<Share>>,
    /// It has published more than its share.
    pause: Option<BoxFuture<Resumed>>,
}

/// Why a pause is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resumed {
    InTime,
    /// We are closing: the answer to our close frame is waited for, so that nothing is bounded any more.
    ToEnd,
}

impl Reader {
    pub(super) fn new(link: Box<dyn LinkRead>, key: ConnKey, conn: Arc<ConnShared>, hub: Arc<Shared>) -> Self {
        let now = Instant::now();
        conn.mark_read(now);
        let share = Share::of(&hub.config.limits, now);
        Self { link, key, conn, hub, share, pause: None }
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            if ready!(pause.as_mut().poll(cx)) == Resumed::ToEnd {
                self.share = None;
            }
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<OneRead> {
        // Asked again when bytes have come: until then a reader may have waited for long.
        ready!(poll_gates(&self.hub, &self.conn, cx));
        self.conn.mark_resumed(Instant::now());
        poll_once(&mut *self.link, self.key, &self.conn, &self.hub, cx)
    }

    fn account(&mut self, read: &OneRead) {
        if self.conn.hold_half(self.link.held_bytes(), &self.hub.halves) {
            let _closed = self.hub.mailbox.command(Op::Relieve);
        }
        let Some(share) = &mut self.share else { return };
        if let Some(until) = share.take(read, Instant::now()) {
            self.conn.mark_paused();
            self.pause = Some(Box::pin(pause(until, Arc::clone(&self.conn))));
        }
    }
}

impl Future for Reader {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.poll_pause(cx));
            let read = ready!(self.poll_read(cx));
            self.account(&read);
            if read.has_ended {
                return Poll::Ready(());
            }
        }
    }
}

async fn pause(until: Instant, conn: Arc<ConnShared>) -> Resumed {
    tokio::select! {
        () = tokio::time::sleep_until(until.into()) => Resumed::InTime,
        () = conn.ends.notified() => Resumed::ToEnd,
    }
}

fn poll_gates(hub: &Shared, conn: &ConnShared, cx: &mut Context<'_>) -> Poll<()> {
    if hub.halves.poll_room(cx).is_pending() {
        conn.mark_paused();
        return Poll::Pending;
    }
    let room = match hub.mailbox.poll_read_room(cx) {
        Poll::Ready(()) if !hub.delivery.is_full() => {
            conn.reaches_application.store(false, Ordering::Relaxed);
            Poll::Ready(())
        }
        Poll::Ready(()) if conn.reaches_application.load(Ordering::Relaxed) => hub.delivery.poll_room(cx),
        other => other,
    };
    if room.is_pending() {
        conn.mark_paused();
    }
    room
}

fn poll_once(
    reader: &mut dyn LinkRead,
    key: ConnKey,
    conn: &ConnShared,
    hub: &Shared,
    cx: &mut Context<'_>,
) -> Poll<OneRead> {
    BATCH.with_borrow_mut(|batch| {
        let wrap = |inbound| Op::From { connection: key, inbound };
        let has_ended = ready!(inbound::poll_read(reader, cx, &hub.config.limits, batch, &wrap));
        conn.mark_read(Instant::now());
        let read = OneRead::of(batch, has_ended);
        hub.mailbox.append_read(batch);
        if batch.text.capacity() > KEPT_BYTES {
            *batch = Batch::default();
        }
        Poll::Ready(read)
    })
}

/// What one read brought.
struct OneRead {
    has_ended: bool,
    events: u64,
    bytes: u64,
}

impl OneRead {
    fn of(batch: &Batch<Op>, has_ended: bool) -> Self {
        let events = batch.ops.iter().filter(|op| matches!(op, Op::From { inbound: Inbound::Event(_), .. })).count();
        Self { has_ended, events: events as u64, bytes: batch.text.len() as u64 }
    }
}

/// What a connection may publish in a second.
struct Share {
    events: Option<Allowance>,
    bytes: Option<Allowance>,
}

impl Share {
    /// Nothing where nothing is bounded.
    fn of(limits: &Limits, now: Instant) -> Option<Box<Self>> {
        let allowance = |per_second: u64| Allowance::new(per_second, now);
        let events = limits.max_publish_per_second.map(allowance);
        let bytes = limits.max_publish_bytes_per_second.map(allowance);
        (events.is_some() || bytes.is_some()).then(|| Box::new(Self { events, bytes }))
    }

    /// Until when nothing more is to be read.
    fn take(&mut self, read: &OneRead, now: Instant) -> Option<Instant> {
        let events = self.events.as_mut().and_then(|allowance| allowance.take(read.events, now));
        let bytes = self.bytes.as_mut().and_then(|allowance| allowance.take(read.bytes, now));
        events.max(bytes)
    }
}

/// However a reader ends, it holds nothing any more; one that dies of a defect ends its connection and no other.
impl Drop for Reader {
    fn drop(&mut self) {
        if self.conn.half() > 0 {
            self.conn.hold_half(0, &self.hub.halves);
            let _closed = self.hub.mailbox.command(Op::Wake);
        }
        if !std::thread::panicking() {
            return;
        }
        count(&self.hub.counters.panics, 1);
        let reason = CloseReason::new(CloseCode::INTERNAL, "internal error");
        let inbound = Inbound::Ended(Ending { reason, is_violation: true });
        let _closed = self.hub.mailbox.command(Op::From { connection: self.key, inbound });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_reader_is_small() {
        assert!(size_of::<Reader>() <= 72, "{}", size_of::<Reader>());
    }
}
