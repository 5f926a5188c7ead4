//! Connections and datagrams of the application itself, through the endpoint that hubs and spokes use. Does not frame anything.
//!
//! Invariants: a connection lives until one of its ends closes it, or its endpoint, whatever becomes of the handles to it; connections
//! that nobody takes are bounded, one more is refused with 1013.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use iroh::EndpointId;
use iroh::endpoint::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::Notify;

use super::connect::{DialConfig, IrohConnector, Speaks};
use super::endpoint::{Door, IrohEndpoint, Registered};
use super::halves::{IrohRecv, IrohSend};
use super::link;
use crate::link::BoxFuture;
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason, Error, ErrorKind};

/// Connections that wait for `accept`. Source: none, a guess.
const MAX_ARRIVALS: usize = 128;
/// Bytes of a close reason. Source: the smallest packet of QUIC has 1200 bytes, and the engine of this version panics when it has to cut a reason
/// whose code takes more than two bytes; acknowledgements may stand in the same packet.
const MAX_REASON: usize = 512;
/// What the QUIC engine holds of all streams of a connection that the application has: as many as the peer may open, 200 of 256 KiB,
/// so that one that is not read stands in no other's way.
const WINDOW: u32 = 50 << 20;
/// Streams that the peer alone writes, open at once. Source: what QUIC engines take when nothing is said.
const STREAMS: u32 = 100;

/// A connection of the application. Cheap to clone.
#[derive(Debug, Clone)]
pub struct IrohConnection {
    connection: Connection,
    endpoint: IrohEndpoint,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// The code that the peer's application gave, if it did.
    pub code: Option<u64>,
    /// Its reason, or what happened.
    pub reason: String,
}

impl From<ConnectionError> for ConnectionEnd {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self {
                code: Some(close.error_code.into_inner()),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            ConnectionError::LocallyClosed => Self { code: None, reason: "this end has closed it".into() },
            other => Self { code: None, reason: other.to_string() },
        }
    }
}

/// Connections that came in for the application.
pub struct Arrivals {
    _registered: Registered,
    queue: Arc<Queue>,
}

/// Connections that nobody has accepted.
#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    connections: VecDeque<IrohConnection>,
    /// No more will come.
    is_over: bool,
}

/// The door's end of a queue.
struct Inlet(Arc<Queue>);

impl Drop for Inlet {
    fn drop(&mut self) {
        lock(&self.0.state).is_over = true;
        self.0.changed.notify_waiters();
    }
}

impl Inlet {
    /// Takes a connection unless too many wait that live. Those that came and went stand in nobody's way.
    fn put(&self, arrival: IrohConnection) -> Result<(), IrohConnection> {
        let mut waiting = lock(&self.0.state);
        if waiting.connections.len() >= MAX_ARRIVALS {
            waiting.connections.retain(|connection| connection.close_reason().is_none());
        }
        if waiting.connections.len() >= MAX_ARRIVALS {
            return Err(arrival);
        }
        waiting.connections.push_back(arrival);
        drop(waiting);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl std::fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrivals").finish_non_exhaustive()
    }
}

impl IrohEndpoint {
    /// Connects to an endpoint by a protocol of the application's.
    ///
    /// # Errors
    /// As for links: `Connect`, `Handshake`, `Tls`, `Forbidden`, `TimedOut`, `Closed`.
    pub async fn connect(&self, id: EndpointId, alpn: String) -> Result<IrohConnection, Error> {
        let dial = DialConfig { hub: id, alpn, speaks: Speaks::Plain, max_message: 0 };
        let connector = IrohConnector::new(self.clone(), dial).called("the peer");
        let connection = connector.connection().await.map_err(|failed| failed.error)?;
        Ok(IrohConnection::kept(connection, self.clone()).in_use())
    }

    /// Begins to take connections of protocols of the application's.
    ///
    /// # Errors
    /// `Listen` when one of them is taken, `Closed`.
    pub fn arrivals(&self, alpns: &[String]) -> Result<Arrivals, Error> {
        let queue = Arc::new(Queue::default());
        let inlet = Inlet(Arc::clone(&queue));
        let endpoint = self.clone();
        let door: Door = Arc::new(move |connection| -> BoxFuture<()> {
            let arrival = IrohConnection::kept(connection, endpoint.clone());
            if let Err(refused) = inlet.put(arrival) {
                let reason = CloseReason::new(CloseCode::TOO_SLOW, "too many connections wait to be accepted");
                link::close(&refused.connection, &reason);
            }
            Box::pin(async {})
        });
        let alpns: Vec<_> = alpns.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        Ok(Arrivals { _registered: self.register(&alpns, &door)?, queue })
    }
}

