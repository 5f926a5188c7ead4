//! One link of a spoke, from its handshake to its end: hello, subscriptions, events both ways. Does not decide about the next link.
//!
//! Invariants: the hub hears hello, then every topic, and, once it has admitted the link, events; nothing is read while the application falls behind; an event of this
//! link is delivered after `open`, and after the gap that precedes it.

mod hearing;
mod saying;

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Sleep;

use super::actor::SpokeActor;
use super::{Op, PeerKind, Shared, WRITE_BYTES, count};
use crate::delivery::Notice;
use crate::inbound;
use crate::link::Link;
use crate::mailbox::Batch;
use crate::meter::{COMPLAINT_INTERVAL, Pacer, PerMinute};
use crate::model::{CloseCode, CloseReason, ErrorKind};
use crate::wire::control::{self, Role};

/// Batches dealt with before other tasks of the thread get a turn.
const ROUNDS_PER_TURN: usize = 16;

/// A bus that has so many events to answer is at work: what is published meanwhile waits for its answers, and goes out in one write.
/// Source: measured, a local Redis works 0.95 µs per event where 16 come at once, 0.7 where 32 or more do.
const BUSY_EVENTS: u64 = 16;

/// For so long at most; a bus far away takes longer to answer than is worth waiting for. Source: none, a guess.
const MAX_GATHERING: Duration = Duration::from_millis(1);

/// Bytes of answers to pings that may wait; above it nothing is read until the hub has read them. Source: none, a guess.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// What the other end is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Hello was said and not answered.
    Unknown,
    Native,
    Plain,
}

/// How a link ended.
pub(super) struct SessionEnd {
    pub(super) reason: CloseReason,
    pub(super) kind: ErrorKind,
    pub(super) was_admitted: bool,
    pub(super) last_read_ms: u64,
    /// Events were handed to the transport since the hub last proved that it received.
    pub(super) is_unproven: bool,
    pub(super) lasted: Duration,
}

impl SessionEnd {
    pub(super) fn message(&self) -> String {
        let CloseReason { code, reason } = &self.reason;
        match *code {
            _ if self.kind == ErrorKind::NoHello
                || *code == CloseCode::TIMED_OUT && self.kind == ErrorKind::TimedOut =>
            {
                reason.clone()
            }
            CloseCode::ABNORMAL => format!("connection lost: {reason}"),
            _ if reason.is_empty() => format!("the hub closed the connection with code {}", code.0),
            _ => format!("the hub closed the connection with code {}: {reason}", code.0),
        }
    }
}

pub(super) struct Session<'a> {
    spoke: &'a mut SpokeActor,
    link: Link,
    is_reconnected: bool,
    phase: Phase,
    is_admitted: bool,
    /// Taken for plain because it said nothing at all, not even the Pong that every WebSocket owes: it may not have read anything yet.
    is_silent: bool,
    /// Frames that are encoded and not yet written.
    out: Vec<u8>,
    written: usize,
    /// What the frames in `out` cost in the mailbox.
    out_cost: usize,
    /// Bytes of `out` that answer pings.
    answers: usize,
    needs_flush: bool,
    /// Until when a bus at work gets nothing more.
    gathering: Option<Instant>,
    next: Option<(Batch<Op>, std::vec::IntoIter<Op>)>,
    read: Batch<Op>,
    text: String,
    dice: StdRng,
    started: Instant,
    last_read: Instant,
    last_read_ms: u64,
    is_paused: bool,
    /// Silence counts from here, if nothing came since: we were not there to hear it.
    absent_until: Instant,
    next_heartbeat: Instant,
    hello_deadline: Option<Instant>,
    /// Events written, and those of them that the hub has surely received: a ping carries the first number, its answer brings it back.
    sent: u64,
    proven: u64,
    /// Topics asked for and not answered, each with the events sent before it; in that order.
    asked: VecDeque<(u64, u64)>,
    /// The numbers of the topics that a bus must still answer for before the link is admitted.
    greeting: HashSet<u64>,
    /// Flushes that wait until a bus has answered so many events.
    flushes: VecDeque<(u64, u32)>,
    hub_answers_pings: bool,
    last_ping: Instant,
    malformed: PerMinute,
    complaints: Pacer,
    close_sent: bool,
    timer: Option<Pin<Box<Sleep>>>,
    end: Option<(CloseReason, ErrorKind)>,
}

