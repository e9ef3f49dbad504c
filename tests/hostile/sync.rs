//! Read-write locks, condition variables, barriers.

use crate::calls::Calls;
use crate::damage::Field;
use crate::layout::{self, Layout};
use crate::world::Kind;
use mpshm::{
    Barrier, BarrierError, BarrierOptions, Condvar, CondvarOptions, Error, ErrorKind, LockError,
    Mutex, RwLock, Segment,
};

const LINE: usize = 128;
const PARTIES: usize = 3;
const WAITERS: usize = 4;

pub struct Others;

pub struct All {
    readers: RwLock<[u64; 3]>,
    barrier: Barrier,
    changed: Condvar,
    lock: Mutex<u64>,
}

fn kind(error: Error) -> ErrorKind {
    error.kind()
}

/// What is held is read and given back.
fn read(all: &All, wait: Option<std::time::Duration>) -> Result<(), ErrorKind> {
    let got = match wait {
        Some(wait) => all.readers.read_timeout(wait),
        None => all.readers.try_read(),
    };
    match got {
        Ok(guard) | Err(LockError::OwnerDead(guard)) => {
            std::hint::black_box(guard.get());
            Ok(())
        }
        Err(error) => Err(error.kind()),
    }
}

fn write(all: &All, wait: Option<std::time::Duration>) -> Result<(), ErrorKind> {
    let got = match wait {
        Some(wait) => all.readers.write_timeout(wait),
        None => all.readers.try_write(),
    };
    match got {
        Ok(mut guard) => guard.set(guard.get()),
        Err(LockError::OwnerDead(mut guard)) => guard.mark_consistent(),
        Err(error) => return Err(error.kind()),
    }
    Ok(())
}

fn passed<T>(waited: Result<T, BarrierError>) -> Result<(), ErrorKind> {
    waited.map(drop).map_err(|error| error.kind())
}

impl Kind for Others {
    const NAME: &'static str = "sync";
    type Handle = All;
    /// 0: never used. 1: who wrote is dead, the barrier is broken. 2: a peer reads, and goes on.
    const STATES: usize = 3;

    fn create(segment: &Segment) -> All {
        let two = BarrierOptions::new(PARTIES as u32);
        let few = CondvarOptions::new().waiters(WAITERS as u32);
        All {
            readers: RwLock::create(segment.at("readers"), [4; 3]).expect("a lock"),
            barrier: Barrier::create(segment.at("barrier"), &two).expect("a barrier"),
            changed: Condvar::create(segment.at("changed"), &few).expect("a condition"),
            lock: Mutex::create(segment.at("lock"), 0).expect("a mutex"),
        }
    }

    fn open(segment: &Segment) -> Result<All, ErrorKind> {
        Ok(All {
            readers: RwLock::open(segment.at("readers")).map_err(kind)?,
            barrier: Barrier::open(segment.at("barrier")).map_err(kind)?,
            changed: Condvar::open(segment.at("changed")).map_err(kind)?,
            lock: Mutex::open(segment.at("lock")).map_err(kind)?,
        })
    }

    fn prepare(all: &All, peer: &All, state: usize) {
        match state {
            0 => {
                drop(all.readers.read());
                drop(all.lock.lock());
            }
            1 => all.barrier.abort(),
            _ => {
                all.barrier.reset();
                write(all, None).expect("the dead one's lock");
                std::mem::forget(peer.readers.read());
            }
        }
    }

    fn die(all: &All) {
        std::mem::forget(all.readers.write());
    }

    fn fields(_image: &[u8], layout: &Layout) -> Vec<Field> {
        let mut fields = Vec::new();
        let at = layout.objects["readers"].start;
        let lines = (layout.lengths["readers"] - 24) / LINE;
        fields.extend(layout::lock(at));
        fields.push(Field::new("rwlock.event", at + 32, 4));
        fields.push(Field::new("rwlock.used", at + 36, 4));
        fields.extend((1..lines).map(|line| Field::new("rwlock.line", at + line * LINE, 8)));
        let at = layout.objects["barrier"].start;
        let state = Field::new("barrier.state", at, 8);
        fields.extend([
            state,
            state.part("barrier.cycle", 0, 32),
            state.part("barrier.arrived", 32, 14),
            Field::new("barrier.event", at + 8, 4),
            Field::new("barrier.parties", at + 12, 4),
            Field::new("barrier.timeout", at + 16, 8),
        ]);
        fields.extend((0..16).map(|entry| Field::new("barrier.breaks", at + 24 + 8 * entry, 8)));
        let marks = at + layout.lengths["barrier"] - 8 * PARTIES;
        fields.extend((0..PARTIES).map(|mark| Field::new("barrier.mark", marks + 8 * mark, 8)));
        let at = layout.objects["changed"].start;
        fields.extend([
            Field::new("condvar.lock", at, 8),
            Field::new("condvar.tickets", at + 8, 8),
            Field::new("condvar.used", at + 16, 4),
            Field::new("condvar.count", at + 20, 4),
        ]);
        let words = at + layout.lengths["changed"] - 16 * WAITERS;
        for waiter in 0..WAITERS {
            fields.push(Field::new("condvar.word", words + 16 * waiter, 8));
            fields.push(Field::new("condvar.ticket", words + 16 * waiter + 8, 8));
        }
        fields
    }

    fn operate(all: &All, calls: &mut Calls) {
        calls.call("RwLock::try_read", || read(all, None));
        calls.timed("RwLock::read_timeout", |wait| read(all, Some(wait)));
        calls.call("RwLock::try_write", || write(all, None));
        calls.timed("RwLock::write_timeout", |wait| write(all, Some(wait)));
        if let Ok(guard) = calls.info("RwLock::try_read", || all.readers.try_read()) {
            // This thread has it already.
            calls.call("RwLock::try_read", || read(all, None));
            calls.call("RwLock::try_write", || write(all, None));
            calls.info("ReadGuard::drop", || drop(guard));
        }
        let barrier = &all.barrier;
        calls.timed("Barrier::wait_timeout", |wait| passed(barrier.wait_timeout(wait)));
        calls.info("Barrier::fmt", || format!("{barrier:?}"));
        calls.info("Barrier::abort", || barrier.abort());
        calls.timed("Barrier::wait_timeout", |wait| passed(barrier.wait_timeout(wait)));
        calls.info("Barrier::reset", || barrier.reset());
        calls.timed("Barrier::wait_timeout", |wait| passed(barrier.wait_timeout(wait)));
        // The lock is sound, for who waits comes back with it, whenever that is to be had.
        if let Ok(mut guard) = calls.info("Mutex::try_lock", || all.lock.try_lock()) {
            calls.timed("Condvar::wait_timeout", |wait| {
                all.changed.wait_timeout(&mut guard, wait).map_err(|error| error.kind())
            });
            calls.call("Condvar::notify", || all.changed.notify(&guard, 1));
            calls.call("Condvar::notify_all", || all.changed.notify_all(&guard));
        }
        calls.info("Condvar::fmt", || format!("{:?}", all.changed));
    }
}
