//! The queue in front of a hub or spoke task: batches of operations that point into a text of their own. Does not know what the
//! operations mean.
//!
//! Invariants: a batch holds the bytes of one pass at most, or one event or read alone, so a pass is bounded; operations come out in the order in which
//! they went in; a sleeping task is woken once, a busy one never.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::model::{Limits, Published};

/// Operations of one pass at most, for those that carry no text. Source: none, a guess.
const MAX_OPS: usize = 4096;

/// Emptied batches that are kept, and how large one may be. Source: none, a guess: one in work, one being filled.
const MAX_SPARE: usize = 2;
const MAX_SPARE_BYTES: usize = 128 << 10;

/// Locks a mutex whose data stays sound when a holder panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a task is asked to do; it may point into the text of its batch.
pub(crate) trait Operation {
    /// The text was appended to one of `by` bytes.
    fn rebase(&mut self, by: u32);

    /// What is remembered of events that were dropped for lack of room, until it stands in the queue.
    type Loss: Default;

    /// Stands where events were dropped and nothing has followed yet: what they were is asked for with the number.
    fn losing(number: u64) -> Self;

    /// Stands where events were dropped.
    fn lost(loss: Self::Loss) -> Self;
}

/// Operations and the text they point into.
#[derive(Debug)]
pub(crate) struct Batch<Op> {
    pub(crate) text: String,
    pub(crate) ops: Vec<Op>,
    /// Bytes that operations of a read hold besides the text.
    pub(crate) owned: usize,
    published_cost: usize,
    published_events: u64,
    read_cost: usize,
}

impl<Op> Default for Batch<Op> {
    fn default() -> Self {
        Self { text: String::new(), ops: Vec::new(), owned: 0, published_cost: 0, published_events: 0, read_cost: 0 }
    }
}

impl<Op> Batch<Op> {
    /// True when some of it comes from the application.
    pub(crate) fn is_published(&self) -> bool {
        self.published_cost > 0
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ops.clear();
        self.owned = 0;
        self.published_cost = 0;
        self.published_events = 0;
        self.read_cost = 0;
    }
}

struct State<Op: Operation> {
    batches: VecDeque<Batch<Op>>,
    /// Dropped behind everything in `batches`, and the number of that place.
    loss: Option<Op::Loss>,
    losses: u64,
    /// Emptied batches whose memory is used again: allocated here and freed by the task, each would cost both threads.
    spare: Vec<Batch<Op>>,
    waker: Option<Waker>,
    readers: Vec<Waker>,
    /// What waits may be taken; else its turn is not over.
    is_announced: bool,
    is_closed: bool,
}

/// Nobody takes operations any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

pub(crate) struct Mailbox<Op: Operation> {
    state: Mutex<State<Op>>,
    published: AtomicUsize,
    read: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    unreported: AtomicU64,
    /// A hint for who looks often: the lock has the truth.
    has_some: AtomicBool,
    pass_bytes: usize,
    /// Publications may be taken when a batch is full, behind a command, or by `announce`: whoever publishes says where a turn ends.
    gathers: bool,
}

impl<Op: Operation> Mailbox<Op> {
    pub(crate) fn new(pass_bytes: usize) -> Self {
        let state = State {
            batches: VecDeque::new(),
            loss: None,
            losses: 0,
            spare: Vec::new(),
            waker: None,
            readers: Vec::new(),
            is_announced: false,
            is_closed: false,
        };
        Self {
            state: Mutex::new(state),
            published: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unreported: AtomicU64::new(0),
            has_some: AtomicBool::new(false),
            pass_bytes,
            gathers: false,
        }
    }

    /// One whose publications are announced by whoever publishes them.
    pub(crate) fn gathering(pass_bytes: usize) -> Self {
        Self { gathers: true, ..Self::new(pass_bytes) }
    }

    /// The turn is over: what it has published may be taken.
    pub(crate) fn announce(&self) {
        let state = lock(&self.state);
        if !state.batches.is_empty() {
            self.wake(state);
        }
    }

    /// Bytes accepted from the application and not yet done, overhead included.
    pub(crate) fn published_bytes(&self) -> usize {
        self.published.load(Ordering::Relaxed)
    }

