//! The connection that subscribes: SUBSCRIBE and UNSUBSCRIBE out, answers and messages back. Does not know who publishes.
//!
//! Invariant: Redis answers in the order in which it was asked, and messages of a channel come between the two answers about it.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use super::channel::Dialect;
use super::dial::Socket;
use super::publishing::{poll_read, poll_write_all};
use super::reply::{Replies, Scalar};

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

pub(super) struct Subscribing {
    socket: Box<dyn Socket>,
    replies: Replies,
    out: Vec<u8>,
    written: usize,
    asked: VecDeque<Asked>,
    is_pinging: bool,
}

impl Subscribing {
    pub(super) fn new(socket: Box<dyn Socket>, max_message_bytes: usize) -> Self {
        let replies = Replies::new(max_message_bytes);
        Self { socket, replies, out: Vec::new(), written: 0, asked: VecDeque::new(), is_pinging: false }
    }

    pub(super) fn subscribe(&mut self, dialect: &Dialect, topic: Box<str>, n: Option<u64>) {
        dialect.write_about(&mut self.out, "SUBSCRIBE", &topic);
        self.asked.push_back(Asked::Subscribe { topic, n });
    }

    pub(super) fn unsubscribe(&mut self, dialect: &Dialect, topic: &str) {
        dialect.write_about(&mut self.out, "UNSUBSCRIBE", topic);
        self.asked.push_back(Asked::Unsubscribe);
    }

    /// Asks for a sign of life, unless one is awaited.
    pub(super) fn ping(&mut self) {
        if !std::mem::replace(&mut self.is_pinging, true) {
            self.out.extend_from_slice(&::redis::pack_command(&[b"PING".to_vec()]));
            self.asked.push_back(Asked::Ping);
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.replies.held_bytes()
    }

    /// Writes what is encoded. Ready when all of it is with the system.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_write_all(&mut *self.socket, &mut self.out, &mut self.written, cx)
    }

    /// Reads once.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        dialect: &Dialect,
        sink: &mut dyn FnMut(News<'_>),
    ) -> Poll<io::Result<()>> {
        let Self { socket, replies, asked, is_pinging, .. } = self;
        poll_read(&mut **socket, cx, |bytes| {
            replies.feed(bytes, &mut |scalars| match scalars {
                [kind, channel, body] if kind.bytes() == b"message" => {
                    if let Some(topic) = dialect.topic(channel.bytes()) {
                        match *body {
                            Scalar::TooLarge(len) => sink(News::TooLarge { topic, len }),
                            _ => sink(News::Message { topic, message: body.bytes() }),
                        }
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
        })
    }
}
