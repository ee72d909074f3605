//! Backoff policies, and the delays that they give.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u32, f64, &str)| {
    let (retry, random, text) = input;
    queuectl_testkit::checks::backoff(text, retry, random);
});
