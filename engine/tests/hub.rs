//! A hub as its peers and its application see it, over TCP with an independent WebSocket peer, and over the memory transport.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use alkpubsub_engine::delivery::{Delivery, Notice};
use alkpubsub_engine::hub::{Hub, HubConfig};
use alkpubsub_engine::link::{Connect, ConnectError, Destination, Link};
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind, Limits, Prefix, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::transport::memory;
use alkpubsub_engine::transport::tls::ClientTls;
use alkpubsub_engine::transport::websocket::{ClientConfig, ListenConfig, ServerTls, WebSocketConnector, bind};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio_tungstenite::tungstenite::Message;

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn payloads(texts: &[String]) -> Vec<String> {
    let payload_of = |text: &String| {
        let (_, payload) = text.split_once(r#""payload":"#).expect("an envelope");
        payload.strip_suffix('}').expect("an envelope").to_owned()
    };
    texts.iter().map(payload_of).collect()
}

async fn flush(net: &Net, token: u32) {
    net.hub.flush(token);
    net.app.flushed(token).await;
}

// ---- Who hears what ------------------------------------------------------------------------------------------------------------------

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

// ---- Connections one by one ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_application_may_listen_to_one_connection_alone() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut first = net.peer().await;
            let (key, _) = net.app.connection(1).await;
            let mut second = net.peer().await;
            net.hub.listen(key, "t:1");
            for (peer, payload) in [(&mut second, "2"), (&mut first, "1")] {
                peer.send(&event("t", "1", payload)).await;
                peer.settle().await;
            }
            assert_eq!(net.app.payloads(), ["1"], "{via:?}");
            assert_eq!(net.app.events()[0].connection, key.to_bits());
            net.hub.unlisten(key, "t:1");
            first.settle().await;
            first.send(&event("t", "1", "3")).await;
            first.settle().await;
            assert_eq!((net.app.payloads(), net.hub.stats().topics), (vec!["1".to_owned()], 0));
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_listened_to_from_a_connection_goes_with_it() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let peer = net.subscriber(&["a:"]).await;
            let (key, _) = net.app.connection(1).await;
            net.hub.listen(key, "t:1");
            until("two topics", || net.hub.stats().topics == 2).await;
            drop(peer);
            net.app.disconnection(key).await;
            assert_eq!((net.hub.stats().topics, net.hub.stats().connections), (0, 0));
        }
    })
    .await;
}

#[tokio::test]
async fn listening_to_a_connection_that_is_gone_leaves_nothing_behind() {
    within(async {
        let net = Net::relay(Via::Memory).await;
        drop(net.peer().await);
        let (key, _) = net.app.connection(1).await;
        net.app.disconnection(key).await;
        net.hub.listen(key, "t:1");
        net.hub.confirm(1);
        net.app.confirmed(1).await.expect("confirmed");
        assert_eq!(net.hub.stats().topics, 0);
    })
    .await;
}

