//! What a stream has brought and nobody has taken yet. Does not read the stream; `link.rs` has the task that does.
//!
//! That task never stops reading: the QUIC engine keeps an entry for each small piece that waits in a stream, and above some thousand of them
//! it takes the peer for an attacker and ends the whole connection. So what comes is moved here at once, and the bound is ours:
//! a peer that knows credit may send what it was granted, any other what fits.
//!
//! Invariants: towards a peer with credit no more waits than the window and one frame; a frame that begins without credit ends the link;
//! grants follow what was taken out, never what came in.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::ledger::Claim;
use super::outflow::Outflow;
use crate::link::LinkError;
use crate::mailbox::lock;
use crate::model::CloseReason;
use crate::wire::control::{self, Control};
use crate::wire::envelope;
use crate::wire::frame::FrameError;
use crate::wire::length::{self, HEADER_LEN};

/// What each side may send at first, until it is granted more. Part of the protocol.
pub(super) const FIRST_CREDIT: usize = 64 << 10;
/// What may wait of a peer that knows credit. Source: none, a guess: 20 ms of a fast line.
const WINDOW: usize = 256 << 10;
/// What may wait of a peer that does not. Source: none, a guess: what may wait for JavaScript.
const PLAIN_WINDOW: usize = 4 << 20;
/// A grant is worth a frame once a part of the window was taken out.
const GRANT_PART: usize = WINDOW / 4;
/// In what steps room is claimed for a plain peer.
const CLAIM_STEP: usize = 64 << 10;
/// Bytes of one piece that waits.
const SEGMENT_BYTES: usize = 64 << 10;
/// Frames up to this size are looked at whole. Source: the contract: a hello has at most 1 KiB of payload.
const SMALL_FRAME: usize = 2048;
/// Bytes of a `__credit` at most; a longer one is a control event like others.
const MAX_CREDIT_FRAME: usize = 256;

/// How a stream ended.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// The peer, or this side, closed the connection with a code.
    Closed(CloseReason),
    /// The stream ended and nobody said why.
    Silent,
    /// The connection failed.
    Failed(std::io::ErrorKind, String),
    /// The peer broke a rule of the wire.
    Violation(FrameError),
}

/// What the reader of the link gets.
pub(super) enum Taken {
    Bytes(Vec<u8>),
    End(StreamEnd),
}

#[derive(Debug)]
pub(super) struct Inflow {
    state: Mutex<State>,
    outflow: Arc<Outflow>,
}

#[derive(Debug)]
struct State {
    segments: VecDeque<Vec<u8>>,
    len: usize,
    end: Option<StreamEnd>,
    reader: Option<Waker>,
    is_abandoned: bool,
    scan: Scan,
    bound: Bound,
    /// Taken out and not granted again.
    taken: usize,
    /// What may wait beyond the first credit.
    claim: Claim,
    /// What was granted a peer with credit beyond the first.
    window_beyond_first: usize,
}

/// What bounds the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// Bytes that it may still send; negative inside a frame that is larger.
    Credit(i64),
    /// What fits.
    Plain,
}

/// Where in a frame the stream is.
#[derive(Debug)]
struct Scan {
    /// A small frame, or a header, that is not complete.
    partial: Vec<u8>,
    /// Bytes until the end of a large frame.
    rest: usize,
    max_message: usize,
    has_frame: bool,
    is_over: bool,
}

/// Too much has come from a peer that cannot be told to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow;

impl Inflow {
    pub(super) fn new(max_message: usize, knows_credit: bool, claim: Claim, outflow: Arc<Outflow>) -> Self {
        let scan = Scan { partial: Vec::new(), rest: 0, max_message, has_frame: false, is_over: false };
        let state = State {
            segments: VecDeque::new(),
            len: 0,
            end: None,
            reader: None,
            is_abandoned: false,
            scan,
            bound: if knows_credit { Bound::Credit(FIRST_CREDIT as i64) } else { Bound::Plain },
            taken: 0,
            claim,
            window_beyond_first: 0,
        };
        Self { state: Mutex::new(state), outflow }
    }

