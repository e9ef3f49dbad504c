//! The rows, one file for each kind of work.

mod fetch_add;
mod mpmc;
mod pool_map;

use crate::Result;
use crate::measure::Row;

/// What is measured when nothing is asked for.
fn all() -> Vec<Row> {
    vec![fetch_add::alone(), mpmc::against_array_queue(), pool_map::against_python()]
}

/// What tells whether the machinery can be trusted; only measured by name.
fn checks() -> Vec<Row> {
    vec![mpmc::self_check()]
}

/// The rows named by `ids`, in the order of the report; all of them when none is named.
pub fn chosen(ids: &[String]) -> Result<Vec<Row>> {
    if ids.is_empty() {
        return Ok(all());
    }
    let known: Vec<Row> = all().into_iter().chain(checks()).collect();
    if let Some(unknown) = ids.iter().find(|id| !known.iter().any(|row| row.id == **id)) {
        let names: Vec<&str> = known.iter().map(|row| row.id).collect();
        return Err(format!("no row '{unknown}'; there are: {}", names.join(", ")).into());
    }
    Ok(known.into_iter().filter(|row| ids.iter().any(|id| id == row.id)).collect())
}
