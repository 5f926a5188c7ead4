//! Hears a spoke for a hub: what is told to an application becomes what a backplane says. Does not publish.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use foldhash::fast::RandomState;

use crate::delivery::{Delivery, Direction, Failure, Gap, GapCause, Notice};
use crate::link::backplane::{Hole, HoleCause, HoleSide, Landing};
use crate::mailbox::lock;
use crate::model::{Error, ErrorKind};
use crate::spoke::Spoke;

/// A subscription of the hub.
struct Asked {
    topic: Box<str>,
    number: u64,
}

#[derive(Default)]
struct Book {
    /// Dropped with the spoke's last notice: each holds the other.
    spoke: Option<Spoke>,
    /// Those without an answer, by the token of the question.
    asked: HashMap<u32, Asked, RandomState>,
    last_token: u32,
    /// Those that were refused: the next link is asked again.
    refused: Vec<Asked>,
    /// Refusals that were told as such, and whose error is still to come.
    unmatched: u64,
    /// Events that grew too old, as far as they were told.
    aged: u64,
    is_down: bool,
}

impl Book {
    /// Asks the spoke to say when the subscription is active.
    fn ask(&mut self, asked: Asked) {
        let Some(spoke) = &self.spoke else { return };
        self.last_token = self.last_token.wrapping_add(1);
        spoke.confirm(&asked.topic, self.last_token);
        self.asked.insert(self.last_token, asked);
    }

    /// How many of these errors the hub has not been told of in another way.
    fn untold(&mut self, kind: ErrorKind, times: u64) -> u64 {
        if kind == ErrorKind::BufferFull {
            // What found no room was told to whoever handed it over; what grew too old was not.
            let aged = self.spoke.as_ref().map_or(0, |spoke| spoke.stats().aged);
            return aged - std::mem::replace(&mut self.aged, aged);
        }
        let matched = times.min(self.unmatched);
        self.unmatched -= matched;
        times - matched
    }
}

pub(super) struct Ear {
    /// Nothing once it has left or the backplane is closed. The hub is told things under this lock, so that it is told nothing after that.
    hub: Mutex<Option<Arc<dyn Landing>>>,
    book: Mutex<Book>,
    end: Mutex<End>,
}

/// Whether the spoke is closed, and who waits for that.
#[derive(Default)]
struct End {
    is_there: bool,
    waker: Option<Waker>,
}

impl Ear {
    pub(super) fn of(hub: Arc<dyn Landing>) -> Self {
        Self { hub: Mutex::new(Some(hub)), book: Mutex::default(), end: Mutex::default() }
    }

    /// The spoke that this hears.
    pub(super) fn hold(&self, spoke: Spoke) {
        lock(&self.book).spoke = Some(spoke);
    }

    /// The hub is to hear when the subscription is active.
    pub(super) fn ask(&self, topic: &str, number: u64) {
        lock(&self.book).ask(Asked { topic: topic.into(), number });
    }

    /// The hub does not want the topic any more.
    pub(super) fn forget(&self, topic: &str) {
        lock(&self.book).refused.retain(|asked| *asked.topic != *topic);
    }

    /// The hub has left.
    pub(super) fn fall_silent(&self) {
        *lock(&self.hub) = None;
    }

    /// The backplane is closed.
    pub(super) fn end(&self) {
        if let Some(hub) = lock(&self.hub).take() {
            hub.closed();
        }
    }

    /// Ready once the spoke is closed: what was published has been answered, or was given up.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut end = lock(&self.end);
        if end.is_there {
            return Poll::Ready(());
        }
        end.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn tell(&self, what: impl FnOnce(&dyn Landing)) {
        if let Some(hub) = &*lock(&self.hub) {
            what(&**hub);
        }
    }

    fn on_confirmed(&self, token: u32, outcome: Result<bool, Failure>) {
        let mut book = lock(&self.book);
        let Some(asked) = book.asked.remove(&token) else { return };
        let Asked { topic, number } = &asked;
        match outcome {
            Ok(_) => self.tell(|hub| hub.active(topic, *number)),
            // The hub has taken it back, or the end follows.
            Err(Failure { kind: ErrorKind::NotSubscribed | ErrorKind::Closed, .. }) => {}
            Err(failure) => {
                self.tell(|hub| hub.refused(topic, *number, error_of(failure)));
                book.unmatched += 1;
                book.refused.push(asked);
            }
        }
    }

    fn on_lost(&self, cause: Failure) {
        let mut book = lock(&self.book);
        let was_down = std::mem::replace(&mut book.is_down, true);
        std::mem::take(&mut book.refused).into_iter().for_each(|asked| book.ask(asked));
        drop(book);
        // An outage is told once, however many attempts it takes.
        if !was_down {
            self.tell(|hub| hub.down(error_of(cause)));
        }
    }

