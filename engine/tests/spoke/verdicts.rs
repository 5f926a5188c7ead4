//! What the end of a link means: which is final, and which is tried again.

use std::time::{Duration, Instant};

use alkpubsub_engine::delivery::GapCause;
use alkpubsub_engine::model::{ErrorKind, Published};
use alkpubsub_engine::spoke::{Reconnect, SpokeConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;
use crate::{ByHand, Side, grant, reset};

/// Admits a spoke that listens to `a:`, then closes its link.
async fn admit_and_close(hub: &ByHand, code: u16, reason: &str) {
    let mut far = hub.accept_native().await;
    grant(&mut far).await;
    // The spoke's hello, topic and ping are read by now; what it answers to this is its last word.
    far.close(code, reason).await;
    far.until_end().await;
}

#[tokio::test]
async fn close_1000_and_4403_are_final() {
    within(async {
        for (code, kind) in [(1000, None), (4403, Some(ErrorKind::Forbidden))] {
            let hub = ByHand::listen().await;
            let side = Side::dial(hub.config());
            side.spoke.listen("a:");
            admit_and_close(&hub, code, "enough").await;
            assert_eq!(side.app.closed().await, (code, "enough".into(), kind));
            let tried_again = side.story().iter().any(|word| word == "reconnecting");
            assert!(!tried_again);
            assert_eq!(side.spoke.publish_once("a", "", "1"), Published::Closed);
        }
    })
    .await;
}

#[tokio::test]
async fn other_codes_are_tried_again() {
    within(async {
        for code in [1001, 1008, 1011, 1012, 1013, 4408, 4000] {
            let hub = ByHand::listen().await;
            let side = Side::dial(hub.config());
            side.spoke.listen("a:");
            admit_and_close(&hub, code, "").await;
            side.app.reconnecting(1).await;
            let mut far = hub.accept_native().await;
            grant(&mut far).await;
            let expected = if code == 1013 { GapCause::SlowConsumer } else { GapCause::ConnectionLost };
            assert_eq!(side.app.gap(1).await.cause, expected, "code {code}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_empty_close_frame_is_answered_and_tried_again() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        far.ws.close(None).await.expect("the spoke reads");
        assert_eq!(far.until_end().await.1, Some((1005, String::new())));
        side.app.reconnecting(1).await;
        hub.accept_native().await;
        assert_eq!(side.app.open(2).await, (true, true));
    })
    .await;
}

#[tokio::test]
async fn three_protocol_errors_in_a_row_are_final_and_others_between_them_are_not() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        for code in [1002, 1007, 1012, 1002, 1009, 1002] {
            admit_and_close(&hub, code, "").await;
        }
        let (code, _, kind) = side.app.closed().await;
        assert_eq!((code, kind), (1002, Some(ErrorKind::Protocol)));
        let story = side.story();
        assert_eq!(story.iter().filter(|word| *word == "reconnecting").count(), 5, "{story:?}");
    })
    .await;
}

#[tokio::test]
async fn not_identified_is_tried_again_once() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        for code in [4401, 1001, 4401, 4401] {
            admit_and_close(&hub, code, "").await;
        }
        let (code, _, kind) = side.app.closed().await;
        assert_eq!((code, kind), (4401, Some(ErrorKind::NotIdentified)));
    })
    .await;
}

