//! A backplane inside a process that can be slow, cut off and lossy as one behind a network is: for tests and simulations. Does not know
//! hubs.
//!
//! It brings own events back, as Redis does. Invariants: a topic has an entry exactly while a hub wants it; what waits for a hub, either
//! way, is bounded; what is lost leaves a hole.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::link::backplane::{Backplane, Branch, Handed, Hole, HoleCause, HoleSide, Landing, Outbound, Standing};
use crate::model::{Error, ErrorKind};

/// A backplane and its faults. Hubs are numbered from zero, in the order in which they joined.
#[derive(Clone)]
pub struct MemoryBackplane {
    table: Arc<Mutex<Table>>,
    max_waiting: usize,
}

struct Table {
    hubs: BTreeMap<usize, Place>,
    joined: usize,
    /// New hubs are cut off.
    is_unreachable: bool,
    wanted: HashMap<Box<str>, HashSet<usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// Everything arrives at once.
    Free,
    /// Nothing arrives for now.
    Stalled,
    /// Nothing will arrive of what is published now.
    Cut { since_ms: u64 },
}

/// What has not reached a hub, or not left it.
enum Waiting {
    Event(Arc<Event>),
    Active(Box<str>, u64),
    Missed { since_ms: u64, topics: HashSet<Box<str>> },
}

struct Event {
    origin: Box<str>,
    type_: Box<str>,
    id: Box<str>,
    payload: Box<str>,
}

impl Event {
    fn of(event: &Outbound<'_>) -> Arc<Self> {
        let Outbound { origin, type_, id, payload, .. } = *event;
        Arc::new(Self { origin: origin.into(), type_: type_.into(), id: id.into(), payload: payload.into() })
    }

    fn topic(&self) -> String {
        format!("{}:{}", self.type_, self.id)
    }

    fn bytes(&self) -> usize {
        self.type_.len() + self.id.len() + self.payload.len()
    }

    fn reach(&self, hub: &dyn Landing) {
        hub.event(Some(&self.origin), &self.type_, &self.id, &self.payload);
    }
}

struct Place {
    hub: Arc<dyn Landing>,
    course: Course,
    topics: HashMap<Box<str>, u64>,
    /// Those that it had when it was cut off.
    cut_topics: Vec<Box<str>>,
    inward: VecDeque<Waiting>,
    inward_bytes: usize,
    outward: VecDeque<Arc<Event>>,
    outward_bytes: usize,
    /// So many of the next events get lost on their way to the hub.
    to_lose: usize,
}

impl MemoryBackplane {
    /// A backplane that keeps so many bytes for each hub and direction while that is stalled or cut off.
    #[must_use]
    pub fn new(max_waiting: usize) -> Self {
        let table = Table { hubs: BTreeMap::new(), joined: 0, is_unreachable: false, wanted: HashMap::new() };
        Self { table: Arc::new(Mutex::new(table)), max_waiting }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hubs that join from now on do not reach it until they are healed.
    pub fn refuse_all(&self) {
        self.lock().is_unreachable = true;
    }

    /// Nothing reaches this hub, and nothing it says is answered, until it is resumed.
    pub fn stall(&self, hub: usize) {
        self.lock().with(hub, |place| place.course = Course::Stalled);
    }

    /// What has waited arrives.
    pub fn resume(&self, hub: usize) {
        self.lock().with(hub, |place| {
            place.course = Course::Free;
            place.arrive();
        });
    }

    /// The hub is cut off: what others publish meanwhile it will never hear.
    pub fn cut(&self, hub: usize) {
        self.lock().with(hub, |place| {
            place.course = Course::Cut { since_ms: now_ms() };
            place.cut_topics = place.topics.keys().cloned().collect();
            place.inward.clear();
            place.inward_bytes = 0;
            place.hub.down(Error::new(ErrorKind::ConnectionLost, "cut"));
        });
    }

    /// The hub is back: subscribed anew, told of the hole, and what it has published meanwhile goes out.
    pub fn heal(&self, hub: usize) {
        let mut table = self.lock();
        let mut outward = VecDeque::new();
        table.with(hub, |place| {
            let Course::Cut { since_ms } = place.course else { return };
            place.course = Course::Free;
            place.outward_bytes = 0;
            outward = std::mem::take(&mut place.outward);
            let mut topics = std::mem::take(&mut place.cut_topics);
            topics.retain(|topic| place.topics.contains_key(topic));
            let topics = Some(topics);
            let hole = Hole {
                cause: HoleCause::ConnectionLost,
                side: HoleSide::In,
                from_ms: since_ms,
                to_ms: now_ms(),
                topics,
            };
            if hole.topics.as_ref().is_some_and(|topics| !topics.is_empty()) {
                place.hub.hole(hole);
            }
            place.hub.up();
            place.topics.iter().for_each(|(topic, number)| place.hub.active(topic, *number));
        });
        outward.into_iter().for_each(|event| table.carry(&event, self.max_waiting));
    }

    /// The next events for this hub get lost; it is told of each.
    pub fn lose(&self, hub: usize, events: usize) {
        self.lock().with(hub, |place| place.to_lose = events);
    }

    /// Ends it for all hubs.
    pub fn close(&self) {
        let hubs = std::mem::take(&mut self.lock().hubs);
        hubs.values().for_each(|place| place.hub.closed());
    }

    /// How many hubs want each topic.
    #[must_use]
    pub fn wanted(&self) -> BTreeMap<String, usize> {
        self.lock().wanted.iter().map(|(topic, hubs)| (topic.to_string(), hubs.len())).collect()
    }

    /// How many hubs are there.
    #[must_use]
    pub fn hubs(&self) -> usize {
        self.lock().hubs.len()
    }
}

impl std::fmt::Debug for MemoryBackplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBackplane").finish_non_exhaustive()
    }
}

