//! Values, arrays and mutexes, each of several types.

use crate::calls::Calls;
use crate::damage::Field;
use crate::layout::{self, Layout};
use crate::world::Kind;
use mpshm::{
    Array, ErrorKind, LockError, LockedArray, LockedValue, Mutex, MutexGuard, Segment, Value,
};

/// Every guard: its data are read and written, and what its dead owner left is said to be sound.
pub trait Guard {
    fn touch(&mut self);
    fn swear(&mut self);
}

impl<T: mpshm::Pod> Guard for MutexGuard<'_, T> {
    fn touch(&mut self) {
        let value = self.get();
        self.set(value);
    }

    fn swear(&mut self) {
        self.mark_consistent();
    }
}

macro_rules! guards {
    ($($type:ty),*) => {$(
        impl Guard for LockedValue<'_, $type> {
            fn touch(&mut self) {
                let value = self.get();
                self.set(value);
            }

            fn swear(&mut self) {
                self.mark_consistent();
            }
        }

        impl Guard for LockedArray<'_, $type> {
            fn touch(&mut self) {
                let last = self.len().wrapping_sub(1);
                if let Ok(value) = self.load(last) {
                    self.store(last, value).expect("an element that is there");
                }
            }

            fn swear(&mut self) {
                self.mark_consistent();
            }
        }
    )*};
}
guards!(u8, i64, f64, bool);

/// What is held is touched and given back.
pub fn used<G: Guard>(locked: Result<G, LockError<G>>) -> Result<(), ErrorKind> {
    match locked {
        Ok(mut guard) => guard.touch(),
        Err(LockError::OwnerDead(mut guard)) => {
            guard.touch();
            guard.swear();
        }
        Err(error) => return Err(error.kind()),
    }
    Ok(())
}

/// For ever: by a peer that lives on, or by one that dies.
pub fn held<G: Guard>(locked: Result<G, LockError<G>>) {
    match locked {
        Ok(guard) => std::mem::forget(guard),
        Err(LockError::OwnerDead(mut guard)) => {
            guard.swear();
            std::mem::forget(guard);
        }
        Err(error) => panic!("{error}"),
    }
}

fn kind(error: mpshm::Error) -> ErrorKind {
    error.kind()
}

/// State 0: never locked. 1: the owner of each lock is dead. 2: it lives, and keeps it.
const STATES: usize = 3;

pub struct Values;

pub struct AllValues {
    byte: Value<u8>,
    integer: Value<i64>,
    float: Value<f64>,
    flag: Value<bool>,
}

macro_rules! with_each {
    ($all:expr, $names:tt, $one:ident => $body:expr) => {
        with_each!(@ $all, $names, $one => $body)
    };
    (@ $all:expr, [$($name:ident),*], $one:ident => $body:expr) => {
        $({ let $one = &$all.$name; $body; })*
    };
}

impl Kind for Values {
    const NAME: &'static str = "values";
    type Handle = AllValues;
    const STATES: usize = STATES;

    fn create(segment: &Segment) -> AllValues {
        AllValues {
            byte: Value::create(segment.at("byte"), 3).expect("a value"),
            integer: Value::create(segment.at("integer"), -3).expect("a value"),
            float: Value::create(segment.at("float"), 0.5).expect("a value"),
            flag: Value::create(segment.at("flag"), true).expect("a value"),
        }
    }

    fn open(segment: &Segment) -> Result<AllValues, ErrorKind> {
        Ok(AllValues {
            byte: Value::open(segment.at("byte")).map_err(kind)?,
            integer: Value::open(segment.at("integer")).map_err(kind)?,
            float: Value::open(segment.at("float")).map_err(kind)?,
            flag: Value::open(segment.at("flag")).map_err(kind)?,
        })
    }

    fn prepare(all: &AllValues, peer: &AllValues, state: usize) {
        with_each!(all, [byte, integer, float, flag], value => match state {
            0 => drop(value.lock()),
            2 => {
                used(value.lock()).expect("the dead one's lock");
            }
            _ => {}
        });
        if state == 2 {
            with_each!(peer, [byte, integer, float, flag], value => held(value.lock()));
        }
    }

    fn die(all: &AllValues) {
        with_each!(all, [byte, integer, float, flag], value => held(value.lock()));
    }

    fn fields(_image: &[u8], layout: &Layout) -> Vec<Field> {
        let mut fields = Vec::new();
        for (name, bytes) in [("byte", 1), ("integer", 8), ("float", 8), ("flag", 1)] {
            let at = layout.objects[name].start;
            fields.push(Field::new("value", at, bytes));
            fields.extend(layout::lock(at + 64));
        }
        fields
    }

