//! Signs of life on links that have no frames of their own for them.

use std::time::Duration;

use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{CloseCode, CloseReason};

use crate::support::*;

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
