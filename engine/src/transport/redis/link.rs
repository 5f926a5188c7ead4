//! The two halves of a link to Redis, which share its two connections. Reads what a spoke writes, writes what a hub would.
//!
//! Invariants: an event is taken when its PUBLISH is with the system; `poll_flush` is ready when Redis has answered everything; a
//! connection that is silent for two and a half heartbeats although it was asked for a sign of life is dead.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::channel::{Dialect, ORIGIN_BYTES, names};
use super::dial::Socket;
use super::publishing::{Publishing, Refusal};
use super::subscribing::{News, Subscribing};
use crate::link::{LinkError, LinkRead, LinkWrite, Read};
use crate::model::{CloseCode, Limits, is_reserved};
use crate::wire::control::{self, Control, Refused};
use crate::wire::envelope;
use crate::wire::frame::Item;

/// When a connection was last heard of, while it was listened to.
struct Pulse {
    heard: Instant,
}

impl Pulse {
    fn new() -> Self {
        Self { heard: Instant::now() }
    }

    fn beat(&mut self) {
        self.heard = Instant::now();
    }
}

/// Both connections. Locked by one task at a time: the session that owns both halves.
pub(super) struct Wire {
    dialect: Dialect,
    max_message_bytes: usize,
    heartbeat: Duration,
    publishing: Publishing,
    subscribing: Subscribing,
    pulses: [Pulse; 2],
    /// Bytes of the frames that are being written.
    taken: usize,
    told: u64,
}

fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    pub(super) fn new(
        dialect: Dialect,
        publishing: Box<dyn Socket>,
        subscribing: Box<dyn Socket>,
        limits: &Limits,
    ) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            dialect,
            max_message_bytes: limits.max_message_bytes,
            heartbeat: limits.heartbeat,
            publishing: Publishing::new(publishing),
            subscribing: Subscribing::new(subscribing, limits.max_message_bytes + ORIGIN_BYTES),
            pulses: [Pulse::new(), Pulse::new()],
            taken: 0,
            told: 0,
        }))
    }

    /// Turns frames into commands.
    fn encode(&mut self, frames: &[u8]) -> io::Result<()> {
        said_in(frames, &mut |said| match said {
            Said::Event { topic, message } => {
                self.dialect.write_publish(&mut self.publishing.pipe.out, "PUBLISH", topic, message);
                self.publishing.note(topic);
            }
            Said::Subscribe { topic, n } => self.subscribing.subscribe(&self.dialect, topic, n),
            Said::Unsubscribe { topic } => self.subscribing.unsubscribe(&self.dialect, &topic),
        })
    }

    fn poll_publishing_answers(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut has_news = false;
        let ended = self.publishing.poll_answers(cx, &mut has_news);
        if has_news {
            self.pulses[0].beat();
        }
        ended
    }

    /// Asks connections that have been silent for signs of life, and gives up those that gave none.
    fn check_pulses(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let now = Instant::now();
        let silent = self.pulses.iter().map(|pulse| now.duration_since(pulse.heard)).max().unwrap_or_default();
        if silent >= self.heartbeat * Limits::DEAD_AFTER_TENTHS / 10 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no byte came for 2.5 heartbeats"));
        }
        if now.duration_since(self.pulses[0].heard) >= self.heartbeat {
            self.publishing.ping();
        }
        if now.duration_since(self.pulses[1].heard) >= self.heartbeat {
            self.subscribing.ping();
        }
        // What does not go out now goes with what is written next, or is missed.
        for written in [self.publishing.poll_write(cx), self.subscribing.poll_write(cx)] {
            if let Poll::Ready(written) = written {
                written?;
            }
        }
        Ok(())
    }

    /// What the publishing connection has brought since this was asked last.
    fn tell_published(&mut self, text: &mut String, sink: &mut dyn FnMut(Item<'_>)) -> bool {
        let has_news = self.publishing.answered > self.told;
        tell_refusals(&mut self.publishing.refusals, text, sink);
        if has_news {
            self.told = self.publishing.answered;
            sink(Item::Pong(&self.told.to_be_bytes()));
        }
        has_news
    }
}

