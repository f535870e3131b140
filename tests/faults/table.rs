//! The system calls of PID 1, the errors that their man pages name, and what may come of each.
//!
//! Whatever the table says, no fault may make clawinit hang, spin, leave a zombie, send SIGKILL
//! before the time is up, or leave with a code that is not documented: `matrix.rs` asks for that
//! each time.

/// What a fault may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nobody notices: the scene has the code that it has without a fault.
    Same,
    /// The scene's own code; a line that says this.
    Told(&'static str),
    /// One of these codes rather than the scene's own, and a line that says why.
    Leaves(&'static [i32], &'static str),
    /// The scene's own code, or the other one with its line: it depends on when it comes.
    Either(&'static [i32], &'static str),
    /// By this signal, before there is a line of our own.
    Dies(i32),
}
use Then::{Dies, Either, Leaves, Same, Told};

/// A system call.
pub struct Row {
    pub call: &'static str,
    /// As strace(1) writes them.
    pub errnos: &'static [&'static str],
    /// What follows, by the scene's name, what strace shows of the first call that got the error,
    /// and "each" where all get it. The first text counts that is in there, all of its parts that
    /// are separated by `&`.
    pub then: &'static [(&'static str, Then)],
}

const ANY: &[(&str, Then)] = &[("", Same)];

/// Of `--listen` and `--notify`, without which the child is not started.
const SOCKETS: &[(&str, Then)] = &[
    ("stale&EADDRINUSE", Either(&[125], "")), // as it is without a fault
    ("listen", Leaves(&[125], "--listen")),
    ("notify: ", Leaves(&[125], "--notify")),
    ("ready-url: ", Leaves(&[125], "--notify")),
];

const fn row(
    call: &'static str,
    errnos: &'static [&'static str],
    then: &'static [(&'static str, Then)],
) -> Row {
    Row { call, errnos, then }
}

