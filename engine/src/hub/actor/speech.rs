//! What connections say besides events, and the answers.

use std::time::Instant;

use tracing::debug;

use super::{HubActor, LINGER};
use crate::delivery::Notice;
use crate::hub::count;
use crate::inbound::Inbound;
use crate::mailbox::lock;
use crate::meter::COMPLAINT_INTERVAL;
use crate::model::{CloseCode, CloseReason, ErrorKind};
use crate::route::ConnKey;
use crate::route::router::Subscription;
use crate::trace;
use crate::wire::control::{self, Control, Role};

impl HubActor {
    pub(super) fn inbound(&mut self, key: ConnKey, inbound: &Inbound) {
        let Some(slot) = self.slot(key) else { return };
        match inbound {
            // Links to hubs are to one peer each.
            Inbound::Event(_) | Inbound::Pong(_) | Inbound::Interrupted(_) => {}
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
                self.forget_question(slot, topic);
                lock(&self.shared.router).unsubscribe(key, topic);
            }
            Control::Hello { features, .. } => self.hello(slot, features),
            Control::Ping { t } => self.reply_text(slot, |text| control::write_pong(text, t)),
            Control::Pong { .. } => {}
            // Only a hub may say these; credit, where it means something, was taken by the link.
            Control::Subscribed { .. } | Control::Refused { .. } | Control::Gap { .. } | Control::Credit { .. } => {
                count(&self.shared.counters.ignored_controls, 1);
            }
        }
    }

    pub(super) fn subscribe(&mut self, slot: usize, key: ConnKey, topic: &str, n: Option<u64>) {
        let Some(connection) = self.connections[slot].as_ref().filter(|connection| !connection.is_closing()) else {
            return;
        };
        let is_asked = connection.seldom.as_ref().is_some_and(|seldom| seldom.asked.contains_key(topic));
        let config = &self.shared.config;
        let outcome = if topic.len() > config.limits.max_topic_bytes {
            Subscription::Refused("maxTopicBytes")
        } else {
            lock(&self.shared.router).subscribe(key, topic)
        };
        if outcome == Subscription::Forbidden && config.authorize_subscribe {
            return self.ask(slot, key, topic, n);
        }
        // Grants have become wider meanwhile.
        if is_asked {
            self.forget_question(slot, topic);
        }
        self.answer_subscription(slot, topic, n, outcome);
    }

    /// The first hello is answered; a second one is ignored.
    pub(super) fn hello(&mut self, slot: usize, features: &[String]) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if std::mem::replace(&mut connection.is_native, true) {
            return count(&self.shared.counters.ignored_controls, 1);
        }
        connection.answers_pings = features.iter().any(|feature| feature == "ping");
        debug!(target: trace::HUB, connection = connection.serial, "native");
        self.shared.delivery.notice(Notice::Hello { connection: connection.key.to_bits() });
        let features = [&["ping"], connection.features].concat();
        self.reply_text(slot, |text| control::write_hello(text, Role::Hub, &features));
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
        debug!(target: trace::HUB, connection = connection.serial, what, "malformed");
        let now = Instant::now();
        let is_too_much = connection.seldom().malformed.count(now) > max;
        match connection.seldom().complaints.count(now, COMPLAINT_INTERVAL, 1) {
            Some(times) => self.raise(ErrorKind::Malformed, format!("connection {slot}: {what}"), times),
            None => {
                self.untold.insert(slot);
            }
        }
        if is_too_much {
            let reason = CloseReason::new(CloseCode::POLICY, format!("more than {max} malformed messages in a minute"));
            self.begin_close(slot, reason, LINGER, false);
        }
    }

    /// Tells of malformed messages that came too often to be told of at once.
    pub(super) fn tell_complaints(&mut self, slot: usize, now: Instant) {
        let seldom = self.connections[slot].as_mut().and_then(|connection| connection.seldom.as_mut());
        let due = seldom.and_then(|seldom| seldom.complaints.take_due(now, COMPLAINT_INTERVAL));
        if let Some(times) = due {
            self.complain(slot, times);
        }
    }

    pub(super) fn complain(&mut self, slot: usize, times: u64) {
        self.raise(ErrorKind::Malformed, format!("connection {slot}: more messages that are no envelopes"), times);
    }

    /// Says something outside of a pass.
    pub(super) fn push_text(&mut self, slot: usize, text: &str) {
        let Some(connection) = self.connections[slot].as_mut().filter(|connection| !connection.is_closing()) else {
            return;
        };
        let mut frame = Vec::new();
        connection.framing.write_message(&mut frame, text, [0; 4]);
        connection.push(&frame);
        self.block(slot);
    }
}