    /// Keeps what came. What comes after the end of the link, or for nobody, is dropped.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<(), Overflow> {
        let mut state = lock(&self.state);
        let mut rest = bytes;
        while !rest.is_empty() && state.end.is_none() && !state.scan.is_over {
            rest = self.put_part(&mut state, rest);
        }
        let overflows = !state.is_abandoned && !state.has_room();
        let waker = state.reader.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if overflows { Err(Overflow) } else { Ok(()) }
    }

    /// Nothing more comes; only the first end counts.
    pub(super) fn end(&self, end: StreamEnd) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(end);
        let waker = state.reader.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Nobody reads any more: what comes is dropped.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.is_abandoned = true;
        state.segments = VecDeque::new();
        state.len = 0;
        state.claim.set(0);
    }

    /// What waits, in pieces; then the end.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Taken> {
        let mut state = lock(&self.state);
        let Some(segment) = state.segments.pop_front() else {
            if let Some(end) = state.end.take() {
                state.end = Some(StreamEnd::Silent);
                return Poll::Ready(Taken::End(end));
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.len -= segment.len();
        let grant = state.count_taken(segment.len());
        state.give_back();
        drop(state);
        if grant > 0 {
            self.outflow.grant(grant);
        }
        Poll::Ready(Taken::Bytes(segment))
    }

    /// Deals with a header, a small frame or a part of a large one; returns what is behind it.
    fn put_part<'a>(&self, state: &mut State, bytes: &'a [u8]) -> &'a [u8] {
        if state.scan.rest > 0 {
            let (part, behind) = bytes.split_at(state.scan.rest.min(bytes.len()));
            state.scan.rest -= part.len();
            state.keep(part);
            return behind;
        }
        if let Some(len) = state.scan.whole_small_frame(bytes) {
            let (frame, behind) = bytes.split_at(len);
            self.whole_frame(state, frame);
            return behind;
        }
        let want = state.scan.wanted();
        let (part, behind) = bytes.split_at((want - state.scan.partial.len()).min(bytes.len()));
        state.scan.partial.extend_from_slice(part);
        if state.scan.partial.len() == HEADER_LEN && !part.is_empty() {
            state.begin_frame();
        }
        if state.scan.partial.len() > HEADER_LEN && state.scan.partial.len() == state.scan.wanted() {
            let frame = std::mem::take(&mut state.scan.partial);
            self.whole_frame(state, &frame);
            state.scan.reuse(frame);
        }
        behind
    }

    fn whole_frame(&self, state: &mut State, frame: &[u8]) {
        let Bound::Credit(left) = state.bound else { return state.keep(frame) };
        let message = &frame[HEADER_LEN..];
        if let Some(bytes) = credit_of(message) {
            return self.outflow.add_credit(bytes);
        }
        if left <= 0 {
            return state.violate("a frame without credit");
        }
        state.bound = Bound::Credit(left - frame.len() as i64);
        state.keep(frame);
        if !std::mem::replace(&mut state.scan.has_frame, true) {
            self.on_first(state, message);
        }
    }

    /// A peer that does not know credit in spite of its protocol's name will neither grant nor heed it.
    fn on_first(&self, state: &mut State, message: &[u8]) {
        if says_credit(message) {
            let more = WINDOW - FIRST_CREDIT;
            // With many links at once each keeps what it has at first: slower, and as safe.
            if !state.claim.set(more) {
                return;
            }
            state.window_beyond_first = more;
            if let Bound::Credit(left) = &mut state.bound {
                *left += more as i64;
            }
            self.outflow.grant(more as u64);
        } else {
            state.bound = Bound::Plain;
            self.outflow.forget_credit();
        }
    }
}

impl State {
    /// The header of a frame is there.
    fn begin_frame(&mut self) {
        let len = length::frame_len(&self.scan.partial).unwrap_or(HEADER_LEN);
        let is_illegal = len == HEADER_LEN || len - HEADER_LEN > self.scan.max_message;
        if len <= HEADER_LEN + SMALL_FRAME && !is_illegal {
            return;
        }
        let header = std::mem::take(&mut self.scan.partial);
        if let Bound::Credit(left) = &mut self.bound
            && !is_illegal
        {
            if *left <= 0 {
                return self.violate("a frame without credit");
            }
            *left -= len as i64;
        }
        if !std::mem::replace(&mut self.scan.has_frame, true) {
            // Too long for a hello.
            self.bound = Bound::Plain;
        }
        // The decoder says what is wrong with an illegal one.
        self.keep(&header);
        self.scan.rest = len - HEADER_LEN;
        self.scan.is_over = is_illegal;
        self.scan.reuse(header);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.is_abandoned {
            return;
        }
        self.len += bytes.len();
        match self.segments.back_mut() {
            Some(last) if last.len() + bytes.len() <= SEGMENT_BYTES => last.extend_from_slice(bytes),
            _ => self.segments.push_back(bytes.to_vec()),
        }
    }

