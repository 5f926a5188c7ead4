//! `control::decode` against the table of docs/protocol.md, and what the writers write against both.
//!
//! Input: a type, a line feed, a payload; text. The payload is tried with every type besides.

use alkpubsub_engine::wire::control::{self, Control, Refused, Role};
use alkpubsub_engine::wire::envelope;

use super::envelopes::{halves, valid_text};
use super::json;

/// Types that a hub or spoke understands, each with the keys that may not come twice.
const KNOWN: [(&str, &[&str]); 9] = [
    ("__subscribe", &["topic", "n"]),
    ("__unsubscribe", &["topic"]),
    ("__hello", &["version", "features"]),
    ("__subscribed", &["topic", "n"]),
    ("__refused", &["topic", "n", "kind", "code", "reason", "count"]),
    ("__gap", &["from", "to", "topics"]),
    ("__ping", &["t"]),
    ("__pong", &[]),
    ("__credit", &["bytes"]),
];

/// Bytes of a `__hello` payload, and of `t`, at most. Source: docs/protocol.md.
const MAX_HELLO: usize = 1024;
const MAX_T: usize = 32;

/// Types that are nothing, although they look like it.
const UNKNOWN: [&str; 4] = ["__Credit", "__", "subscribe", "__Subscribe"];

/// What must hold for any type and payload.
pub fn check(data: &[u8]) {
    let text = valid_text(data);
    let (type_, payload) = text.split_once('\n').unwrap_or(("", text));
    // A payload comes from an envelope, which leaves no white space around it.
    let payload = payload.trim_matches([' ', '\t', '\n', '\r']);
    let read = Payload::read(payload);
    for type_ in KNOWN.iter().map(|(known, _)| *known).chain(UNKNOWN).chain([type_]) {
        let control = control::decode(type_, payload);
        if let Some(control) = &control {
            is_allowed(type_, read.as_ref(), control);
        }
        is_not_missed(type_, read.as_ref(), control.as_ref());
    }
    what_is_written_reads_back(type_, payload);
}

/// A payload that is an object with texts as keys.
struct Payload<'a> {
    text: &'a str,
    members: Vec<(String, &'a str)>,
}

impl<'a> Payload<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let members = json::members(json::one_value(text)?)?;
        let members = members.into_iter().map(|(key, value)| Some((json::text_of(key)?, value)));
        Some(Self { text, members: members.collect::<Option<_>>()? })
    }

    fn has_twice(&self, key: &str) -> bool {
        self.members.iter().filter(|(name, _)| name == key).count() > 1
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    fn text(&self, key: &str) -> Option<String> {
        json::text_of(self.get(key)?)
    }

    fn natural(&self, key: &str) -> Option<u64> {
        json::natural(self.get(key)?)
    }

    fn texts(&self, key: &str) -> Option<Vec<String>> {
        json::elements(self.get(key)?)?.into_iter().map(json::text_of).collect()
    }

    /// A topic that is a text and not empty.
    fn topic(&self) -> Option<Box<str>> {
        self.text("topic").filter(|topic| !topic.is_empty()).map(Into::into)
    }

    /// Absent, null or a natural number.
    fn optional(&self, key: &str) -> Option<Option<u64>> {
        match self.get(key) {
            None | Some("null") => Some(None),
            Some(number) => json::natural(number).map(Some),
        }
    }

    fn n(&self) -> Option<Option<u64>> {
        self.optional("n")
    }

    /// How many publications were refused: one at least.
    fn count(&self) -> Option<u64> {
        self.optional("count").map(|count| count.unwrap_or(1).max(1))
    }
}

fn keys_of(type_: &str) -> Option<&'static [&'static str]> {
    KNOWN.iter().find(|(known, _)| *known == type_).map(|(_, keys)| *keys)
}

/// What was understood stands in the payload, and in a form that the protocol has.
fn is_allowed(type_: &str, payload: Option<&Payload<'_>>, control: &Control) {
    let Some(keys) = keys_of(type_) else { unreachable!("{type_} is no control event: {control:?}") };
    if let Control::Pong { t } = control {
        let carried = payload.filter(|read| !read.has_twice("t")).and_then(|read| read.natural("t"));
        return assert_eq!((type_, *t), ("__pong", carried), "{:?}", payload.map(|read| read.text));
    }
    let Some(read) = payload else { unreachable!("{type_} of something that is no payload: {control:?}") };
    for key in keys {
        assert!(!read.has_twice(key), "{type_} with {key} twice: {:?}", read.text);
    }
    let is_right = match control {
        Control::Subscribe { topic, n } => {
            type_ == "__subscribe" && read.topic().as_ref() == Some(topic) && read.n() == Some(*n)
        }
        Control::Subscribed { topic, n } => {
            type_ == "__subscribed" && read.topic().as_ref() == Some(topic) && read.n() == Some(*n)
        }
        Control::Unsubscribe { topic } => type_ == "__unsubscribe" && read.topic().as_ref() == Some(topic),
        Control::Hello { version, features } => {
            type_ == "__hello"
                && read.text.len() <= MAX_HELLO
                && read.natural("version") == Some((*version).into())
                && read
                    .get("features")
                    .map_or(features.is_empty(), |_| read.texts("features").as_ref() == Some(features))
        }
        Control::Refused { topic, n, is_publish, count, code, reason } => {
            type_ == "__refused"
                && read.text("topic").as_deref() == Some(topic)
                && read.n() == Some(*n)
                && read.text("kind").map(|kind| kind == "publish") == Some(*is_publish)
                && read.count() == Some(*count)
                && read.text("code").as_ref() == Some(code)
                && read.get("reason").map_or(reason.is_empty(), |_| read.text("reason").as_ref() == Some(reason))
        }
        Control::Gap { from, to, topics, .. } => {
            let topics: Vec<String> = topics.iter().map(ToString::to_string).collect();
            type_ == "__gap"
                && (read.natural("from"), read.natural("to")) == (Some(*from), Some(*to))
                && read.texts("topics") == Some(topics)
        }
        Control::Ping { t } => type_ == "__ping" && read.get("t") == Some(t) && t.len() <= MAX_T,
        Control::Credit { bytes } => type_ == "__credit" && read.natural("bytes") == Some(*bytes),
        Control::Pong { .. } => false,
    };
    assert!(is_right, "{type_} {:?} was read as {control:?}", read.text);
}

