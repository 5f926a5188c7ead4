//! A hub with its application, what carries the links to it, and spokes of it.

use std::sync::Arc;
use std::time::Duration;

use alkpubsub_engine::delivery::Delivery;
use alkpubsub_engine::hub::{Hub, HubConfig};
use alkpubsub_engine::model::{Limits, Published};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::spoke::{Reconnect, SpokeConfig};
use alkpubsub_engine::transport::memory;
use alkpubsub_engine::transport::websocket::{ListenConfig, bind};
use tokio::runtime::Handle;

use super::{Bare, BarePeer, FOREVER, LinkPeer, Recorder};

/// What carries the links of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    WebSocket,
    Memory,
}

pub(crate) const EVERY_WAY: [Via; 2] = [Via::WebSocket, Via::Memory];

/// A hub, its application and how to reach it.
pub(crate) struct Net {
    pub(crate) hub: Hub,
    pub(crate) app: Arc<Recorder>,
    pub(crate) url: String,
    pub(crate) limits: Limits,
    pub(crate) via: Via,
}

pub(crate) fn loopback() -> ListenConfig {
    ListenConfig { host: "127.0.0.1".into(), ..ListenConfig::default() }
}

impl Net {
    pub(crate) async fn start(config: HubConfig, via: Via) -> Self {
        Self::start_at(config, via, loopback()).await
    }

    pub(crate) async fn relay(via: Via) -> Self {
        let config = HubConfig { relay: true, ..HubConfig::default() };
        Self::start(config, via).await
    }

    pub(crate) async fn start_at(config: HubConfig, via: Via, listen: ListenConfig) -> Self {
        let app = Recorder::new();
        let limits = config.limits.clone();
        let hub = Hub::start(config, Arc::clone(&app) as Arc<dyn Delivery>, &Handle::current());
        let mut url = String::new();
        if via == Via::WebSocket {
            let listen = ListenConfig { limits: limits.clone(), ..listen };
            let bound = bind(listen).await.expect("port 0 is free");
            url = bound.url();
            hub.own(tokio::spawn(bound.serve(Arc::new(hub.clone()))).abort_handle());
        }
        Self { hub, app, url, limits, via }
    }

    pub(crate) fn address(&self) -> String {
        self.url.split('/').nth(2).expect("ws://host:port/").to_owned()
    }

    /// A peer that knows envelopes and frames and nothing of the engine (memory: of its hubs and spokes).
    pub(crate) async fn peer(&self) -> BarePeer {
        match self.via {
            Via::WebSocket => BarePeer::Ws(Bare::connect(&self.url).await),
            Via::Memory => {
                let (ours, theirs) = memory::pair(&self.limits);
                assert!(self.hub.add(theirs), "the hub is open");
                BarePeer::Link(LinkPeer::new(ours))
            }
        }
    }

    pub(crate) async fn subscriber(&self, topics: &[&str]) -> BarePeer {
        let mut peer = self.peer().await;
        for topic in topics {
            peer.subscribe(topic).await;
        }
        peer.settle().await;
        peer
    }

    /// Hears a topic, from now on.
    pub(crate) async fn listen(&self, topic: &str) {
        const TOKEN: u32 = 900_000;
        self.hub.listen(ConnKey::APPLICATION, topic);
        self.hub.confirm(TOKEN);
        self.app.confirmed(TOKEN).await.expect("a hub has no one to refuse it");
    }

    pub(crate) fn publish(&self, type_: &str, id: &str, payload: &str) {
        let published = self.hub.publish_once(type_, id, payload, ConnKey::APPLICATION);
        assert_eq!(published, Published::Accepted);
    }
}

/// A spoke that tries again at once.
pub(crate) fn impatient() -> SpokeConfig {
    SpokeConfig {
        reconnect: Some(Reconnect {
            initial: true,
            min_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(5),
        }),
        // A hello that is late on a busy machine must not change what a test sees.
        hello_timeout: FOREVER,
        ..SpokeConfig::default()
    }
}
