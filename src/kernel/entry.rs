//! `main` as the C library calls it.
//!
//! Rust's own `main` comes after its runtime has polled the standard descriptors, ignored
//! SIGPIPE (rust-lang/rust#62569: the child would inherit that) and set up a signal stack. A
//! SIGTERM in that window would be lost, since PID 1 has no default action for it.

use super::{process, signals};
use std::ffi::{CStr, c_char, c_int};

/// What the process was started with.
pub struct Start {
    /// The name it was called by, then its arguments.
    pub args: Vec<&'static CStr>,
    /// Its environment (environ(7)).
    pub environment: &'static [*const c_char],
    /// The signal mask that was in force.
    pub mask: signals::Mask,
    /// Its parent, looked at before anything else could have ended it.
    pub parent: i32,
}

impl Start {
    /// The environment's variables, `NAME=VALUE`.
    pub fn variables(&self) -> impl Iterator<Item = &'static CStr> + use<> {
        // SAFETY: each points to a C string that the kernel laid out for the process's life.
        self.environment.iter().map(|variable| unsafe { CStr::from_ptr(*variable) })
    }
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// What the macro `entry!` calls.
///
/// # Safety
/// `argv` is what the C library hands to `main`.
pub unsafe fn start(argc: c_int, argv: *const *const c_char) -> c_int {
    let mask = match signals::block_all() {
        Ok(mask) => mask,
        Err(errno) => process::exit(crate::init::cannot_block(errno)),
    };
    let parent = process::parent();
    let args = (0..argc as usize)
        // SAFETY: argv holds argc C strings, as the C library promises `main`.
        .map(|i| unsafe { CStr::from_ptr(*argv.add(i)) })
        .collect();
    // SAFETY: environ is a list of pointers with a null one at its end, and nothing in this
    // program changes it.
    let environment = unsafe {
        let mut count = 0;
        while !(*environ.add(count)).is_null() {
            count += 1;
        }
        std::slice::from_raw_parts(environ, count)
    };
    process::exit(crate::init::main(Start { args, environment, mask, parent }))
}

/// Has `hook` called on a panic, with the place and the message, before the process leaves
/// with 70 (EX_SOFTWARE): PID 1 that aborts takes its container along without a word.
pub fn on_panic(hook: fn(&str, &dyn std::fmt::Display)) {
    std::panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or("no message");
        match info.location() {
            Some(place) => hook(message, place),
            None => hook(message, &"an unknown place"),
        }
        process::exit(70);
    }));
}

/// Makes a program's `main` of [`start`], with memory that needs no system call.
#[macro_export]
macro_rules! entry {
    () => {
        #[global_allocator]
        static MEMORY: $crate::kernel::memory::Arena = $crate::kernel::memory::Arena::new();

        /// # Safety
        /// For the C library to call, once.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(
            argc: ::std::ffi::c_int,
            argv: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            // SAFETY: these are what the C library hands to `main`.
            unsafe { $crate::kernel::entry::start(argc, argv) }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic ends the process, so this test starts itself anew as the one that panics.
    #[test]
    fn a_panic_is_told_and_leaves_with_70() {
        const NAME: &str = "kernel::entry::tests::a_panic_is_told_and_leaves_with_70";
        const ASKED: &str = "PANIC_FOR_A_TEST";
        if std::env::var_os(ASKED).is_some() {
            on_panic(|message, place| eprintln!("told: {message} at {place}"));
            panic!("on purpose");
        }
        let itself = std::env::current_exe().unwrap();
        let run = std::process::Command::new(itself)
            .args(["--exact", NAME, "--nocapture"])
            .env(ASKED, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(70), "{said}");
        assert!(said.contains("told: on purpose at src/kernel/entry.rs:"), "{said}");
    }
}