    /// Appends an event from the application: `len` bytes of envelope, of at most `max_message`, unless more than `max_waiting` bytes would
    /// wait. An empty mailbox takes any one event. What is dropped is counted, noted in its place, and the task is asked to report it.
    pub(crate) fn publish(
        &self,
        len: usize,
        max_message: usize,
        max_waiting: usize,
        write: impl FnOnce(&mut String) -> Op,
        note: impl FnOnce(&mut Op::Loss),
    ) -> Published {
        if len > max_message {
            return Published::TooLarge;
        }
        let cost = len + Limits::EVENT_OVERHEAD_BYTES;
        let waiting = self.published.load(Ordering::Relaxed);
        if waiting > 0 && waiting + cost > max_waiting {
            return self.refuse(note);
        }
        let mut state = lock(&self.state);
        if state.is_closed {
            return Published::Closed;
        }
        if let Some(loss) = state.loss.take() {
            state.open_batch(self.pass_bytes, 0).ops.push(Op::lost(loss));
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.published.fetch_add(cost, Ordering::Relaxed);
        let batch = state.open_batch(self.pass_bytes, len);
        let op = write(&mut batch.text);
        batch.ops.push(op);
        batch.published_cost += cost;
        batch.published_events += 1;
        if !self.gathers || state.batches.len() > 1 {
            self.wake(state);
        }
        Published::Accepted
    }

    fn refuse(&self, note: impl FnOnce(&mut Op::Loss)) -> Published {
        let mut state = lock(&self.state);
        if state.is_closed {
            return Published::Closed;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.unreported.fetch_add(1, Ordering::Relaxed);
        let is_first = state.loss.is_none();
        note(state.loss.get_or_insert_default());
        if is_first {
            state.losses += 1;
            let number = state.losses;
            state.open_batch(self.pass_bytes, 0).ops.push(Op::losing(number));
            self.wake(state);
        }
        Published::Full
    }

    /// What was dropped in the place of `losing(number)`; nothing if an event has followed, whose `lost` has it.
    pub(crate) fn take_loss(&self, number: u64) -> Option<Op::Loss> {
        let mut state = lock(&self.state);
        if state.losses == number { state.loss.take() } else { None }
    }

    /// Events dropped for lack of room since this was asked last.
    pub(crate) fn take_unreported(&self) -> u64 {
        self.unreported.swap(0, Ordering::Relaxed)
    }

    /// Events taken, and events dropped for lack of room.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.accepted.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Appends a command. Commands are few and not bounded.
    pub(crate) fn command(&self, op: Op) -> Result<(), Closed> {
        let mut state = lock(&self.state);
        if state.is_closed {
            return Err(Closed);
        }
        state.open_batch(self.pass_bytes, 0).ops.push(op);
        self.wake(state);
        Ok(())
    }

    /// Appends a whole read and empties it.
    pub(crate) fn append_read(&self, read: &mut Batch<Op>) {
        let mut state = lock(&self.state);
        if state.is_closed || read.ops.is_empty() {
            return read.clear();
        }
        let cost = read.text.len() + read.owned + read.ops.len() * Limits::EVENT_OVERHEAD_BYTES;
        self.read.fetch_add(cost, Ordering::Relaxed);
        let batch = state.open_batch(self.pass_bytes, read.text.len() + read.owned);
        let by = batch.text.len() as u32;
        batch.text.push_str(&read.text);
        batch.ops.extend(read.ops.drain(..).map(|mut op| {
            op.rebase(by);
            op
        }));
        batch.read_cost += cost;
        batch.owned += read.owned;
        read.clear();
        self.wake(state);
    }

    /// Takes the oldest batch. It counts as waiting until it is given back with `done`.
    pub(crate) fn take(&self) -> Option<Batch<Op>> {
        self.take_if(|_, _| true)
    }

    /// Takes the oldest batch if its bytes of text and its operations fit: both may be more by now than [`Self::next_size`] said.
    pub(crate) fn take_if(&self, fits: impl FnOnce(usize, usize) -> bool) -> Option<Batch<Op>> {
        let mut state = lock(&self.state);
        if !state.is_announced || state.batches.front().is_some_and(|batch| !fits(batch.text.len(), batch.ops.len())) {
            return None;
        }
        let batch = state.batches.pop_front();
        state.is_announced = !state.batches.is_empty();
        self.has_some.store(state.is_announced, Ordering::Relaxed);
        batch
    }

    /// Bytes of text and operations of the batch that is taken next; more may come to it before.
    pub(crate) fn next_size(&self) -> (usize, usize) {
        lock(&self.state).batches.front().map_or((0, 0), |batch| (batch.text.len(), batch.ops.len()))
    }

    /// Whether something seems to wait; costs no lock.
    pub(crate) fn has_some(&self) -> bool {
        self.has_some.load(Ordering::Relaxed)
    }

    /// Gives the room of published events back, one by one.
    pub(crate) fn release(&self, cost: usize) {
        self.published.fetch_sub(cost, Ordering::Relaxed);
    }

    /// The task has dealt with a batch.
    pub(crate) fn done(&self, batch: Batch<Op>) {
        self.published.fetch_sub(batch.published_cost, Ordering::Relaxed);
        self.release_read(&batch);
        self.recycle(batch);
    }

    /// Gives the memory of a batch back.
    pub(crate) fn recycle(&self, mut batch: Batch<Op>) {
        if batch.text.capacity() <= MAX_SPARE_BYTES {
            batch.clear();
            let mut state = lock(&self.state);
            if state.spare.len() < MAX_SPARE {
                state.spare.push(batch);
            }
        }
    }

    /// Gives the room of what was read back, and nothing of what was published.
    pub(crate) fn release_read(&self, batch: &Batch<Op>) {
        if batch.read_cost == 0 {
            return;
        }
        let before = self.read.fetch_sub(batch.read_cost, Ordering::Relaxed);
        if before - batch.read_cost < Limits::MAX_READ_BYTES / 2 {
            let readers = std::mem::take(&mut lock(&self.state).readers);
            readers.into_iter().for_each(Waker::wake);
        }
    }

    /// Ready while readers may read; else wakes when they may.
    pub(crate) fn poll_read_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.read.load(Ordering::Relaxed) < Limits::MAX_READ_BYTES {
            return Poll::Ready(());
        }
        let mut state = lock(&self.state);
        if state.is_closed || self.read.load(Ordering::Relaxed) < Limits::MAX_READ_BYTES {
            return Poll::Ready(());
        }
        state.readers.push(cx.waker().clone());
        Poll::Pending
    }

    /// Ready while something waits; else wakes when something does.
    pub(crate) fn poll_some(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.is_announced {
            return Poll::Ready(());
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Wakes the task if it sleeps, outside of the lock.
    fn wake(&self, mut state: MutexGuard<'_, State<Op>>) {
        self.has_some.store(true, Ordering::Relaxed);
        state.is_announced = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Refuses everything from now on and drops what waits; returns how many events of the application that were, and all operations, for
    /// those that want an answer.
    pub(crate) fn close(&self) -> (u64, Vec<Op>) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        let dropped = std::mem::take(&mut state.batches);
        let readers = std::mem::take(&mut state.readers);
        drop(state);
        let events = dropped.iter().map(|batch| batch.published_events).sum();
        let mut ops = Vec::new();
        for mut batch in dropped {
            ops.append(&mut batch.ops);
            self.done(batch);
        }
        readers.into_iter().for_each(Waker::wake);
        (events, ops)
    }
}

impl<Op: Operation> State<Op> {
    /// The batch that takes `coming` more bytes: above the bytes of one pass only if they are all it holds.
    fn open_batch(&mut self, pass_bytes: usize, coming: usize) -> &mut Batch<Op> {
        let is_full = |batch: &Batch<Op>| {
            let held = batch.text.len() + batch.owned;
            held >= pass_bytes || held > 0 && held + coming > pass_bytes || batch.ops.len() >= MAX_OPS
        };
        if self.batches.back().is_none_or(is_full) {
            let fresh = self.spare.pop().unwrap_or_default();
            self.batches.push_back(fresh);
        }
        self.batches.back_mut().expect("one was pushed if there was none")
    }
}
