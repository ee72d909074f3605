//! The settings: they last, and hold for jobs that say nothing themselves.

use crate::support::Place;

#[test]
fn a_setting_lasts_and_holds_for_later_jobs() {
    let place = Place::new();
    assert_eq!(place.ok(&["config", "set", "max_retries", "5"]), "max-retries = 5\n");
    for args in [
        &["config", "max-retries"][..],
        &["config", "get", "max_retries"],
        &["config", "get", "default-max-retries"],
    ] {
        assert_eq!(place.ok(args), "5\n", "{args:?}");
    }
    place.ok(&["enqueue", "a", "true"]);
    place.ok(&["enqueue", "b", "true", "-r", "1"]);
    assert_eq!(place.job("a")["max_retries"], 5);
    assert_eq!(place.job("b")["max_retries"], 1);
    place.ok(&["config", "unset", "max-retries"]);
    assert_eq!(place.ok(&["config", "max-retries"]), "3\n");
}

#[test]
fn every_setting_is_listed_with_its_meaning() {
    let place = Place::new();
    for args in [&["config"][..], &["config", "list"], &["config", "get", "all"]] {
        let listed = place.ok(args);
        for key in ["max-retries", "backoff-base", "worker-timeout", "durability"] {
            assert!(listed.contains(key), "{args:?}: {listed}");
        }
    }
    let listed = place.json(&["config", "get", "all"]);
    let first = &listed["settings"][0];
    assert_eq!(first["key"], "max-retries");
    assert_eq!(first["value"], 3);
    let one = place.json(&["config", "set", "worker-timeout", "2h30m"]);
    assert_eq!(one["value"], 9000.0);
    assert_eq!(one["text"], "2h 30m");
}

#[test]
fn the_backoff_base_sets_the_delays() {
    let place = Place::new();
    place.ok(&["config", "set", "backoff-base", "0.1"]);
    place.ok(&["enqueue", "a", "false", "-r", "2"]);
    place.ok(&["worker", "start", "--drain"]);
    let attempts = place.attempts("a");
    assert_eq!(attempts.len(), 3);
    let gap = crate::support::seconds(&attempts[0]["finished_at"], &attempts[2]["started_at"]);
    assert!(gap < 2.0, "0.1 s and 0.01 s, not 2 s and 4 s: {gap}");
}
