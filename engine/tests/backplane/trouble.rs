//! Backplanes and hubs that are slow, cut off or gone.

use std::collections::HashMap;

use alkpubsub_engine::bus::{Bus, BusConfig};
use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::transport::process;
use tokio::runtime::Handle;

use crate::support::*;
use crate::{Joint, by_publisher, confirmed, fresh_name, gap_topics, greeted, listen, memory_backplane, native, over};

#[tokio::test]
async fn a_peer_is_subscribed_when_events_of_other_hubs_come_and_gets_nothing_before() {
    within(async {
        let memory = memory_backplane();
        let [a, b] = [over(&memory, HubConfig::default()).await, over(&memory, HubConfig::default()).await];
        let mut peer = greeted(&b).await;
        memory.stall(1);
        peer.send(&subscribe_n("t:1", 1)).await;
        peer.send(&subscribe_n("t:1", 2)).await;
        peer.settle().await;
        b.publish("t", "1", "0");
        a.publish("t", "1", "1");
        let mut plain = b.subscriber(&["t:1"]).await;
        b.publish("t", "1", "2");
        assert_eq!(plain.text().await, event("t", "1", "2"), "whoever is not told does not wait");
        assert_eq!(peer.rest().await, [""; 0]);
        memory.resume(1);
        assert_eq!(peer.texts(2).await, [subscribed("t:1", 2), event("t", "1", "1")]);
        b.publish("t", "1", "3");
        assert_eq!(peer.text().await, event("t", "1", "3"));
    })
    .await;
}

#[tokio::test]
async fn a_backplane_that_does_not_answer_is_not_waited_for_without_end() {
    within(async {
        let memory = memory_backplane();
        let b = over(&memory, HubConfig::default()).await;
        let mut peer = greeted(&b).await;
        memory.stall(0);
        b.hub.listen(ConnKey::APPLICATION, "t:1");
        peer.send(&subscribe_n("t:1", 1)).await;
        assert!(!confirmed(&b, "t:1").await, "for now, events of other hubs do not come");
        assert_eq!(peer.text().await, subscribed("t:1", 1));
        b.publish("t", "1", "1");
        assert_eq!(peer.text().await, event("t", "1", "1"));
        memory.resume(0);
        assert_eq!(gap_topics(&peer.text().await), Some(vec!["t:1".into()]), "told too early, so there is a hole");
        until("the application is told", || b.app.gaps().len() == 1).await;
        assert!(confirmed(&b, "t:1").await);
    })
    .await;
}

#[tokio::test]
async fn patience_ends_although_the_application_is_behind_and_nothing_is_taken_from_other_hubs() {
    within(async {
        let memory = memory_backplane();
        let [a, b] = [over(&memory, HubConfig::default()).await, over(&memory, HubConfig::default()).await];
        listen(&b, "t:1").await;
        let mut peer = greeted(&b).await;
        a.publish("t", "1", "0");
        b.app.payloads_of(1).await;
        b.app.set_full(true);
        a.publish("t", "1", "1");
        until("it waits", || b.hub.stats().backplane_received == 2).await;
        peer.send(&subscribe_n("t:2", 1)).await;
        assert_eq!(peer.text().await, subscribed("t:2", 1));
        b.app.set_full(false);
        assert_eq!(b.app.payloads_of(2).await, ["0", "1"]);
        assert_eq!(gap_topics(&peer.text().await), Some(vec!["t:2".into()]));
        a.publish("t", "2", "2");
        assert_eq!(peer.text().await, event("t", "2", "2"));
    })
    .await;
}

#[tokio::test]
async fn a_backplane_that_never_connects_does_not_stop_the_hub() {
    within(async {
        let memory = memory_backplane();
        memory.refuse_all();
        let hub = over(&memory, HubConfig { relay: true, ..HubConfig::default() }).await;
        let mut hears = native(&hub, "t:1").await;
        let mut speaks = hub.peer().await;
        for n in 0..100 {
            speaks.send(&event("t", "1", &n.to_string())).await;
        }
        let heard = hears.texts(100).await;
        assert!(heard.iter().enumerate().all(|(n, text)| payload(text) == n.to_string()));
        memory.heal(0);
        assert_eq!(gap_topics(&hears.text().await), Some(vec!["t:1".into()]));
    })
    .await;
}

