//! `clawinit check`: what a command line would do, without doing it.

mod command;
mod warnings;

use super::{USAGE, fail};
use crate::cli::{self, Origin, Origins, Request};
use crate::config::{
    CodeSet, Config, ExitWhen, KillMode, LogFormat, RestartMode, RestartStyle, Subreaper,
    TerminationLog,
};
use crate::kernel::descriptors;
use crate::kernel::entry::Start;
use crate::report::{self, Value, Words, misleads};
use crate::signal::{self, Signal, SignalSet};
use crate::status::json::Json;
use std::ffi::CStr;
use std::fmt::Write;
use std::time::Duration;

const HELP: &str = "\
usage: clawinit check [--json] [OPTIONS] [--] COMMAND [ARG]...

Starts nothing. Prints the settings that COMMAND would run with and where each
comes from, finds COMMAND on PATH, and warns of what will hurt. OPTIONS are
those of clawinit --help, and its variables count too. Asks as the user and in
the folder that it is run in itself.

  --json                   for programs, in one line; the first word behind
                           check
  --help                   print this

Exit code: 0 COMMAND can be run, whatever the warnings; 1 it cannot; 2 wrong
usage.
";

/// The command cannot be run.
const CANNOT: u8 = 1;

/// An option, what it is set to in the words of the command line, and who says so.
struct Setting {
    name: &'static str,
    /// `None`: there is nothing for which it would do something.
    value: Option<String>,
    from: String,
}

/// What there is to tell.
struct Findings {
    command: String,
    /// Where it was found, or what is wrong with it.
    found: Result<String, String>,
    settings: Vec<Setting>,
    warnings: Vec<String>,
    notes: Vec<String>,
}