impl<'a> Session<'a> {
    pub(super) fn new(spoke: &'a mut SpokeActor, link: Link, is_reconnected: bool) -> Self {
        let now = Instant::now();
        let config = &spoke.shared.config;
        let phase = match config.peer {
            PeerKind::Bus => Phase::Native,
            PeerKind::Plain => Phase::Plain,
            PeerKind::Auto | PeerKind::Native if link.is_native == Some(false) => Phase::Plain,
            PeerKind::Auto | PeerKind::Native => Phase::Unknown,
        };
        // A hub that is known to be native is waited for as long as any handshake: it may be asking its application.
        let patience = if link.is_native.is_some() { config.limits.handshake } else { config.hello_timeout };
        Self {
            phase,
            hello_deadline: (phase == Phase::Unknown).then(|| now + patience),
            next_heartbeat: now + config.limits.heartbeat / 4,
            spoke,
            link,
            is_reconnected,
            is_admitted: false,
            is_silent: false,
            out: Vec::new(),
            written: 0,
            out_cost: 0,
            answers: 0,
            needs_flush: false,
            gathering: None,
            next: None,
            read: Batch::default(),
            text: String::new(),
            dice: StdRng::from_rng(&mut rand::rng()),
            started: now,
            last_read: now,
            last_read_ms: now_ms(),
            is_paused: false,
            absent_until: now,
            sent: 0,
            proven: 0,
            asked: VecDeque::new(),
            greeting: HashSet::new(),
            flushes: VecDeque::new(),
            hub_answers_pings: false,
            last_ping: now,
            malformed: PerMinute::default(),
            complaints: Pacer::default(),
            close_sent: false,
            timer: None,
            end: None,
        }
    }

