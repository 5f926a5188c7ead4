//! The connection that subscribes: SUBSCRIBE and UNSUBSCRIBE out, answers and messages back. Does not know who publishes.
//!
//! Invariant: Redis answers in the order in which it was asked, and messages of a channel come between the two answers about it.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use super::channel::Dialect;
use super::dial::Socket;
use super::pipe::Pipe;
use super::reply::Scalar;

enum Asked {
    Subscribe { topic: Box<str>, n: Option<u64> },
    Unsubscribe,
    Ping,
}

/// What the connection has to tell.
pub(super) enum News<'a> {
    /// A message of a channel of ours.
    Message { topic: &'a str, message: &'a [u8] },
    /// One that is larger than allowed, and was passed over.
    TooLarge { topic: &'a str, len: u64 },
    /// A subscription is active.
    Subscribed { topic: &'a str, n: Option<u64> },
    /// Redis refuses one.
    Refused { topic: &'a str, n: Option<u64>, error: &'a str },
}

impl<'a> News<'a> {
    pub(super) fn message(topic: &'a str, body: &'a Scalar<'_>) -> Self {
        match *body {
            Scalar::TooLarge(len) => Self::TooLarge { topic, len },
            _ => Self::Message { topic, message: body.bytes() },
        }
    }
}

pub(super) struct Subscribing {
    pipe: Pipe,
    asked: VecDeque<Asked>,
    is_pinging: bool,
}

impl Subscribing {
    pub(super) fn new(socket: Box<dyn Socket>, max_message_bytes: usize) -> Self {
        Self { pipe: Pipe::new(socket, max_message_bytes), asked: VecDeque::new(), is_pinging: false }
    }

    pub(super) fn subscribe(&mut self, dialect: &Dialect, topic: Box<str>, n: Option<u64>) {
        self.pipe.allow(dialect.channel_len(&topic));
        dialect.write_about(&mut self.pipe.out, "SUBSCRIBE", &topic);
        self.asked.push_back(Asked::Subscribe { topic, n });
    }

    pub(super) fn unsubscribe(&mut self, dialect: &Dialect, topic: &str) {
        dialect.write_about(&mut self.pipe.out, "UNSUBSCRIBE", topic);
        self.asked.push_back(Asked::Unsubscribe);
    }

    /// Asks for a sign of life, unless one is awaited.
    pub(super) fn ping(&mut self) {
        if !std::mem::replace(&mut self.is_pinging, true) {
            self.pipe.say(&["PING"]);
            self.asked.push_back(Asked::Ping);
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.pipe.held_bytes()
    }

    /// Writes what is encoded. Ready when all of it is with the system.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.poll_write(cx)
    }

    /// Reads once.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        dialect: &Dialect,
        sink: &mut dyn FnMut(News<'_>),
    ) -> Poll<io::Result<()>> {
        let Self { pipe, asked, is_pinging } = self;
        let mut is_odd = false;
        let read = pipe.poll_read(cx, &mut |scalars| is_odd |= !hear(scalars, dialect, asked, is_pinging, sink));
        if is_odd {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "an answer that was not asked for")));
        }
        read
    }
}

