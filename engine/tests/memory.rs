//! The network inside a process: what both ends of a link see of each fault, and what hubs and spokes make of it.

mod support;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{ErrorKind as IoErrorKind, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use alkpubsub_engine::delivery::{Delivery, Direction, Gap, GapCause, Notice};
use alkpubsub_engine::hub::{Hub, HubConfig};
use alkpubsub_engine::link::{
    Accept, Admission, BoxFuture, Connect, ConnectError, Destination, Link, LinkError, Peer, Read, Refusal,
};
use alkpubsub_engine::model::{CloseCode, CloseReason, Error, ErrorKind, Grants, Limits, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::spoke::{Reconnect, Spoke, SpokeConfig};
use alkpubsub_engine::transport::memory::{self, Lag, Listening, MemoryNetwork};
use alkpubsub_engine::wire::frame::Item;
use support::*;
use tokio::runtime::Handle;
use tokio::time::Instant;

const SEED: u64 = 7;
const PIPE_BYTES: usize = 64 << 10;
const SECOND: Duration = Duration::from_secs(1);
/// Longer than any test: who waits for it to pass fails.
const FOREVER: Duration = Duration::from_secs(600);

// ---- Words of the tests --------------------------------------------------------------------------------------------------------------

/// What one end of a link reads.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Close(u16, String),
    Ended,
    Error(IoErrorKind),
}

fn text(text: &str) -> Seen {
    Seen::Text(text.into())
}

/// One end of a link, by hand.
struct End {
    link: Link,
    seen: VecDeque<Seen>,
}

impl End {
    fn new(link: Link) -> Self {
        Self { link, seen: VecDeque::new() }
    }

    fn poll_seen(&mut self, cx: &mut Context<'_>) -> Poll<Seen> {
        let Self { link, seen } = self;
        while seen.is_empty() {
            let read = link.reader.poll_read(cx, &mut |item| match item {
                Item::Text(message) => seen.push_back(text(message)),
                Item::Close(code, reason) => seen.push_back(Seen::Close(code.0, reason.into())),
                other => unreachable!("{other:?}"),
            });
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Read::More)) => {}
                Poll::Ready(Ok(Read::Ended)) => seen.push_back(Seen::Ended),
                Poll::Ready(Err(LinkError::Io(error))) => seen.push_back(Seen::Error(error.kind())),
                Poll::Ready(Err(error)) => unreachable!("{error}"),
            }
        }
        Poll::Ready(seen.pop_front().expect("just looked"))
    }

    async fn next(&mut self) -> Seen {
        poll_fn(|cx| self.poll_seen(cx)).await
    }

    /// Nothing can be read now.
    fn is_quiet(&mut self) -> bool {
        match self.poll_seen(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => true,
            Poll::Ready(seen) => {
                self.seen.push_front(seen);
                false
            }
        }
    }

    /// Writes what is taken without waiting: how many bytes, or the error.
    fn try_write(&mut self, bytes: &[u8]) -> Poll<Result<usize, IoErrorKind>> {
        let mut cx = Context::from_waker(Waker::noop());
        self.link.writer.poll_write(&mut cx, &[IoSlice::new(bytes)]).map_err(|error| error.kind())
    }

    /// Writes one message, whole and at once.
    fn say(&mut self, message: &str) {
        let mut frame = Vec::new();
        self.link.framing.write_message(&mut frame, message, [0; 4]);
        assert_eq!(self.try_write(&frame), Poll::Ready(Ok(frame.len())), "there is room for {message:.20}");
    }

    async fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.link.writer.poll_write(cx, &[IoSlice::new(bytes)])).await;
            bytes = &bytes[written.expect("the other end is there")..];
        }
    }

    fn close(&mut self, code: u16, reason: &str) {
        let closed =
            self.link.writer.poll_close(&mut Context::from_waker(Waker::noop()), CloseCode(code), reason).is_ready();
        assert!(closed, "a pipe can be closed at once");
    }
}

/// A listening node without a hub: it asks nobody, and links come out as they were made.
struct Door {
    links: Arc<Mutex<VecDeque<Link>>>,
    is_open: Arc<AtomicBool>,
    _listening: Listening,
}

struct DoorFrame {
    links: Arc<Mutex<VecDeque<Link>>>,
    is_open: Arc<AtomicBool>,
}

impl Accept for DoorFrame {
    fn room(&self) -> BoxFuture<()> {
        Box::pin(async {})
    }

