//! Whom a member calls, and when again. Does not know what comes of being neighbours.
//!
//! Invariants: at most one round of calls at a time, of at most `MAX_CALLS`; between rounds full jitter over a doubling bound.

use std::future::{pending, poll_fn};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::task::JoinSet;
use tracing::debug;

use super::actor::{Over, SwarmActor, failure_of, hex};
use super::members::Members;
use crate::delivery::{Failure, Notice};
use crate::link::ConnectError;
use crate::link::overlay::{MemberId, Mouth};
use crate::model::{Error, ErrorKind};
use crate::spoke::{Reconnect, backoff};
use crate::trace;

/// Members called in one round. Source: none, a guess.
const MAX_CALLS: usize = 4;

/// How a call went.
pub(super) type Called = Result<(), ConnectError>;

pub(super) struct Calling {
    policy: Reconnect,
    /// How long a round may take: a call that succeeds is answered by the member's coming up.
    patience: Duration,
    calls: JoinSet<Called>,
    /// While a round is under way.
    round: Option<Round>,
    rounds: u32,
    again_at: Instant,
}

struct Round {
    ends: Instant,
    failure: Option<Failure>,
    has_reached_somebody: bool,
}

impl Calling {
    pub(super) fn new(policy: Reconnect, patience: Duration, now: Instant) -> Self {
        Self { policy, patience, calls: JoinSet::new(), round: None, rounds: 0, again_at: now }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.round.is_some()
    }

    pub(super) async fn next(&mut self) -> Called {
        match poll_fn(|cx| self.calls.poll_join_next(cx)).await {
            Some(Ok(called)) => called,
            Some(Err(_)) => Err(ConnectError {
                error: Error::new(ErrorKind::Internal, "a call failed because of a defect in it"),
                is_terminal: false,
            }),
            None => pending().await,
        }
    }

    /// The next round is put off; gives its number and by how much.
    fn put_off(&mut self, now: Instant) -> (u32, Duration) {
        self.rounds += 1;
        let delay = backoff::delay(&self.policy, self.rounds, rand::rng().random());
        self.again_at = now + delay;
        (self.rounds, delay)
    }

    fn begin(&mut self, mouth: &dyn Mouth, mut wanted: Vec<MemberId>, members: &Members, now: Instant) {
        // Alone, the bootstrap stands in front and is called whole; of the missing any will do.
        if members.neighbours() > 0 || wanted.len() > MAX_CALLS && self.rounds > 0 {
            wanted.shuffle(&mut rand::rng());
            wanted = alternate(wanted, |id| members.is_proven(id));
        }
        wanted.truncate(MAX_CALLS);
        for id in wanted {
            debug!(target: trace::SWARM, member = hex(&id), "calling");
            self.calls.spawn(mouth.call(id));
        }
        self.round = Some(Round { ends: now + self.patience, failure: None, has_reached_somebody: false });
    }

    fn end(&mut self) {
        self.round = None;
        self.calls.abort_all();
        self.calls = JoinSet::new();
    }
}

/// Those that can be reached by turns with those that somebody says there are, while there are both: nobody who makes members up keeps the
/// real ones from being called.
fn alternate(ids: Vec<MemberId>, is_proven: impl Fn(&MemberId) -> bool) -> Vec<MemberId> {
    let (proven, others): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| is_proven(id));
    let rank = |start| move |(index, id)| (2 * index + start, id);
    let mut ranked: Vec<_> = proven.into_iter().enumerate().map(rank(0)).collect();
    ranked.extend(others.into_iter().enumerate().map(rank(1)));
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, id)| id).collect()
}

impl SwarmActor {
    /// Begins or ends a round of calls, if it is time.
    pub(super) fn call(&mut self, mouth: &dyn Mouth, now: Instant) -> Option<Over> {
        let is_alone = self.members.neighbours() == 0;
        if let Some(round) = &self.calling.round {
            let is_done = self.calling.calls.is_empty() && !(is_alone && round.has_reached_somebody);
            return if is_done || now >= round.ends { self.round_ended(now) } else { None };
        }
        if now < self.calling.again_at {
            return None;
        }
        let wanted = self.members.wanted(now);
        if wanted.is_empty() {
            self.calling.rounds = 0;
        } else {
            self.calling.begin(mouth, wanted, &self.members, now);
        }
        None
    }

    pub(super) fn called(&mut self, called: Called) -> Option<Over> {
        let round = self.calling.round.as_mut()?;
        match called {
            Ok(()) => round.has_reached_somebody = true,
            Err(failed) => {
                debug!(target: trace::SWARM, error = %failed.error, "a call failed");
                round.failure = Some(failure_of(&failed.error));
            }
        }
        None
    }

    /// All calls were answered, or too much time has gone.
    fn round_ended(&mut self, now: Instant) -> Option<Over> {
        let failure = self.calling.round.take().and_then(|round| round.failure);
        self.calling.end();
        if self.is_open {
            self.calling.put_off(now);
            return None;
        }
        let patience = self.calling.patience.as_millis();
        let silence = || Failure {
            kind: ErrorKind::TimedOut,
            message: format!("no member of the swarm was found within {patience} ms"),
        };
        let failure = failure.unwrap_or_else(silence);
        if !self.was_open && !self.shared.config.reconnect.initial {
            return Some(Over::failed(failure));
        }
        self.lose(failure, now)
    }

    /// The last neighbour has gone: attempts are counted anew.
    pub(super) fn begin_outage(&mut self) {
        self.calling.rounds = 0;
    }

    /// There is no neighbour, or still none: tells when the next round is.
    pub(super) fn lose(&mut self, cause: Failure, now: Instant) -> Option<Over> {
        self.calling.end();
        let (attempt, delay) = self.calling.put_off(now);
        self.tell([Notice::Reconnecting { attempt, delay_ms: delay.as_millis() as u64, cause }]);
        None
    }

    /// A neighbour came: what is called next is a matter of its own.
    pub(super) fn found(&mut self, now: Instant) {
        if !self.is_open {
            self.calling.rounds = 0;
            self.calling.again_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_somebody_made_up_do_not_keep_real_ones_from_being_called() {
        let ids: Vec<MemberId> = (0..200).map(|n| [n; 32]).collect();
        let called = alternate(ids, |id| id[0] >= 198);
        assert_eq!(called.len(), 200);
        assert_eq!(called[..MAX_CALLS].iter().filter(|id| id[0] >= 198).count(), 2);
        assert_eq!(alternate(vec![[1; 32], [2; 32]], |_| false), [[1; 32], [2; 32]]);
    }
}
