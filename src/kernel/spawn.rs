//! Starting a program: clone(2) as vfork(2) does it, then execve(2).
//!
//! The child borrows our memory until it executes its program, and we stand still meanwhile: no
//! page is copied, an error comes back in a variable, and nothing has to be told over a pipe.
//! `posix_spawn(3)` does the same inside, but knows no `setuid`, no `chdir` in musl's version,
//! and its caller learns the pid too late to put it into LISTEN_PID.

use super::privileges;
use super::signals::{self, Mask};
use super::terminal::Terminal;
use super::{Errno, descriptors, process};
use crate::signal::Signal;
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt::Write;
use std::mem::MaybeUninit;

/// How a child starts.
pub struct Program<'a> {
    /// Where the command may be, in the order to try: see [`places`].
    pub places: &'a [CString],
    /// The command and its arguments, a null pointer at the end.
    pub argv: &'a [*const c_char],
    /// Room for a shell and its arguments, one longer than `argv`, where a script without a `#!`
    /// line is to be run by it, as glibc's execvp(3) does.
    pub shell: Option<&'a mut [*const c_char]>,
    /// Its environment.
    pub environment: &'a mut Environment,
    /// The signal mask that clawinit was started with.
    pub mask: Mask,
    /// SIGCHLD was ignored when clawinit was started.
    pub ignores_children: bool,
    /// The terminal to put its process group in the foreground of.
    pub terminal: Option<Terminal>,
    /// The folder to start in, where that is not ours any more.
    pub folder: Option<&'a CStr>,
    /// Whom to become.
    pub user: Option<(u32, u32)>,
    /// Whether to give up gaining privileges.
    pub no_new_privs: bool,
    /// What it gets of our descriptors above 2.
    pub handed: Handed,
}

/// What a program gets of our descriptors above 2.
#[derive(Clone, Copy)]
pub enum Handed {
    /// Each that is not close-on-exec: it is the child.
    All,
    /// This one, as [`HANDED`]. It is a helper of our own, and ends with us.
    One(i32),
    /// None. It is a helper of our own, and ends with us.
    Nothing,
}

/// The number by which a helper knows what it was handed.
pub const HANDED: i32 = 3;

/// What went wrong, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// At this step.
    pub step: Step,
    /// With this error.
    pub errno: Errno,
}

/// The steps of a start that can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Making the process.
    Clone,
    /// Going to the folder to start in.
    Folder,
    /// Becoming the user of `--user`.
    User,
    /// `--no-new-privs`.
    NoNewPrivs,
    /// Executing the command.
    Execute,
}

/// The child calls nothing that needs much: no search, no formatting but of one number. What it
/// touches stays with us as dirty pages.
const STACK_BYTES: usize = 12 * 1024;

#[repr(align(16))]
struct Stack(UnsafeCell<MaybeUninit<[u8; STACK_BYTES]>>);

// SAFETY: only one child is on it at a time: `spawn` needs all signals blocked, as they are in a
// program with one thread, which stands still until the child has left.
unsafe impl Sync for Stack {}

/// Not in `spawn`'s own frame: to make room for it there touches each page of it.
static STACK: Stack = Stack(UnsafeCell::new(MaybeUninit::uninit()));

struct Start<'a, 'b> {
    program: &'a mut Program<'b>,
    failure: Option<Failure>,
}

/// Starts `program` and returns its pid once it executes its command. All signals have to be
/// blocked.
pub fn spawn(program: &mut Program) -> Result<i32, Failure> {
    let mut start = Start { program, failure: None };
    let changes_user = start.program.user.is_some();
    let was_dumpable = changes_user && process::is_dumpable();
    // SAFETY: the stack grows down from its aligned end, and is the child's alone: CLONE_VFORK
    // holds us until it has executed its program or exited. Until then it alone touches `start`. It shares no signal handlers
    // (no CLONE_SIGHAND) and no descriptors (no CLONE_FILES), so what it changes is its own.
    let pid = unsafe {
        let top = STACK.0.get().cast::<c_void>().byte_add(STACK_BYTES);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        libc::clone(child, top, flags, (&raw mut start).cast())
    };
    // A change of user takes the flag away from the memory, which was ours, too: /proc/PID/fd
    // with the status page would be closed to all without CAP_SYS_PTRACE.
    if was_dumpable {
        process::make_dumpable();
    }
    let pid =
        Errno::check(i64::from(pid)).map_err(|errno| Failure { step: Step::Clone, errno })? as i32;
    // SAFETY: `start` is ours; the child wrote to it before we went on.
    match unsafe { (&raw const start.failure).read_volatile() } {
        None => Ok(pid),
        Some(failure) => {
            // SAFETY: our child, which is exiting; nobody else reaps.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            Err(failure)
        }
    }
}

