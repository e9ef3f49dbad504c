//! What a child tells its parent: the message and the backtrace of a panic, and why it could not be started.
//!
//! # Overview
//! The parent maps some pages before the fork and shares them with the child alone. A panic hook,
//! which every process that spawns puts in front of the hook that it finds, writes the message, the
//! place and, if the environment asks for one, the backtrace into the pages of a child and then calls
//! on; in every other process it only calls on. The parent reads the pages when the child has ended.
//!
//! # Layout
//! | bytes | field | written by | read by |
//! |---|---|---|---|
//! | 0..4 | `state`: nothing, recorded, final | the child's first thread | the parent |
//! | 4..8 | `length` of the text | the child's first thread | the parent, which bounds it |
//! | 8..12 | `trace_length` of the backtrace | the child's first thread | the parent, which bounds it |
//! | 12..16 | `gate`: whether the child was set up; see [`crate::os::child`] | the child, the kernel | the parent |
//! | 16..24 | `step`, `errno`: what of that failed, and why | the child | the parent |
//! | 24..4096 | the text, UTF-8 as far as the parent believes it | the child's first thread | the parent |
//! | 4096..32768 | the backtrace, likewise | the child's first thread | the parent |
//!
//! Pages that nobody writes take no memory.
//!
//! # Crash states
//! A child killed between `recorded` and `final` was killed while it unwound, or it caught the
//! panic itself: the parent then takes the text for a message only if the child aborted, as a
//! panic under `panic = "abort"` does.
//!
//! # What a lock held at the fork can do
//! The standard hook takes a lock of the standard library to print, and a child inherits it locked
//! when another thread of its parent was printing a panic at the fork. The hook here counts the
//! threads that are inside hooks; a child that finds such a count prints its panic by a plain
//! `write`, without a backtrace, and calls no other hook.

use crate::error::Result;
use crate::os::fork;
use crate::os::process as os;
use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::fmt::{self, Write};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// The size of the pages.
const SIZE: usize = 32768;
/// Room for the text.
const TEXT: usize = 4096 - 24;
/// Room for the backtrace.
const TRACE: usize = SIZE - 4096;
/// Room in the text that is kept for the place of the panic.
const PLACE: usize = 512;
/// Ends a text that had to be cut.
const CUT: &str = "… [cut]";

/// The hook has written the text; whether the panic ends the process is open.
const RECORDED: u32 = 1;
/// The panic has ended the closure.
const FINAL: u32 = 2;

/// The pages' shape.
#[repr(C)]
struct Shape {
    /// One of the three states; written by the child, read by the parent.
    state: AtomicU32,
    /// Bytes of text; written by the child, bounded and read by the parent.
    length: AtomicU32,
    /// Bytes of backtrace; written by the child, bounded and read by the parent.
    trace_length: AtomicU32,
    /// Whether the child was set up; written by the child and the kernel, read by the parent.
    gate: AtomicU32,
    /// Which step of that failed; written by the child, read by the parent.
    step: AtomicU32,
    /// Why it failed; written by the child, read by the parent.
    errno: AtomicU32,
    /// The text; written by the child, read by the parent.
    text: [AtomicU8; TEXT],
    /// The backtrace; written by the child, read by the parent.
    trace: [AtomicU8; TRACE],
}

const _: () = assert!(size_of::<Shape>() == SIZE);

/// One child's pages, as both sides hold them.
#[derive(Debug)]
pub(super) struct Report(os::SharedPages);

/// Pages that the last child has left as they were, for the next one: to map new ones and to take them down is
/// a tenth of what a fork costs.
struct Spare {
    pages: os::SharedPages,
    /// The process that may use them: what is forked from it has them, too, but they are shared.
    generation: u32,
}

/// A box, or null.
static SPARE: AtomicPtr<Spare> = AtomicPtr::new(std::ptr::null_mut());

