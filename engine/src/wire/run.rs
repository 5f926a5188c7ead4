//! A *run*: what a member of a swarm says at once. Some events one behind the other, under one signature. Does not sign or check itself, and
//! does not know who has heard what.
//!
//! Invariant: what `read` gives is the whole message, and `events` of a run that it gave are all its bytes.
//!
//! Form: version, author (32 bytes), epoch, serial and number of the first event (8 bytes each, big-endian), signature (64 bytes), then each
//! event as a length frame: four bytes, big-endian, and an envelope. Without events a run says which number comes next. The serial makes no
//! two runs alike: the overlay takes equal messages for one, and who passes them on for superfluous.
//!
//! A *reminder* is for an author that counts from an earlier epoch than others have heard of it, because its clock has gone back, and whom
//! nobody hears therefore: a byte, eight that make it unlike others, and a run of that author without events.

use super::length;

/// The first byte.
const VERSION: u8 = 1;
/// The first byte of a reminder.
const REMINDER: u8 = 2;
const NONCE_BYTES: usize = 8;
/// What signatures begin with, so that none means something else. The topic's id follows.
const DOMAIN: &[u8] = b"alkpubsub/1 gossip run\0";
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const NUMBERS_AT: usize = 1 + KEY_BYTES;
const SIGNATURE_AT: usize = NUMBERS_AT + 24;
/// Bytes before the first event.
pub const HEAD_BYTES: usize = SIGNATURE_AT + SIGNATURE_BYTES;
/// What an event costs in a run besides its envelope.
pub const EVENT_BYTES: usize = length::HEADER_LEN;

/// A message is no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRun {
    /// Shorter than the part before the events.
    #[error("a message of {0} bytes, a run has {HEAD_BYTES} at least")]
    Short(usize),
    /// Of another version.
    #[error("version {0}, this understands {VERSION}")]
    Version(u8),
    /// The events are not frames of UTF-8, or end in the middle.
    #[error("its events are no length frames of UTF-8 texts")]
    Events,
    /// The numbers do not fit.
    #[error("its numbers end beyond the largest")]
    Numbers,
}

/// A run in the message that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    /// Who says it: an ed25519 key.
    pub author: &'a [u8; KEY_BYTES],
    /// When the author began to count.
    pub epoch: u64,
    /// Runs that the author said before in this epoch.
    pub serial: u64,
    /// The number of the first event, or of the next one where there is none.
    pub first: u64,
    /// The author's, over [`signed`].
    pub signature: &'a [u8; SIGNATURE_BYTES],
    /// The events as they were written.
    pub body: &'a [u8],
}

/// Appends an event to a body.
pub fn write_event(body: &mut Vec<u8>, envelope: &str) {
    length::write_frame(body, envelope.as_bytes());
}

/// The text that an author signs.
#[must_use]
pub fn signed(topic: &[u8; 32], epoch: u64, serial: u64, first: u64, body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(DOMAIN.len() + topic.len() + 24 + body.len());
    text.extend_from_slice(DOMAIN);
    text.extend_from_slice(topic);
    text.extend_from_slice(&epoch.to_be_bytes());
    text.extend_from_slice(&serial.to_be_bytes());
    text.extend_from_slice(&first.to_be_bytes());
    text.extend_from_slice(body);
    text
}

/// The message.
#[must_use]
pub fn write(run: &Run<'_>) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEAD_BYTES + run.body.len());
    message.push(VERSION);
    message.extend_from_slice(run.author);
    message.extend_from_slice(&run.epoch.to_be_bytes());
    message.extend_from_slice(&run.serial.to_be_bytes());
    message.extend_from_slice(&run.first.to_be_bytes());
    message.extend_from_slice(run.signature);
    message.extend_from_slice(run.body);
    message
}

/// A reminder, with a number that no other has. `word` is a run without events.
#[must_use]
pub fn write_reminder(nonce: u64, word: &[u8]) -> Vec<u8> {
    [&[REMINDER][..], &nonce.to_be_bytes(), word].concat()
}

/// The run in a reminder; nothing if the message is none.
#[must_use]
pub fn read_reminder(message: &[u8]) -> Option<&[u8]> {
    let word = message.strip_prefix(&[REMINDER])?.get(NONCE_BYTES..)?;
    (word.len() == HEAD_BYTES).then_some(word)
}

/// Reads a message, of which nothing is believed yet.
///
/// # Errors
/// [`NoRun`]. Events are looked at by [`Run::events`].
pub fn read(message: &[u8]) -> Result<Run<'_>, NoRun> {
    let (head, body) = message.split_at_checked(HEAD_BYTES).ok_or(NoRun::Short(message.len()))?;
    if head[0] != VERSION {
        return Err(NoRun::Version(head[0]));
    }
    let short = |_| NoRun::Short(message.len());
    let number = |at: usize| Ok(u64::from_be_bytes(head[at..at + 8].try_into().map_err(short)?));
    Ok(Run {
        author: head[1..NUMBERS_AT].try_into().map_err(short)?,
        epoch: number(NUMBERS_AT)?,
        serial: number(NUMBERS_AT + 8)?,
        first: number(NUMBERS_AT + 16)?,
        signature: head[SIGNATURE_AT..].try_into().map_err(short)?,
        body,
    })
}

