//! The runner: children that do batches, watched for signals, hangs and what they found themselves.

use crate::board::{Board, Counts, Fault, SETTING_UP};
use crate::world::Batch;
use std::collections::VecDeque;
use std::time::Duration;

/// Does a batch of one kind.
pub type Run = fn(&Board, &Batch);

/// Something that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    pub fault: Fault,
    /// `None`: before the first mutation, or behind the last.
    pub at: Option<u64>,
    pub field: &'static str,
    pub call: &'static str,
    pub text: String,
}

/// What became of the mutations of one field's name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    pub name: &'static str,
    pub counts: Counts,
    pub signals: u64,
    pub hangs: u64,
    /// Panics, and bytes of others.
    pub others: u64,
}

/// What became of one kind's.
#[derive(Default)]
pub struct Outcome {
    pub rows: Vec<Row>,
    pub failures: Vec<Failure>,
}

impl Outcome {
    fn row(&mut self, name: &'static str) -> &mut Row {
        let index = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name, ..Row::default() });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    fn add(&mut self, board: &Board) {
        for (name, counts) in board.counts() {
            let row = &mut self.row(name).counts;
            row.mutations += counts.mutations;
            row.refused += counts.refused;
            row.accepted += counts.accepted;
        }
    }

    fn fail(&mut self, failure: Failure) {
        if failure.at.is_some() {
            let row = self.row(failure.field);
            match failure.fault {
                Fault::Signal(_) => row.signals += 1,
                Fault::Hang => row.hangs += 1,
                _ => row.others += 1,
            }
        }
        self.failures.push(failure);
    }
}

/// How many children at a time, and when one counts as hung.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub children: usize,
    /// The longest that one call, or what is between two calls, may take.
    pub hang: Duration,
    /// So many failures are enough.
    pub enough: usize,
}

struct Child {
    pid: i32,
    pidfd: i32,
    kind: usize,
    batch: Batch,
    board: Board,
}

/// Does all batches, each with its kind's number. After a failure the batch goes on behind that mutation.
pub fn work(kinds: &[Run], batches: Vec<(usize, Batch)>, terms: Terms, outcomes: &mut [Outcome]) {
    let mut waiting: VecDeque<(usize, Batch)> = batches.into();
    let mut boards: Vec<Board> = (0..terms.children).map(|_| Board::new()).collect();
    let mut children: Vec<Child> = Vec::new();
    let mut failures = 0;
    loop {
        while failures < terms.enough && !boards.is_empty() && !waiting.is_empty() {
            let (board, (kind, batch)) = (boards.pop().unwrap(), waiting.pop_front().unwrap());
            children.push(Child::start(kinds[kind], kind, batch, board));
        }
        if children.is_empty() {
            return;
        }
        let mut index = 0;
        for over in look(&children, terms.hang) {
            let Some(hung) = over else {
                index += 1;
                continue;
            };
            let child = children.remove(index);
            let failure = child.end(hung);
            let outcome = &mut outcomes[child.kind];
            outcome.add(&child.board);
            if let Some(failure) = failure {
                failures += 1;
                let rest = child.rest_behind(failure.at);
                outcome.fail(failure);
                if !rest.mutations.is_empty() {
                    waiting.push_front((child.kind, rest));
                }
            }
            boards.push(child.board);
        }
    }
}

/// Waits until something is to be seen; says of each child whether it has ended (`Some(false)`) or hangs.
fn look(children: &[Child], hang: Duration) -> Vec<Option<bool>> {
    let poll = |child: &Child| libc::pollfd { fd: child.pidfd, events: libc::POLLIN, revents: 0 };
    let mut polls: Vec<libc::pollfd> = children.iter().map(poll).collect();
    // SAFETY: as many valid pollfds as said.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 50) };
    let seen = polls.iter().zip(children);
    seen.map(|(poll, child)| {
        let hangs = || child.board.took() > hang;
        if poll.revents != 0 { Some(false) } else { hangs().then_some(true) }
    })
    .collect()
}

impl Child {
    fn start(run: Run, kind: usize, batch: Batch, board: Board) -> Self {
        board.reset();
        // SAFETY: this program has one thread.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            be_a_child(run, &batch, &board);
        }
        // SAFETY: no pointers.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32;
        assert!(pidfd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        Self { pid, pidfd, kind, batch, board }
    }

    /// What is left of its batch behind mutation `at`, if it came that far.
    fn rest_behind(&self, at: Option<u64>) -> Batch {
        let all = &self.batch.mutations;
        let done = at.and_then(|at| all.iter().position(|&one| one == at));
        let rest = done.map_or(Vec::new(), |done| all[done + 1..].to_vec());
        Batch { mutations: rest, ..self.batch.clone() }
    }

    /// Reaps it; says what was wrong.
    fn end(&self, hung: bool) -> Option<Failure> {
        let (call, field) = (self.board.call(), self.board.row());
        let mut status = 0;
        // SAFETY: our own child, not reaped yet, and our own descriptor.
        unsafe {
            if hung {
                libc::kill(self.pid, libc::SIGKILL);
            }
            libc::waitpid(self.pid, &raw mut status, 0);
            libc::close(self.pidfd);
        }
        let fault = match self.board.fault() {
            Some(fault) => fault,
            None if hung => Fault::Hang,
            None if libc::WIFSIGNALED(status) => Fault::Signal(libc::WTERMSIG(status)),
            None if status == 0 => return None,
            None => Fault::Unsound,
        };
        let at = Some(self.board.at()).filter(|&at| at != SETTING_UP);
        let at = at.filter(|_| fault != Fault::Leak);
        let field = if at.is_some() { field } else { "" };
        Some(Failure { fault, at, field, call, text: self.board.text() })
    }
}

fn be_a_child(run: Run, batch: &Batch, board: &Board) -> ! {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: no pointers but a valid limit: ends with the runner, leaves no core, wakes up in time.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0);
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
    }
    std::panic::set_hook(Box::new(|panic| {
        NOTES.with(|board| {
            // SAFETY: set below, for the life of this process.
            if let Some(board) = unsafe { board.get().as_ref() } {
                board.note(&panic.to_string());
            }
        })
    }));
    NOTES.set(board);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(board, batch)));
    if done.is_err() {
        board.fail(Fault::Panic, "");
    }
    // SAFETY: ends the process without the runner's destructors.
    unsafe { libc::_exit(0) }
}

thread_local! {
    /// Where a panic's words go.
    static NOTES: std::cell::Cell<*const Board> = const { std::cell::Cell::new(std::ptr::null()) };
}