#[tokio::test]
async fn one_connection_can_be_sent_what_it_never_subscribed_to() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut first = net.peer().await;
            let (key, _) = net.app.connection(1).await;
            let mut second = net.subscriber(&["t:1"]).await;
            assert_eq!(net.hub.publish_once("t", "1", "1", key), Published::Accepted);
            assert_eq!(first.text().await, event("t", "1", "1"));
            assert_eq!(second.rest().await, [""; 0]);
            assert_eq!(net.hub.connection_stats(key), (0, 1), "{via:?}: received and sent");
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_tells_who_it_is() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
        let lines = "Sec-WebSocket-Protocol: one, two\r\nX-Token: secret\r\n";
        let request = upgrade(&net.address(), "/events?a=b", lines);
        stream.write_all(request.as_bytes()).await.expect("the hub reads");
        let head = read_head(&mut stream).await.to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(head.contains("sec-websocket-protocol: one\r\n"), "{head}");
        assert!(!head.contains("extensions"), "{head}");
        let (_, peer) = net.app.connection(1).await;
        assert_eq!(peer.transport, "websocket");
        assert_eq!(peer.remote_address, stream.local_addr().ok());
        assert_eq!(peer.url.as_deref(), Some("/events?a=b"));
        assert_eq!(peer.protocols, ["one", "two"]);
        assert!(peer.headers.contains(&("x-token".into(), "secret".into())));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_read_before_admit_and_what_was_sent_early_is_not_lost() {
    within(async {
        let config = HubConfig { admit_by_hand: true, ..HubConfig::default() };
        let net = Net::start(config, Via::WebSocket).await;
        net.listen("t:1").await;
        let mut early = TcpStream::connect(net.address()).await.expect("the hub listens");
        // Handshake and first event in one packet.
        let mut bytes = upgrade(&net.address(), "/", "").into_bytes();
        bytes.extend(masked(0x81, event("t", "1", "1").as_bytes()));
        early.write_all(&bytes).await.expect("the hub reads");
        read_head(&mut early).await;
        early.write_all(&masked(0x81, event("t", "1", "2").as_bytes())).await.expect("the kernel takes it");
        let (early_key, _) = net.app.connection(1).await;
        let mut other = net.peer().await;
        let (other_key, _) = net.app.connection(2).await;
        net.hub.admit(other_key);
        for number in 0..100 {
            other.send(&event("t", "1", &format!("\"other {number}\""))).await;
            other.settle().await;
        }
        assert!(net.app.payloads().iter().all(|payload| payload.contains("other")));
        net.hub.admit(early_key);
        net.hub.admit(early_key);
        let heard = net.app.payloads_of(102).await;
        assert_eq!(heard[100..], ["1", "2"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_sent_to_a_connection_before_it_spoke_follows_the_answer_to_its_hello() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(HubConfig { admit_by_hand: true, ..HubConfig::default() }, via).await;
            let mut peer = net.peer().await;
            let (key, _) = net.app.connection(1).await;
            net.hub.publish_once("t", "1", "0", key);
            net.hub.admit(key);
            net.hub.publish_once("t", "1", "1", key);
            // A round trip later.
            tokio::time::sleep(Duration::from_millis(20)).await;
            net.hub.publish_once("t", "1", "2", key);
            peer.send(HELLO).await;
            peer.send(&subscribe_n("t:1", 1)).await;
            net.hub.publish_once("t", "1", "3", key);
            let heard = peer.texts(6).await;
            assert_eq!(heard[0], HUB_HELLO, "{via:?}");
            let events: Vec<String> =
                heard[1..].iter().filter(|text| **text != subscribed("t:1", 1)).cloned().collect();
            assert_eq!(payloads(&events), numbers(0..4), "{via:?}: in order, whatever the subscription does");
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_gets_what_is_sent_to_it_all_the_same() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(HubConfig { admit_by_hand: true, ..HubConfig::default() }, via).await;
            let mut peer = net.peer().await;
            let (key, _) = net.app.connection(1).await;
            net.hub.publish_once("t", "1", "0", key);
            net.hub.admit(key);
            assert_eq!(payloads(&[peer.text().await]), ["0"], "{via:?}: after a moment");
            net.hub.publish_once("t", "1", "1", key);
            assert_eq!(payloads(&[peer.text().await]), ["1"], "{via:?}");

            let mut flushed = net.peer().await;
            let (key, _) = net.app.connection(2).await;
            net.hub.publish_once("t", "1", "2", key);
            flush(&net, 1).await;
            assert_eq!(payloads(&[flushed.text().await]), ["2"], "{via:?}: a flush waits for no word");

            let mut closed = net.peer().await;
            let (key, _) = net.app.connection(3).await;
            let much = format!("\"{}\"", "x".repeat(40_000));
            for payload in ["3", &much, &much, "4"] {
                net.hub.publish_once("t", "1", payload, key);
            }
            net.hub.disconnect(key, CloseReason::new(CloseCode(4000), "goodbye"));
            let (texts, _) = closed.until_end().await;
            assert_eq!(payloads(&texts), ["3", &much, &much, "4"], "{via:?}: nor does a close");

            let _expelled = net.peer().await;
            let (key, _) = net.app.connection(4).await;
            net.hub.publish_once("t", "1", "5", key);
            net.hub.disconnect(key, CloseReason::new(CloseCode::REFUSED, "not you"));
            net.app.disconnection(key).await;
            // It is seen with the event or before it.
            let stats = net.hub.stats();
            assert_eq!(stats.dropped + stats.unrouted, 1, "{via:?}");
        }
    })
    .await;
}

/// Holds the hub's task up while it is told of an answer: the time of a first word passes in the middle of what it does.
struct HoldsUp(Arc<Recorder>);

impl HoldsUp {
    const TOKEN: u32 = 77;
    /// Longer than a first word is waited for.
    const TIME: Duration = Duration::from_millis(300);
}

impl Delivery for HoldsUp {
    fn event(&self, connection: u32, type_: &str, id: &str, payload: &str) {
        Delivery::event(&*self.0, connection, type_, id, payload);
    }

    fn notice(&self, notice: Notice) {
        if matches!(notice, Notice::Confirmed { token: Self::TOKEN, .. }) {
            std::thread::sleep(Self::TIME);
        }
        Delivery::notice(&*self.0, notice);
    }

    fn is_full(&self) -> bool {
        self.0.is_full()
    }

    fn poll_room(&self, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.0.poll_room(cx)
    }
}

#[tokio::test]
async fn what_is_sent_once_the_first_word_is_overdue_follows_what_has_waited_for_it() {
    within(async {
        let app = Recorder::new();
        let delivery = Arc::new(HoldsUp(Arc::clone(&app)));
        let config = HubConfig { admit_by_hand: true, ..HubConfig::default() };
        let limits = config.limits.clone();
        let hub = Hub::start(config, delivery, &Handle::current());
        let (ours, theirs) = memory::pair(&limits);
        assert!(hub.add(theirs));
        let mut peer = BarePeer::Link(LinkPeer::new(ours));
        let (key, _) = app.connection(1).await;
        // One thread, and nothing is waited for: the hub does all of this in one go, and its task sleeps in the middle.
        hub.publish_once("t", "1", "0", key);
        hub.admit(key);
        hub.publish_once("t", "1", "1", key);
        hub.confirm(HoldsUp::TOKEN);
        hub.publish_once("t", "1", "2", key);
        assert_eq!(payloads(&peer.texts(3).await), ["0", "1", "2"]);
        // It was taken for a peer that says nothing; its hello is answered all the same, and waits for nothing any more.
        peer.send(HELLO).await;
        assert_eq!(peer.text().await, HUB_HELLO);
        hub.publish_once("t", "1", "3", key);
        assert_eq!(payloads(&[peer.text().await]), ["3"]);
    })
    .await;
}

#[tokio::test]
async fn a_connection_refused_before_admit_reads_why() {
    within(async {
        let config = HubConfig { admit_by_hand: true, ..HubConfig::default() };
        let net = Net::start(config, Via::WebSocket).await;
        let mut peer = net.peer().await;
        peer.send(HELLO).await;
        let (key, _) = net.app.connection(1).await;
        net.hub.disconnect(key, CloseReason::new(CloseCode::REFUSED, "not you"));
        assert_eq!(peer.until_end().await, (vec![], Some((4403, "not you".into()))));
        assert_eq!(net.app.disconnection(key).await, (4403, "not you".into(), true));
    })
    .await;
}

#[tokio::test]
async fn disconnect_closes_behind_what_was_published_before() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut peer = net.subscriber(&["t:1"]).await;
            let (key, _) = net.app.connection(1).await;
            for number in 0..3000 {
                net.publish("t", "1", &number.to_string());
            }
            net.hub.disconnect(key, CloseReason::new(CloseCode(4000), "that is all"));
            net.publish("t", "1", "\"too late\"");
            let (texts, close) = peer.until_end().await;
            assert_eq!(payloads(&texts), numbers(0..3000), "{via:?}");
            assert_eq!(close, Some((4000, "that is all".into())));
            drop(peer);
            assert_eq!(net.app.disconnection(key).await, (4000, "that is all".into(), true));
            assert_eq!(net.hub.stats().topics, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_peers_close_is_answered_and_clean() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        net.listen("t:1").await;
        let mut peer = net.subscriber(&["t:1"]).await;
        let (key, _) = net.app.connection(1).await;
        peer.send(&event("t", "1", "1")).await;
        peer.ws().close(4001, "bye").await;
        assert_eq!(peer.until_end().await, (vec![], Some((4001, String::new()))));
        assert_eq!(net.app.disconnection(key).await, (4001, "bye".into(), true));
        assert_eq!(net.app.payloads(), ["1"], "what came before the close counts");

        let mut peer = raw(&net).await;
        let (key, _) = net.app.connection(2).await;
        peer.write_all(&masked(0x88, b"")).await.expect("the hub reads");
        assert_eq!(read_frame(&mut peer).await, Some((0x88, vec![])));
        assert_eq!(read_frame(&mut peer).await, None, "then the socket ends");
        assert_eq!(net.app.disconnection(key).await, (1005, String::new(), true));
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_has_nothing_left_to_say_ends_at_once() {
    within(async {
        let mut config = HubConfig { admit_by_hand: true, ..HubConfig::default() };
        // Nothing else wakes the hub.
        config.limits.heartbeat = Duration::from_secs(600);
        let net = Net::start(config, Via::WebSocket).await;
        let _refused = net.peer().await;
        let (refused, _) = net.app.connection(1).await;
        let began = Instant::now();
        net.hub.disconnect(refused, CloseReason::new(CloseCode::REFUSED, ""));
        net.app.disconnection(refused).await;
        assert!(began.elapsed() < Duration::from_millis(500), "refused: {:?}", began.elapsed());

        let mut leaving = net.peer().await;
        let (key, _) = net.app.connection(2).await;
        net.hub.admit(key);
        leaving.settle().await;
        let began = Instant::now();
        leaving.ws().close(1000, "").await;
        net.app.disconnection(key).await;
        assert!(began.elapsed() < Duration::from_millis(500), "left: {:?}", began.elapsed());
    })
    .await;
}

#[tokio::test]
async fn a_memory_peers_close_is_clean_and_its_loss_is_not() {
    within(async {
        let net = Net::relay(Via::Memory).await;
        let (ours, theirs) = memory::pair(&net.limits);
        net.hub.add(theirs);
        let (key, _) = net.app.connection(1).await;
        LinkPeer::new(ours).end(4001, "bye").await;
        assert_eq!(net.app.disconnection(key).await, (4001, "bye".into(), true));
        drop(net.peer().await);
        let (key, _) = net.app.connection(2).await;
        let (code, _, is_clean) = net.app.disconnection(key).await;
        assert_eq!((code, is_clean), (1006, false));
    })
    .await;
}

#[tokio::test]
async fn a_socket_that_ends_without_a_close_frame_is_not_clean() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        drop(raw(&net).await);
        let (key, _) = net.app.connection(1).await;
        let (code, _, is_clean) = net.app.disconnection(key).await;
        assert_eq!((code, is_clean), (1006, false));
    })
    .await;
}

