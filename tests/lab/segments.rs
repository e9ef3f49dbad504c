//! Segments: attached to, used by and given up by a process that is killed or stopped on its way; and made and removed
//! under a name.

use super::forms::{Form, Slots, Wait, broken, maybe};
use super::lab::residue::{names, own_prefix};
use super::lab::view::View;
use super::lab::{Check, Failure, Page, Scenario, demand, in_child};
use super::model::{CAPACITY, DONE, NOTHING};
use mpshm::{ErrorKind, Queue, QueueOptions, Segment};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(2);

/// A name in `/dev/shm` that nobody else has, removed with this.
pub struct Name {
    name: String,
    maker: u32,
}

impl Name {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(10_000_000);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("{}{count}", own_prefix()), maker: std::process::id() }
    }

    /// What there is in `/dev/shm` of that name, or with it inside.
    fn there(&self) -> Result<bool, Failure> {
        let found: Vec<String> = names(&self.name).into_iter().collect();
        let fine = found.is_empty() || found == [format!("mpshm.{}", self.name)];
        demand(fine, Check::Residue, || format!("there is {found:?}"))?;
        Ok(!found.is_empty())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.maker == std::process::id() {
            for name in names(&self.name) {
                let _ = std::fs::remove_file(format!("/dev/shm/{name}"));
            }
        }
    }
}

/// What the child does with a segment that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Attach,
    AttachByDescriptor,
    /// Opens the queue in a segment that it has attached to.
    Open,
    /// Makes an object: it takes part from then on.
    FirstUse,
    /// Drops the last handle of a segment in which it takes part.
    Detach,
}

/// One of these on a segment with room for two participants and a queue with two items.
pub struct Attached(pub Op);

pub struct World {
    name: Name,
    segment: Segment,
    view: View,
    /// In the child: what it has when the operation begins.
    fd: Option<OwnedFd>,
    own: Option<(Segment, Queue<u64>)>,
}

/// What is in the queue, and what others leave in it.
const ITEMS: [u64; 2] = [1, 2];
const LEFT: u64 = 220;

fn lab(error: &mpshm::Error) -> Failure {
    Failure::new(Check::Lab, error.to_string())
}

pub fn options() -> QueueOptions {
    QueueOptions::new(CAPACITY as u64)
}

/// A queue that needs so much room that there is none for another one.
fn roomy() -> QueueOptions {
    QueueOptions::new(1000)
}

impl World {
    fn attached(&self) -> (Segment, Queue<u64>) {
        let fd = self.segment.as_fd().try_clone_to_owned().expect("a descriptor");
        let segment = Segment::attach_fd(fd).expect("a sound segment");
        let queue = Slots::open(&segment).expect("a sound queue");
        (segment, queue)
    }

    /// Whoever comes can attach and take part, so often as there is room.
    fn is_usable(&self, items: &[u64]) -> Result<(), Failure> {
        let (segment, queue) = self.attached();
        let mut got = Vec::new();
        while let Some((number, _)) = maybe(Slots::take(&queue, Wait::No))? {
            got.push(number);
        }
        demand(got == items, Check::Lost, || format!("{got:?}, not {items:?}"))?;
        let joins = |segment: &Segment| {
            let made = mpshm::Value::create(segment.at("spare"), 0_u8);
            made.map(drop).and_then(|()| segment.remove("spare"))
        };
        let taken = |error: mpshm::Error| Failure::new(Check::Audit, format!("a slot: {error}"));
        joins(&segment).map_err(taken)?;
        // While this one takes part, another one does.
        in_child(&Page::new(), "who joins too", DEADLINE, || {
            joins(&self.segment).map_err(taken).map(|()| 0)
        })?;
        drop((segment, queue));
        Ok(())
    }

    /// At the end: nobody has the queue open, so that its room can be had.
    fn is_free(&self) -> Result<(), Failure> {
        let lost = |error: mpshm::Error| Failure::new(Check::Audit, format!("space: {error}"));
        self.segment.remove("queue").map_err(lost)?;
        mpshm::recover(&self.segment).map_err(lost)?;
        drop(Slots::create(&self.segment, &roomy()).map_err(lost)?);
        Ok(())
    }
}

impl Scenario for Attached {
    type World = World;

    fn name(&self) -> String {
        match self.0 {
            Op::Attach => "attach/segment/by name",
            Op::AttachByDescriptor => "attach/segment/by descriptor",
            Op::Open => "open/segment/its queue",
            Op::FirstUse => "create/segment/first use",
            Op::Detach => "detach/segment/part taken",
        }
        .to_owned()
    }

