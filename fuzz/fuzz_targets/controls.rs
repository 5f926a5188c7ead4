//! Feeds libFuzzer's inputs to `alkpubsub_fuzz::controls`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alkpubsub_fuzz::controls::check(data));
