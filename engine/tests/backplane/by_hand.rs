//! A backplane made by hand: holes, waiting for room, and defects.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use alkpubsub_engine::delivery::{Direction, GapCause};
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::link::backplane::{
    Backplane, Branch, Handed, Hole, HoleCause, HoleSide, Landing, Outbound, Standing,
};
use alkpubsub_engine::model::{Error, ErrorKind};

use crate::support::*;
use crate::{listen, native};

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
            net.app.gaps().into_iter().map(|gap| (gap.cause, gap.direction, gap.topics.len(), gap.from_ms, gap.to_ms));
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
