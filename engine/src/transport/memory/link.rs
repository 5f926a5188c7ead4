//! The two ends of a link inside a process, each over two pipes. Does not know nodes, or what befalls the pipes.
//!
//! Invariant: an end that is dropped, both halves of it, is heard of at the other end as one that ended without a farewell.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until};

use super::pipe::{Pipe, ReadTry};
use crate::link::{Link, LinkError, LinkRead, LinkWrite, Peer, Read};
use crate::model::{CloseCode, CloseReason, Limits};
use crate::transport::stream::StreamReader;
use crate::wire::frame::{Framing, Item};

/// One end as a link.
pub(super) fn end(incoming: Arc<Pipe>, outgoing: Arc<Pipe>, limits: &Limits, peer: Peer) -> Link {
    let end = Arc::new(End { incoming, outgoing });
    let decoder = Framing::Length.peer_decoder(limits.max_message_bytes);
    let reader = ReadHalf { end: Arc::clone(&end), timer: None };
    Link {
        reader: Box::new(MemoryReader { inner: StreamReader::new(reader, decoder, Vec::new()), end: Arc::clone(&end) }),
        writer: Box::new(MemoryWriter { end }),
        framing: Framing::Length,
        peer,
        is_native: None,
        features: &[],
    }
}

/// What both halves of an end share.
struct End {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

impl Drop for End {
    fn drop(&mut self) {
        // The other end learns that writing is in vain no earlier than that this end has gone: it is still to read why.
        let due = self.outgoing.end_by_drop();
        self.incoming.abandon(due);
    }
}

struct ReadHalf {
    end: Arc<End>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for ReadHalf {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            match self.end.incoming.read(into, cx) {
                ReadTry::Done(result) => {
                    turn.made_progress();
                    return Poll::Ready(result);
                }
                ReadTry::Until(due) => ready!(self.poll_timer(due, cx)),
                ReadTry::Waiting => return Poll::Pending,
            }
        }
    }
}

impl ReadHalf {
    fn poll_timer(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }
}

struct MemoryReader {
    inner: StreamReader<ReadHalf>,
    end: Arc<End>,
}

impl LinkRead for MemoryReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        let read = self.inner.poll_read(cx, sink);
        if matches!(read, Poll::Ready(Ok(Read::Ended)))
            && let Some(farewell) = self.end.incoming.take_farewell()
        {
            sink(Item::Close(farewell.code, &farewell.reason));
        }
        read
    }

    fn held_bytes(&self) -> usize {
        self.inner.held_bytes()
    }
}

struct MemoryWriter {
    end: Arc<End>,
}

impl LinkWrite for MemoryWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let turn = ready!(coop::poll_proceed(cx));
        let written = self.end.outgoing.write(bytes, cx);
        if written.is_ready() {
            turn.made_progress();
        }
        written
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &str) -> Poll<io::Result<()>> {
        let farewell = (code != CloseCode::ABNORMAL).then(|| CloseReason::new(code, reason));
        self.end.outgoing.end(farewell, cx).map(Ok)
    }
}
