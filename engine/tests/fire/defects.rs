//! Storms of errors, and panics that end one connection and nothing else.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use alkpubsub_engine::delivery::{Delivery, Notice};
use alkpubsub_engine::hub::{Hub, HubConfig};
use alkpubsub_engine::link::{Link, LinkError, LinkRead, LinkWrite, Peer, Read};
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::transport::memory;
use alkpubsub_engine::wire::frame::{Framing, Item};
use tokio::runtime::Handle;

use crate::relaying;
use crate::support::*;

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
