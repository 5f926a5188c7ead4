//! Puts the runs of each author in order, once each, and finds what is missing. Does not know the clock, events or signatures.
//!
//! Invariants: runs of one author and epoch come out with growing numbers, each number at most once; below `next` everything came out or was
//! counted as missing; what is held back is bounded in runs and bytes, over all authors.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::link::overlay::MemberId;

/// How long a run waits for what was said before it. Source: the contract of gossip.
pub(super) const HOLD: Duration = Duration::from_secs(2);

/// How long the first run of an author waits for an earlier one. Source: the overlay asks for a missing message after 80 ms, and again
/// after 40; twice that.
pub(super) const SETTLE: Duration = Duration::from_millis(200);

/// Runs and bytes that are held back. Source: none, a guess.
pub(super) const MAX_HELD_RUNS: usize = 4096;
pub(super) const MAX_HELD_BYTES: usize = 4 << 20;

/// Authors that are known. Source: none, a guess.
pub(super) const MAX_AUTHORS: usize = 4096;

/// An author that was heard for so long is not forgotten, and does not lose what is held of it, for those that came since. Source: none, a
/// guess; whoever floods with new keys has to keep them for so long.
pub(super) const ESTABLISHED: Duration = Duration::from_secs(60);

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It came out, or will.
    Taken,
    /// It was seen, or comes too late.
    Seen,
    /// Of an epoch that its author has left.
    Stale,
    /// Some of its numbers were seen and others were not: its author numbers two events alike.
    Torn,
}

/// Numbers that will not come any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    /// How many.
    pub(super) events: u64,
    /// When the author was heard last before them.
    pub(super) since: Instant,
    /// Another gap, which was told, covers it.
    pub(super) is_excused: bool,
}

/// What comes out: runs in order, and holes in their places.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Out<T> {
    Run(T),
    Hole(Hole),
}

/// A run that waits; without one its author only says that this number comes next.
struct Held<T> {
    count: u64,
    bytes: usize,
    since: Instant,
    run: Option<T>,
}

/// What is held of all authors together.
#[derive(Default)]
struct Store {
    runs: usize,
    bytes: usize,
}

struct Author<T> {
    epoch: u64,
    /// Its last run without events: its own word that it has come so far.
    word: Option<T>,
    reminded: Option<Instant>,
    /// The number that comes out next; nothing is known before the first run has settled.
    next: Option<u64>,
    held: BTreeMap<u64, Held<T>>,
    held_bytes: usize,
    known_since: Instant,
    heard: Instant,
    is_excused: bool,
}

pub(super) struct Authors<T> {
    known: HashMap<MemberId, Author<T>>,
    store: Store,
    forgotten: u64,
}

impl<T> Default for Authors<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), store: Store::default(), forgotten: 0 }
    }
}

/// A run as it came.
pub(super) struct Arrived<T> {
    pub(super) author: MemberId,
    pub(super) epoch: u64,
    pub(super) first: u64,
    /// Events in it; none: it only says that `first` comes next.
    pub(super) count: u64,
    /// What it costs to hold.
    pub(super) bytes: usize,
    pub(super) run: T,
}

impl<T: Clone> Authors<T> {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Authors of whom is not known any more what was heard.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.store.bytes
    }

    /// Whether something waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.store.runs > 0
    }

    /// What is missing next of each author is covered by a gap that was told.
    pub(super) fn excuse_all(&mut self) {
        self.known.values_mut().for_each(|author| author.is_excused = true);
    }

    /// Takes a run and gives what comes out for it.
    pub(super) fn take(&mut self, now: Instant, arrived: Arrived<T>, out: &mut Vec<Out<T>>) -> Verdict {
        if !self.known.contains_key(&arrived.author) {
            self.make_room(out);
        }
        let Self { known, store, .. } = self;
        let author = known.entry(arrived.author).or_insert_with(|| Author::new(arrived.epoch, now));
        if arrived.epoch < author.epoch {
            return Verdict::Stale;
        }
        if arrived.epoch > author.epoch {
            // What waits of the old epoch waits for nothing any more.
            while author.give_up(out, store) {}
            let Author { is_excused, known_since, .. } = *author;
            // Whoever knew it before was there when it began to count anew.
            *author = Author { is_excused, known_since, next: Some(0), ..Author::new(arrived.epoch, now) };
        }
        if arrived.count == 0 {
            author.word = Some(arrived.run.clone());
        }
        let verdict = author.judge(arrived.first, arrived.count);
        if verdict != Verdict::Taken {
            return verdict;
        }
        author.hold(now, arrived, store);
        author.release(now, out, store);
        while self.is_too_much() && self.give_up_most(out) {}
        verdict
    }

    fn is_too_much(&self) -> bool {
        self.store.runs > MAX_HELD_RUNS || self.store.bytes > MAX_HELD_BYTES
    }

    /// The author of which most is held waits no longer, one that came lately if there is one: nobody fills the room of others.
    fn give_up_most(&mut self, out: &mut Vec<Out<T>>) -> bool {
        let Self { known, store, .. } = self;
        let waiting = known.values_mut().filter(|author| !author.held.is_empty());
        let most = waiting.max_by_key(|author| (!author.is_established(), author.held_bytes));
        most.is_some_and(|author| author.give_up(out, store))
    }

    /// What an author said itself that shows that it is behind itself; once in this time.
    pub(super) fn remind(&mut self, author: &MemberId, now: Instant, interval: Duration) -> Option<T> {
        let author = self.known.get_mut(author)?;
        if author.reminded.is_some_and(|reminded| now.duration_since(reminded) < interval) {
            return None;
        }
        let word = author.word.clone()?;
        author.reminded = Some(now);
        Some(word)
    }

    /// Gives what has waited long enough.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Vec<Out<T>>) {
        let Self { known, store, .. } = self;
        if store.runs == 0 {
            return;
        }
        for author in known.values_mut() {
            while author.due().is_some_and(|due| due <= now) && author.give_up(out, store) {}
        }
    }

    /// The author that was heard longest ago goes, one that came lately and one that nothing is held of if there is one. What is held comes out.
    fn make_room(&mut self, out: &mut Vec<Out<T>>) {
        if self.known.len() < MAX_AUTHORS {
            return;
        }
        let key = |author: &Author<T>| (author.is_established(), !author.held.is_empty(), author.heard);
        let Some(id) = self.known.iter().min_by_key(|(_, author)| key(author)).map(|(id, _)| *id) else {
            return;
        };
        if let Some(mut author) = self.known.remove(&id) {
            while author.give_up(out, &mut self.store) {}
        }
        self.forgotten += 1;
    }
}

