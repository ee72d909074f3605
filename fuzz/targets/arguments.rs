//! The command line: words, separated by NUL.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let words: Vec<OsString> =
        bytes.split(|&byte| byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    queuectl_cli::checks::arguments(&words);
});
