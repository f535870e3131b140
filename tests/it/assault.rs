//! What a hostile process under clawinit does: roles of the probe for `security.rs`.

use crate::sys;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::unistd::Pid;
use serde_json::{Map, Value};
use std::fs::OpenOptions;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

/// The roles `security WHAT …` of the probe.
pub fn role(args: &[String]) -> ! {
    match args[0].as_str() {
        "assault" => assault(&args[1..]),
        "flood" => flood(&args[1..]),
        "spoil" => spoil(&args[1..]),
        "scrape" => scrape_and_stop(&args[1]),
        "address" => {
            crate::probe::say(&format!("address {}", notify_socket()));
            crate::probe::run(&args[1..])
        }
        "speak" => {
            speak(&args[1], &args[2], args[3].parse().expect("a number"));
            crate::probe::run(&args[4..])
        }
        "babble" => babble(&args[1], &args[2..]),
        other => panic!("security: unknown word {other}"),
    }
}

/// `assault ROLE…`: tries on PID 1 what a process can try on another, says how each went as one
/// JSON line, then becomes ROLE.
fn assault(role: &[String]) -> ! {
    let init = Pid::from_raw(1);
    let mut tried = Map::new();
    let mut note = |what: &str, result: std::io::Result<()>| {
        let how = result.map_or_else(|e| e.raw_os_error().unwrap_or(-1), |()| 0);
        tried.insert(what.to_string(), how.into());
    };
    for signal in (0..=64).filter(|n| ![32, 33].contains(n)) {
        note(&format!("signal {signal}"), sys::kill(1, signal));
    }
    note("queue", sys::queue(1, libc::SIGUSR1, 0x636c_6177));
    let traced = nix::sys::ptrace::attach(init);
    if traced.is_ok() {
        let _ = nix::sys::ptrace::detach(init, None);
    }
    note("trace", traced.map_err(Into::into));
    note("group", nix::unistd::setpgid(init, init).map_err(Into::into));
    note("descriptor", sys::take_descriptor(1, 0));
    for (file, write) in [
        ("mem", true),
        ("oom_score_adj", true),
        ("clear_refs", true),
        ("environ", false),
        ("auxv", false),
        ("syscall", false),
        ("fd/0", true),
        ("exe", false),
    ] {
        let path = format!("/proc/1/{file}");
        note(file, OpenOptions::new().read(!write).write(write).open(path).map(drop));
    }
    for folder in ["fd", "root", "cwd", "map_files"] {
        note(folder, std::fs::read_dir(format!("/proc/1/{folder}")).map(drop));
    }
    crate::probe::say(&format!("tried {}", Value::Object(tried)));
    crate::probe::run(role)
}

/// `flood ROLE…`: three processes send PID 1 signals without end, those with the lowest numbers,
/// which the kernel hands out first, and queued ones until there is no room for more; then becomes
/// ROLE.
fn flood(role: &[String]) -> ! {
    // What they send comes back to this process, too.
    sys::block_exactly(u64::MAX);
    for worker in 0..3 {
        if sys::fork().is_none() {
            loop {
                let _ = sys::kill(1, libc::SIGHUP);
                let _ = sys::queue(1, 40 + worker, 7);
            }
        }
    }
    crate::probe::run(role)
}

/// `spoil ROLE…`: changes for the worse what it has in common with clawinit, or seems to; then
/// becomes ROLE.
fn spoil(role: &[String]) -> ! {
    let nothing = None::<&str>;
    nix::mount::umount2("/proc", nix::mount::MntFlags::MNT_DETACH).expect("unmount /proc");
    let tmpfs = Some("tmpfs");
    nix::mount::mount(tmpfs, "/dev", tmpfs, nix::mount::MsFlags::empty(), nothing)
        .expect("hide /dev");
    nix::sys::stat::umask(nix::sys::stat::Mode::all());
    nix::sys::prctl::set_dumpable(false).expect("PR_SET_DUMPABLE");
    for limit in [Resource::RLIMIT_NOFILE, Resource::RLIMIT_NPROC, Resource::RLIMIT_FSIZE] {
        setrlimit(limit, 0, 0).expect("a limit of nothing");
    }
    nix::unistd::chroot("/dev").expect("chroot");
    nix::unistd::chdir("/").expect("chdir");
    sys::block_exactly(u64::MAX);
    crate::probe::say("spoiled");
    for fd in 0..=2 {
        sys::close(fd);
    }
    crate::probe::run(role)
}

/// `scrape PORT`: reads an exporter's metrics, asks its parent to stop, and waits for its word.
fn scrape_and_stop(port: &str) -> ! {
    sys::block_exactly(u64::MAX);
    let mut exporter = crate::harness::until("an exporter", || {
        TcpStream::connect(("127.0.0.1", port.parse().expect("a port"))).ok()
    })
    .expect("an exporter");
    exporter.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("ask it");
    let mut answer = String::new();
    exporter.read_to_string(&mut answer).expect("its answer");
    assert!(answer.contains("clawinit_generation"), "{answer}");
    sys::kill(nix::unistd::getppid().as_raw(), libc::SIGTERM).expect("ask for the stop");
    while sys::wait_signal(u64::MAX, None).expect("no bound").signal != libc::SIGTERM {}
    std::process::exit(0)
}

fn notify_socket() -> String {
    std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET")
}

/// `speak ADDRESS TEXT N ROLE…`: says TEXT on a notification socket N times, each time with
/// descriptors handed over, then becomes ROLE. `-` is the address that the child was given.
fn speak(address: &str, text: &str, times: usize) {
    let given = if address == "-" { notify_socket() } else { address.to_string() };
    let name = given.strip_prefix('@').expect("an abstract name");
    let address = UnixAddr::new_abstract(name.as_bytes()).expect("an address");
    let socket = UnixDatagram::unbound().expect("a socket");
    let zero = std::fs::File::open("/dev/zero").expect("/dev/zero");
    let many = [zero.as_raw_fd(); 8];
    for _ in 0..times {
        sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(text.as_bytes())],
            &[ControlMessage::ScmRights(&many)],
            MsgFlags::empty(),
            Some(&address),
        )
        .expect("sendmsg");
    }
    crate::probe::say("spoken");
}

/// `babble TEXT ROLE…`: two processes say TEXT on the notification socket without end; then becomes
/// ROLE.
fn babble(text: &str, role: &[String]) -> ! {
    let name = notify_socket();
    let address = UnixAddr::new_abstract(&name.as_bytes()[1..]).expect("an address");
    for _ in 0..2 {
        if sys::fork().is_none() {
            sys::block_exactly(u64::MAX);
            let socket = UnixDatagram::unbound().expect("a socket");
            let part = [IoSlice::new(text.as_bytes())];
            loop {
                let none = MsgFlags::empty();
                let _ = sendmsg(socket.as_raw_fd(), &part, &[], none, Some(&address));
            }
        }
    }
    crate::probe::run(role)
}
