//! Pools: what comes home, their options, who is killed in them.

#[path = "../common/mod.rs"]
mod common;

mod maps;
mod options;
mod pool;
mod server;

fn main() {
    common::main_of(&[maps::TESTS, options::TESTS, pool::TESTS, server::TESTS])
}
