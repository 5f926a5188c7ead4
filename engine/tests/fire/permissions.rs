//! What peers may subscribe to and publish, by patterns and by asking, and what changes when grants do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{CloseCode, CloseReason, Grants, Published};
use alkpubsub_engine::route::ConnKey;

use crate::support::*;
use crate::{guarded, lists, peer_with, turns};

async fn topic_question(net: &Net, n: usize) -> (u32, ConnKey, String) {
    net.app
        .nth_notice(n, "a question about a topic", |notice| match notice {
            Notice::AuthorizeSubscribe { token, connection, topic } => {
                Some((*token, ConnKey::from_bits(*connection), topic.to_string()))
            }
            _ => None,
        })
        .await
}

fn forbidden(topic: &str, n: u32) -> String {
    let payload = format!(
        r#"{{"topic":"{topic}","n":{n},"kind":"subscribe","code":"FORBIDDEN","reason":"not granted to this connection"}}"#
    );
    event("__refused", "", &payload)
}

fn revoked(topic: &str) -> String {
    let payload = format!(
        r#"{{"topic":"{topic}","kind":"subscribe","code":"FORBIDDEN","reason":"not granted to this connection"}}"#
    );
    event("__refused", "", &payload)
}

#[tokio::test]
async fn patterns_decide_about_topics_and_a_native_peer_is_told() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(guarded(), via).await;
            let (mut peer, _) = peer_with(&net, 1, lists(Some("app:ann"), &["news:*", "direct:{identity}"], &[])).await;
            peer.send(HELLO).await;
            peer.texts(1).await;
            for (n, topic) in ["news:1", "other:1", "direct:app:ann", "direct:app:bob"].into_iter().enumerate() {
                peer.send(&subscribe_n(topic, n as u32)).await;
            }
            assert_eq!(
                peer.texts(4).await,
                [
                    subscribed("news:1", 0),
                    forbidden("other:1", 1),
                    subscribed("direct:app:ann", 2),
                    forbidden("direct:app:bob", 3)
                ]
            );
            ["news", "other"].iter().for_each(|type_| net.publish(type_, "1", "1"));
            net.publish("direct", "app:bob", "2");
            net.publish("direct", "app:ann", "3");
            assert_eq!(peer.rest().await, [event("news", "1", "1"), event("direct", "app:ann", "3")]);
            assert_eq!((net.hub.stats().topics, net.hub.stats().refused), (2, 2));
        }
    })
    .await;
}

#[tokio::test]
async fn a_plain_peer_that_may_not_is_told_nothing() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(guarded(), via).await;
            let (mut peer, _) = peer_with(&net, 1, lists(None, &["news:*"], &[])).await;
            peer.subscribe("other:1").await;
            peer.send(&event("news", "1", "1")).await;
            peer.settle().await;
            net.publish("other", "1", "1");
            assert!(peer.rest().await.is_empty());
            assert_eq!(net.hub.stats().refused, 2);
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_peer_may_not_publish_reaches_nobody_and_it_is_told_how_much_that_was() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(guarded(), via).await;
            net.listen("a:").await;
            net.listen("b:").await;
            let (mut reader, _) = peer_with(&net, 1, lists(None, &["*"], &[])).await;
            reader.subscribe("a:").await;
            reader.subscribe("b:").await;
            reader.settle().await;
            let (mut peer, key) = peer_with(&net, 2, lists(None, &[], &["a:"])).await;
            peer.send(HELLO).await;
            peer.texts(1).await;
            for (type_, payload) in [("b", "1"), ("a", "2"), ("b", "3"), ("b", "4"), ("a", "5")] {
                peer.send(&event(type_, "", payload)).await;
            }
            let mut refused = 0;
            while refused < 3 {
                let text = peer.text().await;
                assert!(
                    text.starts_with(
                        r#"{"type":"__refused","id":"","payload":{"topic":"b:","kind":"publish","count":"#
                    ),
                    "{text}"
                );
                let count =
                    text.split_once(r#""count":"#).and_then(|(_, rest)| rest.split_once(',')).expect("a count").0;
                refused += count.parse::<u32>().expect("a number");
            }
            assert_eq!(refused, 3);
            assert_eq!(reader.rest().await, [event("a", "", "2"), event("a", "", "5")]);
            assert_eq!(net.app.payloads(), ["2", "5"]);
            let stats = net.hub.stats();
            assert_eq!((stats.refused, stats.received, net.hub.connection_stats(key).0), (3, 5, 5));
        }
    })
    .await;
}

