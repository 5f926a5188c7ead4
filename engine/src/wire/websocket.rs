//! WebSocket frames (RFC 6455, section 5). Does not make handshakes, answer pings or close links.
//!
//! Invariants: a length is checked before anything is stored; no more is stored than has arrived; a control frame between the fragments
//! of a message is given at once; no extension is ever negotiated, so reserved bits are an error.

use super::frame::{FrameError, Item, Mask, Partial};
use crate::model::CloseCode;

pub(super) const OP_CONTINUATION: u8 = 0x0;
pub(super) const OP_TEXT: u8 = 0x1;
const OP_BINARY: u8 = 0x2;
pub(super) const OP_CLOSE: u8 = 0x8;
pub(super) const OP_PING: u8 = 0x9;
pub(super) const OP_PONG: u8 = 0xa;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const CONTROL: u8 = 0x08;
/// Source: RFC 6455, 5.5.
const MAX_CONTROL_LEN: usize = 125;
/// Fragments of one message. Source: none, a guess: 64 MiB in the smallest pieces that a sender would sensibly make.
const MAX_FRAGMENTS: u32 = 16_384;

/// Appends one frame; with a mask the payload is masked.
pub fn write_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: Option<Mask>) {
    out.reserve(14 + payload.len());
    out.push(FIN | opcode);
    let bit = if mask.is_some() { MASKED } else { 0 };
    match payload.len() {
        len @ 0..126 => out.push(bit | len as u8),
        len @ 126..65_536 => {
            out.push(bit | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(bit | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let Some(mask) = mask else {
        out.extend_from_slice(payload);
        return;
    };
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], mask);
}

/// The payload of a close frame: nothing for [`CloseCode::NONE`], else the code and as much of the reason as fits.
#[must_use]
pub fn close_payload(code: CloseCode, reason: &str) -> Vec<u8> {
    if !code.is_sendable() {
        return Vec::new();
    }
    let fits = reason.floor_char_boundary(MAX_CONTROL_LEN - 2);
    let mut payload = code.0.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..fits]);
    payload
}

/// Length of the whole frame that begins here, or `None` while its header is not complete.
#[must_use]
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let header = Header::read(bytes)?;
    Some(header.len + header.payload_len as usize)
}

fn apply_mask(bytes: &mut [u8], mask: Mask) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (index, byte) in tail.iter_mut().enumerate() {
        *byte ^= mask[index & 3];
    }
}

#[derive(Debug, Clone, Copy)]
struct Header {
    first: u8,
    mask: Option<Mask>,
    len: usize,
    payload_len: u64,
}

impl Header {
    /// `None` while bytes are missing.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (payload_len, mut len) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let mask = if second & MASKED == 0 {
            None
        } else {
            len += 4;
            Some(bytes.get(len - 4..len)?.try_into().ok()?)
        };
        Some(Self { first, mask, len, payload_len })
    }

    fn opcode(self) -> u8 {
        self.first & 0x0f
    }

    fn is_final(self) -> bool {
        self.first & FIN != 0
    }

    fn is_control(self) -> bool {
        self.opcode() & CONTROL != 0
    }
}

/// Reads frames from bytes that come in any pieces.
#[derive(Debug)]
pub struct Decoder {
    partial: Partial,
    message: Vec<u8>,
    fragments: u32,
    fragmented: Option<u8>,
    expects_mask: bool,
    is_closed: bool,
    max: usize,
}

impl Decoder {
    /// A decoder for the frames of clients (`expects_mask`) or of servers, for messages up to `max` bytes.
    #[must_use]
    pub fn new(expects_mask: bool, max: usize) -> Self {
        Self {
            partial: Partial::default(),
            message: Vec::new(),
            fragments: 0,
            fragmented: None,
            expects_mask,
            is_closed: false,
            max,
        }
    }