#[tokio::test]
async fn a_hub_may_say_how_long_to_stay_away() {
    within(async {
        for (reason, least) in [
            ("retryAfterMs=300", 300),
            ("restarting; retryAfterMs=250, sorry", 250),
            ("retryAfterMs=", 0),
            ("retryAfterMs=-5", 0),
        ] {
            let hub = ByHand::listen().await;
            let side = Side::dial(hub.config());
            side.spoke.listen("a:");
            admit_and_close(&hub, 1012, reason).await;
            let began = Instant::now();
            let (_, delay_ms, _, _) = side.app.reconnecting(1).await;
            assert!((least..least + 100).contains(&delay_ms), "{reason}: {delay_ms} ms");
            let _far = hub.accept().await;
            assert!(began.elapsed() >= Duration::from_millis(least), "{reason}");
        }
        let hub = ByHand::listen().await;
        let side = Side::dial(hub.config());
        side.spoke.listen("a:");
        admit_and_close(&hub, 1012, "retryAfterMs=99999999999").await;
        let (_, delay_ms, _, _) = side.app.reconnecting(1).await;
        assert!((60_000..61_000).contains(&delay_ms), "at most a minute, not {delay_ms} ms");
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_breaks_the_rules_is_told_and_tried_again() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.limits.max_message_bytes = 200;
        config.limits.max_malformed_per_minute = 2;
        let side = Side::dial(config);
        let mut far = hub.accept_native().await;
        side.app.open(1).await;
        far.send(&event("a", "", &format!("\"{}\"", "x".repeat(200)))).await;
        assert_eq!(far.until_end().await.1.map(|(code, _)| code), Some(1009));
        let mut far = hub.accept_native().await;
        side.app.open(2).await;
        for _ in 0..3 {
            far.send("nonsense").await;
        }
        assert_eq!(far.until_end().await.1.map(|(code, _)| code), Some(1008));
        assert_eq!(side.spoke.stats().malformed, 3);
        side.app.error(ErrorKind::Malformed).await;
        let far = hub.accept_native().await;
        side.app.open(3).await;
        let mut tcp = far.ws.into_inner();
        tcp.write_all(&masked(0x81, b"{}")).await.expect("the spoke reads");
        let close = loop {
            match read_frame_masked(&mut tcp).await {
                Some((0x88, payload)) => break payload,
                Some(_) => {}
                None => unreachable!("a close frame comes first"),
            }
        };
        assert_eq!(close[..2], u16::to_be_bytes(1002), "a server that masks");
    })
    .await;
}

/// Reads a frame of a client and takes its mask off.
async fn read_frame_masked(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    use tokio::io::AsyncReadExt;
    let first = stream.read_u8().await.ok()?;
    let second = stream.read_u8().await.ok()?;
    assert!(second & 0x80 != 0, "a client masks");
    let len = match second & 0x7f {
        126 => u64::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()?,
        len => u64::from(len),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await.ok()?;
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload).await.ok()?;
    let bare = payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]);
    Some((first, bare.collect()))
}

#[tokio::test]
async fn a_hub_that_falls_silent_is_left_after_two_and_a_half_heartbeats() {
    within(async {
        let hub = ByHand::listen().await;
        let mut config = hub.config();
        config.limits.heartbeat = Duration::from_millis(40);
        let side = Side::dial(config);
        let _deaf_and_mute = hub.accept_native().await;
        let (_, _, kind, _) = side.app.reconnecting(1).await;
        assert_eq!(kind, ErrorKind::TimedOut);
    })
    .await;
}

#[tokio::test]
async fn without_reconnect_the_first_loss_is_the_end() {
    within(async {
        let hub = ByHand::listen().await;
        let config = || SpokeConfig { reconnect: None, ..hub.config() };
        let side = Side::dial(config());
        let far = hub.accept_native().await;
        side.app.open(1).await;
        reset(far);
        let (code, _, kind) = side.app.closed().await;
        assert_eq!((code, kind), (1006, Some(ErrorKind::ConnectionLost)));
        let side = Side::dial(config());
        drop(hub.tcp().await);
        assert_eq!(side.app.closed().await.2, Some(ErrorKind::Handshake));
    })
    .await;
}

fn not_at_first(config: SpokeConfig) -> SpokeConfig {
    SpokeConfig { reconnect: config.reconnect.map(|policy| Reconnect { initial: false, ..policy }), ..config }
}

#[tokio::test]
async fn the_first_attempt_may_be_made_to_count() {
    within(async {
        let hub = ByHand::listen().await;
        let side = Side::dial(not_at_first(hub.config()));
        drop(hub.tcp().await);
        assert_eq!(side.app.closed().await.2, Some(ErrorKind::Handshake));
        // Once it was open, it comes back.
        let side = Side::dial(not_at_first(hub.config()));
        let far = hub.accept_native().await;
        side.app.open(1).await;
        reset(far);
        drop(hub.tcp().await);
        hub.accept_native().await;
        assert_eq!(side.app.open(2).await, (true, true));
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_is_not_there_yet_is_waited_for() {
    within(async {
        let hub = ByHand::listen().await;
        let address = hub.listener.local_addr().expect("bound");
        let side = Side::dial(hub.config());
        drop(hub);
        let (attempt, _, kind, _) = side.app.reconnecting(3).await;
        assert_eq!((attempt, kind), (3, ErrorKind::Connect));
        let listener = TcpListener::bind(address).await.expect("the port is free again");
        let hub = ByHand { listener };
        hub.accept_native().await;
        assert_eq!(side.app.open(1).await, (false, true));
        assert_eq!(side.app.gaps(), [], "the time before the first open is no gap");
    })
    .await;
}
