//! The fork server: a child of the owner with one thread, the parent of all workers.
//!
//! # Overview
//! It sleeps on its workers' pidfds, the owner's pidfd and a bell. It reaps a worker that ended, says so in the
//! worker's [record](super::roster) and forks another, from its own memory with one thread: what threads the owner
//! has, and what they have locked, does not matter. It ends with all workers when it is told to or when the owner has
//! ended. What it tells the owner and is told by it stands in words that all three share.
//!
//! # Who dies with whom
//! | killed | what happens |
//! |---|---|
//! | a worker | the server forks another, until it is told not to, or too many have died |
//! | the owner | the server sees it by the pidfd, which goes by the process and not by the thread that forked, and ends the workers |
//! | the server | the kernel kills the workers (`PR_SET_PDEATHSIG`, sound as the server has one thread); the owner learns of it by its own pidfd |
//!
//! A stopped server is continued by the owner when it looks, and by the kernel when the owner dies: its own
//! `PR_SET_PDEATHSIG` is `SIGCONT`.
//!
//! # Signals
//! `SIGINT` is ignored here and in the workers, so that what the owner makes of a Ctrl-C holds for all.
//!
//! # Source
//! Ours; a process that forks others from a clean state is what Python's `forkserver` and Android's zygote are.

use crate::error::{Error, ErrorKind, Result};
use crate::os::children::{self, Watch};
use crate::os::clock::{self, Deadline};
use crate::os::liveness::{self, Identity};
use crate::process::roster::{self, Record, Roster, Standing};
use crate::process::{ExitStatus, Process};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many workers in a row may fail to get ready and be replaced; the next one that fails is the end.
const FAILED_STARTS: u32 = 2;
/// How long the server waits after a fork that failed.
const RETRY_FORK: Duration = Duration::from_millis(100);
/// After how many failed forks in a row, with no worker alive, it gives up.
const FAILED_FORKS: u32 = 50;
/// The most that workers get after SIGTERM when their owner is dead.
const ORPHANS_GRACE: u64 = 500_000_000;
/// How often the server looks again for the moment when a worker that is one too many is idle.
const LOOK_FOR_IDLE: u64 = 20_000_000;
/// How often the owner looks, while it waits for a server to end or begin, whether it is stopped.
const LOOK_FOR_STOP: Duration = Duration::from_millis(50);

/// What a server is to do.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// How many workers to begin with.
    pub(crate) workers: u32,
    /// How many records there are: more than workers ever at once, for ends that the owner has not seen to.
    pub(crate) records: usize,
    /// Whether a worker that ends before it is ready has failed to initialize itself.
    pub(crate) initializes: bool,
    /// How many may die within how long.
    pub(crate) restarts: Option<(u32, Duration)>,
    /// How long a task may take.
    pub(crate) task_timeout: Option<Duration>,
}

/// Which worker one is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post<'a> {
    pub(crate) record: &'a Record,
    /// The record's number.
    pub(crate) number: u32,
    /// The lowest number that no other living worker has.
    pub(crate) seat: usize,
}

/// What runs in a worker; returns the exit code.
pub(crate) type Work<'a> = &'a dyn Fn(Post<'_>) -> i32;

/// The owner's handle.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    roster: Roster,
    /// Wakes the server.
    bell: OwnedFd,
}

impl Server {
    /// Forks a server and waits until it has forked the workers. `owner` is the caller's own pidfd; `tell` is called
    /// in the server whenever there is something for the owner to see.
    pub(crate) fn start(
        rules: &Rules,
        owner: BorrowedFd<'_>,
        work: Work<'_>,
        tell: &dyn Fn(),
    ) -> Result<Self> {
        let roster = Roster::new(rules.records)?;
        roster.board().wanted.store(rules.workers, Ordering::Relaxed);
        let (bell, answer) = (children::bell()?, children::bell()?);
        let process = Process::builder().name("PoolServer").daemon(true).spawn(|| {
            children::begin_to_keep_others();
            let bell = bell.as_fd();
            let crew = Crew::new(rules, &roster, bell, owner, work, tell);
            crew.run(answer.as_fd())
        })?;
        let server = Self { process, roster, bell };
        server.await_first_forks(answer.as_fd())?;
        Ok(server)
    }

