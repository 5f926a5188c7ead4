//! The hub's task: takes a batch, routes it, writes it. Everything about connections that is not bytes is decided here.
//!
//! Invariants: only this task changes the router and touches write halves; a connection that is no longer open gets nothing of a
//! topic; whatever a pass frames is written or queued before the next pass begins.

mod backplane;
mod gaps;
mod greeting;
mod members;
mod pass;
mod permits;
mod slow;
mod speech;

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::connection::{Closing, Connection, Stage};
use super::credit::WaitedFor;
use super::fanout::{Lane, Run};
use super::high_water::HighWater;
use super::linger::{LINGER_TURNS, Linger};
use super::uplink::Uplink;
use super::{Op, Shared, count};
use crate::delivery::{Failure, Notice};
use crate::mailbox::{Batch, lock};
use crate::meter::ErrorMeter;
use crate::model::{CloseCode, CloseReason, ErrorKind, EventSpan};
use crate::route::ConnKey;
use crate::wire::frame::Framing;
use greeting::Greetings;
use slow::batch_bytes;

/// How long a peer may take to answer our close frame. Source: none, a guess.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// How long our last frame may take to reach a peer that is being dropped. Source: none, a guess.
const LINGER: Duration = Duration::from_secs(1);

struct FlushWait {
    token: u32,
    /// Connections that had something waiting, and the total that must have left.
    pending: Vec<(ConnKey, u64)>,
}

pub(super) struct HubActor {
    shared: Arc<Shared>,
    connections: Vec<Option<Connection>>,
    generations: Vec<u32>,
    free: Vec<usize>,
    /// Slots of connections that are gone and still stand in topics.
    unswept: Vec<usize>,
    is_sweeping: bool,
    serial: u64,
    lanes: [Lane; 2],
    run: Option<(Run, EventSpan)>,
    /// Have segments of this pass.
    touched: Vec<usize>,
    /// Alone in what they were touched for: written first when that comes while a pass is written.
    urgent: Vec<usize>,
    rotation: usize,
    blocked: Vec<usize>,
    waited_for: WaitedFor,
    closing: HashSet<usize>,
    /// Connections that are to be admitted, the oldest first, and until when.
    waiting: VecDeque<(Instant, ConnKey)>,
    greetings: Greetings,
    meter: ErrorMeter,
    /// Connections that something is to be told to, or of, when it is time.
    untold: HashSet<usize>,
    /// Questions about topics that the application has not answered.
    questions: HashMap<u32, (ConnKey, Box<str>)>,
    last_question: u32,
    /// Asked for in this pass, whose events are not written yet.
    asked_flushes: Vec<u32>,
    flushes: Vec<FlushWait>,
    drains: Vec<u32>,
    /// `close()` was reached in the mailbox: connections have been told.
    is_closing: bool,
    failure: Option<Failure>,
    next_heartbeat: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    linger: Linger,
    high_water: HighWater,
    /// Joins this hub to others.
    uplink: Option<Uplink>,
    /// The batch before came from other hubs.
    had_arrivals: bool,
    /// Whom the run in progress is not for: they were not told yet that they are subscribed.
    withheld: HashSet<ConnKey, foldhash::fast::RandomState>,
}

