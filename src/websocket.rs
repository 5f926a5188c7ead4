//! The native classes of the WebSocket hub and spoke. Convert, call, convert.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alkpubsub_engine::delivery::{Delivery, Failure};
use alkpubsub_engine::hub::Hub;
use alkpubsub_engine::link::Destination;
use alkpubsub_engine::model::{Error, Prefix, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::spoke::Spoke;
use alkpubsub_engine::transport::websocket::{self, Acceptor, ListenConfig, WebSocketConnector};
use napi::bindgen_prelude::{Function, This};
use napi::{Env, JsValue, Result};
use napi_derive::napi;

use crate::convert::{self, HubOptions, SpokeOptions};
use crate::inbox::Inbox;
use crate::port::{Port, close_reason, port_methods};
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
}

impl EndsWithEnvironment for HubShared {
    fn environment_ends(&self) {
        self.inbox.close();
        self.hub.abort();
    }
}

impl Drop for HubShared {
    fn drop(&mut self) {
        self.environment_ends();
    }
}

/// A hub that listens for WebSocket connections.
#[napi]
pub struct NativeWebSocketHub {
    port: Port,
    shared: Arc<HubShared>,
    /// Where to listen, until it does.
    listen: RefCell<Option<ListenConfig>>,
}

port_methods!(NativeWebSocketHub, hub, publish_to_all);

fn publish_to_all(hub: &Hub, prefix: &Prefix, payload: &str) -> Published {
    hub.publish(prefix, payload, ConnKey::APPLICATION)
}

#[napi]
impl NativeWebSocketHub {
    /// A hub that waits for `begin`.
    #[napi(constructor, catch_unwind)]
    pub fn new(options: HubOptions) -> Self {
        let inbox = Arc::new(Inbox::new());
        let delivery = Arc::clone(&inbox) as Arc<dyn Delivery>;
        let hub = Hub::start(options.hub_config(), Arc::clone(&delivery), runtime::handle());
        let address = Arc::new(OnceLock::new());
        let listen = RefCell::new(Some(options.listen_config()));
        Self { port: Port::new(Arc::clone(&inbox)), shared: Arc::new(HubShared { hub, inbox, address }), listen }
    }

    /// Begins to bind.
    #[napi(catch_unwind)]
    pub fn begin(&self) {
        let Some(config) = self.listen.take() else { return };
        let HubShared { hub, address, .. } = &*self.shared;
        let serving = runtime::handle().spawn(serve(config, hub.clone(), Arc::clone(address)));
        hub.own(serving.abort_handle());
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
    pub fn confirm(&self, _topic: String) -> u32 {
        let token = self.port.token();
        self.shared.hub.confirm(token);
        token
    }

    /// Begins to read a connection.
    #[napi(catch_unwind)]
    pub fn admit(&self, connection: u32) {
        self.shared.hub.admit(ConnKey::from_bits(connection));
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
        BTreeMap::from([("received", received as f64), ("sent", sent as f64)])
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
        BTreeMap::from([
            ("connections", stats.connections as f64),
            ("accepted", stats.accepted as f64),
            ("topics", stats.topics as f64),
            ("published", stats.published as f64),
            ("received", stats.received as f64),
            ("delivered", stats.delivered as f64),
            ("sent", stats.sent as f64),
            ("sentBytes", stats.sent_bytes as f64),
            ("writes", stats.writes as f64),
            ("unrouted", stats.unrouted as f64),
            ("dropped", stats.dropped as f64),
            ("malformed", stats.malformed as f64),
            ("ignoredControls", stats.ignored_controls as f64),
            ("slowConsumers", stats.slow_consumers as f64),
            ("panics", stats.panics as f64),
        ])
    }

    /// Where the hub listens, once it does.
    #[napi(catch_unwind)]
    pub fn address(&self) -> Option<Address> {
        self.shared.address.get().cloned()
    }
}

/// Binds and accepts; a hub that cannot bind is closed with the reason.
async fn serve(config: ListenConfig, hub: Hub, address: Arc<OnceLock<Address>>) {
    let bound = match websocket::bind(config).await {
        Ok(bound) => bound,
        Err(error) => return hub.fail(failure(&error)),
    };
    let socket = bound.address();
    address.get_or_init(|| Address { host: socket.ip().to_string(), port: socket.port(), url: bound.url() });
    hub.announce_open();
    let (waiting, asked, taken) = (hub.clone(), hub.clone(), hub.clone());
    bound
        .serve(Acceptor {
            room: Arc::new(move || {
                let hub = waiting.clone();
                Box::pin(async move { hub.room().await })
            }),
            has_room: Arc::new(move || asked.has_room()),
            take: Arc::new(move |link| taken.add(link)),
            report: Arc::new(move |error| hub.report(failure(&error))),
        })
        .await;
}

fn failure(error: &Error) -> Failure {
    Failure { kind: error.kind(), message: error.to_string() }
}

struct SpokeShared {
    spoke: Spoke,
    inbox: Arc<Inbox>,
}

impl EndsWithEnvironment for SpokeShared {
    fn environment_ends(&self) {
        self.inbox.close();
        self.spoke.abort();
    }
}

impl Drop for SpokeShared {
    fn drop(&mut self) {
        self.environment_ends();
    }
}

/// A spoke that dials a WebSocket hub.
#[napi]
pub struct NativeWebSocketSpoke {
    port: Port,
    shared: Arc<SpokeShared>,
}

port_methods!(NativeWebSocketSpoke, spoke, Spoke::publish);

#[napi]
impl NativeWebSocketSpoke {
    /// A spoke that waits for `begin`.
    #[napi(constructor, catch_unwind)]
    pub fn new(options: SpokeOptions) -> Self {
        let inbox = Arc::new(Inbox::new());
        let delivery = Arc::clone(&inbox) as Arc<dyn Delivery>;
        let config = options.spoke_config();
        let connector = Arc::new(WebSocketConnector::new(options.client_config()));
        let spoke = Spoke::start(config, connector, delivery, runtime::handle());
        Self { port: Port::new(Arc::clone(&inbox)), shared: Arc::new(SpokeShared { spoke, inbox }) }
    }

