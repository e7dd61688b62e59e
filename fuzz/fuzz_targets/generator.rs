//! Runs `merch_fuzz::generator` in libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merch_fuzz::generator(data));
