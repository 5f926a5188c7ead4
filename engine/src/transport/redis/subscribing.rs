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
        pipe.poll_read(cx, &mut |scalars| match scalars {
            [kind, channel, body] if kind.bytes() == b"message" => {
                if let Some(topic) = dialect.topic(channel.bytes()) {
                    sink(News::message(topic, body));
                }
            }
            _ => match asked.pop_front() {
                Some(Asked::Subscribe { topic, n }) => match scalars {
                    [Scalar::Error(error)] => sink(News::Refused { topic: &topic, n, error }),
                    _ => sink(News::Subscribed { topic: &topic, n }),
                },
                Some(Asked::Ping) => *is_pinging = false,
                Some(Asked::Unsubscribe) | None => {}
            },
        })
    }
}
