//! How events lie in Redis: channel = prefix + topic, message = envelope, with the publisher's origin as an extra key if it has one.
//! Does not send.

use std::borrow::Cow;
use std::io::Write;

use super::slots::slot_of;
use crate::wire::envelope;

const ORIGIN_KEY: &[u8] = b",\"_o\":\"";

/// What an origin may add to an envelope. Source: ours are shorter; a bound for what is read.
pub(super) const ORIGIN_BYTES: usize = 128;

/// Prefix and origin of one target.
#[derive(Debug, Clone, Default)]
pub(super) struct Dialect {
    pub(super) prefix: String,
    /// `,"_o":"<origin>"}`: how messages of ours end.
    ending: Option<String>,
}

impl Dialect {
    pub(super) fn new(prefix: &str, origin: Option<&str>) -> Self {
        let ending = origin.map(|origin| {
            let mut ending = String::from(",\"_o\":");
            envelope::write_text(&mut ending, origin);
            ending.push('}');
            ending
        });
        Self { prefix: prefix.into(), ending }
    }

    /// The topic of a channel of ours.
    pub(super) fn topic<'a>(&self, channel: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(channel).ok()?.strip_prefix(&self.prefix)
    }

    /// True for what was published here. The key is the last one, as we write it.
    pub(super) fn is_own(&self, message: &[u8]) -> bool {
        self.ending.as_ref().is_some_and(|ending| message.ends_with(ending.as_bytes()))
    }

    /// Bytes of the envelope in a message: without the origin of whoever published it.
    pub(super) fn envelope_len(message: &[u8]) -> usize {
        let tail = &message[message.len().saturating_sub(ORIGIN_BYTES)..];
        let origin = tail.windows(ORIGIN_KEY.len()).rposition(|window| window == ORIGIN_KEY);
        message.len() - origin.map_or(0, |at| tail.len() - at - 1)
    }

    /// Appends a PUBLISH, or a SPUBLISH, of an envelope.
    pub(super) fn write_publish(&self, out: &mut Vec<u8>, command: &str, topic: &str, message: &str) {
        let ending = self.ending.as_deref().unwrap_or("}");
        let message = &message[..message.len() - 1];
        out.extend_from_slice(b"*3\r\n");
        write_bulk(out, &[command]);
        write_bulk(out, &[&self.prefix, topic]);
        write_bulk(out, &[message, ending]);
    }

    /// The slot of a topic's channel.
    pub(super) fn slot(&self, topic: &str) -> u16 {
        slot_of(&[self.prefix.as_bytes(), topic.as_bytes()].concat())
    }

    /// Bytes of a topic's channel.
    pub(super) fn channel_len(&self, topic: &str) -> usize {
        self.prefix.len() + topic.len()
    }

    /// Appends a command about one channel.
    pub(super) fn write_about(&self, out: &mut Vec<u8>, command: &str, topic: &str) {
        let channel = [self.prefix.as_bytes(), topic.as_bytes()].concat();
        out.extend_from_slice(&::redis::pack_command(&[command.into(), channel]));
    }
}

fn write_bulk(out: &mut Vec<u8>, parts: &[&str]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    // A vector takes everything.
    let _ = write!(out, "${len}\r\n");
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    out.extend_from_slice(b"\r\n");
}

/// Type and id of an envelope. The way in which our own kind writes it is read without looking at the payload; all else in full.
pub(super) fn names(message: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    quick_names(message).or_else(|| envelope::decode(message).ok().map(|read| (read.type_, read.id)))
}

fn quick_names(message: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let (type_, rest) = text(message.strip_prefix("{\"type\":")?)?;
    let (id, _) = text(rest.strip_prefix(",\"id\":")?)?;
    Some((type_, id))
}

/// A JSON string at the start of `from`, and what follows it.
fn text(from: &str) -> Option<(Cow<'_, str>, &str)> {
    let inner = from.strip_prefix('"')?;
    let end = inner.bytes().position(|byte| byte == b'"' || byte == b'\\')?;
    if inner.as_bytes()[end] == b'"' {
        return Some((inner[..end].into(), &inner[end + 1..]));
    }
    let mut values = serde_json::Deserializer::from_str(from).into_iter::<String>();
    let value = values.next()?.ok()?;
    Some((value.into(), &from[values.byte_offset()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_an_envelope_is_written() {
        for (message, type_, id) in [
            (r#"{"type":"a","id":"b","payload":1}"#, "a", "b"),
            (r#"{"type":"a\"\\","id":"\u00e9","payload":1}"#, "a\"\\", "é"),
            (r#"{ "payload":{"type":"x"}, "id":"b","type":"a"}"#, "a", "b"),
        ] {
            let (read_type, read_id) = names(message).expect("an envelope");
            assert_eq!((&*read_type, &*read_id), (type_, id), "{message}");
        }
        assert!(names("{").is_none() && names(r#"{"type":"a"}"#).is_none());
    }

    #[test]
    fn a_publication_carries_prefix_and_origin() {
        let mut out = Vec::new();
        let message = r#"{"type":"a","id":"","payload":1}"#;
        Dialect::new("p:", None).write_publish(&mut out, "PUBLISH", "a:", message);
        let plain = "*3\r\n$7\r\nPUBLISH\r\n$4\r\np:a:\r\n$32\r\n{\"type\":\"a\",\"id\":\"\",\"payload\":1}\r\n";
        assert_eq!(String::from_utf8_lossy(&out), plain);
        out.clear();
        let own = Dialect::new("", Some("me"));
        own.write_publish(&mut out, "PUBLISH", "a:", message);
        let tagged = "$42\r\n{\"type\":\"a\",\"id\":\"\",\"payload\":1,\"_o\":\"me\"}\r\n";
        assert!(String::from_utf8_lossy(&out).ends_with(tagged), "{}", String::from_utf8_lossy(&out));
        assert_eq!(Dialect::envelope_len(&out[out.len() - 44..out.len() - 2]), message.len());
        assert_eq!(Dialect::envelope_len(message.as_bytes()), message.len());
        assert!(own.is_own(&out[..out.len() - 2]) && !own.is_own(message.as_bytes()));
        assert!(!own.is_own(br#"{"type":"a","id":"","payload":{"x":1,"_o":"me"}}"#), "a key of the payload");
    }
}
