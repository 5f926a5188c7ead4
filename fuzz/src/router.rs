//! `Router` against a table that anybody understands, after every step; and what it holds when everybody has left.
//!
//! Input: the two limits, one byte each, then steps: what, who, which topic, one byte each.

use std::ops::Range;
use std::sync::LazyLock;

use alkpubsub_engine::route::router::Subscription;
use alkpubsub_engine::route::{ConnKey, Router};
use arbitrary::{Arbitrary, Result, Unstructured};

use super::memory::counted;

/// Few enough to meet each other.
const SLOTS: usize = 6;
const TOPICS: usize = 12;
/// Topics of a flood: more than an empty router keeps room for.
const FLOOD: usize = 400;
/// Floods and steps of one input, so that none takes long.
const MAX_FLOODS: usize = 2;
const MAX_STEPS: usize = 200;
/// What an empty router may keep.
const KEPT: isize = 32 << 10;

/// A topic by its number: those of single steps, then those of floods.
type Topic = usize;
/// A connection by its slot, or the application.
type Who = usize;
const APPLICATION: Who = SLOTS;

#[derive(Debug, Clone, Copy)]
enum Step {
    Subscribe(Who, Topic),
    Unsubscribe(Who, Topic),
    /// The connection is gone; another comes into its slot.
    Remove(Who),
    /// The application listens: of one connection, or of all.
    Listen(Who, Topic),
    Unlisten(Who, Topic),
    /// A connection wants a great many topics at once.
    Flood(Who),
}

impl Arbitrary<'_> for Step {
    fn arbitrary(u: &mut Unstructured<'_>) -> Result<Self> {
        let (what, who, topic) = (u8::arbitrary(u)?, u8::arbitrary(u)?, u8::arbitrary(u)?);
        let (slot, topic) = (Who::from(who) % SLOTS, Topic::from(topic) % TOPICS);
        let listened = if who < 128 { slot } else { APPLICATION };
        Ok(match what % 16 {
            _ if what == u8::MAX => Self::Flood(slot),
            0..=5 => Self::Subscribe(slot, topic),
            6..=8 => Self::Unsubscribe(slot, topic),
            9 => Self::Remove(slot),
            10..=12 => Self::Listen(listened, topic),
            _ => Self::Unlisten(listened, topic),
        })
    }
}

/// Who wants a topic.
#[derive(Debug, Default, Clone, Copy)]
struct Wants {
    subscribed: [bool; SLOTS],
    listened: [bool; SLOTS + 1],
}

impl Wants {
    fn is_wanted(&self) -> bool {
        self.subscribed.contains(&true) || self.listened.contains(&true)
    }
}

/// Every topic with a place for each who may want it.
struct Model {
    topics: Vec<Wants>,
    max_topics: usize,
    max_per_connection: usize,
}

impl Model {
    fn wanted(&self) -> usize {
        self.topics.iter().filter(|topic| topic.is_wanted()).count()
    }

    /// Subscribes to one topic after the other until one is refused; what each came to.
    fn subscribe(&mut self, slot: Who, topics: Range<Topic>) -> Vec<Subscription> {
        self.topics.resize(self.topics.len().max(topics.end), Wants::default());
        let mut held = self.topics.iter().filter(|topic| topic.subscribed[slot]).count();
        let mut wanted = self.wanted();
        let mut answers = Vec::new();
        for topic in &mut self.topics[topics] {
            answers.push(if topic.subscribed[slot] {
                Subscription::Unchanged
            } else if held >= self.max_per_connection {
                Subscription::Refused("maxTopicsPerConnection")
            } else if !topic.is_wanted() && wanted >= self.max_topics {
                Subscription::Refused("maxTopics")
            } else {
                held += 1;
                wanted += usize::from(!topic.is_wanted());
                topic.subscribed[slot] = true;
                Subscription::Added
            });
            if matches!(answers.last(), Some(Subscription::Refused(_))) {
                break;
            }
        }
        answers
    }

    fn remove(&mut self, slot: Who) {
        for topic in &mut self.topics {
            topic.subscribed[slot] = false;
            topic.listened[slot] = false;
        }
    }
}

/// Router and model, side by side.
struct Pair {
    router: Router,
    model: Model,
    /// Whoever comes into a slot later has another generation.
    generations: [u32; SLOTS],
    floods: usize,
    /// Bytes that the router holds.
    held: isize,
}

/// What must hold for any steps.
pub fn check(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let (Ok(max_topics), Ok(max_per_connection)) = (limit(&mut u), limit(&mut u)) else { return };
    let mut pair = Pair {
        router: Router::new(max_topics, max_per_connection),
        model: Model { topics: vec![Wants::default(); TOPICS], max_topics, max_per_connection },
        generations: [0; SLOTS],
        floods: 0,
        held: 0,
    };
    for _ in 0..MAX_STEPS {
        // Where bytes are missing, zeros would come.
        let Some(step) = (!u.is_empty()).then(|| Step::arbitrary(&mut u).ok()).flatten() else { break };
        pair.take(step);
    }
    pair.agrees();
    pair.empties();
}

