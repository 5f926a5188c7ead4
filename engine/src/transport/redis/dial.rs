//! Opens connections and says who we are, and makes links of them. Does not retry.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tracing::debug;

use super::address::{Address, Login, Place};
use super::answer::{Answer, Command, Unanswered, ask, command};
use super::channel::Dialect;
use super::cluster;
use super::follow::{Following, follow};
use super::link::{Reader, Wire, Writer};
use super::sentinel::{self, Named};
use crate::link::{BoxFuture, Connect, ConnectError, Destination, Link, LinkRead, LinkWrite, Peer};
use crate::model::{Error, ErrorKind, Limits};
use crate::trace;
use crate::transport::tls::{ClientTls, is_certificate_error};
use crate::wire::frame::Framing;

/// A connection, whatever carries it.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Which servers there are.
#[derive(Debug, Clone, Default)]
pub enum RedisServers {
    /// One, at the URL of the destination.
    #[default]
    One,
    /// A master and its replicas, watched by Sentinels at these URLs.
    Sentinels {
        urls: Vec<String>,
        /// The name under which they watch the master.
        service: String,
        /// Whether the master speaks TLS.
        is_tls: bool,
    },
    /// The nodes of a cluster, of which these URLs name some.
    Cluster {
        urls: Vec<String>,
        /// Sharded channels: each goes through the node that owns its slot alone.
        is_sharded: bool,
    },
}

/// How to connect and how events lie there.
#[derive(Debug, Clone, Default)]
pub struct RedisConfig {
    /// Which servers there are.
    pub servers: RedisServers,
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

/// Makes links to a Redis. The URL of a destination is `redis:`, `rediss:` or `unix:`; it says nothing where the servers are several. Header
/// lines `username` and `password` stand above what a URL says, for Sentinels `sentinelUsername` and `sentinelPassword`.
#[derive(Debug, Clone)]
pub struct RedisConnector {
    config: Arc<RedisConfig>,
    memory: Arc<Memory>,
}

/// What attempts know of those before them.
#[derive(Debug, Default)]
struct Memory {
    /// Which of several URLs is asked first: the next one, once one has failed.
    first: AtomicUsize,
    last: cluster::Last,
}

impl RedisConnector {
    /// A connector for any number of attempts.
    #[must_use]
    pub fn new(config: RedisConfig) -> Self {
        Self { config: Arc::new(config), memory: Arc::default() }
    }
}

impl Connect for RedisConnector {
    fn connect(&self, to: Destination) -> BoxFuture<Result<Link, ConnectError>> {
        let (config, memory) = (Arc::clone(&self.config), Arc::clone(&self.memory));
        Box::pin(async move { dial(&config, &memory, &to).await })
    }

