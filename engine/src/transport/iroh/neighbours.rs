//! The connections of swarms: those that come in are bounded, and so is what waits in each; one whose other end stands still is closed, for
//! it would hold up all others. Does not dial and knows no topics.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use iroh::endpoint::{Connection, VarInt};
use iroh_gossip::net::Gossip;
use tokio::sync::Semaphore;
use tracing::debug;

use super::endpoint::{IrohEndpoint, STREAMS};
use super::gossip::GOSSIP_ALPN;
use super::link;
use super::standstill::Watched;
use crate::model::{CloseCode, CloseReason};
use crate::trace;

/// Connections that come in and live at once; one more is closed. Source: none, a guess: a member has five neighbours in each topic.
pub(super) const MAX_CONNECTIONS: usize = 256;

/// Of them, connections with one member. Source: none, a guess: a member that starts anew leaves one behind until that times out.
const MAX_CONNECTIONS_OF_ONE: usize = 8;

/// So often all connections are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Takes a connection that came in, as long as it lives.
pub(super) async fn receive(endpoint: &IrohEndpoint, gossip: &Gossip, places: &Semaphore, connection: Connection) {
    let of_one = endpoint.live_with(&connection.remote_id()).iter().filter(|other| is_gossip(other)).count();
    let Some(_place) = places.try_acquire().ok().filter(|_| of_one <= MAX_CONNECTIONS_OF_ONE) else {
        return link::close(&connection, &CloseReason::new(CloseCode::TOO_SLOW, "too many connections"));
    };
    bound_streams(&connection, endpoint.swarms().topics());
    let closed = connection.weak_handle().closed();
    if gossip.handle_connection(connection).await.is_ok() {
        closed.await;
    }
}

fn is_gossip(connection: &Connection) -> bool {
    connection.alpn() == GOSSIP_ALPN.as_bytes()
}

/// The library opens one stream for each topic, one way; one that ends may be open a moment longer. It keeps a whole message of the largest size for
/// each as soon as four bytes of it have come.
fn bound_streams(connection: &Connection, topics: usize) {
    let streams = u32::try_from(2 * topics).map_or(u32::MAX, |more| more.saturating_add(STREAMS));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(streams));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(0));
}

/// Looks after the connections of swarms while there is a member: as many streams as there are topics for, and none that holds up the others.
pub(super) async fn watch(endpoint: IrohEndpoint) {
    let (mut watched, mut passed_before) = (HashMap::<usize, Watched>::new(), 0);
    loop {
        tokio::select! {
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
            () = endpoint.closed() => return,
        }
        let swarms = endpoint.swarms();
        let Some(topics) = swarms.watched_topics() else { return };
        let (now, passed) = (Instant::now(), swarms.passed());
        let live: Vec<Connection> = endpoint.live().into_iter().filter(is_gossip).collect();
        watched.retain(|id, _| live.iter().any(|connection| connection.stable_id() == *id));
        for connection in live {
            bound_streams(&connection, topics);
            let counts = connection.stats().into();
            let watched =
                watched.entry(connection.stable_id()).or_insert_with(|| Watched::new(now, counts, passed_before));
            if watched.stands_still(now, counts, passed) {
                debug!(target: trace::IROH, id = %connection.remote_id().fmt_short(), "a neighbour stands still");
                link::close(&connection, &CloseReason::new(CloseCode::TOO_SLOW, "you hold up the swarm"));
            }
        }
        passed_before = passed;
    }
}