    pub(super) async fn run(mut self) -> SessionEnd {
        self.greet();
        loop {
            let (reason, kind) = match self.end.take() {
                Some(end) => end,
                None => {
                    poll_fn(|cx| self.poll(cx)).await;
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            return self.finish(reason, kind);
        }
    }

    /// Hello, a ping right behind it, and every topic; nothing waits for an answer.
    fn greet(&mut self) {
        if self.phase == Phase::Unknown {
            let features = [&["ping"], self.link.features].concat();
            self.say(|text| control::write_hello(text, Role::Spoke, &features));
            self.ping();
        } else if !self.is_bus() {
            self.admit();
        }
        for topic in self.spoke.subscriptions.wanted() {
            let n = self.subscribe(&topic);
            if self.is_bus() {
                self.greeting.insert(n);
            }
        }
        self.admit_if_greeted();
    }

    fn is_bus(&self) -> bool {
        self.spoke.shared.config.peer == PeerKind::Bus
    }

    /// What errors call the other end.
    fn far_end(&self) -> &'static str {
        if self.is_bus() { self.link.peer.transport } else { "the hub" }
    }

    /// A bus has answered for every topic that the link began with.
    fn admit_if_greeted(&mut self) {
        if self.is_bus() && self.greeting.is_empty() {
            self.admit();
        }
    }

    /// Everything published so far is with the transport, or with a bus once it has answered.
    fn answer_flushes(&mut self) {
        if !self.is_bus() {
            return self.spoke.answer_flushes();
        }
        let sent = self.sent;
        self.flushes.extend(std::mem::take(&mut self.spoke.flushes).into_iter().map(|token| (sent, token)));
        self.answer_proven_flushes();
    }

    fn answer_proven_flushes(&mut self) {
        while let Some(&(_, token)) = self.flushes.front().filter(|(sent, _)| *sent <= self.proven) {
            self.flushes.pop_front();
            self.spoke.tell([Notice::Flushed { token }]);
        }
    }

    /// Ready when the link has ended, or when other tasks should get a turn.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS_PER_TURN {
            self.on_time();
            let has_written = self.end.is_none() && self.poll_write(cx);
            let has_read = self.end.is_none() && self.answers <= MAX_ANSWER_BYTES && self.poll_read(cx);
            if self.end.is_some() {
                return Poll::Ready(());
            }
            if !has_written && !has_read {
                // A full link is woken by the link alone, and a wish to close must not wait for it.
                self.spoke.shared.closing.wake_when_asked(cx);
                if self.poll_timer(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }

    /// Encodes what waits and writes it; true if there may be more to do at once.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        // A chunk leaves whole before the next is encoded: appended to one that never ends, it would grow for ever.
        if self.written == self.out.len() && !self.is_gathering() {
            self.fill(cx);
        }
        if self.written == self.out.len() {
            return self.needs_flush && self.poll_flush(cx);
        }
        match self.link.writer.poll_write(cx, &[IoSlice::new(&self.out[self.written..])]) {
            Poll::Pending => false,
            Poll::Ready(Err(error)) => {
                // What the hub said before it went is still to be read, its close frame above all.
                self.out.clear();
                self.written = 0;
                self.end_reading(&error);
                true
            }
            Poll::Ready(Ok(count_written)) => {
                self.written += count_written;
                count(&self.spoke.shared.counters.sent_bytes, count_written as u64);
                count(&self.spoke.shared.counters.writes, 1);
                self.needs_flush = true;
                if self.written == self.out.len() {
                    self.poll_flush(cx);
                    self.on_written();
                }
                true
            }
        }
    }

    /// Whether what is published now may wait for the answers of a bus at work. Nobody who publishes has to wake us meanwhile.
    fn is_gathering(&mut self) -> bool {
        let Shared { mailbox, closing, .. } = &*self.spoke.shared;
        let is_at_work = self.is_bus() && self.sent - self.proven >= BUSY_EVENTS;
        if !is_at_work || mailbox.published_bytes() >= WRITE_BYTES || closing.deadline().is_some() {
            return false;
        }
        let now = Instant::now();
        *self.gathering.get_or_insert(now + MAX_GATHERING) > now
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> bool {
        match self.link.writer.poll_flush(cx) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => self.end_reading(&error),
        }
        self.needs_flush = false;
        true
    }

    /// Writing failed: reads what is there without waiting, then ends.
    fn end_reading(&mut self, error: &std::io::Error) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while self.end.is_none() && self.poll_read(&mut cx) {}
        self.end.get_or_insert_with(|| {
            (CloseReason::new(CloseCode::ABNORMAL, error.to_string()), ErrorKind::ConnectionLost)
        });
    }

    /// Everything encoded has been written.
    fn on_written(&mut self) {
        self.out.clear();
        if self.out.capacity() > 4 * WRITE_BYTES {
            self.out = Vec::new();
        }
        self.written = 0;
        self.gathering = None;
        self.answers = 0;
        self.spoke.shared.mailbox.release(std::mem::take(&mut self.out_cost));
        if self.phase == Phase::Plain {
            self.confirm_writes();
        }
        if self.spoke.held.is_empty() && self.next.is_none() {
            self.answer_flushes();
        }
        self.spoke.answer_drains();
    }

    fn confirm_writes(&mut self) {
        let (active, answers) = self.spoke.subscriptions.written_to_plain();
        self.spoke.tell(answers);
        if !self.is_silent {
            self.settle_written(&active);
        }
    }

    /// A gap ends where a plain hub was asked for the topic: it says no more.
    fn settle_written(&mut self, topics: &[Box<str>]) {
        if let Some(gap) = &mut self.spoke.gap {
            topics.iter().for_each(|topic| gap.settle(topic));
        }
        self.end_gap_if_over();
    }

    /// The hub has said something. If that is no hello, it is plain indeed.
    fn break_silence(&mut self, is_hello: bool) {
        if std::mem::take(&mut self.is_silent) && !is_hello {
            let active = self.spoke.subscriptions.active();
            self.settle_written(&active);
        }
    }

