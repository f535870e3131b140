#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| clawinit_fuzz::core_step(data));
