//! The command line and the environment: what `cli::read` makes of any words.

use crate::input::Input;
use crate::lend::{c_string, lend};
use clawinit::cli::{self, NO_ORIGINS, Refused, Request};
use clawinit::config::{Config, Level, LogFormat, Manners};
use clawinit::kernel::entry::Start;
use clawinit::report::{Buffer, Log, misleads};
use clawinit::verbs::args::{Instead, Opt, Usage};
use clawinit::verbs::{check, health};
use std::ffi::CString;

/// Reads words and variables; then either what clawinit makes of them, or a verb.
pub fn cli(data: &[u8]) {
    let mut input = Input(data);
    let as_a_verb = input.byte() % 8 == 7;
    let variables: Vec<CString> = (0..input.byte() % 6).map(|_| variable(&mut input)).collect();
    let mut words = vec![c_string(input.choose(&CALLED))];
    while !input.is_empty() && words.len() < 40 {
        words.push(word(&mut input));
    }
    lend(&words, &variables, |start| if as_a_verb { verb(start) } else { whole(start) });
}

const CALLED: [&[u8]; 8] = [
    b"clawinit",
    b"/sbin/clawinit",
    b"clawinit",
    b"tini",
    b"/dev/init",
    b"catatonit",
    b"/usr/bin/dumb-init",
    b"",
];

/// Values that some option takes, and their neighbours.
const VALUES: [&[u8]; 54] = [
    b"",
    b"none",
    b"TERM",
    b"SIGUSR1",
    b"USR1,HUP",
    b"TERM,INT,QUIT",
    b"RTMIN+3",
    b"RTMAX-1",
    b"32",
    b"KILL",
    b"CHLD",
    b"0",
    b"1",
    b"75",
    b"78,75",
    b"255",
    b"256",
    b"-1",
    b"+1",
    b"25s",
    b"500ms",
    b"2m",
    b"25",
    b"0s",
    b"31622400s",
    b"99999999999999999999s",
    b"5/60s",
    b"64/1s",
    b"65/1s",
    b"request",
    b"on-failure",
    b"always",
    b"never",
    b"mixed",
    b"group",
    b"process",
    b"HUP:TERM",
    b"HUP:none,USR1:USR2",
    b"1000",
    b"1000:4294967295",
    b"127.0.0.1:9464",
    b"[::1]:1",
    b"/a\x1b[2J\nb",
    b"all",
    b"replace",
    b"in-place",
    b"0.0.0.0:80=http,[::]:81",
    b"unix:/run/a.sock=a",
    b"HTTP_FD,_B",
    b"yes",
    b"no",
    b"http://localhost:8080/health",
    b"a.0.b=\"x\"",
    b"ABRT",
];

fn word(input: &mut Input) -> CString {
    let names: Vec<&str> = cli::names().collect();
    let option = names[usize::from(input.byte()) % names.len()];
    let bytes = match input.byte() % 10 {
        0..=2 => [&b"--"[..], option.as_bytes(), b"=", input.choose(&VALUES)].concat(),
        3 => [&b"--"[..], option.as_bytes(), b"=", input.some()].concat(),
        4 => [&b"--"[..], option.as_bytes()].concat(),
        5 => input.choose(&VALUES).to_vec(),
        6 => [&b"-"[..], input.some()].concat(),
        7 => [&b"--"[..], input.some()].concat(),
        8 => b"--".to_vec(),
        _ => input.some().to_vec(),
    };
    c_string(&bytes)
}

fn variable(input: &mut Input) -> CString {
    let names: Vec<&str> = cli::names().collect();
    let option = names[usize::from(input.byte()) % names.len()];
    let name = option.to_ascii_uppercase().replace('-', "_");
    let bytes = match input.byte() % 8 {
        0..=2 => [&b"CLAWINIT_"[..], name.as_bytes(), b"=", input.choose(&VALUES)].concat(),
        3 => [&b"CLAWINIT_"[..], name.as_bytes(), b"=", input.some()].concat(),
        4 => [&b"CLAWINIT_"[..], input.some()].concat(),
        5 => [
            input.choose(&[&b"TINI_VERBOSITY="[..], b"TINI_SUBREAPER=", b"CLAWINIT_PID="]),
            input.some(),
        ]
        .concat(),
        6 => input.choose(&[&b"DUMB_INIT_DEBUG=1"[..], b"DUMB_INIT_SETSID=0"]).to_vec(),
        _ => input.some().to_vec(),
    };
    c_string(&bytes)
}

