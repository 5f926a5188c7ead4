//! An endpoint: a key, its sockets, and who gets the connections that come in. Does not know what they are used for; `entrance.rs` lets them in.
//!
//! Invariant: the endpoint lives until it is closed, whatever becomes of the handles to it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iroh::address_lookup::MemoryLookup;
use iroh::endpoint::{Connection, PortmapperConfig, QuicTransportConfig, VarInt, presets};
use iroh::tls::CaTlsConfig;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayConfig, RelayMap, RelayMode, RelayUrl, SecretKey, TransportAddr};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::access::{self, Access, Lists};
use super::check_alpn;
use super::entrance::{self, HANDSHAKES};
use super::facts::{Counters, EndpointFacts, count};
use super::gossip::{Gate, Swarms};
use super::link;
use super::screening::Screening;
use crate::link::BoxFuture;
use crate::mailbox::lock;
use crate::model::{CloseCode, CloseReason, Error, ErrorKind};

/// What the QUIC engine holds of one stream. It bounds what it keeps while a reading task waits for its turn.
const STREAM_WINDOW: u32 = 256 << 10;
/// What the QUIC engine holds of all streams of a connection that nobody has let in yet, and of links, which have one. Without it a stranger
/// could leave 50 MB here before anybody has looked at it.
const CONNECTION_WINDOW: u32 = 512 << 10;
/// Streams that a peer alone writes, open at once, until somebody takes its connection who wants more. What QUIC engines take otherwise, a hundred,
/// could not be taken back, and one who reads keeps a buffer for each. Source: none, a guess.
pub(super) const STREAMS: u32 = 16;
/// What a round trip is taken for before the first was measured. An endpoint that closes waits three probe time-outs, each about three times
/// this, for each connection one of whose ways is as new as that: with the 333 ms of RFC 9002 three seconds. Source: 100 ms is what Chromium
/// takes. On slower lines the first packets are sent twice.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// How long links that end may take before the endpoint closes. Source: a little more than a link lingers.
const FAREWELL: Duration = Duration::from_millis(1500);

/// A relay that the user names.
#[derive(Debug, Clone)]
pub struct Relay {
    /// `https://…`
    pub url: String,
    /// Sent to the relay, if it wants one.
    pub token: Option<String>,
    /// UDP port by which it tells endpoints their addresses as it sees them, without which a NAT is seldom passed directly; 0: it does not.
    /// The usual one if `None`. Over TLS alone.
    pub quic_port: Option<u16>,
}

/// Which servers help endpoints to find and reach each other.
#[derive(Debug, Clone, Default)]
pub enum Relays {
    /// None: only addresses that are given.
    #[default]
    None,
    /// The public ones of n0, for relaying and for looking addresses up.
    Default,
    /// These, for relaying alone.
    Own(Vec<Relay>),
}

/// How to make an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Who it is; a new key if `None`.
    pub secret_key: Option<SecretKey>,
    /// One socket per address; all interfaces and any port if empty.
    pub bind: Vec<SocketAddr>,
    /// No socket of its own: everything goes through relays.
    pub is_relay_only: bool,
    /// Servers that are contacted.
    pub relays: Relays,
    /// PEM texts of authorities that relays are checked against, instead of the usual ones.
    pub relay_roots: Option<String>,
    /// How long a connection may be silent before it counts as dead. Source of the default: 2.5 heartbeats.
    pub idle: Duration,
    /// Asks the application about everybody who comes in; nobody is asked if `None`.
    pub screening: Option<Arc<Screening>>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            secret_key: None,
            bind: Vec::new(),
            is_relay_only: false,
            relays: Relays::None,
            relay_roots: None,
            idle: Duration::from_secs(25),
            screening: None,
        }
    }
}

/// Gets the connections of one protocol.
pub(super) type Door = Arc<dyn Fn(Connection) -> BoxFuture<()> + Send + Sync>;