impl Arrivals {
    /// The next one that lives; `None` once the endpoint is closed. Cancel safe.
    pub async fn next(&self) -> Option<IrohConnection> {
        loop {
            let changed = self.queue.changed.notified();
            {
                let mut waiting = lock(&self.queue.state);
                while let Some(connection) = waiting.connections.pop_front() {
                    if connection.close_reason().is_none() {
                        return Some(connection.in_use());
                    }
                }
                if waiting.is_over {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl IrohConnection {
    /// Must be called within a runtime. A handle may be forgotten, or collected in JavaScript: that ends no connection.
    fn kept(connection: Connection, endpoint: IrohEndpoint) -> Self {
        let kept = Self { connection, endpoint };
        let keeper = kept.clone();
        tokio::spawn(async move { keeper.connection.closed().await });
        kept
    }

    /// The application has it: whoever is at its other end may send more than a stranger.
    fn in_use(self) -> Self {
        self.connection.set_receive_window(VarInt::from_u32(WINDOW));
        self.connection.set_max_concurrent_uni_streams(VarInt::from_u32(STREAMS));
        self
    }

    pub(super) fn quic(&self) -> &Connection {
        &self.connection
    }

    /// Who is at the other end.
    #[must_use]
    pub fn remote_id(&self) -> EndpointId {
        self.connection.remote_id()
    }

    /// The protocol.
    #[must_use]
    pub fn alpn(&self) -> String {
        String::from_utf8_lossy(self.connection.alpn()).into_owned()
    }

    /// Opens a stream both ways. The peer hears of it with the first byte.
    ///
    /// # Errors
    /// `ConnectionLost`.
    pub async fn open_bi(&self) -> Result<(IrohSend, IrohRecv), Error> {
        let opened = self.connection.open_bi().await;
        opened.map(|(send, recv)| self.halves(send, recv)).map_err(|error| lost(&error))
    }

    /// Waits for a stream of the peer's. Cancel safe.
    ///
    /// # Errors
    /// `ConnectionLost`.
    pub async fn accept_bi(&self) -> Result<(IrohSend, IrohRecv), Error> {
        let accepted = self.connection.accept_bi().await;
        accepted.map(|(send, recv)| self.halves(send, recv)).map_err(|error| lost(&error))
    }

    fn halves(&self, send: SendStream, recv: RecvStream) -> (IrohSend, IrohRecv) {
        (IrohSend::new(send, self.clone()), IrohRecv::new(recv, self.clone()))
    }

    /// Opens a stream that this side alone writes. The peer hears of it with the first byte.
    ///
    /// # Errors
    /// `ConnectionLost`.
    pub async fn open_uni(&self) -> Result<IrohSend, Error> {
        let opened = self.connection.open_uni().await;
        opened.map(|send| IrohSend::new(send, self.clone())).map_err(|error| lost(&error))
    }

    /// Waits for a stream that the peer alone writes. Cancel safe.
    ///
    /// # Errors
    /// `ConnectionLost`.
    pub async fn accept_uni(&self) -> Result<IrohRecv, Error> {
        let accepted = self.connection.accept_uni().await;
        accepted.map(|recv| IrohRecv::new(recv, self.clone())).map_err(|error| lost(&error))
    }

    /// Bytes that a datagram may have at the moment; `None` when the peer takes none.
    #[must_use]
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.connection.max_datagram_size()
    }

    /// Sends bytes that may be lost.
    ///
    /// # Errors
    /// `MessageTooLarge`, `ConnectionLost`.
    pub async fn send_datagram(&self, bytes: Bytes) -> Result<(), Error> {
        let max = self.connection.max_datagram_size().unwrap_or(0);
        if bytes.len() > max {
            let message = format!("a datagram of {} bytes, at most {max} fit at the moment", bytes.len());
            return Err(Error::new(ErrorKind::MessageTooLarge, message));
        }
        let sent = self.connection.send_datagram_wait(bytes).await;
        sent.map_err(|error| Error::new(ErrorKind::ConnectionLost, error.to_string()))
    }

    /// The next datagram. Cancel safe.
    ///
    /// # Errors
    /// `ConnectionLost`.
    pub async fn read_datagram(&self) -> Result<Bytes, Error> {
        self.connection.read_datagram().await.map_err(|error| lost(&error))
    }

    /// Closes the connection at once: what was not delivered is lost, and so is what a reason has beyond 512 bytes.
    pub fn close(&self, code: u32, reason: &str) {
        let fits = reason.floor_char_boundary(MAX_REASON);
        self.connection.close(VarInt::from_u32(code), &reason.as_bytes()[..fits]);
    }

    /// Waits until the connection is over. Cancel safe.
    pub async fn closed(&self) -> ConnectionEnd {
        self.connection.closed().await.into()
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn close_reason(&self) -> Option<ConnectionEnd> {
        self.connection.close_reason().map(ConnectionEnd::from)
    }

    /// True while the endpoint can carry it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none() && !self.endpoint.is_closed()
    }
}

fn lost(error: &ConnectionError) -> Error {
    Error::new(ErrorKind::ConnectionLost, error.to_string())
}
