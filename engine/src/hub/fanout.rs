//! One pass: the events of one batch framed once into a shared buffer, and who gets which ranges of it. Does not write.
//!
//! Invariants: ranges hold whole frames; a connection's segments stand in the order of its events; neighbours are one range.

use bytes::Bytes;

use super::connection::Connection;
use crate::route::ConnKey;
use crate::route::router::TopicId;
use crate::wire::frame::Framing;

/// Events above this are not copied into the shared buffer but shared by reference. Source: measured near 4 KiB for `writev`; 16 KiB
/// keeps most passes in one slice.
pub(super) const LARGE_BYTES: usize = 16 << 10;

/// Bytes of one pass at most, one message above it. Source: measured, 64 to 256 KiB are alike.
const MAX_PASS_BYTES: usize = 64 << 10;

/// The bytes of one pass for a bound: a pass must fit into what a slow reader may still take.
pub(super) fn pass_bytes(max_buffered: usize) -> usize {
    (max_buffered / 4).clamp(1, MAX_PASS_BYTES)
}

/// A part of a pass that goes to one connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Segment {
    Range { start: u32, end: u32 },
    Large(u32),
}

/// The frames of one pass in one framing.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) framing: Framing,
    /// Connections that use it; an unused lane is not filled.
    pub(super) connections: usize,
    bytes: Vec<u8>,
    large: Vec<Bytes>,
    run: Segment,
}

impl Lane {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, connections: 0, bytes: Vec::new(), large: Vec::new(), run: Segment::Range { start: 0, end: 0 } }
    }

    pub(super) fn bytes_of(&self, segment: Segment) -> &[u8] {
        match segment {
            Segment::Range { start, end } => &self.bytes[start as usize..end as usize],
            Segment::Large(index) => &self.large[index as usize],
        }
    }

    pub(super) fn shared(&self, segment: Segment) -> Option<&Bytes> {
        match segment {
            Segment::Range { .. } => None,
            Segment::Large(index) => Some(&self.large[index as usize]),
        }
    }

    /// Whole messages of a segment; pings, pongs and close frames do not count.
    fn messages_of(&self, segment: Segment) -> u64 {
        let (mut bytes, mut messages) = (self.bytes_of(segment), 0);
        while !bytes.is_empty() {
            messages += u64::from(self.framing.is_message(bytes));
            let len = self.framing.frame_len(bytes).expect("a segment holds whole frames");
            bytes = &bytes[len..];
        }
        messages
    }

    /// Adds an event to the run; a large one is a run of its own.
    pub(super) fn frame(&mut self, message: &str) {
        if message.len() > LARGE_BYTES {
            let mut frame = Vec::new();
            self.framing.write_message(&mut frame, message, [0; 4]);
            self.run = Segment::Large(self.large.len() as u32);
            self.large.push(frame.into());
            return;
        }
        self.framing.write_message(&mut self.bytes, message, [0; 4]);
        if let Segment::Range { end, .. } = &mut self.run {
            *end = self.bytes.len() as u32;
        }
    }

    /// Appends whatever `write` writes as one frame.
    pub(super) fn append(&mut self, write: impl FnOnce(Framing, &mut Vec<u8>) -> bool) -> Option<Segment> {
        let start = self.bytes.len() as u32;
        let has_written = write(self.framing, &mut self.bytes);
        let end = self.bytes.len() as u32;
        has_written.then_some(Segment::Range { start, end })
    }

    pub(super) fn begin_run(&mut self) {
        let start = self.bytes.len() as u32;
        self.run = Segment::Range { start, end: start };
    }

    /// Bytes framed in this pass, those shared by reference included.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.large.iter().map(Bytes::len).sum::<usize>()
    }

    /// What was framed since the run began.
    pub(super) fn run(&self) -> Segment {
        self.run
    }

    pub(super) fn clear(&mut self) {
        const KEPT: usize = 1 << 20;
        self.bytes.clear();
        self.large.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }
}

/// Events in a row with the same topic and sender: their subscribers are looked up once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) topic: Option<TopicId>,
    pub(super) from: ConnKey,
    /// The sender may not publish here: nobody gets any of it.
    pub(super) is_refused: bool,
    pub(super) is_local: bool,
    pub(super) has_subscribers: bool,
    /// Other hubs may want it.
    pub(super) is_shared: bool,
    /// Events framed for subscribers.
    pub(super) framed: u64,
    /// Events handed to other hubs.
    pub(super) handed: u64,
    /// All events.
    pub(super) total: u64,
}

impl Connection {
    /// Drops what this pass has not written to the connection; returns how many messages that was.
    pub(super) fn drop_segments(&mut self, lane: &Lane) -> u64 {
        self.segments.drain(..).map(|segment| lane.messages_of(segment)).sum()
    }

    /// Adds a segment to what this pass writes to the connection; true when it is the first.
    pub(super) fn add_segment(&mut self, segment: Segment) -> bool {
        if let (Some(Segment::Range { end, .. }), Segment::Range { start, end: new_end }) =
            (self.segments.last_mut(), segment)
            && *end == start
        {
            *end = new_end;
            return false;
        }
        self.segments.push(segment);
        self.segments.len() == 1
    }
}
