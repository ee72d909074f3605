//! What a job has written, on its way to a terminal.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (columns, bytes) = input;
    queuectl_cli::checks::shown(bytes, usize::from(columns));
});
