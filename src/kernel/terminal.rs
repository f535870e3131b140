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
        (0..=2).map(|fd| Terminal { fd }).find(|terminal| terminal.is_ours())
    }

    /// Whether our own group is in its foreground.
    fn is_ours(self) -> bool {
        // SAFETY: touches no memory; a descriptor that is closed or no terminal makes it -1.
        let now = unsafe { libc::tcgetpgrp(self.fd) };
        if now < 0 {
            return false;
        }
        // SAFETY: touches no memory.
        let own = unsafe { libc::getpgrp() };
        // Groups outside our PID namespace are all 0. A read tells them apart: in the background
        // it fails, since SIGTTIN is blocked, and a read of nothing takes nothing.
        // SAFETY: no byte is written to the null pointer.
        now == own && (own != 0 || unsafe { libc::read(self.fd, std::ptr::null_mut(), 0) } == 0)
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
        // SAFETY: touches no memory; a terminal that is gone makes it -1.
        let now = unsafe { libc::tcgetpgrp(self.fd) };
        now == child || self.is_ours() || now > 0 && !super::kill::group_exists(now)
    }
}

/// The width and the height of the terminal at descriptor `fd`, in letters: 80 and 24 where it
/// does not say. `None`: it is no terminal.
pub fn size(fd: i32) -> Option<(usize, usize)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel fills a struct of ours (ioctl_tty(2)).
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    let or = |said: u16, usual| if said == 0 { usual } else { usize::from(said) };
    (result == 0).then_some((or(size.ws_col, 80), or(size.ws_row, 24)))
}
