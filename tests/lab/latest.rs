//! Latest values: what stands there is whole, and the newest, whoever dies or stops while it writes or reads; and
//! nobody else lacks a buffer or a pin for it.

use super::lab::view::View;
use super::lab::{Check, Child, Failure, Page, Scenario, demand};
use super::second::Repairable;
use mpshm::{Latest, LatestClaim, LatestOptions, LatestReader, LatestWrite, Segment};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A value is whole when its words are the same.
pub type Data = [u64; 32];
/// What stands there at first, what the child stores, and what others do.
const BEFORE: u64 = 5;
const NEW: u64 = 6;
/// More than there are buffers.
const OTHERS: [u64; 6] = [20, 21, 22, 23, 24, 25];
const READERS: u32 = 2;
const WRITERS: u32 = 2;
const DEADLINE: Duration = Duration::from_secs(2);

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Stores a value.
    Store,
    /// Takes a buffer, and keeps it.
    Reserve,
    /// Makes what it had reserved the newest.
    Commit,
    /// Gives up what it had reserved.
    Abort,
    /// Takes a pin, and keeps it.
    Reader,
    /// Copies the newest value with a pin that it had.
    Load,
    /// Holds the newest value, and goes on holding it.
    Claim,
    /// Lets go of what it held.
    Release,
    /// Waits for another value.
    Wait,
}

/// Who else has been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    Nobody,
    /// Dead ones had taken every pin and every buffer that was to be had.
    Dead,
}

/// One operation on a value.
pub struct Newest {
    pub op: Op,
    pub others: Others,
    /// Done instead of the operation.
    pub plant: Option<fn(&mut World) -> u64>,
}

pub struct World {
    pub latest: Latest<Data>,
    spare: Latest<Data>,
    view: View,
    write: Option<LatestWrite<'static, Data>>,
    pub reader: Option<LatestReader<Data>>,
    claim: Option<LatestClaim<'static, Data>>,
}

/// The number that a whole value consists of.
pub fn number(data: &Data) -> Result<u64, Failure> {
    let whole = data.iter().all(|&one| one == data[0]);
    demand(whole, Check::Content, || format!("a torn value: {data:?}"))?;
    Ok(data[0])
}

fn said<T>(check: Check, result: mpshm::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| Failure::new(check, error.to_string()))
}

/// What stands there.
fn read(latest: &Latest<Data>) -> Result<u64, Failure> {
    number(&said(Check::Blocked, latest.load())?)
}

/// Stores, without waiting for anybody.
fn store(latest: &Latest<Data>, value: u64) -> Result<u64, Failure> {
    let mut write = said(Check::Blocked, latest.reserve_timeout(Duration::ZERO))?;
    write.set(&[value; 32]);
    said(Check::Outcome, write.commit())
}

/// The end of every trial: every pin and every buffer can be had, and values come and go.
fn finish(latest: &Latest<Data>) -> Result<(), Failure> {
    for round in 30..40 {
        store(latest, round)?;
        let found = read(latest)?;
        demand(found == round, Check::Lost, || format!("{found}, not {round}"))?;
    }
    let mut readers = Vec::new();
    for round in 0..READERS as usize {
        store(latest, round as u64)?;
        readers.push(said(Check::Audit, latest.reader())?);
    }
    let mut claims = Vec::new();
    for (round, reader) in readers.iter_mut().enumerate() {
        store(latest, 50 + round as u64)?;
        claims.push(said(Check::Audit, reader.claim())?);
    }
    store(latest, 60)?;
    let writes: Vec<_> = (0..WRITERS).map(|_| latest.reserve_timeout(DEADLINE)).collect();
    for write in writes {
        said(Check::Audit, write)?.set(&[70; 32]);
    }
    for (round, claim) in claims.iter().enumerate() {
        let found = number(&claim.get())?;
        demand(found == 50 + round as u64, Check::Content, || format!("{found} in round {round}"))?;
    }
    Ok(())
}

impl Newest {
    pub fn new(op: Op, others: Others) -> Self {
        Self { op, others, plant: None }
    }

    pub fn planted(op: Op, plant: fn(&mut World) -> u64) -> Self {
        Self { op, others: Others::Nobody, plant: Some(plant) }
    }

    fn stores(&self) -> bool {
        matches!(self.op, Op::Store | Op::Commit)
    }
}

/// Takes every pin and every buffer, and dies with them.
fn hoard(latest: &Latest<Data>) {
    let ready = Page::new();
    let hoarder = Child::fork(|| {
        for _ in 0..READERS {
            let mut reader = latest.reader().expect("a pin");
            std::mem::forget(reader.claim().expect("a value"));
            std::mem::forget(reader);
            // The next one holds another value.
            let mut write = latest.reserve().expect("a buffer");
            write.set(&[BEFORE; 32]);
            write.commit().expect("its own");
        }
        while let Ok(write) = latest.reserve_timeout(Duration::ZERO) {
            std::mem::forget(write);
        }
        ready.words()[0].store(1, Ordering::Release);
        loop {
            // SAFETY: sleeps until it is killed.
            unsafe { libc::pause() };
        }
    });
    while ready.words()[0].load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    drop(hoarder); // killed
}

/// The world's own borrow, for the life of the child, which never drops it.
fn for_ever<T>(borrowed: &mut T) -> &'static mut T {
    // SAFETY: the child ends without dropping its world.
    unsafe { &mut *std::ptr::from_mut(borrowed) }
}

impl Scenario for Newest {
    type World = World;

