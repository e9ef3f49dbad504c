//! Waiting for the end of a process together with other things.

use crate::error::{Error, ErrorKind, Result};
use crate::process::Process;
use crate::wait::eventcount::Look;
use crate::wait::select::Waitable;
use crate::wait::select::sealed::{Bed, Source};
use std::os::fd::{AsFd, OwnedFd};

impl Source for Process {
    fn bed(&self) -> Bed<'_> {
        Bed::Descriptor(self.as_fd())
    }

    /// Its descriptor tells.
    fn is_ready(&self, _: u64, _: Look) -> bool {
        false
    }
}

impl Waitable for Process {}

/// The end of a process, by a descriptor of its own.
pub(crate) struct End(OwnedFd);

impl Process {
    pub(crate) fn ended(&self) -> Result<End> {
        let own = self.as_fd().try_clone_to_owned();
        own.map(End).map_err(|error| {
            let text = format!("cannot duplicate the descriptor of {self}: {error}");
            Error::new(ErrorKind::System, text)
        })
    }
}

impl Source for End {
    fn bed(&self) -> Bed<'_> {
        Bed::Descriptor(self.0.as_fd())
    }

    /// Its descriptor tells.
    fn is_ready(&self, _: u64, _: Look) -> bool {
        false
    }
}

impl Waitable for End {}
