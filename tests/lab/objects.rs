//! Objects in a segment's directory: made, opened and removed by a process that is killed or stopped on its way.
//!
//! A survivor must find the name absent or its object complete, be able to make and remove it, and get all the space and
//! all the entries back in the end. Whoever makes an object in a trial is a process that is gone, so that nobody has it
//! open but for those who are said to.

use super::lab::view::View;
use super::lab::{Check, Child, Failure, Page, Scenario, demand, in_child};
use super::second::Repairable;
use mpshm::{Array, ErrorKind, Queue, QueueOptions, Segment, Value};
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(2);
/// Objects that the directory has room for.
const ENTRIES: u32 = 4;
/// Bytes of objects that the segment has room for, at least.
const BYTES: u64 = 3000;
/// What the child's object holds, and the one that others make under the same name.
pub const MINE: u64 = 42;
const OTHERS: u64 = 43;
/// What the object beside it holds.
const BESIDE: u64 = 77;

/// The child's answers; else what it read in the object.
const DONE: u64 = u64::MAX;
const EXISTS: u64 = 1;
const NOT_FOUND: u64 = 2;
const LIMIT: u64 = 3;

/// Something that can be made in a directory, and tells who made it.
pub trait Made {
    const NAME: &'static str;
    type Handle;
    fn create(segment: &Segment, holds: u64) -> mpshm::Result<Self::Handle>;
    fn open(segment: &Segment) -> mpshm::Result<Self::Handle>;
    fn open_or_create(segment: &Segment, holds: u64) -> mpshm::Result<Self::Handle>;
    /// What it was made to hold, if it is whole.
    fn read(handle: &Self::Handle) -> Result<u64, Failure>;
}

impl Made for Value<u64> {
    const NAME: &'static str = "Value";
    type Handle = Self;

    fn create(segment: &Segment, holds: u64) -> mpshm::Result<Self> {
        Self::create(segment.at("x"), holds)
    }

    fn open(segment: &Segment) -> mpshm::Result<Self> {
        Self::open(segment.at("x"))
    }

    fn open_or_create(segment: &Segment, holds: u64) -> mpshm::Result<Self> {
        Self::open_or_create(segment.at("x"), holds)
    }

    fn read(handle: &Self) -> Result<u64, Failure> {
        let holds = handle.load();
        let whole = [MINE, OTHERS].contains(&holds);
        demand(whole, Check::Content, || format!("x holds {holds}"))?;
        Ok(holds)
    }
}

/// The capacity tells who made it.
impl Made for Queue<u64> {
    const NAME: &'static str = "Queue";
    type Handle = Self;

    fn create(segment: &Segment, holds: u64) -> mpshm::Result<Self> {
        Self::create(segment.at("x"), &QueueOptions::new(holds - MINE + 4))
    }

    fn open(segment: &Segment) -> mpshm::Result<Self> {
        Self::open(segment.at("x"))
    }

    fn open_or_create(segment: &Segment, holds: u64) -> mpshm::Result<Self> {
        Self::open_or_create(segment.at("x"), &QueueOptions::new(holds - MINE + 4))
    }

    fn read(handle: &Self) -> Result<u64, Failure> {
        let capacity = handle.capacity() as u64;
        let works = handle.try_push(5).is_ok() && handle.try_pop() == Ok(5) && handle.is_empty();
        demand(works && capacity - 4 < 2, Check::Content, || format!("x is {handle:?}"))?;
        Ok(capacity - 4 + MINE)
    }
}

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Create,
    OpenOrCreate,
    Open,
    Remove,
    /// An object without a name: made, and dropped.
    Unnamed,
}

/// What the directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Empty,
    /// Another object.
    PartFull,
    /// Other objects in all entries.
    Full,
    /// Another one, and in all further entries removed ones which nobody has open any more.
    Left,
    /// The object itself, and another.
    There,
    /// The same, and a process has it open.
    InUse,
}

pub struct Directed<M> {
    pub op: Op,
    pub state: State,
    /// Done instead of the operation: see `plants.rs`.
    pub plant: Option<fn(&World) -> u64>,
    pub made: PhantomData<M>,
}

pub struct World {
    pub segment: Segment,
    pub view: View,
    /// Who has the object open, tells what it holds when asked, and then ends.
    user: Option<(Child, UnixStream)>,
}

fn lab(error: &mpshm::Error) -> Failure {
    Failure::new(Check::Lab, error.to_string())
}

fn wrong(call: &str, error: &mpshm::Error) -> Failure {
    Failure::new(Check::Outcome, format!("{call}: {error}"))
}

