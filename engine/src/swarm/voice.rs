//! What a member says: events in order, as many in a run as are there, at a pace. Does not know the overlay and does not read the clock.
//!
//! Invariants: numbers are given to what is said, in order, each once; a flush is answered when everything before it was said or dropped.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::MAX_EVENT_BYTES;
use crate::model::Limits;
use crate::wire::run;

/// Bytes of the events of one run, as frames: one of the largest fits.
pub(super) const MAX_BODY_BYTES: usize = MAX_EVENT_BYTES + run::EVENT_BYTES;

/// At least so much time lies between two runs: all members check a signature for each. Source: none, a guess.
pub(super) const RUN_INTERVAL: Duration = Duration::from_millis(2);

/// Bytes a second: all members keep what was said for some seconds. Source: none, a guess.
pub(super) const BYTES_PER_SECOND: usize = 8 << 20;

/// After the last event of a series its author says once more where it is. Source: none, a guess.
pub(super) const TAIL: Duration = Duration::from_secs(1);

enum Held {
    Event { body: Box<str>, since: Instant },
    Flush(u32),
}

/// A part of what waits, ready to be signed.
pub(super) struct Utterance {
    pub(super) serial: u64,
    pub(super) first: u64,
    pub(super) events: u64,
    /// What its events were charged.
    pub(super) cost: usize,
    pub(super) body: Vec<u8>,
}

pub(super) struct Voice {
    held: VecDeque<Held>,
    events: usize,
    serial: u64,
    next: u64,
    /// When the next run may be said.
    free_at: Instant,
    /// When an empty run is due, unless events are said before.
    beacon_at: Instant,
    said_at: Option<Instant>,
    /// No empty run has come behind the last events.
    is_owed: bool,
    heartbeat: Duration,
}

fn cost_of(body: &str) -> usize {
    body.len() + Limits::EVENT_OVERHEAD_BYTES
}

impl Voice {
    pub(super) fn new(heartbeat: Duration, now: Instant) -> Self {
        let held = VecDeque::new();
        Self {
            held,
            events: 0,
            serial: 0,
            next: 0,
            free_at: now,
            beacon_at: now,
            said_at: None,
            is_owed: false,
            heartbeat,
        }
    }

    pub(super) fn publish(&mut self, body: &str, now: Instant) {
        self.events += 1;
        self.held.push_back(Held::Event { body: body.into(), since: now });
    }

    pub(super) fn flush(&mut self, token: u32) {
        self.held.push_back(Held::Flush(token));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// When what waits may be said; nothing if nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.events > 0).then_some(self.free_at)
    }

    /// Events were said within that time.
    pub(super) fn has_said_within(&self, time: Duration, now: Instant) -> bool {
        self.said_at.is_some_and(|said_at| now.duration_since(said_at) < time)
    }

    /// Flushes that nothing stands before any more.
    pub(super) fn flushed(&mut self) -> Vec<u32> {
        let mut tokens = Vec::new();
        while let Some(Held::Flush(token)) = self.held.front() {
            tokens.push(*token);
            self.held.pop_front();
        }
        tokens
    }

