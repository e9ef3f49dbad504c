//! Streams of items under load: who works, who kills, and what must be true of every single item.
//!
//! Each producer pushes its numbers in order, and goes on after its predecessor's; a number whose push was
//! under way at a death is passed over, for it may be in the queue or not. Consumers log what they do as
//! they do it (`ledger.rs`). A round ends after some hundred kills: the producers stop, everything is
//! drained, and the logs are held against these rules:
//!
//! | an item | must |
//! |---|---|
//! | whose push returned | be consumed exactly once: `Finished`, or killed between the begin of the release and its return |
//! | whose producer was killed in its push | be consumed once or never be seen |
//! | whose reservation was dropped | never be seen |
//! | that a consumer held when it was killed, or gave back | come again, marked, and in the end be consumed |
//! | that was seen once without a mark | have its mark whenever it comes again |
//! | that was consumed, the release having returned | never come again, marked or not |
//! | that was only ever seen marked | have been in the hands of one killed inside its claim: as many of these at most |
//!
//! Where the structure does not redeliver, an item comes at most once, and as many may be missing, at most,
//! as consumers were killed between the begin of a call that takes and the note of what it had taken.
//!
//! Order: what a consumer, with its successors, sees of one producer without marks rises; and whoever begins
//! a call after number n of a producer was taken gets no unmarked number of it below n.
//!
//! After each round the structure is clear (every block free), the long-lived process has the
//! descriptors that it had after the first, and its private memory has not grown by more than [`GROWTH`].
//!
//! # Seen to catch
//! Libraries that were broken on purpose: a claim that does not look at the slot again before it takes the block (order,
//! duplicated); no mark on what comes again (order, duplicated); a repair that frees a dead producer's committed block (lost);
//! a repair that frees what a dead consumer held (lost); two consumers that take one slot's item (duplicated); a
//! head's hint ahead of the truth (a consumer hangs).

use super::common::state_of;
use super::ledger::{Event, Item, Ledger};
use super::probe::{self, Random};
use mpshm::{ExitStatus, Process};
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const PRODUCERS: usize = 4;
const CONSUMERS: usize = 4;
/// The long-lived process, as a producer and as a consumer.
const SELF: usize = 4;
/// Kills of a round.
const ROUND: u64 = 250;
/// Items of one producer in a round, at most.
const MOST: u64 = 1 << 19;
/// What the long-lived process's private memory may grow by, in kilobytes.
const GROWTH: u64 = 1024;
/// After so long without an end, something hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// A bit that marks what was never committed.
pub const VOID: u64 = 1 << 63;

/// Whether an item was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Yes,
    No,
}

/// Whether an item was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    Item,
    Nothing,
}

/// A structure that items go through, in order for each producer.
pub trait Stream: Sized {
    /// Whether what a dead consumer held comes again; else it is lost with it.
    const REDELIVERS: bool;
    const PRODUCERS: usize = PRODUCERS;
    const CONSUMERS: usize = CONSUMERS;

    fn new() -> Self;
    /// Tries to push, in one of the ways there are; way 0 does not wait.
    fn push(&self, item: Item, way: u64, random: &mut Random) -> Pushed;
    /// Tries to take one item, for ever (`None`), not at all or for so long, and tells `taker` each step.
    fn take(&self, wait: Option<Duration>, taker: &mut Taker<'_>) -> Take;
    /// Repairs what the dead left.
    fn recover(&self);
    /// Nothing is in it, and nothing is held.
    fn check_clear(&self) -> Result<(), String>;
}

/// A consumer as its structure sees it: what it is told goes into the log.
pub struct Taker<'a> {
    ledger: &'a Ledger,
    index: usize,
    end: usize,
    random: Random,
    newest: Item,
    /// What was taken of each producer before the present call began.
    floor: [u64; PRODUCERS + 1],
}

impl<'a> Taker<'a> {
    fn new(ledger: &'a Ledger, index: usize, seed: u64) -> Self {
        let end = ledger.end_of_log(index);
        let newest = Item { producer: 0, number: 0 };
        Self { ledger, index, end, random: Random::new(seed), newest, floor: [0; PRODUCERS + 1] }
    }

    fn log(&mut self, event: Event) {
        self.ledger.append(self.index, &mut self.end, event);
    }

