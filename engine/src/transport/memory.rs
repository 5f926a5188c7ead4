//! Links inside a process, with length frames, so that tests and simulations go through the real wire.
//!
//! A bare pair of ends; or a network of named nodes whose links can be cut, delayed, stalled and lost. Does not know who uses a link.

mod backplane;
mod link;
mod network;
mod pipe;

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::link::{BoxFuture, Connect, ConnectError, Destination, Link, Peer};
use crate::model::{Error, ErrorKind, Limits};
use pipe::Pipe;

pub use backplane::MemoryBackplane;
pub use network::{Listening, MemoryNetwork, NetworkConnector};
pub use pipe::Lag;

/// Two ends of one link.
#[must_use]
pub fn pair(limits: &Limits) -> (Link, Link) {
    // Without lag nothing is rolled.
    let pipe = || Arc::new(Pipe::new(Lag::default(), StdRng::seed_from_u64(0)));
    let (to_left, to_right) = (pipe(), pipe());
    let peer = || Peer { transport: "memory", ..Peer::default() };
    let left = link::end(Arc::clone(&to_left), Arc::clone(&to_right), limits, peer());
    (left, link::end(to_right, to_left, limits, peer()))
}

/// Takes the far end of a fresh link; false once nobody wants links any more.
pub type Take = Arc<dyn Fn(Link) -> bool + Send + Sync>;

/// Dials whoever takes links in the same process, with nothing between them that could fail.
#[derive(Clone)]
pub struct MemoryConnector {
    take: Take,
    limits: Limits,
}

impl MemoryConnector {
    /// Every attempt makes a new link and hands its far end to `take`.
    #[must_use]
    pub fn new(take: Take, limits: Limits) -> Self {
        Self { take, limits }
    }
}

impl Connect for MemoryConnector {
    fn connect(&self, _to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
        let (ours, theirs) = pair(&self.limits);
        let is_taken = (self.take)(theirs);
        Box::pin(async move {
            let error = Error::new(ErrorKind::Connect, "the hub is closed");
            if is_taken { Ok(ours) } else { Err(ConnectError { error, is_terminal: false }) }
        })
    }
}
