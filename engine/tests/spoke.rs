//! A spoke as its application sees it: against our hub over both transports, and against hubs made by hand.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use alkpubsub_engine::delivery::{Delivery, Direction, Gap, GapCause, Notice};
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::link::{Connect, Destination};
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind, Limits, Published};
use alkpubsub_engine::spoke::{PeerKind, Reconnect, Spoke, SpokeConfig};
use alkpubsub_engine::transport::memory::MemoryConnector;
use alkpubsub_engine::transport::websocket::{ClientConfig, ListenConfig, WebSocketConnector};
use support::*;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_tungstenite::tungstenite::Message;

/// Longer than any test: who waits for it to pass fails.
const FOREVER: Duration = Duration::from_secs(600);

/// A spoke and its application.
struct Side {
    spoke: Spoke,
    app: Arc<Recorder>,
}

impl Side {
    fn start(config: SpokeConfig, connector: Arc<dyn Connect>) -> Self {
        let app = Recorder::new();
        let delivery = Arc::clone(&app) as Arc<dyn Delivery>;
        Self { spoke: Spoke::start(config, connector, delivery, &Handle::current()), app }
    }

    fn dial(config: SpokeConfig) -> Self {
        let client = ClientConfig { limits: config.limits.clone(), ..ClientConfig::default() };
        Self::start(config, Arc::new(WebSocketConnector::new(client)))
    }

    /// A spoke of our hub, by the hub's own transport.
    fn of(net: &Net, mut config: SpokeConfig) -> Self {
        config.destination.url.clone_from(&net.url);
        match net.via {
            Via::WebSocket => Self::dial(config),
            Via::Memory => {
                let hub = net.hub.clone();
                let connector = MemoryConnector::new(Arc::new(move |link| hub.add(link)), net.limits.clone());
                Self::start(config, Arc::new(connector))
            }
        }
    }

    fn publish(&self, type_: &str, id: &str, payload: &str) {
        assert_eq!(self.spoke.publish_once(type_, id, payload), Published::Accepted);
    }

    /// Listens and waits until the hub knows.
    async fn listen(&self, topic: &str, token: u32) -> bool {
        self.spoke.listen(topic);
        self.spoke.confirm(topic, token);
        self.app.confirmed(token).await.expect("granted")
    }

    async fn gap(&self) -> Gap {
        self.app
            .notice("a gap", |notice| match notice {
                Notice::Gap(gap) => Some(gap.clone()),
                _ => None,
            })
            .await
    }

    fn gaps(&self) -> Vec<Gap> {
        let gaps = self.app.notices().into_iter().filter_map(|notice| match notice {
            Notice::Gap(gap) => Some(gap),
            _ => None,
        });
        gaps.collect()
    }

    /// The log as short words, for questions of order.
    fn story(&self) -> Vec<String> {
        let word = |heard| match heard {
            Heard::Event(event) => format!("event {}", event.payload),
            Heard::Notice(Notice::Open { is_reconnected, .. }) => format!("open {is_reconnected}"),
            Heard::Notice(Notice::Reconnecting { .. }) => "reconnecting".into(),
            Heard::Notice(Notice::Gap(_)) => "gap".into(),
            Heard::Notice(Notice::Error { failure, .. }) => format!("error {:?}", failure.kind),
            Heard::Notice(Notice::Closed { reason, .. }) => format!("closed {}", reason.code.0),
            Heard::Notice(Notice::Confirmed { token, .. }) => format!("confirmed {token}"),
            Heard::Notice(other) => format!("{other:?}"),
        };
        self.app.log().into_iter().map(word).collect()
    }
}

fn impatient() -> SpokeConfig {
    SpokeConfig {
        reconnect: Some(Reconnect {
            initial: true,
            min_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(5),
        }),
        // A hello that is late on a busy machine must not change what a test sees.
        hello_timeout: FOREVER,
        ..SpokeConfig::default()
    }
}

fn normal_close() -> CloseReason {
    CloseReason::new(CloseCode::NORMAL, "")
}

/// A hub made by hand: it does what a test tells it to.
struct ByHand {
    listener: TcpListener,
}

impl ByHand {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port 0 is free");
        Self { listener }
    }

    fn config(&self) -> SpokeConfig {
        let port = self.listener.local_addr().expect("bound").port();
        SpokeConfig {
            destination: Destination { url: format!("ws://127.0.0.1:{port}/"), headers: Vec::new() },
            ..impatient()
        }
    }

    async fn tcp(&self) -> TcpStream {
        self.listener.accept().await.expect("it listens").0
    }

    async fn accept(&self) -> Bare<TcpStream> {
        Bare::accept(self.tcp().await).await
    }

    /// Takes the next link and says hello. What the spoke says from its hello on is still to be read.
    async fn accept_native(&self) -> Bare<TcpStream> {
        let mut far = self.accept().await;
        assert_eq!(far.text().await, HELLO);
        far.send(HUB_HELLO).await;
        far
    }
}

/// Reads one `__subscribe` and answers it.
async fn grant(far: &mut Bare<TcpStream>) -> String {
    let (topic, n) = wish(&far.text().await);
    far.send(&subscribed(&topic, n)).await;
    topic
}

fn wish(text: &str) -> (String, u64) {
    let envelope: serde_json::Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(envelope["type"], "__subscribe", "{text}");
    let payload = &envelope["payload"];
    let topic = payload["topic"].as_str().expect("a topic");
    (topic.to_owned(), payload["n"].as_u64().expect("a number"))
}

