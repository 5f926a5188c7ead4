//! The port that transports fill: a *link* is one framed duplex connection to one peer. Does not know hubs, spokes or topics. Transports
//! that know topics fill the other ports, `link/medium.rs`, `link/backplane.rs` and `link/overlay.rs`.
//!
//! A link is two halves. The read half is polled and hands over everything that one read brought. The write half is tried: whoever writes
//! keeps what is refused.

pub mod backplane;
pub mod medium;
pub mod overlay;

use std::future::Future;
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::model::{CloseCode, Error, Grants};
use crate::wire::frame::{FrameError, Framing, Item};

/// One connection, fresh from its handshake.
pub struct Link {
    /// What the peer sends.
    pub reader: Box<dyn LinkRead>,
    /// What is sent to the peer.
    pub writer: Box<dyn LinkWrite>,
    /// How this side frames its messages.
    pub framing: Framing,
    /// What is known of the peer.
    pub peer: Peer,
    /// What the handshake said of the peer: native, plain, or nothing.
    pub is_native: Option<bool>,
    /// What this link can do besides, for the hello.
    pub features: &'static [&'static str],
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("framing", &self.framing)
            .field("transport", &self.peer.transport)
            .finish_non_exhaustive()
    }
}

/// What a transport knows of a peer when its link is made.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// `websocket`, `memory`, …
    pub transport: &'static str,
    /// The socket's other end.
    pub remote_address: Option<SocketAddr>,
    /// Path and query of the request.
    pub url: Option<String>,
    /// Header lines of the request, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Subprotocols that the peer offers.
    pub protocols: Vec<String>,
    /// Who the transport has proven the peer to be, with the authority that says so: `tls:SHA256:…`.
    pub identity: Option<String>,
}

/// Why a link cannot be read any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The transport failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer broke the rules of the wire.
    #[error("{0}")]
    Frame(#[from] FrameError),
}

/// Whether a link has more to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// There may be more.
    More,
    /// The peer has ended its side.
    Ended,
}

/// The read half.
pub trait LinkRead: Send {
    /// Reads once and hands every item of it to `sink`. Cancel safe: what was read was handed over.
    fn poll_read(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(Item<'_>)) -> Poll<Result<Read, LinkError>>;

    /// Bytes kept of messages that are not complete.
    fn held_bytes(&self) -> usize;

    /// Until when everything that the peer had sent of events was surely read, in milliseconds since 1970, where the link knows. Without it:
    /// when the last byte came.
    fn heard_ms(&self) -> Option<u64> {
        None
    }
}

/// The write half.
pub trait LinkWrite: Send {
    /// Takes what it can of whole and partial frames, in order.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Pushes on what `poll_write` took, where the transport keeps bytes of its own. Where every event is answered: ready when all are.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends this side. The code is for transports that carry one outside of frames.
    fn poll_close(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &str) -> Poll<io::Result<()>>;
}

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where to connect and what to say there, asked anew before each attempt.
#[derive(Debug, Clone, Default)]
pub struct Destination {
    /// A transport's address, such as `ws://host:port/path`.
    pub url: String,
    /// Header lines of the request.
    pub headers: Vec<(String, String)>,
}

/// An attempt that failed.
#[derive(Debug)]
pub struct ConnectError {
    /// What went wrong.
    pub error: Error,
    /// True when trying again cannot help.
    pub is_terminal: bool,
}

/// Makes links to one destination.
pub trait Connect: Send + Sync + 'static {
    /// Makes one attempt. Dropping the future gives it up.
    fn connect(&self, to: Destination) -> BoxFuture<Result<Link, ConnectError>>;

    /// True where the other end decides when there is a link: waiting for it has no limit, and no delay comes before it.
    fn is_called(&self) -> bool {
        false
    }

    /// The same to the same place, over whose links nobody hears what was published with this origin; nothing where the other end is no bus
    /// or cannot be used so.
    fn marking(&self, origin: &str) -> Option<Arc<dyn Connect>> {
        let _unmarked = origin;
        None
    }
}

/// Why a peer is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody knows who it is: 4401, HTTP 401.
    NotIdentified,
    /// It is known, or of no interest who it is, and may not: 4403, HTTP 403.
    Forbidden,
    /// Whoever decides cannot decide now: 1013, HTTP 503.
    Unavailable,
}

/// What a peer was let in with. Given back unused, whoever let it in hears of that.
pub struct Admission {
    grants: Grants,
    ticket: u32,
    unused: Option<Box<dyn FnOnce(u32) + Send>>,
}

impl Admission {
    /// Lets a peer in that nobody needs to be asked about.
    #[must_use]
    pub fn free(grants: Grants) -> Self {
        Self { grants, ticket: 0, unused: None }
    }

    /// Lets a peer in under a ticket, by which whoever was asked finds again what it said.
    pub fn with_ticket(grants: Grants, ticket: u32, unused: impl FnOnce(u32) + Send + 'static) -> Self {
        Self { grants, ticket, unused: Some(Box::new(unused)) }
    }

    /// The peer is in.
    #[must_use]
    pub fn redeem(mut self) -> (Grants, u32) {
        self.unused = None;
        let grants = std::mem::replace(&mut self.grants, Grants::everything(None));
        (grants, self.ticket)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(unused) = self.unused.take() {
            unused(self.ticket);
        }
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// Whoever takes links: what transports ask and tell when peers come. Hubs are.
pub trait Accept: Send + Sync + 'static {
    /// Ready when one more connection may be announced to the application; until then the system holds them.
    fn room(&self) -> BoxFuture<()>;

    /// False: one more connection is too many.
    fn has_room(&self) -> bool;

    /// Whether a peer may come in, and what it may do then. Dropping the future takes the question back.
    fn authorize(&self, peer: Peer) -> BoxFuture<Result<Admission, Refusal>>;

    /// Takes a fresh link; false once nobody wants links any more.
    fn take(&self, link: Link, admission: Admission) -> bool;

    /// Hears of errors that accepting survives.
    fn report(&self, error: Error);
}