// ---- Bad input -----------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_is_forged_never_reaches_a_subscriber() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let mut subscriber = net.subscriber(&["t:1", "t:2", "x:"]).await;
            let mut publisher = net.peer().await;
            let bad = [
                r#"{"type":"t","id":"1","payload":1,"payload":2}"#,
                r#"{"type":"x","type":"t","id":"1","payload":1}"#,
                r#"{"type":"t","id":"2","id":"1","payload":1}"#,
                r#"{"type":"t","id":"1","payload":1},"type":"x"}"#,
                r#"{"type":"t","id":"1","payload":1}{"type":"x","id":"","payload":2}"#,
                r#"{"type":"t","id":"1","payload":"a"b"}"#,
                r#"{"type":"t","id":1,"payload":1}"#,
                r#"{"type":null,"id":"1","payload":1}"#,
                r#"{"type":"","id":"1","payload":1}"#,
                r#"{"id":"1","payload":1}"#,
                r#"["t","1",1]"#,
                "[1]",
                "nonsense",
            ];
            for message in bad {
                publisher.send(message).await;
            }
            for message in [
                r#"{"_o":"forged","type":"t","id":"1","payload":{"a":1},"x":{"type":"x"},"__proto__":[]}"#,
                r#" { "payload" : [1, 2]  , "id":"1" ,"type":"\u0074"}"#,
                r#"{"type":"t","id":"1"}"#,
            ] {
                publisher.send(message).await;
            }
            publisher.settle().await;
            let good = [event("t", "1", r#"{"a":1}"#), event("t", "1", "[1, 2]"), event("t", "1", "null")];
            assert_eq!(subscriber.rest().await, good, "{via:?}");
            assert_eq!(net.app.payloads(), [r#"{"a":1}"#, "[1, 2]", "null"]);
            assert_eq!(net.hub.stats().malformed, bad.len() as u64);
            net.app.error(ErrorKind::Malformed).await;
        }
    })
    .await;
}

#[tokio::test]
async fn relayed_payloads_are_the_publishers_bytes() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let mut subscriber = net.subscriber(&["t:1"]).await;
            let mut publisher = net.peer().await;
            let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
            let large = format!("\"{}\"", "é".repeat(300_000));
            let sent = [
                "123456789012345678901234567890",
                "1e400",
                "-0",
                r#"{ "a" : 1,	"a":2, "__proto__":{"a":null} }"#,
                r#""\ud800 \u0041 \/ \"},\"type\":\"x""#,
                &deep,
                &large,
            ];
            for payload in sent {
                publisher.send(&format!(r#"{{"payload":{payload},"type":"t","id":"1"}}"#)).await;
            }
            for payload in sent {
                let text = subscriber.text().await;
                assert!(text == event("t", "1", payload), "{via:?}: {payload:.40}");
            }
            assert_eq!(net.app.payloads_of(sent.len()).await, sent);
        }
    })
    .await;
}

