//! The shards of a cluster behind one link: which node has what, what is lost with one, what is done about it. Does not turn it into words
//! of a hub.
//!
//! Invariants: a topic or a publication whose node is unknown waits, and as long as anything waits the cluster is asked again; the loss of
//! a node is one interruption, of its active topics alone.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::time::Sleep;
use tracing::debug;

use super::super::address::{Login, Place};
use super::super::channel::Dialect;
use super::super::cluster::map_of;
use super::super::dial::RedisConfig;
use super::super::publishing::{Refusal, refuse};
use super::super::slots::{SlotMap, redirection};
use super::homes::{Homes, Left};
use super::node::{Node, Up, Word};
use super::outgoing::{Outgoing, Parcel};
use crate::link::{BoxFuture, ConnectError};
use crate::model::ErrorKind;
use crate::trace;

/// Delay before the cluster is asked again; it doubles while nothing gets better. Source: none, a guess.
const MIN_REFRESH_DELAY: Duration = Duration::from_millis(50);
const MAX_REFRESH_DELAY: Duration = Duration::from_millis(500);

/// How much earlier a slot may have moved than its old owner says so: the new one is told first. Source: none, a guess; `redis-cli` takes
/// milliseconds.
const MOVING_MS: u64 = 1000;

/// Publications are sent from node to node so often at once. Source: none, a guess.
const MAX_RETURNS: u32 = 4;

/// Nodes that are called or connected at once. Source: the specification names a thousand nodes as the most; each costs two connections.
const MAX_NODES: usize = 1000;

/// Topics that are not heard until they are subscribed again.
#[derive(Debug, Default)]
pub(super) struct Loss {
    pub(super) topics: Vec<Box<str>>,
    pub(super) from_ms: u64,
    pub(super) is_unproven: bool,
}

type Refreshing = BoxFuture<Result<SlotMap, ConnectError>>;

pub(super) struct Net {
    config: Arc<RedisConfig>,
    login: Arc<Login>,
    pub(super) dialect: Dialect,
    seeds: Vec<Place>,
    map: SlotMap,
    pub(super) nodes: HashMap<Arc<Place>, Node, RandomState>,
    /// Nodes that could not be reached since the cluster was asked.
    unreachable: HashSet<Arc<Place>, RandomState>,
    homes: Homes,
    pub(super) outgoing: Outgoing,
    pub(super) refusals: Vec<Refusal>,
    pub(super) losses: Vec<Loss>,
    /// Questions that nobody will be asked any more.
    pub(super) unasked: Vec<(Box<str>, Option<u64>)>,
    verdicts: Vec<(Arc<Place>, Parcel, Option<String>)>,
    refreshing: Option<Refreshing>,
    refresh_at: Option<Pin<Box<Sleep>>>,
    failures: u32,
    /// Something may be sent that could not be before.
    is_restless: bool,
}

impl Net {
    pub(super) fn new(config: &Arc<RedisConfig>, login: Login, seeds: Vec<Place>, map: SlotMap) -> Self {
        Self {
            dialect: Dialect::new(&config.prefix, config.origin.as_deref()),
            config: Arc::clone(config),
            login: Arc::new(login),
            seeds,
            map,
            nodes: HashMap::default(),
            unreachable: HashSet::default(),
            homes: Homes::default(),
            outgoing: Outgoing::default(),
            refusals: Vec::new(),
            losses: Vec::new(),
            unasked: Vec::new(),
            verdicts: Vec::new(),
            refreshing: None,
            refresh_at: None,
            failures: 0,
            is_restless: false,
        }
    }

    // ---- What is wanted --------------------------------------------------------------------------------------------------------

    pub(super) fn publish(&mut self, topic: &str, message: &str) {
        let slot = self.dialect.slot(topic);
        if self.outgoing.is_parking_full() && self.is_unserved(slot) {
            self.outgoing.refuse();
            return refuse(
                &mut self.refusals,
                topic.into(),
                "CLUSTERDOWN no node serves the slot, and too much waits for one",
            );
        }
        let mut command = Vec::with_capacity(topic.len() + message.len() + 64);
        self.dialect.write_publish(&mut command, "SPUBLISH", topic, message);
        self.outgoing.accept(slot, topic.into(), command.into());
        self.release(slot);
    }

    pub(super) fn subscribe(&mut self, topic: Box<str>, n: Option<u64>) {
        let slot = self.dialect.slot(&topic);
        self.homes.want(topic, slot, n);
        self.is_restless = true;
    }

