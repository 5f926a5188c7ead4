//! The medium within one process: members of one name meet, whatever thread they belong to. Does not know queues: an event is handed to
//! each member on the publisher's thread.
//!
//! Invariants: a name has a room exactly while somebody is in it; a topic has an entry exactly while somebody wants it; nobody hears
//! anything after it left.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use foldhash::fast::RandomState;
use tracing::debug;

use crate::link::medium::{Carried, Medium, Member, Seat};
use crate::trace;

/// All rooms of the process, or of one loaded copy of this library.
static ROOMS: LazyLock<Mutex<HashMap<Box<str>, Weak<Room>>>> = LazyLock::new(Mutex::default);

fn rooms() -> MutexGuard<'static, HashMap<Box<str>, Weak<Room>>> {
    ROOMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The medium of a name, made for its first member.
#[must_use]
pub fn named(name: &str) -> Arc<dyn Medium> {
    let mut rooms = rooms();
    if let Some(room) = rooms.get(name).and_then(Weak::upgrade) {
        return room;
    }
    let room = Arc::new(Room::new(name));
    rooms.insert(name.into(), Arc::downgrade(&room));
    room
}

/// Names that have members: for tests of what is left.
#[must_use]
pub fn names() -> Vec<Box<str>> {
    rooms().keys().cloned().collect()
}

struct Place {
    number: u64,
    member: Arc<dyn Member>,
}

struct Room {
    name: Box<str>,
    wanted: RwLock<HashMap<Box<str>, Vec<Place>, RandomState>>,
    members: AtomicUsize,
    numbers: AtomicU64,
}

impl Room {
    fn new(name: &str) -> Self {
        Self { name: name.into(), wanted: RwLock::default(), members: AtomicUsize::new(0), numbers: AtomicU64::new(0) }
    }

    fn add(&self, topic: &str, place: Place) {
        let mut wanted = self.wanted.write().unwrap_or_else(PoisonError::into_inner);
        match wanted.get_mut(topic) {
            Some(places) => places.push(place),
            None => {
                wanted.insert(topic.into(), vec![place]);
            }
        }
    }

    fn remove<'a>(&self, number: u64, topics: impl Iterator<Item = &'a str>) {
        let mut wanted = self.wanted.write().unwrap_or_else(PoisonError::into_inner);
        for topic in topics {
            if let Some(places) = wanted.get_mut(topic) {
                places.retain(|place| place.number != number);
                if places.is_empty() {
                    wanted.remove(topic);
                }
            }
        }
    }
}

impl Medium for Room {
    fn join(self: Arc<Self>, member: Arc<dyn Member>) -> Box<dyn Seat> {
        self.members.fetch_add(1, Ordering::Relaxed);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        debug!(target: trace::PROCESS, name = &*self.name, member = number, "joined");
        Box::new(Chair { room: self, number, member, topics: Mutex::new(Some(HashSet::new())) })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut rooms = rooms();
        // Somebody may have opened another room of the name meanwhile.
        if rooms.get(&self.name).is_some_and(|room| room.strong_count() == 0) {
            rooms.remove(&self.name);
        }
    }
}

/// A member's place: its topics, none once it left.
struct Chair {
    room: Arc<Room>,
    number: u64,
    member: Arc<dyn Member>,
    topics: Mutex<Option<HashSet<Box<str>>>>,
}

impl Chair {
    fn topics(&self) -> MutexGuard<'_, Option<HashSet<Box<str>>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat for Chair {
    fn subscribe(&self, topic: &str) {
        let mut topics = self.topics();
        if topics.as_mut().is_some_and(|topics| topics.insert(topic.into())) {
            self.room.add(topic, Place { number: self.number, member: Arc::clone(&self.member) });
        }
    }

    fn unsubscribe(&self, topic: &str) {
        let mut topics = self.topics();
        if topics.as_mut().is_some_and(|topics| topics.remove(topic)) {
            self.room.remove(self.number, std::iter::once(topic));
        }
    }

    fn publish(&self, event: &Carried<'_>) -> usize {
        let wanted = self.room.wanted.read().unwrap_or_else(PoisonError::into_inner);
        let Some(places) = wanted.get(event.prefix().topic()) else {
            return 0;
        };
        let others = places.iter().filter(|place| place.number != self.number);
        others.map(|place| place.member.hear(event)).count()
    }

    fn leave(&self) {
        let Some(topics) = self.topics().take() else {
            return;
        };
        self.room.remove(self.number, topics.iter().map(|topic| &**topic));
        self.room.members.fetch_sub(1, Ordering::Relaxed);
        debug!(target: trace::PROCESS, name = &*self.room.name, member = self.number, topics = topics.len(), "left");
    }

    fn members(&self) -> usize {
        self.room.members.load(Ordering::Relaxed)
    }
}

impl Drop for Chair {
    fn drop(&mut self) {
        self.leave();
    }
}
