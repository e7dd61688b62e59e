//! Runs `merch_fuzz::headers` in libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merch_fuzz::headers(data));
