//! What a hub says to a spoke, and what it means for admission and gaps.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Instant;

use rand::RngExt;
use tracing::{info, warn};

use super::{Phase, Session, now_ms};
use crate::delivery::{Direction, Failure, Gap, GapCause, Notice};
use crate::inbound::{Inbound, Interrupted};
use crate::meter::COMPLAINT_INTERVAL;
use crate::model::{CloseCode, CloseReason, ErrorKind, EventSpan};
use crate::spoke::gap::OpenGap;
use crate::spoke::{PeerKind, count};
use crate::trace;
use crate::wire::control::{self, Control};

fn refusal_kind(code: &str) -> ErrorKind {
    match code {
        "FORBIDDEN" => ErrorKind::Forbidden,
        "LIMIT" => ErrorKind::Limit,
        "NOT_IDENTIFIED" => ErrorKind::NotIdentified,
        _ => ErrorKind::Refused,
    }
}

impl Session<'_> {
    pub(super) fn on_inbound(&mut self, inbound: Inbound, text: &str) {
        // A ping says that the hub is there, not that it has read anything.
        if self.is_silent && !matches!(inbound, Inbound::Ping(_) | Inbound::Closing(_) | Inbound::Ended(_)) {
            self.break_silence(matches!(inbound, Inbound::Control(Control::Hello { .. })));
        }
        match inbound {
            Inbound::Event(span) => self.on_event(span, text),
            Inbound::Control(control) => self.on_control(control),
            Inbound::IgnoredControl => {
                self.take_for_plain();
                count(&self.spoke.shared.counters.ignored_controls, 1);
            }
            Inbound::Malformed(what) => self.on_malformed(what),
            Inbound::Ping(data) => self.answer(|session| {
                let mask = session.dice.random();
                session.link.framing.write_pong(&mut session.out, &data, mask);
            }),
            Inbound::Pong(data) => self.on_pong(&data),
            Inbound::Closing(reason) => self.on_closing(reason),
            Inbound::Interrupted(interrupted) => self.on_interrupted(interrupted),
            Inbound::Ended(ending) => {
                let kind = if ending.is_violation { ErrorKind::Protocol } else { ErrorKind::ConnectionLost };
                if ending.is_violation {
                    self.write_last_frame(&ending.reason);
                }
                self.end.get_or_insert((ending.reason, kind));
            }
        }
    }

    pub(super) fn on_event(&mut self, span: EventSpan, text: &str) {
        let shared = &self.spoke.shared;
        count(&shared.counters.received, 1);
        // The first envelope is no hello: the hub is plain.
        self.take_for_plain();
        // Before the first link was admitted there is nothing to miss; later ones fill the end of a gap.
        if !self.is_admitted && self.spoke.gap.is_none() {
            return;
        }
        if !self.spoke.subscriptions.is_wanted(span.topic(text)) {
            return count(&self.spoke.shared.counters.unwanted, 1);
        }
        if let Some(gap) = self.spoke.gap.as_mut().filter(|gap| gap.is_about(span.topic(text))) {
            gap.detain(span.type_(text), span.id(text), span.payload(text));
            return self.end_gap_if_over();
        }
        self.deliver(&span, text);
    }

    /// The link goes on without some topics, which it subscribes again by itself: a gap of theirs alone.
    fn on_interrupted(&mut self, Interrupted { topics, from_ms, is_unproven }: Interrupted) {
        let mut lost = Vec::new();
        for topic in topics {
            if let Some(n) = self.spoke.subscriptions.interrupted(&topic) {
                if !self.is_admitted {
                    self.greeting.insert(n);
                }
                lost.push(topic);
            }
        }
        match &mut self.spoke.gap {
            Some(gap) => gap.widen(from_ms, lost, is_unproven),
            // Before the first link was admitted there is nothing to miss.
            None if !self.is_admitted => {}
            None => self.spoke.gap = OpenGap::begin_partial(from_ms, lost, is_unproven),
        }
        self.end_gap_if_over();
    }

    pub(super) fn deliver(&self, span: &EventSpan, text: &str) {
        let shared = &self.spoke.shared;
        count(&shared.counters.delivered, 1);
        shared.delivery.event(0, span.type_(text), span.id(text), span.payload(text));
    }

    pub(super) fn on_control(&mut self, control: Control) {
        if !matches!(control, Control::Hello { .. }) {
            self.take_for_plain();
        }
        match control {
            Control::Hello { features, .. } => self.on_hello(&features),
            Control::Subscribed { topic, n } => {
                self.prove_answered(n);
                let answers = self.spoke.subscriptions.acknowledged(&topic, n);
                self.settle(&topic, answers);
            }
            Control::Refused { topic, n, is_publish: false, code, reason, .. } => {
                self.prove_answered(n);
                self.on_refused(&topic, n, &code, &reason);
            }
            Control::Refused { topic, count, code, reason, .. } => {
                self.on_publish_refused(&topic, count, &code, &reason);
            }
            Control::Gap { from, to, topics } => self.on_upstream_gap(from, to, topics),
            Control::Ping { t } => self.answer(|session| session.say(|text| control::write_pong(text, &t))),
            Control::Pong { t } => self.prove(t.unwrap_or_default()),
            // Only a spoke may say these; credit, where it means something, was taken by the link.
            Control::Subscribe { .. } | Control::Unsubscribe { .. } | Control::Credit { .. } => {
                count(&self.spoke.shared.counters.ignored_controls, 1);
            }
        }
    }

    pub(super) fn on_hello(&mut self, features: &[String]) {
        if self.phase == Phase::Native {
            return count(&self.spoke.shared.counters.ignored_controls, 1);
        }
        self.hub_answers_pings = features.iter().any(|feature| feature == "ping");
        let was_plain = std::mem::replace(&mut self.phase, Phase::Native) == Phase::Plain;
        self.hello_deadline = None;
        self.spoke.subscriptions.forget_writes();
        if was_plain {
            self.spoke.tell([Notice::Hello { connection: 0 }]);
        }
        self.admit();
    }

    pub(super) fn on_refused(&mut self, topic: &str, n: Option<u64>, code: &str, reason: &str) {
        let kind = refusal_kind(code);
        let message = format!("{} refused subscribing to {topic:?}: {code}: {reason}", self.far_end());
        let failure = Failure { kind, message: message.clone() };
        if let Some(answers) = self.spoke.subscriptions.refused(topic, n, &failure) {
            self.settle(topic, answers);
            self.spoke.raise(kind, message, 1);
        }
    }

    /// Events of ours went to nobody: `times` since this was told last, the last one to this topic.
    pub(super) fn on_publish_refused(&mut self, topic: &str, times: u64, code: &str, reason: &str) {
        count(&self.spoke.shared.counters.refused, times);
        let message = format!("{} refused publishing to {topic:?}: {code}: {reason}", self.far_end());
        self.spoke.raise(refusal_kind(code), message, times);
    }

    /// The hub has received what was sent before it was asked for a topic that it answers now.
    pub(super) fn prove_answered(&mut self, n: Option<u64>) {
        let Some(n) = n else { return };
        self.greeting.remove(&n);
        while let Some(&(_, sent)) = self.asked.front().filter(|(asked, _)| *asked <= n) {
            self.asked.pop_front();
            self.prove(sent);
        }
        self.admit_if_greeted();
    }

    /// The hub has received so many of the events of this link.
    pub(super) fn prove(&mut self, sent: u64) {
        self.proven = self.proven.max(sent.min(self.sent));
        self.answer_proven_flushes();
    }

    pub(super) fn settle(&mut self, topic: &str, answers: Vec<Notice>) {
        self.spoke.tell(answers);
        if let Some(gap) = &mut self.spoke.gap {
            gap.settle(topic);
            self.end_gap_if_over();
        }
    }

    pub(super) fn on_upstream_gap(&mut self, from_ms: u64, to_ms: u64, topics: Vec<Box<str>>) {
        let topics: Vec<_> = topics.into_iter().filter(|topic| self.spoke.subscriptions.is_wanted(topic)).collect();
        if !topics.is_empty() {
            count(&self.spoke.shared.counters.gaps, 1);
            self.spoke.tell([Notice::Gap(Gap {
                cause: GapCause::Upstream,
                direction: Direction::In,
                from_ms,
                to_ms,
                topics,
                dropped: 0,
            })]);
        }
    }

    pub(super) fn on_malformed(&mut self, what: String) {
        count(&self.spoke.shared.counters.malformed, 1);
        self.take_for_plain();
        let max = self.spoke.shared.config.limits.max_malformed_per_minute;
        let now = Instant::now();
        // A bus carries what anybody publishes: leaving it would not help.
        let is_too_much = self.malformed.count(now) > max && !self.is_bus();
        if let Some(times) = self.complaints.count(now, COMPLAINT_INTERVAL, 1) {
            self.spoke.raise(ErrorKind::Malformed, what, times);
        }
        if is_too_much {
            let reason = CloseReason::new(CloseCode::POLICY, format!("more than {max} malformed messages in a minute"));
            self.write_last_frame(&reason);
            self.end = Some((reason, ErrorKind::Malformed));
        }
    }

    /// Tells of malformed messages that came too often to be told of at once.
    pub(super) fn complain(&mut self, times: Option<u64>) {
        if let Some(times) = times {
            self.spoke.raise(
                ErrorKind::Malformed,
                format!("more messages of {} that are no envelopes", self.far_end()),
                times,
            );
        }
    }

    /// A Pong that overtakes the answer to hello comes from a hub that knows no hello, or from a library between us and a hub that does: where a
    /// native hub was asked for, time decides.
    pub(super) fn on_pong(&mut self, data: &[u8]) {
        if let Ok(received) = data.try_into().map(u64::from_be_bytes) {
            self.prove(received);
        }
        let may_be_plain = self.spoke.shared.config.peer != PeerKind::Native && self.link.is_native.is_none();
        if self.phase == Phase::Unknown && may_be_plain {
            self.take_for_plain();
        }
    }

    pub(super) fn on_closing(&mut self, reason: CloseReason) {
        if self.close_sent {
            let ours = self.spoke.shared.closing.reason().unwrap_or(reason);
            self.end = Some((ours, ErrorKind::Closed));
            return;
        }
        self.write_last_frame(&CloseReason::new(reason.code, ""));
        let kind = match reason.code {
            CloseCode::TOO_SLOW => ErrorKind::SlowConsumer,
            CloseCode::REFUSED => ErrorKind::Forbidden,
            CloseCode::NOT_IDENTIFIED => ErrorKind::NotIdentified,
            CloseCode::PROTOCOL | CloseCode::NOT_UTF8 => ErrorKind::Protocol,
            CloseCode::TOO_LARGE => ErrorKind::MessageTooLarge,
            _ => ErrorKind::ConnectionLost,
        };
        self.end = Some((reason, kind));
    }

    /// Says why, if the link takes it without waiting, and only between frames.
    pub(super) fn write_last_frame(&mut self, reason: &CloseReason) {
        if self.written > 0 {
            return;
        }
        let mut frame = Vec::new();
        let mask = self.dice.random();
        if self.link.framing.write_close(&mut frame, reason.code, &reason.reason, mask) {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let _too_late = self.link.writer.poll_write(&mut cx, &[IoSlice::new(&frame)]);
            let _too_late = self.link.writer.poll_flush(&mut cx);
        }
    }

    pub(super) fn take_for_plain(&mut self) {
        if self.phase != Phase::Unknown {
            return;
        }
        self.hello_deadline = None;
        if self.spoke.shared.config.peer == PeerKind::Native || self.link.is_native == Some(true) {
            let why = "the hub did not say hello, and peer is \"native\" or its handshake promised one";
            let reason = CloseReason::new(CloseCode::PROTOCOL, why);
            self.write_last_frame(&reason);
            self.end = Some((reason, ErrorKind::NoHello));
            return;
        }
        self.phase = Phase::Plain;
        self.asked = VecDeque::new();
        self.admit();
        if self.written == self.out.len() {
            self.confirm_writes();
        }
    }

    pub(super) fn admit(&mut self) {
        if !std::mem::replace(&mut self.is_admitted, true) {
            let shared = &self.spoke.shared;
            shared.bound.store(shared.config.max_pending, Ordering::Relaxed);
            let is_native = self.phase == Phase::Native;
            info!(target: trace::SPOKE, reconnected = self.is_reconnected, native = is_native, "open");
            self.spoke.tell([Notice::Open { is_reconnected: self.is_reconnected, is_native }]);
            self.end_gap_if_over();
        }
    }

    pub(super) fn end_gap_if_over(&mut self) {
        if !self.is_admitted {
            return;
        }
        let Some(mut gap) = self.spoke.gap.take_if(|gap| gap.is_over()) else {
            return;
        };
        let now = now_ms();
        let missing = gap.take_missing();
        if !missing.is_empty() {
            self.spoke.gap = OpenGap::begin_partial(now, missing, false);
        }
        let (gap, text, spans) = gap.end(now);
        count(&self.spoke.shared.counters.gaps, 1);
        count(&self.spoke.shared.counters.dropped, gap.dropped);
        warn!(target: trace::SPOKE, cause = ?gap.cause, direction = ?gap.direction, topics = gap.topics.len(), "gap");
        self.spoke.tell([Notice::Gap(gap)]);
        for span in spans {
            if self.spoke.subscriptions.is_wanted(span.topic(&text)) {
                self.deliver(&span, &text);
            }
        }
    }
}
