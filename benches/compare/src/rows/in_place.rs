//! Large messages, which ours are written and read in place.

use crate::drive::{self, Crew};
use crate::measure::{Row, Unit, Work, sides};
use crate::peers::{boost, limit, queue};

/// The peer copies in and out, and has no other way.
pub fn against_boost() -> Row {
    const BYTES: usize = 4 << 10;
    Row {
        id: "mpmc_4k_vs_boost_mq",
        unit: Unit::MillionsPerSecond,
        peer_name: boost::QUEUE,
        target: 5.0,
        work: Work::Grains(Crew::PAIR.grain()),
        prepare: sides(
            |work| drive::processes(Crew::PAIR, &queue::InPlace::new(BYTES)?, BYTES, work),
            boost::queue()
                .map(|make| move |work| drive::processes(Crew::PAIR, &make(BYTES)?, BYTES, work)),
        ),
    }
}

/// The limit: the same bytes are written and read, and a flag says whose turn it is.
pub fn against_memory() -> Row {
    const BYTES: usize = 64 << 10;
    Row {
        id: "mpmc_64k_vs_memory",
        unit: Unit::MillionsPerSecond,
        peer_name: "limit: the same memory, a flag for each block",
        target: 0.9,
        work: Work::Grains(Crew::PAIR.grain()),
        prepare: sides(
            |work| drive::processes(Crew::PAIR, &queue::InPlace::new(BYTES)?, BYTES, work),
            Ok(|work| drive::processes(Crew::PAIR, &limit::Blocks::new(BYTES)?, BYTES, work)),
        ),
    }
}
