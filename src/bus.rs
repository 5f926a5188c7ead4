//! The native class of every bus. Convert, call, convert.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::bus::{Bus, BusConfig};
use alkpubsub_engine::delivery::Delivery;
use alkpubsub_engine::link::medium::Medium;
use alkpubsub_engine::model::Prefix;
use napi::bindgen_prelude::{Function, This};
use napi::{Env, JsValue, Result};
use napi_derive::napi;

use crate::backplane::NativeBackplane;
use crate::hub::Address;
use crate::inbox::Inbox;
use crate::port::{Port, close_reason, counters, port_methods};
use crate::publisher;
use crate::runtime::{self, EndsWithEnvironment, end_with_environment};
use crate::text::{JsText, Numbers, TextOut};

struct BusShared {
    bus: Bus,
    inbox: Arc<Inbox>,
}

impl EndsWithEnvironment for BusShared {
    fn environment_ends(&self) {
        self.inbox.close();
        self.bus.abort();
    }
}

impl Drop for BusShared {
    fn drop(&mut self) {
        self.environment_ends();
    }
}

/// A bus. The file of each medium makes them.
#[napi]
pub struct NativeBus {
    port: Port,
    shared: Arc<BusShared>,
}

port_methods!(NativeBus, bus, Bus::publish);

impl NativeBus {
    /// A member of `medium` that waits for `begin`.
    pub(crate) fn at(medium: Arc<dyn Medium>, config: BusConfig) -> Self {
        let inbox = Arc::new(Inbox::lingering());
        let delivery = Arc::clone(&inbox) as Arc<dyn Delivery>;
        let bus = Bus::join(config, medium, delivery, runtime::handle());
        Self { port: Port::new(Arc::clone(&inbox)), shared: Arc::new(BusShared { bus, inbox }) }
    }
}

#[napi]
impl NativeBus {
    /// Opens.
    #[napi(catch_unwind)]
    pub fn begin(&self) {
        self.shared.bus.begin();
    }

    /// Publishes to all other members.
    #[napi(catch_unwind, ts_args_type = "pair: number, json: string")]
    pub fn publish(&self, pair: u32, json: JsText) -> Result<u32> {
        let bus = &self.shared.bus;
        self.port.publish(pair, &json, |prefix, payload| bus.publish(prefix, payload))
    }

    /// Publishes to all other members, by name.
    #[napi(catch_unwind, ts_args_type = "type: string, id: string, json: string")]
    pub fn publish_once(&self, type_: String, id: String, json: JsText) -> Result<u32> {
        let bus = &self.shared.bus;
        self.port.publish_once(&json, |payload| bus.publish_once(&type_, &id, payload))
    }

    /// Subscribes to a topic.
    #[napi(catch_unwind)]
    pub fn listen(&self, topic: String) -> u32 {
        self.shared.bus.listen(&topic);
        self.port.token()
    }

    /// Unsubscribes.
    #[napi(catch_unwind)]
    pub fn unlisten(&self, topic: String) {
        self.shared.bus.unlisten(&topic);
    }

    /// A token: notice `confirmed` follows.
    #[napi(catch_unwind)]
    pub fn confirm(&self, topic: String) -> u32 {
        let token = self.port.token();
        self.shared.bus.confirm(&topic, token);
        token
    }

    /// What joins hubs by this bus, until it is closed.
    #[napi(catch_unwind)]
    pub fn backplane(&self) -> NativeBackplane {
        NativeBackplane::of(self.shared.bus.backplane())
    }

    /// Counters since the bus was made.
    #[napi(catch_unwind, ts_return_type = "Record<string, number>")]
    pub fn stats(&self) -> BTreeMap<&'static str, f64> {
        let stats = self.shared.bus.stats();
        counters([
            ("published", stats.published),
            ("unrouted", stats.unrouted),
            ("delivered", stats.delivered),
            ("dropped", stats.dropped),
            ("gaps", stats.gaps),
            ("topics", stats.topics),
            ("waiting", stats.waiting),
            ("members", stats.members),
        ])
    }

    /// A bus listens nowhere.
    #[napi(catch_unwind)]
    pub fn address(&self) -> Option<Address> {
        None
    }
}
