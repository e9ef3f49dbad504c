//! Compares mpshm with its peers: ratios that are taken in turn, in one run, on one machine.
//!
//! See `benches/README.md` for how a row is measured, and how one is added.

mod chart;
mod cpu;
mod crew;
mod machine;
mod measure;
mod python;
mod report;
mod rows;
mod shared;

use clap::Parser;
use measure::Effort;
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
    /// Draw the ratios as DIR/ratios.svg
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Run this row alone (may be given again)
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Print the rows' names, and measure nothing
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
    let rows = rows::chosen(&arguments.only)?;
    if arguments.list {
        rows.iter().for_each(|row| println!("{}", row.id));
        return Ok(());
    }
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let machine = machine::describe();
    println!("{machine}");
    let mut results = Vec::new();
    let mut failed = 0;
    for row in rows {
        eprintln!("{} …", row.id);
        match measure::row(&row, effort) {
            Ok(result) => results.push(result),
            Err(error) => {
                eprintln!("{}: {error}", row.id);
                failed += 1;
            }
        }
    }
    println!("{}", report::table(&results));
    if let Some(path) = &arguments.json {
        std::fs::write(path, report::json(&machine, &results))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(directory) = &arguments.svg {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        chart::ratios(&directory.join("ratios.svg"), &machine, &results)?;
    }
    if failed > 0 {
        return Err(format!("{failed} of the rows could not be measured").into());
    }
    Ok(())
}
