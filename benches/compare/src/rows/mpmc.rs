//! Many producers and many consumers on one queue, small messages, as fast as they go.

use crate::Result;
use crate::channel::WORD;
use crate::drive::{self, Crew};
use crate::measure::{Row, Unit, Work, sides};
use crate::peers::{array_queue, cloudtoid, dpdk, queue};

pub fn rows() -> Vec<Row> {
    vec![
        against_array_queue("mpmc_1p1c_vs_arrayqueue", Crew::of(1), 0.8),
        against_array_queue("mpmc_2p2c_vs_arrayqueue", Crew::of(2), 1.2),
        against_array_queue("mpmc_4p4c_vs_arrayqueue", Crew::of(4), 1.5),
        against_dpdk(),
        against_cloudtoid(),
    ]
}

/// Ours between processes, the peer between threads.
fn against_array_queue(id: &'static str, crew: Crew, target: f64) -> Row {
    Row {
        id,
        unit: Unit::MillionsPerSecond,
        peer_name: array_queue::NAME,
        target,
        work: Work::Grains(crew.grain()),
        prepare: sides(move |work| numbers(crew, work), Ok(move |work| array_queue(crew, work))),
    }
}

fn against_dpdk() -> Row {
    Row {
        id: "mpmc_1p1c_vs_rte_ring",
        unit: Unit::MillionsPerSecond,
        peer_name: dpdk::NAME,
        target: 2.0,
        work: Work::Grains(Crew::PAIR.grain()),
        prepare: sides(
            |work| numbers(Crew::PAIR, work),
            dpdk::ring().map(|make| move |work| drive::processes(Crew::PAIR, &make()?, WORD, work)),
        ),
    }
}

/// Both copy in and out.
fn against_cloudtoid() -> Row {
    const BYTES: usize = 64;
    Row {
        id: "mpmc_64b_vs_cloudtoid",
        unit: Unit::MillionsPerSecond,
        peer_name: cloudtoid::NAME,
        target: 3.0,
        work: Work::Grains(Crew::PAIR.grain()),
        prepare: sides(
            |work| drive::processes(Crew::PAIR, &queue::Copied::new(BYTES)?, BYTES, work),
            Ok(|work| drive::processes(Crew::PAIR, &cloudtoid::Messages::new(BYTES), BYTES, work)),
        ),
    }
}

/// The peer against itself: anything but 1 is the machinery's own doing.
pub fn self_check() -> Row {
    let crew = Crew::of(2);
    Row {
        id: "self_check",
        unit: Unit::MillionsPerSecond,
        peer_name: "the same ArrayQueue",
        target: 1.0,
        work: Work::Grains(crew.grain()),
        prepare: sides(
            move |work| array_queue(crew, work),
            Ok(move |work| array_queue(crew, work)),
        ),
    }
}

fn numbers(crew: Crew, work: u64) -> Result<f64> {
    drive::processes(crew, &queue::Numbers::new()?, WORD, work)
}

fn array_queue(crew: Crew, work: u64) -> Result<f64> {
    drive::threads(crew, &array_queue::Numbers::new(), WORD, work)
}