    fn await_first_forks(&self, answer: BorrowedFd<'_>) -> Result<()> {
        let mut watch = Watch::default();
        watch.add(answer);
        watch.add(self.process.as_fd());
        loop {
            watch.sleep(Deadline::after(LOOK_FOR_STOP));
            if self.roster.board().begun.load(Ordering::Acquire) != 0 {
                return Ok(());
            }
            if watch.woke(0) || watch.woke(1) {
                let gone = || Error::new(ErrorKind::System, "the pool's fork server died at once");
                return Err(self.failure().unwrap_or_else(gone));
            }
            children::continue_if_stopped(self.process.as_fd());
        }
    }

    /// The server's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The workers' records.
    pub(crate) fn records(&self) -> &[Record] {
        self.roster.records()
    }

    /// Counts the ends of workers that the owner has to see to, and wraps.
    pub(crate) fn ends(&self) -> u32 {
        self.roster.board().ends.load(Ordering::Acquire) // pairs with `Crew::step`
    }

    /// How many workers were forked.
    pub(crate) fn forks(&self) -> u32 {
        self.roster.board().forks.load(Ordering::Relaxed)
    }

    /// Why the server gave up, if it has; then its workers have ended, and it will.
    pub(crate) fn failure(&self) -> Option<Error> {
        let (reason, errno, text) = self.roster.why()?;
        Some(match reason {
            roster::NO_FORK => Error::from_errno(errno, text),
            _ => Error::new(ErrorKind::Broken, text),
        })
    }

    /// Makes the server look at its words again.
    pub(crate) fn wake(&self) {
        children::ring(self.bell.as_fd());
    }

    /// Changes how many workers there are to be.
    pub(crate) fn resize(&self, workers: u32) {
        self.roster.board().wanted.store(workers, Ordering::Relaxed);
        self.wake();
    }

    /// Has no more workers forked; the server ends with the last one.
    pub(crate) fn drain(&self) {
        self.roster.board().order.store(roster::DRAIN, Ordering::Release);
        self.wake();
    }

    /// Whether the server has ended; continues it if it is stopped.
    pub(crate) fn has_ended(&self) -> Result<bool> {
        if self.process.exit_status()?.is_some() {
            return Ok(true);
        }
        children::continue_if_stopped(self.process.as_fd());
        Ok(false)
    }

    /// Waits until the server has ended; false when the deadline came first.
    pub(crate) fn join(&self, deadline: Deadline) -> Result<bool> {
        loop {
            let slice = deadline.at_most(LOOK_FOR_STOP.as_nanos() as u64);
            if self.process.join_timeout(slice)?.is_some() {
                return Ok(true);
            }
            if deadline.has_passed() {
                return Ok(false);
            }
            children::continue_if_stopped(self.process.as_fd());
        }
    }

    /// Whether the workers of a server that has ended are certainly gone.
    pub(crate) fn workers_are_gone(&self) -> bool {
        let own = Identity::own();
        self.records().iter().all(|record| record.is_gone(own))
    }

