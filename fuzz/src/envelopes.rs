//! `envelope::decode` against a naive reader of JSON and against `serde_json::Value`; payloads in the places where they are put unseen;
//! names through the writers.
//!
//! Input: a message, as text. What follows a byte that is not UTF-8 is left off.

use std::borrow::Cow;

use alkpubsub_engine::model::{EventSpan, Prefix};
use alkpubsub_engine::wire::envelope;
use serde_json::Value;

use super::json;

/// What must hold for any text.
pub fn check(data: &[u8]) {
    let text = valid_text(data);
    agrees(text);
    // As it comes, hardly any text has an envelope around it; as a payload, it may try to end one.
    agrees(&format!(r#"{{"type":"t","id":"i","payload":{text}}}"#));
    let (type_, id) = halves(text);
    names_come_through(type_, id);
}

/// The text up to the first byte that is none.
pub(crate) fn valid_text(data: &[u8]) -> &str {
    let valid = std::str::from_utf8(data).map_or_else(|error| error.valid_up_to(), str::len);
    std::str::from_utf8(&data[..valid]).unwrap_or_default()
}

/// A text in two parts, neither of them empty for no reason.
pub(crate) fn halves(text: &str) -> (&str, &str) {
    text.split_at(text.floor_char_boundary(text.len() / 2))
}

/// Type, id and payload of a message.
type Parts<'a> = (Cow<'a, str>, Cow<'a, str>, &'a str);

fn agrees(message: &str) {
    let read = envelope::decode(message).ok().map(|read| (read.type_, read.id, read.payload));
    let parts = expected(message);
    assert_eq!(read, parts, "{message:?}");
    let value = serde_json::from_str::<Value>(message).ok();
    if value.is_some() {
        assert!(json::one_value(message).is_some(), "only one of two readers takes {message:?} for JSON");
    }
    let Some((type_, id, payload)) = read else { return };
    if let Some(value) = value {
        assert_eq!((value["type"].as_str(), value["id"].as_str()), (Some(&*type_), Some(&*id)), "{message:?}");
        assert_eq!(value.get("payload").unwrap_or(&Value::Null), &parsed(payload), "{message:?}");
    }
    stays_one_value(&type_, &id, payload);
}

/// What the protocol page says of a message: one object with a text `type` and a text `id`, none of the three keys twice.
fn expected(message: &str) -> Option<Parts<'_>> {
    let (mut type_, mut id, mut payload) = (None, None, None);
    for (key, value) in json::members(json::one_value(message)?)? {
        // A key that is half a surrogate pair is no text, so nothing that could be compared.
        let place = match &*json::text_of(key)? {
            "type" => &mut type_,
            "id" => &mut id,
            "payload" => &mut payload,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return None;
        }
    }
    Some((json::text_of(type_?)?.into(), json::text_of(id?)?.into(), payload.unwrap_or("null")))
}

/// A payload that came out is put into a hub's envelope, and between the commas of an array, unseen.
fn stays_one_value(type_: &str, id: &str, payload: &str) {
    assert_eq!(json::one_value(payload), Some(payload));
    let mut buffer = String::from("before");
    let span = EventSpan::write(&mut buffer, type_, id, payload);
    let hubs = span.body(&buffer);
    assert_eq!(expected(hubs), Some((type_.into(), id.into(), payload)), "{hubs:?}");
    let read = envelope::decode(hubs).ok().map(|read| (read.type_, read.id, read.payload));
    assert_eq!(read, Some((type_.into(), id.into(), payload)), "{hubs:?}");
    let batch = format!("[{payload},{payload},{payload}]");
    assert_eq!(json::elements(&batch), Some(vec![payload; 3]), "{batch:?}");
    if let Ok(value) = serde_json::from_str::<Value>(payload) {
        assert_eq!(serde_json::from_str::<Value>(&batch).ok(), Some(vec![value; 3].into()), "{batch:?}");
    }
}

/// Any two texts are names: written as JSON, kept as a prefix, found again in a buffer.
fn names_come_through(type_: &str, id: &str) {
    let mut text = String::new();
    envelope::write_text(&mut text, type_);
    assert_eq!(serde_json::to_string(type_).ok().as_deref(), Some(&*text));
    assert_eq!(json::text_of(&text).as_deref(), Some(type_));
    let mut message = String::new();
    envelope::write_prefix(&mut message, type_, id);
    message.push_str("[]}");
    let read = envelope::decode(&message).ok().map(|read| (read.type_, read.id, read.payload));
    assert_eq!(read, Some((type_.into(), id.into(), "[]")));
    let prefix = Prefix::new(type_, id);
    let mut buffer = String::from("before");
    let by_prefix = EventSpan::write_prefixed(&mut buffer, &prefix, "[]");
    let by_names = EventSpan::write(&mut buffer, type_, id, "[]");
    for span in [by_prefix, by_names] {
        assert_eq!((span.type_(&buffer), span.id(&buffer), span.payload(&buffer)), (type_, id, "[]"));
        assert_eq!((span.topic(&buffer), span.body(&buffer)), (&*format!("{type_}:{id}"), &*message));
        assert_eq!((span.body_len(), prefix.body_len(2)), (message.len(), message.len()));
    }
}

fn parsed(payload: &str) -> Value {
    serde_json::from_str(payload).unwrap_or_default()
}
