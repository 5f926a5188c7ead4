//! One node of a cluster: a connection that publishes and one that subscribes, which live and die together. Does not know slots.
//!
//! Invariants: what is asked is answered in order, so an error is about the oldest question; behind each SUNSUBSCRIBE stands a PING, because a
//! node that gives up the slot meanwhile says more, or something else, than one answer.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::super::address::{Login, Place};
use super::super::channel::{Dialect, ORIGIN_BYTES};
use super::super::dial::{RedisConfig, Socket, open, temporary};
use super::super::link::now_ms;
use super::super::pipe::Pipe;
use super::super::publishing::{MAX_ANSWER_BYTES, MAX_READS};
use super::super::reply::Scalar;
use super::outgoing::Parcel;
use crate::link::{BoxFuture, ConnectError};
use crate::model::{Error, ErrorKind, Limits};

type Pair = (Box<dyn Socket>, Box<dyn Socket>);

pub(super) enum Node {
    Connecting(BoxFuture<Result<Pair, ConnectError>>),
    Up(Box<Up>),
}

impl Node {
    pub(super) fn connect(config: &Arc<RedisConfig>, login: &Arc<Login>, place: &Arc<Place>) -> Self {
        let (config, login, place) = (Arc::clone(config), Arc::clone(login), Arc::clone(place));
        Self::Connecting(Box::pin(async move {
            let both =
                async { tokio::try_join!(open(&config, &place, &login, &[]), open(&config, &place, &login, &[])) };
            let in_time = tokio::time::timeout(config.limits.handshake, both).await;
            let ((publishing, _), (subscribing, _)) = in_time.unwrap_or_else(|_| {
                Err(temporary(Error::new(ErrorKind::TimedOut, format!("no answer of {place} in time"))))
            })?;
            Ok((publishing, subscribing))
        }))
    }

    /// Goes on connecting; ready with true when that has just succeeded.
    pub(super) fn poll_up(&mut self, cx: &mut Context<'_>, limits: &Limits) -> Poll<Result<bool, ConnectError>> {
        let Self::Connecting(connecting) = self else { return Poll::Ready(Ok(false)) };
        let (publishing, subscribing) = ready!(connecting.as_mut().poll(cx))?;
        *self = Self::Up(Box::new(Up::new(publishing, subscribing, limits)));
        Poll::Ready(Ok(true))
    }

    pub(super) fn up(&mut self) -> Option<&mut Up> {
        if let Self::Up(up) = self { Some(up) } else { None }
    }
}

enum Sent {
    Publish(Parcel),
    Asking,
    Ping,
}

enum Asked {
    Subscribe { topic: Box<str>, n: Option<u64> },
    Unsubscribe { topic: Box<str> },
    Ping,
}

/// What the subscribing connection brings.
pub(super) enum Word<'a> {
    Message {
        topic: &'a str,
        body: &'a Scalar<'a>,
    },
    Subscribed {
        topic: &'a str,
        n: Option<u64>,
    },
    /// An error about a subscription.
    Failed {
        topic: &'a str,
        n: Option<u64>,
        error: &'a str,
    },
    /// The node has given up a subscription by itself: its slot is elsewhere.
    Withdrawn {
        topic: &'a str,
    },
}

pub(super) struct Up {
    publishing: Pipe,
    sent: VecDeque<Sent>,
    subscribing: Pipe,
    asked: VecDeque<Asked>,
    /// When either connection was last heard of, while it was listened to.
    heard: [Instant; 2],
    /// When the publishing connection was asked something while it owed no answer.
    owes_since: Instant,
    is_pinging: [bool; 2],
    /// When the subscribing connection was last read empty.
    pub(super) heard_ms: u64,
    has_read: bool,
}

