//! Reads one connection and pushes each whole read to the hub at once. Does not route or answer.
//!
//! Invariant: nothing is read while the hub's mailbox is full, while half-received messages are too much, while the connection has
//! published more than its share, nor, for a connection whose events reach the application, while the application falls behind.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::connection::ConnShared;
use super::{Op, Shared, count};
use crate::inbound::{self, Ending, Inbound};
use crate::link::LinkRead;
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

pub(super) async fn read(mut reader: Box<dyn LinkRead>, key: ConnKey, conn: Arc<ConnShared>, hub: Arc<Shared>) {
    let mut guard = Guard { key, conn: &conn, hub: &hub, has_ended: false };
    let mut share = Share::of(&hub.config.limits, Instant::now());
    conn.mark_read(Instant::now());
    while !guard.has_ended {
        let read = poll_fn(|cx| {
            // Asked again when bytes have come: until then a reader may have waited for long.
            ready!(poll_gates(&hub, &conn, cx));
            conn.mark_resumed(Instant::now());
            poll_once(&mut *reader, key, &conn, &hub, cx)
        })
        .await;
        guard.has_ended = read.has_ended;
        if conn.hold_half(reader.held_bytes(), &hub.halves) {
            let _closed = hub.mailbox.command(Op::Relieve);
        }
        if let Some(until) = share.take(&read, Instant::now()) {
            conn.mark_paused();
            // Whoever is being closed has an answer to our close frame, which is waited for.
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = conn.ends.notified() => share = Share::default(),
            }
        }
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
#[derive(Default)]
struct Share {
    events: Option<Allowance>,
    bytes: Option<Allowance>,
}

impl Share {
    fn of(limits: &Limits, now: Instant) -> Self {
        let allowance = |per_second: u64| Allowance::new(per_second, now);
        Self {
            events: limits.max_publish_per_second.map(allowance),
            bytes: limits.max_publish_bytes_per_second.map(allowance),
        }
    }

    /// Until when nothing more is to be read.
    fn take(&mut self, read: &OneRead, now: Instant) -> Option<Instant> {
        let events = self.events.as_mut().and_then(|allowance| allowance.take(read.events, now));
        let bytes = self.bytes.as_mut().and_then(|allowance| allowance.take(read.bytes, now));
        events.max(bytes)
    }
}

/// However a reader ends, it holds nothing any more; one that dies of a defect ends its connection and no other.
struct Guard<'a> {
    key: ConnKey,
    conn: &'a ConnShared,
    hub: &'a Shared,
    has_ended: bool,
}

impl Drop for Guard<'_> {
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
