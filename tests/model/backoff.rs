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
    // The clock may have run for long before the first of them.
    for begin in [0, 1_000, 100_000] {
        let mut crashes = Crashes::new(1);
        for n in 0..5 {
            assert!(!crashes.record(&config, Duration::from_secs(begin + n)), "crash {n}");
        }
        assert!(crashes.record(&config, Duration::from_secs(begin + 60)), "since {begin}");
        let _ = crashes.record(&config, Duration::from_secs(begin + 61));
        assert!(!crashes.record(&config, Duration::from_secs(begin + 122)), "since {begin}");
    }
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
    let begin = Duration::from_secs(1_000);
    for n in 0..MAX_CRASHES as u64 {
        assert!(!crashes.record(&config, begin + Duration::from_millis(n)), "crash {n}");
    }
    // And not one more, however often it goes around.
    for n in 0..3 * MAX_CRASHES as u64 {
        assert!(crashes.record(&config, begin + Duration::from_secs(1)), "{n} more");
    }
}

/// Marsaglia's xorshift64 with the shifts 13, 7, 17, from which the jitter is taken.
#[test]
fn the_jitter_is_that_of_its_seed() {
    let config = config(64);
    for seed in [0, 1, 7, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
        let mut crashes = Crashes::new(seed);
        let mut random = seed | 1;
        for n in 0..20u32 {
            let _ = crashes.record(&config, Duration::from_secs(1));
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let full = config.restart_delay.saturating_mul(1 << n).min(config.restart_delay_max);
            let share = (random % 201) as u32;
            assert_eq!(crashes.delay(&config), full - full / 1000 * share, "{seed}, crash {n}");
        }
    }
}

#[test]
fn crashes_in_a_row_are_counted_until_they_are_forgiven() {
    let config = config(64);
    let mut crashes = Crashes::new(7);
    for n in 1..=70 {
        let _ = crashes.record(&config, Duration::from_secs(1));
        assert_eq!(crashes.in_a_row(), n);
    }
    assert_eq!(format!("{crashes:?}"), "64 crashes, 70 in a row");
    crashes.forget();
    assert_eq!(crashes.in_a_row(), 0);
    assert!(!crashes.record(&config, Duration::from_secs(1)), "the past is forgiven");
}
