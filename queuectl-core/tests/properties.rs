//! What must hold for any text, any number and any damaged file. The properties are in
//! `queuectl_testkit::checks`, which the fuzz targets share.
//!
//! Nothing is kept in files beside the tests: a case that fails becomes a test with a name.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use queuectl_core::{BackoffPolicy, Curve, Setting};
use queuectl_testkit::checks::{self, Damage};

fn config(cases: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if asked { usual.cases } else { cases };
    ProptestConfig { cases, failure_persistence: None, ..usual }
}

/// Text that looks like what is wanted, and text that does not.
fn some_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9.eE+-]{0,24} ?(ns|us|ms|s|m|h|d|days|weeks|months|years|y|)?",
        "([0-9]{1,20}(s|m|h|d|w|M|y|ms) ?){1,4}",
        "[0-9]{0,22} ?(B|[KMG]i?B?|k|m|g)?",
        "[0-9]{4,5}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?Z?",
        "[a-zA-Z0-9._:-]{0,70}",
        "q[0-9]{1,20}",
        "(never|full|normal|off|pending|dead|inf|nan|-0|1e400|-1e-400)",
    ]
}

fn some_backoff_text() -> impl Strategy<Value = String> {
    let curve = "(exponential|constant|linear|polynomial|table)?";
    let argument = "(:[0-9.e+-]{0,12}(s|m|h|d|y)?(,[0-9]{1,19}(s|m))?)?";
    let rest = "(;cap=[0-9]{1,19}(ns|s|m|y))?(;jitter=(none|equal|full|[0-9.e-]{1,6}))?";
    let policy = proptest::string::string_regex(&format!("{curve}{argument}{rest}"));
    prop_oneof![4 => policy.expect("a pattern"), 1 => any::<String>()]
}

fn some_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        (0..1_000_000_u64).prop_map(Duration::from_millis),
    ]
}

fn some_policy() -> impl Strategy<Value = BackoffPolicy> {
    let number = prop_oneof![any::<f64>(), 0.0..10.0, Just(f64::MIN_POSITIVE), Just(f64::MAX)];
    let curve = prop_oneof![
        number.clone().prop_map(|base| Curve::Exponential { base }),
        number.prop_map(|degree| Curve::Polynomial { degree }),
        some_duration().prop_map(|delay| Curve::Constant { delay }),
        some_duration().prop_map(|step| Curve::Linear { step }),
        prop::collection::vec(some_duration(), 1..5).prop_map(|delays| Curve::Table { delays }),
    ];
    let jitter = prop_oneof![0.0..=1.0, Just(1.0)];
    (curve, some_duration(), jitter).prop_filter_map("not a policy", |(curve, cap, jitter)| {
        BackoffPolicy::new(curve).ok()?.with_cap(cap).with_jitter(jitter).ok()
    })
}

fn some_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<u16>(), 1..=u8::MAX).prop_map(|(at, bits)| Damage::Flip { at, bits }),
        1 => any::<u16>().prop_map(|at| Damage::Cut { at }),
        1 => (any::<u16>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(at, byte)| Damage::Header { at, byte }),
    ]
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn quantities_are_read_within_limits(text in some_text()) {
        checks::quantity(&text);
    }

    #[test]
    fn names_are_of_their_alphabet(text in some_text()) {
        checks::name(&text);
    }

    #[test]
    fn a_backoff_shows_as_it_reads(
        text in some_backoff_text(), retry in any::<u32>(), random in 0.0..1.0,
    ) {
        checks::backoff(&text, retry, random);
    }

    #[test]
    fn a_delay_is_within_its_bounds_for_any_attempt(
        policy in some_policy(),
        retry in prop_oneof![any::<u32>(), 0..70_u32, Just(u32::MAX)],
        random in prop_oneof![any::<f64>(), Just(f64::NAN), Just(1.0)],
    ) {
        checks::delay(&policy, retry, random);
    }

    #[test]
    fn a_setting_shows_as_it_reads(setting in select(&Setting::ALL), value in some_text()) {
        checks::setting(setting, &value);
    }
}

/// Fields that are mostly right, some of which never fit together.
fn some_cron() -> impl Strategy<Value = String> {
    let number = "[0-9]{1,2}|JAN|Feb|MON|fri|L|1W|15W|5L|1#1|sun#5|\\*|\\?";
    let item = format!("({number})(-({number}))?(/[0-9]{{1,2}})?");
    let field = format!("{item}(,{item})?");
    let whole = format!("(@daily|{field}( {field}){{4,5}}|[ -~]{{0,20}})");
    proptest::string::string_regex(&whole).expect("a pattern")
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn the_moments_of_a_cron_expression_come_in_order(
        text in some_cron(),
        five in proptest::collection::vec(0..32u8, 5),
        zone in select(&["UTC", "Europe/Berlin", "America/Santiago", "Pacific/Apia", "Asia/Tehran"]),
        after in 0..4_000_000_000_000i64,
    ) {
        let after = queuectl_core::Timestamp::from_millis(after);
        checks::cron(&text, zone, after);
        // One that is right, most often.
        let [minute, hour, day, month, weekday] = [five[0], five[1] % 24, five[2], five[3] % 13, five[4] % 8];
        checks::cron(&format!("{minute} {hour} {day} {month} {weekday}"), zone, after);
        checks::cron(&format!("*/{minute} * {day} {month} {weekday}"), zone, after);
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn a_damaged_store_is_refused_or_works(damage in prop::collection::vec(some_damage(), 1..6)) {
        checks::damaged_store(&damage);
    }
}