/// Has the kernel give out `count` pids to nobody: processes that end at once, one after the
/// other. No privilege is needed for it, and no exit signal comes of it. One that cannot be made
/// ends it: the command's own start will tell why.
pub fn use_up_pids(count: u8) {
    for _ in 0..count {
        // SAFETY: as in `spawn`; the process touches nothing but this stack.
        let pid = unsafe {
            let top = STACK.0.get().cast::<c_void>().byte_add(STACK_BYTES);
            libc::clone(leave, top, libc::CLONE_VM | libc::CLONE_VFORK, std::ptr::null_mut())
        };
        if pid == -1 {
            return;
        }
        // SAFETY: our child, which has ended; one without an exit signal is a "clone" child.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WCLONE) };
    }
}

extern "C" fn leave(_: *mut c_void) -> c_int {
    // SAFETY: ends this process.
    unsafe { libc::_exit(0) }
}

extern "C" fn child(start: *mut c_void) -> c_int {
    // SAFETY: it is the `Start` of `spawn`, which waits for us.
    let start = unsafe { &mut *start.cast::<Start>() };
    start.failure = Some(become_program(start.program));
    // SAFETY: ends this process; the parent's memory is as we leave it.
    unsafe { libc::_exit(127) }
}

/// Returns only when it could not. No allocation, no lock: the memory is the parent's.
fn become_program(program: &mut Program) -> Failure {
    let failed = |step| move |errno| Failure { step, errno };
    let steps = || -> Result<(), Failure> {
        // A process group of its own, which cannot fail for a process that leads no session.
        // Parent and child usually both do this for whoever comes first; here the parent waits.
        // SAFETY: touches no memory.
        unsafe { libc::setpgid(0, 0) };
        if let Some(terminal) = program.terminal {
            terminal.give_to(process::pid());
        }
        if let Some(folder) = program.folder {
            // SAFETY: a C string.
            Errno::check(i64::from(unsafe { libc::chdir(folder.as_ptr()) }))
                .map_err(failed(Step::Folder))?;
        }
        if let Some((uid, gid)) = program.user {
            privileges::become_user(uid, gid).map_err(failed(Step::User))?;
        }
        if program.no_new_privs {
            privileges::no_new_privs().map_err(failed(Step::NoNewPrivs))?;
        }
        match program.handed {
            Handed::All => return Ok(()),
            Handed::One(fd) => descriptors::hand_on(fd, HANDED),
            Handed::Nothing => descriptors::close_range(HANDED, i32::MAX),
        }
        // After the change of user, which clears it (prctl(2)).
        let _ = process::signal_at_parent_death(Signal::KILL);
        Ok(())
    };
    if let Err(failure) = steps() {
        return failure;
    }
    program.environment.name_the_child();
    if program.ignores_children {
        signals::ignore_children();
    }
    signals::set_mask(program.mask);
    let errno = execute(program);
    let _ = signals::block_all(); // the parent's own mask is another; this is for a tidy end
    Failure { step: Step::Execute, errno }
}

/// Tries each place, as execvp(3) does: one that is not there is passed over, and so is one that
/// may not be executed, but that is the answer if there is no other.
fn execute(program: &mut Program) -> Errno {
    let environment = program.environment.pointers.as_ptr();
    let mut answer = Errno(libc::ENOENT);
    for place in program.places {
        // SAFETY: a C string and two arrays of C strings with a null pointer at the end, all of
        // which live as long as the process.
        unsafe { libc::execve(place.as_ptr(), program.argv.as_ptr(), environment) };
        match Errno::last() {
            Errno(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG)
                if program.places.len() > 1 => {}
            Errno(libc::EACCES) => answer = Errno(libc::EACCES),
            Errno(libc::ENOEXEC) => {
                if let Some(shell) = &mut program.shell {
                    (shell[0], shell[1]) = (c"/bin/sh".as_ptr(), place.as_ptr());
                    shell[2..].copy_from_slice(&program.argv[1..]);
                    // SAFETY: as above; the null pointer at the end was copied.
                    unsafe { libc::execve(shell[0], shell.as_ptr(), environment) };
                }
                return Errno(libc::ENOEXEC);
            }
            other => return other,
        }
    }
    answer
}

