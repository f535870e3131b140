//! The helper that asks whether the child is ready (`--ready-url`), for children that do not say
//! so themselves. A process of its own: what a slow answer takes, PID 1 does not wait for.

use crate::config::{Level, LogFormat};
use crate::kernel::entry::Start;
use crate::kernel::{descriptors, notify, process, signals};
use crate::report::Log;
use crate::signal::Signal;
use crate::verbs::health::Probe;
use std::ffi::CStr;
use std::time::Duration;

/// What `ps` shows of it, and by what the program knows what it is to be.
pub const NAME: &CStr = c"clawinit-ready";

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// From one question to the next: doubled each time, since a program that is not there in the
/// first moment may take long.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The program. Its arguments: the URL, a text and a `PATH=VALUE` that the answer has to have;
/// empty: none. It goes on until PID 1 ends it.
#[inline(never)]
pub fn main(start: &Start) -> u8 {
    signals::block_only(&[Signal::PIPE]);
    process::set_name(NAME);
    descriptors::let_go_of_input_and_output();
    let word = |place: usize| start.args.get(place).and_then(|word| word.to_str().ok());
    let superior = std::env::var("NOTIFY_SOCKET");
    let probe = probe(word(1).unwrap_or_default(), word(2), word(3));
    let (Ok(probe), Ok(superior)) = (probe, superior) else {
        let said = format_args!("clawinit-ready is not for people: --ready-url starts it");
        Log::new("clawinit", Level::Error, LogFormat::Text).line(Level::Error, "verb", said, &[]);
        return 2;
    };
    let mut pause = PAUSE;
    let mut told = String::new();
    while let Err(instead) = probe.ask() {
        // For the line that PID 1 writes when the time is up.
        if instead != told {
            let _ = notify::send(&superior, &format!("STATUS=--ready-url: {instead}"));
            told = instead;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
    // Sent until it is heard: whoever floods the socket could have filled it.
    loop {
        let _ = notify::send(&superior, "READY=1");
        std::thread::sleep(PAUSE_MAX);
    }
}

/// What is asked, and what has to come. Errors: what is wrong with it, and what to write.
pub fn probe(url: &str, body: Option<&str>, json: Option<&str>) -> Result<Probe, String> {
    let mut probe = Probe::new(url, TIMEOUT)?;
    if let Some(text) = body.filter(|text| !text.is_empty()) {
        probe.body.push(text.to_owned());
    }
    if let Some(wanted) = json.filter(|wanted| !wanted.is_empty()) {
        probe.expect_json(wanted)?;
    }
    Ok(probe)
}