fn segment() -> Result<Segment, Failure> {
    let options = Segment::options().participants(6).objects(ENTRIES);
    options.anonymous(BYTES).map_err(|error| lab(&error))
}

/// Makes an object that nobody has open when this returns.
fn make(segment: &Segment, name: &str) -> Result<(), Failure> {
    let made = Value::create(segment.at(name), BESIDE);
    made.map(drop).map_err(|error| wrong(name, &error))
}

/// Bytes of the largest array that there is room for in an empty segment.
fn largest() -> usize {
    static KNOWN: OnceLock<usize> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let segment = segment().expect("a segment");
        let fits = |bytes: usize| {
            let made = Array::<u8>::create(segment.at("all"), bytes).is_ok();
            if made {
                segment.remove("all").expect("it is there");
            }
            made
        };
        let all: Vec<usize> = (0..segment.size() as usize).step_by(128).collect();
        all[all.partition_point(|&bytes| bytes == 0 || fits(bytes)) - 1]
    })
}

impl<M: Made> Directed<M> {
    pub fn new(op: Op, state: State) -> Self {
        Self { op, state, plant: None, made: PhantomData }
    }

    fn is_there(&self) -> bool {
        [State::There, State::InUse].contains(&self.state)
    }

    /// Whether the object can come into being.
    fn makes(&self) -> bool {
        [Op::Create, Op::OpenOrCreate].contains(&self.op) && self.state != State::Full
    }

    /// The names of the other objects.
    fn others(&self) -> &'static [&'static str] {
        match self.state {
            State::Full => &["a", "b", "c", "d"],
            State::Empty => &[],
            _ => &["a"],
        }
    }

    /// What the object holds, if it is there: complete then, and listed.
    fn look(segment: &Segment) -> Result<Option<u64>, Failure> {
        let objects = segment.objects().map_err(|error| wrong("objects", &error))?;
        let listed = objects.iter().filter(|object| object.name == "x").count();
        match M::open(segment) {
            Ok(object) => {
                demand(listed == 1, Check::Outcome, || format!("listed {listed} times"))?;
                M::read(&object).map(Some)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                demand(listed == 0, Check::Outcome, || "listed, and not there".to_owned())?;
                Ok(None)
            }
            Err(error) => Err(Failure::new(Check::Content, format!("half made: {error}"))),
        }
    }

    /// The others are what they were.
    fn beside(&self, segment: &Segment) -> Result<(), Failure> {
        for name in self.others() {
            let value =
                Value::<u64>::open(segment.at(name)).map_err(|error| wrong(name, &error))?;
            let holds = value.load();
            demand(holds == BESIDE, Check::Content, || format!("{name} holds {holds}"))?;
        }
        Ok(())
    }

    /// All that is there is removed, and then every entry and all the space can be had.
    fn clear(&self, world: &World, is_there: bool) -> Result<(), Failure> {
        let segment = &world.segment;
        self.beside(segment)?;
        let there = is_there.then_some("x");
        for name in self.others().iter().copied().chain(there) {
            segment.remove(name).map_err(|error| wrong("remove", &error))?;
        }
        if let Some((_, line)) = &world.user {
            // What it has open is nobody else's, whatever was removed.
            let all = Array::<u8>::create(segment.at("all"), largest());
            demand(all.is_err(), Check::Audit, || "space in use was given away".to_owned())?;
            Self::ask(line)?;
        }
        Self::all_is_free(segment)
    }

    /// The user says what the object holds, and ends.
    fn ask(mut line: &UnixStream) -> Result<(), Failure> {
        let trouble = |error| Failure::new(Check::Lab, format!("who uses it: {error}"));
        let mut answer = [0];
        line.set_read_timeout(Some(DEADLINE)).map_err(trouble)?;
        line.write_all(&[1]).map_err(trouble)?;
        line.read_exact(&mut answer).map_err(trouble)?;
        let holds = u64::from(answer[0]);
        demand(holds == MINE, Check::Content, || format!("its user finds {holds} in it"))?;
        // Closed by its death: then it has nothing open any more.
        let ended = line.read(&mut answer).map_err(trouble)?;
        demand(ended == 0, Check::Lab, || "who uses it says too much".to_owned())
    }

    fn all_is_free(segment: &Segment) -> Result<(), Failure> {
        mpshm::recover(segment).map_err(|error| wrong("recover", &error))?;
        let lost = |what: &str, error: &mpshm::Error| {
            Failure::new(Check::Audit, format!("{what} is lost: {error}"))
        };
        let names: Vec<String> = (0..ENTRIES).map(|entry| format!("e{entry}")).collect();
        for name in &names {
            Value::create(segment.at(name), 0_u8).map_err(|error| lost("an entry", &error))?;
        }
        for name in &names {
            segment.remove(name).map_err(|error| wrong("remove", &error))?;
        }
        let all = Array::<u8>::create(segment.at("all"), largest());
        let all = all.map_err(|error| lost("space", &error))?;
        demand(all.iter().all(|byte| byte == 0), Check::Content, || "not zero".to_owned())?;
        drop(all);
        segment.remove("all").map_err(|error| wrong("remove", &error))
    }

    fn user(segment: &Segment) -> (Child, UnixStream) {
        let (mut here, mut there) = UnixStream::pair().expect("a pair of sockets");
        let end = here.try_clone().expect("a copy");
        let child = Child::fork(move || {
            drop(end);
            let object = M::open(segment).expect("it is there");
            there.write_all(&[1]).expect("the lab listens");
            there.read_exact(&mut [0]).expect("somebody asks");
            let holds = M::read(&object).unwrap_or(0);
            i32::from(there.write_all(&[holds as u8]).is_err())
        });
        here.read_exact(&mut [0]).expect("it is open");
        (child, here)
    }
}

