//! Slow readers, floods and limits: who is cut, who waits, and what is refused.

use std::time::Duration;

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{ErrorKind, Limits, Prefix, Published};
use alkpubsub_engine::route::ConnKey;
use tokio::io::AsyncWriteExt;

use crate::deaf;
use crate::support::*;

#[tokio::test]
async fn messages_of_more_than_half_the_bound_lose_nobody_who_reads() {
    within(async {
        const COUNT: usize = 40;
        let net = Net::start(HubConfig::default(), Via::Memory).await;
        let mut reader = net.subscriber(&["t:1"]).await;
        let (small, large) = ("x".repeat(60_000), "y".repeat(700_000));
        for number in 0..COUNT {
            net.publish("t", "1", &format!("\"{number} {small}\""));
            net.publish("t", "1", &format!("\"{number} {large}\""));
        }
        for number in 0..COUNT {
            for _ in 0..2 {
                assert!(reader.text().await.contains(&format!("\"{number} ")));
            }
        }
        assert_eq!((net.hub.stats().slow_consumers, net.hub.stats().dropped), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_is_cut_with_1013_and_everybody_else_hears_everything() {
    within(async {
        let config = HubConfig { max_buffered: 64 << 10, ..HubConfig::default() };
        let net = Net::start(config, Via::WebSocket).await;
        let mut deaf = deaf(&net, "t:1").await;
        let (key, _) = net.app.connection(1).await;
        let mut fast = net.subscriber(&["t:1"]).await;
        let reading = tokio::spawn(async move {
            let mut heard = Vec::new();
            loop {
                let text = fast.text().await;
                if text.contains("\"end\"") {
                    return heard;
                }
                heard.push(text);
            }
        });
        let filler = "x".repeat(1000);
        let is_cut = || net.app.notices().into_iter().any(|n| matches!(n, Notice::Backpressure { .. }));
        let mut published = 0;
        while !is_cut() {
            for _ in 0..50 {
                net.publish("t", "1", &format!("\"{published} {filler}\""));
                published += 1;
            }
            net.hub.confirm(published);
            net.app.confirmed(published).await.expect("confirmed");
        }
        let (told, buffered) = net
            .app
            .notice("backpressure", |notice| match notice {
                Notice::Backpressure { connection, buffered } => Some((*connection, *buffered)),
                _ => None,
            })
            .await;
        assert_eq!(told, key.to_bits());
        assert!(buffered > 64 << 10 && buffered < 128 << 10, "{buffered} bytes waited");
        let mut heard_by_deaf = 0_u64;
        let close = loop {
            match read_frame(&mut deaf).await.expect("a close frame") {
                (0x81, payload) => {
                    let expected = format!(r#"{{"type":"t","id":"1","payload":"{heard_by_deaf} "#);
                    assert!(payload.starts_with(expected.as_bytes()), "whole events in order");
                    heard_by_deaf += 1;
                }
                (0x88, payload) => break payload,
                other => unreachable!("{other:?}"),
            }
        };
        assert_eq!(close[..2], u16::to_be_bytes(1013));
        drop(deaf);
        assert_eq!(net.app.disconnection(key).await.0, 1013);
        net.publish("t", "1", "\"end\"");
        let heard = reading.await.expect("no panic");
        assert_eq!(heard.len(), published as usize);
        let stats = net.hub.stats();
        assert_eq!(stats.slow_consumers, 1);
        let to_deaf = stats.sent - u64::from(published) - 1;
        assert_eq!(stats.dropped, to_deaf - heard_by_deaf, "the drop is counted exactly");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tight_loop_loses_nobody_who_reads() {
    const EVENTS: usize = 20_000;
    const READERS: usize = 5;
    within(async {
        let net = Net::start(HubConfig::default(), Via::WebSocket).await;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut reader = net.subscriber(&["t:1"]).await;
            readers.push(tokio::spawn(async move {
                for number in 0..EVENTS {
                    let text = reader.text().await;
                    assert!(text.contains(&format!("\"{number} ")), "{text:.60} instead of {number}");
                }
            }));
        }
        let filler = "x".repeat(1000);
        let prefix = Prefix::new("t", "1");
        for number in 0..EVENTS {
            let published = net.hub.publish(&prefix, &format!("\"{number} {filler}\""), ConnKey::APPLICATION);
            assert_eq!(published, Published::Accepted);
        }
        for reader in readers {
            reader.await.expect("every reader hears everything");
        }
        let stats = net.hub.stats();
        assert_eq!((stats.slow_consumers, stats.dropped), (0, 0));
        assert_eq!(stats.sent, (EVENTS * READERS) as u64);
    })
    .await;
}

#[tokio::test]
async fn a_single_message_above_the_bound_may_wait() {
    within(async {
        for via in EVERY_WAY {
            let config = HubConfig { max_buffered: 1000, ..HubConfig::default() };
            let net = Net::start(config, via).await;
            let mut peer = net.subscriber(&["t:1"]).await;
            let payload = format!("\"{}\"", "x".repeat(1_000_000));
            net.publish("t", "1", &payload);
            assert_eq!(peer.text().await.len(), event("t", "1", &payload).len(), "{via:?}");
            assert_eq!(net.hub.stats().slow_consumers, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_pings_that_nobody_reads_the_answers_to_is_bounded() {
    within(async {
        let config = HubConfig { max_buffered: 64 << 10, ..HubConfig::default() };
        let net = Net::start(config, Via::WebSocket).await;
        let mut stream = deaf(&net, "t:1").await;
        let (key, _) = net.app.connection(1).await;
        let pings = masked(0x89, &[b'p'; 125]).repeat(100);
        let flood = async { while stream.write_all(&pings).await.is_ok() {} };
        let (_, (code, _, _)) = tokio::join!(flood, net.app.disconnection(key));
        assert_eq!(code, 1013);
    })
    .await;
}

#[tokio::test]
async fn the_backlog_is_bounded_and_what_is_refused_is_counted_and_told() {
    within(async {
        let cost = event("t", "1", "0").len() + Limits::EVENT_OVERHEAD_BYTES;
        let config = HubConfig { max_pending: 10 * cost, ..HubConfig::default() };
        // One thread: the hub's task cannot run between these lines.
        let net = Net::start(config, Via::Memory).await;
        let mut peer = net.subscriber(&["t:1"]).await;
        let fates: Vec<Published> = (0..16)
            .map(|number| net.hub.publish_once("t", "1", &(number % 10).to_string(), ConnKey::APPLICATION))
            .collect();
        assert_eq!(fates[..10], [Published::Accepted; 10], "at the bound");
        assert_eq!(fates[10..], [Published::Full; 6], "one over");
        assert_eq!(net.hub.buffered(), 10 * cost);
        net.hub.drained(1);
        net.app.drained(1).await;
        let (message, dropped) = net.app.error(ErrorKind::BufferFull).await;
        assert_eq!(dropped, 6, "one notice for all: {message}");
        assert_eq!(net.hub.stats().dropped, 6);
        assert_eq!(payloads(&peer.texts(10).await), numbers(0..10));
        assert_eq!(net.hub.buffered(), 0);
        net.publish("t", "1", "\"room again\"");
        assert_eq!(peer.text().await, event("t", "1", "\"room again\""));
    })
    .await;
}

#[tokio::test]
async fn an_empty_backlog_takes_any_one_event() {
    within(async {
        let config = HubConfig { max_pending: 1, ..HubConfig::default() };
        let net = Net::start(config, Via::Memory).await;
        let publish = || net.hub.publish_once("t", "1", "0", ConnKey::APPLICATION);
        assert_eq!((publish(), publish()), (Published::Accepted, Published::Full));
    })
    .await;
}

#[tokio::test]
async fn native_peers_hear_a_gap_when_the_backlog_overflowed() {
    within(async {
        let config = HubConfig { max_pending: 1, ..HubConfig::default() };
        let net = Net::start(config, Via::Memory).await;
        let mut peer = net.peer().await;
        peer.send(HELLO).await;
        peer.send(&subscribe_n("t:1", 1)).await;
        assert_eq!(peer.rest().await, [HUB_HELLO.to_owned(), subscribed("t:1", 1)]);
        let publish = || net.hub.publish_once("t", "1", "0", ConnKey::APPLICATION);
        assert_eq!((publish(), publish()), (Published::Accepted, Published::Full));
        net.app.error(ErrorKind::BufferFull).await;
        let heard = peer.rest().await;
        assert!(heard.iter().any(|text| text.contains("__gap")), "{heard:?}");
    })
    .await;
}

#[tokio::test]
async fn limits_on_topics_refuse_one_more_and_say_so_to_native_peers() {
    within(async {
        for via in EVERY_WAY {
            let mut config = HubConfig::default();
            config.limits.max_topics_per_connection = 2;
            config.limits.max_topics = 3;
            config.limits.max_topic_bytes = 8;
            let net = Net::start(config, via).await;
            let mut first = net.peer().await;
            let mut second = net.peer().await;
            let refused = |topic: &str, n: u32, limit: &str| {
                let payload = format!(
                    r#"{{"topic":"{topic}","n":{n},"kind":"subscribe","code":"LIMIT","reason":"{limit} of the hub reached"}}"#
                );
                event("__refused", "", &payload)
            };
            first.send(HELLO).await;
            first.send(&subscribe_n("a:345678", 1)).await;
            first.send(&subscribe_n("a:3456789", 2)).await;
            first.send(&subscribe_n("b:", 3)).await;
            first.send(&subscribe_n("c:", 4)).await;
            first.send(&subscribe_n("b:", 5)).await;
            let answers = [
                HUB_HELLO.to_owned(),
                subscribed("a:345678", 1),
                refused("a:3456789", 2, "maxTopicBytes"),
                subscribed("b:", 3),
                refused("c:", 4, "maxTopicsPerConnection"),
                subscribed("b:", 5),
            ];
            assert_eq!(first.rest().await, answers, "{via:?}");
            second.send(HELLO).await;
            second.send(&subscribe_n("c:", 1)).await;
            second.send(&subscribe_n("d:", 2)).await;
            second.send(&subscribe_n("b:", 3)).await;
            let answers = [
                HUB_HELLO.to_owned(),
                subscribed("c:", 1),
                refused("d:", 2, "maxTopics"),
                subscribed("b:", 3),
            ];
            assert_eq!(second.rest().await, answers, "{via:?}");
            first.send(&event("a", "345678", "1")).await;
            first.send(&event("a", "3456789", "1")).await;
            first.settle().await;
            assert_eq!(net.hub.stats().malformed, 1, "an event of a topic that is too long");
        }
    })
    .await;
}

#[tokio::test]
async fn an_application_that_falls_behind_stops_the_reading_of_who_it_hears_and_of_nobody_else() {
    const EVENTS: usize = 4000;
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        net.listen("local:").await;
        let filler = "x".repeat(4000);
        let mut relayer = net.peer().await;
        let mut subscriber = net.subscriber(&["relayed:"]).await;
        let mut publisher = net.peer().await;
        net.app.set_full(true);
        let publishing = tokio::spawn(async move {
            for number in 0..EVENTS {
                publisher.send(&event("local", "", &format!("\"{number} {filler}\""))).await;
            }
            publisher
        });
        for number in 0..1000 {
            relayer.send(&event("relayed", "", &number.to_string())).await;
            assert_eq!(subscriber.text().await, event("relayed", "", &number.to_string()));
        }
        let before = net.app.payloads().len();
        assert!(before < EVENTS / 2, "{before} events forced upon an application that is full");
        assert!(!publishing.is_finished(), "the publisher's socket is full");
        net.app.set_full(false);
        let heard = net.app.payloads_of(EVENTS).await;
        for (number, payload) in heard.iter().enumerate() {
            assert!(payload.starts_with(&format!("\"{number} ")), "{payload:.40} instead of {number}");
        }
        publishing.await.expect("no panic").settle().await;
        assert_eq!(net.hub.stats().connections, 3);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_not_read_for_the_applications_sake_is_still_pinged() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.heartbeat = Duration::from_millis(100);
        let net = Net::start(config, Via::WebSocket).await;
        net.listen("t:1").await;
        let mut stream = raw(&net).await;
        let message = masked(0x81, event("t", "1", "1").as_bytes());
        stream.write_all(&message).await.expect("the hub reads");
        net.app.payloads_of(1).await;
        net.app.set_full(true);
        // What comes from now on is not read, although the reader had begun to wait for it before.
        stream.write_all(&message).await.expect("the system takes it");
        // Pings tell the peer that the link lives although nothing is read.
        for _ in 0..6 {
            let (first, _) = read_frame(&mut stream).await.expect("the link goes on");
            assert_eq!(first, 0x89);
        }
        assert_eq!(net.app.payloads().len(), 1);
        net.app.set_full(false);
        net.app.payloads_of(2).await;
        assert_eq!(net.hub.stats().connections, 1, "its dead-peer timer is suspended");
    })
    .await;
}