    fn has_room(&self) -> bool {
        true
    }

    fn authorize(&self, _peer: Peer) -> BoxFuture<Result<Admission, Refusal>> {
        Box::pin(async { Ok(Admission::free(Grants::everything(None))) })
    }

    fn take(&self, link: Link, _admission: Admission) -> bool {
        self.links.lock().expect("no test panics with it").push_back(link);
        self.is_open.load(Ordering::SeqCst)
    }

    fn report(&self, error: Error) {
        unreachable!("{error}");
    }
}

impl Door {
    fn open(network: &MemoryNetwork, name: &str) -> Self {
        let (links, is_open) = (Arc::default(), Arc::new(AtomicBool::new(true)));
        let frame = DoorFrame { links: Arc::clone(&links), is_open: Arc::clone(&is_open) };
        Self { links, is_open, _listening: network.listen(name, Limits::default(), Arc::new(frame)) }
    }

    fn take(&self) -> End {
        End::new(self.links.lock().expect("no test panics with it").pop_front().expect("a link was made"))
    }
}

async fn dial(network: &MemoryNetwork, from: &str, to: &str) -> Result<End, ConnectError> {
    let connector = network.connector(from, to, Limits::default());
    connector.connect(Destination::default()).await.map(End::new)
}

/// Both ends of a link from `a` to `b`.
async fn joined(network: &MemoryNetwork, door: &Door) -> (End, End) {
    let near = dial(network, "a", "b").await.expect("nothing is wrong");
    (near, door.take())
}

async fn refusal(network: &MemoryNetwork, from: &str, to: &str) -> String {
    let ConnectError { error, is_terminal } = dial(network, from, to).await.err().expect("refused");
    assert_eq!((error.kind(), is_terminal), (ErrorKind::Connect, false));
    error.to_string()
}

fn lag(delay_ms: u64, jitter_ms: u64) -> Lag {
    Lag { delay: Duration::from_millis(delay_ms), jitter: Duration::from_millis(jitter_ms) }
}

// ---- Pipes ---------------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn bytes_arrive_whole_and_in_order_whatever_the_pieces() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        // From nothing to several pipes full, in both directions at once.
        let sizes: Vec<usize> = (0..400).map(|n| n * n * 7 % 200_003).collect();
        let messages: Vec<String> = sizes.iter().map(|size| format!("{size} {}", "x".repeat(*size))).collect();
        let exchange = |end: &'static str, mut link: End, expected: Vec<String>| async move {
            let mut frames = Vec::new();
            expected.iter().for_each(|message| link.link.framing.write_message(&mut frames, message, [0; 4]));
            let (mut written, mut heard) = (0, 0);
            poll_fn(|cx| {
                while let Poll::Ready(seen) = link.poll_seen(cx) {
                    assert_eq!(seen, Seen::Text(expected[heard].clone()), "{end}");
                    heard += 1;
                }
                while written < frames.len() {
                    let piece = &frames[written..frames.len().min(written + 10_007)];
                    match link.link.writer.poll_write(cx, &[IoSlice::new(&piece[..1]), IoSlice::new(&piece[1..])]) {
                        Poll::Pending => break,
                        Poll::Ready(result) => written += result.expect("the other end is there"),
                    }
                }
                if written == frames.len() && heard == expected.len() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            link
        };
        near.say("first");
        far.say("first");
        assert_eq!((near.next().await, far.next().await), (text("first"), text("first")));
        tokio::join!(exchange("near", near, messages.clone()), exchange("far", far, messages));
    })
    .await;
}

#[tokio::test]
async fn a_pipe_takes_64_kib_and_no_byte_more_until_it_is_read() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        let message = "x".repeat(2 * PIPE_BYTES);
        let mut frame = Vec::new();
        near.link.framing.write_message(&mut frame, &message, [0; 4]);
        assert_eq!(near.try_write(&frame), Poll::Ready(Ok(PIPE_BYTES)));
        assert_eq!(near.try_write(&frame[PIPE_BYTES..]), Poll::Pending);
        far.say("the other direction is another pipe");
        let (_, seen) = tokio::join!(near.write(&frame[PIPE_BYTES..]), far.next());
        assert_eq!(seen, Seen::Text(message), "a writer that waits is woken by the reader");
    })
    .await;
}

