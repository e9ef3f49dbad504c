//! Segments: names, files, removal, what is in them without a name.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/options.rs"]
mod options;
#[path = "../common/probe.rs"]
mod probe;

mod files;
mod removal;
mod scope;
mod segment;
mod unnamed;

fn main() {
    segment::play_role();
    common::main_of(&[files::TESTS, removal::TESTS, scope::TESTS, segment::TESTS, unnamed::TESTS])
}