    /// Begins to connect.
    #[napi(catch_unwind)]
    pub fn begin(&self) {
        self.shared.spoke.connect();
    }

    /// Publishes to the hub.
    #[napi(catch_unwind, ts_args_type = "pair: number, json: string")]
    pub fn publish(&self, pair: u32, json: JsText) -> Result<u32> {
        let spoke = &self.shared.spoke;
        self.port.publish(pair, &json, |prefix, payload| spoke.publish(prefix, payload))
    }

    /// Publishes to the hub, by name.
    #[napi(catch_unwind, ts_args_type = "type: string, id: string, json: string")]
    pub fn publish_once(&self, type_: String, id: String, json: JsText) -> Result<u32> {
        let spoke = &self.shared.spoke;
        self.port.publish_once(&json, |payload| spoke.publish_once(&type_, &id, payload))
    }

    /// Subscribes to a topic.
    #[napi(catch_unwind)]
    pub fn listen(&self, topic: String) -> u32 {
        self.shared.spoke.listen(&topic);
        self.port.token()
    }

    /// Unsubscribes.
    #[napi(catch_unwind)]
    pub fn unlisten(&self, topic: String) {
        self.shared.spoke.unlisten(&topic);
    }

    /// A token: notice `confirmed` follows.
    #[napi(catch_unwind)]
    pub fn confirm(&self, topic: String) -> u32 {
        let token = self.port.token();
        self.shared.spoke.confirm(&topic, token);
        token
    }

    /// Answers notice `dial`.
    #[napi(catch_unwind, ts_args_type = "token: number, url: string, headers: readonly (readonly [string, string])[]")]
    pub fn provide(&self, token: u32, url: String, headers: Vec<Vec<String>>) {
        self.shared.spoke.provide(token, Destination { url, headers: convert::headers(&headers) });
    }

    /// Answers notice `dial`: the attempt fails.
    #[napi(catch_unwind)]
    pub fn decline(&self, token: u32, message: String) {
        self.shared.spoke.decline(token, message);
    }

    /// Counters since the spoke was made.
    #[napi(catch_unwind, ts_return_type = "Record<string, number>")]
    pub fn stats(&self) -> BTreeMap<&'static str, f64> {
        let stats = self.shared.spoke.stats();
        BTreeMap::from([
            ("published", stats.published as f64),
            ("sent", stats.sent as f64),
            ("sentBytes", stats.sent_bytes as f64),
            ("writes", stats.writes as f64),
            ("received", stats.received as f64),
            ("delivered", stats.delivered as f64),
            ("unwanted", stats.unwanted as f64),
            ("dropped", stats.dropped as f64),
            ("malformed", stats.malformed as f64),
            ("ignoredControls", stats.ignored_controls as f64),
            ("gaps", stats.gaps as f64),
            ("connects", stats.connects as f64),
            ("topics", stats.topics as f64),
        ])
    }

    /// A spoke listens nowhere.
    #[napi(catch_unwind)]
    pub fn address(&self) -> Option<Address> {
        None
    }
}