#[tokio::test]
async fn a_slow_spoke_on_one_hub_does_not_stop_the_others() {
    within(async {
        const EVENTS: usize = 3000;
        for joint in Joint::every() {
            let a = joint.hub(true).await;
            let b = joint.hub_with(HubConfig { max_buffered: 64 << 10, ..HubConfig::default() }).await;
            let idle = native(&b, "t:1").await;
            let (mut quick, c) = (native(&b, "t:1").await, joint.hub(true).await);
            listen(&c, "t:1").await;
            let payload_text = format!("\"{}\"", "x".repeat(200));
            (0..EVENTS).for_each(|_| a.publish("t", "1", &payload_text));
            assert_eq!(quick.texts(EVENTS).await.len(), EVENTS);
            assert_eq!(c.app.payloads_of(EVENTS).await.len(), EVENTS);
            b.app.notice("backpressure", |notice| matches!(notice, Notice::Backpressure { .. }).then_some(())).await;
            assert_eq!(b.hub.stats().backplane_gaps, 0);
            drop(idle);
        }
    })
    .await;
}

#[tokio::test]
async fn a_backplane_that_is_closed_is_told_once_and_the_hub_goes_on_alone() {
    within(async {
        let name = fresh_name();
        let bus = Bus::join(BusConfig::default(), process::named(&name), Recorder::new(), &Handle::current());
        bus.begin();
        let net = Net::start(HubConfig::default(), Via::Memory).await;
        net.hub.join(bus.backplane());
        let mut peer = native(&net, "t:1").await;
        assert_eq!(bus.stats().members, 2);
        bus.close(CloseReason::new(CloseCode::NORMAL, ""), std::time::Duration::ZERO);
        assert_eq!(gap_topics(&peer.text().await), Some(vec!["t:1".into()]));
        net.app.error(ErrorKind::Closed).await;
        peer.send(&subscribe_n("t:2", 1)).await;
        assert_eq!(peer.text().await, subscribed("t:2", 1));
        net.publish("t", "1", "1");
        assert_eq!(peer.text().await, event("t", "1", "1"));
        let stats = net.hub.stats();
        assert_eq!((stats.backplane_published, stats.backplane_dropped), (0, 1));
        net.hub.listen(ConnKey::APPLICATION, "t:1");
        assert!(!confirmed(&net, "t:1").await && !confirmed(&net, "t:3").await);
        let late = Net::start(HubConfig::default(), Via::Memory).await;
        late.hub.join(bus.backplane());
        late.app.error(ErrorKind::Closed).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hubs_that_come_and_go_in_the_middle_of_traffic_harm_nobody() {
    within(async {
        const EVENTS: usize = 2000;
        for joint in Joint::every() {
            let (a, b) = (joint.hub(true).await, joint.hub(true).await);
            listen(&b, "n:").await;
            let mut peer = native(&b, "n:").await;
            let mut heard: HashMap<usize, usize> = HashMap::new();
            let (hub, publishing) = (a.hub.clone(), async {
                for round in 0..20 {
                    let guest = joint.hub(true).await;
                    guest.hub.listen(ConnKey::APPLICATION, "n:");
                    let _spoke = guest.peer().await;
                    guest.publish("n", "", &format!("[{},0]", 100 + round));
                    if round % 2 == 0 {
                        guest.hub.abort();
                    } else {
                        guest.hub.close(CloseReason::new(CloseCode::NORMAL, ""), std::time::Duration::from_secs(5));
                    }
                    guest.app.closed().await;
                }
            });
            let steady = tokio::spawn(async move {
                for n in 0..EVENTS {
                    let payload = format!("[1,{n}]");
                    assert_eq!(hub.publish_once("n", "", &payload, ConnKey::APPLICATION), Published::Accepted);
                    tokio::task::yield_now().await;
                }
            });
            let hearing = async {
                while heard.get(&1).copied().unwrap_or_default() < EVENTS {
                    let text = peer.text().await;
                    for (publisher, numbers) in by_publisher(std::iter::once(payload(&text))) {
                        let next = heard.entry(publisher).or_default();
                        assert_eq!(numbers, [*next], "in order, nothing twice, nothing left out");
                        *next += 1;
                    }
                }
            };
            let ((), ()) = tokio::join!(publishing, hearing);
            steady.await.expect("no panic");
            assert_eq!((b.hub.stats().backplane_dropped, b.hub.stats().backplane_gaps), (0, 0));
        }
    })
    .await;
}
