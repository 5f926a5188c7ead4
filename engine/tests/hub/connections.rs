//! Connections one by one: what is heard from and said to one alone, how one begins and how it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alkpubsub_engine::delivery::{Delivery, Notice};
use alkpubsub_engine::hub::{Hub, HubConfig};
use alkpubsub_engine::model::{CloseCode, CloseReason, Published};
use alkpubsub_engine::transport::memory;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::flush;
use crate::support::*;

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
