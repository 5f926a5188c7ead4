//! Opens the two connections of a link and says who we are. Does not retry.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::debug;

use super::address::{Address, Place};
use super::channel::Dialect;
use super::link::{Reader, Wire, Writer};
use super::reply::{Replies, Scalar};
use crate::link::{BoxFuture, Connect, ConnectError, Destination, Link, Peer};
use crate::model::{Error, ErrorKind, Limits};
use crate::trace;
use crate::transport::tls::{ClientTls, is_certificate_error};
use crate::wire::frame::Framing;

/// A connection, whatever carries it.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// How to connect and how events lie there.
#[derive(Debug, Clone, Default)]
pub struct RedisConfig {
    /// Stands before every topic; channel = prefix + topic.
    pub prefix: String,
    /// Travels as the key `_o` of every envelope that is published; messages that carry it are not heard. Without one the publisher hears
    /// itself, as Redis has it.
    pub origin: Option<String>,
    /// What CLIENT LIST shows.
    pub client_name: Option<String>,
    /// For `rediss:`.
    pub tls: ClientTls,
    /// Bounds of messages and time.
    pub limits: Limits,
}

/// Makes links to a Redis. The URL of a destination is `redis:`, `rediss:` or `unix:`; header lines `username` and `password` stand above
/// what it says.
#[derive(Debug, Clone)]
pub struct RedisConnector {
    config: Arc<RedisConfig>,
}

impl RedisConnector {
    /// A connector for any number of attempts.
    #[must_use]
    pub fn new(config: RedisConfig) -> Self {
        Self { config: Arc::new(config) }
    }
}

impl Connect for RedisConnector {
    fn connect(&self, to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
        let config = Arc::clone(&self.config);
        Box::pin(async move { dial(&config, &to).await })
    }

    fn marking(&self, origin: &str) -> Option<Arc<dyn Connect>> {
        Some(Arc::new(Self::new(RedisConfig { origin: Some(origin.into()), ..(*self.config).clone() })))
    }
}

async fn dial(config: &RedisConfig, to: &Destination) -> Result<Link, ConnectError> {
    let address = Address::of(to).map_err(terminal)?;
    debug!(target: trace::REDIS, place = %address.place, "dialing");
    let (publishing, subscribing) = tokio::try_join!(open(config, &address), open(config, &address))?;
    let dialect = Dialect::new(&config.prefix, config.origin.as_deref());
    let wire = Wire::new(dialect, publishing, subscribing, &config.limits);
    // The URL is not repeated: it may hold a password.
    let peer = Peer { transport: "redis", ..Peer::default() };
    Ok(Link {
        reader: Box::new(Reader::new(Arc::clone(&wire))),
        writer: Box::new(Writer::new(wire)),
        framing: Framing::Length,
        is_native: None,
        features: &[],
        peer,
    })
}

/// One connection on which everything has been said that must come first.
async fn open(config: &RedisConfig, address: &Address) -> Result<Box<dyn Socket>, ConnectError> {
    let mut socket = connect(config, &address.place).await?;
    introduce(&mut *socket, config, address).await?;
    Ok(socket)
}

async fn connect(config: &RedisConfig, place: &Place) -> Result<Box<dyn Socket>, ConnectError> {
    let failed = |error: std::io::Error| {
        temporary(Error::with_source(ErrorKind::Connect, format!("cannot connect to {place}"), error))
    };
    match place {
        Place::Tcp { host, port, is_tls } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            if *is_tls { secure(config, host, stream).await } else { Ok(Box::new(stream)) }
        }
        #[cfg(unix)]
        Place::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await.map_err(failed)?)),
        #[cfg(not(unix))]
        Place::Unix(_) => {
            let message = "this platform has no sockets in the file system; use redis: or rediss:";
            Err(terminal(Error::new(ErrorKind::InvalidOption, message)))
        }
    }
}

