//! Feeds libFuzzer's inputs to `alkpubsub_fuzz::permissions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alkpubsub_fuzz::permissions::check(data));
