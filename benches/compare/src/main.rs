//! Compares mpshm with its peers: ratios that are taken in turn, in one run, on one machine.
//!
//! See `benches/README.md` for how a row is measured, and how one is added.

mod channel;
mod charts;
mod cpu;
mod crew;
mod curves;
mod drive;
mod futex;
mod machine;
mod measure;
mod peers;
#[path = "../../../examples/tour/product.rs"]
mod product;
mod python;
mod report;
mod rows;
mod shared;
mod trace;

use clap::Parser;
use measure::{Effort, Row};
use std::path::PathBuf;
use std::process::ExitCode;

/// What a measurement may fail with: a sentence is all that is wanted of it.
type Error = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Error>;

/// Compares mpshm with its peers: rounds in turn, ratios pair by pair, above 1 is better.
#[derive(Parser)]
struct Arguments {
    /// All rows in at most two minutes: fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Write the machine and the rows to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure curves too, and draw them and the ratios into DIR
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Measure this row or curve alone (may be given again)
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Print the names of rows and curves, and measure nothing
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let Chosen { rows, curves } = choose(&arguments.only)?;
    if arguments.list {
        let names = rows.iter().map(|row| row.id).chain(curves);
        names.for_each(|name| println!("{name}"));
        return Ok(());
    }
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let machine = machine::describe();
    println!("{machine}");
    let mut tried = Tried::default();
    let outcomes: Vec<_> =
        rows.iter().filter_map(|row| tried.keep(row.id, || measure::row(row, effort))).collect();
    if !rows.is_empty() {
        println!("{}", report::table(&outcomes));
    }
    let mut drawn = Vec::new();
    if let Some(directory) = &arguments.svg {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        if !rows.is_empty() {
            charts::ratios::draw(&directory.join("ratios.svg"), &machine, &outcomes)?;
        }
        for id in curves {
            let Some(curve) = tried.keep(id, || curves::measure(id, effort)) else { continue };
            charts::curves::draw(&directory.join(format!("{id}.svg")), &machine, &curve)?;
            drawn.push(curve);
        }
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, report::json(&machine, &outcomes, &drawn))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    tried.end()
}

/// What is to be measured.
struct Chosen {
    rows: Vec<Row>,
    curves: Vec<&'static str>,
}

/// What is named, in the order of the report; everything when nothing is.
fn choose(names: &[String]) -> Result<Chosen> {
    let (rows, curves) = (rows::all(), curves::ids());
    if names.is_empty() {
        return Ok(Chosen { rows, curves });
    }
    let rows: Vec<Row> = rows.into_iter().chain(rows::checks()).collect();
    let known: Vec<&str> = rows.iter().map(|row| row.id).chain(curves.iter().copied()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no '{unknown}'; there are: {}", known.join(", ")).into());
    }
    let named = |id: &str| names.iter().any(|name| name == id);
    Ok(Chosen {
        rows: rows.into_iter().filter(|row| named(row.id)).collect(),
        curves: curves.into_iter().filter(|id| named(id)).collect(),
    })
}

/// Goes on where something cannot be measured, and remembers.
#[derive(Default)]
struct Tried {
    failed: usize,
}

impl Tried {
    fn keep<T>(&mut self, id: &str, measure: impl FnOnce() -> Result<T>) -> Option<T> {
        eprintln!("{id} …");
        let result = measure().inspect_err(|error| eprintln!("{id}: {error}"));
        self.failed += usize::from(result.is_err());
        result.ok()
    }

    fn end(&self) -> Result<()> {
        match self.failed {
            0 => Ok(()),
            failed => Err(format!("{failed} of the rows or curves could not be measured").into()),
        }
    }
}
