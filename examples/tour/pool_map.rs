//! A pool maps a function over numbers.

use crate::{Notes, Options, Outcome};
use mpshm::{Pool, Result};
use serde_json::json;
use std::time::Instant;

fn square(n: u64) -> u64 {
    n * n
}

pub fn run(options: &Options, notes: &Notes) -> Result<Outcome> {
    let pool = Pool::new(options.workers)?;
    let small = pool.map(square, &[1, 2, 3, 4, 5])?;
    notes.say(format!("{} workers square 1..5: {small:?}", pool.workers()));

    let numbers: Vec<u64> = (0..1_000_000).collect();
    let start = Instant::now();
    let squares = pool.map(square, &numbers)?;
    let seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let serial: Vec<u64> = numbers.iter().map(|&n| square(n)).collect();
    let serial_seconds = start.elapsed().as_secs_f64();
    notes.say(format!(
        "a million in {:.2} ms (serial: {:.2} ms)",
        seconds * 1e3,
        serial_seconds * 1e3
    ));
    pool.close()?;
    pool.join()?;

    let mut outcome = Outcome::new(json!({
        "small": small, "million_seconds": seconds, "million_sum": squares.iter().sum::<u64>(),
    }));
    outcome.expect("1..5 squared", small, vec![1, 4, 9, 16, 25]);
    outcome.expect("a million squares equal the serial ones", squares == serial, true);
    Ok(outcome)
}
