//! One producer and one consumer, as fast as they go.

use crate::Result;
use crate::channel::WORD;
use crate::drive::{self, Crew};
use crate::measure::{Row, Unit, Work, sides};
use crate::peers::{boost, ring, rtrb};

/// Numbers in a slice.
const SLICE: usize = 64;
/// Bytes of a longer message.
const MESSAGE: usize = 64;

pub fn rows() -> Vec<Row> {
    vec![
        row("spsc_8b_vs_rtrb", rtrb::NAME, 2.0, numbers, Ok(rtrb_numbers)),
        row(
            "spsc_8b_vs_boost",
            boost::RING,
            3.0,
            numbers,
            boost::ring()
                .map(|make| move |work| drive::processes(Crew::PAIR, &make()?, WORD, work)),
        ),
        row(
            "spsc_slice64_vs_rtrb",
            "rtrb chunks, threads",
            1.0,
            |work| drive::processes(Crew::PAIR, &ring::Slices::new(SLICE)?, WORD, work),
            Ok(|work| drive::threads(Crew::PAIR, &rtrb::Slices::new(SLICE), WORD, work)),
        ),
        row(
            "bytes_64b_vs_rtrb",
            "rtrb of [u64; 8], threads",
            1.0,
            |work| drive::processes(Crew::PAIR, &ring::Messages::new(MESSAGE)?, MESSAGE, work),
            Ok(|work| {
                let peer = rtrb::Ring::<[u64; MESSAGE / WORD]>::new();
                drive::threads(Crew::PAIR, &peer, MESSAGE, work)
            }),
        ),
    ]
}

fn row<O, P>(
    id: &'static str,
    peer_name: &'static str,
    target: f64,
    ours: O,
    peer: std::result::Result<P, String>,
) -> Row
where
    O: Fn(u64) -> Result<f64> + Clone + 'static,
    P: Fn(u64) -> Result<f64> + Clone + 'static,
{
    Row {
        id,
        unit: Unit::MillionsPerSecond,
        peer_name,
        target,
        work: Work::Grains(Crew::PAIR.grain()),
        prepare: sides(ours, peer),
    }
}

fn numbers(work: u64) -> Result<f64> {
    drive::processes(Crew::PAIR, &ring::Numbers::new()?, WORD, work)
}

fn rtrb_numbers(work: u64) -> Result<f64> {
    drive::threads(Crew::PAIR, &rtrb::Ring::<[u64; 1]>::new(), WORD, work)
}
