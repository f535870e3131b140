//! Agents: commands that the gateway keeps running, each in a process group of its own.

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::lock::nix_pid;
use crate::{handed, process};

/// The wait after the first death; doubles with each that follows soon.
const DELAY: Duration = Duration::from_millis(200);
/// The longest wait.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// An agent that lived this long starts again with the shortest wait.
const STABLE: Duration = Duration::from_secs(10);
/// How often a group whose leader has gone is looked at: the end of somebody else's
/// children raises no SIGCHLD here.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A command, split into words; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// Splits `text` at blanks. Quotes keep blanks together, a backslash keeps the next
    /// character as it is (not between single quotes). There is no shell: an image
    /// `FROM scratch` has none; who wants one writes `sh -c '…'`.
    pub fn split(text: &str) -> Result<Self, String> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut quote = None;
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match (quote, letter) {
                (Some(open), _) if letter == open => quote = None,
                (Some('\''), _) => word.get_or_insert_default().push(letter),
                (_, '\\') => match letters.next() {
                    Some(next) => word.get_or_insert_default().push(next),
                    None => return Err("nothing stands behind the last backslash".to_owned()),
                },
                (Some(_), _) => word.get_or_insert_default().push(letter),
                (None, '\'' | '"') => {
                    quote = Some(letter);
                    word.get_or_insert_default();
                }
                (None, ' ' | '\t' | '\n') => words.extend(word.take()),
                (None, _) => word.get_or_insert_default().push(letter),
            }
        }
        if let Some(open) = quote {
            return Err(format!("the quote {open} is not closed"));
        }
        words.extend(word);
        match words.first().map(String::as_str) {
            None | Some("") => Err("no command; write for example --agent \"sleep 60\"".to_owned()),
            Some(_) => Ok(Self(words)),
        }
    }

    /// The command's name. Its arguments may hold secrets and are not logged.
    fn name(&self) -> &str {
        &self.0[0]
    }

    fn start(&self) -> io::Result<Pid> {
        // std puts SIGPIPE back to its default in the child; handlers end with exec;
        // and the mask is the empty one that `signals::release` left.
        let mut command = Command::new(&self.0[0]);
        for variable in handed::VARIABLES {
            command.env_remove(variable);
        }
        let child = command.args(&self.0[1..]).stdin(Stdio::null()).process_group(0).spawn()?;
        Ok(nix_pid(child.id()))
    }
}

enum Phase {
    /// Alive, since then.
    Running(Pid, Instant),
    /// Dead; to be started then.
    Waiting(Instant),
    /// Its leader has gone while the gateway ends; others of its group may live.
    Leaderless(Pid),
    /// Nothing of it lives.
    Gone,
}

struct Agent {
    words: Words,
    phase: Phase,
    delay: Duration,
}

/// All agents.
pub struct Agents {
    all: Vec<Agent>,
    ending: bool,
    /// Starts after the first, of all agents together.
    pub restarts: u64,
}

impl Agents {
    /// The agents, not started yet.
    pub fn new(commands: Vec<Words>) -> Self {
        let all = commands
            .into_iter()
            .map(|words| Agent { words, phase: Phase::Gone, delay: DELAY })
            .collect();
        Self { all, ending: false, restarts: 0 }
    }

    /// Starts them.
    pub fn start(&mut self, now: Instant) {
        for agent in &mut self.all {
            agent.start(now);
        }
    }

    /// How many live.
    pub fn running(&self) -> usize {
        self.all.iter().filter(|agent| matches!(agent.phase, Phase::Running(..))).count()
    }

    /// Whether there are any, living or not.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether nothing of any agent lives, as far as their groups tell.
    pub fn have_ended(&self) -> bool {
        self.all.iter().all(|agent| matches!(agent.phase, Phase::Gone))
    }

    /// When [`Agents::tick`] has something to do.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.all
            .iter()
            .filter_map(|agent| match agent.phase {
                Phase::Waiting(until) => Some(until),
                Phase::Leaderless(_) => Some(now + LOOK_AGAIN),
                Phase::Running(..) | Phase::Gone => None,
            })
            .min()
    }

    /// Starts agents whose wait is over, and looks after groups without a leader.
    pub fn tick(&mut self, now: Instant) {
        for agent in &mut self.all {
            match agent.phase {
                Phase::Waiting(until) if until <= now => {
                    self.restarts += 1;
                    agent.start(now);
                }
                Phase::Leaderless(group) if !group_lives(group) => {
                    agent.phase = Phase::Gone;
                }
                Phase::Waiting(_) | Phase::Leaderless(_) | Phase::Running(..) | Phase::Gone => {}
            }
        }
    }

    /// Reaps agents that have died. As PID 1, with `adopted`, everybody else's orphans
    /// as well.
    pub fn reap(&mut self, now: Instant, adopted: bool) {
        for agent in &mut self.all {
            let Phase::Running(pid, since) = agent.phase else { continue };
            // Looked at without reaping first: while the zombie holds the pid, no other
            // process or group can get it, and what is left of the group can be ended.
            if !self.ending && has_exited(pid) {
                signal_group(pid, Signal::SIGKILL);
            }
            let Some(status) = reap_one(pid) else { continue };
            agent.died(pid, status, since, now, self.ending);
        }
        while adopted && self.reap_adopted() {}
    }

    /// Reaps one orphan that the kernel gave us as PID 1. An agent that dies in between
    /// is left for the next round: its SIGCHLD is on the way.
    fn reap_adopted(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let Some(pid) = waitid(Id::All, flags).ok().and_then(|status| status.pid()) else {
            return false;
        };
        let is_agent = self
            .all
            .iter()
            .any(|agent| matches!(agent.phase, Phase::Running(own, _) if own == pid));
        !is_agent && reap_one(pid).is_some()
    }

    /// Sends every group SIGTERM; nothing is started any more.
    pub fn end(&mut self) {
        self.ending = true;
        for agent in &mut self.all {
            match agent.phase {
                Phase::Running(pid, _) => {
                    signal_group(pid, Signal::SIGTERM);
                    // A stopped process takes its SIGTERM only when it goes on.
                    signal_group(pid, Signal::SIGCONT);
                }
                Phase::Waiting(_) => agent.phase = Phase::Gone,
                Phase::Leaderless(_) | Phase::Gone => {}
            }
        }
    }

    /// Sends SIGKILL to what is left and says how many agents needed it.
    pub fn kill(&mut self) -> usize {
        let mut killed = 0;
        for agent in &mut self.all {
            if let Phase::Running(group, _) | Phase::Leaderless(group) = agent.phase {
                log::warn!("agent {} did not end after SIGTERM: SIGKILL", agent.words.name());
                signal_group(group, Signal::SIGKILL);
                killed += 1;
            }
        }
        killed
    }
}