#[tokio::test]
async fn the_application_may_allow_what_patterns_do_not() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(HubConfig { authorize_subscribe: true, ..guarded() }, via).await;
            let (mut peer, key) = peer_with(&net, 1, lists(None, &["news:*"], &[])).await;
            peer.send(HELLO).await;
            for (n, topic) in ["a:", "news:1", "b:"].into_iter().enumerate() {
                peer.send(&subscribe_n(topic, n as u32)).await;
            }
            assert_eq!(peer.texts(2).await, [HUB_HELLO.to_owned(), subscribed("news:1", 1)]);
            let ((first, of, topic), (second, _, other)) =
                (topic_question(&net, 1).await, topic_question(&net, 2).await);
            assert_eq!((of, &*topic, &*other), (key, "a:", "b:"));
            net.hub.allow(second, false);
            net.hub.allow(first, true);
            assert_eq!(peer.texts(2).await, [forbidden("b:", 2), subscribed("a:", 0)]);
            net.publish("a", "", "1");
            net.publish("b", "", "2");
            assert_eq!(peer.rest().await, [event("a", "", "1")]);
            // What was allowed is not asked about again while it lasts.
            peer.send(&subscribe_n("a:", 9)).await;
            assert_eq!(peer.text().await, subscribed("a:", 9));
        }
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_was_given_up_or_asked_for_again_while_the_application_thinks_gets_one_answer() {
    within(async {
        let net = Net::start(HubConfig { authorize_subscribe: true, ..guarded() }, Via::Memory).await;
        let (mut peer, _) = peer_with(&net, 1, lists(None, &[], &[])).await;
        peer.send(HELLO).await;
        peer.send(&subscribe_n("a:", 1)).await;
        peer.send(&subscribe_n("b:", 2)).await;
        peer.unsubscribe("a:").await;
        peer.send(&subscribe_n("b:", 3)).await;
        assert_eq!(peer.rest().await, [HUB_HELLO]);
        let (first, second) = (topic_question(&net, 1).await.0, topic_question(&net, 2).await.0);
        net.hub.allow(first, true);
        net.hub.allow(second, true);
        assert_eq!(peer.text().await, subscribed("b:", 3));
        assert!(peer.rest().await.is_empty());
        assert_eq!(net.hub.subscriber_count("a:"), 0);
        let asked =
            net.app.notices().iter().filter(|notice| matches!(notice, Notice::AuthorizeSubscribe { .. })).count();
        assert_eq!(asked, 2);
    })
    .await;
}

