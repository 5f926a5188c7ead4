//! A hub's way to its backplane: which topics it has subscribed to there, and who waits to be told so. Does not route, answer or read the
//! clock.
//!
//! Invariants: a topic has a subscription exactly while the hub wants it; whoever waits for one is released once, at the latest when patience
//! ends; what was told before it was true is made good by a hole.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::connection::contained;
use crate::link::backplane::{Branch, Handed, Outbound, Standing};
use crate::route::ConnKey;

/// How long a subscription waits for the backplane before it counts on this hub alone. Source: none, a guess: far above a round trip, below
/// what a spoke's caller takes for a hang.
const PATIENCE: Duration = Duration::from_secs(2);

/// Subscriptions whose memory is kept although they are gone. Source: none, a guess: some 20 KiB.
const KEPT_SUBSCRIPTIONS: usize = 256;

/// Who waits for a topic to be active.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Connections, and the number that the answer goes to.
    pub(super) spokes: HashMap<ConnKey, Option<u64>, RandomState>,
    /// Questions of the application.
    pub(super) tokens: Vec<u32>,
}

impl Waiting {
    fn is_nobody(&self) -> bool {
        self.spokes.is_empty() && self.tokens.is_empty()
    }
}

struct Subscription {
    number: u64,
    is_active: bool,
    /// Since when the hub behaves as if it were.
    told_ms: Option<u64>,
    waiting: Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It was never up, or it is: an answer is worth waiting for.
    Likely,
    Down,
    Gone,
}

/// Those who waited for a subscription and do not any more.
#[derive(Debug)]
pub(super) struct Released {
    pub(super) topic: Box<str>,
    pub(super) waiting: Waiting,
    pub(super) is_active: bool,
    /// Since when it was taken for active, and was not.
    pub(super) told_ms: Option<u64>,
}

pub(super) struct Uplink {
    branch: Box<dyn Branch>,
    reach: Reach,
    subscriptions: HashMap<Box<str>, Subscription, RandomState>,
    last_number: u64,
    /// Until when somebody may wait, the oldest first.
    patience: VecDeque<(Instant, Box<str>, u64)>,
    /// Events that found no room on their way out, since that was told last.
    pub(super) unreported: u64,
}

impl Uplink {
    pub(super) fn new(branch: Box<dyn Branch>) -> Self {
        Self {
            branch,
            reach: Reach::Likely,
            subscriptions: HashMap::default(),
            last_number: 0,
            patience: VecDeque::new(),
            unreported: 0,
        }
    }

    pub(super) fn topics(&self) -> usize {
        self.subscriptions.len()
    }

    /// The hub wants a topic, or does not want it any more. Returns whoever waits in vain.
    ///
    /// # Errors
    /// The backplane has a defect.
    pub(super) fn turn(
        &mut self,
        topic: &str,
        is_wanted: bool,
        now: Instant,
        now_ms: u64,
    ) -> io::Result<Option<Released>> {
        match (is_wanted, self.subscriptions.contains_key(topic)) {
            (true, false) => self.subscribe(topic, now, now_ms).map(|()| None),
            (false, true) => self.unsubscribe(topic),
            _ => Ok(None),
        }
    }

    fn subscribe(&mut self, topic: &str, now: Instant, now_ms: u64) -> io::Result<()> {
        self.last_number += 1;
        let number = self.last_number;
        let told_ms = (self.reach != Reach::Likely).then_some(now_ms);
        self.subscriptions
            .insert(topic.into(), Subscription { number, is_active: false, told_ms, waiting: Waiting::default() });
        if self.reach == Reach::Gone {
            return Ok(());
        }
        let standing = contained(|| Ok(self.branch.subscribe(topic, number)));
        match (standing, self.subscriptions.get_mut(topic)) {
            (Ok(Standing::Active), Some(subscription)) => {
                subscription.is_active = true;
                subscription.told_ms = None;
            }
            (Ok(_), _) if told_ms.is_none() => self.be_patient(topic, number, now + PATIENCE),
            (Ok(_), _) => {}
            // No answer will come.
            (Err(defect), subscription) => {
                subscription.into_iter().for_each(|subscription| subscription.told_ms = Some(now_ms));
                return Err(defect);
            }
        }
        Ok(())
    }

    fn unsubscribe(&mut self, topic: &str) -> io::Result<Option<Released>> {
        let subscription = self.subscriptions.remove(topic).filter(|subscription| !subscription.waiting.is_nobody());
        if self.subscriptions.capacity() > KEPT_SUBSCRIPTIONS
            && self.subscriptions.len() < self.subscriptions.capacity() / 4
        {
            self.subscriptions.shrink_to(2 * self.subscriptions.len());
        }
        contained(|| {
            self.branch.unsubscribe(topic);
            Ok(())
        })?;
        let release = |subscription: Subscription| Released {
            topic: topic.into(),
            waiting: subscription.waiting,
            is_active: false,
            told_ms: None,
        };
        Ok(subscription.map(release))
    }

