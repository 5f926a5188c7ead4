//! Frames: how messages stand one behind the other on a link. Chooses between the framings; each has a file of its own.

use std::fmt;

use super::{length, websocket};
use crate::model::CloseCode;

/// How messages are told apart on a link, seen from the side that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// WebSocket frames without a mask (RFC 6455, 5.1).
    WebSocketServer,
    /// WebSocket frames with a mask.
    WebSocketClient,
    /// Four bytes of length, big-endian, then the message.
    Length,
}

/// A WebSocket client's mask. Other framings take and ignore it.
pub type Mask = [u8; 4];

impl Framing {
    /// What a frame adds to its message at most. Source: RFC 6455, 5.2.
    pub const MAX_HEAD_BYTES: usize = 14;

    /// Appends one message as a frame.
    pub fn write_message(self, out: &mut Vec<u8>, message: &str, mask: Mask) {
        match self {
            Self::WebSocketServer => websocket::write_frame(out, websocket::OP_TEXT, message.as_bytes(), None),
            Self::WebSocketClient => websocket::write_frame(out, websocket::OP_TEXT, message.as_bytes(), Some(mask)),
            Self::Length => length::write_frame(out, message.as_bytes()),
        }
    }

    /// Appends a ping, where the framing has one; says whether it did.
    pub fn write_ping(self, out: &mut Vec<u8>, data: &[u8], mask: Mask) -> bool {
        self.write_control(out, websocket::OP_PING, data, mask)
    }

    /// Appends the answer to a ping, where the framing has one.
    pub fn write_pong(self, out: &mut Vec<u8>, data: &[u8], mask: Mask) -> bool {
        self.write_control(out, websocket::OP_PONG, data, mask)
    }

    /// Appends the frame that ends a link, where the framing has one. [`CloseCode::NONE`] makes an empty one.
    pub fn write_close(self, out: &mut Vec<u8>, code: CloseCode, reason: &str, mask: Mask) -> bool {
        self.write_control(out, websocket::OP_CLOSE, &websocket::close_payload(code, reason), mask)
    }

    fn write_control(self, out: &mut Vec<u8>, opcode: u8, data: &[u8], mask: Mask) -> bool {
        let mask = match self {
            Self::WebSocketServer => None,
            Self::WebSocketClient => Some(mask),
            Self::Length => return false,
        };
        websocket::write_frame(out, opcode, data, mask);
        true
    }

    /// True where pings and close codes travel as frames.
    #[must_use]
    pub fn has_control_frames(self) -> bool {
        self != Self::Length
    }

    /// Length of the frame that begins at the start of `bytes`, which this framing wrote itself.
    #[must_use]
    pub fn frame_len(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Length => length::frame_len(bytes),
            Self::WebSocketServer | Self::WebSocketClient => websocket::frame_len(bytes),
        }
    }

    /// True when the frame that begins at the start of `bytes`, which this framing wrote itself, carries a message.
    #[must_use]
    pub fn is_message(self, bytes: &[u8]) -> bool {
        self == Self::Length || bytes.first().is_some_and(|first| first & 0x0f == websocket::OP_TEXT)
    }

    /// The decoder for what the peer of a side that writes like this sends.
    #[must_use]
    pub fn peer_decoder(self, max_message_bytes: usize) -> Decoder {
        match self {
            Self::WebSocketServer => Decoder::WebSocket(websocket::Decoder::new(true, max_message_bytes)),
            Self::WebSocketClient => Decoder::WebSocket(websocket::Decoder::new(false, max_message_bytes)),
            Self::Length => Decoder::Length(length::Decoder::new(max_message_bytes)),
        }
    }
}

/// One thing read from a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A message of a framing or an opcode that promises UTF-8.
    Text(&'a str),
    /// A message that promises nothing: a binary one, or one of a byte stream that is not UTF-8.
    Binary(&'a [u8]),
    /// A message that the transport can tell is none of the application's; the text says why.
    Malformed(&'a str),
    /// A ping to be answered.
    Ping(&'a [u8]),
    /// The answer to a ping.
    Pong(&'a [u8]),
    /// The peer ends the link.
    Close(CloseCode, &'a str),
    /// A link to several servers has lost one of them and goes on: what follows is missing until the link says of each topic that it is
    /// subscribed. No framing says it.
    Interrupted(Interruption<'a>),
}

/// What a link that goes on does not hear for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interruption<'a> {
    /// The topics that were subscribed.
    pub topics: &'a [Box<str>],
    /// Until when everything was surely heard, in milliseconds since 1970.
    pub from_ms: u64,
    /// Events were sent of which it is not known whether they arrived.
    pub is_unproven: bool,
}

/// A frame that ends the link.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// Longer than allowed; nothing of it was stored.
    TooLarge { len: u64, max: usize },
    /// Against the rules of the framing.
    Protocol(&'static str),
    /// A text message that is not UTF-8.
    NotUtf8,
    /// More fragments than any sender needs.
    TooManyFragments,
}

impl FrameError {
    /// The code that the link is closed with.
    #[must_use]
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::TooLarge { .. } => CloseCode::TOO_LARGE,
            Self::Protocol(_) => CloseCode::PROTOCOL,
            Self::NotUtf8 => CloseCode::NOT_UTF8,
            Self::TooManyFragments => CloseCode::POLICY,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, max } => write!(f, "a message of {len} bytes, at most {max} are allowed"),
            Self::Protocol(rule) => f.write_str(rule),
            Self::NotUtf8 => f.write_str("a text message that is not UTF-8"),
            Self::TooManyFragments => f.write_str("a message in too many fragments"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Takes bytes as they come and gives items.
#[derive(Debug)]
pub enum Decoder {
    /// RFC 6455.
    WebSocket(websocket::Decoder),
    /// Four bytes of length.
    Length(length::Decoder),
}

impl Decoder {
    /// Decodes a whole read. `bytes` is scratch: it is changed in place.
    ///
    /// # Errors
    /// The first frame that breaks a rule; items before it were given, nothing after it will be.
    pub fn feed(&mut self, bytes: &mut [u8], sink: &mut dyn FnMut(Item<'_>)) -> Result<(), FrameError> {
        match self {
            Self::WebSocket(decoder) => decoder.feed(bytes, sink),
            Self::Length(decoder) => decoder.feed(bytes, sink),
        }
    }

    /// Bytes kept of messages that are not complete.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::WebSocket(decoder) => decoder.held_bytes(),
            Self::Length(decoder) => decoder.held_bytes(),
        }
    }
}

/// What is kept of a frame that arrived in part. Never larger than what arrived.
#[derive(Debug, Default)]
pub(super) struct Partial(Vec<u8>);

/// Above this a buffer is given back once it is empty.
const KEPT_CAPACITY: usize = 4096;

impl Partial {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Moves bytes from the front of `input` until `want` are held; returns what is left of the input.
    pub(super) fn fill<'a>(&mut self, want: usize, input: &'a mut [u8]) -> &'a mut [u8] {
        let missing = want.saturating_sub(self.0.len()).min(input.len());
        let (head, rest) = input.split_at_mut(missing);
        self.0.extend_from_slice(head);
        rest
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
        if self.0.capacity() > KEPT_CAPACITY {
            self.0 = Vec::new();
        }
    }
}
