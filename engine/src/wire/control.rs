//! Control events: envelopes whose type begins with `__`. Reads and writes them; does not act on them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::write_text;

/// The version of the protocol that this crate speaks.
pub const VERSION: u32 = 1;

/// A control event that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// The peer wants a topic; `n` comes back in the answer.
    Subscribe { topic: Box<str>, n: Option<u64> },
    /// The peer no longer wants a topic.
    Unsubscribe { topic: Box<str> },
    /// The peer is native.
    Hello { version: u32, features: Vec<String> },
    /// A subscription is active.
    Subscribed { topic: Box<str>, n: Option<u64> },
    /// A subscription or publication was refused.
    Refused { topic: Box<str>, n: Option<u64>, is_publish: bool, count: u64, code: String, reason: String },
    /// The hub may have missed events of these topics.
    Gap { from: u64, to: u64, topics: Vec<Box<str>> },
    /// A ping for peers without transport pings.
    Ping { t: Box<str> },
    /// Its answer, with what the ping carried if that was a number.
    Pong { t: Option<u64> },
    /// The receiver of this may send so many bytes more.
    Credit { bytes: u64 },
}

impl Control {
    /// Bytes that it holds of what the peer sent, those of its lists included.
    #[must_use]
    pub fn owned_bytes(&self) -> usize {
        match self {
            Self::Subscribe { topic, .. } | Self::Unsubscribe { topic } | Self::Subscribed { topic, .. } => topic.len(),
            Self::Hello { features, .. } => features.iter().map(|feature| feature.len() + size_of::<String>()).sum(),
            Self::Refused { topic, code, reason, .. } => topic.len() + code.len() + reason.len(),
            Self::Gap { topics, .. } => topics.iter().map(|topic| topic.len() + size_of::<Box<str>>()).sum(),
            Self::Ping { t } => t.len(),
            Self::Pong { .. } | Self::Credit { .. } => 0,
        }
    }
}

#[derive(Deserialize)]
struct TopicPayload<'a> {
    #[serde(borrow)]
    topic: std::borrow::Cow<'a, str>,
    #[serde(default)]
    n: Option<u64>,
}

#[derive(Deserialize)]
struct HelloPayload {
    version: u32,
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Deserialize)]
struct RefusedPayload {
    topic: Box<str>,
    #[serde(default)]
    n: Option<u64>,
    kind: String,
    code: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    count: Option<u64>,
}

#[derive(Deserialize)]
struct GapPayload {
    from: u64,
    to: u64,
    topics: Vec<Box<str>>,
}

#[derive(Deserialize)]
struct CreditPayload {
    bytes: u64,
}

#[derive(Deserialize)]
struct PongPayload {
    t: u64,
}

#[derive(Deserialize)]
struct PingPayload<'a> {
    #[serde(borrow)]
    t: &'a RawValue,
}

/// Bytes of a `__hello` payload at most. Source: the contract.
const MAX_HELLO_BYTES: usize = 1024;

/// Reads a control event; `None` for one that is unknown or ill-formed, which is ignored and counted. The payload is one of
/// [`super::envelope::decode`]: a JSON value without white space around it.
#[must_use]
pub fn decode(type_: &str, payload: &str) -> Option<Control> {
    // serde reads a struct from an array as well.
    if !payload.starts_with('{') && type_ != "__pong" {
        return None;
    }
    match type_ {
        "__subscribe" => topic_of(payload).map(|(topic, n)| Control::Subscribe { topic, n }),
        "__unsubscribe" => topic_of(payload).map(|(topic, _)| Control::Unsubscribe { topic }),
        "__subscribed" => topic_of(payload).map(|(topic, n)| Control::Subscribed { topic, n }),
        "__hello" if payload.len() <= MAX_HELLO_BYTES => {
            let HelloPayload { version, features } = serde_json::from_str(payload).ok()?;
            Some(Control::Hello { version, features })
        }
        "__refused" => {
            let RefusedPayload { topic, n, kind, code, reason, count } = serde_json::from_str(payload).ok()?;
            let count = count.unwrap_or(1).max(1);
            Some(Control::Refused { topic, n, is_publish: kind == "publish", count, code, reason })
        }
        "__gap" => {
            let GapPayload { from, to, topics } = serde_json::from_str(payload).ok()?;
            Some(Control::Gap { from, to, topics })
        }
        "__ping" => {
            let PingPayload { t } = serde_json::from_str(payload).ok()?;
            (t.get().len() <= 32).then(|| Control::Ping { t: t.get().into() })
        }
        "__pong" => Some(Control::Pong { t: carried_by(payload) }),
        "__credit" => {
            let CreditPayload { bytes } = serde_json::from_str(payload).ok()?;
            Some(Control::Credit { bytes })
        }
        _ => None,
    }
}

