//! The connections of swarms: those that come in are bounded, and so is what waits in each; one whose other end stands still is closed, for
//! it would hold up all others. Does not dial and knows no topics.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use iroh::endpoint::{Connection, VarInt};
use iroh_gossip::net::Gossip;
use tracing::debug;

use super::endpoint::{IrohEndpoint, STREAMS};
use super::gossip::GOSSIP_ALPN;
use super::link;
use super::standstill::Watched;
use crate::model::{CloseCode, CloseReason};
use crate::trace;

/// Connections of both directions that live at once, and how many more for each topic; one more that comes in is closed. Source: none, a guess: a
/// member has five neighbours in each topic, and dials one for each topic that it joins.
const MAX_CONNECTIONS: usize = 256;
const MAX_CONNECTIONS_PER_TOPIC: usize = 8;

/// Connections of one member that came in, and how many more for each topic; of more, the oldest is closed, which neither side sends on any more.
/// Source: none, a guess.
const MAX_CONNECTIONS_OF_ONE: usize = 16;
const MAX_CONNECTIONS_OF_ONE_PER_TOPIC: usize = 2;

/// So often all connections are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Takes a connection that came in, as long as it lives.
pub(super) async fn receive(endpoint: &IrohEndpoint, gossip: &Gossip, connection: Connection) {
    let (swarms, live) = (endpoint.swarms(), endpoint.live().into_iter().filter(is_gossip).count());
    let topics = swarms.topics();
    if live > MAX_CONNECTIONS + MAX_CONNECTIONS_PER_TOPIC * topics {
        return too_many(&connection);
    }
    let of_one = swarms.come_in(&connection);
    if of_one.len() >= MAX_CONNECTIONS_OF_ONE + MAX_CONNECTIONS_OF_ONE_PER_TOPIC * topics {
        of_one.first().into_iter().for_each(too_many);
    }
    bound_streams(&connection, topics);
    let _ended = gossip.handle_connection(connection).await;
}

fn too_many(connection: &Connection) {
    link::close(connection, &CloseReason::new(CloseCode::TOO_SLOW, "too many connections"));
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

/// Looks after the connections of swarms while there is a member: as many streams as there are topics for, none that holds up the others, and
/// none that others have taken the place of.
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
        for connection in &live {
            bound_streams(connection, topics);
            let counts = connection.stats().into();
            let new = || Watched::new(now, counts, passed_before);
            let watched = watched.entry(connection.stable_id()).or_insert_with(new);
            if watched.stands_still(now, counts, passed) {
                debug!(target: trace::IROH, id = %connection.remote_id().fmt_short(), "a neighbour stands still");
                link::close(connection, &CloseReason::new(CloseCode::TOO_SLOW, "you hold up the swarm"));
            }
        }
        close_superseded(&live, &watched);
        passed_before = passed;
    }
}

/// A member is dialled anew for each topic, since that alone makes sure that both sides know of each other; and the library, which then sends on the
/// newest connection only, never closes the older ones.
fn close_superseded(live: &[Connection], watched: &HashMap<usize, Watched>) {
    let mut by_member: HashMap<_, Vec<(&Connection, &Watched)>> = HashMap::new();
    for connection in live {
        if let Some(watched) = watched.get(&connection.stable_id()) {
            by_member.entry(connection.remote_id()).or_default().push((connection, watched));
        }
    }
    for connections in by_member.values() {
        for (connection, watched) in connections {
            if connections.iter().any(|(_, other)| watched.is_superseded_by(other)) {
                link::close(connection, &CloseReason::new(CloseCode::NORMAL, "another connection has taken its place"));
            }
        }
    }
}
