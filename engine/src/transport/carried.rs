//! Links over sockets of somebody else, who carries what they bring and take. Does not know what the bytes or messages are.
//!
//! Invariants: both ways are bounded, and whoever carries is told to pause; what is carried out is counted until it is said to have left;
//! a load is exactly what one [`Carrier::take`] gives; what several sides take at once stands in it once.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::link::{LinkError, LinkRead, LinkWrite, Read};
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason};
use crate::wire::frame::{Decoder, FrameError, Framing, Item};

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
        carriage.last_id = carriage.last_id.wrapping_add(1);
        let side = Arc::new(Side { id: carriage.last_id, state: Mutex::default() });
        carriage.sides.insert(side.id, Arc::clone(&side));
        Handle { side, carrier: Arc::clone(self) }
    }

    /// A new byte stream and its number.
    #[must_use]
    pub fn stream(self: &Arc<Self>) -> (CarriedStream, u32) {
        let handle = self.side();
        let id = handle.side.id;
        (CarriedStream { handle: Arc::new(handle) }, id)
    }

    /// The two halves of a new message link, its framing, and its number.
    #[must_use]
    pub fn messages(self: &Arc<Self>, max_message_bytes: usize) -> (MessageReader, MessageWriter, u32) {
        let handle = Arc::new(self.side());
        let id = handle.side.id;
        let reader = MessageReader { handle: Arc::clone(&handle), max: max_message_bytes, is_over: false };
        (reader, MessageWriter { handle }, id)
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

    fn push(&self, write: impl FnOnce(&mut Carriage)) {
        let mut carriage = lock(&self.carriage);
        if carriage.is_closed {
            return;
        }
        if carriage.loads.back().is_none_or(Load::is_full) {
            carriage.loads.push_back(Load::default());
        }
        write(&mut carriage);
        drop(carriage);
        if !self.is_armed.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    fn push_task(&self, id: u32, task: Task) {
        self.push(|carriage| {
            carriage.loads.back_mut().into_iter().for_each(|load| load.items.push((id, task.clone())))
        });
    }
}

enum Piece {
    Bytes(Vec<u8>),
    Text(String),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }
}

struct Side {
    id: u32,
    state: Mutex<SideState>,
}

#[derive(Default)]
struct SideState {
    unread: VecDeque<Piece>,
    unread_bytes: usize,
    /// Bytes of the first piece that were read.
    read: usize,
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
    fn hand_in(&self, piece: Piece) -> Fed {
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

    fn end(&self, reason: Option<CloseReason>) {
        let mut state = lock(&self.state);
        state.has_ended = true;
        state.farewell = reason;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    fn lose(&self) {
        let mut state = lock(&self.state);
        state.has_ended = true;
        state.is_lost = true;
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn sent(&self, bytes: usize) {
        let mut state = lock(&self.state);
        state.unsent = state.unsent.saturating_sub(bytes);
        let writer = if state.unsent < MAX_UNSENT_BYTES { state.writer.take() } else { None };
        drop(state);
        writer.into_iter().for_each(Waker::wake);
    }
}

/// A side in use; dropped, whoever carries is told.
struct Handle {
    side: Arc<Side>,
    carrier: Arc<Carrier>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.carrier.carriage).sides.remove(&self.side.id);
        lock(&self.side.state).has_ended = true;
        self.carrier.push_task(self.side.id, Task::Release);
    }
}

impl Handle {
    /// Gives what is unread, piece by piece, until `give` has enough; then the end.
    fn poll_read(
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
    fn poll_write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
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
        let id = self.side.id;
        self.carrier.push(|carriage| carriage.loads.back_mut().into_iter().for_each(|load| load.send(id, parts, len)));
        Poll::Ready(Ok(len))
    }

    fn shut(&self, reason: CloseReason) {
        let was_shut = std::mem::replace(&mut lock(&self.side.state).is_shut, true);
        if !was_shut {
            self.carrier.push_task(self.side.id, Task::End(reason));
        }
    }
}

/// A byte stream whose bytes are carried.
pub struct CarriedStream {
    handle: Arc<Handle>,
}

impl AsyncRead for CarriedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if lock(&self.handle.side.state).is_lost {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let read = self.handle.poll_read(cx, &mut |state, piece| {
            let Piece::Bytes(bytes) = piece else { return None };
            let rest = &bytes[state.read..];
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            if count == rest.len() {
                return None;
            }
            state.read += count;
            Some(Piece::Bytes(bytes))
        });
        read.map(|_| Ok(()))
    }
}

impl AsyncWrite for CarriedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.handle.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.handle.poll_write(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.shut(CloseReason::new(CloseCode::NORMAL, ""));
        Poll::Ready(Ok(()))
    }
}

