//! Waiting for room, for an item, and for the end of all work; looking for the dead before it is said that there is none.

use crate::error::{Error, ErrorKind, Result};
use crate::os::clock::Deadline;
use crate::os::fork;
use crate::queue::core::{Core, EVERYBODY, tally};
use crate::queue::error::Failure;
use crate::queue::exchange::Held;
use crate::queue::plan::WhenFull;
use crate::queue::ring::Refusal;
use crate::wait::eventcount::{EventCount, Look, Spin, wait_for};

impl Core {
    /// Runs `attempt` now; what it refuses is waited for. When nothing can be had, the dead are
    /// looked for first: they may hold it.
    #[inline]
    pub(crate) fn wait_push<T>(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        match attempt() {
            Err(Failure::Refused(Refusal::Full))
                if self.parts.shape.plan.full != WhenFull::Fail =>
            {
                self.wait(self.space_event(), &self.push_spin, deadline, Refusal::Full, attempt)
            }
            other => other,
        }
    }

    #[inline]
    pub(crate) fn wait_pop<T>(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        match attempt() {
            Err(Failure::Refused(Refusal::Empty)) => {
                self.wait(self.items_event(), &self.pop_spin, deadline, Refusal::Empty, attempt)
            }
            Err(Failure::Refused(Refusal::Closed)) => self.after_close(attempt),
            other => other,
        }
    }

    #[cold]
    fn wait<T>(
        &self,
        event: &EventCount,
        spin: &Spin,
        deadline: Deadline,
        refusal: Refusal,
        mut attempt: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let settled = |result| match result {
            Err(Failure::Refused(again)) if again == refusal => None,
            other => Some(other),
        };
        let done = wait_for(event, deadline, spin, |look| {
            let found = settled(attempt());
            if found.is_some() || look == Look::Items {
                return found;
            }
            if look == Look::DeathsIfDue {
                tally(&self.parts.header.tallies.waits, 1);
            }
            match self.look_for_deaths(look == Look::Deaths) {
                Ok(true) => settled(attempt()),
                Ok(false) => None,
                Err(error) => Some(Err(error.into())),
            }
            .or_else(|| {
                let died = refusal == Refusal::Empty && self.producers_died();
                died.then(|| settled(attempt()).unwrap_or(Err(Failure::PeerDead)))
            })
        })?;
        match done {
            Err(Failure::Refused(Refusal::Closed)) if refusal == Refusal::Empty => {
                self.after_close(attempt)
            }
            other => other,
        }
    }

    /// A non-blocking call's refusal, once the dead have been looked for.
    #[inline]
    pub(crate) fn or_repaired<T>(
        &self,
        result: std::result::Result<T, Failure>,
        attempt: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let plan = &self.parts.shape.plan;
        match result {
            Err(Failure::Refused(_)) if !plan.in_slots || plan.producers != 0 => {
                self.repaired(result, attempt)
            }
            other => other,
        }
    }

    #[cold]
    fn repaired<T>(
        &self,
        result: std::result::Result<T, Failure>,
        mut attempt: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        // What is said to be the end has to be: a look that is due only later will not do.
        let closed = matches!(result, Err(Failure::Refused(Refusal::Closed)));
        let result = if self.look_for_deaths(closed)? { attempt() } else { result };
        match result {
            // What was pushed before the last producer died is found behind its death.
            Err(Failure::Refused(Refusal::Empty)) if self.producers_died() => match attempt() {
                Err(Failure::Refused(Refusal::Empty)) => Err(Failure::PeerDead),
                other => other,
            },
            other => other,
        }
    }

    /// A closed queue is drained only when no dead consumer holds an item that will come back.
    #[cold]
    fn after_close<T>(
        &self,
        mut attempt: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        if !self.parts.shape.plan.in_slots {
            self.look_for_deaths(true)?;
        }
        attempt()
    }

    // ---- task_done and join ----

    /// The item is popped: consumed, unless the queue waits for its `task_done`.
    #[inline]
    pub(crate) fn consume(&self, held: Held) {
        if self.parts.shape.plan.joinable { self.keep(held) } else { self.release(held) }
    }

    #[cold]
    fn keep(&self, held: Held) {
        self.forget_of_the_parent();
        self.undone.borrow_mut().push_back(held);
    }

    /// What this handle popped in the parent of a forked child is the parent's.
    fn forget_of_the_parent(&self) {
        let process = fork::generation();
        if self.popped_by.replace(process) != process {
            self.undone.borrow_mut().clear();
        }
    }

    /// The oldest item that this handle has popped is done.
    pub(crate) fn task_done(&self) -> Result<()> {
        self.check_joinable("task_done")?;
        self.forget_of_the_parent();
        let held = self.undone.borrow_mut().pop_front();
        match held {
            Some(held) => self.release(held),
            None => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "task_done was said of a queue once more than this handle has popped items from it",
                ));
            }
        }
        Ok(())
    }

    fn check_joinable(&self, call: &str) -> Result<()> {
        if self.parts.shape.plan.joinable {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format!("{call} is for queues that were made joinable, and this one was not"),
        ))
    }

    /// Wakes who waits for the end of all work, when this may be it: `free`'s fence stands before the look, so of
    /// several that are done at a time the last one sees that the ring is empty.
    #[cold]
    pub(super) fn say_done(&self) {
        if self.exchange().len() == Ok(0) {
            self.parts.header.events.done.notify(EVERYBODY);
        }
    }

    /// Waits until every item is done.
    pub(crate) fn join(&self, deadline: Deadline) -> std::result::Result<(), Failure> {
        self.check_joinable("join")?;
        let finished = || match self.exchange().is_finished() {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(refusal) => Some(Err(Failure::from(refusal))),
        };
        if let Some(done) = finished() {
            return done;
        }
        wait_for(&self.parts.header.events.done, deadline, &Spin::new(), |look| {
            if look != Look::Items {
                if let Err(error) = self.look_for_deaths(look == Look::Deaths) {
                    return Some(Err(error.into()));
                }
            }
            finished()
        })?
    }
}