    fn took(&mut self, event: Event, item: Item, marked: bool) {
        self.log(event);
        self.newest = item;
        self.ledger.inside(self.index).store(0, Ordering::Release);
        let known = self.floor.get(item.producer);
        assert!(known.is_some(), "an item that nobody pushed: {item:?}");
        assert!(
            marked || known < Some(&item.number),
            "order: {item:?} came to a call that began after {known:?} had been taken"
        );
        self.ledger.taken(item.producer).fetch_max(item.number, Ordering::AcqRel);
    }

    /// Has got it, and will release it now.
    pub fn got(&mut self, item: Item, marked: bool) {
        self.took(Event::Got(item, marked), item, marked);
    }

    /// Has got it, and keeps it for a while.
    pub fn holds(&mut self, item: Item, marked: bool) {
        self.took(Event::Holds(item, marked), item, marked);
    }

    /// Will release now what it holds.
    pub fn lets_go(&mut self) {
        self.log(Event::LetsGo);
    }

    /// The release has returned.
    pub fn finished(&mut self) {
        self.log(Event::Finished);
    }

    /// Will give back what it holds.
    pub fn gives_back(&mut self) {
        self.log(Event::GivesBack);
    }

    /// Has given it back.
    pub fn gave_back(&mut self) {
        self.log(Event::GaveBack);
    }

    /// A number below `bound`.
    pub fn chance(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// Holds it for a moment.
    pub fn pause(&mut self) {
        self.random.pause(20);
    }

    /// One call of the structure.
    fn step<S: Stream>(&mut self, stream: &S, wait: Option<Duration>) -> Take {
        for (producer, floor) in self.floor.iter_mut().enumerate() {
            *floor = self.ledger.taken(producer).load(Ordering::Acquire);
        }
        self.ledger.inside(self.index).store(1, Ordering::Release);
        let took = stream.take(wait, self);
        self.ledger.inside(self.index).store(0, Ordering::Release);
        self.ledger.takes(self.index).fetch_add(1, Ordering::Relaxed);
        took
    }
}

fn stopping(ledger: &Ledger) -> bool {
    ledger.stop().load(Ordering::Acquire) == 1
}

fn produce<S: Stream>(stream: &S, ledger: &Ledger, index: usize, seed: u64) {
    let mut random = Random::new(seed);
    let mut number = ledger.announced(index).load(Ordering::Acquire) + 1;
    while number < ledger.limit(index).load(Ordering::Acquire) {
        ledger.announced(index).store(number, Ordering::Release);
        loop {
            let way = random.below(8);
            if stream.push(Item { producer: index, number }, way, &mut random) == Pushed::Yes {
                break;
            }
            if stopping(ledger) {
                ledger.announced(index).store(number - 1, Ordering::Release);
                return;
            }
        }
        ledger.pushed(index).store(number, Ordering::Release);
        number += 1;
        if stopping(ledger) {
            return;
        }
    }
}

fn consume<S: Stream>(stream: &S, ledger: &Ledger, index: usize, seed: u64) {
    let mut taker = Taker::new(ledger, index, seed);
    loop {
        let wait = match taker.chance(4) {
            0 => Some(Duration::ZERO),
            1 => Some(Duration::from_micros(taker.chance(300))),
            _ => None,
        };
        // In the end the long-lived process has an item for each.
        if taker.step(stream, wait) == Take::Item && taker.newest.producer == SELF {
            return;
        }
    }
}

/// What a run has come to.
#[derive(Debug, Default)]
pub struct Totals {
    pub kills: u64,
    stops: u64,
    rounds: u64,
    pub items: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub redelivered: u64,
    /// Items whose push was under way when its process was killed, and those of them that came.
    pending: [u64; 2],
    /// Missing with the dead that had just taken them, and how many may be.
    gone: [u64; 2],
    seconds: f64,
    pub failures: Vec<String>,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.items += other.items;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.redelivered += other.redelivered;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.failures.is_empty() { "ok" } else { "FAILED" };
        write!(
            f,
            "{verdict}: kills {}, stops {}, rounds {}, items {}, lost {}, duplicated {}, redelivered {}, \
             pushes pending at a death {} (of which {} came), gone with the dead {} of at most {}, {:.1} s",
            self.kills,
            self.stops,
            self.rounds,
            self.items,
            self.lost,
            self.duplicated,
            self.redelivered,
            self.pending[0],
            self.pending[1],
            self.gone[0],
            self.gone[1],
            self.seconds
        )
    }
}

/// A worker: what it does, and its life's process.
struct Worker {
    produces: bool,
    index: usize,
    process: Process,
    /// What it had done when this life began.
    before: u64,
    /// Steps of the killer until it goes on.
    stopped: Option<u64>,
}

