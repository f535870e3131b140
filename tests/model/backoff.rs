//! How long a crash is waited for, and when there is one too many (invariant I12).

use clawinit::config::{Config, MAX_CRASHES};
use clawinit::core::Crashes;
use std::time::Duration;

fn config(limit: u8) -> Config {
    Config { restart_limit: (limit, Duration::from_secs(60)), ..Config::new() }
}

#[test]
fn delays_double_up_to_the_maximum_and_lose_a_fifth_at_most() {
    let config = config(64);
    let mut crashes = Crashes::new(7);
    for n in 0..40u32 {
        let _ = crashes.record(&config, Duration::from_secs(1));
        let full =
            Duration::from_millis(200).saturating_mul(1 << n.min(31)).min(Duration::from_secs(30));
        let delay = crashes.delay(&config);
        assert!(delay <= full && delay >= full * 4 / 5, "crash {n}: {delay:?} of {full:?}");
    }
}

#[test]
fn one_more_than_the_limit_within_the_window_is_too_many() {
    let config = config(5);
    let mut crashes = Crashes::new(1);
    for n in 0..5 {
        assert!(!crashes.record(&config, Duration::from_secs(n)), "crash {n}");
    }
    assert!(crashes.record(&config, Duration::from_secs(60)));
}

#[test]
fn crashes_that_left_the_window_do_not_count() {
    let config = config(5);
    let mut crashes = Crashes::new(1);
    for n in 0..500 {
        assert!(!crashes.record(&config, Duration::from_secs(n * 13)), "crash {n}");
    }
}

#[test]
fn no_crash_is_tolerated_with_a_limit_of_none() {
    assert!(Crashes::new(1).record(&config(0), Duration::ZERO));
}

#[test]
fn the_ring_holds_as_many_as_the_option_may_ask_for() {
    let config = config(MAX_CRASHES as u8);
    let mut crashes = Crashes::new(1);
    for n in 0..MAX_CRASHES {
        assert!(!crashes.record(&config, Duration::from_millis(n as u64)), "crash {n}");
    }
    assert!(crashes.record(&config, Duration::from_secs(1)));
}
