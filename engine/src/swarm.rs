//! A swarm: one member of a topic that many members share without a hub. This file is the handle; the task is in `swarm/actor.rs`.
//!
//! Does not know which overlay carries it. Invariants: what one member publishes is heard by another in order and once, or a gap says that it
//! was not; nobody is heard under another's name.

mod actor;
mod authors;
mod calling;
mod gaps;
mod hearing;
mod members;
mod voice;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::bus::inward::Inward;
use crate::closing::Closing;
use crate::delivery::{Delivery, Failure, Notice};
use crate::link::overlay::{MemberId, Overlay};
use crate::mailbox::{Mailbox, Operation, lock};
use crate::model::{CloseCode, CloseReason, ErrorKind, EventSpan, Limits, Prefix, Published};
use crate::spoke::Reconnect;
use actor::SwarmActor;

/// Bytes of one event in a swarm; no option raises it. What carries them keeps copies of everything for a while. Source: none, a guess.
pub const MAX_EVENT_BYTES: usize = 64 << 10;

/// How a member of a swarm behaves.
#[derive(Debug, Clone)]
pub struct SwarmConfig {
    /// Members to begin with. Without any this is the first: it waits for others.
    pub bootstrap: Vec<MemberId>,
    /// How it comes back when it is alone, and how often it calls who is missing.
    pub reconnect: Reconnect,
    /// Bytes that may wait while there is no neighbour, 64 per event added.
    pub max_buffered: usize,
    /// Bytes that may wait otherwise; and those that may wait for this member when its application falls behind.
    pub max_pending: usize,
    /// How long an event may wait while there is no neighbour.
    pub queue_max_age: Duration,
    /// Bounds of messages and time.
    pub limits: Limits,
}

impl Default for SwarmConfig {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            reconnect: Reconnect { initial: false, ..Reconnect::default() },
            max_buffered: Limits::MAX_BUFFERED_BYTES,
            max_pending: Limits::MAX_PENDING_BYTES,
            queue_max_age: Duration::from_secs(60),
            limits: Limits { max_message_bytes: MAX_EVENT_BYTES, ..Limits::default() },
        }
    }
}

/// Counters of a member of a swarm since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwarmStats {
    /// Events published here.
    pub published: u64,
    /// Those that the overlay took, and in how many messages.
    pub sent: u64,
    pub runs: u64,
    /// Those for which there was no other member.
    pub unrouted: u64,
    /// Those that were dropped here.
    pub dropped: u64,
    /// Events of others that came in their turn.
    pub received: u64,
    /// Those of them that the application got, and those that nobody listens to.
    pub delivered: u64,
    pub unwanted: u64,
    /// Events of others that never came.
    pub missed: u64,
    /// Those that the application lost, because it fell behind.
    pub overflowed: u64,
    /// Messages whose signature is not their author's.
    pub forged: u64,
    /// Messages and events that are none.
    pub malformed: u64,
    /// Messages that were seen before or came too late, among them those of epochs that are over.
    pub seen: u64,
    /// Gaps that were told.
    pub gaps: u64,
    /// How often the first neighbour came.
    pub connects: u64,
    /// Authors that were forgotten for new ones.
    pub forgotten: u64,
    /// Now: topics, neighbours, members of whom nothing was heard for so long that they are called, authors, events that wait for the application, bytes that wait for what is missing before them.
    pub topics: u64,
    pub neighbours: u64,
    pub missing: u64,
    pub authors: u64,
    pub waiting: u64,
    pub held_bytes: u64,
    /// Defects that were contained.
    pub panics: u64,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    runs: AtomicU64,
    unrouted: AtomicU64,
    dropped: AtomicU64,
    received: AtomicU64,
    unwanted: AtomicU64,
    missed: AtomicU64,
    forged: AtomicU64,
    malformed: AtomicU64,
    seen: AtomicU64,
    gaps: AtomicU64,
    connects: AtomicU64,
    forgotten: AtomicU64,
    neighbours: AtomicU64,
    missing: AtomicU64,
    authors: AtomicU64,
    held_bytes: AtomicU64,
    panics: AtomicU64,
}

/// Stops at the largest number: how many events are missing is what their author says.
fn count(counter: &AtomicU64, by: u64) {
    let before = counter.fetch_add(by, Ordering::Relaxed);
    if before.checked_add(by).is_none() {
        counter.store(u64::MAX, Ordering::Relaxed);
    }
}

fn show(counter: &AtomicU64, now: usize) {
    counter.store(now as u64, Ordering::Relaxed);
}

enum Op {
    Begin,
    Publish(EventSpan),
    Confirm {
        topic: Box<str>,
        token: u32,
    },
    Flush(u32),
    Drained(u32),
    /// Wakes the task, which looks at what was dropped whenever it wakes.
    Report,
    Close,
}

impl Operation for Op {
    fn rebase(&mut self, by: u32) {
        if let Self::Publish(span) = self {
            span.rebase(by);
        }
    }

    type Loss = ();

    fn losing(_number: u64) -> Self {
        Self::Report
    }

    fn lost((): ()) -> Self {
        Self::Report
    }
}

struct Shared {
    config: SwarmConfig,
    mailbox: Mailbox<Op>,
    inward: Arc<Inward>,
    counters: Counters,
    /// What may wait now: less while there is no neighbour.
    bound: AtomicUsize,
    closing: Closing,
    is_over: Mutex<bool>,
}

