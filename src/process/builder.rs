//! How a process is made: its options, the fork, and what the child does around its closure.

use crate::error::{Error, ErrorKind, Result};
use crate::os::c_output::{self, Flushed};
use crate::os::child::{self, Gate};
use crate::os::clock::Deadline;
use crate::os::fork;
use crate::os::process::{self as os, Side};
use crate::process::exec::{Baggage, Image};
use crate::process::family;
use crate::process::report::{self, Context, Identity, Origin, Report};
use crate::process::setup::{Prepared, Setup, Stdio};
use crate::process::{CANCEL_SLICE, PANICKED, Process, children};
use crate::segment::Segment;
use crate::wait::cancel;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a new process is to be like; made by [`Process::builder`].
///
/// There is no process, and no handle, before [`spawn`](Self::spawn) or [`exec`](Self::exec), and
/// both use the builder up, so that nothing can be started twice:
///
/// ```compile_fail,E0382
/// let builder = mpshm::Process::builder();
/// let one = builder.spawn(|| 0);
/// let two = builder.spawn(|| 0);
/// ```
///
/// A clone of a builder makes a second process.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing runs before `spawn` or `exec`"]
pub struct ProcessBuilder {
    name: Option<String>,
    kill_with_parent: bool,
    daemon: Option<bool>,
    setup: Setup,
    baggage: Baggage,
}

impl ProcessBuilder {
    /// Its name, for people. Default: `Process-N`, counted in each process; `Process-2:1` is the
    /// first one made by the second.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether the kernel kills it (`SIGKILL`) when its parent dies, however that happens.
    /// Default: no, as in Python.
    ///
    /// The kernel goes by the **thread** that spawns: when that one ends, the child is killed,
    /// though the parent's other threads go on. Spawn such children from the main thread, or from
    /// one that lives as long. Whether the parent died before the child could ask for this is
    /// checked. Not effective for a child that gains privileges by `exec`.
    pub fn kill_with_parent(mut self, yes: bool) -> Self {
        self.kill_with_parent = yes;
        self
    }

    /// Whether dropping the handle kills the process (`SIGKILL`) and reaps it, instead of leaving it
    /// to go on without one; see [`Process`]. Default: as the process that spawns it is, and that is
    /// no in a main program. A daemon may have children.
    pub fn daemon(mut self, yes: bool) -> Self {
        self.daemon = Some(yes);
        self
    }

