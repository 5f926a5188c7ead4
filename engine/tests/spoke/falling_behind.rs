//! An application that takes events too slowly, and messages that are not taken.

use std::time::Duration;

use alkpubsub_engine::model::Published;
use tokio_tungstenite::tungstenite::Message;

use crate::support::*;
use crate::{ByHand, Side};

#[tokio::test]
async fn an_application_that_falls_behind_stops_the_reading_and_loses_nothing() {
    const EVENTS: usize = 4000;
    within(async {
        let (_hub, side, mut far) = ByHand::open("a:").await;
        side.spoke.confirm("a:", 1);
        side.app.confirmed(1).await.expect("granted");
        side.app.set_full(true);
        let filler = "x".repeat(4000);
        let sending = tokio::spawn(async move {
            for number in 0..EVENTS {
                far.send(&event("a", "", &format!("\"{number} {filler}\""))).await;
            }
            far
        });
        // What the spoke sends goes on meanwhile.
        for number in 0..100 {
            side.publish("e", "", &number.to_string());
            side.spoke.flush(number);
            side.app.flushed(number).await;
        }
        assert!(side.app.payloads().len() < EVENTS / 2);
        assert!(!sending.is_finished());
        side.app.set_full(false);
        let heard = side.app.payloads_of(EVENTS).await;
        for (number, payload) in heard.iter().enumerate() {
            assert!(payload.starts_with(&format!("\"{number} ")), "{payload:.40} instead of {number}");
        }
        let mut far = sending.await.expect("no panic");
        for number in 0..100 {
            assert_eq!(far.text().await, event("e", "", &number.to_string()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_spoke_whose_application_falls_behind_still_pings_its_hub() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.limits.heartbeat = Duration::from_millis(100);
        let side = Side::dial(config);
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        side.app.set_full(true);
        for _ in 0..6 {
            while !matches!(far.message().await, Message::Ping(_)) {}
        }
        side.app.set_full(false);
        assert!(!side.story().contains(&"reconnecting".to_owned()), "its dead-peer timer is suspended");
    })
    .await;
}

#[tokio::test]
async fn a_message_above_the_limit_is_not_taken() {
    within(async {
        let mut config = impatient();
        config.limits.max_message_bytes = event("t", "1", "12").len();
        let net = Net::relay(Via::Memory).await;
        net.listen("t:1").await;
        let side = Side::of(&net, config);
        assert_eq!(side.spoke.publish_once("t", "1", "123"), Published::TooLarge);
        assert_eq!(side.spoke.publish_once("t", "1", "12"), Published::Accepted);
        assert_eq!(net.app.payloads_of(1).await, ["12"]);
    })
    .await;
}
