//! Listens and gives links. Does not know what becomes of them; who is upgraded is decided in `upgrade.rs`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsAcceptor;

use super::head::HeadError;
use super::tcp;
use super::tls::{self, ServerTls};
use super::upgrade::{Arrival, LocalEnd, Upgraded};
use crate::link::{Accept, Link};
use crate::model::{Error, ErrorKind, Limits};
use crate::transport::stream::{StreamReader, StreamWriter};
use crate::wire::frame::Framing;

/// Connections the kernel may hold for us. Source: what Linux allows by default since 5.4.
const BACKLOG: u32 = 4096;
/// How long a client that was too slow may take to hear so. Source: none, a guess.
pub(super) const REFUSAL_GRACE: Duration = Duration::from_secs(1);
/// First and largest pause after accepting failed. Source: none, guesses.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Where to listen and whom to let in.
#[derive(Debug, Clone, Default)]
pub struct ListenConfig {
    /// A name or address.
    pub host: String,
    /// Zero: any free port.
    pub port: u16,
    /// The only path that is served; all of them if `None`.
    pub path: Option<String>,
    /// Share the port with other processes (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Speak TLS.
    pub tls: Option<ServerTls>,
    /// Let everybody in who reaches an address that is not loopback.
    pub anyone: bool,
    /// Whoever takes the links asks who may come in.
    pub is_guarded: bool,
    /// Further names that `Host` may have when bound to loopback.
    pub allowed_hosts: Vec<String>,
    /// Further origins whose pages may connect.
    pub allowed_origins: Vec<String>,
    /// Bounds of messages and time.
    pub limits: Limits,
}

/// A bound socket that does not accept yet.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    config: ListenConfig,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Binds.
///
/// # Errors
/// `Listen` when the address cannot be had, `NoAuthorize` when it is not loopback and `anyone` is not set, `InvalidOption` for TLS texts that cannot be used.
pub async fn bind(config: ListenConfig) -> Result<Bound, Error> {
    let tls = config.tls.as_ref().map(ServerTls::acceptor).transpose()?;
    let place = format!("{}:{}", config.host, config.port);
    let failed = |error: io::Error| Error::with_source(ErrorKind::Listen, format!("cannot listen on {place}"), error);
    let address = lookup_host((config.host.as_str(), config.port)).await.map_err(failed)?.next();
    let address = address.ok_or_else(|| Error::new(ErrorKind::Listen, format!("{place} has no address")))?;
    if !config.anyone && !config.is_guarded && !address.ip().is_loopback() {
        let message = format!(
            "{place} can be reached from other machines and nobody would be asked who they are: give authorize, listen on 127.0.0.1, or say anyone: true"
        );
        return Err(Error::new(ErrorKind::NoAuthorize, message));
    }
    let listener = listen(address, config.reuse_port).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound { listener, address, tls, config })
}

fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    {
        // A restarted hub gets its port back at once.
        socket.set_reuseaddr(true)?;
        if reuse_port {
            socket.set_reuseport(true)?;
        }
    }
    #[cfg(not(unix))]
    if reuse_port {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "reusePort is not available on this system"));
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Bound {
    /// The socket's own address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients of this machine connect.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let host = match self.address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("{scheme}://{host}:{}{}", self.address.port(), self.config.path.as_deref().unwrap_or("/"))
    }

    /// Accepts until the task is aborted.
    pub async fn serve(self, acceptor: Arc<dyn Accept>) {
        let at = LocalEnd::Address(self.address.ip());
        let tls = self.tls;
        let server = Server::new(self.config, acceptor);
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            server.acceptor.room().await;
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    pause = ACCEPT_PAUSE.0;
                    Server::admit(&server, stream, from, at, tls.clone());
                }
                // The peer was gone before we came to it.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    let message =
                        "cannot accept connections for now, trying again; raise the limit of open files if it lasts";
                    server.acceptor.report(Error::with_source(ErrorKind::OutOfDescriptors, message, error));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                }
            }
        }
    }
}

pub(super) struct Server {
    pub(super) config: ListenConfig,
    pub(super) acceptor: Arc<dyn Accept>,
    handshakes: AtomicUsize,
    /// That it can be reached by too many was told.
    pub(super) has_warned: AtomicBool,
}

/// A handshake's place among those that may be under way; given back however it ends.
pub(super) struct Place(Arc<Server>);

impl Place {
    /// A handshake's whole life: a task of its own that ends with it.
    pub(super) async fn handshake<F>(self, work: impl FnOnce(Arc<Server>) -> F)
    where
        F: Future<Output = Result<(), HeadError>>,
    {
        let patience = self.0.config.limits.handshake + REFUSAL_GRACE;
        // A handshake that fails concerns nobody but its client, which was told or is gone.
        let _refused = tokio::time::timeout(patience, work(Arc::clone(&self.0))).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            self.0
                .acceptor
                .report(Error::new(ErrorKind::Internal, "a handshake failed because of a defect of the hub"));
        }
    }
}

/// Said to a client whose handshake would be one too many. It was not read, so it may be lost on the way.
pub(super) const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

impl Server {
    pub(super) fn new(config: ListenConfig, acceptor: Arc<dyn Accept>) -> Arc<Self> {
        let (handshakes, has_warned) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { config, acceptor, handshakes, has_warned })
    }

    /// Nothing when as many handshakes are under way as there may be connections: nobody is served by one more.
    pub(super) fn place(server: &Arc<Self>) -> Option<Place> {
        if server.handshakes.load(Ordering::Relaxed) >= server.config.limits.max_connections {
            return None;
        }
        server.handshakes.fetch_add(1, Ordering::Relaxed);
        Some(Place(Arc::clone(server)))
    }

    fn admit(server: &Arc<Self>, stream: TcpStream, from: SocketAddr, at: LocalEnd, tls: Option<TlsAcceptor>) {
        let Some(place) = Self::place(server) else {
            let _too_late = tls.is_none().then(|| stream.try_write(TOO_MANY));
            return;
        };
        let arrival = Arrival { from: Some(from), at, identity: None, given: Vec::new() };
        tokio::spawn(place.handshake(|server| async move { server.accept(stream, arrival, tls).await }));
    }

    async fn accept(&self, stream: TcpStream, arrival: Arrival, tls: Option<TlsAcceptor>) -> Result<(), HeadError> {
        tcp::prepare(&SockRef::from(&stream))?;
        let Some(tls) = tls else { return self.receive(stream, arrival, TcpStream::into_split).await };
        let stream = tls.accept(stream).await?;
        let identity = tls::client_identity(&stream);
        self.receive(stream, Arrival { identity, ..arrival }, tokio::io::split).await
    }

    /// Makes a link of a connection, if its request is granted.
    pub(super) async fn receive<S, R, W>(
        &self,
        mut stream: S,
        arrival: Arrival,
        split: impl FnOnce(S) -> (R, W),
    ) -> Result<(), HeadError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(upgraded) = self.upgrade(&mut stream, arrival).await? {
            let (read, write) = split(stream);
            self.give(read, write, upgraded);
        }
        Ok(())
    }

    fn give<R, W>(&self, read: R, write: W, upgraded: Upgraded)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let framing = Framing::WebSocketServer;
        let decoder = framing.peer_decoder(self.config.limits.max_message_bytes);
        let Upgraded { peer, early, admission } = upgraded;
        let link = Link {
            reader: Box::new(StreamReader::new(read, decoder, early)),
            writer: Box::new(StreamWriter::new(write)),
            framing,
            peer,
            is_native: None,
            features: &[],
        };
        self.acceptor.take(link, admission);
    }
}