#[tokio::test]
async fn malformed_messages_are_counted_and_reported_and_one_too_many_closes() {
    within(async {
        for via in EVERY_WAY {
            let mut config = HubConfig::default();
            config.limits.max_malformed_per_minute = 3;
            let net = Net::start(config, via).await;
            let mut peer = net.subscriber(&["t:1"]).await;
            let (key, _) = net.app.connection(1).await;
            for _ in 0..3 {
                peer.send("nonsense").await;
            }
            peer.settle().await;
            assert_eq!(net.hub.stats().malformed, 3, "{via:?}");
            net.publish("t", "1", "1");
            assert_eq!(peer.text().await, event("t", "1", "1"), "three are forgiven");
            peer.send("nonsense").await;
            let (_, close) = peer.until_end().await;
            assert_eq!(close.map(|(code, _)| code), Some(1008), "{via:?}: the fourth is not");
            drop(peer);
            assert_eq!(net.app.disconnection(key).await.0, 1008);
            let (message, _) = net.app.error(ErrorKind::Malformed).await;
            assert!(message.contains("not an envelope"), "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn errors_of_a_storm_are_told_with_their_number() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_malformed_per_minute = 10_000;
        let net = Net::start(config, Via::Memory).await;
        let mut peer = net.peer().await;
        for _ in 0..500 {
            peer.send("nonsense").await;
        }
        peer.settle().await;
        let told = net
            .app
            .until("all 500 are accounted for", |log| {
                let dropped = log.iter().filter_map(|heard| match heard {
                    Heard::Notice(Notice::Error { dropped, .. }) => Some(*dropped),
                    _ => None,
                });
                let told: Vec<u64> = dropped.collect();
                (told.iter().sum::<u64>() == 500).then_some(told.len())
            })
            .await;
        assert!(told < 50, "{told} notices for a storm");
    })
    .await;
}

#[tokio::test]
async fn a_message_at_the_limit_passes_and_one_byte_more_closes_with_1009() {
    within(async {
        for via in EVERY_WAY {
            let mut config = HubConfig { relay: true, ..HubConfig::default() };
            config.limits.max_message_bytes = 200;
            let net = Net::start(config, via).await;
            net.listen("t:1").await;
            let sized = |len: usize| {
                let frame = event("t", "1", "\"\"").len();
                event("t", "1", &format!("\"{}\"", "x".repeat(len - frame)))
            };
            let mut subscriber = net.subscriber(&["t:1"]).await;
            let mut peer = net.peer().await;
            let (key, _) = net.app.connection(2).await;
            peer.send(&sized(200)).await;
            assert_eq!(subscriber.text().await, sized(200), "{via:?}");
            peer.send(&sized(201)).await;
            let (_, close) = peer.until_end().await;
            assert_eq!(close.map(|(code, _)| code), Some(1009), "{via:?}");
            drop(peer);
            let (code, _, is_clean) = net.app.disconnection(key).await;
            assert_eq!((code, is_clean), (1009, false));
            let of = |len: usize| format!("\"{}\"", "x".repeat(len - event("t", "1", "\"\"").len()));
            let publish = |len| net.hub.publish_once("t", "1", &of(len), ConnKey::APPLICATION);
            assert_eq!(publish(201), Published::TooLarge);
            assert_eq!(publish(200), Published::Accepted);
            assert_eq!(subscriber.text().await, sized(200));
        }
    })
    .await;
}

#[tokio::test]
async fn a_broken_frame_closes_with_its_code_and_concerns_nobody_else() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        let mut other = net.subscriber(&["t:1"]).await;
        let cases: [(&str, Vec<u8>, u16); 6] = [
            ("unmasked", vec![0x81, 0x01, b'a'], 1002),
            ("a reserved bit", masked(0xc1, b"{}"), 1002),
            ("an unknown opcode", masked(0x83, b""), 1002),
            ("not UTF-8", masked(0x81, b"\xc3\x28"), 1007),
            ("2^62 bytes", vec![0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1009),
            ("a close frame with code 1006", masked(0x88, &[0x03, 0xee]), 1002),
        ];
        for (nth, (what, bytes, code)) in cases.into_iter().enumerate() {
            let mut stream = raw(&net).await;
            let (key, _) = net.app.connection(nth + 2).await;
            // What came before counts.
            stream.write_all(&masked(0x81, event("t", "1", &nth.to_string()).as_bytes())).await.expect("the hub reads");
            stream.write_all(&bytes).await.expect("the hub reads");
            let (first, payload) = read_frame(&mut stream).await.expect("a close frame");
            assert_eq!((first, &payload[..2]), (0x88, &u16::to_be_bytes(code)[..]), "{what}");
            drop(stream);
            let (told, _, is_clean) = net.app.disconnection(key).await;
            assert_eq!((told, is_clean), (code, false), "{what}");
            assert_eq!(other.text().await, event("t", "1", &nth.to_string()));
        }
        net.app.error(ErrorKind::Protocol).await;
    })
    .await;
}

#[tokio::test]
async fn a_binary_message_with_an_envelope_is_one_and_another_is_malformed() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        net.listen("t:1").await;
        let mut peer = net.peer().await;
        let binary = |bytes: &[u8]| Message::binary(bytes.to_vec());
        peer.ws().send_message(binary(event("t", "1", "1").as_bytes())).await;
        peer.ws().send_message(binary(b"\xff\xfe")).await;
        peer.settle().await;
        assert_eq!((net.app.payloads(), net.hub.stats().malformed), (vec!["1".to_owned()], 1));
    })
    .await;
}

#[tokio::test]
async fn pings_are_answered_in_order() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        let mut stream = raw(&net).await;
        let mut bytes = masked(0x81, HELLO.as_bytes());
        bytes.extend(masked(0x89, b"1"));
        bytes.extend(masked(0x81, subscribe_n("t:1", 1).as_bytes()));
        bytes.extend(masked(0x89, b"2"));
        stream.write_all(&bytes).await.expect("the hub reads");
        let hello = (0x81, HUB_HELLO.as_bytes().to_vec());
        assert_eq!(read_frame(&mut stream).await, Some(hello));
        assert_eq!(read_frame(&mut stream).await, Some((0x8a, b"1".to_vec())));
        let answer = (0x81, subscribed("t:1", 1).into_bytes());
        assert_eq!(read_frame(&mut stream).await, Some(answer));
        assert_eq!(read_frame(&mut stream).await, Some((0x8a, b"2".to_vec())));
    })
    .await;
}

// ---- Slow readers and bounds ---------------------------------------------------------------------------------------------------------

/// A subscriber that does not read, with little room in its kernel.
async fn deaf(net: &Net, topic: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 << 10).expect("a small buffer");
    let address = net.address().parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("the hub listens");
    let request = upgrade(&net.address(), "/", "");
    stream.write_all(request.as_bytes()).await.expect("the hub reads");
    read_head(&mut stream).await;
    let before = net.hub.subscriber_count(topic);
    stream.write_all(&masked(0x81, subscribe(topic).as_bytes())).await.expect("the hub reads");
    until("the subscription", || net.hub.subscriber_count(topic) == before + 1).await;
    stream
}

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

