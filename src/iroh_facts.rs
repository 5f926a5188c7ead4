//! What is known of endpoints and connections in the addon: addresses, tickets, paths, relays, counters. Convert, call, convert.

use std::sync::Arc;

use alkpubsub_engine::transport::iroh::{
    AddressWatch, ConnectionFacts, EndpointAddr, EndpointFacts, PathEnd, PathFacts, RelayFacts, TransportAddr,
    parse_address, parse_id, ticket,
};
use napi::bindgen_prelude::Function;
use napi::{Error, Result, Status};
use napi_derive::napi;

use crate::iroh::{NativeEndpoint, Outcome, invalid};
use crate::iroh_connection::{NativeOperation, Product, operate};

/// Where an endpoint can be reached.
#[napi(object)]
pub struct EndpointAddresses {
    pub id: String,
    pub sockets: Vec<String>,
    pub relays: Vec<String>,
}

impl From<&EndpointAddr> for EndpointAddresses {
    fn from(address: &EndpointAddr) -> Self {
        Self {
            id: address.id.to_string(),
            sockets: address.ip_addrs().map(ToString::to_string).collect(),
            relays: address.relay_urls().map(ToString::to_string).collect(),
        }
    }
}

/// A way that packets can take.
#[napi(object)]
pub struct Path {
    /// `direct`, `relay` or `other`.
    pub kind: String,
    pub address: String,
    pub selected: bool,
    pub rtt_ms: f64,
    pub sent_bytes: f64,
    pub received_bytes: f64,
    pub lost_packets: f64,
}

impl From<PathFacts> for Path {
    fn from(facts: PathFacts) -> Self {
        let (kind, address) = match facts.end {
            PathEnd::Direct(address) => ("direct", address.to_string()),
            PathEnd::Relay(url) => ("relay", url.to_string()),
            PathEnd::Other(text) => ("other", text),
        };
        Self {
            kind: kind.into(),
            address,
            selected: facts.is_selected,
            rtt_ms: facts.rtt.as_secs_f64() * 1000.0,
            sent_bytes: facts.sent_bytes as f64,
            received_bytes: facts.received_bytes as f64,
            lost_packets: facts.lost_packets as f64,
        }
    }
}

/// An object of counters and how it is made of the engine's: numbers as JavaScript has them, exact up to 2⁵³.
macro_rules! counters {
    ($(#[doc = $doc:literal])* $object:ident from $facts:ident: $($counter:ident),*) => {
        $(#[doc = $doc])*
        #[napi(object)]
        pub struct $object {
            $(pub $counter: f64),*
        }

        impl From<$facts> for $object {
            fn from(facts: $facts) -> Self {
                Self { $($counter: facts.$counter as f64),* }
            }
        }
    };
}

counters! {
    /// Counters of a connection.
    ConnectionStats from ConnectionFacts:
        sent_bytes, received_bytes, sent_datagrams, received_datagrams, lost_packets, lost_bytes
}

counters! {
    /// Counters of an endpoint.
    EndpointStats from EndpointFacts: connections, accepted, dialled, denied, failed, refused, crowded_out, retried
}

/// A relay of an endpoint.
#[napi(object)]
pub struct RelayStatus {
    pub url: String,
    pub connected: bool,
    pub error: Option<String>,
}

impl From<RelayFacts> for RelayStatus {
    fn from(RelayFacts { url, is_connected, error }: RelayFacts) -> Self {
        Self { url: url.to_string(), connected: is_connected, error }
    }
}

#[napi]
impl NativeEndpoint {
    /// Where others reach it, as far as it knows.
    #[napi(catch_unwind)]
    pub fn addresses(&self) -> Result<EndpointAddresses> {
        Ok(EndpointAddresses::from(&self.bound()?.address()))
    }

    /// A ticket: its id and its addresses.
    #[napi(catch_unwind)]
    pub fn ticket(&self) -> Result<String> {
        Ok(ticket(self.bound()?.address()))
    }

    /// The ways that packets take to another endpoint.
    #[napi(catch_unwind)]
    pub fn paths(&self, id: String) -> Result<Vec<Path>> {
        let id = parse_id(&id).map_err(invalid)?;
        Ok(self.bound()?.paths(&id).into_iter().map(Path::from).collect())
    }

    #[napi(catch_unwind)]
    pub fn stats(&self) -> Result<EndpointStats> {
        Ok(self.bound()?.facts().into())
    }

    /// The relay that it has chosen.
    #[napi(catch_unwind)]
    pub fn relays(&self) -> Result<Vec<RelayStatus>> {
        Ok(self.bound()?.relays().into_iter().map(RelayStatus::from).collect())
    }

    /// `onDone` hears when a relay has taken it.
    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn online(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let endpoint = self.bound()?;
        operate(on_done, async move { endpoint.online().await.map(|()| Product::Nothing) })
    }

    /// Watches where others reach it.
    #[napi(catch_unwind)]
    pub fn watch(&self) -> Result<NativeAddressWatch> {
        Ok(NativeAddressWatch { watch: Arc::new(self.bound()?.watch_address()) })
    }
}

/// Tells where others reach an endpoint.
#[napi]
pub struct NativeAddressWatch {
    watch: Arc<AddressWatch>,
}

#[napi]
impl NativeAddressWatch {
    /// What is new; without an address when the endpoint is closed.
    #[napi(catch_unwind, ts_args_type = "onDone: (outcome: Outcome) => void")]
    pub fn next(&self, on_done: Function<'_, Outcome, ()>) -> Result<NativeOperation> {
        let watch = Arc::clone(&self.watch);
        operate(on_done, async move { Ok(watch.next().await.map_or(Product::Nothing, Product::Address)) })
    }
}

/// What a ticket says, or an id: then there are no addresses.
#[napi(catch_unwind)]
pub(crate) fn endpoint_address(text: String) -> Result<EndpointAddresses> {
    Ok(EndpointAddresses::from(&parse_address(&text).map_err(invalid)?))
}

/// A ticket of an endpoint and its addresses.
#[napi(catch_unwind)]
pub(crate) fn endpoint_ticket(id: String, sockets: Vec<String>, relays: Vec<String>) -> Result<String> {
    Ok(ticket(address_of(&id, &sockets, &relays)?))
}

/// Addresses of an endpoint.
pub(crate) fn address_of(id: &str, sockets: &[String], relays: &[String]) -> Result<EndpointAddr> {
    let id = parse_id(id).map_err(invalid)?;
    let sockets = parse_all(sockets, "an address such as 127.0.0.1:4433")?.into_iter().map(TransportAddr::Ip);
    let relays = parse_all(relays, "the URL of a relay")?.into_iter().map(TransportAddr::Relay);
    Ok(EndpointAddr::from_parts(id, sockets.chain(relays)))
}

fn parse_all<T: std::str::FromStr>(texts: &[String], expected: &str) -> Result<Vec<T>> {
    let parse = |text: &String| {
        let wrong = || Error::new(Status::InvalidArg, format!("ERR_INVALID_OPTION: {text:?}: expected {expected}"));
        text.parse().map_err(|_| wrong())
    };
    texts.iter().map(parse).collect()
}
