//! WebSocket frames: the examples of RFC 6455, cuts at every byte, and each violation.

use alkpubsub_engine::model::CloseCode;
use alkpubsub_engine::wire::frame::{FrameError, Framing};

use crate::{At, Got, MASK, at_once, byte_by_byte, decode, frame, hex, text};

#[test]
fn frames_are_the_examples_of_rfc_6455_section_5_7() {
    let mut out = Vec::new();
    Framing::WebSocketServer.write_message(&mut out, "Hello", MASK);
    assert_eq!(out, hex("81 05 48 65 6c 6c 6f"));
    out.clear();
    Framing::WebSocketClient.write_message(&mut out, "Hello", MASK);
    assert_eq!(out, hex("81 85 37 fa 21 3d 7f 9f 4d 51 58"));
    assert_eq!(Framing::WebSocketClient.frame_len(&out), Some(out.len()));
    out.clear();
    assert!(Framing::WebSocketServer.write_ping(&mut out, b"Hello", MASK));
    assert_eq!(out, hex("89 05 48 65 6c 6c 6f"));
    out.clear();
    assert!(Framing::WebSocketClient.write_pong(&mut out, b"Hello", MASK));
    assert_eq!(out, hex("8a 85 37 fa 21 3d 7f 9f 4d 51 58"));
    let fragmented = hex("01 03 48 65 6c 80 02 6c 6f");
    assert_eq!(at_once(At::Client, 5, &fragmented), (vec![text("Hello")], None));
    out.clear();
    Framing::WebSocketServer.write_message(&mut out, &"x".repeat(256), MASK);
    assert_eq!(out[..4], hex("81 7e 01 00"));
    out.clear();
    Framing::WebSocketServer.write_message(&mut out, &"x".repeat(65_536), MASK);
    assert_eq!(out[..10], hex("81 7f 00 00 00 00 00 01 00 00"));
}

#[test]
fn a_close_frame_carries_its_code_and_as_much_of_the_reason_as_fits() {
    let mut out = Vec::new();
    assert!(Framing::WebSocketServer.write_close(&mut out, CloseCode::TOO_SLOW, "slow", MASK));
    assert_eq!(out, hex("88 06 03f5 736c6f77"));
    out.clear();
    assert!(Framing::WebSocketServer.write_close(&mut out, CloseCode::NONE, "unsaid", MASK));
    assert_eq!(out, hex("88 00"));
    out.clear();
    Framing::WebSocketServer.write_close(&mut out, CloseCode::POLICY, &"é".repeat(100), MASK);
    let reason = "é".repeat(61);
    assert_eq!(at_once(At::Client, 0, &out), (vec![Got::Close(1008, reason)], None), "cut between characters");
    out.clear();
    assert!(!Framing::Length.write_close(&mut out, CloseCode::NORMAL, "", MASK));
    assert!(!Framing::Length.write_ping(&mut out, b"", MASK) && out.is_empty());
}

fn websocket_stream(at: At) -> (Vec<u8>, Vec<Got>) {
    let bytes = [
        frame(at, 0x81, b"{}"),
        frame(at, 0x81, b""),
        frame(at, 0x01, "a\u{e9}".as_bytes().split_at(2).0),
        frame(at, 0x89, b"p1"),
        frame(at, 0x00, "a\u{e9}".as_bytes().split_at(2).1),
        frame(at, 0x8a, b""),
        frame(at, 0x00, b""),
        frame(at, 0x80, b"z"),
        frame(at, 0x82, &[0xff, 0x00]),
        frame(at, 0x02, b"\xff"),
        frame(at, 0x80, b"b"),
        frame(at, 0x81, &[b'm'; 126]),
        frame(at, 0x89, &[b'q'; 125]),
        frame(at, 0x88, b"\x03\xe8bye"),
        frame(at, 0x81, b"after the close frame nothing counts"),
    ]
    .concat();
    let items = vec![
        text("{}"),
        text(""),
        Got::Ping(b"p1".into()),
        Got::Pong(b"".into()),
        text("a\u{e9}z"),
        Got::Binary(vec![0xff, 0x00]),
        Got::Binary(b"\xffb".into()),
        text(&"m".repeat(126)),
        Got::Ping([b'q'; 125].into()),
        Got::Close(1000, "bye".into()),
    ];
    (bytes, items)
}