impl HubActor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next_heartbeat = Instant::now() + shared.config.limits.heartbeat / 4;
        Self {
            shared,
            connections: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            unswept: Vec::new(),
            is_sweeping: false,
            serial: 0,
            lanes: [Lane::new(Framing::WebSocketServer), Lane::new(Framing::Length)],
            run: None,
            touched: Vec::new(),
            urgent: Vec::new(),
            rotation: 0,
            blocked: Vec::new(),
            waited_for: WaitedFor::default(),
            closing: HashSet::new(),
            waiting: VecDeque::new(),
            greetings: Greetings::default(),
            meter: ErrorMeter::default(),
            untold: HashSet::new(),
            questions: HashMap::new(),
            last_question: 0,
            asked_flushes: Vec::new(),
            flushes: Vec::new(),
            drains: Vec::new(),
            is_closing: false,
            failure: None,
            next_heartbeat,
            timer: None,
            linger: Linger::default(),
            high_water: HighWater::default(),
            uplink: None,
            had_arrivals: false,
            withheld: HashSet::default(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.on_time(Instant::now());
            if self.is_finished() {
                break;
            }
            let Some(batch) = self.next_batch().await else {
                continue;
            };
            self.linger.arm(batch.is_published());
            self.pass(batch).await;
            self.settle();
            // Readers and other hubs of this thread, and the driver that tells which sockets are ready, get their turn.
            tokio::task::yield_now().await;
        }
        self.leave_backplane().await;
        self.finish();
    }

    /// Hears nothing of other hubs any more; what was said to them gets the rest of the time.
    async fn leave_backplane(&mut self) {
        self.shared.inlet.close();
        let Some(mut uplink) = self.uplink.take() else { return };
        self.shared.confirm(&uplink.leave(), false);
        let closing = &self.shared.closing;
        let Some(deadline) = closing.deadline() else { return };
        let left = poll_fn(|cx| {
            // Asked again, the time can have become shorter.
            closing.wake_when_asked(cx);
            if closing.is_overdue(Instant::now()) { Poll::Ready(()) } else { uplink.poll_left(cx) }
        });
        let _what_is_late_is_left_to_the_backplane = tokio::time::timeout_at(deadline.into(), left).await;
    }

    /// The next batch, or nothing after something else has happened.
    async fn next_batch(&mut self) -> Option<Batch<Op>> {
        if !self.blocked.is_empty() && self.drain_blocked(&mut Context::from_waker(Waker::noop())) {
            // A connection that has nothing left to say may be over.
            return None;
        }
        if self.release_overdue() | self.end_overdue_silences() {
            self.write_touched().await;
            self.settle();
            return None;
        }
        if !self.shared.mailbox.has_some() && !self.shared.inlet.is_due() {
            self.rest().await;
            return None;
        }
        let next = if self.blocked.is_empty() { usize::MAX } else { self.next_bytes() };
        if self.must_hold(next) {
            self.hold().await;
            return None;
        }
        let fits = |text, ops| batch_bytes(text, ops) <= next;
        if let Some(arrivals) = self.take_arrivals(fits) {
            self.pass_arrivals(arrivals).await;
            return None;
        }
        self.shared.mailbox.take_if(fits)
    }

    /// Nothing has come: does what has time, or waits.
    async fn rest(&mut self) {
        if self.is_sweeping {
            tokio::task::yield_now().await;
        } else if self.linger.is_worth_it() {
            self.linger().await;
        } else {
            self.sleep(None).await;
        }
    }

    /// Looks a few times more before falling asleep: waking the hub costs the publisher more than its event does.
    async fn linger(&mut self) {
        for _ in 0..LINGER_TURNS {
            tokio::task::yield_now().await;
            if self.shared.mailbox.has_some() {
                return self.linger.succeeded();
            }
        }
        self.linger.failed();
    }

    fn on_time(&mut self, now: Instant) {
        for notice in self.meter.due(now) {
            self.shared.delivery.notice(notice);
        }
        self.report_dropped();
        self.end_expelled();
        self.sweep();
        if self.high_water.falls_far(self.shared.mailbox.published_bytes() + self.shared.halves.total()) {
            self.shared.delivery.freed_much();
        }
        self.tell_untold(now);
        self.give_up_waiting(now);
        let ended: Vec<usize> = self.closing.iter().copied().filter(|slot| self.has_ended(*slot, now)).collect();
        ended.into_iter().for_each(|slot| self.remove(slot));
        if now >= self.next_heartbeat {
            self.heartbeat(now);
            self.next_heartbeat = now + self.shared.config.limits.heartbeat / 4;
        }
        self.tend_backplane();
    }

    fn has_ended(&self, slot: usize, now: Instant) -> bool {
        let Some(Connection { stage: Stage::Closing(closing), .. }) = &self.connections[slot] else {
            return false;
        };
        let is_idle = self.connections[slot].as_ref().is_some_and(Connection::is_idle);
        now >= closing.deadline || closing.ends_when_idle && is_idle
    }

    fn next_deadline(&self) -> Option<Instant> {
        let closing = self.closing.iter().filter_map(|slot| match &self.connections[*slot].as_ref()?.stage {
            Stage::Closing(closing) => Some(closing.deadline),
            _ => None,
        });
        let waiting = self.waiting.front().map(|(deadline, _)| *deadline).into_iter().chain(self.greetings.next_due());
        let heartbeat = (self.open_connections() > 0).then_some(self.next_heartbeat);
        let hub = self.shared.closing.deadline().into_iter().chain(self.uplink.as_ref().and_then(Uplink::next_overdue));
        closing.chain(waiting).chain(heartbeat).chain(hub).chain(self.meter.next_due()).chain(self.next_telling()).min()
    }

    /// When something is to be told of a connection.
    fn next_telling(&self) -> Option<Instant> {
        let due = self.untold.iter().filter_map(|slot| {
            let connection = self.connections[*slot].as_ref()?;
            connection.seldom.as_ref()?.due_at()
        });
        due.min()
    }

    fn tell_untold(&mut self, now: Instant) {
        if self.untold.is_empty() {
            return;
        }
        for slot in self.untold.iter().copied().collect::<Vec<_>>() {
            self.tell_complaints(slot, now);
            self.tell_refusals(slot, now);
            let seldom = self.connections[slot].as_ref().and_then(|connection| connection.seldom.as_ref());
            if seldom.is_none_or(|seldom| seldom.due_at().is_none()) {
                self.untold.remove(&slot);
            }
        }
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
            let has_work = has_work || hold.is_none() && shared.inlet.poll_due(cx).is_ready();
            let is_due = timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
            if has_changed || has_work || is_due { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.timer = timer;
    }

    /// The one timer of the hub, set anew only when its time has changed.
    fn timer_for(&mut self, deadline: Option<Instant>) -> Option<Pin<Box<Sleep>>> {
        let deadline = tokio::time::Instant::from_std(deadline?);
        let mut timer = self.timer.take().unwrap_or_else(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        Some(timer)
    }

    fn heartbeat(&mut self, now: Instant) {
        let interval = self.shared.config.limits.heartbeat;
        if now >= self.next_heartbeat + interval {
            // This process did not run, so the peers' silence is its own doing.
            return self.connections.iter().flatten().for_each(|connection| connection.shared.restart_silence(now));
        }
        for slot in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[slot] else {
                continue;
            };
            if !matches!(connection.stage, Stage::Open) || !connection.can_ping() {
                continue;
            }
            let silence = connection.shared.silence(now);
            // While we do not read, silence says nothing of the peer; but it is to hear that we live.
            let is_paused = connection.shared.is_paused();
            if !is_paused && silence > self.shared.config.limits.dead_after() {
                self.vanish(slot, "no byte came for 2.5 heartbeats");
            } else if silence >= interval && connection.pinged_at.is_none_or(|at| now - at >= interval) {
                connection.pinged_at = Some(now);
                connection.push_ping();
                self.block(slot);
            }
        }
    }

    /// Says goodbye to everybody; what was published before is in their queues.
    fn close(&mut self) {
        let (Some(reason), Some(deadline)) = (self.shared.closing.reason(), self.shared.closing.deadline()) else {
            return;
        };
        if std::mem::replace(&mut self.is_closing, true) {
            return;
        }
        let grace = deadline.saturating_duration_since(Instant::now());
        for slot in 0..self.connections.len() {
            self.begin_close(slot, reason.clone(), grace, false);
        }
    }

    fn is_finished(&self) -> bool {
        self.shared.closing.is_overdue(Instant::now())
            || self.is_closing && self.connections.iter().all(Option::is_none)
    }

    fn finish(&mut self) {
        let (unsent, ops) = self.shared.mailbox.close();
        for op in ops {
            match op {
                Op::Flush(token) => self.asked_flushes.push(token),
                Op::Drained(token) => self.drains.push(token),
                _ => {}
            }
        }
        if unsent > 0 {
            count(&self.shared.counters.dropped, unsent);
            let message = "events dropped: the hub was closed before they could be sent".into();
            self.raise(ErrorKind::Closed, message, unsent);
        }
        let reason = self.shared.closing.reason().unwrap_or(CloseReason::new(CloseCode::NORMAL, ""));
        for slot in 0..self.connections.len() {
            self.leave(
                slot,
                Vec::new(),
                Closing {
                    reason: reason.clone(),
                    deadline: Instant::now(),
                    ends_when_idle: true,
                    is_clean: false,
                    is_heard: false,
                },
            );
            self.remove(slot);
        }
        while lock(&self.shared.router).sweep() {}
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
        self.shared.delivery.notice(Notice::Closed { reason, error: self.failure.take() });
    }
}
