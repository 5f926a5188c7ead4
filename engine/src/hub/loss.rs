//! Which topics lost events for want of room, in one place of the queue: what subscribers are told by `__gap`. Does not tell them.
//!
//! Invariant: what is remembered is bounded; beyond the bound every topic counts as one that lost something.

use std::collections::{HashMap, HashSet};

use crate::route::ConnKey;

/// Topics that are remembered by name. Source: none, a guess: they fit into one message of the default size.
const MAX_TOPICS: usize = 1024;

/// Events that were dropped between two that were not.
#[derive(Debug, Default)]
pub(super) struct Loss {
    /// When the first and the last one were dropped, milliseconds since 1970.
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    /// For whom they were: [`ConnKey::APPLICATION`] stands for all subscribers.
    pub(super) topics: HashMap<ConnKey, HashSet<Box<str>>>,
    /// More topics than can be remembered.
    pub(super) is_everything: bool,
    /// How many events, as far as they were counted.
    pub(super) events: u64,
    count: usize,
}

impl Loss {
    /// An event for `to` was dropped.
    pub(super) fn add(&mut self, to: ConnKey, topic: &str, now_ms: u64) {
        if self.from_ms == 0 {
            self.from_ms = now_ms;
        }
        self.to_ms = now_ms;
        self.events += 1;
        let topics = self.topics.entry(to).or_default();
        if self.is_everything || topics.contains(topic) {
            return;
        }
        topics.insert(topic.into());
        self.count += 1;
        if self.count > MAX_TOPICS {
            self.is_everything = true;
            self.topics = HashMap::new();
        }
    }

    /// Events of these topics, or of all, may have been lost elsewhere; somebody else remembers them within a bound.
    pub(super) fn elsewhere(from_ms: u64, to_ms: u64, topics: Option<&[Box<str>]>) -> Self {
        let is_everything = topics.is_none();
        let topics = topics.map(|topics| (ConnKey::APPLICATION, topics.iter().cloned().collect()));
        Self { from_ms, to_ms, topics: topics.into_iter().collect(), is_everything, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_remembered_by_name_until_there_are_too_many() {
        let mut loss = Loss::default();
        loss.add(ConnKey::APPLICATION, "a:", 5);
        loss.add(ConnKey::APPLICATION, "a:", 6);
        loss.add(ConnKey::new(1, 1), "a:", 7);
        assert_eq!((loss.from_ms, loss.to_ms, loss.topics.len(), loss.is_everything), (5, 7, 2, false));
        (0..=MAX_TOPICS).for_each(|n| loss.add(ConnKey::APPLICATION, &format!("t:{n}"), 8));
        assert!(loss.is_everything && loss.topics.values().all(HashSet::is_empty));
        assert_eq!((loss.from_ms, loss.to_ms), (5, 8));
    }
}
