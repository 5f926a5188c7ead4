//! Decides which connections, and which listeners of this process, receive an event. Does not send, wait or read the clock.
//!
//! Invariants: a connection is among a topic's subscribers exactly while its last word about the topic was subscribe and it may hear it; a
//! topic is in the table exactly while somebody wants it, or one who is leaving did; what a connection may do changes in one step with what it is subscribed to;
//! memory follows the topics that are wanted, not those that ever were.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::key::ConnKey;
use super::permissions::{Action, Permissions};

/// What a subscription came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// It is new.
    Added,
    /// It was there.
    Unchanged,
    /// A limit stands against it.
    Refused(&'static str),
    /// The connection may not.
    Forbidden,
}

/// Names a topic until a subscription or listener is added or removed: places go to other topics then, and may move together. What
/// [`Router::grant`] takes away leaves a place that nobody wants.
pub type TopicId = u32;

/// Topics that a connection leaves in one step. Source: measured, a step takes about a millisecond.
const TOPICS_PER_STEP: usize = 1024;

/// Places that are kept although they are empty. Source: none, a guess: some 20 KiB.
const KEPT_PLACES: usize = 256;

#[derive(Debug, Default)]
struct Topic {
    name: Box<str>,
    subscribers: Vec<ConnKey>,
    /// The application listens for every connection's events.
    is_local: bool,
    /// The application listens for the events of these connections alone.
    local_to: Vec<ConnKey>,
}

impl Topic {
    fn is_unused(&self) -> bool {
        !self.is_wanted() && self.local_to.is_empty()
    }

    /// Somebody wants what others than single connections publish.
    fn is_wanted(&self) -> bool {
        self.is_local || !self.subscribers.is_empty()
    }
}

/// Topics of one connection and where the connection stands in each.
type Positions = HashMap<TopicId, u32, RandomState>;

/// The table of who wants what.
#[derive(Debug)]
pub struct Router {
    by_name: HashTable<TopicId>,
    hasher: RandomState,
    topics: Vec<Topic>,
    free: Vec<TopicId>,
    positions: HashMap<ConnKey, Positions, RandomState>,
    /// Of all connections together.
    subscriptions: usize,
    /// Connections that are gone and still stand in topics.
    leaving: HashSet<ConnKey, RandomState>,
    /// Connections that the application listens to one by one.
    listened: HashMap<ConnKey, Vec<Box<str>>, RandomState>,
    /// Connections that may not do everything.
    restricted: HashMap<ConnKey, Permissions, RandomState>,
    /// Topics that somebody wants or nobody wants any more, since this was taken last; kept if somebody takes it.
    turned: Option<Vec<Box<str>>>,
    max_topics: usize,
    max_topics_per_connection: usize,
}

impl Router {
    /// An empty table with its bounds.
    #[must_use]
    pub fn new(max_topics: usize, max_topics_per_connection: usize) -> Self {
        Self {
            by_name: HashTable::new(),
            hasher: RandomState::default(),
            topics: Vec::new(),
            free: Vec::new(),
            positions: HashMap::default(),
            subscriptions: 0,
            leaving: HashSet::default(),
            listened: HashMap::default(),
            restricted: HashMap::default(),
            turned: None,
            max_topics,
            max_topics_per_connection,
        }
    }

