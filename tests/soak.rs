//! Under load: `cargo test --release --test soak [-- --kills N] [--seed S] [--only NAME]`.
//!
//! Producers and consumers at work, killed (SIGKILL) and stopped (SIGSTOP, SIGCONT) at random moments and
//! started again as they die: 10,000 kills, 300 with `MPSHM_QUICK=1`, shared among the structures. Each
//! structure is one file of `tests/soak/`; what is true of a stream of items is checked in `stream.rs`, and what may
//! have become of an item that was in a killed process's hands stands there.
//!
//! The last line is `total: kills N, items N, lost N, duplicated N, redelivered N`.

mod common;
#[path = "soak/ledger.rs"]
mod ledger;
#[path = "common/options.rs"]
mod options;
#[path = "common/probe.rs"]
mod probe;
#[path = "soak/queues.rs"]
mod queues;
#[path = "soak/stream.rs"]
mod stream;

use stream::{Totals, soak};

/// A structure's part: its name, and what runs it for so many kills.
type Part = (&'static str, fn(u64, u64) -> Totals);

const PARTS: [Part; 2] = [("blocks", soak::<queues::Blocks>), ("slots", soak::<queues::Slots>)];

fn main() {
    let quick = if options::quick() { 300 } else { 10_000 };
    let kills = options::number("--kills").unwrap_or(quick);
    let seed = options::seed();
    let only = options::word("--only").unwrap_or_default();
    println!("seed {seed}, {kills} kills");
    let parts: Vec<&Part> = PARTS.iter().filter(|part| part.0.contains(&only)).collect();
    let mut sum = Totals::default();
    let (mut passed, mut failed) = (0, 0);
    for (index, (name, run)) in (0u64..).zip(parts.iter().copied()) {
        let share = kills * (index + 1) / parts.len() as u64 - kills * index / parts.len() as u64;
        let totals = run(share, seed.wrapping_add(index));
        match totals.failures.is_empty() {
            true => passed += 1,
            false => failed += 1,
        }
        println!("soak {name} ... {totals}");
        for failure in totals.failures.iter().take(20) {
            println!("    {failure}");
        }
        sum.add(&totals);
    }
    println!("{passed} passed, {failed} failed");
    println!(
        "total: kills {}, items {}, lost {}, duplicated {}, redelivered {}",
        sum.kills, sum.items, sum.lost, sum.duplicated, sum.redelivered
    );
    std::process::exit(i32::from(failed > 0));
}
