//! What a peer sent, checked and put into a batch. Does not act on it.

use crate::link::{LinkError, LinkRead, Read};
use crate::mailbox::Batch;
use crate::model::{CloseCode, CloseReason, EventSpan, Limits, is_reserved};
use crate::wire::control::{self, Control};
use crate::wire::envelope;
use crate::wire::frame::{Interruption, Item};
use std::task::{Context, Poll};

/// One thing that a peer sent.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// An event, in the text of its batch.
    Event(EventSpan),
    /// A control event that was understood.
    Control(Control),
    /// A control event that was not.
    IgnoredControl,
    /// A message that is no envelope.
    Malformed(String),
    /// A ping to be answered.
    Ping(Box<[u8]>),
    /// The answer to a ping of ours, with what that carried.
    Pong(Box<[u8]>),
    /// The peer ends the link.
    Closing(CloseReason),
    /// A link that goes on does not hear these topics until it says that they are subscribed.
    Interrupted(Interrupted),
    /// Nothing more comes; the reason is the peer's, or ours for closing the link.
    Ended(Ending),
}

/// As [`crate::wire::frame::Interruption`].
#[derive(Debug)]
pub(crate) struct Interrupted {
    pub(crate) topics: Vec<Box<str>>,
    pub(crate) from_ms: u64,
    pub(crate) is_unproven: bool,
}

/// How reading ended.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    /// What the link is closed with.
    pub(crate) reason: CloseReason,
    /// True when the peer broke a rule and should be told.
    pub(crate) is_violation: bool,
}

impl Inbound {
    /// Bytes that it holds of what the peer sent: an event's are in the text of its batch.
    fn owned_bytes(&self) -> usize {
        match self {
            Self::Control(control) => control.owned_bytes(),
            Self::Malformed(what) => what.len(),
            Self::Ping(data) | Self::Pong(data) => data.len(),
            Self::Interrupted(Interrupted { topics, .. }) => {
                topics.iter().map(|topic| topic.len() + size_of::<Box<str>>()).sum()
            }
            Self::Event(_) | Self::IgnoredControl | Self::Closing(_) | Self::Ended(_) => 0,
        }
    }

    pub(crate) fn rebase(&mut self, by: u32) {
        if let Self::Event(span) = self {
            span.rebase(by);
        }
    }
}

/// Reads once and puts what came into `batch`, wrapped by `wrap`. True when the link has ended.
pub(crate) fn poll_read<Op>(
    reader: &mut dyn LinkRead,
    cx: &mut Context<'_>,
    limits: &Limits,
    batch: &mut Batch<Op>,
    wrap: &impl Fn(Inbound) -> Op,
) -> Poll<bool> {
    let read = reader.poll_read(cx, &mut |item| {
        let inbound = accept(item, limits, &mut batch.text);
        batch.owned += inbound.owned_bytes();
        batch.ops.push(wrap(inbound));
    });
    let ending = match read {
        Poll::Pending => return Poll::Pending,
        Poll::Ready(Ok(Read::More)) => return Poll::Ready(false),
        Poll::Ready(Ok(Read::Ended)) => {
            ending(CloseCode::ABNORMAL, "the peer ended the connection without a close frame", false)
        }
        Poll::Ready(Err(LinkError::Io(error))) => ending(CloseCode::ABNORMAL, &error.to_string(), false),
        Poll::Ready(Err(LinkError::Frame(error))) => ending(error.close_code(), &error.to_string(), true),
    };
    batch.ops.push(wrap(Inbound::Ended(ending)));
    Poll::Ready(true)
}

fn ending(code: CloseCode, reason: &str, is_violation: bool) -> Ending {
    Ending { reason: CloseReason::new(code, reason), is_violation }
}

fn accept(item: Item<'_>, limits: &Limits, text: &mut String) -> Inbound {
    match item {
        Item::Text(message) => accept_message(message, limits, text),
        Item::Binary(message) => match std::str::from_utf8(message) {
            Ok(message) => accept_message(message, limits, text),
            Err(_) => Inbound::Malformed("a message that is not UTF-8".into()),
        },
        Item::Malformed(what) => Inbound::Malformed(what.into()),
        Item::Ping(data) => Inbound::Ping(data.into()),
        Item::Pong(data) => Inbound::Pong(data.into()),
        Item::Close(code, reason) => Inbound::Closing(CloseReason::new(code, reason)),
        Item::Interrupted(Interruption { topics, from_ms, is_unproven }) => {
            Inbound::Interrupted(Interrupted { topics: topics.to_vec(), from_ms, is_unproven })
        }
    }
}

fn accept_message(message: &str, limits: &Limits, text: &mut String) -> Inbound {
    let envelope = match envelope::decode(message) {
        Ok(envelope) => envelope,
        Err(error) => return Inbound::Malformed(error.to_string()),
    };
    if is_reserved(&envelope.type_) {
        return control::decode(&envelope.type_, envelope.payload).map_or(Inbound::IgnoredControl, Inbound::Control);
    }
    let topic_len = envelope.type_.len() + 1 + envelope.id.len();
    if envelope.type_.is_empty() {
        return Inbound::Malformed("an event with an empty type".into());
    }
    if topic_len > limits.max_topic_bytes {
        return Inbound::Malformed(format!(
            "a topic of {topic_len} bytes, at most {} are allowed",
            limits.max_topic_bytes
        ));
    }
    Inbound::Event(EventSpan::write(text, &envelope.type_, &envelope.id, envelope.payload))
}
