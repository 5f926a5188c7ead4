//! Reads one connection and pushes each whole read to the hub at once. Does not route or answer.
//!
//! Invariant: nothing is read while the hub's mailbox is full, nor, for a connection whose events reach the application, while the
//! application falls behind.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use super::connection::ConnShared;
use super::{Op, Shared, count};
use crate::inbound::{self, Ending, Inbound};
use crate::link::LinkRead;
use crate::mailbox::Batch;
use crate::model::{CloseCode, CloseReason};
use crate::route::ConnKey;

thread_local! {
    /// What one read brings; shared by all readers of a thread, so an idle connection holds none.
    static BATCH: RefCell<Batch<Op>> = RefCell::default();
}

/// A batch that has grown beyond this is given back.
const KEPT_BYTES: usize = 1 << 20;

pub(super) async fn read(mut reader: Box<dyn LinkRead>, key: ConnKey, conn: Arc<ConnShared>, hub: Arc<Shared>) {
    let mut guard = PanicGuard { key, hub: &hub, is_armed: true };
    conn.mark_read(Instant::now());
    let mut has_ended = false;
    while !has_ended {
        poll_fn(|cx| poll_gates(&hub, &conn, cx)).await;
        conn.mark_resumed(Instant::now());
        has_ended = poll_fn(|cx| poll_once(&mut *reader, key, &conn, &hub, cx)).await;
    }
    guard.is_armed = false;
}

fn poll_gates(hub: &Shared, conn: &ConnShared, cx: &mut Context<'_>) -> Poll<()> {
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
) -> Poll<bool> {
    BATCH.with_borrow_mut(|batch| {
        let wrap = |inbound| Op::From { connection: key, inbound };
        let read = inbound::poll_read(reader, cx, &hub.config.limits, batch, &wrap);
        if read.is_ready() {
            conn.mark_read(Instant::now());
            hub.mailbox.append_read(batch);
            if batch.text.capacity() > KEPT_BYTES {
                *batch = Batch::default();
            }
        }
        read
    })
}

/// A reader that dies of a defect ends its connection and no other.
struct PanicGuard<'a> {
    key: ConnKey,
    hub: &'a Shared,
    is_armed: bool,
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if !self.is_armed || !std::thread::panicking() {
            return;
        }
        count(&self.hub.counters.panics, 1);
        let reason = CloseReason::new(CloseCode::INTERNAL, "internal error");
        let inbound = Inbound::Ended(Ending { reason, is_violation: true });
        let _closed = self.hub.mailbox.command(Op::From { connection: self.key, inbound });
    }
}
