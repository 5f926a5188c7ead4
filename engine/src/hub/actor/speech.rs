//! What connections say besides events, and the answers.

use std::time::Instant;

use super::{HubActor, LINGER};
use crate::delivery::Notice;
use crate::hub::count;
use crate::inbound::Inbound;
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason, ErrorKind};
use crate::route::ConnKey;
use crate::route::router::Subscription;
use crate::wire::control::{self, Control, Role};

impl HubActor {
    pub(super) fn inbound(&mut self, key: ConnKey, inbound: &Inbound) {
        let Some(slot) = self.slot(key) else { return };
        match inbound {
            Inbound::Event(_) | Inbound::Pong(_) => {}
            Inbound::Control(control) => self.control(slot, key, control),
            Inbound::IgnoredControl => count(&self.shared.counters.ignored_controls, 1),
            Inbound::Malformed(what) => self.malformed(slot, what),
            Inbound::Ping(data) => self.reply(slot, |framing, out| framing.write_pong(out, data, [0; 4])),
            Inbound::Closing(reason) => self.peer_closes(slot, reason),
            Inbound::Ended(ending) => self.ended(slot, ending),
        }
    }

    pub(super) fn control(&mut self, slot: usize, key: ConnKey, control: &Control) {
        match control {
            Control::Subscribe { topic, n } => self.subscribe(slot, key, topic, *n),
            Control::Unsubscribe { topic } => {
                lock(&self.shared.router).unsubscribe(key, topic);
            }
            Control::Hello { .. } => self.hello(slot),
            Control::Ping { t } => self.reply_text(slot, |text| control::write_pong(text, t)),
            Control::Pong => {}
            // Only a hub may say these.
            Control::Subscribed { .. } | Control::Refused { .. } | Control::Gap { .. } => {
                count(&self.shared.counters.ignored_controls, 1);
            }
        }
    }

    pub(super) fn subscribe(&mut self, slot: usize, key: ConnKey, topic: &str, n: Option<u64>) {
        let Some(connection) = self.connections[slot].as_ref().filter(|connection| !connection.is_closing()) else {
            return;
        };
        let is_native = connection.is_native;
        let limits = &self.shared.config.limits;
        let outcome = if topic.len() > limits.max_topic_bytes {
            Subscription::Refused("maxTopicBytes")
        } else {
            lock(&self.shared.router).subscribe(key, topic)
        };
        match outcome {
            _ if !is_native => {}
            Subscription::Refused(limit) => {
                self.reply_text(slot, |text| {
                    control::write_refused(text, topic, n, "LIMIT", &format!("{limit} of the hub reached"))
                });
            }
            Subscription::Added | Subscription::Unchanged => {
                self.reply_text(slot, |text| control::write_subscribed(text, topic, n));
            }
        }
    }

    /// The first hello is answered; a second one is ignored.
    pub(super) fn hello(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if std::mem::replace(&mut connection.is_native, true) {
            return count(&self.shared.counters.ignored_controls, 1);
        }
        self.shared.delivery.notice(Notice::Hello { connection: connection.key.to_bits() });
        self.reply_text(slot, |text| control::write_hello(text, Role::Hub, &["ping"]));
    }

    pub(super) fn reply_text(&mut self, slot: usize, write: impl FnOnce(&mut String)) {
        let mut text = String::new();
        write(&mut text);
        self.reply(slot, |framing, out| {
            framing.write_message(out, &text, [0; 4]);
            true
        });
    }

    pub(super) fn malformed(&mut self, slot: usize, what: &str) {
        count(&self.shared.counters.malformed, 1);
        let max = self.shared.config.limits.max_malformed_per_minute;
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        let key = connection.key;
        let is_too_much = connection.malformed.count(Instant::now()) > max;
        self.raise(ErrorKind::Malformed, format!("connection {}: {what}", key.slot()), 1);
        if is_too_much {
            let reason = CloseReason::new(CloseCode::POLICY, format!("more than {max} malformed messages in a minute"));
            self.begin_close(slot, reason, LINGER, false);
        }
    }
}
