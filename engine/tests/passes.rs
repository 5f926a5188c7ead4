//! Passes that take in more while they are written: nobody who reads is cut for it, and what was asked for in the middle is answered at the end.

mod support;

use std::time::Duration;

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{CloseCode, CloseReason};
use alkpubsub_engine::transport::memory;
use support::*;

/// More than are written before other tasks get a turn, several times over.
const CROWD: usize = 200;

async fn crowd(net: &Net, topic: &str) -> Vec<BarePeer> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(net.subscriber(&[topic]).await);
    }
    crowd
}

/// Reads a number of messages with each of them, all at the same time.
async fn read_all(crowd: Vec<BarePeer>, messages: usize) -> Vec<BarePeer> {
    let reading = crowd.into_iter().map(|mut peer| {
        tokio::spawn(async move {
            for _ in 0..messages {
                peer.text().await;
            }
            peer
        })
    });
    let mut peers = Vec::new();
    for peer in reading.collect::<Vec<_>>() {
        peers.push(peer.await.expect("everybody hears everything"));
    }
    peers
}

#[tokio::test]
async fn a_pass_does_not_grow_beyond_what_a_reader_that_keeps_up_may_have_waiting() {
    const SMALL: usize = 120;
    within(async {
        let net = Net::start(HubConfig::default(), Via::Memory).await;
        let crowd = crowd(&net, "t:").await;
        let small = format!("\"{}\"", "x".repeat(1000));
        (0..SMALL).for_each(|_| net.publish("t", "", &small));
        let largest = net.limits.max_message_bytes - event("t", "", "\"\"").len();
        net.publish("t", "", &format!("\"{}\"", "y".repeat(largest)));
        read_all(crowd, SMALL + 1).await;
        assert_eq!((net.hub.stats().slow_consumers, net.hub.stats().dropped), (0, 0));
    })
    .await;
}

/// Reads until something was written to some of a crowd, and not yet to all.
async fn until_half_written(net: &Net, before: u64) {
    while net.hub.stats().writes == before {
        tokio::task::yield_now().await;
    }
    assert!(net.hub.stats().writes - before < CROWD as u64, "in the middle of a pass");
}

#[tokio::test]
async fn who_is_expelled_in_the_middle_of_a_pass_is_not_written_to_and_what_it_lost_is_counted() {
    within(async {
        let net = Net::start(HubConfig::default(), Via::Memory).await;
        let crowd = crowd(&net, "t:").await;
        let mut keys = Vec::new();
        for nth in 1..=CROWD {
            keys.push(net.app.connection(nth).await.0);
        }
        let before = net.hub.stats();
        (0..3).for_each(|_| net.publish("t", "", "1"));
        until_half_written(&net, before.writes).await;
        keys.iter().for_each(|key| net.hub.disconnect(*key, CloseReason::new(CloseCode::REFUSED, "revoked")));
        let mut heard = 0;
        for mut peer in crowd {
            heard += peer.until_end().await.0.len() as u64;
        }
        let stats = net.hub.stats();
        assert!(heard < 3 * CROWD as u64, "some were expelled before they were written to");
        assert_eq!(stats.sent - before.sent, heard + stats.dropped);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_ends_in_front_of_a_flush_does_not_answer_it_before_its_time() {
    within(async {
        // Everything waits in one batch, because the hub waits for a reader that has stopped.
        let config = HubConfig { max_buffered: 256 << 10, stall: Duration::from_secs(600), ..HubConfig::default() };
        let net = Net::start(config, Via::WebSocket).await;
        let (ours, theirs) = memory::pair(&net.limits);
        assert!(net.hub.add(theirs));
        let mut deaf = BarePeer::Link(LinkPeer::new(ours));
        deaf.subscribe("deaf:").await;
        deaf.settle().await;
        let (deaf_key, _) = net.app.connection(1).await;

        let (ours, theirs) = memory::pair(&net.limits);
        assert!(net.hub.add(theirs));
        let mut slow = BarePeer::Link(LinkPeer::new(ours));
        slow.subscribe("t:").await;
        slow.settle().await;

        // It has our close frame and does not answer.
        let leaving = raw_subscriber(&net).await;
        let (leaving_key, _) = net.app.connection(3).await;
        net.hub.disconnect(leaving_key, CloseReason::new(CloseCode::NORMAL, ""));
        net.hub.confirm(1);
        net.app.confirmed(1).await.expect("confirmed");

        let payload = format!("\"{}\"", "x".repeat(200 << 10));
        net.publish("deaf", "", &payload);
        until("it waits for the reader", || net.hub.connection_buffered(deaf_key) > 0).await;
        net.publish("t", "", &payload);
        net.hub.flush(2);
        drop(leaving);
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(net.hub.buffered() > 0, "the hub waits");
        deaf.text().await;
        net.app.disconnection(leaving_key).await;
        let is_flushed = || net.app.notices().into_iter().any(|n| matches!(n, Notice::Flushed { .. }));
        assert!(!is_flushed(), "200 KiB do not fit into the pipe");
        slow.text().await;
        net.app.flushed(2).await;
    })
    .await;
}

/// A raw connection that never answers a close frame.
async fn raw_subscriber(net: &Net) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::net::TcpStream::connect(net.address()).await.expect("the hub listens");
    stream.write_all(upgrade(&net.address(), "/", "").as_bytes()).await.expect("the hub reads");
    read_head(&mut stream).await;
    stream
}
