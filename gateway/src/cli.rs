//! What people type and set: options, then variables, then defaults.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use log::LevelFilter;

use crate::agents::Words;
use crate::duration;
use crate::failure::{Failure, USAGE};
use crate::store::check;
use crate::token::Token;

/// Where the gateway listens when nobody says otherwise.
pub const PORT: u16 = 8888;
const STATE_DIR: &str = "/data/gateway-state";
/// The exit code of a restart when no supervisor names another: `EX_TEMPFAIL`.
const RESTART_CODE: u8 = 75;

/// What is to be done, checked.
pub enum Command {
    /// `gateway start`
    Start(Box<Start>),
    /// `gateway stop`
    Stop(Ask),
    /// `gateway restart`
    Restart(Ask),
    /// `gateway status`
    Status(Ask),
    /// The hidden check of a memory file.
    CheckMemory(PathBuf),
    /// Help or the version, printed already.
    Told(ExitCode),
}

/// Settings of `gateway start`.
pub struct Start {
    /// The port; 0 for any free one.
    pub port: u16,
    /// The address; all when none.
    pub bind: Option<IpAddr>,
    /// Listening sockets that the gateway was started with, by number.
    pub fds: Vec<RawFd>,
    /// The state folder.
    pub state_dir: PathBuf,
    /// Commands to keep running.
    pub agents: Vec<Words>,
    /// From a stop request to the end of requests and agents.
    pub drain_time: Duration,
    /// What SIGUSR1 ends in.
    pub on_restart: OnRestart,
    /// What the process leaves with after SIGUSR1.
    pub restart_code: u8,
    /// What is logged.
    pub log_level: LevelFilter,
    /// The token, when one is set.
    pub token: Option<Token>,
}

/// What a gateway does when its restart is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnRestart {
    /// Leaves with the restart code, for its supervisor to start it again.
    Exit,
    /// Starts itself again in the same process, where nobody else would.
    Exec,
}

/// Settings of the verbs that ask a running gateway.
pub struct Ask {
    /// The state folder.
    pub state_dir: PathBuf,
    /// Where an option or GATEWAY_URL says that it is. None: as the lock file says.
    pub target: Option<Target>,
    /// How long to wait for the outcome.
    pub timeout: Duration,
    /// Only JSON, no progress.
    pub json: bool,
    /// The token, when one is set. What is wrong with it matters only to a verb that
    /// needs it.
    pub token: Result<Option<Token>, Failure>,
}

/// An address that was named.
pub struct Target {
    /// The option or variable that named it.
    pub source: &'static str,
    /// The host of a URL, as resolvers take it; none for a port of this machine.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) if host.contains(':') => write!(out, "http://[{host}]:{}", self.port),
            Some(host) => write!(out, "http://{host}:{}", self.port),
            None => write!(out, "port {}", self.port),
        }
    }
}

#[derive(Parser)]
#[command(name = "openclaw", version, about = "A small gateway", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Subcommand)]
enum Noun {
    /// The gateway
    #[command(disable_help_subcommand = true)]
    Gateway {
        #[command(subcommand)]
        verb: Verb,
    },
    #[command(name = check::VERB, hide = true)]
    CheckMemory { path: PathBuf },
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway in the foreground
    #[command(alias = "run")]
    Start(StartArgs),
    /// Stop the running gateway and wait until it has ended
    Stop(AskArgs),
    /// Restart the running gateway and wait until the next generation is ready
    Restart(AskArgs),
    /// Say how the gateway is; exit code 3 when it does not run
    Status(AskArgs),
}

