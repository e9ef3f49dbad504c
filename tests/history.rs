//! Histories: `cargo test --release --test history [-- --histories N] [--seed S] [--only NAME]`.
//!
//! Several processes call one queue, or one ring, at random, at the same time; some are killed in it. Each notes when
//! its calls began and returned and what they answered, and every such history is held against a sequential queue: is there
//! an order of the calls, between their stamps, in which that queue gives the same answers? What the sequential
//! queue may do is in `history/model.rs`, the sequential ring in `ring_model.rs`, how it is decided in `check.rs`, how
//! histories are made in `run.rs`. Each structure that is tested is one file beside these ([`run::Subject`]).
//!
//! The last line is `total: histories N, operations N, overlap max N mean X, deaths N, not linearizable 0`; overlapping
//! are the calls that are under way when one begins, itself included.

#[path = "history/brute.rs"]
mod brute;
#[path = "history/call.rs"]
mod call;
#[path = "history/check.rs"]
mod check;
mod common;
#[path = "history/disturb.rs"]
mod disturb;
#[path = "common/forms.rs"]
mod forms;
#[path = "history/history.rs"]
mod history;
#[path = "common/hold.rs"]
mod hold;
#[path = "history/known.rs"]
mod known;
#[path = "history/model.rs"]
mod model;
#[path = "common/options.rs"]
mod options;
#[path = "history/plan.rs"]
mod plan;
#[path = "common/probe.rs"]
mod probe;
#[path = "history/queues.rs"]
mod queues;
#[path = "history/record.rs"]
mod record;
#[path = "history/ring_model.rs"]
mod ring_model;
#[path = "history/rings.rs"]
mod rings;
#[path = "history/run.rs"]
mod run;
#[path = "history/sequential.rs"]
mod sequential;
#[path = "history/totals.rs"]
mod totals;
#[path = "history/toy_rings.rs"]
mod toy_rings;
#[path = "history/toys.rs"]
mod toys;

use probe::{Count, Random};
use queues::{Messages, Numbers};
use run::{Found, Subject};
use sequential::Rules;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use totals::{Totals, sums};
use toy_rings::{RingFault, Spsc};
use toys::{Fault, Hinted, Locked};

/// Structures that are tested, among which the histories are divided.
const PARTS: u64 = 11;

fn main() {
    sums();
    let only = options::word("--only");
    let (passed, failed) = common::run(
        tests![
            known_histories_without_deaths,
            known_histories_of_items_given_back,
            known_histories_with_deaths,
            known_histories_of_rings,
            small_histories_are_judged_as_by_brute_force: 60,
            long_histories_are_judged_at_once: 60,
            the_clock_is_one_for_all_processes: 60,
            a_toy_without_a_fault_is_linearizable: 120,
            a_toy_that_publishes_before_it_writes_is_found: 120,
            a_toy_whose_head_is_ahead_of_the_truth_is_found: 120,
            a_toy_whose_tail_is_ahead_of_the_truth_is_found: 120,
            a_toy_ring_without_a_fault_is_linearizable: 120,
            a_toy_ring_that_publishes_before_it_writes_is_found: 120,
            a_toy_ring_whose_sides_decide_for_themselves_that_it_is_closed_is_found: 120,
            slots: 300,
            slots_that_overwrite: 300,
            numbers_in_blocks: 300,
            messages: 300,
            messages_that_overwrite: 300,
            messages_at_most_once: 300,
            ring_of_numbers: 300,
            ring_of_messages: 300,
            ring_at_most_once: 300,
            ring_that_overwrites: 300,
            ring_of_messages_that_overwrites: 300,
        ],
        only.as_deref(),
    );
    println!("{passed} passed, {failed} failed");
    println!("{}", sums());
    std::process::exit(i32::from(failed > 0));
}

fn hold<S: Subject>(make: impl Fn(Rules) -> S, rules: Rules) -> Totals {
    let quick = if options::quick() { 2_200 } else { 22_000 };
    let count = options::number("--histories").unwrap_or(quick).div_ceil(PARTS);
    let make = |random: &mut Random| {
        make(Rules { capacity: [1, 2, 3, 5][random.below(4) as usize], ..rules })
    };
    let mut totals = Totals::default();
    let result = run::histories(make, count, options::seed(), &mut totals);
    sums().add(&totals, result.is_err());
    println!("    {totals}");
    if let Err(Found(why)) = result {
        panic!("{why}");
    }
    totals.check_overlap();
    totals
}

