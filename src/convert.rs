//! Options objects → engine configs. Checks nothing: TypeScript has, and the engine knows the defaults.

use std::time::Duration;

use alkpubsub_engine::bus::BusConfig;
use alkpubsub_engine::hub::{HubConfig, Judgement};
use alkpubsub_engine::link::{Destination, Refusal};
use alkpubsub_engine::model::{Allowed, Grants, Limits};
use alkpubsub_engine::spoke::{PeerKind, Reconnect, SpokeConfig};
#[cfg(feature = "iroh")]
use alkpubsub_engine::swarm::{MAX_EVENT_BYTES, SwarmConfig};
#[cfg(feature = "redis")]
use alkpubsub_engine::transport::redis::{RedisConfig, RedisServers};
use alkpubsub_engine::transport::tls::ClientTls;
use alkpubsub_engine::transport::websocket::{ClientConfig, ListenConfig, ServerTls};
use napi_derive::napi;

/// PEM texts of a server.
#[napi(object)]
pub struct TlsServerOptions {
    pub cert: String,
    pub key: String,
    pub ca: Option<String>,
    pub request_cert: Option<bool>,
}

/// PEM texts of a client.
#[napi(object)]
pub(crate) struct TlsClientOptions {
    pub ca: Option<String>,
    pub cert: Option<String>,
    pub key: Option<String>,
    pub server_name: Option<String>,
    pub insecure: Option<bool>,
}

/// Where a hub listens for WebSocket connections.
#[napi(object)]
pub struct ListenOptions {
    pub host: Option<String>,
    pub port: u16,
    pub path: Option<String>,
    pub reuse_port: Option<bool>,
    pub tls: Option<TlsServerOptions>,
    pub anyone: Option<bool>,
    pub allowed_hosts: Option<Vec<String>>,
    pub allowed_origins: Option<Vec<String>>,
}

/// Whom a hub lets in at servers of others.
#[napi(object)]
pub struct DoorOptions {
    pub anyone: Option<bool>,
    pub allowed_hosts: Option<Vec<String>>,
    pub allowed_origins: Option<Vec<String>>,
}

/// What another server knows of a connection.
#[napi(object)]
pub struct VisitorOptions {
    pub remote_address: Option<String>,
    pub remote_port: Option<u16>,
    pub local_address: Option<String>,
    pub is_unix: bool,
    pub identity: Option<String>,
}

/// What is known of the peer of a WebSocket that another server has made.
#[napi(object)]
pub struct PeerOptions {
    pub remote_address: Option<String>,
    pub url: Option<String>,
    pub headers: Vec<Vec<String>>,
    pub protocols: Vec<String>,
}

/// What a peer may do: lists of patterns; without a list everything.
#[napi(object)]
pub struct GrantLists {
    pub identity: Option<String>,
    pub subscribe: Option<Vec<String>>,
    pub publish: Option<Vec<String>>,
}

impl GrantLists {
    pub(crate) fn grants(self) -> Grants {
        let allowed = |list: Option<Vec<String>>| list.map_or(Allowed::Everything, Allowed::Matching);
        Grants { identity: self.identity, subscribe: allowed(self.subscribe), publish: allowed(self.publish) }
    }
}

/// What the application says of a peer: grants, or a word why not.
#[napi(object)]
pub struct Verdict {
    pub grants: Option<GrantLists>,
    pub refusal: Option<String>,
}

impl Verdict {
    /// What is neither is a refusal.
    pub(crate) fn judgement(self) -> Judgement {
        match (self.grants, self.refusal.as_deref()) {
            (Some(grants), None) => Ok(grants.grants()),
            (_, Some("notIdentified")) => Err(Refusal::NotIdentified),
            (_, Some("unavailable")) => Err(Refusal::Unavailable),
            _ => Err(Refusal::Forbidden),
        }
    }
}

/// Options of a hub, whatever makes its links.
#[napi(object)]
pub struct HubOptions {
    pub relay: Option<bool>,
    pub stall_ms: Option<f64>,
    pub max_connections: Option<f64>,
    pub max_topics_per_connection: Option<f64>,
    pub max_topics: Option<f64>,
    pub max_message_bytes: Option<f64>,
    pub max_topic_bytes: Option<f64>,
    pub handshake_ms: Option<f64>,
    pub heartbeat_ms: Option<f64>,
    pub max_malformed: Option<f64>,
    pub max_buffered_amount: Option<f64>,
    pub max_pending_bytes: Option<f64>,
    pub max_inbound_bytes: Option<f64>,
    pub max_publish_per_second: Option<f64>,
    pub max_publish_bytes_per_second: Option<f64>,
    pub admit_by_hand: bool,
    pub authorize: bool,
    pub authorize_subscribe: bool,
}

/// What a spoke says in a WebSocket handshake.
#[napi(object)]
pub(crate) struct ClientOptions {
    pub protocols: Vec<String>,
    pub tls: Option<TlsClientOptions>,
}

