//! Engine → JavaScript: a bounded buffer of ready-made batches, one wake per batch. Does not know targets.
//!
//! Invariants: a chunk is exactly what one `take` returns; `is_armed` is true while JavaScript will call `take` again by itself; entries
//! come out in the order in which they went in.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use alkpubsub_engine::delivery::{Delivery, Notice};
use alkpubsub_engine::model::Limits;
use alkpubsub_engine::wire::envelope::write_text;
use foldhash::fast::RandomState;
use napi::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};

use crate::heap;
use crate::notice;
use crate::text::{TextOut, push_utf16};

/// Called without data: it only says that there is something to take. Weak: it never holds the process.
pub(crate) type Wake = ThreadsafeFunction<(), (), (), Status, false, true, 0>;

/// Entries of one batch at most. Source: measured, the longest pause of the event loop stays under 5 ms.
const MAX_ENTRIES: usize = 512;
/// Bytes of one batch, one entry above it. Source: measured, texts of 256 KiB cost ten times as much.
const MAX_CHUNK_BYTES: usize = 64 << 10;
/// A batch this small that empties the inbox ends the series; after a larger one JavaScript looks once more without a wake.
const SMALL_BATCH: usize = 8;
/// So long a lingering inbox is looked at again without a wake. Source: measured, a wake costs its sender about 5 microseconds; a guess above that.
const LINGER: Duration = Duration::from_micros(20);
/// Numbers before the first entry in `meta`.
const META_HEAD: usize = 2;
/// Numbers per entry in `meta`.
const META_ENTRY: usize = 3;
/// The pair of a notice.
const NOTICE: u32 = 0;
/// Marks the first delivery of a pair in its slot: names come with it.
const FIRST: u32 = 1 << 31;
/// Slots for pairs; slot 0 is the notices'.
const SLOTS: usize = 4096;

/// When readers go on after the inbox was full.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Resume {
    /// At half: many readers share the inbox, and each is woken.
    AtHalf,
    /// As soon as one batch was taken. A reader that takes nothing for as long as half an inbox lasts looks like one that has stopped.
    AtOnce,
}

impl Resume {
    fn below(self) -> usize {
        match self {
            Self::AtHalf => Limits::INBOX_BYTES / 2,
            Self::AtOnce => Limits::INBOX_BYTES - MAX_CHUNK_BYTES,
        }
    }
}

struct Entry {
    pair: u32,
    connection: u32,
    bytes: u32,
}

/// What one `take` returns: `[value,value,…` and its entries.
struct Chunk {
    text: String,
    entries: Vec<Entry>,
    is_ascii: bool,
}

impl Chunk {
    fn new() -> Self {
        Self { text: String::from("["), entries: Vec::new(), is_ascii: true }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES || self.text.len() >= MAX_CHUNK_BYTES
    }

    fn push(&mut self, pair: u32, connection: u32, write: impl FnOnce(&mut String)) {
        if !self.entries.is_empty() {
            self.text.push(',');
        }
        let start = self.text.len();
        write(&mut self.text);
        let value = &self.text[start..];
        self.is_ascii &= value.is_ascii();
        self.entries.push(Entry { pair, connection, bytes: value.len() as u32 });
    }

    fn cost(&self) -> usize {
        self.text.len() + self.entries.len() * Limits::EVENT_OVERHEAD_BYTES
    }

    /// Fills in lengths and gives the text; lengths are in UTF-16 units, as JavaScript counts.
    fn into_text(mut self, meta: &mut [u32]) -> TextOut {
        self.text.push(']');
        let slots = meta[META_HEAD..].chunks_exact_mut(META_ENTRY);
        if self.is_ascii {
            for (slot, entry) in slots.zip(&self.entries) {
                slot.copy_from_slice(&[entry.pair, entry.bytes, entry.connection]);
            }
            return TextOut::Ascii(self.text);
        }
        let mut units = Vec::with_capacity(self.text.len() + 1);
        let mut position = 0;
        for (slot, entry) in slots.zip(&self.entries) {
            // The bracket or comma before the value.
            push_utf16(&mut units, &self.text[position..position + 1]);
            let end = position + 1 + entry.bytes as usize;
            let len = push_utf16(&mut units, &self.text[position + 1..end]);
            slot.copy_from_slice(&[entry.pair, len as u32, entry.connection]);
            position = end;
        }
        push_utf16(&mut units, &self.text[position..]);
        TextOut::Wide(units)
    }
}

/// The pairs that JavaScript knows by number. A pair has one slot; another one that meets it there replaces it.
struct Pairs {
    hasher: RandomState,
    slots: Vec<Option<(Box<str>, usize)>>,
}

impl Pairs {
    fn new() -> Self {
        Self { hasher: RandomState::default(), slots: Vec::new() }
    }

    /// The number of a pair, marked if JavaScript must be told its names.
    fn number(&mut self, type_: &str, id: &str) -> u32 {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, || None);
        }
        let slot = 1 + self.hasher.hash_one((type_, id)) as usize % (SLOTS - 1);
        if self.slots[slot].as_ref().is_some_and(|(names, type_len)| is_pair(names, *type_len, type_, id)) {
            return slot as u32;
        }
        self.slots[slot] = Some((format!("{type_}{id}").into(), type_.len()));
        slot as u32 | FIRST
    }
}

fn is_pair(names: &str, type_len: usize, type_: &str, id: &str) -> bool {
    type_len == type_.len() && names.len() == type_len + id.len() && names.starts_with(type_) && names.ends_with(id)
}

