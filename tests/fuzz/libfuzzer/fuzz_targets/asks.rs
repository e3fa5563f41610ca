#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| filch_fuzz::run_one("asks", bytes));
