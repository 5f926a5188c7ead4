//! Takes connections of one protocol for a hub, and calls spokes that wait for it: asks who may come in, waits for the stream, gives a link.
//! Does not listen; the endpoint does.
//!
//! Invariant: who is refused is told why by the close code, before any stream of it is accepted.

use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::{Connection, ConnectionError, VarInt};
use iroh::{EndpointAddr, EndpointId};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::connect::{DialConfig, IrohConnector, Speaks};
use super::endpoint::{Door, IrohEndpoint, Registered};
use super::ledger::Ledger;
use super::link::{self, Parts};
use super::{alpns, called};
use crate::link::{Accept, BoxFuture, Refusal};
use crate::model::{CloseCode, CloseReason, Error, ErrorKind};
use crate::trace;

/// What is accepted, and for whom.
#[derive(Debug, Clone)]
pub struct AcceptConfig {
    /// The protocol for plain peers; `+hello` is appended for native ones.
    pub alpn: String,
    /// Let everybody in who reaches the endpoint.
    pub anyone: bool,
    /// Whoever takes the links asks who may come in.
    pub is_guarded: bool,
    /// Bytes of one message.
    pub max_message: usize,
    /// Bytes that may wait of all links together before they are taken, beyond the first credit of each.
    pub max_inbound: usize,
    /// From the connection to its stream.
    pub handshake: Duration,
    /// Connections that wait to be let in at once; one more is closed.
    pub max_waiting: usize,
}

/// Accepting, until this is dropped.
pub struct Acceptance {
    _registered: Registered,
    porter: Arc<Porter>,
}

impl Acceptance {
    /// Calls spokes for the same hub, also after this was dropped.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller { porter: Arc::clone(&self.porter) }
    }
}

/// Calls spokes that wait for their hub. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    porter: Arc<Porter>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl Caller {
    /// Makes one attempt, at the addresses that are given or known; the link is the hub's when it is done. The spoke is asked about like one that came by itself.
    ///
    /// # Errors
    /// As when a spoke dials: `Connect`, `Handshake`, `Tls`, `Forbidden`, `TimedOut`, `Closed`; what the hub itself refuses, as the peer
    /// is told it.
    pub async fn call(&self, to: EndpointAddr) -> Result<(), Error> {
        let Porter { config, endpoint, .. } = &*self.porter;
        let id = to.id;
        endpoint.know(to);
        let alpn = called(&config.alpn);
        let dial = DialConfig { hub: id, alpn: alpn.clone(), speaks: Speaks::Both, max_message: config.max_message };
        let connector = IrohConnector::new(endpoint.clone(), dial).called("the spoke");
        let connection = timeout(config.handshake, connector.connection()).await;
        let connection = connection.map_err(|_| unanswered(&id))?.map_err(|failed| failed.error)?;
        match self.porter.let_in(&connection, &alpn).await {
            Ok(come) => come.map_err(|error| connector.lost(&error).error),
            Err(reason) => {
                link::close(&connection, &reason);
                Err(turned_away(&reason))
            }
        }
    }
}

fn unanswered(id: &EndpointId) -> Error {
    Error::new(ErrorKind::TimedOut, format!("{id} does not answer"))
}

fn turned_away(reason: &CloseReason) -> Error {
    let kind = match reason.code {
        CloseCode::REFUSED => ErrorKind::Forbidden,
        CloseCode::NOT_IDENTIFIED => ErrorKind::NotIdentified,
        CloseCode::TIMED_OUT => ErrorKind::TimedOut,
        _ => ErrorKind::Refused,
    };
    Error::new(kind, format!("this hub turned the spoke away with code {}: {}", reason.code.0, reason.reason))
}

impl std::fmt::Debug for Acceptance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptance").finish_non_exhaustive()
    }
}

