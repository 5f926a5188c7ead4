//! What connections may do: questions about topics, refusals, grants that were taken back. Does not match patterns; the router does.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::debug;

use super::{HubActor, LINGER};
use crate::delivery::Notice;
use crate::hub::connection::Connection;
use crate::hub::count;
use crate::hub::fanout::Run;
use crate::hub::seldom::REFUSAL_INTERVAL;
use crate::mailbox::lock;
use crate::model::CloseReason;
use crate::route::ConnKey;
use crate::route::router::Subscription;
use crate::trace;
use crate::wire::control::{self, Refused};

const NOT_GRANTED: &str = "not granted to this connection";

impl HubActor {
    /// A peer wants a topic that its grants do not allow. The application may still do so.
    pub(super) fn ask(&mut self, slot: usize, key: ConnKey, topic: &str, n: Option<u64>) {
        let held = lock(&self.shared.router).topic_count_of(key);
        let max = self.shared.config.limits.max_topics_per_connection;
        let Some(connection) = &mut self.connections[slot] else { return };
        let seldom = connection.seldom();
        if let Some((_, latest)) = seldom.asked.get_mut(topic) {
            *latest = n;
            return;
        }
        if held + seldom.question_count() >= max {
            return self.refuse_subscription(slot, topic, n, "LIMIT", "maxTopicsPerConnection of the hub reached");
        }
        if self.questions.len() >= self.shared.config.limits.max_topics {
            return self.refuse_subscription(slot, topic, n, "LIMIT", "maxTopics of the hub reached");
        }
        // Questions are for the application: who asks faster than it answers is not read.
        connection.shared.reaches_application.store(true, Ordering::Relaxed);
        self.last_question = self.last_question.wrapping_add(1);
        let token = self.last_question;
        connection.seldom().asked.insert(topic.into(), (token, n));
        self.questions.insert(token, (key, topic.into()));
        let topic = topic.into();
        self.shared.delivery.notice(Notice::AuthorizeSubscribe { token, connection: key.to_bits(), topic });
    }

    /// The application's answer; of no interest if the peer has gone or given the topic up.
    pub(super) fn allow(&mut self, token: u32, is_allowed: bool) {
        let Some((key, topic)) = self.questions.remove(&token) else { return };
        let Some(slot) = self.live_slot(key) else { return };
        let Some(connection) = &mut self.connections[slot] else { return };
        let seldom = connection.seldom();
        if seldom.given_up.remove(&token) {
            return;
        }
        let Some((_, n)) = seldom.asked.remove(&topic) else { return };
        let mut router = lock(&self.shared.router);
        // A no is about what the grants did not allow; they may have become wider meanwhile.
        let outcome = if is_allowed { router.subscribe_allowed(key, &topic) } else { router.subscribe(key, &topic) };
        drop(router);
        self.answer_subscription(slot, &topic, n, outcome);
    }

    /// A peer does not want a topic any more, or nothing any more.
    pub(super) fn forget_question(&mut self, slot: usize, topic: &str) {
        if let Some(Connection { seldom: Some(seldom), .. }) = &mut self.connections[slot]
            && let Some((token, _)) = seldom.asked.remove(topic)
        {
            seldom.given_up.insert(token);
        }
    }

    pub(super) fn answer_subscription(&mut self, slot: usize, topic: &str, n: Option<u64>, outcome: Subscription) {
        match outcome {
            Subscription::Refused(limit) => {
                self.refuse_subscription(slot, topic, n, "LIMIT", &format!("{limit} of the hub reached"));
            }
            Subscription::Forbidden => self.forbid_subscription(slot, topic, n),
            Subscription::Added | Subscription::Unchanged => {
                if self.is_native(slot) && !self.waits_for_backplane(slot, topic, n) {
                    self.reply_text(slot, |text| control::write_subscribed(text, topic, n));
                }
            }
        }
    }

