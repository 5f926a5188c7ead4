//! Links over sockets of somebody else, who carries what they bring and take. Does not know what the bytes or messages are.
//!
//! Invariants: both ways are bounded, and whoever carries is told to pause; what is carried out is counted until it is said to have left;
//! a load is exactly what one [`Carrier::take`] gives; what several sides take at once stands in it once.

mod messages;
mod side;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::mailbox::lock;
use crate::model::CloseReason;

pub use messages::{MessageReader, MessageWriter, split_messages};
use side::{Handle, Piece, Side};
pub use stream::CarriedStream;

/// Bytes of one side that may be on their way out: what a socket of the system would hold. Source: none, a guess.
pub const MAX_UNSENT_BYTES: usize = 256 << 10;
/// Bytes that came and were not read, from which on the carrier is asked to pause. Source: none, a guess.
pub const PAUSE_BYTES: usize = 256 << 10;
/// The same, from which on a side that cannot pause has sent too much, one message above it. Source: none, a guess.
pub const MAX_UNREAD_BYTES: usize = 4 << 20;
/// Items of one load at most.
pub const MAX_LOAD_ITEMS: usize = 512;
/// Bytes of one load, one write above it. Source: none, a guess.
const MAX_LOAD_BYTES: usize = 256 << 10;

/// What is to be done for one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// These bytes of the load go out.
    Send(Range<usize>),
    /// What was paused goes on.
    Resume,
    /// Nothing more goes out.
    End(CloseReason),
    /// The side is not needed any more; what it was given still goes out.
    Release,
}

/// One batch on its way out.
#[derive(Debug, Default)]
pub struct Load {
    /// What `Send` points into.
    pub bytes: Vec<u8>,
    /// Side and task; the tasks of a side stand together, in order.
    pub items: Vec<(u32, Task)>,
    /// The last that was sent: often the next side gets the same.
    last: Range<usize>,
}

impl Load {
    fn is_full(&self) -> bool {
        self.items.len() >= MAX_LOAD_ITEMS || self.bytes.len() >= MAX_LOAD_BYTES
    }

    fn send(&mut self, id: u32, parts: &[IoSlice<'_>], len: usize) {
        if !is_same(&self.bytes[self.last.clone()], parts, len) {
            let start = self.bytes.len();
            parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
            self.last = start..self.bytes.len();
        }
        self.items.push((id, Task::Send(self.last.clone())));
    }
}

fn is_same(mut whole: &[u8], parts: &[IoSlice<'_>], len: usize) -> bool {
    whole.len() == len
        && parts.iter().all(|part| {
            let (front, rest) = whole.split_at(part.len());
            whole = rest;
            front == &**part
        })
}

/// How a side takes what is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// More may come.
    More,
    /// More may come after [`Task::Resume`].
    Pause,
    /// Too much has come.
    TooMuch,
    /// Nobody reads it any more.
    Gone,
}

#[derive(Default)]
struct Carriage {
    loads: VecDeque<Load>,
    sides: HashMap<u32, Arc<Side>, foldhash::fast::RandomState>,
    last_id: u32,
    is_closed: bool,
}

/// Where what goes out waits for whoever carries it, and where what came is handed in.
pub struct Carrier {
    carriage: Mutex<Carriage>,
    is_armed: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carrier").field("sides", &lock(&self.carriage).sides.len()).finish_non_exhaustive()
    }
}

