//! The hub's task: takes a batch, routes it, writes it. Everything about connections that is not bytes is decided here.
//!
//! Invariants: only this task changes the router and touches write halves; a connection that is no longer open is in no topic; whatever
//! a pass frames is written or queued before the next pass begins.

use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::connection::{Closing, Connection, Stage};
use super::fanout::{LARGE_BYTES, Lane, Run};
use super::linger::{LINGER_TURNS, Linger};
use super::{Op, Shared, count, reader};
use crate::delivery::{Failure, Notice};
use crate::inbound::{Ending, Inbound};
use crate::link::Link;
use crate::mailbox::{Batch, lock};
use crate::meter::ErrorMeter;
use crate::model::{CloseCode, CloseReason, ErrorKind, EventSpan};
use crate::route::ConnKey;
use crate::route::router::Subscription;
use crate::wire::control::{self, Control, Role};
use crate::wire::frame::Framing;

/// Connections written before other tasks of the thread get a turn. Source: measured, an echo beside a flood fell from 5–8 ms to 0.7 ms.
const WRITES_PER_TURN: usize = 64;
/// How long a peer may take to answer our close frame. Source: none, a guess.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// How long our last frame may take to reach a peer that is being dropped. Source: none, a guess.
const LINGER: Duration = Duration::from_secs(1);
/// One step of holding back for a slow reader. Source: `stall` is charged in these.
const HOLD_STEP: Duration = Duration::from_millis(1);
/// A link is dead after so many heartbeats without a byte, in tenths. Source: the contract.
const DEAD_AFTER_TENTHS: u32 = 25;

struct FlushWait {
    token: u32,
    /// Connections that had something waiting, and the total that must have left.
    pending: Vec<(ConnKey, u64)>,
}

struct HubClosing {
    reason: CloseReason,
    deadline: Instant,
}

pub(super) struct HubActor {
    shared: Arc<Shared>,
    connections: Vec<Option<Connection>>,
    generations: Vec<u32>,
    free: Vec<usize>,
    serial: u64,
    lanes: [Lane; 2],
    run: Option<(Run, EventSpan)>,
    touched: Vec<usize>,
    rotation: usize,
    blocked: Vec<usize>,
    closing: HashSet<usize>,
    meter: ErrorMeter,
    /// Asked for in this pass, whose events are not written yet.
    asked_flushes: Vec<u32>,
    flushes: Vec<FlushWait>,
    drains: Vec<u32>,
    hub_closing: Option<HubClosing>,
    failure: Option<Failure>,
    next_heartbeat: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    linger: Linger,
}