    /// Ends the workers, by force after `grace`, and the server.
    pub(crate) fn end(&self, grace: Duration) {
        let nanoseconds = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
        self.roster.board().grace.store(nanoseconds, Ordering::Relaxed);
        self.roster.board().order.store(roster::END, Ordering::Release);
        self.wake();
        let late = Deadline::after(grace.saturating_add(Duration::from_secs(2)));
        if !matches!(self.join(late), Ok(true)) {
            // A traced one, say. The kernel kills the workers with it.
            let _ = self.process.kill();
            let _ = self.process.join();
        }
        let late = Deadline::after(Duration::from_secs(2));
        while !self.workers_are_gone() && !late.has_passed() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A worker as the server knows it.
struct Worker {
    process: Process,
    seat: usize,
    /// Its task took too long, and it is being killed for that.
    too_long: bool,
    /// It is one too many.
    leaves: bool,
    /// It had nothing in hand when it was killed for that.
    idle: bool,
}

/// The server's own side.
struct Crew<'a> {
    rules: &'a Rules,
    roster: &'a Roster,
    bell: BorrowedFd<'a>,
    owner: BorrowedFd<'a>,
    work: Work<'a>,
    tell: &'a dyn Fn(),
    /// By record.
    workers: Vec<Option<Worker>>,
    /// Workers in a row that did not get ready, and when the last one ended.
    failed_starts: u32,
    last_failure: u64,
    failed_forks: u32,
    retry_at: Deadline,
    /// When workers died.
    deaths: VecDeque<u64>,
    /// Workers were told to end; when they are killed.
    kill_at: Option<Deadline>,
}

/// Why a server gives up.
struct GiveUp(u32, i32, String);

impl<'a> Crew<'a> {
    fn new(
        rules: &'a Rules,
        roster: &'a Roster,
        bell: BorrowedFd<'a>,
        owner: BorrowedFd<'a>,
        work: Work<'a>,
        tell: &'a dyn Fn(),
    ) -> Self {
        Self {
            rules,
            roster,
            bell,
            owner,
            work,
            tell,
            workers: (0..rules.records).map(|_| None).collect(),
            failed_starts: 0,
            last_failure: 0,
            failed_forks: 0,
            retry_at: Deadline::FOREVER,
            deaths: VecDeque::new(),
            kill_at: None,
        }
    }

