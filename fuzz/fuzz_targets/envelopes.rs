//! Feeds libFuzzer's inputs to `alkpubsub_fuzz::envelopes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alkpubsub_fuzz::envelopes::check(data));
