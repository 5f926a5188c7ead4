//! The native class of every spoke. Convert, call, convert.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::delivery::Delivery;
use alkpubsub_engine::link::{Connect, Destination};
use alkpubsub_engine::model::Prefix;
use alkpubsub_engine::spoke::{Spoke, SpokeConfig};
use napi::bindgen_prelude::{Function, This};
use napi::{Env, JsValue, Result};
use napi_derive::napi;

use crate::backplane::NativeBackplane;
use crate::convert;
use crate::hub::Address;
use crate::inbox::{Inbox, Resume};
use crate::port::{Port, close_reason, counters, port_methods};
use crate::publisher;
use crate::runtime::{self, EndsWithEnvironment, end_with_environment};
use crate::text::{JsText, Numbers, TextOut};

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

/// A spoke. The file of each transport makes them.
#[napi]
pub struct NativeSpoke {
    port: Port,
    shared: Arc<SpokeShared>,
}

port_methods!(NativeSpoke, spoke, Spoke::publish);

impl NativeSpoke {
    /// A spoke over the links of `connector` that waits for `begin`.
    pub(crate) fn over(connector: Arc<dyn Connect>, config: SpokeConfig) -> Self {
        let inbox = Arc::new(Inbox::new(Resume::AtOnce));
        let delivery = Arc::clone(&inbox) as Arc<dyn Delivery>;
        let spoke = Spoke::start(config, connector, delivery, runtime::handle());
        Self { port: Port::new(Arc::clone(&inbox)), shared: Arc::new(SpokeShared { spoke, inbox }) }
    }
}

#[napi]
impl NativeSpoke {
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

    /// Sends what was published since, where the spoke gathers.
    #[napi(catch_unwind)]
    pub fn announce(&self) {
        self.shared.spoke.announce();
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

    /// What joins hubs by the bus that this spoke is at, until it is closed; nothing where it is at no bus.
    #[napi(catch_unwind)]
    pub fn backplane(&self) -> Option<NativeBackplane> {
        self.shared.spoke.backplane().map(|backplane| NativeBackplane::of(backplane))
    }

    /// Counters since the spoke was made.
    #[napi(catch_unwind, ts_return_type = "Record<string, number>")]
    pub fn stats(&self) -> BTreeMap<&'static str, f64> {
        let stats = self.shared.spoke.stats();
        counters([
            ("published", stats.published),
            ("sent", stats.sent),
            ("sentBytes", stats.sent_bytes),
            ("writes", stats.writes),
            ("received", stats.received),
            ("delivered", stats.delivered),
            ("unwanted", stats.unwanted),
            ("dropped", stats.dropped),
            ("refused", stats.refused),
            ("malformed", stats.malformed),
            ("ignoredControls", stats.ignored_controls),
            ("gaps", stats.gaps),
            ("connects", stats.connects),
            ("topics", stats.topics),
            ("panics", stats.panics),
        ])
    }

    /// A spoke listens nowhere.
    #[napi(catch_unwind)]
    pub fn address(&self) -> Option<Address> {
        None
    }
}