    /// Topics that somebody wants.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.by_name.len()
    }

    /// From now on, [`Self::take_turned`] tells which topics have found somebody who wants them, or lost the last one; first all that are
    /// wanted now.
    pub fn watch(&mut self) {
        let wanted = self.topics.iter().filter(|topic| topic.is_wanted());
        self.turned = Some(wanted.map(|topic| topic.name.clone()).collect());
    }

    /// Topics that may be wanted now and were not, or the other way round.
    pub fn take_turned(&mut self) -> Vec<Box<str>> {
        self.turned.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether a connection is subscribed to the topic, or the application listens to all connections.
    #[must_use]
    pub fn is_wanted(&self, topic: &str) -> bool {
        self.find(topic).is_some_and(|id| self.topics[id as usize].is_wanted())
    }

    /// Whether the application listens to a topic of all connections.
    #[must_use]
    pub fn is_listened_to(&self, topic: &str) -> bool {
        self.find(topic).is_some_and(|id| self.topics[id as usize].is_local)
    }

    /// Topics that the application listens to, of all connections.
    #[must_use]
    pub fn topics_listened_to(&self) -> Vec<&str> {
        self.topics.iter().filter(|topic| topic.is_local).map(|topic| &*topic.name).collect()
    }

    /// Connections subscribed to `topic`.
    #[must_use]
    pub fn subscriber_count(&self, topic: &str) -> usize {
        let subscribers = self.find(topic).map_or(&[][..], |id| self.subscribers(id));
        subscribers.iter().filter(|key| self.leaving.is_empty() || !self.is_leaving(**key)).count()
    }

    /// The topic, if anybody wants it.
    #[must_use]
    pub fn find(&self, topic: &str) -> Option<TopicId> {
        self.by_name.find(self.hasher.hash_one(topic), |id| &*self.topics[*id as usize].name == topic).copied()
    }

    /// Connections subscribed to a topic, in no particular order. Among them may be some that are gone: see [`Self::remove`].
    #[must_use]
    pub fn subscribers(&self, topic: TopicId) -> &[ConnKey] {
        &self.topics[topic as usize].subscribers
    }

    /// True when the application listens to what `from` publishes on the topic.
    #[must_use]
    pub fn is_local(&self, topic: TopicId, from: ConnKey) -> bool {
        let topic = &self.topics[topic as usize];
        topic.is_local || topic.local_to.contains(&from)
    }

    /// Whether a connection may do something with a topic. The application and connections that were never restricted may do everything.
    #[must_use]
    pub fn may(&self, connection: ConnKey, action: Action, topic: &str) -> bool {
        self.restricted.get(&connection).is_none_or(|permissions| permissions.allow(action, topic))
    }

    /// Sets what a connection may do. Returns the topics that it was subscribed to and may not hear any more: it no longer is.
    ///
    /// The application's thread calls this while the hub's task is in the middle of a run: no topic changes its name here.
    pub fn grant(&mut self, connection: ConnKey, permissions: Permissions) -> Vec<Box<str>> {
        if self.is_leaving(connection) {
            return Vec::new();
        }
        let held = self.positions.get(&connection).map_or_else(Vec::new, |held| held.keys().copied().collect());
        let names = held.into_iter().map(|id: TopicId| self.topics[id as usize].name.clone());
        let lost: Vec<Box<str>> = names.filter(|topic| !permissions.allow(Action::Subscribe, topic)).collect();
        if permissions.is_everything() {
            self.restricted.remove(&connection);
        } else {
            self.restricted.insert(connection, permissions);
        }
        for topic in &lost {
            self.leave(connection, topic);
        }
        lost
    }

    /// How many topics a connection is subscribed to.
    #[must_use]
    pub fn topic_count_of(&self, connection: ConnKey) -> usize {
        self.positions.get(&connection).map_or(0, HashMap::len)
    }

    /// Topics that a connection is subscribed to.
    #[must_use]
    pub fn topics_of(&self, connection: ConnKey) -> Vec<&str> {
        let held = self.positions.get(&connection).into_iter().flat_map(HashMap::keys);
        held.map(|id| &*self.topics[*id as usize].name).collect()
    }

    /// A connection wants a topic that it may hear.
    pub fn subscribe(&mut self, connection: ConnKey, topic: &str) -> Subscription {
        if self.may(connection, Action::Subscribe, topic) || self.is_subscribed(connection, topic) {
            self.subscribe_allowed(connection, topic)
        } else {
            Subscription::Forbidden
        }
    }

    /// Whether a connection is among a topic's subscribers.
    #[must_use]
    pub fn is_subscribed(&self, connection: ConnKey, topic: &str) -> bool {
        let held = self.positions.get(&connection);
        held.is_some_and(|held| self.find(topic).is_some_and(|id| held.contains_key(&id)))
    }

    /// A connection wants a topic that it may hear although its permissions do not say so.
    pub fn subscribe_allowed(&mut self, connection: ConnKey, topic: &str) -> Subscription {
        let held = self.positions.get(&connection);
        let id = self.find(topic);
        if let (Some(held), Some(id)) = (held, id)
            && held.contains_key(&id)
        {
            return Subscription::Unchanged;
        }
        if held.map_or(0, HashMap::len) >= self.max_topics_per_connection {
            return Subscription::Refused("maxTopicsPerConnection");
        }
        if id.is_none() && self.topic_count() >= self.max_topics {
            return Subscription::Refused("maxTopics");
        }
        let id = id.unwrap_or_else(|| self.insert(topic));
        self.turns_if_unwanted(id);
        let subscribers = &mut self.topics[id as usize].subscribers;
        self.positions.entry(connection).or_default().insert(id, subscribers.len() as u32);
        subscribers.push(connection);
        self.subscriptions += 1;
        Subscription::Added
    }

    /// A connection no longer wants a topic; false if it did not.
    pub fn unsubscribe(&mut self, connection: ConnKey, topic: &str) -> bool {
        let was_subscribed = self.leave(connection, topic);
        self.give_memory_back();
        was_subscribed
    }

    fn leave(&mut self, connection: ConnKey, topic: &str) -> bool {
        let Some(id) = self.find(topic) else { return false };
        let Some(held) = self.positions.get_mut(&connection) else {
            return false;
        };
        let Some(position) = held.remove(&id) else { return false };
        if held.is_empty() {
            self.positions.remove(&connection);
        }
        self.take_out(id, position);
        true
    }

    /// A connection is going, and with it all that it wanted and all that was listened to from it. What it may do stays as it is: it may
    /// still be heard. Who wanted a great deal is taken out step by step, by [`Self::sweep`]: everybody else would wait.
    pub fn remove(&mut self, connection: ConnKey) {
        for topic in self.listened.remove(&connection).unwrap_or_default() {
            self.unlisten(connection, &topic);
        }
        if self.topic_count_of(connection) > TOPICS_PER_STEP {
            self.leaving.insert(connection);
            return;
        }
        for (id, position) in self.positions.remove(&connection).unwrap_or_default() {
            self.take_out(id, position);
        }
        self.give_memory_back();
    }

    /// Whether a connection is gone and not yet out of all its topics.
    #[must_use]
    pub fn is_leaving(&self, connection: ConnKey) -> bool {
        self.leaving.contains(&connection)
    }

    /// Takes one that is gone out of some of its topics. False when nobody is left to be taken out.
    pub fn sweep(&mut self) -> bool {
        let Some(connection) = self.leaving.iter().next().copied() else { return false };
        if let Some(held) = self.positions.get_mut(&connection).filter(|held| held.len() > TOPICS_PER_STEP) {
            let some: Vec<_> = held.extract_if(|_, _| true).take(TOPICS_PER_STEP).collect();
            some.into_iter().for_each(|(id, position)| self.take_out(id, position));
        } else {
            self.leaving.remove(&connection);
            self.remove(connection);
        }
        true
    }

    /// A connection is gone for good.
    pub fn forget(&mut self, connection: ConnKey) {
        self.restricted.remove(&connection);
        self.remove(connection);
    }

    /// The application listens to a topic: of every connection, or of one.
    pub fn listen(&mut self, from: ConnKey, topic: &str) {
        let id = self.find(topic).unwrap_or_else(|| self.insert(topic));
        if from == ConnKey::APPLICATION {
            self.turns_if_unwanted(id);
        }
        let entry = &mut self.topics[id as usize];
        if from == ConnKey::APPLICATION {
            entry.is_local = true;
        } else if !entry.local_to.contains(&from) {
            entry.local_to.push(from);
            self.listened.entry(from).or_default().push(topic.into());
        }
    }

    /// The application no longer listens.
    pub fn unlisten(&mut self, from: ConnKey, topic: &str) {
        let Some(id) = self.find(topic) else { return };
        let entry = &mut self.topics[id as usize];
        if from == ConnKey::APPLICATION {
            entry.is_local = false;
            self.turns_if_unwanted(id);
        } else {
            entry.local_to.retain(|listened| *listened != from);
            if let Some(listened) = self.listened.get_mut(&from) {
                listened.retain(|listened| **listened != *topic);
            }
        }
        self.drop_if_unused(id);
        self.give_memory_back();
    }

    /// Removes a subscriber in constant time: the last one takes its place and is told so.
    fn take_out(&mut self, id: TopicId, position: u32) {
        self.subscriptions -= 1;
        let subscribers = &mut self.topics[id as usize].subscribers;
        subscribers.swap_remove(position as usize);
        if let Some(moved) = subscribers.get(position as usize)
            && let Some(held) = self.positions.get_mut(moved)
        {
            held.insert(id, position);
        }
        self.turns_if_unwanted(id);
        self.drop_if_unused(id);
    }

    /// Nobody wants the topic, because nobody did yet or because nobody does any more.
    fn turns_if_unwanted(&mut self, id: TopicId) {
        let topic = &self.topics[id as usize];
        if let Some(turned) = self.turned.as_mut().filter(|_| !topic.is_wanted()) {
            turned.push(topic.name.clone());
        }
    }

    fn insert(&mut self, name: &str) -> TopicId {
        let topic = Topic { name: name.into(), ..Topic::default() };
        let id = match self.free.pop() {
            Some(id) => {
                self.topics[id as usize] = topic;
                id
            }
            None => {
                self.topics.push(topic);
                (self.topics.len() - 1) as TopicId
            }
        };
        self.enter(id);
        id
    }

    /// Makes a topic known by its name.
    fn enter(&mut self, id: TopicId) {
        let (topics, hasher) = (&self.topics, &self.hasher);
        let hash = |id: &TopicId| hasher.hash_one(&*topics[*id as usize].name);
        self.by_name.insert_unique(hash(&id), id, hash);
    }

    fn drop_if_unused(&mut self, id: TopicId) {
        if !self.topics[id as usize].is_unused() {
            return;
        }
        let topic = std::mem::take(&mut self.topics[id as usize]);
        if let Ok(entry) = self.by_name.find_entry(self.hasher.hash_one(&*topic.name), |other| *other == id) {
            entry.remove();
        }
        self.free.push(id);
    }

    /// A million topics that came and went leave nothing behind, whoever else stays.
    ///
    /// Moving the topics that stay costs a step for each place and each subscription. It is done when three quarters of the places are
    /// empty and there are no more subscriptions than places, so it adds a few steps to each topic that went.
    fn give_memory_back(&mut self) {
        let places = self.topics.len();
        if places > KEPT_PLACES && self.topic_count() <= places / 4 && self.subscriptions <= places {
            self.move_together();
        }
        shrink(&mut self.positions);
        shrink(&mut self.listened);
        shrink(&mut self.restricted);
    }

    fn move_together(&mut self) {
        let old = std::mem::take(&mut self.topics);
        let mut new_ids = vec![0; old.len()];
        self.by_name = HashTable::new();
        self.free = Vec::new();
        for (old_id, topic) in old.into_iter().enumerate().filter(|(_, topic)| !topic.is_unused()) {
            let id = self.topics.len() as TopicId;
            new_ids[old_id] = id;
            self.topics.push(topic);
            self.enter(id);
        }
        for held in self.positions.values_mut() {
            *held = held.drain().map(|(id, position)| (new_ids[id as usize], position)).collect();
        }
    }
}

/// A table that is three quarters empty keeps room for twice what is in it.
fn shrink<T>(table: &mut HashMap<ConnKey, T, RandomState>) {
    if table.capacity() > KEPT_PLACES && table.len() < table.capacity() / 4 {
        table.shrink_to(2 * table.len());
    }
}

#[cfg(test)]
mod tests;