impl HubActor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next_heartbeat = Instant::now() + shared.config.limits.heartbeat / 4;
        Self {
            shared,
            connections: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            serial: 0,
            lanes: [Lane::new(Framing::WebSocketServer), Lane::new(Framing::Length)],
            run: None,
            touched: Vec::new(),
            rotation: 0,
            blocked: Vec::new(),
            closing: HashSet::new(),
            meter: ErrorMeter::default(),
            asked_flushes: Vec::new(),
            flushes: Vec::new(),
            drains: Vec::new(),
            hub_closing: None,
            failure: None,
            next_heartbeat,
            timer: None,
            linger: Linger::default(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.on_time(Instant::now());
            if self.is_finished() {
                break;
            }
            let Some(mut batch) = self.next_batch().await else {
                continue;
            };
            self.linger.arm(batch.is_published());
            self.pass(&mut batch).await;
            self.shared.mailbox.done(batch);
            self.settle();
            // Readers and other hubs of this thread, and the driver that tells which sockets are ready, get their turn.
            tokio::task::yield_now().await;
        }
        self.finish();
    }

    /// The next batch, or nothing after something else has happened.
    async fn next_batch(&mut self) -> Option<Batch<Op>> {
        if !self.blocked.is_empty() {
            self.drain_blocked(&mut Context::from_waker(Waker::noop()));
        }
        if self.shared.mailbox.has_some() && self.must_hold() {
            self.hold().await;
            return None;
        }
        if let Some(batch) = self.shared.mailbox.take() {
            return Some(batch);
        }
        if self.linger.is_worth_it() {
            return self.linger().await;
        }
        self.sleep(None).await;
        None
    }

    /// Looks a few times more before falling asleep: waking the hub costs the publisher more than its event does.
    async fn linger(&mut self) -> Option<Batch<Op>> {
        for _ in 0..LINGER_TURNS {
            tokio::task::yield_now().await;
            if self.shared.mailbox.has_some() {
                self.linger.succeeded();
                return self.shared.mailbox.take();
            }
        }
        self.linger.failed();
        None
    }

    // ---- Time ------------------------------------------------------------------------------------------------------------------

    fn on_time(&mut self, now: Instant) {
        for notice in self.meter.due(now) {
            self.shared.delivery.notice(notice);
        }
        let ended: Vec<usize> = self
            .closing
            .iter()
            .copied()
            .filter(|slot| self.has_ended(*slot, now))
            .collect();
        ended.into_iter().for_each(|slot| self.remove(slot));
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.shared.config.limits.heartbeat / 4;
            self.heartbeat(now);
        }
    }

    fn has_ended(&self, slot: usize, now: Instant) -> bool {
        let Some(Connection {
            stage: Stage::Closing(closing),
            ..
        }) = &self.connections[slot]
        else {
            return false;
        };
        let is_idle = self.connections[slot].as_ref().is_some_and(Connection::is_idle);
        now >= closing.deadline || closing.ends_when_idle && is_idle
    }

    fn next_deadline(&self) -> Option<Instant> {
        let closing = self
            .closing
            .iter()
            .filter_map(|slot| match &self.connections[*slot].as_ref()?.stage {
                Stage::Closing(closing) => Some(closing.deadline),
                _ => None,
            });
        let heartbeat = (self.open_connections() > 0).then_some(self.next_heartbeat);
        let hub = self.hub_closing.as_ref().map(|closing| closing.deadline);
        closing.chain(heartbeat).chain(hub).chain(self.meter.next_due()).min()
    }

    /// Sleeps until there is work: something in the mailbox, a link that takes bytes again, or a deadline.
    ///
    /// With `hold`, the mailbox does not count.
    async fn sleep(&mut self, hold: Option<Instant>) {
        let deadline = hold.or_else(|| self.next_deadline());
        let mut timer = self.timer_for(deadline);
        let shared = Arc::clone(&self.shared);
        poll_fn(|cx| {
            let has_changed = self.drain_blocked(cx);
            let has_work = hold.is_none() && shared.mailbox.poll_some(cx).is_ready();
            let is_due = timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
            if has_changed || has_work || is_due {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        self.timer = timer;
    }

    /// The one timer of the hub, set anew only when its time has changed.
    fn timer_for(&mut self, deadline: Option<Instant>) -> Option<Pin<Box<Sleep>>> {
        let deadline = tokio::time::Instant::from_std(deadline?);
        let mut timer = self
            .timer
            .take()
            .unwrap_or_else(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        Some(timer)
    }

    fn heartbeat(&mut self, now: Instant) {
        let interval = self.shared.config.limits.heartbeat;
        for slot in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[slot] else {
                continue;
            };
            if !matches!(connection.stage, Stage::Open) || !connection.framing.has_control_frames() {
                continue;
            }
            let silence = connection.shared.silence(now);
            if silence > interval * DEAD_AFTER_TENTHS / 10 {
                self.vanish(slot, "no byte came for 2.5 heartbeats");
            } else if silence >= interval && connection.pinged_at.is_none_or(|at| now - at >= interval) {
                connection.pinged_at = Some(now);
                let mut frame = Vec::new();
                connection.framing.write_ping(&mut frame, b"", [0; 4]);
                connection.push(&frame);
                self.block(slot);
            }
        }
    }

    // ---- Slow readers ----------------------------------------------------------------------------------------------------------

    fn holds_back(&self, connection: &Connection) -> bool {
        connection.outbox.len() > self.shared.config.max_buffered / 2
            && !connection.credit.is_zero()
            && !connection.is_closing()
    }

    fn must_hold(&self) -> bool {
        self.hub_closing.is_none() && self.blocked_connections().any(|connection| self.holds_back(connection))
    }

    /// Waits one step for readers that keep reading, at the expense of their credit.
    async fn hold(&mut self) {
        let began = Instant::now();
        let held: Vec<usize> = self
            .blocked
            .iter()
            .copied()
            .filter(|slot| self.holds_back_at(*slot))
            .collect();
        self.sleep(Some(began + HOLD_STEP)).await;
        let waited = began.elapsed();
        for slot in held {
            if let Some(connection) = &mut self.connections[slot]
                && !connection.outbox.is_empty()
            {
                connection.credit = connection.credit.saturating_sub(waited);
            }
        }
    }

    fn holds_back_at(&self, slot: usize) -> bool {
        self.connections[slot]
            .as_ref()
            .is_some_and(|connection| self.holds_back(connection))
    }

    fn blocked_connections(&self) -> impl Iterator<Item = &Connection> {
        self.blocked.iter().filter_map(|slot| self.connections[*slot].as_ref())
    }

    fn block(&mut self, slot: usize) {
        if let Some(connection) = &mut self.connections[slot]
            && !connection.is_blocked
        {
            connection.is_blocked = true;
            self.blocked.push(slot);
        }
    }

    /// Writes what links take again; true if one of them needs attention.
    fn drain_blocked(&mut self, cx: &mut Context<'_>) -> bool {
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
    fn drain_one(&mut self, slot: usize, cx: &mut Context<'_>) -> (bool, bool) {
        let Some(connection) = &mut self.connections[slot] else {
            return (false, false);
        };
        let mut written = (0, 0);
        let before = connection.outbox.len();
        let result = connection.poll_drain(cx, &mut written);
        count(&self.shared.counters.sent_bytes, written.0 as u64);
        count(&self.shared.counters.writes, written.1);
        match result {
            Poll::Pending => {
                let half = self.shared.config.max_buffered / 2;
                (true, before > half && connection.outbox.len() <= half)
            }
            Poll::Ready(Ok(())) => {
                connection.is_blocked = false;
                connection.credit = self.shared.config.stall;
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
    fn cut(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        let (key, buffered) = (connection.key, connection.outbox.len());
        let dropped = connection.cut();
        count(&self.shared.counters.dropped, dropped.frames);
        count(&self.shared.counters.slow_consumers, 1);
        self.shared.delivery.notice(Notice::Backpressure {
            connection: key.to_bits(),
            buffered,
        });
        let reason = CloseReason::new(
            CloseCode::TOO_SLOW,
            format!("{} events dropped: read too slowly", dropped.frames),
        );
        self.begin_close(slot, reason, LINGER, true);
    }

    // ---- One pass --------------------------------------------------------------------------------------------------------------

    async fn pass(&mut self, batch: &mut Batch<Op>) {
        for op in batch.ops.drain(..) {
            self.perform(op, &batch.text);
        }
        self.end_run();
        self.write_touched().await;
    }

    fn perform(&mut self, op: Op, text: &str) {
        match op {
            Op::Publish {
                span,
                to: ConnKey::APPLICATION,
            } => self.route(text, span, ConnKey::APPLICATION),
            Op::From {
                connection,
                inbound: Inbound::Event(span),
            } => {
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

    fn command(&mut self, op: Op, text: &str) {
        match op {
            Op::Publish { span, to } => self.send_to(to, span.body(text)),
            Op::From { connection, inbound } => self.inbound(connection, &inbound),
            Op::Add(link) => self.add(*link),
            Op::Admit(key) => self.admit(key),
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
            Op::Confirm { token } => self.shared.delivery.notice(Notice::Confirmed {
                token,
                outcome: Ok(true),
            }),
            Op::Flush(token) => self.asked_flushes.push(token),
            Op::Drained(token) => self.drains.push(token),
            Op::Report => self.report_dropped(),
            Op::Fail(failure) => {
                self.close(
                    &CloseReason::new(CloseCode::INTERNAL, failure.message.clone()),
                    Duration::ZERO,
                );
                self.failure = Some(failure);
            }
            Op::Close { reason, timeout } => self.close(&reason, timeout),
        }
    }

    /// An event goes to the application if it listens, and to the subscribers but its sender.
    fn route(&mut self, text: &str, span: EventSpan, from: ConnKey) {
        let is_large = span.body_len() > LARGE_BYTES;
        let continues = self
            .run
            .as_ref()
            .is_some_and(|(run, first)| run.from == from && first.topic(text) == span.topic(text));
        if !continues || is_large {
            self.end_run();
            self.run = Some((self.begin_run(span.topic(text), from), span));
        }
        let Some((run, _)) = &mut self.run else { return };
        run.total += 1;
        if run.is_local {
            self.shared
                .delivery
                .event(from.to_bits(), span.type_(text), span.id(text), span.payload(text));
        }
        if run.has_subscribers {
            run.framed += 1;
            let used = self.lanes.iter_mut().filter(|lane| lane.connections > 0);
            used.for_each(|lane| lane.frame(span.body(text)));
        }
        if is_large {
            self.end_run();
        }
    }

    fn begin_run(&mut self, topic: &str, from: ConnKey) -> Run {
        let relays = from == ConnKey::APPLICATION || self.shared.config.relay;
        let router = lock(&self.shared.router);
        let topic = router.find(topic);
        let has_subscribers = relays && topic.is_some_and(|topic| !router.subscribers(topic).is_empty());
        let is_local = from != ConnKey::APPLICATION && topic.is_some_and(|topic| router.is_local(topic, from));
        drop(router);
        if from != ConnKey::APPLICATION
            && let Some(Some(connection)) = self.connections.get(from.slot())
        {
            connection.shared.reaches_application.store(is_local, Ordering::Relaxed);
        }
        self.lanes.iter_mut().for_each(Lane::begin_run);
        Run {
            topic,
            from,
            is_local,
            has_subscribers,
            framed: 0,
            total: 0,
        }
    }

    /// Gives what the run framed to each of its subscribers.
    fn end_run(&mut self) {
        let Some((run, _)) = self.run.take() else { return };
        let Self {
            shared,
            connections,
            lanes,
            touched,
            ..
        } = self;
        if let Some(Some(sender)) = connections
            .get(run.from.slot())
            .filter(|_| run.from != ConnKey::APPLICATION)
        {
            sender.shared.count_received(run.total);
        }
        let mut receivers = 0;
        if let Some(topic) = run.topic
            && run.framed > 0
        {
            let segments = [lanes[0].run(), lanes[1].run()];
            for key in lock(&shared.router)
                .subscribers(topic)
                .iter()
                .filter(|key| **key != run.from)
            {
                let Some(connection) = &mut connections[key.slot()] else {
                    continue;
                };
                receivers += 1;
                connection.shared.count_sent(run.framed);
                if connection.add_segment(segments[connection.lane]) {
                    touched.push(key.slot());
                }
            }
        }
        count(&shared.counters.sent, run.framed * receivers);
        if run.is_local {
            count(&shared.counters.delivered, run.total);
        } else if receivers == 0 {
            count(&shared.counters.unrouted, run.total);
        }
    }

    /// Sends one message to one connection, subscribed or not.
    fn send_to(&mut self, key: ConnKey, message: &str) {
        let Some(slot) = self.live_slot(key) else { return };
        count(&self.shared.counters.sent, 1);
        if let Some(connection) = &self.connections[slot] {
            connection.shared.count_sent(1);
        }
        self.reply(slot, |framing, out| {
            framing.write_message(out, message, [0; 4]);
            true
        });
    }

    /// Frames something for one connection, in its place among the events.
    fn reply(&mut self, slot: usize, write: impl FnOnce(Framing, &mut Vec<u8>) -> bool) {
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

    async fn write_touched(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        // The last connection of a pass is written milliseconds after the first: not always the same one.
        self.rotation = self.rotation.wrapping_add(1);
        let start = self.rotation.checked_rem(touched.len()).unwrap_or(0);
        let (tail, head) = touched.split_at(start);
        for (index, slot) in head.iter().chain(tail).enumerate() {
            self.write(*slot);
            if index % WRITES_PER_TURN == WRITES_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        self.lanes.iter_mut().for_each(Lane::clear);
        self.touched = touched;
        self.touched.clear();
    }

    fn write(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        // A link that refuses is polled again with the task's own waker in `drain_blocked`.
        let mut cx = Context::from_waker(Waker::noop());
        match connection.write_pass(&self.lanes[connection.lane], &mut cx) {
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
    fn settle(&mut self) {
        self.begin_flushes();
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
        if shared.mailbox.published_bytes() < shared.config.max_pending / 2 {
            for token in self.drains.drain(..) {
                shared.delivery.notice(Notice::Drained { token });
            }
        }
    }

    /// From now on a flush waits for what its connections could not take at once.
    fn begin_flushes(&mut self) {
        for token in std::mem::take(&mut self.asked_flushes) {
            let pending = self
                .blocked_connections()
                .map(|connection| (connection.key, connection.queued_total))
                .collect();
            self.flushes.push(FlushWait { token, pending });
        }
    }

    fn report_dropped(&mut self) {
        let dropped = self.shared.counters.unreported.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let message = format!(
                "events dropped: more than maxPendingBytes ({}) wait to be fanned out; await drain() when bufferedAmount grows",
                self.shared.config.max_pending
            );
            self.raise(ErrorKind::BufferFull, message, dropped);
        }
    }

    fn raise(&mut self, kind: ErrorKind, message: String, times: u64) {
        if let Some(notice) = self.meter.raise(Instant::now(), kind, message, times) {
            self.shared.delivery.notice(notice);
        }
    }

    // ---- What connections say --------------------------------------------------------------------------------------------------

    fn inbound(&mut self, key: ConnKey, inbound: &Inbound) {
        let Some(slot) = self.slot(key) else { return };
        match inbound {
            Inbound::Event(_) | Inbound::Pong => {}
            Inbound::Control(control) => self.control(slot, key, control),
            Inbound::IgnoredControl => count(&self.shared.counters.ignored_controls, 1),
            Inbound::Malformed(what) => self.malformed(slot, what),
            Inbound::Ping(data) => self.reply(slot, |framing, out| framing.write_pong(out, data, [0; 4])),
            Inbound::Closing(reason) => self.peer_closes(slot, reason),
            Inbound::Ended(ending) => self.ended(slot, ending),
        }
    }

    fn control(&mut self, slot: usize, key: ConnKey, control: &Control) {
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

    fn subscribe(&mut self, slot: usize, key: ConnKey, topic: &str, n: Option<u64>) {
        let Some(connection) = self.connections[slot]
            .as_ref()
            .filter(|connection| !connection.is_closing())
        else {
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
    fn hello(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if std::mem::replace(&mut connection.is_native, true) {
            return count(&self.shared.counters.ignored_controls, 1);
        }
        self.shared.delivery.notice(Notice::Hello {
            connection: connection.key.to_bits(),
        });
        self.reply_text(slot, |text| control::write_hello(text, Role::Hub, &["ping"]));
    }

    fn reply_text(&mut self, slot: usize, write: impl FnOnce(&mut String)) {
        let mut text = String::new();
        write(&mut text);
        self.reply(slot, |framing, out| {
            framing.write_message(out, &text, [0; 4]);
            true
        });
    }

    fn malformed(&mut self, slot: usize, what: &str) {
        count(&self.shared.counters.malformed, 1);
        let max = self.shared.config.limits.max_malformed_per_minute;
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        let key = connection.key;
        let is_too_much = connection.count_malformed(Instant::now()) > max;
        self.raise(ErrorKind::Malformed, format!("connection {}: {what}", key.slot()), 1);
        if is_too_much {
            let reason = CloseReason::new(
                CloseCode::POLICY,
                format!("more than {max} malformed messages in a minute"),
            );
            self.begin_close(slot, reason, LINGER, false);
        }
    }

    // ---- Coming and going ------------------------------------------------------------------------------------------------------

    fn slot(&self, key: ConnKey) -> Option<usize> {
        let connection = self.connections.get(key.slot())?.as_ref()?;
        (connection.key == key).then_some(key.slot())
    }

    fn live_slot(&self, key: ConnKey) -> Option<usize> {
        self.slot(key).filter(|slot| {
            self.connections[*slot]
                .as_ref()
                .is_some_and(|connection| !connection.is_closing())
        })
    }

    fn is_heard(&self, key: ConnKey) -> bool {
        self.slot(key)
            .and_then(|slot| self.connections[slot].as_ref())
            .is_some_and(Connection::is_heard)
    }

    fn open_connections(&self) -> usize {
        self.lanes.iter().map(|lane| lane.connections).sum()
    }

    fn add(&mut self, link: Link) {
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
        let peer = Box::new(link.peer.clone());
        let connection = Connection::new(key, link, lane, self.shared.config.stall, now);
        lock(&self.shared.connections).insert(key, Arc::clone(&connection.shared));
        self.connections[slot] = Some(connection);
        self.lanes[lane].connections += 1;
        self.serial += 1;
        self.shared
            .connection_count
            .store(self.open_connections(), Ordering::Relaxed);
        count(&self.shared.counters.accepted, 1);
        self.shared.delivery.notice(Notice::Connection {
            connection: key.to_bits(),
            serial: self.serial,
            peer,
        });
        if self.hub_closing.is_some() || self.open_connections() > self.shared.config.limits.max_connections {
            self.begin_close(slot, CloseReason::new(CloseCode::GOING_AWAY, "no room"), LINGER, false);
        } else if !self.shared.config.admit_by_hand {
            self.admit(key);
        }
    }

    fn admit(&mut self, key: ConnKey) {
        let Some(slot) = self.live_slot(key) else { return };
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if let Stage::Waiting(reader) = std::mem::replace(&mut connection.stage, Stage::Open) {
            let conn = Arc::clone(&connection.shared);
            let task = tokio::spawn(reader::read(reader, key, conn, Arc::clone(&self.shared)));
            connection.reader = Some(task.abort_handle());
        }
    }

    /// Says goodbye behind what waits. What the peer still sends is heard only if `is_heard`.
    fn begin_close(&mut self, slot: usize, reason: CloseReason, grace: Duration, is_heard: bool) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        if connection.is_closing() {
            return;
        }
        let mut frame = Vec::new();
        let expects_answer = connection
            .framing
            .write_close(&mut frame, reason.code, &reason.reason, [0; 4])
            && !matches!(connection.stage, Stage::Waiting(_));
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

    fn leave(&mut self, slot: usize, frame: Vec<u8>, closing: Closing) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        connection.push(&frame);
        connection.stage = Stage::Closing(closing);
        lock(&self.shared.router).remove(connection.key);
        self.closing.insert(slot);
        self.block(slot);
    }

    fn peer_closes(&mut self, slot: usize, reason: &CloseReason) {
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
    fn ended(&mut self, slot: usize, ending: &Ending) {
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
            connection
                .framing
                .write_close(&mut frame, ending.reason.code, &ending.reason.reason, [0; 4]);
            self.raise(
                ErrorKind::Protocol,
                format!("connection {slot}: {}", ending.reason.reason),
                1,
            );
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
    fn break_off(&mut self, slot: usize, error: &io::Error) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        connection.segments.clear();
        let dropped = connection.cut();
        count(&self.shared.counters.dropped, dropped.frames);
        connection.forget_rest();
        if let Stage::Closing(closing) = &mut connection.stage {
            closing.deadline = Instant::now();
            return;
        }
        let has_reader = connection.reader.is_some();
        self.leave(
            slot,
            Vec::new(),
            Closing {
                reason: CloseReason::new(CloseCode::ABNORMAL, error.to_string()),
                deadline: Instant::now() + if has_reader { LINGER } else { Duration::ZERO },
                ends_when_idle: false,
                is_clean: false,
                is_heard: true,
            },
        );
    }

    fn vanish(&mut self, slot: usize, why: &str) {
        let Some(connection) = &mut self.connections[slot] else {
            return;
        };
        connection.cut();
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

    /// The connection's last moment: its reader stops, the application is told.
    fn remove(&mut self, slot: usize) {
        self.closing.remove(&slot);
        let Some(mut connection) = self.connections[slot].take() else {
            return;
        };
        self.lanes[connection.lane].connections -= 1;
        self.free.push(slot);
        lock(&self.shared.router).remove(connection.key);
        lock(&self.shared.connections).remove(&connection.key);
        self.shared
            .connection_count
            .store(self.open_connections(), Ordering::Relaxed);
        let Stage::Closing(closing) = std::mem::replace(&mut connection.stage, Stage::Open) else {
            return;
        };
        connection.end(&mut Context::from_waker(Waker::noop()), &closing.reason);
        self.shared.delivery.notice(Notice::Disconnection {
            connection: connection.key.to_bits(),
            reason: closing.reason,
            is_clean: closing.is_clean,
        });
        self.settle();
    }

    // ---- The end ---------------------------------------------------------------------------------------------------------------

    fn close(&mut self, reason: &CloseReason, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        if let Some(closing) = &mut self.hub_closing {
            closing.deadline = closing.deadline.min(deadline);
            return;
        }
        self.hub_closing = Some(HubClosing {
            reason: reason.clone(),
            deadline,
        });
        for slot in 0..self.connections.len() {
            self.begin_close(slot, reason.clone(), timeout, false);
        }
    }

    fn is_finished(&self) -> bool {
        let Some(closing) = &self.hub_closing else { return false };
        self.connections.iter().all(Option::is_none) || Instant::now() >= closing.deadline
    }

    fn finish(&mut self) {
        self.shared.mailbox.close();
        for slot in 0..self.connections.len() {
            self.leave(
                slot,
                Vec::new(),
                Closing {
                    reason: CloseReason::new(CloseCode::GOING_AWAY, ""),
                    deadline: Instant::now(),
                    ends_when_idle: true,
                    is_clean: false,
                    is_heard: false,
                },
            );
            self.remove(slot);
        }
        for notice in self.meter.rest() {
            self.shared.delivery.notice(notice);
        }
        let waiting = self.flushes.drain(..).map(|flush| flush.token);
        for token in waiting.chain(self.asked_flushes.drain(..)) {
            self.shared.delivery.notice(Notice::Flushed { token });
        }
        for token in self.drains.drain(..) {
            self.shared.delivery.notice(Notice::Drained { token });
        }
        let reason = self
            .hub_closing
            .take()
            .map_or(CloseReason::new(CloseCode::NORMAL, ""), |closing| closing.reason);
        self.shared.delivery.notice(Notice::Closed {
            reason,
            error: self.failure.take(),
        });
    }
}