// ---- Time ----------------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_silent_peer_is_pinged_and_one_that_does_not_answer_is_dropped() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.heartbeat = Duration::from_millis(200);
        let net = Net::start(config, Via::WebSocket).await;
        let mut alive = raw(&net).await;
        let (alive_key, _) = net.app.connection(1).await;
        let mut dead = raw(&net).await;
        let (dead_key, _) = net.app.connection(2).await;
        let answering = async {
            for _ in 0..6 {
                let (first, data) = read_frame(&mut alive).await.expect("a ping");
                assert_eq!(first, 0x89);
                alive.write_all(&masked(0x8a, &data)).await.expect("the hub reads");
            }
        };
        let (_, (code, reason, is_clean)) = tokio::join!(answering, net.app.disconnection(dead_key));
        assert_eq!((code, is_clean), (1006, false), "{reason}");
        assert_eq!(read_frame(&mut dead).await.map(|(first, _)| first), Some(0x89), "it was asked");
        let is_gone = net.app.notices().into_iter().any(
            |notice| matches!(notice, Notice::Disconnection { connection, .. } if connection == alive_key.to_bits()),
        );
        assert!(!is_gone, "who answers lives");
    })
    .await;
}

#[tokio::test]
async fn a_process_that_was_suspended_does_not_take_its_peers_for_dead() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.heartbeat = Duration::from_millis(200);
        let net = Net::start(config, Via::WebSocket).await;
        let mut peer = raw(&net).await;
        let (key, _) = net.app.connection(1).await;
        // The hub, its sockets and its clock stand on this thread: nothing runs, as under SIGSTOP.
        std::thread::sleep(Duration::from_millis(700));
        let (first, data) = read_frame(&mut peer).await.expect("a ping and no close frame");
        assert_eq!(first, 0x89);
        peer.write_all(&masked(0x8a, &data)).await.expect("the hub reads");
        assert_eq!(read_frame(&mut peer).await.map(|(first, _)| first), Some(0x89), "the next");
        let (code, _, is_clean) = net.app.disconnection(key).await;
        assert_eq!((code, is_clean), (1006, false), "from then on silence counts again");
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_dropped() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.handshake = Duration::from_millis(100);
        let net = Net::start(config, Via::WebSocket).await;
        let mut silent = TcpStream::connect(net.address()).await.expect("the hub listens");
        let mut slow = TcpStream::connect(net.address()).await.expect("the hub listens");
        slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.expect("the hub reads");
        let mut rest = Vec::new();
        let _end_or_reset = silent.read_to_end(&mut rest).await;
        let _end_or_reset = slow.read_to_end(&mut rest).await;
        assert_eq!(net.hub.stats().accepted, 0);
        net.peer().await.settle().await;
    })
    .await;
}

// ---- The end -------------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn close_writes_what_was_published_and_then_says_1001() {
    const EVENTS: usize = 5000;
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut peers = [net.subscriber(&["t:1"]).await, net.subscriber(&["t:1"]).await];
            for number in 0..EVENTS {
                net.publish("t", "1", &number.to_string());
            }
            let reason = CloseReason::new(CloseCode::GOING_AWAY, "good night");
            net.hub.close(reason.clone(), Duration::from_secs(30));
            net.hub.close(reason, Duration::from_secs(30));
            for peer in &mut peers {
                let (texts, close) = peer.until_end().await;
                assert_eq!(payloads(&texts), numbers(0..EVENTS), "{via:?}");
                assert_eq!(close, Some((1001, "good night".into())), "{via:?}");
            }
            drop(peers);
            assert_eq!(net.app.closed().await, (1001, "good night".into(), None));
            let notices = net.app.notices();
            let ends = |notice: &&Notice| matches!(notice, Notice::Disconnection { is_clean: true, .. });
            assert_eq!(notices.iter().filter(ends).count(), 2, "{via:?}");
            assert!(matches!(notices.last(), Some(Notice::Closed { .. })), "closed comes last");
            let closed = |notice: &&Notice| matches!(notice, Notice::Closed { .. });
            assert_eq!(notices.iter().filter(closed).count(), 1, "and once");
            let publish = net.hub.publish_once("t", "1", "1", ConnKey::APPLICATION);
            assert_eq!(publish, Published::Closed);
            let (_, link) = memory::pair(&net.limits);
            assert!(!net.hub.add(link));
            assert_eq!((net.hub.stats().connections, net.hub.stats().topics), (0, 0));
            if via == Via::WebSocket {
                assert!(TcpStream::connect(net.address()).await.is_err(), "nobody listens any more");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn close_does_not_wait_longer_than_its_time_out_for_a_peer_that_does_not_read() {
    within(async {
        let config = HubConfig { max_buffered: 64 << 20, ..HubConfig::default() };
        let net = Net::start(config, Via::WebSocket).await;
        let _deaf = deaf(&net, "t:1").await;
        let filler = format!("\"{}\"", "x".repeat(1_000_000));
        for _ in 0..20 {
            net.publish("t", "1", &filler);
        }
        net.hub.flush(7);
        net.hub.close(CloseReason::new(CloseCode::GOING_AWAY, ""), Duration::from_millis(50));
        assert_eq!(net.app.closed().await.0, 1001);
        net.app.flushed(7).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_for_a_slow_reader_does_not_put_a_close_off() {
    const EVENTS: usize = 400;
    within(async {
        let config = HubConfig { max_buffered: 256 << 10, stall: Duration::from_secs(20), ..HubConfig::default() };
        let net = Net::start(config, Via::Memory).await;
        let mut peer = net.subscriber(&["t:1"]).await;
        let read = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&read);
        // Slow by design: one event of 100 KB each 10 ms, 4 seconds for all.
        let reading = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(10));
            for _ in 0..EVENTS {
                pace.tick().await;
                peer.text().await;
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let payload = format!("\"{}\"", "x".repeat(100_000));
        for _ in 0..EVENTS {
            net.publish("t", "1", &payload);
        }
        net.hub.close(CloseReason::new(CloseCode::GOING_AWAY, ""), Duration::from_millis(50));
        net.app.closed().await;
        let read = read.load(std::sync::atomic::Ordering::SeqCst);
        assert!(read < EVENTS / 2, "closed after 50 ms, not when {read} of {EVENTS} events were read");
        reading.abort();
    })
    .await;
}

#[tokio::test]
async fn abort_closes_at_once() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let mut peer = net.subscriber(&["t:1"]).await;
            net.hub.abort();
            net.app.closed().await;
            let (texts, _) = peer.until_end().await;
            assert_eq!(texts, [""; 0]);
        }
    })
    .await;
}

