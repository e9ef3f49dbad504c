//! Pools: what comes home, their options, who is killed in them.

#[path = "../common/mod.rs"]
mod common;

mod maps;
mod options;
mod pool;
mod scope;
#[cfg(feature = "serde")]
mod serde;
mod server;
mod work;

fn main() {
    common::main_of(&[
        maps::TESTS,
        options::TESTS,
        pool::TESTS,
        scope::TESTS,
        #[cfg(feature = "serde")]
        serde::TESTS,
        server::TESTS,
        work::TESTS,
    ])
}