    /// Bytes kept of messages that are not complete.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial.len() + self.message.len()
    }

    /// Decodes a whole read, unmasking in place. After a close frame everything is ignored (RFC 6455, 5.5.1).
    ///
    /// # Errors
    /// The first frame that breaks a rule.
    pub fn feed(&mut self, bytes: &mut [u8], sink: &mut dyn FnMut(Item<'_>)) -> Result<(), FrameError> {
        let mut input = bytes;
        while !input.is_empty() && !self.is_closed {
            if !self.partial.is_empty() {
                input = self.complete(input, sink)?;
                continue;
            }
            match self.checked_header(input)? {
                Some((header, len)) if len <= input.len() => {
                    let (frame, rest) = input.split_at_mut(len);
                    self.frame(header, &mut frame[header.len..], sink)?;
                    input = rest;
                }
                _ => input = self.partial.fill(usize::MAX, input),
            }
        }
        Ok(())
    }

    fn complete<'a>(
        &mut self,
        input: &'a mut [u8],
        sink: &mut dyn FnMut(Item<'_>),
    ) -> Result<&'a mut [u8], FrameError> {
        // One byte at a time until the header is known: at most 14 of them.
        let want = self.checked_header(self.partial.bytes())?.map_or(self.partial.len() + 1, |(_, len)| len);
        let rest = self.partial.fill(want, input);
        if let Some((header, len)) = self.checked_header(self.partial.bytes())?
            && len == self.partial.len()
        {
            let mut whole = std::mem::take(&mut self.partial);
            let done = self.frame(header, &mut whole.bytes_mut()[header.len..], sink);
            whole.clear();
            self.partial = whole;
            done?;
        }
        Ok(rest)
    }

    /// The header and the length of the whole frame, if the header is complete and legal here.
    fn checked_header(&self, bytes: &[u8]) -> Result<Option<(Header, usize)>, FrameError> {
        self.check_first_bytes(bytes)?;
        let Some(header) = Header::read(bytes) else {
            return Ok(None);
        };
        if header.is_control() {
            if header.payload_len > MAX_CONTROL_LEN as u64 || !header.is_final() {
                return Err(FrameError::Protocol("a control frame is fragmented or longer than 125 bytes"));
            }
        } else {
            let held = if header.opcode() == OP_CONTINUATION { self.message.len() as u64 } else { 0 };
            let total = held.saturating_add(header.payload_len);
            if total > self.max as u64 {
                return Err(FrameError::TooLarge { len: total, max: self.max });
            }
        }
        Ok(Some((header, header.len + header.payload_len as usize)))
    }

    /// Refuses what the first two bytes already show, so that nothing waits for the rest of it.
    fn check_first_bytes(&self, bytes: &[u8]) -> Result<(), FrameError> {
        let Some(&first) = bytes.first() else { return Ok(()) };
        if first & RESERVED != 0 {
            return Err(FrameError::Protocol("a reserved bit is set"));
        }
        match first & 0x0f {
            OP_CONTINUATION if self.fragmented.is_none() => Err(FrameError::Protocol("a continuation of nothing")),
            OP_TEXT | OP_BINARY if self.fragmented.is_some() => {
                Err(FrameError::Protocol("a new message inside a fragmented one"))
            }
            OP_CONTINUATION | OP_TEXT | OP_BINARY | OP_CLOSE | OP_PING | OP_PONG => match bytes.get(1) {
                Some(second) if (second & MASKED != 0) != self.expects_mask => {
                    Err(FrameError::Protocol("a client must mask its frames and a server must not"))
                }
                _ => Ok(()),
            },
            _ => Err(FrameError::Protocol("an unknown opcode")),
        }
    }

    fn frame(&mut self, header: Header, payload: &mut [u8], sink: &mut dyn FnMut(Item<'_>)) -> Result<(), FrameError> {
        if let Some(mask) = header.mask {
            apply_mask(payload, mask);
        }
        match header.opcode() {
            OP_PING => sink(Item::Ping(payload)),
            OP_PONG => sink(Item::Pong(payload)),
            OP_CLOSE => {
                let (code, reason) = read_close(payload)?;
                self.is_closed = true;
                sink(Item::Close(code, reason));
            }
            opcode if header.is_final() && opcode != OP_CONTINUATION => give(opcode, payload, sink)?,
            opcode => self.fragment(opcode, header.is_final(), payload, sink)?,
        }
        Ok(())
    }

    fn fragment(
        &mut self,
        opcode: u8,
        is_final: bool,
        payload: &[u8],
        sink: &mut dyn FnMut(Item<'_>),
    ) -> Result<(), FrameError> {
        let first = *self.fragmented.get_or_insert(opcode);
        self.fragments += 1;
        if self.fragments > MAX_FRAGMENTS {
            return Err(FrameError::TooManyFragments);
        }
        self.message.extend_from_slice(payload);
        if is_final {
            let message = std::mem::take(&mut self.message);
            self.fragmented = None;
            self.fragments = 0;
            give(first, &message, sink)?;
        }
        Ok(())
    }
}

fn give(opcode: u8, message: &[u8], sink: &mut dyn FnMut(Item<'_>)) -> Result<(), FrameError> {
    if opcode == OP_BINARY {
        sink(Item::Binary(message));
        return Ok(());
    }
    sink(Item::Text(std::str::from_utf8(message).map_err(|_| FrameError::NotUtf8)?));
    Ok(())
}

fn read_close(payload: &[u8]) -> Result<(CloseCode, &str), FrameError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok((CloseCode::NONE, ""))
        } else {
            Err(FrameError::Protocol("a close frame with one byte"))
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        return Err(FrameError::Protocol("a close code that may not be sent"));
    }
    Ok((code, std::str::from_utf8(reason).map_err(|_| FrameError::NotUtf8)?))
}
