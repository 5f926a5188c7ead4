//! The link to Redis over real sockets, with a server of our own that answers as it is told: what a well-behaved one never does.

use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::delivery::{Delivery, Direction, Notice};
use alkpubsub_engine::link::Destination;
use alkpubsub_engine::model::{ErrorKind, Limits, Prefix, Published};
use alkpubsub_engine::spoke::{Spoke, SpokeConfig};
use alkpubsub_engine::transport::redis::{RedisConfig, RedisConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

#[path = "support/redis.rs"]
mod shared;

use shared::{Heard, PATIENCE, at_redis, eventually};

/// One connection of a client to the server that the test is.
struct Conn {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Conn {
    /// Waits until the client has said so much, and forgets everything up to there; returns it.
    async fn hears(&mut self, text: &str) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let said = String::from_utf8_lossy(&self.bytes).into_owned();
            if let Some(at) = said.find(text) {
                self.bytes.drain(..at + text.len());
                return said[..at + text.len()].into();
            }
            let mut buffer = [0; 65_536];
            let read = tokio::time::timeout_at(deadline, self.stream.read(&mut buffer)).await;
            let count = read.unwrap_or_else(|_| unreachable!("never heard {text:?}, but {said:?}")).expect("a read");
            assert!(count > 0, "the client left before it said {text:?}, but {said:?}");
            self.bytes.extend_from_slice(&buffer[..count]);
        }
    }

    async fn says(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.expect("a write");
    }
}

struct Server {
    listener: TcpListener,
    url: String,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        Self { listener, url }
    }

    /// A client's two connections, greeted: the publishing one, and, known by its SUBSCRIBE, the other.
    async fn pair(&self) -> (Conn, Conn) {
        let mut pair = Vec::new();
        for _ in 0..2 {
            let (stream, _) = self.listener.accept().await.expect("a client");
            let mut conn = Conn { stream, bytes: Vec::new() };
            conn.hears("PING\r\n").await;
            conn.says("+PONG\r\n").await;
            pair.push(conn);
        }
        let (second, first) = (pair.pop().expect("two"), pair.pop().expect("two"));
        let mut peeked = [0; 1];
        tokio::select! {
            _ = first.stream.peek(&mut peeked) => (second, first),
            _ = async { second.stream.peek(&mut [0; 1]).await } => (first, second),
        }
    }
}

fn spoke(server: &Server, heard: &Arc<Heard>, redis: RedisConfig) -> Spoke {
    let destination = Destination { url: server.url.clone(), headers: Vec::new() };
    let config = SpokeConfig { destination, ..at_redis(&redis) };
    let connector = Arc::new(RedisConnector::new(redis));
    Spoke::start(config, connector, Arc::clone(heard) as Arc<dyn Delivery>, &Handle::current())
}

fn subscribed(channel: &str) -> String {
    format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len())
}

fn message(channel: &str, envelope: &str) -> String {
    format!("*3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n{envelope}\r\n", channel.len(), envelope.len())
}

