//! What the kernel says in `/proc`, in the control group's files and by netlink; names in it are
//! chosen by whoever runs a process.

use super::status_page::scrape;
use clawinit::census;
use clawinit::exporter::metrics::{self, Format};
use clawinit::exporter::source::Counted;
use clawinit::kernel::cgroup;
use clawinit::kernel::descendants::{self, Pids};
use clawinit::kernel::port::{self, Answer};
use clawinit::status::read::Snapshot;
use clawinit::status::{json, layout as at, read, text};
use clawinit::verbs::find;
use std::time::Duration;

/// Reads the bytes as each of them.
pub fn proc(data: &[u8]) {
    children(data);
    stats(data);
    let pid = descendants::last_pid_in(data);
    assert!(pid == 0 || std::str::from_utf8(data).is_ok());
    answer(data);
    if let Ok(text) = std::str::from_utf8(data) {
        files(text);
    }
}

/// A list of children is read alike in whatever pieces it comes.
fn children(data: &[u8]) {
    let list = |cut: usize| {
        let (mut pids, mut found) = (Pids::default(), Vec::new());
        for piece in [&data[..cut], &data[cut..]] {
            pids.take(piece, |pid| found.push(pid));
        }
        found
    };
    let whole = list(0);
    assert!(whole.iter().all(|pid| *pid > 0), "{whole:?}");
    for cut in 1..data.len().min(48) {
        assert_eq!(list(cut), whole, "cut at {cut}");
    }
    // The same once more, the slow way, for lists that the kernel could have written.
    if data.iter().all(|byte| byte.is_ascii_digit() || *byte == b' ') && data.ends_with(b" ") {
        let text = String::from_utf8_lossy(data);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if let Ok(numbers) = words.iter().map(|word| word.parse()).collect::<Result<Vec<i32>, _>>()
        {
            let numbers: Vec<i32> = numbers.into_iter().filter(|pid| *pid > 0).collect();
            assert_eq!(whole, numbers);
        }
    }
}

/// Lines of `/proc/PID/stat`, one behind the other, and what a census makes of them.
fn stats(data: &[u8]) {
    for place in 4..=52 {
        let _ = descendants::field_in(data, place);
    }
    let clawinit = 1;
    let now = Duration::from_secs(1_000);
    let lines = || data.split(|byte| *byte == 0xff);
    let census = census::of_stats(lines(), clawinit, [Some(2), None, None], now);
    let zombies: u64 = census.zombies.iter().map(|parent| parent.count).sum();
    let people = zombies + census.orphans.len() as u64;
    assert!(people <= census.processes, "{census:?}");
    assert!(census.orphans.is_sorted_by(|a, b| a.age >= b.age), "{census:?}");
    assert!(census.orphans.iter().all(|orphan| orphan.pid != 2));
    if census.processes == 0 {
        return;
    }
    let page = an_empty_page();
    let shown = text::render(&page, Some(&census), now, 80);
    assert!(!shown.lines().any(|line| line.contains(char::is_control)), "{shown:?}");
    let object = json::render(&page, Some(&census), now);
    assert!(serde_json::from_str::<serde_json::Value>(&object).is_ok(), "{object}");
    let counted = Counted { census: Ok(census), port_held: None };
    for format in [Format::Plain, Format::OpenMetrics] {
        scrape(&metrics::text(&page, &counted, now, format), format);
    }
}

fn an_empty_page() -> Snapshot {
    let mut words = vec![0u64; at::USED];
    words[at::MAGIC.at] = at::MAGIC_VALUE;
    words[at::LAYOUT.at] = at::MAJOR << 48 | (at::USED * 8) as u64;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    read::parse(&bytes).expect("a page")
}

/// An answer of sock_diag(7).
fn answer(data: &[u8]) {
    if let Answer::Listener(inode) = port::read_answer(data) {
        assert!(data.len() >= 88 && inode <= u64::from(u32::MAX), "{} bytes", data.len());
    }
}

fn files(text: &str) {
    let files = ["memory.events", "memory.oom_control"];
    for path in cgroup::paths(text, "memory", files) {
        assert!(path.starts_with("/sys/fs/cgroup"), "{path:?}");
        assert!(files.iter().any(|file| path.ends_with(file)), "{path:?}");
    }
    let _ = cgroup::oom_kills_in(text);
    let _ = port::find_listener(text, 8888);
    let _ = find::numbers_in(text);
    let _ = find::owner_in(text);
}