pub const ROWS: &[Row] = &[
    row("arch_prctl", &["EFAULT", "EINVAL", "ENODEV", "EPERM"], &[("", Dies(11))]),
    row("set_tid_address", &[], ANY),
    row("getpid", &[], ANY),
    row("getppid", &[], ANY),
    row("exit_group", &[], ANY),
    row("rt_sigprocmask", &["EFAULT", "EINVAL"], &[("", Leaves(&[125], "rt_sigprocmask"))]),
    row("rt_sigaction", &["EFAULT", "EINVAL"], &[("", Leaves(&[125], "rt_sigaction"))]),
    row(
        "rt_sigtimedwait",
        &["EAGAIN", "EINTR", "EINVAL"],
        &[
            ("[CHLD]", Same), // the exporter has its SIGKILL already
            ("EINVAL", Leaves(&[70], "rt_sigtimedwait")),
            ("each", Leaves(&[70], "rt_sigtimedwait")),
        ],
    ),
    row("ioctl", &["EBADF", "EFAULT", "EINVAL", "ENOTTY"], ANY),
    row(
        "clone",
        &["EAGAIN", "EINVAL", "ENOMEM", "ENOSPC", "EPERM", "EUSERS"],
        &[
            ("each", Leaves(&[125], "cannot make a process")),
            ("CLONE_VFORK)", Same), // of --vary-pid
            ("", Either(&[125], "cannot make a process")),
        ],
    ),
    row(
        "wait4",
        &["EAGAIN", "ECHILD", "EINTR", "EINVAL", "ESRCH"],
        &[("each", Either(&[70], "wait4"))],
    ),
    row("waitid", &["EAGAIN", "ECHILD", "EINTR", "EINVAL", "ESRCH"], ANY),
    row(
        "kill",
        &["EINVAL", "EPERM", "ESRCH"],
        &[
            ("each", Either(&[137], "did not end")),
            ("all:&EPERM", Told("is not permitted")),
            ("", Either(&[137], "could not be sent")),
        ],
    ),
    row("rt_sigqueueinfo", &["EAGAIN", "EINVAL", "EPERM", "ESRCH"], ANY),
    row("getpgid", &["EPERM", "ESRCH"], ANY),
    row(
        "prctl",
        &["EACCES", "EBADF", "EBUSY", "EFAULT", "EINVAL", "ENODEV", "EPERM"],
        &[
            ("PR_SET_CHILD_SUBREAPER", Either(&[125], "--subreaper")),
            ("PR_SET_PDEATHSIG", Leaves(&[125], "--parent-death-signal")),
        ],
    ),
    row("getrandom", &["EAGAIN", "EFAULT", "EINTR", "EINVAL", "ENOSYS"], ANY),
    row(
        "open",
        &[
            "EACCES",
            "EBUSY",
            "EDQUOT",
            "EFAULT",
            "EINTR",
            "EINVAL",
            "EIO",
            "EISDIR",
            "ELOOP",
            "EMFILE",
            "ENAMETOOLONG",
            "ENFILE",
            "ENODEV",
            "ENOENT",
            "ENOMEM",
            "ENOSPC",
            "ENOTDIR",
            "ENXIO",
            "EOVERFLOW",
            "EPERM",
            "EROFS",
            "ETXTBSY",
            "EAGAIN",
        ],
        &[("/report", Told("report could not be written"))],
    ),
    row("close", &["EBADF", "EDQUOT", "EINTR", "EIO", "ENOSPC"], ANY),
    row("close_range", &["EINVAL", "EMFILE", "ENOMEM"], ANY),
    row(
        "fcntl",
        &["EAGAIN", "EBADF", "EBUSY", "EFAULT", "EINTR", "EINVAL", "EMFILE", "EPERM"],
        &[
            ("F_SETOWN", Leaves(&[125], "--notify")),
            ("F_SETSIG", Leaves(&[125], "--notify")),
            ("F_SETFL", Leaves(&[125], "--notify")),
            ("each", Told("no status page")),
        ],
    ),
    row("fstat", &["EBADF", "EFAULT", "ENOMEM", "EOVERFLOW"], ANY),
    row(
        "lstat",
        &["EACCES", "EFAULT", "ELOOP", "ENAMETOOLONG", "ENOENT", "ENOMEM", "ENOTDIR", "EOVERFLOW"],
        &[("/socket", Leaves(&[125], "--listen"))],
    ),
    row("read", &["EAGAIN", "EBADF", "EFAULT", "EINTR", "EINVAL", "EIO", "EISDIR"], ANY),
    row(
        "readlink",
        &[
            "EACCES",
            "EFAULT",
            "EINVAL",
            "EIO",
            "ELOOP",
            "ENAMETOOLONG",
            "ENOENT",
            "ENOMEM",
            "ENOTDIR",
        ],
        ANY,
    ),
    row("getdents64", &["EBADF", "EFAULT", "EINVAL", "ENOENT", "ENOTDIR"], ANY),
    row(
        "getcwd",
        &["EACCES", "EFAULT", "EINVAL", "ENAMETOOLONG", "ENOENT", "ENOMEM", "ERANGE"],
        &[("", Told("cannot be named"))],
    ),
    row(
        "chdir",
        &["EACCES", "EFAULT", "EIO", "ELOOP", "ENAMETOOLONG", "ENOENT", "ENOMEM", "ENOTDIR"],
        ANY,
    ),
    row(
        "memfd_create",
        &["EFAULT", "EINVAL", "EMFILE", "ENFILE", "ENOMEM", "EPERM"],
        &[("", Told("no status page"))],
    ),
    row(
        "ftruncate",
        &["EBADF", "EFBIG", "EINTR", "EINVAL", "EIO", "EPERM", "EROFS"],
        // Of the report: what an older one had behind its end stays there.
        &[(", 0)", Same), ("", Told("no status page"))],
    ),
    row(
        "mmap",
        &[
            "EACCES",
            "EAGAIN",
            "EBADF",
            "EEXIST",
            "EINVAL",
            "ENFILE",
            "ENODEV",
            "ENOMEM",
            "EOVERFLOW",
            "EPERM",
            "ETXTBSY",
        ],
        &[
            ("MAP_SHARED", Told("no status page")),
            ("each&PROT_NONE", Leaves(&[70], "no memory left")),
            ("PROT_NONE", Same), // the C library's guard before its heap
            ("", Leaves(&[70], "no memory left")),
        ],
    ),
    row("munmap", &["EINVAL", "ENOMEM"], ANY),
    row("brk", &["ENOMEM"], ANY),
    row(
        "write",
        &[
            "EAGAIN",
            "EBADF",
            "EDESTADDRREQ",
            "EDQUOT",
            "EFAULT",
            "EFBIG",
            "EINTR",
            "EINVAL",
            "EIO",
            "ENOSPC",
            "EPERM",
            "EPIPE",
        ],
        &[("each", Same), ("\"{\\\"", Told("report could not be written"))],
    ),
    row(
        "pwritev2",
        &[
            "EAGAIN",
            "EBADF",
            "EDQUOT",
            "EFBIG",
            "EINTR",
            "EINVAL",
            "EIO",
            "ENOSPC",
            "EOPNOTSUPP",
            "EPERM",
            "EPIPE",
        ],
        ANY,
    ),
    row(
        "sendto",
        &[
            "EACCES",
            "EAGAIN",
            "EBADF",
            "ECONNRESET",
            "EDESTADDRREQ",
            "EFAULT",
            "EINTR",
            "EINVAL",
            "EISCONN",
            "EMSGSIZE",
            "ENOBUFS",
            "ENOMEM",
            "ENOTCONN",
            "ENOTSOCK",
            "EOPNOTSUPP",
            "EPIPE",
        ],
        ANY,
    ),
    row(
        "recvfrom",
        &[
            "EAGAIN",
            "EBADF",
            "ECONNREFUSED",
            "EFAULT",
            "EINTR",
            "EINVAL",
            "ENOMEM",
            "ENOTCONN",
            "ENOTSOCK",
        ],
        ANY,
    ),
    row(
        "socket",
        &[
            "EACCES",
            "EAFNOSUPPORT",
            "EINVAL",
            "EMFILE",
            "ENFILE",
            "ENOBUFS",
            "ENOMEM",
            "EPROTONOSUPPORT",
        ],
        &[
            // EINVAL and EPROTONOSUPPORT: the C library asks again without the flags.
            ("SOCK_NONBLOCK", Either(&[125], "")),
            ("listen", Leaves(&[125], "--listen")),
            ("notify: ", Either(&[125], "--notify")),
            ("ready-url: ", Either(&[125], "--notify")),
        ],
    ),
    row("pidfd_open", &["EINVAL", "EMFILE", "ENFILE", "ENODEV", "ENOMEM", "ESRCH"], ANY),
    row("poll", &["EFAULT", "EINTR", "EINVAL", "ENOMEM"], ANY),
    row("setsockopt", &["EBADF", "EFAULT", "EINVAL", "ENOPROTOOPT", "ENOTSOCK"], SOCKETS),
    row(
        "bind",
        &[
            "EACCES",
            "EADDRINUSE",
            "EADDRNOTAVAIL",
            "EBADF",
            "EFAULT",
            "EINVAL",
            "ELOOP",
            "ENAMETOOLONG",
            "ENOENT",
            "ENOMEM",
            "ENOTDIR",
            "ENOTSOCK",
            "EROFS",
        ],
        SOCKETS,
    ),
    row("listen", &["EADDRINUSE", "EBADF", "ENOTSOCK", "EOPNOTSUPP"], SOCKETS),
    row("getsockname", &["EBADF", "EFAULT", "EINVAL", "ENOBUFS", "ENOTSOCK"], SOCKETS),
    row(
        "connect",
        &[
            "EACCES",
            "EAGAIN",
            "EBADF",
            "ECONNREFUSED",
            "EINPROGRESS",
            "EINTR",
            "EISCONN",
            "ENOTSOCK",
            "EPERM",
            "EPROTOTYPE",
            "ETIMEDOUT",
        ],
        &[("ECONNREFUSED", Either(&[0], "")), ("", Leaves(&[125], "--listen"))],
    ),
    row("getsockopt", &["EBADF", "EFAULT", "EINVAL", "ENOPROTOOPT", "ENOTSOCK"], ANY),
    row(
        "unlink",
        &[
            "EACCES",
            "EBUSY",
            "EFAULT",
            "EIO",
            "EISDIR",
            "ELOOP",
            "ENAMETOOLONG",
            "ENOENT",
            "ENOMEM",
            "ENOTDIR",
            "EPERM",
            "EROFS",
        ],
        SOCKETS,
    ),
    row("umask", &[], ANY),
    row(
        "recvmsg",
        &[
            "EAGAIN",
            "EBADF",
            "ECONNREFUSED",
            "EFAULT",
            "EINTR",
            "EINVAL",
            "ENOMEM",
            "ENOTCONN",
            "ENOTSOCK",
        ],
        ANY,
    ),
];
