//! What hubs and spokes make of the faults.

use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::delivery::{Delivery, Direction, GapCause, Notice};
use alkpubsub_engine::hub::{Hub, HubConfig};
use alkpubsub_engine::link::Refusal;
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind, Grants, Limits, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::spoke::{Spoke, SpokeConfig};
use alkpubsub_engine::transport::memory::{self, Listening, MemoryNetwork};
use tokio::runtime::Handle;

use crate::support::*;
use crate::{SECOND, SEED, lag};

/// A hub at a node.
struct HubNode {
    hub: Hub,
    app: Arc<Recorder>,
    _listening: Listening,
}

impl HubNode {
    fn start(network: &MemoryNetwork, config: HubConfig) -> Self {
        let app = Recorder::new();
        let limits = config.limits.clone();
        let hub = Hub::start(config, Arc::clone(&app) as Arc<dyn Delivery>, &Handle::current());
        let listening = network.listen("hub", limits, Arc::new(hub.clone()));
        Self { hub, app, _listening: listening }
    }

    fn relay(network: &MemoryNetwork) -> Self {
        Self::start(network, HubConfig { relay: true, ..HubConfig::default() })
    }

    async fn listen(&self, topic: &str) {
        self.hub.listen(ConnKey::APPLICATION, topic);
        self.hub.confirm(1);
        self.app.confirmed(1).await.expect("a hub has no one to refuse it");
    }

    fn publish(&self, payload: &str) {
        assert_eq!(self.hub.publish_once("t", "1", payload, ConnKey::APPLICATION), Published::Accepted);
    }
}

/// A spoke at a node.
struct SpokeNode {
    spoke: Spoke,
    app: Arc<Recorder>,
}

impl SpokeNode {
    fn start(network: &MemoryNetwork, name: &str, config: SpokeConfig) -> Self {
        let app = Recorder::new();
        let connector = Arc::new(network.connector(name, "hub", config.limits.clone()));
        let spoke = Spoke::start(config, connector, Arc::clone(&app) as Arc<dyn Delivery>, &Handle::current());
        Self { spoke, app }
    }

    /// A spoke that is open and hears `t:1`.
    async fn listening(network: &MemoryNetwork, name: &str, config: SpokeConfig) -> Self {
        let node = Self::start(network, name, config);
        node.spoke.listen("t:1");
        node.spoke.confirm("t:1", 1);
        assert_eq!(node.app.confirmed(1).await, Ok(true));
        node
    }

    fn publish(&self, payload: &str) {
        assert_eq!(self.spoke.publish_once("t", "1", payload), Published::Accepted);
    }

    /// The log as short words; attempts that follow each other are one.
    fn story(&self) -> Vec<String> {
        let word = |heard| match heard {
            Heard::Event(event) => Some(event.payload),
            Heard::Notice(Notice::Open { is_reconnected, .. }) => Some(format!("open {is_reconnected}")),
            Heard::Notice(Notice::Reconnecting { .. }) => Some("reconnecting".into()),
            Heard::Notice(Notice::Gap(_)) => Some("gap".into()),
            Heard::Notice(_) => None,
        };
        let mut words: Vec<String> = self.app.log().into_iter().filter_map(word).collect();
        words.dedup();
        words
    }
}

