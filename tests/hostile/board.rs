//! The page that a child shares with the runner: what it is doing, what it has found.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The most names of fields of one kind.
pub const ROWS: usize = 96;
const TEXT: usize = 1024;
/// In the place of a mutation's number: the objects are being made.
pub const SETTING_UP: u64 = u64::MAX;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process died of a signal.
    Signal(i32),
    /// A call did not come back, or long after its time.
    Hang,
    /// A call panicked.
    Panic,
    /// Bytes changed that are none of the damaged object's.
    Overwritten,
    /// A mapping of a segment has no guard pages.
    Unguarded,
    /// Descriptors or mappings are left.
    Leak,
    /// The harness is wrong: the sound object was refused, or its layout is not the one in the table.
    Unsound,
}

impl Fault {
    const NUMBERED: [Self; 6] =
        [Self::Hang, Self::Panic, Self::Overwritten, Self::Unguarded, Self::Leak, Self::Unsound];
}

/// What became of the mutations of one name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub mutations: u64,
    pub refused: u64,
    pub accepted: u64,
}

#[repr(C)]
struct Shape {
    at: AtomicU64,
    row: AtomicUsize,
    /// When the present call began, in nanoseconds; 0 = not at work.
    since: AtomicU64,
    /// Its name: address and length, the same in all forks of the program.
    call: [AtomicUsize; 2],
    /// 1 + index in [`Fault::NUMBERED`]; 0 = none.
    fault: AtomicU32,
    length: AtomicUsize,
    text: [AtomicU8; TEXT],
    rows: AtomicUsize,
    names: [[AtomicUsize; 2]; ROWS],
    counts: [[AtomicU64; 3]; ROWS],
}

/// Shared memory of the runner and one child.
pub struct Board(*mut Shape);

fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn keep(place: &[AtomicUsize; 2], name: &'static str) {
    place[0].store(name.as_ptr() as usize, Ordering::Relaxed);
    place[1].store(name.len(), Ordering::Relaxed);
}

fn name(place: &[AtomicUsize; 2]) -> &'static str {
    let [start, length] = [0, 1].map(|index: usize| place[index].load(Ordering::Relaxed));
    if start == 0 {
        return "";
    }
    // SAFETY: written by `keep` in a fork of this very program, whose constants lie at the same addresses.
    unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(start as *const u8, length)) }
}

impl Board {
    pub fn new() -> Self {
        // SAFETY: a fresh anonymous mapping; nothing else refers to it.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Shape>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert!(mapped != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Self(mapped.cast())
    }

    fn shape(&self) -> &Shape {
        // SAFETY: mapped for the life of `self`, aligned, and made of atomics only.
        unsafe { &*self.0 }
    }

    // ---- the child's side ----

    /// These are the names that it counts for.
    pub fn has_rows(&self, names: &[&'static str]) {
        assert!(names.len() <= ROWS, "{} names of fields", names.len());
        for (place, name) in self.shape().names.iter().zip(names) {
            keep(place, name);
        }
        self.shape().rows.store(names.len(), Ordering::Release);
    }

    /// The mutation `at` begins.
    pub fn begin(&self, at: u64, row: usize) {
        let shape = self.shape();
        shape.at.store(at, Ordering::Relaxed);
        shape.row.store(row, Ordering::Relaxed);
        shape.counts[row][0].fetch_add(1, Ordering::Relaxed);
        self.calls("");
    }

    /// A call begins.
    pub fn calls(&self, call: &'static str) {
        keep(&self.shape().call, call);
        self.shape().since.store(now(), Ordering::Release);
    }

    /// How long the present call has taken; nothing when none is being made.
    pub fn took(&self) -> Duration {
        // One look: the call may end meanwhile.
        let since = self.shape().since.load(Ordering::Acquire);
        Duration::from_nanos(if since == 0 { 0 } else { now().saturating_sub(since) })
    }

    /// The mutation has ended, and nothing was wrong.
    pub fn end(&self, row: usize, refused: bool) {
        self.shape().counts[row][if refused { 1 } else { 2 }].fetch_add(1, Ordering::Relaxed);
        self.shape().since.store(0, Ordering::Release);
    }

    /// Keeps a text for the runner.
    pub fn note(&self, text: &str) {
        let shape = self.shape();
        let length = text.len().min(TEXT);
        for (cell, byte) in shape.text.iter().zip(text.as_bytes()) {
            cell.store(*byte, Ordering::Relaxed);
        }
        shape.length.store(length, Ordering::Release);
    }

    /// Says what is wrong, and ends this child.
    pub fn fail(&self, fault: Fault, text: &str) -> ! {
        if !text.is_empty() {
            self.note(text);
        }
        let number = Fault::NUMBERED.iter().position(|&one| one == fault).map_or(0, |at| at + 1);
        self.shape().fault.store(number as u32, Ordering::Release);
        // SAFETY: ends the process without the runner's destructors.
        unsafe { libc::_exit(1) }
    }

    // ---- the runner's side ----

    /// Ready for a child.
    pub fn reset(&self) {
        let shape = self.shape();
        shape.at.store(SETTING_UP, Ordering::Relaxed);
        shape.row.store(0, Ordering::Relaxed);
        shape.fault.store(0, Ordering::Relaxed);
        shape.length.store(0, Ordering::Relaxed);
        shape.rows.store(0, Ordering::Relaxed);
        shape.counts.iter().flatten().for_each(|count| count.store(0, Ordering::Relaxed));
        self.calls("setting up");
    }

    /// The mutation that the child is at, or was at when it died.
    pub fn at(&self) -> u64 {
        self.shape().at.load(Ordering::Acquire)
    }

    /// The name that it counts for.
    pub fn row(&self) -> &'static str {
        name(&self.shape().names[self.shape().row.load(Ordering::Relaxed)])
    }

    pub fn call(&self) -> &'static str {
        name(&self.shape().call)
    }

    pub fn fault(&self) -> Option<Fault> {
        let number = self.shape().fault.load(Ordering::Acquire) as usize;
        Fault::NUMBERED.get(number.wrapping_sub(1)).copied()
    }

    pub fn text(&self) -> String {
        let shape = self.shape();
        let length = shape.length.load(Ordering::Acquire).min(TEXT);
        let bytes: Vec<u8> =
            shape.text[..length].iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The names, and what became of their mutations.
    pub fn counts(&self) -> Vec<(&'static str, Counts)> {
        let shape = self.shape();
        let rows = shape.rows.load(Ordering::Acquire);
        let rows = shape.names.iter().zip(&shape.counts).take(rows);
        rows.map(|(place, counts)| {
            let [mutations, refused, accepted] =
                [0, 1, 2].map(|index: usize| counts[index].load(Ordering::Relaxed));
            (name(place), Counts { mutations, refused, accepted })
        })
        .collect()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no reference into it outlives `self`.
        unsafe { libc::munmap(self.0.cast(), size_of::<Shape>()) };
    }
}
