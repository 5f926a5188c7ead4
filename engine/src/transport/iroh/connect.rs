//! Dials an endpoint and opens the stream of a link. Does not retry.

use std::sync::Arc;

use iroh::EndpointId;
use iroh::endpoint::{
    ConnectOptions, ConnectWithOptsError, ConnectingError, Connection, ConnectionError, TransportErrorCode,
};
use tracing::debug;

use super::access::DENIED;
use super::endpoint::IrohEndpoint;
use super::facts::count;
use super::ledger::Claim;
use super::link::{self, Parts};
use super::{alpns, check_alpn};
use crate::link::{BoxFuture, Connect, ConnectError, Destination, Link};
use crate::model::{CloseCode, Error, ErrorKind};
use crate::trace;

/// What the other end is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speaks {
    /// Hello, and without it what plain peers understand.
    #[default]
    Both,
    /// Hello alone.
    Native,
    /// No hello.
    Plain,
}

/// Whom to dial, and how.
#[derive(Debug, Clone)]
pub struct DialConfig {
    /// The hub.
    pub hub: EndpointId,
    /// The protocol for plain peers; `+hello` is appended for native ones.
    pub alpn: String,
    /// What is offered.
    pub speaks: Speaks,
    /// Bytes of one message.
    pub max_message: usize,
}

/// Makes Iroh links to one endpoint.
#[derive(Debug, Clone)]
pub struct IrohConnector {
    endpoint: IrohEndpoint,
    config: Arc<DialConfig>,
    /// What the other end is in what errors say.
    peer: &'static str,
}

impl IrohConnector {
    /// A connector for any number of attempts.
    #[must_use]
    pub fn new(endpoint: IrohEndpoint, config: DialConfig) -> Self {
        Self { endpoint, config: Arc::new(config), peer: "the hub" }
    }

    /// The other end is no hub.
    pub(super) fn called(self, peer: &'static str) -> Self {
        Self { peer, ..self }
    }
}

impl Connect for IrohConnector {
    fn connect(&self, _to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
        let this = self.clone();
        Box::pin(async move { this.dial().await })
    }
}

impl IrohConnector {
    async fn dial(&self) -> Result<Link, ConnectError> {
        let connection = self.connection().await?;
        self.open(connection).await
    }

    /// A connection that the lists let live.
    pub(super) async fn connection(&self) -> Result<Connection, ConnectError> {
        let Self { endpoint, config, .. } = self;
        if !endpoint.lets_in(&config.hub) {
            return Err(terminal(Error::new(ErrorKind::Forbidden, format!("{}: {DENIED}", config.hub))));
        }
        let [native, plain] = alpns(&config.alpn);
        let (first, others) = match config.speaks {
            Speaks::Both => (native, vec![plain]),
            Speaks::Native => (native, Vec::new()),
            Speaks::Plain => (plain, Vec::new()),
        };
        check_alpn(&first).map_err(terminal)?;
        debug!(target: trace::IROH, hub = %config.hub.fmt_short(), "dialing");
        let options = ConnectOptions::new().with_additional_alpns(others);
        let connecting = endpoint.quic().connect_with_opts(config.hub, &first, options).await;
        let connecting = connecting.map_err(|error| self.not_begun(&error))?;
        let connection = connecting.await.map_err(|error| self.not_made(&error))?;
        if !endpoint.enter(&connection) {
            return Err(terminal(Error::new(ErrorKind::Forbidden, format!("{}: {DENIED}", config.hub))));
        }
        count(&endpoint.counters().dialled);
        Ok(connection)
    }

    /// A link over a stream of a connection; this end opens it.
    pub(super) async fn open(&self, connection: Connection) -> Result<Link, ConnectError> {
        let (send, recv) = connection.open_bi().await.map_err(|error| self.lost(&error))?;
        let is_native = connection.alpn() != self.config.alpn.as_bytes();
        Ok(link::make(Parts {
            endpoint: self.endpoint.clone(),
            connection,
            send,
            recv,
            is_native,
            is_opener: true,
            max_message: self.config.max_message,
            claim: Claim::unshared(),
        }))
    }

