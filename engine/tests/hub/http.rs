//! Binding, requests that are no handshake, origins, and the number of connections.

use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::ErrorKind;
use alkpubsub_engine::transport::websocket::{ListenConfig, bind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn a_port_that_is_taken_is_a_listen_error() {
    within(async {
        let taken = bind(loopback()).await.expect("port 0 is free");
        let config = ListenConfig { port: taken.address().port(), ..loopback() };
        assert_eq!(bind(config).await.expect_err("taken").kind(), ErrorKind::Listen);
        let nowhere = ListenConfig { host: "no-such-host.invalid".into(), ..loopback() };
        assert_eq!(bind(nowhere).await.expect_err("unknown").kind(), ErrorKind::Listen);
    })
    .await;
}

#[tokio::test]
async fn only_loopback_may_be_bound_without_saying_that_anyone_may_come() {
    within(async {
        let everywhere = |anyone| ListenConfig { host: "0.0.0.0".into(), anyone, ..ListenConfig::default() };
        assert_eq!(bind(everywhere(false)).await.expect_err("refused").kind(), ErrorKind::NoAuthorize);
        let bound = bind(everywhere(true)).await.expect("allowed");
        assert_eq!(bound.url(), format!("ws://localhost:{}/", bound.address().port()));
    })
    .await;
}

/// Sends bytes and reads the status and the whole head of the answer.
async fn ask(net: &Net, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
    // The hub may refuse before everything is written.
    let _refused = stream.write_all(request).await;
    let head = read_head(&mut stream).await;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), head)
}

