//! Randomness enters the library here: jitter of retries, and identities of processes.

/// A number in `[0, 1)`, for jitter.
#[expect(clippy::disallowed_methods, reason = "this file is the door of randomness")]
pub(crate) fn unit() -> f64 {
    fastrand::f64()
}

/// 128 random bits in hexadecimal: an identity that is never used twice.
pub(crate) fn identity() -> String {
    // The generator is seeded per thread from the hasher's keys, which the standard library takes
    // from the operating system.
    #[expect(clippy::disallowed_methods, reason = "this file is the door of randomness")]
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    format!("{high:016x}{low:016x}")
}
