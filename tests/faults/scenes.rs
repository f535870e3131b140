//! What clawinit is put through, with and without a fault: each scene is a command line, a child,
//! and what a test does and sees meanwhile. A scene comes to its end whatever the fault was: a
//! signal that was lost by it is made up for by the stop at the end, or by that one's deadline.

use crate::harness::{End, Folder, Init, Lines, Run, free_port, ms, until};
use crate::sys;
use crate::traced::Traced;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

/// One thing that a scene does, or waits for.
pub enum Step {
    /// The child of the so-manieth generation says that it is ready.
    Ready(usize),
    /// The child, or what it left, says a line that begins so.
    Says(&'static str),
    /// The process of this pid is gone.
    Gone(i32),
    /// No zombie is left.
    NoZombie,
    /// Somebody sends clawinit a signal.
    Send(i32),
    /// The same once more, where the first one was lost: people do so where nothing happens.
    Again(i32),
    /// The same with a value.
    Queue(i32, i32),
    /// A verb inside; where it has no page to go by, `docker stop` comes.
    Verb(&'static str),
    /// The exporter lets somebody in.
    Connects,
    /// The exporter dies.
    KillExporter,
}
use Step::{Again, Connects, Gone, KillExporter, NoZombie, Queue, Ready, Says, Send, Verb};

/// Where the log goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stderr {
    Pipe,
    File,
    Socket,
}

pub struct Scene {
    pub name: &'static str,
    /// What clawinit is called.
    pub called: &'static str,
    /// Its options; `PORT` and `FOLDER` stand for what is free.
    pub options: &'static [&'static str],
    /// Flags of `launch.rs`.
    pub flags: &'static [&'static str],
    pub stderr: Stderr,
    pub role: &'static [&'static str],
    pub steps: &'static [Step],
    /// The code without a fault.
    pub code: i32,
    /// From the stop on no SIGKILL comes before, and one may come then.
    pub grace_ms: u64,
}

const USUAL: Scene = Scene {
    name: "",
    called: "clawinit",
    options: &[],
    flags: &[],
    stderr: Stderr::Pipe,
    role: &["record", "exit=15:0"],
    steps: &[Ready(1), Send(TERM)],
    code: 0,
    grace_ms: 1200,
};

const TERM: i32 = libc::SIGTERM;
const USR1: i32 = libc::SIGUSR1;
const USR2: i32 = libc::SIGUSR2;

