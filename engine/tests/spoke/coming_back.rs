//! Links that are lost and made again: topics, gaps and order.

use std::time::Duration;

use alkpubsub_engine::delivery::{Direction, GapCause, Notice};
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind};
use alkpubsub_engine::transport::websocket::ListenConfig;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::*;
use crate::{ByHand, Side, grant, reset, wish};

#[tokio::test]
async fn after_a_loss_come_reconnecting_open_one_gap_and_then_events() {
    within(async {
        let (hub, side, mut far) = ByHand::open("a:").await;
        far.send(&event("a", "", "1")).await;
        side.app.payloads_of(1).await;
        reset(far);
        let (attempt, _, kind, message) = side.app.reconnecting(1).await;
        assert_eq!((attempt, kind), (1, ErrorKind::ConnectionLost), "{message}");
        let mut far = hub.accept_native().await;
        // Events that overtake the answer wait for the gap.
        let (topic, n) = wish(&far.text().await);
        far.send(&event("a", "", "2")).await;
        far.send(&event("a", "", "3")).await;
        far.send(&subscribed(&topic, n)).await;
        far.send(&event("a", "", "4")).await;
        assert_eq!(side.app.payloads_of(4).await, ["1", "2", "3", "4"]);
        let story = ["open false", "event 1", "reconnecting", "open true", "gap", "event 2", "event 3", "event 4"];
        assert_eq!(side.story(), story);
        let gap = side.app.gap(1).await;
        assert_eq!((gap.cause, gap.direction), (GapCause::ConnectionLost, Direction::In));
        assert_eq!(gap.topics, [Box::<str>::from("a:")]);
        assert!(gap.from_ms <= gap.to_ms && gap.from_ms > 1_600_000_000_000, "{gap:?}");
        assert_eq!((side.spoke.stats().gaps, side.spoke.stats().connects), (1, 2));
    })
    .await;
}

#[tokio::test]
async fn a_spoke_comes_back_to_our_hub_and_hears_on() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("up:").await;
            let side = Side::of(&net, impatient());
            side.listen("a:", 1).await;
            side.listen("b:", 2).await;
            for round in 1..=3 {
                let (key, _) = net.app.connection(round).await;
                net.hub.disconnect(key, CloseReason::new(CloseCode::RESTART, ""));
                side.app.reconnecting(round).await;
                assert_eq!(side.app.open(round + 1).await, (true, true), "{via:?}");
                side.app.nth_notice(round, "a gap", |notice| matches!(notice, Notice::Gap(_)).then_some(())).await;
                net.publish("a", "", &round.to_string());
                side.publish("up", "", &round.to_string());
                assert_eq!(side.app.payloads_of(round).await, numbers(1..round + 1), "{via:?}");
                assert_eq!(net.app.payloads_of(round).await, numbers(1..round + 1));
            }
            let gaps = side.app.gaps();
            assert_eq!(gaps.len(), 3);
            for gap in gaps {
                let mut topics = gap.topics;
                topics.sort();
                assert_eq!(topics, [Box::<str>::from("a:"), "b:".into()]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_is_started_again_on_its_port_gets_its_spokes_back() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        let side = Side::of(&net, impatient());
        side.listen("a:", 1).await;
        let port = net.address().rsplit(':').next().and_then(|port| port.parse().ok());
        net.hub.close(CloseReason::new(CloseCode::GOING_AWAY, ""), Duration::from_secs(30));
        net.app.closed().await;
        side.app.reconnecting(1).await;
        let listen = ListenConfig { port: port.expect("a port"), ..loopback() };
        let again = Net::start_at(HubConfig::default(), Via::WebSocket, listen).await;
        side.app.gap(1).await;
        again.publish("a", "", "1");
        assert_eq!(side.app.payloads_of(1).await, ["1"]);
        assert_eq!(side.app.gaps().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn two_losses_before_the_topics_are_back_are_one_gap() {
    within(async {
        let (hub, side, far) = ByHand::open("a:").await;
        side.spoke.confirm("a:", 1);
        side.app.confirmed(1).await.expect("granted");
        reset(far);
        // Lost again before its handshake, before its hello, and before its answer to the topic.
        drop(hub.tcp().await);
        let mut far = hub.accept().await;
        far.text().await;
        reset(far);
        let mut far = hub.accept_native().await;
        far.text().await;
        side.app.open(2).await;
        reset(far);
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        far.send(&event("a", "", "1")).await;
        side.app.payloads_of(1).await;
        let story = side.story();
        assert_eq!(story.iter().filter(|word| *word == "gap").count(), 1, "{story:?}");
        assert_eq!(story[story.len() - 2..], ["gap", "event 1"]);
        assert_eq!(story.iter().filter(|word| *word == "reconnecting").count(), 4, "{story:?}");
    })
    .await;
}

#[tokio::test]
async fn topics_that_came_or_went_during_the_outage_are_not_in_the_gap() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        for topic in ["kept:", "dropped:"] {
            side.spoke.listen(topic);
        }
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        grant(&mut far).await;
        for (token, topic) in [(1, "kept:"), (2, "dropped:")] {
            side.spoke.confirm(topic, token);
            side.app.confirmed(token).await.expect("granted");
        }
        reset(far);
        side.app.reconnecting(1).await;
        // The next link waits for its handshake: the outage lasts as long as this test likes.
        let tcp = hub.tcp().await;
        side.spoke.listen("new:");
        side.spoke.confirm("new:", 3);
        side.spoke.unlisten("dropped:");
        side.spoke.flush(4);
        side.app.flushed(4).await;
        let mut far = Bare::accept(tcp).await;
        far.text().await;
        far.send(HUB_HELLO).await;
        let mut topics = [grant(&mut far).await, grant(&mut far).await];
        topics.sort();
        assert_eq!(topics, ["kept:", "new:"]);
        assert_eq!(side.app.confirmed(3).await, Ok(true));
        assert_eq!(side.app.gap(1).await.topics, [Box::<str>::from("kept:")]);
    })
    .await;
}

