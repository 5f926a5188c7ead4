//! The decoders of all framings against a naive reader, in whatever pieces the bytes come; and the writers against the decoders.
//!
//! Input: who reads (0 a hub, 1 a spoke, 2 the end of a byte stream; from 128 with the highest limit), the limit in two bytes, how many
//! sizes of pieces follow (0 to 7), those sizes, then the bytes from the wire.

mod reference;

use alkpubsub_engine::model::{CloseCode, Limits};
use alkpubsub_engine::wire::frame::{Decoder, FrameError, Framing, Item};

use super::memory::live;
use reference::Reading;

/// The longest header of any frame (RFC 6455, 5.2).
const MAX_HEADER: usize = 14;
/// Payload of a control frame (RFC 6455, 5.5).
const MAX_CONTROL: usize = 125;
/// What an emptied buffer may keep.
const KEPT: isize = 4096;

/// An item that outlives its read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

impl From<Item<'_>> for Got {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Text(text) => Self::Text(text.into()),
            Item::Binary(bytes) => Self::Binary(bytes.into()),
            Item::Malformed(what) => unreachable!("no framing says {what}"),
            Item::Interrupted(what) => unreachable!("no framing says {what:?}"),
            Item::Ping(data) => Self::Ping(data.into()),
            Item::Pong(data) => Self::Pong(data.into()),
            Item::Close(code, reason) => Self::Close(code.0, reason.into()),
        }
    }
}

struct Input<'a> {
    /// How the side writes that reads here.
    framing: Framing,
    max: usize,
    sizes: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        let (&[reader, high, low, count], rest) = data.split_first_chunk()?;
        let framing = match reader % 128 {
            0 => Framing::WebSocketServer,
            1 => Framing::WebSocketClient,
            _ => Framing::Length,
        };
        let max = if reader < 128 { u16::from_be_bytes([high, low]).into() } else { Limits::HARD_MAX_MESSAGE_BYTES };
        let (sizes, bytes) = rest.split_at(usize::from(count % 8).min(rest.len()));
        Some(Self { framing, max, sizes, bytes })
    }

    fn decoder(&self) -> Decoder {
        self.framing.peer_decoder(self.max)
    }

    /// The bytes in pieces of the given sizes, over and over.
    fn pieces(&self) -> Vec<&'a [u8]> {
        let mut sizes = self.sizes.iter().map(|size| usize::from(*size) + 1).cycle();
        let mut rest = self.bytes;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(sizes.next().unwrap_or(rest.len()).min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces
    }
}

/// What must hold for any bytes from a wire.
pub fn check(data: &[u8]) {
    let Some(input) = Input::read(data) else { return };
    let whole = decode(&input, &[input.bytes]);
    agrees_with_the_reference(&input, &whole);
    for pieces in [input.pieces(), input.bytes.chunks(1).collect()] {
        let read = decode(&input, &pieces);
        assert_eq!((&whole.items, &whole.error), (&read.items, &read.error), "in {} pieces", pieces.len());
        assert!(whole.error.is_some() || whole.held == read.held, "{} or {} bytes held", whole.held, read.held);
    }
    allocates_what_it_holds(&input);
    for writer in [Framing::WebSocketServer, Framing::WebSocketClient, Framing::Length] {
        items_read_back(writer, &whole.items);
        if let Ok(message) = std::str::from_utf8(input.bytes) {
            the_limit_is_exact(writer, message);
        }
    }
}

struct Decoded {
    items: Vec<Got>,
    error: Option<FrameError>,
    held: usize,
}

fn decode(input: &Input<'_>, pieces: &[&[u8]]) -> Decoded {
    let mut decoder = input.decoder();
    let (mut items, mut error, mut fed) = (Vec::new(), None, 0);
    for piece in pieces {
        fed += piece.len();
        error = decoder.feed(&mut piece.to_vec(), &mut |item| items.push(item.into())).err();
        let held = decoder.held_bytes();
        assert!(held <= fed, "{held} bytes held of {fed} that came");
        assert!(held <= input.max + MAX_HEADER + MAX_CONTROL, "{held} bytes held, at most {} are legal", input.max);
        if error.is_some() {
            break;
        }
    }
    Decoded { items, error, held: decoder.held_bytes() }
}