/// A reset: what a crash of the machine's hub looks like.
fn reset(far: Bare<TcpStream>) {
    far.ws.get_ref().set_zero_linger().expect("a TCP socket");
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

// ---- With our hub --------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn events_travel_both_ways_and_subscriptions_are_acknowledged() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("up:1").await;
            let side = Side::of(&net, impatient());
            assert!(side.listen("down:1", 1).await, "{via:?}: a native hub acknowledges");
            assert_eq!(side.app.open(1).await, (false, true));
            net.publish("down", "1", r#"{"a":[1, 2]}"#);
            assert_eq!(side.app.payloads_of(1).await, [r#"{"a":[1, 2]}"#]);
            side.publish("up", "1", r#"{"b":1e400}"#);
            assert_eq!(net.app.payloads_of(1).await, [r#"{"b":1e400}"#]);
            assert_eq!((side.spoke.stats().topics, side.spoke.stats().connects), (1, 1));
        }
    })
    .await;
}

#[tokio::test]
async fn a_spoke_does_not_hear_itself_and_others_hear_it_in_order() {
    const EVENTS: usize = 10_000;
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let hearer = Side::of(&net, impatient());
            let publisher = Side::of(&net, impatient());
            hearer.listen("t:0", 1).await;
            hearer.listen("t:1", 2).await;
            publisher.listen("t:0", 1).await;
            for number in 0..EVENTS {
                publisher.publish("t", &(number % 2).to_string(), &number.to_string());
            }
            assert_eq!(hearer.app.payloads_of(EVENTS).await, numbers(0..EVENTS), "{via:?}");
            assert_eq!(publisher.app.payloads(), [""; 0]);
            let writes = publisher.spoke.stats().writes;
            assert!(writes < 100, "{via:?}: a burst goes out in few writes, not {writes}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_changes_between_none_and_some_travel() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        side.spoke.listen("a:");
        side.spoke.listen("a:");
        side.spoke.unlisten("a:");
        side.spoke.unlisten("a:");
        side.spoke.unlisten("never:");
        side.spoke.listen("a:");
        side.spoke.confirm("a:", 1);
        let (topic, first) = wish(&far.text().await);
        assert_eq!(topic, "a:");
        assert_eq!(far.text().await, event("__unsubscribe", "", r#"{"topic":"a:"}"#));
        let (_, second) = wish(&far.text().await);
        assert!(second > first);
        // The answer to the first wish is not the answer to the second.
        far.send(&subscribed("a:", first)).await;
        far.send(&event("a", "", "1")).await;
        side.app.payloads_of(1).await;
        let is_answered = |notice: &Notice| matches!(notice, Notice::Confirmed { .. });
        assert!(!side.app.notices().iter().any(is_answered));
        far.send(&subscribed("a:", second)).await;
        assert_eq!(side.app.confirmed(1).await, Ok(true));
        side.publish("end", "", "0");
        assert_eq!(far.text().await, event("end", "", "0"), "nothing else was said");
    })
    .await;
}

#[tokio::test]
async fn a_late_subscriber_gets_nothing_published_before_it() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let early = Side::of(&net, impatient());
            early.listen("t:1", 1).await;
            net.publish("t", "1", "1");
            early.app.payloads_of(1).await;
            let late = Side::of(&net, impatient());
            late.listen("t:1", 1).await;
            net.publish("t", "1", "2");
            assert_eq!(late.app.payloads_of(1).await, ["2"], "{via:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn ready_for_a_topic_that_nobody_listens_to_is_an_error() {
    within(async {
        let net = Net::relay(Via::Memory).await;
        let side = Side::of(&net, impatient());
        side.spoke.confirm("a:", 1);
        assert_eq!(side.app.confirmed(1).await, Err(ErrorKind::NotSubscribed));
        side.listen("a:", 2).await;
        side.spoke.unlisten("a:");
        side.spoke.confirm("a:", 3);
        assert_eq!(side.app.confirmed(3).await, Err(ErrorKind::NotSubscribed));
    })
    .await;
}

#[tokio::test]
async fn a_refused_subscription_is_told_to_who_waits_for_it() {
    within(async {
        for via in EVERY_WAY {
            let mut config = HubConfig::default();
            config.limits.max_topics_per_connection = 1;
            let net = Net::start(config, via).await;
            let side = Side::of(&net, impatient());
            side.listen("a:", 1).await;
            side.spoke.listen("b:");
            side.spoke.confirm("b:", 2);
            assert_eq!(side.app.confirmed(2).await, Err(ErrorKind::Limit), "{via:?}");
            side.app.error(ErrorKind::Limit).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_subscription_is_told_to_who_asks_afterwards() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_topics_per_connection = 1;
        let net = Net::start(config, Via::Memory).await;
        let side = Side::of(&net, impatient());
        side.listen("a:", 1).await;
        side.spoke.listen("b:");
        side.app.error(ErrorKind::Limit).await;
        side.spoke.confirm("b:", 2);
        assert_eq!(side.app.confirmed(2).await, Err(ErrorKind::Limit));
    })
    .await;
}

#[tokio::test]
async fn close_writes_what_was_published_before() {
    const EVENTS: usize = 5000;
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let side = Side::of(&net, impatient());
            side.app.open(1).await;
            for number in 0..EVENTS {
                side.publish("t", "1", &number.to_string());
            }
            side.spoke.close(CloseReason::new(CloseCode::NORMAL, "done"), FOREVER);
            side.spoke.close(normal_close(), FOREVER);
            assert_eq!(side.app.closed().await, (1000, "done".into(), None), "{via:?}");
            assert_eq!(net.app.payloads_of(EVENTS).await, numbers(0..EVENTS));
            let (key, _) = net.app.connection(1).await;
            let (code, _, is_clean) = net.app.disconnection(key).await;
            assert_eq!((code, is_clean), (1000, true), "{via:?}");
            assert_eq!(side.spoke.publish_once("t", "1", "1"), Published::Closed);
            assert_eq!(side.story().last().map(String::as_str), Some("closed 1000"));
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_published_before_the_first_open_is_written_by_close() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let side = Side::of(&net, impatient());
            side.publish("t", "1", "1");
            side.spoke.close(normal_close(), FOREVER);
            assert_eq!(side.app.closed().await, (1000, String::new(), None), "{via:?}");
            assert_eq!(net.app.payloads_of(1).await, ["1"]);
        }
    })
    .await;
}

#[tokio::test]
async fn abort_ends_at_once_and_answers_who_waits() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            let side = Side::of(&net, impatient());
            side.listen("a:", 1).await;
            side.spoke.abort();
            side.app.closed().await;
            let (key, _) = net.app.connection(1).await;
            net.app.disconnection(key).await;
            assert_eq!(net.hub.stats().topics, 0, "{via:?}");
        }
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        side.spoke.confirm("a:", 1);
        let _never_answered = hub.tcp().await;
        side.spoke.abort();
        assert_eq!(side.app.confirmed(1).await, Err(ErrorKind::Closed));
        side.app.closed().await;
    })
    .await;
}

#[tokio::test]
async fn flush_and_drained_are_answered() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let side = Side::of(&net, impatient());
            for number in 0..1000 {
                side.publish("t", "1", &number.to_string());
            }
            side.spoke.flush(1);
            side.app.flushed(1).await;
            assert_eq!(side.spoke.buffered(), 0, "{via:?}");
            side.spoke.drained(2);
            side.app.drained(2).await;
            side.spoke.flush(3);
            side.app.flushed(3).await;
        }
    })
    .await;
}

// ---- Native or plain -----------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn hello_then_a_ping_then_every_topic_then_events() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.publish("e", "", "1");
        side.spoke.listen("a:");
        side.publish("e", "", "2");
        let mut far = hub.accept().await;
        assert_eq!(far.message().await, Message::text(HELLO));
        assert!(matches!(far.message().await, Message::Ping(_)));
        assert_eq!(wish(&far.text().await).0, "a:");
        assert_eq!(far.text().await, event("e", "", "1"));
        assert_eq!(far.text().await, event("e", "", "2"));
    })
    .await;
}