pub const SCENES: &[Scene] = &[
    Scene {
        name: "exit",
        options: &["--termination-log=FOLDER/report"],
        role: &["exit", "7"],
        steps: &[],
        code: 7,
        ..USUAL
    },
    Scene {
        name: "stop",
        options: &["-v", "--restart-on=none"],
        steps: &[
            Ready(1),
            Send(USR2),
            Says("signal 12 "),
            Queue(40, 7),
            Says("signal 40 "),
            Queue(41, 8),
            Says("signal 41 "),
            Send(USR1),
            Says("signal 10 "),
            Send(TERM),
        ],
        ..USUAL
    },
    Scene {
        name: "orphans",
        role: &["leave", "a:orphan", "b:daemon", "--", "burst", "5", "record"],
        steps: &[Ready(1), NoZombie, Send(TERM)],
        ..USUAL
    },
    Scene {
        name: "restart",
        options: &["--restart-delay=1ms"],
        role: &["generations", "1=record,exit=10:75,exit=15:0", "2=exit,75", "*=record,exit=15:0"],
        steps: &[Ready(1), Send(USR1), Ready(2), NoZombie, Send(TERM)],
        ..USUAL
    },
    Scene {
        name: "crash",
        options: &["--restart=on-failure", "--restart-delay=20ms", "-w"],
        role: &["generations", "1=burst,3,3", "2=exit,4", "*=record,exit=15:0"],
        steps: &[Ready(2), NoZombie, Send(TERM)],
        ..USUAL
    },
    Scene {
        name: "deaf",
        grace_ms: 500,
        options: &["--termination-log=FOLDER/report"],
        role: &["ignore", "15"],
        code: 137,
        ..USUAL
    },
    Scene {
        name: "sweep",
        grace_ms: 500,
        role: &[
            "leave",
            "a:daemon",
            "b:orphan:deaf",
            "c:orphan:stopped",
            "d:orphan:chain=1",
            "--",
            "record",
            "exit=15:0",
        ],
        ..USUAL
    },
    Scene {
        name: "group",
        options: &["--kill-mode=group"],
        role: &["leave", "w:worker", "a:daemon", "--", "record", "exit=15:0"],
        steps: &[Ready(1), Send(USR2), Says("signal 12 "), Send(TERM)],
        ..USUAL
    },
    Scene {
        name: "all",
        options: &["--exit-when=all"],
        role: &["leave", "a:orphan", "b:daemon", "--", "exit", "7"],
        steps: &[
            Says("left b "),
            Gone(2),
            NoZombie,
            Send(USR2),
            Says("left a signal 12"),
            Send(TERM),
        ],
        code: 7,
        ..USUAL
    },
    Scene {
        name: "exporter",
        options: &["--metrics-listen=127.0.0.1:PORT"],
        steps: &[Ready(1), Connects, KillExporter, Connects, NoZombie, Send(TERM)],
        ..USUAL
    },
    Scene {
        name: "port",
        flags: &["network"], // a table of connections as small as a container's
        options: &["--port=PORT"],
        role: &["bind", "PORT", "record", "exit=15:0:50"],
        ..USUAL
    },
    Scene {
        name: "port held",
        flags: &["network"],
        options: &["--port=PORT", "--kill-mode=process"],
        role: &["leave", "h:orphan:port=PORT", "--", "record", "exit=15:0"],
        ..USUAL
    },
    Scene {
        name: "user",
        options: &[
            "--user=65534",
            "--no-new-privs",
            "--vary-pid",
            "--subreaper=on",
            "--parent-death-signal=USR2",
        ],
        ..USUAL
    },
    Scene {
        name: "listen",
        options: &["--listen=127.0.0.1:PORT=web,unix:FOLDER/socket", "--listen-env=WEB,LOCAL"],
        role: &["generations", "1=record,exit=10:75", "*=record,exit=15:0"],
        steps: &[Ready(1), Send(USR1), Ready(2), Send(TERM)],
        ..USUAL
    },
    Scene {
        name: "listen stale",
        flags: &["stale"],
        options: &["--listen=unix:FOLDER/socket"],
        ..USUAL
    },
    Scene {
        name: "listen taken",
        flags: &["live"],
        options: &["--listen=unix:FOLDER/socket"],
        // Where the kernel says that nobody listens there, the child runs.
        steps: &[Ready(1), Send(TERM)],
        code: 125,
        ..USUAL
    },
    Scene {
        name: "notify",
        flags: &["superior"],
        options: &["--notify", "--watchdog=30s"],
        role: &["tell", "READY=1\nSTATUS=well\nWATCHDOG=1", "record", "exit=15:0"],
        ..USUAL
    },
    Scene {
        name: "ready-url",
        options: &["--ready-url=http://127.0.0.1:PORT/"],
        role: &["serve", "PORT", "200", "record", "exit=15:0"],
        steps: &[Ready(1), NoZombie, Send(TERM)],
        ..USUAL
    },
    Scene { name: "under", flags: &["under"], ..USUAL },
    Scene { name: "file", options: &["-v"], stderr: Stderr::File, ..USUAL },
    Scene { name: "socket", options: &["-v"], stderr: Stderr::Socket, ..USUAL },
    Scene {
        name: "terminal",
        flags: &["terminal"],
        options: &["--restart-delay=1ms"],
        role: &["generations", "1=record,exit=10:75", "*=record,exit=15:0"],
        steps: &[Ready(1), Send(USR1), Ready(2), Send(TERM)],
        ..USUAL
    },
    Scene { name: "verb", steps: &[Ready(1), Verb("stop")], ..USUAL },
    Scene {
        name: "missing",
        role: &[],
        options: &["--", "/nowhere/there-is-no-such-program"],
        steps: &[],
        code: 127,
        ..USUAL
    },
    Scene {
        name: "no-proc",
        flags: &["no-proc"],
        options: &["-v"],
        role: &["leave", "a:daemon", "--", "record", "exit=15:0"],
        ..USUAL
    },
    Scene {
        name: "large",
        flags: &["large"],
        options: &["-v"],
        role: &["exit", "7"],
        steps: &[],
        code: 7,
        ..USUAL
    },
    Scene { name: "ignored SIGCHLD", flags: &["ignore=17"], ..USUAL },
    Scene {
        name: "dumb-init",
        called: "/sbin/dumb-init",
        steps: &[Ready(1), Send(TERM), Again(TERM)],
        ..USUAL
    },
];

