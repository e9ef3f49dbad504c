//! One way between two processes that both poll, messages of 8 bytes.

use crate::Result;
use crate::channel::WORD;
use crate::drive;
use crate::measure::{Row, Unit, Work, sides};
use crate::peers::{cloudtoid, iceoryx, limit, queue, ring};

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            id: "latency_spsc_vs_limit",
            unit: Unit::Nanoseconds,
            peer_name: "limit: a bare cache line",
            target: 0.85,
            work: Work::Grains(1000),
            prepare: sides(
                |trips| drive::ping_pong(&ring::Numbers::new()?, &ring::Numbers::new()?, trips),
                Ok(cache_line),
            ),
        },
        row("latency_mpmc_vs_limit", "limit: a bare cache line", 0.6, cache_line),
        row("latency_mpmc_vs_iceoryx2", iceoryx::NAME, 3.0, |trips| {
            let there = iceoryx::Messages::new(WORD)?;
            drive::ping_pong(&there, &iceoryx::Messages::new(WORD)?, trips)
        }),
        row("latency_mpmc_vs_cloudtoid", cloudtoid::NAME, 1.5, |trips| {
            let there = cloudtoid::Messages::new(WORD);
            drive::ping_pong(&there, &cloudtoid::Messages::new(WORD), trips)
        }),
    ]
}

fn cache_line(trips: u64) -> Result<f64> {
    drive::ping_pong(&limit::Line::new()?, &limit::Line::new()?, trips)
}

fn row(
    id: &'static str,
    peer_name: &'static str,
    target: f64,
    peer: fn(u64) -> Result<f64>,
) -> Row {
    Row {
        id,
        unit: Unit::Nanoseconds,
        peer_name,
        target,
        work: Work::Grains(1000),
        prepare: sides(
            |trips| drive::ping_pong(&queue::Numbers::new()?, &queue::Numbers::new()?, trips),
            Ok(peer),
        ),
    }
}
