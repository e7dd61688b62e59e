//! Runs `merch_fuzz::query` in libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merch_fuzz::query(data));
