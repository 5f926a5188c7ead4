//! What is known of connections and endpoints while they live: paths, counters, relays. Does not change anything.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use iroh::endpoint::{Connection, RelayStatus};
use iroh::{EndpointId, RelayUrl, TransportAddr, Watcher};

use super::endpoint::IrohEndpoint;
use super::raw::IrohConnection;
use crate::model::{Error, ErrorKind};

/// Where the other end of a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathEnd {
    /// Packets go there directly.
    Direct(SocketAddr),
    /// Packets go through this relay.
    Relay(RelayUrl),
    /// By another kind of transport, as it prints itself.
    Other(String),
}

/// One of the ways that packets of a connection can take.
#[derive(Debug, Clone)]
pub struct PathFacts {
    /// The other end.
    pub end: PathEnd,
    /// The way that data takes at the moment.
    pub is_selected: bool,
    /// The round-trip time, as far as it is known.
    pub rtt: Duration,
    /// UDP payload bytes.
    pub sent_bytes: u64,
    /// UDP payload bytes.
    pub received_bytes: u64,
    /// Packets that were lost.
    pub lost_packets: u64,
}

/// Counters of one connection, over all of its paths.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionFacts {
    /// UDP payload bytes.
    pub sent_bytes: u64,
    /// UDP payload bytes.
    pub received_bytes: u64,
    /// UDP datagrams.
    pub sent_datagrams: u64,
    /// UDP datagrams.
    pub received_datagrams: u64,
    /// Packets that were lost and, where that matters, sent again.
    pub lost_packets: u64,
    /// Their bytes.
    pub lost_bytes: u64,
}

/// Counters of an endpoint since it was bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointFacts {
    /// Connections that live.
    pub connections: u64,
    /// Connections that came in and were let in, by the lists and by the application.
    pub accepted: u64,
    /// Connections that were made by dialling.
    pub dialled: u64,
    /// Connections, of both directions, that the lists refused.
    pub denied: u64,
    /// Connections that came in and that the application did not let in, whatever the reason.
    pub refused: u64,
    /// Handshakes that came in and failed or took too long.
    pub failed: u64,
    /// Handshakes that were refused because too many were under way.
    pub crowded_out: u64,
    /// First packets that were answered with the demand to prove their address, because many handshakes were under way.
    pub retried: u64,
}

/// Where an endpoint counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) dialled: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) crowded_out: AtomicU64,
    pub(super) retried: AtomicU64,
}

impl Counters {
    pub(super) fn facts(&self, connections: usize) -> EndpointFacts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EndpointFacts {
            connections: connections as u64,
            accepted: read(&self.accepted),
            dialled: read(&self.dialled),
            denied: read(&self.denied),
            refused: read(&self.refused),
            failed: read(&self.failed),
            crowded_out: read(&self.crowded_out),
            retried: read(&self.retried),
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A relay through which an endpoint can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayFacts {
    /// Which one.
    pub url: RelayUrl,
    /// It has taken the endpoint.
    pub is_connected: bool,
    /// Why it has not, as far as that is known.
    pub error: Option<String>,
}

impl IrohConnection {
    /// The ways that packets can take at the moment.
    #[must_use]
    pub fn paths(&self) -> Vec<PathFacts> {
        paths_of(self.quic())
    }

    /// What it has sent and received.
    #[must_use]
    pub fn facts(&self) -> ConnectionFacts {
        let stats = self.quic().stats();
        ConnectionFacts {
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            sent_datagrams: stats.udp_tx.datagrams,
            received_datagrams: stats.udp_rx.datagrams,
            lost_packets: stats.lost_packets,
            lost_bytes: stats.lost_bytes,
        }
    }
}

impl IrohEndpoint {
    /// The ways that packets take to and from another endpoint: those of all connections with it, links of hubs and spokes among them.
    #[must_use]
    pub fn paths(&self, id: &EndpointId) -> Vec<PathFacts> {
        self.live_with(id).iter().flat_map(paths_of).collect()
    }

    /// The relay that it has chosen from those that it may use.
    #[must_use]
    pub fn relays(&self) -> Vec<RelayFacts> {
        self.quic().home_relay_status().get().iter().map(relay_facts).collect()
    }

    /// Waits until a relay has taken the endpoint. Cancel safe.
    ///
    /// # Errors
    /// `InvalidOption` when it uses none, `Forbidden` when the relay refuses it, `Closed`.
    pub async fn online(&self) -> Result<(), Error> {
        if !self.has_relays() {
            let message = "the endpoint has no relay to wait for: give it relays";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        tokio::select! {
            result = self.taken_by_a_relay() => result,
            () = self.closed() => Err(Error::new(ErrorKind::Closed, "the endpoint is closed")),
        }
    }

    async fn taken_by_a_relay(&self) -> Result<(), Error> {
        let mut watcher = self.quic().home_relay_status();
        loop {
            let relays = watcher.get();
            if relays.iter().any(RelayStatus::is_connected) {
                return Ok(());
            }
            if let Some((url, why)) = relays.iter().find_map(|it| Some((it.url(), it.auth_denied_reason()?))) {
                let message = format!("the relay {url} does not let this endpoint in: {why}");
                return Err(Error::new(ErrorKind::Forbidden, message));
            }
            if watcher.updated().await.is_err() {
                return Err(Error::new(ErrorKind::Closed, "the endpoint is closed"));
            }
        }
    }
}

fn relay_facts(status: &RelayStatus) -> RelayFacts {
    let denied = status.auth_denied_reason().map(|why| format!("refused: {why}"));
    RelayFacts {
        url: status.url().clone(),
        is_connected: status.is_connected(),
        error: denied.or_else(|| status.last_error().map(|error| format!("{error:#}"))),
    }
}

fn paths_of(connection: &Connection) -> Vec<PathFacts> {
    let paths = connection.paths();
    let facts = paths.iter().map(|path| {
        let stats = path.stats();
        PathFacts {
            end: match path.remote_addr() {
                TransportAddr::Ip(address) => PathEnd::Direct(*address),
                TransportAddr::Relay(url) => PathEnd::Relay(url.clone()),
                other => PathEnd::Other(format!("{other:?}")),
            },
            is_selected: path.is_selected(),
            rtt: stats.rtt,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            lost_packets: stats.lost_packets,
        }
    });
    facts.collect()
}