    /// Runs it, and all that it starts, on processor `cpu` alone, counted from 0 as the kernel does.
    /// One that is not there, or not to be used by this process, is `Invalid` when it is spawned.
    ///
    /// ```standalone_crate
    /// use mpshm::{Process, cpu_count};
    /// let child = Process::builder().pin_cpu(0).spawn(|| cpu_count() as i32)?;
    /// assert_eq!(child.join()?.code(), Some(1));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn pin_cpu(self, cpu: usize) -> Self {
        self.pin_cpus([cpu])
    }

    /// The same with several; at least one. All of them have to be there.
    pub fn pin_cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.setup.cpus = Some(cpus.into_iter().collect());
        self
    }

    /// Adds to its niceness: from 1 it gets less of a processor that others want too, below 0, which
    /// takes a privilege (`Permission`), more. The sum is cut at −20 and 19.
    pub fn nice(mut self, by: i32) -> Self {
        self.setup.nice = by;
        self
    }

    /// Its standard input. Default: this process's.
    pub fn stdin(self, stdin: impl Into<Stdio>) -> Self {
        self.stdio(0, stdin.into())
    }

    /// Its standard output. Default: this process's.
    pub fn stdout(self, stdout: impl Into<Stdio>) -> Self {
        self.stdio(1, stdout.into())
    }

    /// Its standard error. Default: this process's.
    pub fn stderr(self, stderr: impl Into<Stdio>) -> Self {
        self.stdio(2, stderr.into())
    }

    fn stdio(mut self, number: usize, stdio: Stdio) -> Self {
        self.setup.stdio[number] = stdio;
        self
    }

    /// Makes it the leader of a session and a process group of its own: it has no terminal, and what
    /// is typed there (Ctrl-C) does not come to it.
    pub fn new_session(mut self) -> Self {
        self.setup.session = true;
        self
    }

    /// Puts it into process group `group`; 0 is a new one that it leads. What is typed at the
    /// terminal (Ctrl-C) goes to the group in the foreground alone.
    pub fn process_group(mut self, group: u32) -> Self {
        self.setup.group = Some(group);
        self
    }

    /// Sets a variable in the environment of the program that [`exec`](Self::exec) runs. A closure has
    /// its parent's environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.baggage.environment.push((name.into(), value.into()));
        self
    }

    /// Hands a segment over to the program that [`exec`](Self::exec) runs, which attaches to it by
    /// [`Segment::inherited`] of the same label: 1 to 100 bytes without `:`, `,` and control
    /// characters. A closure has all of its parent's segments anyway.
    pub fn segment(mut self, label: impl Into<String>, segment: &Segment) -> Self {
        self.baggage.segments.push((label.into(), segment.clone()));
        self
    }

    /// Forks, and runs `f` in the child, whose exit code is the lowest 8 bits of what `f` returns,
    /// or 101 if it panics. See the notes on threads, output and the end of a child at
    /// [`Process`].
    ///
    /// Waits only for the locks named there and, where processors, a niceness, standard descriptors, a
    /// session or a group were asked for, until the child has seen to that: a child that is stopped in
    /// the middle of it keeps this call (a [`Canceller`](crate::Canceller) ends it, and the child).
    /// Also reaps children whose handles were dropped.
    ///
    /// # Errors
    /// `Limit` or `NoSpace` when there are no more processes, descriptors or memory to be had;
    /// `Invalid` or `Permission` when what was asked for cannot be; `Interrupted`. No child is left
    /// then, and `f` did not run.
    pub fn spawn<F>(self, f: F) -> Result<Process>
    where
        F: FnOnce() -> i32,
    {
        self.start(None, f)
    }

    /// Forks, and executes a program in the child: `program` is a path or, without a slash, looked for
    /// in the folders of `PATH`; `arguments` follow its name. The handle is like that of a closure,
    /// but a panic's message does not come home, and inside, [`parent`](crate::parent) is `None`.
    ///
    /// The program gets standard input, output and error, the segments handed over by
    /// [`segment`](Self::segment), and no other descriptor. No signal is blocked in it, and `SIGPIPE` kills
    /// it as usual; signals that this process ignores, but for that one, are ignored.
    ///
    /// Waits until the program runs, as [`spawn`](Self::spawn) does for what was asked for.
    ///
    /// ```standalone_crate
    /// use mpshm::{ErrorKind, Process, Stdio};
    /// let child = Process::builder().stdout(Stdio::null()).exec("sh", ["-c", "echo lost; exit 3"])?;
    /// assert_eq!(child.join()?.code(), Some(3));
    /// let error = Process::builder().exec("no-such-program", [""; 0]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`spawn`](Self::spawn); `NotFound` when there is no such program, `Permission` when it must
    /// not be executed, `System` when it cannot be, with the system's error number; `Invalid` for a NUL in
    /// a string; `Exists` for two segments of one label. No child is left then.
    pub fn exec<I, S>(self, program: impl AsRef<OsStr>, arguments: I) -> Result<Process>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        let image = Image::new(program.as_ref(), arguments, &self.baggage)?;
        self.start(Some(image), || 0)
    }

    /// Forks; the child executes `image`, or runs `f` where there is none.
    fn start<F>(self, image: Option<Image>, f: F) -> Result<Process>
    where
        F: FnOnce() -> i32,
    {
        children::reap_abandoned();
        report::install_hook();
        let (path, name) = identity(self.name);
        let because = |error: Error| error.because(format_args!("cannot start process '{name}'"));
        let setup = self.setup.prepare().map_err(because)?;
        let report = Report::new().map_err(because)?;
        let daemon = self.daemon.unwrap_or_else(|| family::current().is_daemon());
        let generation = fork::generation();
        let (parent, parent_name) = (os::own_pid(), family::current().name());
        let own = own_pidfd(parent).map_err(because)?;

        // The order is stated in the module docs. Both locks are this thread's on either side of
        // the fork, for a child's first thread is the copy of the one that forked.
        let mut out = io::stdout().lock();
        let _ = out.flush();
        // Nobody else can have that one. Not to lock it saves the child the copy of a page.
        let alone = c_output::has_one_thread();
        let err = (!alone).then(|| io::stderr().lock());
        let flushed = c_output::flush(Flushed::All);
        let side = os::fork();
        drop((err, out));
        match side.map_err(because)? {
            Side::Parent(pid) => {
                // The child's pidfd takes its place: there is one for it.
                drop(own);
                let name = name.clone();
                let process = Process::adopt(pid, name, report, generation, daemon)?;
                if setup.is_needed() || image.is_some() {
                    await_start(&process, &setup, image.as_ref()).map_err(because)?;
                }
                Ok(process)
            }
            Side::Child => {
                if !alone {
                    c_output::forget();
                }
                if self.kill_with_parent {
                    os::die_with_parent(parent);
                }
                if let Some(outer) = report::context() {
                    child::close(outer.parent.fd.as_raw_fd());
                }
                if setup.is_needed() || image.is_some() {
                    setup.run(&report, image.as_ref());
                }
                let identity = Identity { name: &name, path: &path, daemon };
                let origin = Origin { pid: parent as u32, name: parent_name, fd: own.as_fd() };
                run_child(&Context::new(&report, identity, origin), flushed, f)
            }
        }
    }
}

