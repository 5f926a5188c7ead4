//! How connections come and go. Invariant: a connection that is no longer open is in no topic, or is being taken out of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tracing::debug;

use super::{HubActor, LINGER};
use crate::delivery::Notice;
use crate::hub::connection::{Closing, Connection, Stage, is_panic};
use crate::hub::count;
use crate::hub::reader::Reader;
use crate::inbound::Ending;
use crate::link::{Admission, Link};
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason, ErrorKind};
use crate::route::{ConnKey, Permissions};
use crate::trace;

impl HubActor {
    pub(super) fn slot(&self, key: ConnKey) -> Option<usize> {
        let connection = self.connections.get(key.slot())?.as_ref()?;
        (connection.key == key).then_some(key.slot())
    }

    pub(super) fn live_slot(&self, key: ConnKey) -> Option<usize> {
        self.slot(key)
            .filter(|slot| self.connections[*slot].as_ref().is_some_and(|connection| !connection.is_closing()))
    }

    pub(super) fn is_heard(&self, key: ConnKey) -> bool {
        self.slot(key).and_then(|slot| self.connections[slot].as_ref()).is_some_and(Connection::is_heard)
    }

    pub(super) fn open_connections(&self) -> usize {
        self.lanes.iter().map(|lane| lane.connections).sum()
    }

