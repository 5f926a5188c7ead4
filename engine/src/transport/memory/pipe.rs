//! One direction of a link inside a process: bounded bytes that may come late, be held up, get lost or be broken off.
//!
//! Does not know frames, nodes or the other direction. Invariants: what one end takes the other gets in that order and without a hole,
//! up to the moment at which the pipe breaks or begins to lose; an end that waits is woken by whatever may let it go on.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use crate::mailbox::lock;
use crate::model::CloseReason;

/// Bytes on their way in one direction. Source: none, a guess: what a loopback socket holds.
const PIPE_BYTES: usize = 64 << 10;

/// A pipe that ran empty gives a larger buffer back.
const KEPT_BYTES: usize = 4 << 10;

/// How long bytes take from one end to the other: `delay`, and a random part of `jitter` besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// What every byte takes at least.
    pub delay: Duration,
    /// What it may take besides. Order is kept all the same.
    pub jitter: Duration,
}

impl Lag {
    /// How long it is this time.
    pub(super) fn roll(self, dice: &mut StdRng) -> Duration {
        self.delay + self.jitter.mul_f64(dice.random::<f64>())
    }
}

/// The side of a pipe: who puts bytes in, or who takes them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Writer,
    Reader,
}

/// What becomes of bytes that have not arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// They will.
    Arrive,
    /// They vanish, and neither end is told.
    Vanish,
    /// They are lost, and both ends are told.
    Broken,
}

pub(super) struct Pipe {
    state: Mutex<State>,
}

struct State {
    bytes: VecDeque<u8>,
    /// How many of `bytes` have arrived; the others are in `late`.
    arrived: usize,
    /// How many bytes arrive when, in order.
    late: VecDeque<(usize, Instant)>,
    fate: Fate,
    lag: Lag,
    dice: StdRng,
    /// The writer has ended its side.
    is_ended: bool,
    /// When the reader will hear of that, and what it was told; never, when it vanished.
    ending: Option<(Instant, Option<CloseReason>)>,
    /// When the writer will hear that the reader has gone.
    abandoned: Option<Instant>,
    is_writer_stalled: bool,
    is_reader_stalled: bool,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Pipe")
            .field("bytes", &state.bytes.len())
            .field("arrived", &state.arrived)
            .field("fate", &state.fate)
            .finish_non_exhaustive()
    }
}

/// What came of trying to read.
pub(super) enum ReadTry {
    /// Bytes, the end, or an error.
    Done(io::Result<()>),
    /// Something arrives then.
    Until(Instant),
    /// Nothing is on its way.
    Waiting,
}

impl Pipe {
    /// `dice` roll the jitter.
    pub(super) fn new(lag: Lag, dice: StdRng) -> Self {
        Self {
            state: Mutex::new(State {
                bytes: VecDeque::new(),
                arrived: 0,
                late: VecDeque::new(),
                fate: Fate::Arrive,
                lag,
                dice,
                is_ended: false,
                ending: None,
                abandoned: None,
                is_writer_stalled: false,
                is_reader_stalled: false,
                writer: None,
                reader: None,
            }),
        }
    }

    // ---- The two ends ----------------------------------------------------------------------------------------------------------

