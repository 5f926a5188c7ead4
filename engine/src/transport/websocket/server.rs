//! Listens, shakes hands, gives links. Does not know what becomes of them.
//!
//! Refusals come before the upgrade: 400 ill-formed, 408 too slow, 431 too large, 404 wrong path, 426 no WebSocket request, 403 foreign
//! origin, 503 no room.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsAcceptor;

use super::head::{self, HeadError};
use super::tls::ServerTls;
use crate::link::{BoxFuture, Link, Peer};
use crate::model::{Error, ErrorKind, Limits};
use crate::transport::stream::{StreamReader, StreamWriter};
use crate::wire::frame::Framing;

/// Connections the kernel may hold for us. Source: what Linux allows by default since 5.4.
const BACKLOG: u32 = 4096;
/// How long a client that was too slow may take to hear so. Source: none, a guess.
const REFUSAL_GRACE: Duration = Duration::from_secs(1);
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
    /// Further names that `Host` may have when bound to loopback.
    pub allowed_hosts: Vec<String>,
    /// Further origins whose pages may connect.
    pub allowed_origins: Vec<String>,
    /// Bounds of messages and time.
    pub limits: Limits,
}

/// What becomes of links. Filled by whoever owns the hub.
#[derive(Clone)]
pub struct Acceptor {
    /// Ready when one more connection may be announced to the application; until then the system holds them.
    pub room: Arc<dyn Fn() -> BoxFuture<()> + Send + Sync>,
    /// False: refuse with 503.
    pub has_room: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Takes a fresh link; false once nobody wants links any more.
    pub take: Arc<dyn Fn(Link) -> bool + Send + Sync>,
    /// Hears of errors that listening survives.
    pub report: Arc<dyn Fn(Error) + Send + Sync>,
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
    if !config.anyone && !address.ip().is_loopback() {
        let message = format!(
            "{place} can be reached from other machines and nobody would be asked who they are: listen on 127.0.0.1, or say anyone: true"
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
    pub async fn serve(self, acceptor: Acceptor) {
        let server = Arc::new(Server {
            is_loopback: self.address.ip().is_loopback(),
            tls: self.tls,
            config: self.config,
            acceptor,
            handshakes: AtomicUsize::new(0),
        });
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            (server.acceptor.room)().await;
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    pause = ACCEPT_PAUSE.0;
                    Server::spawn(&server, stream, from);
                }
                // The peer was gone before we came to it.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    let message =
                        "cannot accept connections for now, trying again; raise the limit of open files if it lasts";
                    (server.acceptor.report)(Error::with_source(ErrorKind::OutOfDescriptors, message, error));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                }
            }
        }
    }
}

struct Server {
    is_loopback: bool,
    tls: Option<TlsAcceptor>,
    config: ListenConfig,
    acceptor: Acceptor,
    handshakes: AtomicUsize,
}

