//! What the application listens to and what the hub knows of it. Does not write or read links.
//!
//! Invariant: a topic is `Active` only on the current link, and only if the answer to its latest `n` came, or, with a plain hub, if its
//! latest `__subscribe` was written.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::delivery::{Failure, Notice};
use crate::model::ErrorKind;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// The hub has not been told on this link.
    Unsent,
    /// Encoded, with this `n`.
    Sent(u64),
    /// The hub sends its events.
    Active { n: u64, is_acknowledged: bool },
    /// The hub has refused it on this link, the latest number or all of them.
    Refused { n: u64, failure: Failure },
}

impl Stage {
    /// The number under which the hub knows the topic.
    fn n(&self) -> Option<u64> {
        match self {
            Self::Unsent => None,
            Self::Sent(n) | Self::Active { n, .. } | Self::Refused { n, .. } => Some(*n),
        }
    }

    /// True for the stage that an answer to `n` is about.
    fn is_about(&self, n: Option<u64>) -> bool {
        self.n().is_some() && self.n() == n
    }
}

/// The topics of one spoke.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    topics: HashMap<Box<str>, Stage, RandomState>,
    waiters: HashMap<Box<str>, Vec<u32>, RandomState>,
    /// Sent and not known to be written.
    unwritten: Vec<(Box<str>, u64)>,
    last_n: u64,
}

impl Subscriptions {
    /// Starts to want a topic; false if it was wanted.
    pub(super) fn listen(&mut self, topic: &str) -> bool {
        if self.topics.contains_key(topic) {
            return false;
        }
        self.topics.insert(topic.into(), Stage::Unsent);
        true
    }

    /// Ceases to want a topic; returns whether the hub was told of it, and what its waiters hear.
    pub(super) fn unlisten(&mut self, topic: &str) -> (bool, Vec<Notice>) {
        let stage = self.topics.remove(topic);
        let failure = not_subscribed(topic);
        (matches!(stage, Some(Stage::Sent(_) | Stage::Active { .. })), self.answer(topic, &Err(failure)))
    }

