//! A mixture of everything for as long as one likes: children that crash, ask to be started again
//! or do not listen, orphans, deaf leftovers, storms of signals, strangers who come in as with
//! `docker exec`, readers of status and metrics, a log that nobody reads for a while. All the
//! while PID 1 is looked at; in the end it has to stop in time.

mod checks;
mod guests;
mod log;

use crate::account;
use crate::harness::{End, Init, Run, free_port};
use crate::random::Random;
use crate::report::{Report, Took};
use crate::roles::{Taken, make_aside, say, tell};
use crate::seen::Page;
use crate::storm::{BLOCKED, QUEUED, Sent, Storm, nothing};
use crate::sys;
use checks::Checks;
use clawinit::status::{Phase, Timed};
use guests::Guests;
use log::Reader;
use nix::fcntl::{FcntlArg, fcntl};
use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

const STOP_GRACE: Duration = Duration::from_secs(2);

/// What a stop may take beyond its grace: a machine that is busy.
const STOP_LATE: Duration = Duration::from_millis(500);

const OPTIONS: [&str; 12] = [
    "--notify",
    "--watchdog=700ms",
    "--start-grace=600ms",
    "--restart=always",
    "--restart-delay=1ms",
    "--restart-delay-max=50ms",
    "--restart-limit=64/1ms",
    "--stable-after=1s",
    "--restart-grace=300ms",
    "--sweep-grace=200ms",
    "--stop-grace=2s",
    "--log-format=json",
];

/// What is going on beside the children.
struct Mixture {
    run: Run,
    page: Page,
    random: Random,
    storm: Option<Storm>,
    sent: Sent,
    /// When the storm begins or ends.
    turn: Instant,
    restart: Instant,
    guests: Guests,
    checks: Checks,
}

/// For this long.
pub fn run(time: Duration, seed: u64) -> Report {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // So small that it is full when nobody reads for some seconds.
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("F_SETPIPE_SZ");
    let port = free_port();
    let listen = format!("--metrics-listen=127.0.0.1:{port}");
    let served = free_port();
    let serve = format!("--listen=127.0.0.1:{served}");
    let options: Vec<&str> = OPTIONS.into_iter().chain([&*listen, &*serve]).collect();
    let init = Init::plain(&options).stderr(writer).flag(BLOCKED);
    let run = init.role(&["soak", &seed.to_string()]);
    let log = Reader::begin(reader, seed);
    let page = Page::of(&run);
    let now = Instant::now();
    let mut mixture = Mixture {
        checks: Checks::begin(&run, time),
        guests: Guests::begin(port, served, seed),
        run,
        page,
        random: Random::new(seed),
        storm: None,
        sent: nothing(),
        turn: now,
        restart: now,
    };
    let mut report = Report::default();
    while now.elapsed() < time && report.faults.is_empty() {
        mixture.go_on();
        mixture.checks.look(&mixture.run, &mixture.page, &mut report);
        mixture.guests.look(&mixture.run, &mut report);
        std::thread::sleep(Duration::from_millis(50));
    }
    mixture.end(now.elapsed(), log, report)
}

impl Mixture {
    fn go_on(&mut self) {
        let now = Instant::now();
        if now >= self.turn {
            match self.storm.take() {
                Some(storm) => self.sent = storm.end(),
                None => {
                    let before = std::mem::replace(&mut self.sent, nothing());
                    self.storm = Some(Storm::go_on(&self.run, self.random.next(), before));
                }
            }
            self.turn = now + Duration::from_millis(self.random.between(500, 5000));
        }
        if now >= self.restart {
            self.run.usr1();
            self.restart = now + Duration::from_millis(self.random.between(20, 1500));
        }
        self.guests.come_and_go(&self.run, &mut self.random);
    }

    fn end(mut self, took: Duration, log: Reader, mut report: Report) -> Report {
        if let Some(storm) = self.storm.take() {
            self.sent = storm.end();
        }
        let all =
            |n: &i32, received: &[u64]| received[*n as usize] == self.sent.counts[*n as usize];
        let seen = self.page.until(&self.run, "all signals and a child", |now| {
            QUEUED.iter().all(|n| all(n, &now.received)) && now.phase == Some(Phase::Running)
        });
        self.guests.end(&self.run, &mut report);
        self.checks.end(&self.run, &self.page, &mut report);
        let asked = self.run.term();
        let done = self.run.finish();
        let stop = Duration::from_nanos(done.at - asked);
        report.hold(stop <= STOP_GRACE + STOP_LATE, || format!("the stop took {stop:?}"));
        report.hold(matches!(done.end, End::Code(_)), || format!("it ended with {:?}", done.end));
        let last = self.page.now();
        let own = last.histograms[Timed::Stop as usize].sum;
        report.row(
            "the stop at the end",
            format!(
                "{} ms, {} of them until clawinit left; {:?}",
                stop.as_millis(),
                own.as_millis(),
                done.end
            ),
            "2 s of grace, and 500 ms",
        );
        let lines = log.end(&last, &mut report);
        report.row("log", lines, "whole lines; those that nobody read are counted");
        let said = Took::read(&done.out);
        account::real_time(&mut report, "soak", &self.sent, &seen, &said);
        report.rows.insert(
            0,
            crate::report::Row {
                what: "how long".to_string(),
                found: format!("{:.0} s", took.as_secs_f64()),
                bound: String::new(),
            },
        );
        report
    }
}

