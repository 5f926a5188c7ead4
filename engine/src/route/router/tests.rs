//! Tests of the table: what it holds after any steps, and what it gives back.

use super::*;
use crate::model::{Allowed, Grants};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn key(slot: usize) -> ConnKey {
    ConnKey::new(slot, 0)
}

#[test]
fn limits_refuse_one_more_and_not_one_less() {
    let mut router = Router::new(3, 2);
    assert_eq!(router.subscribe(key(1), "a:"), Subscription::Added);
    assert_eq!(router.subscribe(key(1), "b:"), Subscription::Added);
    assert_eq!(router.subscribe(key(1), "b:"), Subscription::Unchanged);
    assert_eq!(router.subscribe(key(1), "c:"), Subscription::Refused("maxTopicsPerConnection"));
    assert_eq!(router.subscribe(key(2), "c:"), Subscription::Added);
    assert_eq!(router.subscribe(key(2), "d:"), Subscription::Refused("maxTopics"));
    assert_eq!(router.subscribe(key(2), "a:"), Subscription::Added);
}

#[test]
fn listening_to_one_connection_hears_that_one_alone() {
    let mut router = Router::new(10, 10);
    router.listen(key(1), "a:");
    let id = router.find("a:").expect("listened to");
    assert!(router.is_local(id, key(1)) && !router.is_local(id, key(2)));
    router.unlisten(key(1), "a:");
    assert_eq!(router.find("a:"), None);
}

#[test]
fn topics_that_find_or_lose_whoever_wants_them_are_told_once_somebody_asks() {
    let mut router = Router::new(10, 10);
    router.subscribe(key(1), "early:");
    assert!(router.take_turned().is_empty(), "nobody watches");
    router.watch();
    assert_eq!(router.take_turned(), [Box::<str>::from("early:")]);
    router.listen(key(1), "single:");
    router.subscribe(key(1), "a:");
    router.subscribe(key(2), "a:");
    router.listen(ConnKey::APPLICATION, "a:");
    assert_eq!(router.take_turned(), [Box::<str>::from("a:")]);
    assert!(router.is_wanted("a:") && !router.is_wanted("single:") && router.is_listened_to("a:"));
    assert_eq!(router.topics_listened_to(), ["a:"]);
    router.remove(key(1));
    router.unsubscribe(key(2), "a:");
    assert_eq!(router.take_turned(), [Box::<str>::from("early:")]);
    router.unlisten(ConnKey::APPLICATION, "a:");
    router.subscribe(key(2), "a:");
    assert_eq!(router.take_turned(), [Box::<str>::from("a:"), Box::<str>::from("a:")], "gone and there again");
    assert!(router.is_wanted("a:"));
    router.grant(key(2), only(&[], &[]));
    assert_eq!((router.take_turned(), router.is_wanted("a:")), (vec![Box::<str>::from("a:")], false));
}

fn only(subscribe: &[&str], publish: &[&str]) -> Permissions {
    let list = |patterns: &[&str]| Allowed::Matching(patterns.iter().map(|text| (*text).to_owned()).collect());
    Permissions::compile(&Grants { identity: None, subscribe: list(subscribe), publish: list(publish) })
}

#[test]
fn a_restricted_connection_gets_what_it_may_hear_and_keeps_its_restrictions_while_it_leaves() {
    let mut router = Router::new(10, 10);
    assert!(router.grant(key(1), only(&["a:*"], &["b:"])).is_empty());
    assert_eq!(router.subscribe(key(1), "b:"), Subscription::Forbidden);
    assert_eq!(router.subscribe(key(1), "a:1"), Subscription::Added);
    assert_eq!(router.subscribe_allowed(key(1), "b:"), Subscription::Added);
    assert_eq!(router.subscribe(key(1), "b:"), Subscription::Unchanged);
    assert_eq!(router.subscribe(key(2), "b:"), Subscription::Added);
    router.remove(key(1));
    assert!(router.topics_of(key(1)).is_empty());
    assert!(!router.may(key(1), Action::Publish, "a:1") && router.may(key(1), Action::Publish, "b:"));
    router.forget(key(1));
    assert!(router.may(key(1), Action::Publish, "a:1"), "the key is free for another connection");
}

#[test]
fn a_narrower_grant_ends_the_subscriptions_that_it_does_not_cover() {
    let mut router = Router::new(10, 10);
    for topic in ["a:1", "a:2", "b:1"] {
        router.subscribe(key(1), topic);
    }
    let mut lost = router.grant(key(1), only(&["a:*"], &[]));
    assert_eq!(lost, [Box::<str>::from("b:1")]);
    lost = router.grant(key(1), only(&[], &[]));
    lost.sort();
    assert_eq!(lost, [Box::<str>::from("a:1"), "a:2".into()]);
    assert_eq!(router.topic_count(), 0);
    assert!(router.grant(key(1), Permissions::compile(&Grants::everything(None))).is_empty());
    assert_eq!(router.subscribe(key(1), "b:1"), Subscription::Added);
}

