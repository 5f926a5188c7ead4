//! The network inside a process in the addon: hubs that join it, spokes that dial through it, and its faults. Convert, call, convert.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::transport::memory::{Lag, MemoryNetwork};
use napi_derive::napi;

use crate::convert::SpokeOptions;
use crate::hub::{Address, NativeHub};
use crate::runtime;
use crate::spoke::NativeSpoke;

/// Named nodes in one process. Names need not be known: TypeScript knows them.
#[napi]
pub struct NativeMemoryNetwork {
    network: MemoryNetwork,
}

#[napi]
impl NativeMemoryNetwork {
    /// A network without nodes; `seed` is an integer of up to 53 bits.
    #[napi(constructor, catch_unwind)]
    pub fn new(seed: f64) -> Self {
        Self { network: MemoryNetwork::new(seed as u64) }
    }

    /// Breaks the links of two nodes and refuses new ones.
    #[napi(catch_unwind)]
    pub fn cut(&self, a: String, b: String) {
        self.network.cut(&a, &b);
    }

    /// Ends `cut` and `halfOpen`.
    #[napi(catch_unwind)]
    pub fn heal(&self, a: String, b: String) {
        self.network.heal(&a, &b);
    }

    /// Breaks the links of two nodes, once.
    #[napi(catch_unwind)]
    pub fn sever(&self, a: String, b: String) {
        self.network.sever(&a, &b);
    }

    /// Lets bytes between two nodes vanish without a word.
    #[napi(catch_unwind)]
    pub fn half_open(&self, a: String, b: String) {
        self.network.half_open(&a, &b);
    }

    /// How long bytes take between nodes that have no lag of their own.
    #[napi(catch_unwind)]
    pub fn set_lag(&self, delay_ms: u32, jitter_ms: u32) {
        self.network.set_lag(lag(delay_ms, jitter_ms));
    }

    /// How long bytes take between two nodes.
    #[napi(catch_unwind)]
    pub fn set_lag_between(&self, a: String, b: String, delay_ms: u32, jitter_ms: u32) {
        self.network.set_lag_between(&a, &b, lag(delay_ms, jitter_ms));
    }

    /// The node neither takes nor gives bytes.
    #[napi(catch_unwind)]
    pub fn stall(&self, node: String) {
        self.network.stall(&node);
    }

    /// Ends `stall`.
    #[napi(catch_unwind)]
    pub fn resume(&self, node: String) {
        self.network.resume(&node);
    }

    /// Breaks all links; none can be made any more.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.network.close();
    }
}

fn lag(delay_ms: u32, jitter_ms: u32) -> Lag {
    Lag { delay: Duration::from_millis(delay_ms.into()), jitter: Duration::from_millis(jitter_ms.into()) }
}

#[napi]
impl NativeHub {
    /// Can be reached under a name of a network, from `begin` on.
    #[napi(catch_unwind)]
    pub fn join_memory(&self, network: &NativeMemoryNetwork, name: String) {
        let network = network.network.clone();
        self.add_start(Box::new(move |hub, opening| {
            let listening = network.listen(&name, hub.config().limits.clone(), Arc::new(hub.clone()));
            // The name is the hub's as long as this task is.
            let waiting = runtime::handle().spawn(async move {
                let _listening = listening;
                pending::<()>().await;
            });
            hub.own(waiting.abort_handle());
            opening.bound(hub, Some(Address { url: format!("memory://{name}"), host: name, port: 0 }));
        }));
    }
}

/// A spoke at one node of a network that dials another.
#[napi(catch_unwind)]
pub(crate) fn memory_spoke(
    options: SpokeOptions,
    network: &NativeMemoryNetwork,
    name: String,
    hub_name: String,
) -> NativeSpoke {
    let config = options.spoke_config();
    let connector = network.network.connector(&name, &hub_name, config.limits.clone());
    NativeSpoke::over(Arc::new(connector), config)
}