#[tokio::test]
async fn flush_is_answered_when_a_reader_has_taken_what_waited() {
    within(async {
        let config = HubConfig { max_buffered: 64 << 20, ..HubConfig::default() };
        let net = Net::start(config, Via::Memory).await;
        let mut peer = net.subscriber(&["t:1"]).await;
        let (key, _) = net.app.connection(1).await;
        // More than the pipe of a memory link holds.
        let filler = format!("\"{}\"", "x".repeat(100_000));
        for _ in 0..5 {
            net.publish("t", "1", &filler);
        }
        net.hub.flush(1);
        net.hub.confirm(2);
        net.app.confirmed(2).await.expect("confirmed");
        until("something waits", || net.hub.connection_buffered(key) > 0).await;
        let is_flushed = || net.app.notices().into_iter().any(|n| matches!(n, Notice::Flushed { .. }));
        assert!(!is_flushed(), "500 KB do not fit into the pipe");
        peer.texts(5).await;
        net.app.flushed(1).await;
        assert_eq!(net.hub.connection_buffered(key), 0);
    })
    .await;
}

#[tokio::test]
async fn a_reset_at_any_step_leaves_the_hub_as_it_was() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        net.listen("t:1").await;
        let request = upgrade(&net.address(), "/", "").into_bytes();
        let hello = masked(0x81, HELLO.as_bytes());
        let wish = masked(0x81, subscribe("t:1").as_bytes());
        let message = masked(0x81, event("t", "1", "1").as_bytes());
        let large = masked(0x81, event("t", "1", &format!("\"{}\"", "x".repeat(500_000))).as_bytes());
        let steps: Vec<(&str, Vec<Vec<u8>>)> = vec![
            ("nothing", vec![]),
            ("half a request", vec![request[..40].to_vec()]),
            ("a request", vec![request.clone()]),
            ("half a header", vec![request.clone(), hello[..3].to_vec()]),
            ("half a frame", vec![request.clone(), hello[..20].to_vec()]),
            ("hello", vec![request.clone(), hello.clone()]),
            ("a subscription", vec![request.clone(), hello.clone(), wish.clone()]),
            ("an event", vec![request.clone(), wish.clone(), message.clone()]),
            ("half a large message", vec![request.clone(), wish.clone(), large[..300_000].to_vec()]),
            ("a close frame", vec![request.clone(), wish.clone(), masked(0x88, &[0x03, 0xe8])]),
            ("a violation", vec![request.clone(), wish.clone(), masked(0xf1, b"")]),
        ];
        let mut survivor = net.subscriber(&["t:1"]).await;
        for (round, (what, parts)) in steps.iter().enumerate() {
            for waits_for_answer in [false, true] {
                let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
                for (index, part) in parts.iter().enumerate() {
                    let _reset = stream.write_all(part).await;
                    if index == 0 && waits_for_answer && part.len() > 40 {
                        read_head(&mut stream).await;
                    }
                }
                stream.set_zero_linger().expect("a TCP socket");
                drop(stream);
                let payload = format!("\"{what} {round} {waits_for_answer}\"");
                net.publish("t", "1", &payload);
                while survivor.text().await != event("t", "1", &payload) {}
            }
        }
        until("only the survivor is left", || net.hub.stats().connections == 1).await;
        assert_eq!((net.hub.stats().topics, net.hub.stats().panics), (1, 0));
        assert_eq!(net.hub.subscriber_count("t:1"), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_connections_come_and_go_and_leave_nothing() {
    within(async {
        for via in EVERY_WAY {
            let net = Arc::new(Net::relay(via).await);
            let mut peers = Vec::new();
            for number in 0..200 {
                let net = Arc::clone(&net);
                peers.push(tokio::spawn(async move {
                    let mut peer = net.subscriber(&["all:", &format!("own:{number}")]).await;
                    peer.send(&event("all", "", &number.to_string())).await;
                    peer.settle().await;
                    if number % 3 == 0 {
                        peer.unsubscribe("all:").await;
                    }
                    if number % 2 == 0
                        && let BarePeer::Ws(bare) = &mut peer
                    {
                        bare.close(1000, "done").await;
                    }
                }));
            }
            for peer in peers {
                peer.await.expect("no panic");
            }
            net.app.disconnections(200).await;
            let stats = net.hub.stats();
            assert_eq!((stats.accepted, stats.connections, stats.topics), (200, 0, 0), "{via:?}");
            assert_eq!((stats.received, stats.panics), (200, 0));
        }
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_comes_and_goes_a_hundred_thousand_times_leaves_nothing() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_topics_per_connection = 1_000_000;
        let net = Net::start(config, Via::Memory).await;
        let mut peer = net.peer().await;
        for number in 0..50_000 {
            let topic = format!("t:{number}");
            peer.subscribe(&topic).await;
            if number % 2 == 0 {
                peer.unsubscribe(&topic).await;
            }
        }
        peer.settle().await;
        assert_eq!(net.hub.stats().topics, 25_000);
        let (key, _) = net.app.connection(1).await;
        drop(peer);
        net.app.disconnection(key).await;
        until("its topics are gone", || net.hub.stats().topics == 0).await;
    })
    .await;
}

// ---- Binding and HTTP ----------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_port_that_is_taken_is_a_listen_error() {
    within(async {
        let taken = bind(loopback()).await.expect("port 0 is free");
        let config = ListenConfig { port: taken.address().port(), ..loopback() };
        assert_eq!(bind(config).await.expect_err("taken").kind(), ErrorKind::Listen);
        let nowhere = ListenConfig { host: "no-such-host.invalid".into(), ..loopback() };
        assert_eq!(bind(nowhere).await.expect_err("unknown").kind(), ErrorKind::Listen);
    })
    .await;
}

#[tokio::test]
async fn only_loopback_may_be_bound_without_saying_that_anyone_may_come() {
    within(async {
        let everywhere = |anyone| ListenConfig { host: "0.0.0.0".into(), anyone, ..ListenConfig::default() };
        assert_eq!(bind(everywhere(false)).await.expect_err("refused").kind(), ErrorKind::NoAuthorize);
        let bound = bind(everywhere(true)).await.expect("allowed");
        assert_eq!(bound.url(), format!("ws://localhost:{}/", bound.address().port()));
    })
    .await;
}

/// Sends bytes and reads the status and the whole head of the answer.
async fn ask(net: &Net, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
    // The hub may refuse before everything is written.
    let _refused = stream.write_all(request).await;
    let head = read_head(&mut stream).await;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), head)
}

