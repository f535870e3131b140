//! Lengths of time as people type them: `250ms`, `10s`, `2m`.

use std::time::Duration;

/// The longest length that is taken: a day. More is a typing error.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `text`; the error says what to type, and wants the option's name before it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("\"{text}\" is not a duration; write for example 10s"));
    }
    let per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "" => return Err(format!("\"{text}\" has no unit; write {text}s")),
        other => {
            return Err(format!(
                "\"{text}\": unknown unit \"{other}\"; write ms, s or m, for example 10s"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(per_unit))
        .map(Duration::from_millis)
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| format!("\"{text}\" is more than a day; write 1440m or less"))
}

/// A length as people read it, the other way round: `8 s`, `300 ms`.
pub fn words(length: Duration) -> String {
    match length.subsec_millis() {
        0 => format!("{} s", length.as_secs()),
        _ => format!("{} ms", length.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_no_fractions() {
        assert_eq!(words(Duration::ZERO), "0 s");
        assert_eq!(words(Duration::from_millis(300)), "300 ms");
        assert_eq!(words(Duration::from_secs(120)), "120 s");
    }

    #[test]
    fn units_are_ms_s_and_m() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn bare_number_is_told_what_to_type() {
        assert_eq!(parse("5").unwrap_err(), "\"5\" has no unit; write 5s");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "s", "-1s", "1h", "1.5s", "5 s", "99999999999999999999s", "1441m", "٣s"] {
            assert!(parse(text).is_err(), "{text:?} was taken");
        }
    }
}
