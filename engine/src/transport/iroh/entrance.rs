//! What becomes of a connection that comes in: its handshake, the lists, the application's word, then whoever takes its protocol. Does not
//! listen and decides nothing itself.
//!
//! Invariants: connections are accepted concurrently, as many at once as `HANDSHAKES`; who is not let in is told so before a stream is
//! accepted; whoever takes a protocol hears of nobody who was not let in; handshakes from addresses that nobody has proven hold a part of the
//! places and not all.

use std::sync::Arc;
use std::time::Duration;

use iroh::endpoint::{Connection, Incoming, IncomingAddr};
use tokio::time::timeout;
use tracing::debug;

use super::endpoint::IrohEndpoint;
use super::facts::{PathEnd, count};
use super::link;
use super::screening::Newcomer;
use crate::model::{CloseCode, CloseReason};
use crate::trace;

/// Handshakes under way at once; one more is refused. Source: none, a guess.
pub(super) const HANDSHAKES: usize = 1024;
/// Handshakes under way above which whoever comes has to prove its address first, which costs it a round trip: packets from forged addresses
/// hold no place then (RFC 9000, section 8.1). Source: none, a guess: a quarter of the places.
const UNPROVEN: usize = 256;
/// From the first packet to the end of the handshake. Source: none, a guess: hundreds at once on one slow core take more than ten seconds.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Accepts until the endpoint is closed.
pub(super) async fn accept_all(endpoint: IrohEndpoint) {
    while let Some(incoming) = endpoint.quic().accept().await {
        let under_way = HANDSHAKES - endpoint.handshakes().available_permits();
        if under_way >= UNPROVEN && !incoming.remote_addr_validated() {
            count(&endpoint.counters().retried);
            if let Err(error) = incoming.retry() {
                debug!(target: trace::IROH, %error, "a client cannot be asked to prove its address");
            }
            continue;
        }
        let Ok(place) = Arc::clone(endpoint.handshakes()).try_acquire_owned() else {
            count(&endpoint.counters().crowded_out);
            incoming.refuse();
            continue;
        };
        let endpoint = endpoint.clone();
        tokio::spawn(async move {
            let from = end_of(&incoming);
            let connection = timeout(HANDSHAKE, incoming).await;
            drop(place);
            match connection {
                Ok(Ok(connection)) => receive(&endpoint, connection, from).await,
                Ok(Err(error)) => failed(&endpoint, &format!("{error:#}")),
                Err(_) => failed(&endpoint, "it took too long"),
            }
        });
    }
}

fn end_of(incoming: &Incoming) -> PathEnd {
    match incoming.remote_addr() {
        IncomingAddr::Ip(address) => PathEnd::Direct(address),
        IncomingAddr::Relay { url, .. } => PathEnd::Relay(url),
        other => PathEnd::Other(format!("{other:?}")),
    }
}

/// Concerns nobody but its client, which was told or is gone.
fn failed(endpoint: &IrohEndpoint, error: &str) {
    count(&endpoint.counters().failed);
    debug!(target: trace::IROH, error, "handshake failed");
}

async fn receive(endpoint: &IrohEndpoint, connection: Connection, from: PathEnd) {
    if !endpoint.enter(&connection) || !screened(endpoint, &connection, from).await {
        return;
    }
    count(&endpoint.counters().accepted);
    match endpoint.door(connection.alpn()) {
        Some(door) => door(connection).await,
        // Whoever wanted this protocol has just gone.
        None => {
            link::close(&connection, &CloseReason::new(CloseCode::GOING_AWAY, "nobody accepts this protocol any more"))
        }
    }
}

/// Asks about it, unless nobody is to be asked. False: it was closed, by whomever.
async fn screened(endpoint: &IrohEndpoint, connection: &Connection, from: PathEnd) -> bool {
    let Some(screening) = endpoint.screening() else { return true };
    let id = connection.remote_id();
    let newcomer = Newcomer { id, alpn: String::from_utf8_lossy(connection.alpn()).into_owned(), from };
    let answer = tokio::select! {
        answer = screening.screen(newcomer) => answer,
        // It has gone, or the lists have changed.
        _ = connection.closed() => return false,
    };
    let Err(reason) = answer else { return true };
    count(&endpoint.counters().refused);
    debug!(target: trace::IROH, id = %id.fmt_short(), code = reason.code.0, why = reason.reason, "refused");
    link::close(connection, &reason);
    false
}