impl<'a> Run<'a> {
    /// The envelopes, not looked at.
    ///
    /// # Errors
    /// [`NoRun::Events`], [`NoRun::Numbers`].
    pub fn events(&self) -> Result<Vec<&'a str>, NoRun> {
        let (mut rest, mut events) = (self.body, Vec::new());
        while !rest.is_empty() {
            let len = length::frame_len(rest).filter(|len| *len > EVENT_BYTES && *len <= rest.len());
            let (frame, behind) = rest.split_at(len.ok_or(NoRun::Events)?);
            events.push(std::str::from_utf8(&frame[EVENT_BYTES..]).map_err(|_| NoRun::Events)?);
            rest = behind;
        }
        match self.first.checked_add(events.len() as u64) {
            Some(_) => Ok(events),
            None => Err(NoRun::Numbers),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body_of(events: &[String]) -> Vec<u8> {
        let mut body = Vec::new();
        events.iter().for_each(|event| write_event(&mut body, event));
        body
    }

    #[test]
    fn the_bytes_of_a_run_are_these() {
        let body = body_of(&[r#"{"type":"a","id":"","payload":1}"#.into()]);
        let run = Run { author: &[7; 32], epoch: 0x0102, serial: 4, first: 3, signature: &[9; 64], body: &body };
        let message = write(&run);
        assert_eq!(message[..33], [&[1][..], &[7; 32]].concat());
        assert_eq!(message[33..49], [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(message[49..57], [0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(message[57..121], [9; 64]);
        assert_eq!(message[121..125], [0, 0, 0, 32]);
        assert_eq!(&message[125..], br#"{"type":"a","id":"","payload":1}"#);
        let text = signed(&[5; 32], 0x0102, 4, 3, &body);
        assert_eq!(text, [DOMAIN, &[5; 32], &message[33..57], &body].concat());
    }

    #[test]
    fn the_bytes_of_a_reminder_are_these() {
        let run = Run { author: &[7; 32], epoch: 1, serial: 0, first: 3, signature: &[9; 64], body: b"" };
        let word = write(&run);
        let message = write_reminder(0x0102, &word);
        assert_eq!(message[..9], [2, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(read_reminder(&message), Some(&word[..]));
        for bad in [&message[1..], &message[..message.len() - 1], &[&message[..], b"x"].concat(), b"\x02", b""] {
            assert_eq!(read_reminder(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_cut_off_of_another_version_or_no_frames_is_no_run() {
        let run = Run { author: &[7; 32], epoch: 1, serial: 0, first: u64::MAX, signature: &[9; 64], body: b"" };
        let mut message = write(&run);
        assert_eq!(read(&message[..120]), Err(NoRun::Short(120)));
        assert_eq!(read(&message).map(|run| run.events()), Ok(Ok(Vec::new())));
        for bad in [&b"\0\0\0\0"[..], b"\0\0\0\x02a", b"\0\0\0\x01\xff", b"\0\0", b"\xff\xff\xff\xffa"] {
            let message = [&message[..], bad].concat();
            assert_eq!(read(&message).expect("a head").events(), Err(NoRun::Events), "{bad:?}");
        }
        let beyond = [&message[..], b"\0\0\0\x01a"].concat();
        assert_eq!(read(&beyond).expect("a head").events(), Err(NoRun::Numbers));
        message[0] = 2;
        assert_eq!(read(&message), Err(NoRun::Version(2)));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            author: [u8; 32],
            epoch: u64,
            serial: u64,
            first in 0..u64::MAX / 2,
            events in proptest::collection::vec(".{1,40}", 0..8),
        ) {
            let body = body_of(&events);
            let run = Run { author: &author, epoch, serial, first, signature: &[3; 64], body: &body };
            let message = write(&run);
            let found = read(&message).expect("a run");
            prop_assert_eq!(found, run);
            prop_assert_eq!(found.events().expect("events"), events.iter().map(String::as_str).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_it_panic(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _any = read(&message).and_then(|run| run.events().map(|events| events.len()));
        }

        #[test]
        fn every_bit_is_signed(at in 0usize..1000, bit in 0u8..8, events in proptest::collection::vec(".{1,9}", 1..4)) {
            let body = body_of(&events);
            let run = Run { author: &[1; 32], epoch: 5, serial: 7, first: 6, signature: &[0; 64], body: &body };
            let before = signed(&[2; 32], 5, 7, 6, &body);
            let mut message = write(&run);
            // All but version, author and signature, which the check itself depends on.
            let open: Vec<usize> = (NUMBERS_AT..SIGNATURE_AT).chain(HEAD_BYTES..message.len()).collect();
            message[open[at % open.len()]] ^= 1 << bit;
            let changed = read(&message).expect("a head");
            prop_assert_ne!(signed(&[2; 32], changed.epoch, changed.serial, changed.first, changed.body), before);
        }
    }
}
