//! Gaps stand where events were dropped.

use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::Published;
use alkpubsub_engine::route::ConnKey;

use crate::support::*;

#[tokio::test]
async fn a_gap_stands_where_events_were_dropped() {
    within(async {
        // Room for two small events beside one being fanned out.
        let config = HubConfig { max_pending: 260, ..HubConfig::default() };
        let net = Net::start(config, Via::Memory).await;
        let (mut native, mut plain) = (net.peer().await, net.subscriber(&["t:1"]).await);
        native.send(HELLO).await;
        native.send(&subscribe_n("t:1", 1)).await;
        native.send(&subscribe_n("t:2", 2)).await;
        native.texts(3).await;
        const LAST: u32 = 20_000;
        let mut dropped = 0_u64;
        let publishing = async {
            for n in 0..=LAST {
                let id = (1 + n % 2).to_string();
                while net.hub.publish_once("t", &id, &n.to_string(), ConnKey::APPLICATION) == Published::Full {
                    dropped += 1;
                    if n < LAST {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                if n % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        let last = event("t", "1", &LAST.to_string());
        let ((), native, plain) =
            tokio::join!(publishing, texts_until(&mut native, &last), texts_until(&mut plain, &last));
        assert!(dropped > 0, "the bound was reached");
        assert_eq!(net.hub.stats().dropped, dropped);
        assert!(!plain.iter().any(|text| text.contains("__")), "a plain peer sees no frame it does not know");
        // Between two events without a gap between them nothing is missing, and there is no gap where nothing is.
        let (mut expected, mut gaps) = (0, Vec::new());
        for text in native {
            if let Some((_, topics)) = text.split_once(r#""topics":"#) {
                assert!(text.contains(r#""cause":"overflow""#), "{text}");
                gaps.push(topics.to_owned());
                continue;
            }
            let payload = text.split_once(r#""payload":"#).expect("an event").1;
            let n: u32 = payload.trim_end_matches('}').parse().expect("a number");
            for missing in expected..n {
                let topic = format!("\"t:{}\"", 1 + missing % 2);
                assert!(gaps.iter().any(|topics| topics.contains(&topic)), "{missing} is missing before {n}: {gaps:?}");
            }
            assert!(expected != n || gaps.is_empty() || n == LAST, "a gap before {n} where nothing is missing");
            (expected, gaps) = (n + 1, Vec::new());
        }
    })
    .await;
}

/// Everything up to a message.
async fn texts_until(peer: &mut BarePeer, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        texts.push(peer.text().await);
    }
    texts
}

async fn flush_all(net: &Net) {
    net.hub.flush(77);
    net.app.flushed(77).await;
}

#[tokio::test]
async fn an_event_for_one_connection_that_was_dropped_is_told_to_that_one() {
    within(async {
        let net = Net::start(HubConfig { max_pending: 1, ..HubConfig::default() }, Via::Memory).await;
        let mut peers = Vec::new();
        for n in 1..=2 {
            let mut peer = net.peer().await;
            peer.send(HELLO).await;
            peer.texts(1).await;
            peers.push((peer, net.app.connection(n).await.0));
        }
        let key = peers[0].1;
        let publish = |to| net.hub.publish_once("t", "", "0", to);
        while publish(key) != Published::Full {}
        flush_all(&net).await;
        let heard = peers[0].0.rest().await;
        assert!(heard.iter().any(|text| text.contains("__gap") && text.contains(r#"["t:"]"#)), "{heard:?}");
        assert!(peers[1].0.rest().await.is_empty());
    })
    .await;
}