impl Agent {
    fn start(&mut self, now: Instant) {
        let name = self.words.name();
        self.phase = match self.words.start() {
            Ok(pid) => {
                log::info!("agent {name} started, pid {pid}");
                Phase::Running(pid, now)
            }
            Err(error) => {
                log::error!(
                    "agent {name} cannot be started: {error}; next try in {:?}",
                    self.delay
                );
                self.wait(now)
            }
        };
    }

    fn died(&mut self, pid: Pid, status: WaitStatus, since: Instant, now: Instant, ending: bool) {
        let name = self.words.name();
        let how = match status {
            WaitStatus::Exited(_, code) => process::ending(ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(_, signal, _) => signal.as_str().to_owned(),
            other => format!("{other:?}"),
        };
        self.phase = if ending {
            log::info!("agent {name}, pid {pid}, ended: {how}");
            Phase::Leaderless(pid)
        } else {
            if now.duration_since(since) >= STABLE {
                self.delay = DELAY;
            }
            log::warn!("agent {name}, pid {pid}, died: {how}; next start in {:?}", self.delay);
            self.wait(now)
        };
    }

    fn wait(&mut self, now: Instant) -> Phase {
        let until = now + self.delay;
        self.delay = (self.delay * 2).min(DELAY_MAX);
        Phase::Waiting(until)
    }
}

/// Signals a group that is known to exist; who of it is gone already needs no signal.
fn signal_group(group: Pid, signal: Signal) {
    match killpg(group, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        // An agent that changed its user is out of reach.
        Err(error) => log::warn!("{signal} to the agent group {group} failed: {error}"),
    }
}

/// Whether anybody of a group lives. Zombies do not: they are gone, and wait for a
/// reaper that is not always us and takes its time.
fn group_lives(group: Pid) -> bool {
    if killpg(group, None) == Err(Errno::ESRCH) {
        return false;
    }
    // Without /proc, what the kernel says of signals must do.
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    let mut zombies = 0;
    for process in processes.flatten() {
        // One that goes while it is read is no longer there.
        let Ok(line) = std::fs::read_to_string(process.path().join("stat")) else { continue };
        match state_and_group(&line) {
            Some(('Z' | 'X', own)) if own == group.as_raw() => zombies += 1,
            Some((_, own)) if own == group.as_raw() => return true,
            Some(_) | None => {}
        }
    }
    // Somebody whom this /proc does not show (another namespace's, hidepid) may live.
    zombies == 0
}

/// Fields 3 and 5 of proc_pid_stat(5), behind a name that may hold anything.
fn state_and_group(line: &str) -> Option<(char, i32)> {
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(1)?.parse().ok()?))
}

fn has_exited(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(waitid(Id::Pid(pid), flags), Ok(status) if status != WaitStatus::StillAlive)
}

fn reap_one(pid: Pid) -> Option<WaitStatus> {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) => None,
        Ok(status) => Some(status),
        // ECHILD: our children are reaped here and nowhere else.
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Words::split(text).unwrap().0
    }

    #[test]
    fn words_are_split_at_blanks_and_quotes_keep_them_together() {
        assert_eq!(words("  sleep\t60 "), ["sleep", "60"]);
        assert_eq!(
            words(r#"sh -c 'a "b" \c' "d 'e' \"f\"" g\ h"#),
            ["sh", "-c", r#"a "b" \c"#, r#"d 'e' "f""#, "g h"]
        );
        assert_eq!(words("a '' b\"c\"d"), ["a", "", "bcd"]);
    }

    #[test]
    fn state_and_group_are_found_behind_any_name() {
        assert_eq!(state_and_group("7 (a) b) (c) Z 1 42 42 0 -1"), Some(('Z', 42)));
        assert_eq!(state_and_group("7 (sh) S 1"), None);
    }

    #[test]
    fn unfinished_commands_are_refused_with_what_is_missing() {
        assert!(Words::split("").unwrap_err().contains("no command"));
        assert!(Words::split("  ").unwrap_err().contains("no command"));
        assert!(Words::split("'' x").unwrap_err().contains("no command"));
        assert!(Words::split("sh -c 'a").unwrap_err().contains("not closed"));
        assert!(Words::split("a\\").unwrap_err().contains("backslash"));
    }
}