    fn marking(&self, origin: &str) -> Option<Arc<dyn Connect>> {
        Some(Arc::new(Self::new(RedisConfig { origin: Some(origin.into()), ..(*self.config).clone() })))
    }
}

async fn dial(config: &Arc<RedisConfig>, memory: &Memory, to: &Destination) -> Result<Link, ConnectError> {
    let Memory { first, last } = memory;
    match &config.servers {
        RedisServers::One => {
            let address = Address::of(to).map_err(terminal)?;
            debug!(target: trace::REDIS, place = %address.place, "dialing");
            pair_at(config, &address.place, &address.login, &[]).await
        }
        RedisServers::Sentinels { urls, service, is_tls } => {
            let Named { place, login, master, sentinel } =
                sentinel::find(config, urls, service, *is_tls, first, to).await?;
            let link =
                pair_at(config, &place, &login, &[command(&["ROLE"])]).await.inspect_err(|_| ask_another(first))?;
            let (config, urls, service) = (Arc::clone(config), urls.clone(), service.clone());
            Ok(follow(link, Following { config, urls, service, to: to.clone(), sentinel, master }))
        }
        RedisServers::Cluster { urls, is_sharded } => cluster::dial(config, urls, *is_sharded, (first, last), to).await,
    }
}

/// What failed at one server is asked of the next one.
pub(super) fn ask_another(first: &AtomicUsize) {
    first.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

/// A link to one server. `questions` are asked on both connections; it must be a master if it is asked for its role.
pub(super) async fn pair_at(
    config: &RedisConfig,
    place: &Place,
    login: &Login,
    questions: &[Command],
) -> Result<Link, ConnectError> {
    let (publishing, subscribing) =
        tokio::try_join!(open(config, place, login, questions), open(config, place, login, questions))?;
    for (_, answers) in [&publishing, &subscribing] {
        answers.iter().try_for_each(|answer| sentinel::check_role(place, answer))?;
    }
    let dialect = Dialect::new(&config.prefix, config.origin.as_deref());
    let wire = Wire::new(dialect, publishing.0, subscribing.0, &config.limits);
    Ok(link_of(Reader::new(Arc::clone(&wire)), Writer::new(wire)))
}

pub(super) fn link_of(reader: impl LinkRead + 'static, writer: impl LinkWrite + 'static) -> Link {
    Link {
        reader: Box::new(reader),
        writer: Box::new(writer),
        framing: Framing::Length,
        is_native: None,
        features: &[],
        // The URL is not repeated: it may hold a password.
        peer: Peer { transport: "redis", ..Peer::default() },
    }
}

/// One connection on which everything has been said that must come first, and what it answered to the questions.
pub(super) async fn open(
    config: &RedisConfig,
    place: &Place,
    login: &Login,
    questions: &[Command],
) -> Result<(Box<dyn Socket>, Vec<Answer>), ConnectError> {
    let mut socket = connect(config, place).await?;
    let answers = introduce(&mut *socket, config, place, login, questions).await?;
    Ok((socket, answers))
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
fn greeting(config: &RedisConfig, login: &Login) -> Vec<Command> {
    let mut commands = Vec::new();
    if let Some(password) = &login.password {
        let user = login.username.iter().map(String::as_str);
        commands.push(command(&["AUTH"].into_iter().chain(user).chain([password.as_str()]).collect::<Vec<_>>()));
    }
    if login.database != 0 {
        commands.push(command(&["SELECT", &login.database.to_string()]));
    }
    if let Some(name) = &config.client_name {
        commands.push(command(&["CLIENT", "SETNAME", name]));
    }
    commands.push(command(&["PING"]));
    commands
}

/// Says who we are and asks, in one write, and waits for the answers; returns those to the questions.
async fn introduce(
    socket: &mut dyn Socket,
    config: &RedisConfig,
    place: &Place,
    login: &Login,
    questions: &[Command],
) -> Result<Vec<Answer>, ConnectError> {
    let mut commands = greeting(config, login);
    let ping = commands.len() - 1;
    commands.extend_from_slice(questions);
    let mut answers = ask(socket, &commands).await.map_err(|unanswered| unheard(place, unanswered))?;
    let asked = answers.split_off(ping + 1);
    let errors = answers.iter().enumerate().filter_map(|(index, answer)| Some((index, answer.error()?)));
    match errors.into_iter().find(|(index, error)| *index < ping || !lets_in(error)) {
        Some((_, error)) => Err(refused(place, error)),
        None => Ok(asked),
    }
}

/// Who may not PING is let in nevertheless; and a server that cannot save refuses PING, and no events.
fn lets_in(error: &str) -> bool {
    ["NOPERM", "MISCONF"].iter().any(|word| error.starts_with(word))
}

fn unheard(place: &Place, unanswered: Unanswered) -> ConnectError {
    match unanswered {
        Unanswered::Io(error) if is_certificate_error(&error) => {
            terminal(Error::with_source(ErrorKind::Tls, format!("{place} refuses the client certificate"), error))
        }
        Unanswered::Io(error) => {
            temporary(Error::with_source(ErrorKind::Handshake, format!("no answer of a Redis at {place}"), error))
        }
        Unanswered::Closed(answers) => {
            let why = answers.iter().find_map(Answer::error);
            refused(place, why.unwrap_or("it closed the connection"))
        }
        Unanswered::Nonsense(error) => {
            temporary(Error::with_source(ErrorKind::Handshake, format!("{place} does not answer as a Redis"), error))
        }
    }
}

/// What Redis has against us. A wrong password is an answer that asking for another one may change.
pub(super) fn refused(place: &Place, error: &str) -> ConnectError {
    let word = error.split(' ').next().unwrap_or_default();
    let kind = match word {
        "WRONGPASS" | "NOAUTH" => ErrorKind::NotIdentified,
        "NOPERM" => ErrorKind::Forbidden,
        "ERR" if error.contains("AUTH") || error.contains("password") => ErrorKind::NotIdentified,
        "ERR" if error.contains("DB index") || error.contains("cluster support disabled") => ErrorKind::InvalidOption,
        _ => ErrorKind::Handshake,
    };
    let error = Error::new(kind, format!("Redis at {place} refused: {error}"));
    ConnectError { error, is_terminal: kind == ErrorKind::InvalidOption }
}

pub(super) fn terminal(error: Error) -> ConnectError {
    ConnectError { error, is_terminal: true }
}

pub(super) fn temporary(error: Error) -> ConnectError {
    ConnectError { error, is_terminal: false }
}