    pub(super) fn unsubscribe(&mut self, topic: Box<str>) {
        match self.homes.give_up(&topic) {
            Some(Left::At(place)) => {
                if let Some(up) = self.nodes.get_mut(&place).and_then(Node::up) {
                    up.unsubscribe(&self.dialect, topic);
                }
            }
            Some(Left::Unasked(n)) => self.unasked.push((topic, n)),
            None => {}
        }
    }

    // ---- Where it goes ---------------------------------------------------------------------------------------------------------

    /// The owner of a slot, connected or about to be; nothing while nobody can be reached.
    fn owner(&mut self, slot: u16) -> Option<Arc<Place>> {
        let owner = self.map.owner(slot).map(Arc::clone).filter(|owner| !self.unreachable.contains(owner));
        match &owner {
            Some(owner) => self.call(owner),
            None => self.ask_soon(),
        }
        owner
    }

    fn call(&mut self, place: &Arc<Place>) {
        if self.nodes.contains_key(place) {
            return;
        }
        if self.nodes.len() >= MAX_NODES {
            // What sends us to so many places is no cluster; once more is known of it, we see.
            self.unreachable.insert(Arc::clone(place));
            self.ask_soon();
        } else {
            debug!(target: trace::REDIS, %place, "dialing a node");
            self.nodes.insert(Arc::clone(place), Node::connect(&self.config, &self.login, place));
            self.is_restless = true;
        }
    }

    fn is_unserved(&self, slot: u16) -> bool {
        self.map.owner(slot).is_none_or(|owner| self.unreachable.contains(owner))
    }

    /// Sends what waits for a slot, as far as its nodes are there.
    fn release(&mut self, slot: u16) {
        let owner = self.owner(slot);
        let Self { outgoing, nodes, .. } = self;
        let (mut wanted, mut sent) = (None, Vec::new());
        outgoing.release(
            slot,
            &mut |parcel| {
                let place = parcel.ask.clone().or_else(|| owner.clone())?;
                let is_up = nodes.get(&place).is_some_and(|node| matches!(node, Node::Up(_)));
                if !is_up {
                    wanted = Some(place);
                    return None;
                }
                Some(place)
            },
            &mut |place, parcel| sent.push((Arc::clone(place), parcel)),
        );
        for (place, parcel) in sent {
            if let Some(up) = nodes.get_mut(&place).and_then(Node::up) {
                up.publish(parcel);
            }
        }
        if let Some(place) = wanted {
            self.call(&place);
        }
    }

    /// Subscribes and sends what could not be before.
    fn settle(&mut self) {
        for (topic, slot) in self.homes.take_homeless() {
            let owner = self.owner(slot);
            let up = owner.as_ref().and_then(|owner| self.nodes.get_mut(owner)).and_then(Node::up);
            match (owner, up) {
                (Some(owner), Some(up)) => {
                    let n = self.homes.settle(&topic, &owner);
                    up.subscribe(&self.dialect, topic, n);
                }
                _ => self.homes.put_back(topic),
            }
        }
        for slot in self.outgoing.stuck() {
            self.release(slot);
        }
    }

    // ---- What goes on ----------------------------------------------------------------------------------------------------------