/// One reply; false if it cannot be one. An answer that is taken for another's would make a topic active that is not.
fn hear(
    scalars: &[Scalar<'_>],
    dialect: &Dialect,
    asked: &mut VecDeque<Asked>,
    is_pinging: &mut bool,
    sink: &mut dyn FnMut(News<'_>),
) -> bool {
    if let [kind, channel, body] = scalars
        && kind.bytes() == b"message"
    {
        if let Some(topic) = dialect.topic(channel.bytes()) {
            sink(News::message(topic, body));
        }
        return true;
    }
    match (asked.pop_front(), scalars) {
        (Some(Asked::Subscribe { topic, n }), [Scalar::Error(error)]) => {
            sink(News::Refused { topic: &topic, n, error });
        }
        (Some(Asked::Subscribe { topic, n }), [kind, channel, _]) => {
            if kind.bytes() != b"subscribe" || dialect.topic(channel.bytes()) != Some(&topic) {
                return false;
            }
            sink(News::Subscribed { topic: &topic, n });
        }
        (Some(Asked::Ping), [Scalar::Error(_)]) => *is_pinging = false,
        (Some(Asked::Ping), [kind] | [kind, _]) if kind.bytes().eq_ignore_ascii_case(b"pong") => *is_pinging = false,
        (Some(Asked::Unsubscribe), [kind, _, _]) => return kind.bytes() == b"unsubscribe",
        // Of an error nobody asked for: Redis says why it is about to hang up, and does.
        (Some(Asked::Unsubscribe) | None, [Scalar::Error(_)]) => {}
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Scalar<'_> {
        Scalar::Bulk(text.as_bytes())
    }

    struct Ear {
        asked: VecDeque<Asked>,
        heard: Vec<String>,
    }

    impl Ear {
        fn asked(asked: impl IntoIterator<Item = Asked>) -> Self {
            Self { asked: asked.into_iter().collect(), heard: Vec::new() }
        }

        fn hears(&mut self, scalars: &[Scalar<'_>]) -> bool {
            let Self { asked, heard } = self;
            hear(scalars, &Dialect::new("p:", None), asked, &mut true, &mut |news| {
                heard.push(match news {
                    News::Message { topic, .. } => format!("message {topic}"),
                    News::TooLarge { topic, len } => format!("too large {topic} {len}"),
                    News::Subscribed { topic, n } => format!("subscribed {topic} {n:?}"),
                    News::Refused { topic, n, error } => format!("refused {topic} {n:?} {error}"),
                });
            })
        }
    }

    fn subscribe(topic: &str) -> Asked {
        Asked::Subscribe { topic: topic.into(), n: Some(1) }
    }

    #[test]
    fn answers_belong_to_questions_in_order_and_messages_come_between() {
        let mut ear = Ear::asked([subscribe("a:"), subscribe("b:"), Asked::Unsubscribe, Asked::Ping]);
        for reply in [
            &[bulk("subscribe"), bulk("p:a:"), Scalar::Integer(1)][..],
            &[bulk("message"), bulk("p:a:"), bulk("{}")],
            &[Scalar::Error("NOPERM no")],
            &[bulk("message"), bulk("p:a:"), Scalar::TooLarge(9)],
            &[bulk("message"), bulk("q:a:"), bulk("{}")],
            &[bulk("unsubscribe"), bulk("p:a:"), Scalar::Integer(0)],
            &[bulk("pong"), bulk("")],
            &[Scalar::Error("ERR good bye")],
        ] {
            assert!(ear.hears(reply), "{reply:?}");
        }
        let heard = ["subscribed a: Some(1)", "message a:", "refused b: Some(1) NOPERM no", "too large a: 9"];
        assert_eq!(ear.heard, heard);
        assert!(ear.asked.is_empty());
    }

    #[test]
    fn a_reply_that_is_no_answer_to_the_oldest_question_ends_the_connection() {
        let subscribed = [bulk("subscribe"), bulk("p:a:"), Scalar::Integer(1)];
        let pong = [bulk("pong"), bulk("")];
        for (question, reply) in [
            (Some(subscribe("a:")), &pong[..]),
            (Some(subscribe("a:")), &[Scalar::Word(b"OK")]),
            (Some(subscribe("a:")), &[bulk("unsubscribe"), bulk("p:a:"), Scalar::Integer(0)]),
            (Some(subscribe("b:")), &subscribed),
            (Some(Asked::Ping), &subscribed),
            (Some(Asked::Ping), &[Scalar::Integer(1)]),
            (Some(Asked::Unsubscribe), &subscribed),
            (Some(Asked::Unsubscribe), &pong),
            (None, &pong),
            (None, &subscribed),
            (None, &[Scalar::Null]),
        ] {
            let mut ear = Ear::asked(question);
            assert!(!ear.hears(reply) && ear.heard.is_empty(), "{reply:?}");
        }
    }
}
