//! Just enough of WebSocket and of Socket.IO to subscribe, publish and count. Blocks; checks nothing that a working hub gets right.
//! Invariant: a frame is counted when its last byte has come.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::str::FromStr;

use alkpubsub_engine::wire::frame::Framing;

/// Bytes of the envelope of an event, as in all benchmarks.
const EVENT_BYTES: usize = 200;

/// The mask of all frames: zeroes, so that masking costs the client nothing. The hubs cannot know.
const MASK: [u8; 4] = [0; 4];

#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    Plain,
    SocketIo,
}

impl FromStr for Protocol {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        match text {
            "plain" => Ok(Self::Plain),
            "socketio" => Ok(Self::SocketIo),
            _ => Err(io::Error::other(format!("protocol {text:?} is not known"))),
        }
    }
}

impl Protocol {
    pub(crate) fn connect(self, address: &str) -> io::Result<TcpStream> {
        let path = match self {
            Self::Plain => "/",
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket",
        };
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        read_head(&mut stream)?;
        if let Self::SocketIo = self {
            // Engine.IO opens, the client joins the namespace, the server lets it in.
            read_frame(&mut stream)?;
            stream.write_all(&frame("40"))?;
            read_frame(&mut stream)?;
        }
        Ok(stream)
    }

    pub(crate) fn subscription(self, topic: &str) -> Vec<u8> {
        match self {
            Self::Plain => frame(&format!(r#"{{"type":"__subscribe","id":"","payload":{{"topic":"{topic}"}}}}"#)),
            Self::SocketIo => frame(&format!(r#"42["subscribe","{topic}"]"#)),
        }
    }

    pub(crate) fn event(self, id: &str) -> Vec<u8> {
        let envelope = envelope(id);
        match self {
            Self::Plain => frame(&envelope),
            Self::SocketIo => frame(&format!(r#"42["event",{envelope}]"#)),
        }
    }
}

/// Type `bench`, and a payload that fills it up.
pub(crate) fn envelope(id: &str) -> String {
    let head = format!(r#"{{"type":"bench","id":"{id}","payload":""#);
    let filler = EVENT_BYTES.saturating_sub(head.len() + 2);
    format!(r#"{head}{:x<filler$}"}}"#, "")
}

fn frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Framing::WebSocketClient.write_message(&mut bytes, text, MASK);
    bytes
}

/// An empty pong: the hubs take any for a sign of life.
pub(crate) fn pong() -> [u8; 6] {
    [0x8a, 0x80, 0, 0, 0, 0]
}

/// Reads up to the empty line, byte by byte: what follows is not the head's.
pub(crate) fn read_head(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(())
}

fn read_frame(stream: &mut TcpStream) -> io::Result<()> {
    let mut counter = FrameCounter::default();
    let mut byte = [0];
    loop {
        let len = stream.read(&mut byte)?;
        if counter.feed(&byte[..len])?.messages > 0 {
            return Ok(());
        }
    }
}

/// What some bytes brought.
#[derive(Default)]
pub(crate) struct Fed {
    pub(crate) messages: u64,
    pub(crate) pings: u64,
}

/// Finds the ends of a server's frames; looks at no payload.
#[derive(Default)]
pub(crate) struct FrameCounter {
    head: [u8; 10],
    len: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
}

const PING: u8 = 0x9;
const TEXT_OR_BINARY: [u8; 2] = [0x1, 0x2];

impl FrameCounter {
    /// No bytes at all are the end of the connection, which nobody here expects.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> io::Result<Fed> {
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut fed = Fed::default();
        while !bytes.is_empty() {
            if self.left == 0 {
                bytes = self.feed_head(bytes);
                if self.len < self.head_len() {
                    break;
                }
                self.left = self.payload_len();
            }
            let skipped = self.left.min(bytes.len());
            bytes = &bytes[skipped..];
            self.left -= skipped;
            if self.left == 0 {
                self.end(&mut fed);
            }
        }
        Ok(fed)
    }

    fn feed_head<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while self.len < self.head_len() {
            let Some((first, rest)) = bytes.split_first() else { break };
            self.head[self.len] = *first;
            self.len += 1;
            bytes = rest;
        }
        bytes
    }

    /// Two bytes, and then the long forms of the length (RFC 6455, 5.2). A server masks nothing.
    fn head_len(&self) -> usize {
        match (self.len, self.head[1] & 0x7f) {
            (0..2, _) => 2,
            (_, 126) => 4,
            (_, 127) => 10,
            _ => 2,
        }
    }

    fn payload_len(&self) -> usize {
        self.head[2..self.len]
            .iter()
            .fold(None, |len: Option<usize>, byte| Some(len.unwrap_or(0) << 8 | usize::from(*byte)))
            .unwrap_or(usize::from(self.head[1] & 0x7f))
    }

    fn end(&mut self, fed: &mut Fed) {
        let opcode = self.head[0] & 0x0f;
        self.len = 0;
        fed.messages += u64::from(TEXT_OR_BINARY.contains(&opcode));
        fed.pings += u64::from(opcode == PING);
    }
}