// Values are taken as text: our own messages name the option or the variable alike.
#[derive(Args)]
struct StartArgs {
    /// Port to listen on, 0 for any free one; default: GATEWAY_PORT or 8888
    #[arg(long, value_name = "N")]
    port: Option<String>,
    /// Address to listen on; default: all
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// Descriptor to listen on, an open socket, instead of a port; may be given several times
    #[arg(long = "fd", value_name = "N")]
    fds: Vec<String>,
    /// State folder; default: GATEWAY_STATE_DIR or /data/gateway-state
    #[arg(long, value_name = "PATH")]
    state_dir: Option<PathBuf>,
    /// Command to keep running as an agent; may be given several times
    #[arg(long = "agent", value_name = "COMMAND", allow_hyphen_values = true)]
    agents: Vec<String>,
    /// Time for requests and agents to finish after a stop request; default: 10s
    #[arg(long, value_name = "TIME")]
    drain_time: Option<String>,
    /// After SIGUSR1: exit with 75 for a supervisor, or exec: start again in place
    #[arg(long, value_name = "HOW", default_value = "exit")]
    on_restart: OnRestart,
    /// error, warn, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,
}

#[derive(Args)]
struct AskArgs {
    /// State folder of the gateway; default: GATEWAY_STATE_DIR or /data/gateway-state
    #[arg(long, value_name = "PATH")]
    state_dir: Option<PathBuf>,
    /// Port where it answers; default: GATEWAY_URL, or as its lock file says
    #[arg(long, value_name = "N")]
    port: Option<String>,
    /// How long to wait for the outcome; default: 40s, status: 5s
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Print the outcome only
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// Reads the command line and the environment.
pub fn parse() -> Result<Command, Failure> {
    parse_from(std::env::args_os(), &|name| std::env::var_os(name))
}

/// The same with these words and variables.
pub fn parse_from(
    arguments: impl IntoIterator<Item = OsString>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Command, Failure> {
    let environment = Environment { variable };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return told(&error),
    };
    match cli.noun {
        Noun::CheckMemory { path } => Ok(Command::CheckMemory(path)),
        Noun::Gateway { verb: Verb::Start(arguments) } => {
            Ok(Command::Start(Box::new(start(arguments, &environment)?)))
        }
        Noun::Gateway { verb: Verb::Stop(arguments) } => {
            Ok(Command::Stop(ask(arguments, &environment, Duration::from_secs(40))?))
        }
        Noun::Gateway { verb: Verb::Restart(arguments) } => {
            Ok(Command::Restart(ask(arguments, &environment, Duration::from_secs(40))?))
        }
        Noun::Gateway { verb: Verb::Status(arguments) } => {
            Ok(Command::Status(ask(arguments, &environment, Duration::from_secs(5))?))
        }
    }
}

/// Help and versions are printed; an error becomes one line.
fn told(error: &clap::Error) -> Result<Command, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            Ok(Command::Told(ExitCode::SUCCESS))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Ok(Command::Told(ExitCode::from(USAGE)))
        }
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            let what = first.strip_prefix("error: ").unwrap_or(first);
            // clap lists possible values on a line of their own.
            let values =
                text.lines().map(str::trim).find(|line| line.starts_with("[possible values:"));
            let values = values.map_or_else(String::new, |values| format!(" {values}"));
            Err(Failure::usage(format!(
                "{what}{values}; openclaw gateway --help lists what there is"
            )))
        }
    }
}

struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Environment<'_> {
    /// A variable that is text; an empty one counts as not set, as Compose files leave
    /// them.
    fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        match (self.variable)(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Err(_)) => {
                Err(Failure::usage(format!("{name} is not UTF-8; set it to plain text")))
            }
        }
    }

    fn token(&self) -> Result<Option<Token>, Failure> {
        // An empty token is a secret that got lost on its way, and an error.
        let token = match (self.variable)("GATEWAY_TOKEN").map(OsString::into_string) {
            None => None,
            Some(Ok(text)) => Some(text),
            Some(Err(_)) => {
                return Err(Failure::usage(
                    "GATEWAY_TOKEN is not UTF-8; make one with: openssl rand -hex 32",
                ));
            }
        };
        match (token, self.text("GATEWAY_TOKEN_FILE")?) {
            (Some(_), Some(_)) => Err(Failure::usage(
                "GATEWAY_TOKEN and GATEWAY_TOKEN_FILE are both set; unset one of them",
            )),
            (Some(text), None) => Token::new(&text, "GATEWAY_TOKEN").map(Some),
            (None, Some(path)) => Token::read(path.as_ref()).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn state_dir(&self, option: Option<PathBuf>) -> PathBuf {
        option
            .or_else(|| {
                (self.variable)("GATEWAY_STATE_DIR")
                    .filter(|path| !path.is_empty())
                    .map(PathBuf::from)
            })
            .unwrap_or_else(|| PathBuf::from(STATE_DIR))
    }

    /// GATEWAY_PORT, or the usual port.
    fn port(&self) -> Result<u16, Failure> {
        match self.text("GATEWAY_PORT")? {
            Some(text) => port("GATEWAY_PORT", &text, 0),
            None => Ok(PORT),
        }
    }
}

fn start(arguments: StartArgs, environment: &Environment<'_>) -> Result<Start, Failure> {
    let port = match &arguments.port {
        Some(text) => port("--port", text, 0)?,
        None => environment.port()?,
    };
    let bind = match &arguments.bind {
        Some(text) => Some(text.trim_matches(['[', ']']).parse().map_err(|_| {
            Failure::usage(format!(
                "--bind: \"{text}\" is no IP address; write for example 127.0.0.1 or ::1"
            ))
        })?),
        None => None,
    };
    let agents = arguments
        .agents
        .iter()
        .map(|text| Words::split(text).map_err(|wrong| Failure::usage(format!("--agent: {wrong}"))))
        .collect::<Result<Vec<Words>, Failure>>()?;
    let restart_code = match environment.text("CLAWINIT_RESTART_CODE")? {
        Some(text) => restart_code(&text)?,
        None => RESTART_CODE,
    };
    Ok(Start {
        port,
        bind,
        fds: fds(&arguments.fds)?,
        state_dir: environment.state_dir(arguments.state_dir),
        agents,
        drain_time: time("--drain-time", arguments.drain_time.as_deref(), Duration::from_secs(10))?,
        on_restart: arguments.on_restart,
        restart_code,
        log_level: match arguments.log_level {
            LogLevel::Error => LevelFilter::Error,
            LogLevel::Warn => LevelFilter::Warn,
            LogLevel::Info => LevelFilter::Info,
            LogLevel::Debug => LevelFilter::Debug,
        },
        token: environment.token()?,
    })
}

fn ask(
    arguments: AskArgs,
    environment: &Environment<'_>,
    timeout: Duration,
) -> Result<Ask, Failure> {
    let target = match (&arguments.port, environment.text("GATEWAY_URL")?) {
        (Some(text), _) => {
            Some(Target { source: "--port", host: None, port: port("--port", text, 1)? })
        }
        (None, Some(url)) => Some(url_target(&url)?),
        (None, None) => None,
    };
    Ok(Ask {
        state_dir: environment.state_dir(arguments.state_dir),
        target,
        timeout: time("--timeout", arguments.timeout.as_deref(), timeout)?,
        json: arguments.json,
        token: environment.token(),
    })
}

fn port(source: &str, text: &str, least: u16) -> Result<u16, Failure> {
    text.parse().ok().filter(|port| *port >= least).ok_or_else(|| {
        Failure::usage(format!("{source}: \"{text}\" is no port; write a number from {least} to 65535, for example {PORT}"))
    })
}

/// Descriptors, each named once: two owners of one would close it twice.
fn fds(texts: &[String]) -> Result<Vec<RawFd>, Failure> {
    let mut fds = Vec::new();
    for text in texts {
        let number = text.parse().ok().filter(|number| *number > 2).ok_or_else(|| {
            Failure::usage(format!(
                "--fd: \"{text}\" is no descriptor to listen on; write the number of an open socket, from 3 on"
            ))
        })?;
        if fds.contains(&number) {
            return Err(Failure::usage(format!("--fd: {number} is given twice; leave one out")));
        }
        fds.push(number);
    }
    Ok(fds)
}

/// A supervisor's wish. Zero would say that nothing is to be started again.
fn restart_code(text: &str) -> Result<u8, Failure> {
    text.parse().ok().filter(|code| *code != 0).ok_or_else(|| {
        Failure::usage(format!(
            "CLAWINIT_RESTART_CODE: \"{text}\" is no exit code; write a number from 1 to 255, or unset it for {RESTART_CODE}"
        ))
    })
}

fn time(source: &str, text: Option<&str>, default: Duration) -> Result<Duration, Failure> {
    match text {
        Some(text) => {
            duration::parse(text).map_err(|wrong| Failure::usage(format!("{source}: {wrong}")))
        }
        None => Ok(default),
    }
}

/// The host and port of an http URL.
fn url_target(url: &str) -> Result<Target, Failure> {
    // Before anything that repeats it.
    if url.contains('@') {
        return Err(Failure::usage(format!(
            "GATEWAY_URL holds a user or a password before its @, which the gateway does not know; \
             write for example http://127.0.0.1:{PORT}, and the token in GATEWAY_TOKEN"
        )));
    }
    let wrong = |what: &str| {
        Failure::usage(format!(
            "GATEWAY_URL: \"{url}\" {what}; write for example http://127.0.0.1:{PORT}"
        ))
    };
    let rest = url.strip_prefix("http://").ok_or_else(|| wrong("does not begin with http://"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) || authority.is_empty() {
        return Err(wrong("has more, or less, than a host and a port"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.contains(']') => match digits.parse::<u16>() {
            Ok(port @ 1..) if !host.is_empty() => (host, port),
            Ok(_) | Err(_) => return Err(wrong("has no port that could be connected to")),
        },
        Some(_) | None => (authority, 80),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(Target { source: "GATEWAY_URL", host: Some(host.to_owned()), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, variables: &[(&str, &str)]) -> Result<Command, Failure> {
        let variables: Vec<(String, OsString)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        let find = |name: &str| {
            variables.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
        };
        parse_from(std::iter::once("openclaw").chain(line.split(' ')).map(OsString::from), &find)
    }

    fn start(line: &str, variables: &[(&str, &str)]) -> Start {
        match read(line, variables) {
            Ok(Command::Start(start)) => *start,
            Ok(_) => panic!("{line}: not a start"),
            Err(failure) => panic!("{line}: {}", failure.line),
        }
    }

    fn refused(line: &str, variables: &[(&str, &str)]) -> String {
        match read(line, variables) {
            Ok(_) => panic!("{line}: was taken"),
            Err(failure) => {
                assert!(!failure.line.contains('\n'), "more than a line: {}", failure.line);
                assert_eq!(failure.code, USAGE, "{}", failure.line);
                failure.line
            }
        }
    }

    #[test]
    fn descriptors_are_numbers_above_the_standard_ones_and_named_once() {
        assert_eq!(start("gateway start", &[]).fds, [0; 0]);
        assert_eq!(start("gateway start --fd 3 --fd=7", &[]).fds, [3, 7]);
        for wrong in ["--fd 2", "--fd=-1", "--fd x", "--fd 99999999999"] {
            let line = refused(&format!("gateway start {wrong}"), &[]);
            assert!(line.contains("from 3 on"), "{line}");
        }
        assert!(refused("gateway start --fd 4 --fd 4", &[]).contains("given twice"));
    }

    #[test]
    fn defaults_then_variables_then_options() {
        let settings = start("gateway start", &[]);
        assert_eq!((settings.port, settings.state_dir.to_str()), (8888, Some(STATE_DIR)));
        let variables = [
            ("GATEWAY_PORT", "1234"),
            ("GATEWAY_STATE_DIR", "/a"),
            ("CLAWINIT_RESTART_CODE", "42"),
        ];
        let settings = start("gateway run", &variables);
        assert_eq!(
            (settings.port, settings.state_dir.to_str(), settings.restart_code),
            (1234, Some("/a"), 42)
        );
        let settings = start("gateway start --port 0 --state-dir /b", &variables);
        assert_eq!((settings.port, settings.state_dir.to_str()), (0, Some("/b")));
    }

    #[test]
    fn restart_code_that_is_none_is_refused() {
        for text in ["300", "256", "0", "-1", "x"] {
            let said = refused("gateway start", &[("CLAWINIT_RESTART_CODE", text)]);
            assert!(said.contains("write a number from 1 to 255"), "{said}");
        }
        assert_eq!(start("gateway start", &[("CLAWINIT_RESTART_CODE", "")]).restart_code, 75);
    }

    #[test]
    fn password_in_the_url_is_refused_and_not_repeated() {
        for url in ["http://me:hush@gw:8888", "https://me:hush@gw", "me:hush@gw", "http://a/hush@"]
        {
            let said = refused("gateway status", &[("GATEWAY_URL", url)]);
            assert!(!said.contains("hush") && said.contains("GATEWAY_TOKEN"), "{said}");
        }
    }

    #[test]
    fn token_that_is_wrong_does_not_keep_from_stopping() {
        let variables = [("GATEWAY_TOKEN_FILE", "/nowhere")];
        for line in ["gateway stop", "gateway restart", "gateway status"] {
            assert!(read(line, &variables).is_ok(), "{line}");
        }
        assert!(refused("gateway start", &variables).contains("/nowhere"));
    }

    #[test]
    fn every_usage_error_says_what_to_type() {
        for (line, variables, expected) in [
            ("gateway start --drain-time 5", &[][..], "--drain-time: \"5\" has no unit; write 5s"),
            (
                "gateway start --port 70000",
                &[],
                "--port: \"70000\" is no port; write a number from 0 to 65535",
            ),
            (
                "gateway stop --port 0",
                &[],
                "--port: \"0\" is no port; write a number from 1 to 65535",
            ),
            ("gateway start --bind nowhere", &[], "--bind: \"nowhere\" is no IP address"),
            ("gateway start", &[("GATEWAY_PORT", "x")], "GATEWAY_PORT: \"x\" is no port"),
            ("gateway start", &[("GATEWAY_TOKEN", "")], "GATEWAY_TOKEN: the token is empty"),
            (
                "gateway start",
                &[("GATEWAY_TOKEN", "a"), ("GATEWAY_TOKEN_FILE", "/b")],
                "both set; unset one",
            ),
            ("gateway start --agent ''", &[], "--agent: no command"),
            (
                "gateway status",
                &[("GATEWAY_URL", "https://a")],
                "GATEWAY_URL: \"https://a\" does not begin with http://",
            ),
            ("gateway status", &[("GATEWAY_URL", "http://a:0")], "has no port"),
            ("gateway status", &[("GATEWAY_URL", "http://a/b")], "has more, or less"),
            ("gateway start --log-level loud", &[], "possible values: error, warn, info, debug"),
            ("gateway start --colour", &[], "unexpected argument '--colour'"),
            ("gateway begin", &[], "unrecognized subcommand 'begin'"),
            (
                "gateway stop --timeout 3h",
                &[],
                "--timeout: \"3h\": unknown unit \"h\"; write ms, s or m",
            ),
        ] {
            let said = refused(line, variables);
            assert!(said.contains(expected), "{line}: {said}");
        }
    }

    #[test]
    fn gateway_alone_shows_help_as_a_usage_error() {
        assert!(
            matches!(read("gateway", &[]), Ok(Command::Told(code)) if code == ExitCode::from(2))
        );
    }

    #[test]
    fn port_option_wins_over_the_url() {
        let address = |line: &str, url: &str| match read(line, &[("GATEWAY_URL", url)]) {
            Ok(Command::Status(ask)) => ask.target.unwrap().to_string(),
            _ => panic!("{line}"),
        };
        assert_eq!(address("gateway status", "http://gw:99/"), "http://gw:99");
        assert_eq!(address("gateway status", "http://[::1]"), "http://[::1]:80");
        assert_eq!(address("gateway status --port 7", "http://gw:99"), "port 7");
    }
}