#[tokio::test]
async fn a_spoke_that_was_cut_off_comes_back_with_its_topics_one_gap_and_events_in_order() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let hub = HubNode::relay(&network);
        hub.listen("t:1").await;
        let a = SpokeNode::listening(&network, "a", impatient()).await;
        let b = SpokeNode::start(&network, "b", impatient());
        let numbers = |range: std::ops::Range<usize>| range.for_each(|number| b.publish(&number.to_string()));
        numbers(0..10);
        assert_eq!(a.app.payloads_of(10).await.len(), 10);
        network.cut("a", "hub");
        let (key, peer) = hub.app.connection(1).await;
        assert_eq!(peer.url.as_deref(), Some("/a"));
        let (code, reason, is_clean) = hub.app.disconnection(key).await;
        assert_eq!((code, reason.as_str(), is_clean), (1006, "the connection was broken off", false));
        let (_, _, kind, message) = a.app.reconnecting(1).await;
        assert_eq!(kind, ErrorKind::ConnectionLost, "{message}");
        let (_, _, kind, message) = a.app.reconnecting(3).await;
        assert_eq!(kind, ErrorKind::Connect);
        assert!(message.contains("seed 7") && message.contains("cut"), "{message}");
        numbers(10..20);
        hub.app.payloads_of(20).await;
        network.heal("hub", "a");
        let gap = a.app.gap(1).await;
        assert_eq!((gap.cause, gap.direction), (GapCause::ConnectionLost, Direction::In));
        assert_eq!(gap.topics, [Box::<str>::from("t:1")]);
        numbers(20..30);
        a.app.payloads_of(20).await;
        let expected: Vec<String> = ["open false".into()]
            .into_iter()
            .chain((0..10).map(|number| number.to_string()))
            .chain(["reconnecting", "open true", "gap"].map(String::from))
            .chain((20..30).map(|number| number.to_string()))
            .collect();
        assert_eq!(a.story(), expected);
        assert_eq!(hub.hub.subscriber_count("t:1"), 1, "subscribed once");
        assert!(!b.story().contains(&"reconnecting".into()), "the other spoke saw nothing of it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_spoke_is_cut_with_1013_and_the_others_hear_everything() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let config = HubConfig { max_buffered: 64 << 10, stall: Duration::from_millis(20), ..HubConfig::default() };
        let hub = HubNode::start(&network, config);
        let a = SpokeNode::listening(&network, "a", impatient()).await;
        let b = SpokeNode::listening(&network, "b", impatient()).await;
        let (key, _) = hub.app.connection(1).await;
        network.stall("a");
        let filler = "x".repeat(1000);
        let is_cut = || hub.app.notices().into_iter().any(|n| matches!(n, Notice::Backpressure { .. }));
        let mut published = 0;
        while !is_cut() {
            hub.publish(&format!("\"{published} {filler}\""));
            published += 1;
            hub.hub.confirm(published);
            hub.app.confirmed(published).await.expect("confirmed");
        }
        assert_eq!(hub.app.disconnection(key).await.0, 1013);
        assert_eq!(b.app.payloads_of(published as usize).await.len(), published as usize);
        assert_eq!(a.app.payloads(), [""; 0]);
        network.resume("a");
        let (_, _, kind, _) = a.app.reconnecting(1).await;
        assert_eq!(kind, ErrorKind::SlowConsumer);
        let gap = a.app.gap(1).await;
        assert_eq!((gap.cause, gap.topics), (GapCause::SlowConsumer, vec!["t:1".into()]));
        let heard = a.app.payloads();
        assert!(!heard.is_empty() && heard.len() < published as usize, "what was in the pipe, not what was dropped");
        hub.publish("0");
        assert_eq!(a.app.payloads_of(heard.len() + 1).await.last().map(String::as_str), Some("0"));
        assert_eq!((hub.hub.stats().slow_consumers, a.spoke.stats().gaps), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_stalled_hub_bounds_what_its_spokes_take_and_loses_nothing() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let hub = HubNode::relay(&network);
        hub.listen("t:1").await;
        let a = SpokeNode::listening(&network, "a", SpokeConfig { max_pending: 256 << 10, ..impatient() }).await;
        network.stall("hub");
        let filler = "x".repeat(1000);
        let mut accepted = 0;
        while a.spoke.publish_once("t", "1", &format!("\"{accepted} {filler}\"")) == Published::Accepted {
            accepted += 1;
            tokio::task::yield_now().await;
        }
        let (_, _) = a.app.error(ErrorKind::BufferFull).await;
        assert_eq!(hub.app.payloads(), [""; 0]);
        network.resume("hub");
        let heard = hub.app.payloads_of(accepted).await;
        for (number, payload) in heard.iter().enumerate() {
            assert!(payload.starts_with(&format!("\"{number} ")), "{payload:.20} instead of {number}");
        }
        assert_eq!(a.spoke.stats().connects, 1);
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_is_made_again_under_its_name_gets_its_spokes_back() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let first = HubNode::relay(&network);
        let a = SpokeNode::listening(&network, "a", impatient()).await;
        first.publish("1");
        a.app.payloads_of(1).await;
        first.hub.close(CloseReason::new(CloseCode::RESTART, ""), SECOND);
        first.app.closed().await;
        a.app.reconnecting(1).await;
        let second = HubNode::relay(&network);
        drop(first);
        a.app.gap(1).await;
        second.publish("2");
        assert_eq!(a.app.payloads_of(2).await, ["1", "2"]);
        assert_eq!(a.story(), ["open false", "1", "reconnecting", "open true", "gap", "2"]);
    })
    .await;
}

#[tokio::test]
async fn a_spoke_that_gets_no_answer_gives_each_attempt_up_in_time() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let _hub = HubNode::relay(&network);
        network.half_open("a", "hub");
        let mut config = impatient();
        config.limits.handshake = Duration::from_millis(20);
        let a = SpokeNode::start(&network, "a", config);
        let (_, _, kind, _) = a.app.reconnecting(2).await;
        assert_eq!(kind, ErrorKind::TimedOut);
        network.heal("a", "hub");
        assert_eq!(a.app.open(1).await, (false, true));
    })
    .await;
}