/// A handshake's place among those that may be under way; given back however it ends.
struct Place(Arc<Server>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    /// Each handshake is a task of its own that ends with it.
    fn spawn(server: &Arc<Self>, stream: TcpStream, from: SocketAddr) {
        if server.handshakes.load(Ordering::Relaxed) >= server.config.limits.max_connections {
            // As many half-open connections as there may be connections: nobody is served by one more.
            return;
        }
        server.handshakes.fetch_add(1, Ordering::Relaxed);
        let server = Arc::clone(server);
        let place = Place(Arc::clone(&server));
        tokio::spawn(async move {
            let _place = place;
            let handshake = server.handshake(stream, from);
            // A handshake that fails concerns nobody but its client, which was told or is gone.
            let _refused = tokio::time::timeout(server.config.limits.handshake + REFUSAL_GRACE, handshake).await;
        });
    }

    async fn handshake(&self, stream: TcpStream, from: SocketAddr) -> Result<(), HeadError> {
        stream.set_nodelay(true)?;
        match &self.tls {
            None => {
                let mut stream = stream;
                let Some((peer, early)) = self.shake(&mut stream, from).await? else {
                    return Ok(());
                };
                let (read, write) = stream.into_split();
                self.give(read, write, peer, early);
            }
            Some(tls) => {
                let mut stream = tls.accept(stream).await?;
                let Some((peer, early)) = self.shake(&mut stream, from).await? else {
                    return Ok(());
                };
                let (read, write) = tokio::io::split(stream);
                self.give(read, write, peer, early);
            }
        }
        Ok(())
    }

    fn give<R, W>(&self, read: R, write: W, peer: Peer, early: Vec<u8>)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let framing = Framing::WebSocketServer;
        let decoder = framing.peer_decoder(self.config.limits.max_message_bytes);
        (self.acceptor.take)(Link {
            reader: Box::new(StreamReader::new(read, decoder, early)),
            writer: Box::new(StreamWriter::new(write)),
            framing,
            peer,
        });
    }

    /// Reads the request and answers it; nothing if it was refused.
    async fn shake<S>(&self, io: &mut S, from: SocketAddr) -> Result<Option<(Peer, Vec<u8>)>, HeadError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let parsed = match tokio::time::timeout(self.config.limits.handshake, head::read_head(io)).await {
            Ok(Ok((bytes, early))) => head::parse_request(&bytes).map(|request| (request, early)),
            Ok(Err(error)) => Err(error),
            Err(_) => return refuse(io, StatusCode::REQUEST_TIMEOUT, "no request came in time").await,
        };
        let (request, early) = match parsed {
            Ok(parsed) => parsed,
            Err(HeadError::TooLarge) => {
                return refuse(io, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head too large").await;
            }
            Err(HeadError::Malformed(what)) => return refuse(io, StatusCode::BAD_REQUEST, &what).await,
            Err(error) => return Err(error),
        };
        match self.check(&request) {
            Err((status, why)) => refuse(io, status, why).await,
            Ok(mut answer) => {
                let protocols = head::tokens(request.headers(), "sec-websocket-protocol");
                if let Some(first) = protocols.first().and_then(|first| first.parse().ok()) {
                    answer.headers_mut().insert("sec-websocket-protocol", first);
                }
                write_head(io, &answer).await?;
                Ok(Some((peer_of(&request, from, protocols), early)))
            }
        }
    }

    fn check(&self, request: &Request<()>) -> Result<http::Response<()>, (StatusCode, &'static str)> {
        if self.config.path.as_deref().is_some_and(|path| path != request.uri().path()) {
            return Err((StatusCode::NOT_FOUND, "no such path"));
        }
        let is_upgrade =
            head::tokens(request.headers(), "upgrade").iter().any(|token| token.eq_ignore_ascii_case("websocket"));
        if !is_upgrade {
            return Err((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint"));
        }
        let answer = tungstenite::handshake::server::create_response(request)
            .map_err(|_| (StatusCode::BAD_REQUEST, "not a WebSocket handshake of version 13"))?;
        if !self.is_origin_allowed(request.headers()) {
            return Err((
                StatusCode::FORBIDDEN,
                "pages of this origin may not connect; see allowedOrigins and allowedHosts",
            ));
        }
        if !(self.acceptor.has_room)() {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "too many connections"));
        }
        Ok(answer)
    }

    /// Only browsers send `Origin`. Their pages may connect to the host they came from; on loopback that host must have a loopback name,
    /// so that a foreign name which resolves here (DNS rebinding) does not count as the same host.
    fn is_origin_allowed(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get("origin") else {
            return true;
        };
        let (Ok(origin), Some(Ok(host))) = (origin.to_str(), headers.get("host").map(|host| host.to_str())) else {
            return false;
        };
        if self.config.allowed_origins.iter().any(|allowed| allowed == origin) {
            return true;
        }
        let Some((_, origin_host)) = origin.split_once("://") else {
            return false;
        };
        origin_host.eq_ignore_ascii_case(host) && (!self.is_loopback || self.is_known_loopback(host))
    }

    fn is_known_loopback(&self, host: &str) -> bool {
        let name = host.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase)).unwrap_or_default();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name == "localhost"
            || name.ends_with(".localhost")
            || address.is_ok_and(|ip| ip.is_loopback())
            || self.config.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name))
    }
}

fn peer_of(request: &Request<()>, from: SocketAddr, protocols: Vec<String>) -> Peer {
    let headers = request.headers().iter();
    Peer {
        transport: "websocket",
        remote_address: Some(from),
        url: Some(request.uri().to_string()),
        headers: headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        protocols,
    }
}

async fn refuse<S, T>(io: &mut S, status: StatusCode, why: &str) -> Result<Option<T>, HeadError>
where
    S: AsyncWrite + Unpin,
{
    let upgrade =
        if status == StatusCode::UPGRADE_REQUIRED { "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" } else { "" };
    let answer = format!(
        "HTTP/1.1 {status}\r\n{upgrade}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{why}\n",
        why.len() + 1
    );
    io.write_all(answer.as_bytes()).await?;
    io.shutdown().await?;
    Ok(None)
}

async fn write_head<S: AsyncWrite + Unpin>(io: &mut S, answer: &http::Response<()>) -> Result<(), HeadError> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    io.write_all(&bytes).await?;
    io.flush().await?;
    Ok(())
}
