//! A network inside a process: named nodes, and what befalls the links between them. Does not route, and knows no hubs and spokes.
//!
//! Invariants: a link is registered before its far end is handed over, so no fault misses it; the same seed rolls the same delays for
//! the same pair, attempt and write, whatever happens elsewhere.

mod connector;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Notify;

use super::pipe::{Lag, Pipe, Side};
use crate::link::Accept;
use crate::mailbox::lock;
use crate::model::Limits;

pub use connector::NetworkConnector;

/// A handle to a network. Cheap to clone; a fault that one handle brings about is everybody's.
///
/// Pairs of nodes have no direction, and names need not be known: a pair can be cut before its nodes exist.
#[derive(Clone)]
pub struct MemoryNetwork {
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    state: Mutex<State>,
    /// Wakes attempts that wait for an answer.
    changed: Notify,
}

#[derive(Default)]
struct State {
    listeners: HashMap<Box<str>, Listener>,
    pairs: HashMap<Pair, Conditions>,
    stalled: HashSet<Box<str>>,
    lag: Lag,
    links: Vec<Laid>,
    /// Counts listeners, so that one that leaves does not take its successor's name.
    listened: u64,
    is_closed: bool,
}

#[derive(Clone)]
struct Listener {
    number: u64,
    accept: Arc<dyn Accept>,
    limits: Limits,
}

/// Two names in the order of the alphabet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pair(Box<str>, Box<str>);

impl Pair {
    fn new(a: &str, b: &str) -> Self {
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        Self(first.into(), second.into())
    }
}

/// What holds between two nodes.
#[derive(Debug, Default)]
struct Conditions {
    is_cut: bool,
    is_half_open: bool,
    /// The network's, where it is none of the pair.
    lag: Option<Lag>,
    attempts: u64,
}

/// A link that was made, as long as one of its ends lives.
struct Laid {
    pair: Pair,
    /// Who made it.
    from: Box<str>,
    forth: Weak<Pipe>,
    back: Weak<Pipe>,
}

impl Laid {
    fn is_alive(&self) -> bool {
        self.forth.strong_count() > 0 || self.back.strong_count() > 0
    }

    fn each_pipe(&self, act: impl Fn(&Pipe)) {
        [&self.forth, &self.back].into_iter().filter_map(Weak::upgrade).for_each(|pipe| act(&pipe));
    }

    fn set_stalled(&self, node: &str, is_stalled: bool) {
        if *self.pair.0 != *node && *self.pair.1 != *node {
            return;
        }
        let (out, into) = if *self.from == *node { (&self.forth, &self.back) } else { (&self.back, &self.forth) };
        if let Some(pipe) = out.upgrade() {
            pipe.set_stalled(Side::Writer, is_stalled);
        }
        if let Some(pipe) = into.upgrade() {
            pipe.set_stalled(Side::Reader, is_stalled);
        }
    }
}

impl State {
    fn lag_of(&self, pair: &Pair) -> Lag {
        self.pairs.get(pair).and_then(|conditions| conditions.lag).unwrap_or(self.lag)
    }

    fn links_of<'a>(&'a self, pair: &'a Pair) -> impl Iterator<Item = &'a Laid> {
        self.links.iter().filter(move |laid| laid.pair == *pair)
    }

    /// A link begins under the conditions that hold now.
    fn begin(&mut self, laid: Laid) {
        if self.is_half_open(&laid.pair) {
            laid.each_pipe(Pipe::lose);
        }
        for node in [&laid.pair.0, &laid.pair.1] {
            laid.set_stalled(node, self.stalled.contains(node));
        }
        self.links.retain(Laid::is_alive);
        self.links.push(laid);
    }

    fn is_cut(&self, pair: &Pair) -> bool {
        self.pairs.get(pair).is_some_and(|conditions| conditions.is_cut)
    }

    fn is_half_open(&self, pair: &Pair) -> bool {
        self.pairs.get(pair).is_some_and(|conditions| conditions.is_half_open)
    }

    fn is_stalled(&self, pair: &Pair) -> bool {
        self.stalled.contains(&pair.0) || self.stalled.contains(&pair.1)
    }
}

impl std::fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = lock(&self.shared.state);
        f.debug_struct("MemoryNetwork")
            .field("seed", &self.shared.seed)
            .field("listeners", &state.listeners.len())
            .field("links", &state.links.len())
            .finish_non_exhaustive()
    }
}

