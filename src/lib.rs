//! mpshm: Python's `multiprocessing` for native programs, over lock-free shared memory.
#![allow(unused_imports)]
#![allow(dead_code)]

mod atomic;
mod error;
mod os;
mod process;

pub use error::{Error, ErrorKind, Result};
pub use os::clock::Deadline;
pub use process::{ExitStatus, Process, ProcessBuilder, cpu_count};
