//! The status page, which whoever makes one of that name can write.

use crate::input::Input;
use clawinit::census::{Census, Orphan, Zombies};
use clawinit::exporter::metrics::{self, Format};
use clawinit::exporter::source::Counted;
use clawinit::report::misleads;
use clawinit::status::read::{self, Snapshot, Unreadable};
use clawinit::status::{json, layout as at, text};
use std::time::Duration;

/// Reads what the bytes are as a page, and shows it to people and programs.
pub fn status_page(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    let now = Duration::from_nanos(input.number());
    let census = (kind & 2 != 0).then(|| census(&mut input));
    let page = match kind & 1 {
        0 => read::parse(input.0),
        _ => read::parse(&with_a_head(input.0)),
    };
    match page {
        Ok(page) => show(&page, census, now, usize::from(kind >> 2) * 2),
        Err(Unreadable::OtherLayout { major }) => assert_ne!(major, at::MAJOR),
        Err(Unreadable::NoPage) => {}
        Err(why) => panic!("{why:?} of bytes in memory"),
    }
}

/// The bytes as what is behind the head of a whole page.
fn with_a_head(bytes: &[u8]) -> Vec<u8> {
    let mut page = Vec::new();
    let layout = at::MAJOR << 48 | at::MINOR << 32 | (at::USED * 8) as u64;
    for word in [at::MAGIC_VALUE, 0, layout] {
        page.extend(word.to_ne_bytes());
    }
    page.extend(bytes);
    page
}

fn census(input: &mut Input) -> Census {
    let name = |input: &mut Input| String::from_utf8_lossy(input.some()).into_owned();
    Census {
        processes: input.number(),
        zombies: (0..input.byte() % 80)
            .map(|_| Zombies {
                parent: input.number() as i32,
                name: name(input),
                count: input.number() >> 32,
            })
            .collect(),
        orphans: (0..input.byte() % 80)
            .map(|_| Orphan {
                pid: input.number() as i32,
                name: name(input),
                age: input.time(),
                resident_bytes: input.number(),
            })
            .collect(),
        pids_current: input.flag().then(|| input.number()),
        pids_max: input.flag().then(|| input.number()),
    }
}

fn show(page: &Snapshot, census: Option<Census>, now: Duration, width: usize) {
    let shown = text::render(page, census.as_ref(), now, width);
    let width = width.max(40);
    assert!(shown.ends_with('\n') && shown.len() < 64 * 1024, "{} bytes", shown.len());
    for line in shown.lines() {
        assert!(line.chars().count() <= width, "{width}: {line:?}");
        assert!(!line.contains(misleads), "{line:?}");
    }
    let phase = text::phase(page, now);
    assert!(!phase.contains(char::is_control), "{phase:?}");
    let _ = (text::next(page, now), text::sigkill_follows(page));

    let object = json::render(page, census.as_ref(), now);
    assert!(!object.contains(char::is_control), "{object:?}");
    let read: serde_json::Value =
        serde_json::from_str(&object).unwrap_or_else(|error| panic!("{error}: {object}"));
    assert_eq!(read["pid"], page.pid);
    assert_eq!(read["generation"], page.generation as i64);

    let counted = Counted { census: census.ok_or_else(String::new), port_held: Some(true) };
    for format in [Format::Plain, Format::OpenMetrics] {
        scrape(&metrics::text(page, &counted, now, format), format);
    }
}

/// Each line is a comment or a sample whose value is a number.
pub fn scrape(text: &str, format: Format) {
    assert_eq!(text.ends_with("\n# EOF\n"), format == Format::OpenMetrics);
    for line in text.strip_suffix('\n').expect("a last line's end").split('\n') {
        if line.starts_with("# ") {
            continue;
        }
        assert!(line.starts_with("clawinit_"), "{line:?}");
        let name_end = line.find(['{', ' ']).expect("a name's end");
        let rest = match line[name_end..].strip_prefix('{') {
            Some(labels) => behind_labels(labels),
            None => &line[name_end..],
        };
        let value = rest.strip_prefix(' ').expect("a blank");
        assert!(value.bytes().all(|b| b.is_ascii_digit() || b == b'.'), "{line:?}");
    }
}

/// What stands behind `name="value",name="value"}`.
fn behind_labels(mut labels: &str) -> &str {
    loop {
        let (name, rest) = labels.split_once("=\"").expect("a label");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name:?}");
        let mut escaped = false;
        let end = rest.find(|letter| match letter {
            _ if escaped => {
                assert!(matches!(letter, '\\' | '"' | 'n'), "{rest:?}");
                escaped = false;
                false
            }
            '\\' => {
                escaped = true;
                false
            }
            letter => letter == '"',
        });
        labels = &rest[end.expect("the end of a label") + 1..];
        match labels.strip_prefix(',') {
            Some(next) => labels = next,
            None => return labels.strip_prefix('}').expect("the end of the labels"),
        }
    }
}
