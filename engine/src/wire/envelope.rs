//! Reads and writes one envelope, `{"type":…,"id":…,"payload":…}`. Does not know topics, frames or control events.
//!
//! Invariant: a payload that leaves `decode` is exactly one JSON value in UTF-8, so it may be put into another envelope, or between the
//! commas of an array, without being looked at again.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// One envelope, borrowed from the message that held it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The event's type.
    pub type_: Cow<'a, str>,
    /// The event's id, often empty.
    pub id: Cow<'a, str>,
    /// The payload as it came, one JSON value; `null` if it was missing.
    pub payload: &'a str,
}

/// The message is not an envelope.
#[derive(Debug, thiserror::Error)]
#[error("not an envelope: {0}")]
pub struct Malformed(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", borrow)]
    type_: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// Reads one message.
///
/// Keys may come in any order, others than the three are ignored; a key that comes twice, a missing or non-text `type` or `id`, and
/// anything that is not one JSON object is refused.
///
/// # Errors
/// [`Malformed`] says what was found and where.
pub fn decode(message: &str) -> Result<Envelope<'_>, Malformed> {
    quick(message).map_or_else(|| decode_any(message), Ok)
}

/// An envelope in the way in which our own kind writes it, with one more key of a text at most; `None` decides nothing.
fn quick(message: &str) -> Option<Envelope<'_>> {
    let (type_, rest) = plain(message.strip_prefix("{\"type\":\"")?)?;
    let (id, rest) = plain(rest.strip_prefix(",\"id\":\"")?)?;
    let rest = rest.strip_prefix(",\"payload\":")?;
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let (payload, rest) = rest.split_at(values.byte_offset());
    let is_bare = !payload.starts_with([' ', '\t', '\n', '\r']);
    (is_bare && ends(rest)).then(|| Envelope { type_: type_.into(), id: id.into(), payload })
}

/// The text up to its closing quote, if it needs no unescaping, and what follows the quote.
fn plain(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20)?;
    (text.as_bytes()[end] == b'"').then(|| (&text[..end], &text[end + 1..]))
}

/// Whether an envelope may end like this behind its payload.
fn ends(rest: &str) -> bool {
    let another = || {
        let (key, rest) = plain(rest.strip_prefix(",\"")?)?;
        let (_, rest) = plain(rest.strip_prefix(":\"")?)?;
        Some(rest == "}" && !["type", "id", "payload"].contains(&key))
    };
    rest == "}" || another() == Some(true)
}

fn decode_any(message: &str) -> Result<Envelope<'_>, Malformed> {
    // serde reads a struct from an array as well.
    if !message.trim_ascii_start().starts_with('{') {
        return Err(Malformed(serde::de::Error::custom("expected a JSON object")));
    }
    let wire: Wire<'_> = serde_json::from_str(message)?;
    Ok(Envelope { type_: wire.type_, id: wire.id, payload: wire.payload.map_or("null", RawValue::get) })
}

/// Appends everything of an envelope that stands before its payload; the payload and `}` follow.
pub fn write_prefix(out: &mut String, type_: &str, id: &str) {
    out.push_str("{\"type\":");
    write_text(out, type_);
    out.push_str(",\"id\":");
    write_text(out, id);
    out.push_str(",\"payload\":");
}

/// Bytes of the envelope that [`write_prefix`] begins, around a payload of so many bytes.
#[must_use]
pub fn len(type_: &str, id: &str, payload_len: usize) -> usize {
    const AROUND: usize = r#"{"type":,"id":,"payload":}"#.len();
    AROUND + text_len(type_) + text_len(id) + payload_len
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
}

fn text_len(text: &str) -> usize {
    if is_plain(text) {
        return text.len() + 2;
    }
    let mut escaped = String::new();
    write_text(&mut escaped, text);
    escaped.len()
}

/// Appends a JSON string, escaped as `JSON.stringify` does.
pub fn write_text(out: &mut String, text: &str) {
    out.push('"');
    if is_plain(text) {
        out.push_str(text);
    } else {
        write_escaped(out, text);
    }
    out.push('"');
}

