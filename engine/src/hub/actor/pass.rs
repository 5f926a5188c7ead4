//! One pass over a batch: who gets its events, and the writes.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use std::vec::Drain;

use tracing::error;

use super::slow::batch_bytes;
use super::{CLOSE_GRACE, FlushWait, HubActor, LINGER};
use crate::delivery::Notice;
use crate::hub::connection::contained;
use crate::hub::fanout::{LARGE_BYTES, Lane, Run};
use crate::hub::loss::Loss;
use crate::hub::{Op, count, now_ms};
use crate::inbound::Inbound;
use crate::mailbox::{Batch, lock};
use crate::model::{CloseCode, CloseReason, ErrorKind, EventSpan};
use crate::route::{Action, ConnKey};
use crate::trace;
use crate::wire::frame::Framing;

/// Connections written before other tasks of the thread get a turn. Source: measured, an echo beside a flood fell from 5–8 ms to 0.7 ms.
const WRITES_PER_TURN: usize = 64;

/// A pass takes in what comes while it is written until it has framed this part of what may wait for one reader. Source: measured; a pass to
/// 1000 connections takes 5 to 15 ms, which an answer to one of them would wait for twice.
const GROWTH_PART: usize = 4;
/// And for so long: deadlines and heartbeats are looked after between passes. Source: a guess, well below the shortest of them.
const GROWTH_TIME: Duration = Duration::from_millis(500);

impl HubActor {
    pub(super) async fn pass(&mut self, mut batch: Batch<Op>) {
        self.take_in(&mut batch);
        self.write_touched().await;
        self.shared.mailbox.done(batch);
    }

    /// Routes a batch: after this, whoever is to get something of it is touched.
    fn take_in(&mut self, batch: &mut Batch<Op>) {
        let mut ops = batch.ops.drain(..);
        while let Err(culprit) = self.perform_all(&mut ops, &batch.text) {
            self.contain(culprit, &batch.text);
        }
        drop(ops);
        // Before anybody is told of what it did: who is, may count on other hubs.
        self.tend_wants();
        // Before anything of this pass is written to somebody who lost the right to it meanwhile.
        self.end_expelled();
    }

    /// Takes in what has come since the pass began, as if it had come before; within the bounds that hold before a pass.
    fn take_in_more(&mut self, batches: &mut Vec<Batch<Op>>) {
        if !self.shared.mailbox.has_some() || self.is_asked_to_end() {
            return;
        }
        if !self.blocked.is_empty() {
            self.drain_blocked(&mut Context::from_waker(Waker::noop()));
        }
        let next = self.next_bytes();
        // Whoever is not written yet has room for its whole bound, and may need it.
        if self.framed_bytes() + next > self.shared.config.max_buffered || self.must_hold(next) {
            return;
        }
        if let Some(mut batch) = self.shared.mailbox.take_if(|text, ops| batch_bytes(text, ops) <= next) {
            self.take_in(&mut batch);
            batches.push(batch);
        }
    }

    /// Whether somebody waits for the end of the pass, or it has taken in enough.
    fn is_asked_to_end(&self) -> bool {
        self.is_closing
            || !self.asked_flushes.is_empty()
            || !self.drains.is_empty()
            || self.framed_bytes() >= self.shared.config.max_buffered / GROWTH_PART
    }