/// How events lie in Redis, and how to get there.
#[cfg(feature = "redis")]
#[napi(object)]
pub(crate) struct RedisOptions {
    pub prefix: Option<String>,
    pub origin: Option<String>,
    pub client_name: Option<String>,
    pub tls: Option<TlsClientOptions>,
    pub sentinels: Option<Vec<String>>,
    pub service_name: Option<String>,
    pub master_tls: Option<bool>,
    pub nodes: Option<Vec<String>>,
    pub sharded: Option<bool>,
}

/// Options of a spoke, whatever carries its link.
#[napi(object)]
pub(crate) struct SpokeOptions {
    pub url: String,
    pub headers: Vec<Vec<String>>,
    pub asks: bool,
    pub reconnect: bool,
    pub reconnect_initial: Option<bool>,
    pub min_delay_ms: Option<f64>,
    pub max_delay_ms: Option<f64>,
    pub peer: Option<String>,
    pub hello_timeout_ms: Option<f64>,
    pub queue_max_age_ms: Option<f64>,
    pub max_message_bytes: Option<f64>,
    pub max_topic_bytes: Option<f64>,
    pub handshake_ms: Option<f64>,
    pub heartbeat_ms: Option<f64>,
    pub max_malformed: Option<f64>,
    pub max_buffered_amount: Option<f64>,
    pub max_pending_bytes: Option<f64>,
}

/// Options of a bus, whatever its medium.
#[napi(object)]
pub(crate) struct BusOptions {
    pub max_message_bytes: Option<f64>,
    pub max_topic_bytes: Option<f64>,
    pub max_buffered_amount: Option<f64>,
    pub max_pending_bytes: Option<f64>,
}

/// The limits of messages, which all options carry.
macro_rules! message_limits {
    ($options:expr, $defaults:expr) => {
        Limits {
            max_message_bytes: bytes($options.max_message_bytes, $defaults.max_message_bytes)
                .min(Limits::HARD_MAX_MESSAGE_BYTES),
            max_topic_bytes: bytes($options.max_topic_bytes, $defaults.max_topic_bytes),
            ..$defaults
        }
    };
}

/// The limits that options of hubs and spokes carry.
macro_rules! limits {
    ($options:expr) => {{
        let defaults = Limits::default();
        Limits {
            max_malformed_per_minute: times($options.max_malformed, defaults.max_malformed_per_minute),
            handshake: millis($options.handshake_ms, defaults.handshake),
            heartbeat: millis($options.heartbeat_ms, defaults.heartbeat),
            ..message_limits!($options, defaults)
        }
    }};
}

fn bytes(given: Option<f64>, default: usize) -> usize {
    given.map_or(default, |given| given as usize)
}

fn times(given: Option<f64>, default: u32) -> u32 {
    // Saturates: a number above the largest means the same.
    given.map_or(default, |given| given as u32)
}

fn millis(given: Option<f64>, default: Duration) -> Duration {
    given.map_or(default, |given| Duration::from_millis(given as u64))
}

impl HubOptions {
    pub(crate) fn hub_config(&self) -> HubConfig {
        let defaults = HubConfig::default();
        HubConfig {
            relay: self.relay.unwrap_or(defaults.relay),
            admit_by_hand: self.admit_by_hand,
            authorize: self.authorize,
            authorize_subscribe: self.authorize_subscribe,
            max_buffered: bytes(self.max_buffered_amount, defaults.max_buffered),
            max_pending: bytes(self.max_pending_bytes, defaults.max_pending),
            stall: millis(self.stall_ms, defaults.stall),
            limits: self.limits(),
        }
    }

    fn limits(&self) -> Limits {
        let defaults = Limits::default();
        Limits {
            max_connections: bytes(self.max_connections, defaults.max_connections),
            max_topics_per_connection: bytes(self.max_topics_per_connection, defaults.max_topics_per_connection),
            max_topics: bytes(self.max_topics, defaults.max_topics),
            max_inbound_bytes: bytes(self.max_inbound_bytes, defaults.max_inbound_bytes),
            max_publish_per_second: self.max_publish_per_second.map(|given| given as u64),
            max_publish_bytes_per_second: self.max_publish_bytes_per_second.map(|given| given as u64),
            ..limits!(self)
        }
    }
}

impl ListenOptions {
    pub(crate) fn listen_config(self, hub: &HubConfig) -> ListenConfig {
        ListenConfig {
            host: self.host.unwrap_or_else(|| "127.0.0.1".into()),
            port: self.port,
            path: self.path,
            reuse_port: self.reuse_port.unwrap_or_default(),
            anyone: self.anyone.unwrap_or_default(),
            tls: self.tls.map(|tls| ServerTls {
                cert: tls.cert,
                key: tls.key,
                ca: tls.ca,
                request_cert: tls.request_cert.unwrap_or_default(),
            }),
            allowed_hosts: self.allowed_hosts.unwrap_or_default(),
            allowed_origins: self.allowed_origins.unwrap_or_default(),
            is_guarded: hub.authorize,
            limits: hub.limits.clone(),
        }
    }
}

