//! The terminal's foreground process group: tcgetpgrp(3), tcsetpgrp(3).

/// The terminal of which this process has the foreground, to be handed to the child.
#[derive(Clone, Copy)]
pub struct Terminal {
    fd: i32,
}

impl Terminal {
    /// Standard input, output or error, the first that is our controlling terminal with us in
    /// its foreground. A background job finds none, and takes it from nobody.
    pub fn find() -> Option<Terminal> {
        // SAFETY: cannot fail, touches no memory.
        let own = unsafe { libc::getpgrp() };
        (0..=2)
            // SAFETY: a descriptor that is closed or no terminal makes it -1.
            .find(|fd| unsafe { libc::tcgetpgrp(*fd) } == own)
            .map(|fd| Terminal { fd })
    }

    /// Puts the process group `pgrp` into the foreground. SIGTTOU has to be blocked, or a
    /// background caller is stopped. Every failure (ENOTTY, ENXIO, EPERM, EIO: the terminal was
    /// taken away) leaves things as they were, and is nobody's concern (krallin/tini#64).
    pub fn give_to(self, pgrp: i32) {
        // SAFETY: touches no memory.
        unsafe { libc::tcsetpgrp(self.fd, pgrp) };
    }

    /// Takes the foreground back for our own group.
    pub fn take_back(self) {
        // SAFETY: getpgrp cannot fail.
        self.give_to(unsafe { libc::getpgrp() });
    }
}
