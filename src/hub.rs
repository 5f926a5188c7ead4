//! The native class of every hub. Convert, call, convert.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alkpubsub_engine::delivery::Delivery;
use alkpubsub_engine::hub::{Hub, HubConfig};
use alkpubsub_engine::model::{Prefix, Published};
use alkpubsub_engine::route::ConnKey;
#[cfg(feature = "iroh")]
use alkpubsub_engine::transport::iroh::Caller;
use napi::bindgen_prelude::{Function, This};
use napi::{Env, Error, JsValue, Result, Status};
use napi_derive::napi;

use crate::attached::Door;
use crate::backplane::NativeBackplane;
use crate::convert::{GrantLists, HubOptions, Verdict};
use crate::inbox::{Inbox, Resume};
use crate::port::{Port, close_reason, counters, port_methods};
use crate::publisher;
use crate::runtime::{self, EndsWithEnvironment, end_with_environment};
use crate::text::{JsText, Numbers, TextOut};

/// Where a hub can be reached.
#[napi(object)]
#[derive(Clone)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub url: String,
}

struct HubShared {
    hub: Hub,
    inbox: Arc<Inbox>,
    address: Arc<OnceLock<Address>>,
    door: OnceLock<Door>,
}

impl EndsWithEnvironment for HubShared {
    fn environment_ends(&self) {
        self.inbox.close();
        self.hub.abort();
        self.door.get().into_iter().for_each(Door::close);
    }
}

impl Drop for HubShared {
    fn drop(&mut self) {
        self.environment_ends();
    }
}

/// Begins to make links for a hub: listens, or waits in a network; says so when it does.
pub(crate) type Start = Box<dyn FnOnce(&Hub, &Opening)>;

/// What several transports of one hub wait for together.
#[derive(Clone)]
pub(crate) struct Opening {
    address: Arc<OnceLock<Address>>,
    left: Arc<AtomicUsize>,
    #[cfg(feature = "iroh")]
    is_shared: bool,
}

impl Opening {
    /// Several transports wait.
    #[cfg(feature = "iroh")]
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// One transport can be reached, at an address if it has one; with the last the hub is open. The first address is the hub's.
    pub(crate) fn bound(&self, hub: &Hub, address: Option<Address>) {
        if let Some(address) = address {
            self.address.get_or_init(|| address);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            hub.announce_open();
        }
    }
}

/// A hub. What makes its links is added by the file of each transport.
#[napi]
pub struct NativeHub {
    port: Port,
    shared: Arc<HubShared>,
    /// What `begin` begins.
    starts: RefCell<Vec<Start>>,
    #[cfg(feature = "iroh")]
    caller: Arc<OnceLock<Caller>>,
}

impl NativeHub {
    /// Has a transport begin with the hub.
    pub(crate) fn add_start(&self, start: Start) {
        self.starts.borrow_mut().push(start);
    }

    /// What its transports have to know.
    pub(crate) fn config(&self) -> &HubConfig {
        self.shared.hub.config()
    }

    /// Where what dials spokes is put once there is an endpoint for it.
    #[cfg(feature = "iroh")]
    pub(crate) fn caller(&self) -> Arc<OnceLock<Caller>> {
        Arc::clone(&self.caller)
    }

    /// The engine's handle.
    pub(crate) fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// Connections of other servers come in here. Only the first call counts.
    pub(crate) fn set_door(&self, door: Door) -> Result<()> {
        self.shared.door.set(door).map_err(|_| Error::new(Status::GenericFailure, "the door is open already"))
    }

    pub(crate) fn door(&self) -> Result<&Door> {
        self.shared.door.get().ok_or_else(|| Error::new(Status::GenericFailure, "openDoor comes first"))
    }
}

port_methods!(NativeHub, hub, publish_to_all);

fn publish_to_all(hub: &Hub, prefix: &Prefix, payload: &str) -> Published {
    hub.publish(prefix, payload, ConnKey::APPLICATION)
}

#[napi]
impl NativeHub {
    /// A hub that waits for `begin`.
    #[napi(constructor, catch_unwind)]
    pub fn new(options: HubOptions) -> Self {
        let inbox = Arc::new(Inbox::new(Resume::AtHalf));
        let delivery = Arc::clone(&inbox) as Arc<dyn Delivery>;
        let hub = Hub::start(options.hub_config(), Arc::clone(&delivery), runtime::handle());
        let shared =
            Arc::new(HubShared { hub, inbox: Arc::clone(&inbox), address: Arc::default(), door: OnceLock::new() });
        Self {
            port: Port::new(inbox),
            shared,
            starts: RefCell::default(),
            #[cfg(feature = "iroh")]
            caller: Arc::default(),
        }
    }

    /// Begins to bind; a hub that nothing binds is open at once.
    #[napi(catch_unwind)]
    pub fn begin(&self) {
        let HubShared { hub, address, .. } = &*self.shared;
        let starts = self.starts.take();
        if starts.is_empty() {
            hub.announce_open();
        }
        let opening = Opening {
            address: Arc::clone(address),
            left: Arc::new(AtomicUsize::new(starts.len())),
            #[cfg(feature = "iroh")]
            is_shared: starts.len() > 1,
        };
        starts.into_iter().for_each(|start| start(hub, &opening));
    }

    /// Publishes to every subscriber.
    #[napi(catch_unwind, ts_args_type = "pair: number, json: string")]
    pub fn publish(&self, pair: u32, json: JsText) -> Result<u32> {
        let hub = &self.shared.hub;
        self.port.publish(pair, &json, |prefix, payload| publish_to_all(hub, prefix, payload))
    }