#[tokio::test]
async fn requests_that_are_no_websocket_handshake_get_their_status() {
    within(async {
        let listen = ListenConfig { path: Some("/events".into()), ..loopback() };
        let net = Net::start_at(HubConfig::default(), Via::WebSocket, listen).await;
        let host = net.address();
        let good = upgrade(&host, "/events", "");
        let cases: Vec<(&str, String, u16)> = vec![
            ("a handshake", good.clone(), 101),
            ("a handshake with a query", upgrade(&host, "/events?a=b", ""), 101),
            ("plain HTTP", format!("GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n"), 426),
            ("a wrong path", upgrade(&host, "/", ""), 404),
            ("a longer path", upgrade(&host, "/events/x", ""), 404),
            ("plain HTTP elsewhere", format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"), 404),
            ("no host", upgrade(&host, "/events", "").replace("Host:", "X:"), 400),
            ("two hosts", upgrade(&host, "/events", "Host: localhost\r\n"), 400),
            ("two origins", upgrade(&host, "/events", "Origin: http://a\r\nOrigin: http://b\r\n"), 400),
            ("two heads in one", format!("GET /events HTTP/1.1\n\n{}", upgrade(&host, "/events", "")), 400),
            ("POST", good.replace("GET", "POST"), 400),
            ("version 12", good.replace("Version: 13", "Version: 12"), 400),
            ("no key", good.replace("Sec-WebSocket-Key", "X-Key"), 400),
            ("no Connection: Upgrade", good.replace("Connection: Upgrade", "Connection: close"), 400),
            ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0"), 400),
            ("no HTTP at all", "hello hub, how are you\r\n\r\n".into(), 400),
            ("a NUL in a header", upgrade(&host, "/events", "X: a\0b\r\n"), 400),
        ];
        for (what, request, expected) in cases {
            let (status, head) = ask(&net, request.as_bytes()).await;
            assert_eq!(status, expected, "{what}: {head}");
            if expected == 426 {
                assert!(head.contains("Upgrade: websocket") && head.contains("Sec-WebSocket-Version: 13"), "{head}");
            }
        }
        until("only two were taken", || net.hub.stats().accepted == 2).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_head_has_a_largest_size_and_number_of_lines() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        let host = net.address();
        let bare = upgrade(&host, "/", "");
        let padded = |len: usize| {
            let padding = "x".repeat(len - bare.len() - "A: \r\n".len());
            upgrade(&host, "/", &format!("A: {padding}\r\n"))
        };
        assert_eq!(padded(16 << 10).len(), 16 << 10);
        assert_eq!(ask(&net, padded(16 << 10).as_bytes()).await.0, 101, "at the bound");
        assert_eq!(ask(&net, padded((16 << 10) + 1).as_bytes()).await.0, 431, "one over");
        let endless = vec![b'a'; 100_000];
        assert_eq!(ask(&net, &endless).await.0, 431, "a head that never ends");
        let lines = |count: usize| upgrade(&host, "/", &"A: b\r\n".repeat(count - 5));
        assert_eq!(ask(&net, lines(64).as_bytes()).await.0, 101, "64 lines");
        assert_eq!(ask(&net, lines(65).as_bytes()).await.0, 431, "65 lines");
    })
    .await;
}

#[tokio::test]
async fn pages_of_foreign_origins_are_refused() {
    within(async {
        let listen = ListenConfig {
            allowed_origins: vec!["https://friend.example".into()],
            allowed_hosts: vec!["hub.internal".into()],
            ..loopback()
        };
        let net = Net::start_at(HubConfig::default(), Via::WebSocket, listen).await;
        let port = net.address().rsplit(':').next().map(str::to_owned).expect("a port");
        let here = |name: &str| format!("{name}:{port}");
        let cases: Vec<(String, Option<String>, u16)> = vec![
            (here("127.0.0.1"), None, 101),
            (here("evil.example"), None, 101),
            (here("127.0.0.1"), Some(format!("http://127.0.0.1:{port}")), 101),
            (here("localhost"), Some(format!("http://localhost:{port}")), 101),
            (here("LOCALHOST"), Some(format!("http://localhost:{port}")), 101),
            (here("app.localhost"), Some(format!("https://app.localhost:{port}")), 101),
            (here("[::1]"), Some(format!("http://[::1]:{port}")), 101),
            (here("hub.internal"), Some(format!("http://hub.internal:{port}")), 101),
            (here("127.0.0.1"), Some("https://friend.example".into()), 101),
            (here("127.0.0.1"), Some("http://evil.example".into()), 403),
            (here("127.0.0.1"), Some(format!("http://127.0.0.1:{port}.evil.example")), 403),
            (here("127.0.0.1"), Some("https://friend.example.evil.example".into()), 403),
            (here("127.0.0.1"), Some("http://127.0.0.1:1".into()), 403),
            (here("127.0.0.1"), Some(format!("http://localhost:{port}")), 403),
            (here("127.0.0.1"), Some("null".into()), 403),
            (here("127.0.0.1"), Some(String::new()), 403),
            // DNS rebinding: the page's own name resolves to this machine.
            (here("evil.example"), Some(format!("http://evil.example:{port}")), 403),
            (here("127.0.0.1.evil.example"), Some(format!("http://127.0.0.1.evil.example:{port}")), 403),
            (here("evil-localhost"), Some(format!("http://evil-localhost:{port}")), 403),
        ];
        for (host, origin, expected) in cases {
            let line = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
            let (status, _) = ask(&net, upgrade(&host, "/", &line).as_bytes()).await;
            assert_eq!(status, expected, "Host {host}, {line}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_connection_too_many_is_refused_with_503() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_connections = 2;
        let net = Net::start(config, Via::WebSocket).await;
        let request = upgrade(&net.address(), "/", "");
        let first = raw(&net).await;
        let _second = raw(&net).await;
        until("both are there", || net.hub.stats().connections == 2).await;
        assert_eq!(ask(&net, request.as_bytes()).await.0, 503);
        drop(first);
        net.app.disconnections(1).await;
        assert_eq!(ask(&net, request.as_bytes()).await.0, 101, "there is room again");
    })
    .await;
}

#[tokio::test]
async fn connections_that_race_for_the_last_place_do_not_exceed_the_limit() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_connections = 2;
        let net = Net::start(config, Via::Memory).await;
        let mut peers = [net.peer().await, net.peer().await, net.peer().await];
        let (texts, close) = peers[2].until_end().await;
        assert_eq!((texts, close.map(|(code, _)| code)), (vec![], Some(1001)));
        net.app.disconnections(1).await;
        assert_eq!(net.hub.stats().connections, 2);
        peers[0].settle().await;
    })
    .await;
}

