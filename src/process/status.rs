//! How a process ended.

use crate::os::process::Ended;

/// How a process ended.
///
/// ```
/// use mpshm::ExitStatus;
/// assert_eq!(ExitStatus::Exited(3).code(), Some(3));
/// assert_eq!(ExitStatus::Signaled(9).code(), Some(-9));
/// assert_eq!(ExitStatus::Unknown.code(), None);
/// assert!(ExitStatus::Exited(0).success());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It ended by itself, with this code from 0 to 255.
    Exited(i32),
    /// The signal of this number killed it; [`Process::core_dumped`](crate::Process::core_dumped)
    /// tells whether it left a core.
    Signaled(i32),
    /// It has ended, but nobody can know any more how: other code of this process reaped it, or
    /// `SIGCHLD` is ignored, which makes the kernel throw the status away.
    Unknown,
}

impl ExitStatus {
    /// The code in Python's convention: 0 to 255, or −N for signal N; none for `Unknown`.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some(code),
            Self::Signaled(signal) => Some(-signal),
            Self::Unknown => None,
        }
    }

    /// Whether it is known to have ended with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }
}

impl std::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signaled(signal) => write!(f, "killed by signal {signal}"),
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// A status and whether there was a core, as one word; 0 is "not known to have ended".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub u32);

impl Word {
    const EXITED: u32 = 0x100;
    const SIGNALED: u32 = 0x200;
    /// Nobody can know any more.
    pub(super) const UNKNOWN: Self = Self(0x300);
    const CORE: u32 = 0x80;

    pub(super) fn of(ended: Ended) -> Self {
        match ended {
            Ended::Exited(code) => Self(Self::EXITED | code as u32 & 0xff),
            Ended::Signaled(signal) => Self(Self::SIGNALED | signal as u32 & 0x7f),
            Ended::Dumped(signal) => Self(Self::SIGNALED | Self::CORE | signal as u32 & 0x7f),
        }
    }

    /// As one who was told the status knows it, without the core.
    pub(super) fn told(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Exited(code) => Self::of(Ended::Exited(code)),
            ExitStatus::Signaled(signal) => Self::of(Ended::Signaled(signal)),
            ExitStatus::Unknown => Self::UNKNOWN,
        }
    }

    pub(super) fn status(self) -> Option<ExitStatus> {
        match self.0 & 0xf00 {
            Self::EXITED => Some(ExitStatus::Exited((self.0 & 0xff) as i32)),
            Self::SIGNALED => Some(ExitStatus::Signaled((self.0 & 0x7f) as i32)),
            _ if self == Self::UNKNOWN => Some(ExitStatus::Unknown),
            _ => None,
        }
    }

    pub(super) fn core_dumped(self) -> bool {
        self.0 & (0xf00 | Self::CORE) == Self::SIGNALED | Self::CORE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_what_the_kernel_tells() {
        assert_eq!(Word(0).status(), None);
        assert_eq!(Word::UNKNOWN.status(), Some(ExitStatus::Unknown));
        for code in [0, 0x7f, 0x80, 0xff] {
            let word = Word::of(Ended::Exited(code));
            assert_eq!(
                (word.status(), word.core_dumped()),
                (Some(ExitStatus::Exited(code)), false)
            );
        }
        for signal in [1, 9, 64] {
            for (ended, core) in [(Ended::Signaled(signal), false), (Ended::Dumped(signal), true)] {
                let word = Word::of(ended);
                let expected = (Some(ExitStatus::Signaled(signal)), core);
                assert_eq!((word.status(), word.core_dumped()), expected);
            }
        }
    }
}
