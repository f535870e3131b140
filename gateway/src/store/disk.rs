//! The thread that owns the disk: the memory file and the state file.
//!
//! The loop never waits for a disk. It sends jobs here and gets answers back. All the
//! writes that are queued when a commit begins go into it together, so the cost of an
//! fsync is shared by everybody who waits for one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use mio::Waker;

use super::check::{self, Verdict};
use super::memory::{self, Entry, Memory, Totals, Trouble, Write};
use super::reserve::Reserve;
use crate::files;
use crate::state::{Stamp, State, Status};

/// The most writes of one commit, and the most bytes, so that none waits too long.
const BATCH_JOBS: usize = 256;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The connection that an answer is for.
pub type Ticket = usize;

/// What the loop asks for.
pub enum Job {
    /// A write; answered when it is on the disk.
    Write(Ticket, Write),
    /// A read of one key; sees every write before it.
    Get(Ticket, String),
    /// A read of keys behind `after`.
    List {
        /// For whom.
        ticket: Ticket,
        /// The key to begin behind.
        after: String,
        /// The most entries.
        limit: usize,
    },
    /// Saves the state file.
    Save(Box<State>),
    /// Closes the memory, saves the state with the file's stamp, and ends the thread.
    Close(Box<State>),
}

/// What the loop gets back.
pub enum Answer {
    /// The memory is open.
    Opened(Totals),
    /// It cannot be opened; the thread has ended.
    NotOpened(String),
    /// A write: whether the key was there before.
    Written(Ticket, Write, Result<bool, Trouble>),
    /// A commit with so many writes.
    Committed {
        /// Sums behind it.
        totals: Totals,
        /// How long it took.
        took: Duration,
    },
    /// A value.
    Got(Ticket, String, Result<Option<Arc<[u8]>>, Trouble>),
    /// Entries, and whether there are more.
    Listed(Ticket, Result<(Vec<Entry>, bool), Trouble>),
    /// The state was saved, in so much time, or why not.
    Saved(io::Result<Duration>),
    /// The memory was closed; the last answer.
    Closed(Result<(), String>),
}

/// The thread's way back to the loop.
pub struct Answers {
    /// Where answers go.
    pub sender: Sender<Answer>,
    /// Wakes the loop.
    pub waker: Arc<Waker>,
}

impl Answers {
    fn send(&self, answer: Answer) {
        // A loop that has ended needs no answers, and no waking.
        let _ = self.sender.send(answer);
        let _ = self.waker.wake();
    }
}

/// The thread: opens the memory in `folder`, then works until the queue ends.
/// `closed_as` is how the last generation left the file, when it left in order.
pub fn run(folder: PathBuf, closed_as: Option<Stamp>, jobs: Receiver<Job>, answers: Answers) {
    let memory = match open(&folder, closed_as) {
        Ok((memory, totals)) => {
            answers.send(Answer::Opened(totals));
            memory
        }
        Err(line) => return answers.send(Answer::NotOpened(line)),
    };
    Disk { folder, memory, answers, saved_first: Duration::ZERO }.work(&jobs);
}

/// Opens the memory; a damaged one is set aside and a new one made.
fn open(folder: &Path, closed_as: Option<Stamp>) -> Result<(Memory, Totals), String> {
    let path = folder.join(memory::FILE);
    let found = Stamp::of(&path);
    if found.is_some() && found != closed_as {
        match check::run(&path) {
            Verdict::Sound => {}
            Verdict::Damaged(wrong) => set_aside(&path, &wrong)?,
            Verdict::Unreadable(wrong) => {
                return Err(format!("memory file {}: {wrong}", path.display()));
            }
            Verdict::Unknown(error) => {
                log::warn!(
                    "the memory file's check could not be started ({error}); opening it unchecked"
                );
            }
        }
    }
    match Memory::open(folder) {
        Err(error) if memory::is_damage(&error) => {
            set_aside(&path, &error.to_string())?;
            Memory::open(folder)
        }
        other => other,
    }
    .map_err(|error| {
        let advice = if memory::is_full(&error) { "; free some space on that disk" } else { "" };
        format!("memory file {}: {error}{advice}", path.display())
    })
}

fn set_aside(path: &Path, wrong: &str) -> Result<(), String> {
    let aside = files::set_aside(path).map_err(|error| {
        format!(
            "memory file {} is damaged ({wrong}) and cannot be renamed: {error}",
            path.display()
        )
    })?;
    log::warn!(
        "memory file {} is damaged ({wrong}); set aside as {}; starting with an empty memory",
        path.display(),
        aside.display()
    );
    Ok(())
}

struct Disk {
    folder: PathBuf,
    memory: Memory,
    answers: Answers,
    /// How long the save took that a restart begins with.
    saved_first: Duration,
}

impl Disk {
    fn work(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut writes = Vec::new();
            let mut tickets = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            // Writes are gathered up to the first job of another kind, so that jobs
            // are done in the order in which they came.
            while let Some(Job::Write(ticket, write)) = next {
                if let Write::Put(_, value) = &write {
                    bytes += value.len();
                }
                tickets.push(ticket);
                writes.push(write);
                let full = writes.len() == BATCH_JOBS || bytes >= BATCH_BYTES;
                next = if full { None } else { jobs.try_recv().ok() };
            }
            if !writes.is_empty() {
                self.commit(tickets, writes);
            }
            match next {
                None => {}
                Some(Job::Write(..)) => unreachable!("gathered above"),
                Some(Job::Get(ticket, key)) => {
                    let value = self.memory.get(&key);
                    self.answers.send(Answer::Got(ticket, key, value));
                }
                Some(Job::List { ticket, after, limit }) => {
                    let listed = self.memory.list(&after, limit);
                    self.answers.send(Answer::Listed(ticket, listed));
                }
                Some(Job::Save(state)) => {
                    let saved = self.save(&state);
                    self.answers.send(Answer::Saved(saved));
                }
                Some(Job::Close(state)) => return self.close(*state),
            }
        }
    }

    fn commit(&mut self, tickets: Vec<Ticket>, writes: Vec<Write>) {
        let begun = Instant::now();
        let result = self.memory.apply(&writes);
        let took = begun.elapsed();
        let each: Vec<Result<bool, Trouble>> = match result {
            Ok((existed, totals)) => {
                self.answers.send(Answer::Committed { totals, took });
                existed.into_iter().map(Ok).collect()
            }
            Err(trouble) => vec![Err(trouble); writes.len()],
        };
        for ((ticket, write), result) in tickets.into_iter().zip(writes).zip(each) {
            self.answers.send(Answer::Written(ticket, write, result));
        }
    }

    fn save(&mut self, state: &State) -> io::Result<Duration> {
        let saved = match state.save(&self.folder) {
            Err(error) if memory::is_full_io(&error) => {
                self.memory.lend(|| state.save(&self.folder))
            }
            other => other,
        };
        if let (Status::Stopping, Ok(took)) = (state.status, &saved) {
            self.saved_first = *took;
        }
        saved
    }

    fn close(self, mut state: State) {
        let begun = Instant::now();
        let closed = self.memory.close();
        // The write below cannot tell how long it takes itself; it is a small part.
        state.save_us = u64::try_from((self.saved_first + begun.elapsed()).as_micros()).ok();
        if closed.is_ok() {
            state.memory = Stamp::of(&self.folder.join(memory::FILE));
        }
        self.answers.send(Answer::Saved(state.save(&self.folder)));
        // Made again at once: until the next start others may fill the disk.
        Reserve::of(&self.folder).refill();
        self.answers.send(Answer::Closed(closed.map_err(|error| error.to_string())));
    }
}