#[tokio::test]
async fn a_close_arrives_behind_the_bytes_and_a_dropped_end_is_no_close() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("last");
        near.close(4001, "bye");
        near.close(4002, "once is enough");
        assert_eq!(near.try_write(b"x"), Poll::Ready(Err(IoErrorKind::BrokenPipe)));
        assert_eq!((far.next().await, far.next().await), (text("last"), Seen::Close(4001, "bye".into())));
        assert_eq!(far.next().await, Seen::Ended);
        far.say("one direction alone is closed");
        assert_eq!(near.next().await, text("one direction alone is closed"));
        let (mut near, far) = joined(&network, &door).await;
        drop(far);
        assert_eq!(near.next().await, Seen::Ended);
        assert_eq!(near.try_write(b"x"), Poll::Ready(Err(IoErrorKind::BrokenPipe)));
    })
    .await;
}

// ---- Nodes ---------------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn links_go_to_who_listens_under_a_name_and_the_last_one_has_it() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let message = refusal(&network, "a", "b").await;
        assert_eq!(message, r#""a" cannot reach "b" in the memory network with seed 7: nobody listens there"#);
        let first = Door::open(&network, "b");
        let second = Door::open(&network, "b");
        let (_near, far) = joined(&network, &second).await;
        assert_eq!(
            (far.link.peer.transport, far.link.peer.url.as_deref(), far.link.peer.remote_address),
            ("memory", Some("/a"), None)
        );
        drop(first);
        joined(&network, &second).await;
        drop(second);
        refusal(&network, "a", "b").await;
        let leaving = Door::open(&network, "b");
        leaving.is_open.store(false, Ordering::SeqCst);
        assert!(refusal(&network, "a", "b").await.ends_with("it takes no more links"));
    })
    .await;
}

#[tokio::test]
async fn a_closed_network_breaks_its_links_and_makes_no_more() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        network.stall("a");
        let waiting = tokio::spawn({
            let network = network.clone();
            async move { dial(&network, "a", "b").await.err().expect("refused") }
        });
        network.close();
        assert!(waiting.await.expect("no panic").is_terminal, "trying again is in vain");
        network.resume("a");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
    })
    .await;
}

// ---- Cut, sever ----------------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_cut_is_an_abnormal_end_at_both_ends_and_lasts_until_it_is_healed() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("arrived");
        // The order of the two names means nothing.
        network.cut("b", "a");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert_eq!(near.try_write(b"x"), Poll::Ready(Err(IoErrorKind::ConnectionReset)));
        assert_eq!(far.next().await, text("arrived"), "what had arrived can be read");
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert!(refusal(&network, "a", "b").await.ends_with("the network is cut between the two"));
        let mut others = dial(&network, "c", "b").await.expect("only one pair was cut");
        others.say("hello");
        assert_eq!(door.take().next().await, text("hello"));
        network.heal("a", "b");
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("again");
        assert_eq!(far.next().await, text("again"));
    })
    .await;
}

#[tokio::test]
async fn a_cut_wakes_who_waits_to_read_or_to_write() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        assert_eq!(near.try_write(&[0; PIPE_BYTES]), Poll::Ready(Ok(PIPE_BYTES)));
        let writing = async { poll_fn(|cx| near.link.writer.poll_write(cx, &[IoSlice::new(b"x")])).await };
        let reading = tokio::spawn(async move {
            // The zeros are frames of length 0.
            let error = poll_fn(|cx| far.link.reader.poll_read(cx, &mut |_| {})).await;
            assert!(matches!(error, Err(LinkError::Frame(_))));
            poll_fn(|cx| far.link.reader.poll_read(cx, &mut |_| {})).await
        });
        let (written, read, ()) = tokio::join!(writing, reading, async {
            tokio::task::yield_now().await;
            network.cut("a", "b");
        });
        assert_eq!(written.expect_err("broken").kind(), IoErrorKind::ConnectionReset);
        assert!(matches!(read.expect("no panic"), Err(LinkError::Io(_))));
    })
    .await;
}

#[tokio::test]
async fn sever_breaks_the_links_there_are_and_no_others() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        network.sever("a", "b");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("at once");
        assert_eq!(far.next().await, text("at once"));
    })
    .await;
}

// ---- Lag -----------------------------------------------------------------------------------------------------------------------------

