//! What is legal on the wire, byte by byte: frames of both framings in pieces of any size, every violation with its close code, and
//! payloads that pass untouched. No sockets here.

use alkpubsub_engine::model::{CloseCode, EventSpan};
use alkpubsub_engine::wire::control::{self, Control};
use alkpubsub_engine::wire::envelope;
use alkpubsub_engine::wire::frame::{Decoder, FrameError, Framing, Item};
use proptest::prelude::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An item that outlives its read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

fn owned(item: Item<'_>) -> Got {
    match item {
        Item::Text(text) => Got::Text(text.into()),
        Item::Binary(bytes) => Got::Binary(bytes.into()),
        Item::Malformed(what) => unreachable!("no framing says {what}"),
        Item::Interrupted(what) => unreachable!("no framing says {what:?}"),
        Item::Ping(data) => Got::Ping(data.into()),
        Item::Pong(data) => Got::Pong(data.into()),
        Item::Close(code, reason) => Got::Close(code.0, reason.into()),
    }
}

/// Which end decodes: a server sees masked frames, a client unmasked ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Server,
    Client,
    Stream,
}

impl At {
    fn decoder(self, max: usize) -> Decoder {
        match self {
            Self::Server => Framing::WebSocketServer.peer_decoder(max),
            Self::Client => Framing::WebSocketClient.peer_decoder(max),
            Self::Stream => Framing::Length.peer_decoder(max),
        }
    }
}

/// Feeds pieces one by one; checks after each that no more is held than came.
fn decode<'a>(mut decoder: Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Got>, Option<FrameError>) {
    let mut got = Vec::new();
    let mut fed = 0;
    for piece in pieces {
        fed += piece.len();
        let fate = decoder.feed(&mut piece.to_vec(), &mut |item| got.push(owned(item)));
        assert!(decoder.held_bytes() <= fed, "{} bytes held of {fed}", decoder.held_bytes());
        if let Err(error) = fate {
            return (got, Some(error));
        }
    }
    (got, None)
}

fn at_once(at: At, max: usize, bytes: &[u8]) -> (Vec<Got>, Option<FrameError>) {
    decode(at.decoder(max), [bytes])
}

fn byte_by_byte(at: At, max: usize, bytes: &[u8]) -> (Vec<Got>, Option<FrameError>) {
    decode(at.decoder(max), bytes.chunks(1))
}

/// A WebSocket frame made without the code under test. `first` is the first byte.
fn frame(at: At, first: u8, payload: &[u8]) -> Vec<u8> {
    let bit = if at == At::Server { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        len @ ..=125 => out.push(bit | len as u8),
        len @ ..=65_535 => {
            out.push(bit | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(bit | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    if at == At::Server {
        out.extend(MASK);
        out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ MASK[index % 4]));
    } else {
        out.extend(payload);
    }
    out
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hex digits are ASCII");
            u8::from_str_radix(pair, 16).expect("hex digits")
        })
        .collect()
}

fn text(text: &str) -> Got {
    Got::Text(text.into())
}

// ---- Length frames -------------------------------------------------------------------------------------------------------------------

const VECTORS: [(&str, &str); 2] = [
    (
        "0000002f7b2274797065223a22636861742e6d7367222c226964223a227231222c227061796c6f6164223a7b226e223a317d7d",
        r#"{"type":"chat.msg","id":"r1","payload":{"n":1}}"#,
    ),
    (
        "000000407b2274797065223a225f5f737562736372696265222c226964223a22222c227061796c6f6164223a7b22746f706963223a22636861742e6d73673a7231227d7d",
        r#"{"type":"__subscribe","id":"","payload":{"topic":"chat.msg:r1"}}"#,
    ),
];

#[test]
fn length_frames_are_the_bytes_of_the_contract_both_ways() {
    for (bytes, message) in VECTORS {
        let mut out = Vec::new();
        Framing::Length.write_message(&mut out, message, [0; 4]);
        assert_eq!(out, hex(bytes));
        assert_eq!(Framing::Length.frame_len(&out), Some(out.len()));
        assert_eq!(at_once(At::Stream, 1024, &out), (vec![text(message)], None));
    }
}

