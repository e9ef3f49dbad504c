//! Semaphores, events, latches, what is done once, and a value that is waited for.

use crate::calls::Calls;
use crate::damage::Field;
use crate::layout::{self, Layout};
use crate::world::Kind;
use mpshm::{
    ErrorKind, Event, Latch, Once, Permit, Segment, Semaphore, SemaphoreOptions, Value, Waitable,
    select, select_all,
};

/// How many permits have owners.
const OWNED: u32 = 5;

pub struct Signals;

pub struct AllSignals {
    counted: Semaphore,
    owned: Semaphore,
    event: Event,
    latch: Latch,
    once: Once,
    level: Value<i64>,
}

fn kind(error: mpshm::Error) -> ErrorKind {
    error.kind()
}

/// Kept for ever.
fn held(permit: Permit<'_>) {
    permit.forget();
}

impl Kind for Signals {
    const NAME: &'static str = "signals";
    type Handle = AllSignals;
    const STATES: usize = 3;

    fn create(segment: &Segment) -> AllSignals {
        let counted = SemaphoreOptions::new(3).bound(7);
        let owned = SemaphoreOptions::new(OWNED).owned();
        AllSignals {
            counted: Semaphore::create(segment.at("counted"), &counted).expect("a semaphore"),
            owned: Semaphore::create(segment.at("owned"), &owned).expect("a semaphore"),
            event: Event::create(segment.at("event")).expect("an event"),
            latch: Latch::create(segment.at("latch"), 1 << 40).expect("a latch"),
            once: Once::create(segment.at("once")).expect("a once"),
            level: Value::create_waitable(segment.at("level"), 3).expect("a value"),
        }
    }

    fn open(segment: &Segment) -> Result<AllSignals, ErrorKind> {
        Ok(AllSignals {
            counted: Semaphore::open(segment.at("counted")).map_err(kind)?,
            owned: Semaphore::open(segment.at("owned")).map_err(kind)?,
            event: Event::open(segment.at("event")).map_err(kind)?,
            latch: Latch::open(segment.at("latch")).map_err(kind)?,
            once: Once::open(segment.at("once")).map_err(kind)?,
            level: Value::open(segment.at("level")).map_err(kind)?,
        })
    }

    /// State 1: a dead one owns permits. 2: so does one that lives, and a run has failed.
    fn prepare(all: &AllSignals, peer: &AllSignals, state: usize) {
        match state {
            0 => drop(all.owned.acquire()),
            2 => {
                held(peer.owned.acquire_many(2).expect("two are free"));
                let failed = all.once.try_call_timeout(std::time::Duration::ZERO, |_| false);
                assert_eq!(failed.map_err(kind), Err(ErrorKind::TaskFailed));
            }
            _ => {}
        }
    }

    fn die(all: &AllSignals) {
        held(all.owned.acquire_many(3).expect("they are free"));
        held(all.counted.acquire().expect("it is free"));
        all.event.set();
        all.latch.count_down(2).expect("so many are left");
    }

    fn fields(_image: &[u8], layout: &Layout) -> Vec<Field> {
        let at = |name: &str| layout.objects[name].start;
        let mut fields = Vec::new();
        for name in ["counted", "owned"] {
            fields.push(Field::new("kind of permits", at(name), 4));
            fields.push(Field::new("sleepers", at(name) + 4, 4));
            fields.push(Field::new("bound", at(name) + 8, 8));
            fields.push(Field::new("free permits", at(name) + 16, 8));
        }
        assert_eq!(layout.lengths["owned"], 64 + 8 * u64::from(OWNED) as usize, "owned: bytes");
        for permit in 0..OWNED as usize {
            fields.push(Field::new("permit", at("owned") + 64 + 8 * permit, 8));
        }
        for name in ["event", "latch"] {
            fields.push(Field::new("count of changes", at(name), 8));
            fields.push(Field::new("sleepers", at(name) + 8, 4));
        }
        fields.push(Field::new("state", at("once"), 8));
        fields.extend(layout::lock(at("once") + 64));
        fields.push(Field::new("value", at("level"), 8));
        fields.push(Field::new("sleepers", at("level") + 16, 4));
        fields
    }

    fn operate(all: &AllSignals, calls: &mut Calls) {
        for semaphore in [&all.counted, &all.owned] {
            calls.info("Semaphore::value", || semaphore.value());
            calls.info("Semaphore::fmt", || format!("{semaphore:?}"));
            calls.call("Semaphore::try_acquire", || semaphore.try_acquire().map(drop));
            calls.call("Semaphore::try_acquire_many", || {
                semaphore.try_acquire_many(semaphore.bound().min(4)).map(drop)
            });
            calls.timed("Semaphore::acquire_timeout", |wait| {
                semaphore.acquire_timeout(wait).map(drop)
            });
            calls.timed("Semaphore::acquire_many_timeout", |wait| {
                semaphore.acquire_many_timeout(2, wait).map(drop)
            });
            calls.call("Semaphore::release", || semaphore.release(1));
        }
        let event = &all.event;
        calls.info("Event::set", || event.set());
        calls.timed("Event::wait_timeout", |wait| event.wait_timeout(wait));
        calls.info("Event::clear", || event.clear());
        calls.info("Event::is_set", || event.is_set());
        calls.timed("Event::wait_timeout", |wait| event.wait_timeout(wait));
        calls.info("Event::fmt", || format!("{event:?}"));
        let latch = &all.latch;
        calls.info("Latch::count", || latch.count());
        calls.call("Latch::count_down", || latch.count_down(1));
        calls.call("Latch::count_down", || latch.count_down(u64::MAX));
        calls.timed("Latch::wait_timeout", |wait| latch.wait_timeout(wait));
        calls.info("Latch::fmt", || format!("{latch:?}"));
        let once = &all.once;
        calls.info("Once::is_done", || once.is_done());
        calls.timed("Once::try_call_timeout", |wait| once.try_call_timeout(wait, |_| false));
        calls.timed("Once::call_timeout", |wait| once.call_timeout(wait, |_| ()));
        calls.info("Once::fmt", || format!("{once:?}"));
        let level = &all.level;
        calls.info("Value::fetch_add", || level.fetch_add(1));
        calls.info("Value::store", || level.store(7));
        calls.timed("Value::wait_until_timeout", |wait| {
            level.wait_until_timeout(wait, |level| level == i64::MIN)
        });
        if let Some(when) = calls.call("Value::when", || level.when(|level| level == i64::MIN)) {
            let items: [&dyn Waitable; 5] = [&all.counted, &all.owned, event, latch, &when];
            calls.timed("select", |wait| select(&items, wait));
            calls.timed("select_all", |wait| select_all(&items, wait));
        }
    }
}
