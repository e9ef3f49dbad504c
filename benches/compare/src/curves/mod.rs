//! What a row's one figure cannot show: how a figure moves with payload, participants, capacity or luck.

mod capacity;
mod latency;
mod participants;
mod payload;
mod pool;

use crate::Result;
use crate::measure::{Effort, Pace, Side, Work, percentile};

/// Lines over a common axis.
pub struct Curve {
    /// What `--only` and the file call it.
    pub id: &'static str,
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// Peers that are missing, and why.
    pub missing: Vec<String>,
}

/// An axis. Both are logarithmic.
pub struct Axis {
    /// What it shows, with the unit.
    pub label: &'static str,
    /// Where it has ticks, and what they are called.
    pub ticks: Vec<(f64, String)>,
}

/// What one candidate reaches.
pub struct Line {
    pub name: String,
    pub kind: Kind,
    pub points: Vec<(f64, f64)>,
}

/// Whose line it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Peer,
    /// What nobody can beat.
    Limit,
}

type Measure = fn(Effort) -> Result<Curve>;

/// What is drawn when nothing else is asked for.
const ALL: [(&str, Measure); 7] = [
    (payload::ID, payload::measure),
    (latency::POLLING, latency::measure_polling),
    (latency::SLEEPING, latency::measure_sleeping),
    (participants::ID, participants::measure),
    (capacity::ID, capacity::measure),
    (pool::WORKERS, pool::measure_workers),
    (pool::ITEMS, pool::measure_items),
];

/// The curves' names.
pub fn ids() -> Vec<&'static str> {
    ALL.map(|(id, _)| id).into()
}

/// Measures the curve of that name.
pub fn measure(id: &str, effort: Effort) -> Result<Curve> {
    let known = ALL.into_iter().find(|(known, _)| *known == id);
    known.ok_or("no such curve")?.1(effort)
}

/// Rounds of each line at each place, in turn.
const ROUNDS: usize = 5;

/// What a line's side is made by, for a place on the axis.
type Make<'a> = Box<dyn Fn(usize) -> Side + 'a>;

/// A candidate whose line is measured.
struct Candidate<'a> {
    name: &'static str,
    kind: Kind,
    make: Make<'a>,
}

/// A line for each candidate over the `places`: the median round of each, taken in turn, as `figure` shows the
/// seconds for one operation.
fn lines(
    effort: Effort,
    candidates: Vec<Candidate<'_>>,
    places: impl Iterator<Item = usize>,
    grain: impl Fn(usize) -> u64,
    figure: impl Fn(usize, f64) -> f64,
) -> Result<Vec<Line>> {
    let line = |candidate: &Candidate<'_>| Line {
        name: candidate.name.into(),
        kind: candidate.kind,
        points: Vec::new(),
    };
    let mut lines: Vec<Line> = candidates.iter().map(line).collect();
    for place in places {
        let ready = |candidate: &Candidate<'_>| {
            Pace::of((candidate.make)(place), Work::Grains(grain(place)), effort)
                .map_err(|error| format!("{} at {place}: {error}", candidate.name))
        };
        let mut paces = candidates.iter().map(ready).collect::<std::result::Result<Vec<_>, _>>()?;
        let mut seconds = vec![Vec::new(); paces.len()];
        for _ in 0..ROUNDS {
            for (pace, seconds) in paces.iter_mut().zip(&mut seconds) {
                seconds.push(pace.round()?);
            }
        }
        for (line, seconds) in lines.iter_mut().zip(&seconds) {
            line.points.push((place as f64, figure(place, percentile(seconds, 0.5))));
        }
    }
    Ok(lines)
}

/// A number of bytes as people write it.
fn bytes(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
