//! Topics of iroh-gossip at an endpoint, for swarms. Dials members itself and hands their connections to the library. Does not know events.
//!
//! Invariants: an endpoint has at most one library instance, and one member per topic; whoever the endpoint's lists keep out gets no
//! connection, whoever dials; the protocol is accepted exactly while there is a member; connections that come in are bounded, and so is what
//! waits in each.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use iroh::endpoint::{
    AfterHandshakeOutcome, BeforeConnectOutcome, Connection, EndpointHooks, Side, VarInt, WeakConnectionHandle,
};
use iroh::{EndpointAddr, EndpointId};
use iroh_gossip::api::{Event, GossipReceiver, GossipSender, JoinOptions};
use iroh_gossip::net::Gossip;
use iroh_gossip::proto::{PlumtreeConfig, TopicId as GossipTopic};
use n0_future::Stream;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use tokio::time::timeout;
use tracing::debug;

use super::access::{Access, DENIED};
use super::connect::{DialConfig, IrohConnector, Speaks};
use super::endpoint::{Door, IrohEndpoint, Registered, Stay};
use super::neighbours::{receive, watch};
use crate::link::overlay::{Ear, Joined, MemberId, Mouth, Overlay, Rumour, Signature, TopicId};
use crate::link::{BoxFuture, ConnectError};
use crate::mailbox::lock;
use crate::model::{CloseCode, Error, ErrorKind};
use crate::trace;

/// The protocol of swarms. An own name: in swarms of others, members that take only smaller messages would stand between ours.
pub const GOSSIP_ALPN: &str = "alkpubsub/1+gossip";

/// What the hash of a topic's text begins with.
const TOPIC_DOMAIN: &[u8] = b"alkpubsub/1 gossip topic\0";

/// Bytes of one message of the library: one event of 64 KiB in a run, and what the library adds.
const MAX_MESSAGE: usize = (64 << 10) + 1024;

/// How long the library keeps messages for members that miss them. Source: as long as a run is waited for.
const RETENTION: Duration = Duration::from_secs(2);

/// Messages that wait between the library and the task that reads them, besides 256 of the library's own.
const CAPACITY: usize = 256;

/// So long a call watches whether the member closes the connection at once. Source: a refusal comes with the first round trip.
const REFUSAL: Duration = Duration::from_secs(1);

/// So long a member stays in the topic after its end, for others that ask for what it said last: the library tells lazy neighbours of a
/// message after 5 ms, and they ask for it after 80 ms, then every 40.
const LINGER: Duration = Duration::from_secs(1);

/// So long the word of its leaving may take, before an endpoint that waits for it closes. Source: none, a guess.
const FAREWELL: Duration = Duration::from_millis(200);

/// The id of a topic that is named by a text: a hash of its UTF-8.
#[must_use]
pub fn topic_id(name: &str) -> TopicId {
    let hash = digest(&SHA256, &[TOPIC_DOMAIN, name.as_bytes()].concat());
    let mut id = [0; 32];
    id.copy_from_slice(hash.as_ref());
    id
}

/// What an endpoint keeps for swarms.
#[derive(Default)]
pub(super) struct Swarms {
    state: Mutex<State>,
    /// Messages that were said and heard.
    passed: AtomicU64,
    /// Connections that came in, the oldest first.
    incoming: Mutex<Vec<(EndpointId, WeakConnectionHandle)>>,
}

impl Swarms {
    fn pass(&self) {
        self.passed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Notes a connection that came in; gives those of the same member that came before and live, the oldest first.
    pub(super) fn come_in(&self, connection: &Connection) -> Vec<Connection> {
        let mut incoming = lock(&self.incoming);
        let lives = |weak: &WeakConnectionHandle| weak.upgrade().filter(|other| other.close_reason().is_none());
        incoming.retain(|(_, weak)| lives(weak).is_some());
        let id = connection.remote_id();
        let of_one = incoming.iter().filter(|(other, _)| *other == id).filter_map(|(_, weak)| lives(weak)).collect();
        incoming.push((id, connection.weak_handle()));
        of_one
    }

    pub(super) fn topics(&self) -> usize {
        lock(&self.state).topics.len()
    }

    /// As [`Self::topics`], for whoever looks after connections; nothing, and nobody looks any more, when there are none.
    pub(super) fn watched_topics(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        state.is_watched = !state.topics.is_empty();
        state.is_watched.then_some(state.topics.len())
    }

    /// Gives a protocol's place back where it is taken: nobody finds it neither free nor shared.
    fn give_back(&self, registered: Arc<Registered>) {
        let state = lock(&self.state);
        drop(registered);
        drop(state);
    }
}

#[derive(Default)]
struct State {
    /// Made for the first member, and kept: an endpoint's list of address lookups only grows.
    gossip: Option<Gossip>,
    registered: Weak<Registered>,
    topics: HashSet<TopicId>,
    epoch: u64,
    is_watched: bool,
}

/// One topic at an endpoint.
pub struct IrohGossip {
    endpoint: IrohEndpoint,
    topic: TopicId,
    epoch: u64,
    claim: Arc<Claim>,
}

impl std::fmt::Debug for IrohGossip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IrohGossip").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A topic that is taken at an endpoint, and the protocol that is accepted for it.
struct Claim {
    endpoint: IrohEndpoint,
    topic: TopicId,
    registered: Option<Arc<Registered>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let swarms = self.endpoint.swarms();
        lock(&swarms.state).topics.remove(&self.topic);
        if let Some(registered) = self.registered.take() {
            swarms.give_back(registered);
        }
    }
}

