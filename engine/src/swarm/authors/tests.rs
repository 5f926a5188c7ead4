//! Runs that come in any order, twice, torn, too many and from too many authors.

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