/// The number that a `__pong` brings back; others than ours may bring anything.
fn carried_by(payload: &str) -> Option<u64> {
    let pong: PongPayload = serde_json::from_str(payload).ok().filter(|_| payload.starts_with('{'))?;
    Some(pong.t)
}

fn topic_of(payload: &str) -> Option<(Box<str>, Option<u64>)> {
    let TopicPayload { topic, n } = serde_json::from_str(payload).ok()?;
    (!topic.is_empty()).then(|| (topic.into(), n))
}

/// Who says hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One connection to a hub.
    Spoke,
    /// Many connections.
    Hub,
}

/// Appends a `__hello`.
pub fn write_hello(out: &mut String, role: Role, features: &[&str]) {
    let role = if role == Role::Hub { "hub" } else { "spoke" };
    out.push_str(&format!(
        r#"{{"type":"__hello","id":"","payload":{{"version":{VERSION},"role":"{role}","features":["#
    ));
    for (index, feature) in features.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(out, feature);
    }
    out.push_str("]}}");
}

/// Appends a `__subscribe`.
pub fn write_subscribe(out: &mut String, topic: &str, n: Option<u64>) {
    write_topic_event(out, "__subscribe", topic, n);
}

/// Appends an `__unsubscribe`.
pub fn write_unsubscribe(out: &mut String, topic: &str) {
    write_topic_event(out, "__unsubscribe", topic, None);
}

/// Appends a `__subscribed`.
pub fn write_subscribed(out: &mut String, topic: &str, n: Option<u64>) {
    write_topic_event(out, "__subscribed", topic, n);
}

fn write_topic_event(out: &mut String, type_: &str, topic: &str, n: Option<u64>) {
    out.push_str("{\"type\":\"");
    out.push_str(type_);
    out.push_str("\",\"id\":\"\",\"payload\":{\"topic\":");
    write_text(out, topic);
    if let Some(n) = n {
        out.push_str(&format!(",\"n\":{n}"));
    }
    out.push_str("}}");
}

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A subscription; the number is that of its `__subscribe`.
    Subscribe { n: Option<u64> },
    /// So many publications, since this was told last.
    Publish { count: u64 },
}

/// Appends a `__refused`.
pub fn write_refused(out: &mut String, topic: &str, what: Refused, code: &str, reason: &str) {
    out.push_str("{\"type\":\"__refused\",\"id\":\"\",\"payload\":{\"topic\":");
    write_text(out, topic);
    match what {
        Refused::Subscribe { n } => {
            if let Some(n) = n {
                out.push_str(&format!(",\"n\":{n}"));
            }
            out.push_str(",\"kind\":\"subscribe\"");
        }
        Refused::Publish { count } => out.push_str(&format!(",\"kind\":\"publish\",\"count\":{count}")),
    }
    out.push_str(",\"code\":");
    write_text(out, code);
    out.push_str(",\"reason\":");
    write_text(out, reason);
    out.push_str("}}");
}

/// Appends a `__gap`: times in milliseconds since 1970.
pub fn write_gap<'a>(out: &mut String, cause: &str, from: u64, to: u64, topics: impl IntoIterator<Item = &'a str>) {
    out.push_str("{\"type\":\"__gap\",\"id\":\"\",\"payload\":{\"cause\":");
    write_text(out, cause);
    out.push_str(&format!(",\"from\":{from},\"to\":{to},\"topics\":["));
    for (index, topic) in topics.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(out, topic);
    }
    out.push_str("]}}");
}

/// Appends a `__ping` with a number that comes back.
pub fn write_ping(out: &mut String, t: u64) {
    out.push_str(&format!("{{\"type\":\"__ping\",\"id\":\"\",\"payload\":{{\"t\":{t}}}}}"));
}

