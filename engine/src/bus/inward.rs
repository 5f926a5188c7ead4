//! What comes to a member of a bus or swarm: straight to its application while that keeps up, through a bounded queue of its own while it
//! does not. Does not know topics of others.
//!
//! Invariants: events of one publisher stay in order; the queue holds at most its bound, or one event; what does not fit leaves a mark
//! in its place, with an exact number; a task exists only while something waits.

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tracing::{error, warn};

use super::BusStats;
use crate::defect;
use crate::delivery::{Delivery, Direction, Gap, GapCause, Notice};
use crate::link::medium::{Carried, Kept, Ledger, Member, Receipt};
use crate::mailbox::lock;
use crate::model::{Limits, Prefix};
use crate::trace;

/// Entries moved under one lock: publishers wait for it. Source: none, a guess: some 20 microseconds of small events.
const MOVED_AT_ONCE: usize = 64;

/// Topics of one gap that are remembered by name; beyond, every topic counts as one. Source: none, a guess.
const MAX_GAP_TOPICS: usize = 1024;

enum Entry {
    Event(Arc<Kept>),
    Missed(Missed),
    /// Of whoever owns this, in its place among the events, and what it costs. Gaps are what others can cause: they count against the bound,
    /// and one behind the other are one. Of the rest there are few: owners tell seldom, or were asked.
    Notice(Notice, usize),
}

fn cost_of(gap: &Gap) -> usize {
    gap.topics.iter().map(|topic| topic.len() + Limits::EVENT_OVERHEAD_BYTES).sum::<usize>()
        + Limits::EVENT_OVERHEAD_BYTES
}

/// Of events whose publishers are elsewhere.
struct Nobody;

impl Ledger for Nobody {
    fn enter(&self, _bytes: usize) -> Receipt {
        Box::new(())
    }
}

/// Events that found no room, in one place of the queue.
struct Missed {
    from_ms: u64,
    to_ms: u64,
    events: u64,
    topics: HashSet<Box<str>>,
    is_everything: bool,
}

impl Missed {
    fn begin() -> Self {
        Self { from_ms: now_ms(), to_ms: 0, events: 0, topics: HashSet::new(), is_everything: false }
    }

    /// A gap of another kind, for which there is no room of its own.
    fn absorb(&mut self, gap: &Gap) {
        self.from_ms = self.from_ms.min(gap.from_ms);
        self.to_ms = now_ms();
        self.events = self.events.saturating_add(gap.dropped);
        (self.is_everything, self.topics) = (true, HashSet::new());
    }

    fn add(&mut self, topic: &str) {
        self.to_ms = now_ms();
        self.events = self.events.saturating_add(1);
        if self.is_everything || self.topics.contains(topic) {
            return;
        }
        self.is_everything = self.topics.len() == MAX_GAP_TOPICS;
        if self.is_everything {
            self.topics = HashSet::new();
        } else {
            self.topics.insert(topic.into());
        }
    }
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    is_moving: bool,
    is_closed: bool,
}

#[derive(Default)]
struct Counters {
    delivered: AtomicU64,
    dropped: AtomicU64,
    gaps: AtomicU64,
}

pub(crate) struct Inward {
    delivery: Arc<dyn Delivery>,
    max_pending: usize,
    runtime: Handle,
    /// For the task that moves what waits.
    itself: Weak<Inward>,
    topics: Mutex<HashSet<Box<str>>>,
    /// Length of the queue; while it is zero, events need not look into it.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
    counters: Counters,
}

