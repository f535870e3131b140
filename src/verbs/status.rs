//! `clawinit status`: what it is doing, why it stopped last time, and who asked.

use super::args::{Opt, Usage};
use super::find::{self, Found};
use super::{Failure, NOT_RUNNING, print, screen};
use crate::census::{self, Census};
use crate::kernel::clock;
use crate::kernel::entry::Start;
use crate::status::read::Snapshot;
use crate::status::{Phase, json, text};
use std::ffi::CStr;
use std::fmt::Write;
use std::time::Duration;

const READY: &str = "ready";

const OPTIONS: Usage = Usage {
    verb: "status",
    operand: "",
    about: "Shows what the clawinit of this container is doing, how its child ended last\n\
            time, and who asked.",
    options: &[
        Opt { name: "json", value: "", help: "one object, as docs/status.schema.json has it" },
        Opt {
            name: "watch",
            value: "",
            help: "show it over and over: each second on a terminal,\n\
                   elsewhere when something happened; ends with 3 when\n\
                   clawinit ends",
        },
        Opt {
            name: READY,
            value: "",
            help: "leave with 3 also when the child is not ready; where\n\
                   nobody says whether it is, one that runs will do",
        },
        Opt { name: "pid", value: "N", help: "the clawinit of this pid" },
    ],
    codes: "0 a child runs, and with --ready is ready; 3 not, or there is no\n\
            clawinit; 1 no answer, 2 wrong usage, 4 not permitted, 5 --pid is no\n\
            clawinit.",
};

/// How often the page is looked at: often while its end may come, which takes this process along.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_OFTEN: Duration = Duration::from_millis(5);

/// How often a terminal is drawn anew when nothing happens.
const REDRAW: Duration = Duration::from_secs(1);

/// The verb.
pub fn run(start: &Start, words: &[&'static CStr]) -> u8 {
    let given = match OPTIONS.read(words) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let pid = match given.pid("pid") {
        Ok(pid) => pid,
        Err(line) => return OPTIONS.refuse(&line),
    };
    let as_json = given.has("json");
    let shown = find::find(start, pid).and_then(|found| {
        if given.has("watch") {
            watch(&found, as_json)
        } else {
            once(&found, as_json, given.has(READY))
        }
    });
    shown.unwrap_or_else(|failure| failure.say("status"))
}

fn once(found: &Found, as_json: bool, wants_ready: bool) -> Result<u8, Failure> {
    let page = found.read()?;
    let (now, census) = (clock::monotonic(), count(found, &page));
    print(&rendered(&page, census.as_ref(), now, as_json, text::WIDTH))?;
    let well = if wants_ready { page.serves() } else { page.runs() };
    Ok(if well { 0 } else { NOT_RUNNING })
}

fn rendered(
    page: &Snapshot,
    census: Option<&Census>,
    now: Duration,
    as_json: bool,
    width: usize,
) -> String {
    if as_json {
        return json::render(page, census, now) + "\n";
    }
    text::render(page, census, now, width)
}

/// Pids of another namespace mean other processes here.
fn count(found: &Found, page: &Snapshot) -> Option<Census> {
    if !found.same_namespace {
        return None;
    }
    census::take(found.pid, [page.child, page.exporter, page.prober]).ok()
}

/// What has to change for a reader of lines to be told again.
fn moment(page: &Snapshot) -> impl PartialEq + use<> {
    let those = (page.requests, page.leftovers, page.escalations, page.exit_code);
    let own_word = (page.readiness, page.fault, page.extended());
    (page.phase, page.child, page.generation, page.restarts, page.last, those, own_word)
}

fn watch(found: &Found, as_json: bool) -> Result<u8, Failure> {
    let mut seen = None;
    let mut drawn_at = Duration::ZERO;
    let mut lines = 0;
    loop {
        let lives = found.lives();
        let page = found.read()?;
        let now = clock::monotonic();
        let moment = moment(&page);
        let changed = seen.as_ref() != Some(&moment);
        let size = if as_json { None } else { screen() };
        if changed || size.is_some() && now.saturating_sub(drawn_at) >= REDRAW {
            let census = count(found, &page);
            let width = size.map_or(text::WIDTH, |(columns, _)| columns.min(text::WIDTH));
            let text = rendered(&page, census.as_ref(), now, as_json, width);
            match size {
                Some((_, rows)) => lines = draw(&text, rows, lines)?,
                None if as_json || seen.is_none() => print(&text)?,
                None => print(&format!("\n{text}"))?,
            }
            (seen, drawn_at) = (Some(moment), now);
        }
        if page.exit_code.is_some() || !lives {
            if !as_json {
                print(&match page.exit_code {
                    Some(code) => format!("clawinit left with {code}\n"),
                    None => "clawinit is gone, and left no exit code on its page\n".to_owned(),
                })?;
            }
            return Ok(NOT_RUNNING);
        }
        let calm = matches!(page.phase, Some(Phase::Running | Phase::Backoff));
        std::thread::sleep(if calm { LOOK } else { LOOK_OFTEN });
    }
}

/// Draws over the `before` lines of the time before, and returns how many there are now.
fn draw(text: &str, rows: usize, before: usize) -> Result<usize, Failure> {
    let mut screen = String::from("\r");
    if before > 0 {
        let _ = write!(screen, "\x1b[{before}A");
    }
    let mut count = 0;
    // The cursor stands in the line below: more than that would scroll away what is drawn over.
    for line in text.lines().take(rows.saturating_sub(1)) {
        let _ = writeln!(screen, "{line}\x1b[K");
        count += 1;
    }
    screen.push_str("\x1b[J");
    print(&screen)?;
    Ok(count)
}
