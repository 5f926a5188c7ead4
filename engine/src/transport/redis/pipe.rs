//! One connection: commands that wait to be written, replies that are not complete. Does not know what was asked.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::dial::Socket;
use super::reply::{Replies, Scalar};

/// Bytes of one read. Source: as for other streams, larger ones gain nothing.
const READ_BYTES: usize = 64 << 10;

/// Written bytes that are kept in front of others until they are moved out of the way.
const WRITTEN_BYTES: usize = 256 << 10;

thread_local! {
    /// What a read brings lives here until it is decoded: an idle link holds no buffer.
    static SCRATCH: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ_BYTES].into());
}

pub(super) struct Pipe {
    socket: Box<dyn Socket>,
    replies: Replies,
    /// Commands that are encoded and not yet written.
    pub(super) out: Vec<u8>,
    written: usize,
    needs_flush: bool,
}

impl Pipe {
    /// Bulks longer than `max_bulk` are passed over.
    pub(super) fn new(socket: Box<dyn Socket>, max_bulk: usize) -> Self {
        Self { socket, replies: Replies::new(max_bulk), out: Vec::new(), written: 0, needs_flush: false }
    }

    /// Appends a command.
    pub(super) fn say(&mut self, words: &[&str]) {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.out.extend_from_slice(&::redis::pack_command(&words));
    }

    /// A name of this length was asked about: its answer repeats it, however short messages are.
    pub(super) fn allow(&mut self, len: usize) {
        self.replies.allow(len);
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.replies.held_bytes()
    }

    /// Writes what is encoded. Ready when all of it is with the system.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, out, written, needs_flush, .. } = self;
        while *written < out.len() {
            match ready!(Pin::new(&mut **socket).poll_write(cx, &out[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *written += count,
            }
            *needs_flush = true;
            if *written >= WRITTEN_BYTES {
                out.drain(..std::mem::take(written));
            }
        }
        out.clear();
        *written = 0;
        if *needs_flush {
            ready!(Pin::new(&mut **socket).poll_flush(cx))?;
            *needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and hands over every reply that is whole by then; an end is an error.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(&[Scalar<'_>]),
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = tokio::io::ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.socket).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Redis closed the connection")));
            }
            let fed = self.replies.feed(bytes, sink);
            Poll::Ready(fed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)))
        })
    }

    /// Ends our side: Redis reads what was written to the end, then hangs up.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_shutdown(cx)
    }
}
