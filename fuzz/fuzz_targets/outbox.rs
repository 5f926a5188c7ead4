//! Feeds libFuzzer's inputs to `alkpubsub_fuzz::outbox`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alkpubsub_fuzz::outbox::check(data));
