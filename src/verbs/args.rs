//! The options of the verbs. One table for each verb serves its parser and its help.

use super::{USAGE, fail};
use crate::cli;
use crate::kernel::descriptors;
use std::ffi::CStr;
use std::fmt::Write;
use std::time::Duration;

/// A long option: `--name VALUE` or `--name=VALUE`, or `--name` alone.
pub struct Opt {
    /// Without the two hyphens.
    pub name: &'static str,
    /// What its value is, for the help; empty: it has none.
    pub value: &'static str,
    /// What it does; a newline in it begins another line.
    pub help: &'static str,
}

/// How a verb is called.
pub struct Usage {
    /// Its name.
    pub verb: &'static str,
    /// The one word that it takes beside its options, for the help; empty: it takes none.
    pub operand: &'static str,
    /// What it does, in whole lines.
    pub about: &'static str,
    /// Its options, `--help` apart.
    pub options: &'static [Opt],
    /// Its exit codes, in whole lines.
    pub codes: &'static str,
}

/// What was given on the command line.
pub struct Given {
    options: Vec<(&'static str, &'static str)>,
    /// The operand, where the verb takes one.
    pub operand: &'static str,
}

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum Instead {
    /// The help was asked for.
    Help,
    /// The command line is wrong: where, what, and what to type.
    Wrong(String),
}

impl Usage {
    /// Reads the words behind the verb. Errors: the exit code to leave with, all said; 0 after
    /// `--help`.
    pub fn read(&self, words: &[&'static CStr]) -> Result<Given, u8> {
        match self.parse(words) {
            Ok(given) => Ok(given),
            Err(Instead::Help) => match descriptors::print(self.help().as_bytes()) {
                Ok(()) => Err(0),
                Err(errno) => Err(fail(self.verb, 1, format_args!("standard output: {errno}"))),
            },
            Err(Instead::Wrong(line)) => Err(self.refuse(&line)),
        }
    }

    /// Says what is wrong with the command line; the exit code to leave with.
    pub fn refuse(&self, line: &str) -> u8 {
        fail(self.verb, USAGE, format_args!("{line}"))
    }

    /// The same, with nothing said. Errors: see [`Instead`].
    pub fn parse(&self, words: &[&'static CStr]) -> Result<Given, Instead> {
        let mut options = Vec::new();
        let mut operands = Vec::new();
        let mut rest = words.iter();
        let mut only_operands = false;
        while let Some(word) = rest.next() {
            let word = text(word)?;
            let option = match word {
                _ if only_operands => None,
                "--" => {
                    only_operands = true;
                    continue;
                }
                "-h" | "--help" => return Err(Instead::Help),
                _ => word.strip_prefix('-'),
            };
            let Some(option) = option else {
                operands.push(word);
                continue;
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            let known =
                name.strip_prefix('-').and_then(|n| self.options.iter().find(|o| o.name == n));
            let Some(known) = known else {
                return Err(Instead::Wrong(self.unknown(name.trim_start_matches('-'), name)));
            };
            let value = match (value, known.value.is_empty()) {
                (None, true) => "",
                (Some(_), true) => {
                    return Err(Instead::Wrong(format!(
                        "--{0}: it takes no value; write --{0}",
                        known.name
                    )));
                }
                (Some(value), false) => value,
                (None, false) => match rest.next() {
                    Some(value) => text(value)?,
                    None => {
                        return Err(Instead::Wrong(format!(
                            "--{0}: the value is missing; write --{0} {1}",
                            known.name, known.value
                        )));
                    }
                },
            };
            options.push((known.name, value));
        }
        match (&operands[..], self.operand) {
            ([], "") => Ok(Given { options, operand: "" }),
            ([operand], wanted) if !wanted.is_empty() => Ok(Given { options, operand }),
            ([], wanted) => Err(Instead::Wrong(format!(
                "no {wanted} given; write clawinit {} {wanted}",
                self.verb
            ))),
            ([.., last], _) => Err(Instead::Wrong(format!(
                "\"{last}\" is one word too many; leave it out, or write clawinit -- {} ... to run a command of that name",
                self.verb
            ))),
        }
    }

    fn unknown(&self, name: &str, shown: &str) -> String {
        let names = self.options.iter().map(|o| o.name).chain(["help"]).map(str::to_owned);
        match cli::nearest(name, names) {
            Some(near) => format!("-{shown}: no such option; did you mean --{near}?"),
            None => {
                format!("-{shown}: no such option; write clawinit {} --help", self.verb)
            }
        }
    }

    fn help(&self) -> String {
        let mut help = format!("usage: clawinit {} [OPTIONS]", self.verb);
        if !self.operand.is_empty() {
            let _ = write!(help, " {}", self.operand);
        }
        let _ = writeln!(help, "\n\n{}\n", self.about);
        let own = Opt { name: "help", value: "", help: "print this" };
        for option in self.options.iter().chain([&own]) {
            let head = format!("--{} {}", option.name, option.value);
            cli::folded(&mut help, head.trim_end(), 24, option.help);
        }
        let _ = writeln!(help, "\nExit code: {}", self.codes);
        help
    }
}

impl Given {
    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(given, _)| *given == name)
    }

    /// An option's value; the last one where it was given more than once.
    pub fn value(&self, name: &str) -> Option<&'static str> {
        self.all(name).last()
    }