/// Whether JavaScript looks again although nothing waits. A sender that is another JavaScript thread pays for each wake more than for its
/// event; so while wakes follow each other within [`LINGER`], the receiver waits that long before it asks for the next.
struct Linger {
    heard_at: Instant,
    asleep_since: Instant,
    is_worth: bool,
}

impl Linger {
    fn new() -> Self {
        let now = Instant::now();
        Self { heard_at: now, asleep_since: now, is_worth: false }
    }

    /// A sender is about to wake the receiver.
    fn woken(&mut self) {
        self.is_worth = self.asleep_since.elapsed() < LINGER;
    }

    /// Something or nothing was taken: whether to look again.
    fn goes_on(&mut self, is_empty: bool) -> bool {
        let now = Instant::now();
        if !is_empty {
            self.heard_at = now;
        }
        let goes_on = self.is_worth && now.duration_since(self.heard_at) < LINGER;
        if !goes_on {
            self.asleep_since = now;
        }
        goes_on
    }
}

struct State {
    linger: Option<Linger>,
    chunks: VecDeque<Chunk>,
    pairs: Pairs,
    waiting: Vec<Waker>,
    is_closed: bool,
}

/// The inbox of one root target.
pub(crate) struct Inbox {
    state: Mutex<State>,
    resume: Resume,
    bytes: AtomicUsize,
    is_armed: AtomicBool,
    wake: OnceLock<Wake>,
}

impl Inbox {
    pub(crate) fn new(resume: Resume) -> Self {
        Self::with(resume, None)
    }

    /// For senders that are JavaScript threads themselves.
    pub(crate) fn lingering() -> Self {
        Self::with(Resume::AtHalf, Some(Linger::new()))
    }

    fn with(resume: Resume, linger: Option<Linger>) -> Self {
        let (chunks, pairs) = (VecDeque::new(), Pairs::new());
        let state = State { linger, chunks, pairs, waiting: Vec::new(), is_closed: false };
        Self {
            state: Mutex::new(state),
            resume,
            bytes: AtomicUsize::new(0),
            is_armed: AtomicBool::new(false),
            wake: OnceLock::new(),
        }
    }

    /// Connects the inbox to JavaScript. Only the first call counts.
    pub(crate) fn attach(&self, wake: Wake) {
        if self.wake.set(wake).is_ok() && !self.lock().chunks.is_empty() {
            self.arm();
        }
    }

    /// Takes one batch. `meta` has room for 512 entries.
    pub(crate) fn take(&self, meta: &mut [u32]) -> TextOut {
        if meta.len() < META_HEAD + META_ENTRY * MAX_ENTRIES {
            return TextOut::Ascii("[]".into());
        }
        let mut state = self.lock();
        let chunk = state.chunks.pop_front().unwrap_or_else(Chunk::new);
        let lingers = state.linger.as_mut().is_some_and(|linger| linger.goes_on(chunk.entries.is_empty()));
        let has_more = !state.chunks.is_empty() || chunk.entries.len() >= SMALL_BATCH || lingers;
        if !has_more {
            // Under the lock: a push that comes after it sees the inbox disarmed and wakes.
            self.is_armed.store(false, Ordering::Release);
        }
        drop(state);
        self.release(chunk.cost());
        meta[0] = chunk.entries.len() as u32;
        meta[1] = u32::from(has_more);
        chunk.into_text(meta)
    }

    /// Nobody will take any more: everything is dropped, everybody who waits goes on.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.chunks = VecDeque::new();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.bytes.store(0, Ordering::Relaxed);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, write: impl FnOnce(&mut Pairs, &mut Chunk)) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        let State { chunks, pairs, linger, .. } = &mut *state;
        if let Some(linger) = linger
            && !self.is_armed.load(Ordering::Acquire)
        {
            linger.woken();
        }
        if chunks.back().is_none_or(Chunk::is_full) {
            chunks.push_back(Chunk::new());
            self.bytes.fetch_add(1, Ordering::Relaxed);
        }
        let chunk = chunks.back_mut().expect("one was pushed if there was none");
        let before = chunk.cost();
        write(pairs, chunk);
        self.bytes.fetch_add(chunk.cost() - before, Ordering::Relaxed);
        drop(state);
        self.arm();
    }

    fn arm(&self) {
        if let Some(wake) = self.wake.get()
            && !self.is_armed.load(Ordering::Acquire)
            && !self.is_armed.swap(true, Ordering::AcqRel)
        {
            wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    fn release(&self, cost: usize) {
        let before = self.bytes.fetch_sub(cost.min(self.bytes.load(Ordering::Relaxed)), Ordering::Relaxed);
        if before.saturating_sub(cost) < self.resume.below() {
            let waiting = std::mem::take(&mut self.lock().waiting);
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Delivery for Inbox {
    fn event(&self, connection: u32, type_: &str, id: &str, payload: &str) {
        self.push(|pairs, chunk| {
            let pair = pairs.number(type_, id);
            chunk.push(pair, connection, |text| {
                if pair & FIRST == 0 {
                    text.push_str(payload);
                } else {
                    text.push('[');
                    write_text(text, type_);
                    text.push(',');
                    write_text(text, id);
                    text.push(',');
                    text.push_str(payload);
                    text.push(']');
                }
            });
        });
    }

    fn notice(&self, notice: Notice) {
        let json = notice::to_json(notice).to_string();
        self.push(|_, chunk| chunk.push(NOTICE, 0, |text| text.push_str(&json)));
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= Limits::INBOX_BYTES
    }

    fn freed_much(&self) {
        heap::give_back();
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_full() {
            return Poll::Ready(());
        }
        let mut state = self.lock();
        if state.is_closed || !self.is_full() {
            return Poll::Ready(());
        }
        if !state.waiting.last().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