impl DoorOptions {
    pub(crate) fn listen_config(self, hub: &HubConfig) -> ListenConfig {
        ListenConfig {
            anyone: self.anyone.unwrap_or_default(),
            allowed_hosts: self.allowed_hosts.unwrap_or_default(),
            allowed_origins: self.allowed_origins.unwrap_or_default(),
            is_guarded: hub.authorize,
            limits: hub.limits.clone(),
            ..ListenConfig::default()
        }
    }
}

impl SpokeOptions {
    pub(crate) fn spoke_config(&self) -> SpokeConfig {
        let defaults = SpokeConfig::default();
        SpokeConfig {
            destination: Destination { url: self.url.clone(), headers: headers(&self.headers) },
            asks: self.asks,
            waits: true,
            gathers: false,
            peer: match self.peer.as_deref() {
                Some("native") => PeerKind::Native,
                Some("plain") => PeerKind::Plain,
                _ => PeerKind::Auto,
            },
            hello_timeout: millis(self.hello_timeout_ms, defaults.hello_timeout),
            reconnect: self.reconnect.then(|| self.reconnect_policy()),
            max_buffered: bytes(self.max_buffered_amount, defaults.max_buffered),
            max_pending: bytes(self.max_pending_bytes, defaults.max_pending),
            queue_max_age: millis(self.queue_max_age_ms, defaults.queue_max_age),
            limits: limits!(self),
        }
    }

    fn reconnect_policy(&self) -> Reconnect {
        let defaults = Reconnect::default();
        Reconnect {
            initial: self.reconnect_initial.unwrap_or(defaults.initial),
            min_delay: millis(self.min_delay_ms, defaults.min_delay),
            max_delay: millis(self.max_delay_ms, defaults.max_delay),
        }
    }
}

#[cfg(feature = "iroh")]
impl SpokeOptions {
    /// Whom to call is added; where to connect means nothing here.
    pub(crate) fn swarm_config(&self) -> SwarmConfig {
        let defaults = SwarmConfig::default();
        let message_bytes = bytes(self.max_message_bytes, defaults.limits.max_message_bytes);
        SwarmConfig {
            bootstrap: Vec::new(),
            reconnect: Reconnect {
                initial: self.reconnect_initial.unwrap_or(defaults.reconnect.initial),
                ..self.reconnect_policy()
            },
            max_buffered: bytes(self.max_buffered_amount, defaults.max_buffered),
            max_pending: bytes(self.max_pending_bytes, defaults.max_pending),
            queue_max_age: millis(self.queue_max_age_ms, defaults.queue_max_age),
            limits: Limits { max_message_bytes: message_bytes.min(MAX_EVENT_BYTES), ..limits!(self) },
        }
    }
}

impl BusOptions {
    pub(crate) fn bus_config(&self) -> BusConfig {
        let defaults = BusConfig::default();
        BusConfig {
            max_buffered: bytes(self.max_buffered_amount, defaults.max_buffered),
            max_pending: bytes(self.max_pending_bytes, defaults.max_pending),
            limits: message_limits!(self, defaults.limits),
        }
    }
}

impl ClientOptions {
    pub(crate) fn client_config(self, limits: &Limits) -> ClientConfig {
        ClientConfig { protocols: self.protocols, tls: client_tls(self.tls), limits: limits.clone() }
    }
}

#[cfg(feature = "redis")]
impl RedisOptions {
    pub(crate) fn redis_config(self, limits: &Limits) -> RedisConfig {
        let servers = match (self.sentinels, self.nodes) {
            (Some(urls), _) => RedisServers::Sentinels {
                urls,
                service: self.service_name.unwrap_or_default(),
                is_tls: self.master_tls.unwrap_or_default(),
            },
            (None, Some(urls)) => RedisServers::Cluster { urls, is_sharded: self.sharded.unwrap_or_default() },
            (None, None) => RedisServers::One,
        };
        RedisConfig {
            servers,
            prefix: self.prefix.unwrap_or_default(),
            origin: self.origin,
            client_name: self.client_name,
            tls: client_tls(self.tls),
            limits: limits.clone(),
        }
    }
}

fn client_tls(options: Option<TlsClientOptions>) -> ClientTls {
    options.map_or_else(ClientTls::default, |tls| ClientTls {
        ca: tls.ca,
        cert: tls.cert,
        key: tls.key,
        server_name: tls.server_name,
        insecure: tls.insecure.unwrap_or_default(),
    })
}

/// Name and value pairs; a pair that is none is left out.
pub(crate) fn headers(pairs: &[Vec<String>]) -> Vec<(String, String)> {
    pairs.iter().filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone()))).collect()
}
