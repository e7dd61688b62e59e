//! Runs `merch_fuzz::idempotency_key` in libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merch_fuzz::idempotency_key(data));
