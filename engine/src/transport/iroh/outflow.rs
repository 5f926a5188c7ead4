//! What waits to go out on a stream, and the task that writes it. Does not decide what is sent, but for grants of credit.
//!
//! Invariants: what waits here is bounded; towards a peer that grants credit no frame begins without any; a grant stands between two frames
//! and never waits for credit itself; what was taken before the end is written before the peer hears of the end.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::endpoint::Stay;
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason};
use crate::wire::control;
use crate::wire::length::{self, HEADER_LEN};

/// Bytes that wait for one write. Source: measured, 64 to 256 KiB are alike.
const MAX_WAITING: usize = 128 << 10;
/// Credit that nobody comes to the end of.
const MAX_CREDIT: i64 = 1 << 40;

/// What is taken from whoever sends, until the task writes it.
#[derive(Debug)]
pub(super) struct Outflow {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    frames: Frames,
    /// Bytes that the peer still takes, negative after a frame that was larger; `None`: it does not say.
    credit: Option<i64>,
    /// What we grant the peer, as soon as there is a place between two frames.
    grant: u64,
    end: Option<CloseReason>,
    /// The endpoint stays for what is still to be written.
    stay: Option<Stay>,
    broken: Option<String>,
    sender: Option<Waker>,
    task: Option<Waker>,
}

/// Where in a frame the bytes that were taken end.
#[derive(Debug, Default)]
struct Frames {
    header: Vec<u8>,
    rest: usize,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.rest == 0 && self.header.is_empty()
    }
}

/// What the task does next.
pub(super) enum Next {
    Write(Bytes),
    End(CloseReason, Option<Stay>),
}

impl Outflow {
    /// `credit`: what a peer takes at first that grants more later.
    pub(super) fn new(credit: Option<i64>) -> Self {
        Self { state: Mutex::new(State { credit, ..State::default() }) }
    }

    /// Takes what it can of whole and partial frames.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.state);
        if let Some(broken) = &state.broken {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, broken.clone())));
        }
        let taken = state.take(slices);
        if taken == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            state.sender = Some(cx.waker().clone());
            return Poll::Pending;
        }
        wake(state.task.take());
        Poll::Ready(Ok(taken))
    }

    /// The peer takes so many bytes more.
    pub(super) fn add_credit(&self, bytes: u64) {
        let mut state = lock(&self.state);
        if let Some(credit) = &mut state.credit {
            *credit = credit.saturating_add(bytes.min(MAX_CREDIT as u64) as i64).min(MAX_CREDIT);
            wake(state.sender.take());
        }
    }

    /// The peer does not grant credit: it takes what comes.
    pub(super) fn forget_credit(&self) {
        let mut state = lock(&self.state);
        state.credit = None;
        wake(state.sender.take());
    }

    /// Tells the peer that it may send so many bytes more.
    pub(super) fn grant(&self, bytes: u64) {
        let mut state = lock(&self.state);
        state.grant += bytes;
        wake(state.task.take());
    }

    /// Nothing more is taken; only the first end counts.
    pub(super) fn end(&self, reason: CloseReason, stay: Stay) {
        let mut state = lock(&self.state);
        if state.end.is_none() {
            if reason.code == CloseCode::ABNORMAL {
                state.waiting = Vec::new();
            }
            state.end = Some(reason);
            state.stay = Some(stay);
            state.broken.get_or_insert_with(|| "the link was closed".into());
            wake(state.task.take());
        }
    }

    /// Writing has failed for good.
    pub(super) fn break_off(&self, why: &str) {
        let mut state = lock(&self.state);
        state.broken.get_or_insert_with(|| why.into());
        state.waiting = Vec::new();
        wake(state.sender.take());
    }

    /// Waits for something to do.
    pub(super) async fn next(&self) -> Next {
        poll_fn(|cx| {
            let mut state = lock(&self.state);
            state.place_grant();
            if !state.waiting.is_empty() {
                let bytes = std::mem::take(&mut state.waiting);
                wake(state.sender.take());
                return Poll::Ready(Next::Write(bytes.into()));
            }
            if let Some(reason) = state.end.clone() {
                return Poll::Ready(Next::End(reason, state.stay.take()));
            }
            state.task = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl State {
    fn take(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let mut taken = 0;
        for slice in slices {
            let mut rest = &slice[..];
            while !rest.is_empty() {
                let count = self.take_part(rest);
                if count == 0 {
                    return taken;
                }
                taken += count;
                rest = &rest[count..];
            }
        }
        taken
    }

    /// Takes up to the end of a header or of a frame.
    fn take_part(&mut self, bytes: &[u8]) -> usize {
        let room = MAX_WAITING.saturating_sub(self.waiting.len());
        let begins = self.frames.is_between();
        if room < HEADER_LEN || begins && self.credit.is_some_and(|credit| credit <= 0) {
            return 0;
        }
        let count;
        if self.frames.rest > 0 {
            count = self.frames.rest.min(bytes.len()).min(room);
            self.frames.rest -= count;
        } else {
            count = (HEADER_LEN - self.frames.header.len()).min(bytes.len());
            self.frames.header.extend_from_slice(&bytes[..count]);
            if let Some(len) = length::frame_len(&self.frames.header) {
                self.frames.header.clear();
                self.frames.rest = len - HEADER_LEN;
                if let Some(credit) = &mut self.credit {
                    *credit -= len as i64;
                }
            }
        }
        self.waiting.extend_from_slice(&bytes[..count]);
        count
    }

    fn place_grant(&mut self) {
        if self.grant == 0 || !self.frames.is_between() || self.end.is_some() {
            return;
        }
        let mut text = String::new();
        control::write_credit(&mut text, std::mem::take(&mut self.grant));
        length::write_frame(&mut self.waiting, text.as_bytes());
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
