//! Whether the neighbour at the other end of a connection stands still while messages wait for it: the library has one task for all
//! neighbours, which waits for each, so one that stands still holds up the others. And whether another connection with it has taken the place
//! of one. Does not close anything and does not read the clock.
//!
//! Invariants: a connection through which nothing has to go, or whose other end takes what comes, never stands still; one on which either side
//! still sends is never superseded.

use std::time::{Duration, Instant};

use iroh::endpoint::ConnectionStats;

/// So long a neighbour may hold up the others. Source: none, a guess; longer than most lines fail for a moment.
pub(super) const STANDSTILL: Duration = Duration::from_secs(5);

/// So many messages must have passed through the endpoint since its last sign of life. Source: a guess: the library waits for a neighbour for which
/// 64 messages wait, its own among them.
pub(super) const HELD_UP: u64 = 16;

/// Bytes that may be under way before the other end makes room for more. Source: half of what members of this version take of one stream.
const UNREAD: u64 = 128 << 10;

/// What was sent so soon after a connection was made says nothing of whether it is used. Source: none, a guess: far above a round trip.
const GRACE: Duration = Duration::from_secs(2);

/// What a connection has counted. Its numbers can go back, when one of its ways is given up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Datagrams that were sent, and that came.
    sent: u64,
    heard: u64,
    /// Bytes that were sent.
    bytes: u64,
    /// Pieces of streams that were sent, and that came.
    pieces: u64,
    pieces_heard: u64,
    /// How often the other end made room for more.
    credits: u64,
}

impl From<ConnectionStats> for Counts {
    fn from(stats: ConnectionStats) -> Self {
        Self {
            sent: stats.udp_tx.datagrams,
            heard: stats.udp_rx.datagrams,
            bytes: stats.udp_tx.bytes,
            pieces: stats.frame_tx.stream,
            pieces_heard: stats.frame_rx.stream,
            credits: stats.frame_rx.max_data + stats.frame_rx.max_stream_data,
        }
    }
}

/// What is remembered of a connection from one look to the next.
pub(super) struct Watched {
    last: Counts,
    /// How many messages had passed when something came last.
    passed_then: u64,
    /// Since when an answer is due to what was sent.
    asked: Option<Instant>,
    /// When a piece of a stream was sent last, and how many messages had passed by then.
    moved: (Instant, u64),
    /// When one came last.
    heard: Instant,
    since: Instant,
    /// Bytes that had been sent when the other end made room last.
    bytes_at_credit: u64,
}

impl Watched {
    pub(super) fn new(now: Instant, counts: Counts, passed: u64) -> Self {
        Self {
            last: counts,
            passed_then: passed,
            asked: None,
            moved: (now, passed),
            heard: now,
            since: now,
            bytes_at_credit: counts.bytes,
        }
    }

    /// True when it has stood still for too long. `passed` is how many messages went through the endpoint so far.
    pub(super) fn stands_still(&mut self, now: Instant, counts: Counts, passed: u64) -> bool {
        let last = std::mem::replace(&mut self.last, counts);
        if counts.heard > last.heard {
            (self.asked, self.passed_then) = (None, passed);
        } else if counts.sent > last.sent {
            self.asked.get_or_insert(now);
        }
        if counts.credits > last.credits {
            self.bytes_at_credit = counts.bytes;
        }
        if counts.pieces > last.pieces {
            self.moved = (now, passed);
        }
        if counts.pieces_heard > last.pieces_heard {
            self.heard = now;
        }
        let is_long = |since: Instant, passed_then: u64| {
            now.duration_since(since) >= STANDSTILL && passed.saturating_sub(passed_then) >= HELD_UP
        };
        let is_dead = self.asked.is_some_and(|asked| is_long(asked, self.passed_then));
        let is_unread =
            counts.bytes.saturating_sub(self.bytes_at_credit) >= UNREAD && is_long(self.moved.0, self.moved.1);
        is_dead || is_unread
    }

