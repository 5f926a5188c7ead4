//! Swarms over iroh-gossip on loopback: order, partitions, members that leave, and members of the library itself that say what they should
//! not. No servers.

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

/// A member that is the library itself.
struct Bare {
    key: SecretKey,
    sender: GossipSender,
    _receiver: GossipReceiver,
    _router: Router,
    topic: [u8; 32],
    serial: AtomicU64,
}

impl Bare {
    async fn join(other: &Node) -> Self {
        Self::join_at(other.endpoint.address(), other.endpoint.id(), None).await
    }

    async fn join_at(address: iroh::EndpointAddr, id: EndpointId, idle: Option<Duration>) -> Self {
        let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
        let mut builder = builder.portmapper_config(PortmapperConfig::Disabled).clear_ip_transports();
        if let Some(idle) = idle {
            let idle = Some(idle.try_into().expect("it fits"));
            let transport = iroh::endpoint::QuicTransportConfig::builder().max_idle_timeout(idle);
            builder =
                builder.transport_config(transport.default_path_max_idle_timeout(Duration::from_secs(3600)).build());
        }
        let endpoint = builder.bind_addr("127.0.0.1:0").expect("an address").bind().await.expect("it binds");
        let known = iroh::address_lookup::MemoryLookup::new();
        known.add_endpoint_info(address);
        endpoint.address_lookup().expect("open").add(known);
        let key = endpoint.secret_key().clone();
        let gossip = Gossip::builder().alpn(GOSSIP_ALPN).max_message_size(70_000).spawn(endpoint.clone());
        let router = Router::builder(endpoint).accept(GOSSIP_ALPN, gossip.clone()).spawn();
        let topic = topic_id(TOPIC);
        let joined = gossip.subscribe_and_join(TopicId::from_bytes(topic), vec![id]).await;
        let (sender, receiver) = joined.expect("it joins").split();
        Self { key, sender, _receiver: receiver, _router: router, topic, serial: AtomicU64::new(0) }
    }

    /// A run in the name of `author`, signed by this one.
    fn run(&self, author: &MemberId, epoch: u64, first: u64, events: &[&str]) -> Vec<u8> {
        let mut body = Vec::new();
        events.iter().for_each(|event| run::write_event(&mut body, event));
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let signature = self.key.sign(&run::signed(&self.topic, epoch, serial, first, &body)).to_bytes();
        run::write(&Run { author, epoch, serial, first, signature: &signature, body: &body })
    }

    fn own(&self, epoch: u64, first: u64, events: &[&str]) -> Vec<u8> {
        self.run(self.key.public().as_bytes(), epoch, first, events)
    }

    async fn say(&self, message: Vec<u8>) {
        self.sender.broadcast(message.into()).await.expect("it is said");
    }
}

