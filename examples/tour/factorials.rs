//! Three factorials, one task each; their digits come home through shared memory.

use crate::{Notes, Options, Outcome};
use dashu_int::UBig;
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

/// The product of `first` to `last`, as a tree, so that factors stay of like size.
fn product(first: u64, last: u64) -> UBig {
    if last - first < 16 {
        return (first..=last).map(UBig::from).product();
    }
    let middle = first.midpoint(last);
    product(first, middle) * product(middle + 1, last)
}

/// The task: the number's bytes in, the factorial's bytes out (little endian, 0.2 to 0.6 MB).
fn factorial(n: &[u8]) -> Vec<u8> {
    let n = u64::from_ne_bytes(n.try_into().expect("eight bytes"));
    product(1, n).to_le_bytes().into_vec()
}

pub fn run(options: &Options, notes: &Notes) -> Result<Outcome> {
    let pool = Pool::new(options.workers)?;
    let start = Instant::now();
    let tasks = EXPECTED
        .iter()
        .map(|(n, ..)| pool.submit_bytes(factorial, &n.to_ne_bytes()))
        .collect::<Result<Vec<_>>>()?;
    let mut outcome = Outcome::new(json!({}));
    let mut listed = Vec::new();
    for (task, (n, digits, hash)) in tasks.iter().zip(EXPECTED) {
        let bytes = task.get()?;
        let home = start.elapsed().as_secs_f64();
        let text = UBig::from_le_bytes(&bytes).to_string();
        let found =
            Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        notes.say(format!(
            "{n}! came home after {home:.3} s in {} bytes: {} digits, SHA-256 {found}",
            bytes.len(),
            text.len()
        ));
        listed.push(json!({ "n": n, "bytes": bytes.len(), "digits": text.len(), "sha256": found }));
        outcome.expect(&format!("digits of {n}!"), text.len(), digits);
        outcome.expect(&format!("SHA-256 of {n}!"), found.as_str(), hash);
    }
    outcome.results = json!({ "factorials": listed });
    Ok(outcome)
}
