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
use crate::model::Prefix;
use crate::trace;

/// Entries moved under one lock: publishers wait for it. Source: none, a guess: some 20 microseconds of small events.
const MOVED_AT_ONCE: usize = 64;

/// Topics of one gap that are remembered by name; beyond, every topic counts as one. Source: none, a guess.
const MAX_GAP_TOPICS: usize = 1024;

enum Entry {
    Event(Arc<Kept>),
    Missed(Missed),
    /// Of whoever owns this, in its place among the events. Few: owners tell seldom.
    Notice(Notice),
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

    fn add(&mut self, topic: &str) {
        self.to_ms = now_ms();
        self.events += 1;
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

    /// Drops what waits and hears nothing more.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.is_closed = true;
        let entries = std::mem::take(&mut queue.entries);
        queue.bytes = 0;
        self.settle(&queue);
        drop(queue);
        drop(entries);
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
        if queue.entries.is_empty() {
            drop(queue);
            return self.delivery.notice(notice);
        }
        queue.entries.push_back(Entry::Notice(notice));
        self.settle(&queue);
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
                Entry::Notice(notice) => self.delivery.notice(notice),
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

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        if let Entry::Event(event) = &entry {
            self.bytes -= event.cost();
        }
        Some(entry)
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
