//! Who is there: processes, zombies that nobody waits for, orphans that clawinit adopted. Counted
//! by the exporter and by `clawinit status`, never by PID 1.

use crate::kernel::{cgroup, clock, descendants, process};
use std::fs::{self, File};
use std::io::{self, Read};
use std::time::Duration;

/// What `/proc` and the control group say at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Processes in the PID namespace, zombies among them.
    pub processes: u64,
    /// Zombies, by the living parent that does not wait for them; most first. Those of clawinit
    /// itself are not among them: it reaps them in this moment.
    pub zombies: Vec<Zombies>,
    /// Processes that lost their parent and are clawinit's children now, apart from the child
    /// and the exporter; oldest first.
    pub orphans: Vec<Orphan>,
    /// `pids.current` of the control group; `None` where that cannot be read.
    pub pids_current: Option<u64>,
    /// `pids.max`; `None`: no limit, or it cannot be read.
    pub pids_max: Option<u64>,
}

/// A parent's zombies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zombies {
    /// The parent's pid; 0: it is outside the PID namespace.
    pub parent: i32,
    /// Its name (`/proc/PID/comm`).
    pub name: String,
    /// How many of its children are zombies.
    pub count: u64,
}

/// An adopted orphan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its pid.
    pub pid: i32,
    /// Its name.
    pub name: String,
    /// How long it has lived.
    pub age: Duration,
    /// Its resident memory, in bytes.
    pub resident_bytes: u64,
}

/// Counts, as seen from `/proc`. `clawinit`: its pid; `own`: those of the child and of its own
/// helpers, which are no orphans. Errors: there is no
/// `/proc` to read, or it counts pids as clawinit does not, or it hides other users' processes.
pub fn take(clawinit: i32, own: [Option<i32>; 3]) -> io::Result<Census> {
    if !descendants::proc_is_ours() {
        return Err(io::Error::other("/proc is not there, or is that of another PID namespace"));
    }
    count_as_we_do(clawinit)?;
    // One small record for each process, so that ten thousand take less than a megabyte. The
    // kernel lists them by pid.
    let mut seen: Vec<Process> = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that has gone since the list was read is not there.
        seen.extend(look_at(pid));
    }
    let now = clock::since_boot();
    let groups = fs::read_to_string(format!("/proc/{clawinit}/cgroup")).unwrap_or_default();
    Ok(Census {
        pids_current: pids(&groups, "pids.current"),
        pids_max: pids(&groups, "pids.max"),
        ..of(&seen, clawinit, own, now)
    })
}

/// What these processes are, without the control group. `seen`: by pid.
fn of(seen: &[Process], clawinit: i32, own: [Option<i32>; 3], now: Duration) -> Census {
    Census {
        processes: seen.len() as u64,
        zombies: zombies(seen, clawinit),
        orphans: orphans(seen, clawinit, own, now),
        pids_current: None,
        pids_max: None,
    }
}

/// The same of the bytes of their `/proc/PID/stat`; what makes no sense is no process.
pub fn of_stats<'a>(
    stats: impl Iterator<Item = &'a [u8]>,
    clawinit: i32,
    own: [Option<i32>; 3],
    now: Duration,
) -> Census {
    let mut seen: Vec<Process> = stats.filter_map(parse).collect();
    seen.sort_unstable_by_key(|process| process.pid);
    of(&seen, clawinit, own, now)
}

/// clawinit's pid is one that it has in our PID namespace, and we may see it.
fn count_as_we_do(clawinit: i32) -> io::Result<()> {
    let status = fs::read_to_string(format!("/proc/{clawinit}/status")).map_err(|error| {
        let kind = error.kind();
        io::Error::new(kind, format!("/proc does not show clawinit, pid {clawinit}: {error}"))
    })?;
    // "NSpid: 4711 1": as we see it, then as it sees itself. Linux before 4.1 has no such line.
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    match pids.split_ascii_whitespace().count() {
        0 | 1 => Ok(()),
        _ => Err(io::Error::other(format!("pid {clawinit} is in another PID namespace"))),
    }
}

/// A process, by the fields of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    zombie: bool,
    /// In ticks since boot.
    born: u64,
    resident_pages: u64,
    name: [u8; NAME_BYTES],
    name_length: u8,
}

/// The kernel's names have 15 bytes; its own threads' can be longer.
const NAME_BYTES: usize = 32;

impl Process {
    fn name(&self) -> String {
        String::from_utf8_lossy(&self.name[..usize::from(self.name_length)]).into_owned()
    }
}

