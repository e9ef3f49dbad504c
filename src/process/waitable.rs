//! Waiting for the end of a process together with other things.

use crate::process::Process;
use crate::wait::eventcount::Look;
use crate::wait::select::Waitable;
use crate::wait::select::sealed::{Bed, Source};
use std::os::fd::AsFd;

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