#[test]
fn a_grant_leaves_the_ids_of_all_topics_as_they_are() {
    const HELD: usize = 2000;
    let mut router = Router::new(usize::MAX, usize::MAX);
    router.subscribe(key(2), "stays:");
    (0..HELD).for_each(|index| assert_eq!(router.subscribe(key(1), &format!("a:{index}")), Subscription::Added));
    router.subscribe(key(3), "goes:");
    let (stays, goes) = (router.find("stays:").expect("wanted"), router.find("goes:").expect("wanted"));
    assert_eq!(router.grant(key(1), only(&[], &[])).len(), HELD);
    assert_eq!((router.subscribers(stays), router.subscribers(goes)), (&[key(2)][..], &[key(3)][..]));
    router.grant(key(2), only(&[], &[]));
    router.grant(key(3), only(&[], &[]));
    assert_eq!(router.topic_count(), 0);
    assert!(router.subscribers(stays).is_empty() && router.subscribers(goes).is_empty());
    router.forget(key(1));
    assert!(router.topics.is_empty(), "whoever may move topics gives the memory back");
}

#[test]
fn topics_that_came_and_went_leave_no_memory_behind_whoever_stays() {
    const FLOOD: usize = 20_000;
    let mut router = Router::new(usize::MAX, usize::MAX);
    for index in 0..FLOOD {
        assert_eq!(router.subscribe(key(index / 10), &format!("flood:{index}")), Subscription::Added);
        if index == FLOOD / 2 {
            router.subscribe(key(FLOOD), "stays:");
            router.subscribe(key(FLOOD), "goes:");
            router.listen(key(FLOOD), "heard:");
        }
    }
    (0..FLOOD / 10).for_each(|slot| router.remove(key(slot)));
    assert_eq!(router.topic_count(), 3);
    assert!(router.topics.capacity() <= KEPT_PLACES && router.free.capacity() <= KEPT_PLACES);
    assert!(router.by_name.capacity() <= 2 * KEPT_PLACES && router.positions.capacity() <= 2 * KEPT_PLACES);
    let stays = router.find("stays:").expect("subscribed");
    assert_eq!(router.subscribers(stays), [key(FLOOD)]);
    let heard = router.find("heard:").expect("listened to");
    assert!(router.is_local(heard, key(FLOOD)) && router.subscribers(heard).is_empty());
    assert!(router.unsubscribe(key(FLOOD), "goes:") && router.find("goes:").is_none());
    assert_eq!(router.subscribe(key(FLOOD), "stays:"), Subscription::Unchanged);
    router.remove(key(FLOOD));
    assert_eq!((router.topic_count(), router.subscriptions, router.positions.len()), (0, 0, 0));
}

#[test]
fn who_wanted_a_great_deal_leaves_step_by_step_and_is_not_counted_meanwhile() {
    const HELD: usize = 3 * TOPICS_PER_STEP;
    let mut router = Router::new(HELD, HELD);
    for n in 0..HELD {
        router.subscribe(key(1), &format!("t:{n}"));
    }
    router.subscribe(key(2), "t:0");
    router.remove(key(1));
    assert!(router.is_leaving(key(1)));
    assert_eq!((router.topic_count(), router.subscriber_count("t:0"), router.subscriber_count("t:1")), (HELD, 1, 0));
    assert!(router.grant(key(1), only(&[], &[])).is_empty());
    router.forget(key(1));
    assert!(router.sweep());
    assert_eq!(router.topic_count_of(key(1)), HELD - TOPICS_PER_STEP);
    assert!(router.sweep() && router.sweep() && !router.sweep());
    assert!(!router.is_leaving(key(1)));
    let id = router.find("t:0").expect("key 2 wants it");
    assert_eq!((router.topic_count(), router.subscribers(id), router.subscriptions), (1, &[key(2)][..], 1));
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(usize, u8),
    Unsubscribe(usize, u8),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6usize, 0..8u8).prop_map(|(connection, topic)| Step::Subscribe(connection, topic)),
        3 => (0..6usize, 0..8u8).prop_map(|(connection, topic)| Step::Unsubscribe(connection, topic)),
        1 => (0..6usize).prop_map(Step::Remove),
    ]
}

proptest! {
    #[test]
    fn the_last_word_about_a_topic_counts(steps in prop::collection::vec(step(), 0..300)) {
        let mut router = Router::new(1000, 1000);
        let mut model: BTreeMap<u8, BTreeSet<usize>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Subscribe(connection, topic) => {
                    let added = model.entry(topic).or_default().insert(connection);
                    let got = router.subscribe(key(connection), &format!("t:{topic}"));
                    prop_assert_eq!(got == Subscription::Added, added);
                }
                Step::Unsubscribe(connection, topic) => {
                    let removed = model.entry(topic).or_default().remove(&connection);
                    prop_assert_eq!(router.unsubscribe(key(connection), &format!("t:{topic}")), removed);
                }
                Step::Remove(connection) => {
                    model.values_mut().for_each(|subscribers| { subscribers.remove(&connection); });
                    router.remove(key(connection));
                }
            }
            model.retain(|_, subscribers| !subscribers.is_empty());
            prop_assert_eq!(router.topic_count(), model.len());
            for (topic, subscribers) in &model {
                let id = router.find(&format!("t:{topic}")).expect("wanted");
                let got: BTreeSet<usize> = router.subscribers(id).iter().map(|key| key.slot()).collect();
                prop_assert_eq!(&got, subscribers);
                prop_assert_eq!(router.subscribers(id).len(), subscribers.len());
            }
        }
    }
}
