//! The two halves of a link to the shards of a cluster: each channel at the node that owns its slot. Reads what a spoke writes, writes what a
//! hub would. What happens between the nodes is in `shards/net.rs`.
//!
//! Invariants: an event is taken when its SPUBLISH waits or is under way, within the bounds of a link to one server; `poll_flush` is ready when
//! every one has its answer, or is known never to get one.

mod homes;
mod net;
mod node;
mod outgoing;

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::address::{Login, Place};
use super::dial::{RedisConfig, link_of};
use super::link::{LOOKS_PER_HEARTBEAT, Said, now_ms, said_in, tell, tell_refusals};
use super::slots::SlotMap;
use super::subscribing::News;
use crate::link::{Link, LinkError, LinkRead, LinkWrite, Read};
use crate::model::CloseCode;
use crate::wire::control;
use crate::wire::frame::{Interruption, Item};
use net::{Loss, Net};
use node::Word;

struct Shared {
    net: Net,
    max_message_bytes: usize,
    heartbeat: Duration,
    told: u64,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A link to the nodes of `map`; they are called when they are needed.
pub(super) fn link(config: &Arc<RedisConfig>, login: Login, seeds: Vec<Place>, map: SlotMap) -> Link {
    let limits = &config.limits;
    let shared = Arc::new(Mutex::new(Shared {
        net: Net::new(config, login, seeds, map),
        max_message_bytes: limits.max_message_bytes,
        heartbeat: limits.heartbeat,
        told: 0,
    }));
    link_of(Reader::new(Arc::clone(&shared)), Writer { shared })
}

struct Reader {
    shared: Arc<Mutex<Shared>>,
    text: String,
    looks: Interval,
    last_look: Instant,
}

impl Reader {
    fn new(shared: Arc<Mutex<Shared>>) -> Self {
        let heartbeat = lock(&shared).heartbeat;
        let mut looks = interval((heartbeat / LOOKS_PER_HEARTBEAT).max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { shared, text: String::new(), looks, last_look: Instant::now() }
    }
}

impl LinkRead for Reader {
    fn poll_read(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>> {
        let Self { shared, text, looks, last_look } = self;
        let mut shared = lock(shared);
        let Shared { net, max_message_bytes, heartbeat, told } = &mut *shared;
        let now = Instant::now();
        if now.duration_since(*last_look) > *heartbeat / 2 {
            // Nobody has looked for a while: silence counts from now.
            net.ups().for_each(node::Up::forgive_absence);
        }
        *last_look = now;
        net.drive(cx)?;
        while looks.poll_tick(cx).is_ready() {
            net.look();
            net.drive(cx)?;
        }
        let mut has_told = tell_losses(net, sink);
        let max = *max_message_bytes;
        has_told |= net.poll_words(cx, &mut |dialect, word| match word {
            Word::Message { topic, body } => tell(News::message(topic, body), dialect, max, text, sink),
            Word::Subscribed { topic, n } => tell(News::Subscribed { topic, n }, dialect, max, text, sink),
            Word::Failed { topic, n, error } => tell(News::Refused { topic, n, error }, dialect, max, text, sink),
            Word::Withdrawn { .. } => {}
        });
        has_told |= tell_losses(net, sink) | tell_unasked(net, text, sink);
        has_told |= tell_refusals(&mut net.refusals, text, sink);
        let proven = net.outgoing.proven();
        if *told < proven {
            *told = proven;
            sink(Item::Pong(&proven.to_be_bytes()));
            has_told = true;
        }
        // What was read may have made something possible.
        net.drive(cx)?;
        if has_told { Poll::Ready(Ok(Read::More)) } else { Poll::Pending }
    }

    fn held_bytes(&self) -> usize {
        lock(&self.shared).net.ups().map(|up| up.held_bytes()).sum()
    }

    fn heard_ms(&self) -> Option<u64> {
        Some(lock(&self.shared).net.ups().map(|up| up.heard_ms).min().unwrap_or_else(now_ms))
    }
}

fn tell_losses(net: &mut Net, sink: &mut dyn FnMut(Item<'_>)) -> bool {
    let losses = std::mem::take(&mut net.losses);
    for Loss { topics, from_ms, is_unproven } in &losses {
        sink(Item::Interrupted(Interruption { topics, from_ms: *from_ms, is_unproven: *is_unproven }));
    }
    !losses.is_empty()
}

/// Whoever asked has gone, and nobody was asked: the question counts as answered.
fn tell_unasked(net: &mut Net, text: &mut String, sink: &mut dyn FnMut(Item<'_>)) -> bool {
    let unasked = std::mem::take(&mut net.unasked);
    for (topic, n) in &unasked {
        text.clear();
        control::write_subscribed(text, topic, *n);
        sink(Item::Text(text));
    }
    !unasked.is_empty()
}

struct Writer {
    shared: Arc<Mutex<Shared>>,
}

impl LinkWrite for Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let net = &mut lock(&self.shared).net;
        net.drive(cx)?;
        if net.outgoing.is_full() {
            return Poll::Pending;
        }
        let frames = bytes.first().map_or(&[] as &[u8], |first| first);
        said_in(frames, &mut |said| match said {
            Said::Event { topic, message } => net.publish(topic, message),
            Said::Subscribe { topic, n } => net.subscribe(topic, n),
            Said::Unsubscribe { topic } => net.unsubscribe(topic),
        })?;
        net.drive(cx)?;
        Poll::Ready(Ok(frames.len()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let net = &mut lock(&self.shared).net;
        net.drive(cx)?;
        if net.outgoing.is_waiting() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _code: CloseCode, _reason: &str) -> Poll<io::Result<()>> {
        lock(&self.shared).net.ups().for_each(|up| up.shut_down(cx));
        Poll::Ready(Ok(()))
    }
}
