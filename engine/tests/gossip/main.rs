//! Swarms over iroh-gossip on loopback: order, partitions, members that leave, and members of the library itself that say what they should
//! not. No servers.

mod strangers;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alkpubsub_engine::delivery::{Delivery, Direction, Gap, GapCause, Notice};
use alkpubsub_engine::link::overlay::{MemberId, Overlay};
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind, Limits, Prefix, Published};
use alkpubsub_engine::spoke::Reconnect;
use alkpubsub_engine::swarm::{MAX_EVENT_BYTES, Swarm, SwarmConfig, SwarmStats};
use alkpubsub_engine::transport::iroh::{EndpointConfig, GOSSIP_ALPN, IrohEndpoint, IrohGossip, topic_id};
use alkpubsub_engine::wire::run::{self, Run};
use iroh::endpoint::{PortmapperConfig, presets};
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointId, RelayMode, SecretKey};
use iroh_gossip::api::{GossipReceiver, GossipSender};
use iroh_gossip::net::Gossip;
use iroh_gossip::proto::TopicId;
use support::{Recorder, within};
use tokio::runtime::Handle;

const TOPIC: &str = "chat";

/// A member that beats quickly and has no patience.
fn config(bootstrap: &[&Node]) -> SwarmConfig {
    let reconnect =
        Reconnect { initial: true, min_delay: Duration::from_millis(20), max_delay: Duration::from_millis(500) };
    // Much shorter, and members that are only busy would be called: each call pushes somebody's neighbour out.
    let heartbeat = Duration::from_secs(1);
    SwarmConfig {
        bootstrap: bootstrap.iter().map(|node| node.id()).collect(),
        reconnect,
        limits: Limits { heartbeat, ..SwarmConfig::default().limits },
        ..SwarmConfig::default()
    }
}

struct Node {
    endpoint: IrohEndpoint,
    swarm: Swarm,
    heard: Arc<Recorder>,
}

async fn loopback() -> IrohEndpoint {
    let bind = vec!["127.0.0.1:0".parse().expect("an address")];
    IrohEndpoint::bind(EndpointConfig { bind, ..EndpointConfig::default() }).await.expect("it binds")
}

impl Node {
    async fn join(config: SwarmConfig, known: &[&Node]) -> Self {
        let endpoint = loopback().await;
        known.iter().for_each(|other| introduce(&endpoint, other));
        Self::at(endpoint, config)
    }

    fn at(endpoint: IrohEndpoint, config: SwarmConfig) -> Self {
        let heard = Recorder::new();
        let overlay = IrohGossip::new(endpoint.clone(), topic_id(TOPIC)).expect("the topic is free");
        let delivery = Arc::clone(&heard) as Arc<dyn Delivery>;
        let swarm = Swarm::start(config, Arc::new(overlay), delivery, &Handle::current());
        swarm.listen("a:b");
        swarm.begin();
        Self { endpoint, swarm, heard }
    }

    fn id(&self) -> MemberId {
        *self.endpoint.id().as_bytes()
    }

    fn publish(&self, payload: &str) -> Published {
        self.swarm.publish_once("a", "b", payload)
    }

    async fn open(&self) {
        self.heard.open(1).await;
    }