#[tokio::test]
async fn a_hub_whose_pong_comes_before_its_hello_is_plain() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        side.spoke.confirm("a:", 1);
        let mut far = hub.accept().await;
        // tungstenite answers the ping by itself; it knows no hello.
        let (opened, ()) = tokio::join!(side.app.open(1), async {
            far.text().await;
            far.text().await;
            far.send(&event("a", "", "1")).await;
        });
        assert_eq!(opened, (false, false));
        assert_eq!(side.app.confirmed(1).await, Ok(false), "written, not acknowledged");
        assert_eq!(side.app.payloads_of(1).await, ["1"]);
    })
    .await;
}

#[tokio::test]
async fn a_hub_whose_first_envelope_is_no_hello_is_plain() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        let mut far = hub.accept().await;
        // Nothing is read, so nothing is answered.
        far.send(&event("a", "", "1")).await;
        assert_eq!(side.app.open(1).await, (false, false));
        side.app.payloads_of(1).await;
        let story = side.story();
        assert_eq!(story[..2], ["open false", "event 1"]);
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_says_nothing_is_plain_after_a_while_and_a_late_hello_upgrades_it() {
    within(async {
        let hub = ByHand::listen().await;
        let config = SpokeConfig { hello_timeout: Duration::from_millis(30), ..hub.config() };
        let side = Side::dial(config);
        let mut far = hub.accept().await;
        assert_eq!(side.app.open(1).await, (false, false));
        far.send(HUB_HELLO).await;
        // A ping behind it tells that the hello was read.
        far.send(&event("__ping", "", r#"{"t":"x"}"#)).await;
        while far.text().await != event("__pong", "", r#"{"t":"x"}"#) {}
        side.spoke.listen("a:");
        side.spoke.confirm("a:", 1);
        grant(&mut far).await;
        assert_eq!(side.app.confirmed(1).await, Ok(true));
        let opens = side.story().into_iter().filter(|word| word.starts_with("open"));
        assert_eq!(opens.count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_gap_lasts_until_a_hub_that_said_nothing_says_something() {
    within(async {
        for is_native in [true, false] {
            let hub = ByHand::listen().await;
            let config = SpokeConfig { hello_timeout: Duration::from_millis(30), ..hub.config() };
            let side = Side::dial(config);
            side.spoke.listen("a:");
            let mut far = hub.accept().await;
            far.send(HUB_HELLO).await;
            assert_eq!(far.text().await, HELLO);
            grant(&mut far).await;
            side.spoke.confirm("a:", 1);
            assert_eq!(side.app.confirmed(1).await, Ok(true));
            reset(far);
            // A hub that does not read yet, because its application takes its time, answers not even a ping.
            let mut far = hub.accept().await;
            side.app.nth_notice(2, "open", |notice| matches!(notice, Notice::Open { .. }).then_some(())).await;
            side.spoke.confirm("a:", 2);
            assert_eq!(side.app.confirmed(2).await, Ok(false));
            assert!(side.gaps().is_empty(), "nobody knows of an active topic");
            if is_native {
                far.send(HUB_HELLO).await;
                assert_eq!(far.text().await, HELLO);
                grant(&mut far).await;
            }
            far.send(&event("a", "", "7")).await;
            assert_eq!(side.app.payloads_of(1).await, ["7"]);
            let story = side.story();
            assert_eq!(story[story.len() - 2..], ["gap", "event 7"], "{story:?}");
            assert_eq!(side.gaps().len(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn to_a_hub_that_is_known_to_be_plain_no_hello_is_said() {
    within(async {
        let hub = ByHand::listen().await;
        let config = SpokeConfig { peer: PeerKind::Plain, ..hub.config() };
        let side = Side::dial(config);
        side.spoke.listen("a:");
        side.spoke.confirm("a:", 1);
        let mut far = hub.accept().await;
        assert_eq!(wish(&far.text().await).0, "a:");
        assert_eq!(side.app.confirmed(1).await, Ok(false));
        assert_eq!(side.app.open(1).await, (false, false));
    })
    .await;
}

#[tokio::test]
async fn a_plain_hub_is_an_error_where_a_native_one_was_asked_for() {
    within(async {
        let hub = ByHand::listen().await;
        let hello_timeout = Duration::from_millis(30);
        let config = || SpokeConfig { peer: PeerKind::Native, hello_timeout, ..hub.config() };
        let side = Side::dial(config());
        side.spoke.listen("a:");
        let mut far = hub.accept().await;
        let (closed, _) = tokio::join!(side.app.closed(), far.until_end());
        assert_eq!(closed.2, Some(ErrorKind::NoHello), "not tried again");

        let side = Side::dial(config());
        side.spoke.listen("a:");
        let mut far = hub.accept().await;
        far.send(&event("a", "", "1")).await;
        assert_eq!(side.app.closed().await.2, Some(ErrorKind::NoHello));
        assert_eq!(side.app.payloads(), [""; 0], "no event of a hub that was not admitted");
    })
    .await;
}

#[tokio::test]
async fn where_a_native_hub_was_asked_for_its_hello_may_come_behind_the_pong_of_a_library() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(SpokeConfig { peer: PeerKind::Native, ..hub.config() });
        side.spoke.listen("a:");
        let mut far = hub.accept().await;
        // tungstenite answers the ping while the topic is read.
        assert_eq!(far.text().await, HELLO);
        assert_eq!(wish(&far.text().await).0, "a:");
        far.send(HUB_HELLO).await;
        assert_eq!(side.app.open(1).await, (false, true));
    })
    .await;
}

#[tokio::test]
async fn what_a_hub_says_about_topics_reaches_the_application() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        far.send(&event("__gap", "", r#"{"cause":"overflow","from":5,"to":9,"topics":["a:","b:"]}"#)).await;
        let expected = Gap {
            cause: GapCause::Upstream,
            direction: Direction::In,
            from_ms: 5,
            to_ms: 9,
            topics: vec!["a:".into()],
            dropped: 0,
        };
        assert_eq!(side.gap().await, expected, "only what is listened to");
        far.send(&event("__gap", "", r#"{"cause":"overflow","from":5,"to":9,"topics":["b:"]}"#)).await;
        let refused = r#"{"topic":"p:","kind":"publish","code":"FORBIDDEN","reason":"not you","count":3}"#;
        far.send(&event("__refused", "", refused)).await;
        let (message, _) = side.app.error(ErrorKind::Forbidden).await;
        assert!(message.contains("publishing to \"p:\"") && message.contains("not you"), "{message}");
        far.send(&subscribe("a:")).await;
        far.send(&event("__what", "", "{}")).await;
        far.send(HUB_HELLO).await;
        far.send(&event("unwanted", "", "1")).await;
        far.send(&event("__ping", "", r#"{"t":[1, 2]}"#)).await;
        assert_eq!(far.text().await, event("__pong", "", r#"{"t":[1, 2]}"#));
        let stats = side.spoke.stats();
        assert_eq!((stats.ignored_controls, stats.unwanted, stats.gaps), (3, 1, 1));
    })
    .await;
}

// ---- Coming back ---------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn after_a_loss_come_reconnecting_open_one_gap_and_then_events() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        far.send(&event("a", "", "1")).await;
        side.app.payloads_of(1).await;
        reset(far);
        let (attempt, _, kind, message) = side.app.reconnecting(1).await;
        assert_eq!((attempt, kind), (1, ErrorKind::ConnectionLost), "{message}");
        let mut far = hub.accept_native().await;
        // Events that overtake the answer wait for the gap.
        let (topic, n) = wish(&far.text().await);
        far.send(&event("a", "", "2")).await;
        far.send(&event("a", "", "3")).await;
        far.send(&subscribed(&topic, n)).await;
        far.send(&event("a", "", "4")).await;
        assert_eq!(side.app.payloads_of(4).await, ["1", "2", "3", "4"]);
        let story = ["open false", "event 1", "reconnecting", "open true", "gap", "event 2", "event 3", "event 4"];
        assert_eq!(side.story(), story);
        let gap = side.gap().await;
        assert_eq!((gap.cause, gap.direction), (GapCause::ConnectionLost, Direction::In));
        assert_eq!(gap.topics, [Box::<str>::from("a:")]);
        assert!(gap.from_ms <= gap.to_ms && gap.from_ms > 1_600_000_000_000, "{gap:?}");
        assert_eq!((side.spoke.stats().gaps, side.spoke.stats().connects), (1, 2));
    })
    .await;
}

#[tokio::test]
async fn a_spoke_comes_back_to_our_hub_and_hears_on() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("up:").await;
            let side = Side::of(&net, impatient());
            side.listen("a:", 1).await;
            side.listen("b:", 2).await;
            for round in 1..=3 {
                let (key, _) = net.app.connection(round).await;
                net.hub.disconnect(key, CloseReason::new(CloseCode::RESTART, ""));
                side.app.reconnecting(round).await;
                assert_eq!(side.app.open(round + 1).await, (true, true), "{via:?}");
                side.app.nth_notice(round, "a gap", |notice| matches!(notice, Notice::Gap(_)).then_some(())).await;
                net.publish("a", "", &round.to_string());
                side.publish("up", "", &round.to_string());
                assert_eq!(side.app.payloads_of(round).await, numbers(1..round + 1), "{via:?}");
                assert_eq!(net.app.payloads_of(round).await, numbers(1..round + 1));
            }
            let gaps = side.gaps();
            assert_eq!(gaps.len(), 3);
            for gap in gaps {
                let mut topics = gap.topics;
                topics.sort();
                assert_eq!(topics, [Box::<str>::from("a:"), "b:".into()]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_is_started_again_on_its_port_gets_its_spokes_back() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        let side = Side::of(&net, impatient());
        side.listen("a:", 1).await;
        let port = net.address().rsplit(':').next().and_then(|port| port.parse().ok());
        net.hub.close(CloseReason::new(CloseCode::GOING_AWAY, ""), Duration::from_secs(30));
        net.app.closed().await;
        side.app.reconnecting(1).await;
        let listen = ListenConfig { port: port.expect("a port"), ..loopback() };
        let again = Net::start_at(HubConfig::default(), Via::WebSocket, listen).await;
        side.gap().await;
        again.publish("a", "", "1");
        assert_eq!(side.app.payloads_of(1).await, ["1"]);
        assert_eq!(side.gaps().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn two_losses_before_the_topics_are_back_are_one_gap() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        side.spoke.confirm("a:", 1);
        side.app.confirmed(1).await.expect("granted");
        reset(far);
        // Lost again before its handshake, before its hello, and before its answer to the topic.
        drop(hub.tcp().await);
        let mut far = hub.accept().await;
        far.text().await;
        reset(far);
        let mut far = hub.accept_native().await;
        far.text().await;
        side.app.open(2).await;
        reset(far);
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        far.send(&event("a", "", "1")).await;
        side.app.payloads_of(1).await;
        let story = side.story();
        assert_eq!(story.iter().filter(|word| *word == "gap").count(), 1, "{story:?}");
        assert_eq!(story[story.len() - 2..], ["gap", "event 1"]);
        assert_eq!(story.iter().filter(|word| *word == "reconnecting").count(), 4, "{story:?}");
    })
    .await;
}

#[tokio::test]
async fn topics_that_came_or_went_during_the_outage_are_not_in_the_gap() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        for topic in ["kept:", "dropped:"] {
            side.spoke.listen(topic);
        }
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        grant(&mut far).await;
        for (token, topic) in [(1, "kept:"), (2, "dropped:")] {
            side.spoke.confirm(topic, token);
            side.app.confirmed(token).await.expect("granted");
        }
        reset(far);
        side.app.reconnecting(1).await;
        // The next link waits for its handshake: the outage lasts as long as this test likes.
        let tcp = hub.tcp().await;
        side.spoke.listen("new:");
        side.spoke.confirm("new:", 3);
        side.spoke.unlisten("dropped:");
        side.spoke.flush(4);
        side.app.flushed(4).await;
        let mut far = Bare::accept(tcp).await;
        far.text().await;
        far.send(HUB_HELLO).await;
        let mut topics = [grant(&mut far).await, grant(&mut far).await];
        topics.sort();
        assert_eq!(topics, ["kept:", "new:"]);
        assert_eq!(side.app.confirmed(3).await, Ok(true));
        assert_eq!(side.gap().await.topics, [Box::<str>::from("kept:")]);
    })
    .await;
}

#[tokio::test]
async fn without_topics_and_without_events_there_is_no_gap() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let far = hub.accept_native().await;
        side.app.open(1).await;
        reset(far);
        let mut far = hub.accept_native().await;
        side.app.open(2).await;
        // The time before the first answer to a topic is no gap either.
        side.spoke.listen("a:");
        far.text().await;
        reset(far);
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        far.send(&event("a", "", "1")).await;
        side.app.payloads_of(1).await;
        assert_eq!(side.gaps(), []);
    })
    .await;
}

#[tokio::test]
async fn events_that_the_hub_may_not_have_received_make_a_gap_outwards() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        side.publish("e", "", "1");
        assert_eq!(far.text().await, event("e", "", "1"));
        reset(far);
        let _far = hub.accept_native().await;
        let gap = side.gap().await;
        assert_eq!((gap.direction, gap.topics), (Direction::Out, vec![]));
    })
    .await;
}

#[tokio::test]
async fn events_that_an_answered_ping_proves_received_make_no_gap() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.limits.heartbeat = Duration::from_millis(400);
        let side = Side::dial(config);
        let mut far = hub.accept_native().await;
        side.publish("e", "", "1");
        while far.message().await != Message::text(event("e", "", "1")) {}
        // The heartbeat asks; tungstenite answers with the next read or write.
        while !matches!(far.message().await, Message::Ping(_)) {}
        far.send(&event("__ping", "", r#"{"t":1}"#)).await;
        while far.message().await != Message::text(event("__pong", "", r#"{"t":1}"#)) {}
        reset(far);
        let _far = hub.accept_native().await;
        side.app.open(2).await;
        assert_eq!(side.gaps(), []);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_topics_are_subscribed_again_once_each() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        for number in 0..1000 {
            side.spoke.listen(&format!("t:{number}"));
        }
        let wishes = async |far: &mut Bare<TcpStream>| {
            let mut topics = Vec::new();
            let mut ns = Vec::new();
            for _ in 0..1000 {
                let (topic, n) = wish(&far.text().await);
                topics.push(topic);
                ns.push(n);
            }
            assert!(ns.is_sorted_by(|a, b| a < b), "n counts up");
            topics.sort();
            topics.dedup();
            assert_eq!(topics.len(), 1000);
        };
        let mut far = hub.accept_native().await;
        wishes(&mut far).await;
        reset(far);
        let mut far = hub.accept_native().await;
        side.publish("end", "", "0");
        wishes(&mut far).await;
        assert_eq!(far.text().await, event("end", "", "0"));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_delivered_twice_and_order_holds_across_links() {
    const EVENTS: usize = 3000;
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("up:").await;
            let side = Side::of(&net, impatient());
            side.app.open(1).await;
            let mut cuts = 0;
            for number in 0..EVENTS {
                side.publish("up", "", &number.to_string());
                if number % 500 == 250 {
                    cuts += 1;
                    let (key, _) = net.app.connection(cuts).await;
                    net.hub.disconnect(key, CloseReason::new(CloseCode::RESTART, ""));
                    side.app.reconnecting(cuts).await;
                }
            }
            side.publish("up", "", "999999");
            net.app
                .until("the last event", |log| {
                    log.iter()
                        .any(|heard| matches!(heard, Heard::Event(event) if event.payload == "999999"))
                        .then_some(())
                })
                .await;
            let heard: Vec<u32> = net.app.payloads().iter().map(|payload| payload.parse().expect("a number")).collect();
            assert!(heard.is_sorted_by(|a, b| a < b), "{via:?}");
        }
    })
    .await;
}

// ---- While there is no link ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_is_published_while_down_is_sent_in_order_behind_the_topics() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        reset(far);
        side.app.reconnecting(1).await;
        let tcp = hub.tcp().await;
        for number in 0..500 {
            side.publish("e", "", &number.to_string());
        }
        let mut far = Bare::accept(tcp).await;
        assert_eq!(far.text().await, HELLO);
        assert_eq!(wish(&far.text().await).0, "a:");
        for number in 0..500 {
            assert_eq!(far.text().await, event("e", "", &number.to_string()));
        }
        assert_eq!(side.spoke.stats().dropped, 0);
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_a_link_is_bounded_and_what_is_refused_is_told() {
    within(async {
        let hub = ByHand::listen().await;
        let cost = event("e", "", "0").len() + Limits::EVENT_OVERHEAD_BYTES;
        let config = SpokeConfig { max_buffered: 5 * cost, ..hub.config() };
        let side = Side::dial(config);
        let tcp = hub.tcp().await;
        let publish = |number: usize| side.spoke.publish_once("e", "", &number.to_string());
        let fates: Vec<Published> = (0..8).map(publish).collect();
        assert_eq!(fates[..5], [Published::Accepted; 5], "at the bound");
        assert_eq!(fates[5..], [Published::Full; 3], "one over");
        assert_eq!(side.spoke.buffered(), 5 * cost);
        let (message, dropped) = side.app.error(ErrorKind::BufferFull).await;
        assert_eq!(dropped, 3, "{message}");
        assert_eq!(side.spoke.stats().dropped, 3);
        let mut far = Bare::accept(tcp).await;
        far.text().await;
        far.send(HUB_HELLO).await;
        for number in 0..5 {
            assert_eq!(far.text().await, event("e", "", &number.to_string()));
        }
        side.spoke.flush(1);
        side.app.flushed(1).await;
        assert_eq!(side.spoke.buffered(), 0);
        side.app.open(1).await;
        assert_eq!((0..8).map(publish).collect::<Vec<_>>(), [Published::Accepted; 8], "with a link");
    })
    .await;
}

#[tokio::test]
async fn what_waits_too_long_for_a_link_is_dropped_and_told() {
    within(async {
        let hub = ByHand::listen().await;
        let config = SpokeConfig { queue_max_age: Duration::from_millis(30), ..hub.config() };
        let side = Side::dial(config);
        let tcp = hub.tcp().await;
        side.publish("e", "", "1");
        side.publish("e", "", "2");
        let (message, dropped) = side.app.error(ErrorKind::BufferFull).await;
        assert!(message.contains("queueMaxAgeMs"), "{message}");
        assert_eq!(dropped, 2);
        assert_eq!((side.spoke.stats().dropped, side.spoke.buffered()), (2, 0));
        let mut far = Bare::accept(tcp).await;
        far.text().await;
        far.send(HUB_HELLO).await;
        side.app.open(1).await;
        side.publish("e", "", "3");
        assert_eq!(far.text().await, event("e", "", "3"));
    })
    .await;
}

/// A spoke with a link to a hub that has stopped reading, filled to its bound of 2 MiB; how many events it took, and their size.
async fn stuck(hub: &ByHand) -> (Side, Bare<TcpStream>, u64, usize) {
    let config = SpokeConfig { max_pending: 2 << 20, ..hub.config() };
    let side = Side::dial(config);
    let far = hub.accept_native().await;
    side.app.open(1).await;
    let payload = format!("\"{}\"", "x".repeat(10_000));
    let mut accepted = 0;
    // The kernel takes some of it; then the queue fills.
    while side.spoke.publish_once("e", "", &payload) == Published::Accepted {
        accepted += 1;
        tokio::task::yield_now().await;
    }
    (side, far, accepted, event("e", "", &payload).len())
}

#[tokio::test]
async fn a_hub_that_stops_reading_bounds_what_a_spoke_takes() {
    within(async {
        let hub = ByHand::listen().await;
        let (side, mut far, accepted, len) = stuck(&hub).await;
        assert!(side.spoke.buffered() <= 2 << 20, "{}", side.spoke.buffered());
        side.spoke.drained(1);
        for _ in 0..accepted {
            assert_eq!(far.text().await.len(), len);
        }
        side.app.error(ErrorKind::BufferFull).await;
        side.app.drained(1).await;
        let stats = side.spoke.stats();
        assert_eq!((stats.sent, stats.dropped), (accepted, 1));
        assert_eq!(stats.connects, 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_told_although_the_hub_does_not_read() {
    within(async {
        let hub = ByHand::listen().await;
        let (side, _far, ..) = stuck(&hub).await;
        side.app.error(ErrorKind::BufferFull).await;
        assert!(!side.story().contains(&"reconnecting".to_owned()), "told while it is so");
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_asks_for_answers_and_does_not_read_them_is_not_read_any_more() {
    const OFFERED: usize = 256 << 20;
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        let pings: Vec<u8> = [0x89, 0x7d].into_iter().chain([0; 125]).cycle().take(127 * 1000).collect();
        let stream = far.ws.get_mut();
        let mut written = 0;
        // Blocked writes are the fact that is waited for: nobody takes more.
        while let Ok(result) =
            tokio::time::timeout(Duration::from_millis(500), stream.write(&pings[written % 127..])).await
        {
            written += result.expect("the link lives");
            assert!(written < OFFERED, "everything was read, and the answers kept");
        }
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_does_not_read_delays_a_close_no_longer_than_asked() {
    within(async {
        for timeout in [Duration::ZERO, Duration::from_millis(30)] {
            let hub = ByHand::listen().await;
            let (side, _far, ..) = stuck(&hub).await;
            let began = Instant::now();
            side.spoke.close(normal_close(), timeout);
            assert_eq!(side.app.closed().await, (1000, String::new(), None));
            assert!(began.elapsed() < Duration::from_secs(1), "{:?} instead of {timeout:?}", began.elapsed());
            assert!(!side.story().contains(&"reconnecting".to_owned()), "closed, not given up by heartbeat");
        }
    })
    .await;
}

// ---- What the end of a link means ----------------------------------------------------------------------------------------------------

/// Admits a spoke that listens to `a:`, then closes its link.
async fn admit_and_close(hub: &ByHand, code: u16, reason: &str) {
    let mut far = hub.accept_native().await;
    grant(&mut far).await;
    // The spoke's hello, topic and ping are read by now; what it answers to this is its last word.
    far.close(code, reason).await;
    far.until_end().await;
}

#[tokio::test]
async fn close_1000_and_4403_are_final() {
    within(async {
        for (code, kind) in [(1000, None), (4403, Some(ErrorKind::Forbidden))] {
            let hub = ByHand::listen().await;
            let side = Side::dial(hub.config());
            side.spoke.listen("a:");
            admit_and_close(&hub, code, "enough").await;
            assert_eq!(side.app.closed().await, (code, "enough".into(), kind));
            let tried_again = side.story().iter().any(|word| word == "reconnecting");
            assert!(!tried_again);
            assert_eq!(side.spoke.publish_once("a", "", "1"), Published::Closed);
        }
    })
    .await;
}

#[tokio::test]
async fn other_codes_are_tried_again() {
    within(async {
        for code in [1001, 1008, 1011, 1012, 1013, 4408, 4000] {
            let hub = ByHand::listen().await;
            let side = Side::dial(hub.config());
            side.spoke.listen("a:");
            admit_and_close(&hub, code, "").await;
            side.app.reconnecting(1).await;
            let mut far = hub.accept_native().await;
            grant(&mut far).await;
            let expected = if code == 1013 { GapCause::SlowConsumer } else { GapCause::ConnectionLost };
            assert_eq!(side.gap().await.cause, expected, "code {code}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_empty_close_frame_is_answered_and_tried_again() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        far.ws.close(None).await.expect("the spoke reads");
        assert_eq!(far.until_end().await.1, Some((1005, String::new())));
        side.app.reconnecting(1).await;
        hub.accept_native().await;
        assert_eq!(side.app.open(2).await, (true, true));
    })
    .await;
}

#[tokio::test]
async fn three_protocol_errors_in_a_row_are_final_and_others_between_them_are_not() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        for code in [1002, 1007, 1012, 1002, 1009, 1002] {
            admit_and_close(&hub, code, "").await;
        }
        let (code, _, kind) = side.app.closed().await;
        assert_eq!((code, kind), (1002, Some(ErrorKind::Protocol)));
        let story = side.story();
        assert_eq!(story.iter().filter(|word| *word == "reconnecting").count(), 5, "{story:?}");
    })
    .await;
}

#[tokio::test]
async fn not_identified_is_tried_again_once() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        for code in [4401, 1001, 4401, 4401] {
            admit_and_close(&hub, code, "").await;
        }
        let (code, _, kind) = side.app.closed().await;
        assert_eq!((code, kind), (4401, Some(ErrorKind::NotIdentified)));
    })
    .await;
}

#[tokio::test]
async fn a_hub_may_say_how_long_to_stay_away() {
    within(async {
        for (reason, least) in [
            ("retryAfterMs=300", 300),
            ("restarting; retryAfterMs=250, sorry", 250),
            ("retryAfterMs=", 0),
            ("retryAfterMs=-5", 0),
        ] {
            let hub = ByHand::listen().await;
            let side = Side::dial(hub.config());
            side.spoke.listen("a:");
            admit_and_close(&hub, 1012, reason).await;
            let began = Instant::now();
            let (_, delay_ms, _, _) = side.app.reconnecting(1).await;
            assert!((least..least + 100).contains(&delay_ms), "{reason}: {delay_ms} ms");
            let _far = hub.accept().await;
            assert!(began.elapsed() >= Duration::from_millis(least), "{reason}");
        }
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        admit_and_close(&hub, 1012, "retryAfterMs=99999999999").await;
        let (_, delay_ms, _, _) = side.app.reconnecting(1).await;
        assert!((60_000..61_000).contains(&delay_ms), "at most a minute, not {delay_ms} ms");
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_breaks_the_rules_is_told_and_tried_again() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.limits.max_message_bytes = 200;
        config.limits.max_malformed_per_minute = 2;
        let side = Side::dial(config);
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        far.send(&event("a", "", &format!("\"{}\"", "x".repeat(200)))).await;
        assert_eq!(far.until_end().await.1.map(|(code, _)| code), Some(1009));
        let mut far = hub.accept_native().await;
        side.app.open(2).await;
        for _ in 0..3 {
            far.send("nonsense").await;
        }
        assert_eq!(far.until_end().await.1.map(|(code, _)| code), Some(1008));
        assert_eq!(side.spoke.stats().malformed, 3);
        side.app.error(ErrorKind::Malformed).await;
        let far = hub.accept_native().await;
        side.app.open(3).await;
        let mut tcp = far.ws.into_inner();
        tcp.write_all(&masked(0x81, b"{}")).await.expect("the spoke reads");
        let close = loop {
            match read_frame_masked(&mut tcp).await {
                Some((0x88, payload)) => break payload,
                Some(_) => {}
                None => unreachable!("a close frame comes first"),
            }
        };
        assert_eq!(close[..2], u16::to_be_bytes(1002), "a server that masks");
    })
    .await;
}

/// Reads a frame of a client and takes its mask off.
async fn read_frame_masked(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    use tokio::io::AsyncReadExt;
    let first = stream.read_u8().await.ok()?;
    let second = stream.read_u8().await.ok()?;
    assert!(second & 0x80 != 0, "a client masks");
    let len = match second & 0x7f {
        126 => u64::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()?,
        len => u64::from(len),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await.ok()?;
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload).await.ok()?;
    let bare = payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]);
    Some((first, bare.collect()))
}

#[tokio::test]
async fn a_hub_that_falls_silent_is_left_after_two_and_a_half_heartbeats() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.limits.heartbeat = Duration::from_millis(40);
        let side = Side::dial(config);
        let _deaf_and_mute = hub.accept_native().await;
        let (_, _, kind, _) = side.app.reconnecting(1).await;
        assert_eq!(kind, ErrorKind::TimedOut);
    })
    .await;
}

#[tokio::test]
async fn without_reconnect_the_first_loss_is_the_end() {
    within(async {
        let hub = ByHand::listen().await;
        let config = || SpokeConfig { reconnect: None, ..hub.config() };
        let side = Side::dial(config());
        let far = hub.accept_native().await;
        side.app.open(1).await;
        reset(far);
        let (code, _, kind) = side.app.closed().await;
        assert_eq!((code, kind), (1006, Some(ErrorKind::ConnectionLost)));
        let side = Side::dial(config());
        drop(hub.tcp().await);
        assert_eq!(side.app.closed().await.2, Some(ErrorKind::Handshake));
    })
    .await;
}

fn not_at_first(config: SpokeConfig) -> SpokeConfig {
    SpokeConfig { reconnect: config.reconnect.map(|policy| Reconnect { initial: false, ..policy }), ..config }
}

#[tokio::test]
async fn the_first_attempt_may_be_made_to_count() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(not_at_first(hub.config()));
        drop(hub.tcp().await);
        assert_eq!(side.app.closed().await.2, Some(ErrorKind::Handshake));
        // Once it was open, it comes back.
        let side = Side::dial(not_at_first(hub.config()));
        let far = hub.accept_native().await;
        side.app.open(1).await;
        reset(far);
        drop(hub.tcp().await);
        hub.accept_native().await;
        assert_eq!(side.app.open(2).await, (true, true));
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_is_not_there_yet_is_waited_for() {
    within(async {
        let hub = ByHand::listen().await;
        let address = hub.listener.local_addr().expect("bound");
        let side = Side::dial(hub.config());
        drop(hub);
        let (attempt, _, kind, _) = side.app.reconnecting(3).await;
        assert_eq!((attempt, kind), (3, ErrorKind::Connect));
        let listener = TcpListener::bind(address).await.expect("the port is free again");
        let hub = ByHand { listener };
        hub.accept_native().await;
        assert_eq!(side.app.open(1).await, (false, true));
        assert_eq!(side.gaps(), [], "the time before the first open is no gap");
    })
    .await;
}

// ---- Asking the application ----------------------------------------------------------------------------------------------------------

async fn dial_asked(side: &Side, n: usize) -> (u32, u32) {
    side.app
        .nth_notice(n, "dial", |notice| match notice {
            Notice::Dial { token, attempt } => Some((*token, *attempt)),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn the_application_is_asked_for_the_destination_of_each_attempt() {
    within(async {
        let hub = ByHand::listen().await;
        let real = hub.config().destination;
        let mut config = hub.config();
        config.destination = Destination::default();
        config.asks = true;
        let side = Side::dial(config);
        let (first, attempt) = dial_asked(&side, 1).await;
        assert_eq!(attempt, 1);
        side.spoke.decline(first, "no token today".into());
        let (_, _, _, message) = side.app.reconnecting(1).await;
        assert!(message.contains("no token today"), "{message}");
        let (second, attempt) = dial_asked(&side, 2).await;
        assert_eq!(attempt, 2);
        // An answer to an older question is no answer.
        side.spoke.decline(first, "late".into());
        let destination =
            Destination { url: format!("{}events?a=b", real.url), headers: vec![("X-Token".into(), "secret".into())] };
        side.spoke.provide(second, destination);
        let mut tcp = hub.tcp().await;
        let head = read_head(&mut tcp).await;
        assert!(head.starts_with("GET /events?a=b HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("\r\nx-token: secret\r\n"), "{head}");
        drop(tcp);
        let (third, attempt) = dial_asked(&side, 3).await;
        assert_eq!(attempt, 3);
        side.spoke.provide(third, real);
        hub.accept_native().await;
        side.app.open(1).await;
    })
    .await;
}

#[tokio::test]
async fn close_while_the_application_is_asked_ends_at_once() {
    within(async {
        let hub = ByHand::listen().await;
        let config = SpokeConfig { asks: true, ..hub.config() };
        let side = Side::dial(config);
        dial_asked(&side, 1).await;
        side.spoke.close(normal_close(), FOREVER);
        assert_eq!(side.app.closed().await, (1000, String::new(), None));
    })
    .await;
}

// ---- Handshakes ----------------------------------------------------------------------------------------------------------------------

/// Answers the next handshake with a status.
async fn answer(hub: &ByHand, status: &str) {
    let mut tcp = hub.tcp().await;
    read_head(&mut tcp).await;
    let answer = format!("HTTP/1.1 {status}\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
    tcp.write_all(answer.as_bytes()).await.expect("the spoke reads");
}

#[tokio::test]
async fn http_refusals_that_trying_again_cannot_change_are_final() {
    within(async {
        for (status, kind) in [
            ("400 Bad Request", ErrorKind::Handshake),
            ("403 Forbidden", ErrorKind::Forbidden),
            ("404 Not Found", ErrorKind::Handshake),
        ] {
            let hub = ByHand::listen().await;
            let side = Side::dial(hub.config());
            answer(&hub, status).await;
            let (_, reason, told) = side.app.closed().await;
            assert_eq!(told, Some(kind));
            assert!(reason.contains(&status[..3]), "{reason}");
            assert!(!side.story().contains(&"reconnecting".to_owned()));
        }
    })
    .await;
}

#[tokio::test]
async fn other_refusals_are_tried_again_and_redirects_are_not_followed() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let statuses =
            ["503 Service Unavailable", "429 Too Many Requests", "302 Found", "200 OK", "101 Switching Protocols"];
        for (index, status) in statuses.iter().enumerate() {
            answer(&hub, status).await;
            let (_, _, kind, message) = side.app.reconnecting(index + 1).await;
            assert_eq!(kind, ErrorKind::Handshake, "{status}: {message}");
        }
        hub.accept_native().await;
        side.app.open(1).await;
    })
    .await;
}

#[tokio::test]
async fn a_wrong_path_of_our_hub_is_final() {
    within(async {
        let listen = ListenConfig { path: Some("/events".into()), ..loopback() };
        let net = Net::start_at(HubConfig::default(), Via::WebSocket, listen).await;
        let mut config = impatient();
        config.destination.url = format!("ws://{}/other", net.address());
        assert_eq!(Side::dial(config).app.closed().await.2, Some(ErrorKind::Handshake));
        let side = Side::of(&net, impatient());
        assert_eq!(side.app.open(1).await, (false, true));
    })
    .await;
}

#[tokio::test]
async fn an_address_that_cannot_be_is_final() {
    within(async {
        for url in ["", "http://127.0.0.1/", "ws://", "not a url", "127.0.0.1:1", "ws://[::1"] {
            let mut config = impatient();
            config.destination.url = url.into();
            let kind = Side::dial(config).app.closed().await.2;
            assert_eq!(kind, Some(ErrorKind::InvalidOption), "{url:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_given_up() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.limits.handshake = Duration::from_millis(50);
        let side = Side::dial(config);
        let _never_answered = hub.tcp().await;
        let (_, _, kind, _) = side.app.reconnecting(1).await;
        assert_eq!(kind, ErrorKind::TimedOut);
    })
    .await;
}

// ---- Closing -------------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn close_while_connecting_ends_at_once_if_nothing_waits() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let _never_answered = hub.tcp().await;
        side.spoke.close(normal_close(), FOREVER);
        assert_eq!(side.app.closed().await, (1000, String::new(), None));
    })
    .await;
}

#[tokio::test]
async fn close_while_connecting_drops_what_waits_when_its_time_is_over() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let _never_answered = hub.tcp().await;
        side.publish("e", "", "1");
        side.publish("e", "", "2");
        side.spoke.flush(1);
        side.spoke.drained(2);
        side.spoke.close(normal_close(), Duration::from_millis(20));
        assert_eq!(side.app.closed().await, (1000, String::new(), None));
        let (_, dropped) = side.app.error(ErrorKind::Closed).await;
        assert_eq!((dropped, side.spoke.stats().dropped), (2, 2));
        assert_eq!(side.spoke.buffered(), 0);
        side.app.flushed(1).await;
        side.app.drained(2).await;
        assert_eq!(side.story().last().map(String::as_str), Some("closed 1000"));
    })
    .await;
}

#[tokio::test]
async fn close_between_attempts_ends_at_once() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.reconnect = Some(Reconnect { min_delay: FOREVER, max_delay: FOREVER, ..Reconnect::default() });
        let side = Side::dial(config);
        let far = hub.accept_native().await;
        side.app.open(1).await;
        reset(far);
        side.app.reconnecting(1).await;
        side.spoke.close(normal_close(), FOREVER);
        assert_eq!(side.app.closed().await, (1000, String::new(), None));
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_does_not_answer_a_close_delays_it_no_longer_than_asked() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let _deaf = hub.accept_native().await;
        side.app.open(1).await;
        side.spoke.close(CloseReason::new(CloseCode(4000), "so long"), Duration::from_millis(30));
        assert_eq!(side.app.closed().await, (4000, "so long".into(), None));
    })
    .await;
}

