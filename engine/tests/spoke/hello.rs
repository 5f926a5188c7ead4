//! Hubs that are native and hubs that are plain, and how a spoke tells them apart.

use std::time::Duration;

use alkpubsub_engine::delivery::{Direction, Gap, GapCause, Notice};
use alkpubsub_engine::model::ErrorKind;
use alkpubsub_engine::spoke::{PeerKind, SpokeConfig};
use tokio_tungstenite::tungstenite::Message;

use crate::support::*;
use crate::{ByHand, Side, grant, reset, wish};

#[tokio::test]
async fn hello_then_a_ping_then_every_topic_then_events() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.publish("e", "", "1");
        side.spoke.listen("a:");
        side.publish("e", "", "2");
        let mut far = hub.accept().await;
        assert_eq!(far.message().await, Message::text(HELLO));
        assert!(matches!(far.message().await, Message::Ping(_)));
        assert_eq!(wish(&far.text().await).0, "a:");
        assert_eq!(far.text().await, event("e", "", "1"));
        assert_eq!(far.text().await, event("e", "", "2"));
    })
    .await;
}

#[tokio::test]
async fn a_hub_whose_pong_comes_before_its_hello_is_plain() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        side.spoke.confirm("a:", 1);
        let mut far = hub.accept().await;
        // tungstenite answers the ping by itself; it knows no hello.
        let (opened, ()) = tokio::join!(side.app.open(1), async {
            far.text().await;
            far.text().await;
            far.send(&event("a", "", "1")).await;
        });
        assert_eq!(opened, (false, false));
        assert_eq!(side.app.confirmed(1).await, Ok(false), "written, not acknowledged");
        assert_eq!(side.app.payloads_of(1).await, ["1"]);
    })
    .await;
}