impl Up {
    fn new(publishing: Box<dyn Socket>, subscribing: Box<dyn Socket>, limits: &Limits) -> Self {
        Self {
            publishing: Pipe::new(publishing, MAX_ANSWER_BYTES),
            sent: VecDeque::new(),
            subscribing: Pipe::new(subscribing, limits.max_message_bytes + ORIGIN_BYTES),
            asked: VecDeque::new(),
            heard: [Instant::now(); 2],
            owes_since: Instant::now(),
            is_pinging: [false; 2],
            heard_ms: now_ms(),
            has_read: false,
        }
    }

    pub(super) fn publish(&mut self, parcel: Parcel) {
        if parcel.ask.is_some() {
            self.publishing.say(&["ASKING"]);
            self.owe(Sent::Asking);
        }
        self.publishing.out.extend_from_slice(&parcel.command);
        self.owe(Sent::Publish(parcel));
    }

    fn owe(&mut self, sent: Sent) {
        if self.sent.is_empty() {
            self.owes_since = Instant::now();
        }
        self.sent.push_back(sent);
    }

    pub(super) fn subscribe(&mut self, dialect: &Dialect, topic: Box<str>, n: Option<u64>) {
        self.subscribing.allow(dialect.channel_len(&topic));
        dialect.write_about(&mut self.subscribing.out, "SSUBSCRIBE", &topic);
        self.asked.push_back(Asked::Subscribe { topic, n });
    }

    pub(super) fn unsubscribe(&mut self, dialect: &Dialect, topic: Box<str>) {
        dialect.write_about(&mut self.subscribing.out, "SUNSUBSCRIBE", &topic);
        self.asked.push_back(Asked::Unsubscribe { topic });
        self.subscribing.say(&["PING"]);
        self.asked.push_back(Asked::Ping);
    }

    /// What was published here and has no answer.
    pub(super) fn into_unanswered(self) -> impl Iterator<Item = Parcel> {
        self.sent.into_iter().filter_map(|sent| if let Sent::Publish(parcel) = sent { Some(parcel) } else { None })
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.subscribing.held_bytes()
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        for pipe in [&mut self.publishing, &mut self.subscribing] {
            if let Poll::Ready(written) = pipe.poll_write(cx) {
                written?;
            }
        }
        Ok(())
    }

    /// Reads what is there of answers to publications, within a bound; ready when the connection has ended, with the reason.
    pub(super) fn poll_answers(
        &mut self,
        cx: &mut Context<'_>,
        answer: &mut dyn FnMut(Parcel, Option<&str>),
    ) -> Poll<io::Error> {
        for _ in 0..MAX_READS {
            let Self { publishing, sent, is_pinging, .. } = self;
            let read = ready!(publishing.poll_read(cx, &mut |scalars| match sent.pop_front() {
                Some(Sent::Publish(parcel)) => {
                    answer(parcel, if let [Scalar::Error(error)] = scalars { Some(error) } else { None });
                }
                Some(Sent::Ping) => is_pinging[0] = false,
                // Nobody asked: Redis says why it is about to hang up, and does.
                Some(Sent::Asking) | None => {}
            }));
            match read {
                Ok(()) => self.heard[0] = Instant::now(),
                Err(error) => return Poll::Ready(error),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads the subscribing connection once.
    pub(super) fn poll_words(
        &mut self,
        cx: &mut Context<'_>,
        dialect: &Dialect,
        sink: &mut dyn FnMut(Word<'_>),
    ) -> Poll<io::Result<()>> {
        let Self { subscribing, asked, is_pinging, .. } = self;
        let mut is_odd = false;
        let read = subscribing.poll_read(cx, &mut |scalars| is_odd |= !hear(scalars, dialect, asked, is_pinging, sink));
        match read {
            Poll::Pending => {
                if std::mem::take(&mut self.has_read) {
                    self.heard_ms = now_ms();
                }
                return Poll::Pending;
            }
            Poll::Ready(read) => read?,
        }
        if is_odd {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "an answer that was not asked for")));
        }
        self.has_read = true;
        self.heard[1] = Instant::now();
        Poll::Ready(Ok(()))
    }

    /// Nobody has looked for a while: silence counts from now.
    pub(super) fn forgive_absence(&mut self) {
        self.heard = [Instant::now(); 2];
    }

    /// Asks connections that have been silent for signs of life; an error for those that gave none. A node that owes answers while `holds_up`,
    /// because no other gets anything before they come, has less time.
    pub(super) fn check_pulse(&mut self, heartbeat: Duration, holds_up: bool) -> io::Result<()> {
        let now = Instant::now();
        let owes_for = now.duration_since(self.heard[0].max(self.owes_since));
        if holds_up && !self.sent.is_empty() && owes_for >= heartbeat {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no answer came for a heartbeat, and nothing else can be sent",
            ));
        }
        let silences = self.heard.map(|heard| now.duration_since(heard));
        if silences.iter().any(|silence| *silence >= heartbeat * Limits::DEAD_AFTER_TENTHS / 10) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no byte came for 2.5 heartbeats"));
        }
        if silences[0] >= heartbeat && !std::mem::replace(&mut self.is_pinging[0], true) {
            self.publishing.say(&["PING"]);
            self.owe(Sent::Ping);
        }
        if silences[1] >= heartbeat && !std::mem::replace(&mut self.is_pinging[1], true) {
            self.subscribing.say(&["PING"]);
            self.asked.push_back(Asked::Ping);
        }
        Ok(())
    }

    /// Ends our side, as far as that goes without waiting.
    pub(super) fn shut_down(&mut self, cx: &mut Context<'_>) {
        let _ended_with_the_socket = self.publishing.poll_shutdown(cx);
    }
}