fn whole(start: &Start) {
    let read = cli::read(start);
    // `clawinit check` reads the same, and notes where it comes from.
    let checked = cli::read_words(start, &start.args, &mut { NO_ORIGINS });
    match (read, checked) {
        (
            Ok(Request::Run { config, command, warnings }),
            Ok(Request::Run { config: again, .. }),
        ) => {
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
            assert!(command >= 1 && command < start.args.len(), "command {command}");
            for warning in &warnings {
                is_a_line(warning);
            }
            makes_sense(&config);
            if config.manners == Manners::Clawinit {
                says_the_same(&config);
            }
        }
        (Ok(Request::Print(text)), Ok(Request::Print(again))) => {
            assert!(text == again && text.ends_with('\n'));
        }
        (Err(refused), Err(again)) => {
            assert_eq!(refused.line, again.line);
            is_refused(&refused, start);
        }
        _ => panic!("clawinit and its check read other things in {:?}", start.args),
    }
}

fn is_refused(Refused { line, usage, code }: &Refused, start: &Start) {
    is_a_line(line);
    assert!(matches!(code, 1 | 2), "{code}");
    assert!(!line.is_empty());
    let manners = cli::manners(start.args[0].to_bytes());
    assert_eq!(*code == 2, manners == Manners::Clawinit, "{line}");
    assert!(usage.is_none() || manners != Manners::Clawinit);
}

/// What is written of it is one line, of no more than a pipe takes at once, which acts on no
/// terminal.
pub fn is_a_line(message: &str) {
    for format in [LogFormat::Text, LogFormat::Json] {
        let log = Log::new("clawinit", Level::Error, format);
        let mut line = Buffer::new();
        log.put_together(&mut line, Level::Error, "usage", format_args!("{message}"), &[]);
        let line = std::str::from_utf8(line.as_bytes()).expect("text");
        let Some(line) = line.strip_suffix('\n') else { panic!("no end: {line:?}") };
        assert!(line.len() < 4096 && !line.contains(misleads), "{line:?}");
        if format == LogFormat::Json {
            let read: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(read["event"], "usage");
        }
    }
}

/// What `cli::read` promises of a configuration.
fn makes_sense(config: &Config) {
    assert_eq!(config.stop_on.common(config.restart_on), None);
    assert_eq!(config.restart_codes.common(&config.no_restart_codes), None);
    assert!(config.restart_delay <= config.restart_delay_max);
    assert!(config.port != Some(0));
    for signal in (1..=64).filter_map(clawinit::signal::Signal::new) {
        if config.stop_on.contains(signal) {
            assert!(config.told_to_stop(signal).is_catchable(), "{signal}");
        } else if config.restart_on.contains(signal) {
            assert!(config.told_to_restart(signal).is_catchable(), "{signal}");
        }
    }
}

/// What `clawinit check` shows can be typed, and means the same.
fn says_the_same(config: &Config) {
    let settings = |config: &Config| -> Vec<(&str, String)> {
        cli::names().filter_map(|name| Some((name, check::value(config, name)?))).collect()
    };
    let shown = settings(config);
    // A path need not be text; what is shown of one that is none cannot be typed.
    if shown.iter().any(|(_, value)| value.contains(char::REPLACEMENT_CHARACTER)) {
        return;
    }
    let mut words = vec![c"clawinit".to_owned()];
    words
        .extend(shown.iter().map(|(name, value)| c_string(format!("--{name}={value}").as_bytes())));
    words.push(c"true".to_owned());
    lend(&words, &[], |start| match cli::read(start) {
        Ok(Request::Run { config: again, command, .. }) => {
            assert_eq!(settings(&again), shown);
            assert_eq!(command, words.len() - 1);
        }
        Ok(Request::Print(text)) => panic!("{text}"),
        Err(refused) => panic!("{}: {shown:?}", refused.line),
    });
}

const VERB: Usage = Usage {
    verb: "health",
    operand: "URL",
    about: "Asks.",
    options: &[
        Opt { name: "timeout", value: "D", help: "how long" },
        Opt { name: "json", value: "", help: "for programs" },
    ],
    codes: "0 well.",
};

/// The words of a verb, and the URL of `clawinit health`.
fn verb(start: &Start) {
    match VERB.parse(&start.args[1..]) {
        Ok(given) => {
            let _ = given.duration("timeout").map_err(|wrong| is_a_line(&wrong));
            let _ = given.pid("timeout").map_err(|wrong| is_a_line(&wrong));
            assert!(given.value("json").is_none_or(str::is_empty));
            let _ = health::http::Target::new(given.operand).map_err(|wrong| {
                is_a_line(&wrong);
                assert!(!wrong.contains(char::is_control), "{wrong:?}");
            });
        }
        Err(Instead::Help) => {}
        Err(Instead::Wrong(line)) => is_a_line(&line),
    }
}
