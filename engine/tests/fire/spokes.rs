//! Spokes of a hub that asks who they are and what they may do.

use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::delivery::{Delivery, Notice};
use alkpubsub_engine::link::Refusal;
use alkpubsub_engine::model::{ErrorKind, Published};
use alkpubsub_engine::spoke::{Reconnect, Spoke, SpokeConfig};
use alkpubsub_engine::transport::websocket::{ClientConfig, WebSocketConnector};
use tokio::runtime::Handle;

use crate::support::*;
use crate::{guarded, lists, question};

fn spoke_of(net: &Net, config: SpokeConfig) -> (Spoke, Arc<Recorder>) {
    let app = Recorder::new();
    let mut config = config;
    config.destination.url.clone_from(&net.url);
    config.reconnect =
        Some(Reconnect { initial: true, min_delay: Duration::from_millis(1), max_delay: Duration::from_millis(5) });
    let connector = WebSocketConnector::new(ClientConfig { limits: config.limits.clone(), ..ClientConfig::default() });
    let delivery = Arc::clone(&app) as Arc<dyn Delivery>;
    (Spoke::start(config, Arc::new(connector), delivery, &Handle::current()), app)
}

#[tokio::test]
async fn a_spoke_that_is_not_known_asks_for_credentials_once_more_and_then_ends() {
    within(async {
        let net = Net::start(guarded(), Via::WebSocket).await;
        let (spoke, app) = spoke_of(&net, SpokeConfig { asks: true, ..SpokeConfig::default() });
        for n in 1..=2 {
            let (token, _) = app
                .nth_notice(n, "dial", |notice| match notice {
                    Notice::Dial { token, attempt } => Some((*token, *attempt)),
                    _ => None,
                })
                .await;
            let destination = alkpubsub_engine::link::Destination { url: net.url.clone(), headers: Vec::new() };
            spoke.provide(token, destination);
            net.hub.judge(question(&net, n).await.0, Err(Refusal::NotIdentified));
        }
        assert_eq!(app.closed().await.2, Some(ErrorKind::NotIdentified));
    })
    .await;
}

#[tokio::test]
async fn a_spoke_that_is_refused_ends_at_once() {
    within(async {
        let net = Net::start(guarded(), Via::WebSocket).await;
        let (_spoke, app) = spoke_of(&net, SpokeConfig::default());
        net.hub.judge(question(&net, 1).await.0, Err(Refusal::Forbidden));
        assert_eq!(app.closed().await.2, Some(ErrorKind::Forbidden));
        assert!(!app.notices().iter().any(|notice| matches!(notice, Notice::Reconnecting { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_spoke_hears_what_it_may_not_and_goes_on() {
    within(async {
        let net = Net::start(guarded(), Via::WebSocket).await;
        let (spoke, app) = spoke_of(&net, SpokeConfig::default());
        spoke.listen("a:");
        spoke.confirm("a:", 1);
        spoke.listen("b:");
        spoke.confirm("b:", 2);
        net.hub.judge(question(&net, 1).await.0, Ok(lists(None, &["a:"], &[])));
        assert_eq!(app.confirmed(1).await, Ok(true));
        assert_eq!(app.confirmed(2).await, Err(ErrorKind::Forbidden));
        assert_eq!(spoke.publish_once("a", "", "1"), Published::Accepted);
        let told = |log: &[Heard]| {
            log.iter().find_map(|heard| match heard {
                Heard::Notice(Notice::Error { failure, .. }) if failure.message.contains("publishing") => Some(failure.kind),
                _ => None,
            })
        };
        assert_eq!(app.until("that publishing was refused", |log| told(log)).await, ErrorKind::Forbidden);
        assert_eq!(spoke.stats().refused, 1);
        // What was granted is taken back, and the spoke knows.
        let (key, _) = net.app.connection(1).await;
        net.hub.set_grants(key, &lists(None, &[], &[]));
        let taken = |log: &[Heard]| {
            let lost = |heard: &&Heard| {
                matches!(heard, Heard::Notice(Notice::Error { failure, .. }) if failure.message.contains("subscribing to \"a:\""))
            };
            log.iter().find(lost).map(|_| ())
        };
        app.until("that the subscription was taken back", taken).await;
        spoke.confirm("a:", 3);
        assert_eq!(app.confirmed(3).await, Err(ErrorKind::Forbidden));
    })
    .await;
}