    fn forbid_subscription(&mut self, slot: usize, topic: &str, n: Option<u64>) {
        count(&self.shared.counters.refused, 1);
        debug!(target: trace::HUB, connection = self.serial_of(slot), topic, "subscription refused");
        self.refuse_subscription(slot, topic, n, "FORBIDDEN", NOT_GRANTED);
    }

    /// A plain peer is told nothing: it would not understand.
    pub(super) fn refuse_subscription(&mut self, slot: usize, topic: &str, n: Option<u64>, code: &str, reason: &str) {
        if self.is_native(slot) {
            self.reply_text(slot, |text| control::write_refused(text, topic, Refused::Subscribe { n }, code, reason));
        }
    }

    fn serial_of(&self, slot: usize) -> Option<u64> {
        self.connections[slot].as_ref().map(|connection| connection.serial)
    }

    fn is_native(&self, slot: usize) -> bool {
        self.connections[slot].as_ref().is_some_and(|connection| connection.is_native)
    }

    /// Grants have become narrower: what they do not cover any more is refused behind the last event of it. Not what became wider again, and
    /// was subscribed to again, before this was reached.
    pub(super) fn tell_revoked(&mut self, key: ConnKey, mut topics: Vec<Box<str>>) {
        let Some(slot) = self.live_slot(key) else { return };
        let router = lock(&self.shared.router);
        topics.retain(|topic| !router.is_subscribed(key, topic));
        drop(router);
        topics.iter().for_each(|topic| self.forbid_subscription(slot, topic, None));
    }

    /// Remembers what will be said of a run that is refused; its topic is in the text of the batch alone.
    pub(super) fn note_refused_topic(&mut self, from: ConnKey, topic: &str) {
        if let Some(Some(connection)) = self.connections.get_mut(from.slot())
            && *connection.seldom().refused_topic != *topic
        {
            connection.seldom().refused_topic = topic.into();
        }
    }

    /// Nobody gets the events of this run.
    pub(super) fn refuse_run(&mut self, run: &Run) {
        count(&self.shared.counters.refused, run.total);
        let slot = run.from.slot();
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        connection.shared.count_received(run.total);
        let serial = connection.serial;
        let (topic, times) = (&*connection.seldom().refused_topic, run.total);
        debug!(target: trace::HUB, connection = serial, topic, times, "publication refused");
        if !connection.is_native {
            return;
        }
        match connection.seldom().refusals.count(Instant::now(), REFUSAL_INTERVAL, run.total) {
            Some(times) => {
                let topic = connection.seldom().refused_topic.clone();
                self.reply_text(slot, |text| write_publish_refused(text, &topic, times));
            }
            None => {
                self.untold.insert(slot);
            }
        }
    }

    /// The same later, for what came too often to be told at once.
    pub(super) fn tell_refusals(&mut self, slot: usize, now: Instant) {
        let Some(Connection { seldom: Some(seldom), .. }) = &mut self.connections[slot] else { return };
        if let Some(times) = seldom.refusals.take_due(now, REFUSAL_INTERVAL) {
            let mut text = String::new();
            write_publish_refused(&mut text, &seldom.refused_topic, times);
            self.push_text(slot, &text);
        }
    }

    /// Those who have lost the right to be here go before anything else: nothing that waits puts that off.
    pub(super) fn end_expelled(&mut self) {
        for (key, reason) in self.shared.expelled.take() {
            if let Some(slot) = self.live_slot(key) {
                self.expel(slot, reason);
            }
        }
    }

    fn expel(&mut self, slot: usize, reason: CloseReason) {
        let Some(connection) = &mut self.connections[slot] else { return };
        let unwritten = connection.drop_segments(&self.lanes[connection.lane]);
        let dropped = connection.cut();
        count(&self.shared.counters.dropped, unwritten + dropped.messages);
        self.drop_greeting(slot);
        self.begin_close(slot, reason, LINGER, false);
    }
}

fn write_publish_refused(text: &mut String, topic: &str, count: u64) {
    control::write_refused(text, topic, Refused::Publish { count }, "FORBIDDEN", NOT_GRANTED);
}