fn envelope(payload: usize) -> String {
    format!(r#"{{"type":"a","id":"","payload":{payload}}}"#)
}

/// An open spoke that listens to `a:`.
async fn open(redis: RedisConfig) -> (Server, Arc<Heard>, Spoke, Conn, Conn) {
    let server = Server::start().await;
    let heard = Arc::new(Heard::default());
    let spoke = spoke(&server, &heard, redis);
    spoke.listen("a:");
    spoke.connect();
    let (publishing, mut subscribing) = server.pair().await;
    subscribing.hears("SUBSCRIBE\r\n$2\r\na:\r\n").await;
    assert!(!heard.has(|notice| matches!(notice, Notice::Open { .. })), "not before the subscription is active");
    subscribing.says(subscribed("a:")).await;
    eventually("open", || heard.has(|notice| matches!(notice, Notice::Open { .. }))).await;
    (server, heard, spoke, publishing, subscribing)
}

fn publish(spoke: &Spoke, payload: usize) {
    assert_eq!(spoke.publish(&Prefix::new("a", ""), &payload.to_string()), Published::Accepted);
}

#[tokio::test]
async fn each_error_of_a_publication_names_its_topic_and_is_counted() {
    let (_server, heard, spoke, mut publishing, _subscribing) = open(RedisConfig::default()).await;
    for (topic, error, kind) in [
        ("a", "READONLY You can't write against a read only replica.", ErrorKind::Refused),
        ("b", "OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Limit),
        ("c", "NOPERM no permission", ErrorKind::Forbidden),
    ] {
        spoke.publish(&Prefix::new(topic, "x"), "1");
        spoke.publish(&Prefix::new("fine", ""), "1");
        publishing.hears(&format!("{topic}:x")).await;
        publishing.hears("fine:\r\n").await;
        publishing.says(format!("-{error}\r\n:1\r\n")).await;
        eventually("the error", || heard.errors().iter().any(|(_, told)| told.contains(error))).await;
        let (told, message) = heard.errors().pop().expect("one");
        assert!(told == kind && message.contains(&format!("{topic}:x")), "{told:?} {message}");
    }
    assert_eq!(spoke.stats().refused, 3);
}

#[tokio::test]
async fn what_was_published_and_not_answered_makes_the_gap_go_both_ways() {
    let (server, heard, spoke, mut publishing, subscribing) = open(RedisConfig::default()).await;
    publish(&spoke, 1);
    publish(&spoke, 2);
    publishing.hears("\"payload\":2}\r\n").await;
    publishing.says(":1\r\n").await;
    drop((publishing, subscribing));
    let (mut publishing, mut subscribing) = server.pair().await;
    subscribing.hears("a:\r\n").await;
    publish(&spoke, 3);
    subscribing.says(subscribed("a:") + &message("a:", &envelope(7))).await;
    eventually("the event behind the gap", || heard.events() == [("a:".into(), "7".into())]).await;
    let gaps = heard.gaps();
    assert_eq!((gaps.len(), gaps[0].direction), (1, Direction::Both));
    publishing.hears("\"payload\":3}\r\n").await;
    publishing.says(":1\r\n").await;
    drop((publishing, subscribing));
    let (_publishing, mut subscribing) = server.pair().await;
    subscribing.says(subscribed("a:")).await;
    eventually("a second gap", || heard.gaps().len() == 2).await;
    assert_eq!(heard.gaps()[1].direction, Direction::In, "everything was answered");
}

#[tokio::test]
async fn a_flush_is_answered_when_redis_has_answered() {
    let (_server, heard, spoke, mut publishing, _subscribing) = open(RedisConfig::default()).await;
    publish(&spoke, 1);
    spoke.flush(7);
    publish(&spoke, 2);
    publishing.hears("\"payload\":2}\r\n").await;
    let is_flushed = || heard.has(|notice| matches!(notice, Notice::Flushed { token: 7 }));
    assert!(!is_flushed());
    publishing.says(":0\r\n:0\r\n").await;
    eventually("the flush", is_flushed).await;
}

#[tokio::test]
async fn a_redis_that_answers_nothing_is_told_everything_all_the_same() {
    let (_server, _heard, spoke, mut publishing, mut subscribing) = open(RedisConfig::default()).await;
    for round in 0..5 {
        (0..100).for_each(|n| publish(&spoke, round * 100 + n));
        spoke.listen(&format!("b:{round}"));
        publishing.hears(&format!("\"payload\":{}}}\r\n", round * 100 + 99)).await;
        subscribing.hears(&format!("b:{round}\r\n")).await;
    }
    publishing.says(":1\r\n".repeat(500)).await;
    publish(&spoke, 500);
    publishing.hears("\"payload\":500}\r\n").await;
}

#[tokio::test]
async fn nothing_is_read_while_the_application_falls_behind_and_publishing_goes_on() {
    let (_server, heard, spoke, mut publishing, mut subscribing) = open(RedisConfig::default()).await;
    heard.set_full(true);
    publish(&spoke, 0);
    publishing.hears("\"payload\":0}\r\n").await;
    publishing.says(":1\r\n").await;
    // More than all buffers between us hold: the write must not come to its end.
    let flood: String = (0..400_000).map(|n| message("a:", &envelope(n))).collect();
    let total = flood.len();
    let writing = tokio::spawn(async move {
        subscribing.says(flood).await;
        subscribing
    });
    for n in 1..100 {
        publish(&spoke, n);
        publishing.hears(&format!("\"payload\":{n}}}\r\n")).await;
        publishing.says(":1\r\n").await;
    }
    assert!(!writing.is_finished(), "{total} bytes were read although nobody wants them");
    assert!(heard.events().len() < 50_000);
    heard.set_full(false);
    let _subscribing = writing.await.expect("written");
    eventually("all of them", || heard.events().len() == 400_000).await;
    assert!(heard.events().iter().enumerate().all(|(n, (_, payload))| *payload == n.to_string()));
    assert_eq!((heard.gaps().len(), heard.errors().len()), (0, 0));
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_left_and_the_outage_told() {
    for nonsense in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "*1000000\r\n",
        "$-7\r\n",
        "*3\r\n*1\r\n",
        "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        "*3\r\n$7\r\nmessage\r\n$2\r\na:\r\n$9223372036854775807\r\n",
        "*3\r\n$7\r\nmessage\r\n$9223372036854775807\r\n",
    ] {
        let (server, heard, _spoke, _publishing, mut subscribing) = open(RedisConfig::default()).await;
        subscribing.says(nonsense).await;
        let (_publishing, mut subscribing) = server.pair().await;
        subscribing.says(subscribed("a:")).await;
        eventually("the gap", || heard.gaps().len() == 1).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_silent_for_two_and_a_half_heartbeats_is_dead_though_the_other_lives() {
    let limits = Limits { heartbeat: Duration::from_millis(200), ..Limits::default() };
    let (server, heard, spoke, mut publishing, mut subscribing) =
        open(RedisConfig { limits, ..RedisConfig::default() }).await;
    let answering = tokio::spawn(async move {
        let mut n = 0;
        loop {
            publish(&spoke, n);
            publishing.hears(&format!("\"payload\":{n}}}\r\n")).await;
            if publishing.stream.write_all(b":1\r\n").await.is_err() {
                return;
            }
            n += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    subscribing.hears("PING").await;
    let (_publishing, mut fresh) = server.pair().await;
    fresh.says(subscribed("a:")).await;
    eventually("the gap", || heard.gaps().len() == 1).await;
    answering.abort();
}

#[tokio::test]
async fn own_publications_are_passed_over_where_an_origin_is_given_and_those_of_others_are_not() {
    let origin = Some(String::from("me"));
    let (_server, heard, spoke, mut publishing, mut subscribing) =
        open(RedisConfig { origin, ..RedisConfig::default() }).await;
    publish(&spoke, 1);
    let own = r#"{"type":"a","id":"","payload":1,"_o":"me"}"#;
    publishing.hears(own).await;
    let others = r#"{"type":"a","id":"","payload":2,"_o":"you"}"#;
    subscribing.says(message("a:", own) + &message("a:", others)).await;
    eventually("one of two", || heard.events() == [("a:".into(), "2".into())]).await;
}

/// `open` waits for it: without an answer to its SUBSCRIBE a link is not admitted, whatever else comes.
#[tokio::test]
async fn what_is_no_answer_to_a_subscription_makes_no_topic_active() {
    for nonsense in [
        "+OK\r\n",
        ":1\r\n",
        "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        &subscribed("b:"),
        "*3\r\n$11\r\nunsubscribe\r\n$2\r\na:\r\n:0\r\n",
    ] {
        let server = Server::start().await;
        let heard = Arc::new(Heard::default());
        let spoke = spoke(&server, &heard, RedisConfig::default());
        spoke.listen("a:");
        spoke.connect();
        let (_publishing, mut subscribing) = server.pair().await;
        subscribing.says(nonsense).await;
        let (_publishing, mut subscribing) = server.pair().await;
        assert!(!heard.has(|notice| matches!(notice, Notice::Open { .. })), "{nonsense}");
        subscribing.says(subscribed("a:")).await;
        eventually("open", || heard.has(|notice| matches!(notice, Notice::Open { .. }))).await;
    }
}

#[tokio::test]
async fn a_name_may_be_longer_than_a_message() {
    let limits = Limits { max_message_bytes: 64, ..Limits::default() };
    let prefix = "p".repeat(2000);
    let server = Server::start().await;
    let heard = Arc::new(Heard::default());
    let spoke = spoke(&server, &heard, RedisConfig { limits, prefix: prefix.clone(), ..RedisConfig::default() });
    let topic = format!("a:{}", "x".repeat(1022));
    spoke.listen(&topic);
    spoke.connect();
    let (_publishing, mut subscribing) = server.pair().await;
    let channel = format!("{prefix}{topic}");
    subscribing
        .says(subscribed(&channel) + &message(&channel, &envelope(1)) + &message(&channel, &"y".repeat(4000)))
        .await;
    eventually("open", || heard.has(|notice| matches!(notice, Notice::Open { .. }))).await;
    eventually("both", || spoke.stats().malformed == 2).await;
    assert_eq!(spoke.stats().connects, 1);
}

#[tokio::test]
async fn answers_without_an_end_keep_us_from_nothing() {
    let (_server, heard, spoke, mut publishing, mut subscribing) = open(RedisConfig::default()).await;
    publish(&spoke, 0);
    publishing.hears("\"payload\":0}\r\n").await;
    let (mut reads, mut writes) = publishing.stream.into_split();
    let flood = tokio::spawn(async move { while writes.write_all(&b"-ERR go away\r\n".repeat(5000)).await.is_ok() {} });
    let said = tokio::spawn(async move {
        let (mut said, mut buffer) = (String::new(), [0; 4096]);
        while !said.contains("\"payload\":40}") {
            let count = reads.read(&mut buffer).await.expect("a read");
            assert!(count > 0, "the client left");
            said.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        reads
    });
    for n in 1..=40 {
        publish(&spoke, n);
        subscribing.says(message("a:", &envelope(n))).await;
        eventually("the event", || heard.events().len() == n).await;
    }
    let _reads = tokio::time::timeout(PATIENCE, said).await.expect("in time").expect("all was published");
    flood.abort();
}
