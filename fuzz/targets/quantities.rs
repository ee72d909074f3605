//! Durations, sizes, moments, names and ids.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    queuectl_testkit::checks::quantity(text);
    queuectl_testkit::checks::name(text);
    queuectl_cli::checks::times(text);
});
