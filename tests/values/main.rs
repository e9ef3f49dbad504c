//! Shared values, arrays and latest values.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/pin.rs"]
mod pin;
#[path = "../common/probe.rs"]
mod probe;
#[path = "../common/property.rs"]
mod property;

mod counters;
mod latest;
mod value;
mod value_wait;

fn main() {
    common::main_of(&[counters::TESTS, latest::TESTS, value::TESTS, value_wait::TESTS])
}
