//! What will hurt, as far as the settings and this place show it.

use super::{command, duration};
use crate::config::{Config, KillMode, RestartMode, TerminationLog};
use crate::kernel::{descendants, process};
use crate::report::Words;
use crate::signal::Signal;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// What Docker and Compose give a container to stop, where nobody says anything.
const DOCKER_GRACE: Duration = Duration::from_secs(10);
/// The same of Kubernetes (`terminationGracePeriodSeconds`).
const KUBERNETES_GRACE: Duration = Duration::from_secs(30);
/// How much longer than clawinit's the platform's grace should be: SIGKILL, the report.
const MARGIN: Duration = Duration::from_secs(5);

/// Adds a line for each. `given`: whether somebody set an option; `script`: the command's text,
/// where it is a shell's.
pub fn warn(
    config: &Config,
    given: impl Fn(&str) -> bool,
    words: &[&CStr],
    script: Option<&str>,
    warnings: &mut Vec<String>,
    notes: &mut Vec<String>,
) {
    warnings.extend(grace(config));
    warnings.extend(stop_signals(config));
    warnings.extend(never(config, given));
    warnings.extend(shell(config, words, script));
    warnings.extend(user(config));
    warnings.extend(termination_log(config));
    if !descendants::proc_is_ours() {
        warnings.push(no_proc(config).to_owned());
    }
    notes.push(first_process());
}

fn grace(config: &Config) -> Option<String> {
    let needed = config.stop_delay + config.stop_grace;
    let what = if config.stop_delay.is_zero() {
        format!("a stop may take --stop-grace {}", duration(config.stop_grace))
    } else {
        format!(
            "a stop may take --stop-delay {} and --stop-grace {}",
            duration(config.stop_delay),
            duration(config.stop_grace)
        )
    };
    let enough = (needed + MARGIN).as_millis().div_ceil(1000);
    match config.platform_grace {
        Some(platform) if needed >= platform => Some(format!(
            "{what}, but the platform kills after {} (--platform-grace); make it fit, or give {enough}s there",
            duration(platform)
        )),
        Some(_) => None,
        None if needed < DOCKER_GRACE => None,
        None => {
            let those = if needed < KUBERNETES_GRACE { "" } else { ", and Kubernetes after 30s" };
            Some(format!(
                "{what}, but Docker and Compose kill after 10s where nobody says otherwise{those}; give {enough}s there (docker run --stop-timeout {enough}, Compose stop_grace_period: {enough}s) and say so with --platform-grace {enough}s"
            ))
        }
    }
}

fn stop_signals(config: &Config) -> Option<String> {
    if config.stop_on.contains(Signal::TERM) {
        return None;
    }
    let what = if config.stop_on.is_empty() {
        "no signal means stop"
    } else {
        "SIGTERM is not in --stop-on"
    };
    Some(format!(
        "{what}: Docker and Kubernetes stop with SIGTERM where the image names no STOPSIGNAL, and it would be forwarded without a deadline or a sweep at its end"
    ))
}

fn never(config: &Config, given: impl Fn(&str) -> bool) -> Vec<String> {
    if config.restart != RestartMode::Never {
        return Vec::new();
    }
    let those = ["restart-on", "restart-signal", "restart-grace", "restart-code"];
    let those = those.iter().filter(|option| given(option));
    those.map(|option| format!("--{option} does nothing: --restart never")).collect()
}

/// A shell in front of the program gets the signals that were meant for it.
fn shell(config: &Config, words: &[&CStr], script: Option<&str>) -> Option<String> {
    let (what, text) = match (script, inline(words)) {
        (_, Some(text)) => ("sh -c", text),
        (Some(text), None) => ("the command is a shell script without exec", text.to_owned()),
        (None, None) => return None,
    };
    // `exec` hands the signals over, `trap` takes them up.
    let has = |word: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word)
    };
    if has("exec") || has("trap") {
        return None;
    }
    let then = match config.kill_mode {
        KillMode::Group => return None,
        KillMode::Process => "the program behind it is told nothing".to_owned(),
        KillMode::Mixed => format!(
            "the program behind it has --sweep-grace {} instead of --stop-grace {}",
            duration(config.sweep_grace),
            duration(config.stop_grace)
        ),
    };
    Some(format!(
        "{what}: a shell that stays in front of the program gets its signals and passes none on; SIGTERM and SIGUSR1 end the shell, and {then}; write exec before the last program, or leave the shell out"
    ))
}

/// The script of `sh -c SCRIPT`.
fn inline(words: &[&CStr]) -> Option<String> {
    let (first, rest) = words.split_first()?;
    let rest = match first.to_bytes().rsplit(|byte| *byte == b'/').next() {
        Some(b"busybox") if command::is_shell(rest.first()?.to_bytes()) => &rest[1..],
        _ if command::is_shell(first.to_bytes()) => rest,
        _ => return None,
    };
    let is_option = |word: &&&CStr| matches!(word.to_bytes(), [b'-' | b'+', ..]);
    let options: Vec<_> = rest.iter().take_while(is_option).collect();
    let has_c = options
        .iter()
        .any(|word| !word.to_bytes().starts_with(b"--") && word.to_bytes().contains(&b'c'));
    let script = rest.get(options.len()).filter(|_| has_c)?;
    Some(String::from_utf8_lossy(script.to_bytes()).into_owned())
}

fn user(config: &Config) -> Option<String> {
    let (uid, _) = config.user?;
    let own = process::user();
    (own != 0 && own != uid).then(|| {
        format!(
            "--user {uid}: this is user {own}, who can become another one only with CAP_SETUID and CAP_SETGID"
        )
    })
}

fn termination_log(config: &Config) -> Option<String> {
    let TerminationLog::Path(path) = config.termination_log else { return None };
    let shown = Words(path.to_bytes());
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    let wrong = match path.symlink_metadata() {
        Ok(there) if there.is_symlink() => "a link in its place is not followed",
        Ok(there) if there.is_dir() => "it is a folder",
        Ok(_) => return None,
        Err(_) if path.parent().is_some_and(Path::is_dir) => return None,
        Err(_) => "its folder is not there",
    };
    Some(format!("--termination-log {shown}: {wrong}; the report would go to the log instead"))
}

fn no_proc(config: &Config) -> &'static str {
    if config.sweeps() {
        "there is no /proc of this PID namespace: what the child leaves cannot be listed, so that as PID 1 clawinit would end every process of the container, docker exec included, and elsewhere none; clawinit status, stop and restart find nothing; mount /proc"
    } else {
        "there is no /proc of this PID namespace: clawinit status, stop and restart find nothing; mount /proc"
    }
}

/// Where this was asked is seldom where the command would run.
fn first_process() -> String {
    if process::pid() == 1 {
        return "this is PID 1, as clawinit would be".to_owned();
    }
    let mut buffer = [0; 32];
    let name = descendants::read(1, "comm", &mut buffer).trim_ascii_end();
    if !descendants::proc_is_ours() || name.is_empty() {
        return "this is not PID 1, as clawinit should be".to_owned();
    }
    format!("this is not PID 1, as clawinit should be; {} is", Words(name))
}