impl IrohEndpoint {
    /// Begins to take connections of a protocol.
    ///
    /// # Errors
    /// `NoAuthorize` when others than this machine reach the endpoint and nobody would be asked who they are, `Listen` when the protocol is
    /// taken, `Closed`.
    pub fn take_for(&self, config: AcceptConfig, acceptor: Arc<dyn Accept>) -> Result<Acceptance, Error> {
        if !config.anyone && !config.is_guarded && !self.is_loopback() && !self.is_guarded() {
            let message = "the endpoint can be reached from other machines and nobody would be asked who they are: give authorize, bind it to 127.0.0.1, let in a list of ids, or say anyone: true";
            return Err(Error::new(ErrorKind::NoAuthorize, message));
        }
        let names = alpns(&config.alpn);
        let ledger = Ledger::new(config.max_inbound);
        let waiting = Semaphore::new(config.max_waiting.min(Semaphore::MAX_PERMITS));
        let porter = Arc::new(Porter { config, acceptor, endpoint: self.clone(), ledger, waiting });
        let receiving = Arc::clone(&porter);
        let door: Door = Arc::new(move |connection| -> BoxFuture<()> {
            let porter = Arc::clone(&receiving);
            Box::pin(async move { porter.receive(connection).await })
        });
        Ok(Acceptance { _registered: self.register(&names, &door)?, porter })
    }
}

struct Porter {
    config: AcceptConfig,
    acceptor: Arc<dyn Accept>,
    endpoint: IrohEndpoint,
    ledger: Ledger,
    waiting: Semaphore,
}

impl Porter {
    async fn receive(&self, connection: Connection) {
        if let Err(reason) = self.let_in(&connection, &self.config.alpn).await {
            debug!(target: trace::IROH, id = %connection.remote_id().fmt_short(), code = reason.code.0, why = reason.reason, "refused");
            link::close(&connection, &reason);
        }
    }

    /// What is to be told to a peer that is not let in; within it, why one that was has gone before its stream came.
    async fn let_in(&self, connection: &Connection, alpn: &str) -> Result<Result<(), ConnectionError>, CloseReason> {
        let deadline = Instant::now() + self.config.handshake;
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(1));
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(0));
        let Some(_place) = self.waiting.try_acquire().ok().filter(|_| self.acceptor.has_room()) else {
            return Err(no_room());
        };
        let asked = tokio::select! {
            asked = timeout_at(deadline, self.acceptor.authorize(link::peer_of(connection))) => asked,
            error = connection.closed() => return Ok(Err(error)),
        };
        let admission = asked.map_err(|_| late())?.map_err(refused)?;
        // Others may have come in while that was decided.
        if !self.acceptor.has_room() {
            return Err(no_room());
        }
        let stream = timeout_at(deadline, connection.accept_bi()).await.map_err(|_| late())?;
        let (send, recv) = match stream {
            Ok(halves) => halves,
            Err(error) => return Ok(Err(error)),
        };
        let is_native = connection.alpn() != alpn.as_bytes();
        let link = link::make(Parts {
            endpoint: self.endpoint.clone(),
            connection: connection.clone(),
            send,
            recv,
            is_native,
            is_opener: false,
            max_message: self.config.max_message,
            claim: self.ledger.open(),
        });
        if self.acceptor.take(link, admission) {
            Ok(Ok(()))
        } else {
            Err(CloseReason::new(CloseCode::GOING_AWAY, "the hub is closed"))
        }
    }
}

fn no_room() -> CloseReason {
    CloseReason::new(CloseCode::TOO_SLOW, "too many connections")
}

fn late() -> CloseReason {
    CloseReason::new(CloseCode::TIMED_OUT, "not admitted in time")
}

fn refused(refusal: Refusal) -> CloseReason {
    match refusal {
        Refusal::NotIdentified => CloseReason::new(CloseCode::NOT_IDENTIFIED, "the hub does not know who you are"),
        Refusal::Forbidden => CloseReason::new(CloseCode::REFUSED, "the hub does not let you in"),
        Refusal::Unavailable => {
            CloseReason::new(CloseCode::INTERNAL, "the hub cannot decide now whether you may come in")
        }
    }
}
