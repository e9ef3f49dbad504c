//! A worker: takes tasks, runs them, sends home what came of them.
//!
//! It holds the task's message while it runs the task, so the argument is read in place. What tells
//! whether a task was begun is its state word, changed by CAS before the call: if the worker dies,
//! the queue delivers the message again, and the next worker runs it only if it was not begun.

use crate::error::Result;
use crate::layout::plain::{Pod, Zeroable};
use crate::os::{children, clock, liveness};
use crate::pool::wire::{self, FAILED, HEADER, LAST, PART, REFUSED, ResultHeader, TaskHeader};
use crate::process;
use crate::process::roster::Record;
use crate::process::server::Post;
use crate::queue::{Claim, PopError, Queue, Reservation};
use crate::value::Array;
use std::any::Any;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What a task's message makes the worker call. The function reads the argument and hands over the
/// result; a panic in it is the task's failure.
pub(crate) type Run = unsafe fn(target: u64, argument: Argument, output: &mut Output<'_>);

/// The bytes of an argument, in the task's message: aligned to 16, this worker's alone for the call.
#[derive(Clone, Copy)]
pub(crate) struct Argument {
    pub start: *const u8,
    pub length: usize,
}

/// Where a task's result goes.
pub(crate) struct Output<'a> {
    results: &'a Queue<[u8]>,
    header: ResultHeader,
    /// What went wrong on the way home, if anything.
    sent: Result<()>,
    record: &'a Record,
    /// The function still runs, since then.
    running: Option<u64>,
    /// What the worker keeps from task to task.
    state: &'a mut dyn Any,
}

impl<'a> Output<'a> {
    /// Sends a result of `length` bytes that `write` writes to the place it is given, aligned to 16:
    /// in the message itself where it fits.
    pub(crate) fn in_place(&mut self, length: usize, write: impl FnOnce(*mut u8)) {
        self.in_place_some(length, |place| {
            write(place);
            length
        });
    }

    /// The same of at most `length` bytes: `write` says how many there are.
    pub(super) fn in_place_some(&mut self, length: usize, write: impl FnOnce(*mut u8) -> usize) {
        if HEADER + length > self.results.message_max() {
            let mut bytes: Vec<u128> = vec![0; length.div_ceil(16)];
            let length = write(bytes.as_mut_ptr().cast());
            return self.bytes(&bytemuck::cast_slice(&bytes)[..length]);
        }
        let header = ResultHeader { kind: LAST, ..self.header };
        self.sent = self.reserve(HEADER + length).and_then(|mut place| {
            place.write_at(0, bytemuck::bytes_of(&header))?;
            // SAFETY: HEADER + length bytes were reserved.
            let length = write(unsafe { place.as_mut_ptr().add(HEADER) });
            self.finish();
            Ok(place.commit(HEADER + length)?)
        });
    }

    /// Room for a result. A wait for it is no part of the task's time.
    fn reserve(&mut self, length: usize) -> Result<Reservation<'a>> {
        let ran = self.pause();
        let place = self.results.reserve(length)?;
        if ran {
            self.run();
        }
        Ok(place)
    }

    /// What [`Habits::prepare`] made.
    pub(super) fn state(&mut self) -> &mut dyn Any {
        self.state
    }

    /// The task's time begins, or goes on.
    fn run(&mut self) {
        let now = clock::now();
        self.record.take(self.header.id, now);
        self.running = Some(now);
    }

    /// The task's time stops; says whether it ran.
    fn pause(&mut self) -> bool {
        let Some(since) = self.running.take() else { return false };
        self.record.pause(self.header.id);
        self.record.count(0, clock::now().saturating_sub(since));
        true
    }

    /// The function has returned. To be said before the result goes home.
    fn finish(&mut self) {
        if self.pause() {
            self.record.count(1, 0);
        }
    }

    /// Sends a result of any length, in as many messages as it takes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.send(bytes, LAST);
    }

    /// Says that the task failed, and why.
    pub(crate) fn fail(&mut self, text: &str) {
        self.send(text.as_bytes(), FAILED);
    }

    fn send(&mut self, bytes: &[u8], last: u32) {
        self.finish();
        let room = self.results.message_max() - HEADER;
        let mut parts = bytes.chunks(room).peekable();
        let mut part: &[u8] = parts.next().unwrap_or_default();
        self.sent = loop {
            let kind = if parts.peek().is_some() { PART } else { last };
            let header = ResultHeader { kind, ..self.header };
            let sent = self.results.reserve(HEADER + part.len()).map_err(Into::into).and_then(
                |mut place| {
                    place.write_at(0, bytemuck::bytes_of(&header))?;
                    place.write_at(HEADER, part)?;
                    Ok(place.commit(HEADER + part.len())?)
                },
            );
            match parts.next() {
                Some(next) if sent.is_ok() => part = next,
                _ => break sent,
            }
        };
    }
}

/// An idle worker looks this often whether its owner still lives, should the fork server be unable to.
const LOOK_FOR_OWNER: Duration = Duration::from_secs(1);

/// What all workers of a pool are given.
pub(crate) struct Equipment<'a> {
    pub tasks: &'a Queue<[u8]>,
    pub results: &'a Queue<[u8]>,
    pub states: &'a Array<u64>,
    /// A descriptor that is readable when the owner has ended.
    pub owner: BorrowedFd<'a>,
    pub habits: &'a Habits,
    /// The worker's own process id.
    pub pid: u32,
}

/// Makes what a worker keeps from task to task, its initializer's work included.
pub(crate) type Prepare = dyn Fn() -> Box<dyn Any> + Send + Sync;

