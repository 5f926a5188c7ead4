//! Members of a swarm over a played overlay: what others say, in which order and how often, and an overlay that does not answer. No network.

mod support;

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alkpubsub_engine::delivery::{Delivery, Gap, GapCause, Notice};
use alkpubsub_engine::link::overlay::{Ear, Joined, MemberId, Mouth, Overlay, Rumour, Signature, TopicId};
use alkpubsub_engine::link::{BoxFuture, ConnectError};
use alkpubsub_engine::model::{CloseCode, CloseReason, Error};
use alkpubsub_engine::swarm::{Swarm, SwarmConfig, SwarmStats};
use alkpubsub_engine::wire::run::{self, Run};
use bytes::Bytes;
use support::{Recorder, within};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const ME: MemberId = [1; 32];
const OTHER: MemberId = [2; 32];
/// When this member began to count.
const EPOCH: u64 = 100;

/// Plays what comes, and keeps what is said. Signatures are those of everybody.
struct Played {
    coming: Mutex<Option<UnboundedReceiver<Rumour>>>,
    said: UnboundedSender<Bytes>,
}

struct PlayedEar(UnboundedReceiver<Rumour>);

struct PlayedMouth(UnboundedSender<Bytes>);

impl Overlay for Played {
    fn me(&self) -> MemberId {
        ME
    }

    fn topic(&self) -> TopicId {
        [9; 32]
    }

    fn epoch(&self) -> u64 {
        EPOCH
    }

    fn sign(&self, _text: &[u8]) -> Signature {
        [0; 64]
    }

    fn is_signed_by(&self, _author: &MemberId, _text: &[u8], signature: &Signature) -> bool {
        *signature == [0; 64]
    }

    /// Never, when there is nothing to come.
    fn join(&self) -> BoxFuture<Result<Joined, Error>> {
        let coming = self.coming.lock().expect("no panic").take();
        let said = self.said.clone();
        Box::pin(async move {
            match coming {
                Some(coming) => {
                    Ok((Box::new(PlayedEar(coming)) as Box<dyn Ear>, Box::new(PlayedMouth(said)) as Box<dyn Mouth>))
                }
                None => std::future::pending().await,
            }
        })
    }

    fn ended(&self) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

impl Ear for PlayedEar {
    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<Option<Rumour>> {
        self.0.poll_recv(cx)
    }
}

impl Mouth for PlayedMouth {
    fn say(&self, message: Bytes) -> BoxFuture<bool> {
        let is_taken = self.0.send(message).is_ok();
        Box::pin(async move { is_taken })
    }

    fn call(&self, _member: MemberId) -> BoxFuture<Result<(), ConnectError>> {
        Box::pin(std::future::pending())
    }
}

/// A member, what it hears, and what comes to it.
struct Stage {
    swarm: Swarm,
    heard: Arc<Recorder>,
    play: UnboundedSender<Rumour>,
    said: UnboundedReceiver<Bytes>,
}

impl Stage {
    fn set(lets_in: bool) -> Self {
        let ((play, coming), (saying, said)) = (unbounded_channel(), unbounded_channel());
        let overlay = Played { coming: Mutex::new(lets_in.then_some(coming)), said: saying };
        let heard = Recorder::new();
        let delivery = Arc::clone(&heard) as Arc<dyn Delivery>;
        let swarm = Swarm::start(SwarmConfig::default(), Arc::new(overlay), delivery, &Handle::current());
        swarm.listen("a:b");
        Self { swarm, heard, play, said }
    }

    /// In the swarm, with a neighbour.
    async fn open() -> Self {
        let stage = Self::set(true);
        stage.swarm.begin();
        stage.heard.open(1).await;
        stage.rumour(Rumour::Up(OTHER));
        stage
    }

    fn rumour(&self, rumour: Rumour) {
        self.play.send(rumour).expect("the member lives");
    }

    /// The other one says something itself.
    fn say(&self, epoch: u64, first: u64, events: &[&str]) {
        self.rumour(Rumour::Said { bytes: run_of(&OTHER, epoch, first, events), by: OTHER });
    }

    fn close(&self, timeout: Duration) {
        self.swarm.close(CloseReason::new(CloseCode::NORMAL, ""), timeout);
    }

