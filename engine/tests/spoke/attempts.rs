//! Attempts: the destination of each, and handshakes that fail.

use std::time::Duration;

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::link::Destination;
use alkpubsub_engine::model::ErrorKind;
use alkpubsub_engine::spoke::SpokeConfig;
use alkpubsub_engine::transport::websocket::ListenConfig;
use tokio::io::AsyncWriteExt;

use crate::support::*;
use crate::{ByHand, Side, normal_close};

// ---- Asking the application ----------------------------------------------------------------------------------------------------------

async fn dial_asked(side: &Side, n: usize) -> (u32, u32) {
    side.app
        .nth_notice(n, "dial", |notice| match notice {
            Notice::Dial { token, attempt } => Some((*token, *attempt)),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn the_application_is_asked_for_the_destination_of_each_attempt() {
    within(async {
        let hub = ByHand::listen().await;
        let real = hub.config().destination;
        let mut config = hub.config();
        config.destination = Destination::default();
        config.asks = true;
        let side = Side::dial(config);
        let (first, attempt) = dial_asked(&side, 1).await;
        assert_eq!(attempt, 1);
        side.spoke.decline(first, "no token today".into());
        let (_, _, _, message) = side.app.reconnecting(1).await;
        assert!(message.contains("no token today"), "{message}");
        let (second, attempt) = dial_asked(&side, 2).await;
        assert_eq!(attempt, 2);
        // An answer to an older question is no answer.
        side.spoke.decline(first, "late".into());
        let destination =
            Destination { url: format!("{}events?a=b", real.url), headers: vec![("X-Token".into(), "secret".into())] };
        side.spoke.provide(second, destination);
        let mut tcp = hub.tcp().await;
        let head = read_head(&mut tcp).await;
        assert!(head.starts_with("GET /events?a=b HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("\r\nx-token: secret\r\n"), "{head}");
        drop(tcp);
        let (third, attempt) = dial_asked(&side, 3).await;
        assert_eq!(attempt, 3);
        side.spoke.provide(third, real);
        hub.accept_native().await;
        side.app.open(1).await;
    })
    .await;
}

#[tokio::test]
async fn close_while_the_application_is_asked_ends_at_once() {
    within(async {
        let hub = ByHand::listen().await;
        let config = SpokeConfig { asks: true, ..hub.config() };
        let side = Side::dial(config);
        dial_asked(&side, 1).await;
        side.spoke.close(normal_close(), FOREVER);
        assert_eq!(side.app.closed().await, (1000, String::new(), None));
    })
    .await;
}

// ---- Handshakes ----------------------------------------------------------------------------------------------------------------------

/// Answers the next handshake with a status.
async fn answer(hub: &ByHand, status: &str) {
    let mut tcp = hub.tcp().await;
    read_head(&mut tcp).await;
    let answer = format!("HTTP/1.1 {status}\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
    tcp.write_all(answer.as_bytes()).await.expect("the spoke reads");
}

#[tokio::test]
async fn http_refusals_that_trying_again_cannot_change_are_final() {
    within(async {
        for (status, kind) in [
            ("400 Bad Request", ErrorKind::Handshake),
            ("403 Forbidden", ErrorKind::Forbidden),
            ("404 Not Found", ErrorKind::Handshake),
        ] {
            let hub = ByHand::listen().await;
            let side = Side::dial(hub.config());
            answer(&hub, status).await;
            let (_, reason, told) = side.app.closed().await;
            assert_eq!(told, Some(kind));
            assert!(reason.contains(&status[..3]), "{reason}");
            assert!(!side.story().contains(&"reconnecting".to_owned()));
        }
    })
    .await;
}

#[tokio::test]
async fn other_refusals_are_tried_again_and_redirects_are_not_followed() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let statuses =
            ["503 Service Unavailable", "429 Too Many Requests", "302 Found", "200 OK", "101 Switching Protocols"];
        for (index, status) in statuses.iter().enumerate() {
            answer(&hub, status).await;
            let (_, _, kind, message) = side.app.reconnecting(index + 1).await;
            assert_eq!(kind, ErrorKind::Handshake, "{status}: {message}");
        }
        hub.accept_native().await;
        side.app.open(1).await;
    })
    .await;
}

#[tokio::test]
async fn a_wrong_path_of_our_hub_is_final() {
    within(async {
        let listen = ListenConfig { path: Some("/events".into()), ..loopback() };
        let net = Net::start_at(HubConfig::default(), Via::WebSocket, listen).await;
        let mut config = impatient();
        config.destination.url = format!("ws://{}/other", net.address());
        assert_eq!(Side::dial(config).app.closed().await.2, Some(ErrorKind::Handshake));
        let side = Side::of(&net, impatient());
        assert_eq!(side.app.open(1).await, (false, true));
    })
    .await;
}

#[tokio::test]
async fn an_address_that_cannot_be_is_final() {
    within(async {
        for url in ["", "http://127.0.0.1/", "ws://", "not a url", "127.0.0.1:1", "ws://[::1"] {
            let mut config = impatient();
            config.destination.url = url.into();
            let kind = Side::dial(config).app.closed().await.2;
            assert_eq!(kind, Some(ErrorKind::InvalidOption), "{url:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_given_up() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.limits.handshake = Duration::from_millis(50);
        let side = Side::dial(config);
        let _never_answered = hub.tcp().await;
        let (_, _, kind, _) = side.app.reconnecting(1).await;
        assert_eq!(kind, ErrorKind::TimedOut);
    })
    .await;
}