/// `tell TEXT ROLE...`: says TEXT to NOTIFY_SOCKET, then becomes ROLE.
pub fn tell(args: &[String]) -> ! {
    let address = std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
    let name = address.strip_prefix('@').expect("an abstract name");
    let address = SocketAddr::from_abstract_name(name).expect("an address");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.send_to_addr(args[0].as_bytes(), &address).expect("tell");
    crate::probe::run(&args[1..])
}

/// A scene that is over.
pub struct Played {
    pub end: End,
    pub calls: Vec<String>,
    pub out: Vec<String>,
    pub err: Vec<String>,
    /// From the first request to the end.
    pub took_ms: f64,
    /// Zombies that were there when none should be, and what did not come in time.
    pub missed: Vec<String>,
}

/// Says what was being tried where a wait fails.
struct Trying<'a>(&'a Scene, &'a [String]);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("scene {:?} with strace {:?}", self.0.name, self.1);
        }
    }
}

/// Plays a scene, with what strace is to tamper with.
pub fn play(scene: &Scene, tamper: &[String]) -> Played {
    let _trying = Trying(scene, tamper);
    let folder = Folder::new();
    let port = free_port();
    let put_in = |word: &&str| {
        word.replace("FOLDER", &folder.path().display().to_string())
            .replace("PORT", &port.to_string())
    };
    let grace = format!("--stop-grace={}ms", scene.grace_ms);
    let mut options: Vec<String> = Vec::new();
    if scene.called == "clawinit" {
        options.push(grace);
    }
    options.extend(scene.options.iter().map(put_in));
    let role: Vec<String> = scene.role.iter().map(put_in).collect();
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    let log = folder.write("log", "", 0o644);
    // What is left of a listener that is gone, or one that is there.
    let listener = ["stale", "live"].iter().any(|flag| scene.flags.contains(flag));
    let listener = listener.then(|| UnixListener::bind(folder.file("socket")).expect("listen"));
    let _live = listener.filter(|_| scene.flags.contains(&"live"));
    let mut other_end = None;
    let prepare = |mut init: Init| {
        for flag in scene.flags {
            init = match *flag {
                "terminal" => init.terminal(),
                "large" => {
                    (0..1500).fold(init, |init, i| init.variable(&format!("LARGE_{i}"), "x"))
                }
                "stale" | "live" => init,
                "superior" => init.variable("NOTIFY_SOCKET", "@clawinit-test-nobody"),
                flag => init.flag(flag),
            };
        }
        if scene.options.contains(&"--user=65534") {
            let (_, probe) = folder.copies();
            init = init.with_probe(probe);
        }
        match scene.stderr {
            Stderr::Pipe => init,
            Stderr::File => init.flag(&format!("stderr={log}")),
            Stderr::Socket => {
                let (ours, theirs) = UnixStream::pair().expect("a socket pair");
                other_end = Some(Lines::read_from(ours));
                init.stderr(OwnedFd::from(theirs))
            }
        }
    };
    let traced =
        Traced::start((scene.called, &options), (prepare, &role), tamper, &folder.word("trace"));
    let mut stage = Stage {
        run: &traced.run,
        trace: folder.word("trace"),
        port,
        asked: None,
        missed: Vec::new(),
    };
    for step in scene.steps {
        stage.take(step);
    }
    let (asked, missed) = (stage.asked, stage.missed);
    traced.run.end();
    let (run, calls) = traced.calls();
    let done = run.finish();
    let err = match (scene.stderr, other_end) {
        (Stderr::File, _) => {
            std::fs::read_to_string(&log).expect("the log").lines().map(str::to_string).collect()
        }
        (_, Some(lines)) => {
            lines.wait_end();
            lines.all()
        }
        _ => done.err,
    };
    Played {
        end: done.end,
        calls,
        out: done.out,
        err,
        took_ms: asked.map_or(0.0, |asked| ms(asked, done.at)),
        missed,
    }
}

