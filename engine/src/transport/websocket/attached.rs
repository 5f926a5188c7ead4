//! Connections that came in at somebody else's server: upgrade requests that it hands over, and WebSockets that it has made itself.
//!
//! Does not listen. Who is upgraded is decided in `upgrade.rs`, as for a listener of ours.

#[cfg(unix)]
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::debug;

use super::server::{ListenConfig, Server, TOO_MANY};
use super::tcp;
use super::upgrade::{Arrival, Denial, LocalEnd};
use crate::link::{Accept, Link, Peer};
use crate::model::CloseCode;
use crate::trace;
use crate::transport::carried::{CarriedStream, MessageReader, MessageWriter};

/// What somebody else's server knows of a connection.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The other end.
    pub from: Option<SocketAddr>,
    /// This end.
    pub at: LocalEnd,
    /// Who the server has proven it to be.
    pub identity: Option<String>,
}

/// Where connections of other servers come in.
pub struct Doorway {
    server: Arc<Server>,
    runtime: Handle,
}

impl std::fmt::Debug for Doorway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorway").finish_non_exhaustive()
    }
}

impl Doorway {
    /// Of the config, what says who is let in counts.
    #[must_use]
    pub fn new(config: ListenConfig, acceptor: Arc<dyn Accept>, runtime: Handle) -> Self {
        Self { server: Server::new(config, acceptor), runtime }
    }

    /// Takes a connected socket over, with what was read of its request. The descriptor is closed however that ends.
    ///
    /// # Errors
    /// It is no stream of TCP or of the file system.
    #[cfg(unix)]
    pub fn adopt(&self, socket: std::os::fd::OwnedFd, request: Vec<u8>) -> io::Result<()> {
        let socket = socket2::Socket::from(socket);
        let at = check_stream(&socket)?;
        socket.set_nonblocking(true)?;
        let from = canonical(socket.peer_addr()?.as_socket());
        let arrival = Arrival { from, at, identity: None, given: request };
        let Some(place) = Server::place(&self.server) else {
            let _too_late = socket.send(TOO_MANY);
            return Ok(());
        };
        self.runtime.spawn(place.handshake(move |server| async move {
            if at == LocalEnd::Unix {
                let stream = tokio::net::UnixStream::from_std(socket.into())?;
                return server.receive(stream, arrival, tokio::net::UnixStream::into_split).await;
            }
            tcp::prepare(&socket2::SockRef::from(&socket))?;
            let stream = tokio::net::TcpStream::from_std(socket.into())?;
            server.receive(stream, arrival, tokio::net::TcpStream::into_split).await
        }));
        Ok(())
    }

    /// Takes a connection whose bytes are carried, with what was read of its request.
    pub fn carry(&self, mut stream: CarriedStream, visitor: Visitor, request: Vec<u8>) {
        let Visitor { from, at, identity } = visitor;
        let arrival = Arrival { from: canonical(from), at, identity, given: request };
        let Some(place) = Server::place(&self.server) else {
            self.runtime.spawn(async move {
                let _too_late = tokio::io::AsyncWriteExt::write_all(&mut stream, TOO_MANY).await;
            });
            return;
        };
        let work =
            |server: Arc<Server>| async move { server.receive(stream, arrival, CarriedStream::into_split).await };
        self.runtime.spawn(place.handshake(work));
    }

    /// Takes a WebSocket that somebody else has made and reads: only who comes in, and what may be sent, is asked here.
    pub fn welcome(&self, reader: MessageReader, writer: MessageWriter, peer: Peer) {
        let server = Arc::clone(&self.server);
        self.runtime.spawn(async move {
            if !server.acceptor.has_room() {
                return writer.refuse(CloseCode::TOO_SLOW, "too many connections");
            }
            let handshake = server.config.limits.handshake;
            let denial = match timeout(handshake, server.acceptor.authorize(peer.clone())).await {
                Ok(Ok(admission)) => {
                    let framing = MessageWriter::FRAMING;
                    let (reader, writer) = (Box::new(reader), Box::new(writer));
                    let link = Link { reader, writer, framing, peer, is_native: None, features: &[] };
                    server.acceptor.take(link, admission);
                    return;
                }
                Ok(Err(refusal)) => Denial::of(refusal),
                Err(_) => Denial::LATE,
            };
            debug!(target: trace::WEBSOCKET, code = denial.code.0, why = denial.why, "turned away");
            writer.refuse(denial.code, denial.why);
        });
    }
}

/// Our end of a stream socket.
#[cfg(unix)]
fn check_stream(socket: &socket2::Socket) -> io::Result<LocalEnd> {
    if socket.r#type()? != socket2::Type::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream"));
    }
    let address = socket.local_addr()?;
    match address.as_socket() {
        Some(address) => Ok(LocalEnd::Address(address.ip())),
        None if address.is_unix() => Ok(LocalEnd::Unix),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither TCP nor a socket of the file system")),
    }
}

/// Servers that listen on `::` see IPv4 addresses in the dress of IPv6.
fn canonical(address: Option<SocketAddr>) -> Option<SocketAddr> {
    address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
}
