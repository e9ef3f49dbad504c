//! Makes histories: processes that call, get in each other's way and are killed, on one real structure.
//!
//! A run is one structure and 4 to 6 processes. Each history of it begins and ends with an empty structure: the
//! parent, which is a process of the history too, puts some items in; a gate opens; each process does its plan; who waits for
//! ever is helped by an item, by room, or by a close; the parent repairs (or waits for as long as others may need to learn
//! of a death) and takes out what is left. So windows of a long run can be checked one by one, each from a known state.
//! Who was killed is replaced for the next history.

use super::call::{Answer, Call, No, Wait};
use super::check::{Verdict, check};
use super::common::state_of;
use super::disturb::{self, AT_INSTRUCTIONS, Fate};
use super::history::{Death, History, Made};
use super::model::LATE;
use super::plan::{Menu, Numbers, doom};
use super::probe::{self, Random};
use super::record::{CALLS, END, Shared, WORKERS, after, before, now};
use super::sequential::Rules;
use super::totals::Totals;
use mpshm::{ExitStatus, Process};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Histories of one run, at most.
const RUN: u64 = 20;
/// After so long without an end, something hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the parent waits before it helps.
const TICK: Duration = Duration::from_micros(200);

/// A structure that items go through.
pub trait Subject {
    /// What a process has in hand between two calls.
    type Hand<'a>: Default
    where
        Self: 'a;

    fn rules(&self) -> Rules;
    /// What the process of this number may do.
    fn menu(&self, process: usize) -> Menu;
    /// Makes the call.
    fn act<'a>(&'a self, call: Call, hand: &mut Self::Hand<'a>) -> Answer;
    /// The structure is empty, nobody uses it, and the dead were repaired after: nothing may be held.
    fn check_clear(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What was found, and where.
pub struct Found(pub String);

/// Makes and checks so many histories of what `make` makes, or fewer when one is not linearizable.
pub fn histories<S: Subject>(
    make: impl Fn(&mut Random) -> S,
    count: u64,
    seed: u64,
    totals: &mut Totals,
) -> Result<(), Found> {
    disturb::install();
    let mut random = Random::new(seed);
    let end = totals.histories + count;
    while totals.histories < end {
        let subject = make(&mut random);
        let shared = Shared::new();
        let workers = 4 + random.below(3) as usize;
        let mut run = Run {
            subject: &subject,
            shared: &shared,
            workers: Vec::new(),
            random: Random::new(random.below(1 << 40)),
            numbers: Numbers(1),
            closed: false,
        };
        run.workers = (0..workers).map(|index| run.start(index)).collect();
        let most = end.min(totals.histories + RUN);
        let mut number = 0;
        while totals.histories < most && !run.closed {
            number += 1;
            if let Err(Found(why)) = run.history(number, totals) {
                run.end();
                return Err(Found(format!("seed {seed}: {why}")));
            }
        }
        run.end();
        subject.check_clear().map_err(Found)?;
    }
    Ok(())
}

struct Run<'a, S: Subject> {
    subject: &'a S,
    shared: &'a Shared,
    workers: Vec<Process>,
    random: Random,
    numbers: Numbers,
    /// The structure is of no more use.
    closed: bool,
}

/// One history in the making.
struct Making<'a, S: Subject + 'a> {
    calls: Vec<Made>,
    deaths: Vec<Option<Death>>,
    hand: S::Hand<'a>,
}

/// A worker's life: one plan after another.
fn work<S: Subject>(subject: &S, shared: &Shared, index: usize) {
    let log = &shared.logs[index];
    let mut before = log.done.load(Ordering::Acquire);
    loop {
        let number = shared.history.get();
        if number == END {
            return;
        }
        if number == before {
            shared.history.wait(number, PATIENCE);
            continue;
        }
        shared.ready.add();
        while shared.gate.get() != number {
            std::thread::yield_now();
        }
        let mut hand = S::Hand::default();
        for record in log.records() {
            let planned = record.planned();
            (0..planned.yields).for_each(|_| std::thread::yield_now());
            record.begin();
            disturb::begin(planned.fate);
            let answer = subject.act(planned.call, &mut hand);
            disturb::end();
            record.end(answer);
        }
        before = number;
        log.done.store(number, Ordering::Release);
        shared.finished.add();
        shared.finished.wake();
    }
}

impl<'a, S: Subject> Run<'a, S> {
    fn start(&self, index: usize) -> Process {
        let (subject, shared) = (self.subject, self.shared);
        // Its predecessor may not have come to the end of its plan.
        shared.logs[index].done.store(shared.history.get(), Ordering::Release);
        probe::spawn(move || work(subject, shared, index))
    }

