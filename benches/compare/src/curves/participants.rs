//! Throughput against the number of participants, which share two cores.

use super::{Axis, Candidate, Curve, Kind, lines};
use crate::Result;
use crate::channel::WORD;
use crate::drive::{self, Crew};
use crate::measure::{Effort, Side};
use crate::peers::{array_queue, queue};

pub const ID: &str = "participants";

/// Half of them produce and half consume; a single one does both.
pub fn measure(effort: Effort) -> Result<Curve> {
    let candidates = vec![
        Candidate {
            name: "mpshm Queue, processes",
            kind: Kind::Ours,
            make: Box::new(|participants| -> Side {
                Box::new(move |work| match crew(participants) {
                    None => drive::alone(&queue::Numbers::new()?, WORD, work),
                    Some(crew) => drive::processes(crew, &queue::Numbers::new()?, WORD, work),
                })
            }),
        },
        Candidate {
            name: array_queue::NAME,
            kind: Kind::Peer,
            make: Box::new(|participants| -> Side {
                Box::new(move |work| match crew(participants) {
                    None => drive::alone(&array_queue::Numbers::new(), WORD, work),
                    Some(crew) => drive::threads(crew, &array_queue::Numbers::new(), WORD, work),
                })
            }),
        },
    ];
    let grain = |participants| crew(participants).map_or(100, Crew::grain);
    let places = || [1, 2, 4, 6, 8, 10, 12, 14, 16].into_iter();
    Ok(Curve {
        id: ID,
        title: "Throughput against participants (8-byte messages, two cores)",
        x: Axis {
            label: "participants: half produce on one core, half consume on the other; 1 does both",
            ticks: places().map(|place| (place as f64, place.to_string())).collect(),
        },
        y: Axis {
            label: "throughput, million messages/s",
            ticks: [0.01, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]
                .map(|millions| (millions, format!("{millions}")))
                .into(),
        },
        lines: lines(effort, candidates, places(), grain, |_, seconds| 1e-6 / seconds)?,
        missing: Vec::new(),
    })
}

/// Nothing for one that does both.
fn crew(participants: usize) -> Option<Crew> {
    (participants > 1).then(|| Crew::of(participants as u64 / 2))
}