#[tokio::test]
async fn requests_that_are_no_websocket_handshake_get_their_status() {
    within(async {
        let listen = ListenConfig { path: Some("/events".into()), ..loopback() };
        let net = Net::start_at(HubConfig::default(), Via::WebSocket, listen).await;
        let host = net.address();
        let good = upgrade(&host, "/events", "");
        let cases: Vec<(&str, String, u16)> = vec![
            ("a handshake", good.clone(), 101),
            ("a handshake with a query", upgrade(&host, "/events?a=b", ""), 101),
            ("plain HTTP", format!("GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n"), 426),
            ("a wrong path", upgrade(&host, "/", ""), 404),
            ("a longer path", upgrade(&host, "/events/x", ""), 404),
            ("plain HTTP elsewhere", format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"), 404),
            ("no host", upgrade(&host, "/events", "").replace("Host:", "X:"), 400),
            ("two hosts", upgrade(&host, "/events", "Host: localhost\r\n"), 400),
            ("two origins", upgrade(&host, "/events", "Origin: http://a\r\nOrigin: http://b\r\n"), 400),
            ("two heads in one", format!("GET /events HTTP/1.1\n\n{}", upgrade(&host, "/events", "")), 400),
            ("POST", good.replace("GET", "POST"), 400),
            ("version 12", good.replace("Version: 13", "Version: 12"), 400),
            ("no key", good.replace("Sec-WebSocket-Key", "X-Key"), 400),
            ("no Connection: Upgrade", good.replace("Connection: Upgrade", "Connection: close"), 400),
            ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0"), 400),
            ("no HTTP at all", "hello hub, how are you\r\n\r\n".into(), 400),
            ("a NUL in a header", upgrade(&host, "/events", "X: a\0b\r\n"), 400),
        ];
        for (what, request, expected) in cases {
            let (status, head) = ask(&net, request.as_bytes()).await;
            assert_eq!(status, expected, "{what}: {head}");
            if expected == 426 {
                assert!(head.contains("Upgrade: websocket") && head.contains("Sec-WebSocket-Version: 13"), "{head}");
            }
        }
        until("only two were taken", || net.hub.stats().accepted == 2).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_head_has_a_largest_size_and_number_of_lines() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        let host = net.address();
        let bare = upgrade(&host, "/", "");
        let padded = |len: usize| {
            let padding = "x".repeat(len - bare.len() - "A: \r\n".len());
            upgrade(&host, "/", &format!("A: {padding}\r\n"))
        };
        assert_eq!(padded(16 << 10).len(), 16 << 10);
        assert_eq!(ask(&net, padded(16 << 10).as_bytes()).await.0, 101, "at the bound");
        assert_eq!(ask(&net, padded((16 << 10) + 1).as_bytes()).await.0, 431, "one over");
        let endless = vec![b'a'; 100_000];
        assert_eq!(ask(&net, &endless).await.0, 431, "a head that never ends");
        let lines = |count: usize| upgrade(&host, "/", &"A: b\r\n".repeat(count - 5));
        assert_eq!(ask(&net, lines(64).as_bytes()).await.0, 101, "64 lines");
        assert_eq!(ask(&net, lines(65).as_bytes()).await.0, 431, "65 lines");
    })
    .await;
}

#[tokio::test]
async fn pages_of_foreign_origins_are_refused() {
    within(async {
        let listen = ListenConfig {
            allowed_origins: vec!["https://friend.example".into()],
            allowed_hosts: vec!["hub.internal".into()],
            ..loopback()
        };
        let net = Net::start_at(HubConfig::default(), Via::WebSocket, listen).await;
        let port = net.address().rsplit(':').next().map(str::to_owned).expect("a port");
        let here = |name: &str| format!("{name}:{port}");
        let cases: Vec<(String, Option<String>, u16)> = vec![
            (here("127.0.0.1"), None, 101),
            (here("evil.example"), None, 101),
            (here("127.0.0.1"), Some(format!("http://127.0.0.1:{port}")), 101),
            (here("localhost"), Some(format!("http://localhost:{port}")), 101),
            (here("LOCALHOST"), Some(format!("http://localhost:{port}")), 101),
            (here("app.localhost"), Some(format!("https://app.localhost:{port}")), 101),
            (here("[::1]"), Some(format!("http://[::1]:{port}")), 101),
            (here("hub.internal"), Some(format!("http://hub.internal:{port}")), 101),
            (here("127.0.0.1"), Some("https://friend.example".into()), 101),
            (here("127.0.0.1"), Some("http://evil.example".into()), 403),
            (here("127.0.0.1"), Some(format!("http://127.0.0.1:{port}.evil.example")), 403),
            (here("127.0.0.1"), Some("https://friend.example.evil.example".into()), 403),
            (here("127.0.0.1"), Some("http://127.0.0.1:1".into()), 403),
            (here("127.0.0.1"), Some(format!("http://localhost:{port}")), 403),
            (here("127.0.0.1"), Some("null".into()), 403),
            (here("127.0.0.1"), Some(String::new()), 403),
            // DNS rebinding: the page's own name resolves to this machine.
            (here("evil.example"), Some(format!("http://evil.example:{port}")), 403),
            (here("127.0.0.1.evil.example"), Some(format!("http://127.0.0.1.evil.example:{port}")), 403),
            (here("evil-localhost"), Some(format!("http://evil-localhost:{port}")), 403),
        ];
        for (host, origin, expected) in cases {
            let line = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
            let (status, _) = ask(&net, upgrade(&host, "/", &line).as_bytes()).await;
            assert_eq!(status, expected, "Host {host}, {line}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_connection_too_many_is_refused_with_503() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_connections = 2;
        let net = Net::start(config, Via::WebSocket).await;
        let request = upgrade(&net.address(), "/", "");
        let first = raw(&net).await;
        let _second = raw(&net).await;
        until("both are there", || net.hub.stats().connections == 2).await;
        assert_eq!(ask(&net, request.as_bytes()).await.0, 503);
        drop(first);
        net.app.disconnections(1).await;
        assert_eq!(ask(&net, request.as_bytes()).await.0, 101, "there is room again");
    })
    .await;
}

#[tokio::test]
async fn connections_that_race_for_the_last_place_do_not_exceed_the_limit() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_connections = 2;
        let net = Net::start(config, Via::Memory).await;
        let mut peers = [net.peer().await, net.peer().await, net.peer().await];
        let (texts, close) = peers[2].until_end().await;
        assert_eq!((texts, close.map(|(code, _)| code)), (vec![], Some(1001)));
        net.app.disconnections(1).await;
        assert_eq!(net.hub.stats().connections, 2);
        peers[0].settle().await;
    })
    .await;
}
