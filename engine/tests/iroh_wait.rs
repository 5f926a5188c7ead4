//! Spokes that wait for a hub to call them, from both sides of the call. Loopback, no servers.

use std::sync::Arc;

use alkpubsub_engine::link::{Connect, ConnectError, Destination, Link};
use alkpubsub_engine::model::{CloseCode, ErrorKind};
use alkpubsub_engine::transport::iroh::{ALPN, EndpointAddr, IrohEndpoint, IrohWaiter, Speaks, WaitConfig};

#[path = "support/iroh_peers.rs"]
mod peers;

use peers::{Hub, address, event, frame, hub, loopback, read_until, within, write_all};

/// A spoke that waits for one hub, or any, at an endpoint of its own.
struct Waiting {
    endpoint: IrohEndpoint,
    waiter: Arc<IrohWaiter>,
}

impl Waiting {
    async fn of(hub: Option<&Hub>) -> Self {
        let endpoint = loopback().await;
        let waiter = waiter(&endpoint, hub).expect("nobody waits there");
        Self { endpoint, waiter: Arc::new(waiter) }
    }

    fn address(&self) -> EndpointAddr {
        address(&self.endpoint)
    }

    async fn link(&self) -> Result<Link, ConnectError> {
        self.waiter.connect(Destination::default()).await
    }
}

fn waiter(endpoint: &IrohEndpoint, hub: Option<&Hub>) -> Result<IrohWaiter, alkpubsub_engine::model::Error> {
    let hub = hub.map(|it| it.endpoint.id());
    let config = WaitConfig { hub, alpn: ALPN.into(), speaks: Speaks::Both, max_message: 1 << 20 };
    IrohWaiter::new(endpoint.clone(), config)
}

/// A hub calls, the spoke answers and writes first.
async fn call(hub: &Hub, spoke: &Waiting) -> (Link, Link) {
    let caller = hub.accepting.caller();
    let answer = async {
        let mut link = spoke.link().await.expect("a call");
        write_all(&mut link, &frame(&event(30))).await;
        link
    };
    let (called, near) = tokio::join!(caller.call(spoke.address()), answer);
    called.expect("the spoke answers");
    (near, hub.shelf.link().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_called_link_is_a_native_one_of_the_hub_and_carries_both_ways() {
    within(async {
        let hub = hub(false).await;
        let spoke = Waiting::of(Some(&hub)).await;
        let (mut near, mut far) = call(&hub, &spoke).await;
        assert_eq!((near.is_native, far.is_native), (Some(true), Some(true)));
        assert_eq!(far.peer.identity, Some(format!("iroh:{}", spoke.endpoint.id())));
        assert_eq!(read_until(&mut far, |came| came == 1).await, (1, None));
        write_all(&mut far, &frame(&event(40))).await;
        assert_eq!(read_until(&mut near, |came| came == 1).await, (1, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_hub_is_closed_with_4403_and_the_spoke_waits_on() {
    within(async {
        let (own, stranger) = (hub(false).await, hub(false).await);
        let spoke = Waiting::of(Some(&own)).await;
        let error = stranger.accepting.caller().call(spoke.address()).await.expect_err("another is waited for");
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert_eq!(
            error.to_string(),
            "the spoke closed the connection with code 4403: the spoke waits for another hub"
        );
        call(&own, &spoke).await;
        assert!(stranger.shelf.links.lock().expect("no panic").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_calls_that_nobody_has_answered_the_newest_counts_and_the_other_hears_1013() {
    within(async {
        let (one, two) = (hub(false).await, hub(false).await);
        let spoke = Waiting::of(None).await;
        let first = tokio::spawn({
            let (caller, to) = (one.accepting.caller(), spoke.address());
            async move { caller.call(to).await }
        });
        // The first call is there when its connection is.
        while spoke.endpoint.facts().accepted == 0 {
            tokio::task::yield_now().await;
        }
        let (_near, mut far) = call_late(&two, &spoke, first).await;
        assert_eq!(read_until(&mut far, |came| came == 1).await, (1, None));
    })
    .await;
}

/// Calls, and answers when the first call has been told that it is over.
async fn call_late(
    hub: &Hub,
    spoke: &Waiting,
    first: tokio::task::JoinHandle<Result<(), alkpubsub_engine::model::Error>>,
) -> (Link, Link) {
    let caller = hub.accepting.caller();
    let answer = async {
        let error = first.await.expect("no panic").expect_err("another came");
        assert!(error.to_string().contains("code 1013: another call came before this was answered"), "{error}");
        let mut link = spoke.link().await.expect("a call");
        write_all(&mut link, &frame(&event(30))).await;
        link
    };
    let (called, near) = tokio::join!(caller.call(spoke.address()), answer);
    called.expect("the spoke answers");
    (near, hub.shelf.link().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoke_hears_that_its_hub_refuses_it_whether_it_looks_at_the_call_before_or_after() {
    within(async {
        let hub = hub(true).await;
        for looks_first in [true, false] {
            let spoke = Waiting::of(Some(&hub)).await;
            let caller = hub.accepting.caller();
            let looking = looks_first.then(|| {
                let waiter = Arc::clone(&spoke.waiter);
                tokio::spawn(async move { waiter.connect(Destination::default()).await })
            });
            let error = caller.call(spoke.address()).await.expect_err("the hub refuses");
            assert_eq!(error.kind(), ErrorKind::Forbidden);
            assert_eq!(error.to_string(), "this hub turned the spoke away with code 4403: the hub does not let you in");
            let failed = match looking {
                Some(looking) => looking.await.expect("no panic"),
                None => spoke.link().await,
            };
            // A stream can be opened before the close arrives; then the link says so.
            match failed {
                Err(failed) => {
                    assert_eq!((failed.error.kind(), failed.is_terminal), (ErrorKind::Forbidden, true));
                }
                Ok(mut link) => {
                    let (_, end) = read_until(&mut link, |_| false).await;
                    assert_eq!(end, Some((CloseCode::REFUSED.0, "the hub does not let you in".into())));
                    assert!(looks_first, "the call was over before");
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_spoke_waits_at_an_endpoint_and_its_place_is_free_when_it_has_gone() {
    within(async {
        let hub = hub(false).await;
        let spoke = Waiting::of(Some(&hub)).await;
        let error = waiter(&spoke.endpoint, None).map(|_| ()).expect_err("somebody waits there");
        assert_eq!(error.kind(), ErrorKind::Listen);
        let Waiting { endpoint, waiter: gone } = spoke;
        drop(gone);
        let error = hub.accepting.caller().call(address(&endpoint)).await.expect_err("nobody waits");
        assert_eq!(error.kind(), ErrorKind::Handshake, "{error}");
        let again = Arc::new(waiter(&endpoint, Some(&hub)).expect("the place is free"));
        call(&hub, &Waiting { endpoint, waiter: again }).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_hears_that_the_endpoint_is_closed() {
    within(async {
        let spoke = Waiting::of(None).await;
        let waiting = tokio::spawn({
            let waiter = Arc::clone(&spoke.waiter);
            async move { waiter.connect(Destination::default()).await }
        });
        spoke.endpoint.close().await;
        let failed = waiting.await.expect("no panic").map(|_| ()).expect_err("nobody can call");
        assert_eq!((failed.error.kind(), failed.is_terminal), (ErrorKind::Closed, true));
        let error = waiter(&spoke.endpoint, None).map(|_| ()).expect_err("it is closed");
        assert_eq!(error.kind(), ErrorKind::Closed);
    })
    .await;
}
