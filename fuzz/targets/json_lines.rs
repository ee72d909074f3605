//! Jobs as lines of JSON.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    queuectl_cli::checks::json_lines(bytes);
});
