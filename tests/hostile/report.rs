//! What is printed.

use crate::board::Fault;
use crate::crew::{Failure, Outcome};

/// The table of one kind's fields.
pub fn table(kind: &str, outcome: &Outcome) {
    println!("{kind}");
    println!(
        "    {:<24}{:>10}{:>10}{:>10}{:>9}{:>7}{:>8}",
        "field", "mutations", "refused", "accepted", "signals", "hangs", "others"
    );
    for row in &outcome.rows {
        let counts = row.counts;
        println!(
            "    {:<24}{:>10}{:>10}{:>10}{:>9}{:>7}{:>8}",
            row.name,
            counts.mutations,
            counts.refused,
            counts.accepted,
            row.signals,
            row.hangs,
            row.others
        );
    }
}

/// One thing that went wrong, and how to see it again.
pub fn failure(failure: &Failure, again: &str) {
    let what = match failure.fault {
        Fault::Signal(number) => format!("signal {number}"),
        Fault::Hang => "hang".to_owned(),
        Fault::Panic => "panic".to_owned(),
        Fault::Overwritten => "bytes of others changed".to_owned(),
        Fault::Unguarded => "a mapping without guards".to_owned(),
        Fault::Leak => "something is left".to_owned(),
        Fault::Unsound => "the harness is wrong".to_owned(),
    };
    let text = if failure.text.is_empty() { String::new() } else { format!(": {}", failure.text) };
    let place = match failure.at {
        Some(at) => format!("mutation {at} ({}), in {}", failure.field, failure.call),
        None => format!("in {}", failure.call),
    };
    println!("    {what}: {place}{text}");
    if let Some(at) = failure.at {
        println!("        again: {again} --at {at}");
    }
}
