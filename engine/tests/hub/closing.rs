//! How a hub ends, and what connections and topics that went leave behind.

use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::delivery::{Delivery, Notice};
use alkpubsub_engine::hub::{Hub, HubConfig};
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::transport::memory;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::deaf;
use crate::support::*;

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
