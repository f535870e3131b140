//! A storm of signals at PID 1: one each millisecond.
//!
//! Equal ordinary signals coalesce while one is pending (signal(7)), so what is counted one by one
//! are real-time signals, each with the next number as its value.

use crate::harness::Run;
use crate::random::Random;
use crate::sys;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Real-time signals, one that musl keeps for itself and the highest among them. Not 33 and 34:
/// musl unblocks these two in a child that sets its first handler, as Rust's runtime does.
pub const QUEUED: [i32; 4] = [32, 35, 48, 64];

/// Ordinary ones that mean nothing to clawinit.
pub const PLAIN: [i32; 2] = [libc::SIGUSR2, libc::SIGWINCH];

const EVERY: Duration = Duration::from_millis(1);

/// The flag of the launcher by which a child is born with them blocked, and so is not ended by one
/// that comes before its first instruction.
pub const BLOCKED: &str = "block=1,10,12,15,28,32,35,48,64";

/// What was sent.
#[derive(Clone)]
pub struct Sent {
    /// By number, those that the kernel took.
    pub counts: [u64; 65],
    /// Those that it refused: the receiver's queue was full.
    pub refused: u64,
    /// When the last of each was sent.
    pub last_at: [u64; 65],
    pub took: Duration,
}

impl Sent {
    pub fn queued(&self) -> u64 {
        QUEUED.iter().map(|n| self.counts[*n as usize]).sum()
    }

    /// How many a second.
    pub fn rate(&self) -> f64 {
        self.counts.iter().sum::<u64>() as f64 / self.took.as_secs_f64()
    }

    /// Sends one more; false: there is no such process.
    pub fn one(&mut self, pid: i32, signal: i32) -> bool {
        let place = signal as usize;
        let at = sys::now_ns();
        let sent = if signal < 32 {
            sys::kill(pid, signal)
        } else {
            sys::queue(pid, signal, self.counts[place] as i32)
        };
        match sent {
            Ok(()) => {
                self.counts[place] += 1;
                self.last_at[place] = at;
            }
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => self.refused += 1,
            Err(_) => return false,
        }
        true
    }
}

/// A storm that goes on.
pub struct Storm {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Sent>>,
}

impl Storm {
    pub fn begin(run: &Run, seed: u64) -> Storm {
        Storm::go_on(run, seed, nothing())
    }

    /// One more, whose values follow those of an earlier one.
    pub fn go_on(run: &Run, seed: u64, before: Sent) -> Storm {
        let over = Arc::new(AtomicBool::new(false));
        let (pid, stop) = (run.pid, over.clone());
        let thread = std::thread::spawn(move || blow(pid, seed, before, &stop));
        Storm { over, thread: Some(thread) }
    }

    pub fn end(mut self) -> Sent {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().expect("one end").join().expect("the storm")
    }
}

impl Drop for Storm {
    /// None outlives a test that fails: the pid may be somebody else's then.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Nothing was sent yet.
pub fn nothing() -> Sent {
    Sent { counts: [0; 65], refused: 0, last_at: [0; 65], took: Duration::ZERO }
}

fn blow(pid: i32, seed: u64, mut sent: Sent, over: &AtomicBool) -> Sent {
    let mut random = Random::new(seed);
    let (began, earlier) = (Instant::now(), sent.took);
    let mut next = began;
    while !over.load(Ordering::Relaxed) {
        let kinds = QUEUED.len() as u64 + 1;
        let signal = match QUEUED.get(random.between(0, kinds - 1) as usize) {
            Some(queued) => *queued,
            None => PLAIN[random.between(0, 1) as usize],
        };
        // Who has no such process any more has nothing left to send.
        if !sent.one(pid, signal) {
            break;
        }
        // One that came late is made up for: it is so many a second all the same.
        next += EVERY;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    sent.took = earlier + began.elapsed();
    sent
}
