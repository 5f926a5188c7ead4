//! Payloads pass byte for byte; what would close an envelope is none.

use alkpubsub_engine::wire::control::{self, Control};
use alkpubsub_engine::wire::envelope;

use crate::passes_untouched;

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
