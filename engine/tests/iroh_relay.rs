//! Links through a relay of Iroh that runs in this process: relay alone, then directly; TLS with a root of its own; tokens; a relay that goes
//! and comes back. Loopback, no other server.

use std::time::Duration;

use alkpubsub_engine::link::{Connect, Destination, Link};
use alkpubsub_engine::model::{Error, ErrorKind};
use alkpubsub_engine::transport::iroh::{
    ALPN, DialConfig, EndpointConfig, IrohConnector, IrohEndpoint, PathEnd, Relay as RelayOption, Relays, Speaks,
};
use iroh::EndpointAddr;

#[path = "support/iroh_peers.rs"]
mod peers;
#[path = "support/iroh_relay.rs"]
mod relay;

use peers::{Hub, event, frame, hub_at, read_until, within, write_all};
use relay::{Kind, Relay};

/// How an endpoint is bound.
#[derive(Clone, Copy)]
enum Sockets {
    None,
    Loopback,
}

/// Endpoints at a relay, with what they have to know about it.
#[derive(Clone)]
struct Options {
    sockets: Sockets,
    token: Option<String>,
    roots: Option<String>,
    idle: Duration,
}

impl Options {
    fn of(relay: &Relay, sockets: Sockets) -> Self {
        Self { sockets, token: None, roots: relay.root.clone(), idle: EndpointConfig::default().idle }
    }

    /// Gives an attempt up that is not answered for two seconds.
    fn impatient() -> Self {
        Self { sockets: Sockets::None, token: None, roots: None, idle: Duration::from_secs(2) }
    }
}

async fn at_relay(url: &str, Options { sockets, token, roots, idle }: Options) -> IrohEndpoint {
    let (bind, is_relay_only) = match sockets {
        Sockets::None => (Vec::new(), true),
        Sockets::Loopback => (vec!["127.0.0.1:0".parse().expect("an address")], false),
    };
    let relays = Relays::Own(vec![RelayOption { url: url.into(), token, quic_port: None }]);
    let config = EndpointConfig { bind, is_relay_only, relays, relay_roots: roots, idle, ..EndpointConfig::default() };
    IrohEndpoint::bind(config).await.expect("it binds")
}

/// A link from an endpoint to a hub of which it knows the relay alone; the hub's end of it comes with its first message.
async fn dial(from: &IrohEndpoint, hub: &Hub, url: &str) -> Link {
    try_dial(from, hub, url).await.expect("a link")
}

async fn try_dial(from: &IrohEndpoint, hub: &Hub, url: &str) -> Result<Link, Error> {
    let id = hub.endpoint.id();
    from.know(EndpointAddr::new(id).with_relay_url(url.parse().expect("a URL")));
    let dial = DialConfig { hub: id, alpn: ALPN.into(), speaks: Speaks::Plain, max_message: 1 << 20 };
    let connector = IrohConnector::new(from.clone(), dial);
    connector.connect(Destination::default()).await.map_err(|failed| failed.error)
}

/// Both ends of a link.
async fn link(from: &IrohEndpoint, hub: &Hub, url: &str) -> (Link, Link) {
    let mut near = dial(from, hub, url).await;
    write_all(&mut near, &frame(&event(20))).await;
    let mut far = hub.shelf.link().await;
    assert_eq!(read_until(&mut far, |came| came == 1).await, (1, None));
    (near, far)
}

/// An event there and one back.
async fn there_and_back((near, far): &mut (Link, Link)) {
    write_all(near, &frame(&event(100))).await;
    assert_eq!(read_until(far, |came| came == 1).await, (1, None));
    write_all(far, &frame(&event(100))).await;
    assert_eq!(read_until(near, |came| came == 1).await, (1, None));
}

