//! A child under the tracer: one operation, stopped at instruction k.
//!
//! The child warms up, stops itself, and is then single-stepped. Point k is the state after k
//! instructions behind the first marker: point 0 is the marker itself, and the last point is the
//! last instruction before the second marker has been reached. What counts as one instruction:
//!
//! - a string instruction with a repeat prefix, whatever its count (the processor traps after each
//!   round, with the program counter still on it);
//! - a system call, the kernel's work included;
//! - each instruction of the vdso, for that runs in user mode.
//!
//! A long way is shortened: the addresses of one full run are kept, and a later child is run at
//! full speed into a hardware breakpoint on an instruction shortly before k, as often as it takes, and
//! stepped from there on. A child that takes another way than
//! the first one did is noticed ([`Arrival::Strayed`]), and its point is tried again step by step.
//!
//! Only x86-64: on processors with load-exclusive and store-exclusive a single step between the
//! two clears the monitor, and no such loop would ever end.

use super::page::Page;
use super::process::{Child, Event, Ticker, said};
use super::route::{Anchor, Route, Step};
use super::verdict::{Check, Failure};
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// A child inside its operation, stopped.
pub struct Traced<'a> {
    pub(super) child: Child,
    pub(super) page: &'a Page,
    _ticker: Ticker,
    limit: Duration,
    pub(super) deadline: Instant,
    /// Instructions executed behind the first marker.
    steps: usize,
    address: u64,
    /// A signal to be delivered with the next step.
    pub(super) pending: i32,
}

/// Where a run to a point ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// At the point, inside the operation.
    There,
    /// The operation had returned before it.
    Ended,
    /// Not on the way that the recorded run took.
    Strayed,
}

/// Steps shorter than this are simply stepped: setting a breakpoint costs a few system calls.
const WORTH: usize = 12;

impl<'a> Traced<'a> {
    /// Forks a child that runs `prepare` at full speed, then `operate` between the markers, then `conclude`, which makes
    /// the answer that counts of what that answered. After `limit` in all it counts as hanging. Call
    /// [`arrive`](Self::arrive) next.
    pub fn fork<P>(
        page: &'a Page,
        limit: Duration,
        prepare: impl FnOnce() -> P,
        operate: impl FnOnce(&mut P) -> u64,
        conclude: impl FnOnce(&mut P, u64) -> Result<u64, Failure>,
    ) -> Self {
        page.reset();
        let ticker = Ticker::start();
        let deadline = Instant::now() + limit;
        let body = || {
            // SAFETY: no pointers; makes the lab this process's tracer.
            unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            let done = catch_unwind(AssertUnwindSafe(|| {
                let mut prepared = prepare();
                stock_up();
                // SAFETY: stops this process; the tracer swallows the signal.
                unsafe { libc::syscall(libc::SYS_kill, libc::getpid(), libc::SIGSTOP) };
                page.enter();
                let answer = operate(&mut prepared);
                page.leave();
                match conclude(&mut prepared, answer) {
                    Ok(answer) => page.answer(answer),
                    Err(failure) => page.fail(&failure),
                }
            }));
            match done {
                Ok(()) => 0,
                Err(panic) => {
                    page.fail(&Failure::new(Check::Died, format!("panicked: {}", said(&*panic))));
                    101
                }
            }
        };
        let child = Child::fork(|| on_a_stack_page(body));
        Self { child, page, _ticker: ticker, limit, deadline, steps: 0, address: 0, pending: 0 }
    }

    /// Waits for the child's preparations to end, and brings it to point 0.
    pub fn arrive(&mut self) -> Result<(), Failure> {
        match self.child.wait(self.deadline) {
            Some(Event::Stopped(libc::SIGSTOP)) => {}
            other => return Err(self.trouble("before its operation", other)),
        }
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
        self.request(libc::PTRACE_SETOPTIONS, 0, options as usize);
        while !self.page.is_inside() {
            self.advance()?;
        }
        self.steps = 0;
        Ok(())
    }

    /// Executes one instruction; whether the child is still inside its operation.
    pub fn step(&mut self) -> Result<bool, Failure> {
        self.advance()?;
        self.steps += 1;
        if self.steps % 1024 == 0 {
            self.in_time()?;
        }
        Ok(self.page.is_inside())
    }

    fn advance(&mut self) -> Result<(), Failure> {
        loop {
            self.go_on(libc::PTRACE_SINGLESTEP)?;
            if self.pending != 0 {
                continue; // a signal came instead: nothing was executed
            }
            let address = self.read_address();
            let same = std::mem::replace(&mut self.address, address) == address;
            if !(same && self.is_repeating()) {
                return Ok(());
            }
            self.in_time()?;
        }
    }

