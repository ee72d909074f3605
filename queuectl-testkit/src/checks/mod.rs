//! What must hold for any input whatever, one function for each kind of input. Written once: property
//! tests call them with what proptest makes up, fuzz targets with what a fuzzer does.
//!
//! Each panics if the property does not hold.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic is how a check fails")]

mod file;

use std::time::Duration;

use queuectl_core::schedule::Next;
use queuectl_core::{
    BackoffPolicy, BootTime, JobId, Missed, Name, NewJob, Setting, Settings, Spec, State,
    Timestamp, format_size, parse_duration, parse_size,
};

pub use self::file::{Damage, damaged_store};

/// Durations, sizes and moments: what is read is within its limits, and reads the same when it is
/// written and read again.
pub fn quantity(text: &str) {
    if let Some(duration) = parse_duration(text) {
        assert!(duration <= Duration::from_secs(100 * 365 * 86_400), "{text:?}: {duration:?}");
    }
    if let Some(bytes) = parse_size(text) {
        assert_eq!(parse_size(&format_size(bytes)), Some(bytes), "{text:?}");
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        assert!(moment <= Timestamp::MAX, "{text:?}");
        assert_eq!(moment.to_string().parse(), Ok(moment), "{text:?}");
    }
}

/// Ids, names and states: what is taken is of the alphabet, and shows as it was written.
pub fn name(text: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte) || byte == b'_';
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(plain);
    assert_eq!(Name::new(text).is_ok(), fits, "{text:?}");
    assert_eq!(text.parse::<JobId>().is_ok(), fits, "{text:?}");
    if let Ok(id) = text.parse::<JobId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(state) = text.parse::<State>() {
        assert_eq!(state.as_str(), text);
    }
    let job = || NewJob::new("kind", &()).unwrap();
    assert_eq!(job().tag(text).is_ok(), fits);
    assert_eq!(job().queue(text).is_ok(), fits);
    assert_eq!(job().unique_key(text).is_ok(), (1..=256).contains(&text.len()));
}

/// A cron expression: the moments that it names come one after the other, each on a full second; and
/// which of them are due is found from the end as it is from the beginning.
pub fn cron(expression: &str, zone: &str, after: Timestamp) {
    let Ok(spec) = Spec::cron(expression, zone) else { return };
    let told = spec.upcoming(after, 12);
    let mut last = after;
    for tick in &told {
        assert!(*tick > last && tick.as_millis() % 1000 == 0, "{expression:?} {zone}: {told:?}");
        last = *tick;
    }
    let [first, ..] = told.as_slice() else { return };
    let (next, boot) = (Next { at: *first, boot: None }, BootTime::from_millis(0));
    let due = spec.due(next, Missed::All(5), last, boot).unwrap();
    let kept = told.len().saturating_sub(5);
    assert_eq!(due.ticks, told[kept..], "{expression:?} {zone}");
    let passed_over = kept.checked_sub(1).map(|index| (*first, told[index]));
    assert_eq!(due.missed, passed_over, "{expression:?} {zone}");
    assert_eq!(due.next.map(|next| next.at), spec.upcoming(last, 1).first().copied());
}

/// A backoff: what is read shows as what reads the same, and every delay is within its bounds.
pub fn backoff(text: &str, retry: u32, random: f64) {
    let Ok(policy) = text.parse::<BackoffPolicy>() else { return };
    assert_eq!(policy.to_string().parse().as_ref(), Ok(&policy), "{text:?} shows as {policy}");
    delay(&policy, retry, random);
}

/// A delay lies between the jittered and the whole, and the whole is at most the cap.
pub fn delay(policy: &BackoffPolicy, retry: u32, random: f64) {
    let whole = policy.delay(retry, 0.0);
    assert!(whole <= policy.cap(), "{policy} at {retry}: {whole:?}");
    let delay = policy.delay(retry, random);
    let least = policy.delay(retry, 1.0);
    let jitter = whole.as_secs_f64() * policy.jitter();
    assert!((whole - least).as_secs_f64() <= jitter * (1.0 + 1e-9) + 1e-9, "{policy} at {retry}");
    assert!((least..=whole).contains(&delay), "{policy} at {retry}, {random}: {delay:?}");
}

/// A value of a setting: what is taken shows as what is taken as the same, and what is refused
/// changes nothing.
pub fn setting(setting: Setting, value: &str) {
    let mut settings = Settings::default();
    if settings.set(setting, value).is_err() {
        assert_eq!(settings, Settings::default(), "{setting} {value:?}");
        return;
    }
    let shown = settings.get(setting);
    let mut again = Settings::default();
    again.set(setting, &shown).unwrap_or_else(|error| panic!("{value:?} shows as that: {error}"));
    assert_eq!(again, settings, "{setting}: {value:?} shows as {shown:?}");
    // Whatever the settings, there is a delay.
    delay(&settings.backoff(), u32::MAX, 1.0);
    delay(&settings.backoff(), 1, 0.5);
}