#[test]
fn an_event_and_a_subscribe_are_written_as_the_vectors_say() {
    let mut buffer = String::new();
    let span = EventSpan::write(&mut buffer, "chat.msg", "r1", r#"{"n":1}"#);
    assert_eq!(span.body(&buffer), VECTORS[0].1);
    let mut out = String::new();
    control::write_subscribe(&mut out, "chat.msg:r1", None);
    assert_eq!(out, VECTORS[1].1);
}

fn length_stream() -> (Vec<u8>, Vec<Got>) {
    let mut bytes = Vec::new();
    for (vector, _) in VECTORS {
        bytes.extend(hex(vector));
    }
    bytes.extend(hex("00000001 31"));
    bytes.extend(hex("00000006 c3a9 f09f9880"));
    bytes.extend(hex("00000002 c328"));
    bytes.extend(hex("00000002 7b7d"));
    let items =
        vec![text(VECTORS[0].1), text(VECTORS[1].1), text("1"), text("é😀"), Got::Binary(vec![0xc3, 0x28]), text("{}")];
    (bytes, items)
}

#[test]
fn length_frames_survive_a_cut_at_every_byte() {
    let (bytes, items) = length_stream();
    assert_eq!(byte_by_byte(At::Stream, 64, &bytes), (items.clone(), None));
    for first in 0..=bytes.len() {
        for second in [first, (first + 1).min(bytes.len()), (first + 5).min(bytes.len())] {
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(decode(At::Stream.decoder(64), pieces), (items.clone(), None), "cut at {first} and {second}");
        }
    }
}

#[test]
fn a_length_of_zero_or_above_the_limit_is_refused_before_anything_of_it_is_stored() {
    const MAX: usize = 64;
    let cases: [(&str, u16); 5] =
        [("00000000", 1002), ("00000041", 1009), ("80000000", 1009), ("ffffffff", 1009), ("7fffffff", 1009)];
    for (header, code) in cases {
        let mut bytes = hex(header);
        bytes.extend([b' '; 200]);
        for pieces in [vec![&bytes[..]], bytes.chunks(1).collect(), vec![&bytes[..4], &bytes[4..]]] {
            let mut decoder = At::Stream.decoder(MAX);
            let refused = pieces
                .into_iter()
                .find_map(|piece| decoder.feed(&mut piece.to_vec(), &mut |item| unreachable!("{item:?}")).err());
            assert_eq!(refused.map(|error| error.close_code()), Some(CloseCode(code)), "length {header}");
            assert!(decoder.held_bytes() <= 4, "{} held of {header}", decoder.held_bytes());
        }
    }
    let mut largest = hex("00000040");
    largest.extend([b' '; MAX]);
    let whole = vec![text(&" ".repeat(MAX))];
    assert_eq!(at_once(At::Stream, MAX, &largest), (whole.clone(), None));
    assert_eq!(byte_by_byte(At::Stream, MAX, &largest), (whole, None));
}

#[test]
fn half_a_message_holds_what_came_and_no_more() {
    let mut decoder = At::Stream.decoder(64 << 20);
    let nothing = &mut |item: Item<'_>| unreachable!("{item:?}");
    decoder.feed(&mut hex("04000000"), nothing).expect("at the limit");
    decoder.feed(&mut [b'x'; 1000], nothing).expect("not complete");
    assert_eq!(decoder.held_bytes(), 1004);
    let mut decoder = At::Client.decoder(64 << 20);
    decoder.feed(&mut hex("827f0000000004000000"), nothing).expect("at the limit");
    decoder.feed(&mut [b'x'; 1000], nothing).expect("not complete");
    assert_eq!(decoder.held_bytes(), 1010);
}

// ---- WebSocket frames ----------------------------------------------------------------------------------------------------------------

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

// ---- Random bytes --------------------------------------------------------------------------------------------------------------------

/// Mostly legal frames, so that random input comes further than the first byte.
fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        4 => Just(0x81_u8), 2 => Just(0x01), 3 => Just(0x00), 3 => Just(0x80), 1 => Just(0x82), 1 => Just(0x02),
        2 => Just(0x89), 1 => Just(0x8a), 1 => any::<u8>()
    ];
    let payload = prop_oneof![
        4 => prop::collection::vec(b'a'..=b'z', 0..20),
        1 => prop::collection::vec(any::<u8>(), 0..140),
        1 => prop::collection::vec(b'a'..=b'z', 120..130),
    ];
    (opcode, payload).prop_map(|(first, payload)| {
        let mut bytes = frame(At::Server, first, &payload);
        bytes.extend(frame(At::Server, 0x89, b""));
        bytes
    })
}

