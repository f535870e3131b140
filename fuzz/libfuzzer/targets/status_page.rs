#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| clawinit_fuzz::status_page(data));
