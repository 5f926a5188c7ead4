//! Links inside a process: two byte pipes with length frames, so that tests and simulations go through the real wire.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};

use super::stream::{StreamReader, StreamWriter};
use crate::link::{BoxFuture, Connect, ConnectError, Destination, Link, LinkError, LinkRead, LinkWrite, Peer, Read};
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason, Error, ErrorKind, Limits};
use crate::wire::frame::{Framing, Item};

/// Bytes on their way in each direction. Source: none, a guess: what a loopback socket holds.
const PIPE_BYTES: usize = 64 << 10;

/// The close code of one direction: byte pipes carry none.
type Farewell = Arc<Mutex<Option<CloseReason>>>;

/// Two ends of one link.
#[must_use]
pub fn pair(limits: &Limits) -> (Link, Link) {
    let (left, right) = duplex(PIPE_BYTES);
    let (to_left, to_right) = (Farewell::default(), Farewell::default());
    let left = end(left, limits, Arc::clone(&to_left), Arc::clone(&to_right));
    (left, end(right, limits, to_right, to_left))
}

fn end(stream: DuplexStream, limits: &Limits, to_us: Farewell, to_peer: Farewell) -> Link {
    let (read, write) = split(stream);
    let decoder = Framing::Length.peer_decoder(limits.max_message_bytes);
    Link {
        reader: Box::new(MemoryReader { inner: StreamReader::new(read, decoder, Vec::new()), to_us }),
        writer: Box::new(MemoryWriter { inner: StreamWriter::new(write), to_peer }),
        framing: Framing::Length,
        peer: Peer { transport: "memory", ..Peer::default() },
    }
}

struct MemoryReader {
    inner: StreamReader<ReadHalf<DuplexStream>>,
    to_us: Farewell,
}

impl LinkRead for MemoryReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        let read = self.inner.poll_read(cx, sink);
        if matches!(read, Poll::Ready(Ok(Read::Ended)))
            && let Some(farewell) = lock(&self.to_us).take()
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
    inner: StreamWriter<WriteHalf<DuplexStream>>,
    to_peer: Farewell,
}

impl LinkWrite for MemoryWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.inner.poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &str) -> Poll<io::Result<()>> {
        if code != CloseCode::ABNORMAL {
            lock(&self.to_peer).get_or_insert_with(|| CloseReason::new(code, reason));
        }
        self.inner.poll_close(cx, code, reason)
    }
}

/// Takes the far end of a fresh link; false once nobody wants links any more.
pub type Take = Arc<dyn Fn(Link) -> bool + Send + Sync>;

/// Dials whoever takes links in the same process.
#[derive(Clone)]
pub struct MemoryConnector {
    take: Take,
    limits: Limits,
}

impl MemoryConnector {
    /// Every attempt makes a new link and hands its far end to `take`.
    #[must_use]
    pub fn new(take: Take, limits: Limits) -> Self {
        Self { take, limits }
    }
}

impl Connect for MemoryConnector {
    fn connect(&self, _to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
        let (ours, theirs) = pair(&self.limits);
        let is_taken = (self.take)(theirs);
        Box::pin(async move {
            let error = Error::new(ErrorKind::Connect, "the hub is closed");
            if is_taken { Ok(ours) } else { Err(ConnectError { error, is_terminal: false }) }
        })
    }
}
