//! A function mapped over many numbers by a pool of two, made before the clock starts.

use crate::Result;
use crate::measure::{Row, Side, Sides, Unit, Work};
use crate::python::Python;
use mpshm::Pool;
use std::time::Instant;

const ITEMS: u64 = 1_000_000;

/// Against what everybody knows.
pub fn against_python() -> Row {
    Row {
        id: "map_1m_vs_python",
        unit: Unit::Milliseconds,
        peer_name: "Python multiprocessing.Pool(2).map",
        target: 30.0,
        work: Work::Grains(1),
        prepare: Box::new(|| {
            Ok(Sides { ours: ours()?, peer: python().map_err(|error| error.to_string()) })
        }),
    }
}

fn square(number: u64) -> u64 {
    number * number
}

fn ours() -> Result<Side> {
    let pool = Pool::new(2)?;
    let inputs: Vec<u64> = (0..ITEMS).collect();
    Ok(Box::new(move |work| {
        let mut seconds = 0.0;
        for _ in 0..work {
            let begun = Instant::now();
            let squares = pool.map(square, &inputs).map_err(mpshm::Error::from)?;
            seconds += begun.elapsed().as_secs_f64();
            if squares.len() != inputs.len() || !squares.iter().zip(0..).all(|(s, n)| *s == n * n) {
                return Err("the pool's squares are not the numbers' squares".into());
            }
        }
        Ok(seconds)
    }))
}

fn python() -> Result<Side> {
    let mut python = Python::start("map_square.py")?;
    let expected = (0..ITEMS).fold(0, |sum: u64, number| sum.wrapping_add(square(number)));
    Ok(Box::new(move |work| {
        let (seconds, sum) = python.round(work)?;
        if sum != expected {
            return Err(format!("Python's sum is {sum}, {expected} was expected").into());
        }
        Ok(seconds)
    }))
}
