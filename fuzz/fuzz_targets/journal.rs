//! Runs `merch_fuzz::journal` in libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merch_fuzz::journal(data));
