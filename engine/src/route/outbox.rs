//! What a link refused and still has to take. Does not write and does not decide who is too slow.
//!
//! Invariants: `len` is exactly the bytes that wait; a frame is dropped whole or not at all, so what a peer reads never ends inside one
//! unless the link ends there.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::wire::frame::Framing;

/// Small remainders are gathered in buffers of this size. Source: none, a guess between many buffers and slack.
const BUFFER_BYTES: usize = 16 << 10;

#[derive(Debug)]
enum Chunk {
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Keeps the first bytes.
    fn truncate(&mut self, len: usize) {
        match self {
            Self::Owned(bytes) => {
                bytes.truncate(len);
                if bytes.capacity() > BUFFER_BYTES {
                    bytes.shrink_to_fit();
                }
            }
            Self::Shared(bytes) => bytes.truncate(len),
        }
    }
}

/// A place in the queue.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    chunk: usize,
    offset: usize,
}

/// What a cut dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Whole messages; pings, pongs and close frames do not count.
    pub messages: u64,
    /// Their bytes.
    pub bytes: usize,
}

/// The queue of one connection. Empty, it holds no memory.
#[derive(Debug)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written.
    written: usize,
    len: usize,
    /// Bytes until the next frame begins; zero when the front is the beginning of one.
    frame_rest: usize,
    framing: Framing,
}