    fn on_error(&self, failure: Failure, times: u64) {
        let untold = lock(&self.book).untold(failure.kind, times);
        if untold > 0 {
            self.tell(|hub| hub.trouble(error_of(failure), untold));
        }
    }

    fn on_closed(&self, error: Option<Failure>) {
        let gone = std::mem::take(&mut *lock(&self.book));
        drop(gone);
        if let Some(failure) = error {
            self.tell(|hub| hub.down(error_of(failure)));
        }
        self.end();
        let mut end = lock(&self.end);
        end.is_there = true;
        let waker = end.waker.take();
        drop(end);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Delivery for Ear {
    fn event(&self, _connection: u32, type_: &str, id: &str, payload: &str) {
        // The link has passed over what this hub has published.
        self.tell(|hub| hub.event(None, type_, id, payload));
    }

    fn notice(&self, notice: Notice) {
        match notice {
            Notice::Open { .. } => {
                lock(&self.book).is_down = false;
                self.tell(|hub| hub.up());
            }
            Notice::Reconnecting { cause, .. } => self.on_lost(cause),
            Notice::Gap(gap) => self.tell(|hub| hub.hole(hole_of(gap))),
            // The cause of an end comes with the end.
            Notice::Error { dropped: 0, .. } => {}
            Notice::Error { failure, dropped } => self.on_error(failure, dropped),
            Notice::Confirmed { token, outcome } => self.on_confirmed(token, outcome),
            Notice::Dial { token, .. } => {
                if let Some(spoke) = &lock(&self.book).spoke {
                    spoke.decline(token, "a backplane needs a url that is known beforehand".into());
                }
            }
            Notice::Closed { error, .. } => self.on_closed(error),
            // A hub asks for nothing else.
            _ => {}
        }
    }

    fn is_full(&self) -> bool {
        self.poll_room(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        lock(&self.hub).as_ref().map_or(Poll::Ready(()), |hub| hub.poll_room(cx))
    }
}

fn error_of(failure: Failure) -> Error {
    Error::new(failure.kind, failure.message)
}

fn hole_of(gap: Gap) -> Hole {
    let cause = match gap.cause {
        GapCause::SlowConsumer => HoleCause::SlowConsumer,
        GapCause::Overflow => HoleCause::Overflow,
        GapCause::ConnectionLost | GapCause::Upstream | GapCause::Sequence => HoleCause::ConnectionLost,
    };
    let side = match gap.direction {
        Direction::In => HoleSide::In,
        Direction::Out => HoleSide::Out,
        Direction::Both => HoleSide::Both,
    };
    Hole { side, ..Hole::of(cause, gap.from_ms, gap.to_ms, Some(gap.topics)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{BoxFuture, Connect, ConnectError, Destination, Link};
    use crate::model::{CloseCode, CloseReason};
    use crate::spoke::SpokeConfig;
    use tokio::runtime::Handle;

    /// A hub that writes down what it is told.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Told {
        fn note(&self, what: impl Into<String>) {
            lock(&self.0).push(what.into());
        }

        fn all(&self) -> Vec<String> {
            std::mem::take(&mut *lock(&self.0))
        }
    }

    impl Landing for Told {
        fn origin(&self) -> &str {
            "me"
        }
        fn event(&self, origin: Option<&str>, type_: &str, id: &str, payload: &str) {
            self.note(format!("event {origin:?} {type_}:{id} {payload}"));
        }
        fn active(&self, topic: &str, number: u64) {
            self.note(format!("active {topic} {number}"));
        }
        fn refused(&self, topic: &str, number: u64, why: Error) {
            self.note(format!("refused {topic} {number} {:?}", why.kind()));
        }
        fn up(&self) {
            self.note("up");
        }
        fn down(&self, why: Error) {
            self.note(format!("down {why}"));
        }
        fn trouble(&self, why: Error, times: u64) {
            self.note(format!("trouble {:?} {times}", why.kind()));
        }
        fn hole(&self, hole: Hole) {
            self.note(format!("hole {:?} {:?} {:?}", hole.cause, hole.side, hole.topics));
        }
        fn closed(&self) {
            self.note("closed");
        }
        fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    struct Nowhere;

    impl Connect for Nowhere {
        fn connect(&self, _to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
            Box::pin(std::future::pending())
        }
    }

    fn ear() -> (Arc<Told>, Arc<Ear>) {
        let told = Arc::new(Told::default());
        (Arc::clone(&told), Arc::new(Ear::of(told)))
    }

    /// With a spoke that has no turn, because nothing here waits: it answers no question by itself.
    fn ear_of_spoke() -> (Arc<Told>, Arc<Ear>) {
        let (told, ear) = ear();
        let config = SpokeConfig { waits: true, ..SpokeConfig::default() };
        ear.hold(Spoke::start(config, Arc::new(Nowhere), Arc::clone(&ear) as _, &Handle::current()));
        (told, ear)
    }

    fn failure(kind: ErrorKind) -> Failure {
        Failure { kind, message: "why".into() }
    }

    fn lost() -> Notice {
        Notice::Reconnecting { attempt: 1, delay_ms: 1, cause: failure(ErrorKind::ConnectionLost) }
    }

    fn opened() -> Notice {
        Notice::Open { is_reconnected: true, is_native: true }
    }

    fn closed(error: Option<Failure>) -> Notice {
        Notice::Closed { reason: CloseReason::new(CloseCode::NORMAL, ""), error }
    }

    fn error(kind: ErrorKind, dropped: u64) -> Notice {
        Notice::Error { failure: failure(kind), dropped }
    }

    #[test]
    fn an_outage_is_told_once_however_many_attempts_it_takes() {
        let (told, ear) = ear();
        for notice in [opened(), lost(), lost(), lost(), opened(), lost()] {
            ear.notice(notice);
        }
        assert_eq!(told.all(), ["up", "down why", "up", "down why"]);
    }

    #[test]
    fn what_comes_names_no_origin_and_a_gap_becomes_a_hole_of_its_side() {
        let (told, ear) = ear();
        ear.event(0, "a", "b", "1");
        let gap = |direction| Gap {
            cause: GapCause::ConnectionLost,
            direction,
            from_ms: 1,
            to_ms: 2,
            topics: vec!["a:b".into()],
            dropped: 0,
        };
        ear.notice(Notice::Gap(gap(Direction::Out)));
        ear.notice(Notice::Gap(Gap { cause: GapCause::SlowConsumer, ..gap(Direction::Both) }));
        let topics = r#"Some(["a:b"])"#;
        let holes = [format!("hole ConnectionLost Out {topics}"), format!("hole SlowConsumer Both {topics}")];
        assert_eq!(told.all(), [String::from("event None a:b 1"), holes[0].clone(), holes[1].clone()]);
        assert!(ear.is_full(), "as the hub is");
    }

    #[test]
    fn a_hub_that_has_left_is_told_nothing_holds_up_nobody_and_hears_when_all_is_said() {
        let (told, ear) = ear();
        let mut cx = Context::from_waker(Waker::noop());
        ear.fall_silent();
        ear.event(0, "a", "b", "1");
        ear.notice(lost());
        assert!(!ear.is_full() && ear.poll_over(&mut cx).is_pending());
        ear.notice(closed(Some(failure(ErrorKind::Internal))));
        assert!(ear.poll_over(&mut cx).is_ready());
        assert!(told.all().is_empty());
    }

    #[test]
    fn the_end_is_told_once_with_its_cause() {
        let (told, ear) = ear();
        ear.notice(error(ErrorKind::NotIdentified, 0));
        ear.notice(closed(Some(failure(ErrorKind::NotIdentified))));
        ear.notice(closed(None));
        ear.event(0, "a", "b", "1");
        assert_eq!(told.all(), ["down why", "closed"]);
    }

    #[tokio::test]
    async fn a_refusal_is_not_told_as_an_error_besides_and_the_next_link_is_asked_again() {
        let (told, ear) = ear_of_spoke();
        ear.ask("a:", 7);
        ear.notice(Notice::Confirmed { token: 1, outcome: Err(failure(ErrorKind::Forbidden)) });
        ear.notice(error(ErrorKind::Forbidden, 1));
        ear.notice(error(ErrorKind::Forbidden, 3));
        assert_eq!(told.all(), ["refused a: 7 Forbidden", "trouble Forbidden 3"]);
        ear.notice(Notice::Confirmed { token: 2, outcome: Ok(true) });
        assert!(told.all().is_empty(), "nobody has asked yet");
        ear.notice(lost());
        ear.notice(Notice::Confirmed { token: 2, outcome: Ok(true) });
        ear.notice(Notice::Confirmed { token: 2, outcome: Ok(true) });
        assert_eq!(told.all(), ["down why", "active a: 7"]);
    }

    #[tokio::test]
    async fn a_topic_that_the_hub_has_given_up_is_not_asked_for_again() {
        let (told, ear) = ear_of_spoke();
        ear.ask("a:", 1);
        ear.ask("b:", 2);
        ear.notice(Notice::Confirmed { token: 1, outcome: Err(failure(ErrorKind::Forbidden)) });
        ear.notice(Notice::Confirmed { token: 2, outcome: Err(failure(ErrorKind::NotSubscribed)) });
        ear.forget("a:");
        ear.notice(lost());
        ear.notice(Notice::Confirmed { token: 3, outcome: Ok(true) });
        assert_eq!(told.all(), ["refused a: 1 Forbidden", "down why"]);
    }

    #[tokio::test]
    async fn what_found_no_room_was_told_to_whoever_handed_it_over() {
        let (told, ear) = ear_of_spoke();
        ear.notice(error(ErrorKind::BufferFull, 5));
        ear.notice(error(ErrorKind::Malformed, 2));
        assert_eq!(told.all(), ["trouble Malformed 2"]);
    }
}
