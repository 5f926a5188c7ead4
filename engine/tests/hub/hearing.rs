//! Who hears what, in which order and in how many writes.

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::Prefix;
use alkpubsub_engine::route::ConnKey;

use crate::flush;
use crate::support::*;

#[tokio::test]
async fn a_plain_peer_hears_its_topics_and_no_frame_that_it_does_not_know() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut plain = net.peer().await;
            plain.subscribe("chat.msg:r1").await;
            assert_eq!(plain.rest().await, [""; 0], "{via:?}: no answer to a subscribe");
            net.publish("chat.msg", "r1", r#"{"n":1}"#);
            net.publish("chat.msg", "r2", "0");
            net.publish("chat.msg", "r1", "2");
            flush(&net, 1).await;
            plain.unsubscribe("chat.msg:r1").await;
            plain.send(&event("__what", "", "{}")).await;
            plain.send(&event("__subscribe", "", r#"{"topic":""}"#)).await;
            let events = [event("chat.msg", "r1", r#"{"n":1}"#), event("chat.msg", "r1", "2")];
            assert_eq!(plain.rest().await, events, "{via:?}");
            assert_eq!(net.hub.stats().ignored_controls, 2);
            assert_eq!(net.hub.stats().unrouted, 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_plain_peer_is_refused_in_silence() {
    within(async {
        for via in EVERY_WAY {
            let mut config = HubConfig::default();
            config.limits.max_topics_per_connection = 1;
            let net = Net::start(config, via).await;
            let mut plain = net.subscriber(&["a:1", "a:2"]).await;
            assert_eq!(plain.rest().await, [""; 0]);
            assert_eq!((net.hub.subscriber_count("a:1"), net.hub.subscriber_count("a:2")), (1, 0));
        }
    })
    .await;
}

#[tokio::test]
async fn a_native_peer_hears_hello_then_subscribed_then_the_first_event() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut publisher = net.peer().await;
            let mut native = net.peer().await;
            let publishing = async {
                for number in 0..2000 {
                    publisher.send(&event("t", "1", &number.to_string())).await;
                    tokio::task::yield_now().await;
                }
                publisher.settle().await;
            };
            let hearing = async {
                native.send(HELLO).await;
                native.send(&subscribe_n("t:1", 7)).await;
                native.texts(5).await
            };
            let (heard, ()) = tokio::join!(hearing, publishing);
            assert_eq!(heard[0], HUB_HELLO, "{via:?}");
            assert_eq!(heard[1], subscribed("t:1", 7), "{via:?}");
            let first: usize = payloads(&heard[2..3])[0].parse().expect("a number");
            assert_eq!(payloads(&heard[2..]), numbers(first..first + 3), "{via:?}: in order and without a hole");
            let (key, _) = net.app.connection(2).await;
            net.app
                .notice("hello", |notice| {
                    matches!(notice, Notice::Hello { connection } if *connection == key.to_bits()).then_some(())
                })
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_hello_and_what_only_a_hub_may_say_are_ignored_and_counted() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("a:").await;
            let mut native = net.peer().await;
            native.send(HELLO).await;
            native.send(HELLO).await;
            native.send(&subscribed("a:", 1)).await;
            native.send(&event("__refused", "", r#"{"topic":"a:","kind":"publish","code":"FORBIDDEN"}"#)).await;
            native.send(&event("__gap", "", r#"{"from":1,"to":2,"topics":["a:"]}"#)).await;
            native.send(&event("__credit", "", r#"{"bytes":-5}"#)).await;
            native.send(&event("__subscribe", "x", r#"{"topic":7}"#)).await;
            assert_eq!(native.rest().await, [HUB_HELLO]);
            assert_eq!(net.hub.stats().ignored_controls, 6, "{via:?}");
            assert_eq!(net.app.events(), []);
        }
    })
    .await;
}

#[tokio::test]
async fn without_relay_a_peer_reaches_the_application_alone() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(HubConfig::default(), via).await;
            net.listen("t:1").await;
            let mut other = net.subscriber(&["t:1"]).await;
            let mut publisher = net.subscriber(&["t:1"]).await;
            publisher.send(&event("t", "1", "[1]")).await;
            publisher.send(&event("t", "2", "[2]")).await;
            assert_eq!(publisher.rest().await, [""; 0]);
            let heard = net.app.events();
            let (key, _) = net.app.connection(2).await;
            assert_eq!(heard.len(), 1, "{via:?}");
            assert_eq!(heard[0].connection, key.to_bits());
            assert_eq!((&*heard[0].type_, &*heard[0].id, &*heard[0].payload), ("t", "1", "[1]"));
            assert_eq!(other.rest().await, [""; 0]);
            let stats = net.hub.stats();
            assert_eq!((stats.received, stats.delivered, stats.unrouted, stats.sent), (2, 1, 1, 0));
        }
    })
    .await;
}

#[tokio::test]
async fn with_relay_every_other_subscriber_hears_a_peer_and_the_peer_does_not() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let mut first = net.subscriber(&["t:1"]).await;
            let mut second = net.subscriber(&["t:1", "t:2"]).await;
            let mut publisher = net.subscriber(&["t:1"]).await;
            publisher.send(&event("t", "1", "1")).await;
            assert_eq!(publisher.rest().await, [""; 0], "{via:?}: no echo");
            assert_eq!(first.rest().await, [event("t", "1", "1")]);
            assert_eq!(second.rest().await, [event("t", "1", "1")]);
            net.publish("t", "1", "2");
            assert_eq!(publisher.text().await, event("t", "1", "2"));
            assert_eq!(net.app.payloads(), ["1"], "{via:?}: the hub does not hear itself");
        }
    })
    .await;
}

#[tokio::test]
async fn an_unsubscribe_stops_events_and_frees_the_topic() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut peer = net.subscriber(&["t:1", "t:1", "t:2"]).await;
            assert_eq!((net.hub.stats().topics, net.hub.subscriber_count("t:1")), (2, 1));
            peer.unsubscribe("t:1").await;
            peer.unsubscribe("t:1").await;
            peer.unsubscribe("never:").await;
            peer.settle().await;
            assert_eq!(net.hub.stats().topics, 1);
            net.publish("t", "1", "1");
            net.publish("t", "2", "2");
            flush(&net, 1).await;
            assert_eq!(peer.rest().await, [event("t", "2", "2")], "{via:?}");
            peer.subscribe("t:1").await;
            peer.settle().await;
            net.publish("t", "1", "3");
            assert_eq!(peer.text().await, event("t", "1", "3"));
        }
    })
    .await;
}

