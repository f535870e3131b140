//! Signals by number and name, and sets of them, as signal(7) has them.
//!
//! Numbers and names are the kernel's, not the C library's: musl keeps 32 to 34 for
//! itself and starts `SIGRTMIN` at 35, glibc starts it at 34. People write what glibc's
//! `kill -l` shows, so that is what the names here mean.

use std::fmt;

/// A signal number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(u8);

/// The highest signal number on Linux (`SIGRTMAX`).
pub const MAX: u8 = 64;

/// The lowest real-time signal by glibc's count; what people mean by `RTMIN`.
const RTMIN: u8 = 34;

/// Names of 1 to 31 on x86-64 and aarch64, where they agree (signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names for the same numbers.
const ALIASES: [(&str, u8); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

impl Signal {
    #![allow(missing_docs)] // named as in signal(7)
    pub const HUP: Signal = Signal(1);
    pub const INT: Signal = Signal(2);
    pub const QUIT: Signal = Signal(3);
    pub const KILL: Signal = Signal(9);
    pub const USR1: Signal = Signal(10);
    pub const PIPE: Signal = Signal(13);
    pub const TERM: Signal = Signal(15);
    pub const CHLD: Signal = Signal(17);
    pub const CONT: Signal = Signal(18);
    pub const STOP: Signal = Signal(19);
    pub const TSTP: Signal = Signal(20);
    pub const TTIN: Signal = Signal(21);
    pub const TTOU: Signal = Signal(22);
    pub const XFSZ: Signal = Signal(25);
    pub const IO: Signal = Signal(29);

    /// The signal of this number; `None` outside 1 to 64.
    pub const fn new(number: i32) -> Option<Signal> {
        if number >= 1 && number <= MAX as i32 { Some(Signal(number as u8)) } else { None }
    }

    /// What a person wrote: `TERM`, `sigterm`, `15`, `RTMIN+3`, `SIGRTMAX-1`.
    pub fn parse(text: &str) -> Option<Signal> {
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return Signal::new(text.parse().ok()?);
        }
        let name = match text.get(..3) {
            Some(head) if head.eq_ignore_ascii_case("SIG") => &text[3..],
            _ => text,
        };
        if let Some(i) = NAMES.iter().position(|n| n.eq_ignore_ascii_case(name)) {
            return Signal::new(i as i32 + 1);
        }
        if let Some((_, n)) = ALIASES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            return Some(Signal(*n));
        }
        let (base, offset) = (name.get(..5)?, name.get(5..)?);
        let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
        let number = if base.eq_ignore_ascii_case("RTMIN") && offset >= 0 {
            i32::from(RTMIN).checked_add(offset)?
        } else if base.eq_ignore_ascii_case("RTMAX") && offset <= 0 {
            i32::from(MAX).checked_add(offset)?
        } else {
            return None;
        };
        Signal::new(number).filter(|s| s.0 >= RTMIN)
    }

    /// 1 to 64.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// A signal that queues, carries a value and keeps its order (signal(7), "Real-time signals").
    pub const fn is_realtime(self) -> bool {
        self.0 > 31
    }

    /// One that a process can receive and act on, so that it can be forwarded or waited for.
    pub const fn is_catchable(self) -> bool {
        self.0 != Signal::KILL.0 && self.0 != Signal::STOP.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n @ 1..=31 => write!(f, "SIG{}", NAMES[usize::from(n) - 1]),
            RTMIN => f.write_str("SIGRTMIN"),
            MAX => f.write_str("SIGRTMAX"),
            n if n > RTMIN => write!(f, "SIGRTMIN+{}", n - RTMIN),
            n => write!(f, "signal {n}"), // 32 and 33: the C library's own
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of signals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: SignalSet = SignalSet(0);

    /// The same set with `signal` in it.
    #[must_use]
    pub const fn with(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 | 1 << (signal.0 - 1))
    }

    /// Whether `signal` is in it.
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & (1 << (signal.0 - 1)) != 0
    }

    /// The lowest signal that is in both sets.
    pub const fn common(self, other: SignalSet) -> Option<Signal> {
        match self.0 & other.0 {
            0 => None,
            both => Some(Signal(both.trailing_zeros() as u8 + 1)),
        }
    }

    /// Whether there is none in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_is_parsed_from_its_own_name() {
        for n in 1..=64 {
            let signal = Signal::new(n).unwrap();
            if n == 32 || n == 33 {
                assert_eq!(Signal::parse(&n.to_string()), Some(signal));
            } else {
                let name = signal.to_string();
                assert_eq!(Signal::parse(&name), Some(signal), "{name}");
                assert_eq!(Signal::parse(&name.to_lowercase()[3..]), Some(signal), "{name}");
            }
        }
    }

    #[test]
    fn names_that_are_no_signals_are_refused() {
        for text in [
            "",
            "0",
            "65",
            "-1",
            "SIG",
            "TERMS",
            "RTMIN+31",
            "RTMIN-1",
            "RTMAX+1",
            "RTMAX-31",
            "RT",
            "RTMIN+",
            "99999999999",
            "é",
            "SIGé",
            "15 ",
        ] {
            assert_eq!(Signal::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = SignalSet::EMPTY.with(Signal::TERM).with(Signal::new(64).unwrap());
        assert!(set.contains(Signal::TERM) && !set.contains(Signal::INT));
        assert_eq!(set.common(SignalSet::EMPTY.with(Signal::TERM)), Some(Signal::TERM));
        assert_eq!(set.common(SignalSet::EMPTY.with(Signal::INT)), None);
    }
}