fn agrees_with_the_reference(input: &Input<'_>, got: &Decoded) {
    let Reading { items, error, fragments } = reference::read(input.framing, input.max, input.bytes);
    assert_eq!((&got.items, got.error.as_ref().map(|error| error.close_code().0)), (&items, error));
    if let Some(FrameError::TooLarge { len, max }) = got.error {
        assert!(max == input.max && len > max as u64, "{len} is not above {max}");
        assert_eq!(got.held, fragments, "something of a message that is too large was stored");
    }
}

/// Memory grows with what came, never with a length that a header only claims.
fn allocates_what_it_holds(input: &Input<'_>) {
    let mut scratch = input.bytes.to_vec();
    let sizes: Vec<usize> = input.pieces().iter().map(|piece| piece.len()).collect();
    let before = live();
    let mut decoder = input.decoder();
    let mut rest = &mut scratch[..];
    for size in sizes {
        let (piece, tail) = rest.split_at_mut(size);
        rest = tail;
        let has_failed = decoder.feed(piece, &mut |_| {}).is_err();
        let (allocated, held) = (live() - before, decoder.held_bytes());
        assert!(allocated <= 2 * held as isize + KEPT, "{allocated} bytes allocated for {held}");
        if has_failed {
            break;
        }
    }
}

fn write(writer: Framing, out: &mut Vec<u8>, item: &Got, mask: [u8; 4]) -> bool {
    match item {
        // The contract has no empty messages on a byte stream.
        Got::Text(text) if text.is_empty() && writer == Framing::Length => false,
        Got::Text(text) => {
            writer.write_message(out, text, mask);
            true
        }
        Got::Binary(_) => false,
        Got::Ping(data) => writer.write_ping(out, data, mask),
        Got::Pong(data) => writer.write_pong(out, data, mask),
        Got::Close(code, reason) => writer.write_close(out, CloseCode(*code), reason, mask),
    }
}

/// What was read and is written again reads as the same, with the right length.
fn items_read_back(writer: Framing, items: &[Got]) {
    let mut bytes = Vec::new();
    let mut written = Vec::new();
    for (item, mask) in items.iter().zip(1_u32..) {
        let start = bytes.len();
        if write(writer, &mut bytes, item, mask.wrapping_mul(0x9e37_79b9).to_be_bytes()) {
            let frame = &bytes[start..];
            assert_eq!(writer.frame_len(frame), Some(frame.len()), "{writer:?} {item:?}");
            assert_eq!(writer.is_message(frame), matches!(item, Got::Text(_)), "{writer:?} {item:?}");
            written.push(item.clone());
        } else {
            assert_eq!(bytes.len(), start, "{writer:?} says that it did not write {item:?}");
        }
    }
    let mut read = Vec::new();
    let fate = reader_of(writer, usize::MAX).feed(&mut bytes, &mut |item| read.push(item.into()));
    assert_eq!((read, fate), (written, Ok(())), "{writer:?}");
}

/// A message as long as the limit passes; one byte over it is refused by its header.
fn the_limit_is_exact(writer: Framing, message: &str) {
    let Some(over) = message.len().checked_sub(1) else { return };
    let mut frame = Vec::new();
    writer.write_message(&mut frame, message, [0x37, 0xfa, 0x21, 0x3d]);
    let mut decoder = reader_of(writer, over);
    let refused = decoder.feed(&mut frame.clone(), &mut |item| unreachable!("{item:?} is over the limit"));
    assert_eq!(refused, Err(FrameError::TooLarge { len: message.len() as u64, max: over }));
    assert_eq!(decoder.held_bytes(), 0);
    let mut read = Vec::new();
    let passed = reader_of(writer, message.len()).feed(&mut frame, &mut |item| read.push(item.into()));
    assert_eq!((read, passed), (vec![Got::Text(message.into())], Ok(())));
}

/// The decoder of the other end of `writer`'s link.
fn reader_of(writer: Framing, max: usize) -> Decoder {
    let peer = match writer {
        Framing::WebSocketServer => Framing::WebSocketClient,
        Framing::WebSocketClient => Framing::WebSocketServer,
        Framing::Length => Framing::Length,
    };
    peer.peer_decoder(max)
}