struct Shared {
    endpoint: Endpoint,
    addresses: MemoryLookup,
    access: Arc<Access>,
    swarms: Swarms,
    screening: Option<Arc<Screening>>,
    doors: Mutex<Doors>,
    handshakes: Arc<Semaphore>,
    staying: AtomicUsize,
    left: Notify,
    counters: Counters,
    is_loopback: bool,
    has_relays: bool,
}

#[derive(Default)]
struct Doors {
    by_alpn: HashMap<Vec<u8>, Door>,
    /// In the order in which they are preferred.
    order: Vec<Vec<u8>>,
    is_closed: bool,
}

/// A handle to an endpoint. Cheap to clone.
#[derive(Clone)]
pub struct IrohEndpoint {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for IrohEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IrohEndpoint").field("id", &self.id().fmt_short().to_string()).finish_non_exhaustive()
    }
}

/// A link's claim that the endpoint stays until its last bytes have left.
#[derive(Debug)]
pub(super) struct Stay(IrohEndpoint);

impl Drop for Stay {
    fn drop(&mut self) {
        if self.0.shared.staying.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.shared.left.notify_waiters();
        }
    }
}

/// A protocol's place at an endpoint, given back when dropped.
pub(super) struct Registered {
    endpoint: IrohEndpoint,
    alpns: Vec<Vec<u8>>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.endpoint.unregister(&self.alpns);
    }
}

impl IrohEndpoint {
    /// Binds its sockets and begins to accept.
    ///
    /// # Errors
    /// `Listen` when an address cannot be had, `InvalidOption` for a relay's URL or roots that cannot be read, and for an endpoint that would
    /// have neither sockets nor relays.
    pub async fn bind(config: EndpointConfig) -> Result<Self, Error> {
        let has_relays = match &config.relays {
            Relays::None => false,
            Relays::Default => true,
            Relays::Own(relays) => !relays.is_empty(),
        };
        if config.is_relay_only && !has_relays {
            let message = "an endpoint without sockets needs relays: give it addresses to bind, or relays";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let addresses = MemoryLookup::new();
        let is_loopback = matches!(config.relays, Relays::None)
            && !config.bind.is_empty()
            && config.bind.iter().all(|address| address.ip().is_loopback());
        let access = Arc::new(Access::new(Lists::default()));
        let builder = builder(&config, addresses.clone())?.hooks(Gate(Arc::clone(&access)));
        let endpoint = builder.bind().await;
        let endpoint = endpoint.map_err(|error| {
            Error::new(ErrorKind::Listen, format!("the endpoint cannot be bound to {:?}: {error:#}", config.bind))
        })?;
        let shared = Arc::new(Shared {
            endpoint,
            addresses,
            access,
            swarms: Swarms::default(),
            screening: config.screening,
            doors: Mutex::default(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            staying: AtomicUsize::new(0),
            left: Notify::new(),
            counters: Counters::default(),
            is_loopback,
            has_relays,
        });
        let this = Self { shared };
        tokio::spawn(entrance::accept_all(this.clone()));
        Ok(this)
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.shared.endpoint.id()
    }

    /// Where it can be reached, as far as it knows.
    #[must_use]
    pub fn address(&self) -> EndpointAddr {
        self.shared.endpoint.addr()
    }

    /// The addresses of its sockets.
    #[must_use]
    pub fn sockets(&self) -> Vec<SocketAddr> {
        self.shared.endpoint.bound_sockets()
    }

    /// True when nobody but this machine reaches it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.shared.is_loopback
    }

    /// True when somebody must be named to be let in, or is asked about.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.shared.screening.is_some() || self.shared.access.is_guarded()
    }