    fn setup(&self) -> Result<World, Failure> {
        let name = Name::new();
        let size = Slots::size(&roomy()).map_err(|error| lab(&error))? + 256;
        let segment = Segment::options().participants(2).objects(2);
        let segment = segment.create(&name.name, size).map_err(|error| lab(&error))?;
        let view = View::of(&segment, segment.size() as usize);
        in_child(&Page::new(), "who fills", DEADLINE, || {
            let queue = Slots::create(&segment, &roomy()).map_err(|error| lab(&error))?;
            for number in ITEMS {
                maybe(Slots::push(&queue, number, Wait::No))?;
            }
            Ok(0)
        })?;
        Ok(World { name, segment, view, fd: None, own: None })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World) {
        match self.0 {
            Op::Attach => {}
            Op::AttachByDescriptor => {
                world.fd = Some(world.segment.as_fd().try_clone_to_owned().expect("a descriptor"));
            }
            Op::Open | Op::FirstUse => world.own = Some(world.attached()),
            Op::Detach => {
                let own = world.attached();
                let made = mpshm::Value::create(own.0.at("spare"), 0_u8);
                made.map(drop).and_then(|()| own.0.remove("spare")).expect("room");
                world.own = Some(own);
            }
        }
    }

    fn operate(&self, world: &mut World) -> u64 {
        match self.0 {
            Op::Attach => {
                world.own = None;
                std::mem::forget(Segment::attach(&world.name.name).expect("it is there"));
            }
            Op::AttachByDescriptor => {
                let fd = world.fd.take().expect("a descriptor");
                std::mem::forget(Segment::attach_fd(fd).expect("a sound segment"));
            }
            Op::Open => {
                let (segment, _) = world.own.as_ref().expect("attached");
                std::mem::forget(Slots::open(segment).expect("a sound queue"));
            }
            Op::FirstUse => {
                let (segment, _) = world.own.as_ref().expect("attached");
                let value = mpshm::Value::create(segment.at("spare"), 0_u8).expect("room");
                std::mem::forget(value);
            }
            Op::Detach => drop(world.own.take()),
        }
        DONE
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        self.spare_is_free(world)?;
        world.is_usable(&ITEMS)?;
        world.is_free()?;
        Ok(0)
    }

    fn stages(&self) -> Vec<u64> {
        vec![0]
    }

    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        let (_segment, queue) = world.attached();
        let blocked = |why: &str| Failure::new(Check::Blocked, why);
        for number in ITEMS {
            let got = maybe(Slots::take(&queue, Wait::No))?;
            demand(got == Some((number, false)), Check::Lost, || format!("{got:?}"))?;
        }
        maybe(Slots::push(&queue, LEFT, Wait::No))?.ok_or_else(|| blocked("no room"))?;
        drop(world.segment.objects().map_err(|error| broken(&error))?);
        mpshm::recover(&world.segment).map_err(|error| broken(&error))?;
        Ok(NOTHING)
    }

    fn after(&self, world: &mut World, answer: u64, _: u64) -> Result<(), Failure> {
        demand(answer == DONE, Check::Outcome, || format!("answer {answer}"))?;
        self.spare_is_free(world)?;
        world.is_usable(&[LEFT])?;
        world.is_free()
    }
}

impl Attached {
    /// What the child made, if it did, is there and can be removed.
    fn spare_is_free(&self, world: &World) -> Result<(), Failure> {
        match world.segment.remove("spare") {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(broken(&error)),
            _ => Ok(()),
        }
    }
}

/// What the child does with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedOp {
    /// A queue in a segment of its own.
    Create,
    OpenOrCreate,
    /// A segment with room for several objects.
    CreateSegment,
    Unlink,
}

pub struct Named {
    pub op: NamedOp,
    pub is_there: bool,
    /// Done instead of the operation: see `plants.rs`.
    pub plant: Option<fn(&str) -> u64>,
}

pub struct NamedWorld {
    name: Name,
    page: Page,
}

const EXISTS: u64 = 1;
const NOT_FOUND: u64 = 2;
/// What others did while the child was stopped.
const FOUND_IT: u64 = 1;
const MADE_IT: u64 = 2;
const REMOVED_IT: u64 = 4;

impl Named {
    pub fn new(op: NamedOp, is_there: bool) -> Self {
        Self { op, is_there, plant: None }
    }

    fn make(&self, name: &str) -> mpshm::Result<()> {
        match self.op {
            NamedOp::CreateSegment => Segment::create(name, 4096).map(std::mem::forget),
            NamedOp::OpenOrCreate => {
                Queue::<u64>::open_or_create(name, &options()).map(std::mem::forget)
            }
            _ => Queue::<u64>::create(name, &options()).map(std::mem::forget),
        }
    }