const PLAIN: Rules =
    Rules { capacity: 0, slots: false, overwrites: false, drops: false, ring: None };

fn slots() {
    hold(Numbers::new, Rules { slots: true, ..PLAIN });
}

fn slots_that_overwrite() {
    hold(Numbers::new, Rules { slots: true, overwrites: true, ..PLAIN });
}

fn numbers_in_blocks() {
    hold(Numbers::new, PLAIN);
}

fn messages() {
    hold(Messages::new, PLAIN);
}

fn messages_that_overwrite() {
    hold(Messages::new, Rules { overwrites: true, ..PLAIN });
}

fn messages_at_most_once() {
    hold(Messages::new, Rules { drops: true, ..PLAIN });
}

fn ring_of_numbers() {
    hold(rings::Tested::<rings::Numbers>::new, PLAIN).check_roles();
}

fn ring_of_messages() {
    hold(rings::Tested::<rings::Messages>::new, PLAIN).check_roles();
}

fn ring_at_most_once() {
    hold(rings::Tested::<rings::Numbers>::new, Rules { drops: true, ..PLAIN }).check_roles();
}

fn ring_that_overwrites() {
    hold(rings::Tested::<rings::Numbers>::new, Rules { overwrites: true, ..PLAIN }).check_roles();
}

fn ring_of_messages_that_overwrites() {
    hold(rings::Tested::<rings::Messages>::new, Rules { overwrites: true, ..PLAIN }).check_roles();
}

fn known_histories_of_rings() {
    known::rings();
}

fn known_histories_without_deaths() {
    known::plain();
}

fn known_histories_of_items_given_back() {
    known::given_back();
}

fn known_histories_with_deaths() {
    known::deaths();
}

fn small_histories_are_judged_as_by_brute_force() {
    brute::small_histories();
}

fn long_histories_are_judged_at_once() {
    brute::long_histories();
}

/// Stamps that processes take in turn never go back.
fn the_clock_is_one_for_all_processes() {
    let turn = Count::new();
    let take = |mine: u64| {
        for round in 0..20_000 {
            while turn.of(0).load(Acquire) != 3 * round + mine {
                std::thread::yield_now();
            }
            let stamp = record::before();
            let last = turn.of(1).swap(stamp, Relaxed);
            assert!(last <= stamp, "{last} came before {stamp}");
            turn.of(0).store(3 * round + mine + 1, Release);
        }
    };
    let others = [1, 2].map(|mine| probe::spawn(move || take(mine)));
    take(0);
    others.iter().for_each(probe::join);
}

/// Histories of toys: until one is found that is not linearizable, or so many.
const TOYS: u64 = 2_000;

fn play<S: Subject, F: Copy + std::fmt::Debug>(
    make: impl Fn(usize, F) -> S,
    fault: F,
    count: u64,
) -> Option<String> {
    let mut totals = Totals::default();
    let make = |random: &mut Random| make([2, 3, 5][random.below(3) as usize], fault);
    let result = run::histories(make, count, options::seed(), &mut totals);
    println!("    {fault:?}: {totals}");
    result.err().map(|Found(why)| why)
}

fn a_toy_without_a_fault_is_linearizable() {
    let found = play(Locked::new, Fault::None, TOYS / 4);
    assert_eq!(found, None);
    assert_eq!(play(Hinted::new, Fault::None, TOYS / 4), None);
}

fn a_toy_that_publishes_before_it_writes_is_found() {
    assert!(play(Locked::new, Fault::PublishesFirst, TOYS).is_some());
}

fn a_toy_whose_head_is_ahead_of_the_truth_is_found() {
    assert!(play(Hinted::new, Fault::HeadAhead, TOYS).is_some());
}

fn a_toy_whose_tail_is_ahead_of_the_truth_is_found() {
    assert!(play(Hinted::new, Fault::TailAhead, TOYS).is_some());
}

fn a_toy_ring_without_a_fault_is_linearizable() {
    assert_eq!(play(Spsc::new, RingFault::None, TOYS / 4), None);
}

fn a_toy_ring_that_publishes_before_it_writes_is_found() {
    assert!(play(Spsc::new, RingFault::PublishesFirst, TOYS).is_some());
}

fn a_toy_ring_whose_sides_decide_for_themselves_that_it_is_closed_is_found() {
    assert!(play(Spsc::new, RingFault::EachDecides, TOYS).is_some());
}