    /// True once it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.endpoint.is_closed()
    }

    /// Resolves when it is closed.
    pub async fn closed(&self) {
        self.shared.endpoint.closed().await;
    }

    /// Where another endpoint can be reached.
    pub fn add_address(&self, id: EndpointId, sockets: Vec<SocketAddr>, relays: Vec<RelayUrl>) {
        let sockets = sockets.into_iter().map(TransportAddr::Ip);
        let relays = relays.into_iter().map(TransportAddr::Relay);
        self.know(EndpointAddr::from_parts(id, sockets.chain(relays)));
    }

    /// Where another endpoint can be reached, if it says so.
    pub fn know(&self, address: EndpointAddr) {
        if !address.is_empty() {
            self.shared.addresses.add_endpoint_info(address);
        }
    }

    /// What it has counted.
    #[must_use]
    pub fn facts(&self) -> EndpointFacts {
        self.shared.counters.facts(self.shared.access.count())
    }

    /// Changes who may have connections with this endpoint: nobody but `allow`, if that is given, and never `deny`. Who loses that right
    /// is closed with 4403 at once.
    pub fn set_access(&self, allow: Option<Vec<EndpointId>>, deny: Vec<EndpointId>) {
        let lists = Lists { allow: allow.map(|ids| ids.into_iter().collect()), deny: deny.into_iter().collect() };
        self.shared.access.change(lists);
    }

    /// Closes all connections, with 1001 those that did not end by themselves, and the sockets.
    pub async fn close(&self) {
        let doors = {
            let mut doors = lock(&self.shared.doors);
            doors.is_closed = true;
            std::mem::take(&mut doors.by_alpn)
        };
        drop(doors);
        if let Some(screening) = &self.shared.screening {
            screening.give_up();
        }
        let _late = timeout(FAREWELL, self.all_left()).await;
        let reason = CloseReason::new(CloseCode::GOING_AWAY, "the endpoint was closed");
        self.shared.access.live().iter().for_each(|connection| link::close(connection, &reason));
        self.shared.endpoint.close().await;
    }

    pub(super) fn quic(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    pub(super) fn screening(&self) -> Option<&Screening> {
        self.shared.screening.as_deref()
    }

    pub(super) fn handshakes(&self) -> &Arc<Semaphore> {
        &self.shared.handshakes
    }

    /// Who gets the connections of a protocol.
    pub(super) fn door(&self, alpn: &[u8]) -> Option<Door> {
        lock(&self.shared.doors).by_alpn.get(alpn).map(Arc::clone)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(super) fn has_relays(&self) -> bool {
        self.shared.has_relays
    }

    /// The connections with an endpoint that live.
    pub(super) fn live_with(&self, id: &EndpointId) -> Vec<Connection> {
        self.shared.access.live_with(id)
    }

    /// All connections that live.
    pub(super) fn live(&self) -> Vec<Connection> {
        self.shared.access.live()
    }

    pub(super) fn swarms(&self) -> &Swarms {
        &self.shared.swarms
    }

    pub(super) fn lets_in(&self, id: &EndpointId) -> bool {
        self.shared.access.lets_in(id)
    }

    pub(super) fn stay(&self) -> Stay {
        self.shared.staying.fetch_add(1, Ordering::AcqRel);
        Stay(self.clone())
    }

    /// Has `door` get the connections of some protocols, the first preferred.
    ///
    /// # Errors
    /// `InvalidOption` for a name that none can be, `Listen` when one of them is taken, `Closed` when the endpoint is closed.
    pub(super) fn register(&self, alpns: &[Vec<u8>], door: &Door) -> Result<Registered, Error> {
        alpns.iter().try_for_each(|alpn| check_alpn(alpn))?;
        let mut doors = lock(&self.shared.doors);
        if doors.is_closed {
            return Err(Error::new(ErrorKind::Closed, "the endpoint is closed"));
        }
        if let Some(taken) = alpns.iter().find(|alpn| doors.by_alpn.contains_key(*alpn)) {
            let name = String::from_utf8_lossy(taken);
            let message =
                format!("the endpoint accepts {name:?} for somebody else; give another alpn or close that first");
            return Err(Error::new(ErrorKind::Listen, message));
        }
        for alpn in alpns {
            doors.by_alpn.insert(alpn.clone(), Arc::clone(door));
            doors.order.push(alpn.clone());
        }
        self.shared.endpoint.set_alpns(doors.order.clone());
        Ok(Registered { endpoint: self.clone(), alpns: alpns.to_vec() })
    }

    fn unregister(&self, alpns: &[Vec<u8>]) {
        let mut doors = lock(&self.shared.doors);
        doors.by_alpn.retain(|alpn, _| !alpns.contains(alpn));
        doors.order.retain(|alpn| !alpns.contains(alpn));
        if !doors.is_closed {
            self.shared.endpoint.set_alpns(doors.order.clone());
        }
    }

    /// Enters a connection that was made, unless the lists refuse it.
    pub(super) fn enter(&self, connection: &Connection) -> bool {
        let is_let_in = Access::enter(&self.shared.access, connection);
        if !is_let_in {
            count(&self.shared.counters.denied);
            access::deny(connection);
        }
        is_let_in
    }

    async fn all_left(&self) {
        loop {
            let left = self.shared.left.notified();
            if self.shared.staying.load(Ordering::Acquire) == 0 {
                return;
            }
            left.await;
        }
    }
}

fn builder(config: &EndpointConfig, addresses: MemoryLookup) -> Result<iroh::endpoint::Builder, Error> {
    let mut builder = match &config.relays {
        Relays::Default => Endpoint::builder(presets::N0),
        Relays::None => Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled),
        Relays::Own(relays) => {
            let relays = relays.iter().map(relay).collect::<Result<Vec<_>, _>>()?;
            Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Custom(RelayMap::from_iter(relays)))
        }
    };
    if let Some(pem) = &config.relay_roots {
        builder = builder.ca_tls_config(CaTlsConfig::custom_roots(roots(pem)?));
    }
    if let Some(key) = &config.secret_key {
        builder = builder.secret_key(key.clone());
    }
    if config.is_relay_only || !config.bind.is_empty() {
        builder = builder.clear_ip_transports();
    }
    for address in &config.bind {
        builder = builder
            .bind_addr(*address)
            .map_err(|error| Error::new(ErrorKind::InvalidOption, format!("cannot bind {address}: {error:#}")))?;
    }
    Ok(builder
        .address_lookup(addresses)
        .portmapper_config(PortmapperConfig::Disabled)
        .transport_config(transport(config.idle)))
}