fn answer<T>(result: mpshm::Result<T>) -> u64 {
    match result {
        Ok(handle) => {
            std::mem::forget(handle);
            DONE
        }
        Err(error) => match error.kind() {
            ErrorKind::Exists => EXISTS,
            ErrorKind::NotFound => NOT_FOUND,
            ErrorKind::Limit => LIMIT,
            _ => panic!("{error}"),
        },
    }
}

/// What others did while the child was stopped.
const FOUND_IT: u64 = 1;
const MADE_IT: u64 = 2;
const REMOVED_IT: u64 = 4;

impl<M: Made> Scenario for Directed<M> {
    type World = World;

    fn name(&self) -> String {
        let op = match self.op {
            Op::Create => "create",
            Op::OpenOrCreate => "open_or_create",
            Op::Open => "open",
            Op::Remove => "remove",
            Op::Unnamed => "create and drop without a name",
        };
        let state = match self.state {
            State::Empty => "empty",
            State::PartFull => "part full",
            State::Full => "full",
            State::Left => "removed ones",
            State::There => "it is there",
            State::InUse => "in use",
        };
        format!("{op}/{}/{state}", M::NAME)
    }

    fn setup(&self) -> Result<World, Failure> {
        let segment = segment()?;
        largest();
        in_child(&Page::new(), "who makes", DEADLINE, || {
            for name in self.others() {
                make(&segment, name)?;
            }
            if self.is_there() {
                M::create(&segment, MINE).map_err(|error| lab(&error))?;
            }
            if self.state == State::Left {
                let names: Vec<String> = (1..ENTRIES).map(|entry| format!("r{entry}")).collect();
                let open = |name: &String| Value::create(segment.at(name), 0_u8);
                let used: mpshm::Result<Vec<_>> = names.iter().map(open).collect();
                let used = used.map_err(|error| lab(&error))?;
                for name in &names {
                    segment.remove(name).map_err(|error| lab(&error))?;
                }
                std::mem::forget(used); // open until this process ends, and then nobody looks
            }
            Ok(0)
        })?;
        let user = (self.state == State::InUse).then(|| Self::user(&segment));
        let view = View::of(&segment, segment.size() as usize);
        Ok(World { segment, view, user })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    /// Takes part, and changes nothing else where something is to be repaired.
    fn prepare(&self, world: &mut World) {
        if self.state == State::Empty {
            make(&world.segment, "warm").expect("room");
            world.segment.remove("warm").expect("it is there");
        } else {
            make(&world.segment, "a").expect_err("it is there");
        }
    }

    fn operate(&self, world: &mut World) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        let segment = &world.segment;
        match self.op {
            Op::Create => answer(M::create(segment, MINE)),
            Op::OpenOrCreate => answer(M::open_or_create(segment, MINE)),
            Op::Open => answer(M::open(segment)),
            Op::Remove => answer(segment.remove("x")),
            Op::Unnamed => answer(Value::create(segment.unnamed(), MINE).map(drop)),
        }
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        let segment = &world.segment;
        let found = Self::look(segment)?;
        let there = found.is_some();
        if self.makes() && !there {
            // The name is free, and so is the room.
            let made = M::create(segment, OTHERS).map_err(|error| wrong("create", &error))?;
            drop(made);
            let holds = Self::look(segment)?;
            demand(holds == Some(OTHERS), Check::Lost, || format!("made, and then {holds:?}"))?;
        }
        let fits = found.is_none_or(|holds| holds == MINE);
        demand(fits, Check::Content, || format!("x holds {found:?}"))?;
        let may_be_there = self.makes() || self.is_there();
        let may_be_gone = self.op == Op::Remove || !self.is_there();
        demand(if there { may_be_there } else { may_be_gone }, Check::Lost, || {
            format!("x holds {found:?}")
        })?;
        self.clear(world, there || self.makes())?;
        Ok(u64::from(there != (self.op == Op::Remove)))
    }

