//! What peers say that they should not: it is counted, told and closed for, and concerns nobody else.

use alkpubsub_engine::delivery::Notice;
use alkpubsub_engine::hub::HubConfig;
use alkpubsub_engine::model::{ErrorKind, Published};
use alkpubsub_engine::route::ConnKey;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::support::*;

#[tokio::test]
async fn what_is_forged_never_reaches_a_subscriber() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let mut subscriber = net.subscriber(&["t:1", "t:2", "x:"]).await;
            let mut publisher = net.peer().await;
            let bad = [
                r#"{"type":"t","id":"1","payload":1,"payload":2}"#,
                r#"{"type":"x","type":"t","id":"1","payload":1}"#,
                r#"{"type":"t","id":"2","id":"1","payload":1}"#,
                r#"{"type":"t","id":"1","payload":1},"type":"x"}"#,
                r#"{"type":"t","id":"1","payload":1}{"type":"x","id":"","payload":2}"#,
                r#"{"type":"t","id":"1","payload":"a"b"}"#,
                r#"{"type":"t","id":1,"payload":1}"#,
                r#"{"type":null,"id":"1","payload":1}"#,
                r#"{"type":"","id":"1","payload":1}"#,
                r#"{"id":"1","payload":1}"#,
                r#"["t","1",1]"#,
                "[1]",
                "nonsense",
            ];
            for message in bad {
                publisher.send(message).await;
            }
            for message in [
                r#"{"_o":"forged","type":"t","id":"1","payload":{"a":1},"x":{"type":"x"},"__proto__":[]}"#,
                r#" { "payload" : [1, 2]  , "id":"1" ,"type":"\u0074"}"#,
                r#"{"type":"t","id":"1"}"#,
            ] {
                publisher.send(message).await;
            }
            publisher.settle().await;
            let good = [event("t", "1", r#"{"a":1}"#), event("t", "1", "[1, 2]"), event("t", "1", "null")];
            assert_eq!(subscriber.rest().await, good, "{via:?}");
            assert_eq!(net.app.payloads(), [r#"{"a":1}"#, "[1, 2]", "null"]);
            assert_eq!(net.hub.stats().malformed, bad.len() as u64);
            net.app.error(ErrorKind::Malformed).await;
        }
    })
    .await;
}