impl Report {
    /// Maps empty pages. For the parent, before the fork.
    pub(super) fn new() -> Result<Self> {
        let spare = SPARE.swap(std::ptr::null_mut(), Ordering::Acquire);
        if !spare.is_null() {
            // SAFETY: made by `Box::into_raw`, and taken by the swap above alone.
            let spare = unsafe { Box::from_raw(spare) };
            if spare.generation == fork::generation() {
                return Ok(Self(spare.pages));
            }
        }
        os::SharedPages::new(SIZE).map(Self)
    }

    /// Keeps the pages for the next child, if this one, which is to have ended, has left them empty. For the
    /// process that mapped them.
    pub(super) fn recycle(self) {
        let Shape { state, length, trace_length, gate, step, errno, .. } = self.shape();
        let words = [state, length, trace_length, gate, step, errno];
        if words.iter().any(|word| word.load(Ordering::Relaxed) != 0) {
            return;
        }
        let spare = Box::new(Spare { pages: self.0, generation: fork::generation() });
        let older = SPARE.swap(Box::into_raw(spare), Ordering::AcqRel);
        if !older.is_null() {
            // SAFETY: as in `new`.
            drop(unsafe { Box::from_raw(older) });
        }
    }

    fn shape(&self) -> &Shape {
        // SAFETY: the mapping is page-aligned, SIZE long and lives as long as `self`; every field
        // is atomic and every bit pattern valid, so that it does not matter who else writes.
        unsafe { self.0.start().cast::<Shape>().as_ref() }
    }

    /// The message, if a panic has ended the child; `aborted`: the child died of `SIGABRT`.
    pub(super) fn message(&self, aborted: bool) -> Option<String> {
        let shape = self.shape();
        self.has_panicked(aborted).then(|| read(&shape.text, &shape.length))
    }

    /// The backtrace, if a panic has ended the child and it had one.
    pub(super) fn backtrace(&self, aborted: bool) -> Option<String> {
        let shape = self.shape();
        let has_one = shape.trace_length.load(Ordering::Relaxed) > 0;
        (self.has_panicked(aborted) && has_one).then(|| read(&shape.trace, &shape.trace_length))
    }

    // Relaxed in these three: the wait for the child's end orders its writes before these reads.
    fn has_panicked(&self, aborted: bool) -> bool {
        match self.shape().state.load(Ordering::Relaxed) {
            FINAL => true,
            RECORDED => aborted,
            _ => false,
        }
    }

    /// What the spawn waits at.
    pub(super) fn gate(&self) -> &AtomicU32 {
        &self.shape().gate
    }

    /// In the child: it could not be set up. The gate publishes it.
    pub(super) fn refuse(&self, step: u32, errno: i32) {
        self.shape().step.store(step, Ordering::Relaxed);
        self.shape().errno.store(errno as u32, Ordering::Relaxed);
    }

    /// In the parent, when the gate says so: what failed, and why.
    pub(super) fn refused(&self) -> (u32, i32) {
        let shape = self.shape();
        (shape.step.load(Ordering::Relaxed), shape.errno.load(Ordering::Relaxed) as i32)
    }

    /// In the child, from the hook: the message and where.
    fn record(&self, info: &PanicHookInfo<'_>) {
        self.shape().trace_length.store(0, Ordering::Relaxed);
        let mut text = Text::new(&self.shape().text, TEXT - PLACE);
        let _ = text.write_str(message_of(info.payload()));
        if let Some(place) = info.location() {
            (text.limit, text.cut) = (TEXT, false);
            let _ = write!(text, " ({place})");
        }
        self.finish_text(&text, RECORDED);
    }

    /// In the child, from the hook: the way to the panic, if the environment asks for it.
    fn record_trace(&self) {
        let trace = Backtrace::capture();
        if trace.status() != BacktraceStatus::Captured {
            return;
        }
        let mut text = Text::new(&self.shape().trace, TRACE);
        let _ = write!(text, "{trace}");
        self.shape().trace_length.store(text.length as u32, Ordering::Relaxed);
    }

