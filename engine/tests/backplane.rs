//! Hubs joined by a backplane: who hears what, once and in which order, what is subscribed there, and what becomes of what gets lost.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use alkpubsub_engine::bus::{Bus, BusConfig};
use alkpubsub_engine::delivery::{Delivery, Direction, Gap, GapCause, Notice};
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::link::backplane::{
    Backplane, Branch, Handed, Hole, HoleCause, HoleSide, Landing, MediumBackplane, Outbound, Standing,
};
use alkpubsub_engine::model::{Allowed, CloseCode, CloseReason, Error, ErrorKind, Grants, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::transport::memory::MemoryBackplane;
use alkpubsub_engine::transport::process;
use support::*;
use tokio::runtime::Handle;

/// Room enough for what a test publishes while a hub is stalled or cut off.
const PLENTY: usize = 1 << 20;

fn fresh_name() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("backplane-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

/// Each hub joins by a handle of its own, as it does in a thread of its own.
enum Joint {
    Process(String),
    Memory(Arc<MemoryBackplane>),
}

impl Joint {
    fn every() -> [Self; 2] {
        [Self::Process(fresh_name()), Self::Memory(memory_backplane())]
    }

    fn backplane(&self) -> Arc<dyn Backplane> {
        match self {
            Self::Process(name) => MediumBackplane::over(process::named(name)),
            Self::Memory(memory) => Arc::clone(memory) as Arc<dyn Backplane>,
        }
    }

    async fn hub(&self, relay: bool) -> Net {
        self.hub_with(HubConfig { relay, ..HubConfig::default() }).await
    }

    async fn hub_with(&self, config: HubConfig) -> Net {
        let net = Net::start(config, Via::Memory).await;
        net.hub.join(self.backplane());
        net
    }
}

fn memory_backplane() -> Arc<MemoryBackplane> {
    Arc::new(MemoryBackplane::new(PLENTY))
}

async fn over(memory: &Arc<MemoryBackplane>, config: HubConfig) -> Net {
    Joint::Memory(Arc::clone(memory)).hub_with(config).await
}

/// Waits for the answer about a topic that the application listens to.
async fn confirmed(net: &Net, topic: &str) -> bool {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let token = LAST.fetch_add(1, Ordering::Relaxed);
    net.hub.confirm_topic(topic, token);
    net.app.confirmed(token).await.expect("nobody refuses")
}

async fn listen(net: &Net, topic: &str) {
    net.hub.listen(ConnKey::APPLICATION, topic);
    assert!(confirmed(net, topic).await, "events of other hubs come");
}

async fn greeted(net: &Net) -> BarePeer {
    let mut peer = net.peer().await;
    peer.send(HELLO).await;
    assert_eq!(peer.text().await, HUB_HELLO);
    peer
}

async fn native(net: &Net, topic: &str) -> BarePeer {
    let mut peer = greeted(net).await;
    peer.send(&subscribe_n(topic, 1)).await;
    assert_eq!(peer.text().await, subscribed(topic, 1));
    peer
}

fn gaps(net: &Net) -> Vec<Gap> {
    let gaps = net.app.notices().into_iter().filter_map(|notice| match notice {
        Notice::Gap(gap) => Some(gap),
        _ => None,
    });
    gaps.collect()
}

/// Topics of a `__gap`; nothing for what is none.
fn gap_topics(text: &str) -> Option<Vec<String>> {
    let rest = text.strip_prefix(r#"{"type":"__gap","id":"","payload":{"cause":"upstream","from":"#)?;
    let (_, topics) = rest.split_once(r#""topics":["#)?;
    Some(topics.strip_suffix("]}}")?.split(',').map(|topic| topic.trim_matches('"').to_owned()).collect())
}

fn payload(text: &str) -> &str {
    text.split_once(r#""payload":"#).and_then(|(_, rest)| rest.strip_suffix('}')).expect("an envelope")
}

/// The numbers of each publisher, in the order in which they came; payloads are `[publisher,number]`.
fn by_publisher<'a>(payloads: impl Iterator<Item = &'a str>) -> BTreeMap<usize, Vec<usize>> {
    let mut heard: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for payload in payloads {
        let (publisher, number) = payload.trim_matches(['[', ']']).split_once(',').expect("a pair");
        heard.entry(publisher.parse().expect("a number")).or_default().push(number.parse().expect("a number"));
    }
    heard
}

fn each_once_in_order(publishers: impl Iterator<Item = usize>, events: usize) -> BTreeMap<usize, Vec<usize>> {
    publishers.map(|publisher| (publisher, (0..events).collect())).collect()
}

// ---- Who hears what ------------------------------------------------------------------------------------------------------------------

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
            assert!(gaps(&a).is_empty() && gaps(&b).is_empty());
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

// ---- What is subscribed there --------------------------------------------------------------------------------------------------------

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
        assert!(gaps(&b).is_empty());
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

// ---- A backplane that is slow, cut off or lossy --------------------------------------------------------------------------------------

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
        until("the application is told", || gaps(&b).len() == 1).await;
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
async fn a_lost_event_leaves_a_gap_in_its_place() {
    within(async {
        let memory = memory_backplane();
        let [a, b] = [over(&memory, HubConfig::default()).await, over(&memory, HubConfig::default()).await];
        listen(&b, "t:1").await;
        let (mut peer, mut other) = (native(&b, "t:1").await, native(&b, "t:2").await);
        let mut plain = b.subscriber(&["t:1"]).await;
        listen(&a, "sync:").await;
        a.publish("t", "1", "1");
        assert_eq!(peer.text().await, event("t", "1", "1"));
        memory.lose(1, 2);
        a.publish("t", "1", "2");
        a.publish("t", "1", "3");
        a.publish("t", "1", "4");
        let told = peer.texts(3).await;
        assert_eq!((gap_topics(&told[0]), gap_topics(&told[1])), (Some(vec!["t:1".into()]), Some(vec!["t:1".into()])));
        assert_eq!(told[2], event("t", "1", "4"));
        assert_eq!(plain.rest().await, [event("t", "1", "1"), event("t", "1", "4")]);
        assert_eq!(other.rest().await, [""; 0]);
        b.app.payloads_of(2).await;
        let log = b.app.log();
        let last = log.iter().rposition(|heard| matches!(heard, Heard::Event(_))).expect("events came");
        let told = log[..last].iter().filter(|heard| matches!(heard, Heard::Notice(Notice::Gap(_)))).count();
        assert_eq!((told, b.hub.stats().backplane_gaps), (2, 2));
        let gap = &gaps(&b)[0];
        assert_eq!((gap.cause, gap.direction, &*gap.topics), (GapCause::Overflow, Direction::In, &["t:1".into()][..]));
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_was_cut_off_tells_of_the_hole_and_loses_nothing_outside_of_it() {
    within(async {
        let memory = memory_backplane();
        let [a, b] = [over(&memory, HubConfig::default()).await, over(&memory, HubConfig::default()).await];
        listen(&a, "back:").await;
        let mut peer = native(&b, "t:1").await;
        a.publish("t", "1", "1");
        assert_eq!(peer.text().await, event("t", "1", "1"));
        memory.cut(1);
        b.app.error(ErrorKind::ConnectionLost).await;
        a.publish("t", "1", "0");
        b.publish("t", "1", "2");
        b.publish("back", "", "7");
        peer.send(&subscribe_n("t:2", 2)).await;
        assert_eq!(peer.texts(2).await, [event("t", "1", "2"), subscribed("t:2", 2)], "this hub goes on");
        assert!(a.app.events().is_empty());
        memory.heal(1);
        let told = peer.texts(2).await;
        assert_eq!(gap_topics(&told[0]), Some(vec!["t:1".into()]));
        assert_eq!(gap_topics(&told[1]), Some(vec!["t:2".into()]), "it was told to be subscribed, and was not");
        a.publish("t", "1", "3");
        a.publish("t", "2", "4");
        assert_eq!(peer.texts(2).await, [event("t", "1", "3"), event("t", "2", "4")]);
        assert_eq!(a.app.payloads_of(1).await, ["7"], "what was published meanwhile went out");
        assert!(gaps(&b).is_empty(), "the application listens to nothing");
    })
    .await;
}

#[tokio::test]
async fn events_that_find_no_room_on_their_way_out_are_counted_and_told() {
    within(async {
        let memory = Arc::new(MemoryBackplane::new(10));
        let a = over(&memory, HubConfig::default()).await;
        until("the hub has joined", || memory.hubs() == 1).await;
        memory.cut(0);
        a.app.error(ErrorKind::ConnectionLost).await;
        (0..20).for_each(|_| a.publish("t", "1", "1"));
        let (message, more) = a.app.error(ErrorKind::BufferFull).await;
        assert!(message.contains("other hubs"), "{message} {more}");
        until("all were counted", || a.hub.stats().backplane_published + a.hub.stats().backplane_dropped == 20).await;
        assert_eq!((a.hub.stats().backplane_published, a.hub.stats().dropped), (3, 0));
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_falls_behind_loses_within_its_bound_and_tells_exactly_what() {
    within(async {
        const EVENTS: usize = 2000;
        for joint in Joint::every() {
            let a = joint.hub(true).await;
            let b = joint.hub_with(HubConfig { max_pending: 4096, ..HubConfig::default() }).await;
            listen(&b, "t:1").await;
            let mut peer = native(&b, "t:1").await;
            let c = joint.hub(true).await;
            listen(&c, "t:1").await;
            a.publish("t", "1", "0");
            b.app.payloads_of(1).await;
            b.app.set_full(true);
            (1..EVENTS).for_each(|n| a.publish("t", "1", &n.to_string()));
            assert_eq!(c.app.payloads_of(EVENTS).await.len(), EVENTS, "the others are not held up");
            until("all came", || b.hub.stats().backplane_received == EVENTS as u64).await;
            b.app.set_full(false);
            a.publish("end", "", "0");
            let gap = b.app.notice("a gap", |notice| match notice {
                Notice::Gap(gap) => Some(gap.clone()),
                _ => None,
            });
            let gap = gap.await;
            let lost = b.hub.stats().backplane_dropped;
            assert!(lost > EVENTS as u64 / 2, "{lost}");
            assert_eq!((gap.cause, gap.dropped, &*gap.topics), (GapCause::Overflow, lost, &["t:1".into()][..]));
            let heard = b.app.payloads();
            assert_eq!(heard.len() as u64 + lost, EVENTS as u64);
            assert!(heard.iter().enumerate().all(|(n, payload)| *payload == n.to_string()), "lost at the end only");
            let told = peer.texts(heard.len() + 1).await;
            assert_eq!(gap_topics(told.last().expect("a gap")), Some(vec!["t:1".into()]));
            let (message, _) = b.app.error(ErrorKind::BufferFull).await;
            assert!(message.contains("maxPendingBytes (4096)"), "{message}");
        }
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

#[tokio::test]
async fn what_is_no_event_or_too_large_for_this_hub_is_counted_and_skipped() {
    within(async {
        let name = fresh_name();
        let mut config = HubConfig::default();
        config.limits.max_message_bytes = 100;
        config.limits.max_topic_bytes = 10;
        let hub = Joint::Process(name.clone()).hub_with(config).await;
        let topics = ["__hello:", ":x", "t:1", "t:0123456789"];
        for topic in topics {
            hub.hub.listen(ConnKey::APPLICATION, topic);
        }
        assert!(confirmed(&hub, "t:1").await);
        let bus = Bus::join(BusConfig::default(), process::named(&name), Recorder::new(), &Handle::current());
        bus.begin();
        let long = format!("\"{}\"", "x".repeat(100));
        let events =
            [("__hello", "", "1"), ("", "x", "1"), ("t", "0123456789", "1"), ("t", "1", &long), ("t", "1", "7")];
        for (type_, id, payload) in events {
            assert_eq!(bus.publish_once(type_, id, payload), Published::Accepted);
        }
        assert_eq!(hub.app.payloads_of(1).await, ["7"]);
        let (message, _) = hub.app.error(ErrorKind::Malformed).await;
        assert!(message.contains("backplane"), "{message}");
        until("all were counted", || hub.hub.stats().malformed == 4).await;
    })
    .await;
}

/// A backplane by hand: whatever is subscribed is active at once, `defect` ends in a panic, the rest is taken.
#[derive(Default)]
struct Bare {
    hub: Mutex<Option<Arc<dyn Landing>>>,
}

impl Bare {
    async fn joined(net: &Net) -> Arc<dyn Landing> {
        let bare = Arc::new(Self::default());
        net.hub.join(Arc::clone(&bare) as Arc<dyn Backplane>);
        let hub = || bare.hub.lock().expect("sound").clone();
        until("the hub has joined", || hub().is_some()).await;
        hub().expect("it has joined")
    }
}

impl Backplane for Bare {
    fn join(self: Arc<Self>, hub: Arc<dyn Landing>) -> Box<dyn Branch> {
        *self.hub.lock().expect("sound") = Some(hub);
        Box::new(BareBranch)
    }
}

struct BareBranch;

impl Branch for BareBranch {
    fn subscribe(&self, topic: &str, _number: u64) -> Standing {
        assert_ne!(topic, "broken:", "asked for by the test");
        if topic == "refused:" { Standing::Pending } else { Standing::Active }
    }

    fn unsubscribe(&self, _topic: &str) {}

    fn publish(&self, event: &Outbound<'_>) -> Handed {
        assert_ne!(event.topic, "defect:", "asked for by the test");
        assert!(event.envelope.ends_with(&format!("{}}}", event.payload)));
        Handed::Taken
    }

    fn leave(&self) {}
}

#[tokio::test]
async fn a_hole_both_ways_is_one_gap_and_own_events_that_come_back_go_nowhere() {
    within(async {
        let net = Net::start(HubConfig::default(), Via::Memory).await;
        let landing = Bare::joined(&net).await;
        listen(&net, "t:1").await;
        let mut peer = native(&net, "t:1").await;
        let hole = |side, topic: &str| Hole {
            cause: HoleCause::SlowConsumer,
            side,
            from_ms: 5,
            to_ms: 7,
            topics: Some(vec![topic.into()]),
        };
        landing.event(Some(landing.origin()), "t", "1", "0");
        landing.event(Some("another"), "t", "1", "1");
        landing.hole(hole(HoleSide::Both, "t:1"));
        landing.hole(hole(HoleSide::Both, "t:2"));
        landing.hole(hole(HoleSide::In, "t:2"));
        landing.hole(hole(HoleSide::Out, "t:1"));
        landing.event(None, "t", "1", "2");
        let told = peer.texts(3).await;
        assert_eq!((&told[0], &told[2]), (&event("t", "1", "1"), &event("t", "1", "2")));
        assert_eq!(told[1], event("__gap", "", r#"{"cause":"upstream","from":5,"to":7,"topics":["t:1"]}"#));
        assert_eq!(net.app.payloads_of(2).await, ["1", "2"]);
        let told =
            gaps(&net).into_iter().map(|gap| (gap.cause, gap.direction, gap.topics.len(), gap.from_ms, gap.to_ms));
        let slow = |direction, topics| (GapCause::SlowConsumer, direction, topics, 5, 7);
        let expected = [slow(Direction::Both, 1), slow(Direction::Out, 0), slow(Direction::Out, 0)];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    })
    .await;
}

#[tokio::test]
async fn whoever_can_wait_for_room_is_told_when_there_is_none_and_woken_when_there_is() {
    within(async {
        let net = Net::start(HubConfig::default(), Via::Memory).await;
        let landing = Bare::joined(&net).await;
        listen(&net, "t:1").await;
        landing.event(None, "t", "1", "0");
        net.app.payloads_of(1).await;
        net.app.set_full(true);
        let payload_text = format!("\"{}\"", "x".repeat(1000));
        let mut pushed = 0;
        while poll_once(&*landing).is_ready() {
            landing.event(None, "t", "1", &payload_text);
            pushed += 1;
        }
        assert!((900..2000).contains(&pushed), "about a megabyte: {pushed}");
        net.app.set_full(false);
        poll_fn(|cx| landing.poll_room(cx)).await;
        net.app.payloads_of(pushed + 1).await;
        assert_eq!(net.hub.stats().backplane_dropped, 0);
    })
    .await;
}

fn poll_once(landing: &dyn Landing) -> Poll<()> {
    landing.poll_room(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_defect_of_a_backplane_and_a_topic_that_it_refuses_are_told_and_stop_nothing() {
    within(async {
        let net = Net::start(HubConfig { relay: true, ..HubConfig::default() }, Via::Memory).await;
        let landing = Bare::joined(&net).await;
        let mut peer = native(&net, "defect:").await;
        let mut speaks = net.peer().await;
        speaks.send(&event("defect", "", "1")).await;
        assert_eq!(peer.text().await, event("defect", "", "1"), "this hub's own subscribers have it");
        let (message, _) = net.app.error(ErrorKind::Internal).await;
        assert!(message.contains("backplane"), "{message}");
        assert_eq!((net.hub.stats().panics, net.hub.stats().backplane_dropped), (1, 1));
        peer.send(&subscribe_n("broken:", 2)).await;
        assert_eq!(peer.text().await, subscribed("broken:", 2), "nobody waits for an answer that will not come");
        speaks.send(&event("broken", "", "1")).await;
        assert_eq!(peer.text().await, event("broken", "", "1"));
        peer.send(&subscribe_n("refused:", 3)).await;
        peer.settle().await;
        landing.refused("refused:", 3, Error::new(ErrorKind::Forbidden, "no permission for this channel"));
        assert_eq!(peer.text().await, subscribed("refused:", 3));
        let (message, _) = net.app.error(ErrorKind::Forbidden).await;
        assert!(message.contains("\"refused:\"") && message.contains("no permission"), "{message}");
        speaks.send(&event("refused", "", "2")).await;
        assert_eq!(peer.text().await, event("refused", "", "2"));
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