/// What stands in the table of the protocol page is understood, whatever other keys there are.
fn is_not_missed(type_: &str, payload: Option<&Payload<'_>>, control: Option<&Control>) {
    // As it comes out of an envelope, without white space around it.
    let Some(read) = payload.filter(|read| json::one_value(read.text) == Some(read.text)) else { return };
    let has_topic = || read.topic().is_some() && read.n().is_some() && !read.has_twice("n");
    let is_legal = match type_ {
        "__subscribe" | "__unsubscribe" | "__subscribed" => has_topic(),
        "__hello" => {
            read.text.len() <= MAX_HELLO
                && read.natural("version").is_some_and(|version| u32::try_from(version).is_ok())
                && read.get("features").is_none_or(|_| read.texts("features").is_some())
        }
        "__ping" => read.get("t").is_some_and(|t| t.len() <= MAX_T),
        "__pong" => true,
        // Unknown, or a form that may still grow: `what_is_written_reads_back` holds what our own side writes.
        _ => return,
    };
    let is_legal = is_legal && !keys_of(type_).unwrap_or_default().iter().any(|key| read.has_twice(key));
    assert_eq!(control.is_some(), is_legal, "{type_} {:?}: {control:?}", read.text);
}

/// Our own control events, with texts and numbers of any kind in them.
fn what_is_written_reads_back(first: &str, second: &str) {
    let n = second.as_bytes().first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let topic = Some(second).filter(|topic| !topic.is_empty());
    reads_back(topic.map(|topic| Control::Subscribe { topic: topic.into(), n }), |out| {
        control::write_subscribe(out, second, n);
    });
    reads_back(topic.map(|topic| Control::Unsubscribe { topic: topic.into() }), |out| {
        control::write_unsubscribe(out, second);
    });
    reads_back(topic.map(|topic| Control::Subscribed { topic: topic.into(), n }), |out| {
        control::write_subscribed(out, second, n);
    });
    let (code, reason) = halves(second);
    let number = n.unwrap_or(1);
    let refused = |n, is_publish, count| {
        let (topic, code, reason) = (first.into(), code.into(), reason.into());
        Some(Control::Refused { topic, n, is_publish, count, code, reason })
    };
    reads_back(refused(n, false, 1), |out| control::write_refused(out, first, Refused::Subscribe { n }, code, reason));
    reads_back(refused(None, true, number.max(1)), |out| {
        control::write_refused(out, first, Refused::Publish { count: number }, code, reason);
    });
    let topics: Vec<Box<str>> = second.split(',').map(Into::into).collect();
    reads_back(Some(Control::Gap { from: number, to: u64::MAX, topics }), |out| {
        control::write_gap(out, code, number, u64::MAX, second.split(','));
    });
    reads_back(Some(Control::Ping { t: number.to_string().into() }), |out| control::write_ping(out, number));
    a_hello_reads_back(second);
    a_ping_is_answered(second);
}

fn reads_back(expected: Option<Control>, write: impl FnOnce(&mut String)) {
    let mut message = String::new();
    write(&mut message);
    assert_eq!(reread(&message), expected, "{message:?}");
}

/// As the other end reads it.
fn reread(message: &str) -> Option<Control> {
    let read = envelope::decode(message).unwrap_or_else(|error| unreachable!("{error}: {message:?}"));
    assert_eq!(&*read.id, "", "{message:?}");
    control::decode(&read.type_, read.payload)
}

fn a_hello_reads_back(text: &str) {
    let features: Vec<&str> = text.split(',').collect();
    for (role, word) in [(Role::Hub, "hub"), (Role::Spoke, "spoke")] {
        let mut message = String::new();
        control::write_hello(&mut message, role, &features);
        let read = envelope::decode(&message).unwrap_or_else(|error| unreachable!("{error}: {message:?}"));
        let said = Payload::read(read.payload).and_then(|payload| payload.text("role"));
        assert_eq!(said.as_deref(), Some(word));
        let hello =
            Control::Hello { version: control::VERSION, features: features.iter().map(ToString::to_string).collect() };
        let expected = (read.payload.len() <= MAX_HELLO).then_some(hello);
        assert_eq!(reread(&message), expected, "{message:?}");
    }
}

/// A pong carries what the ping carried.
fn a_ping_is_answered(payload: &str) {
    let Some(Control::Ping { t }) = control::decode("__ping", payload) else { return };
    let mut message = String::new();
    control::write_pong(&mut message, &t);
    let read = envelope::decode(&message).unwrap_or_else(|error| unreachable!("{error}: {message:?}"));
    let carried = Payload::read(read.payload).and_then(|payload| payload.get("t"));
    assert_eq!((&*read.type_, carried), ("__pong", Some(&*t)));
    assert_eq!(reread(&message), Some(Control::Pong { t: json::natural(&t) }));
}