    /// In the child, when a panic has ended the closure. The text stands already, unless the hook
    /// was replaced by one that does not call ours, or was never asked (`resume_unwind`).
    pub(super) fn conclude(&self, payload: &(dyn Any + Send)) {
        let shape = self.shape();
        let message = message_of(payload);
        let known = &message.as_bytes()[..message.len().min(TEXT - PLACE - CUT.len() - 4)];
        let stands = shape.state.load(Ordering::Relaxed) == RECORDED
            && known.iter().zip(&shape.text).all(|(a, b)| *a == b.load(Ordering::Relaxed));
        if stands {
            shape.state.store(FINAL, Ordering::Relaxed);
        } else {
            shape.trace_length.store(0, Ordering::Relaxed);
            let mut text = Text::new(&shape.text, TEXT);
            let _ = text.write_str(message);
            self.finish_text(&text, FINAL);
        }
    }

    fn finish_text(&self, text: &Text<'_>, state: u32) {
        self.shape().length.store(text.length as u32, Ordering::Relaxed);
        self.shape().state.store(state, Ordering::Relaxed);
    }
}

/// As many bytes as are said to be there, and can be.
fn read(place: &[AtomicU8], length: &AtomicU32) -> String {
    let length = (length.load(Ordering::Relaxed) as usize).min(place.len());
    let bytes: Vec<u8> = place[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn message_of(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a panic whose payload is no text"
    }
}

/// Writes into the page, allocates nothing, and cuts between characters at its limit.
struct Text<'a> {
    place: &'a [AtomicU8],
    length: usize,
    limit: usize,
    cut: bool,
}

impl<'a> Text<'a> {
    fn new(place: &'a [AtomicU8], limit: usize) -> Self {
        Self { place, length: 0, limit, cut: false }
    }

    fn put(&mut self, bytes: &[u8]) {
        for (place, byte) in self.place[self.length..].iter().zip(bytes) {
            place.store(*byte, Ordering::Relaxed);
        }
        self.length += bytes.len();
    }
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            return Ok(());
        }
        let room = self.limit - CUT.len() - self.length.min(self.limit - CUT.len());
        if text.len() <= room {
            self.put(text.as_bytes());
        } else {
            let end = (0..=room).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            self.put(&text.as_bytes()[..end]);
            self.put(CUT.as_bytes());
            self.cut = true;
        }
        Ok(())
    }
}

/// What a child knows about its parent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) pid: u32,
    pub(super) name: &'a str,
    /// A pidfd, which was the parent's own of itself.
    pub(super) fd: BorrowedFd<'a>,
}

/// What a child is to be, for [`Context::new`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a str,
    pub(super) daemon: bool,
}

/// What a child knows about itself. Lies on the stack of the call that never returns in it.
#[derive(Debug)]
pub(super) struct Context<'a> {
    /// The child's page.
    pub(super) report: &'a Report,
    /// The child's name.
    pub(super) name: &'a str,
    /// The numbers that lead here from the first process: `2:1` is the first child of the second.
    pub(super) path: &'a str,
    /// Whether the parent's handle kills it when it is dropped.
    pub(super) daemon: bool,
    /// Who made it.
    pub(super) parent: Origin<'a>,
    /// The child's process generation; its own forks have others.
    generation: u32,
    /// Whether another thread of the parent was inside a panic hook at the fork.
    hook_may_hang: bool,
}

/// The context of the process, or of the nearest ancestor that has one.
static CONTEXT: AtomicPtr<Context<'static>> = AtomicPtr::new(std::ptr::null_mut());
/// How many threads are inside the hook. A fork copies it as it is at that moment.
static INSIDE: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// How deep this thread is inside the hook.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whether this thread is inside [`catch`].
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// What the hook has to say to [`catch`].
    static CAUGHT: Cell<String> = const { Cell::new(String::new()) };
}

