//! `state.json` of the gateway, as a disk or a person left it.

use crate::logging;
use crate::state::{self, Found, State};
use std::path::PathBuf;
use std::time::Duration;

/// Reads the bytes as the file; then what the next generation makes of them.
pub fn gateway_state(data: &[u8]) {
    let own = Folder::new();
    let folder = own.0.as_path();
    let file = folder.join(state::FILE);
    std::fs::write(&file, data).expect("write the state file");
    let found = state::read(folder).expect("a file that can be read");
    let taken = state::take_over(folder).expect("a start is never refused");
    match found {
        Found::Nothing => panic!("the file is there"),
        Found::State(read) => {
            assert_eq!(taken.as_ref(), Some(&*read));
            goes_on(&read);
        }
        Found::Damaged(wrong) => {
            assert!(taken.is_none() && !wrong.is_empty());
            let line = logging::line("warning: ", &format_args!("it is damaged ({wrong})"));
            assert!(!line.trim_end_matches('\n').contains(char::is_control), "{line:?}");
            assert!(!file.exists(), "it was to be set aside");
            // Nothing is deleted: the bytes are there, under another name.
            let aside: Vec<PathBuf> = std::fs::read_dir(folder)
                .expect("list the folder")
                .map(|entry| entry.expect("an entry").path())
                .collect();
            assert_eq!(aside.len(), 1, "{aside:?}");
            assert_eq!(std::fs::read(&aside[0]).expect("read it"), data);
            std::fs::remove_file(&aside[0]).expect("remove it");
        }
    }
}

/// A whole state: the next one follows it, and what is written is what is read.
fn goes_on(last: &State) {
    assert!(["graceful shutdown", "restart requested", "killed"].contains(&last.ending()));
    let next = State::following(Some(last), 8888);
    assert!(next.generation >= last.generation);
    let served = next.served(Duration::from_secs(5));
    assert!(served >= last.uptime_ms);
    let again: State =
        serde_json::from_slice(&serde_json::to_vec(last).expect("JSON")).expect("the same");
    assert_eq!(again, *last);
}

/// A folder for one run; in memory where there is such a place, since each run syncs it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let (process, thread) = (std::process::id(), std::thread::current().id());
        let folder = base.join(format!("clawinit-fuzz-{process}-{thread:?}"));
        std::fs::create_dir_all(&folder).expect("make a folder");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