struct Soak<'a, S> {
    stream: &'a S,
    ledger: &'a Ledger,
    random: Random,
    totals: Totals,
    workers: Vec<Worker>,
    /// Pushes that were under way at a death.
    pending: Vec<Item>,
    /// The first number of each producer in this round.
    first: [u64; PRODUCERS + 1],
    /// What the logs say of each item.
    fates: Vec<u8>,
}

const UNMARKED: u8 = 1;
const MARKED: u8 = 2;
const FINISHED: u8 = 4;
const PERHAPS: u8 = 8;
const TWICE: u8 = 16;
const PENDING: u8 = 32;

/// Runs the structure for so many kills.
pub fn soak<S: Stream>(kills: u64, seed: u64) -> Totals {
    let (stream, ledger) = (S::new(), Ledger::new());
    let mut soak = Soak {
        stream: &stream,
        ledger: &ledger,
        random: Random::new(seed),
        totals: Totals::default(),
        workers: Vec::new(),
        pending: Vec::with_capacity(4096),
        first: [1; PRODUCERS + 1],
        fates: vec![0; (PRODUCERS + 1) * MOST as usize],
    };
    let start = Instant::now();
    let mut flat = None;
    while soak.totals.kills < kills && soak.totals.failures.is_empty() {
        if let Err(why) = soak.round(kills) {
            soak.end_all();
            soak.totals.failures.push(why);
            break;
        }
        let now = (private_memory(), descriptors());
        let (memory, open) = *flat.get_or_insert(now);
        if now.0 > memory + GROWTH {
            soak.fail(format!("private memory grew from {memory} KB to {} KB", now.0));
        }
        if now.1 != open {
            soak.fail(format!("{open} descriptors became {}", now.1));
        }
    }
    soak.totals.seconds = start.elapsed().as_secs_f64();
    if soak.totals.items < 20 * soak.totals.kills {
        soak.fail("too few items for so many kills: nothing was put to the test".into());
    }
    soak.totals
}

/// Private pages of this process, in kilobytes.
fn private_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).expect("a kernel since 4.5");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

