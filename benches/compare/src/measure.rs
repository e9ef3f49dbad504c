//! Ours and the peer's in turn, and what the ratios come to.

use crate::{Error, Result};

/// One line of the comparison. `ratio` above 1 is better for mpshm, whatever the unit.
pub struct Row {
    /// What `--only` and the report call it.
    pub id: &'static str,
    /// What one side's figure is given in.
    pub unit: Unit,
    /// The peer, and where it runs when that is not between processes.
    pub peer_name: &'static str,
    /// The ratio that is aimed at.
    pub target: f64,
    /// How many operations a round has.
    pub work: Work,
    /// Makes what the rounds need. Called right before the row is measured.
    pub prepare: Box<dyn Fn() -> Result<Sides>>,
}

/// How many operations a round has.
#[derive(Clone, Copy)]
pub enum Work {
    /// As many as fill a round, of each side by itself, but a multiple of so many.
    Grains(u64),
    /// Always so many, whatever time they take.
    Fixed(u64),
}

/// What a round of either side runs.
pub struct Sides {
    /// mpshm.
    pub ours: Side,
    /// The peer, or why it is missing here.
    pub peer: std::result::Result<Side, String>,
}

/// Does so many operations, checks what came of them, and returns the seconds that they took, or how often they
/// did what the row counts.
pub type Side = Box<dyn FnMut(u64) -> Result<f64>>;

/// Sides that keep nothing from round to round.
pub fn sides<O, P>(ours: O, peer: std::result::Result<P, String>) -> Box<dyn Fn() -> Result<Sides>>
where
    O: Fn(u64) -> Result<f64> + Clone + 'static,
    P: Fn(u64) -> Result<f64> + Clone + 'static,
{
    Box::new(move || {
        let peer = peer.clone().map(|peer| -> Side { Box::new(peer) });
        Ok(Sides { ours: Box::new(ours.clone()), peer })
    })
}

/// How seconds for an operation, or what else is counted, are shown.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Millions of operations in a second.
    MillionsPerSecond,
    /// Nanoseconds for one.
    Nanoseconds,
    /// Microseconds for one.
    Microseconds,
    /// Milliseconds for one.
    Milliseconds,
    /// System calls in a million of them.
    Calls,
}

impl Unit {
    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::MillionsPerSecond => "M/s",
            Self::Nanoseconds => "ns",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::Calls => "calls/M",
        }
    }

    fn figure(self, seconds: f64) -> f64 {
        match self {
            Self::MillionsPerSecond => 1e-6 / seconds,
            Self::Nanoseconds => seconds * 1e9,
            Self::Microseconds | Self::Calls => seconds * 1e6,
            Self::Milliseconds => seconds * 1e3,
        }
    }
}

/// How many rounds, and how long.
#[derive(Clone, Copy)]
pub struct Effort {
    rounds: usize,
    /// Seconds of a round of one side that is aimed at.
    round: f64,
}

impl Effort {
    /// For all rows in at most two minutes.
    pub const QUICK: Self = Self { rounds: 15, round: 0.07 };
    /// For figures to publish.
    pub const FULL: Self = Self { rounds: 41, round: 0.12 };
    /// How many rounds each side has.
    pub fn rounds(self) -> usize {
        self.rounds
    }

    /// A round outside these, in seconds, changes how much the next one does.
    const BOUNDS: std::ops::Range<f64> = 0.05..0.2;
}

/// What a row came to.
pub struct Outcome {
    /// As in [`Row`].
    pub id: &'static str,
    /// As in [`Row`].
    pub unit: &'static str,
    /// As in [`Row`].
    pub peer_name: &'static str,
    /// As in [`Row`].
    pub target: f64,
    /// The median round, in the unit.
    pub ours: f64,
    /// The peer's part, or why it is missing.
    pub against: std::result::Result<Against, String>,
}

/// What the comparison with a peer came to.
pub struct Against {
    /// The peer's median round, in the unit.
    pub peer: f64,
    /// The median of the ratios pair by pair.
    pub ratio: f64,
    /// Their 10th percentile.
    pub p10: f64,
    /// Their 90th percentile.
    pub p90: f64,
}

/// Measures one row.
pub fn row(row: &Row, effort: Effort) -> Result<Outcome> {
    let Sides { ours, peer } = (row.prepare)()?;
    let named = |side: &'static str| move |error: Error| format!("{side}: {error}");
    let mut ours = Pace::of(ours, row.work, effort).map_err(named("ours"))?;
    let mut peer = match peer {
        Ok(peer) => Ok(Pace::of(peer, row.work, effort).map_err(named(row.peer_name))?),
        Err(reason) => Err(reason),
    };
    let (mut our_seconds, mut peer_seconds) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        our_seconds.push(ours.round().map_err(named("ours"))?);
        if let Ok(peer) = &mut peer {
            peer_seconds.push(peer.round().map_err(named(row.peer_name))?);
        }
    }
    let against = peer.map(|_| {
        let pairs = our_seconds.iter().zip(&peer_seconds);
        let ratios: Vec<f64> = pairs.map(|(&ours, &peer)| ratio(ours, peer)).collect();
        Against {
            peer: row.unit.figure(percentile(&peer_seconds, 0.5)),
            ratio: percentile(&ratios, 0.5),
            p10: percentile(&ratios, 0.1),
            p90: percentile(&ratios, 0.9),
        }
    });
    Ok(Outcome {
        id: row.id,
        unit: row.unit.name(),
        peer_name: row.peer_name,
        target: row.target,
        ours: row.unit.figure(percentile(&our_seconds, 0.5)),
        against,
    })
}

