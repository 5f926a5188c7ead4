//! Who hears what, once and in which order.

use std::collections::BTreeMap;
use std::sync::Arc;

use alkpubsub_engine::bus::{Bus, BusConfig};
use alkpubsub_engine::delivery::Delivery;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{CloseCode, CloseReason, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::transport::process;
use tokio::runtime::Handle;

use crate::support::*;
use crate::{Joint, by_publisher, each_once_in_order, fresh_name, listen, native};

#[tokio::test]
async fn an_event_of_one_hub_reaches_subscribers_and_listeners_of_the_other_and_nobody_twice() {
    within(async {
        for joint in Joint::every() {
            let (a, b) = (joint.hub(true).await, joint.hub(false).await);
            listen(&a, "t:1").await;
            listen(&b, "t:1").await;
            let (mut on_a, mut on_b) = (native(&a, "t:1").await, native(&b, "t:1").await);
            let mut publisher = native(&a, "t:1").await;
            a.publish("t", "1", "1");
            publisher.send(&event("t", "1", "2")).await;
            assert_eq!(publisher.rest().await, [event("t", "1", "1")], "its own does not come back");
            assert_eq!(on_b.texts(2).await, [event("t", "1", "1"), event("t", "1", "2")]);
            assert_eq!(on_a.rest().await, [event("t", "1", "1"), event("t", "1", "2")]);
            assert_eq!(b.app.payloads_of(2).await, ["1", "2"]);
            assert!(b.app.events().iter().all(|event| event.connection == 0), "it comes from no connection");
            assert_eq!(a.app.payloads(), ["2"], "the application does not hear itself");
            b.publish("t", "1", "3");
            assert_eq!((on_a.text().await, on_b.text().await), (event("t", "1", "3"), event("t", "1", "3")));
            assert_eq!(on_b.rest().await, [""; 0]);
            let (of_a, of_b) = (a.hub.stats(), b.hub.stats());
            assert_eq!((of_a.backplane_published, of_a.backplane_received, of_a.backplane_topics), (2, 1, 1));
            assert_eq!((of_b.backplane_published, of_b.backplane_received, of_b.backplane_topics), (1, 2, 1));
            assert_eq!((of_a.unrouted, of_b.unrouted, of_a.backplane_dropped, of_b.backplane_gaps), (0, 0, 0, 0));
        }
    })
    .await;
}

#[tokio::test]
async fn without_relay_what_a_spoke_says_stays_on_its_hub() {
    within(async {
        for joint in Joint::every() {
            let (a, b) = (joint.hub(false).await, joint.hub(true).await);
            listen(&a, "t:1").await;
            listen(&b, "t:1").await;
            let mut publisher = a.peer().await;
            publisher.send(&event("t", "1", "1")).await;
            publisher.settle().await;
            a.publish("t", "1", "2");
            assert_eq!(b.app.payloads_of(1).await, ["2"]);
            assert_eq!(a.app.payloads(), ["1"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_to_one_connection_stays_on_its_hub() {
    within(async {
        for joint in Joint::every() {
            let (a, b) = (joint.hub(true).await, joint.hub(true).await);
            listen(&b, "t:1").await;
            let mut peer = a.peer().await;
            let (key, _) = a.app.connection(1).await;
            assert_eq!(a.hub.publish_once("t", "1", "1", key), Published::Accepted);
            assert_eq!(peer.text().await, event("t", "1", "1"));
            a.publish("t", "1", "2");
            assert_eq!(b.app.payloads_of(1).await, ["2"]);
        }
    })
    .await;
}

/// `events` of each hub's application, and as many of a spoke of it.
async fn everybody_hears_everybody(joint: Joint, hubs: usize, events: usize) {
    let mut nets = Vec::new();
    for _ in 0..hubs {
        // Nobody is too slow here, however busy the machine.
        nets.push(joint.hub_with(HubConfig { relay: true, max_buffered: 64 << 20, ..HubConfig::default() }).await);
    }
    let mut spokes = Vec::new();
    for net in &nets {
        listen(net, "n:").await;
        spokes.push((native(net, "n:").await, net.peer().await));
    }
    // Each hub's application and a spoke of it publish at the same time.
    let mut hearing = Vec::new();
    for (number, (mut hears, mut speaks)) in spokes.into_iter().enumerate() {
        let hub = nets[number].hub.clone();
        hearing.push(tokio::spawn(async move {
            let speaking = async {
                for n in 0..events {
                    let payload = format!("[{number},{n}]");
                    assert_eq!(hub.publish_once("n", "", &payload, ConnKey::APPLICATION), Published::Accepted);
                    speaks.send(&event("n", "", &format!("[{},{n}]", 100 + number))).await;
                }
            };
            let (heard, ()) = tokio::join!(hears.texts(2 * hubs * events), speaking);
            speaks.settle().await;
            assert_eq!(hears.rest().await, [""; 0], "nothing twice");
            heard
        }));
    }
    let everybody = (0..hubs).chain(100..100 + hubs);
    for heard in hearing {
        let heard = heard.await.expect("no panic");
        assert_eq!(by_publisher(heard.iter().map(|text| payload(text))), each_once_in_order(everybody.clone(), events));
    }
    for (number, net) in nets.iter().enumerate() {
        let heard = net.app.payloads_of((2 * hubs - 1) * events).await;
        let others = everybody.clone().filter(|publisher| *publisher != number);
        assert_eq!(by_publisher(heard.iter().map(|text| &**text)), each_once_in_order(others, events));
        let stats = net.hub.stats();
        assert_eq!((stats.backplane_dropped, stats.backplane_gaps, stats.dropped), (0, 0, 0));
        assert_eq!(stats.backplane_published, 2 * events as u64);
        assert_eq!(stats.backplane_received, 2 * ((hubs - 1) * events) as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hubs_hear_each_event_of_each_other_once_and_in_order() {
    for joint in Joint::every() {
        within(everybody_hears_everybody(joint, 2, 5000)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_hubs_hear_each_event_of_each_other_once_and_in_order() {
    for joint in Joint::every() {
        within(everybody_hears_everybody(joint, 5, 5000)).await;
    }
}

#[tokio::test]
async fn a_hub_that_joins_late_hears_what_comes_after_and_one_that_dies_harms_nobody() {
    within(async {
        for joint in Joint::every() {
            let (a, b) = (joint.hub(true).await, joint.hub(true).await);
            listen(&b, "t:1").await;
            a.publish("t", "1", "1");
            assert_eq!(b.app.payloads_of(1).await, ["1"]);
            let late = joint.hub(true).await;
            listen(&late, "t:1").await;
            a.publish("t", "1", "2");
            assert_eq!(late.app.payloads_of(1).await, ["2"]);
            late.hub.abort();
            late.app.closed().await;
            a.publish("t", "1", "3");
            assert_eq!(b.app.payloads_of(3).await, ["1", "2", "3"]);
            b.hub.close(CloseReason::new(CloseCode::NORMAL, ""), std::time::Duration::from_secs(5));
            b.app.closed().await;
            assert_eq!(late.app.payloads(), ["2"]);
            if let Joint::Memory(memory) = &joint {
                assert_eq!((memory.hubs(), memory.wanted()), (1, BTreeMap::new()));
            }
            assert!(a.app.gaps().is_empty() && b.app.gaps().is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_published_before_a_hub_closes_reaches_the_others() {
    within(async {
        for joint in Joint::every() {
            let (a, b) = (joint.hub(true).await, joint.hub(true).await);
            listen(&b, "t:1").await;
            (0..1000).for_each(|n| a.publish("t", "1", &n.to_string()));
            a.hub.close(CloseReason::new(CloseCode::NORMAL, ""), std::time::Duration::from_secs(5));
            assert_eq!(b.app.payloads_of(1000).await, (0..1000).map(|n: u32| n.to_string()).collect::<Vec<_>>());
        }
    })
    .await;
}

#[tokio::test]
async fn a_bus_and_hubs_of_one_name_hear_each_other() {
    within(async {
        let name = fresh_name();
        let hub = Joint::Process(name.clone()).hub(false).await;
        listen(&hub, "t:1").await;
        let app = Recorder::new();
        let bus = Bus::join(
            BusConfig::default(),
            process::named(&name),
            Arc::clone(&app) as Arc<dyn Delivery>,
            &Handle::current(),
        );
        bus.begin();
        bus.listen("t:1");
        assert_eq!(bus.publish_once("t", "1", "1"), Published::Accepted);
        assert_eq!(hub.app.payloads_of(1).await, ["1"]);
        hub.publish("t", "1", "2");
        assert_eq!(app.payloads_of(1).await, ["2"]);
    })
    .await;
}
