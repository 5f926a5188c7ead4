//! Feeds libFuzzer's inputs to `alkpubsub_fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alkpubsub_fuzz::frames::check(data));
