//! A bus over the medium of one process: who hears what, in which order, and what becomes of events that a member is too slow for.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use alkpubsub_engine::bus::{Bus, BusConfig};
use alkpubsub_engine::delivery::{Delivery, GapCause, Notice};
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind, Limits, Prefix, Published};
use alkpubsub_engine::transport::process;
use support::{Heard, Recorder, numbers, until, within};
use tokio::runtime::Handle;

/// A name that no other test uses: they run in one process.
fn fresh_name() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("test-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

struct Seat {
    bus: Bus,
    app: Arc<Recorder>,
}

impl Seat {
    fn join_with(name: &str, config: BusConfig) -> Self {
        let app = Recorder::new();
        let delivery = Arc::clone(&app) as Arc<dyn Delivery>;
        let bus = Bus::join(config, process::named(name), delivery, &Handle::current());
        bus.begin();
        Self { bus, app }
    }

    fn join(name: &str) -> Self {
        Self::join_with(name, BusConfig::default())
    }

    fn listening(name: &str, topic: &str) -> Self {
        let seat = Self::join(name);
        seat.bus.listen(topic);
        seat
    }

    fn publish(&self, type_: &str, id: &str, payload: &str) {
        assert_eq!(self.bus.publish_once(type_, id, payload), Published::Accepted);
    }

    fn is_told(&self, wanted: impl Fn(&Notice) -> bool) -> bool {
        self.app.notices().iter().any(wanted)
    }
}

/// What one event `a:b` with a payload of one digit costs in a queue.
const COST: usize = r#"{"type":"a","id":"b","payload":1}"#.len() + Limits::EVENT_OVERHEAD_BYTES;

fn room_for(events: usize) -> BusConfig {
    BusConfig { max_pending: events * COST, ..BusConfig::default() }
}

#[tokio::test]
async fn what_one_publishes_all_others_that_listen_hear_in_order_and_nobody_else() {
    let name = fresh_name();
    let [publisher, first, second] = [0; 3].map(|_| Seat::listening(&name, "a:b"));
    let other_topic = Seat::listening(&name, "a:c");
    let other_name = Seat::listening(&fresh_name(), "a:b");
    (0..1000).for_each(|n| publisher.publish("a", "b", &n.to_string()));
    for seat in [&first, &second] {
        assert_eq!(seat.app.payloads(), numbers(0..1000));
        assert_eq!((seat.app.events()[0].type_.as_str(), seat.app.events()[0].id.as_str()), ("a", "b"));
    }
    for seat in [&publisher, &other_topic, &other_name] {
        assert!(seat.app.events().is_empty());
    }
    let stats = publisher.bus.stats();
    assert_eq!((stats.published, stats.unrouted, stats.members, stats.topics), (1000, 0, 4, 1));
    other_name.publish("a", "b", "1");
    assert_eq!((other_name.bus.stats().unrouted, first.bus.stats().delivered), (1, 1000));
}

#[tokio::test]
async fn a_topic_is_active_when_listen_returns_and_silent_when_unlisten_does() {
    let name = fresh_name();
    let (publisher, listener) = (Seat::join(&name), Seat::join(&name));
    publisher.publish("a", "b", "0");
    listener.bus.listen("a:b");
    listener.bus.confirm("a:b", 7);
    publisher.publish("a", "b", "1");
    listener.bus.unlisten("a:b");
    publisher.publish("a", "b", "2");
    listener.bus.confirm("a:b", 8);
    assert_eq!(listener.app.payloads(), ["1"]);
    assert_eq!(listener.app.confirmed(7).await, Ok(true));
    assert_eq!(listener.app.confirmed(8).await, Err(ErrorKind::NotSubscribed));
    assert_eq!(publisher.bus.stats().unrouted, 2);
}

#[tokio::test]
async fn open_comes_before_every_event_and_answer() {
    let name = fresh_name();
    let (publisher, app) = (Seat::join(&name), Recorder::new());
    let delivery = Arc::clone(&app) as Arc<dyn Delivery>;
    let early = Bus::join(BusConfig::default(), process::named(&name), delivery, &Handle::current());
    early.listen("a:b");
    early.confirm("a:b", 1);
    publisher.publish("a", "b", "0");
    assert!(app.log().is_empty(), "{:?}", app.log());
    early.begin();
    publisher.publish("a", "b", "1");
    early.begin();
    let log = app.log();
    assert!(matches!(log[0], Heard::Notice(Notice::Open { is_reconnected: false, is_native: true })), "{log:?}");
    assert!(matches!(log[1], Heard::Notice(Notice::Confirmed { token: 1, outcome: Ok(true) })), "{log:?}");
    assert!(matches!(&log[2], Heard::Event(event) if event.payload == "1"), "{log:?}");
    assert_eq!(log.len(), 3);
}

#[tokio::test]
async fn too_large_is_refused_at_the_bound_and_not_one_byte_before() {
    let name = fresh_name();
    let body = r#"{"type":"a","id":"b","payload":12}"#.len();
    let limits = Limits { max_message_bytes: body, max_topic_bytes: 4, ..Limits::default() };
    let seat = Seat::join_with(&name, BusConfig { limits, ..BusConfig::default() });
    assert_eq!(seat.bus.publish_once("a", "b", "12"), Published::Accepted);
    assert_eq!(seat.bus.publish_once("a", "b", "123"), Published::TooLarge);
    assert_eq!(seat.bus.publish_once("ab", "c", "1"), Published::Accepted);
    assert_eq!(seat.bus.publish_once("ab", "cd", "1"), Published::TooLarge);
    assert_eq!(seat.bus.stats().published, 2);
}

#[tokio::test]
async fn a_member_that_falls_behind_delays_nobody_and_gets_everything_in_order_later() {
    let name = fresh_name();
    let (publisher, slow, quick) = (Seat::join(&name), Seat::listening(&name, "a:b"), Seat::listening(&name, "a:b"));
    slow.app.set_full(true);
    (0..1000).for_each(|n| publisher.publish("a", "b", &n.to_string()));
    publisher.bus.flush(1);
    publisher.bus.drained(2);
    assert_eq!(quick.app.payloads(), numbers(0..1000));
    assert!(slow.app.events().is_empty());
    assert_eq!(slow.bus.stats().waiting, 1000);
    let waiting: usize = (0..1000).map(|n: u32| COST - 1 + n.to_string().len()).sum();
    assert_eq!(publisher.bus.buffered(), waiting, "each event counts once");
    assert!(!publisher.is_told(|notice| matches!(notice, Notice::Flushed { .. })));
    slow.app.set_full(false);
    within(publisher.app.flushed(1)).await;
    within(publisher.app.drained(2)).await;
    assert_eq!(slow.app.payloads_of(1000).await, numbers(0..1000));
    assert_eq!((publisher.bus.buffered(), slow.bus.stats().waiting, slow.app.gaps().len()), (0, 0, 0));
}

#[tokio::test]
async fn flush_without_anything_that_waits_is_answered_at_once_and_flushes_in_order() {
    let name = fresh_name();
    let (publisher, slow) = (Seat::join(&name), Seat::listening(&name, "a:b"));
    publisher.bus.flush(1);
    publisher.bus.drained(2);
    assert!(publisher.is_told(|notice| matches!(notice, Notice::Flushed { token: 1 })));
    assert!(publisher.is_told(|notice| matches!(notice, Notice::Drained { token: 2 })));
    slow.app.set_full(true);
    const FLUSHES: u32 = 100_000;
    publisher.publish("a", "b", "1");
    (10..10 + FLUSHES).for_each(|token| publisher.bus.flush(token));
    assert!(!publisher.is_told(|notice| matches!(notice, Notice::Flushed { token: 10.. })));
    slow.app.set_full(false);
    within(publisher.app.flushed(9 + FLUSHES)).await;
    let flushed = publisher.app.notices().into_iter().filter_map(|notice| match notice {
        Notice::Flushed { token } if token >= 10 => Some(token),
        _ => None,
    });
    assert!(flushed.eq(10..10 + FLUSHES));
}

#[tokio::test]
async fn what_finds_no_room_is_told_in_its_place_with_its_exact_number_and_only_to_who_lost_it() {
    let name = fresh_name();
    let (publisher, quick) = (Seat::join(&name), Seat::listening(&name, "a:b"));
    let slow = Seat::join_with(&name, room_for(8));
    ["a:b", "a:c", "a:d"].into_iter().for_each(|topic| slow.bus.listen(topic));
    slow.app.set_full(true);
    (0..8).for_each(|n| publisher.publish("a", "b", &n.to_string()));
    assert_eq!(slow.bus.stats().dropped, 0, "the bound itself is room");
    publisher.publish("a", "b", "8");
    publisher.publish("a", "c", "9");
    slow.bus.unlisten("a:c");
    assert_eq!(slow.bus.stats().dropped, 2);
    slow.app.set_full(false);
    within(until("everything was moved", || slow.bus.stats().waiting == 0)).await;
    publisher.publish("a", "b", "9");
    let log = slow.app.log();
    let gap = log.iter().position(|heard| matches!(heard, Heard::Notice(Notice::Gap(_)))).expect("a gap");
    assert!(matches!(&log[gap - 1], Heard::Event(event) if event.payload == "7"), "{log:?}");
    assert!(matches!(&log[gap + 1], Heard::Event(event) if event.payload == "9"), "{log:?}");
    let [gap] = &slow.app.gaps()[..] else { unreachable!("one gap") };
    assert_eq!((gap.cause, gap.dropped), (GapCause::Overflow, 2));
    // Nobody listens to a:c any more, and nothing of a:d was lost.
    assert_eq!(gap.topics, [Box::<str>::from("a:b")]);
    assert!(gap.from_ms > 0 && gap.from_ms <= gap.to_ms);
    assert_eq!((quick.app.events().len(), quick.app.gaps().len()), (10, 0));
    assert_eq!(slow.bus.stats().gaps, 1);
}

#[tokio::test]
async fn an_outage_lasts_until_half_of_the_queue_is_free() {
    let name = fresh_name();
    let (publisher, slow) = (Seat::join(&name), Seat::join_with(&name, room_for(8)));
    slow.bus.listen("a:b");
    slow.app.set_full(true);
    (0..9).for_each(|_| publisher.publish("a", "b", "1"));
    // A second outage behind the first: room for half a queue, filled again.
    slow.app.set_full(false);
    within(until("everything was moved", || slow.bus.stats().waiting == 0)).await;
    slow.app.set_full(true);
    (0..20).for_each(|_| publisher.publish("a", "b", "2"));
    slow.app.set_full(false);
    within(until("everything was moved", || slow.bus.stats().waiting == 0)).await;
    assert_eq!(slow.app.gaps().iter().map(|gap| gap.dropped).collect::<Vec<_>>(), [1, 12]);
    assert_eq!((slow.app.events().len(), slow.bus.stats().dropped), (16, 13));
}

#[tokio::test]
async fn one_event_alone_may_always_wait() {
    let name = fresh_name();
    let (publisher, slow) = (Seat::join(&name), Seat::join_with(&name, room_for(1)));
    slow.bus.listen("a:b");
    slow.app.set_full(true);
    let large = format!("\"{}\"", "x".repeat(10_000));
    publisher.publish("a", "b", &large);
    publisher.publish("a", "b", "1");
    slow.app.set_full(false);
    within(until("everything was moved", || slow.bus.stats().waiting == 0)).await;
    assert_eq!(slow.app.payloads(), [large]);
    assert_eq!(slow.app.gaps()[0].dropped, 1);
}

#[tokio::test]
async fn topics_of_a_gap_are_remembered_by_name_until_there_are_too_many() {
    let name = fresh_name();
    let (publisher, slow) = (Seat::join(&name), Seat::join_with(&name, room_for(1)));
    let topics: Vec<String> = (0..1100).map(|n| format!("t:{n}")).collect();
    topics.iter().for_each(|topic| slow.bus.listen(topic));
    slow.bus.listen("untouched:");
    slow.app.set_full(true);
    (0..1100).for_each(|n| publisher.publish("t", &n.to_string(), "1"));
    slow.app.set_full(false);
    within(until("everything was moved", || slow.bus.stats().waiting == 0)).await;
    let [gap] = &slow.app.gaps()[..] else { unreachable!("one gap") };
    assert_eq!((gap.dropped, gap.topics.len()), (1099, 1101));
}

#[tokio::test]
async fn a_member_that_closes_leaves_nothing_behind_and_hears_nothing_more() {
    let name = fresh_name();
    let (publisher, slow) = (Seat::join(&name), Seat::listening(&name, "a:b"));
    slow.app.set_full(true);
    publisher.publish("a", "b", "1");
    publisher.bus.flush(1);
    slow.bus.close(CloseReason::new(CloseCode::NORMAL, "done"), Duration::ZERO);
    within(publisher.app.flushed(1)).await;
    assert_eq!(publisher.bus.buffered(), 0);
    publisher.publish("a", "b", "2");
    slow.app.set_full(false);
    slow.bus.listen("a:b");
    slow.bus.close(CloseReason::new(CloseCode::INTERNAL, "not again"), Duration::ZERO);
    assert_eq!(slow.bus.publish(&Prefix::new("a", "b"), "3"), Published::Closed);
    let last = slow.app.log().pop();
    let Some(Heard::Notice(Notice::Closed { reason, error: None })) = last else { unreachable!("{last:?}") };
    assert_eq!((reason.code, reason.reason.as_str()), (CloseCode::NORMAL, "done"));
    let stats = publisher.bus.stats();
    assert_eq!((stats.members, stats.unrouted), (1, 1));
}

#[tokio::test]
async fn a_name_lives_as_long_as_its_members() {
    let name = fresh_name();
    let is_known = || process::names().iter().any(|known| **known == *name);
    assert!(!is_known());
    let (first, second) = (Seat::join(&name), Seat::listening(&name, "a:b"));
    drop(first);
    assert!(is_known());
    drop(second);
    assert!(!is_known());
    assert_eq!(Seat::join(&name).bus.stats().members, 1);
    assert!(!is_known());
}

/// Every publisher's events reach every listener in order, from threads that publish without pause to members that fill up again and again;
/// what is missing is exactly what the gaps say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_threads_nothing_is_lost_in_silence_and_order_holds() {
    const PUBLISHERS: u32 = 3;
    const EVENTS: u32 = 20_000;
    let name = fresh_name();
    let listeners: Vec<Seat> = (0..3)
        .map(|n| {
            let seat = Seat::join_with(&name, BusConfig { max_pending: 1 << (12 + 4 * n), ..BusConfig::default() });
            (0..PUBLISHERS).for_each(|from| seat.bus.listen(&format!("from:{from}")));
            seat
        })
        .collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let moods: Vec<_> = listeners
        .iter()
        .map(|seat| {
            let (app, is_over) = (Arc::clone(&seat.app), Arc::clone(&is_over));
            thread::spawn(move || {
                for n in 0_u32.. {
                    app.set_full(n % 2 == 0 && !is_over.load(Ordering::Relaxed));
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    thread::yield_now();
                }
            })
        })
        .collect();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|from| {
            let seat = Seat::join(&name);
            thread::spawn(move || {
                let prefix = Prefix::new("from", &from.to_string());
                (0..EVENTS).for_each(|n| assert_eq!(seat.bus.publish(&prefix, &n.to_string()), Published::Accepted));
                seat
            })
        })
        .collect();
    let publishers: Vec<Seat> = publishers.into_iter().map(|thread| thread.join().expect("publishes")).collect();
    is_over.store(true, Ordering::Relaxed);
    moods.into_iter().for_each(|thread| thread.join().expect("changes its mood"));
    for seat in &listeners {
        seat.app.set_full(false);
        within(until("everything was moved", || seat.bus.stats().waiting == 0)).await;
        let mut next: HashMap<String, u32> = HashMap::new();
        for event in seat.app.events() {
            let n: u32 = event.payload.parse().expect("a number");
            let next = next.entry(event.id).or_default();
            assert!(n >= *next, "{n} after {next}");
            *next = n + 1;
        }
        let lost: u64 = seat.app.gaps().iter().map(|gap| gap.dropped).sum();
        let stats = seat.bus.stats();
        assert_eq!((stats.delivered, stats.dropped), (seat.app.events().len() as u64, lost));
        assert_eq!(stats.delivered + lost, u64::from(PUBLISHERS * EVENTS));
    }
    assert!(publishers.iter().all(|seat| seat.bus.buffered() == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_vanish_in_the_middle_leave_nothing() {
    let name = fresh_name();
    let publisher = Seat::join(&name);
    let steady = Seat::listening(&name, "a:b");
    let is_over = Arc::new(AtomicBool::new(false));
    let talking = {
        let (bus, is_over) = (publisher.bus.clone(), Arc::clone(&is_over));
        thread::spawn(move || {
            let prefix = Prefix::new("a", "b");
            while !is_over.load(Ordering::Relaxed) {
                bus.publish(&prefix, "1");
            }
        })
    };
    for n in 0..100 {
        let guest = Seat::listening(&name, "a:b");
        guest.app.set_full(n % 2 == 0);
        within(until("the guest heard", || guest.bus.stats().delivered + guest.bus.stats().waiting > 10)).await;
        if n % 3 == 0 {
            guest.bus.abort();
        }
    }
    is_over.store(true, Ordering::Relaxed);
    talking.join().expect("ends");
    within(until("nothing waits", || publisher.bus.buffered() == 0)).await;
    let stats = publisher.bus.stats();
    assert_eq!((stats.members, steady.bus.stats().delivered), (2, stats.published));
}