fn event(payload: &str) -> String {
    format!(r#"{{"type":"a","id":"b","payload":{payload}}}"#)
}

#[tokio::test]
async fn forged_and_repeated_messages_are_counted_and_never_heard() {
    within(async {
        let node = Node::join(config(&[]), &[]).await;
        let bare = Bare::join(&node).await;
        let (zero, one) = (event("0"), event("1"));
        bare.say(bare.own(5, 0, &[&zero])).await;
        assert_eq!(node.heard.payloads_of(1).await, ["0"]);
        // In the name of another, of the node itself, and with one bit changed.
        bare.say(bare.run(&[7; 32], 5, 0, &[&event("\"another\"")])).await;
        bare.say(bare.run(&node.id(), 5, 0, &[&event("\"itself\"")])).await;
        let mut changed = bare.own(5, 1, &[&event("\"changed\"")]);
        *changed.last_mut().expect("bytes") ^= 1;
        bare.say(changed).await;
        // Seen, in a message that the library does not take for the same; an epoch that is over; one number for two events.
        bare.say(bare.own(5, 0, &[&event("\"again\"")])).await;
        bare.say(bare.own(4, 9, &[&event("\"old\"")])).await;
        bare.say(bare.own(5, 0, &[&zero, &event("\"torn\"")])).await;
        // No run, no frames, no envelope, a reserved type.
        bare.say(b"hello".to_vec()).await;
        bare.say([bare.own(5, 1, &[]), vec![0, 0]].concat()).await;
        bare.say(bare.own(5, 1, &["{}", r#"{"type":"__gap","id":"","payload":1}"#, &one])).await;
        assert_eq!(node.heard.payloads_of(2).await, ["0", "1"]);
        let stats = node.swarm.stats();
        // The frames without their signature are forged as well.
        assert_eq!((stats.forged, stats.malformed, stats.seen), (4, 4, 2), "{stats:?}");
        let (_, dropped) = node.heard.error(ErrorKind::Malformed).await;
        assert_eq!(dropped, 1);
        let tell = |notice: &Notice| match notice {
            Notice::Error { failure, dropped } if failure.kind == ErrorKind::Malformed => Some(*dropped),
            _ => None,
        };
        // The rest of the storm is told together: four forged, a torn one, and the ones that are none, but for the first of all.
        assert_eq!(node.heard.nth_notice(2, "the rest", tell).await, 7);
        assert_eq!(node.gaps(), []);
    })
    .await;
}

#[tokio::test]
async fn a_message_for_another_topic_is_not_heard_in_this_one() {
    within(async {
        let node = Node::join(config(&[]), &[]).await;
        let bare = Bare { topic: topic_id("another"), ..Bare::join(&node).await };
        bare.say(bare.own(5, 0, &[&event("0")])).await;
        node.until("it is forged", |stats| stats.forged == 1).await;
        assert_eq!(node.heard.payloads(), [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_is_waited_for_and_then_told_with_its_number() {
    within(async {
        let node = Node::join(config(&[]), &[]).await;
        let bare = Bare::join(&node).await;
        bare.say(bare.own(5, 0, &[&event("0")])).await;
        bare.say(bare.own(5, 2, &[&event("2")])).await;
        bare.say(bare.own(5, 1, &[&event("1")])).await;
        assert_eq!(node.heard.payloads_of(3).await, ["0", "1", "2"]);
        assert_eq!(node.gaps(), []);
        bare.say(bare.own(5, 6, &[&event("6")])).await;
        assert_eq!(node.heard.payloads_of(4).await[3], "6");
        let gap = node.gap(GapCause::Sequence).await;
        assert_eq!((gap.dropped, gap.direction, gap.topics), (3, Direction::In, vec!["a:b".into()]));
        // The last event of all: found by the word of where its author is.
        bare.say(bare.own(5, 9, &[])).await;
        node.until("it is missed", |stats| stats.missed == 5).await;
        assert_eq!(node.gaps().iter().map(|gap| gap.dropped).collect::<Vec<_>>(), [3, 2]);
        // Later comes too late.
        bare.say(bare.own(5, 7, &[&event("7")])).await;
        node.until("it was seen", |stats| stats.seen == 1).await;
        assert_eq!(node.heard.payloads().len(), 4);
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
async fn who_is_alone_waits_or_has_nobody_to_miss_it() {
    within(async {
        let first = Node::join(config(&[]), &[]).await;
        first.open().await;
        first.publish("\"nobody\"");
        first.until("it is unrouted", |stats| stats.unrouted == 1).await;
        // The second does not know yet where the first is.
        let second = Node::join(config(&[&first]), &[]).await;
        second.publish("1");
        second.swarm.flush(1);
        let failed = |notice: &Notice| match notice {
            Notice::Reconnecting { attempt, cause, .. } => Some((*attempt, cause.kind)),
            _ => None,
        };
        assert_eq!(second.heard.notice("an attempt failed", failed).await, (1, ErrorKind::Connect));
        assert_eq!(second.swarm.buffered(), event("1").len() + 64);
        introduce(&second.endpoint, &first);
        assert_eq!(first.heard.payloads_of(1).await, ["1"]);
        second.heard.flushed(1).await;
        assert_eq!((second.swarm.stats().sent, second.gaps()), (1, vec![]));
        assert_eq!(second.heard.open(1).await, (false, true));
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

/// A member whose process stands still: it is in a thread of its own, which blocks once it has joined.
struct Standing {
    go_on: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Standing {
    async fn join(other: &Node) -> Self {
        let ((joined, has_joined), (go_on, may_go_on)) = (tokio::sync::oneshot::channel(), std::sync::mpsc::channel());
        let address = (other.endpoint.address(), other.endpoint.id());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let _bare = Bare::join_at(address.0, address.1, Some(Duration::from_secs(3600))).await;
                let _waits = joined.send(());
                // Not a task of the runtime, and nothing else of it runs meanwhile.
                let _gone = may_go_on.recv();
            });
        });
        has_joined.await.expect("it joins");
        Self { go_on, thread }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_that_stands_still_is_cut_off_and_the_others_go_on() {
    within(async {
        let patient = || async {
            let bind = vec!["127.0.0.1:0".parse().expect("an address")];
            let config = EndpointConfig { bind, idle: Duration::from_secs(3600), ..EndpointConfig::default() };
            IrohEndpoint::bind(config).await.expect("it binds")
        };
        let first = Node::at(patient().await, config(&[]));
        let at = patient().await;
        introduce(&at, &first);
        let second = Node::at(at, config(&[&first]));
        second.open().await;
        second.knows(1).await;
        let standing = Standing::join(&first).await;
        first.until("both are neighbours", |stats| stats.neighbours == 2).await;
        // More than fits between it and the others: without cutting it off, nothing goes through for an hour.
        let payload = format!("\"{}\"", "x".repeat(30_000));
        const EVENTS: usize = 200;
        for _ in 0..EVENTS {
            first.publish(&payload);
        }
        let stats = second.swarm.stats();
        second.until("it hears or misses all", |stats| stats.received + stats.missed >= EVENTS as u64).await;
        first.until("it is cut off", |stats| stats.neighbours == 1).await;
        first.publish("\"on\"");
        second
            .heard
            .until("what is said behind it", |log| {
                log.iter()
                    .any(|heard| matches!(heard, support::Heard::Event(event) if event.payload == "\"on\""))
                    .then_some(())
            })
            .await;
        assert!(stats.received < EVENTS as u64, "it did hold them up: {stats:?}");
        drop(standing.go_on);
        standing.thread.join().expect("no panic");
    })
    .await;
}

#[tokio::test]
async fn a_stranger_gets_a_bounded_number_of_connections_and_streams() {
    within(async {
        let node = Node::join(config(&[]), &[]).await;
        node.open().await;
        let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
        let builder = builder.portmapper_config(PortmapperConfig::Disabled).clear_ip_transports();
        let stranger = builder.bind_addr("127.0.0.1:0").expect("an address").bind().await.expect("it binds");
        let mut connections = Vec::new();
        for _ in 0..18 {
            let connection = stranger.connect(node.endpoint.address(), GOSSIP_ALPN.as_bytes()).await.expect("a place");
            connections.push(connection);
        }
        let mut streams = Vec::new();
        let opened = tokio::time::timeout(Duration::from_millis(500), async {
            loop {
                let mut stream = connections[0].open_uni().await.expect("it lives");
                // The length of the largest message, and no more.
                stream.write_all(&[0, 1, 4, 0]).await.expect("it lives");
                streams.push(stream);
            }
        });
        opened.await.expect_err("there is no end to it");
        assert!((1..=18).contains(&streams.len()), "{} streams", streams.len());
        // One more, and the oldest goes, with all that it holds.
        let _one_more = stranger.connect(node.endpoint.address(), GOSSIP_ALPN.as_bytes()).await.expect("a place");
        let closed = loop {
            let gone = connections.iter().enumerate().find_map(|(at, one)| Some((at, one.close_reason()?)));
            match gone {
                Some(gone) => break gone,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        // Two that came at once may stand the other way round.
        assert!(closed.0 < 3 && closed.1.to_string().contains("too many connections"), "{closed:?}");
        assert_eq!(connections.iter().filter(|connection| connection.close_reason().is_none()).count(), 17);
    })
    .await;
}

/// An overlay of a program whose clock has gone back.
struct Early(IrohGossip);

impl Overlay for Early {
    fn me(&self) -> MemberId {
        self.0.me()
    }

    fn topic(&self) -> alkpubsub_engine::link::overlay::TopicId {
        self.0.topic()
    }

    fn epoch(&self) -> u64 {
        1000
    }

    fn sign(&self, text: &[u8]) -> alkpubsub_engine::link::overlay::Signature {
        self.0.sign(text)
    }

    fn is_signed_by(
        &self,
        author: &MemberId,
        text: &[u8],
        signature: &alkpubsub_engine::link::overlay::Signature,
    ) -> bool {
        self.0.is_signed_by(author, text, signature)
    }

    fn join(
        &self,
    ) -> alkpubsub_engine::link::BoxFuture<
        Result<alkpubsub_engine::link::overlay::Joined, alkpubsub_engine::model::Error>,
    > {
        self.0.join()
    }

    fn ended(&self) -> alkpubsub_engine::link::BoxFuture<()> {
        self.0.ended()
    }
}

#[tokio::test]
async fn a_member_that_comes_back_with_an_earlier_clock_is_heard_again() {
    within(async {
        let first = Node::join(config(&[]), &[]).await;
        let second = Node::join(config(&[&first]), &[&first]).await;
        second.open().await;
        second.publish("1");
        assert_eq!(first.heard.payloads_of(1).await, ["1"]);
        second.close().await;
        // The same endpoint, so the same key.
        let overlay = Early(IrohGossip::new(second.endpoint.clone(), topic_id(TOPIC)).expect("the topic is free"));
        let heard = Recorder::new();
        let delivery = Arc::clone(&heard) as Arc<dyn Delivery>;
        let again = Swarm::start(config(&[&first]), Arc::new(overlay), delivery, &Handle::current());
        again.begin();
        heard.open(1).await;
        // Until it was reminded, nobody hears it.
        let mut number = 2;
        while first.heard.payloads().len() < 2 {
            again.publish_once("a", "b", &number.to_string());
            number += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(first.swarm.stats().seen > 0, "it was not heard at first");
    })
    .await;
}

#[test]
fn a_topic_has_a_domain_of_its_own() {
    assert_ne!(topic_id("a"), topic_id("b"));
    fn is_a_port<T: Overlay>() {}
    is_a_port::<IrohGossip>();
}
