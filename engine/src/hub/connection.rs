//! One connection as the hub's task sees it: its write half, what waits for it, where it is in its life. Does not route.

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::credit::Credit;
use super::fanout::{Lane, Segment};
use super::halves::Halves;
use super::seldom::Seldom;
use crate::link::{Link, LinkRead, LinkWrite};
use crate::model::CloseReason;
use crate::route::outbox::Cut;
use crate::route::{ConnKey, Outbox};
use crate::wire::control;
use crate::wire::frame::Framing;

/// Pieces given to one write. Source: measured, fan-out gains little above it.
pub(super) const MAX_SLICES: usize = 64;

/// What the reader's task, the hub's task and JavaScript know of a connection together.
#[derive(Debug)]
pub(super) struct ConnShared {
    started: Instant,
    /// Milliseconds after `started` at which the last byte came.
    last_read_ms: AtomicU64,
    /// Reading is paused by us, so silence says nothing of the peer.
    is_paused: AtomicBool,
    /// Some of its events were for the application since that last had room: if it falls behind, reading pauses.
    pub(super) reaches_application: AtomicBool,
    /// Notified when we begin to close it.
    pub(super) ends: Notify,
    buffered: AtomicUsize,
    /// Bytes of a half-received message.
    half: AtomicUsize,
    received: AtomicU64,
    sent: AtomicU64,
}

impl ConnShared {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            last_read_ms: AtomicU64::new(0),
            is_paused: AtomicBool::new(false),
            reaches_application: AtomicBool::new(false),
            ends: Notify::new(),
            buffered: AtomicUsize::new(0),
            half: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    pub(super) fn mark_read(&self, now: Instant) {
        self.restart_silence(now);
        self.is_paused.store(false, Ordering::Relaxed);
    }

    /// Reading goes on: silence counts from now.
    pub(super) fn mark_resumed(&self, now: Instant) {
        if self.is_paused() {
            self.mark_read(now);
        }
    }

    pub(super) fn mark_paused(&self) {
        self.is_paused.store(true, Ordering::Relaxed);
    }

    /// Whether reading is paused by us.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// Nobody was there to hear anything: silence counts from now.
    pub(super) fn restart_silence(&self, now: Instant) {
        self.last_read_ms.store(now.duration_since(self.started).as_millis() as u64, Ordering::Relaxed);
    }

    /// How long nothing came.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        let last = self.started + Duration::from_millis(self.last_read_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(last)
    }

    /// The reader holds so much of a message; true when all connections together hold too much by that.
    pub(super) fn hold_half(&self, bytes: usize, halves: &Halves) -> bool {
        let before = self.half.swap(bytes, Ordering::Relaxed);
        before != bytes && halves.change(before, bytes)
    }

    pub(super) fn half(&self) -> usize {
        self.half.load(Ordering::Relaxed)
    }

    pub(super) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    pub(super) fn stats(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    pub(super) fn count_received(&self, events: u64) {
        self.received.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self, events: u64) {
        self.sent.fetch_add(events, Ordering::Relaxed);
    }
}

/// Where a connection is in its life.
pub(super) enum Stage {
    /// Not read until the application admits it.
    Waiting(Box<dyn LinkRead>),
    /// Read and written.
    Open,
    /// Our close frame is on its way or waits; `reason` is what the application will be told.
    Closing(Box<Closing>),
}

/// Whether the peer has said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It is not read yet.
    Unread,
    /// It is, and its first word is waited for until then.
    Until(Instant),
    /// It has, or is not waited for any more.
    Over,
}

/// How a connection ends.
pub(super) struct Closing {
    pub(super) reason: CloseReason,
    pub(super) deadline: Instant,
    /// The peer has said its close: nothing to wait for but our own bytes.
    pub(super) ends_when_idle: bool,
    pub(super) is_clean: bool,
    /// What it published before is still passed on.
    pub(super) is_heard: bool,
}

