//! Barriers: who comes last, first, in vain, or breaks it, is killed or stopped at any instruction.
//!
//! Two parties, and a third where one has died: whoever waits then repairs, and may die of it too. Where another one waits, it is asleep when the child begins; it must learn how its cycle ended
//! without any more help, and the same as the child.

use super::lab::view::View;
use super::lab::{Check, Failure, Scenario, demand};
use super::wakes::Sleeper;
use mpshm::{Barrier, BarrierError, BarrierOptions, BarrierPass, Segment};
use std::time::{Duration, Instant};

/// Far beyond the slice after which a sleeper looks for the dead.
const SOON: Duration = Duration::from_secs(3);
const PATIENT: Duration = Duration::from_secs(6);
const NAP: Duration = Duration::from_millis(1);

pub const PASSED: u64 = 1;
pub const BROKEN: u64 = 2;
const DONE: u64 = 3;

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Comes last.
    Last,
    /// Comes first, and waits.
    First,
    /// Comes first, and waits for a moment only.
    GiveUp,
    /// Comes second of three, and finds that the first has died.
    Finds,
    Abort,
    Reset,
}

pub struct Met {
    pub op: Op,
    /// Done instead of the operation: see `plants.rs`.
    pub plant: Option<fn(&mut World) -> u64>,
}

pub struct World {
    pub barrier: Barrier,
    spare: Barrier,
    view: View,
    sleeper: Option<Sleeper>,
    parties: usize,
}

fn answer(waited: Result<BarrierPass, BarrierError>) -> u64 {
    match waited {
        Ok(_) => PASSED,
        Err(BarrierError::Broken) => BROKEN,
        Err(other) => panic!("{other}"),
    }
}

impl World {
    fn wait(&self, limit: Duration) -> u64 {
        answer(self.barrier.wait_timeout(limit))
    }

    fn brought(&self) -> Result<u64, Failure> {
        self.sleeper.as_ref().expect("put to sleep").soon("its cycle has ended")
    }

    /// The sleeper has got this, without any more help.
    fn sleeper_got(&self, wanted: u64) -> Result<(), Failure> {
        let brought = self.brought()?;
        demand(brought == wanted, Check::Outcome, || format!("the sleeper got {brought}"))
    }

    /// At the end of every trial: made as new, its parties pass it, twice.
    fn finish(&self) -> Result<(), Failure> {
        self.barrier.reset();
        for round in 0..2 {
            let others: Vec<_> =
                (1..self.parties).map(|_| Sleeper::start(|| self.wait(PATIENT))).collect();
            let mut passes = vec![self.wait(SOON)];
            for other in &others {
                passes.push(other.soon("all have come")?);
            }
            let fits = passes.iter().all(|&pass| pass == PASSED) && self.barrier.waiting() == 0;
            demand(fits, Check::Cycle, || format!("round {round}: {passes:?}"))?;
        }
        Ok(())
    }
}

impl Met {
    pub fn new(op: Op) -> Self {
        Self { op, plant: None }
    }

    fn has_sleeper(&self) -> bool {
        [Op::Last, Op::Abort, Op::Reset].contains(&self.op)
    }

    /// How far a dead child had come, with another one asleep: 0 = it had done nothing, 1 = it was there, 2 = it had ended the
    /// cycle.
    fn settle(&self, world: &World) -> Result<u64, Failure> {
        let barrier = &world.barrier;
        let (waiting, broken) = (barrier.waiting(), barrier.is_broken());
        if waiting == 0 && !broken {
            let wanted = if self.op == Op::Reset { BROKEN } else { PASSED };
            return world.sleeper_got(wanted).map(|()| 2);
        }
        if broken || waiting == 2 {
            world.sleeper_got(BROKEN)?;
            return Ok(if self.op == Op::Abort { 2 } else { 1 });
        }
        let mine = world.wait(SOON);
        world.sleeper_got(mine)?;
        Ok(u64::from(mine == BROKEN))
    }
}

impl Scenario for Met {
    type World = World;

    fn name(&self) -> String {
        let op = match self.op {
            Op::Last => "wait",
            Op::First => "wait",
            Op::GiveUp => "wait_timeout",
            Op::Finds => return "wait/barrier/a dead party".to_owned(),
            Op::Abort => "abort",
            Op::Reset => "reset",
        };
        let state = if self.has_sleeper() { "a party asleep" } else { "nobody there" };
        format!("{op}/barrier/{state}")
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let segment = Segment::options().participants(6).objects(2).anonymous(4096).map_err(lab)?;
        let of = |parties| BarrierOptions::new(parties);
        let parties = if self.op == Op::Finds { 3 } else { 2 };
        let barrier = Barrier::create(segment.at("barrier"), &of(parties)).map_err(lab)?;
        let spare = Barrier::create(segment.at("spare"), &of(1)).map_err(lab)?;
        let view = View::of(&segment, segment.size() as usize);
        let sleeper =
            self.has_sleeper().then(|| Sleeper::start(|| answer(barrier.wait_timeout(PATIENT))));
        if self.op == Op::Finds {
            Sleeper::start(|| answer(barrier.wait_timeout(PATIENT))).die();
        }
        Ok(World { barrier, spare, view, sleeper, parties: parties as usize })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World) {
        world.spare.wait().expect("alone");
        world.spare.abort();
        world.spare.reset();
    }

    fn operate(&self, world: &mut World) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        match self.op {
            Op::Last | Op::First | Op::Finds => answer(world.barrier.wait()),
            Op::GiveUp => world.wait(NAP),
            Op::Abort => {
                world.barrier.abort();
                DONE
            }
            Op::Reset => {
                world.barrier.reset();
                DONE
            }
        }
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        let stage = if self.has_sleeper() {
            self.settle(world)?
        } else if self.op == Op::Finds {
            // It may be the third: both were counted before they died.
            let begin = Instant::now();
            world.wait(PATIENT);
            let took = begin.elapsed();
            demand(took < SOON, Check::Late, || format!("told of the dead after {took:?}"))?;
            0
        } else {
            // Whoever it waited for comes: a dead one's place is taken, or it is not there.
            u64::from(world.wait(NAP * 50) == PASSED)
        };
        world.finish()?;
        // A timed wait is over in the end, and nobody there again.
        Ok(if self.op == Op::GiveUp { 0 } else { stage })
    }

    fn loops(&self) -> bool {
        [Op::GiveUp, Op::Finds].contains(&self.op)
    }

    fn stages(&self) -> Vec<u64> {
        match self.op {
            Op::Last => vec![0, 1, 2],
            Op::Abort | Op::Reset => vec![0, 2],
            Op::First | Op::GiveUp | Op::Finds => Vec::new(),
        }
    }

    /// Ends the cycle; answers with what those in it, besides the child, got.
    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        if !self.has_sleeper() {
            return Ok(world.wait(NAP));
        }
        if self.op == Op::Last {
            world.barrier.abort();
        } else if world.barrier.waiting() == 1 {
            let mine = world.wait(SOON);
            world.sleeper_got(mine)?;
        }
        world.brought()
    }

    fn after(&self, world: &mut World, answer: u64, others: u64) -> Result<(), Failure> {
        let wanted = match self.op {
            Op::Last | Op::First | Op::Finds => others,
            // It may have given up before they came.
            Op::GiveUp if others == PASSED => PASSED,
            Op::GiveUp => BROKEN,
            Op::Abort | Op::Reset => DONE,
        };
        demand(answer == wanted, Check::Outcome, || format!("answer {answer}, not {wanted}"))?;
        world.finish()
    }
}
