#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| clawinit_fuzz::health_response(data));