/// The role `soak SEED`: another life in each generation.
pub fn child(seed: &str) -> ! {
    sys::block_exactly(u64::MAX);
    let generation = std::env::var("CLAWINIT_GENERATION").map_or(0, |n| n.parse().unwrap_or(0));
    let mut random = Random::new(seed.parse::<u64>().expect("a seed") ^ (generation << 32));
    if random.chance(30) {
        make_aside(random.between(1, 300), random.next(), random.chance(20));
    }
    for _ in 0..random.between(0, 8).saturating_sub(4) {
        let deaf = random.chance(25);
        leftover(deaf);
    }
    live(&mut random)
}

/// A child that stays: deaf, or with default actions.
fn leftover(deaf: bool) {
    if deaf {
        crate::roles::deaf_worker();
    } else if sys::fork().is_none() {
        sys::block_exactly(0);
        loop {
            nix::unistd::pause();
        }
    }
}

/// A socket that clawinit has opened (sd_listen_fds(3)).
fn given_socket() -> Option<TcpListener> {
    std::env::var_os("LISTEN_FDS")?;
    let listener = TcpListener::from(sys::own(3));
    listener.set_nonblocking(true).expect("O_NONBLOCK");
    Some(listener)
}

/// How a generation ends where nobody asks for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It does its work to its end.
    Works,
    /// It never says that it is ready.
    NeverReady,
    /// It says nothing any more after a while, and does not listen.
    Hangs,
    /// It tells clawinit more than anybody wants to know.
    Chatters,
}

/// Does its work until its time is over or somebody asks for its end, and ends in some way.
fn live(random: &mut Random) -> ! {
    let deaf = random.chance(10);
    let patient = random.chance(20);
    let manner = match random.between(0, 19) {
        0 => Manner::NeverReady,
        1 | 2 => Manner::Hangs,
        3 | 4 => Manner::Chatters,
        _ => Manner::Works,
    };
    let time = Duration::from_millis(if patient { 10_000 } else { random.between(0, 1500) });
    let end = sys::now_ns() + time.as_nanos() as u64;
    let listener = given_socket();
    if manner != Manner::NeverReady {
        tell("READY=1\nSTATUS=one of many");
    }
    let mut taken = Taken::default();
    while sys::now_ns() < end || matches!(manner, Manner::NeverReady | Manner::Hangs) {
        let alive = manner == Manner::Works || manner == Manner::Chatters;
        if alive {
            tell("WATCHDOG=1");
            answer(listener.as_ref());
        }
        if manner == Manner::Chatters {
            (0..200).for_each(|n| tell(&format!("STATUS={n}\nEXTEND_TIMEOUT_USEC=1")));
        }
        let Some(got) = sys::wait_signal(u64::MAX, Some(Duration::from_millis(50))) else {
            continue;
        };
        taken.note(got);
        match got.signal {
            libc::SIGUSR1 if deaf => {}
            libc::SIGUSR1 | libc::SIGTERM => {
                if random.chance(50) {
                    tell("STOPPING=1");
                }
                taken.say();
                std::process::exit(if random.chance(50) { 75 } else { 0 });
            }
            libc::SIGCHLD => crate::roles::reap(),
            _ => {}
        }
    }
    taken.say();
    match random.between(0, 4) {
        0 => std::process::exit(75),
        1 => std::process::exit(random.between(0, 255) as i32),
        2 => crate::probe::run(&["die".to_string(), libc::SIGSEGV.to_string()]),
        3 => {
            tell("WATCHDOG=trigger");
            let _ = sys::wait_signal(sys::bit(libc::SIGTERM), None);
            std::process::exit(0)
        }
        _ => {
            let _ = sys::kill(std::process::id() as i32, libc::SIGKILL);
            say("SIGKILL did not end me");
            std::process::exit(70)
        }
    }
}

/// Answers who has connected meanwhile, to this generation or to one before it.
fn answer(listener: Option<&TcpListener>) {
    while let Some(Ok((mut client, _))) = listener.map(TcpListener::accept) {
        let _ = client.write_all(b"here\n");
    }
}
