//! Readers that are slower than the hub: what waits is written when a socket takes it again, all wait for one for a while, then it is cut.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tracing::warn;

use super::{CLOSE_GRACE, HubActor};
use crate::delivery::Notice;
use crate::hub::connection::{Connection, contained};
use crate::hub::count;
use crate::hub::fanout::pass_bytes;
use crate::model::{CloseCode, CloseReason};
use crate::trace;
use crate::wire::frame::Framing;

/// One step of holding back for a slow reader.
const HOLD_STEP: Duration = Duration::from_millis(1);
/// What one step is charged at most: that the machine let the hub sleep longer is not the reader's doing. Source: none, a guess.
const MAX_CHARGE: Duration = Duration::from_millis(4);

/// What a batch may add to a queue, by its bytes of text and its operations.
pub(super) fn batch_bytes(text: usize, ops: usize) -> usize {
    text + ops * Framing::MAX_HEAD_BYTES
}

impl HubActor {
    /// Whether a batch of `next` bytes waits: for somebody who keeps reading and has no room for it.
    pub(super) fn must_hold(&self, next: usize) -> bool {
        if self.blocked.is_empty() {
            return false;
        }
        let coming = self.framed_bytes() + next;
        self.blocked_connections().any(|connection| self.holds_back(connection, coming))
    }

    /// What the next batch may add to a queue, besides what the pass in progress may add. It may still become larger, which is seen when it
    /// is taken.
    pub(super) fn next_bytes(&self) -> usize {
        let bytes = |(text, ops)| batch_bytes(text, ops);
        let next = bytes(self.shared.mailbox.next_size()).max(bytes(self.shared.inlet.next_size()));
        next.max(pass_bytes(self.shared.config.max_buffered))
    }

    fn holds_back(&self, connection: &Connection, coming: usize) -> bool {
        let (waiting, max) = (connection.outbox.len(), self.shared.config.max_buffered);
        (waiting > max / 2 || waiting > 0 && waiting + coming > max)
            && !connection.credit.is_spent()
            && !connection.is_closing()
    }

    /// Waits one step for readers that keep reading, at the expense of their credit.
    pub(super) async fn hold(&mut self) {
        let began = Instant::now();
        let coming = self.framed_bytes() + self.next_bytes();
        let holds = |slot: &usize| self.connections[*slot].as_ref().is_some_and(|it| self.holds_back(it, coming));
        let mut held: Vec<usize> = self.blocked.iter().copied().filter(holds).collect();
        // A slot that found another connection within one pass may stand there twice.
        held.sort_unstable();
        held.dedup();
        self.sleep(Some(began + HOLD_STEP)).await;
        let charge = began.elapsed().min(MAX_CHARGE);
        held.iter().for_each(|slot| self.waited_for.note(*slot, began));
        let config = &self.shared.config;
        let (stall, price) = (config.stall, self.waited_for.price(self.open_connections(), config.max_buffered));
        for slot in held {
            if let Some(connection) = &mut self.connections[slot]
                && !connection.is_idle()
            {
                connection.credit.charge(charge, connection.left_total, stall, price);
            }
        }
    }

    pub(super) fn blocked_connections(&self) -> impl Iterator<Item = &Connection> {
        self.blocked.iter().filter_map(|slot| self.connections[*slot].as_ref())
    }

    pub(super) fn block(&mut self, slot: usize) {
        if let Some(connection) = &mut self.connections[slot]
            && !connection.is_blocked
        {
            connection.is_blocked = true;
            self.blocked.push(slot);
        }
    }

    /// Writes what links take again; true if one of them needs attention.
    pub(super) fn drain_blocked(&mut self, cx: &mut Context<'_>) -> bool {
        let mut has_changed = false;
        let mut blocked = std::mem::take(&mut self.blocked);
        blocked.retain(|slot| {
            let (keep, changed) = self.drain_one(*slot, cx);
            has_changed |= changed;
            keep
        });
        // A connection that broke may have been added meanwhile.
        blocked.append(&mut self.blocked);
        self.blocked = blocked;
        if has_changed {
            self.settle();
        }
        has_changed
    }

    /// Whether the connection is still blocked, and whether that is news.
    pub(super) fn drain_one(&mut self, slot: usize, cx: &mut Context<'_>) -> (bool, bool) {
        let Some(connection) = &mut self.connections[slot] else {
            return (false, false);
        };
        let mut written = (0, 0);
        let before = connection.outbox.len();
        let result = contained(|| Ok(connection.poll_drain(cx, &mut written)));
        let result = result.unwrap_or_else(|panic| Poll::Ready(Err(panic)));
        count(&self.shared.counters.sent_bytes, written.0 as u64);
        count(&self.shared.counters.writes, written.1);
        match result {
            Poll::Pending => {
                let half = self.shared.config.max_buffered / 2;
                (true, before > half && connection.outbox.len() <= half)
            }
            Poll::Ready(Ok(())) => {
                connection.is_blocked = false;
                connection.credit.restore(self.shared.config.stall);
                (false, true)
            }
            Poll::Ready(Err(error)) => {
                connection.is_blocked = false;
                self.break_off(slot, &error);
                (false, true)
            }
        }
    }

    /// A connection that reads too slowly goes, its unsent events with it.
    pub(super) fn cut(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        let (key, buffered) = (connection.key, connection.outbox.len());
        let dropped = connection.cut();
        count(&self.shared.counters.dropped, dropped.messages);
        count(&self.shared.counters.slow_consumers, 1);
        warn!(target: trace::HUB, connection = connection.serial, buffered, dropped = dropped.messages, "cut: too slow");
        self.shared.delivery.notice(Notice::Backpressure { connection: key.to_bits(), buffered });
        let reason =
            CloseReason::new(CloseCode::TOO_SLOW, format!("{} events dropped: read too slowly", dropped.messages));
        // It may be only late, and should read why it was cut: the rest of a frame and the reason are little to keep.
        self.begin_close(slot, reason, CLOSE_GRACE, true);
    }
}