    /// What has the name is complete.
    fn works(&self, name: &str) -> Result<(), Failure> {
        let half_made = |error: mpshm::Error| Failure::new(Check::Content, error.to_string());
        if self.op == NamedOp::CreateSegment {
            let segment = Segment::attach(name).map_err(half_made)?;
            let objects = segment.objects().map_err(half_made)?;
            demand(objects.is_empty(), Check::Content, || format!("{objects:?}"))?;
            drop(mpshm::Value::create(segment.at("x"), 1_u64).map_err(half_made)?);
            return segment.remove("x").map_err(half_made);
        }
        let queue = Queue::<u64>::open(name).map_err(half_made)?;
        let works = queue.capacity() == CAPACITY
            && (0..CAPACITY as u64).all(|number| queue.try_push(number).is_ok())
            && queue.is_full()
            && (0..CAPACITY as u64).all(|number| queue.try_pop() == Ok(number));
        demand(works, Check::Cycle, || format!("{queue:?}"))
    }

    fn remove(name: &Name) -> Result<(), Failure> {
        Segment::unlink(&name.name).map_err(|error| broken(&error))?;
        demand(!name.there()?, Check::Residue, || "unlinked, and there".to_owned())
    }
}

impl Scenario for Named {
    type World = NamedWorld;

    fn name(&self) -> String {
        let op = match self.op {
            NamedOp::Create => "create",
            NamedOp::OpenOrCreate => "open_or_create",
            NamedOp::CreateSegment => "create segment",
            NamedOp::Unlink => "unlink",
        };
        format!("{op}/named/{}", if self.is_there { "it is there" } else { "the name is free" })
    }

    fn setup(&self) -> Result<NamedWorld, Failure> {
        let name = Name::new();
        if self.is_there {
            in_child(&Page::new(), "who makes", DEADLINE, || {
                self.make(&name.name).map_err(|error| lab(&error)).map(|()| 0)
            })?;
        }
        Ok(NamedWorld { name, page: Page::new() })
    }

    /// Nothing is shared before the name is there, and then it is complete.
    fn memory(&self, world: &NamedWorld) -> (*const u8, usize) {
        world.page.memory()
    }

    fn operate(&self, world: &mut NamedWorld) -> u64 {
        let name = &world.name.name;
        if let Some(plant) = self.plant {
            return plant(name);
        }
        let done = match self.op {
            NamedOp::Unlink => Segment::unlink(name),
            _ => self.make(name),
        };
        match done.map_err(|error| error.kind()) {
            Ok(()) => DONE,
            Err(ErrorKind::Exists) => EXISTS,
            Err(ErrorKind::NotFound) => NOT_FOUND,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn survive(&self, world: &mut NamedWorld) -> Result<u64, Failure> {
        let name = &world.name;
        let there = name.there()?;
        if !there {
            self.make(&name.name).map_err(|error| broken(&error))?;
            demand(name.there()?, Check::Lost, || "made, and not there".to_owned())?;
        }
        self.works(&name.name)?;
        Self::remove(name)?;
        Ok(u64::from(there != (self.op == NamedOp::Unlink)))
    }

    fn stages(&self) -> Vec<u64> {
        match (self.op, self.is_there) {
            (NamedOp::Unlink, false) => vec![1],
            (NamedOp::Unlink, true) | (_, false) => vec![0, 1],
            (_, true) => vec![1],
        }
    }

    fn meanwhile(&self, world: &mut NamedWorld) -> Result<u64, Failure> {
        let name = &world.name;
        let there = name.there()?;
        if there {
            self.works(&name.name)?;
        }
        if there && self.op == NamedOp::Unlink {
            Self::remove(name)?;
            return Ok(REMOVED_IT);
        }
        if there {
            return Ok(FOUND_IT);
        }
        self.make(&name.name)
            .map_err(|error| Failure::new(Check::Blocked, error.to_string()))
            .map(|()| MADE_IT)
    }

    fn after(&self, world: &mut NamedWorld, answer: u64, others: u64) -> Result<(), Failure> {
        let name = &world.name;
        let there = name.there()?;
        let wanted = match (self.op, others) {
            (NamedOp::Unlink, REMOVED_IT) => (NOT_FOUND, false),
            (NamedOp::Unlink, _) if !self.is_there => (DONE, false), // others' was there for it
            (NamedOp::Unlink, _) => (DONE, true),
            (NamedOp::OpenOrCreate, _) => (DONE, true),
            (_, FOUND_IT) if !self.is_there => (DONE, true),
            _ => (EXISTS, true),
        };
        // Whether it looked for the name before others made it.
        let early = (NOT_FOUND, true);
        let may_be_early = self.op == NamedOp::Unlink && !self.is_there;
        let fine = (answer, there) == wanted || may_be_early && (answer, there) == early;
        demand(fine, Check::Outcome, || {
            format!("answer {answer}, there {there}: others did {others}, wanted {wanted:?}")
        })?;
        if there {
            self.works(&name.name)?;
            Self::remove(name)?;
        }
        Ok(())
    }
}