fn settings() -> ProptestConfig {
    // The failing input is printed whole; no file is written beside the tests.
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) }
}

fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        let (piece, tail) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece);
        rest = tail;
        if rest.is_empty() {
            return pieces;
        }
    }
    vec![bytes]
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn random_bytes_neither_panic_nor_pile_up(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        sizes in prop::collection::vec(1..50usize, 1..20),
        max in 0..3000usize,
    ) {
        for at in [At::Server, At::Client, At::Stream] {
            // `decode` itself checks what is held.
            let whole = at_once(at, max, &bytes);
            prop_assert_eq!(whole, decode(at.decoder(max), cut(&bytes, &sizes)));
        }
    }

    #[test]
    fn pieces_make_no_difference(
        frames in prop::collection::vec(some_frame(), 0..12),
        sizes in prop::collection::vec(1..200usize, 1..20),
        max in 0..300usize,
    ) {
        let bytes = frames.concat();
        let whole = at_once(At::Server, max, &bytes);
        prop_assert_eq!(&whole, &decode(At::Server.decoder(max), cut(&bytes, &sizes)));
        prop_assert_eq!(&whole, &byte_by_byte(At::Server, max, &bytes));
    }

    #[test]
    fn short_length_frames_in_pieces_make_no_difference(
        messages in prop::collection::vec("[ -~é😀]{1,40}", 0..12),
        sizes in prop::collection::vec(1..100usize, 1..20),
    ) {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| Framing::Length.write_message(&mut bytes, message, [0; 4]));
        let items: Vec<Got> = messages.iter().map(|message| text(message)).collect();
        prop_assert_eq!(decode(At::Stream.decoder(200), cut(&bytes, &sizes)), (items, None));
    }

    #[test]
    fn random_text_is_no_envelope_or_one_whose_payload_is_one_value(message in ".{0,200}") {
        if let Ok(envelope) = envelope::decode(&message) {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(envelope.payload).is_ok());
        }
    }

    #[test]
    fn names_of_any_text_come_through(type_ in any::<String>(), id in any::<String>()) {
        let mut buffer = String::new();
        let span = EventSpan::write(&mut buffer, &type_, &id, "[0]");
        let read = envelope::decode(span.body(&buffer)).expect("our own envelope");
        prop_assert_eq!((&*read.type_, &*read.id, read.payload), (&*type_, &*id, "[0]"));
        prop_assert_eq!(span.topic(&buffer), format!("{type_}:{id}"));
    }

    #[test]
    fn random_payloads_pass_byte_for_byte(value in json(), before in "[ -~]{0,30}") {
        passes_untouched(&before, &value);
    }
}

// ---- Payloads ------------------------------------------------------------------------------------------------------------------------

/// JSON texts as no library would write them: odd spaces, numbers and escapes, keys that come twice.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?",
        "\"([ !#-\\[\\]-~é😀]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,20}\"",
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|values| format!("[ {} ]", values.join(" ,\n"))),
            prop::collection::vec(("(a|b|__proto__|type|payload)", inner), 0..5).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\"\t:{value}")).collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

