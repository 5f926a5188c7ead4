//! What half messages and floods cost, and whom.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::link::{Link, LinkError, LinkRead, Read};
use alkpubsub_engine::model::{CloseCode, ErrorKind};
use alkpubsub_engine::transport::memory;
use alkpubsub_engine::wire::frame::Item;
use tokio::io::AsyncWriteExt;

use crate::support::*;
use crate::{relaying, turns};

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
                readers.push(tokio::spawn(async move { payloads(&reader.texts(EVENTS).await) }));
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
