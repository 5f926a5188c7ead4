//! A hub under fire: who may come in and what they may do, what half messages and floods cost, losses that are told, defects that are contained.

mod support;

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use alkpubsub_engine::delivery::{Delivery, Notice};
use alkpubsub_engine::hub::{Hub, HubConfig};
use alkpubsub_engine::link::{Accept, Link, LinkError, LinkRead, LinkWrite, Peer, Read, Refusal};
use alkpubsub_engine::model::{Allowed, CloseCode, CloseReason, ErrorKind, Grants, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::spoke::{Reconnect, Spoke, SpokeConfig};
use alkpubsub_engine::transport::memory;
use alkpubsub_engine::transport::websocket::{ClientConfig, WebSocketConnector};
use alkpubsub_engine::wire::frame::{Framing, Item};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

fn guarded() -> HubConfig {
    HubConfig { authorize: true, relay: true, ..HubConfig::default() }
}

fn lists(identity: Option<&str>, subscribe: &[&str], publish: &[&str]) -> Grants {
    let list = |patterns: &[&str]| Allowed::Matching(patterns.iter().map(|text| (*text).to_owned()).collect());
    Grants { identity: identity.map(str::to_owned), subscribe: list(subscribe), publish: list(publish) }
}

/// The `n`th question about a peer.
async fn question(net: &Net, n: usize) -> (u32, Box<Peer>) {
    net.app
        .nth_notice(n, "a question about a peer", |notice| match notice {
            Notice::Authorize { token, peer } => Some((*token, peer.clone())),
            _ => None,
        })
        .await
}

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

/// A peer whose question is answered with these grants: the `n`th of the hub.
async fn peer_with(net: &Net, n: usize, grants: Grants) -> (BarePeer, ConnKey) {
    let answering = async {
        let (token, _) = question(net, n).await;
        net.hub.judge(token, Ok(grants));
    };
    let (peer, ()) = tokio::join!(guarded_peer(net), answering);
    (peer, net.app.connection(n).await.0)
}

/// A peer that is asked about, whatever carries it.
async fn guarded_peer(net: &Net) -> BarePeer {
    if net.via == Via::WebSocket {
        return net.peer().await;
    }
    let (ours, theirs) = memory::pair(&net.limits);
    let admission = net.hub.authorize(theirs.peer.clone()).await.expect("admitted");
    assert!(net.hub.take(theirs, admission));
    BarePeer::Link(LinkPeer::new(ours))
}

// ---- Who comes in --------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_refused_request_gets_its_status_and_no_byte_of_it_reaches_the_application() {
    within(async {
        let net = Net::start(guarded(), Via::WebSocket).await;
        for (n, (refusal, status)) in
            [(Refusal::NotIdentified, "401"), (Refusal::Forbidden, "403"), (Refusal::Unavailable, "503")]
                .into_iter()
                .enumerate()
        {
            let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
            let request = upgrade(&net.address(), "/x?y=1", "Authorization: Bearer t\r\n");
            stream.write_all(request.as_bytes()).await.expect("the hub reads");
            stream.write_all(&masked(0x81, event("a", "", "1").as_bytes())).await.expect("the hub reads");
            let (token, peer) = question(&net, n + 1).await;
            assert_eq!((peer.transport, peer.url.as_deref()), ("websocket", Some("/x?y=1")));
            assert!(peer.headers.contains(&("authorization".into(), "Bearer t".into())));
            net.hub.judge(token, Err(refusal));
            let head = read_head(&mut stream).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        }
        assert_eq!((net.hub.stats().accepted, net.hub.stats().received), (0, 0));
        assert!(!net.app.notices().iter().any(|notice| matches!(notice, Notice::Connection { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_page_whose_origin_may_connect_reads_why_it_may_not_come_in() {
    within(async {
        let net = Net::start(guarded(), Via::WebSocket).await;
        for (n, (refusal, code)) in
            [(Refusal::NotIdentified, 4401_u16), (Refusal::Forbidden, 4403), (Refusal::Unavailable, 1011)]
                .into_iter()
                .enumerate()
        {
            let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
            let origin = format!("Origin: http://{}\r\n", net.address());
            stream.write_all(upgrade(&net.address(), "/", &origin).as_bytes()).await.expect("the hub reads");
            let (token, _) = question(&net, n + 1).await;
            net.hub.judge(token, Err(refusal));
            assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101"));
            let (first, payload) = read_frame(&mut stream).await.expect("a close frame");
            assert_eq!((first, u16::from_be_bytes([payload[0], payload[1]])), (0x88, code));
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.expect("the hub ends the connection");
            assert!(rest.is_empty());
        }
        assert_eq!(net.hub.stats().accepted, 0);
    })
    .await;
}

#[tokio::test]
async fn who_is_not_decided_about_in_time_is_refused_and_the_question_withdrawn() {
    within(async {
        let mut config = guarded();
        config.limits.handshake = Duration::from_millis(50);
        let net = Net::start(config, Via::WebSocket).await;
        for (n, (origin, answer)) in
            [(String::new(), "408"), (format!("Origin: http://{}\r\n", net.address()), "101")].into_iter().enumerate()
        {
            let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
            stream.write_all(upgrade(&net.address(), "/", &origin).as_bytes()).await.expect("the hub reads");
            let (asked, _) = question(&net, n + 1).await;
            assert!(read_head(&mut stream).await.starts_with(&format!("HTTP/1.1 {answer}")));
            if answer == "101" {
                let (_, payload) = read_frame(&mut stream).await.expect("a close frame");
                assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), 4408);
            }
            net.app
                .notice("withdrawn", |notice| {
                    matches!(notice, Notice::Withdrawn { token } if *token == asked).then_some(())
                })
                .await;
            // Too late, and of no use.
            net.hub.judge(asked, Ok(Grants::everything(None)));
        }
        assert_eq!(net.hub.stats().accepted, 0);
    })
    .await;
}

#[tokio::test]
async fn who_was_let_in_and_is_gone_before_it_came_is_withdrawn() {
    within(async {
        let net = Net::start(guarded(), Via::Memory).await;
        let (_, theirs) = memory::pair(&net.limits);
        let asking = net.hub.authorize(theirs.peer.clone());
        let answering = async {
            let (token, _) = question(&net, 1).await;
            net.hub.judge(token, Ok(Grants::everything(None)));
            token
        };
        let (admission, asked) = tokio::join!(asking, answering);
        drop(admission.expect("admitted"));
        net.app
            .notice("withdrawn", |notice| {
                matches!(notice, Notice::Withdrawn { token } if *token == asked).then_some(())
            })
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_closes_leaves_no_question_open() {
    within(async {
        let net = Net::start(guarded(), Via::Memory).await;
        let asking = net.hub.authorize(Peer::default());
        let closing = async {
            question(&net, 1).await;
            net.hub.close(CloseReason::new(CloseCode::NORMAL, ""), Duration::from_secs(1));
        };
        let (refused, ()) = tokio::join!(asking, closing);
        assert_eq!(refused.expect_err("nobody answers"), Refusal::Unavailable);
        net.app.closed().await;
    })
    .await;
}

#[tokio::test]
async fn a_closed_hub_asks_nobody_and_lets_nobody_in() {
    within(async {
        for authorize in [true, false] {
            let net = Net::start(HubConfig { authorize, ..HubConfig::default() }, Via::Memory).await;
            net.hub.close(CloseReason::new(CloseCode::NORMAL, ""), Duration::ZERO);
            assert_eq!(net.hub.authorize(Peer::default()).await.err(), Some(Refusal::Unavailable));
            net.app.closed().await;
            assert!(!net.app.notices().iter().any(|notice| matches!(notice, Notice::Authorize { .. })));
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_let_in_when_the_last_place_has_gone_is_refused_and_never_announced() {
    within(async {
        let mut config = guarded();
        config.limits.max_connections = 2;
        let net = Net::start(config, Via::WebSocket).await;
        let (_ours, theirs) = memory::pair(&net.limits);
        assert!(net.hub.add(theirs));
        net.app.connection(1).await;
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
            // What a proxy is asked for names a host as well; the application gets the path.
            let request = upgrade(&net.address(), "http://other.example/x?y=1", "");
            stream.write_all(request.as_bytes()).await.expect("the hub reads");
            streams.push(stream);
        }
        let ((first, peer), (second, _)) = (question(&net, 1).await, question(&net, 2).await);
        assert_eq!(peer.url.as_deref(), Some("/x?y=1"));
        net.hub.judge(first, Ok(Grants::everything(None)));
        net.app.connection(2).await;
        net.hub.judge(second, Ok(Grants::everything(None)));
        let mut heads = Vec::new();
        for stream in &mut streams {
            heads.push(read_head(stream).await[..12].to_owned());
        }
        heads.sort();
        assert_eq!(heads, ["HTTP/1.1 101", "HTTP/1.1 503"]);
        net.app
            .notice("the second question is over", |notice| match notice {
                Notice::Withdrawn { token } if *token == second => Some(()),
                _ => None,
            })
            .await;
        assert_eq!(net.hub.stats().accepted, 2);
    })
    .await;
}

#[tokio::test]
async fn a_connection_comes_with_the_ticket_of_its_question() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(guarded(), via).await;
            let (_peer, _) = peer_with(&net, 1, Grants::everything(None)).await;
            let (token, _) = question(&net, 1).await;
            let ticket = net.app.notice("a connection", |notice| match notice {
                Notice::Connection { ticket, .. } => Some(*ticket),
                _ => None,
            });
            assert_eq!(ticket.await, token);
        }
    })
    .await;
}

// ---- What they may do ----------------------------------------------------------------------------------------------------------------

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

/// Gives every task of this thread its turns.
async fn turns() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
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

// ---- What they cost ------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn half_messages_of_all_are_bounded_and_the_largest_goes_with_1009() {
    within(async {
        for via in EVERY_WAY {
            let mut config = HubConfig::default();
            config.limits.max_inbound_bytes = 3000;
            let net = Net::start(config, via).await;
            let mut peers = Vec::new();
            for (n, held) in [1000, 1200, 800].into_iter().enumerate() {
                let mut peer = net.peer().await;
                peer.settle().await;
                send_half(&mut peer, via, held).await;
                peers.push((peer, net.app.connection(n + 1).await.0));
            }
            // Three thousand bytes are allowed: everybody is still there.
            let mut witness = net.peer().await;
            witness.settle().await;
            assert_eq!(net.hub.stats().connections, 4);
            send_half(&mut witness, via, 1).await;
            let (code, reason, _) = net.app.disconnection(peers[1].1).await;
            assert_eq!(code, 1009);
            assert!(reason.contains("maxInboundBytes"), "{reason}");
            assert_eq!(net.app.error(ErrorKind::MessageTooLarge).await.1, 1);
            let (_, close) = peers[1].0.until_end().await;
            assert_eq!(close.map(|(code, _)| code), Some(1009));
            let mut healthy = net.subscriber(&["a:"]).await;
            net.publish("a", "", "1");
            assert_eq!(healthy.text().await, event("a", "", "1"));
            assert_eq!(net.hub.stats().connections, 4);
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_half_message_held_is_given_back_however_it_ends() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_inbound_bytes = 3000;
        let net = Net::start(config, Via::WebSocket).await;
        net.listen("a:").await;
        let begin = [br#"{"type":"a","id":"","payload":""#.as_slice(), &[b'x'; 1000]].concat();
        for round in 1..=5 {
            // Completed in fragments, with control frames between them.
            let mut stream = raw(&net).await;
            stream.write_all(&masked(0x01, &begin)).await.expect("the hub reads");
            stream.write_all(&masked(0x89, b"?")).await.expect("the hub reads");
            assert_eq!(read_frame(&mut stream).await, Some((0x8a, b"?".to_vec())));
            stream.write_all(&masked(0x00, &[b'y'; 1000])).await.expect("the hub reads");
            stream.write_all(&masked(0x80, br#""}"#)).await.expect("the hub reads");
            net.app.payloads_of(round).await;
            // Left behind by a reset, by an end, by a close in its middle, and by a frame against the rules.
            for ending in [None, Some(vec![]), Some(masked(0x88, &1000_u16.to_be_bytes())), Some(masked(0x81, b"1"))] {
                let mut stream = raw(&net).await;
                let (key, _) = net.app.connection(net.hub.stats().accepted as usize).await;
                stream.write_all(&masked(0x01, &begin)).await.expect("the hub reads");
                stream.write_all(&masked(0x89, b"!")).await.expect("the hub reads");
                assert_eq!(read_frame(&mut stream).await, Some((0x8a, b"!".to_vec())));
                match ending {
                    None => stream.set_zero_linger().expect("a TCP socket"),
                    Some(bytes) => stream.write_all(&bytes).await.expect("the hub reads"),
                }
                drop(stream);
                net.app.disconnection(key).await;
            }
        }
        let mut stream = raw(&net).await;
        let mut all = begin.clone();
        all.resize(2990, b'z');
        stream.write_all(&masked(0x01, &all)).await.expect("the hub reads");
        stream.write_all(&masked(0x89, b"!")).await.expect("the hub reads");
        assert_eq!(read_frame(&mut stream).await, Some((0x8a, b"!".to_vec())), "there is room for all of it");
        stream.write_all(&masked(0x00, &[b'z'; 20])).await.expect("the hub reads");
        assert_eq!(read_frame(&mut stream).await.map(|(first, _)| first), Some(0x88), "and for no more");
    })
    .await;
}

/// Links whose readers wait until `open`, and then hold half a message each.
#[derive(Default)]
struct Hoard {
    is_open: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
    held: AtomicUsize,
    most: AtomicUsize,
}

impl Hoard {
    const HALF: usize = 60;

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
        let wakers = std::mem::take(&mut *self.wakers.lock().expect("nobody panics"));
        wakers.into_iter().for_each(Waker::wake);
    }
}

struct Hoarder {
    hoard: Arc<Hoard>,
    held: usize,
}

impl LinkRead for Hoarder {
    fn poll_read(&mut self, cx: &mut Context<'_>, _: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        if self.held > 0 || !self.hoard.is_open.load(Ordering::SeqCst) {
            self.hoard.wakers.lock().expect("nobody panics").push(cx.waker().clone());
            return Poll::Pending;
        }
        self.held = Hoard::HALF;
        let held = self.hoard.held.fetch_add(self.held, Ordering::SeqCst) + self.held;
        self.hoard.most.fetch_max(held, Ordering::SeqCst);
        Poll::Ready(Ok(Read::More))
    }

    fn held_bytes(&self) -> usize {
        self.held
    }
}

impl Drop for Hoarder {
    fn drop(&mut self) {
        self.hoard.held.fetch_sub(self.held, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn whose_bytes_come_while_half_messages_are_too_much_is_not_read_before_somebody_has_gone() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_inbound_bytes = 100;
        let net = Net::start(config, Via::Memory).await;
        let hoard = Arc::new(Hoard::default());
        for n in 1..=10 {
            let (_, theirs) = memory::pair(&net.limits);
            let reader = Box::new(Hoarder { hoard: Arc::clone(&hoard), held: 0 });
            assert!(net.hub.add(Link { reader, ..theirs }));
            net.app.connection(n).await;
        }
        // All of them wait for bytes, which come for all at once.
        turns().await;
        hoard.open();
        net.app.disconnections(9).await;
        let codes = net.app.notices().into_iter().filter_map(|notice| match notice {
            Notice::Disconnection { reason, .. } => Some(reason.code),
            _ => None,
        });
        assert!(codes.into_iter().all(|code| code == CloseCode::TOO_LARGE));
        assert_eq!(hoard.most.load(Ordering::SeqCst), 2 * Hoard::HALF, "the bound and one read");
        assert_eq!(hoard.held.load(Ordering::SeqCst), Hoard::HALF);
        assert_eq!(net.hub.stats().connections, 1);
    })
    .await;
}

/// The beginning of a message, of which the hub keeps so many bytes.
async fn send_half(peer: &mut BarePeer, via: Via, held: usize) {
    let mut bytes = Vec::new();
    match via {
        Via::Memory => bytes.extend(100_000_u32.to_be_bytes()),
        Via::WebSocket => {
            bytes.extend([0x81, 0x80 | 127]);
            bytes.extend(100_000_u64.to_be_bytes());
            bytes.extend([0; 4]);
        }
    }
    bytes.resize(held.max(bytes.len()), b' ');
    bytes.truncate(held);
    match peer {
        BarePeer::Ws(bare) => bare.ws.get_mut().write_all(&bytes).await.expect("the hub reads"),
        BarePeer::Link(link) => link.send_bytes(&bytes).await,
    }
}

#[tokio::test]
async fn who_publishes_faster_than_allowed_is_read_more_slowly_and_loses_nothing() {
    within(async {
        for (events, bytes) in [(Some(100), None), (None, Some(4000))] {
            let mut config = HubConfig::default();
            config.limits.max_publish_per_second = events;
            config.limits.max_publish_bytes_per_second = bytes;
            config.limits.heartbeat = Duration::from_millis(100);
            let net = Net::start(config, Via::WebSocket).await;
            net.listen("a:").await;
            let mut peer = net.peer().await;
            let began = Instant::now();
            for n in 0..250 {
                peer.send(&event("a", "", &n.to_string())).await;
            }
            peer.settle().await;
            assert_eq!(net.app.payloads_of(250).await, (0..250).map(|n| n.to_string()).collect::<Vec<_>>());
            // A second's worth is free; what came above it, in one read or in many, is waited for before the next one.
            peer.settle().await;
            let least = if events.is_some() { 1400 } else { 1200 };
            assert!(began.elapsed() >= Duration::from_millis(least), "{:?}", began.elapsed());
            assert_eq!(net.hub.stats().connections, 1, "silence that we made ourselves is no death");
            let mut other = net.peer().await;
            other.settle().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_publisher_that_floods_a_relay_is_paced_and_nobody_who_reads_is_cut_for_it() {
    const EVENTS: usize = 3000;
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(HubConfig { max_buffered: 256 << 10, ..relaying() }, via).await;
            let mut readers = Vec::new();
            for _ in 0..4 {
                let mut reader = net.subscriber(&["a:"]).await;
                readers.push(tokio::spawn(async move { payloads_of(&reader.texts(EVENTS).await) }));
            }
            let mut publisher = net.peer().await;
            let filler = "x".repeat(4000);
            for n in 0..EVENTS {
                publisher.send(&event("a", "", &format!("[{n},\"{filler}\"]"))).await;
            }
            for reader in readers {
                let heard = reader.await.expect("no panic");
                assert!(heard.iter().enumerate().all(|(n, payload)| payload.starts_with(&format!("[{n},"))));
            }
            assert_eq!((net.hub.stats().slow_consumers, net.hub.stats().dropped), (0, 0));
        }
    })
    .await;
}

fn relaying() -> HubConfig {
    HubConfig { relay: true, ..HubConfig::default() }
}

fn payloads_of(texts: &[String]) -> Vec<String> {
    let payload_of = |text: &String| text.split_once(r#""payload":"#).expect("an event").1.to_owned();
    texts.iter().map(payload_of).collect()
}

// ---- Losses that are told ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_gap_stands_where_events_were_dropped() {
    within(async {
        // Room for two small events beside one being fanned out.
        let config = HubConfig { max_pending: 260, ..HubConfig::default() };
        let net = Net::start(config, Via::Memory).await;
        let (mut native, mut plain) = (net.peer().await, net.subscriber(&["t:1"]).await);
        native.send(HELLO).await;
        native.send(&subscribe_n("t:1", 1)).await;
        native.send(&subscribe_n("t:2", 2)).await;
        native.texts(3).await;
        const LAST: u32 = 20_000;
        let mut dropped = 0_u64;
        let publishing = async {
            for n in 0..=LAST {
                let id = (1 + n % 2).to_string();
                while net.hub.publish_once("t", &id, &n.to_string(), ConnKey::APPLICATION) == Published::Full {
                    dropped += 1;
                    if n < LAST {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                if n % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        let last = event("t", "1", &LAST.to_string());
        let ((), native, plain) =
            tokio::join!(publishing, texts_until(&mut native, &last), texts_until(&mut plain, &last));
        assert!(dropped > 0, "the bound was reached");
        assert_eq!(net.hub.stats().dropped, dropped);
        assert!(!plain.iter().any(|text| text.contains("__")), "a plain peer sees no frame it does not know");
        // Between two events without a gap between them nothing is missing, and there is no gap where nothing is.
        let (mut expected, mut gaps) = (0, Vec::new());
        for text in native {
            if let Some((_, topics)) = text.split_once(r#""topics":"#) {
                assert!(text.contains(r#""cause":"overflow""#), "{text}");
                gaps.push(topics.to_owned());
                continue;
            }
            let payload = text.split_once(r#""payload":"#).expect("an event").1;
            let n: u32 = payload.trim_end_matches('}').parse().expect("a number");
            for missing in expected..n {
                let topic = format!("\"t:{}\"", 1 + missing % 2);
                assert!(gaps.iter().any(|topics| topics.contains(&topic)), "{missing} is missing before {n}: {gaps:?}");
            }
            assert!(expected != n || gaps.is_empty() || n == LAST, "a gap before {n} where nothing is missing");
            (expected, gaps) = (n + 1, Vec::new());
        }
    })
    .await;
}

/// Everything up to a message.
async fn texts_until(peer: &mut BarePeer, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        texts.push(peer.text().await);
    }
    texts
}

async fn flush_all(net: &Net) {
    net.hub.flush(77);
    net.app.flushed(77).await;
}

#[tokio::test]
async fn an_event_for_one_connection_that_was_dropped_is_told_to_that_one() {
    within(async {
        let net = Net::start(HubConfig { max_pending: 1, ..HubConfig::default() }, Via::Memory).await;
        let mut peers = Vec::new();
        for n in 1..=2 {
            let mut peer = net.peer().await;
            peer.send(HELLO).await;
            peer.texts(1).await;
            peers.push((peer, net.app.connection(n).await.0));
        }
        let key = peers[0].1;
        let publish = |to| net.hub.publish_once("t", "", "0", to);
        while publish(key) != Published::Full {}
        flush_all(&net).await;
        let heard = peers[0].0.rest().await;
        assert!(heard.iter().any(|text| text.contains("__gap") && text.contains(r#"["t:"]"#)), "{heard:?}");
        assert!(peers[1].0.rest().await.is_empty());
    })
    .await;
}

// ---- Signs of life without frames of their own -----------------------------------------------------------------------------------------

#[tokio::test]
async fn on_links_without_pings_of_their_own_both_sides_use_control_events() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.heartbeat = Duration::from_millis(20);
        let net = Net::start(config, Via::Memory).await;
        let mut peer = net.peer().await;
        peer.send(HELLO).await;
        assert_eq!(peer.text().await, HUB_HELLO);
        let ping = peer.text().await;
        assert_eq!(ping, event("__ping", "", r#"{"t":0}"#));
        let (code, reason, is_clean) = net.app.disconnection(net.app.connection(1).await.0).await;
        assert_eq!((code, is_clean), (1006, false), "{reason}");
        // A peer that did not say that it answers is not asked, and its silence means nothing.
        let mut plain = net.peer().await;
        plain.settle().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        plain.settle().await;
    })
    .await;
}

#[tokio::test]
async fn while_a_hub_does_not_read_a_native_peer_is_pinged_by_events_that_a_page_sees() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.heartbeat = Duration::from_millis(20);
        config.limits.max_publish_per_second = Some(1);
        let net = Net::start(config, Via::WebSocket).await;
        let mut peer = net.peer().await;
        peer.send(HELLO).await;
        assert_eq!(peer.text().await, HUB_HELLO);
        for n in 0..100 {
            peer.send(&event("a", "", &n.to_string())).await;
        }
        for _ in 0..3 {
            assert_eq!(peer.text().await, event("__ping", "", r#"{"t":0}"#));
        }
        assert_eq!(net.hub.stats().connections, 1);
    })
    .await;
}

#[tokio::test]
async fn a_paced_publisher_that_is_closed_is_read_again_and_does_not_take_the_whole_grace() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_publish_per_second = Some(1);
        let net = Net::start(config, Via::WebSocket).await;
        let mut peer = net.peer().await;
        let (key, _) = net.app.connection(1).await;
        for n in 0..100 {
            peer.send(&event("a", "", &n.to_string())).await;
        }
        until("some of it is heard", || net.hub.stats().received > 0).await;
        net.hub.disconnect(key, CloseReason::new(CloseCode::POLICY, "enough"));
        assert_eq!(peer.until_end().await.1.map(|(code, _)| code), Some(1008));
        // A hub waits five seconds for an answer that does not come, and the pace would let this one wait for a minute and a half.
        let gone = tokio::time::timeout(Duration::from_secs(4), net.app.disconnection(key)).await;
        assert_eq!(gone.expect("at once").0, 1008);
    })
    .await;
}

// ---- Storms and defects ----------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn malformed_messages_of_one_link_are_told_of_once_a_second() {
    within(async {
        let net = Net::start(HubConfig::default(), Via::WebSocket).await;
        let mut peer = net.peer().await;
        for _ in 0..50 {
            peer.send("{}").await;
            peer.settle().await;
        }
        let key = net.app.connection(1).await.0;
        drop(peer);
        net.app.disconnection(key).await;
        let told: Vec<u64> = net
            .app
            .notices()
            .into_iter()
            .filter_map(|notice| match notice {
                Notice::Error { failure, dropped } if failure.kind == ErrorKind::Malformed => Some(dropped),
                _ => None,
            })
            .collect();
        assert_eq!(told.first(), Some(&1), "the first at once");
        net.hub.close(CloseReason::new(CloseCode::NORMAL, ""), Duration::from_secs(1));
        net.app.closed().await;
        let all: u64 = net
            .app
            .notices()
            .iter()
            .filter_map(|notice| match notice {
                Notice::Error { failure, dropped } if failure.kind == ErrorKind::Malformed => Some(dropped),
                _ => None,
            })
            .sum();
        assert_eq!(all, 50, "none is forgotten");
        assert_eq!(net.hub.stats().malformed, 50);
    })
    .await;
}

/// A link with a defect: it panics when it is read, or when it is written.
struct Defect {
    in_reading: bool,
}

impl LinkRead for Defect {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        assert!(!self.in_reading, "a defect in reading, made for this test");
        Poll::Pending
    }

    fn held_bytes(&self) -> usize {
        0
    }
}

impl LinkWrite for Defect {
    fn poll_write(&mut self, _: &mut Context<'_>, _: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        unreachable!("a defect in writing, made for this test")
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: CloseCode, _: &str) -> Poll<io::Result<()>> {
        unreachable!("a defect in closing, made for this test")
    }
}

#[tokio::test]
async fn a_defect_in_one_connection_ends_it_and_nothing_else() {
    within(async {
        for in_reading in [true, false] {
            let net = Net::start(HubConfig::default(), Via::Memory).await;
            let mut healthy = net.subscriber(&["a:"]).await;
            let link = Link {
                reader: Box::new(Defect { in_reading }),
                writer: Box::new(Defect { in_reading }),
                framing: Framing::Length,
                peer: Peer { transport: "memory", ..Peer::default() },
                is_native: None,
                features: &[],
            };
            assert!(net.hub.add(link));
            let (key, _) = net.app.connection(2).await;
            net.hub.publish_once("b", "", "0", key);
            assert_eq!(net.app.disconnection(key).await.0, 1011);
            net.publish("a", "", "1");
            assert_eq!(healthy.text().await, event("a", "", "1"));
            assert_eq!(net.hub.stats().connections, 1);
            assert!(net.hub.stats().panics >= 1);
        }
    })
    .await;
}

/// An application with a defect: it panics when it is told of a certain event.
struct Fragile(Arc<Recorder>);

impl Delivery for Fragile {
    fn event(&self, connection: u32, type_: &str, id: &str, payload: &str) {
        assert!(payload != "13", "a defect in the delivery, made for this test");
        self.0.event(connection, type_, id, payload);
    }

    fn notice(&self, notice: Notice) {
        Delivery::notice(&*self.0, notice);
    }

    fn is_full(&self) -> bool {
        self.0.is_full()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_room(cx)
    }
}

#[tokio::test]
async fn a_defect_in_the_hubs_work_for_one_connection_ends_that_one_with_1011() {
    within(async {
        let app = Recorder::new();
        let config = HubConfig::default();
        let limits = config.limits.clone();
        let hub = Hub::start(config, Arc::new(Fragile(Arc::clone(&app))), &Handle::current());
        hub.listen(ConnKey::APPLICATION, "a:");
        let mut peers = Vec::new();
        for n in 1..=2 {
            let (ours, theirs) = memory::pair(&limits);
            assert!(hub.add(theirs));
            peers.push((LinkPeer::new(ours), app.connection(n).await.0));
        }
        peers[0].0.send(&event("a", "", "13")).await;
        assert_eq!(app.disconnection(peers[0].1).await.0, 1011);
        peers[1].0.send(&event("a", "", "14")).await;
        assert_eq!(app.payloads_of(1).await, ["14"]);
        assert_eq!((hub.stats().panics, hub.stats().connections), (1, 1));
        app.error(ErrorKind::Internal).await;
    })
    .await;
}

#[tokio::test]
async fn subscribers_are_told_of_what_a_defect_cost_them() {
    within(async {
        let app = Recorder::new();
        let config = relaying();
        let limits = config.limits.clone();
        let hub = Hub::start(config, Arc::new(Fragile(Arc::clone(&app))), &Handle::current());
        hub.listen(ConnKey::APPLICATION, "a:");
        let mut peers = Vec::new();
        for n in 1..=2 {
            let (ours, theirs) = memory::pair(&limits);
            assert!(hub.add(theirs));
            app.connection(n).await;
            peers.push(BarePeer::Link(LinkPeer::new(ours)));
        }
        peers[1].send(HELLO).await;
        peers[1].send(&subscribe_n("a:", 1)).await;
        peers[1].texts(2).await;
        peers[0].send(&event("a", "", "12")).await;
        assert_eq!(peers[1].text().await, event("a", "", "12"));
        peers[0].send(&event("a", "", "13")).await;
        let gap = peers[1].text().await;
        assert!(gap.starts_with(r#"{"type":"__gap""#) && gap.contains(r#""topics":["a:"]"#), "{gap}");
        assert_eq!(hub.stats().dropped, 1);
        hub.publish_once("a", "", "14", ConnKey::APPLICATION);
        assert_eq!(peers[1].text().await, event("a", "", "14"));
    })
    .await;
}

// ---- Spokes ----------------------------------------------------------------------------------------------------------------------------

fn spoke_of(net: &Net, config: SpokeConfig) -> (Spoke, Arc<Recorder>) {
    let app = Recorder::new();
    let mut config = config;
    config.destination.url.clone_from(&net.url);
    config.reconnect =
        Some(Reconnect { initial: true, min_delay: Duration::from_millis(1), max_delay: Duration::from_millis(5) });
    let connector = WebSocketConnector::new(ClientConfig { limits: config.limits.clone(), ..ClientConfig::default() });
    let delivery = Arc::clone(&app) as Arc<dyn Delivery>;
    (Spoke::start(config, Arc::new(connector), delivery, &Handle::current()), app)
}

#[tokio::test]
async fn a_spoke_that_is_not_known_asks_for_credentials_once_more_and_then_ends() {
    within(async {
        let net = Net::start(guarded(), Via::WebSocket).await;
        let (spoke, app) = spoke_of(&net, SpokeConfig { asks: true, ..SpokeConfig::default() });
        for n in 1..=2 {
            let (token, _) = app
                .nth_notice(n, "dial", |notice| match notice {
                    Notice::Dial { token, attempt } => Some((*token, *attempt)),
                    _ => None,
                })
                .await;
            let destination = alkpubsub_engine::link::Destination { url: net.url.clone(), headers: Vec::new() };
            spoke.provide(token, destination);
            net.hub.judge(question(&net, n).await.0, Err(Refusal::NotIdentified));
        }
        assert_eq!(app.closed().await.2, Some(ErrorKind::NotIdentified));
    })
    .await;
}

#[tokio::test]
async fn a_spoke_that_is_refused_ends_at_once() {
    within(async {
        let net = Net::start(guarded(), Via::WebSocket).await;
        let (_spoke, app) = spoke_of(&net, SpokeConfig::default());
        net.hub.judge(question(&net, 1).await.0, Err(Refusal::Forbidden));
        assert_eq!(app.closed().await.2, Some(ErrorKind::Forbidden));
        assert!(!app.notices().iter().any(|notice| matches!(notice, Notice::Reconnecting { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_spoke_hears_what_it_may_not_and_goes_on() {
    within(async {
        let net = Net::start(guarded(), Via::WebSocket).await;
        let (spoke, app) = spoke_of(&net, SpokeConfig::default());
        spoke.listen("a:");
        spoke.confirm("a:", 1);
        spoke.listen("b:");
        spoke.confirm("b:", 2);
        net.hub.judge(question(&net, 1).await.0, Ok(lists(None, &["a:"], &[])));
        assert_eq!(app.confirmed(1).await, Ok(true));
        assert_eq!(app.confirmed(2).await, Err(ErrorKind::Forbidden));
        assert_eq!(spoke.publish_once("a", "", "1"), Published::Accepted);
        let told = |log: &[Heard]| {
            log.iter().find_map(|heard| match heard {
                Heard::Notice(Notice::Error { failure, .. }) if failure.message.contains("publishing") => Some(failure.kind),
                _ => None,
            })
        };
        assert_eq!(app.until("that publishing was refused", |log| told(log)).await, ErrorKind::Forbidden);
        assert_eq!(spoke.stats().refused, 1);
        // What was granted is taken back, and the spoke knows.
        let (key, _) = net.app.connection(1).await;
        net.hub.set_grants(key, &lists(None, &[], &[]));
        let taken = |log: &[Heard]| {
            let lost = |heard: &&Heard| {
                matches!(heard, Heard::Notice(Notice::Error { failure, .. }) if failure.message.contains("subscribing to \"a:\""))
            };
            log.iter().find(lost).map(|_| ())
        };
        app.until("that the subscription was taken back", taken).await;
        spoke.confirm("a:", 3);
        assert_eq!(app.confirmed(3).await, Err(ErrorKind::Forbidden));
    })
    .await;
}
