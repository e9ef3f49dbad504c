//! A worker: takes tasks, runs them, sends home what came of them.
//!
//! It holds the task's message while it runs the task, so the argument is read in place. What tells
//! whether a task was begun is its state word, changed by CAS before the call: if the worker dies,
//! the queue delivers the message again, and the next worker runs it only if it was not begun.

use crate::error::Result;
use crate::layout::plain::{Pod, Zeroable};
use crate::pool::wire::{self, FAILED, HEADER, LAST, PART, ResultHeader, TaskHeader};
use crate::process;
use crate::queue::{Claim, Queue};
use crate::value::Array;
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
}

impl Output<'_> {
    /// Sends a result of `length` bytes that `write` writes to the place it is given, aligned to 16:
    /// in the message itself where it fits.
    pub(crate) fn in_place(&mut self, length: usize, write: impl FnOnce(*mut u8)) {
        if HEADER + length > self.results.message_max() {
            let mut bytes: Vec<u128> = vec![0; length.div_ceil(16)];
            write(bytes.as_mut_ptr().cast());
            return self.bytes(&bytemuck::cast_slice(&bytes)[..length]);
        }
        let header = ResultHeader { kind: LAST, ..self.header };
        self.sent =
            self.results.reserve(HEADER + length).map_err(Into::into).and_then(|mut place| {
                place.write_at(0, bytemuck::bytes_of(&header))?;
                // SAFETY: HEADER + length bytes were reserved.
                write(unsafe { place.as_mut_ptr().add(HEADER) });
                Ok(place.commit(HEADER + length)?)
            });
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

/// An idle worker looks this often whether its owner still lives.
const LOOK_FOR_OWNER: Duration = Duration::from_secs(1);

/// A worker's life; returns the exit code.
pub(crate) fn run(
    worker: u32,
    owner: u32,
    tasks: &Queue<[u8]>,
    results: &Queue<[u8]>,
    states: &Array<u64>,
) -> i32 {
    let pid = std::process::id();
    loop {
        match tasks.claim_timeout(LOOK_FOR_OWNER) {
            Err(crate::PopError::TimedOut) if std::os::unix::process::parent_id() == owner => {}
            Ok(message) => {
                let ended = run_task(worker, pid, &message, results, states);
                message.release();
                if ended.is_err() {
                    return 1;
                }
            }
            Err(crate::PopError::Closed) => return 0,
            Err(_) => return 1,
        }
    }
}

fn run_task(
    worker: u32,
    pid: u32,
    message: &Claim<'_>,
    results: &Queue<[u8]>,
    states: &Array<u64>,
) -> Result<()> {
    let mut task = TaskHeader::zeroed();
    message.read_at(0, bytemuck::bytes_of_mut(&mut task))?;
    let begin = states.compare_exchange(
        task.slot as usize,
        wire::waiting(task.id),
        wire::begun(task.id, worker),
    )?;
    if begin.is_err() {
        // Cancelled, or begun by a worker that died: the owner knows.
        return Ok(());
    }
    let header = ResultHeader { id: task.id, slot: task.slot, kind: LAST, pid, reserved: [0; 3] };
    let mut output = Output { results, header, sent: Ok(()) };
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
    output.sent
}

/// Runs the captureless `F` on each of the argument's `T`s.
///
/// # Safety
/// The argument is `T`s; `F` has size zero and a value of it exists.
pub(crate) unsafe fn run_map<F, T, R>(_: u64, argument: Argument, output: &mut Output<'_>)
where
    F: Fn(T) -> R + Copy,
    T: Pod,
    R: Pod,
{
    const { assert!(size_of::<F>() == 0) };
    // SAFETY: a type of size zero of which there is a value, by the caller's word, and which is `Copy`.
    let f: F = unsafe { std::mem::zeroed() };
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
/// `F` has size zero and a value of it exists.
pub(crate) unsafe fn run_bytes<F>(_: u64, argument: Argument, output: &mut Output<'_>)
where
    F: Fn(&[u8]) -> Vec<u8> + Copy,
{
    const { assert!(size_of::<F>() == 0) };
    // SAFETY: as in `run_map`.
    let f: F = unsafe { std::mem::zeroed() };
    let mut bytes = vec![0; argument.length];
    // SAFETY: `length` bytes lie there.
    unsafe { argument.start.copy_to_nonoverlapping(bytes.as_mut_ptr(), argument.length) };
    output.bytes(&f(&bytes));
}
