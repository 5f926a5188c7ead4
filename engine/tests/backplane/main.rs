//! Hubs joined by a backplane: who hears what, once and in which order, what is subscribed there, and what becomes of what gets lost.

mod by_hand;
mod hearing;
mod losses;
#[path = "../support/mod.rs"]
mod support;
mod trouble;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::link::backplane::{Backplane, MediumBackplane};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::transport::memory::MemoryBackplane;
use alkpubsub_engine::transport::process;
use support::*;

/// Room enough for what a test publishes while a hub is stalled or cut off.
const PLENTY: usize = 1 << 20;

fn fresh_name() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("backplane-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

/// Each hub joins by a handle of its own, as it does in a thread of its own.
enum Joint {
    Process(String),
    Memory(Arc<MemoryBackplane>),
}

impl Joint {
    fn every() -> [Self; 2] {
        [Self::Process(fresh_name()), Self::Memory(memory_backplane())]
    }

    fn backplane(&self) -> Arc<dyn Backplane> {
        match self {
            Self::Process(name) => MediumBackplane::over(process::named(name)),
            Self::Memory(memory) => Arc::clone(memory) as Arc<dyn Backplane>,
        }
    }

    async fn hub(&self, relay: bool) -> Net {
        self.hub_with(HubConfig { relay, ..HubConfig::default() }).await
    }

    async fn hub_with(&self, config: HubConfig) -> Net {
        let net = Net::start(config, Via::Memory).await;
        net.hub.join(self.backplane());
        net
    }
}

fn memory_backplane() -> Arc<MemoryBackplane> {
    Arc::new(MemoryBackplane::new(PLENTY))
}

async fn over(memory: &Arc<MemoryBackplane>, config: HubConfig) -> Net {
    Joint::Memory(Arc::clone(memory)).hub_with(config).await
}

/// Waits for the answer about a topic that the application listens to.
async fn confirmed(net: &Net, topic: &str) -> bool {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let token = LAST.fetch_add(1, Ordering::Relaxed);
    net.hub.confirm_topic(topic, token);
    net.app.confirmed(token).await.expect("nobody refuses")
}

async fn listen(net: &Net, topic: &str) {
    net.hub.listen(ConnKey::APPLICATION, topic);
    assert!(confirmed(net, topic).await, "events of other hubs come");
}

async fn greeted(net: &Net) -> BarePeer {
    let mut peer = net.peer().await;
    peer.send(HELLO).await;
    assert_eq!(peer.text().await, HUB_HELLO);
    peer
}

async fn native(net: &Net, topic: &str) -> BarePeer {
    let mut peer = greeted(net).await;
    peer.send(&subscribe_n(topic, 1)).await;
    assert_eq!(peer.text().await, subscribed(topic, 1));
    peer
}

/// Topics of a `__gap`; nothing for what is none.
fn gap_topics(text: &str) -> Option<Vec<String>> {
    let rest = text.strip_prefix(r#"{"type":"__gap","id":"","payload":{"cause":"upstream","from":"#)?;
    let (_, topics) = rest.split_once(r#""topics":["#)?;
    Some(topics.strip_suffix("]}}")?.split(',').map(|topic| topic.trim_matches('"').to_owned()).collect())
}

/// The numbers of each publisher, in the order in which they came; payloads are `[publisher,number]`.
fn by_publisher<'a>(payloads: impl Iterator<Item = &'a str>) -> BTreeMap<usize, Vec<usize>> {
    let mut heard: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for payload in payloads {
        let (publisher, number) = payload.trim_matches(['[', ']']).split_once(',').expect("a pair");
        heard.entry(publisher.parse().expect("a number")).or_default().push(number.parse().expect("a number"));
    }
    heard
}

fn each_once_in_order(publishers: impl Iterator<Item = usize>, events: usize) -> BTreeMap<usize, Vec<usize>> {
    publishers.map(|publisher| (publisher, (0..events).collect())).collect()
}
