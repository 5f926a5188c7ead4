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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ME: MemberId = [1; 32];

    struct Bench {
        authors: Authors<u64>,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { authors: Authors::default(), now: Instant::now() }
        }

        fn take_of(&mut self, author: MemberId, epoch: u64, first: u64, count: u64) -> (Verdict, Vec<String>) {
            let mut out = Vec::new();
            let run = Arrived { author, epoch, first, count, bytes: 100, run: first };
            let verdict = self.authors.take(self.now, run, &mut out);
            (verdict, told(out))
        }

        fn take(&mut self, first: u64, count: u64) -> Vec<String> {
            let (verdict, out) = self.take_of(ME, 5, first, count);
            assert_eq!(verdict, Verdict::Taken);
            out
        }

        fn after(&mut self, time: Duration) -> Vec<String> {
            self.now += time;
            let mut out = Vec::new();
            self.authors.expire(self.now, &mut out);
            told(out)
        }
    }

    fn told(out: Vec<Out<u64>>) -> Vec<String> {
        let tell = |one| match one {
            Out::Run(first) => format!("{first}"),
            Out::Hole(Hole { events, is_excused, .. }) => {
                format!("{events} missing{}", if is_excused { ", excused" } else { "" })
            }
        };
        out.into_iter().map(tell).collect()
    }

    #[test]
    fn runs_come_out_in_order_whatever_their_way() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(0, 2), ["0"]);
        assert_eq!(bench.take(3, 1), [""; 0]);
        assert_eq!(bench.take(4, 5), [""; 0]);
        assert_eq!(bench.take(2, 1), ["2", "3", "4"]);
        assert!(!bench.authors.is_waiting());
    }

    #[test]
    fn the_first_run_of_an_author_sets_where_its_numbers_begin() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(7, 1), [""; 0]);
        assert_eq!(bench.take(6, 1), [""; 0]);
        assert_eq!(bench.after(SETTLE), ["6", "7"]);
        assert_eq!(bench.take(8, 1), ["8"]);
        assert_eq!(bench.take_of(ME, 5, 5, 1).0, Verdict::Seen);
    }

    #[test]
    fn a_hole_that_does_not_close_in_time_is_told_with_its_number() {
        let mut bench = Bench::new();
        bench.take(0, 1);
        bench.take(4, 1);
        bench.take(6, 1);
        assert_eq!(bench.after(HOLD - Duration::from_millis(1)), [""; 0]);
        assert_eq!(bench.after(Duration::from_millis(1)), ["3 missing", "4", "1 missing", "6"]);
        assert_eq!(bench.take_of(ME, 5, 2, 1).0, Verdict::Seen);
        assert_eq!(bench.take(7, 1), ["7"]);
    }

    #[test]
    fn who_says_where_it_is_shows_that_the_last_event_was_lost() {
        let mut bench = Bench::new();
        bench.take(0, 1);
        assert_eq!(bench.take(1, 0), [""; 0]);
        assert!(!bench.authors.is_waiting());
        bench.take(3, 0);
        assert_eq!(bench.after(HOLD), ["2 missing"]);
        assert_eq!(bench.take(3, 1), ["3"]);
        bench.take(6, 0);
        assert_eq!(bench.take(6, 1), [""; 0]);
        assert_eq!(bench.take(4, 2), ["4", "6"]);
    }

    #[test]
    fn a_gap_that_was_told_covers_the_next_hole_and_no_other() {
        let mut bench = Bench::new();
        bench.take(0, 1);
        bench.authors.excuse_all();
        bench.take(2, 1);
        assert_eq!(bench.after(HOLD), ["1 missing, excused", "2"]);
        bench.take(4, 1);
        assert_eq!(bench.after(HOLD), ["1 missing", "4"]);
        bench.authors.excuse_all();
        bench.take(5, 1);
        bench.take(7, 1);
        assert_eq!(bench.after(HOLD), ["1 missing", "7"]);
    }

    #[test]
    fn a_later_epoch_begins_anew_and_an_earlier_one_is_over() {
        let mut bench = Bench::new();
        bench.take(0, 1);
        bench.take(3, 1);
        assert_eq!(bench.take_of(ME, 6, 0, 1), (Verdict::Taken, vec!["2 missing".into(), "3".into(), "0".into()]));
        assert_eq!(bench.take_of(ME, 5, 4, 1).0, Verdict::Stale);
        assert_eq!(bench.take_of(ME, 6, 1, 1), (Verdict::Taken, vec!["1".into()]));
    }

    #[test]
    fn what_was_seen_never_comes_out_again_and_two_events_never_share_a_number() {
        let mut bench = Bench::new();
        bench.take(0, 4);
        for (first, count, verdict) in
            [(0, 4, Verdict::Seen), (1, 1, Verdict::Seen), (3, 2, Verdict::Torn), (0, 9, Verdict::Torn)]
        {
            assert_eq!(bench.take_of(ME, 5, first, count), (verdict, Vec::new()), "{first} {count}");
        }
        bench.take(8, 4);
        for (first, count, verdict) in
            [(8, 4, Verdict::Seen), (8, 3, Verdict::Torn), (9, 1, Verdict::Torn), (6, 3, Verdict::Torn)]
        {
            assert_eq!(bench.take_of(ME, 5, first, count), (verdict, Vec::new()), "{first} {count}");
        }
    }

    #[test]
    fn what_is_held_back_is_bounded_and_other_authors_are_left_alone() {
        let mut bench = Bench::new();
        bench.take_of([2; 32], 5, 0, 1);
        bench.take_of([2; 32], 5, 2, 1);
        bench.take(0, 1);
        for at in 0..MAX_HELD_RUNS as u64 - 1 {
            assert_eq!(bench.take(2 + 2 * at, 1), [""; 0]);
        }
        assert_eq!(bench.take(100_000, 1)[..2], ["1 missing", "2"]);
        assert_eq!(bench.take_of([2; 32], 5, 1, 1).1, ["1", "2"]);
    }

    #[test]
    fn a_gap_that_was_told_does_not_cover_what_is_lost_after_its_author_has_said_where_it_is() {
        let mut bench = Bench::new();
        bench.take(0, 1);
        bench.authors.excuse_all();
        bench.take(1, 0);
        bench.take(3, 1);
        assert_eq!(bench.after(HOLD), ["2 missing", "3"]);
    }

    #[test]
    fn what_a_known_author_said_first_in_a_later_epoch_is_missing_when_it_does_not_come() {
        let mut bench = Bench::new();
        bench.take(7, 1);
        bench.after(SETTLE);
        assert_eq!(bench.take_of(ME, 6, 3, 1), (Verdict::Taken, vec![]));
        assert_eq!(bench.after(HOLD), ["3 missing", "3"]);
    }

    #[test]
    fn who_fills_the_room_for_what_waits_loses_what_is_its_own() {
        let mut bench = Bench::new();
        bench.take(0, 1);
        for at in 0..MAX_HELD_RUNS as u64 {
            bench.take_of([2; 32], 5, 2 + 2 * at, 1);
        }
        // Another author's run comes ahead of its turn: the flood makes room for it.
        let (verdict, out) = bench.take_of(ME, 5, 2, 1);
        assert_eq!((verdict, &out[..]), (Verdict::Taken, &["2".to_owned()][..]), "of the flood");
        assert_eq!(bench.take(1, 1), ["1", "2"]);
    }

    #[test]
    fn an_author_that_has_long_been_heard_is_not_forgotten_for_a_flood_of_new_ones() {
        let mut bench = Bench::new();
        bench.take(0, 1);
        bench.now += ESTABLISHED;
        bench.take(1, 1);
        flood(&mut bench, 2 * MAX_AUTHORS as u64);
        assert_eq!(bench.take_of(ME, 5, 0, 2).0, Verdict::Seen);
        assert_eq!(bench.take(2, 1), ["2"]);
    }

    #[test]
    fn what_is_held_of_an_author_that_is_forgotten_comes_out() {
        let mut bench = Bench::new();
        bench.take(0, 1);
        bench.take(2, 1);
        let out = flood(&mut bench, 2 * MAX_HELD_RUNS as u64);
        assert!(out.iter().any(|told| told == "1 missing") && out.iter().any(|told| told == "2"), "{out:?}");
        assert_eq!(bench.authors.len(), MAX_AUTHORS);
    }

    #[test]
    fn who_is_behind_itself_is_reminded_by_its_own_word_once_in_a_while() {
        let mut bench = Bench::new();
        let beat = Duration::from_secs(10);
        assert_eq!(bench.authors.remind(&ME, bench.now, beat), None);
        bench.take(0, 1);
        assert_eq!(bench.authors.remind(&ME, bench.now, beat), None, "it has said nothing of where it is");
        bench.take(1, 0);
        assert_eq!(bench.take_of(ME, 4, 0, 0).0, Verdict::Stale);
        assert_eq!(bench.authors.remind(&ME, bench.now, beat), Some(1));
        assert_eq!(bench.authors.remind(&ME, bench.now + beat / 2, beat), None);
        assert_eq!(bench.authors.remind(&ME, bench.now + beat, beat), Some(1));
    }

    /// So many other authors say something ahead of its turn, a millisecond apart.
    fn flood(bench: &mut Bench, count: u64) -> Vec<String> {
        let mut told = Vec::new();
        for number in 0..count {
            let mut author = [0; 32];
            author[..8].copy_from_slice(&number.to_be_bytes());
            bench.now += Duration::from_millis(1);
            told.extend(bench.take_of(author, 5, 0, 1).1);
            told.extend(bench.take_of(author, 5, 9, 1).1);
        }
        told
    }

    #[test]
    fn the_author_that_was_silent_for_longest_is_forgotten_for_a_new_one() {
        let mut bench = Bench::new();
        for number in 0..=MAX_AUTHORS as u64 {
            let mut author = [0; 32];
            author[..8].copy_from_slice(&number.to_be_bytes());
            bench.now += Duration::from_millis(1);
            bench.take_of(author, 5, 0, 1);
        }
        assert_eq!((bench.authors.len(), bench.authors.forgotten()), (MAX_AUTHORS, 1));
        assert_eq!(bench.take_of([0; 32], 5, 0, 1).0, Verdict::Taken);
    }

    proptest! {
        /// Runs of one author, each lost, delayed or repeated: every number comes out once, in order, or is counted as missing.
        #[test]
        fn every_event_comes_out_once_in_order_or_is_counted(
            counts in proptest::collection::vec(0u64..5, 1..40),
            fates in proptest::collection::vec((0u8..4, 0u64..3000), 40),
        ) {
            let mut bench = Bench::new();
            bench.take(0, 1);
            let (mut arrivals, mut next) = (Vec::new(), 1);
            for (count, (fate, delay)) in counts.iter().zip(&fates) {
                let copies = match fate { 0 => 0, 1 => 2, _ => 1 };
                arrivals.extend((0..copies).map(|copy| (next * 10 + delay + copy * 500, next, *count)));
                next += count;
            }
            arrivals.push((u64::MAX / 2, next, 0));
            arrivals.sort_unstable();
            let (mut at, mut out, start) = (0, Vec::new(), bench.now);
            for (ms, first, count) in arrivals {
                // Time stands still for the last one: it comes when all else has expired.
                at = if ms > 1_000_000 { at + 10_000 } else { ms };
                bench.now = start + Duration::from_millis(at);
                bench.authors.expire(bench.now, &mut out);
                bench.authors.take(bench.now, Arrived { author: ME, epoch: 5, first, count, bytes: 1, run: (first * 10 + count) }, &mut out);
            }
            bench.now += HOLD;
            bench.authors.expire(bench.now, &mut out);
            let mut expected = 1;
            for one in out {
                match one {
                    Out::Run(run) => {
                        prop_assert_eq!(run / 10, expected);
                        expected += run % 10;
                    }
                    Out::Hole(hole) => expected += hole.events,
                }
            }
            prop_assert_eq!(expected, next);
            prop_assert_eq!((bench.authors.store.runs, bench.authors.store.bytes), (0, 0));
        }
    }
}