async fn secure(config: &RedisConfig, host: &str, stream: TcpStream) -> Result<Box<dyn Socket>, ConnectError> {
    let connector = config.tls.connector().map_err(terminal)?;
    let name = config.tls.server_name(host).map_err(terminal)?;
    let stream = connector.connect(name, stream).await.map_err(|error| ConnectError {
        is_terminal: is_certificate_error(&error),
        error: Error::with_source(ErrorKind::Tls, format!("TLS with {host}"), error),
    })?;
    Ok(Box::new(stream))
}

/// The commands of a fresh connection, the last of which shows that Redis is there and lets us in.
fn greeting(config: &RedisConfig, address: &Address) -> Vec<Vec<Vec<u8>>> {
    let word = |text: &str| text.as_bytes().to_vec();
    let mut commands = Vec::new();
    if let Some(password) = &address.password {
        let user = address.username.iter().map(|user| word(user));
        commands.push([word("AUTH")].into_iter().chain(user).chain([word(password)]).collect());
    }
    if address.database != 0 {
        commands.push(vec![word("SELECT"), word(&address.database.to_string())]);
    }
    if let Some(name) = &config.client_name {
        commands.push(vec![word("CLIENT"), word("SETNAME"), word(name)]);
    }
    commands.push(vec![word("PING")]);
    commands
}

/// Says who we are, in one write, and waits for the answers.
async fn introduce(socket: &mut dyn Socket, config: &RedisConfig, address: &Address) -> Result<(), ConnectError> {
    let place = &address.place;
    let broken = |error: std::io::Error| match is_certificate_error(&error) {
        true => terminal(Error::with_source(ErrorKind::Tls, format!("{place} refuses the client certificate"), error)),
        false => temporary(Error::with_source(ErrorKind::Handshake, format!("no answer of a Redis at {place}"), error)),
    };
    let commands = greeting(config, address);
    let bytes: Vec<u8> = commands.iter().flat_map(|command| ::redis::pack_command(command)).collect();
    socket.write_all(&bytes).await.map_err(broken)?;
    socket.flush().await.map_err(broken)?;
    let mut replies = Replies::new(4096);
    let mut answers: Vec<Option<String>> = Vec::new();
    let mut buffer = [0; 4096];
    while answers.len() < commands.len() {
        let count = socket.read(&mut buffer).await.map_err(broken)?;
        if count == 0 {
            let why = answers.into_iter().flatten().next().unwrap_or_else(|| "it closed the connection".into());
            return Err(refused(place, &why));
        }
        let mut take = |scalars: &[Scalar<'_>]| {
            answers.push(match scalars {
                [Scalar::Error(error)] => Some((*error).into()),
                _ => None,
            });
        };
        replies.feed(&buffer[..count], &mut take).map_err(|error| {
            temporary(Error::with_source(ErrorKind::Handshake, format!("{place} does not answer as a Redis"), error))
        })?;
    }
    let last = commands.len() - 1;
    // Who may not PING is let in nevertheless.
    let errors = answers.into_iter().enumerate().filter_map(|(index, error)| Some((index, error?)));
    match errors.into_iter().find(|(index, error)| *index < last || !error.starts_with("NOPERM")) {
        Some((_, error)) => Err(refused(place, &error)),
        None => Ok(()),
    }
}

/// What Redis has against us. A wrong password is an answer that asking for another one may change.
fn refused(place: &Place, error: &str) -> ConnectError {
    let word = error.split(' ').next().unwrap_or_default();
    let kind = match word {
        "WRONGPASS" | "NOAUTH" => ErrorKind::NotIdentified,
        "NOPERM" => ErrorKind::Forbidden,
        "ERR" if error.contains("AUTH") || error.contains("password") => ErrorKind::NotIdentified,
        "ERR" if error.contains("DB index") => ErrorKind::InvalidOption,
        _ => ErrorKind::Handshake,
    };
    let error = Error::new(kind, format!("Redis at {place} refused: {error}"));
    ConnectError { error, is_terminal: kind == ErrorKind::InvalidOption }
}

fn terminal(error: Error) -> ConnectError {
    ConnectError { error, is_terminal: true }
}

fn temporary(error: Error) -> ConnectError {
    ConnectError { error, is_terminal: false }
}