    /// Reads once and acts on it; true if there may be more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let was_paused = std::mem::replace(&mut self.is_paused, self.spoke.shared.delivery.poll_room(cx).is_pending());
        if self.is_paused {
            return false;
        }
        if was_paused {
            // Silence counts from now.
            self.last_read = Instant::now();
        }
        let mut read = std::mem::take(&mut self.read);
        let limits = &self.spoke.shared.config.limits;
        let result = inbound::poll_read(&mut *self.link.reader, cx, limits, &mut read, &Op::Read);
        if result.is_ready() {
            self.last_read = Instant::now();
            self.last_read_ms = now_ms();
            let mut ops = std::mem::take(&mut read.ops);
            for op in ops.drain(..) {
                // What came behind the end of the link is not acted on.
                if let Op::Read(inbound) = op
                    && self.end.is_none()
                {
                    self.on_inbound(inbound, &read.text);
                }
            }
            read.ops = ops;
        }
        read.clear();
        // An idle link holds no buffer.
        if result.is_ready() {
            self.read = read;
        }
        result.is_ready()
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.hello_deadline.is_some_and(|deadline| now >= deadline) {
            self.is_silent = self.link.framing.has_control_frames();
            self.give_up_on_hello();
        }
        if now >= self.next_heartbeat {
            self.heartbeat(now);
            self.next_heartbeat = now + self.spoke.shared.config.limits.heartbeat / 4;
        }
        let closing = &self.spoke.shared.closing;
        if closing.is_overdue(now) && self.end.is_none() {
            self.end = closing.reason().map(|reason| (reason, ErrorKind::Closed));
        }
        self.spoke.report_dropped();
        let complaints = self.complaints.take_due(now, COMPLAINT_INTERVAL);
        self.complain(complaints);
        self.spoke.tell_due_errors();
    }

    /// No hello came in time. A hub that is known to be native may still come to it at the next attempt.
    fn give_up_on_hello(&mut self) {
        if self.link.is_native == Some(true) {
            let limit = self.spoke.shared.config.limits.handshake.as_millis();
            let reason = CloseReason::new(CloseCode::TIMED_OUT, format!("no hello of the hub within {limit} ms"));
            self.end = Some((reason, ErrorKind::TimedOut));
        } else {
            self.take_for_plain();
        }
    }

    fn heartbeat(&mut self, now: Instant) {
        if !self.link.framing.has_control_frames() && !self.hub_answers_pings {
            return;
        }
        let limits = &self.spoke.shared.config.limits;
        if now >= self.next_heartbeat + limits.heartbeat {
            // This process did not run, so the hub's silence is its own doing.
            self.absent_until = now;
        }
        let silence = now - self.last_read.max(self.absent_until);
        // While we do not read, silence says nothing of the hub; but it is to hear that we live.
        if !self.is_paused && silence > limits.dead_after() {
            let reason = CloseReason::new(CloseCode::ABNORMAL, "no byte came for 2.5 heartbeats");
            self.end = Some((reason, ErrorKind::TimedOut));
        } else if (silence >= limits.heartbeat || self.sent > self.proven) && now - self.last_ping >= limits.heartbeat {
            self.ping();
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let closing = self.spoke.shared.closing.deadline();
        let complaints = self.complaints.due_at(COMPLAINT_INTERVAL);
        // One that is over has been acted on.
        let gathering = self.gathering.filter(|until| *until > Instant::now());
        let due = self.spoke.meter.next_due();
        let deadlines = [self.hello_deadline, closing, gathering, due, complaints, Some(self.next_heartbeat)];
        let Some(deadline) = deadlines.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        let deadline = tokio::time::Instant::from_std(deadline);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }

    /// Gives back what was not sent, so that the next link sends it.
    fn finish(mut self, reason: CloseReason, kind: ErrorKind) -> SessionEnd {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _too_late = self.link.writer.poll_close(&mut cx, reason.code, &reason.reason);
        self.spoke.shared.mailbox.release(self.out_cost);
        // What they wait for was handed over, and whether it arrived will not be known.
        self.spoke.flushes.extend(self.flushes.drain(..).map(|(_, token)| token));
        let complaints = self.complaints.take_rest();
        self.complain(complaints);
        if let Some((batch, ops)) = self.next.take() {
            self.spoke.take_ops(&batch.text, ops);
        }
        SessionEnd {
            reason,
            kind,
            was_admitted: self.is_admitted,
            last_read_ms: self.link.reader.heard_ms().unwrap_or(self.last_read_ms),
            is_unproven: self.sent > self.proven,
            lasted: self.started.elapsed(),
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
