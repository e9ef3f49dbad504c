//! The cost of an operation against the capacity: it is to be flat.

use super::{Axis, Candidate, Curve, Kind, lines};
use crate::Result;
use crate::channel::{Channel, WORD};
use crate::drive;
use crate::measure::{Effort, Side};
use crate::peers::{array_queue, queue, ring};

pub const ID: &str = "capacity";
/// Bytes of what lies in blocks.
const LONG: usize = 64;

/// One process alone pushes and pops in turn, so that it comes round through all of the queue.
pub fn measure(effort: Effort) -> Result<Curve> {
    let candidates = vec![
        candidate("mpshm Ring, 8 B", Kind::Ours, WORD, ring::Numbers::of),
        candidate("mpshm Queue, 8 B in the slots", Kind::Ours, WORD, queue::Numbers::of),
        candidate("mpshm Queue, 64 B in blocks, in place", Kind::Ours, LONG, |capacity| {
            queue::InPlace::of(capacity, LONG)
        }),
        candidate("crossbeam ArrayQueue, 8 B", Kind::Peer, WORD, |capacity| {
            Ok(array_queue::Numbers::of(capacity))
        }),
    ];
    let places = || (0..=20).step_by(2).map(|bits| 1_usize << bits);
    let label = |capacity: usize| match capacity {
        0..1024 => capacity.to_string(),
        1024..1_048_576 => format!("{} Ki", capacity >> 10),
        _ => format!("{} Mi", capacity >> 20),
    };
    Ok(Curve {
        id: ID,
        title: "Cost of an operation against capacity (one process, push and pop in turn)",
        x: Axis {
            label: "capacity, messages",
            ticks: places().map(|place| (place as f64, label(place))).collect(),
        },
        y: Axis {
            label: "one push or pop, ns",
            ticks: [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
                .map(|ns| (ns, format!("{ns}")))
                .into(),
        },
        lines: lines(effort, candidates, places(), |_| 100, |_, seconds| seconds * 1e9 / 2.0)?,
        missing: Vec::new(),
    })
}

fn candidate<C: Channel + 'static>(
    name: &'static str,
    kind: Kind,
    bytes: usize,
    make: impl Fn(usize) -> Result<C> + Copy + 'static,
) -> Candidate<'static> {
    let side = move |capacity| -> Side {
        let mut channel = None;
        Box::new(move |work| {
            if channel.is_none() {
                channel = Some(make(capacity)?);
            }
            drive::alone(channel.as_ref().expect("made"), bytes, work)
        })
    };
    Candidate { name, kind, make: Box::new(side) }
}