#[test]
fn websocket_frames_survive_a_cut_at_every_byte() {
    for at in [At::Server, At::Client] {
        let (bytes, items) = websocket_stream(at);
        assert_eq!(byte_by_byte(at, 200, &bytes), (items.clone(), None));
        for first in 0..=bytes.len() {
            for second in [first, (first + 1).min(bytes.len()), (first + 7).min(bytes.len())] {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(
                    decode(at.decoder(200), pieces),
                    (items.clone(), None),
                    "{at:?}, cut at {first} and {second}"
                );
            }
        }
    }
}

#[test]
fn each_size_of_header_survives_cuts() {
    for at in [At::Server, At::Client] {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let message: String = (0..len).map(|index| char::from(b'a' + (index % 26) as u8)).collect();
            let mut bytes = frame(at, 0x81, message.as_bytes());
            bytes.extend(frame(at, 0x81, b"next"));
            let items = vec![text(&message), text("next")];
            assert_eq!(byte_by_byte(at, 65_536, &bytes), (items.clone(), None), "{len} bytes");
            let ends = bytes.len().saturating_sub(20)..bytes.len();
            for cut in (0..bytes.len().min(20)).chain(ends) {
                let pieces = [&bytes[..cut], &bytes[cut..]];
                assert_eq!(decode(at.decoder(65_536), pieces), (items.clone(), None), "{len} bytes cut at {cut}");
            }
        }
    }
}

#[test]
fn what_is_written_masked_or_not_reads_back_at_each_size() {
    for (side, at) in [(Framing::WebSocketServer, At::Client), (Framing::WebSocketClient, At::Server)] {
        for len in [0, 1, 3, 8, 125, 126, 65_535, 65_536, 100_003] {
            let message = "y".repeat(len);
            let mut bytes = Vec::new();
            side.write_message(&mut bytes, &message, MASK);
            let first = 0x81;
            assert_eq!(bytes, frame(at, first, message.as_bytes()), "{len} bytes");
            assert_eq!(side.frame_len(&bytes), Some(bytes.len()));
            assert_eq!(at_once(at, len, &bytes), (vec![text(&message)], None));
        }
    }
}

/// `bytes` are refused with `code`, in one piece and byte by byte, after `before` was given.
fn refuses(what: &str, at: At, bytes: &[u8], code: u16, before: &[Got]) {
    for (items, error) in [at_once(at, 16, bytes), byte_by_byte(at, 16, bytes)] {
        assert_eq!(error.map(|error| error.close_code()), Some(CloseCode(code)), "{what}: {bytes:02x?}");
        assert_eq!(items, before, "{what}");
    }
}

#[test]
fn each_violation_has_its_close_code() {
    let server = |what, bytes: &str, code| refuses(what, At::Server, &hex(bytes), code, &[]);
    let client = |what, bytes: &str, code| refuses(what, At::Client, &hex(bytes), code, &[]);
    server("RSV1", "c1 80 00000000", 1002);
    server("RSV2", "a1 80 00000000", 1002);
    server("RSV3", "91 80 00000000", 1002);
    server("RSV1 of a ping", "c9 80 00000000", 1002);
    server("an unmasked frame from a client", "81 01 61", 1002);
    client("a masked frame from a server", "81 81 37fa213d 56", 1002);
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        server("an unknown opcode", &format!("8{opcode:x} 80 00000000"), 1002);
    }
    server("a fragmented ping", "09 80 00000000", 1002);
    server("a fragmented close", "08 80 00000000", 1002);
    client("a ping of 126 bytes", "89 7e 007e", 1002);
    client("a close of 2^32 bytes", "88 7f 0000000100000000", 1002);
    client("a continuation of nothing", "80 01 61", 1002);
    client("a first fragment that is a continuation", "00 01 61", 1002);
    client("a new message inside a fragmented one", "01 01 61 81 01 62", 1002);
    client("a new fragmented message inside a fragmented one", "01 01 61 02 01 62", 1002);
    client("a length of 2^63", "82 7f 8000000000000000", 1009);
    client("a length of 2^64-1", "81 7f ffffffffffffffff", 1009);
    client("one byte over the limit", "81 11", 1009);
    client("one byte over the limit in fragments", "01 10 61616161616161616161616161616161 80 01", 1009);
    client("text that is not UTF-8", "81 02 c328", 1007);
    client("a lone surrogate in UTF-8", "81 03 eda080", 1007);
    client("text that ends inside a character", "81 02 f09f", 1007);
    client("fragments that are not UTF-8 together", "01 01 c3 80 01 28", 1007);
    client("a close frame of one byte", "88 01 03", 1002);
    client("a close reason that is not UTF-8", "88 04 03e8 c328", 1007);
}

