//! Makes links between two nodes of a network, as far as its conditions allow. Does not bring faults about.

use std::pin::pin;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Laid, Listener, MemoryNetwork, Pair, State};
use crate::link::{Admission, BoxFuture, Connect, ConnectError, Destination, Link, Peer, Refusal};
use crate::mailbox::lock;
use crate::model::{Error, ErrorKind, Limits};
use crate::transport::memory::Lag;
use crate::transport::memory::link::end;
use crate::transport::memory::pipe::Pipe;

/// Makes links from one node of a network to another.
#[derive(Clone)]
pub struct NetworkConnector {
    network: MemoryNetwork,
    from: Box<str>,
    to: Box<str>,
    pair: Pair,
    limits: Limits,
}

impl std::fmt::Debug for NetworkConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkConnector").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

impl Connect for NetworkConnector {
    fn connect(&self, to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
        let connector = self.clone();
        Box::pin(async move { connector.dial(to.headers).await })
    }
}

impl NetworkConnector {
    pub(super) fn new(network: MemoryNetwork, from: &str, to: &str, limits: Limits) -> Self {
        Self { network, from: from.into(), to: to.into(), pair: Pair::new(from, to), limits }
    }

    async fn dial(&self, headers: Vec<(String, String)>) -> Result<Link, ConnectError> {
        let mut dice = self.begin();
        self.travel(&mut dice).await?;
        let listener = self.listener().ok_or_else(|| self.failed("nobody listens there"))?;
        let peer = self.request(headers);
        let admission = self.knock(&listener, peer.clone()).await?;
        self.travel(&mut dice).await?;
        let (near, far) = self.lay(&mut dice, &listener, peer)?;
        if listener.accept.take(far, admission) { Ok(near) } else { Err(self.failed("it takes no more links")) }
    }

    /// What the other node sees: a request for `memory://hub/spoke`.
    fn request(&self, headers: Vec<(String, String)>) -> Peer {
        Peer { transport: "memory", url: Some(format!("/{}", self.from)), headers, ..Peer::default() }
    }

    /// Dice of this attempt and its link alone: what other pairs do meanwhile does not change them.
    fn begin(&self) -> StdRng {
        let mut state = lock(&self.network.shared.state);
        let conditions = state.pairs.entry(self.pair.clone()).or_default();
        conditions.attempts += 1;
        let parts = [self.network.shared.seed, hash(&self.pair), conditions.attempts, 0];
        let mut seed = [0; 32];
        seed.chunks_mut(8).zip(parts).for_each(|(chunk, part)| chunk.copy_from_slice(&part.to_le_bytes()));
        StdRng::from_seed(seed)
    }

    /// One way, as soon as there is one; an error when it is closed.
    async fn travel(&self, dice: &mut StdRng) -> Result<(), ConnectError> {
        loop {
            self.until_answered().await;
            let lag = lock(&self.network.shared.state).lag_of(&self.pair);
            if lag != Lag::default() {
                tokio::time::sleep(lag.roll(dice)).await;
            }
            let state = lock(&self.network.shared.state);
            // On the way something may have happened that leaves the question without an answer.
            if !self.is_silent(&state) {
                return self.check(&state);
            }
        }
    }

    /// Waits while nobody answers: bytes vanish on the way, or one of the two is stalled.
    async fn until_answered(&self) {
        let shared = &self.network.shared;
        loop {
            let mut changed = pin!(shared.changed.notified());
            changed.as_mut().enable();
            let is_silent = self.is_silent(&lock(&shared.state));
            if !is_silent {
                return;
            }
            changed.await;
        }
    }

    fn is_silent(&self, state: &State) -> bool {
        let is_refused = state.is_closed || state.is_cut(&self.pair);
        !is_refused && (state.is_half_open(&self.pair) || state.is_stalled(&self.pair))
    }

    fn check(&self, state: &State) -> Result<(), ConnectError> {
        if state.is_closed {
            let error = Error::new(ErrorKind::Connect, "the memory network was closed");
            return Err(ConnectError { error, is_terminal: true });
        }
        if state.is_cut(&self.pair) { Err(self.failed("the network is cut between the two")) } else { Ok(()) }
    }

    fn listener(&self) -> Option<Listener> {
        lock(&self.network.shared.state).listeners.get(&self.to).cloned()
    }

    /// Asks to be let in, as a handshake does.
    async fn knock(&self, Listener { accept, limits, .. }: &Listener, peer: Peer) -> Result<Admission, ConnectError> {
        accept.room().await;
        if !accept.has_room() {
            return Err(self.failed("it has too many connections"));
        }
        let refused = match tokio::time::timeout(limits.handshake, accept.authorize(peer)).await {
            Ok(Ok(admission)) => return Ok(admission),
            Ok(Err(refusal)) => Some(refusal),
            Err(_) => None,
        };
        let (kind, why, is_terminal) = match refused {
            Some(Refusal::NotIdentified) => (ErrorKind::NotIdentified, "it does not know who this is", false),
            Some(Refusal::Forbidden) => (ErrorKind::Forbidden, "it does not let this in", true),
            Some(Refusal::Unavailable) => (ErrorKind::Connect, "it cannot decide now whether to let this in", false),
            None => (ErrorKind::TimedOut, "it did not decide in time whether to let this in", false),
        };
        Err(ConnectError { error: self.error(kind, why), is_terminal })
    }

    /// A link under the conditions that hold now; its far end belongs to `peer`.
    fn lay(&self, dice: &mut StdRng, to: &Listener, peer: Peer) -> Result<(Link, Link), ConnectError> {
        let mut state = lock(&self.network.shared.state);
        self.check(&state)?;
        let lag = state.lag_of(&self.pair);
        let pipe = |dice: &mut StdRng| Arc::new(Pipe::new(lag, StdRng::from_seed(dice.random())));
        let (forth, back) = (pipe(dice), pipe(dice));
        let laid = Laid {
            pair: self.pair.clone(),
            from: self.from.clone(),
            forth: Arc::downgrade(&forth),
            back: Arc::downgrade(&back),
        };
        state.begin(laid);
        let near =
            end(Arc::clone(&back), Arc::clone(&forth), &self.limits, Peer { transport: "memory", ..Peer::default() });
        Ok((near, end(forth, back, &to.limits, peer)))
    }

    fn failed(&self, why: &str) -> ConnectError {
        ConnectError { error: self.error(ErrorKind::Connect, why), is_terminal: false }
    }

    fn error(&self, kind: ErrorKind, why: &str) -> Error {
        let Self { from, to, .. } = self;
        let seed = self.network.shared.seed;
        Error::new(kind, format!("{from:?} cannot reach {to:?} in the memory network with seed {seed}: {why}"))
    }
}

/// FNV-1a: the same in every process, as the dice must be.
fn hash(pair: &Pair) -> u64 {
    let names = pair.0.bytes().chain([0xff]).chain(pair.1.bytes());
    names.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
