//! Processes: how they start, end and are related.

#[path = "../common/mod.rs"]
mod common;

mod family;
mod process;
mod start;

fn main() {
    start::play_role();
    common::main_of(&[family::TESTS, process::TESTS, start::TESTS])
}