    /// True when both sides send on another connection, and neither on this one since: each sends on the one that it was given last.
    pub(super) fn is_superseded_by(&self, other: &Self) -> bool {
        let settled = self.since + GRACE;
        let is_past = |mine: Instant, others: Instant| others > mine && others > settled;
        is_past(self.moved.0, other.moved.0) && is_past(self.heard, other.heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As [`stands_still_among`], with so many messages in every second.
    fn stands_still(changes: impl Fn(u64) -> Counts, messages: u64) -> Option<u64> {
        stands_still_among(changes, |second| messages * second)
    }

    /// Looks once a second at a connection that changes by so much each time; says when it stood still.
    fn stands_still_among(changes: impl Fn(u64) -> Counts, passed: impl Fn(u64) -> u64) -> Option<u64> {
        let start = Instant::now();
        let mut counts = Counts::default();
        let mut watched = Watched::new(start, counts, 0);
        (1..60).find(|second| {
            let Counts { sent, heard, bytes, pieces, credits, .. } = changes(*second);
            counts.sent += sent;
            counts.heard += heard;
            counts.bytes += bytes;
            counts.pieces += pieces;
            counts.credits += credits;
            watched.stands_still(start + Duration::from_secs(*second), counts, passed(*second))
        })
    }

    #[test]
    fn a_neighbour_that_answers_nothing_stands_still_when_messages_wait_for_it() {
        let silent = |_| Counts { sent: 3, bytes: 100, ..Counts::default() };
        assert_eq!(stands_still(silent, 100), Some(6));
        assert_eq!(stands_still(silent, 0), None);
        // All that there was to say was said in the moment in which it stopped; nothing passes any more, because of it.
        assert_eq!(stands_still_among(silent, |_| 100), Some(6));
    }

    #[test]
    fn a_neighbour_that_answers_and_reads_nothing_stands_still() {
        let stuffed = |second| match second {
            1..=3 => Counts { sent: 100, heard: 100, bytes: 100_000, pieces: 100, ..Counts::default() },
            _ => Counts { sent: 1, heard: 1, bytes: 50, ..Counts::default() },
        };
        assert_eq!(stands_still(stuffed, 100), Some(8));
        assert_eq!(stands_still(stuffed, 0), None);
    }

    #[test]
    fn counts_that_go_back_are_no_sign_of_anything() {
        let now = Instant::now();
        let much = Counts { sent: 9, heard: 9, bytes: 1 << 20, pieces: 9, pieces_heard: 9, credits: 9 };
        let mut watched = Watched::new(now, much, 7);
        assert!(!watched.stands_still(now + 2 * STANDSTILL, Counts::default(), 0));
    }

    #[test]
    fn a_neighbour_that_reads_or_has_nothing_to_read_does_not_stand_still() {
        let busy = |_| Counts { sent: 100, heard: 50, bytes: 100_000, pieces: 100, credits: 3, ..Counts::default() };
        assert_eq!(stands_still(busy, 1000), None);
        // Of another topic: a sign of life now and then, which is answered.
        let idle = |second| Counts {
            sent: (second % 5 == 0).into(),
            heard: (second % 5 == 1).into(),
            bytes: (second % 5 == 0).into(),
            ..Counts::default()
        };
        assert_eq!(stands_still(idle, 1000), None);
    }

    #[test]
    fn a_connection_that_neither_side_uses_since_both_use_another_is_superseded() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut counts = [Counts::default(); 2];
        let mut watched = counts.map(|counts| Watched::new(start, counts, 0));
        let mut look = |ms: u64, said: [u64; 2], heard: [u64; 2]| {
            for index in 0..2 {
                counts[index].pieces += said[index];
                counts[index].pieces_heard += heard[index];
                watched[index].stands_still(at(ms), counts[index], 0);
            }
            [watched[0].is_superseded_by(&watched[1]), watched[1].is_superseded_by(&watched[0])]
        };
        assert_eq!(look(1000, [0, 5], [0, 5]), [false; 2], "it is too soon");
        assert_eq!(look(3000, [0, 1], [1, 0]), [false; 2], "each side uses another");
        assert_eq!(look(4000, [1, 1], [1, 1]), [false; 2], "both are used");
        assert_eq!(look(5000, [0, 1], [0, 0]), [false; 2], "the other side has said nothing since");
        assert_eq!(look(6000, [0, 0], [0, 1]), [true, false]);
    }
}