#[tokio::test]
async fn the_hub_reads_the_code_and_reason_of_a_close() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        side.publish("e", "", "1");
        side.spoke.close(CloseReason::new(CloseCode(4000), "so long"), FOREVER);
        let (texts, close) = far.until_end().await;
        assert_eq!(texts, [event("e", "", "1")]);
        assert_eq!(close, Some((4000, "so long".into())));
        assert_eq!(side.app.closed().await, (4000, "so long".into(), None));
    })
    .await;
}

// ---- An application that falls behind ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_application_that_falls_behind_stops_the_reading_and_loses_nothing() {
    const EVENTS: usize = 4000;
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        let mut far = hub.accept_native().await;
        grant(&mut far).await;
        side.spoke.confirm("a:", 1);
        side.app.confirmed(1).await.expect("granted");
        side.app.set_full(true);
        let filler = "x".repeat(4000);
        let sending = tokio::spawn(async move {
            for number in 0..EVENTS {
                far.send(&event("a", "", &format!("\"{number} {filler}\""))).await;
            }
            far
        });
        // What the spoke sends goes on meanwhile.
        for number in 0..100 {
            side.publish("e", "", &number.to_string());
            side.spoke.flush(number);
            side.app.flushed(number).await;
        }
        assert!(side.app.payloads().len() < EVENTS / 2);
        assert!(!sending.is_finished());
        side.app.set_full(false);
        let heard = side.app.payloads_of(EVENTS).await;
        for (number, payload) in heard.iter().enumerate() {
            assert!(payload.starts_with(&format!("\"{number} ")), "{payload:.40} instead of {number}");
        }
        let mut far = sending.await.expect("no panic");
        for number in 0..100 {
            assert_eq!(far.text().await, event("e", "", &number.to_string()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_spoke_whose_application_falls_behind_still_pings_its_hub() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.limits.heartbeat = Duration::from_millis(100);
        let side = Side::dial(config);
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        side.app.set_full(true);
        for _ in 0..6 {
            while !matches!(far.message().await, Message::Ping(_)) {}
        }
        side.app.set_full(false);
        assert!(!side.story().contains(&"reconnecting".to_owned()), "its dead-peer timer is suspended");
    })
    .await;
}

#[tokio::test]
async fn a_message_above_the_limit_is_not_taken() {
    within(async {
        let mut config = impatient();
        config.limits.max_message_bytes = event("t", "1", "12").len();
        let net = Net::relay(Via::Memory).await;
        net.listen("t:1").await;
        let side = Side::of(&net, config);
        assert_eq!(side.spoke.publish_once("t", "1", "123"), Published::TooLarge);
        assert_eq!(side.spoke.publish_once("t", "1", "12"), Published::Accepted);
        assert_eq!(net.app.payloads_of(1).await, ["12"]);
    })
    .await;
}