#[tokio::test]
async fn without_topics_and_without_events_there_is_no_gap() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let far = hub.accept_native().await;
        side.app.open(1).await;
        reset(far);
        let mut far = hub.accept_native().await;
        side.app.open(2).await;
        // The time before the first answer to a topic is no gap either.
        side.spoke.listen("a:");
        far.text().await;
        reset(far);
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        far.send(&event("a", "", "1")).await;
        side.app.payloads_of(1).await;
        assert_eq!(side.app.gaps(), []);
    })
    .await;
}

#[tokio::test]
async fn events_that_the_hub_may_not_have_received_make_a_gap_outwards() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        side.publish("e", "", "1");
        assert_eq!(far.text().await, event("e", "", "1"));
        reset(far);
        let _far = hub.accept_native().await;
        let gap = side.app.gap(1).await;
        assert_eq!((gap.direction, gap.topics), (Direction::Out, vec![]));
    })
    .await;
}

#[tokio::test]
async fn events_that_an_answered_ping_proves_received_make_no_gap() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.limits.heartbeat = Duration::from_millis(400);
        let side = Side::dial(config);
        let mut far = hub.accept_native().await;
        side.publish("e", "", "1");
        while far.message().await != Message::text(event("e", "", "1")) {}
        // The heartbeat asks; tungstenite answers with the next read or write.
        while !matches!(far.message().await, Message::Ping(_)) {}
        far.send(&event("__ping", "", r#"{"t":1}"#)).await;
        while far.message().await != Message::text(event("__pong", "", r#"{"t":1}"#)) {}
        reset(far);
        let _far = hub.accept_native().await;
        side.app.open(2).await;
        assert_eq!(side.app.gaps(), []);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_topics_are_subscribed_again_once_each() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        for number in 0..1000 {
            side.spoke.listen(&format!("t:{number}"));
        }
        let wishes = async |far: &mut Bare<TcpStream>| {
            let mut topics = Vec::new();
            let mut ns = Vec::new();
            for _ in 0..1000 {
                let (topic, n) = wish(&far.text().await);
                topics.push(topic);
                ns.push(n);
            }
            assert!(ns.is_sorted_by(|a, b| a < b), "n counts up");
            topics.sort();
            topics.dedup();
            assert_eq!(topics.len(), 1000);
        };
        let mut far = hub.accept_native().await;
        wishes(&mut far).await;
        reset(far);
        let mut far = hub.accept_native().await;
        side.publish("end", "", "0");
        wishes(&mut far).await;
        assert_eq!(far.text().await, event("end", "", "0"));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_delivered_twice_and_order_holds_across_links() {
    const EVENTS: usize = 3000;
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("up:").await;
            let side = Side::of(&net, impatient());
            side.app.open(1).await;
            let mut cuts = 0;
            for number in 0..EVENTS {
                side.publish("up", "", &number.to_string());
                if number % 500 == 250 {
                    cuts += 1;
                    let (key, _) = net.app.connection(cuts).await;
                    net.hub.disconnect(key, CloseReason::new(CloseCode::RESTART, ""));
                    side.app.reconnecting(cuts).await;
                }
            }
            side.publish("up", "", "999999");
            net.app
                .until("the last event", |log| {
                    log.iter()
                        .any(|heard| matches!(heard, Heard::Event(event) if event.payload == "999999"))
                        .then_some(())
                })
                .await;
            let heard: Vec<u32> = net.app.payloads().iter().map(|payload| payload.parse().expect("a number")).collect();
            assert!(heard.is_sorted_by(|a, b| a < b), "{via:?}");
        }
    })
    .await;
}