    fn not_begun(&self, error: &ConnectWithOptsError) -> ConnectError {
        let hub = self.config.hub;
        match error {
            ConnectWithOptsError::SelfConnect { .. } => terminal(Error::new(
                ErrorKind::InvalidOption,
                format!("{hub} is this endpoint itself; a hub and its spoke need an endpoint each"),
            )),
            ConnectWithOptsError::EndpointClosed { .. } => {
                terminal(Error::new(ErrorKind::Closed, "the endpoint is closed"))
            }
            ConnectWithOptsError::NoAddress { .. } => temporary(Error::new(
                ErrorKind::Connect,
                format!("no address of {hub} is known: give one with addAddress, or an endpoint with relays"),
            )),
            other => temporary(Error::new(ErrorKind::Connect, format!("cannot connect to {hub}: {other:#}"))),
        }
    }

    fn not_made(&self, error: &ConnectingError) -> ConnectError {
        match error {
            ConnectingError::ConnectionError { source, .. } => self.lost(source),
            ConnectingError::HandshakeFailure { .. } => terminal(Error::new(
                ErrorKind::Tls,
                format!("the handshake with {} failed: {error:#}", self.config.hub),
            )),
            other => temporary(Error::new(ErrorKind::Connect, format!("{}: {other:#}", self.config.hub))),
        }
    }

    pub(super) fn lost(&self, error: &ConnectionError) -> ConnectError {
        let hub = self.config.hub;
        match alert_of(error) {
            Some(NO_APPLICATION_PROTOCOL) => temporary(Error::new(
                ErrorKind::Handshake,
                format!(
                    "{hub} does not accept {:?}: nobody takes it there now, or under another alpn",
                    self.config.alpn
                ),
            )),
            Some(UNKNOWN_CA | BAD_CERTIFICATE) => {
                terminal(Error::new(ErrorKind::Tls, format!("another endpoint than {hub} answers at its address")))
            }
            _ => match error {
                ConnectionError::TimedOut => {
                    temporary(Error::new(ErrorKind::TimedOut, format!("{hub} does not answer")))
                }
                ConnectionError::ApplicationClosed(close) => {
                    let code = close.error_code.into_inner();
                    let (kind, is_terminal) = match u16::try_from(code).map(CloseCode) {
                        Ok(CloseCode::REFUSED) => (ErrorKind::Forbidden, true),
                        Ok(CloseCode::NOT_IDENTIFIED) => (ErrorKind::NotIdentified, false),
                        _ => (ErrorKind::Refused, false),
                    };
                    let reason = String::from_utf8_lossy(&close.reason);
                    let message = format!("{} closed the connection with code {code}: {reason}", self.peer);
                    ConnectError { error: Error::new(kind, message), is_terminal }
                }
                other => temporary(Error::new(ErrorKind::Connect, format!("cannot connect to {hub}: {other}"))),
            },
        }
    }
}

/// Alerts of TLS. Source: RFC 8446, section 6, and RFC 7301, section 3.2.
const BAD_CERTIFICATE: u64 = 42;
const UNKNOWN_CA: u64 = 48;
const NO_APPLICATION_PROTOCOL: u64 = 120;
/// Where they stand among the codes of QUIC. Source: RFC 9001, section 4.8.
const FIRST_ALERT: u64 = 0x100;

fn alert_of(error: &ConnectionError) -> Option<u64> {
    let code: TransportErrorCode = match error {
        ConnectionError::TransportError(error) => error.code,
        ConnectionError::ConnectionClosed(close) => close.error_code,
        _ => return None,
    };
    u64::from(code).checked_sub(FIRST_ALERT).filter(|alert| *alert < 0x100)
}

pub(super) fn terminal(error: Error) -> ConnectError {
    ConnectError { error, is_terminal: true }
}

fn temporary(error: Error) -> ConnectError {
    ConnectError { error, is_terminal: false }
}