    /// Does what can be done without reading messages. An error ends the link.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.step(cx)? {}
        Ok(())
    }

    /// True if there is more to do at once.
    fn step(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut has_changed = self.poll_refresh(cx)?;
        let mut lost = Vec::new();
        let Self { nodes, verdicts, config, failures, .. } = self;
        for (place, node) in nodes.iter_mut() {
            match node.poll_up(cx, &config.limits) {
                Poll::Pending => continue,
                Poll::Ready(Ok(is_new)) => {
                    has_changed |= is_new;
                    if is_new {
                        *failures = 0;
                        self.is_restless = true;
                    }
                }
                Poll::Ready(Err(failed)) if is_final(&failed) => return Err(io::Error::other(failed.error)),
                Poll::Ready(Err(failed)) => lost.push((Arc::clone(place), failed.error.to_string())),
            }
            if let Some(up) = node.up() {
                let mut hear =
                    |parcel, error: Option<&str>| verdicts.push((Arc::clone(place), parcel, error.map(Into::into)));
                if let Poll::Ready(error) = up.poll_answers(cx, &mut hear) {
                    lost.push((Arc::clone(place), error.to_string()));
                }
            }
        }
        for (place, parcel, error) in std::mem::take(&mut self.verdicts) {
            self.judge(&place, parcel, error);
        }
        has_changed |= !lost.is_empty();
        lost.into_iter().for_each(|(place, why)| self.lose(&place, &why));
        if std::mem::take(&mut self.is_restless) {
            self.settle();
        }
        Ok(self.write(cx) || has_changed || self.is_restless)
    }

    /// Writes what is there to write; true if that has shown that a node is gone.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut lost = Vec::new();
        for (place, node) in &mut self.nodes {
            if let Some(Err(error)) = node.up().map(|up| up.poll_write(cx)) {
                lost.push((Arc::clone(place), error.to_string()));
            }
        }
        let is_any = !lost.is_empty();
        lost.into_iter().for_each(|(place, why)| self.lose(&place, &why));
        is_any
    }

    /// What an answer to a publication means.
    fn judge(&mut self, place: &Arc<Place>, mut parcel: Parcel, error: Option<String>) {
        parcel.ask = None;
        let Some(error) = error else {
            self.failures = 0;
            return self.outgoing.end(&parcel);
        };
        let word = error.split(' ').next().unwrap_or_default();
        match (word, redirection(&error, place)) {
            ("MOVED", Some((_, to))) => self.map.set(parcel.slot, to),
            ("ASK", Some((_, to))) => parcel.ask = Some(Arc::new(to)),
            _ if is_passing(word) => {}
            _ => {
                refuse(&mut self.refusals, Arc::clone(&parcel.topic), &error);
                return self.outgoing.end(&parcel);
            }
        }
        let is_held = is_passing(word) || parcel.returns >= MAX_RETURNS;
        if is_held {
            self.ask_soon();
        }
        parcel.why = Some(error);
        self.outgoing.take_back(parcel, is_held);
        self.is_restless = true;
    }

    /// A node is gone, or could not be reached.
    pub(super) fn lose(&mut self, place: &Arc<Place>, why: &str) {
        debug!(target: trace::REDIS, %place, why, "lost a node");
        match self.nodes.remove(place) {
            Some(Node::Up(up)) => {
                let mut loss = Loss { topics: self.homes.evict_all(place), from_ms: up.heard_ms, is_unproven: false };
                for parcel in up.into_unanswered() {
                    self.outgoing.end(&parcel);
                    loss.is_unproven = true;
                }
                if loss.is_unproven || !loss.topics.is_empty() {
                    self.losses.push(loss);
                }
            }
            Some(Node::Connecting(_)) => {
                self.unreachable.insert(Arc::clone(place));
            }
            None => {}
        }
        self.is_restless = true;
        self.ask_soon();
    }

    /// Nodes that do not answer are lost; what has waited for too long is refused.
    pub(super) fn look(&mut self) {
        let (mut lost, is_full) = (Vec::new(), self.outgoing.is_full());
        for (place, node) in &mut self.nodes {
            if let Some(Err(error)) = node.up().map(|up| up.check_pulse(self.config.limits.heartbeat, is_full)) {
                lost.push((Arc::clone(place), error.to_string()));
            }
        }
        lost.into_iter().for_each(|(place, why)| self.lose(&place, &why));
        for parcel in self.outgoing.expire(Instant::now()) {
            let why = parcel.why.as_deref().unwrap_or("CLUSTERDOWN no node served the slot in time");
            refuse(&mut self.refusals, Arc::clone(&parcel.topic), why);
        }
    }

    // ---- Who owns what ---------------------------------------------------------------------------------------------------------

    /// The cluster is asked again, once whatever has happened had time to become known.
    fn ask_soon(&mut self) {
        if self.refreshing.is_none() && self.refresh_at.is_none() {
            let most = MIN_REFRESH_DELAY * 2_u32.saturating_pow(self.failures.min(10));
            self.failures += 1;
            let delay = most.min(MAX_REFRESH_DELAY).mul_f64(rand::rng().random_range(0.5..=1.0));
            self.refresh_at = Some(Box::pin(tokio::time::sleep(delay)));
            self.is_restless = true;
        }
    }

    /// A node has given a slot up: it knows where that is now.
    fn ask_now(&mut self, knowing: &Place) {
        if self.refreshing.is_none() {
            self.refresh_at = None;
            self.refreshing = Some(self.ask(Some(knowing)));
        }
    }

    fn poll_refresh(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if let Some(timer) = &mut self.refresh_at
            && timer.as_mut().poll(cx).is_ready()
        {
            self.refresh_at = None;
            self.refreshing = Some(self.ask(None));
        }
        let Some(refreshing) = &mut self.refreshing else { return Ok(false) };
        let Poll::Ready(answer) = refreshing.as_mut().poll(cx) else { return Ok(false) };
        self.refreshing = None;
        // Nobody answers at all: from here on it is the link that is lost.
        self.map = answer.map_err(|failed| io::Error::other(failed.error))?;
        self.unreachable.clear();
        self.homes.let_go();
        self.outgoing.let_go();
        self.is_restless = true;
        Ok(true)
    }

    fn ask(&self, knowing: Option<&Place>) -> Refreshing {
        let (config, login) = (Arc::clone(&self.config), Arc::clone(&self.login));
        let mut places = self.map.all.clone();
        places.shuffle(&mut rand::rng());
        places.extend(self.seeds.iter().filter(|seed| !self.map.all.contains(seed)).cloned());
        places.sort_by_key(|place| Some(place) != knowing);
        Box::pin(async move { map_of(&config, &login, &places).await })
    }

    // ---- What nodes say of topics ----------------------------------------------------------------------------------------------

    /// Reads each node once; true if any had something to say. Messages and answers go to `sink`.
    pub(super) fn poll_words(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(&Dialect, Word<'_>)) -> bool {
        let (mut has_read, mut knowing, mut lost, mut failed) = (false, None, Vec::new(), Vec::new());
        let Self { nodes, homes, dialect, losses, failures, .. } = self;
        for (place, node) in nodes.iter_mut() {
            let Some(up) = node.up() else { continue };
            let mut withdrawn = Vec::new();
            let read = up.poll_words(cx, dialect, &mut |word| match word {
                Word::Withdrawn { topic } => withdrawn.push(Box::<str>::from(topic)),
                Word::Failed { topic, error, .. } if is_elsewhere(error) => {
                    failed.push((Arc::clone(place), Box::<str>::from(topic), String::from(error)));
                }
                word => {
                    match &word {
                        Word::Subscribed { topic, n } => {
                            homes.activate(topic, *n);
                            *failures = 0;
                        }
                        Word::Failed { topic, n, .. } => homes.refuse(topic, *n),
                        _ => {}
                    }
                    sink(dialect, word);
                }
            });
            withdrawn.retain(|topic| homes.evict(topic, place, true));
            if !withdrawn.is_empty() {
                knowing = Some(Arc::clone(place));
                let from_ms = up.heard_ms.saturating_sub(MOVING_MS);
                losses.push(Loss { topics: withdrawn, from_ms, is_unproven: false });
            }
            match read {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => has_read = true,
                Poll::Ready(Err(error)) => lost.push((Arc::clone(place), error.to_string())),
            }
        }
        if let Some(knowing) = knowing {
            self.ask_now(&knowing);
        }
        for (place, topic, error) in failed {
            self.send_elsewhere(&place, &topic, &error);
        }
        has_read |= !lost.is_empty();
        self.is_restless |= has_read;
        lost.into_iter().for_each(|(place, why)| self.lose(&place, &why));
        has_read
    }

    /// A node does not own the slot of a topic, or cannot tell.
    fn send_elsewhere(&mut self, place: &Arc<Place>, topic: &str, error: &str) {
        let moved = redirection(error, place).filter(|_| error.starts_with("MOVED"));
        let is_held = moved.is_none();
        if let Some((slot, to)) = moved {
            self.map.set(slot, to);
        }
        self.homes.evict(topic, place, is_held);
        if self.homes.has_held() {
            self.ask_soon();
        }
        self.is_restless = true;
    }

    pub(super) fn ups(&mut self) -> impl Iterator<Item = &mut Up> {
        self.nodes.values_mut().filter_map(Node::up)
    }
}