/// Milliseconds after which each of `count` messages arrived; they leave 1 ms after each other.
async fn arrivals(network: &MemoryNetwork, door: &Door, count: u64) -> Vec<u128> {
    let (mut near, mut far) = joined(network, door).await;
    let began = Instant::now();
    let sending = async {
        for number in 0..count {
            near.say(&number.to_string());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let receiving = async {
        let mut arrivals = Vec::new();
        for number in 0..count {
            assert_eq!(far.next().await, text(&number.to_string()), "order is kept");
            arrivals.push(began.elapsed().as_millis());
        }
        arrivals
    };
    tokio::join!(sending, receiving).1
}

#[tokio::test(start_paused = true)]
async fn with_lag_a_link_takes_a_round_trip_and_each_byte_its_time() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        network.set_lag(lag(100, 0));
        let began = Instant::now();
        let (mut near, mut far) = joined(&network, &door).await;
        assert_eq!(began.elapsed().as_millis(), 200);
        near.say("1");
        assert!(far.is_quiet());
        assert_eq!(far.next().await, text("1"));
        assert_eq!(began.elapsed().as_millis(), 300);
        // What is on its way is not hurried on by less lag, and what follows does not overtake it.
        near.say("2");
        network.set_lag(Lag::default());
        near.say("3");
        near.close(4000, "behind");
        assert!(far.is_quiet());
        assert_eq!((far.next().await, far.next().await), (text("2"), text("3")));
        assert_eq!((far.next().await, far.next().await), (Seen::Close(4000, "behind".into()), Seen::Ended));
        assert_eq!(began.elapsed().as_millis(), 400);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_has_gone_is_heard_of_late_and_never_before_its_last_words() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        network.set_lag(lag(100, 0));
        let (mut near, mut far) = joined(&network, &door).await;
        far.say("last words");
        far.close(1013, "too slow");
        drop(far);
        near.say("nobody reads this");
        tokio::time::sleep(Duration::from_millis(99)).await;
        near.say("nor this");
        assert!(near.is_quiet());
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(near.try_write(b"x"), Poll::Ready(Err(IoErrorKind::BrokenPipe)));
        assert_eq!((near.next().await, near.next().await), (text("last words"), Seen::Close(1013, "too slow".into())));
        let (mut near, mut far) = joined(&network, &door).await;
        far.say("last words");
        network.set_lag(Lag::default());
        drop(far);
        near.say("less lag changes nothing about what is on its way");
        assert_eq!((near.next().await, near.next().await), (text("last words"), Seen::Ended));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn jitter_comes_from_the_seed_and_keeps_the_order() {
    const COUNT: u64 = 50;
    within(async {
        let run = async |seed: u64, has_neighbours: bool| {
            let network = MemoryNetwork::new(seed);
            let door = Door::open(&network, "b");
            network.set_lag(lag(20, 30));
            if has_neighbours {
                let mut other = dial(&network, "c", "b").await.expect("nothing is wrong");
                other.say("what happens elsewhere changes nothing");
                door.take();
            }
            arrivals(&network, &door, COUNT).await
        };
        let first = run(SEED, false).await;
        assert_eq!(first, run(SEED, false).await, "the same seed");
        assert_eq!(first, run(SEED, true).await, "the same seed, with a neighbour");
        assert_ne!(first, run(SEED + 1, false).await, "another seed");
        for (number, arrival) in first.iter().enumerate() {
            let left = number as u128;
            let latest = left + 50 + 1;
            assert!((left + 20..=latest).contains(arrival), "{number} arrived after {arrival} ms: {first:?}");
        }
        assert!(first.windows(2).any(|pair| pair[1] - pair[0] > 1), "some waited: {first:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pair_has_its_own_lag_before_that_of_the_network() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        network.set_lag_between("b", "a", lag(10, 0));
        network.set_lag(lag(500, 0));
        let took = async |from: &str| {
            let began = Instant::now();
            let mut near = dial(&network, from, "b").await.expect("nothing is wrong");
            near.say("x");
            door.take().next().await;
            began.elapsed().as_millis()
        };
        assert_eq!((took("a").await, took("c").await), (30, 1500));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_when_a_link_breaks_is_lost() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        network.set_lag(lag(100, 0));
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("there in time");
        tokio::time::sleep(Duration::from_millis(60)).await;
        near.say("on its way");
        near.close(4000, "as this is");
        tokio::time::sleep(Duration::from_millis(60)).await;
        network.sever("a", "b");
        assert_eq!(far.next().await, text("there in time"));
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        let cut_on_the_way = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            network.cut("a", "b");
        };
        let (refused, ()) = tokio::join!(refusal(&network, "a", "b"), cut_on_the_way);
        assert!(refused.contains("cut"), "{refused}");
    })
    .await;
}

// ---- Stall ---------------------------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_stalled_node_neither_takes_nor_gives_and_loses_nothing() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        for (stalled, is_near) in [("a", true), ("b", false)] {
            let (quiet, loud) = if is_near { (&mut near, &mut far) } else { (&mut far, &mut near) };
            network.stall(stalled);
            network.stall(stalled);
            loud.say("waits");
            assert!(quiet.is_quiet());
            assert_eq!(quiet.try_write(b"x"), Poll::Pending);
            let room = PIPE_BYTES - "waits".len() - 4;
            let mut filler = Vec::new();
            loud.link.framing.write_message(&mut filler, &"x".repeat(room - 4), [0; 4]);
            assert_eq!(loud.try_write(&filler), Poll::Ready(Ok(room)), "up to the bound");
            assert_eq!(loud.try_write(b"x"), Poll::Pending);
            let resume = async {
                tokio::time::sleep(SECOND).await;
                network.resume(stalled);
            };
            let ((), seen) = tokio::join!(resume, quiet.next());
            assert_eq!(seen, text("waits"), "{stalled} is woken");
            quiet.next().await;
            quiet.say("goes on");
            assert_eq!(loud.next().await, text("goes on"));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_node_hears_of_a_cut_when_it_goes_on_and_answers_nobody_before() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        network.stall("b");
        network.sever("a", "b");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert!(far.is_quiet());
        let attempt = tokio::time::timeout(SECOND, dial(&network, "a", "b")).await;
        assert!(attempt.is_err(), "no answer and no refusal");
        let resume = async {
            tokio::time::sleep(SECOND).await;
            network.resume("b");
        };
        let (attempt, ()) = tokio::join!(dial(&network, "a", "b"), resume);
        attempt.expect("made once the node goes on");
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
    })
    .await;
}