fn look_at(pid: i32) -> Option<Process> {
    // 52 numbers of at most 20 digits, and the name.
    let mut buffer = [0; 1280];
    let mut length = 0;
    let mut stat = File::open(format!("/proc/{pid}/stat")).ok()?;
    loop {
        match stat.read(&mut buffer[length..]) {
            Ok(0) => return parse(&buffer[..length]),
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None, // gone in the middle of it
        }
    }
}

/// "7 (a name) with) blanks\n) Z 1 7 …": the name is what is between the first parenthesis and
/// the last one, whatever is in it.
fn parse(stat: &[u8]) -> Option<Process> {
    let (open, close) =
        (stat.iter().position(|b| *b == b'(')?, stat.iter().rposition(|b| *b == b')')?);
    let name = stat.get(open + 1..close)?;
    let pid = std::str::from_utf8(&stat[..open]).ok()?.trim().parse().ok()?;
    let mut fields = std::str::from_utf8(&stat[close + 1..]).ok()?.split_ascii_whitespace();
    let mut field = |skipped: usize| fields.nth(skipped);
    let state = field(0)?; // field 3 of the line
    let parent = field(0)?.parse().ok()?;
    let threads: u64 = field(20 - 5)?.parse().ok()?;
    let born = field(22 - 21)?.parse().ok()?;
    let resident: i64 = field(24 - 23)?.parse().ok()?;
    let length = name.len().min(NAME_BYTES);
    let mut kept = [0; NAME_BYTES];
    kept[..length].copy_from_slice(&name[..length]);
    Some(Process {
        pid,
        parent,
        // One whose first thread has ended while others go on looks the same, but lives.
        zombie: matches!(state, "Z" | "X") && threads <= 1,
        born,
        resident_pages: u64::try_from(resident).unwrap_or(0),
        name: kept,
        name_length: length as u8,
    })
}

/// `seen`: by pid.
fn zombies(seen: &[Process], clawinit: i32) -> Vec<Zombies> {
    let place = |pid: i32| seen.binary_search_by_key(&pid, |process| process.pid).ok();
    let mut counts = vec![0u64; seen.len()];
    let mut outside = 0; // a process that `docker exec` started has a parent without a pid here
    for zombie in seen.iter().filter(|process| process.zombie && process.parent != clawinit) {
        match place(zombie.parent) {
            Some(place) => counts[place] += 1,
            None if zombie.parent == 0 => outside += 1,
            None => {} // the parent has gone since, and this one with it
        }
    }
    let most_first = |place: usize| u64::MAX - counts[place];
    let parents = (0..seen.len()).filter(|place| counts[*place] > 0);
    let mut zombies: Vec<Zombies> = by(parents, most_first)
        .map(|place| Zombies {
            parent: seen[place].pid,
            name: seen[place].name(),
            count: counts[place],
        })
        .collect();
    if outside > 0 {
        let name = "outside the container".to_owned();
        zombies.push(Zombies { parent: 0, name, count: outside });
    }
    zombies
}

fn orphans(seen: &[Process], clawinit: i32, own: [Option<i32>; 3], now: Duration) -> Vec<Orphan> {
    let is_orphan = |place: &usize| {
        let process = &seen[*place];
        process.parent == clawinit && !process.zombie && !own.contains(&Some(process.pid))
    };
    let page = process::page_bytes();
    let tick = descendants::TICK.as_millis() as u64;
    by((0..seen.len()).filter(is_orphan), |place| seen[place].born)
        .map(|place| {
            let process = &seen[place];
            let born = Duration::from_millis(tick.saturating_mul(process.born));
            Orphan {
                pid: process.pid,
                name: process.name(),
                age: now.saturating_sub(born),
                resident_bytes: process.resident_pages.saturating_mul(page),
            }
        })
        .collect()
}

/// Places by a key, then by themselves. All that is sorted here is sorted by this: each type that
/// is sorted adds its own four kilobytes to the program.
fn by(
    places: impl Iterator<Item = usize>,
    key: impl Fn(usize) -> u64,
) -> impl Iterator<Item = usize> {
    let mut keys: Vec<(u64, usize)> = places.map(|place| (key(place), place)).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, place)| place)
}