/// The payload's bytes go from a message into a batch, and into the envelope that leaves, without a change.
fn passes_untouched(before: &str, payload: &str) {
    let message = format!(r#" {{ "_o":1, "payload" :  {payload} , "x":[{{}}], "id":"i", "type":"t"}} "#);
    let read = envelope::decode(&message).expect("an envelope");
    assert_eq!(read.payload, payload);
    let mut buffer = before.to_owned();
    let mut span = EventSpan::write(&mut buffer, &read.type_, &read.id, read.payload);
    assert_eq!(span.payload(&buffer), payload);
    assert_eq!(span.body(&buffer), format!(r#"{{"type":"t","id":"i","payload":{payload}}}"#));
    let mut other = String::from("é, moved");
    span.rebase(other.len() as u32);
    other.push_str(&buffer);
    assert_eq!(span.payload(&other), payload);
    assert_eq!(envelope::decode(span.body(&other)).expect("our own envelope").payload, payload);
}

#[test]
fn payloads_pass_byte_for_byte() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_object = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    for payload in [
        "9007199254740993",
        "-123456789012345678901234567890.123456789012345678901234567890e-400",
        "1e400",
        "-0",
        "1E+5",
        r#""\u00e9\/\b\f\n\r\t\"\\\ud83d\ude00 \ud800 \udc00\ud800""#,
        "\"\u{2028}\u{2029}\u{7f}\u{feff}\"",
        r#"{"a":1,"a":{"b":2,"b":[3],"__proto__":{"__proto__":null}},"a":0}"#,
        "[ 1 ,\t2\r\n, { } ]",
        "{\"type\":\"__subscribe\",\"id\":\"\",\"payload\":{\"topic\":\"a:\"}}",
        r#""},\"payload\":1,\"type\":\"x""#,
        &deep,
        &deep_object,
    ] {
        passes_untouched("", payload);
    }
}

#[test]
fn what_would_close_the_envelope_is_no_payload() {
    for rest in [
        r#"1},"type":"b"}"#,
        r#"1}{"type":"b","id":"","payload":2}"#,
        r#"1},{"type":"b","id":"","payload":2}"#,
        r#"1,"payload":2}"#,
        r#"1,"type":"b"}"#,
        r#"1,"id":"b"}"#,
        r#"1,"pay\u006coad":2}"#,
        r#"1,"\u0074ype":"b"}"#,
        "1]}",
        "\"\u{1}\"}",
        "NaN}",
        "'1'}",
        "undefined}",
        "1,}",
        "[1,]}",
        "/**/1}",
        "+1}",
        ".5}",
        "1.}",
        "0x10}",
        "1}\u{0}",
        "",
    ] {
        let message = format!(r#"{{"type":"a","id":"","payload":{rest}"#);
        assert!(envelope::decode(&message).is_err(), "{message}");
    }
    assert!(envelope::decode("\u{feff}{\"type\":\"a\",\"id\":\"\"}").is_err(), "a byte order mark is no JSON");
}

#[test]
fn an_array_is_neither_an_envelope_nor_a_control_payload() {
    for message in [r#"["a","b",1]"#, r#"["a","b"]"#, r#" [ "__subscribe", "", {"topic":"a:"} ]"#] {
        assert!(envelope::decode(message).is_err(), "{message}");
    }
    for (type_, payload) in [
        ("__subscribe", r#"["a:"]"#),
        ("__subscribe", r#"["a:",7]"#),
        ("__hello", "[1]"),
        ("__ping", "[1]"),
        ("__gap", r#"[1,2,["a:"]]"#),
        ("__refused", r#"["a:",1,"subscribe","LIMIT",""]"#),
    ] {
        assert_eq!(control::decode(type_, payload), None, "{type_} {payload}");
    }
}

#[test]
fn control_events_with_the_wrong_shape_are_nothing_and_extra_keys_are_ignored() {
    let read = control::decode("__subscribe", r#"{"x":1,"topic":"a:b:c","n":7,"y":{}}"#);
    let wanted = Control::Subscribe { topic: "a:b:c".into(), n: Some(7) };
    assert_eq!(read, Some(wanted));
    for (type_, payload) in [
        ("__subscribe", r#"{"topic":"a:","topic":"b:"}"#),
        ("__subscribe", r#"["a:"]x"#),
        ("__subscribe", r#"{"topic":"a:","n":18446744073709551616}"#),
        ("__subscribe", r#"{"topic":null}"#),
        ("__unsubscribe", r#"{"topic":""}"#),
        ("__hello", "{}"),
        ("__hello", r#"{"version":-1}"#),
        ("__hello", r#"{"version":1,"features":"ping"}"#),
        ("__gap", r#"{"from":-1,"to":0,"topics":[]}"#),
        ("__ping", "{}"),
        ("__credit", r#"{"bytes":-1}"#),
        ("__", "{}"),
        ("__Subscribe", r#"{"topic":"a:"}"#),
    ] {
        assert_eq!(control::decode(type_, payload), None, "{type_} {payload}");
    }
    let hello = |len: usize| {
        let frame = r#"{"version":1,"x":""}"#.len();
        control::decode("__hello", &format!(r#"{{"version":1,"x":"{}"}}"#, "x".repeat(len - frame)))
    };
    assert!(hello(1024).is_some() && hello(1025).is_none(), "a hello of at most 1 KiB");
}
