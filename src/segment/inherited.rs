//! Segments that a process hands over to a program that it executes.
//!
//! Their descriptors stay open over the `exec`, and a variable of the environment says which they
//! are. It names each segment's id too, for the variable may come to programs that the descriptors
//! did not come to; there, a number stands for nothing, or for another file.

use crate::error::{Error, ErrorKind, Result};
use crate::os::child;
use crate::segment::Segment;
use std::os::fd::RawFd;

/// `LABEL:DESCRIPTOR:ID`, separated by commas; the id in hexadecimal digits.
pub(crate) const VARIABLE: &str = "MPSHM_SEGMENTS";
/// The longest label, in bytes.
const LABEL_MAX: usize = 100;

/// The variable's value; none where nothing is handed over.
pub(crate) fn list<'a>(
    handed: impl Iterator<Item = (&'a str, RawFd, u128)>,
) -> Result<Option<String>> {
    let mut labels = Vec::new();
    let mut entries = Vec::new();
    for (label, fd, id) in handed {
        check_label(label)?;
        if labels.contains(&label) {
            let message = format!("two segments are to be handed over as '{label}'");
            return Err(Error::new(ErrorKind::Exists, message));
        }
        labels.push(label);
        entries.push(format!("{label}:{fd}:{id:032x}"));
    }
    Ok((!entries.is_empty()).then(|| entries.join(",")))
}

fn check_label(label: &str) -> Result<()> {
    let forbidden = |c: char| matches!(c, ':' | ',') || c.is_control();
    if (1..=LABEL_MAX).contains(&label.len()) && !label.contains(forbidden) {
        return Ok(());
    }
    let shown: String = label.chars().take(40).collect();
    let message = format!(
        "the label '{shown}' of a segment: 1 to {LABEL_MAX} bytes without ':', ',' and control characters are expected"
    );
    Err(Error::new(ErrorKind::Invalid, message))
}

/// The descriptor and the id behind a label.
fn find(list: &str, label: &str) -> Option<(RawFd, u128)> {
    list.split(',').find_map(|entry| {
        let mut parts = entry.split(':');
        if parts.next()? != label {
            return None;
        }
        let (fd, id) = (parts.next()?.parse().ok()?, parts.next()?);
        Some((fd, u128::from_str_radix(id, 16).ok()?))
    })
}

impl Segment {
    /// Attaches to the segment that the process which executed this program handed over under
    /// `label`: by [`ProcessBuilder::segment`](crate::ProcessBuilder::segment), or in C by the
    /// options of `mpshm_process_exec()`. May be called again.
    ///
    /// A program in another language finds in the variable `MPSHM_SEGMENTS` entries
    /// `LABEL:DESCRIPTOR:ID`, separated by commas.
    ///
    /// ```
    /// use mpshm::{ErrorKind, Segment};
    /// let error = Segment::inherited("nothing of that label").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// ```
    ///
    /// # Errors
    /// `NotFound` when nothing was handed over under that label, or not to this program but to one that
    /// executed it; `Invalid` for a label that there cannot be; those of
    /// [`attach_fd`](Self::attach_fd).
    pub fn inherited(label: &str) -> Result<Self> {
        check_label(label)?;
        let missing = || {
            let message = format!("no segment was handed over as '{label}' to this program");
            Error::new(ErrorKind::NotFound, message)
        };
        let list = std::env::var(VARIABLE).map_err(|_| missing())?;
        let (fd, id) = find(&list, label).ok_or_else(missing)?;
        if fd < 3 {
            return Err(missing());
        }
        let copy = child::copy_number(fd).map_err(|_| missing())?;
        let segment = Self::attach_fd(copy).map_err(|error| match error.kind() {
            // Another file has that number now.
            ErrorKind::Version | ErrorKind::Invalid => missing(),
            _ => error,
        })?;
        if segment.id() != id {
            return Err(missing());
        }
        // What this program executes is not to have it, unless that is asked for.
        child::set_close_on_exec(fd);
        Ok(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_found_and_nothing_else() {
        let handed = [("jobs", 5, 7), ("a b", 17, u128::MAX)];
        let text = list(handed.into_iter()).unwrap().unwrap();
        assert_eq!(find(&text, "jobs"), Some((5, 7)));
        assert_eq!(find(&text, "a b"), Some((17, u128::MAX)));
        for other in ["job", "jobss", "", "5", "a"] {
            assert_eq!(find(&text, other), None, "{other}");
        }
        for broken in
            ["jobs", "jobs:", "jobs:x:1", "jobs:5", "jobs:5:g", ",,:", "jobs:99999999999:1"]
        {
            assert_eq!(find(broken, "jobs"), None, "{broken}");
        }
        assert_eq!(list(std::iter::empty()).unwrap(), None);
    }

    #[test]
    fn labels_are_checked_and_given_once() {
        let long = "x".repeat(LABEL_MAX + 1);
        for bad in ["", "a:b", "a,b", "a\nb", "a\0b", long.as_str()] {
            assert_eq!(list([(bad, 3, 1)].into_iter()).unwrap_err().kind(), ErrorKind::Invalid);
        }
        let twice = [("a", 3, 1), ("a", 4, 2)];
        assert_eq!(list(twice.into_iter()).unwrap_err().kind(), ErrorKind::Exists);
    }
}
