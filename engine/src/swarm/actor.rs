//! The task of a member: joins, says what was published, and decides when it is open. What it hears is in `swarm/hearing.rs`, whom it calls
//! in `swarm/calling.rs`.
//!
//! Invariants: the overlay is always read, whatever waits elsewhere; `Open` and `Reconnecting` alternate in sense, with a gap for each
//! outage in which something can have been missed.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::{sleep, sleep_until};
use tracing::{debug, info};

use super::authors::Authors;
use super::calling::{Called, Calling};
use super::gaps::Gaps;
use super::members::Members;
use super::voice::{Utterance, Voice};
use super::{Op, Shared, count, show};
use crate::delivery::{Failure, GapCause, Notice};
use crate::link::BoxFuture;
use crate::link::overlay::{Ear, MemberId, Mouth, Overlay, Rumour};
use crate::mailbox::Batch;
use crate::meter::{ErrorMeter, Pacer};
use crate::model::{CloseCode, CloseReason, Error, ErrorKind};
use crate::trace;
use crate::wire::run::{self, Run};

/// While something is to happen soon, deadlines are looked at so often; else rarely.
const TICK: Duration = Duration::from_millis(25);
const IDLE_TICK: Duration = Duration::from_millis(250);

/// Why a member is over.
pub(super) struct Over {
    pub(super) reason: CloseReason,
    pub(super) error: Option<Failure>,
}

impl Over {
    pub(super) fn failed(failure: Failure) -> Self {
        Self { reason: CloseReason::new(CloseCode::ABNORMAL, failure.message.clone()), error: Some(failure) }
    }
}

pub(super) fn failure_of(error: &Error) -> Failure {
    Failure { kind: error.kind(), message: error.to_string() }
}

/// A run on its way into the overlay.
struct Saying {
    taken: BoxFuture<bool>,
    runs: u64,
    events: u64,
    cost: usize,
}

/// The time without a neighbour.
struct Outage {
    from_ms: u64,
    topics: Vec<Box<str>>,
    is_out: bool,
}

pub(super) struct SwarmActor {
    pub(super) shared: Arc<Shared>,
    pub(super) overlay: Arc<dyn Overlay>,
    pub(super) me: MemberId,
    pub(super) epoch: u64,
    pub(super) authors: Authors<Bytes>,
    pub(super) members: Members,
    pub(super) calling: Calling,
    pub(super) meter: ErrorMeter,
    pub(super) complaints: Pacer,
    pub(super) complaint: String,
    pub(super) gaps: Gaps,
    /// When the last message came, and the one before a message was missed.
    pub(super) heard_ms: u64,
    pub(super) topic: String,
    pub(super) reminders: VecDeque<Bytes>,
    pub(super) recollected: Option<Instant>,
    pub(super) voice: Voice,
    saying: Option<Saying>,
    confirmations: Vec<(Box<str>, u32)>,
    drains: Vec<u32>,
    outage: Option<Outage>,
    pub(super) is_open: bool,
    pub(super) was_open: bool,
    has_begun: bool,
    is_closing: bool,
    ticked_at: Instant,
}

enum Next {
    Rumour(Option<Rumour>),
    Taken(bool),
    Ops,
    Called(Called),
    Ended,
    Tick,
}

impl SwarmActor {
    pub(super) fn new(shared: Arc<Shared>, overlay: Arc<dyn Overlay>) -> Self {
        let (now, config) = (Instant::now(), &shared.config);
        Self {
            me: overlay.me(),
            epoch: overlay.epoch(),
            authors: Authors::default(),
            members: Members::new(&config.bootstrap, config.limits.dead_after()),
            calling: Calling::new(config.reconnect.clone(), config.limits.handshake, now),
            meter: ErrorMeter::default(),
            complaints: Pacer::default(),
            complaint: String::new(),
            gaps: Gaps::new(now),
            heard_ms: now_ms(),
            topic: String::new(),
            reminders: VecDeque::new(),
            recollected: None,
            voice: Voice::new(config.limits.heartbeat, now),
            saying: None,
            confirmations: Vec::new(),
            drains: Vec::new(),
            outage: None,
            is_open: false,
            was_open: false,
            has_begun: false,
            is_closing: false,
            ticked_at: now,
            shared,
            overlay,
        }
    }

    pub(super) async fn run(mut self) {
        let over = self.live().await;
        self.finish(over);
    }

