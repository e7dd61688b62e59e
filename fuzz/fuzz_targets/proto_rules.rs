//! Runs `merch_fuzz::proto_rules` in libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merch_fuzz::proto_rules(data));