    /// Steps or continues, and waits for the stop that ends it.
    fn go_on(&mut self, how: libc::c_uint) -> Result<(), Failure> {
        let signal = std::mem::take(&mut self.pending);
        self.request(how, 0, signal as usize);
        match self.child.wait(self.deadline) {
            Some(Event::Stopped(libc::SIGTRAP)) => Ok(()),
            Some(Event::Stopped(
                signal @ (libc::SIGSEGV
                | libc::SIGBUS
                | libc::SIGILL
                | libc::SIGFPE
                | libc::SIGABRT),
            )) => {
                let at = self.read_address();
                let detail = format!(
                    "{signal} stopped the operation after {} instructions, at {}",
                    self.steps,
                    place(at)
                );
                Err(Failure::new(Check::Died, format!("signal {detail}")))
            }
            Some(Event::Stopped(signal)) => {
                self.pending = signal;
                self.in_time()
            }
            other => Err(self.trouble("in its operation", other)),
        }
    }

    pub(super) fn in_time(&mut self) -> Result<(), Failure> {
        if Instant::now() < self.deadline {
            Ok(())
        } else {
            Err(self.trouble("in its operation", None))
        }
    }

    pub(super) fn trouble(&mut self, when: &str, event: Option<Event>) -> Failure {
        match event {
            None => {
                let at = if self.address == 0 { String::new() } else { place(self.address) };
                Failure::new(
                    Check::Hang,
                    format!("not done {when} after {:?} and {} steps {at}", self.limit, self.steps),
                )
            }
            Some(event) => match self.page.result() {
                Err(failure) => failure,
                Ok(_) => Failure::new(Check::Died, format!("the child {event} {when}")),
            },
        }
    }

    /// Runs on to point `k`: by the recorded way if there is one, else step by step.
    pub fn run_to(&mut self, k: usize, route: Option<&Route>) -> Result<Arrival, Failure> {
        assert_eq!(self.steps, 0, "only from the first marker on");
        if let Some(route) = route {
            match self.run_to_anchor(route, route.anchor(k)) {
                Ok(true) => {}
                Ok(false) => return Ok(Arrival::Strayed),
                Err(_) if self.page.is_after() => return Ok(Arrival::Strayed),
                Err(failure) => return Err(failure),
            }
        }
        while self.steps < k {
            if !self.step()? {
                return Ok(Arrival::Ended);
            }
        }
        let strayed = route.is_some_and(|route| route.address(k) != self.address);
        Ok(if strayed { Arrival::Strayed } else { Arrival::There })
    }

    /// Runs close to a point at full speed; false when this is not the way that was recorded.
    fn run_to_anchor(&mut self, route: &Route, anchor: Anchor) -> Result<bool, Failure> {
        if anchor.calls > 0 {
            for _ in 0..anchor.calls {
                if !self.pass_call()? {
                    return Ok(false);
                }
            }
            self.arrived_at(anchor.base);
        }
        let steps = anchor.at - anchor.base;
        if steps > anchor.times + WORTH && self.set_breakpoint(Some(route.address(anchor.at))) {
            let mut times = anchor.times;
            while times > 0 {
                self.go_on(libc::PTRACE_CONT)?;
                times -= usize::from(self.pending == 0); // else it was a signal
            }
            self.set_breakpoint(None);
            self.arrived_at(anchor.at);
        }
        Ok(self.address == route.address(self.steps) && self.page.is_inside())
    }

    fn arrived_at(&mut self, point: usize) {
        self.address = self.read_address();
        self.steps = point;
    }

    /// Steps to the end and records the way; `state` tells one state of the memory from another.
    pub fn record(&mut self, state: impl Fn() -> u64) -> Result<Route, Failure> {
        assert_eq!(self.steps, 0, "only from the first marker on");
        let mut steps = vec![Step { address: self.address, changed: false, called: false }];
        let mut before = state();
        loop {
            let called = self.is_call();
            if !self.step()? {
                return Ok(Route::new(steps));
            }
            let now = state();
            let changed = std::mem::replace(&mut before, now) != now;
            steps.push(Step { address: self.address, changed, called });
        }
    }

    /// The address of the next instruction.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// SIGKILL, here and now; returns when the process is gone.
    pub fn kill(self) {
        self.child.kill();
    }

