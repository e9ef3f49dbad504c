//! Values: an addition has happened or it has not.

use super::lab::view::View;
use super::lab::{Check, Failure, Scenario, demand};
use mpshm::{Array, Segment, Value};

const BEFORE: u64 = 5;
/// How often others add while the child is stopped.
const OTHERS: u64 = 3;
const INDEX: usize = 2;

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
    view: View,
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
        }
    }

    fn read(&self, world: &World) -> u64 {
        match self.kind {
            Kind::Integer | Kind::Update => world.integer.load(),
            Kind::Float => world.float.load() as u64,
            Kind::Element => world.array.load(INDEX).expect("inside") as u64,
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
        }
        .to_owned()
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let options = Segment::options().participants(6).objects(3);
        let segment = options.anonymous(8192).map_err(lab)?;
        let array = Array::create(segment.at("array"), INDEX + 2).map_err(lab)?;
        array.store(INDEX, BEFORE as i32).map_err(lab)?;
        Ok(World {
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
        let old = self.add(world);
        let new = self.read(world);
        demand(old == found && new == found + 1, Check::Cycle, || {
            format!("{found}, then {old} before and {new} after one more")
        })?;
        Ok(found - BEFORE)
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
        Ok(found - BEFORE)
    }

    fn after(&self, world: &mut World, answer: u64, before: u64) -> Result<(), Failure> {
        let sum = self.read(world);
        demand(sum == BEFORE + OTHERS + 1, Check::Lost, || format!("the sum is {sum}"))?;
        let wanted = if before == 1 { BEFORE } else { BEFORE + OTHERS };
        demand(answer == wanted, Check::Outcome, || format!("answer {answer}, not {wanted}"))
    }
}