/// A handle to a member of a swarm. Cheap to clone; the member stays until it is closed.
#[derive(Clone)]
pub struct Swarm {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Swarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swarm").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Bytes of one pass of the mailbox. Source: as much as one message.
const PASS_BYTES: usize = MAX_EVENT_BYTES;

impl Swarm {
    /// Starts a member's task on `runtime`; it joins when [`Self::begin`] says so.
    #[must_use]
    pub fn start(
        config: SwarmConfig,
        overlay: Arc<dyn Overlay>,
        delivery: Arc<dyn Delivery>,
        runtime: &Handle,
    ) -> Self {
        let inward = Inward::new(delivery, config.max_pending, runtime.clone());
        let shared = Arc::new(Shared {
            bound: AtomicUsize::new(config.max_buffered),
            config,
            mailbox: Mailbox::new(PASS_BYTES),
            inward,
            counters: Counters::default(),
            closing: Closing::default(),
            is_over: Mutex::default(),
        });
        let task = runtime.spawn(SwarmActor::new(Arc::clone(&shared), overlay).run());
        let watched = Arc::clone(&shared);
        runtime.spawn(async move {
            if task.await.is_err() {
                watched.fail();
            }
        });
        Self { shared }
    }

    /// Joins.
    pub fn begin(&self) {
        self.command(Op::Begin);
    }

    /// Publishes to all other members. `payload` is one JSON value.
    pub fn publish(&self, prefix: &Prefix, payload: &str) -> Published {
        let Shared { config, mailbox, bound, .. } = &*self.shared;
        if prefix.topic_len() > config.limits.max_topic_bytes {
            return Published::TooLarge;
        }
        let max = config.limits.max_message_bytes.min(MAX_EVENT_BYTES);
        let write = |text: &mut String| Op::Publish(EventSpan::write_prefixed(text, prefix, payload));
        mailbox.publish(prefix.body_len(payload.len()), max, bound.load(Ordering::Relaxed), write, |()| {})
    }

    /// As [`Self::publish`], for a pair of names that is not kept.
    pub fn publish_once(&self, type_: &str, id: &str, payload: &str) -> Published {
        self.publish(&Prefix::new(type_, id), payload)
    }

    /// The application listens to a topic: what comes after this returns is heard.
    pub fn listen(&self, topic: &str) {
        let is_over = lock(&self.shared.is_over);
        if !*is_over {
            self.shared.inward.listen(topic);
        }
    }

    /// The application no longer listens.
    pub fn unlisten(&self, topic: &str) {
        self.shared.inward.unlisten(topic);
    }

    /// Answers with [`Notice::Confirmed`] while the member is open: what others say is filtered here.
    pub fn confirm(&self, topic: &str, token: u32) {
        self.command(Op::Confirm { topic: topic.into(), token });
    }

    /// Answers with [`Notice::Flushed`] when the overlay has taken all that was published before, or it was dropped.
    pub fn flush(&self, token: u32) {
        self.command(Op::Flush(token));
    }

    /// Answers with [`Notice::Drained`] when less than half of `max_buffered` waits.
    pub fn drained(&self, token: u32) {
        self.command(Op::Drained(token));
    }

    /// Closes: what was published is said until the time-out, then [`Notice::Closed`].
    pub fn close(&self, reason: CloseReason, timeout: Duration) {
        self.shared.closing.ask(reason, timeout);
        self.command(Op::Close);
    }

    /// Closes without saying anything more; for environments that end.
    pub fn abort(&self) {
        self.close(CloseReason::new(CloseCode::GOING_AWAY, ""), Duration::ZERO);
    }

    /// Bytes that were published and not yet taken by the overlay, 64 per event added.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.shared.mailbox.published_bytes()
    }

    /// Counters since the member was made.
    #[must_use]
    pub fn stats(&self) -> SwarmStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { counters, mailbox, inward, .. } = &*self.shared;
        let ((published, refused), inward) = (mailbox.totals(), inward.stats());
        SwarmStats {
            published,
            sent: read(&counters.sent),
            runs: read(&counters.runs),
            unrouted: read(&counters.unrouted),
            dropped: refused + read(&counters.dropped),
            received: read(&counters.received),
            delivered: inward.delivered,
            unwanted: read(&counters.unwanted),
            missed: read(&counters.missed),
            overflowed: inward.dropped,
            forged: read(&counters.forged),
            malformed: read(&counters.malformed),
            seen: read(&counters.seen),
            gaps: inward.gaps + read(&counters.gaps),
            connects: read(&counters.connects),
            forgotten: read(&counters.forgotten),
            topics: inward.topics,
            neighbours: read(&counters.neighbours),
            missing: read(&counters.missing),
            authors: read(&counters.authors),
            waiting: inward.waiting,
            held_bytes: read(&counters.held_bytes),
            panics: read(&counters.panics),
        }
    }

    /// A command to a member that is closed has nothing left to do.
    fn command(&self, op: Op) {
        let _closed = self.shared.mailbox.command(op);
    }
}

impl Shared {
    /// The task died of a defect: the application is told, nothing waits for ever.
    fn fail(&self) {
        count(&self.counters.panics, 1);
        let _unsent = self.mailbox.close();
        let message = "the member failed because of a defect in it; close it and make another".into();
        self.end(
            CloseReason::new(CloseCode::INTERNAL, "internal error"),
            Some(Failure { kind: ErrorKind::Internal, message }),
        );
    }

    /// The last notice; what waits for the application is dropped.
    fn end(&self, reason: CloseReason, error: Option<Failure>) {
        *lock(&self.is_over) = true;
        self.inward.close();
        self.inward.notice(Notice::Closed { reason, error });
    }
}
