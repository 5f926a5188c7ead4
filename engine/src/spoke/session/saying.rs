//! What a spoke says on its link: events, subscriptions, goodbye.

use std::task::Context;

use std::time::Instant;

use rand::RngExt;

use super::{Phase, Session};
use crate::model::{ErrorKind, Limits};
use crate::spoke::actor::Held;
use crate::spoke::{Op, WRITE_BYTES, count};
use crate::wire::control;

impl Session<'_> {
    /// Encodes events until one write is full: first what waited for a link, then what comes.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) {
        while self.out.len() < WRITE_BYTES {
            if let Some(held) = self.next_held() {
                self.out_cost += held.cost();
                self.encode_event(&held.body);
            } else if let Some((batch, mut ops)) = self.next.take() {
                if let Some(op) = ops.next() {
                    self.perform(op, &batch.text);
                    self.next = Some((batch, ops));
                }
            } else if let Some(mut batch) = self.spoke.shared.mailbox.take() {
                let ops = std::mem::take(&mut batch.ops).into_iter();
                self.next = Some((batch, ops));
            } else {
                self.on_nothing_to_send();
                // Behind the write this is asked again, so nobody who publishes has to wake us before.
                if !self.out.is_empty() {
                    break;
                }
                if self.spoke.shared.mailbox.poll_some(cx).is_pending() {
                    break;
                }
            }
        }
    }

    /// Events wait until the link is admitted: one that is refused must not take them along.
    pub(super) fn next_held(&mut self) -> Option<Held> {
        if self.is_admitted { self.spoke.held.pop_front() } else { None }
    }

    pub(super) fn on_nothing_to_send(&mut self) {
        self.say_goodbye();
        self.spoke.answer_drains();
        if self.written == self.out.len() && self.spoke.held.is_empty() {
            self.answer_flushes();
        }
    }

    pub(super) fn perform(&mut self, op: Op, text: &str) {
        match op {
            Op::Publish(_) if !self.is_admitted => self.spoke.take_ops(text, [op]),
            Op::Publish(span) => {
                self.out_cost += span.body_len() + Limits::EVENT_OVERHEAD_BYTES;
                self.encode_event(span.body(text));
            }
            Op::Listen { topic } => {
                if self.spoke.subscriptions.listen(&topic) {
                    self.subscribe(&topic);
                    self.spoke.count_topics();
                }
            }
            Op::Unlisten { topic } => {
                if self.spoke.unlisten(&topic) {
                    self.say(|text| control::write_unsubscribe(text, &topic));
                }
                self.spoke.count_topics();
                self.end_gap_if_over();
            }
            other => self.spoke.command(other),
        }
    }

    pub(super) fn encode_event(&mut self, body: &str) {
        let mask = self.dice.random();
        self.link.framing.write_message(&mut self.out, body, mask);
        self.sent += 1;
        count(&self.spoke.shared.counters.sent, 1);
    }

    /// Returns the number under which it is asked for.
    pub(super) fn subscribe(&mut self, topic: &str) -> u64 {
        let n = self.spoke.subscriptions.send(topic, self.phase == Phase::Native);
        // What a bus answers about a topic proves nothing of events: those are answered one by one.
        if self.phase != Phase::Plain && !self.is_bus() {
            self.asked.push_back((n, self.sent));
        }
        self.say(|text| control::write_subscribe(text, topic, Some(n)));
        n
    }

    /// Answers a ping of either kind. Answers are counted: a hub that asks and does not read must not fill our memory.
    pub(super) fn answer(&mut self, write: impl FnOnce(&mut Self)) {
        let before = self.out.len();
        write(self);
        self.answers += self.out.len() - before;
    }

    pub(super) fn say(&mut self, write: impl FnOnce(&mut String)) {
        self.text.clear();
        write(&mut self.text);
        let mask = self.dice.random();
        self.link.framing.write_message(&mut self.out, &self.text, mask);
    }

    /// Asks for a sign of life; the answer proves that what was sent before has arrived.
    pub(super) fn ping(&mut self) {
        let (mask, sent) = (self.dice.random(), self.sent);
        if !self.link.framing.write_ping(&mut self.out, &sent.to_be_bytes(), mask) && self.hub_answers_pings {
            self.say(|text| control::write_ping(text, sent));
        }
        self.last_ping = Instant::now();
    }

    /// Once everything before `close()` is encoded, the link is ended in order.
    pub(super) fn say_goodbye(&mut self) {
        let closing = &self.spoke.shared.closing;
        let Some(reason) = closing.reason().filter(|_| self.spoke.is_closing && self.spoke.held.is_empty()) else {
            return;
        };
        let mask = self.dice.random();
        if self.close_sent {
            return;
        }
        if self.link.framing.write_close(&mut self.out, reason.code, &reason.reason, mask) {
            self.close_sent = true;
        } else if self.written == self.out.len() && !self.needs_flush {
            // No frame says it: the link itself does.
            self.end = Some((reason, ErrorKind::Closed));
        }
    }
}