    /// SIGSTOP, here and now, and no tracer any more: an ordinary stopped process.
    pub fn stop(mut self) -> Result<Stopped<'a>, Failure> {
        self.request(libc::PTRACE_DETACH, 0, libc::SIGSTOP as usize);
        match self.child.wait(self.deadline) {
            Some(Event::Stopped(libc::SIGSTOP)) => {
                Ok(Stopped { child: self.child, page: self.page, limit: self.limit })
            }
            other => Err(self.trouble("on its way into the stop", other)),
        }
    }

    pub(super) fn request(
        &self,
        request: libc::c_uint,
        address: usize,
        data: usize,
    ) -> libc::c_long {
        // SAFETY: every request made here takes numbers, not pointers into this process.
        let result = unsafe { libc::ptrace(request, self.child.pid(), address, data) };
        let error = std::io::Error::last_os_error();
        assert!(
            result != -1 || matches!(request, libc::PTRACE_PEEKTEXT | libc::PTRACE_POKEUSER),
            "ptrace request {request}: {error}"
        );
        result
    }

    fn read_address(&self) -> u64 {
        self.register(offset_of!(libc::user_regs_struct, rip))
    }

    pub(super) fn register(&self, offset: usize) -> u64 {
        let offset = offset_of!(libc::user, regs) + offset;
        self.request(libc::PTRACE_PEEKUSER, offset, 0) as u64
    }

    /// The bytes of the next instruction.
    fn instruction(&self) -> [u8; 8] {
        self.request(libc::PTRACE_PEEKTEXT, self.address as usize, 0).to_le_bytes()
    }

    fn is_call(&self) -> bool {
        self.instruction()[..2] == [0x0f, 0x05]
    }

    /// Whether the next instruction is a string instruction with a repeat prefix.
    fn is_repeating(&self) -> bool {
        let mut repeats = false;
        for byte in self.instruction() {
            match byte {
                0xf2 | 0xf3 => repeats = true,
                0x66 | 0x67 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65 | 0x40..=0x4f => {}
                0xa4..=0xa7 | 0xaa..=0xaf | 0x6c..=0x6f => return repeats,
                _ => return false,
            }
        }
        false
    }

    /// Sets or clears the hardware breakpoint; false where there is none to be had.
    fn set_breakpoint(&self, address: Option<u64>) -> bool {
        const ENABLE_FIRST: usize = 1; // local enable of breakpoint 0: execution, one byte
        let register = |number: usize| offset_of!(libc::user, u_debugreg) + 8 * number;
        match address {
            None => self.request(libc::PTRACE_POKEUSER, register(7), 0) == 0,
            Some(address) => {
                self.request(libc::PTRACE_POKEUSER, register(0), address as usize) == 0
                    && self.request(libc::PTRACE_POKEUSER, register(7), ENABLE_FIRST) == 0
            }
        }
    }
}

/// Fills the allocator's stock of small pieces. The child has inherited the lab's heap, which looks different at each
/// fork; without this the way through the allocator would, too.
fn stock_up() {
    for size in (16..=1024).step_by(16) {
        let pieces: [Vec<u8>; 4] = std::array::from_fn(|_| Vec::with_capacity(size));
        drop(std::hint::black_box(pieces));
    }
}

/// Runs `body` with its stack at the end of a page. Copies take one way or another by where their ends lie in a page, and
/// the lab's own calls go deeper here than there when it forks.
#[cfg(target_arch = "x86_64")]
fn on_a_stack_page<B: FnOnce() -> i32>(body: B) -> i32 {
    extern "C" fn run<B: FnOnce() -> i32>(call: &mut (Option<B>, i32)) {
        let body = call.0.take().expect("called once");
        call.1 = body();
    }
    let mut call = (Some(body), 101);
    // SAFETY: below the red zone the stack is free, and has more than a page; the register that keeps the stack pointer is
    // kept by what is called; the call gets the reference that it expects; a panic in it ends the process.
    unsafe {
        std::arch::asm!(
            "mov r12, rsp",
            "sub rsp, 256",
            "and rsp, -4096",
            "call {run}",
            "mov rsp, r12",
            run = in(reg) run::<B> as extern "C" fn(&mut (Option<B>, i32)),
            in("rdi") &raw mut call,
            out("r12") _,
            clobber_abi("C"),
        );
    }
    call.1
}

#[cfg(not(target_arch = "x86_64"))]
fn on_a_stack_page(body: impl FnOnce() -> i32) -> i32 {
    body()
}

/// A child that lies stopped inside its operation.
pub struct Stopped<'a> {
    child: Child,
    page: &'a Page,
    limit: Duration,
}

impl Stopped<'_> {
    /// SIGCONT; the operation's answer when it has returned and the child has ended.
    pub fn go_on(mut self) -> Result<u64, Failure> {
        let _ticker = Ticker::start();
        self.child.signal(libc::SIGCONT);
        match self.child.wait(Instant::now() + self.limit) {
            Some(Event::Exited(0)) if self.page.is_after() => self.page.result(),
            Some(event) => Err(match self.page.result() {
                Err(failure) => failure,
                Ok(_) => Failure::new(Check::Died, format!("after SIGCONT the child {event}")),
            }),
            None => Err(Failure::new(
                Check::Hang,
                format!("the operation had not returned {:?} after SIGCONT", self.limit),
            )),
        }
    }
}

/// An address as a tool wants it: the file it lies in, and the offset there.
pub fn place(address: u64) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut base = (String::new(), 0);
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let Some((from, to)) = fields.next().and_then(|range| range.split_once('-')) else {
            continue;
        };
        let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
        let file = fields.nth(4).unwrap_or("").to_owned();
        if file != base.0 {
            base = (file, number(from));
        }
        if (number(from)..number(to)).contains(&address) {
            return format!("{} {:#x}", base.0, address - base.1);
        }
    }
    format!("{address:#x}")
}