/// What a spoke says that has a meaning here.
pub(super) enum Said<'a> {
    Event { topic: &'a str, message: &'a str },
    Subscribe { topic: Box<str>, n: Option<u64> },
    Unsubscribe { topic: Box<str> },
}

/// Takes frames apart.
pub(super) fn said_in(mut frames: &[u8], sink: &mut dyn FnMut(Said<'_>)) -> io::Result<()> {
    let mut topic = String::new();
    while let Some((head, rest)) = frames.split_first_chunk::<4>() {
        let (message, rest) = rest
            .split_at_checked(u32::from_be_bytes(*head) as usize)
            .ok_or_else(|| io::Error::other("a frame in parts"))?;
        frames = rest;
        let message = std::str::from_utf8(message).map_err(io::Error::other)?;
        let (type_, id) = names(message).ok_or_else(|| io::Error::other("no envelope"))?;
        if !is_reserved(&type_) {
            topic.clear();
            topic.extend([&type_, ":", &id]);
            sink(Said::Event { topic: &topic, message });
            continue;
        }
        let read = envelope::decode(message).map_err(io::Error::other)?;
        match control::decode(&read.type_, read.payload) {
            Some(Control::Subscribe { topic, n }) => sink(Said::Subscribe { topic, n }),
            Some(Control::Unsubscribe { topic }) => sink(Said::Unsubscribe { topic }),
            _ => {}
        }
    }
    Ok(())
}

/// Says which publications were refused since this was asked last; false if none.
pub(super) fn tell_refusals(refusals: &mut Vec<Refusal>, text: &mut String, sink: &mut dyn FnMut(Item<'_>)) -> bool {
    let is_any = !refusals.is_empty();
    for Refusal { topic, error, count } in refusals.drain(..) {
        text.clear();
        control::write_refused(text, &topic, Refused::Publish { count }, refusal_code(&error), &error);
        sink(Item::Text(text));
    }
    is_any
}

/// The word of the protocol for an error of Redis.
fn refusal_code(error: &str) -> &str {
    match error.split(' ').next().unwrap_or_default() {
        "NOPERM" => "FORBIDDEN",
        "NOAUTH" | "WRONGPASS" => "NOT_IDENTIFIED",
        "OOM" => "LIMIT",
        word => word,
    }
}

/// Looked at so often per heartbeat.
pub(super) const LOOKS_PER_HEARTBEAT: u32 = 4;

pub(super) struct Reader {
    wire: Arc<Mutex<Wire>>,
    text: String,
    looks: Interval,
    last_look: Instant,
    /// When the subscribing connection was last read empty: what Redis had sent until then is read. Bytes read behind a pause say nothing
    /// of when they came.
    heard_ms: u64,
    has_read: bool,
}

impl Reader {
    pub(super) fn new(wire: Arc<Mutex<Wire>>) -> Self {
        let heartbeat = lock(&wire).heartbeat;
        let mut looks = interval((heartbeat / LOOKS_PER_HEARTBEAT).max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { wire, text: String::new(), looks, last_look: Instant::now(), heard_ms: now_ms(), has_read: false }
    }

    /// Nobody has looked for a while: silence counts from now.
    fn forgive_absence(&mut self, wire: &mut Wire) {
        let now = Instant::now();
        if now.duration_since(self.last_look) > wire.heartbeat / 2 {
            wire.pulses.iter_mut().for_each(Pulse::beat);
        }
        self.last_look = now;
    }
}

impl LinkRead for Reader {
    fn poll_read(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        let shared = Arc::clone(&self.wire);
        let mut wire = lock(&shared);
        let wire = &mut *wire;
        self.forgive_absence(wire);
        let ended = wire.poll_publishing_answers(cx);
        let has_told = wire.tell_published(&mut self.text, sink);
        if let Poll::Ready(error) = ended {
            return Poll::Ready(Err(error.into()));
        }
        let Wire { dialect, subscribing, max_message_bytes, .. } = wire;
        let text = &mut self.text;
        let read = subscribing.poll_read(cx, dialect, &mut |news| tell(news, dialect, *max_message_bytes, text, sink));
        if let Poll::Ready(read) = read {
            read?;
            wire.pulses[1].beat();
            self.has_read = true;
            return Poll::Ready(Ok(Read::More));
        }
        if std::mem::take(&mut self.has_read) {
            self.heard_ms = now_ms();
        }
        if has_told {
            return Poll::Ready(Ok(Read::More));
        }
        while self.looks.poll_tick(cx).is_ready() {
            wire.check_pulses(cx)?;
        }
        Poll::Pending
    }

    fn held_bytes(&self) -> usize {
        lock(&self.wire).subscribing.held_bytes()
    }

    fn heard_ms(&self) -> Option<u64> {
        Some(self.heard_ms)
    }
}

/// Says in the words of a hub what the subscribing connection brought.
pub(super) fn tell(news: News<'_>, dialect: &Dialect, max: usize, text: &mut String, sink: &mut dyn FnMut(Item<'_>)) {
    text.clear();
    match news {
        News::Message { message, .. } if dialect.is_own(message) => {}
        News::Message { topic, message } => match check(topic, message, max) {
            Ok(message) => sink(Item::Text(message)),
            Err(what) => sink(Item::Malformed(&what)),
        },
        News::TooLarge { topic, len } => sink(Item::Malformed(&too_large(topic, len as usize, max))),
        News::Subscribed { topic, n } => {
            control::write_subscribed(text, topic, n);
            sink(Item::Text(text));
        }
        News::Refused { topic, n, error } => {
            control::write_refused(text, topic, Refused::Subscribe { n }, refusal_code(error), error);
            sink(Item::Text(text));
        }
    }
}

/// The message, if it is an envelope of its channel: who may publish to one channel must not reach the listeners of another.
fn check<'a>(topic: &str, message: &'a [u8], max: usize) -> Result<&'a str, String> {
    // An origin is looked for only where it decides.
    if message.len() > max && Dialect::envelope_len(message) > max {
        return Err(too_large(topic, Dialect::envelope_len(message), max));
    }
    let Ok(message) = std::str::from_utf8(message) else {
        return Err(format!("a message of {topic:?} that is not UTF-8"));
    };
    let Some((type_, id)) = names(message) else {
        return Err(format!("a message of {topic:?} that is not an envelope"));
    };
    if is_reserved(&type_) {
        return Err(format!("a message of {topic:?} whose type begins with \"__\""));
    }
    match topic.strip_prefix(&*type_).and_then(|rest| rest.strip_prefix(':')) {
        Some(rest) if rest == id => Ok(message),
        _ => Err(format!("a message of {topic:?} with the envelope of another topic")),
    }
}

