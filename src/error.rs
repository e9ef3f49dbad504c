//! The one error type: a kind to decide on, a sentence to read.
//!
//! Hot paths do not build these: an operation whose caller decides on the outcome has an enum of
//! its own (`PushError`, `PopError`, …), and turns into an [`Error`] only when `?` asks for it.

use std::fmt;

/// What went wrong, as something a program can decide on.
///
/// The numbers are those of the C header (`MPSHM_E…`), negated; they are never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum ErrorKind {
    /// An argument is outside what the call accepts.
    Invalid = 1,
    /// Nothing of that name exists.
    NotFound = 2,
    /// Something of that name exists already.
    Exists = 3,
    /// The operating system, or the owner check, refused the access.
    Permission = 4,
    /// The memory or the room that was asked for is not there.
    NoSpace = 5,
    /// A fixed limit is reached (participants of a segment, objects of a directory).
    Limit = 6,
    /// The system call failed for a reason that has no kind of its own; see [`Error::errno`].
    System = 7,

    /// The file is no segment, or one of another format version or machine.
    Version = 20,
    /// The object is of another kind, or its items are of another type, size or tag.
    Type = 21,
    /// The segment's bytes contradict each other: damaged, truncated or hostile.
    Corrupt = 22,

    /// There is no room and the call does not wait.
    Full = 40,
    /// There is no item and the call does not wait.
    Empty = 41,
    /// The object was closed.
    Closed = 42,
    /// The time-out passed first.
    TimedOut = 43,
    /// The call was cancelled on purpose.
    Interrupted = 44,
    /// The message is longer than a block, or the caller's buffer is too short for it.
    TooBig = 45,
    /// The lock is held by somebody else, and the call does not wait.
    Busy = 46,

    /// The previous owner died while it held the lock: the caller now holds it.
    OwnerDead = 60,
    /// An owner died and the next one did not mark the data as consistent: gone for good.
    NotRecoverable = 61,
    /// The caller does not hold what it wants to give back.
    NotOwner = 62,
    /// The caller holds the lock already, and would wait for itself.
    Deadlock = 63,
    /// The peer on the other end died.
    PeerDead = 64,
    /// The handle belongs to the process that made it and must not be used in a forked child.
    Forked = 65,

    /// The task panicked or returned an error; the message is its own.
    TaskFailed = 80,
    /// The worker that ran the task died.
    WorkerDied = 81,
    /// The task was cancelled before it ended.
    Cancelled = 82,
    /// The pool cannot run tasks any more; or the barrier was broken.
    Broken = 83,
    /// The task took longer than tasks of its pool may, and its worker was killed.
    TimeLimit = 84,

    /// A panic was stopped at the C boundary; a defect of this library or of a callback.
    Panic = 100,
}

impl ErrorKind {
    /// A stable name, as in the C header without its prefix: `"NOSPACE"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "INVAL",
            Self::NotFound => "NOTFOUND",
            Self::Exists => "EXISTS",
            Self::Permission => "PERM",
            Self::NoSpace => "NOSPACE",
            Self::Limit => "LIMIT",
            Self::System => "SYSTEM",
            Self::Version => "VERSION",
            Self::Type => "TYPE",
            Self::Corrupt => "CORRUPT",
            Self::Full => "FULL",
            Self::Empty => "EMPTY",
            Self::Closed => "CLOSED",
            Self::TimedOut => "TIMEDOUT",
            Self::Interrupted => "INTERRUPTED",
            Self::TooBig => "TOOBIG",
            Self::Busy => "BUSY",
            Self::OwnerDead => "OWNERDEAD",
            Self::NotRecoverable => "NOTRECOVERABLE",
            Self::NotOwner => "NOTOWNER",
            Self::Deadlock => "DEADLOCK",
            Self::PeerDead => "PEERDEAD",
            Self::Forked => "FORKED",
            Self::TaskFailed => "TASKFAILED",
            Self::WorkerDied => "WORKERDIED",
            Self::Cancelled => "CANCELLED",
            Self::Broken => "BROKEN",
            Self::TimeLimit => "TIMELIMIT",
            Self::Panic => "PANIC",
        }
    }
}

/// An error: its kind, the system's error number where there is one, and a sentence that names
/// the object, what was expected and what was found.
///
/// ```
/// let error = mpshm::Segment::attach("no-such-segment-here").unwrap_err();
/// assert_eq!(error.kind(), mpshm::ErrorKind::NotFound);
/// assert!(error.to_string().contains("no-such-segment-here"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    errno: i32,
    message: Box<str>,
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, errno: 0, message: message.into().into_boxed_str() }
    }

    /// The last system error, with what was being done: `"cannot open segment 'x'"`.
    ///
    /// The kind follows the error number where one fits, and is `System` else.
    pub(crate) fn from_errno(errno: i32, doing: impl fmt::Display) -> Self {
        let kind = match errno {
            libc::ENOENT => ErrorKind::NotFound,
            libc::EEXIST => ErrorKind::Exists,
            libc::EACCES | libc::EPERM => ErrorKind::Permission,
            libc::ENOSPC | libc::ENOMEM | libc::EDQUOT => ErrorKind::NoSpace,
            libc::EMFILE | libc::ENFILE | libc::EAGAIN => ErrorKind::Limit,
            libc::EINVAL => ErrorKind::Invalid,
            _ => ErrorKind::System,
        };
        let reason = std::io::Error::from_raw_os_error(errno);
        Self { kind, errno, message: format!("{doing}: {reason}").into_boxed_str() }
    }

    /// The same error, with what failed because of it before its sentence.
    pub(crate) fn because(self, doing: impl fmt::Display) -> Self {
        Self { message: format!("{doing}: {}", self.message).into_boxed_str(), ..self }
    }

    /// [`Error::from_errno`] with this thread's `errno`.
    pub(crate) fn last_os(doing: impl fmt::Display) -> Self {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        Self::from_errno(errno, doing)
    }

    /// What to decide on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The system's error number, or 0 where no system call failed.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}: {})", self.kind.name(), self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        if error.errno != 0 { Self::from_raw_os_error(error.errno) } else { Self::other(error) }
    }
}