    fn be_patient(&mut self, topic: &str, number: u64, until: Instant) {
        // Answers come in order: most of what stands in front has been answered.
        while self.patience.front().is_some_and(|(_, topic, number)| !self.is_pending(topic, *number)) {
            self.patience.pop_front();
        }
        self.patience.push_back((until, topic.into(), number));
    }

    fn is_pending(&self, topic: &str, number: u64) -> bool {
        let subscription = self.subscriptions.get(topic).filter(|subscription| subscription.number == number);
        subscription.is_some_and(|subscription| !subscription.is_active && subscription.told_ms.is_none())
    }

    /// Whoever waits for the topic, if waiting for it makes sense.
    fn waiting(&mut self, topic: &str) -> Option<&mut Waiting> {
        let subscription = self.subscriptions.get_mut(topic)?;
        (!subscription.is_active && subscription.told_ms.is_none()).then_some(&mut subscription.waiting)
    }

    /// True: the connection is answered later, and gets nothing of the topic before. Asked again, the latest number counts.
    pub(super) fn wait(&mut self, topic: &str, key: ConnKey, n: Option<u64>) -> bool {
        let waiting = self.waiting(topic);
        let must_wait = waiting.is_some();
        if let Some(waiting) = waiting {
            waiting.spokes.insert(key, n);
        }
        must_wait
    }

    /// As [`Self::wait`], for a question of the application; else whether the topic is active.
    pub(super) fn wait_for_application(&mut self, topic: &str, token: u32) -> Option<bool> {
        match self.waiting(topic) {
            Some(waiting) => {
                waiting.tokens.push(token);
                None
            }
            None => Some(
                self.reach == Reach::Likely
                    && self.subscriptions.get(topic).is_some_and(|subscription| subscription.is_active),
            ),
        }
    }

    /// Adds those who wait for a topic, and are given nothing of it until they have been answered.
    pub(super) fn withhold(&self, topic: &str, from: &mut HashSet<ConnKey, RandomState>) {
        if let Some(subscription) = self.subscriptions.get(topic) {
            from.extend(subscription.waiting.spokes.keys());
        }
    }

    /// A subscription is in force.
    pub(super) fn activate(&mut self, topic: &str, number: u64) -> Option<Released> {
        let subscription = self
            .subscriptions
            .get_mut(topic)
            .filter(|subscription| subscription.number == number && !subscription.is_active)?;
        subscription.is_active = true;
        let (waiting, told_ms) = (std::mem::take(&mut subscription.waiting), subscription.told_ms.take());
        Some(Released { topic: topic.into(), waiting, is_active: true, told_ms })
    }

    /// Nobody waits any longer for this subscription.
    pub(super) fn give_up(&mut self, topic: &str, number: u64, now_ms: u64) -> Option<Released> {
        if !self.is_pending(topic, number) {
            return None;
        }
        let subscription = self.subscriptions.get_mut(topic)?;
        subscription.told_ms = Some(now_ms);
        let waiting = std::mem::take(&mut subscription.waiting);
        Some(Released { topic: topic.into(), waiting, is_active: false, told_ms: None })
    }

    /// Whoever has waited for long enough.
    pub(super) fn overdue(&mut self, now: Instant, now_ms: u64) -> Vec<Released> {
        let mut released = Vec::new();
        while self.patience.front().is_some_and(|(until, ..)| now >= *until) {
            let Some((_, topic, number)) = self.patience.pop_front() else { break };
            released.extend(self.give_up(&topic, number, now_ms));
        }
        released
    }

    pub(super) fn next_overdue(&self) -> Option<Instant> {
        self.patience.front().map(|(until, ..)| *until)
    }

    pub(super) fn up(&mut self) {
        if self.reach != Reach::Gone {
            self.reach = Reach::Likely;
        }
    }

    /// Nobody waits for what cannot come soon.
    pub(super) fn down(&mut self, now_ms: u64) -> Vec<Released> {
        self.lose(Reach::Down, now_ms)
    }

    /// The backplane was closed: nothing comes any more.
    pub(super) fn gone(&mut self, now_ms: u64) -> Vec<Released> {
        self.lose(Reach::Gone, now_ms)
    }

    fn lose(&mut self, reach: Reach, now_ms: u64) -> Vec<Released> {
        if self.reach != Reach::Gone {
            self.reach = reach;
        }
        let patience = std::mem::take(&mut self.patience);
        patience.into_iter().filter_map(|(_, topic, number)| self.give_up(&topic, number, now_ms)).collect()
    }

    /// Hands an event over.
    ///
    /// # Errors
    /// The backplane has a defect.
    pub(super) fn hand_over(&self, event: &Outbound<'_>) -> io::Result<Handed> {
        if self.reach == Reach::Gone {
            return Ok(Handed::Closed);
        }
        contained(|| Ok(self.branch.publish(event)))
    }

    /// Leaves; returns the questions of the application that have no answer.
    pub(super) fn leave(&mut self) -> Vec<u32> {
        let _defect = contained(|| {
            self.branch.leave();
            Ok(())
        });
        self.subscriptions.drain().flat_map(|(_, subscription)| subscription.waiting.tokens).collect()
    }