impl Inward {
    pub(crate) fn new(delivery: Arc<dyn Delivery>, max_pending: usize, runtime: Handle) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            delivery,
            max_pending,
            runtime,
            itself: Weak::clone(itself),
            topics: Mutex::default(),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
            counters: Counters::default(),
        })
    }

    pub(crate) fn listen(&self, topic: &str) {
        lock(&self.topics).insert(topic.into());
    }

    pub(crate) fn unlisten(&self, topic: &str) {
        lock(&self.topics).remove(topic);
    }

    pub(crate) fn listens_to(&self, topic: &str) -> bool {
        lock(&self.topics).contains(topic)
    }

    pub(crate) fn for_each_topic(&self, act: impl FnMut(&str)) {
        lock(&self.topics).iter().map(|topic| &**topic).for_each(act);
    }

    /// Drops what waits and hears nothing more. Notices are told all the same: somebody may wait for them.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.is_closed = true;
        let entries = std::mem::take(&mut queue.entries);
        queue.bytes = 0;
        self.settle(&queue);
        drop(queue);
        for entry in entries {
            match entry {
                Entry::Event(_) => _ = self.counters.dropped.fetch_add(1, Ordering::Relaxed),
                Entry::Missed(missed) => self.tell(missed),
                Entry::Notice(notice, _) => self.delivery.notice(notice),
            }
        }
    }

    pub(crate) fn stats(&self) -> BusStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusStats {
            delivered: read(&self.counters.delivered),
            dropped: read(&self.counters.dropped),
            gaps: read(&self.counters.gaps),
            topics: lock(&self.topics).len() as u64,
            waiting: self.waiting.load(Ordering::Relaxed) as u64,
            ..BusStats::default()
        }
    }

    fn deliver(&self, type_: &str, id: &str, payload: &str) {
        self.counters.delivered.fetch_add(1, Ordering::Relaxed);
        self.delivery.event(0, type_, id, payload);
    }

    fn deliver_carried(&self, event: &Carried<'_>) {
        self.deliver(event.prefix().type_(), event.prefix().id(), event.payload());
    }

    /// An event of somebody who does not want to know how long it waits. From one thread at a time.
    pub(crate) fn hear_from_afar(&self, type_: &str, id: &str, payload: &str) {
        if self.waiting.load(Ordering::Acquire) == 0 && !self.delivery.is_full() {
            return self.deliver(type_, id, payload);
        }
        self.enqueue(&Carried::new(&Prefix::new(type_, id), payload, &Nobody));
    }

    /// Tells the application something behind the events that came before.
    pub(crate) fn notice(&self, notice: Notice) {
        let mut queue = lock(&self.queue);
        if queue.is_closed || queue.entries.is_empty() && !self.delivery.is_full() {
            drop(queue);
            return self.delivery.notice(notice);
        }
        match notice {
            Notice::Gap(gap) => queue.push_gap(gap, self.max_pending),
            other => queue.entries.push_back(Entry::Notice(other, 0)),
        }
        self.settle(&queue);
        self.start_moving(queue);
    }

    fn enqueue(&self, event: &Carried<'_>) {
        let mut queue = lock(&self.queue);
        if queue.is_closed {
            return;
        }
        // There may be room again.
        if queue.entries.is_empty() && !self.delivery.is_full() {
            return self.deliver_carried(event);
        }
        if queue.push(event, self.max_pending) {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.settle(&queue);
        self.start_moving(queue);
    }

    /// The number that events look at follows the queue, under its lock.
    fn settle(&self, queue: &Queue) {
        self.waiting.store(queue.entries.len(), Ordering::Release);
    }

    fn start_moving(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.entries.is_empty() || std::mem::replace(&mut queue.is_moving, true) {
            return;
        }
        drop(queue);
        let Some(inward) = self.itself.upgrade() else {
            return;
        };
        let watched = Arc::clone(&inward);
        defect::watch(&self.runtime, inward.move_all(), move || watched.fail());
    }

    /// Moves what waits to the application, as fast as that takes it.
    async fn move_all(self: Arc<Self>) {
        loop {
            poll_fn(|cx| self.delivery.poll_room(cx)).await;
            if !self.move_some() {
                return;
            }
            // Other tasks of this thread, and publishers that wait for the lock, come in between.
            tokio::task::yield_now().await;
        }
    }

    /// False when nothing waits any more.
    fn move_some(&self) -> bool {
        let mut queue = lock(&self.queue);
        for _ in 0..MOVED_AT_ONCE {
            if self.delivery.is_full() {
                break;
            }
            let Some(entry) = queue.pop() else {
                break;
            };
            match entry {
                Entry::Event(event) => self.deliver(event.type_(), event.id(), event.payload()),
                Entry::Missed(missed) => self.tell(missed),
                Entry::Notice(notice, _) => self.delivery.notice(notice),
            }
        }
        queue.is_moving = !queue.entries.is_empty();
        self.settle(&queue);
        queue.is_moving
    }

    fn tell(&self, missed: Missed) {
        let listened = lock(&self.topics);
        let is_missed = |topic: &str| missed.is_everything || missed.topics.contains(topic);
        let topics: Vec<Box<str>> = listened.iter().filter(|topic| is_missed(topic)).cloned().collect();
        drop(listened);
        // Nobody listens any more to what is missing.
        if topics.is_empty() {
            return;
        }
        self.counters.gaps.fetch_add(1, Ordering::Relaxed);
        warn!(target: trace::BUS, dropped = missed.events, topics = topics.len(), "gap: this member was too slow");
        self.delivery.notice(Notice::Gap(Gap {
            cause: GapCause::Overflow,
            direction: Direction::In,
            from_ms: missed.from_ms,
            to_ms: missed.to_ms,
            topics,
            dropped: missed.events,
        }));
    }

    /// The task died of a defect: the application is told, nothing waits for ever.
    fn fail(&self) {
        error!(target: trace::BUS, "a defect was contained");
        self.close();
        self.delivery.notice(Notice::of_defect("bus"));
    }
}

impl Member for Inward {
    fn hear(&self, event: &Carried<'_>) {
        // Empty to a publisher means: everything of its own was delivered, so what it says now may go straight.
        if self.waiting.load(Ordering::Acquire) == 0 && !self.delivery.is_full() {
            return self.deliver_carried(event);
        }
        self.enqueue(event);
    }
}

