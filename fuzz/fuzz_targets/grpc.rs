//! Runs `merch_fuzz::grpc` in libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merch_fuzz::grpc(data));
