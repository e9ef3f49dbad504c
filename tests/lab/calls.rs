//! A child under the tracer, taken to one of its system calls: about to make it, asleep in it, or just back.
//!
//! An operation that blocks has points that no single step ends at: those inside the kernel. The calls that
//! it makes are counted from the first marker on.

use super::process::Event;
use super::trace::Traced;
use super::verdict::Failure;

/// How far the child is with a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// In the kernel, and nothing done yet.
    Entered,
    /// It sleeps there.
    Asleep,
    /// It slept, and somebody's operation has woken it; it has not executed one instruction since.
    Roused,
    /// Back from it, by whatever came first.
    Returned,
}

/// One of an operation's system calls, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Call(usize),
    /// Of those that it sleeps in. How many others are made before one, such as offers of the processor, is not the same
    /// in each run.
    Sleep(usize),
}

/// A moment of an operation: this system call, in this phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub which: Which,
    pub phase: Phase,
}

/// One system call, as a survey met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub number: i64,
    pub slept: bool,
}

/// The signal of a stop at a system call, with the option that tells it from other traps.
const AT_CALL: i32 = libc::SIGTRAP | 0x80;

impl Traced<'_> {
    /// Notes the operation's system calls, up to the `sleeps`th that it sleeps in, or to its end.
    pub fn survey(&mut self, sleeps: usize) -> Result<Vec<Call>, Failure> {
        let mut calls: Vec<Call> = Vec::new();
        while self.enter_call()? {
            let number = self.call_number();
            let slept = self.sleeps()?;
            calls.push(Call { number, slept });
            if calls.iter().filter(|call| call.slept).count() == sleeps {
                break;
            }
            if slept {
                self.await_return()?;
            }
        }
        Ok(calls)
    }

    /// Runs on to a moment; `rouse` is what wakes it, where it has to be woken. False when this run did not come by
    /// there: the operation was over, or the call was not slept in.
    pub fn run_to_call(
        &mut self,
        moment: Moment,
        rouse: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let (mut calls, mut sleeps) = (0, 0);
        while self.enter_call()? {
            let is_call = moment.which == Which::Call(calls);
            if is_call && moment.phase == Phase::Entered {
                return Ok(true);
            }
            let slept = self.sleeps()?;
            if is_call || slept && moment.which == Which::Sleep(sleeps) {
                return self.run_to_phase(moment.phase, slept, rouse);
            }
            if slept {
                self.await_return()?;
                sleeps += 1;
            }
            calls += 1;
        }
        Ok(false)
    }

    /// Runs on in the system call that was looked for; whether it `slept` is known.
    fn run_to_phase(
        &mut self,
        phase: Phase,
        slept: bool,
        rouse: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        match phase {
            Phase::Asleep => return Ok(slept),
            Phase::Roused if !slept => return Ok(false),
            Phase::Roused => rouse()?,
            _ => {}
        }
        if slept {
            self.await_return()?;
        }
        Ok(true)
    }

    /// Runs to the return of the next system call; false when the operation has ended before one.
    pub(super) fn pass_call(&mut self) -> Result<bool, Failure> {
        if !self.enter_call()? {
            return Ok(false);
        }
        self.request(libc::PTRACE_SYSCALL, 0, 0);
        self.await_return()?;
        Ok(self.page.is_inside())
    }

    /// Runs to the entry of the next system call; false when the operation has ended before one.
    fn enter_call(&mut self) -> Result<bool, Failure> {
        self.request(libc::PTRACE_SYSCALL, 0, 0);
        self.await_return()?;
        Ok(self.page.is_inside())
    }

    /// Lets the child, which stands at the entry of a system call, do it. Whether it sleeps there now; else it is back.
    fn sleeps(&mut self) -> Result<bool, Failure> {
        self.request(libc::PTRACE_SYSCALL, 0, 0);
        loop {
            match self.child.look() {
                Some(Event::Stopped(AT_CALL)) => return Ok(false),
                None if self.child.is_asleep() => return Ok(true),
                None => self.in_time()?,
                Some(Event::Stopped(signal)) => {
                    self.request(libc::PTRACE_SYSCALL, 0, signal as usize);
                }
                other => return Err(self.trouble("in a system call", other)),
            }
            std::thread::yield_now();
        }
    }

    /// Waits for the next stop at a system call, entry or exit.
    fn await_return(&mut self) -> Result<(), Failure> {
        loop {
            match self.child.wait(self.deadline) {
                Some(Event::Stopped(AT_CALL)) => return Ok(()),
                Some(Event::Stopped(signal)) => {
                    self.request(libc::PTRACE_SYSCALL, 0, signal as usize);
                    self.in_time()?;
                }
                other => return Err(self.trouble("on its way to a system call", other)),
            }
        }
    }

    fn call_number(&self) -> i64 {
        self.register(std::mem::offset_of!(libc::user_regs_struct, orig_rax)) as i64
    }

    /// SIGSTOP for one that sleeps in the kernel, which it leaves for that; it is at its way out when this returns.
    pub fn interrupt(&mut self) -> Result<(), Failure> {
        self.child.signal(libc::SIGSTOP);
        match self.child.wait(self.deadline) {
            Some(Event::Stopped(libc::SIGSTOP | AT_CALL)) => Ok(()),
            other => Err(self.trouble("when it was to be stopped asleep", other)),
        }
    }
}
