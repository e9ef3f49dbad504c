//! The rows, one file for each kind of work.

mod factorials;
mod fetch_add;
mod in_place;
mod latency;
mod latest;
mod locks;
mod mpmc;
pub mod pool;
mod repair;
pub mod spawn;
mod spsc;
mod system_calls;
pub mod wake;

use crate::measure::Row;

/// What is measured when nothing is asked for.
pub fn all() -> Vec<Row> {
    let mut rows = vec![fetch_add::alone(), fetch_add::of_two()];
    rows.extend(spsc::rows());
    rows.extend(latency::rows());
    rows.extend(wake::rows());
    rows.extend(mpmc::rows());
    rows.extend([in_place::against_boost(), in_place::against_memory()]);
    rows.push(latest::against_memcpy());
    rows.extend(locks::rows());
    rows.extend(spawn::rows());
    rows.extend([system_calls::of_push(), repair::of_a_large_queue()]);
    rows.extend(pool::rows());
    rows.push(factorials::against_serial());
    rows
}

/// What tells whether the machinery can be trusted; only measured by name.
pub fn checks() -> Vec<Row> {
    vec![mpmc::self_check()]
}
