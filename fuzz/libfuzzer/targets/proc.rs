#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| clawinit_fuzz::proc(data));
