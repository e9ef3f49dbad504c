//! Three factorials, each divided among the workers; the digits of what came home are checked.

use crate::product::{message_max, parallel, serial};
use crate::{Notes, Options, Outcome};
use mpshm::{Pool, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Instant;

/// n, the number of decimal digits of n!, and the SHA-256 of them.
const EXPECTED: [(u64, usize, &str); 3] = [
    (100_000, 456_574, "820239691ef9b4887957093bb745a1ac33d3184b272db3e9a0d0a37062a13399"),
    (200_000, 973_351, "d6a2649b08aec4e576930d092139c6439be11fcc326259b38963f9d340529e03"),
    (300_000, 1_512_852, "f83acbfe0af5b344fbfa353e883a3fd9b9d2ec87aebff10890add924601e5262"),
];

pub fn run(options: &Options, notes: &Notes) -> Result<Outcome> {
    let largest = EXPECTED.iter().map(|(n, ..)| *n).max().unwrap_or(0);
    let pool = Pool::builder()
        .workers(options.workers)
        .queue(16)
        .message_max(message_max(largest))
        .build()?;
    let mut outcome = Outcome::new(json!({}));
    let mut listed = Vec::new();
    for (n, digits, hash) in EXPECTED {
        let start = Instant::now();
        let factorial = parallel(&pool, n)?;
        let seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let same = serial(n) == factorial;
        let serial_seconds = start.elapsed().as_secs_f64();
        let bytes = factorial.to_le_bytes().len();
        let text = factorial.to_string();
        let found =
            Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        notes.say(format!(
            "{n}! in {:.1} ms (serial: {:.1} ms), {bytes} bytes: {} digits, SHA-256 {found}",
            seconds * 1e3,
            serial_seconds * 1e3,
            text.len()
        ));
        listed.push(json!({
            "n": n, "bytes": bytes, "digits": text.len(), "sha256": found,
            "seconds": seconds, "serial_seconds": serial_seconds,
        }));
        outcome.expect(&format!("{n}! equals the serial one"), same, true);
        outcome.expect(&format!("digits of {n}!"), text.len(), digits);
        outcome.expect(&format!("SHA-256 of {n}!"), found.as_str(), hash);
    }
    outcome.results = json!({ "factorials": listed });
    Ok(outcome)
}
