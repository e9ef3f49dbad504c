//! A process under this one's tracer, taken from one of its instructions to the next.
//!
//! Workers are grandchildren here, and the fork server is a child whose parent waits for it by itself, so that whoever
//! steps them can neither fork them nor reap them; they are attached to where they sleep.

use super::common::state_of;
use super::crew::{parent_of, until_state};
use std::collections::HashMap;
use std::mem::offset_of;

/// A process of this test that is stopped between two of its instructions.
pub struct Traced {
    pid: i32,
    /// Where the next instruction is.
    pub address: u64,
    /// Whether it has ended by itself.
    pub ended: bool,
    /// Whether it has been let go.
    released: bool,
    /// The system call that it slept in, by address and number: where its way ends.
    sleep: Option<(u64, libc::c_long)>,
}

/// An instruction of a way, for the so manieth time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub address: u64,
    pub times: usize,
}

impl Traced {
    /// Takes a process that sleeps in this system call; its next instruction is the call, made again. None, and it goes on,
    /// if it does not sleep there.
    pub fn asleep_in(pid: u32, call: libc::c_long) -> Option<Self> {
        let mut traced =
            Self { pid: pid as i32, address: 0, ended: false, released: false, sleep: None };
        traced.request(libc::PTRACE_ATTACH, 0, 0);
        // Another signal may come before the one that attaching sends, which must not be left to stop it later.
        while traced.await_stop() != libc::SIGSTOP && !traced.ended {
            traced.request(libc::PTRACE_CONT, 0, 0);
        }
        traced.request(libc::PTRACE_SETOPTIONS, 0, libc::PTRACE_O_EXITKILL as usize);
        // What the kernel answers a call with that it will make again once the stop is over.
        const MADE_AGAIN: std::ops::RangeInclusive<i64> = -516..=-512;
        let answer = traced.register(offset_of!(libc::user_regs_struct, rax)) as i64;
        let made = traced.register(offset_of!(libc::user_regs_struct, orig_rax)) as i64;
        let again = made == call || made == libc::SYS_restart_syscall;
        if !again || !MADE_AGAIN.contains(&answer) {
            traced.let_go();
            return None;
        }
        traced.address -= 2; // the length of the instruction
        traced.sleep = Some((traced.address, call));
        Some(traced)
    }

    /// Takes a child that has asked to be traced and stops itself now.
    pub fn child(pid: u32) -> Self {
        let mut traced =
            Self { pid: pid as i32, address: 0, ended: false, released: false, sleep: None };
        traced.await_stop();
        traced.request(libc::PTRACE_SETOPTIONS, 0, libc::PTRACE_O_EXITKILL as usize);
        traced
    }

    /// One instruction; a system call, the kernel's work included, is one.
    pub fn step(&mut self) {
        while !self.go_on(libc::PTRACE_SINGLESTEP) {}
    }

    /// Steps or continues; false when a signal came first. Nothing here needs any: it is thrown away.
    fn go_on(&mut self, how: libc::c_uint) -> bool {
        self.request(how, 0, 0);
        self.await_stop() == libc::SIGTRAP || self.ended
    }

    /// Whether it is about to sleep where it slept before.
    fn sleeps_again(&self) -> bool {
        let Some((address, call)) = self.sleep else { return false };
        if self.address != address
            || self.register(offset_of!(libc::user_regs_struct, rax)) != call as u64
        {
            return false;
        }
        let operation = self.register(offset_of!(libc::user_regs_struct, rsi)) as i32 & 0x7f;
        call != libc::SYS_futex || [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET].contains(&operation)
    }

    /// Whether its way is over.
    pub fn is_over(&self) -> bool {
        self.ended || self.sleeps_again()
    }

    /// Steps to the end of the way; the points on it that are met for the first or second time, and how many instructions
    /// there are in all. `over` may end the way earlier.
    pub fn survey(&mut self, over: impl Fn() -> bool) -> (Vec<Point>, usize) {
        let (mut points, mut length, mut met) = (Vec::new(), 0, HashMap::new());
        loop {
            let times: &mut usize = met.entry(self.address).or_default();
            *times += 1;
            if *times <= 2 {
                points.push(Point { address: self.address, times: *times });
            }
            length += 1;
            self.step();
            if self.is_over() || over() {
                return (points, length);
            }
        }
    }