    fn end(&mut self) {
        self.shared.history.set(END);
        for worker in self.workers.drain(..) {
            probe::join(&worker);
        }
    }

    /// The parent's number in the history.
    fn own(&self) -> usize {
        self.workers.len()
    }

    fn history(&mut self, number: u32, totals: &mut Totals) -> Result<(), Found> {
        let workers = self.workers.len();
        let mut making =
            Making { calls: Vec::new(), deaths: vec![None; workers + 1], hand: S::Hand::default() };
        let victim = self.plan();
        self.fill(&mut making);
        self.open_the_gate(number);
        if let Some(victim) = victim {
            self.random.pause(200);
            self.kill(victim, &mut making);
        }
        self.wait(number, &mut making);
        self.collect(&mut making);
        self.empty(&mut making);
        let Making { calls, deaths, hand } = making;
        drop(hand);
        for (index, _) in deaths.iter().enumerate().filter(|(_, death)| death.is_some()) {
            self.workers[index] = self.start(index);
        }
        let history = History { rules: self.subject.rules(), calls, deaths };
        let (verdict, states) = check(&history);
        totals.add(&history, states);
        match verdict {
            Verdict::Linearizable => Ok(()),
            Verdict::Not(why) => Err(Found(why)),
            Verdict::Undecided => Err(Found(format!("undecided after {states} states\n{history}"))),
        }
    }

    /// Everybody's plan; and who is to be killed from outside.
    fn plan(&mut self) -> Option<usize> {
        let workers = self.workers.len() as u64;
        let length = 3 + self.random.below(8) as usize;
        let mut plans: Vec<_> = (0..self.workers.len())
            .map(|index| {
                let menu = self.subject.menu(index);
                menu.plan(length, &mut self.random, &mut self.numbers)
            })
            .collect();
        let Menu { waits, closes, .. } = self.subject.menu(0);
        let (closer, killed) = (self.random.below(8 * workers), self.random.below(4));
        if closer < workers && closes {
            let plan = &mut plans[closer as usize];
            let at = self.random.below(plan.len() as u64) as usize;
            let call = plan[at].call;
            let claims = matches!(call, Call::Claim(_) | Call::ClaimMany(..)) || call.ends_claim();
            // A role that is not left would keep everybody else from it.
            if !claims && call != Call::Leave {
                plan[at].call = Call::Close;
            }
        }
        let victim = self.random.below(workers) as usize;
        if killed == 0 && waits && AT_INSTRUCTIONS {
            doom(&mut plans[victim], &mut self.random);
            let second = self.random.below(3 * workers) as usize;
            if second < plans.len() {
                doom(&mut plans[second], &mut self.random);
            }
        }
        for (log, plan) in self.shared.logs.iter().zip(&plans) {
            assert!(plan.len() <= CALLS);
            log.plan(plan);
        }
        (killed == 1 && waits).then_some(victim)
    }

    /// The parent makes a call.
    fn call(&self, making: &mut Making<'a, S>, call: Call) -> Answer {
        let invoked = before();
        let answer = self.subject.act(call, &mut making.hand);
        let returned = after();
        let process = self.own();
        making.calls.push(Made { process, call, answer: Some(answer), invoked, returned });
        answer
    }

    fn fill(&mut self, making: &mut Making<'a, S>) {
        let capacity = self.subject.rules().capacity as u64;
        for _ in 0..self.random.below(capacity + 1) {
            let number = self.numbers.some(1);
            self.call(making, Call::Push(Wait::Not, number));
        }
        self.leave(making);
    }

    /// Nobody else could have a role that the parent keeps.
    fn leave(&self, making: &mut Making<'a, S>) {
        if self.subject.menu(0).roles {
            self.call(making, Call::Leave);
        }
    }

    fn open_the_gate(&self, number: u32) {
        self.shared.ready.set(0);
        self.shared.history.set(number);
        let start = Instant::now();
        while (self.shared.ready.get() as usize) < self.workers.len() {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.complaints());
            std::thread::yield_now();
        }
        self.shared.gate.set(number);
    }

    /// What killed workers, when nobody should have.
    fn complaints(&self) -> Vec<String> {
        let told =
            |worker: &Process| Some(format!("{}: {:?}", worker.pid(), worker.panic_message()?));
        self.workers.iter().filter_map(told).collect()
    }