    pub(super) fn add(&mut self, link: Link, admission: Admission) {
        let Some(lane) = self.lanes.iter().position(|lane| lane.framing == link.framing) else {
            return;
        };
        let now = Instant::now();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.generations.push(0);
            self.connections.len() - 1
        });
        self.generations[slot] = self.generations[slot].wrapping_add(1);
        let key = ConnKey::new(slot, self.generations[slot]);
        let (grants, ticket) = admission.redeem();
        lock(&self.shared.router).grant(key, Permissions::compile(&grants));
        let peer = Box::new(link.peer.clone());
        self.serial += 1;
        let connection = Connection::new(key, self.serial, link, lane, self.shared.config.stall, now);
        lock(&self.shared.connections).insert(key, Arc::clone(&connection.shared));
        self.connections[slot] = Some(connection);
        self.lanes[lane].connections += 1;
        self.shared.connection_count.store(self.open_connections(), Ordering::Relaxed);
        count(&self.shared.counters.accepted, 1);
        let remote = peer.remote_address.map(tracing::field::display);
        debug!(target: trace::HUB, connection = self.serial, transport = peer.transport, remote, "connected");
        self.shared.delivery.notice(Notice::Connection {
            connection: key.to_bits(),
            serial: self.serial,
            peer,
            ticket,
        });
        if self.is_closing || self.open_connections() > self.shared.config.limits.max_connections {
            self.begin_close(slot, CloseReason::new(CloseCode::GOING_AWAY, "no room"), LINGER, false);
        } else if self.shared.config.admit_by_hand {
            self.waiting.push_back((now + self.shared.config.limits.handshake, key));
        } else {
            self.admit(key);
        }
    }

    /// Connections that the application has not admitted in time go: nobody reads them, so nobody would notice that they are dead.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|(deadline, _)| now >= *deadline) {
            let Some((_, key)) = self.waiting.pop_front() else { return };
            let slot = self.live_slot(key).filter(|slot| self.is_waiting(*slot));
            if let Some(slot) = slot {
                let reason = CloseReason::new(CloseCode::TIMED_OUT, "not admitted in time");
                self.begin_close(slot, reason, LINGER, false);
            }
        }
    }

    fn is_waiting(&self, slot: usize) -> bool {
        self.connections[slot].as_ref().is_some_and(|connection| matches!(connection.stage, Stage::Waiting(_)))
    }

    pub(super) fn admit(&mut self, key: ConnKey) {
        let Some(slot) = self.live_slot(key) else { return };
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if let Stage::Waiting(reader) = std::mem::replace(&mut connection.stage, Stage::Open) {
            let conn = Arc::clone(&connection.shared);
            let task = tokio::spawn(Reader::new(reader, key, conn, Arc::clone(&self.shared)));
            connection.reader = Some(task.abort_handle());
            self.await_first_word(slot);
        }
    }

    /// Says goodbye behind what waits. What the peer still sends is heard only if `is_heard`.
    pub(super) fn begin_close(&mut self, slot: usize, reason: CloseReason, grace: Duration, is_heard: bool) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if connection.is_closing() {
            return;
        }
        let mut frame = Vec::new();
        let expects_answer = connection.framing.write_close(&mut frame, reason.code, &reason.reason, [0; 4])
            && !matches!(connection.stage, Stage::Waiting(_));
        self.end_silence(slot);
        self.write(slot);
        if self.connections[slot].as_ref().is_none_or(Connection::is_closing) {
            return;
        }
        self.leave(
            slot,
            frame,
            Closing {
                reason,
                deadline: Instant::now() + grace,
                ends_when_idle: !expects_answer,
                is_clean: true,
                is_heard,
            },
        );
    }

    pub(super) fn leave(&mut self, slot: usize, frame: Vec<u8>, closing: Closing) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        connection.push(&frame);
        connection.stage = Stage::Closing(Box::new(closing));
        connection.shared.ends.notify_one();
        let mut router = lock(&self.shared.router);
        router.remove(connection.key);
        self.is_sweeping |= router.is_leaving(connection.key);
        drop(router);
        self.closing.insert(slot);
        self.block(slot);
    }

    pub(super) fn peer_closes(&mut self, slot: usize, reason: &CloseReason) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if let Stage::Closing(closing) = &mut connection.stage {
            closing.ends_when_idle = true;
            return;
        }
        let mut frame = Vec::new();
        connection.framing.write_close(&mut frame, reason.code, "", [0; 4]);
        self.write(slot);
        self.leave(
            slot,
            frame,
            Closing {
                reason: reason.clone(),
                deadline: Instant::now() + LINGER,
                ends_when_idle: true,
                is_clean: true,
                is_heard: false,
            },
        );
    }

    /// Nothing more will be read.
    pub(super) fn ended(&mut self, slot: usize, ending: &Ending) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if let Stage::Closing(closing) = &mut connection.stage {
            // After both close frames only our own bytes are left to wait for.
            if !closing.ends_when_idle {
                closing.is_clean = false;
                self.remove(slot);
            }
            return;
        }
        let is_clean = false;
        let mut frame = Vec::new();
        if ending.is_violation {
            connection.framing.write_close(&mut frame, ending.reason.code, &ending.reason.reason, [0; 4]);
            self.raise(ErrorKind::Protocol, format!("connection {slot}: {}", ending.reason.reason), 1);
        }
        // A violator gets a moment to read why; a socket dropped with unread bytes would take the reason along.
        let ends_when_idle = !ending.is_violation;
        self.write(slot);
        self.leave(
            slot,
            frame,
            Closing {
                reason: ending.reason.clone(),
                deadline: Instant::now() + if ending.is_violation { LINGER } else { Duration::ZERO },
                ends_when_idle,
                is_clean,
                is_heard: false,
            },
        );
    }

    /// The link refused a write for good. What it sent before is read to its end.
    pub(super) fn break_off(&mut self, slot: usize, error: &io::Error) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        connection.segments.clear();
        let dropped = connection.cut();
        count(&self.shared.counters.dropped, dropped.messages);
        connection.forget_rest();
        if let Stage::Closing(closing) = &mut connection.stage {
            closing.deadline = Instant::now();
            return;
        }
        let is_ours = is_panic(error);
        if is_ours {
            count(&self.shared.counters.panics, 1);
        }
        let code = if is_ours { CloseCode::INTERNAL } else { CloseCode::ABNORMAL };
        let may_read = connection.reader.is_some() && !is_ours;
        self.leave(
            slot,
            Vec::new(),
            Closing {
                reason: CloseReason::new(code, error.to_string()),
                deadline: Instant::now() + if may_read { LINGER } else { Duration::ZERO },
                ends_when_idle: false,
                is_clean: false,
                is_heard: true,
            },
        );
    }

    /// Half-received messages have become too much: the largest goes, and the next, until the rest fits.
    pub(super) fn relieve(&mut self) {
        let mut excess = self.shared.halves.excess();
        // Whose reader was stopped a moment ago gives back what it holds when that is dropped: nobody else goes for it.
        let stopped = self.connections.iter().flatten().filter(|connection| connection.reader.is_none());
        excess = excess.saturating_sub(stopped.map(|connection| connection.shared.half()).sum());
        while excess > 0 {
            let open = self.connections.iter().enumerate().filter_map(|(slot, connection)| {
                let connection = connection.as_ref().filter(|connection| connection.reader.is_some())?;
                Some((connection.shared.half(), slot))
            });
            let Some((half, slot)) = open.max().filter(|(half, _)| *half > 0) else { return };
            excess = excess.saturating_sub(half);
            self.cut_half(slot);
        }
    }

    fn cut_half(&mut self, slot: usize) {
        let max = self.shared.config.limits.max_inbound_bytes;
        if let Some(connection) = &mut self.connections[slot] {
            connection.stop_reading();
        }
        let reason = format!("half-received messages of all connections exceed maxInboundBytes ({max})");
        self.raise(ErrorKind::MessageTooLarge, format!("connection {slot}: {reason}"), 1);
        self.begin_close(slot, CloseReason::new(CloseCode::TOO_LARGE, reason), LINGER, false);
    }

    pub(super) fn vanish(&mut self, slot: usize, why: &str) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        let dropped = connection.cut();
        count(&self.shared.counters.dropped, dropped.messages);
        connection.forget_rest();
        self.leave(
            slot,
            Vec::new(),
            Closing {
                reason: CloseReason::new(CloseCode::ABNORMAL, why),
                deadline: Instant::now(),
                ends_when_idle: false,
                is_clean: false,
                is_heard: true,
            },
        );
    }

    /// Takes who is gone out of some of the topics it wanted; each step is short.
    pub(super) fn sweep(&mut self) {
        if self.is_sweeping && !lock(&self.shared.router).sweep() {
            self.is_sweeping = false;
            self.free.append(&mut self.unswept);
        }
    }

    /// The connection's last moment: its reader stops, the application is told.
    pub(super) fn remove(&mut self, slot: usize) {
        self.closing.remove(&slot);
        let Some(mut connection) = self.connections[slot].take() else {
            return;
        };
        self.lanes[connection.lane].connections -= 1;
        // Until it stands in no topic any more, nobody else gets its slot.
        let of_slots = if self.is_sweeping { &mut self.unswept } else { &mut self.free };
        of_slots.push(slot);
        lock(&self.shared.connections).remove(&connection.key);
        lock(&self.shared.router).forget(connection.key);
        self.drop_greeting(slot);
        self.untold.remove(&slot);
        self.waited_for.forget(slot);
        if let Some(mut seldom) = connection.seldom.take() {
            let asked = seldom.asked.drain().map(|(_, (token, _))| token);
            asked.chain(seldom.given_up.drain()).for_each(|token| {
                self.questions.remove(&token);
            });
            if let Some(times) = seldom.complaints.take_rest() {
                self.complain(slot, times);
            }
        }
        self.shared.connection_count.store(self.open_connections(), Ordering::Relaxed);
        let Stage::Closing(closing) = std::mem::replace(&mut connection.stage, Stage::Open) else {
            return;
        };
        count(&self.shared.counters.dropped, connection.cut().messages);
        let CloseReason { code, reason } = &closing.reason;
        debug!(target: trace::HUB, connection = connection.serial, code = code.0, reason, clean = closing.is_clean, "gone");
        connection.end(&mut Context::from_waker(Waker::noop()), &closing.reason);
        self.shared.delivery.notice(Notice::Disconnection {
            connection: connection.key.to_bits(),
            reason: closing.reason,
            is_clean: closing.is_clean,
        });
        self.settle();
    }
}
