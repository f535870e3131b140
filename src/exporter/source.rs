//! Where the answers come from: the status page, and a census that is taken anew at most once a
//! second, so that whoever asks more often costs less.

use crate::census::{self, Census};
use crate::config::Level;
use crate::kernel::{clock, port};
use crate::report::{Log, Value};
use crate::status::read::{self, Snapshot, Unreadable};
use std::fs::File;
use std::time::Duration;

/// How long a census is good for.
const FRESH: Duration = Duration::from_secs(1);

/// And how many times as long as it took of a CPU, so that with very many processes, too, this
/// takes no more than a twentieth of one.
const FRESH_FACTOR: u32 = 20;

/// How often a census is taken again that a restart ran into: it would have taken the new child
/// for an orphan.
const TRIES: usize = 3;

/// What is counted beside the page.
pub struct Counted {
    /// The census, or why there is none.
    pub census: Result<Census, String>,
    /// Whether somebody listens on the port of `--port`; `None`: there is no such option.
    pub port_held: Option<bool>,
}

/// The page, and what was counted last.
pub struct Source {
    /// Where it is told what cannot be had.
    pub log: Log,
    page: File,
    counted: Counted,
    /// Until when that is good, on the monotonic clock.
    good_until: Duration,
    /// It has been said that there is no census.
    told: bool,
}

impl Source {
    /// Nothing is read yet.
    pub fn new(page: File, log: Log) -> Source {
        let counted = Counted { census: Err(String::new()), port_held: None };
        Source { log, page, counted, good_until: Duration::ZERO, told: false }
    }

    /// What the page says now. Errors: why it says nothing, for people.
    pub fn page(&self) -> Result<Snapshot, String> {
        read::read(&self.page).map_err(|unreadable| match unreadable {
            Unreadable::Io(error) => format!("the status page cannot be read: {error}"),
            Unreadable::NoPage => "this is no status page".to_owned(),
            Unreadable::OtherLayout { major } => {
                format!("the status page has layout {major}, of another version of clawinit")
            }
            Unreadable::Busy => {
                "the status page stays half written: is clawinit stopped?".to_owned()
            }
        })
    }

    /// The page, what was counted at most a second ago, and the time. Errors: as above.
    pub fn look(&mut self) -> Result<(Snapshot, &Counted, Duration), String> {
        let mut page = self.page()?;
        if clock::monotonic() >= self.good_until {
            let before = clock::cpu_time();
            for _ in 0..TRIES {
                self.counted = count(&page);
                let counted_with = page.child;
                page = self.page()?;
                if page.child == counted_with {
                    break;
                }
            }
            let took = clock::cpu_time().saturating_sub(before);
            self.good_until = clock::monotonic() + FRESH.max(took * FRESH_FACTOR);
            if let (false, Err(why)) = (self.told, &self.counted.census) {
                self.told = true;
                let said = format_args!("the exporter cannot count processes: {why}");
                self.log.line(
                    Level::Warn,
                    "exporter-no-census",
                    said,
                    &[("error", Value::Text(why))],
                );
            }
        }
        Ok((page, &self.counted, clock::monotonic()))
    }
}

fn count(page: &Snapshot) -> Counted {
    // The page may not name us yet: PID 1 writes it when it has started us.
    let own = std::process::id() as i32;
    Counted {
        census: census::take(page.pid, [page.child, Some(own), page.prober])
            .map_err(|error| error.to_string()),
        port_held: page.port.map(|port| port::listener(port).is_some()),
    }
}