    /// Publishes to every subscriber, by name.
    #[napi(catch_unwind, ts_args_type = "type: string, id: string, json: string")]
    pub fn publish_once(&self, type_: String, id: String, json: JsText) -> Result<u32> {
        let hub = &self.shared.hub;
        self.port.publish_once(&json, |payload| hub.publish_once(&type_, &id, payload, ConnKey::APPLICATION))
    }

    /// Publishes to one connection.
    #[napi(catch_unwind, ts_args_type = "connection: number, pair: number, json: string")]
    pub fn publish_to(&self, connection: u32, pair: u32, json: JsText) -> Result<u32> {
        let hub = &self.shared.hub;
        let to = ConnKey::from_bits(connection);
        self.port.publish(pair, &json, |prefix, payload| hub.publish(prefix, payload, to))
    }

    /// Publishes to one connection, by name.
    #[napi(catch_unwind, ts_args_type = "connection: number, type: string, id: string, json: string")]
    pub fn publish_once_to(&self, connection: u32, type_: String, id: String, json: JsText) -> Result<u32> {
        let hub = &self.shared.hub;
        let to = ConnKey::from_bits(connection);
        self.port.publish_once(&json, |payload| hub.publish_once(&type_, &id, payload, to))
    }

    /// Hears a topic from every connection.
    #[napi(catch_unwind)]
    pub fn listen(&self, topic: String) -> u32 {
        self.shared.hub.listen(ConnKey::APPLICATION, &topic);
        self.port.token()
    }

    /// No longer hears a topic.
    #[napi(catch_unwind)]
    pub fn unlisten(&self, topic: String) {
        self.shared.hub.unlisten(ConnKey::APPLICATION, &topic);
    }

    /// Hears a topic from one connection.
    #[napi(catch_unwind)]
    pub fn listen_to(&self, connection: u32, topic: String) {
        self.shared.hub.listen(ConnKey::from_bits(connection), &topic);
    }

    /// No longer hears a topic from one connection.
    #[napi(catch_unwind)]
    pub fn unlisten_to(&self, connection: u32, topic: String) {
        self.shared.hub.unlisten(ConnKey::from_bits(connection), &topic);
    }

    /// A token: notice `confirmed` follows.
    #[napi(catch_unwind)]
    pub fn confirm(&self, topic: String) -> u32 {
        let token = self.port.token();
        self.shared.hub.confirm_topic(&topic, token);
        token
    }

    /// Joins the hub to others. Only the first call counts.
    #[napi(catch_unwind)]
    pub fn join_backplane(&self, backplane: &NativeBackplane) {
        self.shared.hub.join(backplane.backplane());
    }

    /// Begins to read a connection.
    #[napi(catch_unwind)]
    pub fn admit(&self, connection: u32) {
        self.shared.hub.admit(ConnKey::from_bits(connection));
    }

    /// Answers notice `authorize`.
    #[napi(catch_unwind)]
    pub fn judge(&self, token: u32, verdict: Verdict) {
        self.shared.hub.judge(token, verdict.judgement());
    }

    /// Answers notice `authorizeSubscribe`.
    #[napi(catch_unwind)]
    pub fn allow(&self, token: u32, is_allowed: bool) {
        self.shared.hub.allow(token, is_allowed);
    }

    /// Changes what a connection may do.
    #[napi(catch_unwind)]
    pub fn set_grants(&self, connection: u32, grants: GrantLists) {
        self.shared.hub.set_grants(ConnKey::from_bits(connection), &grants.grants());
    }

    /// Ends a connection.
    #[napi(catch_unwind)]
    pub fn disconnect(&self, connection: u32, code: u32, reason: String) {
        self.shared.hub.disconnect(ConnKey::from_bits(connection), close_reason(code, reason));
    }

    /// Bytes that wait for a connection.
    #[napi(catch_unwind)]
    pub fn connection_buffered_amount(&self, connection: u32) -> f64 {
        self.shared.hub.connection_buffered(ConnKey::from_bits(connection)) as f64
    }

    /// Events received from and sent to a connection.
    #[napi(catch_unwind, ts_return_type = "Record<string, number>")]
    pub fn connection_stats(&self, connection: u32) -> BTreeMap<&'static str, f64> {
        let (received, sent) = self.shared.hub.connection_stats(ConnKey::from_bits(connection));
        counters([("received", received), ("sent", sent)])
    }

    /// Connections subscribed to a topic.
    #[napi(catch_unwind)]
    pub fn subscribers(&self, topic: String) -> u32 {
        self.shared.hub.subscriber_count(&topic) as u32
    }

    /// Counters since the hub was made.
    #[napi(catch_unwind, ts_return_type = "Record<string, number>")]
    pub fn stats(&self) -> BTreeMap<&'static str, f64> {
        let stats = self.shared.hub.stats();
        counters([
            ("connections", stats.connections),
            ("accepted", stats.accepted),
            ("topics", stats.topics),
            ("published", stats.published),
            ("received", stats.received),
            ("delivered", stats.delivered),
            ("sent", stats.sent),
            ("sentBytes", stats.sent_bytes),
            ("writes", stats.writes),
            ("unrouted", stats.unrouted),
            ("dropped", stats.dropped),
            ("refused", stats.refused),
            ("malformed", stats.malformed),
            ("ignoredControls", stats.ignored_controls),
            ("slowConsumers", stats.slow_consumers),
            ("panics", stats.panics),
            ("backplanePublished", stats.backplane_published),
            ("backplaneReceived", stats.backplane_received),
            ("backplaneDropped", stats.backplane_dropped),
            ("backplaneGaps", stats.backplane_gaps),
            ("backplaneTopics", stats.backplane_topics),
        ])
    }

    /// Where the hub listens, once it does.
    #[napi(catch_unwind)]
    pub fn address(&self) -> Option<Address> {
        self.shared.address.get().cloned()
    }
}