pub(super) struct Connection {
    pub(super) key: ConnKey,
    /// Counts up over the life of the hub; never used twice.
    pub(super) serial: u64,
    pub(super) shared: Arc<ConnShared>,
    writer: Box<dyn LinkWrite>,
    pub(super) framing: Framing,
    pub(super) outbox: Outbox,
    pub(super) segments: Vec<Segment>,
    pub(super) lane: usize,
    pub(super) stage: Stage,
    pub(super) silence: Silence,
    pub(super) reader: Option<AbortHandle>,
    pub(super) is_native: bool,
    /// What the link can do besides, for our hello.
    pub(super) features: &'static [&'static str],
    /// The peer answers `__ping`.
    pub(super) answers_pings: bool,
    pub(super) is_blocked: bool,
    needs_flush: bool,
    /// What the other readers still wait for this one.
    pub(super) credit: Credit,
    pub(super) seldom: Option<Box<Seldom>>,
    pub(super) pinged_at: Option<Instant>,
    /// Bytes that ever waited, and that ever left again; `flush` compares them.
    pub(super) queued_total: u64,
    pub(super) left_total: u64,
}

impl Connection {
    pub(super) fn new(key: ConnKey, serial: u64, link: Link, lane: usize, stall: Duration, now: Instant) -> Self {
        Self {
            key,
            serial,
            shared: Arc::new(ConnShared::new(now)),
            writer: link.writer,
            framing: link.framing,
            outbox: Outbox::new(link.framing),
            segments: Vec::new(),
            lane,
            stage: Stage::Waiting(link.reader),
            silence: Silence::Unread,
            reader: None,
            is_native: false,
            features: link.features,
            answers_pings: false,
            is_blocked: false,
            needs_flush: false,
            credit: Credit::new(stall),
            seldom: None,
            pinged_at: None,
            queued_total: 0,
            left_total: 0,
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing(_))
    }

    /// True while what the peer publishes is passed on.
    pub(super) fn is_heard(&self) -> bool {
        match &self.stage {
            Stage::Waiting(_) => false,
            Stage::Open => true,
            Stage::Closing(closing) => closing.is_heard,
        }
    }

    /// The link is broken: even the frame in progress will not be finished.
    pub(super) fn forget_rest(&mut self) {
        self.left_total += self.outbox.len() as u64;
        self.outbox = Outbox::new(self.framing);
        self.shared.buffered.store(0, Ordering::Relaxed);
        self.needs_flush = false;
    }

    /// True when everything that was meant for the peer has left.
    pub(super) fn is_idle(&self) -> bool {
        self.outbox.is_empty() && !self.needs_flush
    }

