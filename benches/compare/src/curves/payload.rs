//! Throughput against the length of messages.

use super::{Axis, Candidate, Curve, Kind, bytes, lines};
use crate::Result;
use crate::channel::Channel;
use crate::drive::{self, Crew};
use crate::measure::{Effort, Side};
use crate::peers::{boost, cloudtoid, iceoryx, limit, queue, ring};

pub const ID: &str = "payload";

/// One producer, one consumer, two processes.
pub fn measure(effort: Effort) -> Result<Curve> {
    let mut missing = Vec::new();
    let mut candidates = vec![
        candidate("the memory itself, a flag for each block", Kind::Limit, limit::Blocks::new),
        candidate("mpshm Ring, in place", Kind::Ours, ring::InPlace::new),
        candidate("mpshm Queue, in place", Kind::Ours, queue::InPlace::new),
        candidate("mpshm Queue, copied in and out", Kind::Ours, queue::Copied::new),
        candidate("iceoryx2 (in place)", Kind::Peer, iceoryx::Messages::new),
        candidate(cloudtoid::NAME, Kind::Peer, |bytes| Ok(cloudtoid::Messages::new(bytes))),
    ];
    match boost::queue() {
        Ok(make) => candidates.push(candidate("Boost message_queue", Kind::Peer, make)),
        Err(why) => missing.push(format!("{}: {why}", boost::QUEUE)),
    }
    let sizes = || (3..20).step_by(2).chain([20]).map(|bits| 1_usize << bits);
    let figure = |bytes, seconds| bytes as f64 / seconds / 1e9;
    Ok(Curve {
        id: ID,
        title: "Throughput against payload (1 producer, 1 consumer, two processes)",
        x: Axis {
            label: "bytes of a message, written and read",
            // The last but one would be written over the last one.
            ticks: sizes()
                .filter(|size| *size != 1 << 19)
                .map(|size| (size as f64, bytes(size)))
                .collect(),
        },
        y: Axis {
            label: "throughput, GB/s",
            ticks: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]
                .map(|gb| (gb, format!("{gb}")))
                .into(),
        },
        lines: lines(effort, candidates, sizes(), |_| 4, figure)?,
        missing,
    })
}

fn candidate<C: Channel>(
    name: &'static str,
    kind: Kind,
    make: impl Fn(usize) -> Result<C> + Copy + 'static,
) -> Candidate<'static> {
    let side = move |bytes| -> Side {
        Box::new(move |work| drive::processes(Crew::PAIR, &make(bytes)?, bytes, work))
    };
    Candidate { name, kind, make: Box::new(side) }
}