// ---- Half-open -----------------------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn on_a_half_open_link_bytes_vanish_and_nothing_ends() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        near.say("arrived");
        network.half_open("b", "a");
        assert_eq!(near.try_write(&[0; 3 * PIPE_BYTES]), Poll::Ready(Ok(3 * PIPE_BYTES)), "taken, and gone");
        far.say("gone as well");
        assert_eq!(far.next().await, text("arrived"));
        far.close(4000, "nobody hears this");
        drop(far);
        assert!(near.is_quiet());
        near.say("and nobody learns that the other end has gone");
        let attempt = tokio::time::timeout(10 * SECOND, dial(&network, "a", "b")).await;
        assert!(attempt.is_err(), "no answer and no refusal");
        let heal = async {
            tokio::time::sleep(SECOND).await;
            network.heal("a", "b");
        };
        let (attempt, ()) = tokio::join!(dial(&network, "a", "b"), heal);
        attempt.expect("made once it is healed");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset), "what had lost bytes cannot go on");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_a_half_open_link() {
    within(async {
        let network = MemoryNetwork::new(SEED);
        let door = Door::open(&network, "b");
        let (mut near, mut far) = joined(&network, &door).await;
        network.half_open("a", "b");
        network.cut("a", "b");
        assert_eq!(near.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert_eq!(far.next().await, Seen::Error(IoErrorKind::ConnectionReset));
        assert!(refusal(&network, "a", "b").await.contains("cut"), "refused, not left waiting");
        network.heal("a", "b");
        joined(&network, &door).await;
    })
    .await;
}

// ---- Hubs and spokes -----------------------------------------------------------------------------------------------------------------

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

    /// The `n`th gap.
    async fn gap(&self, n: usize) -> Gap {
        self.app
            .nth_notice(n, "a gap", |notice| match notice {
                Notice::Gap(gap) => Some(gap.clone()),
                _ => None,
            })
            .await
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

fn impatient() -> SpokeConfig {
    SpokeConfig {
        reconnect: Some(Reconnect {
            initial: true,
            min_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(5),
        }),
        hello_timeout: FOREVER,
        ..SpokeConfig::default()
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
        let gap = a.gap(1).await;
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
        let gap = a.gap(1).await;
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
        a.gap(1).await;
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
        let gap = a.gap(1).await;
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