impl<T> Author<T> {
    fn new(epoch: u64, now: Instant) -> Self {
        Self {
            epoch,
            word: None,
            reminded: None,
            next: None,
            held: BTreeMap::new(),
            held_bytes: 0,
            known_since: now,
            heard: now,
            is_excused: false,
        }
    }

    fn is_established(&self) -> bool {
        self.heard.duration_since(self.known_since) >= ESTABLISHED
    }

    fn judge(&self, first: u64, count: u64) -> Verdict {
        let end = first.saturating_add(count);
        if self.next.is_some_and(|next| count > 0 && end <= next) {
            return Verdict::Seen;
        }
        if self.next.is_some_and(|next| count > 0 && first < next) {
            return Verdict::Torn;
        }
        let before = self.held.range(..first).next_back();
        let reaches_into = before.is_some_and(|(start, held)| start.saturating_add(held.count) > first);
        let behind = self.held.range(first.saturating_add(1)..).next();
        let reaches_over = behind.is_some_and(|(start, _)| *start < end);
        if reaches_into || reaches_over {
            return Verdict::Torn;
        }
        match self.held.get(&first) {
            Some(held) if held.count > 0 && count > 0 => {
                if held.count == count {
                    Verdict::Seen
                } else {
                    Verdict::Torn
                }
            }
            _ => Verdict::Taken,
        }
    }

    fn hold(&mut self, now: Instant, arrived: Arrived<T>, store: &mut Store) {
        let Arrived { first, count, bytes, run, .. } = arrived;
        let is_known = self.held.get(&first).is_some_and(|held| held.count >= count);
        if is_known || self.next.is_some_and(|next| first < next) {
            return;
        }
        if first == 0 {
            self.next.get_or_insert(0);
        }
        let held = Held { count, bytes, since: now, run: (count > 0).then_some(run) };
        store.bytes += bytes;
        store.runs += 1;
        self.held_bytes += bytes;
        if let Some(replaced) = self.held.insert(first, held) {
            self.released(replaced.bytes, store);
        }
    }

    fn released(&mut self, bytes: usize, store: &mut Store) {
        store.bytes -= bytes;
        store.runs -= 1;
        self.held_bytes -= bytes;
    }

    /// Gives what comes next without a hole.
    fn release(&mut self, now: Instant, out: &mut Vec<Out<T>>, store: &mut Store) {
        while let Some(entry) = self.held.first_entry()
            && self.next == Some(*entry.key())
        {
            let held = entry.remove();
            self.released(held.bytes, store);
            self.next = self.next.map(|next| next + held.count);
            self.heard = now;
            // Nothing is missing before it, so what is missing later is another matter.
            self.is_excused = false;
            out.extend(held.run.map(Out::Run));
        }
    }

    /// What comes first does not wait any longer. False when nothing waits.
    fn give_up(&mut self, out: &mut Vec<Out<T>>, store: &mut Store) -> bool {
        let Some((first, since)) = self.held.first_key_value().map(|(first, held)| (*first, held.since)) else {
            return false;
        };
        if let Some(next) = self.next {
            let is_excused = std::mem::take(&mut self.is_excused);
            out.push(Out::Hole(Hole { events: first - next, since: self.heard, is_excused }));
        }
        self.next = Some(first);
        self.release(since, out, store);
        true
    }

    /// Until when what comes first waits.
    fn due(&self) -> Option<Instant> {
        let patience = if self.next.is_some() { HOLD } else { SETTLE };
        self.held.first_key_value().map(|(_, held)| held.since + patience)
    }
}

#[cfg(test)]
mod tests;