impl Queue {
    /// True when the event found no room. An outage lasts until half of the queue is free: one gap, and not one per event that left.
    fn push(&mut self, event: &Carried<'_>, bound: usize) -> bool {
        let cost = event.cost();
        let is_outage = matches!(self.entries.back(), Some(Entry::Missed(_)));
        let has_room = self.bytes + cost <= bound && !(is_outage && self.bytes > bound / 2);
        // One event alone may always wait.
        if has_room || self.bytes == 0 {
            self.bytes += cost;
            self.entries.push_back(Entry::Event(event.keep()));
            return false;
        }
        if !is_outage {
            self.entries.push_back(Entry::Missed(Missed::begin()));
        }
        if let Some(Entry::Missed(missed)) = self.entries.back_mut() {
            missed.add(event.prefix().topic());
        }
        true
    }

    /// Two gaps of one kind with nothing between them are one; one that finds no room is part of what was dropped here.
    fn push_gap(&mut self, gap: Gap, bound: usize) {
        let cost = cost_of(&gap);
        match self.entries.back_mut() {
            Some(Entry::Missed(missed)) => return missed.absorb(&gap),
            Some(Entry::Notice(Notice::Gap(last), last_cost))
                if (last.cause, last.direction) == (gap.cause, gap.direction) =>
            {
                self.bytes = self.bytes - *last_cost + cost;
                *last_cost = cost;
                *last = Gap {
                    from_ms: last.from_ms.min(gap.from_ms),
                    dropped: last.dropped.saturating_add(gap.dropped),
                    ..gap
                };
                return;
            }
            _ => {}
        }
        if self.bytes > 0 && self.bytes + cost > bound {
            let mut missed = Missed::begin();
            missed.absorb(&gap);
            return self.entries.push_back(Entry::Missed(missed));
        }
        self.bytes += cost;
        self.entries.push_back(Entry::Notice(Notice::Gap(gap), cost));
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        match &entry {
            Entry::Event(event) => self.bytes -= event.cost(),
            Entry::Notice(_, cost) => self.bytes -= cost,
            Entry::Missed(_) => {}
        }
        Some(entry)
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::task::{Context, Poll};

    use super::*;

    #[derive(Default)]
    struct Slow {
        is_full: AtomicBool,
        told: Mutex<Vec<String>>,
    }

    impl Delivery for Slow {
        fn event(&self, _connection: u32, _type: &str, id: &str, _payload: &str) {
            lock(&self.told).push(id.into());
        }

        fn notice(&self, notice: Notice) {
            let told = match notice {
                Notice::Gap(gap) => format!("{:?} {}", gap.cause, gap.dropped),
                Notice::Flushed { token } => format!("flushed {token}"),
                other => unreachable!("{other:?}"),
            };
            lock(&self.told).push(told);
        }

        fn is_full(&self) -> bool {
            self.is_full.load(Ordering::Relaxed)
        }

        fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    fn full(bound: usize) -> (Arc<Inward>, Arc<Slow>) {
        let slow = Arc::new(Slow { is_full: true.into(), ..Slow::default() });
        let inward = Inward::new(Arc::clone(&slow) as Arc<dyn Delivery>, bound, Handle::current());
        inward.listen("a:b");
        (inward, slow)
    }

    fn gap(dropped: u64) -> Notice {
        Notice::Gap(Gap {
            cause: GapCause::Sequence,
            direction: Direction::In,
            from_ms: 1,
            to_ms: 2,
            topics: vec!["a:b".into()],
            dropped,
        })
    }

    fn told(inward: &Inward, slow: &Slow) -> Vec<String> {
        slow.is_full.store(false, Ordering::Relaxed);
        while inward.move_some() {}
        std::mem::take(&mut lock(&slow.told))
    }

    #[tokio::test]
    async fn a_storm_of_gaps_waits_as_one_with_their_number() {
        let (inward, slow) = full(1 << 20);
        inward.hear_from_afar("a", "b", "1");
        (0..100_000).for_each(|_| inward.notice(gap(2)));
        assert_eq!(inward.stats().waiting, 2);
        assert_eq!(told(&inward, &slow), ["b", "Sequence 200000"]);
        assert_eq!(lock(&inward.queue).bytes, 0);
    }

    #[tokio::test]
    async fn gaps_between_events_count_against_the_bound_and_what_finds_no_room_is_told_as_dropped() {
        let (inward, slow) = full(1000);
        for _ in 0..100_000 {
            inward.hear_from_afar("a", "b", "1");
            inward.notice(gap(2));
        }
        let waiting = inward.stats().waiting;
        assert!(waiting < 20, "{waiting}");
        let told = told(&inward, &slow);
        let dropped: u64 =
            told.iter().filter_map(|one| one.rsplit_once(' ')).filter_map(|(_, n)| n.parse::<u64>().ok()).sum();
        let heard = told.iter().filter(|one| *one == "b").count() as u64;
        assert_eq!(heard + dropped, 300_000, "{told:?}");
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_gets_it_when_all_else_is_dropped() {
        let (inward, slow) = full(1 << 20);
        inward.hear_from_afar("a", "b", "1");
        inward.notice(Notice::Flushed { token: 7 });
        inward.close();
        assert_eq!((&lock(&slow.told)[..], inward.stats().dropped), (&["flushed 7".to_owned()][..], 1));
    }
}
