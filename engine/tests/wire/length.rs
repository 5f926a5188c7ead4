//! Length frames.

use alkpubsub_engine::model::{CloseCode, EventSpan};
use alkpubsub_engine::wire::control;
use alkpubsub_engine::wire::frame::{Framing, Item};

use crate::{At, Got, at_once, byte_by_byte, decode, hex, text};

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