fn is_relayed(end: &PathEnd) -> bool {
    matches!(end, PathEnd::Relay(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_goes_through_a_relay_alone_when_an_end_has_no_sockets() {
    within(async {
        let relay = Relay::spawn(Kind::default()).await.expect("a relay");
        let hub = hub_at(at_relay(&relay.url, Options::of(&relay, Sockets::None)).await, false);
        hub.endpoint.online().await.expect("the relay takes it");
        assert!(hub.endpoint.relays().iter().all(|it| it.is_connected && it.error.is_none()));
        let spoke = at_relay(&relay.url, Options::of(&relay, Sockets::None)).await;
        let mut ends = link(&spoke, &hub, &relay.url).await;
        let before = relay.relayed();
        there_and_back(&mut ends).await;
        let paths = spoke.paths(&hub.endpoint.id());
        assert!(!paths.is_empty() && paths.iter().all(|path| is_relayed(&path.end)), "{paths:?}");
        assert!(relay.relayed() > before, "the bytes went through the relay");
        let address = hub.endpoint.address();
        assert_eq!(address.ip_addrs().count(), 0);
        assert_eq!(address.relay_urls().count(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_begins_through_a_relay_goes_directly_as_soon_as_it_can() {
    within(async {
        let relay = Relay::spawn(Kind::default()).await.expect("a relay");
        let hub = hub_at(at_relay(&relay.url, Options::of(&relay, Sockets::Loopback)).await, false);
        hub.endpoint.online().await.expect("the relay takes it");
        let spoke = at_relay(&relay.url, Options::of(&relay, Sockets::Loopback)).await;
        let mut ends = link(&spoke, &hub, &relay.url).await;
        loop {
            there_and_back(&mut ends).await;
            let paths = spoke.paths(&hub.endpoint.id());
            if let Some(path) = paths.iter().find(|path| path.is_selected && !is_relayed(&path.end)) {
                let PathEnd::Direct(address) = &path.end else { unreachable!("neither relay nor direct: {path:?}") };
                assert!(hub.endpoint.sockets().contains(address), "{path:?}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        there_and_back(&mut ends).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_with_tls_is_checked_against_the_roots_that_are_given() {
    within(async {
        let relay = Relay::spawn(Kind { has_tls: true, ..Kind::default() }).await.expect("a relay");
        assert!(relay.url.starts_with("https://"), "{}", relay.url);
        let hub = hub_at(at_relay(&relay.url, Options::of(&relay, Sockets::None)).await, false);
        hub.endpoint.online().await.expect("the relay takes it");
        let spoke = at_relay(&relay.url, Options::of(&relay, Sockets::None)).await;
        there_and_back(&mut link(&spoke, &hub, &relay.url).await).await;

        let other = Relay::spawn(Kind { has_tls: true, ..Kind::default() }).await.expect("a relay");
        for roots in [None, other.root.clone()] {
            let stranger = at_relay(&relay.url, Options { roots, ..Options::impatient() }).await;
            let failed = try_dial(&stranger, &hub, &relay.url).await.map(|_| ()).expect_err("the relay is not trusted");
            assert_eq!(failed.kind(), ErrorKind::TimedOut, "{failed}");
            assert!(stranger.relays().iter().all(|it| !it.is_connected));
        }
        let trusting = at_relay(&relay.url, Options { roots: relay.root.clone(), ..Options::impatient() }).await;
        try_dial(&trusting, &hub, &relay.url).await.expect("patience is not what they lacked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_wants_a_token_takes_who_brings_it_and_says_so_to_others() {
    within(async {
        let kind = Kind { token: Some("open sesame".into()), ..Kind::default() };
        let relay = Relay::spawn(kind).await.expect("a relay");
        let with = |token: Option<&str>| {
            at_relay(&relay.url, Options { token: token.map(String::from), ..Options::of(&relay, Sockets::None) })
        };
        let hub = hub_at(with(Some("open sesame")).await, false);
        hub.endpoint.online().await.expect("the relay takes it");
        there_and_back(&mut link(&with(Some("open sesame")).await, &hub, &relay.url).await).await;
        for token in [None, Some("open barley")] {
            let stranger = with(token).await;
            let error = stranger.online().await.expect_err("no token, no relay");
            assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
            assert!(error.to_string().contains("wrong token"), "{error}");
            assert!(stranger.relays().iter().any(|it| it.error.as_deref() == Some("refused: wrong token")));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_outlives_a_relay_that_goes_and_comes_back() {
    within(async {
        let relay = Relay::spawn(Kind::default()).await.expect("a relay");
        let (url, port, options) = (relay.url.clone(), relay.address.port(), Options::of(&relay, Sockets::None));
        let hub = hub_at(at_relay(&url, options.clone()).await, false);
        hub.endpoint.online().await.expect("the relay takes it");
        let spoke = at_relay(&url, options).await;
        let mut ends = link(&spoke, &hub, &url).await;
        relay.stop().await;
        while hub.endpoint.relays().iter().any(|it| it.is_connected) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        write_all(&mut ends.0, &frame(&event(50))).await;
        let _again = Relay::spawn(Kind { port, ..Kind::default() }).await.expect("its port is free");
        assert_eq!(read_until(&mut ends.1, |came| came == 1).await, (1, None), "what was sent meanwhile");
        there_and_back(&mut ends).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_without_sockets_and_relays_is_refused_and_one_without_relays_is_never_online() {
    within(async {
        let config = EndpointConfig { is_relay_only: true, ..EndpointConfig::default() };
        let error = IrohEndpoint::bind(config).await.expect_err("nobody would reach it");
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
        let error = peers::loopback().await.online().await.expect_err("it would wait for ever");
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
    })
    .await;
}