#[tokio::test]
async fn a_hub_whose_first_envelope_is_no_hello_is_plain() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        let mut far = hub.accept().await;
        // Nothing is read, so nothing is answered.
        far.send(&event("a", "", "1")).await;
        assert_eq!(side.app.open(1).await, (false, false));
        side.app.payloads_of(1).await;
        let story = side.story();
        assert_eq!(story[..2], ["open false", "event 1"]);
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_says_nothing_is_plain_after_a_while_and_a_late_hello_upgrades_it() {
    within(async {
        let hub = ByHand::listen().await;
        let config = SpokeConfig { hello_timeout: Duration::from_millis(30), ..hub.config() };
        let side = Side::dial(config);
        let mut far = hub.accept().await;
        assert_eq!(side.app.open(1).await, (false, false));
        far.send(HUB_HELLO).await;
        // A ping behind it tells that the hello was read.
        far.send(&event("__ping", "", r#"{"t":"x"}"#)).await;
        while far.text().await != event("__pong", "", r#"{"t":"x"}"#) {}
        side.spoke.listen("a:");
        side.spoke.confirm("a:", 1);
        grant(&mut far).await;
        assert_eq!(side.app.confirmed(1).await, Ok(true));
        let opens = side.story().into_iter().filter(|word| word.starts_with("open"));
        assert_eq!(opens.count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_gap_lasts_until_a_hub_that_said_nothing_says_something() {
    within(async {
        for is_native in [true, false] {
            let hub = ByHand::listen().await;
            let config = SpokeConfig { hello_timeout: Duration::from_millis(30), ..hub.config() };
            let side = Side::dial(config);
            side.spoke.listen("a:");
            let mut far = hub.accept().await;
            far.send(HUB_HELLO).await;
            assert_eq!(far.text().await, HELLO);
            grant(&mut far).await;
            side.spoke.confirm("a:", 1);
            assert_eq!(side.app.confirmed(1).await, Ok(true));
            reset(far);
            // A hub that does not read yet, because its application takes its time, answers not even a ping.
            let mut far = hub.accept().await;
            side.app.nth_notice(2, "open", |notice| matches!(notice, Notice::Open { .. }).then_some(())).await;
            side.spoke.confirm("a:", 2);
            assert_eq!(side.app.confirmed(2).await, Ok(false));
            assert!(side.app.gaps().is_empty(), "nobody knows of an active topic");
            if is_native {
                far.send(HUB_HELLO).await;
                assert_eq!(far.text().await, HELLO);
                grant(&mut far).await;
            }
            far.send(&event("a", "", "7")).await;
            assert_eq!(side.app.payloads_of(1).await, ["7"]);
            let story = side.story();
            assert_eq!(story[story.len() - 2..], ["gap", "event 7"], "{story:?}");
            assert_eq!(side.app.gaps().len(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn to_a_hub_that_is_known_to_be_plain_no_hello_is_said() {
    within(async {
        let hub = ByHand::listen().await;
        let config = SpokeConfig { peer: PeerKind::Plain, ..hub.config() };
        let side = Side::dial(config);
        side.spoke.listen("a:");
        side.spoke.confirm("a:", 1);
        let mut far = hub.accept().await;
        assert_eq!(wish(&far.text().await).0, "a:");
        assert_eq!(side.app.confirmed(1).await, Ok(false));
        assert_eq!(side.app.open(1).await, (false, false));
    })
    .await;
}

#[tokio::test]
async fn a_plain_hub_is_an_error_where_a_native_one_was_asked_for() {
    within(async {
        let hub = ByHand::listen().await;
        let hello_timeout = Duration::from_millis(30);
        let config = || SpokeConfig { peer: PeerKind::Native, hello_timeout, ..hub.config() };
        let side = Side::dial(config());
        side.spoke.listen("a:");
        let mut far = hub.accept().await;
        let (closed, _) = tokio::join!(side.app.closed(), far.until_end());
        assert_eq!(closed.2, Some(ErrorKind::NoHello), "not tried again");

        let side = Side::dial(config());
        side.spoke.listen("a:");
        let mut far = hub.accept().await;
        far.send(&event("a", "", "1")).await;
        assert_eq!(side.app.closed().await.2, Some(ErrorKind::NoHello));
        assert_eq!(side.app.payloads(), [""; 0], "no event of a hub that was not admitted");
    })
    .await;
}

#[tokio::test]
async fn where_a_native_hub_was_asked_for_its_hello_may_come_behind_the_pong_of_a_library() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(SpokeConfig { peer: PeerKind::Native, ..hub.config() });
        side.spoke.listen("a:");
        let mut far = hub.accept().await;
        // tungstenite answers the ping while the topic is read.
        assert_eq!(far.text().await, HELLO);
        assert_eq!(wish(&far.text().await).0, "a:");
        far.send(HUB_HELLO).await;
        assert_eq!(side.app.open(1).await, (false, true));
    })
    .await;
}

#[tokio::test]
async fn what_a_hub_says_about_topics_reaches_the_application() {
    within(async {
        let (_hub, side, mut far) = ByHand::open("a:").await;
        far.send(&event("__gap", "", r#"{"cause":"overflow","from":5,"to":9,"topics":["a:","b:"]}"#)).await;
        let expected = Gap {
            cause: GapCause::Upstream,
            direction: Direction::In,
            from_ms: 5,
            to_ms: 9,
            topics: vec!["a:".into()],
            dropped: 0,
        };
        assert_eq!(side.app.gap(1).await, expected, "only what is listened to");
        far.send(&event("__gap", "", r#"{"cause":"overflow","from":5,"to":9,"topics":["b:"]}"#)).await;
        let refused = r#"{"topic":"p:","kind":"publish","code":"FORBIDDEN","reason":"not you","count":3}"#;
        far.send(&event("__refused", "", refused)).await;
        let (message, _) = side.app.error(ErrorKind::Forbidden).await;
        assert!(message.contains("publishing to \"p:\"") && message.contains("not you"), "{message}");
        far.send(&subscribe("a:")).await;
        far.send(&event("__what", "", "{}")).await;
        far.send(HUB_HELLO).await;
        far.send(&event("unwanted", "", "1")).await;
        far.send(&event("__ping", "", r#"{"t":[1, 2]}"#)).await;
        assert_eq!(far.text().await, event("__pong", "", r#"{"t":[1, 2]}"#));
        let stats = side.spoke.stats();
        assert_eq!((stats.ignored_controls, stats.unwanted, stats.gaps), (3, 1, 1));
    })
    .await;
}
