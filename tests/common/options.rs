//! What the command line asks of a test program that has numbers to be told.

#![allow(dead_code)]

use std::time::{SystemTime, UNIX_EPOCH};

/// Whether the short form is wanted: `MPSHM_QUICK`, or a build without optimisation.
pub fn quick() -> bool {
    std::env::var_os("MPSHM_QUICK").is_some() || cfg!(debug_assertions)
}

/// The number behind `--name` on the command line.
pub fn number(name: &str) -> Option<u64> {
    let text = word(name)?;
    let Ok(number) = text.replace('_', "").parse() else {
        eprintln!("{name}: a number is expected, found '{text}'");
        std::process::exit(2);
    };
    Some(number)
}

/// The word behind `--name` on the command line.
pub fn word(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next()
}

/// The seed that was asked for, else one of the clock's.
pub fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    number("--seed").unwrap_or_else(|| now() % 1_000_000)
}