    fn name(&self) -> String {
        let op = match self.op {
            Op::Store => "store",
            Op::Reserve => "reserve",
            Op::Commit => "commit",
            Op::Abort => "abort",
            Op::Reader => "reader",
            Op::Load => "load",
            Op::Claim => "claim",
            Op::Release => "release",
            Op::Wait => "wait_newer",
        };
        let others = if self.others == Others::Dead { "dead ones have it all" } else { "idle" };
        format!("{op}/latest/{others}")
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let sizes = LatestOptions::new().readers(READERS).writers(WRITERS);
        let size = Latest::<Data>::size_for(&sizes).map_err(lab)?;
        let options = Segment::options().participants(6).objects(2);
        let segment = options.anonymous(3 * size).map_err(lab)?;
        let make = |name| Latest::create_with(segment.at(name), &sizes, &[BEFORE; 32]);
        let latest = make("latest").map_err(lab)?;
        if self.others == Others::Dead {
            hoard(&latest);
        }
        Ok(World {
            latest,
            spare: make("spare").map_err(lab)?,
            view: View::of(&segment, segment.size() as usize),
            write: None,
            reader: None,
            claim: None,
        })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World) {
        world.spare.store(&[1; 32]).expect("nobody else's");
        world.spare.load().expect("nobody else's");
        match self.op {
            Op::Commit | Op::Abort => {
                let mut write = for_ever(&mut world.latest).reserve().expect("a buffer");
                write.set(&[NEW; 32]);
                world.write = Some(write);
            }
            Op::Load | Op::Claim | Op::Release => {
                world.reader = Some(world.latest.reader().expect("a pin"));
            }
            _ => {}
        }
        if self.op == Op::Release {
            let reader = for_ever(world.reader.as_mut().expect("just made"));
            world.claim = Some(reader.claim().expect("a value"));
        }
    }

    fn operate(&self, world: &mut World) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        match self.op {
            Op::Store => world.latest.store(&[NEW; 32]).expect("a buffer"),
            Op::Reserve => {
                world.write = Some(for_ever(&mut world.latest).reserve().expect("a buffer"));
                1
            }
            Op::Commit => world.write.take().expect("reserved").commit().expect("its own"),
            Op::Abort => {
                world.write = None;
                1
            }
            Op::Reader => {
                world.reader = Some(world.latest.reader().expect("a pin"));
                1
            }
            Op::Load => world.reader.as_mut().expect("its own").load().expect("a value")[0],
            Op::Claim => {
                let reader = for_ever(world.reader.as_mut().expect("its own"));
                world.claim = Some(reader.claim().expect("a value"));
                1
            }
            Op::Release => {
                world.claim = None;
                1
            }
            Op::Wait => world.latest.wait_newer(1, DEADLINE).expect("another value"),
        }
    }

    /// What it holds is whole, though others have stored meanwhile; what it has taken is its own.
    fn conclude(&self, world: &mut World, answer: u64) -> Result<u64, Failure> {
        if let Some(write) = &mut world.write {
            write.set(&[NEW; 32]);
        }
        match (&world.claim, &mut world.reader) {
            (Some(claim), _) => number(&claim.get()),
            (None, Some(reader)) if self.op == Op::Reader => {
                number(&said(Check::Outcome, reader.load())?)
            }
            _ => Ok(answer),
        }
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        let latest = &world.latest;
        let found = read(latest)?;
        let stage = u64::from(found == NEW);
        let known = found == BEFORE || found == NEW && self.stores();
        demand(known, Check::Content, || format!("{found}"))?;
        finish(latest)?;
        Ok(stage)
    }

    fn stages(&self) -> Vec<u64> {
        if self.stores() { vec![0, 1] } else { vec![0] }
    }

    /// Answers with the version after everything.
    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        let latest = &world.latest;
        let found = read(latest)?;
        let known = found == BEFORE || found == NEW && self.stores();
        demand(known, Check::Content, || format!("{found}"))?;
        for value in OTHERS {
            store(latest, value)?;
            let found = read(latest)?;
            demand(found == value, Check::Blocked, || format!("{found}, not {value}"))?;
        }
        Ok(latest.version())
    }

    fn after(&self, world: &mut World, answer: u64, version: u64) -> Result<(), Failure> {
        let latest = &world.latest;
        let found = read(latest)?;
        let last = OTHERS[OTHERS.len() - 1];
        let (newest, now) = (latest.version(), found);
        match self.op {
            // Its value came before all of the others', or after.
            Op::Store | Op::Commit if newest == version => {
                demand(
                    now == last && answer + OTHERS.len() as u64 <= version,
                    Check::Lost,
                    || format!("{now} at version {newest}; it said {answer}"),
                )?;
            }
            Op::Store | Op::Commit => {
                demand(
                    now == NEW && newest == version + 1 && answer == newest,
                    Check::Lost,
                    || format!("{now} at version {newest}, not {version}; it said {answer}"),
                )?;
            }
            _ => demand(now == last && newest == version, Check::Content, || {
                format!("{now} at version {newest}, not {version}")
            })?,
        }
        match self.op {
            Op::Load | Op::Claim | Op::Reader => {
                let known = answer == BEFORE || OTHERS.contains(&answer);
                demand(known, Check::Content, || format!("it read {answer}"))?;
            }
            Op::Wait => demand(answer > 1, Check::Outcome, || format!("it said {answer}"))?,
            _ => {}
        }
        finish(latest)
    }
}

impl Repairable for Newest {
    fn join(&self, world: &mut World) {
        world.spare.store(&[1; 32]).expect("nobody else's");
    }

    fn repair(&self, world: &mut World) {
        mpshm::recover(world.latest.segment()).expect("a sound value");
    }

    fn finish(&self, world: &mut World) -> Result<(), Failure> {
        finish(&world.latest)
    }
}