impl MemoryNetwork {
    /// A network without nodes. `seed` decides every random part of a lag.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { shared: Arc::new(Shared { seed, state: Mutex::default(), changed: Notify::new() }) }
    }

    // ---- Nodes -----------------------------------------------------------------------------------------------------------------

    /// Hands links to `name` to `accept`, until what is returned is dropped or somebody else listens under the name.
    #[must_use]
    pub fn listen(&self, name: &str, limits: Limits, accept: Arc<dyn Accept>) -> Listening {
        let mut state = lock(&self.shared.state);
        state.listened += 1;
        let number = state.listened;
        state.listeners.insert(name.into(), Listener { number, accept, limits });
        Listening { network: self.clone(), name: name.into(), number }
    }

    /// Makes links from one node to another.
    #[must_use]
    pub fn connector(&self, from: &str, to: &str, limits: Limits) -> NetworkConnector {
        NetworkConnector::new(self.clone(), from, to, limits)
    }

    // ---- Faults ----------------------------------------------------------------------------------------------------------------

    /// Breaks the links of two nodes, and refuses new ones until [`Self::heal`].
    pub fn cut(&self, a: &str, b: &str) {
        self.change(a, b, |state, pair| {
            state.links_of(pair).for_each(|laid| laid.each_pipe(Pipe::break_off));
            state.pairs.entry(pair.clone()).or_default().is_cut = true;
        });
    }

    /// Breaks the links of two nodes, once.
    pub fn sever(&self, a: &str, b: &str) {
        self.change(a, b, |state, pair| state.links_of(pair).for_each(|laid| laid.each_pipe(Pipe::break_off)));
    }

    /// Lets bytes between two nodes vanish without a word to either: links go on, attempts to make one get no answer, until
    /// [`Self::heal`].
    pub fn half_open(&self, a: &str, b: &str) {
        self.change(a, b, |state, pair| {
            state.links_of(pair).for_each(|laid| laid.each_pipe(Pipe::lose));
            state.pairs.entry(pair.clone()).or_default().is_half_open = true;
        });
    }

    /// Ends [`Self::cut`] and [`Self::half_open`]. A link in which bytes may have vanished breaks: its two ends no longer agree.
    pub fn heal(&self, a: &str, b: &str) {
        self.change(a, b, |state, pair| {
            if let Some(conditions) = state.pairs.get_mut(pair) {
                (conditions.is_cut, conditions.is_half_open) = (false, false);
            }
            let break_lossy = |pipe: &Pipe| {
                if pipe.is_lossy() {
                    pipe.break_off();
                }
            };
            state.links_of(pair).for_each(|laid| laid.each_pipe(break_lossy));
        });
    }

    /// What is written from now on takes so long, between nodes that have no lag of their own. Links are made in one round trip.
    pub fn set_lag(&self, lag: Lag) {
        let mut state = lock(&self.shared.state);
        state.lag = lag;
        state.links.iter().for_each(|laid| laid.each_pipe(|pipe| pipe.set_lag(state.lag_of(&laid.pair))));
    }

    /// As [`Self::set_lag`], for two nodes.
    pub fn set_lag_between(&self, a: &str, b: &str, lag: Lag) {
        self.change(a, b, |state, pair| {
            state.pairs.entry(pair.clone()).or_default().lag = Some(lag);
            state.links_of(pair).for_each(|laid| laid.each_pipe(|pipe| pipe.set_lag(lag)));
        });
    }

    /// The node neither takes nor gives bytes, until [`Self::resume`]. What others write to it waits, up to the bounds of pipes.
    pub fn stall(&self, node: &str) {
        let mut state = lock(&self.shared.state);
        if state.stalled.insert(node.into()) {
            state.links.iter().for_each(|laid| laid.set_stalled(node, true));
        }
    }

    /// Ends [`Self::stall`]: nothing was lost.
    pub fn resume(&self, node: &str) {
        let mut state = lock(&self.shared.state);
        if state.stalled.remove(node) {
            state.links.iter().for_each(|laid| laid.set_stalled(node, false));
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Breaks all links; none can be made any more.
    pub fn close(&self) {
        let mut state = lock(&self.shared.state);
        state.is_closed = true;
        state.listeners.clear();
        state.links.iter().for_each(|laid| laid.each_pipe(Pipe::break_off));
        drop(state);
        self.shared.changed.notify_waiters();
    }

    fn change(&self, a: &str, b: &str, act: impl FnOnce(&mut State, &Pair)) {
        act(&mut lock(&self.shared.state), &Pair::new(a, b));
        self.shared.changed.notify_waiters();
    }
}

/// Keeps a name of a network; dropping it gives the name up. Links that were made stay.
pub struct Listening {
    network: MemoryNetwork,
    name: Box<str>,
    number: u64,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = lock(&self.network.shared.state);
        if state.listeners.get(&self.name).is_some_and(|listener| listener.number == self.number) {
            state.listeners.remove(&self.name);
        }
    }
}