/// How workers are to live.
pub(crate) struct Habits {
    pub prepare: Box<Prepare>,
    /// After how many tasks a worker ends and another takes its place.
    pub max_tasks: Option<u64>,
    /// Bytes that it may have beyond those of its start.
    pub memory_limit: Option<u64>,
    /// Whether each stays on a processor of its own, as far as there are enough.
    pub pinned: bool,
    /// Whether a task is refused that another worker had taken before it died.
    pub only_first_hand: bool,
}

/// A worker's life; returns the exit code. A panic of its initializer comes through.
pub(crate) fn run(post: Post<'_>, equipment: &Equipment<'_>) -> i32 {
    let habits = equipment.habits;
    let mut state = prepare(post.seat, habits);
    // Whoever finds it ready finds it able to say what went wrong, not only that something did.
    post.record.say_ready(clock::now());
    let mut left = habits.max_tasks;
    while left != Some(0) && !post.record.is_to_retire() {
        match equipment.tasks.claim_timeout(LOOK_FOR_OWNER) {
            Err(PopError::TimedOut) if !liveness::has_ended(equipment.owner.as_raw_fd()) => {}
            Ok(message) => {
                let ran = run_task(post, &message, equipment, &mut *state);
                message.release();
                post.record.lay_down();
                match ran {
                    Ok(true) => left = left.map(|left| left - 1),
                    Ok(false) => {}
                    Err(_) => return 1,
                }
            }
            Err(PopError::Closed) => break,
            Err(_) => return 1,
        }
    }
    drop(state);
    post.record.say_retired();
    0
}

fn prepare(seat: usize, habits: &Habits) -> Box<dyn Any> {
    let limited = habits.memory_limit.map_or(Ok(()), children::limit_memory);
    let pinned = if habits.pinned { children::pin_to_cpu(seat) } else { Ok(()) };
    if let Err(error) = limited.and(pinned) {
        panic!("{error}");
    }
    (habits.prepare)()
}

/// Runs a task if it is still to be run; says whether it was.
fn run_task(
    post: Post<'_>,
    message: &Claim<'_>,
    equipment: &Equipment<'_>,
    state: &mut dyn Any,
) -> Result<bool> {
    let mut task = TaskHeader::zeroed();
    message.read_at(0, bytemuck::bytes_of_mut(&mut task))?;
    let Equipment { results, states, .. } = *equipment;
    let pid = equipment.pid;
    let header = ResultHeader { id: task.id, slot: task.slot, kind: LAST, pid, reserved: [0; 3] };
    let record = post.record;
    let mut output = Output { results, header, sent: Ok(()), record, running: None, state };
    // First the record: who finds the worker idle there may kill it, and a task that it had begun would be lost.
    output.run();
    let (waiting, begun) = (wire::waiting(task.id), wire::begun(task.id, post.number));
    if states.compare_exchange(task.slot as usize, waiting, begun)?.is_err() {
        // Cancelled, or begun by a worker that died: the owner knows.
        output.pause();
        return Ok(false);
    }
    if equipment.habits.only_first_hand && message.deliveries() > 1 {
        output.send(&[], REFUSED);
        return output.sent.map(|()| true);
    }
    // SAFETY: the owner, a process with this very code, wrote the address of a `Run` there.
    let run: Run = unsafe { std::mem::transmute(task.run as usize) };
    let argument = Argument {
        // SAFETY: the message is longer than its header.
        start: unsafe { message.as_ptr().add(HEADER) },
        length: message.len() - HEADER,
    };
    let caught = process::catch_panic(|| {
        // SAFETY: the owner pairs each `Run` with the argument that it expects.
        unsafe { run(task.target, argument, &mut output) }
    });
    if let Err(text) = caught {
        output.fail(&text);
    }
    output.sent.map(|()| true)
}

/// A function that captures nothing, out of nothing.
///
/// # Safety
/// A value of `F` exists somewhere.
pub(super) unsafe fn conjure<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0, "a task's function must capture nothing") };
    // SAFETY: a type of size zero of which there is a value, by the caller's word, and which is `Copy`.
    unsafe { std::mem::zeroed() }
}

/// Runs the captureless `F` on each of the argument's `T`s.
///
/// # Safety
/// The argument is `T`s; a value of `F` exists.
pub(crate) unsafe fn run_map<F, T, R>(_: u64, argument: Argument, output: &mut Output<'_>)
where
    F: Fn(T) -> R + Copy,
    T: Pod,
    R: Pod,
{
    // SAFETY: the caller's word.
    unsafe { run_each(argument, output, conjure::<F>()) }
}

/// Runs `f` on each of the argument's `T`s.
///
/// # Safety
/// The argument is `T`s.
pub(super) unsafe fn run_each<T, R>(
    argument: Argument,
    output: &mut Output<'_>,
    mut f: impl FnMut(T) -> R,
) where
    T: Pod,
    R: Pod,
{
    let count = argument.length / size_of::<T>();
    let input = argument.start.cast::<T>();
    output.in_place(count * size_of::<R>(), |place| {
        let place = place.cast::<R>();
        for index in 0..count {
            // SAFETY: `count` items lie on either side; both sides are aligned to 16, and `T` and `R`
            // to no more.
            unsafe { place.add(index).write(f(input.add(index).read())) };
        }
    });
}

/// Runs the captureless `F` on the argument's bytes.
///
/// # Safety
/// A value of `F` exists.
pub(crate) unsafe fn run_bytes<F>(_: u64, argument: Argument, output: &mut Output<'_>)
where
    F: Fn(&[u8]) -> Vec<u8> + Copy,
{
    // SAFETY: the caller's word.
    let f = unsafe { conjure::<F>() };
    let mut bytes = vec![0; argument.length];
    // SAFETY: `length` bytes lie there.
    unsafe { argument.start.copy_to_nonoverlapping(bytes.as_mut_ptr(), argument.length) };
    output.bytes(&f(&bytes));
}