    /// All values of an option, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'static str> {
        self.options.iter().filter(move |(given, _)| *given == name).map(|(_, value)| *value)
    }

    /// An option's value as `read` reads it. Errors: what `read` says, behind the option's name.
    pub fn parsed<T>(
        &self,
        name: &str,
        read: fn(&'static str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        self.value(name).map(read).transpose().map_err(|wrong| format!("--{name}: {wrong}"))
    }

    /// An option's value as a time: `500ms`, `25s`, `2m`. Errors: what is wrong, and what to
    /// write.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, String> {
        self.parsed(name, super::duration)
    }

    /// An option's value as the pid of a process. Errors: as above.
    pub fn pid(&self, name: &str) -> Result<Option<i32>, String> {
        self.parsed(name, |text| {
            let plain = text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|pid| plain && *pid > 0).ok_or_else(|| {
                format!("\"{text}\" is no pid; write a number from 1 on, as ps shows it")
            })
        })
    }
}

fn text(word: &'static CStr) -> Result<&'static str, Instead> {
    word.to_str().map_err(|_| {
        let shown = word.to_string_lossy();
        Instead::Wrong(format!("\"{shown}\" is not UTF-8; write plain letters"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: Usage = Usage {
        verb: "health",
        operand: "URL",
        about: "Asks.",
        options: &[
            Opt { name: "timeout", value: "D", help: "how long" },
            Opt { name: "json", value: "", help: "for programs,\nin one line" },
        ],
        codes: "0 well, 1 not.",
    };
    const NONE: Usage = Usage { verb: "stop", operand: "", ..URL };

    fn wrong(usage: &Usage, words: &[&'static CStr]) -> String {
        match usage.parse(words) {
            Err(Instead::Wrong(line)) => line,
            Err(Instead::Help) => "the help".to_owned(),
            Ok(given) => format!("taken: {:?} {}", given.options, given.operand),
        }
    }

    #[test]
    fn options_are_taken_in_both_forms_and_around_the_operand() {
        let words = [c"--timeout=5s", c"http://x", c"--timeout", c"2m", c"--json"];
        let given = URL.parse(&words).ok().unwrap();
        assert_eq!(given.operand, "http://x");
        assert!(given.has("json") && !given.has("pid"));
        assert_eq!(given.all("timeout").collect::<Vec<_>>(), ["5s", "2m"]);
        assert_eq!(given.duration("timeout"), Ok(Some(Duration::from_secs(120))));
        let given = URL.parse(&[c"--", c"--json"]).ok().unwrap();
        assert_eq!((given.operand, given.has("json")), ("--json", false));
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (words, line) in [
            (&[c"--timeout"][..], "--timeout: the value is missing; write --timeout D"),
            (&[c"--json=yes"], "--json: it takes no value; write --json"),
            (&[c"--jsn"], "--jsn: no such option; did you mean --json?"),
            (&[c"-x"], "-x: no such option; write clawinit stop --help"),
            (
                &[c"now"],
                "\"now\" is one word too many; leave it out, or write clawinit -- stop ... to run a command of that name",
            ),
            (&[c"a\xff"], "\"a\u{fffd}\" is not UTF-8; write plain letters"),
            (&[c"--help", c"--nonsense"], "the help"),
        ] {
            assert_eq!(wrong(&NONE, words), line);
        }
        assert_eq!(wrong(&URL, &[]), "no URL given; write clawinit health URL");
        let given = NONE.parse(&[c"--timeout", c"25"]).ok().unwrap();
        assert_eq!(
            given.duration("timeout"),
            Err("--timeout: \"25\" has no unit; write 25s".to_owned())
        );
    }

    #[test]
    fn the_help_lists_what_the_table_has() {
        assert_eq!(
            URL.help(),
            "usage: clawinit health [OPTIONS] URL\n\nAsks.\n\n  \
             --timeout D              how long\n  \
             --json                   for programs, in one line\n  \
             --help                   print this\n\nExit code: 0 well, 1 not.\n"
        );
    }
}