    pub(super) fn framed_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::len).max().unwrap_or(0)
    }

    /// Performs what is left; a defect of ours that shows in the work for one connection is that connection's misfortune alone.
    fn perform_all(&mut self, ops: &mut Drain<'_, Op>, text: &str) -> Result<(), ConnKey> {
        let culprit = Cell::new(ConnKey::APPLICATION);
        let work = AssertUnwindSafe(|| {
            for op in ops {
                culprit.set(op.connection());
                self.perform(op, text);
            }
            culprit.set(ConnKey::APPLICATION);
            self.end_run();
        });
        catch_unwind(work).map_err(|_| culprit.get())
    }

    /// What was framed for the run in progress may be incomplete, so nobody gets it, and its subscribers are told; who caused it goes.
    pub(super) fn contain(&mut self, culprit: ConnKey, text: &str) {
        count(&self.shared.counters.panics, 1);
        error!(target: trace::HUB, "a defect was contained");
        if let Some((run, span)) = self.run.take().filter(|(run, _)| run.has_subscribers) {
            count(&self.shared.counters.dropped, run.total);
            let mut loss = Loss::default();
            loss.add(ConnKey::APPLICATION, span.topic(text), now_ms());
            self.tell_loss(&loss);
        }
        self.raise(ErrorKind::Internal, "a defect of the hub was contained; events may be lost".into(), 1);
        if let Some(slot) = self.live_slot(culprit) {
            self.begin_close(slot, CloseReason::new(CloseCode::INTERNAL, "internal error"), LINGER, false);
        }
    }

    pub(super) fn perform(&mut self, op: Op, text: &str) {
        match op {
            Op::Publish { span, to: ConnKey::APPLICATION } => self.route(text, span, ConnKey::APPLICATION),
            Op::From { connection, inbound: Inbound::Event(span) } => {
                self.hear_first_word(connection);
                if self.is_heard(connection) {
                    count(&self.shared.counters.received, 1);
                    self.route(text, span, connection);
                }
            }
            other => {
                self.end_run();
                self.command(other, text);
            }
        }
    }

    pub(super) fn command(&mut self, op: Op, text: &str) {
        match op {
            Op::Publish { span, to } => self.send_to(to, span.body(text)),
            Op::From { connection, inbound } => {
                self.inbound(connection, &inbound);
                // Behind the answer to a hello.
                self.hear_first_word(connection);
            }
            Op::Add(link, admission) => self.add(*link, admission),
            Op::Admit(key) => self.admit(key),
            Op::Revoked { connection, topics } => self.tell_revoked(connection, topics),
            Op::Allow { token, is_allowed } => self.allow(token, is_allowed),
            Op::Disconnect(key, reason) => {
                if let Some(slot) = self.live_slot(key) {
                    self.begin_close(slot, reason, CLOSE_GRACE, false);
                }
            }
            // What would be listened to from a connection that is gone would stay in the table for ever.
            Op::Listen { from, topic } if from == ConnKey::APPLICATION || self.slot(from).is_some() => {
                lock(&self.shared.router).listen(from, &topic);
            }
            Op::Listen { .. } => {}
            Op::Unlisten { from, topic } => lock(&self.shared.router).unlisten(from, &topic),
            Op::Join(backplane) => self.join(backplane),
            Op::ConfirmTopic { topic, token } => self.confirm(&topic, token),
            Op::Confirm { token } => self.shared.delivery.notice(Notice::Confirmed { token, outcome: Ok(true) }),
            Op::Flush(token) => {
                self.end_silences();
                self.asked_flushes.push(token);
            }
            Op::Drained(token) => self.drains.push(token),
            Op::Wake => {}
            Op::Losing(number) => {
                if let Some(loss) = self.shared.mailbox.take_loss(number) {
                    self.tell_loss(&loss);
                }
            }
            Op::Lost(loss) => self.tell_loss(&loss),
            Op::Relieve => self.relieve(),
            Op::Fail(failure) => {
                self.shared.closing.ask(CloseReason::new(CloseCode::INTERNAL, failure.message.clone()), Duration::ZERO);
                self.shared.delivery.notice(Notice::Error { failure: failure.clone(), dropped: 0 });
                self.failure = Some(failure);
                self.close();
            }
            Op::Close => self.close(),
        }
    }

    /// An event goes to the application if it listens, and to the subscribers but its sender.
    pub(super) fn route(&mut self, text: &str, span: EventSpan, from: ConnKey) {
        let is_large = span.body_len() > LARGE_BYTES;
        let continues =
            self.run.as_ref().is_some_and(|(run, first)| run.from == from && first.topic(text) == span.topic(text));
        if !continues || is_large {
            self.end_run();
            let run = self.begin_run(span.topic(text), from);
            if run.is_refused {
                self.note_refused_topic(from, span.topic(text));
            }
            self.run = Some((run, span));
        }
        let Some((run, _)) = &mut self.run else { return };
        run.total += 1;
        if run.is_refused {
            return;
        }
        if run.is_local {
            let connection = if from.is_connection() { from.to_bits() } else { 0 };
            self.shared.delivery.event(connection, span.type_(text), span.id(text), span.payload(text));
        }
        if run.has_subscribers {
            run.framed += 1;
            let used = self.lanes.iter_mut().filter(|lane| lane.connections > 0);
            used.for_each(|lane| lane.frame(span.body(text)));
        }
        if run.is_shared && self.hand_over(text, span) {
            self.run.iter_mut().for_each(|(run, _)| run.handed += 1);
        }
        if is_large {
            self.end_run();
        }
    }

    pub(super) fn begin_run(&mut self, topic: &str, from: ConnKey) -> Run {
        self.withheld.clear();
        if let Some(uplink) = &self.uplink {
            uplink.withhold(topic, &mut self.withheld);
        }
        let relays = !from.is_connection() || self.shared.config.relay;
        let router = lock(&self.shared.router);
        let is_refused = !router.may(from, Action::Publish, topic);
        let topic = router.find(topic);
        let has_subscribers = relays && topic.is_some_and(|topic| !router.subscribers(topic).is_empty());
        let is_local = from != ConnKey::APPLICATION && topic.is_some_and(|topic| router.is_local(topic, from));
        drop(router);
        self.lanes.iter_mut().for_each(Lane::begin_run);
        let is_shared = relays && from != ConnKey::BACKPLANE && self.uplink.is_some();
        Run { topic, from, is_refused, is_local, has_subscribers, is_shared, framed: 0, handed: 0, total: 0 }
    }

    /// Gives what the run framed to each of its subscribers.
    pub(super) fn end_run(&mut self) {
        let Some((run, _)) = self.run.take() else { return };
        if run.is_refused {
            return self.refuse_run(&run);
        }
        let Self { shared, connections, lanes, touched, urgent, withheld, .. } = self;
        if run.from == ConnKey::BACKPLANE && run.is_local {
            shared.inlet.reaches_application.store(true, Ordering::Relaxed);
        }
        if let Some(Some(sender)) = connections.get(run.from.slot()).filter(|_| run.from.is_connection()) {
            sender.shared.count_received(run.total);
            if run.is_local {
                sender.shared.reaches_application.store(true, Ordering::Relaxed);
            }
        }
        let (mut receivers, mut first) = (0, None);
        if let Some(topic) = run.topic
            && run.framed > 0
        {
            let segments = [lanes[0].run(), lanes[1].run()];
            let is_meant = |key: &&ConnKey| **key != run.from && (withheld.is_empty() || !withheld.contains(*key));
            for key in lock(&shared.router).subscribers(topic).iter().filter(is_meant) {
                // One that is gone may not be out of the topic yet.
                let Some(connection) = connections[key.slot()].as_mut().filter(|connection| !connection.is_closing())
                else {
                    continue;
                };
                receivers += 1;
                connection.shared.count_sent(run.framed);
                if connection.add_segment(segments[connection.lane]) {
                    touched.push(key.slot());
                }
                if receivers == 1 {
                    first = Some(key.slot());
                }
            }
        }
        if receivers == 1 {
            urgent.extend(first);
        }
        count(&shared.counters.sent, run.framed * receivers);
        if run.is_local {
            count(&shared.counters.delivered, run.total);
        } else if receivers == 0 {
            count(&shared.counters.unrouted, run.total - run.handed);
        }
    }

    /// Sends one message to one connection, subscribed or not.
    pub(super) fn send_to(&mut self, key: ConnKey, message: &str) {
        let Some(slot) = self.live_slot(key) else { return count(&self.shared.counters.unrouted, 1) };
        count(&self.shared.counters.sent, 1);
        if let Some(connection) = &self.connections[slot] {
            connection.shared.count_sent(1);
        }
        if !self.keep_greeting(slot, message) {
            self.reply_text(slot, |text| text.push_str(message));
        }
    }

    /// Frames something for one connection, in its place among the events.
    pub(super) fn reply(&mut self, slot: usize, write: impl FnOnce(Framing, &mut Vec<u8>) -> bool) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if connection.is_closing() {
            return;
        }
        if let Some(segment) = self.lanes[connection.lane].append(write)
            && connection.add_segment(segment)
        {
            self.touched.push(slot);
        }
    }

    /// Writes until everybody has what was routed for them. What comes meanwhile is routed at each turn of the thread; where it is for few, they
    /// get it at once, so that an answer to one does not wait for a flood to all.
    pub(super) async fn write_touched(&mut self) {
        let began = Instant::now();
        let mut batches = Vec::new();
        let mut spare = Vec::new();
        self.write_urgent();
        while !self.touched.is_empty() {
            let touched = std::mem::replace(&mut self.touched, spare);
            // The last connection of a pass is written milliseconds after the first: not always the same one.
            self.rotation = self.rotation.wrapping_add(1);
            let start = self.rotation % touched.len();
            let (tail, head) = touched.split_at(start);
            for (index, slot) in head.iter().chain(tail).enumerate() {
                self.write(*slot);
                if index % WRITES_PER_TURN == WRITES_PER_TURN - 1 {
                    tokio::task::yield_now().await;
                    // Whoever has lost the right to be here meanwhile is not written to.
                    self.end_expelled();
                    if began.elapsed() < GROWTH_TIME {
                        self.take_in_more(&mut batches);
                        self.write_urgent();
                    }
                }
            }
            spare = touched;
            spare.clear();
        }
        self.lanes.iter_mut().for_each(Lane::clear);
        // Not before: what was published in front of a flush may be among what was written last.
        self.begin_flushes();
        batches.into_iter().for_each(|batch| self.shared.mailbox.done(batch));
    }

    /// They are among the touched: who is left out has its turn later.
    fn write_urgent(&mut self) {
        let urgent = std::mem::take(&mut self.urgent);
        urgent.iter().take(WRITES_PER_TURN).for_each(|slot| self.write(*slot));
        self.urgent = urgent;
        self.urgent.clear();
    }

    pub(super) fn write(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if connection.segments.is_empty() {
            return;
        }
        // A link that refuses is polled again with the task's own waker in `drain_blocked`.
        let mut cx = Context::from_waker(Waker::noop());
        let lane = &self.lanes[connection.lane];
        match contained(|| connection.write_pass(lane, &mut cx)) {
            Err(error) => self.break_off(slot, &error),
            Ok((bytes, writes)) => {
                count(&self.shared.counters.sent_bytes, bytes as u64);
                count(&self.shared.counters.writes, writes);
                let is_over = connection.outbox.is_over(self.shared.config.max_buffered);
                if !connection.is_idle() {
                    self.block(slot);
                }
                if is_over {
                    self.cut(slot);
                }
            }
        }
    }

    /// What a pass may have made possible.
    pub(super) fn settle(&mut self) {
        let (shared, connections) = (&self.shared, &self.connections);
        let has_left = |(key, target): &(ConnKey, u64)| match &connections[key.slot()] {
            Some(connection) if connection.key == *key => connection.left_total >= *target,
            _ => true,
        };
        self.flushes.retain_mut(|flush| {
            flush.pending.retain(|pending| !has_left(pending));
            if flush.pending.is_empty() {
                shared.delivery.notice(Notice::Flushed { token: flush.token });
            }
            !flush.pending.is_empty()
        });
        if shared.mailbox.published_bytes() <= shared.config.max_pending / 2 {
            for token in self.drains.drain(..) {
                shared.delivery.notice(Notice::Drained { token });
            }
        }
    }

    /// From now on a flush waits for what its connections could not take at once.
    fn begin_flushes(&mut self) {
        for token in std::mem::take(&mut self.asked_flushes) {
            let pending =
                self.blocked_connections().map(|connection| (connection.key, connection.queued_total)).collect();
            self.flushes.push(FlushWait { token, pending });
        }
    }

    pub(super) fn report_dropped(&mut self) {
        let dropped = self.shared.mailbox.take_unreported();
        if dropped > 0 {
            let message = format!(
                "events dropped: more than maxPendingBytes ({}) wait to be fanned out; await drain() when bufferedAmount grows",
                self.shared.config.max_pending
            );
            self.raise(ErrorKind::BufferFull, message, dropped);
        }
    }

    pub(super) fn raise(&mut self, kind: ErrorKind, message: String, times: u64) {
        if let Some(notice) = self.meter.raise(Instant::now(), kind, message, times) {
            self.shared.delivery.notice(notice);
        }
    }
}