impl<S: Stream> Soak<'_, S> {
    fn fail(&mut self, why: String) {
        self.totals.failures.push(why);
    }

    fn start(&mut self, produces: bool, index: usize) -> Worker {
        let seed = self.random.below(1 << 40);
        let (stream, ledger) = (self.stream, self.ledger);
        let process = probe::spawn(|| match produces {
            true => produce(stream, ledger, index, seed),
            false => consume(stream, ledger, index, seed),
        });
        Worker { produces, index, process, before: self.done(produces, index), stopped: None }
    }

    fn done(&self, produces: bool, index: usize) -> u64 {
        let done = if produces { self.ledger.pushed(index) } else { self.ledger.takes(index) };
        done.load(Ordering::Relaxed)
    }

    fn round(&mut self, kills: u64) -> Result<(), String> {
        for producer in 0..=PRODUCERS {
            self.first[producer] = self.ledger.announced(producer).load(Ordering::Acquire) + 1;
            self.ledger.limit(producer).store(self.first[producer] + MOST, Ordering::Release);
        }
        self.pending.clear();
        self.ledger.stop().store(0, Ordering::Release);
        let mut workers = Vec::new();
        workers.extend((0..S::PRODUCERS).map(|index| self.start(true, index)));
        workers.extend((0..S::CONSUMERS).map(|index| self.start(false, index)));
        self.workers = workers;
        let end = kills.min(self.totals.kills + ROUND);
        while self.totals.kills < end {
            if !self.step(end)? {
                break;
            }
        }
        self.wind_up()?;
        self.verify();
        self.ledger.clear_logs();
        self.totals.rounds += 1;
        self.stream.check_clear()
    }

    /// Some stops, some kills; false when a producer has come to the end of its numbers.
    fn step(&mut self, end: u64) -> Result<bool, String> {
        std::thread::sleep(Duration::from_micros(self.random.below(1500)));
        for worker in &mut self.workers {
            match worker.stopped {
                Some(0) => {
                    probe::go_on(&worker.process);
                    worker.stopped = None;
                }
                Some(ref mut steps) => *steps -= 1,
                None => {}
            }
        }
        if self.random.below(3) == 0 {
            let steps = self.random.below(4);
            let at = self.random.below(self.workers.len() as u64) as usize;
            let worker = &mut self.workers[at];
            if worker.stopped.is_none() {
                let _ = worker.process.signal(libc::SIGSTOP);
                worker.stopped = Some(steps);
                self.totals.stops += 1;
            }
        }
        let volley = (1 + self.random.below(3)).min(end - self.totals.kills);
        let mut victims: Vec<usize> = Vec::new();
        for _ in 0..4 * volley {
            if victims.len() as u64 == volley {
                break;
            }
            let at = self.random.below(self.workers.len() as u64) as usize;
            let worker = &self.workers[at];
            let idle = self.done(worker.produces, worker.index) == worker.before;
            // Most have done something in this life; the others die in their first call.
            if victims.contains(&at) || idle && self.random.below(8) != 0 {
                continue;
            }
            // Who sleeps is in the middle of nothing.
            if self.random.below(4) != 0 && state_of(worker.process.pid()) == Some('S') {
                continue;
            }
            let _ = worker.process.kill();
            victims.push(at);
        }
        let mut all_work = true;
        for at in victims {
            let process = &self.workers[at].process;
            match process.join().map_err(|error| error.to_string())? {
                ExitStatus::Signaled(9) => {}
                status if status.success() => {
                    all_work = false;
                    continue;
                }
                status => return Err(format!("{status}: {:?}", process.panic_message())),
            }
            self.totals.kills += 1;
            let (produces, index) = (self.workers[at].produces, self.workers[at].index);
            self.bury(produces, index);
            self.workers[at] = self.start(produces, index);
        }
        Ok(all_work)
    }

    /// Notes what a killed worker was in the middle of.
    fn bury(&mut self, produces: bool, index: usize) {
        if produces {
            let number = self.ledger.announced(index).load(Ordering::Acquire);
            if number != self.ledger.pushed(index).load(Ordering::Acquire) {
                self.pending.push(Item { producer: index, number });
                self.ledger.pushed(index).store(number, Ordering::Release);
            }
        } else {
            let inside = self.ledger.inside(index).swap(0, Ordering::AcqRel) == 1;
            let mut end = self.ledger.end_of_log(index);
            self.ledger.append(index, &mut end, Event::Died { inside });
        }
    }

    fn end_all(&mut self) {
        for worker in self.workers.drain(..) {
            let _ = worker.process.kill();
            let _ = worker.process.join();
        }
    }

    /// Waits until all of them have ended by themselves, as they should within [`PATIENCE`].
    fn wait_for(&mut self, producers: bool, meanwhile: impl Fn(&Self)) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        let picked = self.workers.iter().filter(|worker| worker.produces == producers);
        for Worker { process, index, .. } in picked {
            let status = loop {
                let status = process.join_timeout(Duration::from_millis(2));
                if let Some(status) = status.map_err(|error| error.to_string())? {
                    break status;
                }
                meanwhile(self);
                if Instant::now() >= end {
                    let what = if producers { "producer" } else { "consumer" };
                    return Err(format!("{what} {index} hangs"));
                }
            };
            if !status.success() {
                return Err(format!("{status}: {:?}", process.panic_message()));
            }
        }
        Ok(())
    }

    /// Ends the round: nobody is killed any more, all that is in the structure is taken.
    fn wind_up(&mut self) -> Result<(), String> {
        self.ledger.stop().store(1, Ordering::Release);
        for worker in &mut self.workers {
            if worker.stopped.take().is_some() {
                probe::go_on(&worker.process);
            }
        }
        // Who waits for an item for ever gets one.
        self.wait_for(false, |soak| {
            let number = soak.ledger.announced(SELF).load(Ordering::Relaxed) + 1;
            soak.ledger.announced(SELF).store(number, Ordering::Relaxed);
            let item = Item { producer: SELF, number };
            if soak.stream.push(item, 0, &mut Random::new(number)) == Pushed::No {
                soak.ledger.announced(SELF).store(number - 1, Ordering::Relaxed);
            }
        })?;
        let mut taker = Taker::new(self.ledger, SELF, 1);
        let seeds = std::cell::RefCell::new(&mut taker);
        self.wait_for(true, |soak| {
            seeds.borrow_mut().step(soak.stream, Some(Duration::ZERO));
        })?;
        self.workers.clear();
        self.stream.recover();
        while taker.step(self.stream, Some(Duration::ZERO)) == Take::Item {}
        Ok(())
    }

    /// Where the fate of an item is noted, if it is one of this round.
    fn place(&self, item: Item) -> Option<usize> {
        let number = item.number.checked_sub(*self.first.get(item.producer)?)?;
        let announced = self.ledger.announced(item.producer).load(Ordering::Acquire);
        (item.number <= announced).then(|| item.producer * MOST as usize + number as usize)
    }

    /// Holds the logs against the rules.
    fn verify(&mut self) {
        self.fates.fill(0);
        let (mut inside, mut wrong) = (0, Vec::new());
        for consumer in 0..=SELF {
            let mut last = [0; PRODUCERS + 1];
            let mut hand: Option<(Item, bool)> = None; // and whether it must come again after a death
            for event in self.ledger.events(consumer) {
                match event {
                    Event::Got(item, marked) | Event::Holds(item, marked) => {
                        let Some(at) = self.place(item) else {
                            wrong.push(format!(
                                "an item that nobody pushed in this round: {item:?}"
                            ));
                            continue;
                        };
                        let fate = &mut self.fates[at];
                        if marked {
                            *fate |= MARKED;
                            self.totals.redelivered += 1;
                        } else {
                            let twice = if *fate & UNMARKED != 0 { TWICE } else { 0 };
                            *fate |= UNMARKED | twice;
                            let before = &mut last[item.producer];
                            if *before >= item.number {
                                wrong.push(format!("order: {item:?} came after {before}"));
                            }
                            *before = item.number;
                        }
                        hand = Some((item, matches!(event, Event::Holds(..))));
                        if !S::REDELIVERS {
                            *fate |= FINISHED;
                            hand = None;
                        }
                    }
                    Event::LetsGo => hand = hand.map(|(item, _)| (item, false)),
                    Event::GivesBack => {}
                    Event::GaveBack => hand = None,
                    Event::Finished => {
                        let done = hand.take().and_then(|(item, _)| self.place(item));
                        if let Some(at) = done {
                            let twice = if self.fates[at] & FINISHED != 0 { TWICE } else { 0 };
                            self.fates[at] |= FINISHED | twice;
                        }
                    }
                    Event::Died { inside: within } => match hand.take() {
                        Some((item, false)) => {
                            if let Some(at) = self.place(item) {
                                self.fates[at] |= PERHAPS;
                            }
                        }
                        Some((_, true)) => {}
                        None => inside += u64::from(within),
                    },
                }
            }
        }
        self.judge(inside, &mut wrong);
        self.totals.failures.append(&mut wrong);
    }

    /// `inside`: how many were killed in a call that takes, and may have had something in hand.
    fn judge(&mut self, inside: u64, wrong: &mut Vec<String>) {
        for item in std::mem::take(&mut self.pending) {
            if let Some(at) = self.place(item) {
                self.fates[at] |= PENDING;
                self.totals.pending[0] += 1;
            }
        }
        let (mut missing, mut only_marked) = (Vec::new(), 0);
        for producer in 0..=PRODUCERS {
            let first = self.first[producer];
            let announced = self.ledger.announced(producer).load(Ordering::Acquire);
            for number in first..=announced {
                let item = Item { producer, number };
                let fate = self.fates[producer * MOST as usize + (number - first) as usize];
                let seen = fate & (UNMARKED | MARKED) != 0;
                if fate & PENDING == 0 {
                    self.totals.items += 1;
                } else if seen {
                    self.totals.pending[1] += 1;
                } else {
                    continue;
                }
                only_marked += u64::from(seen && fate & UNMARKED == 0);
                if fate & TWICE != 0 {
                    self.totals.duplicated += 1;
                    wrong.push(format!("duplicated: {item:?} ({fate:#b})"));
                }
                if fate & (FINISHED | PERHAPS) == 0 {
                    missing.push((item, fate));
                }
            }
        }
        if S::REDELIVERS {
            self.totals.lost += missing.len() as u64;
            wrong.extend(missing.iter().map(|(item, fate)| format!("lost: {item:?} ({fate:#b})")));
        } else {
            self.totals.gone[0] += missing.len() as u64;
            self.totals.gone[1] += inside;
            let lost = (missing.len() as u64).saturating_sub(inside);
            self.totals.lost += lost;
            if lost > 0 {
                wrong.push(format!("lost: {lost} more than the dead had in hand, of {missing:?}"));
            }
        }
        if only_marked > inside {
            wrong.push(format!(
                "{only_marked} items were never seen without a mark, {inside} consumers were killed in a claim"
            ));
        }
    }
}
