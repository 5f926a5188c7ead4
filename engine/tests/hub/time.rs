//! Pings, peers that are silent, and handshakes that take too long.

use std::time::Duration;

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

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