    pub(super) fn is_wanted(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    /// Every wanted topic, to be told to a fresh link.
    pub(super) fn wanted(&self) -> Vec<Box<str>> {
        self.topics.keys().cloned().collect()
    }

    /// The topics whose events came on this link until now.
    pub(super) fn active(&self) -> Vec<Box<str>> {
        let active = self.topics.iter().filter(|(_, stage)| matches!(stage, Stage::Active { .. }));
        active.map(|(topic, _)| topic.clone()).collect()
    }

    /// The next number for a topic that is being told to the hub; one that is known to be native will answer.
    pub(super) fn send(&mut self, topic: &str, is_native: bool) -> u64 {
        self.last_n += 1;
        self.topics.insert(topic.into(), Stage::Sent(self.last_n));
        if !is_native {
            self.unwritten.push((topic.into(), self.last_n));
        }
        self.last_n
    }

    /// Asks to be told when a topic is active; the answer if it is known already.
    pub(super) fn confirm(&mut self, topic: Box<str>, token: u32) -> Option<Notice> {
        let outcome = match self.topics.get(&topic) {
            None => Err(not_subscribed(&topic)),
            Some(Stage::Active { is_acknowledged, .. }) => Ok(*is_acknowledged),
            Some(Stage::Refused { failure, .. }) => Err(failure.clone()),
            Some(Stage::Unsent | Stage::Sent(_)) => {
                self.waiters.entry(topic).or_default().push(token);
                return None;
            }
        };
        Some(Notice::Confirmed { token, outcome })
    }

    /// The hub says that a topic is active. Only the answer to the latest `n` counts.
    pub(super) fn acknowledged(&mut self, topic: &str, n: Option<u64>) -> Vec<Notice> {
        match (self.topics.get_mut(topic), n) {
            (Some(stage), Some(answered)) if stage.is_about(n) => {
                *stage = Stage::Active { n: answered, is_acknowledged: true };
            }
            _ => return Vec::new(),
        }
        self.answer(topic, &Ok(true))
    }

    /// The hub refuses a topic. The wish stays: the next link asks again. A refusal without a number takes a topic back that was active; one
    /// that was asked for anew meanwhile still gets an answer of its own. Nothing for a refusal that is about no topic of ours any more.
    pub(super) fn refused(&mut self, topic: &str, n: Option<u64>, failure: &Failure) -> Option<Vec<Notice>> {
        let stage = self.topics.get_mut(topic)?;
        let is_about = if n.is_none() { matches!(stage, Stage::Active { .. }) } else { stage.is_about(n) };
        let n = stage.n().filter(|_| is_about)?;
        *stage = Stage::Refused { n, failure: failure.clone() };
        Some(self.answer(topic, &Err(failure.clone())))
    }

    /// The link does not hear an active topic any more and subscribes it again by itself, under the number that is returned.
    pub(super) fn interrupted(&mut self, topic: &str) -> Option<u64> {
        let stage = self.topics.get_mut(topic)?;
        let Stage::Active { n, .. } = *stage else { return None };
        *stage = Stage::Sent(n);
        Some(n)
    }

    /// Everything encoded so far was written to a plain hub: its topics are as active as can be known.
    pub(super) fn written_to_plain(&mut self) -> (Vec<Box<str>>, Vec<Notice>) {
        let (mut active, mut notices) = (Vec::new(), Vec::new());
        for (topic, n) in std::mem::take(&mut self.unwritten) {
            if let Some(stage) = self.topics.get_mut(&topic).filter(|stage| **stage == Stage::Sent(n)) {
                *stage = Stage::Active { n, is_acknowledged: false };
                notices.extend(self.answer(&topic, &Ok(false)));
                active.push(topic);
            }
        }
        (active, notices)
    }

    /// A native hub answers each topic: nothing needs to be remembered of writes.
    pub(super) fn forget_writes(&mut self) {
        self.unwritten = Vec::new();
    }

    /// The link is gone, and with it what the hub knew.
    pub(super) fn reset(&mut self) {
        self.topics.values_mut().for_each(|stage| *stage = Stage::Unsent);
        self.unwritten.clear();
        self.last_n = 0;
    }

    /// Nobody will be answered any more.
    pub(super) fn fail_all(&mut self, failure: &Failure) -> Vec<Notice> {
        let waiters = std::mem::take(&mut self.waiters).into_values().flatten();
        waiters.map(|token| Notice::Confirmed { token, outcome: Err(failure.clone()) }).collect()
    }

    fn answer(&mut self, topic: &str, outcome: &Result<bool, Failure>) -> Vec<Notice> {
        let answered = self.waiters.remove(topic).into_iter().flatten();
        answered.map(|token| Notice::Confirmed { token, outcome: outcome.clone() }).collect()
    }
}

fn not_subscribed(topic: &str) -> Failure {
    let message = format!("nobody listens to {topic:?}; add a listener before ready(topic)");
    Failure { kind: ErrorKind::NotSubscribed, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(notices: Vec<Notice>) -> Vec<(u32, Option<bool>)> {
        let read = |notice| match notice {
            Notice::Confirmed { token, outcome } => (token, outcome.ok()),
            other => unreachable!("{other:?}"),
        };
        notices.into_iter().map(read).collect()
    }

    #[test]
    fn only_the_answer_to_the_latest_number_makes_a_topic_active() {
        let mut subscriptions = Subscriptions::default();
        assert!(subscriptions.listen("a:") && !subscriptions.listen("a:"));
        let first = subscriptions.send("a:", false);
        assert!(subscriptions.unlisten("a:").0);
        subscriptions.listen("a:");
        let second = subscriptions.send("a:", false);
        assert!(subscriptions.confirm("a:".into(), 9).is_none());
        assert!(subscriptions.acknowledged("a:", Some(first)).is_empty());
        assert_eq!(outcomes(subscriptions.acknowledged("a:", Some(second))), [(9, Some(true))]);
        assert_eq!(outcomes(subscriptions.confirm("a:".into(), 10).into_iter().collect()), [(10, Some(true))]);
    }

    #[test]
    fn who_waits_for_a_topic_hears_that_it_was_given_up() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.listen("a:");
        subscriptions.confirm("a:".into(), 1);
        let (was_told, notices) = subscriptions.unlisten("a:");
        assert!(!was_told);
        assert_eq!(outcomes(notices), [(1, None)]);
        assert_eq!(outcomes(subscriptions.confirm("a:".into(), 2).into_iter().collect()), [(2, None)]);
    }

    #[test]
    fn a_refusal_is_remembered_until_the_link_is_gone() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.listen("a:");
        let n = subscriptions.send("a:", false);
        let failure = Failure { kind: ErrorKind::Limit, message: String::new() };
        subscriptions.refused("a:", Some(n), &failure);
        assert_eq!(outcomes(subscriptions.confirm("a:".into(), 1).into_iter().collect()), [(1, None)]);
        subscriptions.reset();
        assert!(subscriptions.confirm("a:".into(), 2).is_none());
    }

    #[test]
    fn a_topic_that_was_taken_back_and_asked_for_again_gets_an_answer_of_its_own() {
        let mut subscriptions = Subscriptions::default();
        let failure = Failure { kind: ErrorKind::Forbidden, message: String::new() };
        subscriptions.listen("a:");
        let first = subscriptions.send("a:", true);
        subscriptions.acknowledged("a:", Some(first));
        subscriptions.unlisten("a:");
        subscriptions.listen("a:");
        let second = subscriptions.send("a:", true);
        subscriptions.confirm("a:".into(), 1);
        assert!(subscriptions.refused("a:", None, &failure).is_none(), "it is about the first");
        assert_eq!(outcomes(subscriptions.acknowledged("a:", Some(second))), [(1, Some(true))]);
        subscriptions.refused("a:", None, &failure);
        assert_eq!(outcomes(subscriptions.confirm("a:".into(), 2).into_iter().collect()), [(2, None)]);
    }

    #[test]
    fn a_hub_that_turns_out_native_acknowledges_what_was_taken_for_plain() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.listen("a:");
        let n = subscriptions.send("a:", false);
        subscriptions.written_to_plain();
        subscriptions.acknowledged("a:", Some(n));
        assert_eq!(outcomes(subscriptions.confirm("a:".into(), 1).into_iter().collect()), [(1, Some(true))]);
    }

    #[test]
    fn a_plain_hub_has_what_was_written() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.listen("a:");
        subscriptions.send("a:", false);
        subscriptions.confirm("a:".into(), 1);
        let (active, notices) = subscriptions.written_to_plain();
        assert_eq!(active, [Box::<str>::from("a:")]);
        assert_eq!(outcomes(notices), [(1, Some(false))]);
        subscriptions.reset();
        assert!(subscriptions.active().is_empty() && subscriptions.is_wanted("a:"));
    }
}