/// Certificates in PEM. A text that holds none is a mistake.
fn roots(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad =
        |why: String| Error::new(ErrorKind::InvalidOption, format!("relayRoots: {why}; expected certificates in PEM"));
    let roots = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let roots = roots.map_err(|error| bad(error.to_string()))?;
    if roots.is_empty() { Err(bad("no certificate in it".into())) } else { Ok(roots) }
}

fn relay(relay: &Relay) -> Result<RelayConfig, Error> {
    let url: RelayUrl = relay.url.parse().map_err(|error| {
        Error::new(ErrorKind::InvalidOption, format!("{:?} is no URL of a relay: {error}", relay.url))
    })?;
    let tells_addresses = url.scheme() == "https" && relay.quic_port != Some(0);
    // With the usual port for it.
    let mut config = RelayConfig::from(url);
    config.quic = config.quic.filter(|_| tells_addresses);
    if let (Some(quic), Some(port)) = (&mut config.quic, relay.quic_port) {
        quic.port = port;
    }
    Ok(match &relay.token {
        Some(token) => config.with_auth_token(token.clone()),
        None => config,
    })
}

/// Signs of life in time for the idle limit, on each path.
fn transport(idle: Duration) -> QuicTransportConfig {
    let idle = idle.max(Duration::from_millis(100));
    let keep_alive = (idle / 4).min(Duration::from_secs(5));
    let path_idle = (idle * 6 / 10).min(Duration::from_secs(15));
    QuicTransportConfig::builder()
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
        .max_idle_timeout(Some(idle.try_into().expect("a day of milliseconds fits a VarInt")))
        .keep_alive_interval(keep_alive)
        .default_path_keep_alive_interval(keep_alive)
        .default_path_max_idle_timeout(path_idle)
        .build()
}
