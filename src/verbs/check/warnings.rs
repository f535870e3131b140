//! What will hurt, as far as the settings and this place show it.

use super::{command, duration};
use crate::config::{Config, KillMode, RestartMode, TerminationLog};
use crate::kernel::{descendants, process};
use crate::report::Words;
use crate::signal::Signal;
use crate::sockets::{self, Place};
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
    let shell_text = inline(words).or(script.map(str::to_owned));
    if let Some(text) = shell_text.filter(|text| !has_word(text, "exec")) {
        let what = if inline(words).is_some() {
            "sh -c"
        } else {
            "the command is a shell script without exec"
        };
        if !has_word(&text, "trap") {
            warnings.extend(shell(config, what));
        }
        warnings.extend(pid_of_the_shell(config));
    }
    warnings.extend(low_ports(config));
    warnings.extend(tight_watchdog(config));
    warnings.extend(user(config));
    warnings.extend(termination_log(config));
    if !descendants::proc_is_ours() {
        warnings.push(no_proc(config).to_owned());
    }
    notes.push(first_process());
}

fn grace(config: &Config) -> Option<String> {
    let (option, grace) = config.longest_stop();
    let needed = config.stop_delay + grace;
    let what = if config.stop_delay.is_zero() {
        format!("a stop may take --{option} {}", duration(grace))
    } else {
        format!(
            "a stop may take --stop-delay {} and --{option} {}",
            duration(config.stop_delay),
            duration(grace)
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
    let those = [
        "restart-on",
        "restart-signal",
        "restart-grace",
        "restart-grace-max",
        "restart-style",
        "restart-code",
    ];
    let those = those.iter().filter(|option| given(option));
    those.map(|option| format!("--{option} does nothing: --restart never")).collect()
}

/// Whether a script has this word: `exec` hands the shell's place and its signals over, `trap`
/// takes the signals up.
fn has_word(script: &str, wanted: &str) -> bool {
    script.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == wanted)
}

/// A shell in front of the program gets the signals that were meant for it.
fn shell(config: &Config, what: &str) -> Option<String> {
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

/// What is addressed to the child by its pid does not reach a program behind it.
fn pid_of_the_shell(config: &Config) -> Vec<String> {
    let mut those = Vec::new();
    if config.listen.is_some() {
        those.push("--listen: LISTEN_PID names the shell, so that the program behind it does not take the sockets; write exec before it, or use --listen-env".to_owned());
    }
    if config.watchdog.is_some() {
        those.push("--watchdog: WATCHDOG_PID names the shell, so that the program behind it gives no sign of life and is taken for hung; write exec before it".to_owned());
    } else if config.notify {
        those.push("--notify: the program behind the shell is heard only while the shell lives; write exec before it".to_owned());
    }
    those
}

/// Ports that this user may not listen on. clawinit makes its sockets before it becomes the user
/// of `--user`.
fn low_ports(config: &Config) -> Option<String> {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first: u16 = first.ok()?.trim().parse().ok()?;
    let ports = sockets::known(config.listen).filter_map(|wanted| match wanted.place {
        Place::Tcp(address) => Some(address.port()),
        Place::Unix(_) => None,
    });
    let low = ports.filter(|port| *port < first).min()?;
    (!may_bind_low_ports()).then(|| {
        format!(
            "--listen: port {low} is below {first}, and this user has no CAP_NET_BIND_SERVICE; write a higher one, add the capability, or set net.ipv4.ip_unprivileged_port_start"
        )
    })
}

/// Whether this process has CAP_NET_BIND_SERVICE (capabilities(7)); where nobody can say, it has.
fn may_bind_low_ports() -> bool {
    const CAP_NET_BIND_SERVICE: u64 = 1 << 10;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    effective.is_none_or(|set| set & CAP_NET_BIND_SERVICE != 0)
}

/// A busy machine, a long collection of garbage or a page that comes from a disk takes that long.
fn tight_watchdog(config: &Config) -> Option<String> {
    let time = config.watchdog.filter(|time| *time < Duration::from_secs(1))?;
    Some(format!(
        "--watchdog {}: a child that only waits for a busy machine would be taken for hung; write 10s or more",
        duration(time)
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