impl IrohGossip {
    /// Takes a topic at an endpoint. On a runtime.
    ///
    /// # Errors
    /// `Listen` when another target at the endpoint has the topic, `Closed`.
    pub fn new(endpoint: IrohEndpoint, topic: TopicId) -> Result<Self, Error> {
        if endpoint.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the endpoint is closed"));
        }
        let mut state = lock(&endpoint.swarms().state);
        if state.topics.contains(&topic) {
            let message = "another target at this endpoint has the topic: close that first, or use an endpoint each";
            return Err(Error::new(ErrorKind::Listen, message));
        }
        let gossip = state.gossip.get_or_insert_with(|| spawn(&endpoint)).clone();
        let registered = match state.registered.upgrade() {
            Some(registered) => registered,
            None => {
                let at = endpoint.clone();
                let door: Door = Arc::new(move |connection| {
                    let (endpoint, gossip) = (at.clone(), gossip.clone());
                    Box::pin(async move { receive(&endpoint, &gossip, connection).await })
                });
                Arc::new(endpoint.register(&[GOSSIP_ALPN.into()], &door)?)
            }
        };
        state.registered = Arc::downgrade(&registered);
        state.topics.insert(topic);
        state.epoch = now_ms().max(state.epoch + 1);
        let epoch = state.epoch;
        if !std::mem::replace(&mut state.is_watched, true) {
            tokio::spawn(watch(endpoint.clone()));
        }
        drop(state);
        let claim = Arc::new(Claim { endpoint: endpoint.clone(), topic, registered: Some(registered) });
        Ok(Self { endpoint, topic, epoch, claim })
    }
}

fn spawn(endpoint: &IrohEndpoint) -> Gossip {
    let broadcast = PlumtreeConfig { message_cache_retention: RETENTION, ..PlumtreeConfig::default() };
    Gossip::builder()
        .alpn(GOSSIP_ALPN)
        .max_message_size(MAX_MESSAGE)
        .broadcast_config(broadcast)
        .spawn(endpoint.quic().clone())
}

impl Overlay for IrohGossip {
    fn me(&self) -> MemberId {
        *self.endpoint.id().as_bytes()
    }

    fn topic(&self) -> TopicId {
        self.topic
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn sign(&self, text: &[u8]) -> Signature {
        self.endpoint.quic().secret_key().sign(text).to_bytes()
    }

    fn is_signed_by(&self, author: &MemberId, text: &[u8], signature: &Signature) -> bool {
        // Not by the endpoint's id: what that uses takes 11 ms in a debug build.
        UnparsedPublicKey::new(&ED25519, author).verify(text, signature).is_ok()
    }

    fn join(&self) -> BoxFuture<Result<Joined, Error>> {
        let (endpoint, topic, claim) = (self.endpoint.clone(), self.topic, Arc::clone(&self.claim));
        let gossip = lock(&endpoint.swarms().state).gossip.clone();
        Box::pin(async move {
            let closed = || Error::new(ErrorKind::Closed, "the endpoint is closed");
            let gossip = gossip.ok_or_else(closed)?;
            let mut options = JoinOptions::with_bootstrap([]);
            options.subscription_capacity = CAPACITY;
            let joined = gossip.subscribe_with_opts(GossipTopic::from_bytes(topic), options).await;
            let (sender, receiver) = joined.map_err(|_| closed())?.split();
            debug!(target: trace::IROH, "joined a gossip topic");
            let registered = claim.registered.clone().ok_or_else(closed)?;
            let leaving =
                Leaving { held: Some((endpoint.stay(), registered, sender.clone())), endpoint: endpoint.clone() };
            let ear = GossipEar { receiver, endpoint: endpoint.clone() };
            let mouth = GossipMouth { endpoint, gossip, sender, _claim: claim, _leaving: leaving };
            Ok((Box::new(ear) as Box<dyn Ear>, Box::new(mouth) as Box<dyn Mouth>))
        })
    }

    fn ended(&self) -> BoxFuture<()> {
        let endpoint = self.endpoint.clone();
        Box::pin(async move { endpoint.closed().await })
    }
}

struct GossipEar {
    receiver: GossipReceiver,
    endpoint: IrohEndpoint,
}

impl Ear for GossipEar {
    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<Option<Rumour>> {
        Pin::new(&mut self.receiver).poll_next(cx).map(|event| match event {
            Some(Ok(Event::NeighborUp(id))) => Some(Rumour::Up(*id.as_bytes())),
            Some(Ok(Event::NeighborDown(id))) => Some(Rumour::Down(*id.as_bytes())),
            Some(Ok(Event::Received(message))) => {
                self.endpoint.swarms().pass();
                Some(Rumour::Said { bytes: message.content, by: *message.delivered_from.as_bytes() })
            }
            Some(Ok(Event::Lagged)) => Some(Rumour::Lagged),
            Some(Err(_)) | None => None,
        })
    }
}

struct GossipMouth {
    endpoint: IrohEndpoint,
    gossip: Gossip,
    sender: GossipSender,
    _claim: Arc<Claim>,
    _leaving: Leaving,
}

impl Mouth for GossipMouth {
    fn say(&self, message: Bytes) -> BoxFuture<bool> {
        let sender = self.sender.clone();
        self.endpoint.swarms().pass();
        Box::pin(async move { sender.broadcast(message).await.is_ok() })
    }