/// Runs `f`; a panic in it is not printed, but returned: message, place, and the backtrace if the
/// environment asks for one.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> std::result::Result<R, String> {
    install_hook();
    let before = CATCHING.replace(true);
    CAUGHT.set(String::new());
    let result = std::panic::catch_unwind(AssertUnwindSafe(f));
    CATCHING.set(before);
    result.map_err(|payload| {
        let text = CAUGHT.take();
        // A panic that never asked the hook (`resume_unwind`) has only its payload.
        let text = if text.is_empty() { message_of(&*payload).to_owned() } else { text };
        // The payload's own destructor may panic.
        std::mem::forget(payload);
        text
    })
}

impl<'a> Context<'a> {
    /// Made in the child, right after the fork. Allocates nothing.
    pub(super) fn new(report: &'a Report, identity: Identity<'a>, parent: Origin<'a>) -> Self {
        let own = DEPTH.with(Cell::get);
        let hook_may_hang = INSIDE.swap(own, Ordering::Relaxed) > own;
        let Identity { name, path, daemon } = identity;
        let generation = fork::begin_generation();
        Self { report, name, path, daemon, parent, generation, hook_may_hang }
    }

    /// Whether this is the process that it speaks of, not one that it forked in another way.
    pub(super) fn is_own(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Makes this the context of the process.
    ///
    /// # Safety
    /// `self` and what it refers to must stay where they are until the process ends.
    pub(super) unsafe fn enter(&self) {
        CONTEXT.store(std::ptr::from_ref(self).cast_mut().cast(), Ordering::Release);
    }
}

/// The context of this process, if it or an ancestor is a child made by this module.
pub(super) fn context() -> Option<&'static Context<'static>> {
    let context = CONTEXT.load(Ordering::Acquire);
    // SAFETY: null, or stored by `enter`, whose caller promised that it stays.
    unsafe { context.as_ref() }
}

/// Puts the hook in front of the present one, once in a process and its descendants. Waits for
/// hooks that are running.
pub(super) fn install_hook() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    // Generation of the process that is at it: a fork in the middle must not leave the child
    // waiting for a thread that it does not have.
    static INSTALLER: AtomicU32 = AtomicU32::new(0);
    // A panicking thread may not touch the hook: its children's messages come without a place.
    if INSTALLED.load(Ordering::Acquire) || std::thread::panicking() {
        return;
    }
    let generation = fork::generation();
    let mut installer = INSTALLER.load(Ordering::Relaxed);
    while !INSTALLED.load(Ordering::Acquire) {
        if installer == generation {
            // Another thread is about to finish. A fork before that could catch it with the
            // standard library's lock on the hook.
            std::thread::yield_now();
            installer = INSTALLER.load(Ordering::Relaxed);
            continue;
        }
        match INSTALLER.compare_exchange(
            installer,
            generation,
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            Ok(_) => {
                let next = std::panic::take_hook();
                std::panic::set_hook(Box::new(move |info| on_panic(info, &next)));
                INSTALLED.store(true, Ordering::Release);
            }
            Err(other) => installer = other,
        }
    }
}

fn on_panic(info: &PanicHookInfo<'_>, next: &dyn Fn(&PanicHookInfo<'_>)) {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            DEPTH.with(|depth| depth.set(depth.get() - 1));
            INSIDE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    INSIDE.fetch_add(1, Ordering::Relaxed);
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let _inside = Inside;
    if CATCHING.get() {
        let place = info.location().map(|place| format!(" ({place})")).unwrap_or_default();
        let trace = Backtrace::capture();
        let trace = if trace.status() == BacktraceStatus::Captured {
            format!("\n{trace}")
        } else {
            String::new()
        };
        return CAUGHT.set(format!("{}{place}{trace}", message_of(info.payload())));
    }
    let Some(context) = context() else { return next(info) };
    // Not a panic of another thread of the child, which its own code can see to; nor of a process
    // that the child forked by itself.
    if context.is_own() && os::is_first_thread() {
        context.report.record(info);
        // The standard library's lock on backtraces may be another thread's of the parent, too.
        if !context.hook_may_hang {
            context.report.record_trace();
        }
    }
    if context.hook_may_hang { print_plainly(info, context.name) } else { next(info) }
}

