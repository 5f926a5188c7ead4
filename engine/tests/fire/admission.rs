//! Who comes in: questions about peers, their answers, and what becomes of those that nobody answers.

use std::time::Duration;

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::link::{Accept, Peer, Refusal};
use alkpubsub_engine::model::{CloseCode, CloseReason, Grants};
use alkpubsub_engine::transport::memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;
use crate::{guarded, peer_with, question};

#[tokio::test]
async fn a_refused_request_gets_its_status_and_no_byte_of_it_reaches_the_application() {
    within(async {
        let net = Net::start(guarded(), Via::WebSocket).await;
        for (n, (refusal, status)) in
            [(Refusal::NotIdentified, "401"), (Refusal::Forbidden, "403"), (Refusal::Unavailable, "503")]
                .into_iter()
                .enumerate()
        {
            let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
            let request = upgrade(&net.address(), "/x?y=1", "Authorization: Bearer t\r\n");
            stream.write_all(request.as_bytes()).await.expect("the hub reads");
            stream.write_all(&masked(0x81, event("a", "", "1").as_bytes())).await.expect("the hub reads");
            let (token, peer) = question(&net, n + 1).await;
            assert_eq!((peer.transport, peer.url.as_deref()), ("websocket", Some("/x?y=1")));
            assert!(peer.headers.contains(&("authorization".into(), "Bearer t".into())));
            net.hub.judge(token, Err(refusal));
            let head = read_head(&mut stream).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        }
        assert_eq!((net.hub.stats().accepted, net.hub.stats().received), (0, 0));
        assert!(!net.app.notices().iter().any(|notice| matches!(notice, Notice::Connection { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_page_whose_origin_may_connect_reads_why_it_may_not_come_in() {
    within(async {
        let net = Net::start(guarded(), Via::WebSocket).await;
        for (n, (refusal, code)) in
            [(Refusal::NotIdentified, 4401_u16), (Refusal::Forbidden, 4403), (Refusal::Unavailable, 1011)]
                .into_iter()
                .enumerate()
        {
            let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
            let origin = format!("Origin: http://{}\r\n", net.address());
            stream.write_all(upgrade(&net.address(), "/", &origin).as_bytes()).await.expect("the hub reads");
            let (token, _) = question(&net, n + 1).await;
            net.hub.judge(token, Err(refusal));
            assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101"));
            let (first, payload) = read_frame(&mut stream).await.expect("a close frame");
            assert_eq!((first, u16::from_be_bytes([payload[0], payload[1]])), (0x88, code));
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.expect("the hub ends the connection");
            assert!(rest.is_empty());
        }
        assert_eq!(net.hub.stats().accepted, 0);
    })
    .await;
}

#[tokio::test]
async fn who_is_not_decided_about_in_time_is_refused_and_the_question_withdrawn() {
    within(async {
        let mut config = guarded();
        config.limits.handshake = Duration::from_millis(50);
        let net = Net::start(config, Via::WebSocket).await;
        for (n, (origin, answer)) in
            [(String::new(), "408"), (format!("Origin: http://{}\r\n", net.address()), "101")].into_iter().enumerate()
        {
            let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
            stream.write_all(upgrade(&net.address(), "/", &origin).as_bytes()).await.expect("the hub reads");
            let (asked, _) = question(&net, n + 1).await;
            assert!(read_head(&mut stream).await.starts_with(&format!("HTTP/1.1 {answer}")));
            if answer == "101" {
                let (_, payload) = read_frame(&mut stream).await.expect("a close frame");
                assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), 4408);
            }
            net.app
                .notice("withdrawn", |notice| {
                    matches!(notice, Notice::Withdrawn { token } if *token == asked).then_some(())
                })
                .await;
            // Too late, and of no use.
            net.hub.judge(asked, Ok(Grants::everything(None)));
        }
        assert_eq!(net.hub.stats().accepted, 0);
    })
    .await;
}

#[tokio::test]
async fn who_was_let_in_and_is_gone_before_it_came_is_withdrawn() {
    within(async {
        let net = Net::start(guarded(), Via::Memory).await;
        let (_, theirs) = memory::pair(&net.limits);
        let asking = net.hub.authorize(theirs.peer.clone());
        let answering = async {
            let (token, _) = question(&net, 1).await;
            net.hub.judge(token, Ok(Grants::everything(None)));
            token
        };
        let (admission, asked) = tokio::join!(asking, answering);
        drop(admission.expect("admitted"));
        net.app
            .notice("withdrawn", |notice| {
                matches!(notice, Notice::Withdrawn { token } if *token == asked).then_some(())
            })
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_closes_leaves_no_question_open() {
    within(async {
        let net = Net::start(guarded(), Via::Memory).await;
        let asking = net.hub.authorize(Peer::default());
        let closing = async {
            question(&net, 1).await;
            net.hub.close(CloseReason::new(CloseCode::NORMAL, ""), Duration::from_secs(1));
        };
        let (refused, ()) = tokio::join!(asking, closing);
        assert_eq!(refused.expect_err("nobody answers"), Refusal::Unavailable);
        net.app.closed().await;
    })
    .await;
}

#[tokio::test]
async fn a_closed_hub_asks_nobody_and_lets_nobody_in() {
    within(async {
        for authorize in [true, false] {
            let net = Net::start(HubConfig { authorize, ..HubConfig::default() }, Via::Memory).await;
            net.hub.close(CloseReason::new(CloseCode::NORMAL, ""), Duration::ZERO);
            assert_eq!(net.hub.authorize(Peer::default()).await.err(), Some(Refusal::Unavailable));
            net.app.closed().await;
            assert!(!net.app.notices().iter().any(|notice| matches!(notice, Notice::Authorize { .. })));
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_let_in_when_the_last_place_has_gone_is_refused_and_never_announced() {
    within(async {
        let mut config = guarded();
        config.limits.max_connections = 2;
        let net = Net::start(config, Via::WebSocket).await;
        let (_ours, theirs) = memory::pair(&net.limits);
        assert!(net.hub.add(theirs));
        net.app.connection(1).await;
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(net.address()).await.expect("the hub listens");
            // What a proxy is asked for names a host as well; the application gets the path.
            let request = upgrade(&net.address(), "http://other.example/x?y=1", "");
            stream.write_all(request.as_bytes()).await.expect("the hub reads");
            streams.push(stream);
        }
        let ((first, peer), (second, _)) = (question(&net, 1).await, question(&net, 2).await);
        assert_eq!(peer.url.as_deref(), Some("/x?y=1"));
        net.hub.judge(first, Ok(Grants::everything(None)));
        net.app.connection(2).await;
        net.hub.judge(second, Ok(Grants::everything(None)));
        let mut heads = Vec::new();
        for stream in &mut streams {
            heads.push(read_head(stream).await[..12].to_owned());
        }
        heads.sort();
        assert_eq!(heads, ["HTTP/1.1 101", "HTTP/1.1 503"]);
        net.app
            .notice("the second question is over", |notice| match notice {
                Notice::Withdrawn { token } if *token == second => Some(()),
                _ => None,
            })
            .await;
        assert_eq!(net.hub.stats().accepted, 2);
    })
    .await;
}

#[tokio::test]
async fn a_connection_comes_with_the_ticket_of_its_question() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::start(guarded(), via).await;
            let (_peer, _) = peer_with(&net, 1, Grants::everything(None)).await;
            let (token, _) = question(&net, 1).await;
            let ticket = net.app.notice("a connection", |notice| match notice {
                Notice::Connection { ticket, .. } => Some(*ticket),
                _ => None,
            });
            assert_eq!(ticket.await, token);
        }
    })
    .await;
}
