//! Runs `merch_fuzz::event_json` in libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| merch_fuzz::event_json(data));
