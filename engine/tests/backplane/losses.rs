//! What gets lost on the way between hubs is counted, and told where it is missing.

use std::sync::Arc;

use alkpubsub_engine::bus::{Bus, BusConfig};
use alkpubsub_engine::delivery::{Direction, GapCause, Notice};
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{ErrorKind, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::transport::memory::MemoryBackplane;
use alkpubsub_engine::transport::process;
use tokio::runtime::Handle;

use crate::support::*;
use crate::{Joint, confirmed, fresh_name, gap_topics, listen, memory_backplane, native, over};

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
        let gap = &b.app.gaps()[0];
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
        assert!(b.app.gaps().is_empty(), "the application listens to nothing");
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
