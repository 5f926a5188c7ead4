//! TLS from both sides.

use std::time::Duration;

use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::link::{Connect, ConnectError, Destination, Link};
use alkpubsub_engine::model::{CloseCode, CloseReason, ErrorKind};
use alkpubsub_engine::transport::tls::ClientTls;
use alkpubsub_engine::transport::websocket::{ClientConfig, ListenConfig, ServerTls, WebSocketConnector, bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("ring makes keys");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("ring signs").pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// Certificate and key as PEM texts.
    fn sign(&self, names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("ring makes keys");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = rcgen::CertificateParams::new(names).expect("legal names");
        let certificate = params.signed_by(&key, &self.issuer).expect("ring signs");
        (certificate.pem(), key.serialize_pem())
    }
}

async fn tls_net(authority: &Authority, names: &[&str], clients: Option<&Authority>) -> Net {
    let (cert, key) = authority.sign(names);
    let tls = ServerTls { cert, key, ca: clients.map(|clients| clients.pem.clone()), request_cert: clients.is_some() };
    let listen = ListenConfig { tls: Some(tls), ..loopback() };
    let mut config = HubConfig { relay: true, ..HubConfig::default() };
    config.limits.handshake = Duration::from_secs(2);
    Net::start_at(config, Via::WebSocket, listen).await
}

async fn dial(net: &Net, tls: ClientTls) -> Result<Link, ConnectError> {
    let config = ClientConfig { tls, ..ClientConfig::default() };
    let destination = Destination { url: net.url.clone(), headers: Vec::new() };
    WebSocketConnector::new(config).connect(destination).await
}

fn trusting(authority: &Authority) -> ClientTls {
    ClientTls { ca: Some(authority.pem.clone()), ..ClientTls::default() }
}

#[tokio::test]
async fn events_travel_over_tls_both_ways() {
    within(async {
        let authority = Authority::new();
        let net = tls_net(&authority, &["127.0.0.1"], None).await;
        assert!(net.url.starts_with("wss://"));
        let mut peers = [
            LinkPeer::new(dial(&net, trusting(&authority)).await.expect("TLS works")),
            LinkPeer::new(dial(&net, trusting(&authority)).await.expect("TLS works")),
        ];
        peers[0].send(&subscribe("t:1")).await;
        peers[0].settle().await;
        let large = format!("\"{}\"", "x".repeat(900_000));
        for payload in ["1", &large, "3"] {
            peers[1].send(&event("t", "1", payload)).await;
            assert!(peers[0].text().await == event("t", "1", payload));
        }
        let (key, _) = net.app.connection(1).await;
        net.hub.disconnect(key, CloseReason::new(CloseCode(4000), "over"));
        assert_eq!(peers[0].until_end().await, (vec![], Some((4000, "over".into()))));
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_terminal() {
    within(async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let net = tls_net(&authority, &["127.0.0.1"], None).await;
        let wrong_name = ClientTls { server_name: Some("hub.example".into()), ..trusting(&authority) };
        for tls in [trusting(&stranger), wrong_name] {
            let refused = dial(&net, tls).await.expect_err("not this certificate");
            assert_eq!((refused.error.kind(), refused.is_terminal), (ErrorKind::Tls, true));
        }
        let insecure = ClientTls { insecure: true, ..ClientTls::default() };
        let mut peer = LinkPeer::new(dial(&net, insecure).await.expect("any certificate will do"));
        peer.settle().await;
        let named = tls_net(&authority, &["hub.example"], None).await;
        let with_name = ClientTls { server_name: Some("hub.example".into()), ..trusting(&authority) };
        let mut peer = LinkPeer::new(dial(&named, with_name).await.expect("the name that was asked for"));
        peer.settle().await;
    })
    .await;
}

#[tokio::test]
async fn a_hub_may_ask_for_client_certificates() {
    within(async {
        let (authority, clients) = (Authority::new(), Authority::new());
        let net = tls_net(&authority, &["127.0.0.1"], Some(&clients)).await;
        let with = |signer: &Authority| {
            let (cert, key) = signer.sign(&["client"]);
            ClientTls { cert: Some(cert), key: Some(key), ..trusting(&authority) }
        };
        assert!(dial(&net, trusting(&authority)).await.is_err(), "without a certificate");
        assert!(dial(&net, with(&authority)).await.is_err(), "with one of somebody else");
        let mut peer = LinkPeer::new(dial(&net, with(&clients)).await.expect("with the right one"));
        peer.settle().await;
        assert_eq!(net.hub.stats().accepted, 1);
    })
    .await;
}

#[tokio::test]
async fn who_speaks_no_tls_to_a_tls_hub_concerns_nobody() {
    within(async {
        let authority = Authority::new();
        let net = tls_net(&authority, &["127.0.0.1"], None).await;
        let mut plain = TcpStream::connect(net.address()).await.expect("the hub listens");
        let request = upgrade(&net.address(), "/", "");
        let _reset = plain.write_all(request.as_bytes()).await;
        let mut rest = Vec::new();
        let _reset = plain.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP"), "no plain answer");
        for bytes in [&[][..], &[0x16, 0x03, 0x01][..]] {
            let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
            stream.write_all(bytes).await.expect("the hub reads");
            stream.set_zero_linger().expect("a TCP socket");
        }
        let mut peer = LinkPeer::new(dial(&net, trusting(&authority)).await.expect("TLS works"));
        peer.settle().await;
        assert_eq!(net.hub.stats().accepted, 1);
    })
    .await;
}

#[tokio::test]
async fn tls_texts_that_cannot_be_used_are_told_at_once() {
    within(async {
        let (cert, key) = Authority::new().sign(&["a"]);
        let (_, other_key) = Authority::new().sign(&["a"]);
        let cases = [
            (String::new(), key.clone(), false),
            (cert.clone(), String::new(), false),
            (cert.clone(), "nonsense".into(), false),
            (cert.clone(), other_key, false),
            (cert, key, true),
        ];
        for (cert, key, request_cert) in cases {
            let tls = ServerTls { cert, key, ca: None, request_cert };
            let config = ListenConfig { tls: Some(tls), ..loopback() };
            assert_eq!(bind(config).await.expect_err("refused").kind(), ErrorKind::InvalidOption);
        }
    })
    .await;
}