    /// Runs at full speed to a point; false when the way was over before it came there.
    pub fn run_to(&mut self, point: Point, over: impl Fn() -> bool) -> bool {
        let mut times = point.times - usize::from(self.address == point.address);
        if times == 0 {
            return true;
        }
        // Off the instruction that it slept at, which is the end of the way, too.
        self.step();
        times -= usize::from(self.address == point.address);
        self.set_breakpoints(&[point.address, self.sleep.map_or(point.address, |sleep| sleep.0)]);
        while times > 0 {
            if self.ended || self.sleeps_again() || over() {
                return false;
            }
            let trapped = self.go_on(libc::PTRACE_CONT);
            times -= usize::from(trapped && !self.ended && self.address == point.address);
        }
        self.set_breakpoints(&[]);
        !self.ended && !over()
    }

    /// Steps to a point; false when the way was over before it came there.
    pub fn step_to(&mut self, point: Point) -> bool {
        let mut times = point.times;
        loop {
            times -= usize::from(self.address == point.address);
            if times == 0 {
                return true;
            }
            self.step();
            if self.is_over() {
                return false;
            }
        }
    }

    /// Sets hardware breakpoints on instructions.
    fn set_breakpoints(&self, addresses: &[u64]) {
        let register = |number: usize| offset_of!(libc::user, u_debugreg) + 8 * number;
        let mut enabled = 0;
        self.request(libc::PTRACE_POKEUSER, register(7), 0);
        for (number, &address) in addresses.iter().enumerate() {
            self.request(libc::PTRACE_POKEUSER, register(number), address as usize);
            enabled |= 1 << (2 * number);
        }
        self.request(libc::PTRACE_POKEUSER, register(7), enabled);
    }

    /// SIGKILL, here; returns when it has ended. It is left for its parent to reap.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGSTOP, here, and traced no more; returns when it is an ordinary stopped process.
    pub fn stop(mut self) {
        self.detach(libc::SIGSTOP);
        until_state(self.pid as u32, 'T');
    }

    /// Lets it go on.
    pub fn let_go(mut self) {
        self.detach(0);
    }

    fn detach(&mut self, signal: i32) {
        self.released = true;
        if !self.ended {
            self.set_breakpoints(&[]);
            self.request(libc::PTRACE_DETACH, 0, signal as usize);
        }
    }

    fn end(&mut self) {
        if self.ended || std::mem::replace(&mut self.released, true) {
            return;
        }
        // SAFETY: this process is the tracer of `pid`, which nobody else can have reaped.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        loop {
            // SAFETY: a valid place for the answer.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let how = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL;
            // SAFETY: as above.
            let found =
                unsafe { libc::waitid(libc::P_PID, self.pid as u32, &raw mut info, how) } == 0;
            if !found || [libc::CLD_KILLED, libc::CLD_EXITED].contains(&info.si_code) {
                break;
            }
        }
        self.hand_over();
    }

    /// The end of a process that is not this one's child is told to its parent once the tracer has heard of it.
    fn hand_over(&self) {
        if parent_of(self.pid as u32) != Some(std::process::id()) {
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), libc::__WALL) };
        }
    }

    /// Waits for its next stop, or its end; answers with the signal.
    fn await_stop(&mut self) -> i32 {
        // SAFETY: a valid place for the answer.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let how = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL;
        loop {
            // SAFETY: as above.
            let found = unsafe { libc::waitid(libc::P_PID, self.pid as u32, &raw mut info, how) };
            let error = std::io::Error::last_os_error();
            if found == 0 {
                break;
            }
            assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitid: {error}");
        }
        if [libc::CLD_KILLED, libc::CLD_DUMPED, libc::CLD_EXITED].contains(&info.si_code) {
            self.ended = true;
            self.hand_over();
            return 0;
        }
        // SAFETY: takes the stop that was just seen.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), libc::__WALL) };
        self.address = self.register(offset_of!(libc::user_regs_struct, rip));
        // SAFETY: of a child that has stopped, the signal.
        unsafe { info.si_status() }
    }

    fn register(&self, offset: usize) -> u64 {
        let offset = offset_of!(libc::user, regs) + offset;
        self.request(libc::PTRACE_PEEKUSER, offset, 0) as u64
    }

    fn request(&self, request: libc::c_uint, address: usize, data: usize) -> libc::c_long {
        // The answer of PEEKUSER may be -1.
        // SAFETY: every request made here takes numbers, not pointers into this process.
        unsafe {
            *libc::__errno_location() = 0;
            let answer = libc::ptrace(request, self.pid, address, data);
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() != Some(0) {
                panic!("ptrace {request} of {:?}: {error}", state_of(self.pid as u32));
            }
            answer
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.end();
    }
}
