//! What a child says of itself, by the protocol of sd_notify(3): a datagram of lines
//! `NAME=VALUE`.

use crate::core::Notice;
use std::time::Duration;

/// One line that clawinit knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said<'a> {
    /// Something to act on.
    Notice(Notice),
    /// `STATUS=`: a text for people.
    Status(&'a [u8]),
}

/// Reads a datagram. What it does not know, and what makes no sense, is passed over, as
/// sd_notify(3) asks of a manager.
pub fn said(datagram: &[u8]) -> impl Iterator<Item = Said<'_>> {
    datagram.split(|byte| *byte == b'\n').filter_map(line)
}

fn line(line: &[u8]) -> Option<Said<'_>> {
    Some(Said::Notice(match line {
        b"READY=1" => Notice::Ready,
        b"RELOADING=1" => Notice::Reloading,
        b"STOPPING=1" => Notice::Stopping,
        b"WATCHDOG=1" => Notice::Alive,
        b"WATCHDOG=trigger" => Notice::Failed,
        _ => match line.strip_prefix(b"EXTEND_TIMEOUT_USEC=") {
            Some(number) => Notice::Extend(microseconds(number)?),
            None => return line.strip_prefix(b"STATUS=").map(Said::Status),
        },
    }))
}

/// A whole number of microseconds, a year at most.
fn microseconds(number: &[u8]) -> Option<Duration> {
    const YEAR: u64 = 366 * 24 * 60 * 60 * 1_000_000;
    let plain = number.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(number).ok().filter(|_| plain)?;
    number.parse().ok().map(|usec: u64| Duration::from_micros(usec.min(YEAR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_sd_notify_are_known() {
        let datagram = b"READY=1\nSTATUS=42 clients\nMAINPID=7\nWATCHDOG=1\nRELOADING=1\n\
            STOPPING=1\nWATCHDOG=trigger\nEXTEND_TIMEOUT_USEC=1500000\n";
        let expected = [
            Said::Notice(Notice::Ready),
            Said::Status(b"42 clients"),
            Said::Notice(Notice::Alive),
            Said::Notice(Notice::Reloading),
            Said::Notice(Notice::Stopping),
            Said::Notice(Notice::Failed),
            Said::Notice(Notice::Extend(Duration::from_millis(1500))),
        ];
        assert_eq!(said(datagram).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        for datagram in [
            &b""[..],
            b"\n\n\n",
            b"READY",
            b"READY=",
            b"READY=0",
            b"READY=12",
            b"ready=1",
            b" READY=1",
            b"READY=1\0",
            b"EXTEND_TIMEOUT_USEC=",
            b"EXTEND_TIMEOUT_USEC=-1",
            b"EXTEND_TIMEOUT_USEC=+1",
            b"EXTEND_TIMEOUT_USEC=1s",
            b"EXTEND_TIMEOUT_USEC=99999999999999999999",
            b"\xff\xfe=1",
        ] {
            assert_eq!(said(datagram).count(), 0, "{datagram:?}");
        }
    }

    #[test]
    fn no_extension_is_longer_than_a_year() {
        let all: Vec<_> = said(b"EXTEND_TIMEOUT_USEC=18446744073709551615").collect();
        let year = Duration::from_secs(366 * 24 * 60 * 60);
        assert_eq!(all, [Said::Notice(Notice::Extend(year))]);
    }
}
