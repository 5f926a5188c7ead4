//! Frames of byte streams: four bytes of length, big-endian, then that many bytes of UTF-8 JSON. Does not look into the JSON.
//!
//! Invariant: a length is checked before anything is stored, and no more is stored than has arrived.

use super::frame::{FrameError, Item, Partial};

/// Bytes of the length.
pub const HEADER_LEN: usize = 4;

/// Appends one frame.
pub fn write_frame(out: &mut Vec<u8>, message: &[u8]) {
    out.reserve(HEADER_LEN + message.len());
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
}

/// Length of the whole frame that begins here, or `None` while its header is not complete.
#[must_use]
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let header: [u8; HEADER_LEN] = bytes.get(..HEADER_LEN)?.try_into().ok()?;
    Some(HEADER_LEN + u32::from_be_bytes(header) as usize)
}

/// Reads frames from bytes that come in any pieces.
#[derive(Debug)]
pub struct Decoder {
    partial: Partial,
    max: usize,
}

impl Decoder {
    /// A decoder that refuses messages above `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { partial: Partial::default(), max }
    }

    /// Bytes kept of a frame that is not complete.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Decodes a whole read.
    ///
    /// # Errors
    /// A length of zero, or one above the limit.
    pub fn feed(&mut self, bytes: &mut [u8], sink: &mut dyn FnMut(Item<'_>)) -> Result<(), FrameError> {
        let mut input = bytes;
        while !input.is_empty() {
            if !self.partial.is_empty() {
                input = self.complete(input, sink)?;
                continue;
            }
            match self.checked_len(input)? {
                Some(len) if len <= input.len() => {
                    let (frame, rest) = input.split_at_mut(len);
                    give(&frame[HEADER_LEN..], sink);
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
        let want = self.checked_len(self.partial.bytes())?.unwrap_or(HEADER_LEN);
        let rest = self.partial.fill(want, input);
        if self.checked_len(self.partial.bytes())? == Some(self.partial.len()) {
            give(&self.partial.bytes()[HEADER_LEN..], sink);
            self.partial.clear();
        }
        Ok(rest)
    }

    fn checked_len(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        match frame_len(bytes) {
            Some(HEADER_LEN) => Err(FrameError::Protocol("a frame of length 0")),
            Some(len) if len - HEADER_LEN > self.max => {
                Err(FrameError::TooLarge { len: (len - HEADER_LEN) as u64, max: self.max })
            }
            other => Ok(other),
        }
    }
}

fn give(message: &[u8], sink: &mut dyn FnMut(Item<'_>)) {
    sink(std::str::from_utf8(message).map_or(Item::Binary(message), Item::Text));
}
