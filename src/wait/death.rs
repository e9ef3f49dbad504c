//! Waiting for the death of who takes part in a segment.
//!
//! Its process's own descriptor tells, where that can be opened: a death is known at once. What no descriptor tells of, that it left
//! the segment, or died in another pid namespace, a look every slice finds.

use crate::error::{Error, ErrorKind, Result};
use crate::os::clock::Deadline;
use crate::os::liveness::has_ended;
use crate::segment::Segment;
use crate::segment::participant::Me;
use crate::wait::eventcount::Look;
use crate::wait::select::sealed::{Bed, Source};
use crate::wait::select::{Mode, Waitable, wait};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A process that takes part in a segment, as it is known to others: alive, or not.
///
/// It is one incarnation: a process that comes later, with the same number or in the same place, is another one. Only proof counts: a
/// process that is stopped, or sleeps for a year, is alive. It is over when its process has ended, however it did, and when
/// it has closed everything that it had of the segment. Made by [`Segment::peers`] and [`Segment::participant`].
///
/// ```standalone_crate
/// use mpshm::{Event, Process, Queue};
/// use std::time::Duration;
/// let (queue, ready) = (Queue::<[u8]>::new(4, 64)?, Event::new()?);
/// let child = Process::spawn(|| {
///     queue.push(b"I take part").unwrap();
///     ready.set();
///     loop { std::thread::park() }
/// })?;
/// ready.wait()?;
/// let peer = queue.segment().participant(child.pid())?;
/// assert!(peer.is_alive());
/// assert!(!peer.wait_death(Duration::from_millis(1))?);
/// child.kill()?;
/// assert!(peer.wait_death(Duration::from_secs(10))?);
/// # child.join()?;
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Participant {
    segment: Segment,
    who: Me,
    pid: u32,
    process: Option<OwnedFd>,
}

impl Segment {
    /// Who else takes part in the segment and is not proven dead: all that own or may own something in it, but for this process.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn peers(&self) -> Result<Vec<Participant>> {
        let own = self.me_if_joined().map(|(me, _)| me);
        let living = self.table()?.living();
        let others = living.into_iter().filter(|&(who, _)| Some(who) != own);
        Ok(others.map(|(who, pid)| Participant::over(self, who, pid)).collect())
    }

    /// The process `pid`, as it numbers itself, that takes part in the segment.
    ///
    /// # Errors
    /// `NotFound` when no living one of that number does; `Corrupt`.
    pub fn participant(&self, pid: u32) -> Result<Participant> {
        let mut living = self.table()?.living().into_iter();
        match living.find(|&(_, found)| found == pid && pid != 0) {
            Some((who, pid)) => Ok(Participant::over(self, who, pid)),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("process {pid} does not take part in the segment, or is dead"),
            )),
        }
    }
}

impl Participant {
    fn over(segment: &Segment, who: Me, pid: u32) -> Self {
        let process = segment.table().ok().and_then(|table| table.open(who.slot, who.generation));
        Self { segment: segment.clone(), who, pid, process }
    }

    /// Its number in its own pid namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is not proven that it is dead, or has left the segment.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.is_over(Look::Deaths)
    }

    /// Waits until it is dead, or has left the segment, or `deadline` (a [`Deadline`], a `Duration` or an `Instant`) has passed: then false.
    /// A death is known at once where its process can be opened (in the same pid namespace), else within 80 ms, as that it left is. A
    /// duration of zero is a look.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn wait_death(&self, deadline: impl Into<Deadline>) -> Result<bool> {
        if !self.is_alive() {
            return Ok(true);
        }
        Ok(!wait(&[self], Mode::Any, deadline.into())?.is_empty())
    }

    fn is_over(&self, look: Look) -> bool {
        if self.process.as_ref().is_some_and(|process| has_ended(process.as_raw_fd())) {
            return true;
        }
        self.has_left(look)
    }

    fn has_left(&self, look: Look) -> bool {
        let Ok(table) = self.segment.table() else { return true };
        let Me { slot, generation } = self.who;
        if look == Look::Items {
            return table.holder(slot) != Some(generation);
        }
        table.is_over(slot, generation)
    }

    /// Another handle of the same participant.
    pub(crate) fn another(&self) -> Self {
        Self::over(&self.segment, self.who, self.pid)
    }
}

impl Source for Participant {
    fn bed(&self) -> Bed<'_> {
        match &self.process {
            Some(process) => Bed::Descriptor(process.as_fd()),
            None => Bed::Nowhere,
        }
    }

    fn is_ready(&self, _: u64, look: Look) -> bool {
        self.has_left(look)
    }
}

impl Waitable for Participant {}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Participant").field("pid", &self.pid).finish_non_exhaustive()
    }
}
