//! Hostile bytes: `cargo test --release --test hostile [-- --quick] [--mutations N] [--seed S] [--only KIND/FIELD] [--at N]`.
//!
//! Whatever the bytes of a segment say, no call may touch memory outside the mapping or bytes of other objects, panic,
//! or not come back in time. A mutation writes hostile values into named fields of a segment (`layout.rs` has them all:
//! headers, cursors, slot words, block words, lengths, marks, payload) and then makes every call that there is: half of
//! them through handles that were open before, half by attaching to and opening what it has made of the objects. One in
//! sixteen is made by a thread that goes on writing while the calls are made. Files that are cut short are not part of it.
//!
//! - Each batch of mutations runs in a child, which may die or hang; the runner (`crew.rs`) counts that for the mutation,
//!   and another child goes on behind it. Everything about a mutation follows from `--seed` and its number; `--at` does
//!   the batch up to it again, and describes it.
//! - Every mapping lies between guard pages (`guard.rs`), in every second batch with the object at its very end.
//! - After the calls every byte of the segment is as before but for the object's own and the participants' table.
//!   `world.rs` says what else may change where the directory, or calls that change it, are the matter.
//! - A timed call may come back two seconds late; a call that takes four more is killed.
//!
//! A new kind of object is one more [`world::Kind`] in the list below. Pools are not among them: their segments are
//! anonymous, and carry code addresses.
//!
//! # What is seen to be found
//!
//! Every run begins with toys (`toys.rs`), which trust their bytes: an index that is not checked (a signal), a chain
//! without end, work that takes long (hangs), a write into another object, a panic, a descriptor that is kept, a mapping
//! without guards.

mod common;
#[path = "common/options.rs"]
mod options;
#[path = "common/probe.rs"]
mod probe;
#[allow(dead_code)]
#[path = "lab/view.rs"]
mod view;

#[path = "hostile/board.rs"]
mod board;
#[path = "hostile/c.rs"]
mod c;
#[path = "hostile/calls.rs"]
mod calls;
#[path = "hostile/crew.rs"]
mod crew;
#[path = "hostile/damage.rs"]
mod damage;
#[path = "hostile/guard.rs"]
mod guard;
#[path = "hostile/latest.rs"]
mod latest;
#[path = "hostile/layout.rs"]
mod layout;
#[path = "hostile/locks.rs"]
mod locks;
#[path = "hostile/queues.rs"]
mod queues;
#[path = "hostile/report.rs"]
mod report;
#[path = "hostile/rings.rs"]
mod rings;
#[path = "hostile/segments.rs"]
mod segments;
#[path = "hostile/signals.rs"]
mod signals;
#[path = "hostile/storm.rs"]
mod storm;
#[path = "hostile/sync.rs"]
mod sync;
#[path = "hostile/toys.rs"]
mod toys;
#[path = "hostile/world.rs"]
mod world;

use calls::Bounds;
use crew::{Outcome, Run, Terms};
use std::time::{Duration, Instant};
use world::{Batch, Kind};

/// Mutations of one child, all of one kind.
const BATCH: u64 = 250;
/// The first so many of them are storms.
const STORMS: u64 = 4;
/// The storms of so many batches of a kind are done by one child.
const TOGETHER: u64 = 40;
/// A call takes at most some hundred microseconds of a processor where nobody writes.
const BOUNDS: Bounds = Bounds { late: Duration::from_secs(2), busy: Duration::from_millis(30) };
const TERMS: Terms = Terms { children: 1, hang: Duration::from_secs(6), enough: 40 };

fn of<K: Kind>() -> (&'static str, Run) {
    (K::NAME, world::run::<K>)
}

fn kinds() -> Vec<(&'static str, Run)> {
    use queues::Queues;
    use rings::Rings;
    use segments::Segments;
    vec![
        of::<Segments<segments::Header>>(),
        of::<Segments<segments::Participants>>(),
        of::<Segments<segments::Directory>>(),
        of::<Queues<queues::Slots>>(),
        of::<Queues<queues::OneSlot>>(),
        of::<Queues<queues::SlotsOverwriting>>(),
        of::<Queues<queues::SlotsFollowing>>(),
        of::<Queues<queues::Blocks>>(),
        of::<Queues<queues::SmallBlocks>>(),
        of::<Queues<queues::BlocksDropping>>(),
        of::<Queues<queues::Messages>>(),
        of::<Queues<queues::ManyMessages>>(),
        of::<Queues<queues::OneMessage>>(),
        of::<Queues<queues::Sizes>>(),
        of::<Queues<queues::Overwriting>>(),
        of::<Queues<queues::Joinable>>(),
        of::<Queues<queues::Following>>(),
        of::<Rings<rings::Words>>(),
        of::<Rings<rings::Odd>>(),
        of::<Rings<rings::Dropping>>(),
        of::<Rings<rings::ItemsOverwriting>>(),
        of::<Rings<rings::Following>>(),
        of::<Rings<rings::Messages>>(),
        of::<Rings<rings::MessagesOverwriting>>(),
        of::<Rings<rings::MessagesFollowing>>(),
        of::<locks::Values>(),
        of::<locks::Arrays>(),
        of::<locks::Mutexes>(),
        of::<signals::Signals>(),
        of::<latest::Latests>(),
        of::<sync::Others>(),
        of::<c::CQueue<c::InSlots>>(),
        of::<c::CQueue<c::InBlocks>>(),
        of::<c::CQueue<c::OfMessages>>(),
        of::<c::Locks>(),
    ]
}

