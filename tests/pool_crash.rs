//! A pool's processes killed, and stopped, at every instruction: `cargo test --release --test pool_crash [-- NAME]`.
//!
//! # Overview
//! A process is taken by the tracer where it sleeps, handed something to do, and stepped to instruction k of what it
//! does then, until it sleeps there again. At k it gets SIGKILL, or SIGSTOP and later SIGCONT, and the rest of the pool
//! must do as the pool's documentation says. Then the next k.
//!
//! | taken | from | to | must hold afterwards |
//! |---|---|---|---|
//! | a worker | its sleep for a task | the next one, or its end | the task ends as a value or as `WorkerDied`, its function has run as often as that says, another worker is there, nothing is missing in the pool's memory |
//! | the fork server | its sleep, when a worker has died | the next one | the dead worker's task ends as `WorkerDied`, the others have values, a new server keeps as many workers |
//! | the owner | the beginning of a call | its return | no process of the pool is left |
//!
//! Each line says how many points were taken and how many distinct instructions were really interrupted. `MPSHM_QUICK`, or a
//! build without optimisation, takes a few points of each.
//!
//! # Which check has been seen to catch what
//! Toys come first: a task that runs again without leave, one that never ends, a process that stays behind. Each passes
//! when the check that it is for has found it. The library was broken too, and the sweeps failed:
//!
//! | broken | found as |
//! |---|---|
//! | a worker runs what another had begun | begun too often |
//! | tasks of dead workers are not looked for | a task that does not end |
//! | what a dead worker had taken is dropped | a task that does not end |
//! | workers do not die with the server | a task that does not end |
//! | the server does not look after its owner | processes that are left |

#[cfg(target_arch = "x86_64")]
mod pool_crash {
    use crate::common;
    pub mod crew;
    pub mod owners;
    pub mod servers;
    pub mod toys;
    pub mod tracer;
    pub mod workers;
}
mod common;

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("skipped: single steps are counted on x86-64 only\n0 passed, 0 failed");
}

#[cfg(target_arch = "x86_64")]
use pool_crash::{owners::*, servers::*, toys::*, workers::*};

#[cfg(target_arch = "x86_64")]
fn main() {
    common::main(tests![
        a_task_that_runs_again_without_leave_is_found: 300,
        a_task_that_does_not_end_is_found: 300,
        a_process_that_stays_behind_is_found: 300,
        a_worker_is_killed_anywhere_in_a_call: 300,
        a_worker_is_stopped_anywhere_in_a_call: 300,
        a_worker_is_killed_anywhere_in_a_call_of_many_blocks: 300,
        a_worker_is_stopped_anywhere_in_a_call_of_many_blocks: 300,
        a_worker_is_killed_anywhere_in_two_chunks_of_a_map: 300,
        a_worker_is_stopped_anywhere_in_two_chunks_of_a_map: 300,
        a_worker_is_killed_anywhere_in_a_call_that_is_tried_again: 300,
        a_worker_is_killed_anywhere_in_its_only_call_or_its_end: 300,
        a_worker_is_stopped_anywhere_in_its_only_call_or_its_end: 300,
        the_server_is_killed_anywhere_as_it_replaces_a_worker: 300,
        the_server_is_stopped_anywhere_as_it_replaces_a_worker: 300,
        the_owner_is_killed_anywhere_as_it_makes_a_pool: 300,
        the_owner_is_killed_anywhere_as_it_submits: 300,
        the_owner_is_killed_anywhere_as_it_collects: 300,
        the_owner_is_killed_anywhere_in_a_call: 300,
        the_owner_is_killed_anywhere_as_it_replaces_the_server: 300,
        the_owner_is_killed_anywhere_as_it_terminates_the_pool: 300,
        the_owner_is_stopped_anywhere_in_its_calls: 300,
    ]);
}
