//! Envelopes as a peer writes and reads them: texts, made and taken apart by hand.

/// One envelope as a peer writes it.
pub(crate) fn event(type_: &str, id: &str, payload: &str) -> String {
    format!(r#"{{"type":"{type_}","id":"{id}","payload":{payload}}}"#)
}

pub(crate) fn subscribe(topic: &str) -> String {
    event("__subscribe", "", &format!(r#"{{"topic":"{topic}"}}"#))
}

pub(crate) fn subscribe_n(topic: &str, n: u32) -> String {
    event("__subscribe", "", &format!(r#"{{"topic":"{topic}","n":{n}}}"#))
}

pub(crate) fn subscribed(topic: &str, n: u64) -> String {
    event("__subscribed", "", &format!(r#"{{"topic":"{topic}","n":{n}}}"#))
}

pub(crate) const HELLO: &str =
    r#"{"type":"__hello","id":"","payload":{"version":1,"role":"spoke","features":["ping"]}}"#;

pub(crate) const HUB_HELLO: &str =
    r#"{"type":"__hello","id":"","payload":{"version":1,"role":"hub","features":["ping"]}}"#;

/// The payload's text in an envelope.
pub(crate) fn payload(text: &str) -> &str {
    text.split_once(r#""payload":"#).and_then(|(_, rest)| rest.strip_suffix('}')).expect("an envelope")
}

pub(crate) fn payloads(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| payload(text).to_owned()).collect()
}

/// Numbers as payloads are.
pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
