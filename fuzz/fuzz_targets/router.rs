//! Feeds libFuzzer's inputs to `alkpubsub_fuzz::router`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alkpubsub_fuzz::router::check(data));
