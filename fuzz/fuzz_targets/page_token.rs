//! Runs `merch_fuzz::page_token` in libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merch_fuzz::page_token(data));