/// A number of the pids controller, given clawinit's `/proc/PID/cgroup`; `max` is none.
fn pids(groups: &str, file: &'static str) -> Option<u64> {
    // Seen from another control group namespace: it has no path here.
    if groups.contains(":/..") {
        return None;
    }
    // Each place is followed by the one where a mount begins at the group of whoever looks: that is
    // clawinit's only where both are in the same.
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let near = if groups == own { 1 } else { 2 };
    let mut places = cgroup::paths(groups, "pids", [file; 2]).step_by(near);
    places.find_map(|place| fs::read_to_string(place).ok())?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of `/proc/PID/stat`; what is not given is 0.
    fn stat(pid: i32, name: &str, state: char, parent: i32, threads: u32, born: u64) -> String {
        format!(
            "{pid} ({name}) {state} {parent} 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 {threads} 0 \
             {born} 1626112 345 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n"
        )
    }

    fn process(pid: i32, name: &str, state: char, parent: i32, born: u64) -> Process {
        parse(stat(pid, name, state, parent, 1, born).as_bytes()).expect("a line of stat")
    }

    #[test]
    fn a_name_may_hold_anything() {
        for name in ["sh", "a b", "a) Z 1 (b", ")", "((", "", "x\ny", "é"] {
            let seen = process(4711, name, 'S', 1, 99);
            assert_eq!((seen.pid, seen.parent, seen.zombie), (4711, 1, false), "{name:?}");
            assert_eq!((seen.born, seen.resident_pages), (99, 345), "{name:?}");
            assert_eq!(seen.name(), name);
        }
        let mut line = stat(7, "?", 'S', 1, 1, 1).into_bytes();
        let place = line.iter().position(|b| *b == b'?').unwrap();
        line[place] = 0xff;
        assert_eq!(parse(&line).unwrap().name(), "\u{fffd}");
    }

    #[test]
    fn a_line_that_makes_no_sense_is_no_process() {
        let whole = stat(7, "a b", 'S', 1, 1, 1);
        for line in ["", ")", "(", ")(", "7 () ", "x (a) S 1", "7 (a) S"] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
        let end_of_field_24 = whole.find("345").unwrap();
        for end in 0..end_of_field_24 {
            assert_eq!(parse(&whole.as_bytes()[..end]), None, "{:?}", &whole[..end]);
        }
    }

    #[test]
    fn a_dead_first_thread_with_others_alive_is_no_zombie() {
        for (threads, zombie) in [(1, true), (2, false)] {
            let seen = parse(stat(9, "t", 'Z', 8, threads, 1).as_bytes()).unwrap();
            assert_eq!(seen.zombie, zombie, "{threads} threads");
        }
    }

    #[test]
    fn zombies_are_counted_by_the_parent_that_lets_them_lie() {
        let seen = [
            process(1, "clawinit", 'S', 0, 1),
            process(10, "few", 'S', 1, 1),
            process(20, "many", 'S', 1, 1),
            process(21, "x", 'Z', 20, 1),
            process(22, "x", 'Z', 20, 1),
            process(23, "reaped in a moment", 'Z', 1, 1),
            process(24, "x", 'Z', 0, 1),
            process(25, "its parent has gone", 'Z', 7, 1),
            process(31, "x", 'Z', 10, 1),
        ];
        let one = |parent, name: &str, count| Zombies { parent, name: name.to_owned(), count };
        let expected = [one(20, "many", 2), one(10, "few", 1), one(0, "outside the container", 1)];
        assert_eq!(zombies(&seen, 1), expected);
    }

    #[test]
    fn orphans_are_clawinits_children_but_its_own_two_and_the_dead() {
        let seen = [
            process(1, "clawinit", 'S', 0, 1),
            process(2, "child", 'S', 1, 2),
            process(3, "exporter", 'S', 1, 3),
            process(4, "young", 'S', 1, 900),
            process(5, "dead", 'Z', 1, 4),
            process(6, "grandchild", 'S', 2, 5),
            process(7, "old", 'D', 1, 400),
        ];
        let now = Duration::from_secs(10);
        let found = orphans(&seen, 1, [Some(2), Some(3), None], now);
        let found: Vec<_> = found.iter().map(|o| (o.pid, o.name.as_str(), o.age)).collect();
        let seconds = Duration::from_secs;
        assert_eq!(found, [(7, "old", seconds(6)), (4, "young", seconds(1))]);
    }

    /// Uptimes of years fit, and a clock that disagrees gives no age below zero.
    #[test]
    fn ages_do_not_overflow() {
        for born in [u64::MAX, 1 << 40, 4_294_967_296] {
            let seen = [process(4, "x", 'S', 1, born)];
            assert_eq!(orphans(&seen, 1, [None; 3], Duration::from_secs(1))[0].age, Duration::ZERO);
        }
    }

    #[test]
    fn the_census_of_this_machine_counts_this_process() {
        let own = std::process::id() as i32;
        let census = take(own, [None; 3]).expect("a census");
        assert!(census.processes >= 1, "{census:?}");
        let gone = take(i32::MAX, [None; 3]).expect_err("no such pid");
        assert!(gone.to_string().contains("does not show"), "{gone}");
    }
}