impl Carrier {
    /// `wake` is called when an empty carrier got its first load.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { carriage: Mutex::default(), is_armed: AtomicBool::new(false), wake: Box::new(wake) })
    }

    fn side(self: &Arc<Self>) -> Handle {
        let mut carriage = lock(&self.carriage);
        let id = carriage.last_id.wrapping_add(1);
        carriage.last_id = id;
        let side = Arc::new(Side::new(id));
        carriage.sides.insert(id, Arc::clone(&side));
        Handle::new(side, Arc::clone(self))
    }

    /// A new byte stream and its number.
    #[must_use]
    pub fn stream(self: &Arc<Self>) -> (CarriedStream, u32) {
        let handle = self.side();
        let id = handle.id();
        (CarriedStream::new(handle), id)
    }

    /// The two halves of a new message link, its framing, and its number.
    #[must_use]
    pub fn messages(self: &Arc<Self>, max_message_bytes: usize) -> (MessageReader, MessageWriter, u32) {
        let handle = Arc::new(self.side());
        let id = handle.id();
        (MessageReader::new(Arc::clone(&handle), max_message_bytes), MessageWriter::new(handle), id)
    }

    /// The next load, and whether more wait. After an empty one the carrier is woken again.
    pub fn take(&self) -> (Load, bool) {
        let mut carriage = lock(&self.carriage);
        let mut load = carriage.loads.pop_front().unwrap_or_default();
        let has_more = !carriage.loads.is_empty();
        if !has_more {
            // Under the lock: a push that comes after it sees the carrier disarmed and wakes.
            self.is_armed.store(false, Ordering::Release);
        }
        drop(carriage);
        load.items.sort_by_key(|(id, _)| *id);
        (load, has_more)
    }

    /// Bytes came.
    pub fn feed(&self, id: u32, bytes: &[u8]) -> Fed {
        self.hand_in(id, Piece::Bytes(bytes.into()))
    }

    /// A text message came.
    pub fn receive(&self, id: u32, text: String) -> Fed {
        self.hand_in(id, Piece::Text(text))
    }

    fn hand_in(&self, id: u32, piece: Piece) -> Fed {
        self.find(id).map_or(Fed::Gone, |side| side.hand_in(piece))
    }

    /// Nothing more comes; with a reason if the socket has told one.
    pub fn end(&self, id: u32, reason: Option<CloseReason>) {
        if let Some(side) = self.find(id) {
            side.end(reason);
        }
    }

    /// The socket is gone: nothing comes, nothing can be sent.
    pub fn lose(&self, id: u32) {
        if let Some(side) = self.find(id) {
            side.lose();
        }
    }

    /// So many bytes of a side have left.
    pub fn sent(&self, id: u32, bytes: usize) {
        if let Some(side) = self.find(id) {
            side.sent(bytes);
        }
    }

    /// Nobody carries any more.
    pub fn close(&self) {
        let mut carriage = lock(&self.carriage);
        carriage.is_closed = true;
        carriage.loads.clear();
        let sides: Vec<Arc<Side>> = carriage.sides.values().cloned().collect();
        drop(carriage);
        sides.iter().for_each(|side| side.lose());
    }

    fn find(&self, id: u32) -> Option<Arc<Side>> {
        lock(&self.carriage).sides.get(&id).cloned()
    }

    fn forget(&self, id: u32) {
        lock(&self.carriage).sides.remove(&id);
    }

    fn push_bytes(&self, id: u32, parts: &[IoSlice<'_>], len: usize) {
        self.push(|load| load.send(id, parts, len));
    }

    fn push_task(&self, id: u32, task: Task) {
        self.push(|load| load.items.push((id, task)));
    }

    fn push(&self, write: impl FnOnce(&mut Load)) {
        let mut carriage = lock(&self.carriage);
        if carriage.is_closed {
            return;
        }
        if carriage.loads.back().is_none_or(Load::is_full) {
            carriage.loads.push_back(Load::default());
        }
        if let Some(load) = carriage.loads.back_mut() {
            write(load);
        }
        drop(carriage);
        if !self.is_armed.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Poll, Waker};

    use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

    use super::*;

    fn carrier() -> (Arc<Carrier>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&wakes);
        let carrier = Carrier::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        (carrier, wakes)
    }

    fn write(stream: &mut CarriedStream, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
        let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        Pin::new(stream).poll_write_vectored(&mut Context::from_waker(Waker::noop()), &parts)
    }

    #[test]
    fn what_many_take_stands_in_the_load_once_and_each_finds_its_own_order() {
        let (carrier, wakes) = carrier();
        let (mut a, one) = carrier.stream();
        let (mut b, two) = carrier.stream();
        for stream in [&mut b, &mut a] {
            assert!(write(stream, &[b"he", b"llo"]).is_ready());
        }
        assert!(write(&mut a, &[b"hello!"]).is_ready());
        assert!(write(&mut b, &[b"bye"]).is_ready());
        let (load, has_more) = carrier.take();
        assert_eq!((&load.bytes[..], has_more), (&b"hellohello!bye"[..], false));
        let expected =
            [(one, Task::Send(0..5)), (one, Task::Send(5..11)), (two, Task::Send(0..5)), (two, Task::Send(11..14))];
        assert_eq!(load.items, expected);
        assert_eq!(wakes.load(Ordering::Relaxed), 1, "one wake per batch");
        assert!(carrier.take().0.items.is_empty());
        assert!(write(&mut a, &[b"x"]).is_ready());
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn no_more_is_on_its_way_than_may_be_until_it_has_left() {
        let (carrier, _) = carrier();
        let (mut stream, id) = carrier.stream();
        let half = vec![0; MAX_UNSENT_BYTES / 2];
        stream.write_all(&half).await.expect("there is room");
        stream.write_all(&half).await.expect("there is room");
        assert!(write(&mut stream, &[b"x"]).is_pending());
        carrier.sent(id, 1);
        assert!(write(&mut stream, &[&half]).is_ready(), "a write is never cut");
        assert!(write(&mut stream, &[b"x"]).is_pending());
        let writing = tokio::spawn(async move { stream.write_all(b"x").await });
        tokio::task::yield_now().await;
        carrier.sent(id, MAX_UNSENT_BYTES);
        writing.await.expect("no panic").expect("it was woken");
    }

    #[tokio::test]
    async fn whoever_feeds_is_told_to_pause_and_to_go_on() {
        let (carrier, _) = carrier();
        let (mut stream, id) = carrier.stream();
        assert_eq!(carrier.feed(id, &vec![1; PAUSE_BYTES]), Fed::More);
        assert_eq!(carrier.feed(id, &[2]), Fed::Pause);
        let mut read = vec![0; PAUSE_BYTES];
        stream.read_exact(&mut read[..10]).await.expect("bytes");
        assert!(carrier.take().0.items.is_empty());
        stream.read_exact(&mut read[10..]).await.expect("bytes");
        assert!(read.iter().all(|byte| *byte == 1));
        assert_eq!(carrier.take().0.items, [(id, Task::Resume)]);
        carrier.end(id, None);
        assert_eq!(stream.read_to_end(&mut read).await.expect("the rest"), 1);
        assert_eq!(carrier.feed(id, &[3]), Fed::Gone);
        drop(stream);
        assert_eq!(carrier.take().0.items, [(id, Task::Release)]);
    }

    #[tokio::test]
    async fn a_side_that_goes_on_for_ever_has_sent_too_much() {
        let (carrier, _) = carrier();
        let (_reader, _writer, id) = carrier.messages(1 << 20);
        let message = "x".repeat(1 << 20);
        let answers: Vec<Fed> = (0..6).map(|_| carrier.receive(id, message.clone())).collect();
        assert_eq!(answers, [Fed::Pause, Fed::Pause, Fed::Pause, Fed::Pause, Fed::Pause, Fed::TooMuch]);
    }

    #[tokio::test]
    async fn a_lost_side_is_an_error_both_ways() {
        let (carrier, _) = carrier();
        let (mut stream, id) = carrier.stream();
        carrier.lose(id);
        assert!(stream.write_all(b"x").await.is_err());
        assert!(stream.read_u8().await.is_err());
        let (mut other, _) = carrier.stream();
        carrier.close();
        assert!(other.write_all(b"x").await.is_err());
    }
}