impl CarriedStream {
    /// Two halves that share the side.
    #[must_use]
    pub fn into_split(self) -> (Self, Self) {
        (Self { handle: Arc::clone(&self.handle) }, self)
    }
}

/// Reads messages that are carried one by one.
pub struct MessageReader {
    handle: Arc<Handle>,
    max: usize,
    is_over: bool,
}

impl LinkRead for MessageReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        let mut excess = None;
        let (max, is_over) = (self.max, &mut self.is_over);
        let read = self.handle.poll_read(cx, &mut |_, piece| {
            if piece.len() > max {
                excess.get_or_insert(piece.len());
            }
            *is_over |= excess.is_some();
            match &piece {
                _ if *is_over => {}
                Piece::Text(text) => sink(Item::Text(text)),
                Piece::Bytes(bytes) => sink(Item::Binary(bytes)),
            }
            None
        });
        if let Some(len) = excess {
            return Poll::Ready(Err(FrameError::TooLarge { len: len as u64, max }.into()));
        }
        read.map(|ended| match ended {
            None => Ok(Read::More),
            Some(farewell) => {
                if let Some(CloseReason { code, reason }) = &farewell {
                    sink(Item::Close(*code, reason));
                }
                Ok(Read::Ended)
            }
        })
    }

    fn held_bytes(&self) -> usize {
        0
    }
}

/// Writes messages, framed by [`Framing::Length`], for somebody who takes them apart with [`split_messages`].
pub struct MessageWriter {
    handle: Arc<Handle>,
}

impl MessageWriter {
    /// How messages have to be framed for it.
    pub const FRAMING: Framing = Framing::Length;

    /// Says that nothing comes, and why.
    pub fn refuse(self, code: CloseCode, reason: &str) {
        self.handle.shut(CloseReason::new(code, reason));
    }
}

impl LinkWrite for MessageWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.handle.poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>, code: CloseCode, reason: &str) -> Poll<io::Result<()>> {
        self.handle.shut(CloseReason::new(code, reason));
        Poll::Ready(Ok(()))
    }
}

/// The messages in what a [`MessageWriter`] sent, in order.
pub fn split_messages(bytes: &[u8], mut give: impl FnMut(&str)) {
    let mut bytes = bytes.to_vec();
    let mut decoder: Decoder = MessageWriter::FRAMING.peer_decoder(usize::MAX >> 1);
    let whole = decoder.feed(&mut bytes, &mut |item| {
        if let Item::Text(message) = item {
            give(message);
        }
    });
    debug_assert!(whole.is_ok(), "these frames are our own");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

    fn read(reader: &mut MessageReader) -> (Vec<String>, Poll<Result<Read, LinkError>>) {
        let mut items = Vec::new();
        let result =
            reader.poll_read(&mut Context::from_waker(Waker::noop()), &mut |item| items.push(format!("{item:?}")));
        (items, result)
    }

    #[test]
    fn messages_come_one_by_one_up_to_their_limit_and_end_with_the_reason_of_the_socket() {
        let (carrier, _) = carrier();
        let (mut reader, mut writer, id) = carrier.messages(4);
        assert!(read(&mut reader).1.is_pending());
        carrier.receive(id, "four".into());
        carrier.feed(id, &[0xff]);
        assert!(
            matches!(read(&mut reader), (items, Poll::Ready(Ok(Read::More))) if items == ["Text(\"four\")", "Binary([255])"])
        );
        carrier.end(id, Some(CloseReason::new(CloseCode(4000), "bye")));
        assert!(
            matches!(read(&mut reader), (items, Poll::Ready(Ok(Read::Ended))) if items == ["Close(CloseCode(4000), \"bye\")"])
        );

        let mut frames = Vec::new();
        for message in ["a", "žluť"] {
            MessageWriter::FRAMING.write_message(&mut frames, message, [0; 4]);
        }
        let mut cx = Context::from_waker(Waker::noop());
        assert!(writer.poll_write(&mut cx, &[IoSlice::new(&frames)]).is_ready());
        assert!(writer.poll_close(&mut cx, CloseCode::TOO_SLOW, "slow").is_ready());
        assert!(matches!(writer.poll_write(&mut cx, &[IoSlice::new(&frames)]), Poll::Ready(Err(_))));
        let (load, _) = carrier.take();
        let mut messages = Vec::new();
        split_messages(&load.bytes, |message| messages.push(message.to_owned()));
        assert_eq!(messages, ["a", "žluť"]);
        assert_eq!(load.items[1].1, Task::End(CloseReason::new(CloseCode::TOO_SLOW, "slow")));

        let (mut reader, _writer, id) = carrier.messages(4);
        carrier.receive(id, "fives".into());
        assert!(matches!(
            read(&mut reader).1,
            Poll::Ready(Err(LinkError::Frame(FrameError::TooLarge { len: 5, max: 4 })))
        ));
    }
}