/// Where a command may be: its own path, or, for a bare name, the folders of PATH (environ(7)).
/// Looked up here, since the child has no memory of its own to do it in.
pub fn places(command: &CStr) -> Vec<CString> {
    let name = command.to_bytes();
    if name.is_empty() || name.contains(&b'/') {
        return vec![command.to_owned()];
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/bin:/usr/bin".into());
    path.as_encoded_bytes()
        .split(|byte| *byte == b':')
        .filter_map(|folder| {
            let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" }; // "": the working folder
            CString::new([folder, slash, name].concat()).ok()
        })
        .collect()
}

/// An environment for execve(2), built once and changed in a few places afterwards.
pub struct Environment {
    pointers: Vec<*const c_char>,
    generation: Option<(usize, Text)>,
    /// Variables that have the child's pid, which only the child knows in time.
    of_pid: Vec<(usize, &'static str, Text)>,
}

/// Variables by which a program knows that it is meant (sd_listen_fds(3), sd_watchdog_enabled(3)).
const OF_PID: [&str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];

/// A `NAME=number` at an address that does not move.
type Text = Box<[u8; 48]>;

impl Environment {
    /// The variables of `given` (environ(7)), without those that `drop` names and with `added`.
    /// LISTEN_PID and WATCHDOG_PID will name the child where they named us.
    pub fn new(
        given: impl Iterator<Item = &'static CStr>,
        drop: impl Fn(&[u8]) -> bool,
        added: &[(&str, u32)],
    ) -> Environment {
        let mut env = Environment { pointers: Vec::new(), generation: None, of_pid: Vec::new() };
        for variable in given {
            let bytes = variable.to_bytes();
            if drop(bytes) {
                continue;
            }
            for name in OF_PID {
                if bytes.starts_with(name.as_bytes())
                    && variable == number(&mut [0; 48], name, process::pid() as u32)
                {
                    env.of_pid.push((env.pointers.len(), name, Box::new([0; 48])));
                }
            }
            env.pointers.push(variable.as_ptr());
        }
        // The process keeps its environment for life.
        env.pointers.extend(added.iter().map(|(name, value)| {
            let text: &mut [u8; 48] = Box::leak(Box::new([0; 48]));
            number(text, name, *value).as_ptr()
        }));
        env.pointers.push(std::ptr::null());
        env
    }

    /// Sets `CLAWINIT_GENERATION`.
    pub fn number_generation(&mut self, generation: u32) {
        let (place, text) = self.generation.get_or_insert_with(|| {
            let end = self.pointers.len() - 1;
            self.pointers.insert(end, std::ptr::null());
            (end, Box::new([0; 48]))
        });
        self.pointers[*place] = number(text.as_mut(), "CLAWINIT_GENERATION", generation).as_ptr();
    }

    /// Sets a variable for every generation. Neither name nor value has a zero byte in it.
    pub fn set(&mut self, name: &str, value: &str) {
        let place = self.place(name);
        // The process keeps its environment for life.
        let text = CString::new(format!("{name}={value}")).unwrap_or_default();
        self.pointers[place] = text.into_raw();
    }

    /// Sets a variable to the pid that each generation will have.
    pub fn set_to_pid(&mut self, name: &'static str) {
        let place = self.place(name);
        self.of_pid.retain(|(known, ..)| *known != place);
        self.of_pid.push((place, name, Box::new([0; 48])));
        self.pointers[place] = c"".as_ptr(); // until there is a child to name itself
    }

    /// Where a variable stands, or would: in front of the null pointer at the end.
    fn place(&mut self, name: &str) -> usize {
        let end = self.pointers.len() - 1;
        let is_it = |variable: &*const c_char| {
            // SAFETY: all but the last are C strings that live as long as the process.
            let bytes = unsafe { CStr::from_ptr(*variable) }.to_bytes();
            bytes.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
        };
        self.pointers[..end].iter().position(is_it).unwrap_or_else(|| {
            self.pointers.insert(end, c"".as_ptr());
            end
        })
    }

    /// Puts the child's pid where it belongs. Called in the child, on memory that is the parent's
    /// too.
    fn name_the_child(&mut self) {
        for (place, name, text) in &mut self.of_pid {
            let pid = process::pid() as u32;
            self.pointers[*place] = number(text.as_mut(), name, pid).as_ptr();
        }
    }
}

/// `NAME=number`. Not by `core::fmt`, whose code would be read in before the child starts.
fn number<'a>(text: &'a mut [u8; 48], name: &str, number: u32) -> &'a CStr {
    let mut digits = [0; 10];
    let mut first = digits.len();
    let mut rest = number;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let mut end = 0;
    for part in [name.as_bytes(), b"=", &digits[first..], b"\0"] {
        text[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    CStr::from_bytes_until_nul(text).unwrap_or(c"")
}

/// Writes into a slice, without allocating.
pub(super) struct SliceWriter<'a, 'b>(pub(super) &'a mut &'b mut [u8]);

impl Write for SliceWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let (here, rest) =
            std::mem::take(self.0).split_at_mut_checked(text.len()).ok_or(std::fmt::Error)?;
        here.copy_from_slice(text.as_bytes());
        *self.0 = rest;
        Ok(())
    }
}