/// What the command line asks for.
struct Asked {
    seed: u64,
    mutations: u64,
    only: String,
    at: Option<u64>,
}

impl Asked {
    fn read() -> Self {
        let quick = options::quick() || std::env::args().any(|argument| argument == "--quick");
        Self {
            seed: options::seed(),
            mutations: options::number("--mutations").unwrap_or(if quick {
                30_000
            } else {
                1_000_000
            }),
            only: options::word("--only").unwrap_or_default(),
            at: options::number("--at"),
        }
    }

    /// The command that does the same mutations.
    fn again(&self) -> String {
        let only =
            if self.only.is_empty() { String::new() } else { format!(" --only {}", self.only) };
        format!("cargo test --release --test hostile -- --seed {}{only}", self.seed)
    }

    fn kind(&self) -> &str {
        self.only.split('/').next().unwrap_or_default()
    }

    fn field(&self) -> Option<String> {
        self.only.split_once('/').map(|(_, field)| field.to_owned())
    }

    /// The batches, storms or others, and each one's kind of `kinds`. Every second round of batches has its objects at
    /// the end of the mapping.
    fn batches(&self, kinds: u64, storms: bool) -> Vec<(usize, Batch)> {
        let end = self.at.map_or(self.mutations, |at| at + 1);
        let rounds = end.div_ceil(BATCH * kinds);
        // Rounds of the same kind of place, one or several, go to one child.
        let together = if storms { TOGETHER } else { 1 };
        let mut batches = Vec::new();
        for (first, flush) in
            (0..rounds).step_by(2 * together as usize).flat_map(|at| [(at, false), (at + 1, true)])
        {
            for kind in 0..kinds {
                let starts =
                    (0..together).map(|round| ((first + 2 * round) * kinds + kind) * BATCH);
                let numbers = starts.flat_map(|start| {
                    let numbers = if storms { 0..STORMS } else { STORMS..BATCH };
                    numbers.map(move |number| start + number)
                });
                let mutations: Vec<u64> = numbers.filter(|&number| number < end).collect();
                if mutations.is_empty() || self.at.is_some_and(|at| !mutations.contains(&at)) {
                    continue;
                }
                let (seed, only, show) = (self.seed, self.field(), self.at);
                let batch = Batch { seed, mutations, storms, flush, only, show, bounds: BOUNDS };
                batches.push((kind as usize, batch));
            }
        }
        batches
    }
}

/// How many tests passed and failed.
#[derive(Default)]
struct Tests {
    passed: u64,
    failed: u64,
}

impl Tests {
    fn add(&mut self, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok");
            }
            Err(why) => {
                self.failed += 1;
                println!("test {name} ... FAILED: {why}");
            }
        }
    }
}

fn main() {
    let asked = Asked::read();
    let before = common::descriptors();
    let start = Instant::now();
    println!("seed {}", asked.seed);
    let mut tests = Tests::default();
    tests.add("mappings in reservations have guards", guard::check_reservations());
    for (name, result) in toys::run(asked.seed) {
        tests.add(name, result);
    }
    let kinds: Vec<_> = kinds().into_iter().filter(|kind| kind.0.contains(asked.kind())).collect();
    if kinds.is_empty() {
        eprintln!("--only {}: there is no such kind", asked.only);
        std::process::exit(2);
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let runs: Vec<Run> = kinds.iter().map(|kind| kind.1).collect();
    let mut outcomes: Vec<Outcome> = kinds.iter().map(|_| Outcome::default()).collect();
    let mut wanted = 0;
    // Most calls sleep most of the time. A storm does not, and should not be interrupted by another.
    for (storms, children) in [(false, 16 * cpus), (true, (cpus / 2).max(1))] {
        let batches = asked.batches(kinds.len() as u64, storms);
        wanted += batches.iter().map(|(_, batch)| batch.mutations.len() as u64).sum::<u64>();
        crew::work(&runs, batches, Terms { children, ..TERMS }, &mut outcomes);
    }
    let mut sums = [0; 4];
    for ((name, _), outcome) in kinds.iter().zip(&outcomes) {
        report::table(name, outcome);
        for failure in outcome.failures.iter().take(10) {
            report::failure(failure, &asked.again());
        }
        add(&mut sums, outcome);
    }
    for ((name, _), outcome) in kinds.iter().zip(&outcomes) {
        let failures = outcome.failures.len();
        let result = if failures == 0 { Ok(()) } else { Err(format!("{failures} failures")) };
        tests.add(name, result);
    }
    let [mutations, refused, signals, hangs] = sums;
    let complete = format!("{mutations} of {wanted} mutations were made");
    tests.add("every mutation is made", (mutations == wanted).then_some(()).ok_or(complete));
    let after = common::descriptors();
    let left = format!("descriptors before {before:?}, after {after:?}");
    let nothing = before == after && !common::has_children();
    tests.add("nothing is left behind", nothing.then_some(()).ok_or(left));
    println!("{:.1} s", start.elapsed().as_secs_f64());
    println!("{} passed, {} failed", tests.passed, tests.failed);
    println!("total: mutations {mutations}, refused {refused}, signals {signals}, hangs {hangs}");
    std::process::exit(i32::from(tests.failed > 0));
}

fn add(sums: &mut [u64; 4], outcome: &Outcome) {
    for row in &outcome.rows {
        sums[0] += row.counts.mutations;
        sums[1] += row.counts.refused;
        sums[2] += row.signals;
        sums[3] += row.hangs;
    }
}