    /// Ready when what was handed over has arrived, or cannot any more. Behind [`Self::leave`].
    pub(super) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        contained(|| Ok(self.branch.poll_left(cx))).unwrap_or(Poll::Ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Answers nothing by itself, and keeps its table.
    #[derive(Clone, Default)]
    struct Silent(Arc<Mutex<Vec<String>>>);

    impl Branch for Silent {
        fn subscribe(&self, topic: &str, number: u64) -> Standing {
            self.0.lock().expect("sound").push(format!("{topic}{number}"));
            Standing::Pending
        }

        fn unsubscribe(&self, topic: &str) {
            self.0.lock().expect("sound").retain(|entry| !entry.starts_with(topic));
        }

        fn publish(&self, _event: &Outbound<'_>) -> Handed {
            Handed::Taken
        }

        fn leave(&self) {}
    }

    fn uplink() -> (Uplink, Silent, Instant) {
        let branch = Silent::default();
        (Uplink::new(Box::new(branch.clone())), branch, Instant::now())
    }

    fn key(slot: usize) -> ConnKey {
        ConnKey::new(slot, 0)
    }

    fn want(uplink: &mut Uplink, topic: &str, now: Instant) {
        assert!(uplink.turn(topic, true, now, 5).expect("no defect").is_none());
    }

    #[test]
    fn whoever_waits_is_released_by_the_answer_to_its_own_subscription() {
        let (mut uplink, branch, now) = uplink();
        want(&mut uplink, "a:", now);
        want(&mut uplink, "a:", now);
        assert_eq!(*branch.0.lock().expect("sound"), ["a:1"], "wanted twice, subscribed once");
        assert!(uplink.wait("a:", key(1), Some(7)) && uplink.wait("a:", key(1), Some(8)));
        assert_eq!(uplink.wait_for_application("a:", 3), None);
        let vain = uplink.turn("a:", false, now, 5).expect("no defect").expect("somebody waits");
        assert_eq!((vain.waiting.tokens, vain.is_active), (vec![3], false));
        want(&mut uplink, "a:", now);
        assert!(uplink.wait("a:", key(2), None));
        assert!(uplink.activate("a:", 1).is_none(), "the answer to a subscription that was given up");
        let released = uplink.activate("a:", 2).expect("it waits");
        assert_eq!(released.waiting.spokes.into_iter().collect::<Vec<_>>(), [(key(2), None)]);
        assert_eq!((released.is_active, released.told_ms), (true, None));
        assert!(uplink.activate("a:", 2).is_none(), "once");
        assert!(!uplink.wait("a:", key(3), None));
        assert_eq!(uplink.wait_for_application("a:", 4), Some(true));
    }

    #[test]
    fn patience_ends_and_what_was_told_too_early_is_made_good() {
        let (mut uplink, _, now) = uplink();
        want(&mut uplink, "a:", now);
        assert!(uplink.wait("a:", key(1), Some(1)));
        assert!(uplink.overdue(now, 10).is_empty());
        let late = uplink.next_overdue().expect("somebody waits");
        let released = uplink.overdue(late, 10);
        assert_eq!((released.len(), released[0].waiting.spokes.len(), released[0].is_active), (1, 1, false));
        assert!(!uplink.wait("a:", key(2), Some(1)), "told at once from now on");
        assert_eq!(uplink.wait_for_application("a:", 1), Some(false));
        assert_eq!(uplink.activate("a:", 1).expect("told too early").told_ms, Some(10));
        assert_eq!(uplink.next_overdue(), None);
    }

    #[test]
    fn nobody_waits_for_a_backplane_that_is_down() {
        let (mut uplink, _, now) = uplink();
        want(&mut uplink, "a:", now);
        assert!(uplink.wait("a:", key(1), None));
        assert_eq!(uplink.down(20).len(), 1);
        want(&mut uplink, "b:", now);
        assert!(!uplink.wait("b:", key(1), None));
        uplink.up();
        assert_eq!(uplink.activate("a:", 1).expect("told").told_ms, Some(20));
        assert_eq!(uplink.activate("b:", 2).expect("told").told_ms, Some(5));
        want(&mut uplink, "c:", now);
        assert!(uplink.wait("c:", key(1), None), "it is up again");
    }

    #[test]
    fn subscriptions_that_come_and_go_leave_nothing_behind() {
        let (mut uplink, branch, now) = uplink();
        for n in 0..10_000u64 {
            let topic = format!("t:{n}");
            want(&mut uplink, &topic, now);
            if n % 2 == 0 {
                assert!(uplink.activate(&topic, n + 1).is_some());
            }
            assert!(uplink.turn(&topic, false, now, 5).expect("no defect").is_none());
        }
        assert_eq!(uplink.topics(), 0);
        assert!(uplink.patience.len() <= 1 && uplink.subscriptions.capacity() <= KEPT_SUBSCRIPTIONS);
        assert!(branch.0.lock().expect("sound").is_empty());
    }
}