    /// Writes the segments of a pass as far as the link takes them; the rest waits. Returns bytes written and writes made.
    pub(super) fn write_pass(&mut self, lane: &Lane, cx: &mut Context<'_>) -> io::Result<(usize, u64)> {
        if !self.outbox.is_empty() {
            self.queue_from(lane, 0, 0);
            return Ok((0, 0));
        }
        let (mut segment, mut offset, mut written, mut writes) = (0, 0, 0, 0);
        while segment < self.segments.len() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut filled = 0;
            let mut skip = offset;
            for (slice, part) in slices.iter_mut().zip(&self.segments[segment..]) {
                *slice = IoSlice::new(&lane.bytes_of(*part)[skip..]);
                skip = 0;
                filled += 1;
            }
            let Poll::Ready(taken) = self.writer.poll_write(cx, &slices[..filled]) else {
                self.queue_from(lane, segment, offset);
                return Ok((written, writes));
            };
            let mut taken = taken?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            written += taken;
            writes += 1;
            while segment < self.segments.len() {
                let left = lane.bytes_of(self.segments[segment]).len() - offset;
                if taken < left {
                    offset += taken;
                    break;
                }
                taken -= left;
                offset = 0;
                segment += 1;
            }
        }
        self.segments.clear();
        self.needs_flush = self.writer.poll_flush(cx)?.is_pending();
        Ok((written, writes))
    }

    /// What the link did not take waits: small frames copied, large ones shared.
    fn queue_from(&mut self, lane: &Lane, first: usize, offset: usize) {
        let before = self.outbox.len();
        let mut skip = offset;
        for segment in self.segments.drain(..).skip(first) {
            let bytes = lane.bytes_of(segment);
            if skip > 0 {
                self.outbox.begin_inside_frame(bytes, skip);
            }
            match lane.shared(segment) {
                Some(frame) => self.outbox.push_shared(frame.slice(skip..)),
                None => self.outbox.push_copy(&bytes[skip..]),
            }
            skip = 0;
        }
        self.note_queued(before);
    }

    /// So many bytes wait besides, for the peer to say something.
    pub(super) fn note_kept(&self, bytes: usize) {
        self.shared.buffered.store(self.outbox.len() + bytes, Ordering::Relaxed);
    }

    fn note_queued(&mut self, before: usize) {
        self.queued_total += (self.outbox.len() - before) as u64;
        self.shared.buffered.store(self.outbox.len(), Ordering::Relaxed);
    }

    /// Whether the peer can be asked for a sign of life: by the framing's own ping, or by `__ping` where it says that it answers.
    pub(super) fn can_ping(&self) -> bool {
        self.framing.has_control_frames() || self.answers_pings
    }

    /// Asks for a sign of life and is one. While we do not read, the peer's own questions stay without an answer, and a page does not see
    /// the pings of the framing: so it is told by an event.
    pub(super) fn push_ping(&mut self) {
        let mut frame = Vec::new();
        let by_event = self.answers_pings && self.shared.is_paused();
        if by_event || !self.framing.write_ping(&mut frame, b"", [0; 4]) {
            let mut text = String::new();
            control::write_ping(&mut text, 0);
            self.framing.write_message(&mut frame, &text, [0; 4]);
        }
        self.push(&frame);
    }

    /// Queues a frame of this connection alone.
    pub(super) fn push(&mut self, frame: &[u8]) {
        let before = self.outbox.len();
        self.outbox.push_copy(frame);
        self.note_queued(before);
    }

    /// Drops what has not begun to leave.
    pub(super) fn cut(&mut self) -> Cut {
        let dropped = self.outbox.cut();
        self.left_total += dropped.bytes as u64;
        self.shared.buffered.store(self.outbox.len(), Ordering::Relaxed);
        dropped
    }

    /// Writes what waits. Ready when nothing waits any more; returns bytes written meanwhile through `written`.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, written: &mut (usize, u64)) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let filled = self.outbox.gather(&mut slices);
            let taken = ready!(self.writer.poll_write(cx, &slices[..filled]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.advance(taken);
            self.left_total += taken as u64;
            self.shared.buffered.store(self.outbox.len(), Ordering::Relaxed);
            written.0 += taken;
            written.1 += 1;
        }
        ready!(self.writer.poll_flush(cx))?;
        self.needs_flush = false;
        Poll::Ready(Ok(()))
    }

    /// Ends our side of the link; what cannot be said any more is left unsaid.
    pub(super) fn end(&mut self, cx: &mut Context<'_>, reason: &CloseReason) {
        self.stop_reading();
        let _too_late = contained(|| Ok(self.writer.poll_close(cx, reason.code, &reason.reason)));
    }

    pub(super) fn stop_reading(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }
}

/// Runs what belongs to one connection: a panic in it is an error of that connection alone.
pub(super) fn contained<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(io::Error::other(Panicked)))
}

/// A defect of ours in what belongs to one connection.
#[derive(Debug, thiserror::Error)]
#[error("internal error")]
pub(super) struct Panicked;

/// True for the error that [`contained`] makes of a panic.
pub(super) fn is_panic(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Panicked>())
}
