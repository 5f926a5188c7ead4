//! What is published while there is no link, or while the hub does not read.

use std::time::{Duration, Instant};

use alkpubsub_engine::model::{ErrorKind, Limits, Published};
use alkpubsub_engine::spoke::SpokeConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::*;
use crate::{ByHand, Side, normal_close, reset, wish};

#[tokio::test]
async fn what_is_published_while_down_is_sent_in_order_behind_the_topics() {
    within(async {
        let (hub, side, far) = ByHand::open("a:").await;
        reset(far);
        side.app.reconnecting(1).await;
        let tcp = hub.tcp().await;
        for number in 0..500 {
            side.publish("e", "", &number.to_string());
        }
        let mut far = Bare::accept(tcp).await;
        assert_eq!(far.text().await, HELLO);
        assert_eq!(wish(&far.text().await).0, "a:");
        for number in 0..500 {
            assert_eq!(far.text().await, event("e", "", &number.to_string()));
        }
        assert_eq!(side.spoke.stats().dropped, 0);
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_a_link_is_bounded_and_what_is_refused_is_told() {
    within(async {
        let hub = ByHand::listen().await;
        let cost = event("e", "", "0").len() + Limits::EVENT_OVERHEAD_BYTES;
        let config = SpokeConfig { max_buffered: 5 * cost, ..hub.config() };
        let side = Side::dial(config);
        let tcp = hub.tcp().await;
        let publish = |number: usize| side.spoke.publish_once("e", "", &number.to_string());
        let fates: Vec<Published> = (0..8).map(publish).collect();
        assert_eq!(fates[..5], [Published::Accepted; 5], "at the bound");
        assert_eq!(fates[5..], [Published::Full; 3], "one over");
        assert_eq!(side.spoke.buffered(), 5 * cost);
        let (message, dropped) = side.app.error(ErrorKind::BufferFull).await;
        assert_eq!(dropped, 3, "{message}");
        assert_eq!(side.spoke.stats().dropped, 3);
        let mut far = Bare::accept(tcp).await;
        far.text().await;
        far.send(HUB_HELLO).await;
        for number in 0..5 {
            assert_eq!(far.text().await, event("e", "", &number.to_string()));
        }
        side.spoke.flush(1);
        side.app.flushed(1).await;
        assert_eq!(side.spoke.buffered(), 0);
        side.app.open(1).await;
        assert_eq!((0..8).map(publish).collect::<Vec<_>>(), [Published::Accepted; 8], "with a link");
    })
    .await;
}

#[tokio::test]
async fn what_waits_too_long_for_a_link_is_dropped_and_told() {
    within(async {
        let hub = ByHand::listen().await;
        let config = SpokeConfig { queue_max_age: Duration::from_millis(30), ..hub.config() };
        let side = Side::dial(config);
        let tcp = hub.tcp().await;
        side.publish("e", "", "1");
        side.publish("e", "", "2");
        let (message, dropped) = side.app.error(ErrorKind::BufferFull).await;
        assert!(message.contains("queueMaxAgeMs"), "{message}");
        assert_eq!(dropped, 2);
        assert_eq!((side.spoke.stats().dropped, side.spoke.buffered()), (2, 0));
        let mut far = Bare::accept(tcp).await;
        far.text().await;
        far.send(HUB_HELLO).await;
        side.app.open(1).await;
        side.publish("e", "", "3");
        assert_eq!(far.text().await, event("e", "", "3"));
    })
    .await;
}

/// A spoke with a link to a hub that has stopped reading, filled to its bound of 2 MiB; how many events it took, and their size.
async fn stuck(hub: &ByHand) -> (Side, Bare<TcpStream>, u64, usize) {
    let config = SpokeConfig { max_pending: 2 << 20, ..hub.config() };
    let side = Side::dial(config);
    let far = hub.accept_native().await;
    side.app.open(1).await;
    let payload = format!("\"{}\"", "x".repeat(10_000));
    let mut accepted = 0;
    // The kernel takes some of it; then the queue fills.
    while side.spoke.publish_once("e", "", &payload) == Published::Accepted {
        accepted += 1;
        tokio::task::yield_now().await;
    }
    (side, far, accepted, event("e", "", &payload).len())
}

#[tokio::test]
async fn a_hub_that_stops_reading_bounds_what_a_spoke_takes() {
    within(async {
        let hub = ByHand::listen().await;
        let (side, mut far, accepted, len) = stuck(&hub).await;
        assert!(side.spoke.buffered() <= 2 << 20, "{}", side.spoke.buffered());
        side.spoke.drained(1);
        for _ in 0..accepted {
            assert_eq!(far.text().await.len(), len);
        }
        side.app.error(ErrorKind::BufferFull).await;
        side.app.drained(1).await;
        let stats = side.spoke.stats();
        assert_eq!((stats.sent, stats.dropped), (accepted, 1));
        assert_eq!(stats.connects, 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_told_although_the_hub_does_not_read() {
    within(async {
        let hub = ByHand::listen().await;
        let (side, _far, ..) = stuck(&hub).await;
        side.app.error(ErrorKind::BufferFull).await;
        assert!(!side.story().contains(&"reconnecting".to_owned()), "told while it is so");
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_asks_for_answers_and_does_not_read_them_is_not_read_any_more() {
    const OFFERED: usize = 256 << 20;
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        let pings: Vec<u8> = [0x89, 0x7d].into_iter().chain([0; 125]).cycle().take(127 * 1000).collect();
        let stream = far.ws.get_mut();
        let mut written = 0;
        // Blocked writes are the fact that is waited for: nobody takes more.
        while let Ok(result) =
            tokio::time::timeout(Duration::from_millis(500), stream.write(&pings[written % 127..])).await
        {
            written += result.expect("the link lives");
            assert!(written < OFFERED, "everything was read, and the answers kept");
        }
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_does_not_read_delays_a_close_no_longer_than_asked() {
    within(async {
        for timeout in [Duration::ZERO, Duration::from_millis(30)] {
            let hub = ByHand::listen().await;
            let (side, _far, ..) = stuck(&hub).await;
            let began = Instant::now();
            side.spoke.close(normal_close(), timeout);
            assert_eq!(side.app.closed().await, (1000, String::new(), None));
            assert!(began.elapsed() < Duration::from_secs(1), "{:?} instead of {timeout:?}", began.elapsed());
            assert!(!side.story().contains(&"reconnecting".to_owned()), "closed, not given up by heartbeat");
        }
    })
    .await;
}