    /// The server's life; returns its exit code.
    fn run(mut self, answer: BorrowedFd<'_>) -> i32 {
        for number in 1..=self.rules.workers {
            if let Err(error) = self.fork() {
                self.kill_all();
                let text =
                    format!("cannot start worker {number} of a pool's {}", self.rules.workers);
                self.roster.give_up(roster::NO_FORK, error.errno(), &text);
                children::ring(answer);
                return 1;
            }
        }
        self.roster.board().begun.store(1, Ordering::Release);
        children::ring(answer);
        let mut watch = Watch::default();
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return 0,
                Err(GiveUp(reason, errno, text)) => {
                    self.kill_all();
                    self.roster.give_up(reason, errno, &text);
                    (self.tell)();
                    return 1;
                }
            }
            self.sleep(&mut watch);
        }
    }

    /// Does all there is to do; false when the server is to end.
    fn step(&mut self) -> std::result::Result<bool, GiveUp> {
        children::silence(self.bell);
        let order = self.order();
        let ends = self.reap(order)?;
        match order {
            roster::KEEP => {
                self.let_go_of_the_surplus();
                self.refill()?;
                self.call_off_what_takes_too_long();
            }
            roster::DRAIN => self.call_off_what_takes_too_long(),
            _ => self.press(),
        }
        // Told last: the owner finds the dead one's successor.
        if ends > 0 {
            self.roster.board().ends.fetch_add(ends, Ordering::Release); // pairs with `Server::ends`
            (self.tell)();
        }
        Ok(order == roster::KEEP || self.workers.iter().any(Option::is_some))
    }

    fn order(&self) -> u32 {
        if liveness::has_ended(self.owner.as_raw_fd()) {
            return roster::END;
        }
        self.roster.board().order.load(Ordering::Acquire)
    }

    /// Forks a worker into a free record; false if there is none.
    fn fork(&mut self) -> Result<bool> {
        let records = self.roster.records();
        let free = (0..records.len()).find(|&at| {
            self.workers[at].is_none() && records[at].entry().standing == Standing::Free
        });
        let Some(index) = free else { return Ok(false) };
        let record = &records[index];
        record.begin();
        let number = self.roster.board().forks.fetch_add(1, Ordering::Relaxed) + 1;
        let taken = |seat: &usize| self.workers.iter().flatten().any(|one| one.seat == *seat);
        let seat = (0..).find(|seat| !taken(seat)).unwrap_or(0);
        let work = self.work;
        let process = Process::builder()
            .name(format!("PoolWorker-{number}"))
            .kill_with_parent(true)
            .daemon(true)
            .spawn(|| {
                record.say_starting();
                work(Post { record, number: index as u32, seat })
            })
            .inspect_err(|_| record.free())?;
        record.say_forked(process.pid());
        let worker = Worker { process, seat, too_long: false, leaves: false, idle: false };
        self.workers[index] = Some(worker);
        Ok(true)
    }

    /// Notes the ends of workers; says how many the owner has to see to.
    fn reap(&mut self, order: u32) -> std::result::Result<u32, GiveUp> {
        let mut ends = 0;
        let mut given_up = None;
        for index in 0..self.workers.len() {
            let Some(worker) = &self.workers[index] else { continue };
            let Ok(Some(status)) = worker.process.exit_status() else { continue };
            let Some(worker) = self.workers[index].take() else { continue };
            let record = &self.roster.records()[index];
            let standing = record.entry().standing;
            if standing == Standing::Retired || worker.idle {
                record.free();
                continue;
            }
            record.set(Standing::Ended, worker.process.pid(), status, worker.too_long);
            ends += 1;
            if order == roster::KEEP && !worker.too_long {
                let ready = matches!(standing, Standing::Ready);
                given_up = given_up.or(self.count_death(&worker.process, status, ready));
            }
        }
        given_up.map_or(Ok(ends), Err)
    }

    /// Whether this death was one too many.
    fn count_death(&mut self, worker: &Process, status: ExitStatus, ready: bool) -> Option<GiveUp> {
        let now = clock::now();
        if self.rules.initializes && !ready {
            if self.roster.records().iter().any(|one| one.tally().ready > self.last_failure) {
                self.failed_starts = 0;
            }
            self.failed_starts += 1;
            self.last_failure = now;
            if self.failed_starts > FAILED_STARTS {
                let why = worker.panic_message().unwrap_or_else(|| status.to_string());
                let text =
                    format!("the pool's initializer failed in worker {}: {why}", worker.pid());
                return Some(GiveUp(roster::NOT_READY, 0, text));
            }
        }
        let (most, within) = self.rules.restarts?;
        let oldest = now.saturating_sub(within.as_nanos() as u64);
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|&death| death < oldest) {
            self.deaths.pop_front();
        }
        (self.deaths.len() > most as usize).then(|| {
            let text = format!(
                "{} of the pool's workers died within {within:?}, {most} may: the last one was {} ({status})",
                self.deaths.len(),
                worker.pid()
            );
            GiveUp(roster::TOO_OFTEN, 0, text)
        })
    }

    /// Forks what workers are missing.
    fn refill(&mut self) -> std::result::Result<(), GiveUp> {
        let wanted = self.roster.board().wanted.load(Ordering::Relaxed) as usize;
        if self.failed_forks > 0 && !self.retry_at.has_passed() {
            return Ok(());
        }
        while self.staying() < wanted {
            match self.fork() {
                Ok(true) => self.failed_forks = 0,
                Ok(false) => break,
                Err(error) => {
                    self.failed_forks += 1;
                    self.retry_at = Deadline::after(RETRY_FORK);
                    let none_lives = self.workers.iter().all(Option::is_none);
                    if none_lives && self.failed_forks >= FAILED_FORKS {
                        return Err(GiveUp(
                            roster::NO_FORK,
                            error.errno(),
                            "no worker can be forked".into(),
                        ));
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// How many workers live and are not about to leave.
    fn staying(&self) -> usize {
        self.workers.iter().flatten().filter(|worker| !worker.leaves).count()
    }

    /// Ends idle workers where there are too many, and has busy ones end when they are idle.
    fn let_go_of_the_surplus(&mut self) {
        let wanted = self.roster.board().wanted.load(Ordering::Relaxed) as usize;
        let mut surplus = self.staying().saturating_sub(wanted);
        for (worker, record) in self.workers.iter_mut().zip(self.roster.records()).rev() {
            let Some(worker) = worker else { continue };
            if !worker.leaves && surplus > 0 {
                surplus -= 1;
                worker.leaves = true;
                record.retire_when_idle();
            }
            if worker.leaves && !worker.idle && record.call_off(0) {
                worker.idle = true;
                let _ = worker.process.kill();
            }
        }
    }

    /// Kills workers whose task takes too long.
    fn call_off_what_takes_too_long(&mut self) {
        let Some(limit) = self.rules.task_timeout else { return };
        let now = clock::now();
        for (worker, record) in self.workers.iter_mut().zip(self.roster.records()) {
            let (Some(worker), Some((task, since))) = (worker, record.in_hand()) else { continue };
            let late = now.saturating_sub(since) >= limit.as_nanos() as u64;
            if late && !worker.too_long && record.call_off(task) {
                worker.too_long = true;
                let _ = worker.process.kill();
            }
        }
    }

    /// Tells all workers to end, or makes them.
    fn press(&mut self) {
        match self.kill_at {
            None => {
                let grace = self.roster.board().grace.load(Ordering::Relaxed);
                let orphans = liveness::has_ended(self.owner.as_raw_fd());
                let grace = if orphans { ORPHANS_GRACE } else { grace };
                self.kill_at = Some(Deadline::after(Duration::from_nanos(grace)));
                for worker in self.workers.iter().flatten() {
                    let _ = worker.process.terminate();
                    let _ = worker.process.signal(children::SIGCONT);
                }
            }
            Some(moment) if moment.has_passed() => self.kill_all(),
            Some(_) => {}
        }
    }

    /// Kills all workers and reaps them.
    fn kill_all(&mut self) {
        for worker in self.workers.iter().flatten() {
            let _ = worker.process.kill();
        }
        for (worker, record) in self.workers.iter_mut().zip(self.roster.records()) {
            if let Some(worker) = worker.take() {
                let status = worker.process.join().unwrap_or(ExitStatus::Unknown);
                record.set(Standing::Ended, worker.process.pid(), status, worker.too_long);
            }
        }
    }

    fn sleep(&self, watch: &mut Watch) {
        watch.clear();
        // An owner that has ended is known, and would wake for ever.
        if !liveness::has_ended(self.owner.as_raw_fd()) || self.kill_at.is_none() {
            watch.add(self.owner);
        }
        watch.add(self.bell);
        for worker in self.workers.iter().flatten() {
            watch.add(worker.process.as_fd());
        }
        watch.sleep(self.next_look());
    }

    /// When there will be something to do though nothing has happened.
    fn next_look(&self) -> Deadline {
        let mut next = self.kill_at.unwrap_or(Deadline::FOREVER);
        if self.failed_forks > 0 {
            next = next.at_most(RETRY_FORK.as_nanos() as u64);
        }
        if self.workers.iter().flatten().any(|worker| worker.leaves && !worker.idle) {
            next = next.at_most(LOOK_FOR_IDLE);
        }
        if let Some(limit) = self.rules.task_timeout {
            // A task that begins from now on cannot be late before a whole limit has passed.
            let (now, limit) = (clock::now(), limit.as_nanos() as u64);
            let left = |since: u64| limit.saturating_sub(now.saturating_sub(since));
            let first = self.roster.records().iter().filter_map(|record| record.in_hand());
            let first = first.map(|(_, since)| left(since)).min().unwrap_or(limit).min(limit);
            next = next.at_most(first);
        }
        next
    }
}
