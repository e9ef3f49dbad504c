//! What a pool costs against its workers, and a map against its items.

use super::{Axis, Candidate, Curve, Kind, lines};
use crate::Result;
use crate::measure::{Effort, Side};
use crate::rows::{pool, spawn};

pub const WORKERS: &str = "pool_workers";
pub const ITEMS: &str = "pool_items";

/// Made, and its end is not timed.
pub fn measure_workers(effort: Effort) -> Result<Curve> {
    let mut candidates = vec![
        candidate("as many forks and one, and waits for their ends", Kind::Limit, |workers| {
            Ok(Box::new(move |work| spawn::fork_and_wait(work * (workers as u64 + 1))))
        }),
        candidate("mpshm Pool::new", Kind::Ours, pool::create),
    ];
    let missing = add_python(&mut candidates, "Python multiprocessing.Pool", |workers| {
        pool::python(&["create", &workers.to_string()], |work| work)
    });
    let places = || (0..7).map(|bits| 1_usize << bits);
    Ok(Curve {
        id: WORKERS,
        title: "Making a pool, against its workers (two cores)",
        x: Axis {
            label: "workers",
            ticks: places().map(|place| (place as f64, place.to_string())).collect(),
        },
        y: Axis {
            label: "ms",
            ticks: [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]
                .map(|ms| (ms, format!("{ms}")))
                .into(),
        },
        lines: lines(effort, candidates, places(), |_| 1, |_, seconds| seconds * 1e3)?,
        missing,
    })
}

/// Two workers, or two threads.
pub fn measure_items(effort: Effort) -> Result<Curve> {
    let mut candidates = vec![
        candidate("one thread, into a new vector", Kind::Limit, |items| pool::alone(items as u64)),
        candidate("mpshm Pool::map, 2 workers", Kind::Ours, |items| pool::map(items as u64)),
        candidate("rayon, 2 threads", Kind::Peer, |items| pool::in_threads(items as u64)),
    ];
    let missing = add_python(&mut candidates, "Python Pool(2).map", |items| {
        let each = pool::squares(items as u64);
        pool::python(&["map", &items.to_string()], move |work| each.wrapping_mul(work))
    });
    let places = || (3..8).map(|zeros| 10_usize.pow(zeros));
    Ok(Curve {
        id: ITEMS,
        title: "A map of squares, against its items (8 bytes each)",
        x: Axis {
            label: "items",
            ticks: places().map(|place| (place as f64, count(place))).collect(),
        },
        y: Axis {
            label: "ns for each item",
            ticks: [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0]
                .map(|ns| (ns, format!("{ns}")))
                .into(),
        },
        lines: lines(
            effort,
            candidates,
            places(),
            |_| 1,
            |items, seconds| seconds * 1e9 / items as f64,
        )?,
        missing,
    })
}

/// Its side is made when its first round comes.
fn candidate<'a>(
    name: &'static str,
    kind: Kind,
    make: impl Fn(usize) -> Result<Side> + Copy + 'static,
) -> Candidate<'a> {
    let side = move |place| -> Side {
        let mut side = None;
        Box::new(move |work| {
            let side = match &mut side {
                Some(side) => side,
                None => side.insert(make(place)?),
            };
            side(work)
        })
    };
    Candidate { name, kind, make: Box::new(side) }
}

/// Adds Python's side, or says why it is missing.
fn add_python(
    candidates: &mut Vec<Candidate<'_>>,
    name: &'static str,
    make: impl Fn(usize) -> Result<Side> + Copy + 'static,
) -> Vec<String> {
    match make(1) {
        Ok(_) => {
            candidates.push(candidate(name, Kind::Peer, make));
            Vec::new()
        }
        Err(why) => vec![format!("{name}: {why}")],
    }
}

/// A number of items as people write it.
fn count(items: usize) -> String {
    match items {
        0..1_000_000 => format!("{} thousand", items / 1000),
        _ => format!("{} million", items / 1_000_000),
    }
}