/// A scene under way.
struct Stage<'a> {
    run: &'a Run,
    trace: String,
    port: u16,
    /// When the first stop or restart was asked for.
    asked: Option<u64>,
    missed: Vec<String>,
}

impl Stage<'_> {
    fn ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.run.pid));
        stat.is_ok_and(|stat| stat.contains(") Z"))
            || !Path::new(&format!("/proc/{}", self.run.pid)).exists()
    }

    fn signal_was_lost(&self) -> bool {
        let trace = std::fs::read_to_string(&self.trace).unwrap_or_default();
        let sends = |line: &str| line.starts_with("kill(") || line.starts_with("rt_sigqueueinfo(");
        trace.lines().any(|line| sends(line) && line.contains("(INJECTED)"))
    }

    /// Waits until it is so, or clawinit has ended, or a signal was lost that was to bring it about.
    fn wait(&mut self, what: &str, mut wanted: impl FnMut() -> bool) {
        let came =
            until(what, || (wanted() || self.ended() || self.signal_was_lost()).then_some(()));
        if came.is_none() {
            self.missed.push(what.to_string());
        }
    }

    fn take(&mut self, step: &Step) {
        let run = self.run;
        let lines = |prefix: &str| run.out.all().iter().filter(|l| l.starts_with(prefix)).count();
        match *step {
            Ready(count) => self.wait("the child to be ready", || lines("ready") >= count),
            Says(prefix) => self.wait(prefix, || lines(prefix) > 0),
            Gone(pid) => self.wait("the child to be gone", || {
                !run.processes().iter().any(|process| process.pid == pid)
            }),
            NoZombie => self.wait("the zombies to be reaped", || run.zombies().is_empty()),
            Send(signal) => {
                if [TERM, USR1].contains(&signal) {
                    self.asked.get_or_insert_with(sys::now_ns);
                }
                let _ = sys::kill(run.pid, signal);
            }
            Again(signal) => {
                self.wait("the end", || false);
                let _ = sys::kill(run.pid, signal);
            }
            Queue(signal, value) => {
                let _ = sys::queue(run.pid, signal, value);
            }
            Verb(word) => {
                self.asked.get_or_insert_with(sys::now_ns);
                if run.verb(&[word]).code != Some(0) && !self.ended() {
                    let _ = sys::kill(run.pid, TERM);
                }
            }
            Connects => {
                let port = self.port;
                // It reads the page, so there is none without one.
                self.wait("the exporter to listen", || {
                    TcpStream::connect(("127.0.0.1", port)).is_ok()
                        || ["no status page", "the exporter cannot be started"]
                            .iter()
                            .any(|excuse| run.err.text().contains(excuse))
                });
            }
            KillExporter => {
                let exporter = run
                    .processes()
                    .into_iter()
                    .find(|p| p.command.starts_with("clawinit-exporter"));
                if let Some(exporter) = exporter {
                    let mut guest = run.exec(&["kill", "9", &exporter.pid.to_string()]);
                    guest.code();
                    self.wait("the exporter to be gone", || {
                        !run.processes().iter().any(|p| p.pid == exporter.pid)
                    });
                }
            }
        }
    }
}