/// The standard hook's words, in one `write` of what fits.
fn print_plainly(info: &PanicHookInfo<'_>, name: &str) {
    struct Buffer {
        bytes: [u8; 1024],
        length: usize,
    }
    impl Write for Buffer {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = &mut self.bytes[self.length..];
            let fits = text.len().min(room.len());
            room[..fits].copy_from_slice(&text.as_bytes()[..fits]);
            self.length += fits;
            Ok(())
        }
    }
    let mut buffer = Buffer { bytes: [0; 1024], length: 0 };
    let _ = match info.location() {
        Some(place) => write!(buffer, "\nprocess '{name}' panicked at {place}:\n"),
        None => write!(buffer, "\nprocess '{name}' panicked:\n"),
    };
    let _ = writeln!(buffer, "{}", message_of(info.payload()));
    os::write_to_stderr(&buffer.bytes[..buffer.length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_home_only_when_it_ended_the_closure_or_the_child_aborted() {
        let report = Report::new().unwrap();
        assert_eq!(report.message(true), None);
        report.finish_text(&Text::new(&[], 0), 1);
        assert_eq!(report.message(false), None);
        assert_eq!(report.message(true).as_deref(), Some(""));
        report.conclude(&"boom");
        assert_eq!(report.message(false).as_deref(), Some("boom"));
    }

    #[test]
    fn pages_are_used_again_but_not_written_ones_nor_those_of_the_process_that_was_forked() {
        let _alone = crate::os::alone();
        let start = |report: &Report| std::ptr::from_ref(report.shape()) as usize;
        let first = Report::new().unwrap();
        let place = start(&first);
        first.recycle();
        let again = Report::new().unwrap();
        assert_eq!(start(&again), place);
        again.recycle();
        let os::Side::Parent(pid) = os::fork().unwrap() else {
            // Not the pages that its parent is going to use for a child of its own.
            let own = Report::new().unwrap();
            own.conclude(&"of the child");
            os::exit_at_once(0);
        };
        let fd = os::open_pidfd(pid).unwrap().unwrap();
        let far = std::time::Duration::from_secs(60).into();
        assert!(os::wait_readable(std::os::fd::AsFd::as_fd(&fd), far).unwrap());
        os::reap(std::os::fd::AsFd::as_fd(&fd));
        let again = Report::new().unwrap();
        assert_eq!((start(&again), again.message(false)), (place, None));
        again.conclude(&"written");
        again.recycle();
        assert_eq!(Report::new().unwrap().message(false), None);
    }

    #[test]
    fn a_message_too_long_is_cut_between_characters_and_marked() {
        let report = Report::new().unwrap();
        report.conclude(&"é".repeat(TEXT));
        let message = report.message(false).unwrap();
        assert!(message.len() <= TEXT && message.len() > TEXT - 16, "{}", message.len());
        assert_eq!(message.trim_start_matches('é'), CUT);
    }

    #[test]
    fn hostile_bytes_are_bounded_and_read_as_text() {
        let report = Report::new().unwrap();
        for byte in &report.shape().text {
            byte.store(0xff, Ordering::Relaxed);
        }
        report.shape().length.store(u32::MAX, Ordering::Relaxed);
        report.shape().state.store(FINAL, Ordering::Relaxed);
        let message = report.message(false).unwrap();
        assert_eq!(message.chars().count(), TEXT);
        report.shape().trace_length.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(report.backtrace(false).unwrap().chars().count(), TRACE);
        for state in [3, 77, u32::MAX] {
            report.shape().state.store(state, Ordering::Relaxed);
            assert_eq!((report.message(true), report.backtrace(true)), (None, None));
        }
    }
}