#[test]
fn items_before_a_violation_are_given_and_none_behind_it() {
    let bytes = [frame(At::Client, 0x81, b"one"), frame(At::Client, 0x89, b"two"), hex("83 00 81 01 61")].concat();
    let before = [text("one"), Got::Ping(b"two".into())];
    refuses("an unknown opcode behind messages", At::Client, &bytes, 1002, &before);
    let bytes = hex("01 01 61 89 01 70 81 01 62");
    let before = [Got::Ping(b"p".into())];
    refuses("a ping inside the broken message", At::Client, &bytes, 1002, &before);
}

#[test]
fn a_message_at_the_limit_passes_in_one_piece_and_in_fragments() {
    let whole = frame(At::Client, 0x81, &[b'a'; 16]);
    assert_eq!(at_once(At::Client, 16, &whole), (vec![text(&"a".repeat(16))], None));
    let parts = [
        frame(At::Client, 0x01, &[b'a'; 9]),
        frame(At::Client, 0x89, &[b'p'; 125]),
        frame(At::Client, 0x00, &[b'a'; 7]),
        frame(At::Client, 0x80, b""),
    ]
    .concat();
    let items = vec![Got::Ping([b'p'; 125].into()), text(&"a".repeat(16))];
    assert_eq!(at_once(At::Client, 16, &parts), (items.clone(), None));
    assert_eq!(byte_by_byte(At::Client, 16, &parts), (items, None));
}

#[test]
fn close_codes_that_may_not_be_sent_are_a_violation() {
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535] {
        let bytes = frame(At::Client, 0x88, &u16::to_be_bytes(code));
        refuses(&format!("close code {code}"), At::Client, &bytes, 1002, &[]);
    }
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4401, 4999] {
        let bytes = frame(At::Client, 0x88, &u16::to_be_bytes(code));
        let close = vec![Got::Close(code, String::new())];
        assert_eq!(at_once(At::Client, 16, &bytes), (close, None));
    }
    let empty = frame(At::Client, 0x88, b"");
    let none = vec![Got::Close(1005, String::new())];
    assert_eq!(at_once(At::Client, 16, &empty), (none, None));
}

#[test]
fn a_binary_message_need_not_be_text() {
    let bytes = frame(At::Client, 0x82, &[0xc3, 0x28]);
    assert_eq!(at_once(At::Client, 16, &bytes), (vec![Got::Binary(vec![0xc3, 0x28])], None));
}

#[test]
fn a_header_above_the_limit_is_refused_before_its_payload() {
    for header in ["82 11", "82 7e 0011", "82 7f 0000000080000000", "82 7f 00000000ffffffff", "82 7f 7fffffffffffffff"]
    {
        let mut decoder = At::Client.decoder(16);
        let mut bytes = hex(header);
        let error = decoder.feed(&mut bytes, &mut |item| unreachable!("{item:?}"));
        assert!(matches!(error, Err(FrameError::TooLarge { max: 16, .. })), "{header}: {error:?}");
        assert_eq!(decoder.held_bytes(), 0);
    }
}

#[test]
fn a_message_in_endless_empty_fragments_is_refused() {
    let mut bytes = frame(At::Client, 0x01, b"");
    bytes.extend(frame(At::Client, 0x00, b"").repeat(20_000));
    let (items, error) = at_once(At::Client, 16, &bytes);
    assert_eq!((items, error), (vec![], Some(FrameError::TooManyFragments)));
}