/// Above 1 when ours takes less; of two that count nothing, neither is better.
fn ratio(ours: f64, peer: f64) -> f64 {
    if ours == peer { 1.0 } else { peer / ours }
}

/// A side, and how much it does in a round.
pub struct Pace {
    side: Side,
    /// 0: always the same work.
    grain: u64,
    work: u64,
    aim: f64,
}

impl Pace {
    /// A side that is ready for its first round.
    pub fn of(side: Side, work: Work, effort: Effort) -> Result<Self> {
        match work {
            Work::Grains(grain) => Self::calibrate(side, grain, effort),
            Work::Fixed(work) => Ok(Self { side, grain: 0, work, aim: effort.round }),
        }
    }

    /// Does more and more, until it is known how much fills a round; which warms up, too.
    fn calibrate(side: Side, grain: u64, effort: Effort) -> Result<Self> {
        let mut pace = Self { side, grain, work: grain, aim: effort.round };
        loop {
            let seconds = (pace.side)(pace.work)?;
            if seconds >= pace.aim / 4.0 {
                pace.adjust(seconds);
                return Ok(pace);
            }
            pace.work *= if seconds < pace.aim / 64.0 { 16 } else { 4 };
        }
    }

    fn adjust(&mut self, seconds: f64) {
        let grains = self.work as f64 * self.aim / seconds / self.grain as f64;
        self.work = self.grain * (grains.round() as u64).max(1);
    }

    /// Seconds for one operation.
    pub fn round(&mut self) -> Result<f64> {
        let work = self.work;
        let seconds = (self.side)(work)?;
        if self.grain > 0 && !Effort::BOUNDS.contains(&seconds) {
            self.adjust(seconds);
        }
        Ok(seconds / work as f64)
    }
}

/// Between the neighbours where it falls between two.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = part * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A side for which an operation takes so long.
    fn takes(seconds: f64) -> Side {
        Box::new(move |work| Ok(work as f64 * seconds))
    }

    fn row_of(ours: f64, peer: std::result::Result<f64, &'static str>) -> Row {
        Row {
            id: "test",
            unit: Unit::Nanoseconds,
            peer_name: "peer",
            target: 1.0,
            work: Work::Grains(10),
            prepare: Box::new(move || {
                Ok(Sides { ours: takes(ours), peer: peer.map(takes).map_err(String::from) })
            }),
        }
    }

    #[test]
    fn a_peer_that_takes_three_times_as_long_gives_a_ratio_of_three() {
        let outcome = row(&row_of(10e-9, Ok(30e-9)), Effort::QUICK).unwrap();
        let against = outcome.against.unwrap();
        assert!((outcome.ours - 10.0).abs() < 1e-9 && (against.peer - 30.0).abs() < 1e-9);
        for ratio in [against.ratio, against.p10, against.p90] {
            assert!((ratio - 3.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_missing_peer_leaves_our_figure_and_its_reason() {
        let outcome = row(&row_of(10e-9, Err("not installed")), Effort::QUICK).unwrap();
        assert!((outcome.ours - 10.0).abs() < 1e-9);
        assert_eq!(outcome.against.err().unwrap(), "not installed");
    }

    #[test]
    fn a_side_that_counts_something_where_the_other_counts_nothing_loses() {
        assert_eq!(ratio(0.0, 0.0), 1.0);
        assert_eq!(ratio(3.0, 0.0), 0.0);
        assert_eq!(ratio(0.0, 3.0), f64::INFINITY);
    }

    #[test]
    fn fixed_work_stays_the_same_however_long_it_takes() {
        for seconds in [1e-9, 10.0] {
            let mut pace = Pace::of(takes(seconds), Work::Fixed(7), Effort::QUICK).unwrap();
            for _ in 0..3 {
                assert!((pace.round().unwrap() - seconds).abs() < 1e-12);
                assert_eq!(pace.work, 7);
            }
        }
    }

    #[test]
    fn rounds_are_calibrated_to_the_time_aimed_at_and_to_the_grain() {
        let pace = Pace::calibrate(takes(37e-9), 1000, Effort::QUICK).unwrap();
        assert_eq!(pace.work % 1000, 0);
        assert!((pace.work as f64 * 37e-9 - Effort::QUICK.round).abs() < 1e-3);
        let pace = Pace::calibrate(takes(3.0), 1, Effort::QUICK).unwrap();
        assert_eq!(pace.work, 1);
    }

    #[test]
    fn percentiles_lie_between_their_neighbours() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(percentile(&values, 0.5), 3.0);
        assert!((percentile(&values, 0.1) - 1.4).abs() < 1e-9);
        assert!((percentile(&values, 0.9) - 4.6).abs() < 1e-9);
    }
}