    async fn live(&mut self) -> Over {
        while !self.has_begun {
            if let Err(over) = self.attend(poll_fn(|_| Poll::<()>::Pending)).await {
                return over;
            }
        }
        let mut joining = self.overlay.join();
        let (mut ear, mouth) = loop {
            match self.attend(&mut joining).await {
                Err(over) => return over,
                Ok(None) => {}
                Ok(Some(Ok(joined))) => break joined,
                Ok(Some(Err(error))) => return Over::failed(failure_of(&error)),
            }
        };
        if self.shared.config.bootstrap.is_empty() {
            self.open();
        }
        let mut ended = self.overlay.ended();
        loop {
            if let Some(over) = self.go_on(&*mouth) {
                return over;
            }
            let over = match self.next(&mut *ear, &mut ended).await {
                Next::Rumour(Some(rumour)) => self.hear(rumour),
                Next::Rumour(None) | Next::Ended => Some(Over::failed(ended_failure())),
                Next::Taken(is_taken) => self.said(is_taken),
                Next::Called(called) => self.called(called),
                Next::Ops => self.take_ops(),
                Next::Tick => None,
            };
            if let Some(over) = over {
                return over;
            }
        }
    }

    /// Waits for something before this member is in the swarm, or until the application has said something. An error: it is to be closed.
    async fn attend<T>(&mut self, what: impl Future<Output = T>) -> Result<Option<T>, Over> {
        self.report_dropped();
        if let Some(over) = self.over() {
            return Err(over);
        }
        let deadline = self.shared.closing.deadline();
        let overdue = async {
            match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => pending().await,
            }
        };
        let shared = Arc::clone(&self.shared);
        let found = tokio::select! {
            found = what => Some(found),
            () = poll_fn(|cx| shared.mailbox.poll_some(cx)) => None,
            () = overdue => None,
        };
        self.take_ops();
        Ok(found)
    }

    /// Waits until something is to be done.
    async fn next(&mut self, ear: &mut dyn Ear, ended: &mut BoxFuture<()>) -> Next {
        let pause = self.pause();
        let Self { shared, saying, calling, .. } = self;
        let taken = async {
            match saying {
                Some(saying) => (&mut saying.taken).await,
                None => pending().await,
            }
        };
        tokio::select! {
            rumour = poll_fn(|cx| ear.poll_hear(cx)) => Next::Rumour(rumour),
            is_taken = taken => Next::Taken(is_taken),
            () = poll_fn(|cx| shared.mailbox.poll_some(cx)) => Next::Ops,
            called = calling.next() => Next::Called(called),
            () = ended => Next::Ended,
            () = sleep(pause) => Next::Tick,
        }
    }

    fn pause(&self) -> Duration {
        let is_soon = !self.is_open
            || self.is_closing
            || self.saying.is_some()
            || self.authors.is_waiting()
            || self.gaps.is_waiting()
            || self.calling.is_busy()
            || self.meter.next_due().is_some();
        let tick = if is_soon { TICK } else { IDLE_TICK };
        match self.voice.due().filter(|_| self.saying.is_none()) {
            Some(due) => due.saturating_duration_since(Instant::now()).min(tick),
            None => tick,
        }
    }

    /// What the time and what has changed since bring.
    fn go_on(&mut self, mouth: &dyn Mouth) -> Option<Over> {
        let now = Instant::now();
        self.report_dropped();
        self.speak(mouth, now);
        self.answer();
        if let Some(over) = self.over() {
            return Some(over);
        }
        if now.duration_since(self.ticked_at) < TICK {
            return None;
        }
        self.ticked_at = now;
        self.expire(now);
        self.drop_aged(now);
        let due = self.meter.due(now);
        self.tell(due);
        self.complain(now, 0);
        self.tell_gaps(now);
        self.call(mouth, now)
    }

    // ---- Saying ----------------------------------------------------------------------------------------------------------------

    fn speak(&mut self, mouth: &dyn Mouth, now: Instant) {
        if self.saying.is_some() || !self.is_open {
            return;
        }
        if self.members.neighbours() == 0 {
            // The first member is alone: there is nobody to miss it.
            let (unrouted, cost) = self.voice.drop_all();
            self.shared.mailbox.release(cost);
            return count(&self.shared.counters.unrouted, unrouted);
        }
        let utterance = self.voice.utter(now).or_else(|| self.voice.beacon(now, self.is_closing));
        if let Some(utterance) = utterance {
            self.say(mouth, &utterance);
        } else if let Some(reminder) = self.reminders.pop_front() {
            self.saying = Some(Saying { taken: mouth.say(reminder), runs: 0, events: 0, cost: 0 });
        }
    }

    fn say(&mut self, mouth: &dyn Mouth, utterance: &Utterance) {
        let Utterance { serial, first, events, cost, ref body } = *utterance;
        let epoch = self.epoch;
        let signature = self.overlay.sign(&run::signed(&self.overlay.topic(), epoch, serial, first, body));
        let message = run::write(&Run { author: &self.me, epoch, serial, first, signature: &signature, body });
        self.saying = Some(Saying { taken: mouth.say(message.into()), runs: 1, events, cost });
    }

    fn said(&mut self, is_taken: bool) -> Option<Over> {
        let saying = self.saying.take()?;
        self.shared.mailbox.release(saying.cost);
        if !is_taken {
            count(&self.shared.counters.dropped, saying.events);
            return Some(Over::failed(ended_failure()));
        }
        count(&self.shared.counters.sent, saying.events);
        count(&self.shared.counters.runs, saying.runs);
        None
    }

    fn take_ops(&mut self) -> Option<Over> {
        while let Some(mut batch) = self.shared.mailbox.take() {
            let ops = std::mem::take(&mut batch.ops);
            let now = Instant::now();
            for op in ops {
                self.act(op, &batch, now);
            }
            // Events give their room back when they were said.
            self.shared.mailbox.recycle(batch);
        }
        None
    }

    fn act(&mut self, op: Op, batch: &Batch<Op>, now: Instant) {
        match op {
            Op::Begin => self.has_begun = true,
            Op::Publish(span) => self.voice.publish(span.body(&batch.text), now),
            Op::Confirm { topic, token } => self.confirmations.push((topic, token)),
            Op::Flush(token) => self.voice.flush(token),
            Op::Drained(token) => self.drains.push(token),
            Op::Close => self.is_closing = true,
            Op::Report => {}
        }
    }

    fn answer(&mut self) {
        if self.saying.is_none() {
            let flushed = self.voice.flushed();
            self.tell(flushed.into_iter().map(|token| Notice::Flushed { token }));
        }
        if !self.drains.is_empty() && self.shared.mailbox.published_bytes() <= self.shared.config.max_buffered / 2 {
            let drains = std::mem::take(&mut self.drains);
            self.tell(drains.into_iter().map(|token| Notice::Drained { token }));
        }
        if self.is_open {
            for (topic, token) in std::mem::take(&mut self.confirmations) {
                let outcome = self.is_listened_to(&topic);
                self.tell([Notice::Confirmed { token, outcome }]);
            }
        }
    }

    fn is_listened_to(&self, topic: &str) -> Result<bool, Failure> {
        if self.shared.inward.listens_to(topic) {
            return Ok(true);
        }
        let message = format!("nobody listens to \"{topic}\" on this target any more");
        Err(Failure { kind: ErrorKind::NotSubscribed, message })
    }

    fn report_dropped(&mut self) {
        let dropped = self.shared.mailbox.take_unreported();
        if dropped > 0 {
            let bound = self.shared.bound.load(Ordering::Relaxed);
            let message = format!(
                "events dropped: more than {bound} bytes wait to be said; await drain() when bufferedAmount grows, or raise \
                 maxBufferedAmount (no neighbour) or maxPendingBytes"
            );
            self.raise(ErrorKind::BufferFull, message, dropped);
        }
    }

    fn drop_aged(&mut self, now: Instant) {
        if self.is_open {
            return;
        }
        let max_age = self.shared.config.queue_max_age;
        let (dropped, cost) = self.voice.drop_aged(now, max_age);
        if dropped > 0 {
            self.shared.mailbox.release(cost);
            count(&self.shared.counters.dropped, dropped);
            let message = format!(
                "events dropped: they waited longer than queueMaxAgeMs ({}) for a neighbour",
                max_age.as_millis()
            );
            self.raise(ErrorKind::BufferFull, message, dropped);
        }
    }

    pub(super) fn raise(&mut self, kind: ErrorKind, message: String, times: u64) {
        let notice = self.meter.raise(Instant::now(), kind, message, times);
        self.tell(notice);
    }

    pub(super) fn tell(&self, notices: impl IntoIterator<Item = Notice>) {
        notices.into_iter().for_each(|notice| self.shared.inward.notice(notice));
    }

    // ---- Open or not -----------------------------------------------------------------------------------------------------------

    pub(super) fn up(&mut self, id: MemberId) {
        debug!(target: trace::SWARM, member = hex(&id), "neighbour");
        self.members.up(id, Instant::now());
        show(&self.shared.counters.neighbours, self.members.neighbours());
        if !self.is_open {
            self.open();
        }
        // Who has just come hears at once where this member is.
        self.voice.greet(Instant::now());
    }

    pub(super) fn down(&mut self, id: &MemberId) -> Option<Over> {
        debug!(target: trace::SWARM, member = hex(id), "no neighbour any more");
        self.members.down(id);
        show(&self.shared.counters.neighbours, self.members.neighbours());
        if self.members.neighbours() > 0 || self.shared.config.bootstrap.is_empty() {
            return None;
        }
        self.is_open = false;
        self.shared.bound.store(self.shared.config.max_buffered, Ordering::Relaxed);
        let now = Instant::now();
        let mut topics = Vec::new();
        self.shared.inward.for_each_topic(|topic| topics.push(topic.into()));
        let is_out = self.voice.has_said_within(self.shared.config.limits.dead_after(), now);
        self.outage.get_or_insert(Outage { from_ms: self.heard_ms, topics, is_out });
        self.begin_outage();
        let message = "the last neighbour is gone".into();
        self.lose(Failure { kind: ErrorKind::ConnectionLost, message }, now)
    }

    fn open(&mut self) {
        let is_reconnected = std::mem::replace(&mut self.was_open, true);
        self.is_open = true;
        self.shared.bound.store(self.shared.config.max_pending, Ordering::Relaxed);
        count(&self.shared.counters.connects, 1);
        info!(target: trace::SWARM, is_reconnected, neighbours = self.members.neighbours(), "open");
        self.tell([Notice::Open { is_reconnected, is_native: true }]);
        if let Some(Outage { from_ms, topics, is_out }) = self.outage.take() {
            self.authors.excuse_all();
            self.tell_gap(GapCause::ConnectionLost, from_ms, 0, Some(topics), is_out);
        }
    }

    fn over(&self) -> Option<Over> {
        let closing = &self.shared.closing;
        let is_said = self.is_closing && self.voice.is_empty() && self.saying.is_none();
        let is_over = is_said || closing.is_overdue(Instant::now());
        is_over.then(|| closing.reason().map(|reason| Over { reason, error: None })).flatten()
    }

    fn finish(mut self, over: Over) {
        let CloseReason { code, reason } = &over.reason;
        info!(target: trace::SWARM, code = code.0, reason, "closed");
        self.take_ops();
        let (unsent, ops) = self.shared.mailbox.close();
        let now = Instant::now();
        let nothing = Batch::default();
        ops.into_iter().filter(|op| !matches!(op, Op::Publish(_))).for_each(|op| self.act(op, &nothing, now));
        let (held, cost) = self.voice.drop_all();
        self.shared.mailbox.release(cost);
        let unfinished = self.saying.take().map_or(0, |saying| saying.events);
        let left = held + unsent + unfinished;
        if left > 0 {
            count(&self.shared.counters.dropped, left);
            let message = "events dropped: the target was closed before they could be said".into();
            self.raise(ErrorKind::Closed, message, left);
        }
        self.tell_all_gaps();
        let rest = self.meter.rest();
        self.tell(rest);
        let flushed = self.voice.flushed();
        self.tell(flushed.into_iter().map(|token| Notice::Flushed { token }));
        let drains = std::mem::take(&mut self.drains);
        self.tell(drains.into_iter().map(|token| Notice::Drained { token }));
        let closed =
            over.error.clone().unwrap_or_else(|| Failure { kind: ErrorKind::Closed, message: "closed".into() });
        for (_, token) in std::mem::take(&mut self.confirmations) {
            self.tell([Notice::Confirmed { token, outcome: Err(closed.clone()) }]);
        }
        self.tell(over.error.clone().map(|failure| Notice::Error { failure, dropped: 0 }));
        show(&self.shared.counters.neighbours, 0);
        // Whoever hears of the end may take the topic again.
        let shared = Arc::clone(&self.shared);
        drop(self);
        shared.end(over.reason, over.error);
    }
}

fn ended_failure() -> Failure {
    Failure { kind: ErrorKind::Closed, message: "the endpoint was closed".into() }
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The first ten digits of an id.
pub(super) fn hex(id: &MemberId) -> String {
    id[..5].iter().map(|byte| format!("{byte:02x}")).collect()
}
