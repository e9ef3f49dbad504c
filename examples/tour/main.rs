//! The programs of every `multiprocessing` tutorial, over shared memory, with their results checked.
//!
//! Each part prints what it did and how long it took, and ends with `ok` or with the difference.

mod array;
mod factorials;
mod family;
mod pool_map;
mod processes;
mod product;
mod queue;
mod value;

use clap::Parser;
use serde_json::{Map, Value as Json, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// The tour.
#[derive(Parser)]
struct Options {
    /// Prints one JSON object on stdout, with a member per part; what the parts say goes to stderr.
    #[arg(long)]
    json: bool,
    /// Runs one part only: processes, pool_map, value, array, factorials or queue.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Workers of the pools.
    #[arg(long, value_name = "N", default_value_t = 3)]
    workers: usize,
    /// Input of the queue part; by default every file below the current folder that git tracks, or every
    /// regular file.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    files: Vec<PathBuf>,
}

/// What a part says while it runs.
struct Notes {
    to_stderr: bool,
}

impl Notes {
    fn say(&self, text: impl AsRef<str>) {
        if self.to_stderr {
            eprintln!("  {}", text.as_ref());
        } else {
            println!("  {}", text.as_ref());
        }
    }
}

/// What came of a part: its results, and what is not as it should be.
struct Outcome {
    results: Json,
    differences: Vec<String>,
}

impl Outcome {
    fn new(results: Json) -> Self {
        Self { results, differences: Vec::new() }
    }

    fn expect<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.differences.push(format!("{what}: expected {expected:?}, found {found:?}"));
        }
    }
}

type Part = fn(&Options, &Notes) -> mpshm::Result<Outcome>;

const PARTS: [(&str, Part); 6] = [
    ("processes", processes::run),
    ("pool_map", pool_map::run),
    ("value", value::run),
    ("array", array::run),
    ("factorials", factorials::run),
    ("queue", queue::run),
];

fn main() -> ExitCode {
    let options = Options::parse();
    let notes = Notes { to_stderr: options.json };
    let head = |text: String| if options.json { eprintln!("{text}") } else { println!("{text}") };
    if let Some(only) = &options.only {
        if !PARTS.iter().any(|(name, _)| name == only) {
            eprintln!("there is no part '{only}'");
            return ExitCode::from(2);
        }
    }
    let mut object = Map::new();
    let mut all_ok = true;
    for (name, part) in PARTS {
        if options.only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        head(format!("{name}:"));
        let start = Instant::now();
        let outcome = part(&options, &notes).unwrap_or_else(|error| Outcome {
            results: json!({}),
            differences: vec![error.to_string()],
        });
        let seconds = start.elapsed().as_secs_f64();
        let ok = outcome.differences.is_empty();
        all_ok &= ok;
        for difference in &outcome.differences {
            notes.say(difference);
        }
        head(format!("  {:.3} s: {}", seconds, if ok { "ok" } else { "NOT as expected" }));
        let mut member = json!({ "ok": ok, "seconds": seconds });
        if let (Json::Object(member), Json::Object(results)) = (&mut member, outcome.results) {
            member.extend(results);
        }
        if !ok {
            member["differences"] = json!(outcome.differences);
        }
        object.insert(name.into(), member);
    }
    if options.json {
        println!("{}", Json::Object(object));
    }
    if all_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
