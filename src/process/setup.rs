//! What a child does to itself before its closure or its program runs, and what of that failed.
//!
//! # Overview
//! Everything that can be checked or made before the fork is; the child makes system calls alone.
//! One that fails leaves its number and its error in the [`Report`] that child and parent share,
//! and the child ends; the spawn, which waits for the child to get through, makes an error of it.
//! How it waits, also for an `exec`, stands at [`crate::os::child`].

use crate::error::{Error, ErrorKind, Result};
use crate::os::child::{self, CpuSet, Holder};
use crate::os::process as os;
use crate::process::exec::Image;
use crate::process::report::Report;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// The exit code of a child that could not be set up; nobody but its spawn sees it.
const NOT_STARTED: i32 = 127;

/// What a child's standard input, output or error is.
///
/// Made from whatever owns a descriptor: a file, an end of a pipe, a socket, another child's
/// [`ChildStdout`](std::process::ChildStdout). A clone is of the same descriptor.
///
/// ```standalone_crate
/// use mpshm::{Process, Stdio};
/// use std::io::Read;
/// let (mut reader, writer) = std::io::pipe().unwrap();
/// let child = Process::builder().stdin(Stdio::null()).stdout(writer).spawn(|| {
///     println!("into the pipe");
///     0
/// })?;
/// let mut text = String::new();
/// reader.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "into the pipe\n");
/// child.join()?;
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stdio(Kind);

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    Inherit,
    Null,
    Fd(Arc<OwnedFd>),
}

impl Stdio {
    /// The same as the parent's: the default.
    #[must_use]
    pub fn inherit() -> Self {
        Self(Kind::Inherit)
    }

    /// Nothing comes out of it, and what goes in is lost: `/dev/null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Kind::Null)
    }
}

impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(fd: T) -> Self {
        Self(Kind::Fd(Arc::new(fd.into())))
    }
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Setup {
    pub(super) session: bool,
    pub(super) group: Option<u32>,
    pub(super) nice: i32,
    pub(super) cpus: Option<Vec<usize>>,
    pub(super) stdio: [Stdio; 3],
}

/// The same, checked, and with all that takes memory or a new descriptor.
#[derive(Debug)]
pub(super) struct Prepared {
    session: bool,
    group: Option<i32>,
    nice: i32,
    cpus: Option<CpuSet>,
    /// The new standard descriptors; those of them that are the child's to close then.
    stdio: [RawFd; 3],
    sources: Vec<RawFd>,
    /// Keeps them open.
    _owned: Vec<Arc<OwnedFd>>,
}

/// What can fail in the child. The numbers are those in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Watch = 1,
    Session,
    Group,
    Nice,
    Cpus,
    Stdio,
    Descriptors,
    Signals,
    Execute,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Watch,
        Self::Session,
        Self::Group,
        Self::Nice,
        Self::Cpus,
        Self::Stdio,
        Self::Descriptors,
        Self::Signals,
        Self::Execute,
    ];

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as u32 == number)
    }
}

type Failed = std::result::Result<(), (Step, i32)>;

impl Setup {
    /// Checks what can be checked, and opens what is to be opened.
    pub(super) fn prepare(&self) -> Result<Prepared> {
        let group = self.group.map(|group| {
            i32::try_from(group).map_err(|_| invalid(format!("there is no process group {group}")))
        });
        let mut prepared = Prepared {
            session: self.session,
            group: group.transpose()?,
            nice: self.nice,
            cpus: self.cpus.as_deref().map(set_of).transpose()?,
            stdio: [-1; 3],
            sources: Vec::new(),
            _owned: Vec::new(),
        };
        for (stdio, place) in self.stdio.iter().zip(&mut prepared.stdio) {
            let fd = match &stdio.0 {
                Kind::Inherit => continue,
                Kind::Null => Arc::new(
                    child::open_null()
                        .map_err(|errno| Error::from_errno(errno, "cannot open '/dev/null'"))?,
                ),
                Kind::Fd(fd) => Arc::clone(fd),
            };
            *place = fd.as_raw_fd();
            // A standard one is replaced or meant to stay. Two may be the same.
            if *place >= 3 && !prepared.sources.contains(place) {
                prepared.sources.push(*place);
            }
            prepared._owned.push(fd);
        }
        Ok(prepared)
    }
}

