//! Dials a WebSocket server and shakes hands. Does not retry.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response, StatusCode, Uri};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::debug;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::generate_request;
use tungstenite::handshake::derive_accept_key;

use super::head::{self, HeadError};
use super::tcp;
use crate::link::{BoxFuture, Connect, ConnectError, Destination, Link, Peer};
use crate::model::{Error, ErrorKind, Limits};
use crate::trace;
use crate::transport::stream::{StreamReader, StreamWriter};
use crate::transport::tls::{ClientTls, is_certificate_error};
use crate::wire::frame::Framing;

/// How to dial.
#[derive(Debug, Clone, Default)]
pub struct ClientConfig {
    /// Subprotocols to offer.
    pub protocols: Vec<String>,
    /// For `wss:`.
    pub tls: ClientTls,
    /// Bounds of messages and time.
    pub limits: Limits,
}

/// Makes WebSocket links.
#[derive(Debug, Clone)]
pub struct WebSocketConnector {
    config: Arc<ClientConfig>,
}

impl WebSocketConnector {
    /// A connector for any number of attempts.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self { config: Arc::new(config) }
    }
}

impl Connect for WebSocketConnector {
    fn connect(&self, to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
        let config = Arc::clone(&self.config);
        Box::pin(async move { dial(&config, &to).await })
    }
}

async fn dial(config: &ClientConfig, to: &Destination) -> Result<Link, ConnectError> {
    let (uri, host) = parse_url(&to.url).map_err(terminal)?;
    let is_tls = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let (request, key) = request(config, to).map_err(terminal)?;
    debug!(target: trace::WEBSOCKET, host, port, tls = is_tls, "dialing");
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| {
        temporary(Error::with_source(ErrorKind::Connect, format!("cannot connect to {host}:{port}"), error))
    })?;
    let broken =
        |error: std::io::Error| temporary(Error::with_source(ErrorKind::Connect, format!("{host}:{port}"), error));
    tcp::prepare(&SockRef::from(&stream)).map_err(broken)?;
    let remote = stream.peer_addr().ok();
    let peer = Peer { transport: "websocket", remote_address: remote, url: Some(to.url.clone()), ..Peer::default() };
    if !is_tls {
        let mut stream = stream;
        let early = shake(&mut stream, &request, &key, &config.protocols).await?;
        let (read, write) = stream.into_split();
        return Ok(link(config, read, write, early, peer));
    }
    let connector = config.tls.connector().map_err(terminal)?;
    let name = config.tls.server_name(&host).map_err(terminal)?;
    let mut stream = connector.connect(name, stream).await.map_err(|error| {
        let is_terminal = is_certificate_error(&error);
        ConnectError {
            error: Error::with_source(ErrorKind::Tls, format!("TLS with {host}:{port}"), error),
            is_terminal,
        }
    })?;
    let early = shake(&mut stream, &request, &key, &config.protocols).await?;
    let (read, write) = tokio::io::split(stream);
    Ok(link(config, read, write, early, peer))
}

fn link<R, W>(config: &ClientConfig, read: R, write: W, early: Vec<u8>, peer: Peer) -> Link
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let framing = Framing::WebSocketClient;
    let decoder = framing.peer_decoder(config.limits.max_message_bytes);
    Link {
        reader: Box::new(StreamReader::new(read, decoder, early)),
        writer: Box::new(StreamWriter::new(write)),
        framing,
        peer,
        is_native: None,
        features: &[],
    }
}

fn parse_url(url: &str) -> Result<(Uri, String), Error> {
    let bad = |why: &str| {
        Error::new(ErrorKind::InvalidOption, format!("url {url:?}: {why}; expected ws://host:port/path or wss://…"))
    };
    let uri: Uri = url.parse().map_err(|_| bad("not a URL"))?;
    if !matches!(uri.scheme_str(), Some("ws" | "wss")) {
        return Err(bad("the scheme is not ws or wss"));
    }
    let host = uri.host().ok_or_else(|| bad("no host"))?.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((uri, host))
}

fn request(config: &ClientConfig, to: &Destination) -> Result<(Vec<u8>, String), Error> {
    let invalid =
        |error: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidOption, format!("request to {}: {error}", to.url));
    let mut request = to.url.as_str().into_client_request().map_err(|error| invalid(&error))?;
    for (name, value) in &to.headers {
        let name: HeaderName = name.parse().map_err(|_| invalid(&format!("header name {name:?}")))?;
        let value: HeaderValue = value.parse().map_err(|_| invalid(&format!("value of header {name:?}")))?;
        request.headers_mut().append(name, value);
    }
    if !config.protocols.is_empty() {
        let value = config.protocols.join(", ").parse().map_err(|_| invalid(&"protocols"))?;
        request.headers_mut().insert("sec-websocket-protocol", value);
    }
    generate_request(request).map_err(|error| invalid(&error))
}

/// Sends the request and checks the answer. Returns what came behind it.
async fn shake<S>(io: &mut S, request: &[u8], key: &str, offered: &[String]) -> Result<Vec<u8>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: HeadError| match error {
        HeadError::Io(error) if is_certificate_error(&error) => terminal(Error::with_source(
            ErrorKind::Tls,
            "the server refuses the client certificate, or the lack of one",
            error,
        )),
        error => temporary(Error::with_source(ErrorKind::Handshake, "no WebSocket handshake", error)),
    };
    io.write_all(request).await.map_err(|error| broken(error.into()))?;
    io.flush().await.map_err(|error| broken(error.into()))?;
    let (bytes, early) = head::read_head(io, Vec::new()).await.map_err(broken)?;
    let response = head::parse_response(&bytes).map_err(broken)?;
    check(&response, key, offered)?;
    Ok(early)
}

fn check(response: &Response<()>, key: &str, offered: &[String]) -> Result<(), ConnectError> {
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let kind = match status {
            StatusCode::UNAUTHORIZED => ErrorKind::NotIdentified,
            StatusCode::FORBIDDEN => ErrorKind::Forbidden,
            _ => ErrorKind::Handshake,
        };
        let is_terminal = matches!(status, StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
        let error = Error::new(kind, format!("the server answered {status} instead of a WebSocket handshake"));
        return Err(ConnectError { error, is_terminal });
    }
    let accept = response.headers().get("sec-websocket-accept").map(HeaderValue::as_bytes);
    let is_websocket =
        head::tokens(response.headers(), "upgrade").iter().any(|token| token.eq_ignore_ascii_case("websocket"));
    if !is_websocket || accept != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        let message = "the server's answer is not the one to our WebSocket handshake";
        return Err(temporary(Error::new(ErrorKind::Handshake, message)));
    }
    let chosen = head::tokens(response.headers(), "sec-websocket-protocol");
    if chosen.iter().any(|protocol| !offered.contains(protocol)) {
        let message = "the server chose a subprotocol that was not offered";
        return Err(temporary(Error::new(ErrorKind::Handshake, message)));
    }
    if response.headers().contains_key("sec-websocket-extensions") {
        let message = "the server uses a WebSocket extension that was not offered";
        return Err(temporary(Error::new(ErrorKind::Handshake, message)));
    }
    Ok(())
}

fn terminal(error: Error) -> ConnectError {
    ConnectError { error, is_terminal: true }
}

fn temporary(error: Error) -> ConnectError {
    ConnectError { error, is_terminal: false }
}