    /// Waits for a fact of its counters.
    async fn until(&self, what: &str, is_so: impl Fn(&SwarmStats) -> bool) {
        for _ in 0..3000 {
            if is_so(&self.swarm.stats()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("{what}: {:?}", self.swarm.stats());
    }

    /// It has heard of so many others.
    async fn knows(&self, others: usize) {
        self.until("it knows the others", |stats| stats.authors as usize >= others).await;
    }

    fn gaps(&self) -> Vec<Gap> {
        let gap = |notice| if let Notice::Gap(gap) = notice { Some(gap) } else { None };
        self.heard.notices().into_iter().filter_map(gap).collect()
    }

    async fn gap(&self, cause: GapCause) -> Gap {
        let read = |notice: &Notice| match notice {
            Notice::Gap(gap) if gap.cause == cause => Some(gap.clone()),
            _ => None,
        };
        self.heard.notice(&format!("a gap: {cause:?}"), read).await
    }

    async fn close(&self) {
        self.swarm.close(CloseReason::new(CloseCode::NORMAL, ""), Duration::from_secs(5));
        self.heard.closed().await;
    }
}

fn introduce(endpoint: &IrohEndpoint, other: &Node) {
    endpoint.add_address(other.endpoint.id(), other.endpoint.sockets(), Vec::new());
}

/// So many members that all know each other; the first is the bootstrap of the others.
async fn swarm_of(count: usize) -> Vec<Node> {
    let mut nodes = vec![Node::join(config(&[]), &[]).await];
    for _ in 1..count {
        let node = Node::join(config(&[&nodes[0]]), &[&nodes[0]]).await;
        nodes.push(node);
    }
    for node in &nodes {
        // As an address lookup would.
        nodes.iter().for_each(|other| introduce(&node.endpoint, other));
        node.knows(count - 1).await;
    }
    nodes
}

/// Payloads `[author,number]`, per author in the order in which they came.
fn by_author(payloads: &[String]) -> HashMap<usize, Vec<usize>> {
    let mut found: HashMap<usize, Vec<usize>> = HashMap::new();
    for payload in payloads {
        let (author, number) = payload.trim_matches(['[', ']']).split_once(',').expect("two numbers");
        found.entry(author.parse().expect("a number")).or_default().push(number.parse().expect("a number"));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_members_hear_all_events_of_all_others_once_and_in_order() {
    within(async {
        const EVENTS: usize = 200;
        let nodes = swarm_of(8).await;
        for number in 0..EVENTS {
            for (author, node) in nodes.iter().enumerate() {
                assert_eq!(node.publish(&format!("[{author},{number}]")), Published::Accepted);
            }
        }
        for (this, node) in nodes.iter().enumerate() {
            let payloads = node.heard.payloads_of(7 * EVENTS).await;
            assert_eq!(payloads.len(), 7 * EVENTS);
            for author in (0..8).filter(|author| *author != this) {
                assert_eq!(by_author(&payloads)[&author], (0..EVENTS).collect::<Vec<_>>(), "{author} at {this}");
            }
            let causes: Vec<_> =
                node.gaps().iter().map(|gap| gap.cause).filter(|it| *it != GapCause::ConnectionLost).collect();
            assert_eq!(causes, []);
        }
    })
    .await;
}

#[tokio::test]
async fn equal_events_are_two_events() {
    within(async {
        let nodes = swarm_of(2).await;
        for _ in 0..3 {
            nodes[0].publish("1");
            // A run of its own.
            nodes[0].swarm.flush(7);
        }
        assert_eq!(nodes[1].heard.payloads_of(3).await, ["1", "1", "1"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_halves_of_four_that_were_divided_hear_each_other_again_and_of_the_gap() {
    within(async {
        let nodes = swarm_of(8).await;
        let ids: Vec<EndpointId> = nodes.iter().map(|node| node.endpoint.id()).collect();
        for (index, node) in nodes.iter().enumerate() {
            let half = if index < 4 { &ids[..4] } else { &ids[4..] };
            node.endpoint.set_access(Some(half.to_vec()), Vec::new());
        }
        // Each half takes the other for gone, and has found itself.
        for node in &nodes {
            node.until("the other half is missing", |stats| stats.neighbours > 0 && stats.missing >= 4).await;
        }
        for (author, node) in nodes.iter().enumerate() {
            node.publish(&format!("[{author},1]"));
        }
        for (index, node) in nodes.iter().enumerate() {
            let payloads = node.heard.payloads_of(3).await;
            let heard = by_author(&payloads);
            assert!(heard.keys().all(|other| (*other < 4) == (index < 4)), "{index}: {payloads:?}");
            assert_eq!(heard.len(), 3, "{index}: {payloads:?}");
        }
        nodes.iter().for_each(|node| node.endpoint.set_access(None, Vec::new()));
        // Each says something now and then, until everybody has heard everybody.
        let has_heard_all = |node: &Node, this: usize| {
            let payloads = node.heard.payloads();
            (0..8).filter(|other| *other != this).all(|other| payloads.contains(&format!("[{other},2]")))
        };
        while !nodes.iter().enumerate().all(|(this, node)| has_heard_all(node, this)) {
            for (author, node) in nodes.iter().enumerate() {
                node.publish(&format!("[{author},2]"));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        for node in &nodes {
            let gap = node
                .heard
                .notice("a gap", |notice| if let Notice::Gap(gap) = notice { Some(gap.clone()) } else { None });
            let gap = gap.await;
            assert!(matches!(gap.cause, GapCause::Sequence | GapCause::ConnectionLost), "{gap:?}");
            assert_eq!(gap.topics, [Box::from("a:b")]);
        }
    })
    .await;
}

#[tokio::test]
async fn who_loses_its_last_neighbour_says_so_comes_back_and_tells_one_gap() {
    within(async {
        let first = Node::join(config(&[]), &[]).await;
        let second = Node::join(config(&[&first]), &[&first]).await;
        [&first, &second].iter().for_each(|node| node.swarm.listen("c:"));
        second.open().await;
        second.knows(1).await;
        first.publish("1");
        second.heard.payloads_of(1).await;
        second.publish("2");
        first.heard.payloads_of(1).await;
        first.endpoint.set_access(None, vec![second.endpoint.id()]);
        let cause = |notice: &Notice| match notice {
            Notice::Reconnecting { attempt, cause, .. } => Some((*attempt, cause.kind)),
            _ => None,
        };
        assert_eq!(second.heard.notice("reconnecting", cause).await, (1, ErrorKind::ConnectionLost));
        assert_eq!(second.heard.nth_notice(2, "an attempt failed", cause).await, (2, ErrorKind::Forbidden));
        second.publish("3");
        first.endpoint.set_access(None, Vec::new());
        assert_eq!(second.heard.open(2).await, (true, true));
        let gap = second.gap(GapCause::ConnectionLost).await;
        assert_eq!((gap.direction, gap.topics.len()), (Direction::Both, 2));
        assert!(gap.from_ms <= gap.to_ms);
        // What waited goes out, and the first goes on where it was.
        assert_eq!(first.heard.payloads_of(2).await, ["2", "3"]);
        first.publish("4");
        assert_eq!(second.heard.payloads_of(2).await, ["1", "4"]);
        assert_eq!(second.gaps().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swarm_goes_on_when_its_bootstrap_has_left() {
    within(async {
        let mut nodes = swarm_of(4).await;
        let bootstrap = nodes.remove(0);
        bootstrap.publish("\"goodbye\"");
        bootstrap.close().await;
        bootstrap.endpoint.close().await;
        for node in &nodes {
            assert_eq!(node.heard.payloads_of(1).await, ["\"goodbye\""]);
            node.until("it has a neighbour", |stats| stats.neighbours > 0).await;
        }
        nodes[0].publish("1");
        for node in &nodes[1..] {
            assert_eq!(node.heard.payloads_of(2).await[1], "1");
        }
    })
    .await;
}

#[tokio::test]
async fn a_member_that_falls_behind_loses_events_with_an_exact_number_and_nobody_else_does() {
    within(async {
        let first = Node::join(config(&[]), &[]).await;
        let max_pending = 10 * (1000 + 64 + 40);
        let slow = SwarmConfig { max_pending, ..config(&[&first]) };
        let slow = Node::join(slow, &[&first]).await;
        let other = Node::join(config(&[&first]), &[&first]).await;
        for node in [&first, &slow, &other] {
            node.knows(2).await;
        }
        slow.heard.set_full(true);
        let payload = format!("\"{}\"", "x".repeat(998));
        for _ in 0..100 {
            first.publish(&payload);
        }
        assert_eq!(other.heard.payloads_of(100).await.len(), 100);
        slow.until("it loses", |stats| stats.overflowed + stats.waiting >= 100).await;
        slow.heard.set_full(false);
        let gap = slow.gap(GapCause::Overflow).await;
        let stats = slow.swarm.stats();
        assert_eq!(
            (gap.dropped, gap.dropped + slow.heard.payloads().len() as u64),
            (stats.overflowed, 100),
            "{stats:?}"
        );
        assert_eq!((other.gaps(), first.gaps()), (vec![], vec![]));
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_largest_arrives() {
    within(async {
        let nodes = swarm_of(2).await;
        let around = r#"{"type":"a","id":"b","payload":""}"#.len();
        let payload = |len: usize| format!("\"{}\"", "x".repeat(len));
        assert_eq!(nodes[0].publish(&payload(MAX_EVENT_BYTES - around + 1)), Published::TooLarge);
        let largest = payload(MAX_EVENT_BYTES - around);
        assert_eq!(nodes[0].publish(&largest), Published::Accepted);
        assert_eq!(nodes[1].heard.payloads_of(1).await, [largest]);
        let prefix = Prefix::new("a", &"b".repeat(1023));
        assert_eq!(nodes[0].swarm.publish(&prefix, "1"), Published::TooLarge);
    })
    .await;
}

#[tokio::test]
async fn the_first_attempt_may_be_the_only_one() {
    within(async {
        let first = Node::join(config(&[]), &[]).await;
        let once = SwarmConfig { reconnect: Reconnect { initial: false, ..Reconnect::default() }, ..config(&[&first]) };
        let lost = Node::join(once.clone(), &[]).await;
        assert_eq!(lost.heard.closed().await.2, Some(ErrorKind::Connect));
        let denied = loopback().await;
        introduce(&denied, &first);
        first.endpoint.set_access(None, vec![denied.id()]);
        assert_eq!(Node::at(denied, once.clone()).heard.closed().await.2, Some(ErrorKind::Forbidden));
        // Somebody else's list counts as well as one's own.
        let denying = loopback().await;
        introduce(&denying, &first);
        denying.set_access(None, vec![first.endpoint.id()]);
        assert_eq!(Node::at(denying, once).heard.closed().await.2, Some(ErrorKind::Forbidden));
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_has_one_member_of_a_topic_at_a_time_and_several_topics() {
    within(async {
        let nodes = swarm_of(2).await;
        let taken = IrohGossip::new(nodes[1].endpoint.clone(), topic_id(TOPIC)).expect_err("it is taken");
        assert_eq!(taken.kind(), ErrorKind::Listen);
        drop(IrohGossip::new(nodes[1].endpoint.clone(), topic_id("another")).expect("it is free"));
        nodes[1].publish("1");
        nodes[1].close().await;
        assert_eq!(nodes[0].heard.payloads_of(1).await, ["1"]);
        // Another at the same endpoint, at once: its numbers begin anew in a later epoch.
        let again = Node::at(nodes[1].endpoint.clone(), config(&[&nodes[0]]));
        again.open().await;
        again.publish("2");
        assert_eq!(nodes[0].heard.payloads_of(2).await, ["1", "2"]);
        assert_eq!(nodes[0].gaps(), []);
        again.endpoint.close().await;
        assert_eq!(again.heard.closed().await.2, Some(ErrorKind::Closed));
        let overlay = IrohGossip::new(again.endpoint.clone(), topic_id("third"));
        assert_eq!(overlay.expect_err("the endpoint is closed").kind(), ErrorKind::Closed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_endpoints_share_many_topics_over_few_connections() {
    within(async {
        const TOPICS: usize = 60;
        let (first, second) = (loopback().await, loopback().await);
        second.add_address(first.id(), first.sockets(), Vec::new());
        let mut members = Vec::new();
        for number in 0..TOPICS {
            let topic = topic_id(&format!("topic {number}"));
            let at = |endpoint: &IrohEndpoint, bootstrap: Vec<MemberId>| {
                let heard = Recorder::new();
                let overlay = IrohGossip::new(endpoint.clone(), topic).expect("the topic is free");
                let delivery = Arc::clone(&heard) as Arc<dyn Delivery>;
                let config = SwarmConfig { bootstrap, ..config(&[]) };
                let swarm = Swarm::start(config, Arc::new(overlay), delivery, &Handle::current());
                swarm.listen("a:b");
                swarm.begin();
                Node { endpoint: endpoint.clone(), swarm, heard }
            };
            let one = at(&first, Vec::new());
            one.open().await;
            let other = at(&second, vec![*first.id().as_bytes()]);
            other.open().await;
            members.push((one, other));
        }
        for (number, (one, other)) in members.iter().enumerate() {
            other.publish(&number.to_string());
            assert_eq!(one.heard.payloads_of(1).await, [number.to_string()]);
        }
        // All but a few are given up again, as long as something is said, and nothing is lost by that.
        while first.facts().connections > 4 {
            for (one, other) in &members {
                one.publish("0");
                other.publish("0");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for (one, other) in &members {
            let sent = one.swarm.stats();
            other.until("all has come", |stats| stats.received == sent.sent && sent.unrouted == 0).await;
            assert_eq!((other.gaps(), one.gaps()), (vec![], vec![]));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_flood_each_other_both_hear_everything_or_of_gaps() {
    within(async {
        const EVENTS: u64 = 20_000;
        let nodes = swarm_of(2).await;
        for _ in 0..EVENTS {
            for node in &nodes {
                assert_eq!(node.publish("\"some hundred bytes would be more like it\""), Published::Accepted);
            }
        }
        for node in &nodes {
            node.until("all is accounted for", |stats| stats.received + stats.missed == EVENTS).await;
            let stats = node.swarm.stats();
            assert_eq!(stats.missed == 0, stats.gaps == 0, "{stats:?}");
            assert!(stats.runs < EVENTS / 100, "events of one moment share a run: {stats:?}");
        }
    })
    .await;
}

#[test]
fn a_topic_has_a_domain_of_its_own() {
    assert_ne!(topic_id("a"), topic_id("b"));
    fn is_a_port<T: Overlay>() {}
    is_a_port::<IrohGossip>();
}