    fn operate(all: &AllValues, calls: &mut Calls) {
        with_each!(all, [byte, integer, float, flag], value => {
            calls.info("Value::load", || value.load());
            let before = calls.info("Value::swap", || value.swap(value.load()));
            calls.info("Value::store", || value.store(before));
            calls.info("Value::compare_exchange", || value.compare_exchange(before, before).is_ok());
            calls.info("Value::update", || value.update(|value| value));
            calls.info("Value::fmt", || format!("{value:?}"));
            calls.timed("Value::lock_timeout", |wait| used(value.lock_timeout(wait)));
        });
        calls.info("Value::fetch_add", || {
            (all.byte.fetch_add(200), all.integer.fetch_add(i64::MAX), all.float.fetch_add(1e300))
        });
        calls.info("Value::fetch_sub", || {
            (all.byte.fetch_sub(200), all.integer.fetch_sub(i64::MIN), all.float.fetch_sub(0.1))
        });
        calls.info("Value::fetch_min", || {
            (all.byte.fetch_min(2), all.integer.fetch_min(2), all.float.fetch_min(2.0))
        });
        calls.info("Value::fetch_max", || {
            (all.byte.fetch_max(2), all.integer.fetch_max(2), all.float.fetch_max(2.0))
        });
        calls.info("Value::fetch_and", || {
            (all.byte.fetch_and(2), all.integer.fetch_and(2), all.flag.fetch_and(true))
        });
        calls.info("Value::fetch_or", || {
            (all.byte.fetch_or(2), all.integer.fetch_or(2), all.flag.fetch_or(false))
        });
        calls.info("Value::fetch_xor", || {
            (all.byte.fetch_xor(2), all.integer.fetch_xor(2), all.flag.fetch_xor(true))
        });
    }
}

pub struct Arrays;

pub struct AllArrays {
    bytes: Array<u8>,
    integers: Array<i64>,
    floats: Array<f64>,
    flags: Array<bool>,
}

impl Kind for Arrays {
    const NAME: &'static str = "arrays";
    type Handle = AllArrays;
    const STATES: usize = STATES;

    fn create(segment: &Segment) -> AllArrays {
        AllArrays {
            bytes: Array::create(segment.at("bytes"), 128).expect("an array"),
            integers: Array::create(segment.at("integers"), 5).expect("an array"),
            floats: Array::create(segment.at("floats"), 16).expect("an array"),
            flags: Array::create(segment.at("flags"), 3).expect("an array"),
        }
    }

    fn open(segment: &Segment) -> Result<AllArrays, ErrorKind> {
        Ok(AllArrays {
            bytes: Array::open(segment.at("bytes")).map_err(kind)?,
            integers: Array::open(segment.at("integers")).map_err(kind)?,
            floats: Array::open(segment.at("floats")).map_err(kind)?,
            flags: Array::open(segment.at("flags")).map_err(kind)?,
        })
    }

    fn prepare(all: &AllArrays, peer: &AllArrays, state: usize) {
        with_each!(all, [bytes, integers, floats, flags], array => match state {
            0 => drop(array.lock()),
            2 => {
                used(array.lock()).expect("the dead one's lock");
            }
            _ => {}
        });
        if state == 2 {
            with_each!(peer, [bytes, integers, floats, flags], array => held(array.lock()));
        }
    }

    fn die(all: &AllArrays) {
        with_each!(all, [bytes, integers, floats, flags], array => held(array.lock()));
    }

    fn fields(_image: &[u8], layout: &Layout) -> Vec<Field> {
        let mut fields = Vec::new();
        for (name, bytes, count) in
            [("bytes", 1, 128), ("integers", 8, 5), ("floats", 8, 16), ("flags", 1, 3)]
        {
            let at = layout.objects[name].start;
            assert_eq!(layout.lengths[name], 128 + bytes * count, "{name}: bytes");
            let elements = (0..count).map(|index| at + 128 + bytes * index);
            fields.extend(elements.map(|at| Field::new("element", at, bytes)));
            fields.extend(layout::lock(at));
        }
        fields
    }