fn too_large(topic: &str, len: usize, max: usize) -> String {
    format!("a message of {topic:?} of {len} bytes, at most {max} are allowed")
}

pub(super) struct Writer {
    wire: Arc<Mutex<Wire>>,
}

impl Writer {
    pub(super) fn new(wire: Arc<Mutex<Wire>>) -> Self {
        Self { wire }
    }
}

impl LinkWrite for Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut wire = lock(&self.wire);
        if let Poll::Ready(error) = wire.poll_publishing_answers(cx) {
            return Poll::Ready(Err(error));
        }
        if wire.taken == 0 {
            if wire.publishing.is_full() {
                return Poll::Pending;
            }
            let frames = bytes.first().map_or(&[] as &[u8], |first| first);
            wire.encode(frames)?;
            wire.taken = frames.len();
        }
        let subscribed = wire.subscribing.poll_write(cx)?;
        let published = wire.publishing.poll_write(cx)?;
        if subscribed.is_pending() || published.is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Ok(std::mem::take(&mut wire.taken)))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.wire);
        if let Poll::Ready(error) = wire.poll_publishing_answers(cx) {
            return Poll::Ready(Err(error));
        }
        if wire.publishing.is_waiting() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _code: CloseCode, _reason: &str) -> Poll<io::Result<()>> {
        ready!(lock(&self.wire).publishing.poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
