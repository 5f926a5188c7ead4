//! The native class of swarms, and how one is made of an Iroh endpoint. Convert, call, convert.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::delivery::Delivery;
use alkpubsub_engine::model::Prefix;
use alkpubsub_engine::swarm::{Swarm, SwarmConfig};
use alkpubsub_engine::transport::iroh::{IrohGossip, parse_id, topic_id};
use napi::bindgen_prelude::{Buffer, Either, Function, This};
use napi::{Env, Error, JsValue, Result, Status};
use napi_derive::napi;

use crate::convert::SpokeOptions;
use crate::hub::Address;
use crate::inbox::{Inbox, Resume};
use crate::iroh::{NativeEndpoint, invalid};
use crate::port::{Port, close_reason, port_methods};
use crate::publisher;
use crate::runtime::{self, EndsWithEnvironment, end_with_environment};
use crate::text::{JsText, Numbers, TextOut};

struct SwarmShared {
    swarm: Swarm,
    inbox: Arc<Inbox>,
}

impl EndsWithEnvironment for SwarmShared {
    fn environment_ends(&self) {
        self.inbox.close();
        self.swarm.abort();
    }
}

impl Drop for SwarmShared {
    fn drop(&mut self) {
        self.environment_ends();
    }
}

/// A member of a swarm.
#[napi]
pub struct NativeSwarm {
    port: Port,
    shared: Arc<SwarmShared>,
}

port_methods!(NativeSwarm, swarm, Swarm::publish);

#[napi]
impl NativeSwarm {
    /// Joins.
    #[napi(catch_unwind)]
    pub fn begin(&self) {
        self.shared.swarm.begin();
    }

    /// Publishes to all other members.
    #[napi(catch_unwind, ts_args_type = "pair: number, json: string")]
    pub fn publish(&self, pair: u32, json: JsText) -> Result<u32> {
        let swarm = &self.shared.swarm;
        self.port.publish(pair, &json, |prefix, payload| swarm.publish(prefix, payload))
    }

    /// Publishes to all other members, by name.
    #[napi(catch_unwind, ts_args_type = "type: string, id: string, json: string")]
    pub fn publish_once(&self, type_: String, id: String, json: JsText) -> Result<u32> {
        let swarm = &self.shared.swarm;
        self.port.publish_once(&json, |payload| swarm.publish_once(&type_, &id, payload))
    }

    /// Listens to a topic.
    #[napi(catch_unwind)]
    pub fn listen(&self, topic: String) -> u32 {
        self.shared.swarm.listen(&topic);
        self.port.token()
    }

    /// Listens no longer.
    #[napi(catch_unwind)]
    pub fn unlisten(&self, topic: String) {
        self.shared.swarm.unlisten(&topic);
    }

    /// A token: notice `confirmed` follows.
    #[napi(catch_unwind)]
    pub fn confirm(&self, topic: String) -> u32 {
        let token = self.port.token();
        self.shared.swarm.confirm(&topic, token);
        token
    }

    /// Counters since the member was made.
    #[napi(catch_unwind, ts_return_type = "Record<string, number>")]
    pub fn stats(&self) -> BTreeMap<&'static str, f64> {
        let stats = self.shared.swarm.stats();
        BTreeMap::from([
            ("published", stats.published as f64),
            ("sent", stats.sent as f64),
            ("runs", stats.runs as f64),
            ("unrouted", stats.unrouted as f64),
            ("dropped", stats.dropped as f64),
            ("received", stats.received as f64),
            ("delivered", stats.delivered as f64),
            ("unwanted", stats.unwanted as f64),
            ("missed", stats.missed as f64),
            ("overflowed", stats.overflowed as f64),
            ("forged", stats.forged as f64),
            ("malformed", stats.malformed as f64),
            ("seen", stats.seen as f64),
            ("gaps", stats.gaps as f64),
            ("connects", stats.connects as f64),
            ("forgotten", stats.forgotten as f64),
            ("topics", stats.topics as f64),
            ("neighbours", stats.neighbours as f64),
            ("missing", stats.missing as f64),
            ("authors", stats.authors as f64),
            ("waiting", stats.waiting as f64),
            ("heldBytes", stats.held_bytes as f64),
            ("panics", stats.panics as f64),
        ])
    }

    /// A member listens nowhere by itself; its endpoint does.
    #[napi(catch_unwind)]
    pub fn address(&self) -> Option<Address> {
        None
    }
}

/// A member of the swarm of a topic: a text, or the 32 bytes of its id.
#[napi(catch_unwind)]
pub(crate) fn iroh_swarm(
    options: SpokeOptions,
    endpoint: &NativeEndpoint,
    topic: Either<String, Buffer>,
    bootstrap: Vec<String>,
) -> Result<NativeSwarm> {
    let endpoint = endpoint.bound()?;
    let topic = match topic {
        Either::A(name) => topic_id(&name),
        Either::B(id) => id
            .as_ref()
            .try_into()
            .map_err(|_| Error::new(Status::InvalidArg, "ERR_INVALID_OPTION: topic: expected a string or 32 bytes"))?,
    };
    let mut config: SwarmConfig = options.swarm_config();
    for id in &bootstrap {
        let id = parse_id(id).map_err(invalid)?;
        // Itself among them means nobody else.
        if id != endpoint.id() {
            config.bootstrap.push(*id.as_bytes());
        }
    }
    // The library starts tasks.
    let _entered = runtime::handle().enter();
    let overlay = IrohGossip::new(endpoint, topic).map_err(invalid)?;
    let inbox = Arc::new(Inbox::new(Resume::AtHalf));
    let delivery = Arc::clone(&inbox) as Arc<dyn Delivery>;
    let swarm = Swarm::start(config, Arc::new(overlay), delivery, runtime::handle());
    Ok(NativeSwarm { port: Port::new(Arc::clone(&inbox)), shared: Arc::new(SwarmShared { swarm, inbox }) })
}
