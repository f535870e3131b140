//! What the kernel counts for our control group: cgroups(7), version 1 and 2.

use super::descriptors::File;
use std::ffi::CString;

/// Where the kernel's OOM killer counts its victims.
#[derive(Default)]
pub struct Memory {
    place: Option<CString>,
    looked: bool,
}

impl Memory {
    /// How many processes the kernel has killed in our control group for want of memory; `None`
    /// where that cannot be read.
    pub fn oom_kills(&mut self) -> Option<u64> {
        if !self.looked {
            self.looked = true;
            self.place = places().into_iter().find(|place| count(place).is_some());
        }
        self.place.as_ref().and_then(count)
    }
}

/// Files that may count it, the most telling first.
fn places() -> Vec<CString> {
    let mut groups = [0; 4096];
    let groups = read(c"/proc/self/cgroup", &mut groups);
    let paths = paths(groups, "memory", ["memory.events", "memory.oom_control"]);
    paths.filter_map(|path| CString::new(path).ok()).collect()
}

/// Where a file of a control group may be, given the group's `/proc/PID/cgroup`: `files` has its
/// name in version 2, then in version 1. In a container that may name a path that only the host
/// has; the mount then begins at our own group.
pub fn paths(
    groups: &str,
    controller: &str,
    files: [&'static str; 2],
) -> impl Iterator<Item = String> {
    let path = |wanted: &str| {
        // "4:memory:/docker/12ab" in version 1, "0::/docker/12ab" in version 2.
        let found = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == wanted).then_some(path)
        });
        found.unwrap_or_default().trim_end_matches('/').to_owned()
    };
    let of_version_1 = format!("/sys/fs/cgroup/{controller}");
    let places = [
        ("/sys/fs/cgroup".to_owned(), path(""), files[0]),
        ("/sys/fs/cgroup/unified".to_owned(), path(""), files[0]),
        (of_version_1, path(controller), files[1]),
    ];
    places
        .into_iter()
        .flat_map(|(root, path, file)| [format!("{root}{path}/{file}"), format!("{root}/{file}")])
}

/// The line `oom_kill N` of either version's file.
fn count(place: &CString) -> Option<u64> {
    let mut buffer = [0; 512];
    oom_kills_in(read(place, &mut buffer))
}

/// The same in the text of that file.
pub fn oom_kills_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

fn read<'a>(path: &std::ffi::CStr, buffer: &'a mut [u8]) -> &'a str {
    let got = File::open(path, libc::O_RDONLY).and_then(|file| file.read(buffer)).unwrap_or(0);
    std::str::from_utf8(&buffer[..got]).unwrap_or_default()
}
