//! The link to the shards of a cluster, with nodes of our own that answer as they are told: redirections, and answers that pass by themselves.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use alkpubsub_engine::delivery::{Delivery, Direction, Notice};
use alkpubsub_engine::model::{ErrorKind, Prefix, Published};
use alkpubsub_engine::spoke::Spoke;
use alkpubsub_engine::transport::redis::{RedisConfig, RedisConnector, RedisServers};
use tokio::runtime::Handle;

#[path = "support/redis.rs"]
mod shared;

use shared::{Heard, at_redis, eventually};

/// What a node has been asked and what it answers to the next commands of a name; without an answer of its own it says yes.
#[derive(Default)]
struct State {
    asked: Vec<Vec<String>>,
    answers: HashMap<String, Vec<String>>,
    /// The subscribing connection, once it has subscribed.
    subscriber: Option<TcpStream>,
    streams: Vec<TcpStream>,
}

struct Node {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// The ports of the owners of both halves of the slots.
type Owners = Arc<Mutex<[u16; 2]>>;

impl Node {
    fn start(owners: &Owners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (state, owners) = (Arc::new(Mutex::new(State::default())), Arc::clone(owners));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                shared.lock().expect("sound").streams.push(stream.try_clone().expect("a copy"));
                let (state, owners) = (Arc::clone(&shared), Arc::clone(&owners));
                std::thread::spawn(move || serve(stream, &state, &owners));
            }
        });
        Self { port, state }
    }

    /// The next commands of that name are answered so, one after the other.
    fn answers(&self, name: &str, answers: &[&str]) {
        let answers = answers.iter().rev().map(|answer| (*answer).into()).collect();
        self.state.lock().expect("sound").answers.insert(name.into(), answers);
    }

    /// The arguments of all commands of that name.
    fn asked(&self, name: &str) -> Vec<String> {
        let state = self.state.lock().expect("sound");
        state.asked.iter().filter(|words| words[0] == name).map(|words| words[1..].join(" ")).collect()
    }

    /// Payloads published here, in order.
    fn published(&self) -> Vec<String> {
        let payload = |said: &String| said.split("\"payload\":").nth(1).map(|rest| rest.trim_end_matches('}').into());
        self.asked("SPUBLISH").iter().filter_map(payload).collect()
    }

    fn says(&self, text: &str) {
        let mut state = self.state.lock().expect("sound");
        state.subscriber.as_mut().expect("a subscriber").write_all(text.as_bytes()).expect("written");
    }

    /// Ends all connections.
    fn hangs_up(&self) {
        for stream in self.state.lock().expect("sound").streams.drain(..) {
            let _it_has_gone = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, owners: &Owners) {
    let mut out = stream.try_clone().expect("a copy");
    let mut lines = BufReader::new(stream);
    while let Some(words) = read_command(&mut lines) {
        let mut state = state.lock().expect("sound");
        let name = words[0].clone();
        state.asked.push(words.clone());
        let told = state.answers.get_mut(&name).and_then(Vec::pop);
        let answer = match (told, name.as_str()) {
            (Some(told), _) => told,
            (None, "CLUSTER") => slots(*owners.lock().expect("sound")),
            (None, "SSUBSCRIBE" | "SUNSUBSCRIBE") => confirm(&name, &words[1]),
            (None, "SPUBLISH") => ":1\r\n".into(),
            (None, "PING") if state.subscriber.is_some() => "*2\r\n$4\r\npong\r\n$0\r\n\r\n".into(),
            (None, _) => "+OK\r\n".into(),
        };
        if name == "SSUBSCRIBE" {
            state.subscriber = Some(out.try_clone().expect("a copy"));
        }
        if out.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_command(lines: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut line = String::new();
    lines.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let count: usize = line.trim().strip_prefix('*')?.parse().ok()?;
    let mut words = Vec::new();
    for _ in 0..count {
        line.clear();
        lines.read_line(&mut line).ok()?;
        let len: usize = line.trim().strip_prefix('$')?.parse().ok()?;
        let mut word = vec![0; len + 2];
        lines.read_exact(&mut word).ok()?;
        words.push(String::from_utf8_lossy(&word[..len]).into_owned());
    }
    Some(words)
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn confirm(command: &str, channel: &str) -> String {
    format!("*3\r\n{}{}:1\r\n", bulk(&command.to_lowercase()), bulk(channel))
}

fn slots([low, high]: [u16; 2]) -> String {
    let range = |first: u16, last: u16, port: u16| {
        format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n{}:{port}\r\n{}", bulk("127.0.0.1"), bulk("id"))
    };
    format!("*2\r\n{}{}", range(0, 8191, low), range(8192, 16_383, high))
}

/// `CLUSTER KEYSLOT` of these is 3168 and 15495: the low half and the high one.
const LOW: &str = "c:";
const HIGH: &str = "a:";

struct Cluster {
    low: Node,
    high: Node,
    owners: Owners,
    heard: Arc<Heard>,
    spoke: Spoke,
}

impl Cluster {
    /// Two nodes, and an open spoke that listens to a topic of each.
    async fn open() -> Self {
        let cluster = Self::start();
        cluster.spoke.listen(LOW);
        cluster.spoke.listen(HIGH);
        cluster.spoke.connect();
        let heard = Arc::clone(&cluster.heard);
        eventually("open", || heard.has(|notice| matches!(notice, Notice::Open { .. }))).await;
        cluster
    }

    fn start() -> Self {
        let owners = Owners::default();
        let (low, high) = (Node::start(&owners), Node::start(&owners));
        *owners.lock().expect("sound") = [low.port, high.port];
        let heard = Arc::new(Heard::default());
        let servers = RedisServers::Cluster { urls: vec![format!("redis://127.0.0.1:{}", low.port)], is_sharded: true };
        let redis = RedisConfig { servers, ..RedisConfig::default() };
        let config = at_redis(&redis);
        let delivery = Arc::clone(&heard) as Arc<dyn Delivery>;
        let spoke = Spoke::start(config, Arc::new(RedisConnector::new(redis)), delivery, &Handle::current());
        Self { low, high, owners, heard, spoke }
    }

    fn publish(&self, topic: &str, numbers: std::ops::Range<usize>) {
        let prefix = Prefix::new(topic.trim_end_matches(':'), "");
        for n in numbers {
            assert_eq!(self.spoke.publish(&prefix, &n.to_string()), Published::Accepted);
        }
    }

    async fn flushed(&self) {
        self.spoke.flush(7);
        let heard = Arc::clone(&self.heard);
        eventually("the flush", || heard.has(|notice| matches!(notice, Notice::Flushed { token: 7 }))).await;
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_and_an_event_go_to_the_owner_of_their_slot() {
    let cluster = Cluster::open().await;
    assert_eq!(
        (cluster.low.asked("SSUBSCRIBE"), cluster.high.asked("SSUBSCRIBE")),
        (vec![LOW.into()], vec![HIGH.into()])
    );
    cluster.publish(LOW, 0..3);
    cluster.publish(HIGH, 3..5);
    cluster.flushed().await;
    assert_eq!((cluster.low.published(), cluster.high.published()), (numbers(0..3), numbers(3..5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moved_is_sent_to_its_new_owner_in_order_and_once() {
    let cluster = Cluster::open().await;
    let moved = format!("-MOVED 2400 127.0.0.1:{}\r\n", cluster.high.port);
    let (took, sent_back) = (":1\r\n", moved.as_str());
    let answers: Vec<&str> = [[took; 2].as_slice(), &[sent_back; 998]].concat();
    cluster.low.answers("SPUBLISH", &answers);
    cluster.publish(LOW, 0..1000);
    cluster.flushed().await;
    assert_eq!(cluster.low.published()[..2], numbers(0..2));
    assert_eq!(cluster.high.published(), numbers(2..1000));
    assert_eq!((cluster.heard.errors().len(), cluster.heard.gaps().len(), cluster.spoke.stats().refused), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_asked_for_once_hears_asking_first_and_owns_nothing() {
    let cluster = Cluster::open().await;
    let ask = format!("-ASK 2400 127.0.0.1:{}\r\n", cluster.high.port);
    cluster.low.answers("SPUBLISH", &[&ask, &ask]);
    cluster.publish(LOW, 0..2);
    cluster.flushed().await;
    assert_eq!((cluster.high.asked("ASKING").len(), cluster.high.published()), (2, numbers(0..2)));
    cluster.publish(LOW, 2..4);
    eventually("those that follow", || cluster.low.published().len() == 4).await;
    assert_eq!(cluster.low.published()[2..], numbers(2..4));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_pass_by_themselves_are_asked_again_and_others_are_errors() {
    let cluster = Cluster::open().await;
    cluster.low.answers(
        "SPUBLISH",
        &["-TRYAGAIN later\r\n", "-CLUSTERDOWN The cluster is down\r\n", "-LOADING\r\n", "-NOPERM no\r\n", ":1\r\n"],
    );
    cluster.publish(LOW, 0..2);
    cluster.flushed().await;
    assert_eq!(cluster.low.published().len(), 5, "each answer was to one attempt");
    let errors = cluster.heard.errors();
    assert!(errors.len() == 1 && errors[0].0 == ErrorKind::Forbidden && errors[0].1.contains(LOW), "{errors:?}");
    assert_eq!(cluster.spoke.stats().refused, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_subscribed_where_it_is_sent_to_or_again_when_nobody_could_tell() {
    let cluster = Cluster::start();
    let moved = format!("-MOVED 2400 127.0.0.1:{}\r\n", cluster.high.port);
    cluster.low.answers("SSUBSCRIBE", &["-CLUSTERDOWN Hash slot not served\r\n", &moved]);
    cluster.spoke.listen(LOW);
    cluster.spoke.connect();
    eventually("open", || cluster.heard.has(|notice| matches!(notice, Notice::Open { .. }))).await;
    assert_eq!((cluster.low.asked("SSUBSCRIBE").len(), cluster.high.asked("SSUBSCRIBE")), (2, vec![LOW.into()]));
    assert_eq!(cluster.heard.errors().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_given_up_is_a_gap_of_its_topics_and_what_follows_stands_behind_it() {
    let cluster = Cluster::open().await;
    *cluster.owners.lock().expect("sound") = [cluster.high.port; 2];
    cluster.low.says(&confirm("SUNSUBSCRIBE", LOW));
    eventually("the gap", || cluster.heard.gaps().len() == 1).await;
    let gap = &cluster.heard.gaps()[0];
    assert_eq!((gap.topics.as_slice(), gap.direction), ([Box::from(LOW)].as_slice(), Direction::In));
    assert!(gap.to_ms - gap.from_ms >= 1000, "the new owner may have known a while before");
    let envelope = r#"{"type":"c","id":"","payload":7}"#;
    cluster.high.says(&format!("*3\r\n{}{}{}", bulk("smessage"), bulk(LOW), bulk(envelope)));
    eventually("an event", || cluster.heard.events().len() == 1).await;
    assert_eq!(cluster.heard.count(|notice| matches!(notice, Notice::Open { .. } | Notice::Reconnecting { .. })), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_answer_when_a_node_dies_makes_the_gap_go_both_ways_and_is_not_sent_again() {
    let cluster = Cluster::open().await;
    // Taken, and never answered.
    cluster.low.answers("SPUBLISH", &[""]);
    cluster.publish(LOW, 0..1);
    eventually("it is there", || cluster.low.published().len() == 1).await;
    cluster.low.hangs_up();
    eventually("the gap", || cluster.heard.gaps().len() == 1).await;
    let gap = &cluster.heard.gaps()[0];
    assert_eq!((gap.topics.as_slice(), gap.direction), ([Box::from(LOW)].as_slice(), Direction::Both));
    cluster.publish(LOW, 1..2);
    cluster.flushed().await;
    assert_eq!((cluster.low.published(), cluster.spoke.stats().gaps), (numbers(0..2), 1));
}