/// Appends a `__pong` that carries the `t` of its ping.
pub fn write_pong(out: &mut String, t: &str) {
    out.push_str("{\"type\":\"__pong\",\"id\":\"\",\"payload\":{\"t\":");
    out.push_str(t);
    out.push_str("}}");
}

/// Appends a `__credit`.
pub fn write_credit(out: &mut String, bytes: u64) {
    out.push_str(&format!("{{\"type\":\"__credit\",\"id\":\"\",\"payload\":{{\"bytes\":{bytes}}}}}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope;

    fn reread(text: &str) -> Option<Control> {
        let read = envelope::decode(text).expect("an envelope");
        decode(&read.type_, read.payload)
    }

    #[test]
    fn a_subscribe_is_the_bytes_of_the_vector() {
        let mut out = String::new();
        write_subscribe(&mut out, "chat.msg:r1", None);
        assert_eq!(out, r#"{"type":"__subscribe","id":"","payload":{"topic":"chat.msg:r1"}}"#);
        assert_eq!(out.len(), 0x40);
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut out = String::new();
        write_subscribe(&mut out, "a\"b:c", Some(7));
        assert_eq!(reread(&out), Some(Control::Subscribe { topic: "a\"b:c".into(), n: Some(7) }));
        out.clear();
        write_subscribed(&mut out, "a:b", Some(7));
        assert_eq!(reread(&out), Some(Control::Subscribed { topic: "a:b".into(), n: Some(7) }));
        out.clear();
        write_hello(&mut out, Role::Hub, &["ping"]);
        assert_eq!(reread(&out), Some(Control::Hello { version: 1, features: vec!["ping".into()] }));
        out.clear();
        write_refused(&mut out, "a:b", Refused::Subscribe { n: Some(1) }, "LIMIT", "too many");
        assert!(matches!(reread(&out), Some(Control::Refused { is_publish: false, n: Some(1), count: 1, .. })));
        out.clear();
        write_refused(&mut out, "a:b", Refused::Publish { count: 9 }, "FORBIDDEN", "");
        assert!(matches!(reread(&out), Some(Control::Refused { is_publish: true, n: None, count: 9, .. })));
        out.clear();
        write_gap(&mut out, "overflow", 1, 2, ["a:\"", "b:"]);
        assert_eq!(reread(&out), Some(Control::Gap { from: 1, to: 2, topics: vec!["a:\"".into(), "b:".into()] }));
        out.clear();
        write_ping(&mut out, 17);
        assert_eq!(reread(&out), Some(Control::Ping { t: "17".into() }));
        out.clear();
        write_pong(&mut out, "17");
        assert_eq!(reread(&out), Some(Control::Pong { t: Some(17) }));
        out.clear();
        write_pong(&mut out, "\"x\"");
        assert_eq!(reread(&out), Some(Control::Pong { t: None }));
        out.clear();
        write_credit(&mut out, 65_536);
        assert_eq!(reread(&out), Some(Control::Credit { bytes: 65_536 }));
    }

    #[test]
    fn a_pong_brings_back_a_number_or_nothing() {
        assert_eq!(decode("__pong", r#"{"x":0,"t":17}"#), Some(Control::Pong { t: Some(17) }));
        for payload in ["null", "{}", "[17]", "17", r#"{"t":"17"}"#, r#"{"t":-1}"#, r#"{"t":1,"t":2}"#] {
            assert_eq!(decode("__pong", payload), Some(Control::Pong { t: None }), "{payload}");
        }
    }

    #[test]
    fn ill_formed_control_events_are_nothing() {
        for (type_, payload) in [
            ("__subscribe", "{}"),
            ("__subscribe", r#"{"topic":""}"#),
            ("__subscribe", r#"{"topic":1}"#),
            ("__subscribe", r#"{"topic":"a:b","n":-1}"#),
            ("__subscribe", r#"{"topic":"a:b","n":1.5}"#),
            ("__unsubscribe", "null"),
            ("__hello", r#"{"version":"1"}"#),
            ("__credit", r#"{"bytes":-1}"#),
            ("__credit", r#"{"bytes":1.5}"#),
            ("__credit", r#"{"bytes":"1"}"#),
            ("__credit", "[1]"),
            ("__what", "{}"),
        ] {
            assert_eq!(decode(type_, payload), None, "{type_} {payload}");
        }
    }
}
