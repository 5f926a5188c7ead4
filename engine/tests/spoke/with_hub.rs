//! With our hub: who hears what, what is acknowledged, and what a close still writes.

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind, Published};

use crate::support::*;
use crate::{ByHand, Side, normal_close, wish};

#[tokio::test]
async fn events_travel_both_ways_and_subscriptions_are_acknowledged() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("up:1").await;
            let side = Side::of(&net, impatient());
            assert!(side.listen("down:1", 1).await, "{via:?}: a native hub acknowledges");
            assert_eq!(side.app.open(1).await, (false, true));
            net.publish("down", "1", r#"{"a":[1, 2]}"#);
            assert_eq!(side.app.payloads_of(1).await, [r#"{"a":[1, 2]}"#]);
            side.publish("up", "1", r#"{"b":1e400}"#);
            assert_eq!(net.app.payloads_of(1).await, [r#"{"b":1e400}"#]);
            assert_eq!((side.spoke.stats().topics, side.spoke.stats().connects), (1, 1));
        }
    })
    .await;
}

#[tokio::test]
async fn a_spoke_does_not_hear_itself_and_others_hear_it_in_order() {
    const EVENTS: usize = 10_000;
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let hearer = Side::of(&net, impatient());
            let publisher = Side::of(&net, impatient());
            hearer.listen("t:0", 1).await;
            hearer.listen("t:1", 2).await;
            publisher.listen("t:0", 1).await;
            for number in 0..EVENTS {
                publisher.publish("t", &(number % 2).to_string(), &number.to_string());
            }
            assert_eq!(hearer.app.payloads_of(EVENTS).await, numbers(0..EVENTS), "{via:?}");
            assert_eq!(publisher.app.payloads(), [""; 0]);
            let writes = publisher.spoke.stats().writes;
            assert!(writes < 100, "{via:?}: a burst goes out in few writes, not {writes}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_changes_between_none_and_some_travel() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        side.spoke.listen("a:");
        side.spoke.listen("a:");
        side.spoke.unlisten("a:");
        side.spoke.unlisten("a:");
        side.spoke.unlisten("never:");
        side.spoke.listen("a:");
        side.spoke.confirm("a:", 1);
        let (topic, first) = wish(&far.text().await);
        assert_eq!(topic, "a:");
        assert_eq!(far.text().await, event("__unsubscribe", "", r#"{"topic":"a:"}"#));
        let (_, second) = wish(&far.text().await);
        assert!(second > first);
        // The answer to the first wish is not the answer to the second.
        far.send(&subscribed("a:", first)).await;
        far.send(&event("a", "", "1")).await;
        side.app.payloads_of(1).await;
        let is_answered = |notice: &Notice| matches!(notice, Notice::Confirmed { .. });
        assert!(!side.app.notices().iter().any(is_answered));
        far.send(&subscribed("a:", second)).await;
        assert_eq!(side.app.confirmed(1).await, Ok(true));
        side.publish("end", "", "0");
        assert_eq!(far.text().await, event("end", "", "0"), "nothing else was said");
    })
    .await;
}

#[tokio::test]
async fn a_late_subscriber_gets_nothing_published_before_it() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let early = Side::of(&net, impatient());
            early.listen("t:1", 1).await;
            net.publish("t", "1", "1");
            early.app.payloads_of(1).await;
            let late = Side::of(&net, impatient());
            late.listen("t:1", 1).await;
            net.publish("t", "1", "2");
            assert_eq!(late.app.payloads_of(1).await, ["2"], "{via:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn ready_for_a_topic_that_nobody_listens_to_is_an_error() {
    within(async {
        let net = Net::relay(Via::Memory).await;
        let side = Side::of(&net, impatient());
        side.spoke.confirm("a:", 1);
        assert_eq!(side.app.confirmed(1).await, Err(ErrorKind::NotSubscribed));
        side.listen("a:", 2).await;
        side.spoke.unlisten("a:");
        side.spoke.confirm("a:", 3);
        assert_eq!(side.app.confirmed(3).await, Err(ErrorKind::NotSubscribed));
    })
    .await;
}

#[tokio::test]
async fn a_refused_subscription_is_told_to_who_waits_for_it() {
    within(async {
        for via in EVERY_WAY {
            let mut config = HubConfig::default();
            config.limits.max_topics_per_connection = 1;
            let net = Net::start(config, via).await;
            let side = Side::of(&net, impatient());
            side.listen("a:", 1).await;
            side.spoke.listen("b:");
            side.spoke.confirm("b:", 2);
            assert_eq!(side.app.confirmed(2).await, Err(ErrorKind::Limit), "{via:?}");
            side.app.error(ErrorKind::Limit).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_subscription_is_told_to_who_asks_afterwards() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_topics_per_connection = 1;
        let net = Net::start(config, Via::Memory).await;
        let side = Side::of(&net, impatient());
        side.listen("a:", 1).await;
        side.spoke.listen("b:");
        side.app.error(ErrorKind::Limit).await;
        side.spoke.confirm("b:", 2);
        assert_eq!(side.app.confirmed(2).await, Err(ErrorKind::Limit));
    })
    .await;
}

#[tokio::test]
async fn close_writes_what_was_published_before() {
    const EVENTS: usize = 5000;
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let side = Side::of(&net, impatient());
            side.app.open(1).await;
            for number in 0..EVENTS {
                side.publish("t", "1", &number.to_string());
            }
            side.spoke.close(CloseReason::new(CloseCode::NORMAL, "done"), FOREVER);
            side.spoke.close(normal_close(), FOREVER);
            assert_eq!(side.app.closed().await, (1000, "done".into(), None), "{via:?}");
            assert_eq!(net.app.payloads_of(EVENTS).await, numbers(0..EVENTS));
            let (key, _) = net.app.connection(1).await;
            let (code, _, is_clean) = net.app.disconnection(key).await;
            assert_eq!((code, is_clean), (1000, true), "{via:?}");
            assert_eq!(side.spoke.publish_once("t", "1", "1"), Published::Closed);
            assert_eq!(side.story().last().map(String::as_str), Some("closed 1000"));
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_published_before_the_first_open_is_written_by_close() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let side = Side::of(&net, impatient());
            side.publish("t", "1", "1");
            side.spoke.close(normal_close(), FOREVER);
            assert_eq!(side.app.closed().await, (1000, String::new(), None), "{via:?}");
            assert_eq!(net.app.payloads_of(1).await, ["1"]);
        }
    })
    .await;
}

#[tokio::test]
async fn abort_ends_at_once_and_answers_who_waits() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let side = Side::of(&net, impatient());
            side.listen("a:", 1).await;
            side.spoke.abort();
            side.app.closed().await;
            let (key, _) = net.app.connection(1).await;
            net.app.disconnection(key).await;
            assert_eq!(net.hub.stats().topics, 0, "{via:?}");
        }
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        side.spoke.confirm("a:", 1);
        let _never_answered = hub.tcp().await;
        side.spoke.abort();
        assert_eq!(side.app.confirmed(1).await, Err(ErrorKind::Closed));
        side.app.closed().await;
    })
    .await;
}

#[tokio::test]
async fn flush_and_drained_are_answered() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let side = Side::of(&net, impatient());
            for number in 0..1000 {
                side.publish("t", "1", &number.to_string());
            }
            side.spoke.flush(1);
            side.app.flushed(1).await;
            assert_eq!(side.spoke.buffered(), 0, "{via:?}");
            side.spoke.drained(2);
            side.app.drained(2).await;
            side.spoke.flush(3);
            side.app.flushed(3).await;
        }
    })
    .await;
}
