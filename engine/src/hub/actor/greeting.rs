//! What is meant for one connection alone, and was sent before the peer has said anything: it waits for the peer's first word. A native spoke
//! says hello first, and whatever came before our answer would make it take this hub for a plain one.
//!
//! Invariants: what waits leaves before anything that is sent to the connection later, and in the order in which it was sent; it waits for a
//! moment only, never past a flush or a close; nothing waits for a peer that has spoken.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::HubActor;
use crate::hub::connection::Silence;
use crate::hub::count;
use crate::route::ConnKey;

/// For how long, once the peer is read. Source: a guess: above most round trips, since a spoke says hello when it has read that it is let in.
const FIRST_WORD: Duration = Duration::from_millis(250);
/// And how much. Source: none, a guess; above it the bounds of every connection hold.
const MAX_BYTES: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Greetings {
    by_slot: HashMap<usize, Greeting, foldhash::fast::RandomState>,
    due: BTreeSet<(Instant, usize)>,
}

#[derive(Default)]
struct Greeting {
    messages: Vec<Box<str>>,
    bytes: usize,
    until: Option<Instant>,
}

impl Greetings {
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(until, _)| *until)
    }

    fn take(&mut self, slot: usize) -> Vec<Box<str>> {
        if self.by_slot.is_empty() {
            return Vec::new();
        }
        let Some(greeting) = self.by_slot.remove(&slot) else { return Vec::new() };
        if let Some(until) = greeting.until {
            self.due.remove(&(until, slot));
        }
        greeting.messages
    }

    fn set_until(&mut self, slot: usize, until: Instant) {
        let Some(greeting) = self.by_slot.get_mut(&slot) else { return };
        if greeting.until.is_none() {
            greeting.until = Some(until);
            self.due.insert((until, slot));
        }
    }
}

impl HubActor {
    /// Keeps a message until the peer has spoken; false when it need not wait.
    pub(super) fn keep_greeting(&mut self, slot: usize, message: &str) -> bool {
        let Some(connection) = &self.connections[slot] else { return false };
        let until = match connection.silence {
            Silence::Unread => None,
            Silence::Until(until) if Instant::now() < until => Some(until),
            // Overdue and not looked after yet: what waits goes first.
            Silence::Until(_) => {
                self.end_silence(slot);
                return false;
            }
            Silence::Over => return false,
        };
        let greeting = self.greetings.by_slot.entry(slot).or_default();
        if greeting.bytes + message.len() > MAX_BYTES {
            self.end_silence(slot);
            return false;
        }
        greeting.bytes += message.len();
        greeting.messages.push(message.into());
        connection.note_kept(greeting.bytes);
        if let Some(until) = until {
            self.greetings.set_until(slot, until);
        }
        true
    }

    /// The peer is read from now on.
    pub(super) fn await_first_word(&mut self, slot: usize) {
        let until = Instant::now() + FIRST_WORD;
        if let Some(connection) = &mut self.connections[slot] {
            connection.silence = Silence::Until(until);
        }
        self.greetings.set_until(slot, until);
    }

    /// What waits for the peer's first word is sent: it has come, or is not waited for any more.
    pub(super) fn end_silence(&mut self, slot: usize) {
        if let Some(connection) = &mut self.connections[slot] {
            connection.silence = Silence::Over;
            connection.note_kept(0);
        }
        for message in self.greetings.take(slot) {
            self.reply_text(slot, |text| text.push_str(&message));
        }
    }

    /// The peer has said something.
    pub(super) fn hear_first_word(&mut self, key: ConnKey) {
        let Some(slot) = self.slot(key) else { return };
        if self.connections[slot].as_ref().is_some_and(|connection| connection.silence != Silence::Over) {
            self.end_run();
            self.end_silence(slot);
        }
    }

    /// Nobody is waited for any more, as somebody waits for all that was sent.
    pub(super) fn end_silences(&mut self) {
        for slot in self.greetings.by_slot.keys().copied().collect::<Vec<_>>() {
            self.end_silence(slot);
        }
    }

    /// Those who have been silent for long enough; true if something is to be written now.
    pub(super) fn end_overdue_silences(&mut self) -> bool {
        let now = Instant::now();
        let mut is_some = false;
        while let Some((_, slot)) = self.greetings.due.first().copied().filter(|(until, _)| now >= *until) {
            self.end_silence(slot);
            is_some = true;
        }
        is_some
    }

    /// What waited is not sent at all.
    pub(super) fn drop_greeting(&mut self, slot: usize) {
        let dropped = self.greetings.take(slot).len();
        count(&self.shared.counters.dropped, dropped as u64);
    }
}
