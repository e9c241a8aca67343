#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    lowbit_fuzz::files::idx(data);
});