#[tokio::test]
async fn one_topic_may_be_two_envelopes() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut peer = net.subscriber(&["a:b:c", "empty:"]).await;
            net.publish("a", "b:c", "1");
            net.publish("a:b", "c", "2");
            net.publish("empty", "", "3");
            let expected = [event("a", "b:c", "1"), event("a:b", "c", "2"), event("empty", "", "3")];
            assert_eq!(peer.texts(3).await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_late_subscriber_gets_nothing_published_before_it() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut early = net.subscriber(&["t:1"]).await;
            net.publish("t", "1", "1");
            assert_eq!(early.text().await, event("t", "1", "1"));
            let mut late = net.subscriber(&["t:1"]).await;
            net.publish("t", "1", "2");
            assert_eq!(late.text().await, event("t", "1", "2"));
        }
    })
    .await;
}

#[tokio::test]
async fn order_from_one_publisher_is_kept_across_topics() {
    const EVENTS: usize = 5000;
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let topics = ["t:0", "t:1", "t:2", "t:3", "t:4"];
            for topic in topics {
                net.listen(topic).await;
            }
            let mut subscriber = net.subscriber(&topics).await;
            let mut publisher = net.peer().await;
            let publishing = async {
                for number in 0..EVENTS {
                    let id = (number * 7 % 5).to_string();
                    publisher.send(&event("t", &id, &number.to_string())).await;
                }
            };
            let (texts, ()) = tokio::join!(subscriber.texts(EVENTS), publishing);
            assert_eq!(payloads(&texts), numbers(0..EVENTS), "{via:?}");
            assert_eq!(net.app.payloads_of(EVENTS).await, numbers(0..EVENTS));
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_to_one_does_not_wait_until_an_event_to_a_crowd_is_written() {
    const CROWD: usize = 640;
    within(async {
        let net = Net::relay(Via::Memory).await;
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            crowd.push(net.subscriber(&["flood:"]).await);
        }
        let mut asker = net.subscriber(&["answer:"]).await;
        let before = net.hub.stats().writes;
        net.publish("flood", "", "1");
        while net.hub.stats().writes == before {
            tokio::task::yield_now().await;
        }
        net.publish("flood", "", "2");
        net.publish("answer", "", "3");
        net.publish("flood", "", "4");
        assert_eq!(asker.text().await, event("answer", "", "3"));
        let written = net.hub.stats().writes - before;
        assert!(written < CROWD as u64, "{written} writes before the answer was read");
        for peer in &mut crowd {
            assert_eq!(payloads(&peer.texts(3).await), ["1", "2", "4"]);
        }
    })
    .await;
}

#[tokio::test]
async fn events_of_the_application_keep_their_order_whatever_their_size() {
    const EVENTS: usize = 400;
    within(async {
        let seed: u64 = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
        for via in EVERY_WAY {
            let config = HubConfig { max_buffered: 64 << 20, ..HubConfig::default() };
            let net = Net::start(config, via).await;
            let mut peers = [net.subscriber(&["t:0", "t:1"]).await, net.subscriber(&["t:1", "t:0"]).await];
            let mut dice = seed;
            let mut sent = Vec::new();
            for number in 0..EVENTS {
                // xorshift: sizes below, around and above what is copied.
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                let payload = format!("\"{number}{}\"", "x".repeat((dice % 40_000) as usize));
                let id = (dice / 40_000 % 2).to_string();
                net.publish("t", &id, &payload);
                sent.push(event("t", &id, &payload));
            }
            for peer in &mut peers {
                let heard = peer.texts(EVENTS).await;
                assert!(heard == sent, "{via:?}, SEED={seed}: order and content");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_burst_goes_out_in_few_writes() {
    const EVENTS: usize = 10_000;
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut peer = net.subscriber(&["t:1"]).await;
            for number in 0..EVENTS {
                net.publish("t", "1", &number.to_string());
            }
            assert_eq!(payloads(&peer.texts(EVENTS).await), numbers(0..EVENTS));
            let stats = net.hub.stats();
            assert_eq!(stats.sent, EVENTS as u64);
            assert!(stats.writes < 200, "{via:?}: {} writes", stats.writes);
        }
    })
    .await;
}

#[tokio::test]
async fn a_kept_prefix_and_names_publish_the_same() {
    within(async {
        let net = Net::relay(Via::Memory).await;
        let mut peer = net.subscriber(&["t:1"]).await;
        let prefix = Prefix::new("t", "1");
        net.hub.publish(&prefix, "1", ConnKey::APPLICATION);
        net.hub.publish_once("t", "1", "1", ConnKey::APPLICATION);
        assert_eq!(peer.texts(2).await, [event("t", "1", "1"), event("t", "1", "1")]);
    })
    .await;
}