    fn kill(&self, victim: usize, making: &mut Making<'a, S>) {
        let killed = before();
        self.workers[victim].kill().unwrap();
        let status = self.workers[victim].join().unwrap();
        assert_eq!(status, ExitStatus::Signaled(9), "{:?}", self.complaints());
        making.deaths[victim] = Some(Death { killed, found: after() });
    }

    /// Waits until everybody has done its plan or is dead, and helps who waits for ever.
    fn wait(&mut self, number: u32, making: &mut Making<'a, S>) {
        let start = Instant::now();
        loop {
            let seen = self.shared.finished.get();
            let mut at_work = Vec::new();
            for index in 0..self.workers.len() {
                let done = self.shared.logs[index].done.load(Ordering::Acquire) == number;
                if !done && making.deaths[index].is_none() && !self.has_died(index, making) {
                    at_work.push(index);
                }
            }
            if at_work.is_empty() {
                return;
            }
            let hang = || format!("{at_work:?} hang; {:?}", self.complaints());
            assert!(start.elapsed() < PATIENCE, "{}", hang());
            self.shared.finished.wait(seen, TICK);
            if self.shared.finished.get() == seen {
                at_work.into_iter().for_each(|index| self.help(index, making));
            }
        }
    }

    /// Whether the worker was killed by its own plan.
    fn has_died(&self, index: usize, making: &mut Making<'a, S>) -> bool {
        let Some(status) = self.workers[index].join_timeout(Duration::ZERO).unwrap() else {
            return false;
        };
        let last = self.shared.logs[index].last().expect("a plan");
        let planned = matches!(last.planned().fate, Fate::Die(_)) && last.returned().is_none();
        assert!(
            status == ExitStatus::Signaled(9) && planned,
            "process {index}: {status}: {:?}",
            self.complaints()
        );
        let killed = last.invoked().expect("the last call that was begun");
        making.deaths[index] = Some(Death { killed, found: after() });
        true
    }

    /// Gives a worker what it waits for, or closes the structure.
    fn help(&mut self, index: usize, making: &mut Making<'a, S>) {
        let Some(last) = self.shared.logs[index].last().filter(|last| last.returned().is_none())
        else {
            return;
        };
        let call = last.planned().call;
        let asleep = || state_of(self.workers[index].pid()) == Some('S');
        if !(call.waits_for_an_item() || call.waits_for_room()) || !asleep() {
            return;
        }
        if self.random.below(40) == 0 {
            self.call(making, Call::Close);
        } else if call.waits_for_an_item() {
            let number = self.numbers.some(1);
            self.call(making, Call::Push(Wait::Not, number));
        } else {
            self.call(making, Call::Pop(Wait::Not));
        }
        self.leave(making);
    }

    /// Takes what the workers have written down.
    fn collect(&self, making: &mut Making<'a, S>) {
        for process in 0..self.workers.len() {
            for record in self.shared.logs[process].records() {
                let Some(invoked) = record.invoked() else { break };
                let call = record.planned().call;
                let (answer, returned) = match (record.returned(), making.deaths[process]) {
                    (Some((answer, returned)), _) => (Some(answer), returned),
                    (None, Some(death)) => (None, death.found),
                    (None, None) => panic!("process {process} has not done its plan"),
                };
                making.calls.push(Made { process, call, answer, invoked, returned });
            }
        }
    }

    /// Repairs, or waits until everybody has to know of the dead; then takes all items out.
    fn empty(&mut self, making: &mut Making<'a, S>) {
        let Menu { in_place, looks, roles, .. } = self.subject.menu(0);
        let last = making.deaths.iter().flatten().map(|death| death.found).max();
        if let Some(last) = last.filter(|_| !roles) {
            if self.random.below(4) == 0 && !self.subject.rules().slots {
                while now() <= last + LATE {
                    std::thread::sleep(Duration::from_millis(1));
                }
            } else {
                self.call(making, Call::Recover);
            }
        }
        loop {
            let call = match self.random.below(2) {
                0 if in_place && roles => Call::ClaimMany(Wait::Not, 2),
                0 if in_place => Call::Claim(Wait::Not),
                _ => Call::Pop(Wait::Not),
            };
            match self.call(making, call) {
                Answer::No(No::Closed) => self.closed = true,
                Answer::No(_) => {}
                Answer::Claimed(..) | Answer::Handed(..) => {
                    self.call(making, Call::Release);
                    continue;
                }
                _ => continue,
            }
            break;
        }
        self.leave(making);
        if looks {
            self.call(making, Call::Len);
        }
    }
}

const _: () = assert!(WORKERS >= 6);
