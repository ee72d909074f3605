//! Cron expressions.

#![no_main]

use queuectl_core::Timestamp;

const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/Santiago", "Pacific/Apia"];

libfuzzer_sys::fuzz_target!(|input: (u8, u32, &str)| {
    let (index, after, expression) = input;
    let zone = ZONES[usize::from(index) % ZONES.len()];
    let after = Timestamp::from_millis(i64::from(after) * 1000);
    queuectl_testkit::checks::cron(expression, zone, after);
});
