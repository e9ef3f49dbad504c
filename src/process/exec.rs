//! A program to be executed, in the form that needs no memory any more.

use crate::error::{Error, ErrorKind, Result};
use crate::os::child::{self, Strings};
use crate::segment::{Segment, inherited};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What is searched where there is no `PATH`.
const USUAL_PATH: &str = "/bin:/usr/bin";

/// What a program gets besides its arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Baggage {
    /// What is changed in the environment.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Segments by their labels.
    pub(super) segments: Vec<(String, Segment)>,
}

/// All that an `execve` takes.
#[derive(Debug)]
pub(super) struct Image {
    /// As it was given.
    program: OsString,
    /// Where it may lie.
    candidates: Vec<CString>,
    arguments: Strings,
    environment: Strings,
    kept: Vec<RawFd>,
    /// Keeps these open, under numbers that are the same in the child.
    _owned: Vec<OwnedFd>,
}

impl Image {
    pub(super) fn new(
        program: &OsStr,
        arguments: impl IntoIterator<Item = OsString>,
        baggage: &Baggage,
    ) -> Result<Self> {
        let owned = copies(&baggage.segments)?;
        let kept: Vec<RawFd> = owned.iter().map(AsRawFd::as_raw_fd).collect();
        let handed = baggage.segments.iter().zip(&kept);
        let handed = handed.map(|((label, segment), fd)| (label.as_str(), *fd, segment.id()));
        let environment = environment(&baggage.environment, inherited::list(handed)?)?;
        let arguments = std::iter::once(program.to_owned()).chain(arguments);
        let arguments: Result<Vec<CString>> =
            arguments.map(|argument| terminated(argument, "an argument")).collect();
        Ok(Self {
            program: program.to_owned(),
            candidates: candidates(program, &baggage.environment)?,
            arguments: Strings::new(arguments?),
            environment: Strings::new(environment),
            kept,
            _owned: owned,
        })
    }

    /// For messages.
    pub(super) fn program(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// The descriptors that stay open.
    pub(super) fn kept(&self) -> &[RawFd] {
        &self.kept
    }

    /// Replaces this process's program; returns the error if it cannot. Allocates nothing.
    pub(super) fn execute(&self) -> i32 {
        child::execute(&self.candidates, &self.arguments, &self.environment)
    }
}

fn copies(segments: &[(String, Segment)]) -> Result<Vec<OwnedFd>> {
    let copy = |(label, segment): &(String, Segment)| {
        child::copy_descriptor(segment.as_fd()).map_err(|errno| {
            Error::from_errno(errno, format_args!("cannot hand over segment '{label}'"))
        })
    };
    segments.iter().map(copy).collect()
}

/// This process's environment with the changes, and the list of what is handed over.
fn environment(changes: &[(OsString, OsString)], handed: Option<String>) -> Result<Vec<CString>> {
    let changed = |name: &OsStr| changes.iter().any(|(other, _)| other == name);
    let own = std::env::vars_os().filter(|(name, _)| !changed(name));
    let mut all: Vec<(OsString, OsString)> = Vec::new();
    for (name, value) in changes {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            let message = format!("'{}' is no name of a variable", name.to_string_lossy());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        // The last change of a name is the one that counts.
        all.retain(|(other, _)| other != name);
        all.push((name.clone(), value.clone()));
    }
    all.extend(own);
    all.retain(|(name, _)| name != inherited::VARIABLE);
    all.extend(handed.map(|handed| (inherited::VARIABLE.into(), handed.into())));
    let joined = |(name, value): (OsString, OsString)| {
        let mut line = name.into_vec();
        line.push(b'=');
        line.extend_from_slice(value.as_bytes());
        terminated(OsString::from_vec(line), "a variable of the environment")
    };
    all.into_iter().map(joined).collect()
}

/// Where a program may lie: as a shell looks for it.
fn candidates(program: &OsStr, changes: &[(OsString, OsString)]) -> Result<Vec<CString>> {
    if program.is_empty() || program.as_bytes().contains(&b'/') {
        return Ok(vec![terminated(program.to_owned(), "the program's path")?]);
    }
    let changed = changes.iter().rev().find(|(name, _)| name == "PATH");
    let path = changed.map(|(_, path)| path.clone()).or_else(|| std::env::var_os("PATH"));
    let path = path.unwrap_or_else(|| USUAL_PATH.into());
    let place = |folder: std::path::PathBuf| {
        // An empty entry stands for the folder that the process is in.
        terminated(
            std::path::Path::new(".").join(folder).join(program).into(),
            "the program's path",
        )
    };
    std::env::split_paths(&path).map(place).collect()
}

fn terminated(text: OsString, what: &str) -> Result<CString> {
    CString::new(text.into_vec())
        .map_err(|_| Error::new(ErrorKind::Invalid, format!("{what} has a NUL inside")))
}
