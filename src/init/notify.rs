//! What the child says of itself (`--notify`, `--watchdog`): sd_notify(3).

use super::Init;
use super::prober::Prober;
use crate::config::{ExitWhen, Level};
use crate::core::{Event, Notice, Phase, Readiness};
use crate::kernel::entry::Start;
use crate::kernel::notify::{self, Socket};
use crate::kernel::{clock, descendants, process};
use crate::notice::{self, Said};
use crate::report::Value;
use crate::status::layout as at;
use crate::status::write::Words;
use std::ffi::CStr;
use std::time::Duration;

/// How many datagrams are read before clawinit waits for signals again, and how long it leaves
/// the socket alone then: whoever floods it fills it and has to wait, and nobody else does.
const AT_ONCE: usize = 8;
const PAUSE: Duration = Duration::from_millis(1);

/// How many wait in such a socket at most, as `net.unix.max_dgram_qlen` is everywhere: 10, and
/// some that come while they are read.
const WAITING: usize = 16;

/// How many are thrown away before a generation starts: more than wait in such a socket, also
/// where somebody has made it larger.
const STALE: usize = 512;

/// The longest datagram that is read; sd_notify(3) is used with some dozens of bytes.
const DATAGRAM_BYTES: usize = 2048;

/// How far up from a sender the child is looked for.
const ANCESTORS: usize = 32;

/// The socket, and what it has brought.
pub(super) struct Ear {
    socket: Socket,
    /// When to read on; `None`: when something comes.
    pub next: Option<Duration>,
    /// Somebody has spoken in this generation who does not speak for the child.
    stranger: bool,
    /// Whom clawinit itself tells (NOTIFY_SOCKET, as it was given).
    superior: Option<&'static str>,
}

impl Init {
    /// Makes the socket. Errors: the code to leave with.
    pub(super) fn open_ear(&mut self, start: &Start) -> Result<(), u8> {
        if !self.config.hears() {
            return Ok(());
        }
        let superior = start
            .variables()
            .find_map(|variable| variable.to_str().ok()?.strip_prefix("NOTIFY_SOCKET="));
        let (socket, address) = Socket::open().map_err(|errno| {
            self.cannot_start(format_args!("--notify: no socket to be told on: {errno}"))
        })?;
        self.environment.set("NOTIFY_SOCKET", &address);
        let word = |word: Option<&'static CStr>| word.unwrap_or_default();
        self.prober = self.config.ready_url.map(|url| {
            let words = [url, word(self.config.ready_body), word(self.config.ready_json)];
            Prober::new(words, &address)
        });
        if let Some(time) = self.config.watchdog {
            self.environment.set("WATCHDOG_USEC", &time.as_micros().to_string());
            self.environment.set_to_pid("WATCHDOG_PID");
        }
        self.ear = Some(Ear { socket, next: None, stranger: false, superior });
        Ok(())
    }

    /// Its descriptor.
    pub(super) fn ear_fd(&self) -> Option<i32> {
        self.ear.as_ref().map(|ear| ear.socket.fd())
    }

    /// What earlier generations have said is of no interest to the next one.
    pub(super) fn forget_what_was_said(&mut self) {
        let Some(ear) = &mut self.ear else { return };
        ear.stranger = false;
        ear.next = None;
        let mut nothing = [0; 1];
        for _ in 0..STALE {
            if ear.socket.next(&mut nothing).is_none() {
                break;
            }
        }
        self.kept.page.update(|w| w.text(at::STATUS_TEXT, &[0; at::STATUS_TEXT.words * 8]));
    }

    /// Something has come, which the loop will read, unless it was read from a moment ago.
    pub(super) fn hear_soon(&mut self) {
        if let Some(ear) = &mut self.ear {
            ear.next.get_or_insert(Duration::ZERO);
        }
    }

    /// Reads on when it is time.
    pub(super) fn hear_when_due(&mut self) {
        if self.ear.as_ref().and_then(|ear| ear.next).is_some_and(|at| clock::monotonic() >= at)
            && self.hear(AT_ONCE)
            && let Some(ear) = &mut self.ear
        {
            ear.next = Some(clock::monotonic() + PAUSE);
        }
    }

    /// Reads what came before this moment; of a flood, as much as waits in such a socket where
    /// nobody has made it larger.
    pub(super) fn hear_all(&mut self) {
        self.hear(WAITING);
    }

