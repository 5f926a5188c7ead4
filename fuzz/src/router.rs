//! `Router` against a table that anybody understands, after every step; and what it holds when everybody has left.
//!
//! Input: the two limits, one byte each, then steps: what, who, which topic, one byte each.

use std::ops::Range;
use std::sync::LazyLock;

use alkpubsub_engine::model::{Allowed, Grants};
use alkpubsub_engine::route::permissions::{Action, Permissions};
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
    /// The application allows it although the grants do not.
    SubscribeAllowed(Who, Topic),
    Unsubscribe(Who, Topic),
    Grant(Who, Grant),
    /// The connection is going.
    Remove(Who),
    /// The connection is gone; another comes into its slot.
    Forget(Who),
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
            0..=4 => Self::Subscribe(slot, topic),
            5 => Self::SubscribeAllowed(slot, topic),
            6..=7 => Self::Unsubscribe(slot, topic),
            8 => Self::Remove(slot),
            9 => Self::Forget(slot),
            10..=11 => Self::Listen(listened, topic),
            12..=13 => Self::Unlisten(listened, topic),
            _ => Self::Grant(slot, [Grant::Everything, Grant::Some, Grant::Nothing][topic % 3]),
        })
    }
}

/// What a connection may subscribe to. Patterns themselves are the business of `permissions`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Grant {
    #[default]
    Everything,
    /// Topics whose number begins with a one.
    Some,
    Nothing,
}

impl Grant {
    fn permissions(self) -> Permissions {
        let subscribe = match self {
            Self::Everything => Allowed::Everything,
            Self::Some => Allowed::Matching(vec!["topic:1*".into()]),
            Self::Nothing => Allowed::nothing(),
        };
        Permissions::compile(&Grants { identity: None, subscribe, publish: Allowed::Everything })
    }

    fn covers(self, topic: Topic) -> bool {
        self == Self::Everything || self == Self::Some && topic.to_string().starts_with('1')
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
    grants: [Grant; SLOTS],
    max_topics: usize,
    max_per_connection: usize,
}

impl Model {
    fn wanted(&self) -> usize {
        self.topics.iter().filter(|topic| topic.is_wanted()).count()
    }

    /// Subscribes to one topic after the other until one is refused; what each came to.
    fn subscribe(&mut self, slot: Who, topics: Range<Topic>, is_allowed: bool) -> Vec<Subscription> {
        self.topics.resize(self.topics.len().max(topics.end), Wants::default());
        let mut held = self.topics.iter().filter(|topic| topic.subscribed[slot]).count();
        let mut wanted = self.wanted();
        let mut answers = Vec::new();
        for topic in topics {
            let is_allowed = is_allowed || self.grants[slot].covers(topic);
            let topic = &mut self.topics[topic];
            answers.push(if topic.subscribed[slot] {
                Subscription::Unchanged
            } else if !is_allowed {
                Subscription::Forbidden
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

    /// The topics that are lost.
    fn grant(&mut self, slot: Who, grant: Grant) -> Vec<Topic> {
        self.grants[slot] = grant;
        let lost = |(number, topic): &(Topic, &Wants)| topic.subscribed[slot] && !grant.covers(*number);
        let lost: Vec<Topic> = self.topics.iter().enumerate().filter(lost).map(|(number, _)| number).collect();
        lost.iter().for_each(|topic| self.topics[*topic].subscribed[slot] = false);
        lost
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
        model: Model {
            topics: vec![Wants::default(); TOPICS],
            grants: [Grant::default(); SLOTS],
            max_topics,
            max_per_connection,
        },
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
            Step::Subscribe(slot, topic) => self.subscribe(slot, topic..topic + 1, false),
            Step::SubscribeAllowed(slot, topic) => self.subscribe(slot, topic..topic + 1, true),
            Step::Grant(slot, grant) => self.grant(slot, grant),
            Step::Flood(slot) => {
                self.floods += 1;
                if self.floods <= MAX_FLOODS {
                    self.subscribe(slot, TOPICS..TOPICS + FLOOD, false);
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
                assert_eq!(self.router.topic_count(), self.model.wanted(), "{step:?}");
            }
            Step::Forget(slot) => {
                let key = self.key(slot);
                counted(&mut self.held, || self.router.forget(key));
                self.model.remove(slot);
                self.model.grants[slot] = Grant::default();
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

    fn subscribe(&mut self, slot: Who, topics: Range<Topic>, is_allowed: bool) {
        let key = self.key(slot);
        for (topic, expected) in topics.clone().zip(self.model.subscribe(slot, topics.clone(), is_allowed)) {
            let got = counted(&mut self.held, || {
                if is_allowed {
                    self.router.subscribe_allowed(key, name(topic))
                } else {
                    self.router.subscribe(key, name(topic))
                }
            });
            assert_eq!(got, expected, "{key:?} {}", name(topic));
        }
        self.agrees_on(topics.start);
    }

    /// Grants come from another thread, in the middle of a run of the hub: its topic keeps its id, wanted or not.
    fn grant(&mut self, slot: Who, grant: Grant) {
        let key = self.key(slot);
        let ids: Vec<_> = (0..TOPICS).map(|topic| self.router.find(name(topic))).collect();
        let mut lost = counted(&mut self.held, || self.router.grant(key, grant.permissions()));
        lost.sort();
        let mut expected: Vec<&str> = self.model.grant(slot, grant).into_iter().map(name).collect();
        expected.sort_unstable();
        assert!(lost.iter().map(|topic| &**topic).eq(expected.iter().copied()), "{lost:?}, not {expected:?}");
        // What is given back to the caller is not the router's.
        counted(&mut self.held, || drop(lost));
        for (topic, id) in ids.into_iter().enumerate() {
            let Some(id) = id else { continue };
            let subscribers = self.model.topics[topic].subscribed.iter().filter(|is_subscribed| **is_subscribed);
            assert_eq!(self.router.subscribers(id).len(), subscribers.count(), "{} after a grant", name(topic));
            self.agrees_on(topic);
        }
    }

    fn agrees(&self) {
        assert_eq!(self.router.topic_count(), self.model.wanted());
        let flooded = (TOPICS..self.model.topics.len()).step_by(50);
        (0..TOPICS).chain(flooded).for_each(|topic| self.agrees_on(topic));
        for slot in 0..SLOTS {
            let mut got = self.router.topics_of(self.key(slot));
            got.sort_unstable();
            let topics = (0..self.model.topics.len()).filter(|topic| self.model.topics[*topic].subscribed[slot]);
            let mut expected: Vec<&str> = topics.map(name).collect();
            expected.sort_unstable();
            assert_eq!(got, expected, "topics of slot {slot}");
            assert_eq!(self.router.topic_count_of(self.key(slot)), expected.len(), "topics of slot {slot}");
        }
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
        for (slot, grant) in self.model.grants.iter().enumerate() {
            let may = router.may(self.key(slot), Action::Subscribe, name);
            assert_eq!(may, grant.covers(topic), "{name}: {grant:?}");
        }
    }

    /// Everybody leaves: nothing is wanted any more, and memory has come back.
    fn empties(&mut self) {
        (0..SLOTS).for_each(|slot| self.take(Step::Forget(slot)));
        (0..TOPICS).for_each(|topic| self.take(Step::Unlisten(APPLICATION, topic)));
        assert_eq!((self.router.topic_count(), self.model.wanted()), (0, 0));
        assert!(self.held <= KEPT, "an empty router holds {} bytes", self.held);
    }
}
