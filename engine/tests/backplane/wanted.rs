//! What hubs subscribe to on a backplane, and for how long.

use std::collections::BTreeMap;

use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{Allowed, Grants};
use alkpubsub_engine::route::ConnKey;

use crate::support::*;
use crate::{confirmed, greeted, listen, memory_backplane, native, over};

fn wants(topics: &[(&str, usize)]) -> BTreeMap<String, usize> {
    topics.iter().map(|(topic, hubs)| ((*topic).to_owned(), *hubs)).collect()
}

#[tokio::test]
async fn a_hub_subscribes_to_what_somebody_wants_and_to_nothing_else() {
    within(async {
        let memory = memory_backplane();
        let [a, b] = [over(&memory, HubConfig::default()).await, over(&memory, HubConfig::default()).await];
        let mut first = a.subscriber(&["t:1", "t:2"]).await;
        let second = b.subscriber(&["t:1"]).await;
        listen(&a, "t:1").await;
        a.hub.listen(a.app.connection(1).await.0, "t:3");
        assert!(!confirmed(&a, "t:3").await, "one connection alone is listened to: nothing of other hubs");
        assert_eq!(memory.wanted(), wants(&[("t:1", 2), ("t:2", 1)]));
        first.unsubscribe("t:1").await;
        first.settle().await;
        assert_eq!(memory.wanted(), wants(&[("t:1", 2), ("t:2", 1)]), "the application still listens");
        a.hub.unlisten(ConnKey::APPLICATION, "t:1");
        assert!(!confirmed(&a, "t:1").await);
        assert_eq!(memory.wanted(), wants(&[("t:1", 1), ("t:2", 1)]));
        drop((first, second));
        until("nobody wants anything", || memory.wanted().is_empty()).await;
        assert_eq!((a.hub.stats().backplane_topics, b.hub.stats().backplane_topics), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn what_grants_take_back_is_no_longer_wanted() {
    within(async {
        let memory = memory_backplane();
        let hub = over(&memory, HubConfig::default()).await;
        let _peer = hub.subscriber(&["t:1"]).await;
        assert_eq!(memory.wanted(), wants(&[("t:1", 1)]));
        let (key, _) = hub.app.connection(1).await;
        hub.hub.set_grants(key, &Grants { identity: None, subscribe: Allowed::nothing(), publish: Allowed::nothing() });
        until("nobody wants it", || memory.wanted().is_empty()).await;
    })
    .await;
}

#[tokio::test]
async fn subscriptions_that_come_and_go_while_events_fly_leave_nothing_behind() {
    within(async {
        const ROUNDS: usize = 300;
        let memory = memory_backplane();
        let [a, b] = [over(&memory, HubConfig::default()).await, over(&memory, HubConfig::default()).await];
        let mut stays = native(&b, "stays:").await;
        let mut peer = greeted(&b).await;
        for round in 0..ROUNDS {
            let topic = format!("t:{}", round % 7);
            peer.send(&subscribe_n(&topic, round as u32 + 1)).await;
            a.publish("t", &(round % 7).to_string(), "0");
            a.publish("stays", "", &round.to_string());
            if round % 3 != 0 {
                peer.unsubscribe(&topic).await;
            }
        }
        let heard = stays.texts(ROUNDS).await;
        assert!(heard.iter().enumerate().all(|(n, text)| payload(text) == n.to_string()));
        for n in 0..7 {
            peer.unsubscribe(&format!("t:{n}")).await;
        }
        peer.settle().await;
        until("only one topic is wanted", || memory.wanted() == wants(&[("stays:", 1)])).await;
        assert_eq!(b.hub.stats().backplane_topics, 1);
        assert!(b.app.gaps().is_empty());
    })
    .await;
}

#[tokio::test]
async fn permissions_of_a_hub_hold_for_events_of_other_hubs() {
    within(async {
        let memory = memory_backplane();
        let [a, b] = [0; 2].map(|_| over(&memory, HubConfig { relay: true, ..HubConfig::default() }));
        let (a, b) = (a.await, b.await);
        listen(&b, "secret:1").await;
        let mut peer = greeted(&b).await;
        let (key, _) = b.app.connection(1).await;
        let only = |topic: &str| Allowed::Matching(vec![topic.into()]);
        b.hub.set_grants(key, &Grants { identity: None, subscribe: only("open:*"), publish: only("open:*") });
        peer.send(&subscribe_n("secret:1", 1)).await;
        assert!(peer.text().await.contains("FORBIDDEN"));
        peer.send(&subscribe_n("open:1", 2)).await;
        assert_eq!(peer.text().await, subscribed("open:1", 2));
        a.publish("secret", "1", "1");
        a.publish("open", "1", "2");
        assert_eq!(peer.text().await, event("open", "1", "2"));
        assert_eq!(b.app.payloads_of(1).await, ["1"]);
        listen(&a, "secret:1").await;
        listen(&a, "open:1").await;
        peer.send(&event("secret", "1", "3")).await;
        peer.send(&event("open", "1", "4")).await;
        assert_eq!(a.app.payloads_of(1).await, ["4"], "what a spoke may not publish goes nowhere");
        assert_eq!(b.hub.stats().refused, 2);
    })
    .await;
}
