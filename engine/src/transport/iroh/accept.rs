//! Takes connections of one protocol for a hub: asks who may come in, waits for the stream, gives a link. Does not listen; the endpoint does.
//!
//! Invariant: who is refused is told why by the close code, before any stream of it is accepted.

use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::{Connection, VarInt};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::alpns;
use super::endpoint::{Door, IrohEndpoint, Registered};
use super::link::{self, Parts};
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
    /// From the connection to its stream.
    pub handshake: Duration,
}

/// Accepting, until this is dropped.
pub struct Acceptance {
    _registered: Registered,
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
        let porter = Arc::new(Porter { config, acceptor, endpoint: self.clone() });
        let door: Door = Arc::new(move |connection| -> BoxFuture<()> {
            let porter = Arc::clone(&porter);
            Box::pin(async move { porter.receive(connection).await })
        });
        Ok(Acceptance { _registered: self.register(&names, &door)? })
    }
}

struct Porter {
    config: AcceptConfig,
    acceptor: Arc<dyn Accept>,
    endpoint: IrohEndpoint,
}

impl Porter {
    async fn receive(&self, connection: Connection) {
        if let Err(reason) = self.let_in(&connection).await {
            debug!(target: trace::IROH, id = %connection.remote_id().fmt_short(), code = reason.code.0, why = reason.reason, "refused");
            link::close(&connection, &reason);
        }
    }

    async fn let_in(&self, connection: &Connection) -> Result<(), CloseReason> {
        let deadline = Instant::now() + self.config.handshake;
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(1));
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(0));
        if !self.acceptor.has_room() {
            return Err(no_room());
        }
        let asked = timeout_at(deadline, self.acceptor.authorize(link::peer_of(connection))).await;
        let admission = asked.map_err(|_| late())?.map_err(refused)?;
        // Others may have come in while that was decided.
        if !self.acceptor.has_room() {
            return Err(no_room());
        }
        let stream = timeout_at(deadline, connection.accept_bi()).await.map_err(|_| late())?;
        // Who has gone meanwhile needs no reason.
        let Ok((send, recv)) = stream else { return Ok(()) };
        let is_native = connection.alpn() != self.config.alpn.as_bytes();
        let link = link::make(Parts {
            endpoint: self.endpoint.clone(),
            connection: connection.clone(),
            send,
            recv,
            is_native,
            max_message: self.config.max_message,
        });
        self.acceptor.take(link, admission);
        Ok(())
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