    /// Takes the next run's events, up to the next flush.
    pub(super) fn utter(&mut self, now: Instant) -> Option<Utterance> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        let mut said = Utterance { serial: self.serial, first: self.next, events: 0, cost: 0, body: Vec::new() };
        while let Some(Held::Event { body, .. }) = self.held.front()
            && (said.events == 0 || said.body.len() + run::EVENT_BYTES + body.len() <= MAX_BODY_BYTES)
        {
            run::write_event(&mut said.body, body);
            said.events += 1;
            said.cost += cost_of(body);
            self.held.pop_front();
        }
        if said.events == 0 {
            return None;
        }
        self.events -= said.events as usize;
        self.serial += 1;
        self.next += said.events;
        let pace = Duration::from_secs_f64(said.body.len() as f64 / BYTES_PER_SECOND as f64);
        self.free_at = now + pace.max(RUN_INTERVAL);
        (self.said_at, self.beacon_at, self.is_owed) = (Some(now), now + TAIL.min(self.heartbeat), true);
        Some(said)
    }

    /// An empty run, if it is time for one, or for the last one of all.
    pub(super) fn beacon(&mut self, now: Instant, is_last: bool) -> Option<Utterance> {
        if self.events > 0 || now < self.beacon_at && !(is_last && self.is_owed) {
            return None;
        }
        (self.beacon_at, self.is_owed) = (now + self.heartbeat, false);
        self.serial += 1;
        Some(Utterance { serial: self.serial - 1, first: self.next, events: 0, cost: 0, body: Vec::new() })
    }

    /// The member was alone and is not any more: the others hear where it is.
    pub(super) fn greet(&mut self, now: Instant) {
        self.beacon_at = now;
    }

    /// Drops what waits for longer than `max_age`; gives the events' number and what they were charged.
    pub(super) fn drop_aged(&mut self, now: Instant, max_age: Duration) -> (u64, usize) {
        let (mut dropped, mut cost) = (0, 0);
        // A flush between aged events waits for the younger ones behind it all the same.
        while let Some(at) = self.held.iter().position(|held| matches!(held, Held::Event { .. }))
            && let Some(Held::Event { body, since }) = self.held.get(at)
            && now.duration_since(*since) > max_age
        {
            (dropped, cost) = (dropped + 1, cost + cost_of(body));
            self.held.remove(at);
        }
        self.events -= dropped as usize;
        (dropped, cost)
    }

    /// Drops all events; flushes stay.
    pub(super) fn drop_all(&mut self) -> (u64, usize) {
        let mut cost = 0;
        self.held.retain(|held| match held {
            Held::Event { body, .. } => {
                cost += cost_of(body);
                false
            }
            Held::Flush(_) => true,
        });
        (std::mem::take(&mut self.events) as u64, cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_there_is_one_run_and_numbers_go_on() {
        let now = Instant::now();
        let mut voice = Voice::new(BEAT, now);
        ["a", "b"].iter().for_each(|body| voice.publish(body, now));
        voice.flush(7);
        voice.publish("c", now);
        assert_eq!(voice.flushed(), [0; 0]);
        let said = voice.utter(now).expect("two events");
        assert_eq!((said.first, said.events, &said.body[..]), (0, 2, &b"\0\0\0\x01a\0\0\0\x01b"[..]));
        assert_eq!((voice.flushed(), voice.utter(now).is_none()), (vec![7], true));
        let said = voice.utter(now + RUN_INTERVAL).expect("one event");
        assert_eq!((said.first, said.events), (2, 1));
        assert!(voice.is_empty());
    }

    #[test]
    fn a_run_is_bounded_and_paced_by_its_bytes() {
        let now = Instant::now();
        let mut voice = Voice::new(BEAT, now);
        let large = "x".repeat(MAX_EVENT_BYTES);
        voice.publish(&large, now);
        voice.publish("a", now);
        assert_eq!(voice.utter(now).map(|said| said.body.len()), Some(MAX_BODY_BYTES));
        assert!(voice.utter(now + Duration::from_millis(7)).is_none());
        assert!(voice.utter(now + Duration::from_millis(8)).is_some());
    }

    #[test]
    fn after_a_series_and_once_a_heartbeat_an_empty_run_is_due() {
        let now = Instant::now();
        let mut voice = Voice::new(BEAT, now);
        assert!(voice.beacon(now, false).is_some() && voice.beacon(now, false).is_none());
        voice.publish("a", now);
        assert!(voice.beacon(now + BEAT, false).is_none());
        voice.utter(now);
        assert!(voice.beacon(now, false).is_none());
        assert_eq!(voice.beacon(now + TAIL, false).map(|said| (said.first, said.events)), Some((1, 0)));
        assert!(voice.beacon(now + BEAT, false).is_none() && voice.beacon(now + TAIL + BEAT, false).is_some());
    }

    #[test]
    fn who_leaves_says_so_once_behind_its_last_events() {
        let now = Instant::now();
        let mut voice = Voice::new(BEAT, now);
        voice.beacon(now, false);
        assert!(voice.beacon(now, true).is_none());
        voice.publish("a", now);
        voice.utter(now);
        assert!(voice.beacon(now, true).is_some() && voice.beacon(now, true).is_none());
    }

    #[test]
    fn what_waits_too_long_is_dropped_and_frees_its_flush() {
        let now = Instant::now();
        let mut voice = Voice::new(BEAT, now);
        voice.publish("a", now);
        voice.flush(1);
        voice.publish("b", now + BEAT);
        assert_eq!(voice.drop_aged(now + BEAT, BEAT / 2), (1, 65));
        assert_eq!((voice.flushed(), voice.drop_all()), (vec![1], (1, 65)));
        assert!(voice.is_empty() && voice.due().is_none());
    }
}