#[tokio::test]
async fn a_link_that_went_silent_is_found_at_both_ends_by_its_heartbeat() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let mut config = HubConfig::default();
        config.limits.heartbeat = Duration::from_millis(400);
        let hub = HubNode::start(&network, config);
        let mut config = impatient();
        config.limits.heartbeat = Duration::from_millis(400);
        let a = SpokeNode::listening(&network, "a", config).await;
        let (key, _) = hub.app.connection(1).await;
        network.half_open("a", "hub");
        hub.publish("0");
        a.publish("0");
        let (code, reason, is_clean) = hub.app.disconnection(key).await;
        assert_eq!((code, reason.as_str(), is_clean), (1006, "no byte came for 2.5 heartbeats", false));
        let (_, _, kind, _) = a.app.reconnecting(1).await;
        assert_eq!(kind, ErrorKind::TimedOut);
        network.heal("a", "hub");
        let gap = a.app.gap(1).await;
        assert_eq!((gap.cause, gap.direction), (GapCause::ConnectionLost, Direction::Both));
        hub.publish("1");
        assert_eq!(a.app.payloads_of(1).await, ["1"], "what vanished is told, and does not come");
    })
    .await;
}

#[tokio::test]
async fn a_hub_lets_in_whom_its_application_lets_in() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let config = HubConfig { authorize: true, ..HubConfig::default() };
        let hub = HubNode::start(&network, config);
        let asked = async |nth: usize| {
            hub.app
                .nth_notice(nth, "a question", |notice| match notice {
                    Notice::Authorize { token, peer } => Some((*token, peer.clone())),
                    _ => None,
                })
                .await
        };
        let a = SpokeNode::start(&network, "a", impatient());
        let (token, peer) = asked(1).await;
        assert_eq!((peer.transport, peer.url.as_deref()), ("memory", Some("/a")));
        hub.hub.judge(token, Err(Refusal::Unavailable));
        let (_, _, kind, message) = a.app.reconnecting(1).await;
        assert_eq!(kind, ErrorKind::Connect, "{message}");
        let (token, _) = asked(2).await;
        hub.hub.judge(token, Ok(Grants::everything(Some("app:a".into()))));
        a.app.open(1).await;
        let b = SpokeNode::start(&network, "b", impatient());
        let (token, _) = asked(3).await;
        hub.hub.judge(token, Err(Refusal::Forbidden));
        assert_eq!(b.app.closed().await.2, Some(ErrorKind::Forbidden), "not tried again");
        let c = SpokeNode::start(&network, "c", impatient());
        for nth in [4, 5] {
            let (token, _) = asked(nth).await;
            hub.hub.judge(token, Err(Refusal::NotIdentified));
        }
        assert_eq!(c.app.closed().await.2, Some(ErrorKind::NotIdentified), "tried again once");
    })
    .await;
}

#[tokio::test]
async fn a_full_hub_refuses_and_a_slow_decision_is_none() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let mut config = HubConfig { authorize: true, ..HubConfig::default() };
        config.limits.max_connections = 1;
        config.limits.handshake = Duration::from_millis(20);
        let hub = HubNode::start(&network, config);
        let a = SpokeNode::start(&network, "a", impatient());
        assert_eq!(a.app.reconnecting(1).await.2, ErrorKind::TimedOut);
        a.spoke.abort();
        a.app.closed().await;
        assert!(hub.hub.add(memory::pair(&Limits::default()).1));
        until("the only place is taken", || hub.hub.stats().connections == 1).await;
        let b = SpokeNode::start(&network, "b", impatient());
        let (_, _, kind, message) = b.app.reconnecting(1).await;
        assert_eq!(kind, ErrorKind::Connect);
        assert!(message.ends_with("it has too many connections"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn with_lag_and_jitter_everything_arrives_in_order() {
    const EVENTS: usize = 500;
    within(async {
        let network = MemoryNetwork::new(SEED);
        network.set_lag(lag(3, 10));
        let _hub = HubNode::relay(&network);
        let a = SpokeNode::listening(&network, "a", impatient()).await;
        let b = SpokeNode::start(&network, "b", impatient());
        for number in 0..EVENTS {
            b.publish(&number.to_string());
            tokio::task::yield_now().await;
        }
        let expected: Vec<String> = (0..EVENTS).map(|number| number.to_string()).collect();
        assert_eq!(a.app.payloads_of(EVENTS).await, expected);
        b.spoke.close(CloseReason::new(CloseCode::NORMAL, "done"), SECOND);
        assert_eq!(b.app.closed().await, (1000, "done".into(), None));
    })
    .await;
}
