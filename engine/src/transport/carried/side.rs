//! One side of a carrier: what came for it and is not read, what of it is on its way out, and who waits for either.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::mailbox::lock;
use crate::model::CloseReason;

use super::{Carrier, Fed, MAX_UNREAD_BYTES, MAX_UNSENT_BYTES, PAUSE_BYTES, Task};

/// What came in one go.
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Text(String),
}

impl Piece {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }
}

pub(super) struct Side {
    id: u32,
    state: Mutex<SideState>,
}

#[derive(Default)]
pub(super) struct SideState {
    unread: VecDeque<Piece>,
    unread_bytes: usize,
    /// Bytes of the first piece that were read.
    pub(super) read: usize,
    is_paused: bool,
    has_ended: bool,
    is_lost: bool,
    farewell: Option<CloseReason>,
    unsent: usize,
    /// `End` was said.
    is_shut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Side {
    pub(super) fn new(id: u32) -> Self {
        Self { id, state: Mutex::default() }
    }

    pub(super) fn hand_in(&self, piece: Piece) -> Fed {
        let mut state = lock(&self.state);
        if state.has_ended {
            return Fed::Gone;
        }
        if state.unread_bytes > MAX_UNREAD_BYTES {
            return Fed::TooMuch;
        }
        state.unread_bytes += piece.len();
        state.unread.push_back(piece);
        state.is_paused = state.unread_bytes > PAUSE_BYTES;
        let fed = if state.is_paused { Fed::Pause } else { Fed::More };
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        fed
    }

    pub(super) fn end(&self, reason: Option<CloseReason>) {
        let mut state = lock(&self.state);
        state.has_ended = true;
        state.farewell = reason;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    pub(super) fn lose(&self) {
        let mut state = lock(&self.state);
        state.has_ended = true;
        state.is_lost = true;
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(super) fn sent(&self, bytes: usize) {
        let mut state = lock(&self.state);
        state.unsent = state.unsent.saturating_sub(bytes);
        let writer = if state.unsent < MAX_UNSENT_BYTES { state.writer.take() } else { None };
        drop(state);
        writer.into_iter().for_each(Waker::wake);
    }
}

/// A side in use; dropped, whoever carries is told.
pub(super) struct Handle {
    side: Arc<Side>,
    carrier: Arc<Carrier>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.carrier.forget(self.side.id);
        lock(&self.side.state).has_ended = true;
        self.carrier.push_task(self.side.id, Task::Release);
    }
}

impl Handle {
    pub(super) fn new(side: Arc<Side>, carrier: Arc<Carrier>) -> Self {
        Self { side, carrier }
    }

    pub(super) fn id(&self) -> u32 {
        self.side.id
    }

    pub(super) fn is_lost(&self) -> bool {
        lock(&self.side.state).is_lost
    }

    /// Gives what is unread, piece by piece, until `give` has enough; then the end.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        give: &mut dyn FnMut(&mut SideState, Piece) -> Option<Piece>,
    ) -> Poll<Option<Option<CloseReason>>> {
        let mut state = lock(&self.side.state);
        if state.unread.is_empty() {
            if state.has_ended {
                return Poll::Ready(Some(state.farewell.take()));
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        while let Some(piece) = state.unread.pop_front() {
            let len = piece.len();
            match give(&mut state, piece) {
                None => {
                    state.unread_bytes -= len;
                    state.read = 0;
                }
                Some(rest) => {
                    state.unread.push_front(rest);
                    break;
                }
            }
        }
        let resumes = state.is_paused && state.unread_bytes <= PAUSE_BYTES / 2;
        if resumes {
            state.is_paused = false;
        }
        drop(state);
        if resumes {
            self.carrier.push_task(self.side.id, Task::Resume);
        }
        Poll::Ready(None)
    }

    /// Takes everything, or nothing while too much is on its way: a frame is never cut.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut state = lock(&self.side.state);
        if state.is_lost || state.is_shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.unsent >= MAX_UNSENT_BYTES {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.unsent += len;
        drop(state);
        self.carrier.push_bytes(self.side.id, parts, len);
        Poll::Ready(Ok(len))
    }

    pub(super) fn shut(&self, reason: CloseReason) {
        let was_shut = std::mem::replace(&mut lock(&self.side.state).is_shut, true);
        if !was_shut {
            self.carrier.push_task(self.side.id, Task::End(reason));
        }
    }
}
