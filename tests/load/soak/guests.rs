//! Who comes in from outside: strangers in the namespace, verbs, and those who read the metrics.

use crate::harness::{Guest, Run, pid_in};
use crate::random::Random;
use crate::report::Report;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Strangers at one time.
const MOST: usize = 4;

pub struct Guests {
    /// Each, when it is to leave, and whether it stays until then by itself.
    inside: Vec<(Guest, Instant, bool)>,
    next: Instant,
    came: u64,
    next_verb: Instant,
    verbs: u64,
    scraper: Arc<Scraper>,
    threads: Vec<JoinHandle<()>>,
}

struct Scraper {
    over: AtomicBool,
    scrapes: AtomicU64,
    /// Clients of the child's socket, and how long one of them waited at most.
    clients: AtomicU64,
    slowest_ms: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Guests {
    pub fn begin(port: u16, served: u16, seed: u64) -> Guests {
        let scraper = Arc::new(Scraper {
            over: AtomicBool::new(false),
            scrapes: AtomicU64::new(0),
            clients: AtomicU64::new(0),
            slowest_ms: AtomicU64::new(0),
            faults: Mutex::default(),
        });
        let (theirs, visitors) = (scraper.clone(), scraper.clone());
        let threads = vec![
            std::thread::spawn(move || theirs.scrape(port, &mut Random::new(seed))),
            std::thread::spawn(move || visitors.visit(served, &mut Random::new(seed))),
        ];
        let now = Instant::now();
        Guests {
            inside: Vec::new(),
            next: now,
            came: 0,
            next_verb: now,
            verbs: 0,
            scraper,
            threads,
        }
    }

    pub fn come_and_go(&mut self, run: &Run, random: &mut Random) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + Duration::from_millis(random.between(100, 2000));
        if self.inside.len() < MOST {
            let (role, stays): (&[&str], _) = match random.between(0, 3) {
                0 => (&["orphans", "10", "0"], false),
                1 => (&["burst", "30", "0"], false),
                2 => (&["ignore", "15"], true),
                _ => (&["pause"], true),
            };
            let until = now + Duration::from_millis(random.between(10, 8000));
            self.inside.push((run.exec(role), until, stays));
            self.came += 1;
        }
    }

    /// A stranger is nobody's business but its own; `clawinit status` always has an answer.
    pub fn look(&mut self, run: &Run, report: &mut Report) {
        let now = Instant::now();
        let mut gone = None;
        self.inside.retain_mut(|(guest, until, stays)| {
            if *stays && !guest.runs() {
                gone = Some(guest.out.text());
            }
            if *until < now {
                see_off(run, guest, *stays);
            }
            *until >= now
        });
        report.take(gone.map(|said| format!("a stranger was ended; it said {said:?}")));
        if now >= self.next_verb {
            self.next_verb = now + Duration::from_millis(700);
            self.verbs += 1;
            let status = run.verb(&["status", "--json"]);
            let json = serde_json::from_str::<Value>(&status.out).is_ok();
            // 3: no child runs at this moment.
            report.hold(json && [Some(0), Some(3)].contains(&status.code), || {
                format!("clawinit status: {:?} {}{}", status.code, status.out, status.err)
            });
        }
        report.faults.append(&mut self.scraper.faults.lock().expect("faults"));
    }

    pub fn end(&mut self, run: &Run, report: &mut Report) {
        for (mut guest, _, stays) in self.inside.drain(..) {
            see_off(run, &mut guest, stays);
        }
        self.scraper.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            report.hold(thread.join().is_ok(), || "a client failed".to_string());
        }
        report.faults.append(&mut self.scraper.faults.lock().expect("faults"));
        let scrapes = self.scraper.scrapes.load(Ordering::Relaxed);
        report.row(
            "from outside",
            format!(
                "{scrapes} scrapes, {} times clawinit status, {} strangers",
                self.verbs, self.came
            ),
            "each answered; no stranger touched",
        );
        report.row(
            "clients of the socket of --listen",
            format!(
                "{} answered, the slowest after {} ms",
                self.scraper.clients.load(Ordering::Relaxed),
                self.scraper.slowest_ms.load(Ordering::Relaxed)
            ),
            "none refused, whatever becomes of the child",
        );
    }
}

/// Ends a stranger who would stay, and waits for its end: the namespace cannot end before all in it
/// were waited for, by whoever has brought them in.
fn see_off(run: &Run, guest: &mut Guest, stays: bool) {
    if stays {
        let pid = pid_in(&guest.says_prefix("ready")).to_string();
        run.exec(&["kill", "9", &pid]).code();
    }
    guest.code();
}

impl Scraper {
    fn scrape(&self, port: u16, random: &mut Random) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let began = Instant::now();
        let mut slow = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            match ask(address) {
                Ok(text) => {
                    self.scrapes.fetch_add(1, Ordering::Relaxed);
                    let phases = text
                        .lines()
                        .filter(|l| l.starts_with("clawinit_phase{") && l.ends_with(" 1"));
                    if phases.count() != 1 {
                        self.fault(format!("the metrics: {text}"));
                    }
                }
                // It is started with the first child.
                Err(_) if began.elapsed() < Duration::from_secs(5) => {}
                Err(error) => self.fault(format!("no metrics: {error}")),
            }
            if random.chance(10) {
                slow.extend(TcpStream::connect(address));
            }
            if slow.len() > 20 {
                slow.clear();
            }
            std::thread::sleep(Duration::from_millis(random.between(20, 500)));
        }
    }

    /// Connects again and again; an answer may take some generations, a refusal is a fault.
    fn visit(&self, port: u16, random: &mut Random) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while !self.over.load(Ordering::Relaxed) {
            let began = Instant::now();
            match visit(address) {
                Ok(true) => {
                    self.clients.fetch_add(1, Ordering::Relaxed);
                    let took = began.elapsed().as_millis() as u64;
                    self.slowest_ms.fetch_max(took, Ordering::Relaxed);
                }
                // The child died with the connection in its hands.
                Ok(false) => {}
                Err(error) => self.fault(format!("the socket of --listen: {error}")),
            }
            std::thread::sleep(Duration::from_millis(random.between(5, 200)));
        }
    }

    fn fault(&self, what: String) {
        self.faults.lock().expect("faults").push(what);
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let bound = Duration::from_secs(10);
    let mut connection = TcpStream::connect_timeout(&address, bound)?;
    connection.set_read_timeout(Some(bound))?;
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    connection.read_to_string(&mut text)?;
    if !text.starts_with("HTTP/1.1 200") {
        return Err(std::io::Error::other(text));
    }
    Ok(text)
}

/// Whether a client was answered; an error: there was nobody to connect to, or no answer ever.
fn visit(address: SocketAddr) -> std::io::Result<bool> {
    let bound = Duration::from_secs(20);
    let mut connection = TcpStream::connect_timeout(&address, bound)?;
    connection.set_read_timeout(Some(bound))?;
    let mut text = String::new();
    match connection.read_to_string(&mut text) {
        Ok(_) => Ok(text == "here\n"),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(false),
        Err(error) => Err(error),
    }
}
