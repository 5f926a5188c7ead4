//! Connections, streams and datagrams of the application itself, through the endpoint that hubs and spokes use. Does not frame anything.
//!
//! Invariants: whatever is held here holds the endpoint; connections that nobody takes are bounded, one more is refused with 1013.

use std::sync::Arc;

use bytes::Bytes;
use iroh::EndpointId;
use iroh::endpoint::{Connection, ConnectionError, ReadExactError, ReadToEndError, RecvStream, SendStream, VarInt};
use tokio::sync::{Mutex, mpsc};

use super::connect::{DialConfig, IrohConnector, Speaks};
use super::endpoint::{Door, IrohEndpoint, Registered};
use super::link;
use crate::link::BoxFuture;
use crate::model::{CloseCode, CloseReason, Error, ErrorKind};

/// Connections that wait for `accept`. Source: none, a guess.
const MAX_ARRIVALS: usize = 128;

/// A connection of the application. Cheap to clone; it lives until it is closed, or nothing refers to it or to its streams.
#[derive(Debug, Clone)]
pub struct IrohConnection {
    connection: Connection,
    endpoint: IrohEndpoint,
}

/// The sending half of a stream.
#[derive(Debug, Clone)]
pub struct IrohSend {
    stream: Arc<Mutex<SendStream>>,
    _connection: IrohConnection,
}

/// The receiving half of a stream.
#[derive(Debug, Clone)]
pub struct IrohRecv {
    stream: Arc<Mutex<RecvStream>>,
    _connection: IrohConnection,
}

/// Connections that came in for the application.
pub struct Arrivals {
    _registered: Registered,
    connections: Mutex<mpsc::Receiver<IrohConnection>>,
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
        let connection = IrohConnector::new(self.clone(), dial).connection().await.map_err(|failed| failed.error)?;
        Ok(IrohConnection { connection, endpoint: self.clone() })
    }

    /// Begins to take connections of protocols of the application's.
    ///
    /// # Errors
    /// `Listen` when one of them is taken, `Closed`.
    pub fn arrivals(&self, alpns: &[String]) -> Result<Arrivals, Error> {
        let (sender, receiver) = mpsc::channel(MAX_ARRIVALS);
        let endpoint = self.clone();
        let door: Door = Arc::new(move |connection| -> BoxFuture<()> {
            let arrival = IrohConnection { connection, endpoint: endpoint.clone() };
            if let Err(refused) = sender.try_send(arrival) {
                let reason = CloseReason::new(CloseCode::TOO_SLOW, "too many connections wait to be accepted");
                link::close(&refused.into_inner().connection, &reason);
            }
            Box::pin(async {})
        });
        let alpns: Vec<_> = alpns.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        Ok(Arrivals { _registered: self.register(&alpns, &door)?, connections: Mutex::new(receiver) })
    }
}

impl Arrivals {
    /// The next one; `None` once the endpoint is closed. Cancel safe.
    pub async fn next(&self) -> Option<IrohConnection> {
        self.connections.lock().await.recv().await
    }
}

impl IrohConnection {
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
        self.connection.open_bi().await.map(|halves| self.halves(halves)).map_err(|error| lost(&error))
    }

    /// Waits for a stream of the peer's. Cancel safe.
    ///
    /// # Errors
    /// `ConnectionLost`.
    pub async fn accept_bi(&self) -> Result<(IrohSend, IrohRecv), Error> {
        self.connection.accept_bi().await.map(|halves| self.halves(halves)).map_err(|error| lost(&error))
    }

    fn halves(&self, (send, recv): (SendStream, RecvStream)) -> (IrohSend, IrohRecv) {
        let send = IrohSend { stream: Arc::new(Mutex::new(send)), _connection: self.clone() };
        (send, IrohRecv { stream: Arc::new(Mutex::new(recv)), _connection: self.clone() })
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

    /// Closes the connection at once: what was not delivered is lost.
    pub fn close(&self, code: u32, reason: &str) {
        self.connection.close(VarInt::from_u32(code), reason.as_bytes());
    }

    /// How the connection ended: code and reason of the peer's application, if it gave them.
    pub async fn closed(&self) -> (Option<u64>, String) {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(close) => {
                (Some(close.error_code.into_inner()), String::from_utf8_lossy(&close.reason).into_owned())
            }
            other => (None, other.to_string()),
        }
    }

    /// True while the endpoint can carry it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none() && !self.endpoint.is_closed()
    }
}

impl IrohSend {
    /// Sends all of it. Given up before it is done, a part may have been sent.
    ///
    /// # Errors
    /// `ConnectionLost`; the peer may have stopped the stream.
    pub async fn write_all(&self, bytes: Bytes) -> Result<(), Error> {
        let written = self.stream.lock().await.write_chunk(bytes).await;
        written.map_err(|error| Error::new(ErrorKind::ConnectionLost, error.to_string()))
    }

    /// Ends the stream and waits until the peer has got all of it.
    ///
    /// # Errors
    /// `ConnectionLost`.
    pub async fn finish(&self) -> Result<(), Error> {
        let mut stream = self.stream.lock().await;
        let _ended_before = stream.finish();
        let stopped = stream.stopped();
        drop(stream);
        stopped.await.map(|_| ()).map_err(|error| Error::new(ErrorKind::ConnectionLost, error.to_string()))
    }
}

impl IrohRecv {
    /// Exactly so many bytes. Given up before it is done, what had come is lost.
    ///
    /// # Errors
    /// `StreamEnded` when fewer came, `ConnectionLost`.
    pub async fn read_exact(&self, count: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; count];
        match self.stream.lock().await.read_exact(&mut bytes).await {
            Ok(()) => Ok(bytes),
            Err(ReadExactError::FinishedEarly(came)) => {
                Err(Error::new(ErrorKind::StreamEnded, format!("the stream ended after {came} of {count} bytes")))
            }
            Err(ReadExactError::ReadError(error)) => Err(Error::new(ErrorKind::ConnectionLost, error.to_string())),
        }
    }

    /// What comes next, at most so many bytes; `None` at the end of the stream. Cancel safe.
    ///
    /// # Errors
    /// `ConnectionLost`.
    pub async fn read(&self, max: usize) -> Result<Option<Bytes>, Error> {
        let read = self.stream.lock().await.read_chunk(max).await;
        read.map_err(|error| Error::new(ErrorKind::ConnectionLost, error.to_string()))
    }

    /// Everything up to the end of the stream.
    ///
    /// # Errors
    /// `MessageTooLarge` when more than `max` bytes come, `ConnectionLost`.
    pub async fn read_to_end(&self, max: usize) -> Result<Vec<u8>, Error> {
        self.stream.lock().await.read_to_end(max).await.map_err(|error| match error {
            ReadToEndError::TooLong => Error::new(ErrorKind::MessageTooLarge, format!("more than {max} bytes came")),
            ReadToEndError::Read(error) => Error::new(ErrorKind::ConnectionLost, error.to_string()),
        })
    }
}

fn lost(error: &ConnectionError) -> Error {
    Error::new(ErrorKind::ConnectionLost, error.to_string())
}