/// Small ones mostly; 255 is more than any input needs.
fn limit(u: &mut Unstructured<'_>) -> Result<usize> {
    let byte = u8::arbitrary(u)?;
    Ok(if byte == u8::MAX { usize::MAX } else { byte.into() })
}

fn name(topic: Topic) -> &'static str {
    static NAMES: LazyLock<Vec<String>> =
        LazyLock::new(|| (0..TOPICS + FLOOD).map(|topic| format!("topic:{topic}")).collect());
    &NAMES[topic]
}

impl Pair {
    fn key(&self, who: Who) -> ConnKey {
        if who == APPLICATION { ConnKey::APPLICATION } else { ConnKey::new(who, self.generations[who]) }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Subscribe(slot, topic) => self.subscribe(slot, topic..topic + 1),
            Step::Flood(slot) => {
                self.floods += 1;
                if self.floods <= MAX_FLOODS {
                    self.subscribe(slot, TOPICS..TOPICS + FLOOD);
                }
            }
            Step::Unsubscribe(slot, topic) => {
                let (key, name) = (self.key(slot), name(topic));
                let was_there = counted(&mut self.held, || self.router.unsubscribe(key, name));
                let expected = std::mem::take(&mut self.model.topics[topic].subscribed[slot]);
                assert_eq!(was_there, expected, "{step:?}");
                self.agrees_on(topic);
            }
            Step::Remove(slot) => {
                let key = self.key(slot);
                counted(&mut self.held, || self.router.remove(key));
                self.model.remove(slot);
                self.generations[slot] += 1;
                assert_eq!(self.router.topic_count(), self.model.wanted(), "{step:?}");
            }
            Step::Listen(from, topic) => {
                let (key, name) = (self.key(from), name(topic));
                counted(&mut self.held, || self.router.listen(key, name));
                self.model.topics[topic].listened[from] = true;
                self.agrees_on(topic);
            }
            Step::Unlisten(from, topic) => {
                let (key, name) = (self.key(from), name(topic));
                counted(&mut self.held, || self.router.unlisten(key, name));
                self.model.topics[topic].listened[from] = false;
                self.agrees_on(topic);
            }
        }
    }

    fn subscribe(&mut self, slot: Who, topics: Range<Topic>) {
        let key = self.key(slot);
        for (topic, expected) in topics.clone().zip(self.model.subscribe(slot, topics.clone())) {
            let got = counted(&mut self.held, || self.router.subscribe(key, name(topic)));
            assert_eq!(got, expected, "{key:?} {}", name(topic));
        }
        self.agrees_on(topics.start);
    }

    fn agrees(&self) {
        assert_eq!(self.router.topic_count(), self.model.wanted());
        let flooded = (TOPICS..self.model.topics.len()).step_by(50);
        (0..TOPICS).chain(flooded).for_each(|topic| self.agrees_on(topic));
    }

    fn agrees_on(&self, topic: Topic) {
        let (router, wants, name) = (&self.router, &self.model.topics[topic], name(topic));
        let found = router.find(name);
        assert_eq!(found.is_some(), wants.is_wanted(), "{name}: {wants:?}");
        let Some(id) = found else { return assert_eq!(router.subscriber_count(name), 0) };
        let subscribers = router.subscribers(id);
        let expected = (0..SLOTS).filter(|slot| wants.subscribed[*slot]);
        for key in expected.clone().map(|slot| self.key(slot)) {
            assert!(subscribers.contains(&key), "{name}: {wants:?}, not {subscribers:?}");
        }
        // So many, and all of those: none twice, and no other.
        assert_eq!(subscribers.len(), expected.count(), "{name}: {wants:?}, not {subscribers:?}");
        assert_eq!(router.subscriber_count(name), subscribers.len());
        for slot in 0..SLOTS {
            let is_local = wants.listened[slot] || wants.listened[APPLICATION];
            assert_eq!(router.is_local(id, self.key(slot)), is_local, "{name}: {wants:?}, slot {slot}");
        }
    }

    /// Everybody leaves: nothing is wanted any more, and memory has come back.
    fn empties(&mut self) {
        (0..SLOTS).for_each(|slot| self.take(Step::Remove(slot)));
        (0..TOPICS).for_each(|topic| self.take(Step::Unlisten(APPLICATION, topic)));
        assert_eq!((self.router.topic_count(), self.model.wanted()), (0, 0));
        assert!(self.held <= KEPT, "an empty router holds {} bytes", self.held);
    }
}