// ---- TLS -----------------------------------------------------------------------------------------------------------------------------

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("ring makes keys");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("ring signs").pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// Certificate and key as PEM texts.
    fn sign(&self, names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("ring makes keys");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = rcgen::CertificateParams::new(names).expect("legal names");
        let certificate = params.signed_by(&key, &self.issuer).expect("ring signs");
        (certificate.pem(), key.serialize_pem())
    }
}

async fn tls_net(authority: &Authority, names: &[&str], clients: Option<&Authority>) -> Net {
    let (cert, key) = authority.sign(names);
    let tls = ServerTls { cert, key, ca: clients.map(|clients| clients.pem.clone()), request_cert: clients.is_some() };
    let listen = ListenConfig { tls: Some(tls), ..loopback() };
    let mut config = HubConfig { relay: true, ..HubConfig::default() };
    config.limits.handshake = Duration::from_secs(2);
    Net::start_at(config, Via::WebSocket, listen).await
}

async fn dial(net: &Net, tls: ClientTls) -> Result<Link, ConnectError> {
    let config = ClientConfig { tls, ..ClientConfig::default() };
    let destination = Destination { url: net.url.clone(), headers: Vec::new() };
    WebSocketConnector::new(config).connect(destination).await
}

fn trusting(authority: &Authority) -> ClientTls {
    ClientTls { ca: Some(authority.pem.clone()), ..ClientTls::default() }
}

#[tokio::test]
async fn events_travel_over_tls_both_ways() {
    within(async {
        let authority = Authority::new();
        let net = tls_net(&authority, &["127.0.0.1"], None).await;
        assert!(net.url.starts_with("wss://"));
        let mut peers = [
            LinkPeer::new(dial(&net, trusting(&authority)).await.expect("TLS works")),
            LinkPeer::new(dial(&net, trusting(&authority)).await.expect("TLS works")),
        ];
        peers[0].send(&subscribe("t:1")).await;
        peers[0].settle().await;
        let large = format!("\"{}\"", "x".repeat(900_000));
        for payload in ["1", &large, "3"] {
            peers[1].send(&event("t", "1", payload)).await;
            assert!(peers[0].text().await == event("t", "1", payload));
        }
        let (key, _) = net.app.connection(1).await;
        net.hub.disconnect(key, CloseReason::new(CloseCode(4000), "over"));
        assert_eq!(peers[0].until_end().await, (vec![], Some((4000, "over".into()))));
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_terminal() {
    within(async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let net = tls_net(&authority, &["127.0.0.1"], None).await;
        let wrong_name = ClientTls { server_name: Some("hub.example".into()), ..trusting(&authority) };
        for tls in [trusting(&stranger), wrong_name] {
            let refused = dial(&net, tls).await.expect_err("not this certificate");
            assert_eq!((refused.error.kind(), refused.is_terminal), (ErrorKind::Tls, true));
        }
        let insecure = ClientTls { insecure: true, ..ClientTls::default() };
        let mut peer = LinkPeer::new(dial(&net, insecure).await.expect("any certificate will do"));
        peer.settle().await;
        let named = tls_net(&authority, &["hub.example"], None).await;
        let with_name = ClientTls { server_name: Some("hub.example".into()), ..trusting(&authority) };
        let mut peer = LinkPeer::new(dial(&named, with_name).await.expect("the name that was asked for"));
        peer.settle().await;
    })
    .await;
}

#[tokio::test]
async fn a_hub_may_ask_for_client_certificates() {
    within(async {
        let (authority, clients) = (Authority::new(), Authority::new());
        let net = tls_net(&authority, &["127.0.0.1"], Some(&clients)).await;
        let with = |signer: &Authority| {
            let (cert, key) = signer.sign(&["client"]);
            ClientTls { cert: Some(cert), key: Some(key), ..trusting(&authority) }
        };
        assert!(dial(&net, trusting(&authority)).await.is_err(), "without a certificate");
        assert!(dial(&net, with(&authority)).await.is_err(), "with one of somebody else");
        let mut peer = LinkPeer::new(dial(&net, with(&clients)).await.expect("with the right one"));
        peer.settle().await;
        assert_eq!(net.hub.stats().accepted, 1);
    })
    .await;
}

#[tokio::test]
async fn who_speaks_no_tls_to_a_tls_hub_concerns_nobody() {
    within(async {
        let authority = Authority::new();
        let net = tls_net(&authority, &["127.0.0.1"], None).await;
        let mut plain = TcpStream::connect(net.address()).await.expect("the hub listens");
        let request = upgrade(&net.address(), "/", "");
        let _reset = plain.write_all(request.as_bytes()).await;
        let mut rest = Vec::new();
        let _reset = plain.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP"), "no plain answer");
        for bytes in [&[][..], &[0x16, 0x03, 0x01][..]] {
            let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
            stream.write_all(bytes).await.expect("the hub reads");
            stream.set_zero_linger().expect("a TCP socket");
        }
        let mut peer = LinkPeer::new(dial(&net, trusting(&authority)).await.expect("TLS works"));
        peer.settle().await;
        assert_eq!(net.hub.stats().accepted, 1);
    })
    .await;
}

#[tokio::test]
async fn tls_texts_that_cannot_be_used_are_told_at_once() {
    within(async {
        let (cert, key) = Authority::new().sign(&["a"]);
        let (_, other_key) = Authority::new().sign(&["a"]);
        let cases = [
            (String::new(), key.clone(), false),
            (cert.clone(), String::new(), false),
            (cert.clone(), "nonsense".into(), false),
            (cert.clone(), other_key, false),
            (cert, key, true),
        ];
        for (cert, key, request_cert) in cases {
            let tls = ServerTls { cert, key, ca: None, request_cert };
            let config = ListenConfig { tls: Some(tls), ..loopback() };
            assert_eq!(bind(config).await.expect_err("refused").kind(), ErrorKind::InvalidOption);
        }
    })
    .await;
}

// ---- A hub without a transport -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_hub_that_cannot_be_reached_says_so_and_ends() {
    within(async {
        let app = Recorder::new();
        let hub = Hub::start(HubConfig::default(), Arc::clone(&app) as Arc<dyn Delivery>, &Handle::current());
        hub.fail(alkpubsub_engine::delivery::Failure { kind: ErrorKind::Listen, message: "the port is taken".into() });
        let (code, _, kind) = app.closed().await;
        assert_eq!((code, kind), (1011, Some(ErrorKind::Listen)));
    })
    .await;
}
