//! Random bytes and random frames in random pieces.

use alkpubsub_engine::model::EventSpan;
use alkpubsub_engine::wire::envelope;
use alkpubsub_engine::wire::frame::Framing;
use proptest::prelude::*;

use crate::{At, Got, at_once, byte_by_byte, decode, frame, passes_untouched, text};

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
