//! The gateway's command line and variables.

use crate::agents::Words;
use crate::cli::{self, Command};
use crate::duration;
use crate::input::Input;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

const WORDS: [&[u8]; 24] = [
    b"gateway",
    b"start",
    b"run",
    b"stop",
    b"restart",
    b"status",
    b"--port",
    b"--bind",
    b"--state-dir",
    b"--agent",
    b"--drain-time",
    b"--on-restart",
    b"--log-level",
    b"--timeout",
    b"--json",
    b"exit",
    b"exec",
    b"8888",
    b"0",
    b"::1",
    b"10s",
    b"sleep 'a b' \\c",
    b"\x1b[2J\n",
    b"debug",
];

const VARIABLES: [&str; 6] = [
    "GATEWAY_PORT",
    "GATEWAY_STATE_DIR",
    "GATEWAY_URL",
    "GATEWAY_TOKEN",
    "GATEWAY_TOKEN_FILE",
    "CLAWINIT_RESTART_CODE",
];

/// Reads words and variables.
pub fn gateway_cli(data: &[u8]) {
    let mut input = Input(data);
    let mut variables: Vec<(&str, Vec<u8>)> = Vec::new();
    for _ in 0..input.byte() % 5 {
        let name = input.choose(&VARIABLES);
        let value = match name {
            // No file of this machine is anybody's business.
            "GATEWAY_TOKEN_FILE" => b"/nowhere/token".to_vec(),
            _ => input.some().to_vec(),
        };
        variables.push((name, value));
    }
    let mut words: Vec<Vec<u8>> = vec![b"openclaw".to_vec()];
    if input.byte() % 8 != 0 {
        words.push(b"gateway".to_vec());
    }
    while !input.is_empty() && words.len() < 24 {
        words.push(match input.byte() % 3 {
            0 => input.some().to_vec(),
            1 => input.choose(&WORDS).to_vec(),
            _ => {
                let options = [&b"--port="[..], b"--bind=", b"--agent=", b"--timeout="];
                [input.choose(&options), input.some()].concat()
            }
        });
    }
    let variable = |name: &str| {
        let found = variables.iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| OsString::from_vec(value.clone()))
    };
    match cli::parse_from(words.iter().cloned().map(OsString::from_vec), &variable) {
        Ok(Command::Start(start)) => {
            assert!(start.restart_code != 0);
            assert!(start.drain_time <= Duration::from_secs(86_400));
        }
        Ok(Command::Stop(ask) | Command::Restart(ask) | Command::Status(ask)) => {
            if let Some(target) = &ask.target {
                assert!(target.port != 0 && !target.to_string().contains('@'), "{target}");
            }
            if let Err(failure) = &ask.token {
                is_told(&failure.text(), &variables, &words);
            }
        }
        Ok(Command::CheckMemory(_) | Command::Told(_)) => {}
        Err(failure) => {
            assert_eq!(failure.code, 2, "{}", failure.text());
            is_told(&failure.text(), &variables, &words);
        }
    }
    values(&words);
}

/// What is said is one line that acts on no terminal, and no secret is in it.
fn is_told(text: &str, variables: &[(&str, Vec<u8>)], words: &[Vec<u8>]) {
    let line = text.strip_suffix('\n').expect("a line's end");
    assert!(line.starts_with("openclaw: ") && !line.contains(char::is_control), "{line:?}");
    let secret = variables.iter().find(|(name, _)| *name == "GATEWAY_TOKEN");
    let secret = secret.and_then(|(_, value)| std::str::from_utf8(value).ok());
    // One of a few letters is in every sentence.
    if let Some(secret) = secret.map(str::trim_end).filter(|secret| secret.len() > 8) {
        let others = variables.iter().filter(|(name, _)| *name != "GATEWAY_TOKEN");
        let mut elsewhere = others.map(|(_, value)| value).chain(words);
        if !elsewhere.any(|value| String::from_utf8_lossy(value).contains(secret)) {
            let own = ["GATEWAY_TOKEN", "openssl", "the token"].iter().any(|o| o.contains(secret));
            assert!(own || !line.contains(secret), "{line:?}");
        }
    }
}

fn values(words: &[Vec<u8>]) {
    for text in words.iter().filter_map(|word| std::str::from_utf8(word).ok()) {
        match duration::parse(text) {
            Ok(length) => {
                let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
                let number: u64 = number.parse().expect("a number before its unit");
                assert!(length.as_millis() as u64 >= number, "{text}: {length:?}");
                assert!(!duration::words(length).is_empty());
            }
            Err(wrong) => assert!(!wrong.is_empty()),
        }
        if let Err(wrong) = Words::split(text) {
            assert!(!wrong.is_empty());
        }
    }
}