/// One reply of a subscribing connection; false if it cannot be one.
fn hear(
    scalars: &[Scalar<'_>],
    dialect: &Dialect,
    asked: &mut VecDeque<Asked>,
    is_pinging: &mut [bool; 2],
    sink: &mut dyn FnMut(Word<'_>),
) -> bool {
    match scalars {
        [kind, channel, body] if kind.bytes() == b"smessage" => {
            if let Some(topic) = dialect.topic(channel.bytes()) {
                sink(Word::Message { topic, body });
            }
        }
        [kind, channel, _] if kind.bytes() == b"ssubscribe" => {
            let Some(Asked::Subscribe { topic, n }) = asked.pop_front() else { return false };
            if dialect.topic(channel.bytes()) != Some(&topic) {
                return false;
            }
            sink(Word::Subscribed { topic: &topic, n });
        }
        [kind, channel, _] if kind.bytes() == b"sunsubscribe" => {
            let Some(topic) = dialect.topic(channel.bytes()) else { return true };
            match asked.front() {
                // Our own wish, or the node's a moment before: in either case it is done.
                Some(Asked::Unsubscribe { topic: asked }) if **asked == *topic => {}
                _ => sink(Word::Withdrawn { topic }),
            }
        }
        [Scalar::Error(error)] => match asked.front() {
            Some(Asked::Subscribe { .. }) => {
                let Some(Asked::Subscribe { topic, n }) = asked.pop_front() else { return false };
                sink(Word::Failed { topic: &topic, n, error });
            }
            // The slot is elsewhere by now, and with it what we wanted to give up.
            Some(Asked::Unsubscribe { .. }) => {}
            Some(Asked::Ping) => end_ping(asked, is_pinging),
            None => return false,
        },
        [kind] | [kind, _] if kind.bytes().eq_ignore_ascii_case(b"pong") => {
            while asked.front().is_some_and(|asked| matches!(asked, Asked::Unsubscribe { .. })) {
                asked.pop_front();
            }
            if !matches!(asked.front(), Some(Asked::Ping)) {
                return false;
            }
            end_ping(asked, is_pinging);
        }
        _ => return false,
    }
    true
}

fn end_ping(asked: &mut VecDeque<Asked>, is_pinging: &mut [bool; 2]) {
    asked.pop_front();
    is_pinging[1] = false;
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
        fn hears(&mut self, scalars: &[Scalar<'_>]) -> bool {
            let Self { asked, heard } = self;
            hear(scalars, &Dialect::new("p:", None), asked, &mut [true; 2], &mut |word| {
                heard.push(match word {
                    Word::Message { topic, .. } => format!("message {topic}"),
                    Word::Subscribed { topic, n } => format!("subscribed {topic} {n:?}"),
                    Word::Failed { topic, error, .. } => format!("failed {topic} {error}"),
                    Word::Withdrawn { topic } => format!("withdrawn {topic}"),
                });
            })
        }
    }

    #[test]
    fn a_node_that_owes_answers_and_holds_up_the_others_has_one_heartbeat() {
        let socket = || Box::new(tokio::io::duplex(64).0);
        let heartbeat = Duration::from_secs(10);
        let check = |owes_for: u64, silent_for: u64, sent: Option<Sent>, holds_up: bool| {
            let mut up = Up::new(socket(), socket(), &Limits::default());
            let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("the machine is up");
            up.sent.extend(sent);
            (up.owes_since, up.heard[0]) = (ago(owes_for), ago(silent_for));
            up.check_pulse(heartbeat, holds_up).is_ok()
        };
        assert!(!check(11, 11, Some(Sent::Ping), true));
        assert!(check(11, 11, Some(Sent::Ping), false), "it holds up nobody");
        assert!(check(11, 1, Some(Sent::Ping), true), "it answers");
        assert!(check(1, 11, Some(Sent::Ping), true), "it has only just been asked");
        assert!(check(11, 11, None, true), "it owes nothing");
    }

    fn asked(topic: &str) -> Asked {
        Asked::Subscribe { topic: topic.into(), n: Some(1) }
    }

    #[test]
    fn a_node_that_gives_up_a_slot_while_we_give_up_a_topic_confuses_nobody() {
        let given_up = || [Asked::Unsubscribe { topic: "a:".into() }, Asked::Ping];
        let withdrawal = [bulk("sunsubscribe"), bulk("p:a:"), Scalar::Integer(0)];
        let pong = [bulk("pong"), bulk("")];
        let moved = [Scalar::Error("MOVED 1 h:1")];
        let subscribed = [bulk("ssubscribe"), bulk("p:b:"), Scalar::Integer(1)];
        for answers in
            [vec![&withdrawal[..]], vec![&moved[..]], vec![&withdrawal, &moved], vec![&withdrawal, &withdrawal]]
        {
            let mut ear = Ear { asked: given_up().into_iter().chain([asked("b:")]).collect(), heard: Vec::new() };
            assert!(answers.iter().chain([&&pong[..], &&subscribed[..]]).all(|answer| ear.hears(answer)));
            assert_eq!(ear.heard, ["subscribed b: Some(1)"]);
        }
        let mut ear = Ear { asked: VecDeque::new(), heard: Vec::new() };
        assert!(ear.hears(&withdrawal));
        assert_eq!(ear.heard, ["withdrawn a:"]);
    }

    #[test]
    fn an_error_is_about_the_oldest_question_and_what_was_not_asked_for_ends_the_connection() {
        let mut ear = Ear { asked: [asked("a:"), asked("b:")].into(), heard: Vec::new() };
        assert!(ear.hears(&[Scalar::Error("NOPERM no")]));
        assert!(ear.hears(&[bulk("ssubscribe"), bulk("p:b:"), Scalar::Integer(1)]));
        assert!(ear.hears(&[bulk("smessage"), bulk("p:b:"), bulk("x")]));
        assert_eq!(ear.heard, ["failed a: NOPERM no", "subscribed b: Some(1)", "message b:"]);
        for odd in [
            vec![Scalar::Error("ERR")],
            vec![bulk("ssubscribe"), bulk("p:b:"), Scalar::Integer(1)],
            vec![bulk("pong"), bulk("")],
            vec![Scalar::Integer(1)],
        ] {
            assert!(!ear.hears(&odd), "{odd:?}");
        }
        ear.asked.push_back(asked("c:"));
        assert!(!ear.hears(&[bulk("ssubscribe"), bulk("p:d:"), Scalar::Integer(1)]), "another channel");
    }
}
