//! Runs `merch_fuzz::requests` in libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merch_fuzz::requests(data));
