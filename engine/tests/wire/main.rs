//! What is legal on the wire, byte by byte: frames of both framings in pieces of any size, every violation with its close code, and
//! payloads that pass untouched. No sockets here.

mod length;
mod payloads;
mod random;
mod websocket;

use alkpubsub_engine::model::EventSpan;
use alkpubsub_engine::wire::envelope;
use alkpubsub_engine::wire::frame::{Decoder, FrameError, Framing, Item};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An item that outlives its read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

fn owned(item: Item<'_>) -> Got {
    match item {
        Item::Text(text) => Got::Text(text.into()),
        Item::Binary(bytes) => Got::Binary(bytes.into()),
        Item::Malformed(what) => unreachable!("no framing says {what}"),
        Item::Interrupted(what) => unreachable!("no framing says {what:?}"),
        Item::Ping(data) => Got::Ping(data.into()),
        Item::Pong(data) => Got::Pong(data.into()),
        Item::Close(code, reason) => Got::Close(code.0, reason.into()),
    }
}

/// Which end decodes: a server sees masked frames, a client unmasked ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Server,
    Client,
    Stream,
}

impl At {
    fn decoder(self, max: usize) -> Decoder {
        match self {
            Self::Server => Framing::WebSocketServer.peer_decoder(max),
            Self::Client => Framing::WebSocketClient.peer_decoder(max),
            Self::Stream => Framing::Length.peer_decoder(max),
        }
    }
}

/// Feeds pieces one by one; checks after each that no more is held than came.
fn decode<'a>(mut decoder: Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Got>, Option<FrameError>) {
    let mut got = Vec::new();
    let mut fed = 0;
    for piece in pieces {
        fed += piece.len();
        let fate = decoder.feed(&mut piece.to_vec(), &mut |item| got.push(owned(item)));
        assert!(decoder.held_bytes() <= fed, "{} bytes held of {fed}", decoder.held_bytes());
        if let Err(error) = fate {
            return (got, Some(error));
        }
    }
    (got, None)
}

fn at_once(at: At, max: usize, bytes: &[u8]) -> (Vec<Got>, Option<FrameError>) {
    decode(at.decoder(max), [bytes])
}

fn byte_by_byte(at: At, max: usize, bytes: &[u8]) -> (Vec<Got>, Option<FrameError>) {
    decode(at.decoder(max), bytes.chunks(1))
}

/// A WebSocket frame made without the code under test. `first` is the first byte.
fn frame(at: At, first: u8, payload: &[u8]) -> Vec<u8> {
    let bit = if at == At::Server { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        len @ ..=125 => out.push(bit | len as u8),
        len @ ..=65_535 => {
            out.push(bit | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(bit | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    if at == At::Server {
        out.extend(MASK);
        out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ MASK[index % 4]));
    } else {
        out.extend(payload);
    }
    out
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hex digits are ASCII");
            u8::from_str_radix(pair, 16).expect("hex digits")
        })
        .collect()
}

fn text(text: &str) -> Got {
    Got::Text(text.into())
}

/// The payload's bytes go from a message into a batch, and into the envelope that leaves, without a change.
fn passes_untouched(before: &str, payload: &str) {
    let message = format!(r#" {{ "_o":1, "payload" :  {payload} , "x":[{{}}], "id":"i", "type":"t"}} "#);
    let read = envelope::decode(&message).expect("an envelope");
    assert_eq!(read.payload, payload);
    let mut buffer = before.to_owned();
    let mut span = EventSpan::write(&mut buffer, &read.type_, &read.id, read.payload);
    assert_eq!(span.payload(&buffer), payload);
    assert_eq!(span.body(&buffer), format!(r#"{{"type":"t","id":"i","payload":{payload}}}"#));
    let mut other = String::from("é, moved");
    span.rebase(other.len() as u32);
    other.push_str(&buffer);
    assert_eq!(span.payload(&other), payload);
    assert_eq!(envelope::decode(span.body(&other)).expect("our own envelope").payload, payload);
}