/// Answers that pass by themselves.
fn is_passing(word: &str) -> bool {
    matches!(word, "CLUSTERDOWN" | "TRYAGAIN" | "LOADING" | "MASTERDOWN")
}

fn is_elsewhere(error: &str) -> bool {
    let word = error.split(' ').next().unwrap_or_default();
    matches!(word, "MOVED" | "ASK") || is_passing(word)
}

/// Trying another node, or this one again, cannot help.
fn is_final(failed: &ConnectError) -> bool {
    failed.is_terminal || matches!(failed.error.kind(), ErrorKind::NotIdentified | ErrorKind::Forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn redirections_to_ever_new_places_call_a_bounded_number_of_nodes() {
        let at = |port| Place::Tcp { host: "h".into(), port, is_tls: false };
        let config = Arc::new(RedisConfig::default());
        let map = SlotMap::read(&super::super::super::answer::Answer::Null, &at(1));
        let mut net = Net::new(&config, Login::default(), vec![at(1)], map);
        for port in 1..=2000 {
            net.map.set(7, at(port));
            assert!(net.owner(7).is_some());
        }
        assert_eq!((net.nodes.len(), net.unreachable.len()), (MAX_NODES, 1000));
        assert!(net.owner(7).is_none() && net.refresh_at.is_some(), "it waits until more is known");
    }
}
