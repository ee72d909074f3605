//! Values of settings.

#![no_main]

use queuectl_core::Setting;

libfuzzer_sys::fuzz_target!(|input: (u8, &str)| {
    let (index, value) = input;
    let setting = Setting::ALL[usize::from(index) % Setting::ALL.len()];
    queuectl_testkit::checks::setting(setting, value);
});