    fn call(&self, member: MemberId) -> BoxFuture<Result<(), ConnectError>> {
        let (endpoint, gossip, sender) = (self.endpoint.clone(), self.gossip.clone(), self.sender.clone());
        Box::pin(async move {
            let invalid = |_| ConnectError {
                error: Error::new(ErrorKind::InvalidId, "a member's id is no key"),
                is_terminal: true,
            };
            let id = EndpointId::from_bytes(&member).map_err(invalid)?;
            let alpn = GOSSIP_ALPN.to_owned();
            let dial = DialConfig { hub: id, alpn, speaks: Speaks::Plain, max_message: MAX_MESSAGE };
            let connector = IrohConnector::new(endpoint, dial).called("the member");
            let connection = connector.connection().await?;
            let closed = connection.weak_handle().closed();
            let ended =
                || ConnectError { error: Error::new(ErrorKind::Closed, "the endpoint is closed"), is_terminal: true };
            // The connection first: a member that the library once failed to dial would else wait for ever.
            gossip.handle_connection(connection).await.map_err(|_| ended())?;
            sender.join_peers(vec![id]).await.map_err(|_| ended())?;
            match timeout(REFUSAL, closed).await {
                Ok(Some(closed)) => Err(connector.lost(&closed.reason)),
                Ok(None) | Err(_) => Ok(()),
            }
        })
    }
}

/// What a member holds of its endpoint for a moment longer than itself.
struct Leaving {
    endpoint: IrohEndpoint,
    held: Option<(Stay, Arc<Registered>, GossipSender)>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let Some((stay, registered, sender)) = self.held.take() else {
            return;
        };
        let endpoint = self.endpoint.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(LINGER).await;
                drop(sender);
                tokio::time::sleep(FAREWELL).await;
                endpoint.swarms().give_back(registered);
                drop(stay);
            });
        }
    }
}

/// Holds the endpoint's lists for connections that the library makes on its own.
#[derive(Debug)]
pub(super) struct Gate(pub(super) Arc<Access>);

impl EndpointHooks for Gate {
    async fn before_connect<'a>(&'a self, to: &'a EndpointAddr, alpn: &'a [u8]) -> BeforeConnectOutcome {
        if alpn == GOSSIP_ALPN.as_bytes() && !self.0.lets_in(&to.id) {
            return BeforeConnectOutcome::Reject;
        }
        BeforeConnectOutcome::Accept
    }

    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        let is_ours = connection.side() == Side::Client && connection.alpn() == GOSSIP_ALPN.as_bytes();
        if !is_ours || Access::enter(&self.0, connection) {
            return AfterHandshakeOutcome::Accept;
        }
        AfterHandshakeOutcome::Reject {
            error_code: VarInt::from_u32(CloseCode::REFUSED.0.into()),
            reason: DENIED.as_bytes().to_vec(),
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What other programs must reproduce.
    #[test]
    fn a_topic_is_the_hash_of_its_domain_and_name() {
        let hex: String = topic_id("chat").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "4c1303cfb38e0ae14c3267d8514fb4abb9f1a2fec928581873ceccbf36854a45");
        assert_ne!(topic_id(""), topic_id("chat"));
    }
}
