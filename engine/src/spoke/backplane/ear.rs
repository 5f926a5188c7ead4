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
}

impl Ear {
    pub(super) fn of(hub: Arc<dyn Landing>) -> Self {
        Self { hub: Mutex::new(Some(hub)), book: Mutex::default() }
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
