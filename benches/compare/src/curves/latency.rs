//! How long messages take one way, as a distribution: percentiles are what a mean hides.

use super::{Axis, Curve, Kind, Line};
use crate::Result;
use crate::channel::{Channel, WORD};
use crate::drive;
use crate::measure::Effort;
use crate::peers::{cloudtoid, iceoryx, limit, queue, ring};
use crate::rows::wake;
use hdrhistogram::Histogram;

pub const POLLING: &str = "latency";
pub const SLEEPING: &str = "wake";

/// Messages of each candidate in a round, and rounds, in turn.
const TRIPS: u64 = 100_000;
const WAKES: u64 = 1000;

/// Half of each way there and back, between two processes that poll.
pub fn measure_polling(effort: Effort) -> Result<Curve> {
    let lines = in_turn(
        effort,
        vec![
            ("bare cache line", Kind::Limit, trips(limit::Line::new)),
            ("mpshm Ring", Kind::Ours, trips(ring::Numbers::new)),
            ("mpshm Queue", Kind::Ours, trips(queue::Numbers::new)),
            (cloudtoid::NAME, Kind::Peer, trips(|| Ok(cloudtoid::Messages::new(WORD)))),
            (iceoryx::NAME, Kind::Peer, trips(|| iceoryx::Messages::new(WORD))),
        ],
    )?;
    Ok(curve(
        POLLING,
        "One-way latency, 8 bytes, both processes polling",
        "half of a round trip",
        lines,
    ))
}

/// From the push to the pop, in a process that sleeps.
pub fn measure_sleeping(effort: Effort) -> Result<Curve> {
    let lines = in_turn(
        effort,
        vec![
            ("bare futex", Kind::Limit, Box::new(|| wake::bare_times(WAKES))),
            ("mpshm Queue", Kind::Ours, Box::new(|| wake::queue_times(WAKES))),
        ],
    )?;
    Ok(curve(
        SLEEPING,
        "One-way latency, 8 bytes, to a process that sleeps",
        "from push to pop",
        lines,
    ))
}

/// Makes the nanoseconds that each message of a round took.
type Times = Box<dyn Fn() -> Result<Vec<u64>>>;

fn trips<C: Channel>(make: impl Fn() -> Result<C> + 'static) -> Times {
    Box::new(move || drive::trip_times(&make()?, &make()?, TRIPS))
}

fn in_turn(effort: Effort, candidates: Vec<(&str, Kind, Times)>) -> Result<Vec<Line>> {
    let mut histograms = Vec::new();
    for _ in &candidates {
        histograms.push(Histogram::<u64>::new(3)?);
    }
    for _ in 0..effort.rounds() {
        for ((name, _, times), histogram) in candidates.iter().zip(&mut histograms) {
            for time in times().map_err(|error| format!("{name}: {error}"))? {
                histogram.record(time)?;
            }
        }
    }
    let line = |((name, kind, _), histogram): (&(&str, Kind, Times), &Histogram<u64>)| Line {
        name: named(name, histogram),
        kind: *kind,
        points: points(histogram),
    };
    Ok(candidates.iter().zip(&histograms).map(line).collect())
}

/// With the percentiles that people ask for.
fn named(name: &str, histogram: &Histogram<u64>) -> String {
    let at = |percent| time(histogram.value_at_percentile(percent));
    let (p50, p99, p999, most) = (at(50.0), at(99.0), at(99.9), time(histogram.max()));
    format!("{name}: p50 {p50}, p99 {p99}, p99.9 {p999}, max {most}")
}

/// Three digits that count.
fn time(nanoseconds: u64) -> String {
    let (value, unit) = match nanoseconds as f64 {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns => (ns / 1e6, "ms"),
    };
    let decimals = [100.0, 10.0].iter().filter(|bound| value < **bound).count();
    let text = if unit == "ns" { format!("{value}") } else { format!("{value:.decimals$}") };
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

/// Times over 1 / (1 − p), up to where one message decides.
fn points(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let most = histogram.len() as f64;
    let steps = (most.log2() * 4.0) as i32;
    let places = (4..=steps).map(|step| 2_f64.powf(f64::from(step) / 4.0));
    let at = |place: f64| (place, histogram.value_at_quantile(1.0 - 1.0 / place) as f64);
    places.map(at).chain([(most, histogram.max() as f64)]).collect()
}

fn curve(id: &'static str, title: &'static str, label: &'static str, lines: Vec<Line>) -> Curve {
    let percents = ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"];
    let place = |index| if index == 0 { 2.0 } else { 10_f64.powi(index) };
    Curve {
        id,
        title,
        x: Axis {
            label: "part of the messages that took no longer",
            ticks: (0..).map(place).zip(percents.map(String::from)).collect(),
        },
        y: Axis { label, ticks: ticks(&lines) },
        lines,
        missing: Vec::new(),
    }
}

/// At each power of ten; at its double and its fivefold too where there are few of them.
fn ticks(lines: &[Line]) -> Vec<(f64, String)> {
    let times = || lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let (least, most) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    let steps: &[u64] = if most / least < 2000.0 { &[1, 2, 5] } else { &[1] };
    let powers = (0..10).map(|power| 10_u64.pow(power));
    powers
        .flat_map(|power| steps.iter().map(move |step| step * power))
        .map(|ns| (ns as f64, time(ns)))
        .collect()
}
