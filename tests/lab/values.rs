//! Values: an addition has happened or it has not.

use super::lab::view::View;
use super::lab::{Check, DENSE, Failure, Mode, Scenario, demand};
use super::wakes::Sleeper;
use mpshm::{Array, Segment, Value};
use std::time::Duration;

const BEFORE: u64 = 5;
/// How often others add while the child is stopped.
const OTHERS: u64 = 3;
const INDEX: usize = 2;
/// One, in either half.
const WIDE: u128 = 1 << 64 | 1;
/// Far beyond the end of a slice.
const PATIENT: Duration = Duration::from_secs(6);

/// What is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Value<u64>`: one instruction of the processor.
    Integer,
    /// `Value<f64>`: a loop around a compare-exchange.
    Float,
    /// `Value::update` with a closure.
    Update,
    /// An element of an `Array<i32>`.
    Element,
    /// `Value<u128>`: a compare-exchange of two words.
    Wide,
    /// A waitable `Value<u64>`, for which another process sleeps.
    Waitable,
}

/// One addition.
pub struct Added {
    pub kind: Kind,
    /// Done instead of the operation.
    pub plant: Option<fn(&World) -> u64>,
}

pub struct World {
    pub integer: Value<u64>,
    float: Value<f64>,
    array: Array<i32>,
    wide: Value<u128>,
    waitable: Value<u64>,
    view: View,
    sleeper: Option<Sleeper>,
}

impl Added {
    pub fn new(kind: Kind) -> Self {
        Self { kind, plant: None }
    }

    fn add(&self, world: &World) -> u64 {
        match self.kind {
            Kind::Integer => world.integer.fetch_add(1),
            Kind::Float => world.float.fetch_add(1.0) as u64,
            Kind::Update => world.integer.update(|value| value + 1),
            Kind::Element => world.array.fetch_add(INDEX, 1).expect("inside") as u64,
            Kind::Wide => (world.wide.fetch_add(WIDE) / WIDE) as u64,
            Kind::Waitable => world.waitable.fetch_add(1),
        }
    }

    /// Who waits for an addition learns of one.
    fn told(&self, world: &World) -> Result<(), Failure> {
        let Some(sleeper) = &world.sleeper else { return Ok(()) };
        let brought = sleeper.soon("it was added to")?;
        demand(brought > BEFORE, Check::Lost, || format!("the waiter answered {brought}"))
    }

    fn read(&self, world: &World) -> u64 {
        match self.kind {
            Kind::Integer | Kind::Update => world.integer.load(),
            Kind::Float => world.float.load() as u64,
            Kind::Element => world.array.load(INDEX).expect("inside") as u64,
            Kind::Wide => (world.wide.load() / WIDE) as u64,
            Kind::Waitable => world.waitable.load(),
        }
    }
}

impl Scenario for Added {
    type World = World;

    fn name(&self) -> String {
        match self.kind {
            Kind::Integer => "fetch_add/Value<u64>",
            Kind::Float => "fetch_add/Value<f64>",
            Kind::Update => "update/Value<u64>",
            Kind::Element => "fetch_add/Array<i32>",
            Kind::Wide => "fetch_add/Value<u128>",
            Kind::Waitable => "fetch_add/Value<u64>/a waiter asleep",
        }
        .to_owned()
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let options = Segment::options().participants(6).objects(5);
        let segment = options.anonymous(8192).map_err(lab)?;
        let array = Array::create(segment.at("array"), INDEX + 2).map_err(lab)?;
        array.store(INDEX, BEFORE as i32).map_err(lab)?;
        let waitable = Value::create_waitable(segment.at("waitable"), BEFORE).map_err(lab)?;
        let sleeper = (self.kind == Kind::Waitable).then(|| {
            Sleeper::start(|| {
                let more = waitable.wait_until_timeout(PATIENT, |value| value > BEFORE);
                more.expect("nobody cancels").unwrap_or(0)
            })
        });
        Ok(World {
            wide: Value::create(segment.at("wide"), u128::from(BEFORE) * WIDE).map_err(lab)?,
            waitable,
            sleeper,
            integer: Value::create(segment.at("integer"), BEFORE).map_err(lab)?,
            float: Value::create(segment.at("float"), BEFORE as f64).map_err(lab)?,
            array,
            view: View::of(&segment, segment.size() as usize),
        })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn operate(&self, world: &mut World) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        self.add(world)
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        let found = self.read(world);
        demand((BEFORE..=BEFORE + 1).contains(&found), Check::Content, || format!("{found}"))?;
        if found > BEFORE {
            self.told(world)?;
        }
        let old = self.add(world);
        self.told(world)?;
        let new = self.read(world);
        demand(old == found && new == found + 1, Check::Cycle, || {
            format!("{found}, then {old} before and {new} after one more")
        })?;
        Ok(found - BEFORE)
    }

    /// Many a trial with a sleeper waits for the end of a slice.
    fn dense(&self, _: Mode) -> usize {
        if self.kind == Kind::Waitable { 300 } else { DENSE }
    }

    fn stages(&self) -> Vec<u64> {
        vec![0, 1]
    }

    /// Answers how much the child had added by then.
    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        let found = self.read(world);
        demand((BEFORE..=BEFORE + 1).contains(&found), Check::Content, || format!("{found}"))?;
        for step in 0..OTHERS {
            let old = self.add(world);
            demand(old == found + step, Check::Blocked, || format!("{old} at step {step}"))?;
        }
        self.told(world)?;
        Ok(found - BEFORE)
    }

    fn after(&self, world: &mut World, answer: u64, before: u64) -> Result<(), Failure> {
        let sum = self.read(world);
        demand(sum == BEFORE + OTHERS + 1, Check::Lost, || format!("the sum is {sum}"))?;
        let wanted = if before == 1 { BEFORE } else { BEFORE + OTHERS };
        demand(answer == wanted, Check::Outcome, || format!("answer {answer}, not {wanted}"))
    }
}
