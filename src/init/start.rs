//! What happens once: before the first generation, and right after it.

use super::Init;
use super::exporter::Exporter;
use super::keep::Kept;
use crate::config::{Config, Level, LogFormat, Manners, Subreaper, TerminationLog};
use crate::core::State;
use crate::kernel::cgroup::Memory;
use crate::kernel::entry::{self, Start};
use crate::kernel::spawn::{self, Environment};
use crate::kernel::terminal::Terminal;
use crate::kernel::{kill, process, signals};
use crate::leftovers::Leftovers;
use crate::report::{self, Command, Log, Span, Story};
use crate::watch::PortWatch;
use std::ffi::CStr;

impl Init {
    pub(super) fn new(start: &Start, mut config: Config, command: usize) -> Init {
        config.is_pid1 = process::pid() == 1;
        let command = Command(start.args[command..].to_vec());
        let mut argv: Vec<_> = command.0.iter().map(|word| word.as_ptr()).collect();
        argv.push(std::ptr::null());
        let drop_in = config.manners != Manners::Clawinit;
        Init {
            state: State::new(process::random()),
            log: Log::new(super::say::name(start), config.log_level, config.log_format),
            story: Story::default(),
            places: spawn::places(command.0[0]),
            command,
            shell: drop_in.then(|| vec![std::ptr::null(); argv.len() + 1]),
            argv,
            environment: environment(start, &config),
            mask: start.mask,
            ignores_children: signals::expect_children(),
            terminal: Terminal::find(),
            last_child: 0,
            folder: None,
            leftovers: Leftovers::default(),
            told_group: None,
            watch: config.port.map(PortWatch::new),
            received: None,
            asker: None,
            verbs: Vec::new(),
            memory: Memory::default(),
            oom_before: None,
            kept: Kept::default(),
            exporter: None,
            sockets: 0,
            ear: None,
            prober: None,
            config,
        }
    }

    /// What has to be so before the child exists. `Err`: the code to leave with.
    pub(super) fn prepare(&mut self, start: &Start) -> Result<(), u8> {
        if let Err(errno) = self.ignores_children {
            // Where it is ignored, no child's end would ever be known.
            return Err(self.cannot_start(format_args!("SIGCHLD: rt_sigaction: {errno}")));
        }
        let wanted = match self.config.subreaper {
            Subreaper::Auto => !self.config.is_pid1,
            Subreaper::On => true,
            Subreaper::Off => false,
        };
        if wanted
            && let Err(errno) = process::become_subreaper()
            && self.config.subreaper == Subreaper::On
        {
            return Err(self.cannot_start(format_args!("--subreaper: {errno}")));
        }
        if let Some(signal) = self.config.parent_death_signal {
            if let Err(errno) = process::signal_at_parent_death(signal) {
                return Err(self.cannot_start(format_args!("--parent-death-signal: {errno}")));
            }
            // It may have died before that call (util-linux/util-linux#1490).
            if process::parent() != start.parent {
                kill::this_process(signal);
            }
        }
        // Before anything else is opened: the sockets begin at descriptor 3.
        self.open_sockets()?;
        self.open_ear(start)?;
        if self.config.vary_pid {
            spawn::use_up_pids(process::random_byte());
        }
        Ok(())
    }

    /// What can wait until the child runs.
    pub(super) fn settle(&mut self, start: &Start, warnings: &[String]) {
        entry::on_panic(super::say::panicked);
        if self.config.can_restart() {
            self.folder = process::folder();
            if self.folder.is_none() {
                let said = format_args!(
                    "the folder it was started in was removed or cannot be named: later generations start in /"
                );
                self.log.line(Level::Warn, "warning", said, &[]);
            }
        }
        process::leave_folder();
        // Now, because an exit is waited for.
        if self.config.termination_log == TerminationLog::IfPresent
            && !report::kubernetes_wants_one()
        {
            self.config.termination_log = TerminationLog::Off;
        }
        if self.config.manners == Manners::Clawinit {
            self.look_at_memory();
            let has_page = self.open_page();
            self.exporter = self.config.metrics_listen.filter(|_| has_page).map(|listen| {
                let format = match self.config.log_format {
                    LogFormat::Text => c"text",
                    LogFormat::Json => c"json",
                };
                // By this it knows whether its lines go to the journal.
                let journal = |v: &&CStr| v.to_bytes().starts_with(b"JOURNAL_STREAM=");
                let level = report::level_name(self.config.log_level);
                Exporter::new(listen, format, level, start.variables().filter(journal))
            });
        }
        for warning in warnings {
            self.log.line(Level::Warn, "warning", format_args!("{warning}"), &[]);
        }
        let advice = match self.config.manners {
            Manners::Clawinit => Some("leave out --subreaper off"),
            Manners::Tini => Some("use -s"),
            Manners::Catatonit | Manners::DumbInit => None, // they say nothing of it
        };
        let orphans_come = self.config.is_pid1 || process::is_subreaper();
        if let Some(advice) = advice.filter(|_| !orphans_come) {
            let said = format_args!(
                "neither PID 1 nor a subreaper: orphans go elsewhere, zombie reaping won't work for them; {advice}"
            );
            self.log.line(Level::Warn, "warning", said, &[]);
        }
        if let Some(platform) = self.config.platform_grace {
            let delay = self.config.stop_delay;
            let (option, grace) = self.config.longest_stop();
            if delay + grace >= platform {
                self.story.grace_does_not_fit = true;
                let said = format_args!(
                    "the platform kills after {}, but --stop-delay {} and --{option} {} need longer; make them fit, or give it more",
                    Span(platform),
                    Span(delay),
                    Span(grace)
                );
                self.log.line(Level::Warn, "warning", said, &[]);
            }
        }
    }
}

/// The child's environment: without our own options, which a clawinit inside must not take for
/// its own, and with what the child may want to know of us.
fn environment(start: &Start, config: &Config) -> Environment {
    if config.manners != Manners::Clawinit {
        return Environment::new(start.variables(), |_| false, &[]);
    }
    let pid = ("CLAWINIT_PID", if config.is_pid1 { 1 } else { process::pid() as u32 });
    let ours = |name: &[u8]| name.starts_with(b"CLAWINIT_");
    match config.restart_code.filter(|_| config.can_restart()) {
        Some(code) => {
            let code = ("CLAWINIT_RESTART_CODE", u32::from(code));
            Environment::new(start.variables(), ours, &[pid, code])
        }
        None => Environment::new(start.variables(), ours, &[pid]),
    }
}