fn write_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                let code = control as u32;
                out.push_str("\\u00");
                out.extend([code >> 4, code & 15].iter().filter_map(|digit| char::from_digit(*digit, 16)));
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn keys_may_come_in_any_order_and_others_are_ignored() {
        let read =
            decode(r#" {"payload" : [1, 2] ,"_o":"x","id":"r1","type":"chat.msg","x":{"type":1}} "#).expect("legal");
        assert_eq!((&*read.type_, &*read.id, read.payload), ("chat.msg", "r1", "[1, 2]"));
    }

    #[test]
    fn a_missing_payload_is_null() {
        assert_eq!(decode(r#"{"type":"a","id":""}"#).expect("legal").payload, "null");
    }

    #[test]
    fn what_is_not_one_envelope_is_malformed() {
        for message in [
            "",
            "1",
            "[]",
            "{}",
            r#"{"type":"a"}"#,
            r#"{"type":1,"id":""}"#,
            r#"{"type":"a","id":null}"#,
            r#"{"type":"a","id":"","payload":1}x"#,
            r#"{"type":"a","id":"","payload":1}{"type":"a","id":""}"#,
            r#"{"type":"a","id":"","payload":01}"#,
            r#"{"type":"a","id":"","payload":1,"payload":2}"#,
            r#"{"type":"a","type":"b","id":""}"#,
            r#"{"type":"a","id":"","id":"b"}"#,
            r#"{"type":"\ud800","id":""}"#,
            r#"{"type":"a","id":"","payload":}"#,
        ] {
            assert!(decode(message).is_err(), "{message}");
        }
    }

    #[test]
    fn the_quick_way_reads_what_the_thorough_one_reads_and_nothing_else() {
        let seeds = [
            r#"{"type":"a","id":"","payload":1}"#,
            r#"{"type":"chat.msg","id":"é:1","payload":{"a":[1,-0.5e3,null,true,"x\"\\\u00e9"]}}"#,
            r#"{"type":"a","id":"b","payload":"}","_o":"me"}"#,
            r#"{"type":"a","id":"b","payload":[],"id":"c"}"#,
            r#"{"type":"a","id":"b","payload": 12 }"#,
        ];
        let pieces = [
            "\"",
            "\\",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\n",
            "\u{1}",
            "0",
            "1",
            "-",
            ".",
            "e",
            "é",
            "type",
            "id",
            "payload",
            ",\"x\":\"y\"",
            ",\"type\":\"\"",
            "null",
            "\\ud800",
            "\\u0041",
            "tru",
            "_o",
        ];
        let mut dice: StdRng = StdRng::seed_from_u64(7);
        let mut quickly = 0;
        for _ in 0..200_000 {
            let mut message: Vec<char> = seeds[dice.random_range(0..seeds.len())].chars().collect();
            for _ in 0..dice.random_range(0..4) {
                let at = dice.random_range(0..=message.len());
                let end = (at + dice.random_range(0..3)).min(message.len());
                message.splice(at..end, pieces[dice.random_range(0..pieces.len())].chars());
            }
            let message: String = message.into_iter().collect();
            if let Some(read) = quick(&message) {
                quickly += 1;
                assert_eq!(Some(read), decode_any(&message).ok(), "{message}");
            }
        }
        assert!(quickly > 20_000, "{quickly}");
        assert!(
            seeds[..3].iter().all(|seed| quick(seed).is_some()) && seeds[3..].iter().all(|seed| quick(seed).is_none())
        );
    }

    #[test]
    fn the_payload_is_untouched() {
        for payload in
            ["123456789012345678901234567890", r#""\ud800\u0041""#, r#"{"a":1,"a":2}"#, "1e400", "-0", "\"\u{2028}\""]
        {
            let message = format!(r#"{{"type":"a","id":"","payload":{payload}}}"#);
            assert_eq!(decode(&message).expect("legal").payload, payload);
        }
    }

    #[test]
    fn a_payload_of_depth_ten_thousand_passes() {
        let payload = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let message = format!(r#"{{"type":"a","id":"","payload":{payload}}}"#);
        assert_eq!(decode(&message).expect("legal").payload.len(), 20_000);
    }

    #[test]
    fn the_length_is_known_before_anything_is_written() {
        for (type_, id) in [("a", ""), ("a\"", "\u{1}\n"), ("é", "x:y")] {
            let mut out = String::new();
            write_prefix(&mut out, type_, id);
            out.push_str("[1]}");
            assert_eq!(len(type_, id, 3), out.len());
        }
    }

    #[test]
    fn text_is_escaped_as_javascript_does() {
        let mut out = String::new();
        write_text(&mut out, "a\"b\\c\n\u{8}\u{c}\r\t\u{1}\u{1f}\u{7f}é/\u{2028}");
        assert_eq!(out, "\"a\\\"b\\\\c\\n\\b\\f\\r\\t\\u0001\\u001f\u{7f}é/\u{2028}\"");
    }
}
