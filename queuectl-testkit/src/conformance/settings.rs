//! The settings: kept, checked, and the same for everyone.

use queuectl_core::{InvalidSetting, Setting, Settings, StoreError};

use super::trial::Trial;

/// A value for each setting that is not its default.
const OTHER: [(Setting, &str); 17] = [
    (Setting::MaxRetries, "7"),
    (Setting::MaxCrashes, "2"),
    (Setting::BackoffBase, "1.5"),
    (Setting::BackoffMax, "10m"),
    (Setting::BackoffJitter, "0.25"),
    (Setting::WorkerTimeout, "never"),
    (Setting::Grace, "1s 500ms"),
    (Setting::OutputLimit, "1KiB"),
    (Setting::LogLimit, "123"),
    (Setting::RetentionCompleted, "30days"),
    (Setting::RetentionDead, "90s"),
    (Setting::RetentionCompletedCount, "5000"),
    (Setting::RetentionDeadCount, "0"),
    (Setting::Aging, "5m"),
    (Setting::EventLog, "on"),
    (Setting::EventLogCount, "5000"),
    (Setting::Durability, "normal"),
];

pub fn a_fresh_store_has_the_defaults(t: &mut Trial) {
    let settings = t.store().settings().unwrap();
    for setting in Setting::ALL {
        // What a write survives may be chosen when a store is opened or made; the rest is as it is
        // documented.
        if setting != Setting::Durability {
            assert_eq!(settings.get(setting), Settings::default().get(setting));
        }
    }
}

pub fn each_setting_can_be_changed_and_returned_to_its_default(t: &mut Trial) {
    let store = t.store();
    assert_eq!(OTHER.map(|(setting, _)| setting), Setting::ALL);
    let mut expected = store.settings().unwrap();
    for (setting, value) in OTHER {
        expected.set(setting, value).unwrap();
        let answer = store.change_setting(setting, Some(value)).unwrap();
        assert_eq!(answer, expected, "the answer has the new {setting}, and the others");
        assert_eq!(store.settings().unwrap(), expected);
    }
    for setting in Setting::ALL {
        let default = Settings::default().get(setting);
        expected.set(setting, &default).unwrap();
        assert_eq!(store.change_setting(setting, None).unwrap(), expected, "{setting}");
        assert_eq!(store.change_setting(setting, None).unwrap(), expected, "again");
    }
    assert_eq!(store.settings().unwrap(), Settings::default());
}

pub fn a_value_that_a_setting_does_not_take_changes_nothing(t: &mut Trial) {
    let store = t.store();
    store.change_setting(Setting::MaxRetries, Some("5")).unwrap();
    let before = store.settings().unwrap();
    for (setting, value) in [
        (Setting::MaxRetries, "-1"),
        (Setting::BackoffBase, "0"),
        (Setting::Grace, "soon"),
        (Setting::RetentionDead, ""),
    ] {
        let error = store.change_setting(setting, Some(value)).unwrap_err();
        assert!(
            matches!(
                &error,
                StoreError::Setting(InvalidSetting::Value { setting: of, value: refused })
                    if (*of, refused.as_str()) == (setting, value)
            ),
            "{error:?}"
        );
        assert_eq!(store.settings().unwrap(), before);
    }
}

pub fn settings_are_the_same_for_every_handle(t: &mut Trial) {
    let Some(other) = t.another_handle() else {
        return;
    };
    other.change_setting(Setting::MaxRetries, Some("9")).unwrap();
    assert_eq!(t.store().settings().unwrap().max_retries, 9);
    let id = t.enqueue(super::trial::job());
    assert_eq!(t.job(&id).max_attempts, 10);
    assert_eq!(other.settings().unwrap(), t.store().settings().unwrap());
}