/// The verb.
pub fn run(start: &Start, words: &[&'static CStr]) -> u8 {
    let (json, words) = match words {
        [first, rest @ ..] if first.to_bytes() == b"--json" => (true, rest),
        words => (false, words),
    };
    if let [first, ..] = words
        && matches!(first.to_bytes(), b"--help" | b"-h")
    {
        return print(HELP, 0);
    }
    let mut args = vec![start.args[0]];
    args.extend(words);
    let mut origins = cli::NO_ORIGINS;
    match cli::read_words(start, &args, &mut origins) {
        Ok(Request::Run { config, command, warnings }) => {
            let command = args.split_off(command);
            let findings = find(&config, &origins, &command, warnings);
            let text = if json { findings.json() } else { findings.text() };
            print(&text, if findings.found.is_ok() { 0 } else { CANNOT })
        }
        Ok(Request::Print(text)) => print(&text, 0),
        Err(refused) => {
            let line =
                refused.line.replace("write clawinit [OPTIONS]", "write clawinit check [OPTIONS]");
            fail("check", USAGE, format_args!("{line}"))
        }
    }
}

/// Prints what was asked for; where that cannot be done, nobody has been told.
fn print(text: &str, code: u8) -> u8 {
    match descriptors::print(text.as_bytes()) {
        Ok(()) => code,
        Err(errno) => fail("check", CANNOT, format_args!("standard output: {errno}")),
    }
}

fn find(
    config: &Config,
    origins: &Origins,
    command: &[&'static CStr],
    mut warnings: Vec<String>,
) -> Findings {
    let settings = cli::names()
        .zip(origins)
        .map(|(name, origin)| Setting {
            name,
            value: value(config, name),
            from: from(config, origins, name, *origin),
        })
        .collect();
    let found = command::find(command[0]);
    let given = |name: &str| {
        cli::names().zip(origins).any(|(own, from)| own == name && *from != Origin::Default)
    };
    let script = found.as_ref().ok().and_then(|program| program.script.as_deref());
    let mut notes = Vec::new();
    warnings::warn(config, given, command, script, &mut warnings, &mut notes);
    let words: Vec<String> =
        command.iter().map(|word| Words(word.to_bytes()).to_string()).collect();
    Findings {
        command: words.join(" "),
        found: found.map(|program| program.path),
        settings,
        warnings,
        notes,
    }
}

fn from(config: &Config, origins: &Origins, name: &str, origin: Origin) -> String {
    let follows = |other: &str| {
        cli::names().zip(origins).any(|(own, from)| own == other && *from != Origin::Default)
    };
    match (origin, name) {
        (Origin::Word, _) => "command line".to_owned(),
        (Origin::Variable, _) => format!("CLAWINIT_{}", cli::variable_of(name)),
        (Origin::Tini, "subreaper") => "TINI_SUBREAPER".to_owned(),
        (Origin::Tini, "kill-mode") => "TINI_KILL_PROCESS_GROUP".to_owned(),
        (Origin::Tini, _) => "TINI_VERBOSITY".to_owned(),
        (Origin::Default, "restart-grace") if follows("stop-grace") => "as --stop-grace".to_owned(),
        (Origin::Default, "restart-delay-max")
            if config.restart_delay_max == config.restart_delay && follows("restart-delay") =>
        {
            "as --restart-delay".to_owned()
        }
        (Origin::Default, _) => "default".to_owned(),
    }
}

/// A setting as somebody would write it on the command line; `None` where there is nothing for
/// which it would do something.
pub fn value(config: &Config, name: &str) -> Option<String> {
    let text = |word: &str| Some(word.to_owned());
    match name {
        "stop-on" => Some(signals(config.stop_on)),
        "stop-signal" => config.stop_signal.map(signal),
        "stop-grace" => Some(duration(config.stop_grace)),
        "stop-delay" => Some(duration(config.stop_delay)),
        "restart-on" => Some(signals(config.restart_on)),
        "restart-signal" => config.restart_signal.map(signal),
        "restart-grace" => Some(duration(config.restart_grace)),
        "restart-style" => text(match config.restart_style {
            RestartStyle::Replace => "replace",
            RestartStyle::InPlace => "in-place",
        }),
        "stop-grace-max" => config.stop_grace_max.map(duration),
        "restart-grace-max" => config.restart_grace_max.map(duration),
        "sweep-grace" => Some(duration(config.sweep_grace)),
        // The first one is the one that the child is told.
        "restart-code" => Some(codes(&config.restart_codes, config.restart_code)),
        "no-restart-code" => Some(codes(&config.no_restart_codes, None)),
        "restart" => text(match config.restart {
            RestartMode::Never => "never",
            RestartMode::Request => "request",
            RestartMode::OnFailure => "on-failure",
            RestartMode::Always => "always",
        }),
        "restart-delay" => Some(duration(config.restart_delay)),
        "restart-delay-max" => Some(duration(config.restart_delay_max)),
        "restart-limit" => {
            let (count, window) = config.restart_limit;
            Some(format!("{count}/{}", duration(window)))
        }
        "stable-after" => Some(duration(config.stable_after)),
        "listen" => config.listen.map(words),
        "listen-env" => config.listen_env.map(words),
        "notify" => text(yes_or_no(config.notify)),
        "start-grace" => config.start_grace.map(duration),
        "watchdog" => config.watchdog.map(duration),
        "watchdog-signal" => config.watchdog_signal.map(signal),
        "ready-url" => config.ready_url.map(words),
        "ready-body" => config.ready_body.map(words),
        "ready-json" => config.ready_json.map(words),
        "kill-mode" => text(match config.kill_mode {
            KillMode::Mixed => "mixed",
            KillMode::Group => "group",
            KillMode::Process => "process",
        }),
        "map" => map(config),
        "success-codes" => Some(codes(&config.success_codes, None)),
        "stop-exit-code" => {
            Some(config.stop_exit_code.map_or("child".to_owned(), |code| code.to_string()))
        }
        "platform-grace" => config.platform_grace.map(duration),
        "user" => config.user.map(|(uid, gid)| format!("{uid}:{gid}")),
        "no-new-privs" => text(yes_or_no(config.no_new_privs)),
        "vary-pid" => text(yes_or_no(config.vary_pid)),
        "subreaper" => text(match config.subreaper {
            Subreaper::Auto => "auto",
            Subreaper::On => "on",
            Subreaper::Off => "off",
        }),
        "parent-death-signal" => config.parent_death_signal.map(signal),
        "port" => config.port.map(|port| port.to_string()),
        "metrics-listen" => config.metrics_listen.map(words),
        "termination-log" => match config.termination_log {
            TerminationLog::Off => text("none"),
            TerminationLog::IfPresent => text("/dev/termination-log"),
            TerminationLog::Path(path) => Some(words(path)),
        },
        "log-format" => text(match config.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }),
        "log-level" => text(report::level_name(config.log_level).to_str().unwrap_or_default()),
        "exit-when" => text(match config.exit_when {
            ExitWhen::Child => "child",
            ExitWhen::All => "all",
        }),
        _ => None,
    }
}

fn words(text: &CStr) -> String {
    Words(text.to_bytes()).to_string()
}

fn yes_or_no(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

#[inline(never)] // it is called from everywhere here, and small is what counts
fn duration(time: Duration) -> String {
    let ms = time.as_millis();
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// 32 and 33 have no name that could be typed.
fn signal(signal: Signal) -> String {
    let name = signal.to_string();
    name.strip_prefix("SIG").map_or_else(|| signal.number().to_string(), str::to_owned)
}

fn signals(set: SignalSet) -> String {
    let all = (1..=i32::from(signal::MAX)).filter_map(Signal::new);
    list(&mut all.filter(|s| set.contains(*s)).map(signal))
}

fn codes(set: &CodeSet, first: Option<u8>) -> String {
    let others = (0..=255).filter(|code| set.contains(*code) && Some(*code) != first);
    list(&mut first.into_iter().chain(others).map(|code| code.to_string()))
}

fn list(items: &mut dyn Iterator<Item = String>) -> String {
    let mut list = items.next().unwrap_or_else(|| "none".to_owned());
    for item in items {
        list.push(',');
        list.push_str(&item);
    }
    list
}

fn map(config: &Config) -> Option<String> {
    let mut pairs = (1..=i32::from(signal::MAX)).filter_map(Signal::new).filter_map(|from| {
        match config.forwarded(from) {
            Some(to) if to == from => None,
            Some(to) => Some(format!("{}:{}", signal(from), signal(to))),
            None => Some(format!("{}:none", signal(from))),
        }
    });
    Some(list(&mut pairs)).filter(|pairs| pairs != "none")
}

impl Findings {
    /// For people.
    fn text(&self) -> String {
        let (how, found) = match &self.found {
            Ok(path) => ("found at", path),
            Err(wrong) => ("wrong", wrong),
        };
        let mut text = format!("command   {}\n{how:<9} {}\n", clean(&self.command), clean(found));
        text.push_str("\nsettings\n");
        for Setting { name, value, from } in &self.settings {
            let value = value.as_deref().map_or_else(|| "-".to_owned(), clean);
            let _ = writeln!(text, "  --{name:<20} {value:<22} {from}");
        }
        for (title, lines) in [("warnings", &self.warnings), ("notes", &self.notes)] {
            if !lines.is_empty() {
                let _ = writeln!(text, "\n{title}");
            }
            for line in lines {
                wrap(&mut text, &clean(line));
            }
        }
        text
    }

    /// The same for programs.
    fn json(&self) -> String {
        let or_null = |json: &mut Json, name: &str, text: Option<&String>| match text {
            Some(text) => json.put(name, Value::Text(text)),
            None => json.put(name, Value::Null),
        };
        let mut json = Json::object();
        json.put("command", Value::Text(&self.command));
        or_null(&mut json, "path", self.found.as_ref().ok());
        or_null(&mut json, "problem", self.found.as_ref().err());
        json.open("settings", '{');
        for Setting { name, value, from } in &self.settings {
            json.open(name, '{');
            or_null(&mut json, "value", value.as_ref());
            json.put("from", Value::Text(from));
            json.close('}');
        }
        json.close('}');
        for (name, lines) in [("warnings", &self.warnings), ("notes", &self.notes)] {
            json.open(name, '[');
            for line in lines {
                json.item('{');
                json.put("message", Value::Text(line));
                json.close('}');
            }
            json.close(']');
        }
        let mut line = json.end();
        line.push('\n');
        line
    }
}

/// A sentence in lines of eighty columns at most, the first one marked.
fn wrap(text: &mut String, sentence: &str) {
    const WIDTH: usize = 80;
    let mut column = usize::MAX;
    for word in sentence.split(' ') {
        let length = word.chars().count();
        if column.saturating_add(1 + length) > WIDTH {
            text.push_str(if column == usize::MAX { "  - " } else { "\n    " });
            column = 4;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

/// Text from outside, without what could move a cursor or begin another line.
fn clean(text: &str) -> String {
    text.chars().fold(String::new(), |mut line, letter| {
        if misleads(letter) {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
        line
    })
}
