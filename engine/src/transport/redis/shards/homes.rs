//! Where the topics of a link to shards are subscribed. Does not write or read.
//!
//! Invariant: a topic is at a node exactly from the SSUBSCRIBE that was said there until that node, or we, gave it up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::super::address::Place;

/// Times that a topic is sent from node to node at once, before it waits until more is known of the cluster. Source: none, a guess.
const MAX_MOVES: u32 = 4;

struct Home {
    n: Option<u64>,
    slot: u16,
    at: Option<Arc<Place>>,
    is_active: bool,
    moves: u32,
}

#[derive(Default)]
pub(super) struct Homes {
    topics: HashMap<Box<str>, Home, RandomState>,
    /// Topics that are to be subscribed.
    homeless: HashSet<Box<str>, RandomState>,
    /// Topics that wait until more is known of the cluster.
    held: HashSet<Box<str>, RandomState>,
}

/// What became of a topic that is not wanted any more.
pub(super) enum Left {
    /// It was subscribed there, or is about to be.
    At(Arc<Place>),
    /// Nobody was asked under this number.
    Unasked(Option<u64>),
}

impl Homes {
    pub(super) fn want(&mut self, topic: Box<str>, slot: u16, n: Option<u64>) {
        self.homeless.insert(topic.clone());
        self.topics.insert(topic, Home { n, slot, at: None, is_active: false, moves: 0 });
    }

    pub(super) fn give_up(&mut self, topic: &str) -> Option<Left> {
        let home = self.topics.remove(topic)?;
        self.homeless.remove(topic);
        self.held.remove(topic);
        Some(home.at.map_or(Left::Unasked(home.n), Left::At))
    }

    /// Takes the topics that are to be subscribed, with their slots.
    pub(super) fn take_homeless(&mut self) -> Vec<(Box<str>, u16)> {
        let homeless = std::mem::take(&mut self.homeless).into_iter();
        homeless
            .filter_map(|topic| {
                let home = self.topics.get(&topic).filter(|home| home.at.is_none())?;
                Some((topic, home.slot))
            })
            .collect()
    }

    /// No node could be asked yet.
    pub(super) fn put_back(&mut self, topic: Box<str>) {
        self.homeless.insert(topic);
    }

    /// The node is being asked; returns the number under which.
    pub(super) fn settle(&mut self, topic: &str, at: &Arc<Place>) -> Option<u64> {
        let home = self.topics.get_mut(topic)?;
        home.at = Some(Arc::clone(at));
        home.n
    }

    /// The node has said yes to the question of that number.
    pub(super) fn activate(&mut self, topic: &str, n: Option<u64>) {
        if let Some(home) = self.topics.get_mut(topic).filter(|home| home.n == n) {
            home.is_active = true;
            home.moves = 0;
        }
    }

    /// The node has refused for good: nobody else is asked.
    pub(super) fn refuse(&mut self, topic: &str, n: Option<u64>) {
        if let Some(home) = self.topics.get_mut(topic).filter(|home| home.n == n) {
            home.at = None;
            home.is_active = false;
        }
    }

    /// The topic is to be subscribed elsewhere, at once or once more is known; true if it was active.
    pub(super) fn evict(&mut self, topic: &str, from: &Arc<Place>, is_held: bool) -> bool {
        let Some(home) = self.topics.get_mut(topic).filter(|home| home.at.as_ref() == Some(from)) else {
            return false;
        };
        home.at = None;
        home.moves += 1;
        let is_held = is_held || home.moves > MAX_MOVES;
        let waiting = if is_held { &mut self.held } else { &mut self.homeless };
        waiting.insert(topic.into());
        std::mem::take(&mut home.is_active)
    }

    /// A node is gone; returns the topics that were active there.
    pub(super) fn evict_all(&mut self, from: &Arc<Place>) -> Vec<Box<str>> {
        let mut lost = Vec::new();
        for (topic, home) in self.topics.iter_mut().filter(|(_, home)| home.at.as_ref() == Some(from)) {
            home.at = None;
            self.homeless.insert(topic.clone());
            if std::mem::take(&mut home.is_active) {
                lost.push(topic.clone());
            }
        }
        lost
    }

    /// More is known of the cluster.
    pub(super) fn let_go(&mut self) {
        self.homeless.extend(self.held.drain());
    }

    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Arc<Place> {
        Arc::new(Place::Tcp { host: "h".into(), port, is_tls: false })
    }

    #[test]
    fn a_node_that_is_gone_takes_its_active_topics_along_and_no_others() {
        let mut homes = Homes::default();
        for (topic, port) in [("a:", 1), ("b:", 1), ("c:", 2)] {
            homes.want(topic.into(), 0, Some(u64::from(port)));
            homes.settle(topic, &at(port));
        }
        homes.take_homeless();
        homes.activate("a:", Some(1));
        homes.activate("b:", Some(9));
        homes.activate("c:", Some(2));
        assert_eq!(homes.evict_all(&at(1)), [Box::<str>::from("a:")], "b: has no answer to its question");
        let mut homeless: Vec<_> = homes.take_homeless().into_iter().map(|(topic, _)| topic).collect();
        homeless.sort();
        assert_eq!(homeless, ["a:", "b:"].map(Box::<str>::from));
        assert!(matches!(homes.give_up("a:"), Some(Left::Unasked(Some(1)))));
        assert!(matches!(homes.give_up("c:"), Some(Left::At(place)) if place == at(2)));
    }

    #[test]
    fn a_topic_that_is_sent_round_in_circles_waits_until_more_is_known() {
        let mut homes = Homes::default();
        homes.want("a:".into(), 0, None);
        for _ in 0..MAX_MOVES {
            homes.settle("a:", &at(1));
            homes.take_homeless();
            assert!(!homes.evict("a:", &at(1), false) && !homes.has_held());
        }
        homes.settle("a:", &at(1));
        homes.evict("a:", &at(1), false);
        assert!(homes.has_held() && !homes.evict("a:", &at(1), false), "it is there no more");
        homes.take_homeless();
        homes.let_go();
        assert_eq!(homes.take_homeless().len(), 1);
    }
}
