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

    /// Takes the foreground back for our own group, from `child`'s group or one that nobody is
    /// in any more: a caller that is no shell with job control would otherwise find itself in
    /// the background. A group that somebody else put there keeps it.
    pub fn take_back(self, child: i32) {
        if self.is_left_to_us(child) {
            // SAFETY: getpgrp cannot fail.
            self.give_to(unsafe { libc::getpgrp() });
        }
    }

    /// Whether the foreground is ours to hand on: our own, that of `child`, or nobody's.
    pub fn is_left_to_us(self, child: i32) -> bool {
        // SAFETY: both touch no memory; a terminal that is gone makes it -1.
        let (now, own) = unsafe { (libc::tcgetpgrp(self.fd), libc::getpgrp()) };
        now == own || now == child || !super::kill::group_exists(now)
    }
}