impl Prepared {
    /// Whether there is anything that the child has to do.
    pub(super) fn is_needed(&self) -> bool {
        self.session
            || self.group.is_some()
            || self.nice != 0
            || self.cpus.is_some()
            || self.stdio.iter().any(|fd| *fd >= 0)
    }

    /// In the child: does it all, and executes `image` if there is one. Where something fails, the process
    /// ends. Allocates nothing and takes no lock.
    pub(super) fn run(&self, report: &Report, image: Option<&Image>) {
        let mut holder = Holder::new(report.gate());
        let done = at(Step::Watch, holder.hold())
            .and_then(|()| self.apply())
            .and_then(|()| image.map_or(Ok(()), |image| self.execute(image)));
        match done {
            Ok(()) => {
                self.sources.iter().for_each(|fd| child::close(*fd));
                holder.open();
            }
            Err((step, errno)) => {
                report.refuse(step as u32, errno);
                holder.fail();
                os::exit_at_once(NOT_STARTED);
            }
        }
    }

    fn apply(&self) -> Failed {
        if self.session {
            at(Step::Session, child::new_session())?;
        }
        if let Some(group) = self.group {
            at(Step::Group, child::join_group(group))?;
        }
        if self.nice != 0 {
            at(Step::Nice, child::add_nice(self.nice))?;
        }
        if let Some(cpus) = &self.cpus {
            at(Step::Cpus, cpus.apply())?;
            // The kernel leaves out silently what is not there.
            at(Step::Cpus, if cpus.is_applied() { Ok(()) } else { Err(os::EINVAL) })?;
        }
        at(Step::Stdio, child::set_standard(self.stdio))
    }

    fn execute(&self, image: &Image) -> Failed {
        at(Step::Descriptors, child::close_on_exec_but(image.kept()))?;
        at(Step::Signals, child::reset_signals())?;
        Err((Step::Execute, image.execute()))
    }

    /// In the parent: what the child said went wrong.
    pub(super) fn error(&self, report: &Report, image: Option<&Image>) -> Error {
        let (step, errno) = report.refused();
        let what = match Step::from_number(step) {
            Some(Step::Watch) => "the kernel does not tell of an exec".into(),
            Some(Step::Session) => "cannot begin a session".into(),
            Some(Step::Group) => {
                format!("cannot join process group {}", self.group.unwrap_or_default())
            }
            Some(Step::Nice) => format!("cannot change the niceness by {}", self.nice),
            Some(Step::Cpus) => "not all of the processors asked for are there to be used".into(),
            Some(Step::Stdio) => "cannot set the standard descriptors".into(),
            Some(Step::Descriptors) => "cannot have the other descriptors closed".into(),
            Some(Step::Signals) => "cannot reset the signals".into(),
            Some(Step::Execute) => {
                format!("cannot execute '{}'", image.map_or_else(String::new, Image::program))
            }
            None => "the child could not be set up".to_owned(),
        };
        Error::from_errno(errno, what)
    }
}

fn at(step: Step, result: std::result::Result<(), i32>) -> Failed {
    result.map_err(|errno| (step, errno))
}

fn set_of(cpus: &[usize]) -> Result<CpuSet> {
    let mut set = CpuSet::default();
    for &cpu in cpus {
        if cpu >= CpuSet::MOST {
            return Err(invalid(format!("there is no processor {cpu}")));
        }
        set.add(cpu);
    }
    if set.is_empty() {
        return Err(invalid("no processors to run on were given".into()));
    }
    Ok(set)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_known_by_its_number() {
        for (number, step) in (1..).zip(Step::ALL) {
            assert_eq!(Step::from_number(number), Some(step));
        }
        assert_eq!(Step::from_number(0), None);
        assert_eq!(Step::from_number(10), None);
    }
}
