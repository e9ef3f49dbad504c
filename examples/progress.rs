//! A progress bar of a pool's map: `cargo run --release --example progress`.

use indicatif::{ProgressBar, ProgressStyle};
use mpshm::{Pool, Result};
use std::time::Duration;

/// How many steps the sequence takes from `n` to 1, slowly.
fn collatz(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(n % 4));
    let next = |n: &u64| (*n != 1).then(|| if n % 2 == 0 { n / 2 } else { 3 * n + 1 });
    std::iter::successors(Some(n), next).count() as u64 - 1
}

fn main() -> Result<()> {
    let pool = Pool::new(mpshm::cpu_count())?;
    let items: Vec<u64> = (1..=1000).collect();
    let bar = ProgressBar::new(items.len() as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {elapsed}, {eta} left");
    bar.set_style(style.expect("a template"));
    // The callback runs in this process, inside `map_with_progress`.
    let steps = pool.map_with_progress(collatz, &items, |done, _| bar.set_position(done as u64))?;
    bar.finish();
    let (n, most) = (1u64..).zip(steps).max_by_key(|&(_, steps)| steps).expect("a thousand items");
    println!("{n} takes the most steps to 1: {most}");
    pool.finish()
}