impl Backplane for MemoryBackplane {
    fn join(self: Arc<Self>, hub: Arc<dyn Landing>) -> Box<dyn Branch> {
        let mut table = self.lock();
        let number = table.joined;
        table.joined += 1;
        let course = if table.is_unreachable { Course::Cut { since_ms: now_ms() } } else { Course::Free };
        if course == Course::Free {
            hub.up();
        }
        table.hubs.insert(number, Place::new(hub, course));
        drop(table);
        Box::new(Perch { backplane: self, number })
    }
}

impl Table {
    fn with(&mut self, hub: usize, act: impl FnOnce(&mut Place)) {
        if let Some(place) = self.hubs.get_mut(&hub) {
            act(place);
        }
    }

    fn carry(&mut self, event: &Arc<Event>, bound: usize) {
        let Self { hubs, wanted, .. } = self;
        for number in wanted.get(&*event.topic()).into_iter().flatten() {
            if let Some(place) = hubs.get_mut(number) {
                place.hear(event, bound);
            }
        }
    }

    fn forget(&mut self, number: usize, topic: &str) {
        if let Some(hubs) = self.wanted.get_mut(topic) {
            hubs.remove(&number);
            if hubs.is_empty() {
                self.wanted.remove(topic);
            }
        }
    }
}

impl Place {
    fn new(hub: Arc<dyn Landing>, course: Course) -> Self {
        Self {
            hub,
            course,
            topics: HashMap::new(),
            cut_topics: Vec::new(),
            inward: VecDeque::new(),
            inward_bytes: 0,
            outward: VecDeque::new(),
            outward_bytes: 0,
            to_lose: 0,
        }
    }

    fn hear(&mut self, event: &Arc<Event>, bound: usize) {
        let is_full = self.course == Course::Stalled && self.inward_bytes + event.bytes() > bound;
        if self.to_lose > 0 || is_full {
            self.to_lose = self.to_lose.saturating_sub(1);
            self.miss(event.topic().into());
        } else if matches!(self.course, Course::Free | Course::Stalled) {
            self.inward_bytes += event.bytes();
            self.inward.push_back(Waiting::Event(Arc::clone(event)));
        }
        if self.course == Course::Free {
            self.arrive();
        }
    }

    fn miss(&mut self, topic: Box<str>) {
        if !matches!(self.inward.back(), Some(Waiting::Missed { .. })) {
            self.inward.push_back(Waiting::Missed { since_ms: now_ms(), topics: HashSet::new() });
        }
        if let Some(Waiting::Missed { topics, .. }) = self.inward.back_mut() {
            topics.insert(topic);
        }
    }

    fn arrive(&mut self) {
        self.inward_bytes = 0;
        for waiting in self.inward.drain(..) {
            match waiting {
                Waiting::Event(event) => event.reach(&*self.hub),
                Waiting::Active(topic, number) => self.hub.active(&topic, number),
                Waiting::Missed { since_ms, topics } => {
                    let topics = Some(topics.into_iter().collect());
                    self.hub.hole(Hole::of(HoleCause::Overflow, since_ms, now_ms(), topics));
                }
            }
        }
    }
}

struct Perch {
    backplane: Arc<MemoryBackplane>,
    number: usize,
}

impl Branch for Perch {
    fn subscribe(&self, topic: &str, number: u64) -> Standing {
        let mut table = self.backplane.lock();
        table.wanted.entry(topic.into()).or_default().insert(self.number);
        table.with(self.number, |place| {
            place.topics.insert(topic.into(), number);
            if !matches!(place.course, Course::Cut { .. }) {
                place.inward.push_back(Waiting::Active(topic.into(), number));
            }
            if place.course == Course::Free {
                place.arrive();
            }
        });
        Standing::Pending
    }

    fn unsubscribe(&self, topic: &str) {
        let mut table = self.backplane.lock();
        table.forget(self.number, topic);
        table.with(self.number, |place| {
            place.topics.remove(topic);
        });
    }

    fn publish(&self, event: &Outbound<'_>) -> Handed {
        let event = Event::of(event);
        let bound = self.backplane.max_waiting;
        let mut table = self.backplane.lock();
        let Some(place) = table.hubs.get_mut(&self.number) else {
            return Handed::Closed;
        };
        if !matches!(place.course, Course::Cut { .. }) {
            table.carry(&event, bound);
            return Handed::Taken;
        }
        if place.outward_bytes + event.bytes() > bound {
            return Handed::Full;
        }
        place.outward_bytes += event.bytes();
        place.outward.push_back(event);
        Handed::Taken
    }

    fn leave(&self) {
        let mut table = self.backplane.lock();
        let Some(place) = table.hubs.remove(&self.number) else {
            return;
        };
        place.topics.keys().for_each(|topic| table.forget(self.number, topic));
    }
}

impl Drop for Perch {
    fn drop(&mut self) {
        self.leave();
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
