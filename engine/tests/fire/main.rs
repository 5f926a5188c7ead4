//! A hub under fire: who may come in and what they may do, what half messages and floods cost, losses that are told, defects that are contained.

mod admission;
mod costs;
mod defects;
mod losses;
mod permissions;
mod signs_of_life;
mod spokes;
#[path = "../support/mod.rs"]
mod support;

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::link::{Accept, Peer};
use alkpubsub_engine::model::{Allowed, Grants};
use alkpubsub_engine::route::ConnKey;
use alkpubsub_engine::transport::memory;
use support::*;

fn guarded() -> HubConfig {
    HubConfig { authorize: true, relay: true, ..HubConfig::default() }
}

fn lists(identity: Option<&str>, subscribe: &[&str], publish: &[&str]) -> Grants {
    let list = |patterns: &[&str]| Allowed::Matching(patterns.iter().map(|text| (*text).to_owned()).collect());
    Grants { identity: identity.map(str::to_owned), subscribe: list(subscribe), publish: list(publish) }
}

/// The `n`th question about a peer.
async fn question(net: &Net, n: usize) -> (u32, Box<Peer>) {
    net.app
        .nth_notice(n, "a question about a peer", |notice| match notice {
            Notice::Authorize { token, peer } => Some((*token, peer.clone())),
            _ => None,
        })
        .await
}

/// A peer whose question is answered with these grants: the `n`th of the hub.
async fn peer_with(net: &Net, n: usize, grants: Grants) -> (BarePeer, ConnKey) {
    let answering = async {
        let (token, _) = question(net, n).await;
        net.hub.judge(token, Ok(grants));
    };
    let (peer, ()) = tokio::join!(guarded_peer(net), answering);
    (peer, net.app.connection(n).await.0)
}

/// A peer that is asked about, whatever carries it.
async fn guarded_peer(net: &Net) -> BarePeer {
    if net.via == Via::WebSocket {
        return net.peer().await;
    }
    let (ours, theirs) = memory::pair(&net.limits);
    let admission = net.hub.authorize(theirs.peer.clone()).await.expect("admitted");
    assert!(net.hub.take(theirs, admission));
    BarePeer::Link(LinkPeer::new(ours))
}

/// Gives every task of this thread its turns.
async fn turns() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

fn relaying() -> HubConfig {
    HubConfig { relay: true, ..HubConfig::default() }
}
