//! RFC 6455, section 5, and the length prefix, read naively from bytes that are all there. Shares no code with the decoders.

use alkpubsub_engine::wire::frame::Framing;

use super::Got;

/// Frames of one message at most. Source: docs/limits.md.
const MAX_FRAGMENTS: usize = 16_384;

/// What the bytes hold.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) items: Vec<Got>,
    /// The close code of the first violation.
    pub(crate) error: Option<u16>,
    /// Bytes of fragments that wait for their last one.
    pub(crate) fragments: usize,
}

/// Reads everything.
pub(crate) fn read(reader: Framing, max: usize, bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let fate = match reader {
        Framing::WebSocketServer => websocket(&mut reading, true, max as u128, bytes),
        Framing::WebSocketClient => websocket(&mut reading, false, max as u128, bytes),
        Framing::Length => length(&mut reading, max, bytes),
    };
    reading.error = fate.err();
    reading
}

fn length(reading: &mut Reading, max: usize, mut bytes: &[u8]) -> Result<(), u16> {
    while let Some((header, rest)) = bytes.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*header) as usize;
        if len == 0 {
            return Err(1002);
        }
        if len > max {
            return Err(1009);
        }
        let Some((message, rest)) = rest.split_at_checked(len) else { break };
        reading.items.push(match String::from_utf8(message.into()) {
            Ok(text) => Got::Text(text),
            Err(_) => Got::Binary(message.into()),
        });
        bytes = rest;
    }
    Ok(())
}

/// The fragments of one message.
struct Message {
    is_text: bool,
    bytes: Vec<u8>,
    frames: usize,
}

fn websocket(reading: &mut Reading, is_masked: bool, max: u128, mut bytes: &[u8]) -> Result<(), u16> {
    let mut open: Option<Message> = None;
    loop {
        reading.fragments = open.as_ref().map_or(0, |message| message.bytes.len());
        let Some((frame, rest)) = Frame::read(bytes, is_masked, open.as_ref(), max)? else { return Ok(()) };
        bytes = rest;
        match frame.opcode {
            8 => {
                reading.items.push(close(&frame.payload)?);
                return Ok(());
            }
            9 => reading.items.push(Got::Ping(frame.payload)),
            10 => reading.items.push(Got::Pong(frame.payload)),
            opcode => {
                let mut message = open.take().unwrap_or(Message { is_text: opcode == 1, bytes: Vec::new(), frames: 0 });
                message.frames += 1;
                if message.frames > MAX_FRAGMENTS {
                    return Err(1008);
                }
                message.bytes.extend(frame.payload);
                if frame.is_final {
                    reading.items.push(whole(message)?);
                } else {
                    open = Some(message);
                }
            }
        }
    }
}

fn whole(message: Message) -> Result<Got, u16> {
    if !message.is_text {
        return Ok(Got::Binary(message.bytes));
    }
    String::from_utf8(message.bytes).map(Got::Text).map_err(|_| 1007)
}

fn close(payload: &[u8]) -> Result<Got, u16> {
    match payload {
        [] => Ok(Got::Close(1005, String::new())),
        [_] => Err(1002),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            // RFC 6455, 7.4, and the registry of close codes: 1012 to 1014 were added there.
            let may_be_sent = match code {
                1004..=1006 | 1015 => false,
                1000..=1014 | 3000..=4999 => true,
                _ => false,
            };
            if !may_be_sent {
                return Err(1002);
            }
            String::from_utf8(reason.into()).map(|reason| Got::Close(code, reason)).map_err(|_| 1007)
        }
    }
}

struct Frame {
    is_final: bool,
    opcode: u8,
    payload: Vec<u8>,
}

impl Frame {
    /// One frame and what follows it; nothing while it is not complete. What its bytes show is refused as soon as they are there, but
    /// for the length, which counts with the whole header.
    fn read<'a>(
        bytes: &'a [u8],
        is_masked: bool,
        open: Option<&Message>,
        max: u128,
    ) -> Result<Option<(Self, &'a [u8])>, u16> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (is_final, opcode) = (first >= 0x80, first % 16);
        let is_known = matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
        let is_in_place = opcode > 2 || (opcode == 0) == open.is_some();
        if first / 16 % 8 != 0 || !is_known || !is_in_place {
            return Err(1002);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if (second >= 0x80) != is_masked {
            return Err(1002);
        }
        let (long, mask_len) = (
            match second % 128 {
                126 => 2,
                127 => 8,
                _ => 0,
            },
            if is_masked { 4 } else { 0 },
        );
        let Some(header) = bytes.get(2..2 + long + mask_len) else { return Ok(None) };
        let (long, mask) = header.split_at(long);
        let len = if long.is_empty() {
            u128::from(second % 128)
        } else {
            long.iter().fold(0, |len, byte| len * 256 + u128::from(*byte))
        };
        if opcode >= 8 && (len > 125 || !is_final) {
            return Err(1002);
        }
        let before = open.filter(|_| opcode == 0).map_or(0, |message| message.bytes.len() as u128);
        if opcode < 8 && before + len > max {
            return Err(1009);
        }
        let rest = &bytes[2 + header.len()..];
        if len > rest.len() as u128 {
            return Ok(None);
        }
        let (payload, rest) = rest.split_at(len as usize);
        let mask = if mask.is_empty() { &[0; 4] } else { mask };
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        Ok(Some((Self { is_final, opcode, payload }, rest)))
    }
}