/// A pidfd of this very process, for its child. In the parent it keeps a place for the child's, and
/// shows that the kernel knows them.
fn own_pidfd(own: i32) -> Result<OwnedFd> {
    os::open_pidfd(own)?
        .ok_or_else(|| Error::new(ErrorKind::System, "this process has no process id"))
}

/// Waits until the child is set up, or its program runs; where that fails, no child is left.
fn await_start(process: &Process, setup: &Prepared, image: Option<&Image>) -> Result<()> {
    let report = &process.child.report;
    let end = || {
        let _ = process.kill();
        let _ = cancel::without(|| process.join());
    };
    loop {
        // In this order: what a child says before its end is seen after its end.
        let ended = !process.is_alive();
        match child::look(report.gate()) {
            Gate::Failed => {
                end();
                return Err(setup.error(report, image));
            }
            Gate::Through => return Ok(()),
            // Killed on the way: its status tells.
            Gate::Closed if ended => return Ok(()),
            Gate::Closed if cancel::is_cancelled() => {
                end();
                return Err(Error::new(ErrorKind::Interrupted, "the call was cancelled"));
            }
            Gate::Closed => child::wait(report.gate(), Deadline::FOREVER.at_most(CANCEL_SLICE)),
        }
    }
}

/// Runs the closure and ends the process. Nothing before the closure allocates or locks.
fn run_child<F: FnOnce() -> i32>(context: &Context<'_>, flushed: Flushed, f: F) -> ! {
    /// Ends the process even if something below unwinds.
    struct EndHere;
    impl Drop for EndHere {
        fn drop(&mut self) {
            os::exit_at_once(PANICKED);
        }
    }
    let _end = EndHere;
    SPAWNED.store(0, Ordering::Relaxed);
    cancel::begin_in_child();
    // SAFETY: this call does not return, so all that lives in its callers stays until the end.
    unsafe { context.enter() };
    let code = match std::panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(code) => code,
        Err(payload) => {
            context.report.conclude(&*payload);
            // Its destructor is the user's, and may panic.
            std::mem::forget(payload);
            PANICKED
        }
    };
    let _ = io::stdout().flush();
    c_output::flush(flushed);
    os::exit_at_once(code & 0xff)
}

/// How many processes this one has spawned.
static SPAWNED: AtomicU32 = AtomicU32::new(0);

/// The new child's path of numbers, and its name.
fn identity(name: Option<String>) -> (String, String) {
    let number = SPAWNED.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let path = match report::context() {
        Some(context) => format!("{}:{number}", context.path),
        None => number.to_string(),
    };
    let name = name.unwrap_or_else(|| format!("Process-{path}"));
    (path, name)
}