#[tokio::test]
async fn questions_about_topics_are_bounded_as_topics_are() {
    within(async {
        let mut config = HubConfig { authorize_subscribe: true, ..guarded() };
        config.limits.max_topics_per_connection = 2;
        let net = Net::start(config, Via::Memory).await;
        let (mut peer, _) = peer_with(&net, 1, lists(None, &["free:"], &[])).await;
        peer.send(HELLO).await;
        for (n, topic) in ["free:", "a:", "b:"].into_iter().enumerate() {
            peer.send(&subscribe_n(topic, n as u32)).await;
        }
        let heard = peer.texts(3).await;
        assert_eq!(heard[1], subscribed("free:", 0));
        assert!(heard[2].contains(r#""code":"LIMIT""#) && heard[2].contains(r#""n":2"#), "{}", heard[2]);
        // The application still works on a question that was given up.
        peer.unsubscribe("a:").await;
        peer.send(&subscribe_n("b:", 3)).await;
        assert!(peer.text().await.contains(r#""code":"LIMIT""#));
        net.hub.allow(topic_question(&net, 1).await.0, true);
        peer.send(&subscribe_n("b:", 4)).await;
        net.hub.allow(topic_question(&net, 2).await.0, true);
        assert_eq!(peer.text().await, subscribed("b:", 4));
        assert_eq!(net.hub.subscriber_count("a:"), 0);
    })
    .await;
}

fn asked_topics(net: &Net) -> usize {
    net.app.notices().iter().filter(|notice| matches!(notice, Notice::AuthorizeSubscribe { .. })).count()
}

#[tokio::test]
async fn who_asks_faster_than_the_application_answers_is_not_read() {
    within(async {
        const TIMES: usize = 20_000;
        let net = Net::start(HubConfig { authorize_subscribe: true, ..guarded() }, Via::Memory).await;
        let (mut peer, _) = peer_with(&net, 1, lists(None, &[], &[])).await;
        net.app.set_full(true);
        let flood = tokio::spawn(async move {
            for _ in 0..TIMES {
                peer.subscribe("a:").await;
                peer.unsubscribe("a:").await;
            }
            peer
        });
        turns().await;
        let asked = asked_topics(&net);
        assert!(asked > 0 && asked < TIMES / 4, "{asked}: what one read and the pipe hold");
        net.app.set_full(false);
        flood.await.expect("all was read").settle().await;
        assert_eq!(asked_topics(&net), net.limits.max_topics_per_connection, "nobody has answered one");
    })
    .await;
}

#[tokio::test]
async fn a_no_is_no_more_once_grants_allow_the_topic() {
    within(async {
        let net = Net::start(HubConfig { authorize_subscribe: true, ..guarded() }, Via::Memory).await;
        let (mut peer, key) = peer_with(&net, 1, lists(None, &[], &[])).await;
        peer.send(HELLO).await;
        peer.send(&subscribe_n("a:", 1)).await;
        let (token, ..) = topic_question(&net, 1).await;
        net.hub.set_grants(key, &lists(None, &["a:"], &[]));
        net.hub.allow(token, false);
        assert_eq!(peer.texts(2).await, [HUB_HELLO.to_owned(), subscribed("a:", 1)]);
    })
    .await;
}

/// A hub that deals with nothing, because it waits for a reader that has stopped; `disconnect` of the reader lets it go on.
async fn held_hub(config: HubConfig) -> (Net, BarePeer, ConnKey) {
    let net = Net::start(HubConfig { stall: Duration::from_secs(600), ..config }, Via::Memory).await;
    let mut deaf = net.subscriber(&["deaf:"]).await;
    deaf.settle().await;
    let (key, _) = net.app.connection(1).await;
    (net, deaf, key)
}

async fn hold_back(net: &Net) {
    let payload = format!("\"{}\"", "x".repeat(64 << 10));
    for _ in 0..12 {
        net.publish("deaf", "", &payload);
    }
    turns().await;
    assert!(net.hub.buffered() > 0, "the hub waits");
}

#[tokio::test]
async fn what_was_taken_back_and_asked_for_anew_before_that_was_told_is_not_refused() {
    within(async {
        let (net, _deaf, deaf) = held_hub(HubConfig::default()).await;
        let mut peer = net.peer().await;
        peer.send(HELLO).await;
        peer.send(&subscribe_n("a:", 1)).await;
        peer.texts(2).await;
        let (key, _) = net.app.connection(2).await;
        hold_back(&net).await;
        net.hub.set_grants(key, &lists(None, &[], &[]));
        peer.unsubscribe("a:").await;
        peer.send(&subscribe_n("a:", 2)).await;
        net.hub.set_grants(key, &Grants::everything(None));
        net.hub.disconnect(deaf, CloseReason::new(CloseCode::REFUSED, ""));
        peer.settle().await;
        net.publish("a", "", "1");
        // The refusal was queued before the second wish, so it stands in front of its answer.
        assert_eq!(peer.texts(3).await, [revoked("a:"), subscribed("a:", 2), event("a", "", "1")]);

        // The other way about: the second wish was queued first, and holds.
        let mut waiting = net.subscriber(&["deaf:"]).await;
        waiting.settle().await;
        let (waiting_key, _) = net.app.connection(3).await;
        hold_back(&net).await;
        peer.unsubscribe("a:").await;
        peer.send(&subscribe_n("a:", 3)).await;
        turns().await;
        net.hub.set_grants(key, &lists(None, &[], &[]));
        net.hub.set_grants(key, &Grants::everything(None));
        net.hub.disconnect(waiting_key, CloseReason::new(CloseCode::REFUSED, ""));
        peer.settle().await;
        net.publish("a", "", "2");
        assert_eq!(peer.texts(2).await, [subscribed("a:", 3), event("a", "", "2")]);
    })
    .await;
}

#[tokio::test]
async fn topics_that_wait_for_the_hub_count_as_what_was_read() {
    within(async {
        const TIMES: usize = 200;
        let (net, _deaf, deaf) = held_hub(HubConfig::default()).await;
        let mut peer = net.peer().await;
        peer.settle().await;
        hold_back(&net).await;
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let flood = tokio::spawn(async move {
            let long = subscribe(&"x".repeat(100_000));
            for _ in 0..TIMES {
                peer.send(&long).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
            peer
        });
        turns().await;
        turns().await;
        let taken = sent.load(Ordering::Relaxed);
        assert!((2..30).contains(&taken), "{taken}: a mebibyte, one read, what the pipe holds");
        net.hub.disconnect(deaf, CloseReason::new(CloseCode::REFUSED, ""));
        flood.await.expect("all was read").settle().await;
    })
    .await;
}

#[tokio::test]
async fn narrower_grants_end_subscriptions_at_once_and_tell() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(guarded(), via).await;
            let (mut peer, key) = peer_with(&net, 1, Grants::everything(None)).await;
            peer.send(HELLO).await;
            peer.send(&subscribe_n("a:", 1)).await;
            peer.send(&subscribe_n("b:", 2)).await;
            peer.texts(3).await;
            net.hub.set_grants(key, &lists(None, &["a:"], &["b:"]));
            assert_eq!((net.hub.subscriber_count("a:"), net.hub.subscriber_count("b:")), (1, 0), "at once");
            net.publish("b", "", "1");
            net.publish("a", "", "2");
            assert_eq!(peer.texts(2).await, [revoked("b:"), event("a", "", "2")]);
            peer.send(&subscribe_n("b:", 3)).await;
            assert_eq!(peer.text().await, forbidden("b:", 3));
            net.hub.set_grants(key, &Grants::everything(None));
            peer.send(&subscribe_n("b:", 4)).await;
            assert_eq!(peer.text().await, subscribed("b:", 4));
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_expelled_goes_at_once_and_is_heard_and_sent_nothing_more() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(guarded(), via).await;
            net.listen("p:").await;
            let (mut peer, key) = peer_with(&net, 1, Grants::everything(None)).await;
            peer.subscribe("a:").await;
            peer.settle().await;
            net.hub.disconnect(key, CloseReason::new(CloseCode::REFUSED, "revoked"));
            net.publish("a", "", "1");
            assert_eq!(net.hub.subscriber_count("a:"), 0);
            let (texts, close) = peer.until_end().await;
            assert!(texts.is_empty());
            assert_eq!(close, Some((4403, "revoked".into())));
            assert_eq!(net.app.disconnection(key).await.0, 4403);
            assert!(net.app.events().is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn a_backlog_and_a_reader_that_stopped_do_not_put_an_expulsion_off() {
    within(async {
        let net = Net::start(HubConfig { stall: Duration::from_secs(600), ..guarded() }, Via::WebSocket).await;
        let (mut deaf, key) = peer_with(&net, 1, Grants::everything(None)).await;
        deaf.subscribe("a:").await;
        deaf.settle().await;
        let payload = format!("\"{}\"", "x".repeat(64 << 10));
        while net.hub.publish_once("a", "", &payload, ConnKey::APPLICATION) == Published::Accepted {}
        let began = Instant::now();
        net.hub.disconnect(key, CloseReason::new(CloseCode::REFUSED, "revoked"));
        assert_eq!(net.app.disconnection(key).await.0, 4403);
        assert!(began.elapsed() < Duration::from_secs(30), "not by the reader's leave");
    })
    .await;
}