impl Outbox {
    /// An empty queue for frames of one framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { chunks: VecDeque::new(), written: 0, len: 0, frame_rest: 0, framing }
    }

    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True when a whole message and more than `max` bytes wait: a single message may always wait.
    #[must_use]
    pub fn is_over(&self, max: usize) -> bool {
        self.len > max && self.front_frame_len() < self.len
    }

    /// Appends bytes that hold whole frames, or the rest of one as the very first (see [`Self::begin_inside_frame`]).
    pub fn push_copy(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        match self.chunks.back_mut() {
            Some(Chunk::Owned(last)) if last.len() + bytes.len() <= last.capacity() => last.extend_from_slice(bytes),
            _ => {
                let mut fresh = Vec::with_capacity(bytes.len().max(self.next_buffer_bytes()));
                fresh.extend_from_slice(bytes);
                self.chunks.push_back(Chunk::Owned(fresh));
            }
        }
    }

    /// Appends a frame that is shared with other connections.
    pub fn push_shared(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.len += frame.len();
            self.chunks.push_back(Chunk::Shared(frame));
        }
    }

    /// Says that what is pushed next is the rest of a frame whose first `taken` bytes the link took directly.
    ///
    /// `from_frame` begins at the beginning of that frame.
    pub fn begin_inside_frame(&mut self, from_frame: &[u8], taken: usize) {
        debug_assert!(self.is_empty(), "only an empty queue lets bytes pass it by");
        self.frame_rest = 0;
        let mut position = 0;
        while position < taken {
            position += self.framing.frame_len(&from_frame[position..]).unwrap_or(from_frame.len() - position);
        }
        self.frame_rest = position - taken;
    }

    /// Up to `slices.len()` pieces from the front; returns how many were filled.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.written;
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.bytes()[skip..]);
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// The link took `count` bytes from the front.
    pub fn advance(&mut self, count: usize) {
        self.skip_frames(count);
        self.len -= count;
        self.written += count;
        while let Some(first) = self.chunks.front() {
            let len = first.bytes().len();
            if self.written < len {
                break;
            }
            self.written -= len;
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
    }

    /// Drops everything that has not begun to leave.
    pub fn cut(&mut self) -> Cut {
        let rest = self.frame_rest;
        let dropped = Cut { messages: self.messages_after(rest), bytes: self.len - rest };
        self.truncate(rest);
        dropped
    }

    /// Keeps the first `rest` bytes where they are: a frame in progress may be large, and shared.
    fn truncate(&mut self, rest: usize) {
        self.len = rest;
        if rest == 0 {
            self.written = 0;
            self.chunks = VecDeque::new();
            return;
        }
        let mut end = self.front();
        // Up to the last byte that stays, so that the place is inside a chunk.
        self.forward(&mut end, rest - 1);
        self.chunks.truncate(end.chunk + 1);
        self.chunks[end.chunk].truncate(end.offset + 1);
    }

    fn skip_frames(&mut self, count: usize) {
        let mut passed = self.frame_rest;
        let mut place = self.front();
        self.forward(&mut place, passed);
        while passed < count {
            let len = self.framing.frame_len(&self.header_at(place)).unwrap_or(self.len - passed);
            passed += len;
            self.forward(&mut place, len);
        }
        self.frame_rest = passed - count;
    }

    fn messages_after(&self, mut position: usize) -> u64 {
        let mut place = self.front();
        self.forward(&mut place, position);
        let mut messages = 0;
        while position < self.len {
            let header = self.header_at(place);
            let len = self.framing.frame_len(&header).unwrap_or(self.len - position);
            messages += u64::from(self.framing.is_message(&header));
            position += len;
            self.forward(&mut place, len);
        }
        messages
    }

    fn front_frame_len(&self) -> usize {
        match self.frame_rest {
            0 => self.framing.frame_len(&self.header_at(self.front())).unwrap_or(self.len),
            rest => rest,
        }
    }

    fn front(&self) -> Cursor {
        Cursor { chunk: 0, offset: self.written }
    }

    fn forward(&self, place: &mut Cursor, count: usize) {
        place.offset += count;
        while let Some(chunk) = self.chunks.get(place.chunk)
            && place.offset >= chunk.bytes().len()
        {
            place.offset -= chunk.bytes().len();
            place.chunk += 1;
        }
    }

    /// The first bytes of the frame that begins there.
    fn header_at(&self, place: Cursor) -> [u8; 14] {
        let mut header = [0; 14];
        let mut filled = 0;
        let mut skip = place.offset;
        for chunk in self.chunks.iter().skip(place.chunk) {
            let part = &chunk.bytes()[skip..];
            let count = part.len().min(header.len() - filled);
            header[filled..filled + count].copy_from_slice(&part[..count]);
            filled += count;
            skip = 0;
            if filled == header.len() {
                break;
            }
        }
        header
    }

    fn next_buffer_bytes(&self) -> usize {
        // The first buffer is small: most refusals are short.
        if self.chunks.is_empty() { 1024 } else { BUFFER_BYTES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(payload: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Framing::WebSocketServer.write_message(&mut out, &"x".repeat(payload), [0; 4]);
        out
    }

    fn rest_of(outbox: &Outbox) -> Vec<u8> {
        outbox.chunks.iter().flat_map(Chunk::bytes).copied().skip(outbox.written).collect()
    }

    #[test]
    fn a_cut_keeps_the_rest_of_the_frame_in_progress() {
        let mut outbox = Outbox::new(Framing::WebSocketServer);
        outbox.push_copy(&frame(10));
        outbox.push_shared(frame(200).into());
        outbox.push_copy(&frame(20));
        outbox.advance(12 + 50);
        assert_eq!(outbox.cut(), Cut { messages: 1, bytes: 22 });
        assert_eq!(rest_of(&outbox), frame(200)[50..]);
    }

    #[test]
    fn a_cut_at_the_beginning_of_a_frame_keeps_nothing() {
        let mut outbox = Outbox::new(Framing::WebSocketServer);
        outbox.push_copy(&frame(10));
        outbox.push_copy(&frame(10));
        outbox.advance(12);
        assert_eq!(outbox.cut(), Cut { messages: 1, bytes: 12 });
        assert!(outbox.is_empty());
        assert_eq!(outbox.chunks.capacity(), 0, "empty, it holds no memory");
    }

    #[test]
    fn a_cut_inside_a_shared_frame_goes_on_sharing_it() {
        let shared = Bytes::from(frame(1 << 20));
        let mut outbox = Outbox::new(Framing::WebSocketServer);
        outbox.begin_inside_frame(&shared, 5);
        outbox.push_shared(shared.slice(5..));
        outbox.push_shared(shared.clone());
        outbox.advance(100);
        assert_eq!(outbox.cut(), Cut { messages: 1, bytes: shared.len() });
        assert_eq!(outbox.len(), shared.len() - 105);
        let mut pieces = [IoSlice::new(&[]); 2];
        assert_eq!(outbox.gather(&mut pieces), 1);
        assert!(std::ptr::eq(&*pieces[0], &shared[105..]), "the same bytes, not a copy of them");
    }

    #[test]
    fn a_single_message_may_wait_and_two_are_measured() {
        let mut outbox = Outbox::new(Framing::WebSocketServer);
        outbox.push_copy(&frame(1000));
        assert!(!outbox.is_over(100));
        outbox.push_copy(&frame(1));
        assert!(outbox.is_over(100));
        assert!(outbox.is_over(1006) && !outbox.is_over(1007));
    }

    proptest! {
        #[test]
        fn a_cut_always_ends_a_frame(frames in prop::collection::vec((0..300usize, any::<bool>()), 1..20), taken in 0..4000usize, direct in 0..300usize) {
            let mut outbox = Outbox::new(Framing::WebSocketServer);
            let mut all = Vec::new();
            let first = frame(frames[0].0);
            let direct = direct.min(first.len() - 1);
            outbox.begin_inside_frame(&first, direct);
            outbox.push_copy(&first[direct..]);
            all.extend_from_slice(&first[direct..]);
            let mut ends = vec![all.len()];
            if direct == 0 { ends.insert(0, 0); }
            for (payload, is_shared) in &frames[1..] {
                let frame = frame(*payload);
                all.extend_from_slice(&frame);
                ends.push(all.len());
                if *is_shared { outbox.push_shared(frame.into()); } else { outbox.push_copy(&frame); }
            }
            let taken = taken.min(all.len());
            outbox.advance(taken);
            prop_assert_eq!(outbox.len(), all.len() - taken);
            prop_assert_eq!(&rest_of(&outbox), &all[taken..]);
            let kept_to = all.len() - outbox.cut().bytes;
            prop_assert!(ends.contains(&kept_to) || kept_to == taken && taken == 0);
            prop_assert_eq!(&rest_of(&outbox), &all[taken..kept_to]);
        }
    }
}