    fn operate(all: &AllArrays, calls: &mut Calls) {
        with_each!(all, [bytes, integers, floats, flags], array => {
            let last = array.len().wrapping_sub(1);
            let value = calls.call("Array::load", || array.load(last)).unwrap_or_default();
            calls.call("Array::store", || array.store(last, value));
            calls.call("Array::swap", || array.swap(last, value));
            calls.call("Array::compare_exchange", || array.compare_exchange(last, value, value));
            calls.call("Array::update", || array.update(last, |value| value));
            let copy = calls.info("Array::to_vec", || array.to_vec());
            let mut copy = if array.len() == copy.len() { copy } else { array.to_vec() };
            calls.call("Array::copy_from_slice", || array.copy_from_slice(0, &copy));
            calls.call("Array::copy_to_slice", || array.copy_to_slice(0, &mut copy));
            calls.call("Array::fill", || array.fill(0..array.len(), value));
            calls.call("Array::load", || array.load(array.len()).map(|_| ()));
            calls.call("Array::fill", || array.fill(0..array.len() + 1, value));
            calls.info("Array::fmt", || format!("{array:?}"));
            calls.timed("Array::lock_timeout", |wait| used(array.lock_timeout(wait)));
        });
        let last = all.integers.len().wrapping_sub(1);
        calls.call("Array::fetch_add", || all.integers.fetch_add(last, i64::MAX));
        calls.call("Array::fetch_sub", || all.integers.fetch_sub(last, i64::MIN));
        calls.call("Array::fetch_min", || all.integers.fetch_min(last, 2));
        calls.call("Array::fetch_max", || all.integers.fetch_max(last, 2));
        calls.call("Array::fetch_and", || all.integers.fetch_and(last, 2));
        calls.call("Array::fetch_or", || all.integers.fetch_or(last, 2));
        calls.call("Array::fetch_xor", || all.integers.fetch_xor(last, 2));
        let last = all.floats.len().wrapping_sub(1);
        calls.call("Array::fetch_add", || all.floats.fetch_add(last, 1e300));
        let last = all.flags.len().wrapping_sub(1);
        calls.call("Array::fetch_xor", || all.flags.fetch_xor(last, true));
    }
}

pub struct Mutexes;

pub struct AllMutexes {
    byte: Mutex<u8>,
    words: Mutex<[u64; 7]>,
    wide: Mutex<[u8; 256]>,
}

impl Kind for Mutexes {
    const NAME: &'static str = "mutexes";
    type Handle = AllMutexes;
    const STATES: usize = STATES;

    fn create(segment: &Segment) -> AllMutexes {
        AllMutexes {
            byte: Mutex::create(segment.at("byte"), 1).expect("a mutex"),
            words: Mutex::create(segment.at("words"), [2; 7]).expect("a mutex"),
            wide: Mutex::create(segment.at("wide"), [3; 256]).expect("a mutex"),
        }
    }

    fn open(segment: &Segment) -> Result<AllMutexes, ErrorKind> {
        Ok(AllMutexes {
            byte: Mutex::open(segment.at("byte")).map_err(kind)?,
            words: Mutex::open(segment.at("words")).map_err(kind)?,
            wide: Mutex::open(segment.at("wide")).map_err(kind)?,
        })
    }

    fn prepare(all: &AllMutexes, peer: &AllMutexes, state: usize) {
        with_each!(all, [byte, words, wide], mutex => match state {
            0 => drop(mutex.lock()),
            2 => {
                used(mutex.lock()).expect("the dead one's lock");
            }
            _ => {}
        });
        if state == 2 {
            with_each!(peer, [byte, words, wide], mutex => held(mutex.lock()));
        }
    }

    fn die(all: &AllMutexes) {
        with_each!(all, [byte, words, wide], mutex => held(mutex.lock()));
    }

    fn fields(_image: &[u8], layout: &Layout) -> Vec<Field> {
        let mut fields = Vec::new();
        for (name, bytes) in [("byte", 1), ("words", 56), ("wide", 256)] {
            let at = layout.objects[name].start;
            assert_eq!(layout.lengths[name], 32 + bytes, "{name}: bytes");
            fields.extend(layout::lock(at));
            fields.extend((0..bytes).map(|byte| Field::new("data", at + 32 + byte, 1)));
        }
        fields
    }

    fn operate(all: &AllMutexes, calls: &mut Calls) {
        with_each!(all, [byte, words, wide], mutex => {
            calls.call("Mutex::try_lock", || used(mutex.try_lock()));
            calls.timed("Mutex::lock_timeout", |wait| used(mutex.lock_timeout(wait)));
            if let Ok(guard) = calls.info("Mutex::try_lock", || mutex.try_lock()) {
                // This thread has it already.
                calls.call("Mutex::try_lock", || used(mutex.try_lock()));
                calls.timed("Mutex::lock_timeout", |wait| used(mutex.lock_timeout(wait)));
                calls.info("MutexGuard::drop", || drop(guard));
            }
            calls.info("Mutex::fmt", || format!("{mutex:?}"));
        });
    }
}