#[tokio::test]
async fn relayed_payloads_are_the_publishers_bytes() {
    within(async {
        for via in EVERY_WAY {
            let net = Net::relay(via).await;
            net.listen("t:1").await;
            let mut subscriber = net.subscriber(&["t:1"]).await;
            let mut publisher = net.peer().await;
            let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
            let large = format!("\"{}\"", "é".repeat(300_000));
            let sent = [
                "123456789012345678901234567890",
                "1e400",
                "-0",
                r#"{ "a" : 1,	"a":2, "__proto__":{"a":null} }"#,
                r#""\ud800 \u0041 \/ \"},\"type\":\"x""#,
                &deep,
                &large,
            ];
            for payload in sent {
                publisher.send(&format!(r#"{{"payload":{payload},"type":"t","id":"1"}}"#)).await;
            }
            for payload in sent {
                let text = subscriber.text().await;
                assert!(text == event("t", "1", payload), "{via:?}: {payload:.40}");
            }
            assert_eq!(net.app.payloads_of(sent.len()).await, sent);
        }
    })
    .await;
}

#[tokio::test]
async fn malformed_messages_are_counted_and_reported_and_one_too_many_closes() {
    within(async {
        for via in EVERY_WAY {
            let mut config = HubConfig::default();
            config.limits.max_malformed_per_minute = 3;
            let net = Net::start(config, via).await;
            let mut peer = net.subscriber(&["t:1"]).await;
            let (key, _) = net.app.connection(1).await;
            for _ in 0..3 {
                peer.send("nonsense").await;
            }
            peer.settle().await;
            assert_eq!(net.hub.stats().malformed, 3, "{via:?}");
            net.publish("t", "1", "1");
            assert_eq!(peer.text().await, event("t", "1", "1"), "three are forgiven");
            peer.send("nonsense").await;
            let (_, close) = peer.until_end().await;
            assert_eq!(close.map(|(code, _)| code), Some(1008), "{via:?}: the fourth is not");
            drop(peer);
            assert_eq!(net.app.disconnection(key).await.0, 1008);
            let (message, _) = net.app.error(ErrorKind::Malformed).await;
            assert!(message.contains("not an envelope"), "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn errors_of_a_storm_are_told_with_their_number() {
    within(async {
        let mut config = HubConfig::default();
        config.limits.max_malformed_per_minute = 10_000;
        let net = Net::start(config, Via::Memory).await;
        let mut peer = net.peer().await;
        for _ in 0..500 {
            peer.send("nonsense").await;
        }
        peer.settle().await;
        let told = net
            .app
            .until("all 500 are accounted for", |log| {
                let dropped = log.iter().filter_map(|heard| match heard {
                    Heard::Notice(Notice::Error { dropped, .. }) => Some(*dropped),
                    _ => None,
                });
                let told: Vec<u64> = dropped.collect();
                (told.iter().sum::<u64>() == 500).then_some(told.len())
            })
            .await;
        assert!(told < 50, "{told} notices for a storm");
    })
    .await;
}

#[tokio::test]
async fn a_message_at_the_limit_passes_and_one_byte_more_closes_with_1009() {
    within(async {
        for via in EVERY_WAY {
            let mut config = HubConfig { relay: true, ..HubConfig::default() };
            config.limits.max_message_bytes = 200;
            let net = Net::start(config, via).await;
            net.listen("t:1").await;
            let sized = |len: usize| {
                let frame = event("t", "1", "\"\"").len();
                event("t", "1", &format!("\"{}\"", "x".repeat(len - frame)))
            };
            let mut subscriber = net.subscriber(&["t:1"]).await;
            let mut peer = net.peer().await;
            let (key, _) = net.app.connection(2).await;
            peer.send(&sized(200)).await;
            assert_eq!(subscriber.text().await, sized(200), "{via:?}");
            peer.send(&sized(201)).await;
            let (_, close) = peer.until_end().await;
            assert_eq!(close.map(|(code, _)| code), Some(1009), "{via:?}");
            drop(peer);
            let (code, _, is_clean) = net.app.disconnection(key).await;
            assert_eq!((code, is_clean), (1009, false));
            let of = |len: usize| format!("\"{}\"", "x".repeat(len - event("t", "1", "\"\"").len()));
            let publish = |len| net.hub.publish_once("t", "1", &of(len), ConnKey::APPLICATION);
            assert_eq!(publish(201), Published::TooLarge);
            assert_eq!(publish(200), Published::Accepted);
            assert_eq!(subscriber.text().await, sized(200));
        }
    })
    .await;
}

#[tokio::test]
async fn a_broken_frame_closes_with_its_code_and_concerns_nobody_else() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        let mut other = net.subscriber(&["t:1"]).await;
        let cases: [(&str, Vec<u8>, u16); 6] = [
            ("unmasked", vec![0x81, 0x01, b'a'], 1002),
            ("a reserved bit", masked(0xc1, b"{}"), 1002),
            ("an unknown opcode", masked(0x83, b""), 1002),
            ("not UTF-8", masked(0x81, b"\xc3\x28"), 1007),
            ("2^62 bytes", vec![0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1009),
            ("a close frame with code 1006", masked(0x88, &[0x03, 0xee]), 1002),
        ];
        for (nth, (what, bytes, code)) in cases.into_iter().enumerate() {
            let mut stream = raw(&net).await;
            let (key, _) = net.app.connection(nth + 2).await;
            // What came before counts.
            stream.write_all(&masked(0x81, event("t", "1", &nth.to_string()).as_bytes())).await.expect("the hub reads");
            stream.write_all(&bytes).await.expect("the hub reads");
            let (first, payload) = read_frame(&mut stream).await.expect("a close frame");
            assert_eq!((first, &payload[..2]), (0x88, &u16::to_be_bytes(code)[..]), "{what}");
            drop(stream);
            let (told, _, is_clean) = net.app.disconnection(key).await;
            assert_eq!((told, is_clean), (code, false), "{what}");
            assert_eq!(other.text().await, event("t", "1", &nth.to_string()));
        }
        net.app.error(ErrorKind::Protocol).await;
    })
    .await;
}

#[tokio::test]
async fn a_binary_message_with_an_envelope_is_one_and_another_is_malformed() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        net.listen("t:1").await;
        let mut peer = net.peer().await;
        let binary = |bytes: &[u8]| Message::binary(bytes.to_vec());
        peer.ws().send_message(binary(event("t", "1", "1").as_bytes())).await;
        peer.ws().send_message(binary(b"\xff\xfe")).await;
        peer.settle().await;
        assert_eq!((net.app.payloads(), net.hub.stats().malformed), (vec!["1".to_owned()], 1));
    })
    .await;
}

#[tokio::test]
async fn pings_are_answered_in_order() {
    within(async {
        let net = Net::relay(Via::WebSocket).await;
        let mut stream = raw(&net).await;
        let mut bytes = masked(0x81, HELLO.as_bytes());
        bytes.extend(masked(0x89, b"1"));
        bytes.extend(masked(0x81, subscribe_n("t:1", 1).as_bytes()));
        bytes.extend(masked(0x89, b"2"));
        stream.write_all(&bytes).await.expect("the hub reads");
        let hello = (0x81, HUB_HELLO.as_bytes().to_vec());
        assert_eq!(read_frame(&mut stream).await, Some(hello));
        assert_eq!(read_frame(&mut stream).await, Some((0x8a, b"1".to_vec())));
        let answer = (0x81, subscribed("t:1", 1).into_bytes());
        assert_eq!(read_frame(&mut stream).await, Some(answer));
        assert_eq!(read_frame(&mut stream).await, Some((0x8a, b"2".to_vec())));
    })
    .await;
}
