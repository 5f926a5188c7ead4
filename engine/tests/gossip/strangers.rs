//! Members that are not ours: the library itself saying what it should not, one that stands still, one whose clock has gone back.

use super::*;

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
