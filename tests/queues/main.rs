//! Queues of many producers and consumers.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/forms.rs"]
mod forms;
#[path = "../common/probe.rs"]
mod probe;

mod death;
mod queue;

fn main() {
    common::main_of(&[death::TESTS, queue::TESTS])
}