    /// What has come fits, by itself and beside what has come of other links.
    fn has_room(&mut self) -> bool {
        let wanted = self.wanted_claim();
        (self.bound != Bound::Plain || self.len <= PLAIN_WINDOW)
            && (wanted <= self.claim.bytes() || self.claim.set(wanted))
    }

    /// Gives back what is claimed and not wanted any more.
    fn give_back(&mut self) {
        let wanted = self.wanted_claim();
        if wanted < self.claim.bytes() {
            self.claim.set(wanted);
        }
    }

    /// What the link needs beyond what all have: the window of a peer with credit beyond the first, and its last frame, as far as it is large and
    /// more than what was left; of a plain one what waits.
    fn wanted_claim(&self) -> usize {
        match self.bound {
            Bound::Credit(left) => {
                self.window_beyond_first + (left.min(0).unsigned_abs() as usize).saturating_sub(CLAIM_STEP)
            }
            Bound::Plain => self.len.saturating_sub(FIRST_CREDIT).next_multiple_of(CLAIM_STEP),
        }
    }

    fn violate(&mut self, rule: &'static str) {
        self.scan.is_over = true;
        self.end.get_or_insert(StreamEnd::Violation(FrameError::Protocol(rule)));
    }

    /// So much was taken out; what is to be granted for it.
    fn count_taken(&mut self, bytes: usize) -> u64 {
        let Bound::Credit(left) = &mut self.bound else { return 0 };
        self.taken += bytes;
        if self.taken < GRANT_PART {
            return 0;
        }
        *left += self.taken as i64;
        std::mem::take(&mut self.taken) as u64
    }
}

impl Scan {
    /// Bytes that are collected before something is done.
    fn wanted(&self) -> usize {
        length::frame_len(&self.partial).unwrap_or(HEADER_LEN)
    }

    /// The length of the small, legal frame that begins here and is there as a whole.
    fn whole_small_frame(&self, bytes: &[u8]) -> Option<usize> {
        let len = length::frame_len(bytes).filter(|_| self.partial.is_empty())?;
        let is_legal = len > HEADER_LEN && len - HEADER_LEN <= self.max_message.min(SMALL_FRAME);
        (is_legal && len <= bytes.len()).then_some(len)
    }

    /// Keeps the memory of a small frame for the next one.
    fn reuse(&mut self, mut frame: Vec<u8>) {
        if self.partial.is_empty() && self.partial.capacity() == 0 {
            frame.clear();
            self.partial = frame;
        }
    }
}

fn control_of(message: &[u8]) -> Option<Control> {
    let envelope = envelope::decode(std::str::from_utf8(message).ok()?).ok()?;
    control::decode(&envelope.type_, envelope.payload)
}

/// The bytes that a `__credit` grants.
fn credit_of(message: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"__credit\"";
    // Nearly all messages begin like this and say so at once.
    let is_event = message.strip_prefix(b"{\"type\":\"").is_some_and(|rest| !rest.starts_with(b"_"));
    if is_event || message.len() > MAX_CREDIT_FRAME || !message.windows(NAME.len()).any(|part| part == NAME) {
        return None;
    }
    match control_of(message) {
        Some(Control::Credit { bytes }) => Some(bytes),
        _ => None,
    }
}

/// Whether a hello has the feature.
fn says_credit(message: &[u8]) -> bool {
    matches!(control_of(message), Some(Control::Hello { features, .. }) if features.iter().any(|it| it == "credit"))
}

/// The error that the reader of a link gets; nothing for an end that is none.
pub(super) fn link_error(end: StreamEnd) -> Result<Option<CloseReason>, LinkError> {
    match end {
        StreamEnd::Closed(reason) => Ok(Some(reason)),
        StreamEnd::Silent => Ok(None),
        StreamEnd::Failed(kind, why) => Err(std::io::Error::new(kind, why).into()),
        StreamEnd::Violation(error) => Err(error.into()),
    }
}