    /// Takes what there is room for; pending when there is none.
    pub(super) fn write(&self, bytes: &[IoSlice<'_>], cx: &Context<'_>) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.state);
        let taken = state.write(bytes, Instant::now());
        if taken.is_pending() {
            state.writer = Some(cx.waker().clone());
        } else {
            wake_after(state, Side::Reader);
        }
        taken
    }

    /// Gives what has arrived; an empty read is the end. Whoever may read no further is woken by what comes, but not by time.
    pub(super) fn read(&self, into: &mut ReadBuf<'_>, cx: &Context<'_>) -> ReadTry {
        let mut state = lock(&self.state);
        let read = state.read(into, Instant::now());
        if let ReadTry::Done(_) = read {
            wake_after(state, Side::Writer);
        } else {
            state.reader = Some(cx.waker().clone());
        }
        read
    }

    /// The writer ends its side, with a farewell or without; pending while it is stalled.
    pub(super) fn end(&self, farewell: Option<CloseReason>, cx: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.is_writer_stalled {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.end(farewell, Instant::now());
        wake_after(state, Side::Reader);
        Poll::Ready(())
    }

    /// Both halves of the writer's end have gone, however that came. Returns when the reader hears of it.
    pub(super) fn end_by_drop(&self) -> Instant {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.end(None, now);
        let due = state.ending.as_ref().map_or(now, |(due, _)| *due);
        wake_after(state, Side::Reader);
        due
    }

    /// Nobody reads any more; the writer hears of it at `due`. What it writes until then is lost.
    pub(super) fn abandon(&self, due: Instant) {
        let mut state = lock(&self.state);
        state.abandoned = Some(due);
        state.forget_bytes();
        wake_after(state, Side::Writer);
    }

    /// What the writer said when it ended, for whoever has read to the end.
    pub(super) fn take_farewell(&self) -> Option<CloseReason> {
        lock(&self.state).ending.as_mut().and_then(|(_, farewell)| farewell.take())
    }

    // ---- Conditions ------------------------------------------------------------------------------------------------------------

    /// What is written from now on takes so long.
    pub(super) fn set_lag(&self, lag: Lag) {
        lock(&self.state).lag = lag;
    }

    /// One side neither takes nor gives bytes, or goes on.
    pub(super) fn set_stalled(&self, side: Side, is_stalled: bool) {
        let mut state = lock(&self.state);
        match side {
            Side::Writer => state.is_writer_stalled = is_stalled,
            Side::Reader => state.is_reader_stalled = is_stalled,
        }
        wake_after(state, side);
    }

    /// From now on nothing arrives, and nobody is told.
    pub(super) fn lose(&self) {
        let mut state = lock(&self.state);
        state.stop_arriving(Fate::Vanish, Instant::now());
        wake_after(state, Side::Writer);
    }

    /// Breaks: both ends are told, when they have read what had arrived.
    pub(super) fn break_off(&self) {
        let mut state = lock(&self.state);
        state.stop_arriving(Fate::Broken, Instant::now());
        let wakers = [state.writer.take(), state.reader.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// True when bytes vanish in it.
    pub(super) fn is_lossy(&self) -> bool {
        lock(&self.state).fate == Fate::Vanish
    }
}

/// Lets go of the lock, then wakes who waits at `side`.
fn wake_after(mut state: MutexGuard<'_, State>, side: Side) {
    let waker = match side {
        Side::Writer => state.writer.take(),
        Side::Reader => state.reader.take(),
    };
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    fn write(&mut self, bytes: &[IoSlice<'_>], now: Instant) -> Poll<io::Result<usize>> {
        let offered: usize = bytes.iter().map(|slice| slice.len()).sum();
        let is_refused = self.abandoned.is_some_and(|due| now >= due);
        match self.fate {
            _ if self.is_writer_stalled => Poll::Pending,
            Fate::Broken => Poll::Ready(Err(broken())),
            _ if self.is_ended => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Fate::Vanish => Poll::Ready(Ok(offered)),
            Fate::Arrive if is_refused => Poll::Ready(Err(gone())),
            Fate::Arrive if self.abandoned.is_some() => Poll::Ready(Ok(offered)),
            Fate::Arrive => self.take(bytes, offered, now),
        }
    }

    fn take(&mut self, bytes: &[IoSlice<'_>], offered: usize, now: Instant) -> Poll<io::Result<usize>> {
        let taken = offered.min(PIPE_BYTES - self.bytes.len());
        if taken == 0 && offered > 0 {
            return Poll::Pending;
        }
        let mut left = taken;
        for slice in bytes {
            let part = &slice[..left.min(slice.len())];
            self.bytes.extend(part);
            left -= part.len();
        }
        self.send_off(taken, now);
        Poll::Ready(Ok(taken))
    }

    /// The last `count` bytes are on their way.
    fn send_off(&mut self, count: usize, now: Instant) {
        let due = self.arrival(now);
        match self.late.back_mut() {
            Some((waiting, last)) if due <= *last => *waiting += count,
            None if due <= now => self.arrived += count,
            _ => self.late.push_back((count, due)),
        }
    }

    /// When what leaves now arrives: never before what left earlier.
    fn arrival(&mut self, now: Instant) -> Instant {
        let due = if self.lag == Lag::default() { now } else { now + self.lag.roll(&mut self.dice) };
        self.late.back().map_or(due, |(_, last)| due.max(*last))
    }

    fn read(&mut self, into: &mut ReadBuf<'_>, now: Instant) -> ReadTry {
        if self.is_reader_stalled {
            return ReadTry::Waiting;
        }
        self.arrive(now);
        if self.arrived > 0 {
            self.give(into);
            return ReadTry::Done(Ok(()));
        }
        let due = self.late.front().map(|(_, due)| *due).or(self.ending.as_ref().map(|(due, _)| *due));
        match due {
            Some(due) if due <= now => ReadTry::Done(Ok(())),
            Some(due) => ReadTry::Until(due),
            None if self.fate == Fate::Broken => ReadTry::Done(Err(broken())),
            None => ReadTry::Waiting,
        }
    }

    fn arrive(&mut self, now: Instant) {
        while let Some((count, due)) = self.late.front()
            && *due <= now
        {
            self.arrived += count;
            self.late.pop_front();
        }
    }

    fn give(&mut self, into: &mut ReadBuf<'_>) {
        let count = self.arrived.min(into.remaining());
        let (front, back) = self.bytes.as_slices();
        let from_front = count.min(front.len());
        into.put_slice(&front[..from_front]);
        into.put_slice(&back[..count - from_front]);
        self.bytes.drain(..count);
        self.arrived -= count;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = VecDeque::new();
        }
    }

    fn end(&mut self, farewell: Option<CloseReason>, now: Instant) {
        if !std::mem::replace(&mut self.is_ended, true) && self.fate == Fate::Arrive {
            self.ending = Some((self.arrival(now), farewell));
        }
    }

    /// What has arrived stays, all else is lost.
    fn stop_arriving(&mut self, fate: Fate, now: Instant) {
        self.arrive(now);
        self.fate = fate;
        self.late.clear();
        self.bytes.truncate(self.arrived);
        self.ending.take_if(|(due, _)| *due > now);
    }

    fn forget_bytes(&mut self) {
        self.bytes = VecDeque::new();
        self.late.clear();
        self.arrived = 0;
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection was broken off")
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the peer has gone")
}