    /// Reads up to `most` datagrams. False: no more has come.
    fn hear(&mut self, most: usize) -> bool {
        let mut buffer = [0; DATAGRAM_BYTES];
        for _ in 0..most {
            let Some(ear) = &mut self.ear else { return false };
            let Some(datagram) = ear.socket.next(&mut buffer) else {
                ear.next = None;
                return false;
            };
            let (sender, text) = (datagram.sender, datagram.text);
            self.kept.page.update(|w| w.add(at::NOTICES, 0, 1));
            if self.prober_pid() == Some(sender) && sender != 0 {
                self.heard_of(text);
            } else if self.speaks_for_child(sender) {
                self.heard(text);
            } else {
                self.note_stranger(sender);
            }
        }
        true
    }

    /// What who asks for readiness says of the child.
    fn heard_of(&mut self, text: &[u8]) {
        for said in notice::said(text) {
            match said {
                Said::Notice(Notice::Ready) => self.happened(Event::Notified(Notice::Ready)),
                Said::Notice(_) => {}
                Said::Status(answer) => self.keep_answer(answer),
            }
        }
    }

    fn heard(&mut self, text: &[u8]) {
        for said in notice::said(text) {
            match said {
                Said::Notice(notice) => {
                    let answer = Event::Notified(notice);
                    if notice == Notice::Alive {
                        self.tell_superior("WATCHDOG=1");
                    }
                    self.happened(answer);
                }
                Said::Status(text) => self.note_status(text),
            }
        }
    }

    /// Whether a process is the child, or comes from it by its parents; with `--exit-when all`,
    /// also one that the child left: it is the program then. Who has ended already speaks for
    /// nobody, since its number may be another's.
    fn speaks_for_child(&self, sender: i32) -> bool {
        let mut pid = sender;
        for _ in 0..ANCESTORS {
            if pid > 0 && self.state.child == Some(pid) {
                return true;
            }
            match descendants::parent_of(pid) {
                Some(parent) if parent == process::pid() => {
                    return self.config.exit_when == ExitWhen::All && !self.is_helper(pid);
                }
                Some(parent) if parent > 1 => pid = parent,
                _ => return false,
            }
        }
        false
    }

    fn note_stranger(&mut self, pid: i32) {
        self.kept.page.update(|w| w.add(at::NOTICES_REFUSED, 0, 1));
        let Some(ear) = &mut self.ear else { return };
        let again = std::mem::replace(&mut ear.stranger, true);
        let level = if again { Level::Debug } else { Level::Warn };
        let who = match pid {
            0 => "a process outside this PID namespace".to_owned(),
            pid => format!("pid {pid}"),
        };
        let said = format_args!(
            "a notification of {who} was not heard: it is neither the child nor one of its descendants, or has ended already"
        );
        self.log.line(level, "notify-refused", said, &[("pid", Value::Number(pid.into()))]);
    }

    /// `STATUS=`: for people who look at the status page.
    fn note_status(&mut self, text: &[u8]) {
        const ROOM: usize = at::STATUS_TEXT.words * 8;
        let mut line = [0; ROOM];
        for (to, from) in line.iter_mut().zip(text) {
            *to = if from.is_ascii_control() { b' ' } else { *from };
        }
        self.kept.page.update(|w| w.text(at::STATUS_TEXT, &line));
        let end = line.iter().position(|byte| *byte == 0).unwrap_or(ROOM);
        let text = String::from_utf8_lossy(&line[..end]);
        let fields = [("status", Value::Text(&text))];
        self.log.line(Level::Debug, "status", format_args!("the child says: {text}"), &fields);
    }

    /// Tells whoever has started clawinit, where it wants to be told.
    pub(super) fn tell_superior(&self, what: &str) {
        if let Some(superior) = self.ear.as_ref().and_then(|ear| ear.superior) {
            // Nobody there to be told: nothing that clawinit could do about it.
            let _ = notify::send(superior, what);
        }
    }

    /// What the page shows of the child's own word.
    pub(super) fn put_readiness(&self, w: &Words) {
        let state = &self.state;
        let there = state.child.is_some() || matches!(state.phase, Phase::Running);
        let readiness = if there { state.readiness } else { Readiness::Unknown };
        w.set(at::READINESS, readiness as u64);
        let since = state.ready_since.filter(|_| there && readiness != Readiness::Unknown);
        w.time(at::READY_SINCE, since.unwrap_or_default());
    }

    /// The generation is ready, or runs where nobody can know more.
    pub(super) fn keep_ready(&mut self) {
        self.keep_started();
        self.tell_superior("READY=1");
    }
}
