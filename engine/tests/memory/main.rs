//! The network inside a process: what both ends of a link see of each fault, and what hubs and spokes make of it.

mod faults;
mod hubs_and_spokes;
mod lag;
mod links;
#[path = "../support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{ErrorKind as IoErrorKind, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use alkpubsub_engine::link::{
    Accept, Admission, BoxFuture, Connect, ConnectError, Destination, Link, LinkError, Peer, Read, Refusal,
};
use alkpubsub_engine::model::{CloseCode, Error, ErrorKind, Grants, Limits};
use alkpubsub_engine::transport::memory::{Lag, Listening, MemoryNetwork};
use alkpubsub_engine::wire::frame::Item;

const SEED: u64 = 7;

const PIPE_BYTES: usize = 64 << 10;

const SECOND: Duration = Duration::from_secs(1);

/// What one end of a link reads.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Close(u16, String),
    Ended,
    Error(IoErrorKind),
}

fn text(text: &str) -> Seen {
    Seen::Text(text.into())
}

/// One end of a link, by hand.
struct End {
    link: Link,
    seen: VecDeque<Seen>,
}

impl End {
    fn new(link: Link) -> Self {
        Self { link, seen: VecDeque::new() }
    }

    fn poll_seen(&mut self, cx: &mut Context<'_>) -> Poll<Seen> {
        let Self { link, seen } = self;
        while seen.is_empty() {
            let read = link.reader.poll_read(cx, &mut |item| match item {
                Item::Text(message) => seen.push_back(text(message)),
                Item::Close(code, reason) => seen.push_back(Seen::Close(code.0, reason.into())),
                other => unreachable!("{other:?}"),
            });
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Read::More)) => {}
                Poll::Ready(Ok(Read::Ended)) => seen.push_back(Seen::Ended),
                Poll::Ready(Err(LinkError::Io(error))) => seen.push_back(Seen::Error(error.kind())),
                Poll::Ready(Err(error)) => unreachable!("{error}"),
            }
        }
        Poll::Ready(seen.pop_front().expect("just looked"))
    }

    async fn next(&mut self) -> Seen {
        poll_fn(|cx| self.poll_seen(cx)).await
    }

    /// Nothing can be read now.
    fn is_quiet(&mut self) -> bool {
        match self.poll_seen(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => true,
            Poll::Ready(seen) => {
                self.seen.push_front(seen);
                false
            }
        }
    }

    /// Writes what is taken without waiting: how many bytes, or the error.
    fn try_write(&mut self, bytes: &[u8]) -> Poll<Result<usize, IoErrorKind>> {
        let mut cx = Context::from_waker(Waker::noop());
        self.link.writer.poll_write(&mut cx, &[IoSlice::new(bytes)]).map_err(|error| error.kind())
    }

    /// Writes one message, whole and at once.
    fn say(&mut self, message: &str) {
        let mut frame = Vec::new();
        self.link.framing.write_message(&mut frame, message, [0; 4]);
        assert_eq!(self.try_write(&frame), Poll::Ready(Ok(frame.len())), "there is room for {message:.20}");
    }

    async fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.link.writer.poll_write(cx, &[IoSlice::new(bytes)])).await;
            bytes = &bytes[written.expect("the other end is there")..];
        }
    }

    fn close(&mut self, code: u16, reason: &str) {
        let closed =
            self.link.writer.poll_close(&mut Context::from_waker(Waker::noop()), CloseCode(code), reason).is_ready();
        assert!(closed, "a pipe can be closed at once");
    }
}

/// A listening node without a hub: it asks nobody, and links come out as they were made.
struct Door {
    links: Arc<Mutex<VecDeque<Link>>>,
    is_open: Arc<AtomicBool>,
    _listening: Listening,
}

struct DoorFrame {
    links: Arc<Mutex<VecDeque<Link>>>,
    is_open: Arc<AtomicBool>,
}

impl Accept for DoorFrame {
    fn room(&self) -> BoxFuture<()> {
        Box::pin(async {})
    }

    fn has_room(&self) -> bool {
        true
    }

    fn authorize(&self, _peer: Peer) -> BoxFuture<Result<Admission, Refusal>> {
        Box::pin(async { Ok(Admission::free(Grants::everything(None))) })
    }

    fn take(&self, link: Link, _admission: Admission) -> bool {
        self.links.lock().expect("no test panics with it").push_back(link);
        self.is_open.load(Ordering::SeqCst)
    }

    fn report(&self, error: Error) {
        unreachable!("{error}");
    }
}

impl Door {
    fn open(network: &MemoryNetwork, name: &str) -> Self {
        let (links, is_open) = (Arc::default(), Arc::new(AtomicBool::new(true)));
        let frame = DoorFrame { links: Arc::clone(&links), is_open: Arc::clone(&is_open) };
        Self { links, is_open, _listening: network.listen(name, Limits::default(), Arc::new(frame)) }
    }

    fn take(&self) -> End {
        End::new(self.links.lock().expect("no test panics with it").pop_front().expect("a link was made"))
    }
}

async fn dial(network: &MemoryNetwork, from: &str, to: &str) -> Result<End, ConnectError> {
    let connector = network.connector(from, to, Limits::default());
    connector.connect(Destination::default()).await.map(End::new)
}

/// Both ends of a link from `a` to `b`.
async fn joined(network: &MemoryNetwork, door: &Door) -> (End, End) {
    let near = dial(network, "a", "b").await.expect("nothing is wrong");
    (near, door.take())
}

async fn refusal(network: &MemoryNetwork, from: &str, to: &str) -> String {
    let ConnectError { error, is_terminal } = dial(network, from, to).await.err().expect("refused");
    assert_eq!((error.kind(), is_terminal), (ErrorKind::Connect, false));
    error.to_string()
}

fn lag(delay_ms: u64, jitter_ms: u64) -> Lag {
    Lag { delay: Duration::from_millis(delay_ms), jitter: Duration::from_millis(jitter_ms) }
}