    async fn until(&self, what: &str, is_so: impl Fn(&SwarmStats) -> bool) -> SwarmStats {
        for _ in 0..3000 {
            let stats = self.swarm.stats();
            if is_so(&stats) {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        unreachable!("{what}: {:?}", self.swarm.stats());
    }

    fn gaps(&self) -> Vec<Gap> {
        let gap = |notice| if let Notice::Gap(gap) = notice { Some(gap) } else { None };
        self.heard.notices().into_iter().filter_map(gap).collect()
    }

    /// What this member says next that `is_it`.
    async fn said(&mut self, mut is_it: impl FnMut(&[u8]) -> bool) -> Bytes {
        loop {
            let message = self.said.recv().await.expect("the member lives");
            if is_it(&message) {
                return message;
            }
        }
    }
}

fn run_of(author: &MemberId, epoch: u64, first: u64, events: &[&str]) -> Bytes {
    let mut body = Vec::new();
    for payload in events {
        run::write_event(&mut body, &format!(r#"{{"type":"a","id":"b","payload":{payload}}}"#));
    }
    run::write(&Run { author, epoch, serial: 0, first, signature: &[0; 64], body: &body }).into()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

#[tokio::test]
async fn a_member_is_closed_in_time_by_an_overlay_that_does_not_let_it_in() {
    within(async {
        let idle = Stage::set(false);
        idle.swarm.begin();
        idle.close(Duration::from_secs(3600));
        idle.heard.closed().await;
        // What was published is waited for, and no longer than it may take.
        let busy = Stage::set(false);
        busy.swarm.begin();
        busy.swarm.publish_once("a", "b", "1");
        busy.swarm.flush(7);
        busy.close(Duration::from_millis(50));
        busy.heard.closed().await;
        busy.heard.flushed(7).await;
        assert_eq!(busy.swarm.stats().dropped, 1);
    })
    .await;
}

#[tokio::test]
async fn a_member_that_never_began_is_closed_in_time() {
    within(async {
        let stage = Stage::set(true);
        stage.swarm.publish_once("a", "b", "1");
        stage.close(Duration::from_millis(50));
        stage.heard.closed().await;
        assert_eq!(stage.swarm.stats().dropped, 1);
    })
    .await;
}

#[tokio::test]
async fn a_member_that_counts_in_holes_makes_few_gaps_of_them_and_every_number_is_told() {
    within(async {
        const EPOCHS: u64 = 2000;
        let stage = Stage::open().await;
        // Each epoch ends with a hole: three messages, none with an event.
        for epoch in 0..EPOCHS {
            stage.say(epoch, 0, &[]);
            stage.say(epoch, 5, &[]);
        }
        stage.say(EPOCHS, 0, &["1"]);
        assert_eq!(stage.heard.payloads_of(1).await, ["1"]);
        stage.close(Duration::from_secs(5));
        stage.heard.closed().await;
        let (stats, gaps) = (stage.swarm.stats(), stage.gaps());
        assert_eq!((stats.missed, gaps.iter().map(|gap| gap.dropped).sum::<u64>()), (5 * EPOCHS, 5 * EPOCHS));
        assert!((gaps.len() as u64) < EPOCHS / 4, "{} gaps", gaps.len());
        assert!(gaps.iter().all(|gap| gap.cause == GapCause::Sequence));
    })
    .await;
}

#[tokio::test]
async fn what_members_say_of_their_numbers_does_not_turn_counters_over() {
    within(async {
        let stage = Stage::open().await;
        for epoch in 0..3 {
            stage.say(epoch, 0, &[]);
            stage.say(epoch, u64::MAX, &[]);
        }
        stage.say(3, 0, &["1"]);
        stage.heard.payloads_of(1).await;
        assert_eq!(stage.swarm.stats().missed, u64::MAX);
    })
    .await;
}

#[tokio::test]
async fn each_lag_is_told_and_its_gap_begins_before_it() {
    within(async {
        let stage = Stage::open().await;
        stage.say(5, 0, &["0"]);
        stage.heard.payloads_of(1).await;
        stage.rumour(Rumour::Lagged);
        stage.heard.notice("a gap", |notice| matches!(notice, Notice::Gap(_)).then_some(())).await;
        stage.rumour(Rumour::Lagged);
        let lagged_at = now_ms();
        // The clock goes on before something comes again.
        while now_ms() <= lagged_at + 1 {
            tokio::task::yield_now().await;
        }
        stage.say(5, 1, &["1"]);
        stage.heard.payloads_of(2).await;
        let second = |notice: &Notice| if let Notice::Gap(gap) = notice { Some(gap.clone()) } else { None };
        let gap = stage.heard.nth_notice(2, "the second gap", second).await;
        assert_eq!((gap.cause, gap.from_ms <= lagged_at), (GapCause::SlowConsumer, true), "{gap:?}, {lagged_at}");
    })
    .await;
}

#[tokio::test]
async fn a_member_whose_clock_has_gone_back_is_told_so_by_its_own_word_and_by_nobody_elses() {
    within(async {
        let mut stage = Stage::open().await;
        stage.say(50, 0, &["0"]);
        stage.say(50, 1, &[]);
        stage.heard.payloads_of(1).await;
        let word = run_of(&OTHER, 50, 1, &[]);
        // Somebody repeats what it said long ago.
        stage.rumour(Rumour::Said { bytes: run_of(&OTHER, 40, 0, &["\"old\""]), by: [3; 32] });
        stage.until("it was seen", |stats| stats.seen == 1).await;
        // It says so itself, twice.
        stage.say(40, 0, &["1"]);
        stage.say(40, 1, &["2"]);
        let mut others = 0;
        let reminder = stage.said(|message| run::read_reminder(message).is_some()).await;
        assert_eq!(run::read_reminder(&reminder), Some(&word[..]));
        // Anew in a later epoch, and behind it another word of this member: the reminder was the only one.
        stage.say(51, 0, &["3"]);
        assert_eq!(stage.heard.payloads_of(2).await, ["0", "3"]);
        stage.swarm.publish_once("a", "b", "4");
        stage
            .said(|message| {
                others += u32::from(run::read_reminder(message).is_some());
                run::read(message).is_ok_and(|run| run.events().is_ok_and(|events| events.len() == 1))
            })
            .await;
        assert_eq!(others, 0);
    })
    .await;
}

#[tokio::test]
async fn a_member_that_hears_its_own_later_word_counts_on_from_there() {
    within(async {
        let mut stage = Stage::open().await;
        let epoch_of = |message: &[u8]| run::read(message).map(|run| (run.epoch, run.first)).ok();
        let first = stage.said(|_| true).await;
        assert_eq!(epoch_of(&first), Some((EPOCH, 0)));
        let remind =
            |epoch| Rumour::Said { bytes: run::write_reminder(epoch, &run_of(&ME, epoch, 7, &[])).into(), by: OTHER };
        // Of an earlier one: it is there already. Of one that has no later one: nothing can be done.
        stage.rumour(remind(EPOCH - 1));
        stage.rumour(remind(u64::MAX));
        stage.until("they were seen", |stats| stats.seen == 2).await;
        stage.rumour(remind(500));
        let next = stage.said(|message| epoch_of(message).is_some_and(|(epoch, _)| epoch != EPOCH)).await;
        assert_eq!(epoch_of(&next), Some((501, 0)));
        // Another one with the same key, or a storm: not at once again.
        stage.rumour(remind(900));
        stage.until("it was seen", |stats| stats.seen == 4).await;
        stage.swarm.publish_once("a", "b", "1");
        let said = stage.said(|message| run::read(message).is_ok_and(|run| !run.body.is_empty())).await;
        assert_eq!(epoch_of(&said), Some((501, 0)));
    })
    .await;
}

#[tokio::test]
async fn every_event_of_others_is_counted_once() {
    within(async {
        let stage = Stage::open().await;
        stage.say(5, 0, &["0", "1"]);
        stage.say(5, 2, &["not json", "3"]);
        stage.rumour(Rumour::Said { bytes: run_of(&OTHER, 5, 0, &["0", "1"]), by: OTHER });
        stage.say(5, 4, &["4"]);
        assert_eq!(stage.heard.payloads_of(4).await, ["0", "1", "3", "4"]);
        stage.swarm.unlisten("a:b");
        stage.say(5, 5, &["5", "6"]);
        let stats = stage.until("all came", |stats| stats.received == 7).await;
        assert_eq!((stats.delivered, stats.unwanted, stats.malformed, stats.seen), (4, 2, 1, 1), "{stats:?}");
    })
    .await;
}
