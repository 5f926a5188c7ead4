//! The connection that publishes: commands out, one answer each back. Does not know who subscribes.
//!
//! Invariants: what is written is answered in order, so the oldest publication without an answer is the one that an answer is about;
//! nothing more is taken while the bound of publications without an answer is reached.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::dial::Socket;
use super::pipe::Pipe;
use super::reply::Scalar;

/// Publications without an answer, and the bytes of their topics. Source: none, a guess: some milliseconds of the fastest publisher.
pub(super) const MAX_IN_FLIGHT: usize = 65_536;
pub(super) const MAX_IN_FLIGHT_BYTES: usize = 4 << 20;

/// Refusals that are told apart until the link is read; more are counted with the last of them.
const MAX_REFUSALS: usize = 64;

/// Answers to what we publish are numbers and errors.
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Reads of answers at once: whoever answers without an end keeps us from nothing else. Source: none, a guess; twice what the numbers fill
/// that may be awaited.
pub(super) const MAX_READS: usize = 8;

/// Redis did not take publications to a topic.
pub(super) struct Refusal {
    pub(super) topic: Arc<str>,
    pub(super) error: String,
    pub(super) count: u64,
}

/// What is in flight, in order; neighbours of one topic share an entry.
#[derive(Default)]
struct InFlight {
    runs: VecDeque<(Asked, u32)>,
    count: usize,
    bytes: usize,
}

#[derive(Clone, PartialEq, Eq)]
enum Asked {
    Publish(Arc<str>),
    Ping,
}

impl InFlight {
    fn is_full(&self) -> bool {
        self.count >= MAX_IN_FLIGHT || self.bytes >= MAX_IN_FLIGHT_BYTES
    }

    fn push(&mut self, topic: &str) {
        self.count += 1;
        if let Some((Asked::Publish(last), times)) = self.runs.back_mut()
            && **last == *topic
        {
            *times += 1;
            return;
        }
        self.bytes += topic.len();
        self.runs.push_back((Asked::Publish(topic.into()), 1));
    }

    fn pop(&mut self) -> Option<Asked> {
        let (asked, times) = self.runs.front_mut()?;
        let asked = asked.clone();
        *times -= 1;
        let is_last = *times == 0;
        if is_last {
            self.runs.pop_front();
        }
        if let Asked::Publish(topic) = &asked {
            self.count -= 1;
            self.bytes -= if is_last { topic.len() } else { 0 };
        }
        Some(asked)
    }
}

pub(super) struct Publishing {
    pub(super) pipe: Pipe,
    in_flight: InFlight,
    /// Publications that Redis has answered, whatever it said.
    pub(super) answered: u64,
    pub(super) refusals: Vec<Refusal>,
    is_pinging: bool,
}

impl Publishing {
    pub(super) fn new(socket: Box<dyn Socket>) -> Self {
        Self {
            pipe: Pipe::new(socket, MAX_ANSWER_BYTES),
            in_flight: InFlight::default(),
            answered: 0,
            refusals: Vec::new(),
            is_pinging: false,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.in_flight.is_full()
    }

    /// True while publications have no answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.in_flight.count > 0
    }

    /// A publication to the topic was put into `out`.
    pub(super) fn note(&mut self, topic: &str) {
        self.in_flight.push(topic);
    }

    /// Asks for a sign of life, unless one is awaited.
    pub(super) fn ping(&mut self) {
        if !std::mem::replace(&mut self.is_pinging, true) {
            self.pipe.say(&["PING"]);
            self.in_flight.runs.push_back((Asked::Ping, 1));
        }
    }

    /// Writes what is encoded. Ready when all of it is with the system.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.poll_write(cx)
    }

    /// Reads what is there, within a bound; ready when the connection has ended, with the reason. Says by `has_news` whether anything came.
    pub(super) fn poll_answers(&mut self, cx: &mut Context<'_>, has_news: &mut bool) -> Poll<io::Error> {
        for _ in 0..MAX_READS {
            let Self { pipe, in_flight, answered, refusals, is_pinging } = self;
            let read = ready!(pipe.poll_read(cx, &mut |scalars| match in_flight.pop() {
                Some(Asked::Publish(topic)) => {
                    *answered += 1;
                    if let [Scalar::Error(error)] = scalars {
                        refuse(refusals, topic, error);
                    }
                }
                Some(Asked::Ping) => *is_pinging = false,
                // Nobody asked: Redis says why it is about to hang up, and does.
                None => {}
            }));
            match read {
                Ok(()) => *has_news = true,
                Err(error) => return Poll::Ready(error),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends our side: Redis reads what was written to the end, then hangs up.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.poll_shutdown(cx)
    }
}

pub(super) fn refuse(refusals: &mut Vec<Refusal>, topic: Arc<str>, error: &str) {
    let is_full = refusals.len() == MAX_REFUSALS;
    match refusals.last_mut() {
        Some(last) if is_full || (last.topic == topic && last.error == error) => last.count += 1,
        _ => refusals.push(Refusal { topic, error: error.into(), count: 1 }),
    }
}