    fn stages(&self) -> Vec<u64> {
        match self.op {
            Op::Create | Op::OpenOrCreate if self.is_there() => vec![1],
            Op::Create | Op::OpenOrCreate if self.state != State::Full => vec![0, 1],
            Op::Remove if self.is_there() => vec![0, 1],
            Op::Open if self.is_there() => vec![1],
            Op::Remove => vec![1],
            _ => vec![0],
        }
    }

    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        let segment = &world.segment;
        let blocked = |error: mpshm::Error| Failure::new(Check::Blocked, error.to_string());
        if self.state == State::Full {
            let made = Value::create(segment.at("y"), 1_u8);
            let full = made.is_err_and(|error| error.kind() == ErrorKind::Limit);
            demand(full, Check::Outcome, || "an entry too many".to_owned())?;
        } else {
            drop(Value::create(segment.at("y"), 1_u8).map_err(blocked)?);
            segment.remove("y").map_err(blocked)?;
        }
        self.beside(segment)?;
        let found = Self::look(segment)?;
        let makes = |segment: &Segment| M::create(segment, OTHERS).map(drop).map_err(blocked);
        match (self.op, found) {
            (Op::Create | Op::OpenOrCreate, Some(_)) => Ok(FOUND_IT),
            (Op::Create | Op::OpenOrCreate, None) if self.state == State::Full => Ok(0),
            (Op::Create | Op::OpenOrCreate, None) => makes(segment).map(|()| MADE_IT),
            (Op::Remove, Some(_)) => {
                segment.remove("x").map_err(blocked)?;
                Ok(REMOVED_IT)
            }
            // Another one of that name, which the child must not touch.
            (Op::Remove, None) if self.is_there() => makes(segment).map(|()| MADE_IT),
            (Op::Open, Some(_)) => {
                segment.remove("x").map_err(blocked)?;
                makes(segment).map(|()| REMOVED_IT | MADE_IT)
            }
            (Op::Unnamed, Some(_)) => unreachable!("it has no name"),
            (Op::Remove | Op::Open | Op::Unnamed, None) => Ok(0),
        }
    }

    fn after(&self, world: &mut World, answer: u64, others: u64) -> Result<(), Failure> {
        let wanted = match (self.op, others) {
            (Op::Create, MADE_IT) => EXISTS,
            (Op::Create, FOUND_IT) if self.is_there() => EXISTS,
            (Op::Create | Op::OpenOrCreate, 0) => LIMIT,
            (Op::Unnamed, 0) if self.state == State::Full => LIMIT,
            (Op::Remove, REMOVED_IT | 0) | (Op::Open, 0) => NOT_FOUND,
            _ => DONE,
        };
        demand(answer == wanted, Check::Outcome, || {
            format!("answer {answer}, not {wanted}: others did {others}")
        })?;
        let found = Self::look(&world.segment)?;
        let wanted = match others {
            FOUND_IT => Some(MINE),
            0 | REMOVED_IT => None,
            _ => Some(OTHERS),
        };
        demand(found == wanted, Check::Lost, || format!("x holds {found:?}, not {wanted:?}"))?;
        self.clear(world, found.is_some())
    }
}

impl<M: Made> Repairable for Directed<M> {
    /// Nothing: whoever looks at a directory repairs a bit of it.
    fn join(&self, _: &mut World) {}

    fn repair(&self, world: &mut World) {
        mpshm::recover(&world.segment).expect("a sound directory");
    }

    fn finish(&self, world: &mut World) -> Result<(), Failure> {
        Self::all_is_free(&world.segment)
    }

    /// All but the objects' own bytes.
    fn marks(&self, world: &World) -> (*const u8, usize) {
        let (start, length) = world.view.memory();
        (start, length - largest().next_multiple_of(128))
    }
}
