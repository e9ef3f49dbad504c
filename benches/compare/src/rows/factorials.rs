//! A factorial by the workers of a pool, as the tour does it, and by one process.

use crate::Result;
use crate::measure::{Row, Side, Sides, Unit, Work};
use crate::product;
use mpshm::Pool;
use std::time::Instant;

const N: u64 = 300_000;

/// Two workers against the same product tree in this process.
pub fn against_serial() -> Row {
    Row {
        id: "factorials_2w_vs_serial",
        unit: Unit::Milliseconds,
        peer_name: "the same product tree in one process",
        target: 1.5,
        work: Work::Grains(1),
        prepare: Box::new(|| Ok(Sides { ours: by_workers()?, peer: Ok(Box::new(alone)) })),
    }
}

fn by_workers() -> Result<Side> {
    let pool = Pool::builder().workers(2).queue(16).message_max(product::message_max(N)).build()?;
    let expected = product::serial(N);
    Ok(Box::new(move |work| {
        let mut seconds = 0.0;
        for _ in 0..work {
            let begun = Instant::now();
            let found = product::parallel(&pool, N)?;
            seconds += begun.elapsed().as_secs_f64();
            if found != expected {
                return Err(format!("{N}! is not what one process finds").into());
            }
        }
        Ok(seconds)
    }))
}

fn alone(work: u64) -> Result<f64> {
    let begun = Instant::now();
    for _ in 0..work {
        std::hint::black_box(product::serial(N));
    }
    Ok(begun.elapsed().as_secs_f64())
}
