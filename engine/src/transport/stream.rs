//! Links over any byte stream of tokio: TCP, TLS, memory. Does not dial or listen.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::link::{LinkError, LinkRead, LinkWrite, Read};
use crate::model::CloseCode;
use crate::wire::frame::{Decoder, Item};

/// Bytes of one read. Source: measured, larger ones gain nothing.
const SCRATCH_BYTES: usize = 64 << 10;

thread_local! {
    /// What a read brings lives here until it is decoded: an idle link holds no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// Reads frames from a byte stream.
pub(super) struct StreamReader<R> {
    io: R,
    decoder: Decoder,
    /// What came behind the handshake in the same packet.
    early: Vec<u8>,
}

impl<R> StreamReader<R> {
    pub(super) fn new(io: R, decoder: Decoder, early: Vec<u8>) -> Self {
        Self { io, decoder, early }
    }
}

impl<R: AsyncRead + Unpin + Send> LinkRead for StreamReader<R> {
    fn poll_read(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        if !self.early.is_empty() {
            let mut early = std::mem::take(&mut self.early);
            self.decoder.feed(&mut early, sink)?;
            return Poll::Ready(Ok(Read::More));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(result) => result?,
            }
            let filled = buffer.filled_mut();
            if filled.is_empty() {
                return Poll::Ready(Ok(Read::Ended));
            }
            self.decoder.feed(filled, sink)?;
            Poll::Ready(Ok(Read::More))
        })
    }

    fn held_bytes(&self) -> usize {
        self.decoder.held_bytes()
    }
}

/// Writes frames to a byte stream.
pub(super) struct StreamWriter<W> {
    io: W,
}

impl<W> StreamWriter<W> {
    pub(super) fn new(io: W) -> Self {
        Self { io }
    }
}

impl<W: AsyncWrite + Unpin + Send> LinkWrite for StreamWriter<W> {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match bytes {
            [one] => Pin::new(&mut self.io).poll_write(cx, one),
            many => Pin::new(&mut self.io).poll_write_vectored(cx, many),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _code: CloseCode, _reason: &str) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
