//! What can be seen of PID 1 from outside: its status page, its memory, its descriptors.

use crate::harness::{BOUND, Run, status_field};
use crate::sys;
use clawinit::status::read::{self, Snapshot};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The status page, which can be read past clawinit's end.
pub struct Page(File);

impl Page {
    /// Opens it once it is there.
    pub fn of(run: &Run) -> Page {
        let folder = format!("/proc/{}/fd", run.pid);
        run.until("the status page", || {
            std::fs::read_dir(&folder).ok()?.find_map(|entry| {
                let path = entry.ok()?.path();
                let link = std::fs::read_link(&path).ok()?;
                let page = link.to_str()?.starts_with("/memfd:clawinit-status");
                // It may be there and not yet written.
                let page = page.then(|| File::open(&path).ok())??;
                read::read(&page).is_ok_and(|now| now.generation > 0).then_some(Page(page))
            })
        })
    }

    pub fn now(&self) -> Snapshot {
        read::read(&self.0).unwrap_or_else(|error| panic!("the status page: {error:?}"))
    }

    /// Waits until it says this.
    pub fn until(&self, run: &Run, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let end = Instant::now() + BOUND.get();
        loop {
            let now = self.now();
            if wanted(&now) {
                return now;
            }
            if now.exit_code.is_some() || Instant::now() > end {
                run.fail(&format!("waited in vain for {what}; the page says {now:?}"));
            }
            // A look costs PID 1 nothing, but it costs a processor.
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// The child's pid as we see it, by its pid in clawinit's namespace.
pub fn outside(run: &Run, inside: i32) -> i32 {
    run.until(&format!("process {inside} of the namespace"), || {
        children(run.pid).into_iter().find(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            let all = status_field(&status.unwrap_or_default(), "NSpid").unwrap_or_default();
            all.split_whitespace().next_back() == Some(&inside.to_string())
        })
    })
}

/// The children of a process, by our pids.
pub fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    list.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// What a process has, in kB and numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holds {
    /// Resident, the program's own file among it.
    pub resident: u64,
    /// Written by it: its heap, stack and data.
    pub dirty: u64,
    pub anonymous: u64,
    pub descriptors: u64,
    pub threads: u64,
}

impl Holds {
    /// `None`: it is gone.
    pub fn of(pid: i32) -> Option<Holds> {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |text: &str, field: &str| -> Option<u64> {
            status_field(text, field)?.split(' ').next()?.parse().ok()
        };
        Some(Holds {
            resident: number(&rollup, "Rss")?,
            dirty: number(&rollup, "Private_Dirty")?,
            anonymous: number(&rollup, "Anonymous")?,
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
            threads: number(&status, "Threads")?,
        })
    }

    /// The same with the fewest descriptors of several looks: one that is open for a moment is not
    /// one that stays.
    fn at_rest(pid: i32) -> Option<Holds> {
        let looks = (0..10).map(|_| {
            std::thread::sleep(Duration::from_millis(2));
            Holds::of(pid)
        });
        looks.flatten().min_by_key(|holds| holds.descriptors)
    }

    pub fn most(self, other: Holds) -> Holds {
        Holds {
            resident: self.resident.max(other.resident),
            dirty: self.dirty.max(other.dirty),
            anonymous: self.anonymous.max(other.anonymous),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }
}

/// How much PID 1 may have more than after its warm-up: a page of the heap that a longer list
/// wanted, pages of its own file that were never touched before.
const MORE_DIRTY: u64 = 16;
const MORE_RESIDENT: u64 = 128;

/// A list of children or a process's name is being read.
const MORE_DESCRIPTORS: u64 = 3;

/// The same for people.
pub const BOUND_TEXT: &str =
    "after the warm-up: 16 kB dirty, 128 kB resident, no descriptor, no thread more";

/// What a process had before, meanwhile at most, and in the end.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    pub before: Holds,
    pub most: Holds,
    pub after: Holds,
}

impl Growth {
    /// What has grown; nothing where all is as it was.
    pub fn fault(&self) -> Option<String> {
        let Growth { before, most, after } = self;
        let flat = after.dirty <= before.dirty + MORE_DIRTY
            && after.anonymous <= before.anonymous + MORE_DIRTY
            && after.resident <= before.resident + MORE_RESIDENT
            && most.resident <= before.resident + MORE_RESIDENT
            && after.descriptors == before.descriptors
            && most.descriptors <= before.descriptors + MORE_DESCRIPTORS
            && most.threads == 1;
        (!flat).then(|| format!("PID 1 grew: {self:?}"))
    }

    /// In a few words.
    pub fn text(&self) -> String {
        let Growth { before, most, after } = self;
        format!(
            "resident {}, {}, {} kB (before, most, after), dirty {}, {}, {} kB, descriptors {}, {}, {}, threads {}",
            before.resident,
            most.resident,
            after.resident,
            before.dirty,
            most.dirty,
            after.dirty,
            before.descriptors,
            most.descriptors,
            after.descriptors,
            most.threads
        )
    }
}

/// A look at a process ten times a second.
pub struct Watch {
    pid: i32,
    before: Holds,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Holds>,
}

impl Watch {
    pub fn begin(pid: i32) -> Watch {
        let before = Holds::at_rest(pid).expect("PID 1 to look at");
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let thread = std::thread::spawn(move || {
            let mut most = before;
            while !stop.load(Ordering::Relaxed) {
                most = Holds::of(pid).map_or(most, |now| most.most(now));
                std::thread::sleep(Duration::from_millis(100));
            }
            most
        });
        Watch { pid, before, over, thread }
    }

    pub fn end(self) -> Growth {
        self.over.store(true, Ordering::Relaxed);
        let most = self.thread.join().expect("the watch");
        let after = Holds::at_rest(self.pid).expect("PID 1 to look at");
        Growth { before: self.before, most: most.most(after), after }
    }
}

/// The end of a process that is not our child, as soon as the kernel tells.
pub struct Ending(OwnedFd);

impl Ending {
    pub fn of(pid: i32) -> Ending {
        Ending(sys::pidfd(pid).unwrap_or_else(|error| panic!("process {pid}: {error}")))
    }
}

/// When each of them ended, on the clock of `sys::now_ns`.
pub fn ended(all: &[Ending]) -> Vec<u64> {
    let mut at = vec![0; all.len()];
    let bound = PollTimeout::try_from(BOUND.get()).unwrap_or(PollTimeout::MAX);
    while at.contains(&0) {
        let open: Vec<usize> = (0..all.len()).filter(|i| at[*i] == 0).collect();
        let mut fds: Vec<PollFd> =
            open.iter().map(|i| PollFd::new(all[*i].0.as_fd(), PollFlags::POLLIN)).collect();
        assert_ne!(poll(&mut fds, bound), Ok(0), "waited in vain for the end of a process");
        let now = sys::now_ns();
        for (place, fd) in open.iter().zip(&fds) {
            if fd.any() == Some(true) {
                at[*place] = now;
            }
        }
    }
    at
}
