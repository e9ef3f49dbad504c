//! What a `Value` and an `Array` promise, over real processes.
//!
//! Lines of the list of behaviours that are not here: of a58, a lock that the user supplies (a value
//! has its own, and what has another is a `Mutex`), and a "raw" value (whoever does not take the
//! lock does not meet it); a63 and a64 (there is no allocator in a segment: objects are made once).

use crate::common::Test;
use crate::probe::{SHORT, in_child, is, join, spawn};
use crate::tests;
use bytemuck::{Pod, Zeroable};
use mpshm::{
    Array, Bits, ErrorKind, Event, LockError, Mutex, Number, Process, Scalar, Segment, Semaphore,
    Value,
};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    a57_values_of_every_type_show_what_a_child_wrote,
    a57_every_operation_returns_the_value_before,
    a58_the_lock_of_a_value_keeps_out_who_takes_it_and_nobody_else,
    a59_array_elements_and_ranges_are_read_and_written_in_place,
    a59_a_child_sums_up_prefixes_as_the_parent_does,
    a60_an_array_from_a_length_is_zero_also_after_dirty_ones,
    a61_a_child_doubles_a_struct_numbers_and_text,
    a62_a_copy_is_private,
    b24_two_processes_add_a_million_each: 60,
    b24_two_processes_add_a_million_each_under_the_lock: 120,
    b24_two_processes_add_floats_and_update: 60,
    b08_the_lock_of_a_dead_owner_is_taken_with_a_warning,
    a_value_of_a_killed_child_holds_all_of_a_store_or_nothing,
    the_lock_of_an_array_guards_whole_slices,
    indexes_past_the_end_are_errors_that_change_nothing,
    arrays_of_no_length_and_of_too_much_are_errors,
    opening_as_another_type_is_an_error_that_names_both,
    open_or_create_keeps_what_is_there,
    a_bool_bears_any_byte,
    integers_wrap_and_float_zero_has_two_faces,
    every_ordering_that_std_offers_is_taken,
    an_ordering_that_std_refuses_is_a_panic,
    values_of_128_bits_are_changed_in_one_step: 60,
    a_range_of_an_array_is_a_view_of_it,
    a_whole_slice_is_copied_through_a_pointer_under_the_lock,
    b19_values_made_and_dropped_leave_nothing: 120,
];

fn a57_values_of_every_type_show_what_a_child_wrote() {
    fn holds<T: Scalar>(first: T, second: T, third: T) {
        let value = Value::new(first).unwrap();
        assert_eq!(value.load(), first);
        in_child(|| {
            assert_eq!(value.load(), first);
            value.store(second);
        });
        assert_eq!(value.load(), second, "without the lock");
        in_child(|| {
            let mut locked = value.lock().unwrap();
            assert_eq!(locked.get(), second);
            locked.set(third);
        });
        assert_eq!(value.lock().unwrap().get(), third, "with the lock");
    }
    holds(7i32, -7, i32::MIN);
    holds(3.5f64, -0.25, f64::MAX);
    holds(-32i16, 21, i16::MAX);
    holds(1i64 << 33, -(1i64 << 33), i64::MIN);
    holds(b'x', b'y', 255);
    holds(i8::MIN, 1, i8::MAX);
    holds(u16::MAX, 1, 2);
    holds(u32::MAX, 1, 2);
    holds(u64::MAX, 1, 2);
    holds(usize::MAX, 1, 2);
    holds(isize::MIN, 1, 2);
    holds(i128::MIN, 1 << 100, -7);
    holds(u128::MAX, 1 << 64, 2);
    holds(1.5f32, f32::MIN_POSITIVE, f32::INFINITY);
    holds(true, false, true);
}

fn a57_every_operation_returns_the_value_before() {
    fn number<T: Number>([zero, one, two, three, nine]: [T; 5]) {
        let value = Value::new(one).unwrap();
        assert_eq!(value.swap(two), one);
        assert_eq!(value.fetch_add(one), two);
        assert_eq!(value.fetch_sub(two), three);
        assert_eq!(value.fetch_max(nine), one);
        assert_eq!(value.fetch_min(three), nine);
        assert_eq!(value.compare_exchange(two, zero), Err(three));
        assert_eq!(value.compare_exchange(three, zero), Ok(three));
        assert_eq!(value.update(|_| two), zero);
        assert_eq!(value.load(), two);
        let array = Array::from_slice(&[zero, one, nine]).unwrap();
        assert_eq!(array.swap(1, two).unwrap(), one);
        assert_eq!(array.fetch_add(1, one).unwrap(), two);
        assert_eq!(array.fetch_sub(1, two).unwrap(), three);
        assert_eq!(array.fetch_max(1, nine).unwrap(), one);
        assert_eq!(array.fetch_min(1, three).unwrap(), nine);
        assert_eq!(array.compare_exchange(1, two, zero).unwrap(), Err(three));
        assert_eq!(array.compare_exchange(1, three, zero).unwrap(), Ok(three));
        assert_eq!(array.update(1, |_| two).unwrap(), zero);
        assert_eq!(array.to_vec(), [zero, two, nine], "neighbours are unchanged");
    }
    fn bits<T: Bits>([zero, low, high, both]: [T; 4]) {
        let value = Value::new(low).unwrap();
        assert_eq!(value.fetch_or(high), low);
        assert_eq!(value.fetch_and(high), both);
        assert_eq!(value.fetch_xor(both), high);
        assert_eq!(value.load(), low);
        let array = Array::from_slice(&[both, low, zero]).unwrap();
        assert_eq!(array.fetch_or(1, high).unwrap(), low);
        assert_eq!(array.fetch_and(1, high).unwrap(), both);
        assert_eq!(array.fetch_xor(1, both).unwrap(), high);
        assert_eq!(array.to_vec(), [both, low, zero]);
    }
    macro_rules! integers {
        ($($integer:ty),*) => {$(
            number::<$integer>([0, 1, 2, 3, 9]);
            bits::<$integer>([0, 1, 2, 3]);
        )*};
    }
    integers!(i8, u8, i16, u16, i32, u32, i64, u64, i128, u128, isize, usize);
    number::<f32>([0.0, 1.0, 2.0, 3.0, 9.0]);
    number::<f64>([0.0, 1.0, 2.0, 3.0, 9.0]);
    let value = Value::new(true).unwrap();
    assert!(value.fetch_xor(true) && !value.fetch_or(true) && value.fetch_and(false));
    assert!(!value.load());
    assert_eq!(value.compare_exchange(true, true), Err(false));
    assert!(!value.fetch_nand(true) && value.fetch_nand(true) && !value.load());
    let value = Value::new(0b1100u8).unwrap();
    assert_eq!((value.fetch_nand(0b1010), value.load()), (0b1100, !0b1000));
    let array = Array::from_slice(&[0b1100i32, 5]).unwrap();
    assert_eq!((array.fetch_nand(0, 0b1010).unwrap(), array.to_vec()), (0b1100, vec![!0b1000, 5]));
}

fn a58_the_lock_of_a_value_keeps_out_who_takes_it_and_nobody_else() {
    let value = Value::<i32>::new(1).unwrap();
    let mut locked = value.lock().unwrap();
    in_child(|| {
        let start = Instant::now();
        let refused = value.lock_timeout(SHORT).unwrap_err();
        assert!(matches!(refused, LockError::TimedOut), "{refused:?}");
        assert!(start.elapsed() >= SHORT);
        assert_eq!(value.fetch_add(1), 1, "who does not take the lock does not meet it");
    });
    assert!(matches!(value.lock(), Err(LockError::Deadlock)));
    assert_eq!(locked.get(), 2);
    locked.set(5);
    drop(locked);
    in_child(|| assert_eq!(value.lock_timeout(Duration::ZERO).unwrap().get(), 5));
}

fn a59_array_elements_and_ranges_are_read_and_written_in_place() {
    let numbers = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];
    let array = Array::<i32>::from_slice(&numbers).unwrap();
    assert_eq!((array.len(), array.is_empty()), (10, false));
    assert_eq!((array.load(0).unwrap(), array.load(9).unwrap()), (680, 831));
    let mut part = [0; 5];
    array.copy_to_slice(2, &mut part).unwrap();
    assert_eq!(part, numbers[2..7]);
    in_child(|| {
        array.copy_from_slice(4, &[1, 2, 3, 4]).unwrap();
        array.store(0, -1).unwrap();
        array.fill(8..10, 9).unwrap();
    });
    assert_eq!(array.to_vec(), [-1, 626, 934, 821, 1, 2, 3, 4, 9, 9]);
    assert_eq!(array.iter().len(), 10);
    array.copy_from_slice(10, &[]).unwrap();
}

fn a59_a_child_sums_up_prefixes_as_the_parent_does() {
    let mut numbers = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];
    let array = Array::<i64>::from_slice(&numbers).unwrap();
    in_child(|| {
        for index in 1..array.len() {
            array.fetch_add(index, array.load(index - 1).unwrap()).unwrap();
        }
    });
    for index in 1..numbers.len() {
        numbers[index] += numbers[index - 1];
    }
    assert_eq!(array.to_vec(), numbers);
    assert_eq!(numbers[9], 6519);
}

fn a60_an_array_from_a_length_is_zero_also_after_dirty_ones() {
    let segment = Segment::anonymous(1 << 20).unwrap();
    for round in 0..3 {
        let alone = Array::<u64>::new(10_000).unwrap();
        assert!(alone.iter().all(|element| element == 0), "round {round}");
        alone.fill(0..10_000, u64::MAX).unwrap();
        // Whoever makes the same name second gives up after its extent was taken: that is used again.
        let name = format!("round {round}");
        let inside = Array::<u64>::create(segment.at(&name), 1000).unwrap();
        assert!(inside.iter().all(|element| element == 0), "round {round}");
        inside.fill(0..1000, u64::MAX).unwrap();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Foo {
    x: i32,
    /// Plain types have no hidden bytes between their fields.
    fill: i32,
    y: f64,
    z: i64,
}

fn a61_a_child_doubles_a_struct_numbers_and_text() {
    let shape = Mutex::new(Foo { x: 3, fill: 0, y: 2.0, z: 1 << 33 }).unwrap();
    let x = Value::<i32>::new(7).unwrap();
    let y = Value::<f64>::new(1.0 / 3.0).unwrap();
    let numbers = Array::<f64>::from_slice(&[0., 1., 2., 3., 4., 5., 6., 7., 8., 9.]).unwrap();
    let text = Array::<u8>::new(20).unwrap();
    text.copy_from_slice(0, b"hello").unwrap();
    in_child(|| {
        x.update(|x| x * 2);
        y.update(|y| y * 2.0);
        let mut guard = shape.lock().unwrap();
        let Foo { x, fill, y, z } = guard.get();
        guard.set(Foo { x: x * 2, fill, y: y * 2.0, z: z * 2 });
        for index in 0..numbers.len() {
            numbers.update(index, |number| number * 2.0).unwrap();
        }
        let mut word = [0; 5];
        text.copy_to_slice(0, &mut word).unwrap();
        text.copy_from_slice(5, &word).unwrap();
    });
    assert_eq!((x.load(), y.load()), (14, 2.0 / 3.0));
    assert_eq!(shape.lock().unwrap().get(), Foo { x: 6, fill: 0, y: 4.0, z: 1 << 34 });
    assert_eq!(numbers.to_vec(), [0., 2., 4., 6., 8., 10., 12., 14., 16., 18.]);
    assert_eq!(text.to_vec(), *b"hellohello\0\0\0\0\0\0\0\0\0\0");
}

fn a62_a_copy_is_private() {
    let shape = Mutex::new(Foo { x: 2, fill: 0, y: 5.0, z: 1 }).unwrap();
    let mut copy = shape.lock().unwrap().get();
    copy.z = 9;
    shape.lock().unwrap().set(Foo { x: 0, fill: 0, y: 0.0, z: 0 });
    assert_eq!(copy, Foo { x: 2, fill: 0, y: 5.0, z: 9 });
    assert_eq!(shape.lock().unwrap().get(), Foo { x: 0, fill: 0, y: 0.0, z: 0 });
    let array = Array::<u8>::from_slice(&[1, 2]).unwrap();
    let mut copy = array.to_vec();
    copy[0] = 9;
    array.store(1, 9).unwrap();
    assert_eq!((copy, array.to_vec()), (vec![9, 2], vec![1, 9]));
}

/// Runs `body` in this process and in a child at the same time.
fn twice_at_once(body: impl Fn() + Copy) {
    let child = Process::builder().kill_with_parent(true).spawn(|| {
        body();
        0
    });
    body();
    assert!(child.unwrap().join().unwrap().success());
}

fn b24_two_processes_add_a_million_each() {
    let value = Value::<u64>::new(0).unwrap();
    let array = Array::<u8>::new(4).unwrap();
    let flag = Value::<bool>::new(false).unwrap();
    twice_at_once(|| {
        for _ in 0..1_000_000 {
            value.fetch_add(1);
            array.fetch_add(1, 1).unwrap();
            flag.fetch_xor(true);
        }
    });
    assert_eq!(value.load(), 2_000_000);
    assert_eq!(array.to_vec(), [0, 2_000_000u32 as u8, 0, 0], "bytes wrap, neighbours stay");
    assert!(!flag.load());
}

fn b24_two_processes_add_a_million_each_under_the_lock() {
    let value = Value::<u64>::new(0).unwrap();
    twice_at_once(|| {
        for _ in 0..1_000_000 {
            let mut locked = value.lock().unwrap();
            locked.set(locked.get() + 1);
        }
    });
    assert_eq!(value.load(), 2_000_000);
}

fn b24_two_processes_add_floats_and_update() {
    let float = Value::<f64>::new(0.0).unwrap();
    let small = Value::<f32>::new(0.0).unwrap();
    let number = Value::<i64>::new(1).unwrap();
    twice_at_once(|| {
        for _ in 0..200_000 {
            float.fetch_add(0.5);
            small.fetch_sub(1.0);
            number.update(|number| (number * 3) % 1_000_003);
        }
    });
    assert_eq!(float.load(), 200_000.0);
    assert_eq!(small.load(), -400_000.0);
    let expected = (0..400_000).fold(1i64, |number, _| number * 3 % 1_000_003);
    assert_eq!(number.load(), expected);
}

fn b08_the_lock_of_a_dead_owner_is_taken_with_a_warning() {
    let value = Value::<i32>::new(1).unwrap();
    let array = Array::<i32>::new(3).unwrap();
    let child = Process::spawn(|| {
        let mut locked = value.lock().unwrap();
        let _array = array.lock().unwrap();
        locked.set(2);
        std::process::abort()
    });
    assert_eq!(child.unwrap().join().unwrap().code(), Some(-6));
    match value.lock() {
        Err(LockError::OwnerDead(mut locked)) => {
            assert_eq!(locked.get(), 2);
            locked.set(3);
            locked.mark_consistent();
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(value.lock().unwrap().get(), 3);
    assert!(matches!(array.lock(), Err(LockError::OwnerDead(_))), "and not marked as consistent");
    assert!(matches!(array.lock(), Err(LockError::NotRecoverable)));
    array.store(0, 1).unwrap();
}

fn a_value_of_a_killed_child_holds_all_of_a_store_or_nothing() {
    let value = Value::<u64>::new(0).unwrap();
    let running = Value::<bool>::new(false).unwrap();
    for round in 0..50u64 {
        running.store(false);
        let child = Process::builder().kill_with_parent(true).spawn(|| {
            loop {
                value.store(0);
                value.store(u64::MAX);
                running.store(true);
            }
        });
        let child = child.unwrap();
        crate::common::until("the child runs", Duration::from_secs(5), || running.load());
        let until = Instant::now() + Duration::from_micros(round * 7);
        while Instant::now() < until {
            assert!([0, u64::MAX].contains(&value.load()));
        }
        child.kill().unwrap();
        child.join().unwrap();
        assert!([0, u64::MAX].contains(&value.load()));
    }
}

fn the_lock_of_an_array_guards_whole_slices() {
    let array = Array::<u32>::new(64).unwrap();
    twice_at_once(|| {
        for _ in 0..2_000 {
            let locked = array.lock().unwrap();
            let all = locked.to_vec();
            assert!(all.iter().all(|element| *element == all[0]), "{all:?}");
            locked.fill(0..64, all[0] + 1).unwrap();
        }
    });
    assert_eq!(array.to_vec(), [4_000; 64]);
}

fn indexes_past_the_end_are_errors_that_change_nothing() {
    let array = Array::<u16>::from_slice(&[1, 2, 3]).unwrap();
    for index in [3, 4, usize::MAX - 1, usize::MAX] {
        let end = ["array of 3"];
        is(array.load(index), ErrorKind::Invalid, &end);
        is(array.store(index, 9), ErrorKind::Invalid, &end);
        is(array.swap(index, 9), ErrorKind::Invalid, &end);
        is(array.fetch_add(index, 9), ErrorKind::Invalid, &end);
        is(array.fetch_or(index, 9), ErrorKind::Invalid, &end);
        is(array.compare_exchange(index, 1, 9), ErrorKind::Invalid, &end);
        is(array.update(index, |_| 9), ErrorKind::Invalid, &end);
        is(array.copy_from_slice(index, &[9]), ErrorKind::Invalid, &end);
        is(array.copy_to_slice(index, &mut [9]), ErrorKind::Invalid, &end);
        is(
            array.fill(index..usize::MAX, 9),
            ErrorKind::Invalid,
            if index < usize::MAX { &end } else { &[] },
        );
    }
    is(array.copy_from_slice(2, &[9, 9]), ErrorKind::Invalid, &["2..4", "array of 3"]);
    is(array.fill(0..4, 9), ErrorKind::Invalid, &["0..4"]);
    let mut copy = [7; 4];
    is(array.copy_to_slice(0, &mut copy), ErrorKind::Invalid, &["0..4"]);
    assert_eq!((array.to_vec(), copy), (vec![1, 2, 3], [7; 4]));
}

fn arrays_of_no_length_and_of_too_much_are_errors() {
    is(Array::<u8>::new(0), ErrorKind::Invalid, &["0 elements"]);
    is(Array::<u8>::from_slice(&[]), ErrorKind::Invalid, &["0 elements"]);
    is(Array::<u64>::new(usize::MAX), ErrorKind::NoSpace, &["elements"]);
    is(Array::<u64>::new(1 << 43), ErrorKind::NoSpace, &["elements"]);
    is(Array::<u8>::new(1 << 45), ErrorKind::NoSpace, &["bytes"]);
    let segment = Segment::anonymous(4096).unwrap();
    is(Array::<u64>::create(segment.at("a"), 1000), ErrorKind::NoSpace, &["'a'", "8128"]);
    assert_eq!(segment.objects().unwrap(), []);
}

fn opening_as_another_type_is_an_error_that_names_both() {
    let segment = Segment::anonymous(4096).unwrap();
    let value = Value::<u32>::create(segment.at("v"), 5).unwrap();
    is(Value::<i32>::open(segment.at("v")), ErrorKind::Type, &["'v'", "expected", "found"]);
    is(Value::<u64>::open(segment.at("v")), ErrorKind::Type, &["'v'", "8 bytes", "4 bytes"]);
    is(Value::<f32>::open(segment.at("v")), ErrorKind::Type, &["'v'"]);
    is(Array::<u32>::open(segment.at("v")), ErrorKind::Type, &["'v'", "Array", "Value"]);
    is(Mutex::<u32>::open(segment.at("v")), ErrorKind::Type, &["'v'", "Mutex", "Value"]);
    is(Value::<u32>::create(segment.at("v"), 6), ErrorKind::Exists, &["'v'"]);
    is(Value::<u32>::open(segment.at("w")), ErrorKind::NotFound, &["'w'"]);
    assert_eq!(Value::<u32>::open(segment.at("v")).unwrap().load(), 5);
    value.store(6);
    assert_eq!(Value::<u32>::open(segment.at("v")).unwrap().load(), 6);
    // `usize` is the integer of its size, in every language.
    let wide = Value::<usize>::create(segment.at("wide"), 1).unwrap();
    assert_eq!(Value::<u64>::open(segment.at("wide")).unwrap().fetch_add(1), 1);
    assert_eq!(wide.load(), 2);
}

fn open_or_create_keeps_what_is_there() {
    let name = crate::common::unique("kept");
    let first = Value::<i64>::open_or_create(&name, 5).unwrap();
    first.store(6);
    in_child(|| assert_eq!(Value::<i64>::open_or_create(&name, 7).unwrap().fetch_add(1), 6));
    assert_eq!(first.load(), 7);
    is(Value::<i32>::open_or_create(&name, 1), ErrorKind::Type, &["expected", "found"]);
    let segment = first.segment().clone();
    assert_eq!(segment.name(), Some(&*name));
    Segment::unlink(&name).unwrap();
    assert_eq!(first.load(), 7, "who is attached stays so");

    let array = Array::<u8>::open_or_create(&name, 10).unwrap();
    array.store(9, 9).unwrap();
    let again = Array::<u8>::open_or_create(&name, 3).unwrap();
    assert_eq!((again.len(), again.load(9).unwrap()), (10, 9));
    Segment::unlink(&name).unwrap();
}

fn a_bool_bears_any_byte() {
    let flag = Value::<bool>::new(true).unwrap();
    for (old, new) in [(true, false), (false, false), (false, true), (true, true)] {
        assert_eq!(flag.compare_exchange(old, new), Ok(old));
        assert_eq!(flag.compare_exchange(!new, old), Err(new));
    }
    // A peer of another language, or a hostile one, writes what no Rust program would.
    let byte = where_it_lies(&flag);
    let file = File::from(flag.segment().as_fd().try_clone_to_owned().unwrap());
    let poke = |bytes: u8| file.write_all_at(&[bytes], byte).unwrap();
    for odd in [2, 0x55, 0xff] {
        poke(odd);
        assert!(flag.load());
        assert_eq!(flag.compare_exchange(false, true), Err(true));
        assert_eq!(flag.compare_exchange(true, false), Ok(true), "{odd} is true");
        assert!(!flag.load());
        poke(odd);
        assert!(flag.update(|value| !value));
        assert!(!flag.load());
        poke(odd);
        assert!(flag.fetch_xor(true));
        assert!(!flag.load(), "true xor true with the byte {odd}");
        poke(odd);
        assert!(flag.fetch_and(true));
        assert!(flag.load(), "true and true with the byte {odd}");
        poke(odd);
        assert!(flag.swap(false));
    }
}

/// Where a flag lies in its segment.
fn where_it_lies(flag: &Value<bool>) -> u64 {
    let file = File::from(flag.segment().as_fd().try_clone_to_owned().unwrap());
    let bytes = |value: bool| {
        flag.store(value);
        let mut bytes = vec![0; flag.segment().size() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let (off, on) = (bytes(false), bytes(true));
    let differs: Vec<_> = (0..on.len()).filter(|&at| on[at] != off[at]).collect();
    assert_eq!(differs.len(), 1);
    differs[0] as u64
}

fn integers_wrap_and_float_zero_has_two_faces() {
    let byte = Value::<i8>::new(127).unwrap();
    assert_eq!((byte.fetch_add(1), byte.load()), (127, -128));
    let wide = Value::<u64>::new(0).unwrap();
    assert_eq!((wide.fetch_sub(1), wide.load()), (0, u64::MAX));
    let float = Value::<f64>::new(0.0).unwrap();
    let refused = float.compare_exchange(-0.0, 1.0).map_err(f64::to_bits);
    assert_eq!(refused, Err(0), "floats are compared by their bits");
    let nan = Value::<f64>::new(f64::NAN).unwrap();
    assert!(nan.compare_exchange(f64::NAN, 1.0).is_ok_and(f64::is_nan));
    assert_eq!(nan.load(), 1.0);
}

fn every_ordering_that_std_offers_is_taken() {
    use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
    for value in [Value::new(1i64).unwrap(), Value::new_waitable(1).unwrap()] {
        for order in [Relaxed, Acquire, SeqCst] {
            assert_eq!(value.load_with(order), 1);
        }
        for order in [Relaxed, Release, SeqCst] {
            value.store_with(1, order);
        }
        for order in [Relaxed, Acquire, Release, AcqRel, SeqCst] {
            assert_eq!(value.swap_with(2, order), 1);
            assert_eq!(value.fetch_add_with(3, order), 2);
            assert_eq!(value.fetch_sub_with(1, order), 5);
            assert_eq!(value.fetch_max_with(6, order), 4);
            assert_eq!(value.fetch_min_with(3, order), 6);
            assert_eq!(value.fetch_or_with(4, order), 3);
            assert_eq!(value.fetch_and_with(6, order), 7);
            assert_eq!(value.fetch_xor_with(2, order), 6);
            assert_eq!(value.fetch_nand_with(4, order), 4);
            assert_eq!(value.update_with(order, |old| old + 6), -5);
            for failed in [Relaxed, Acquire, SeqCst] {
                assert_eq!(value.compare_exchange_with(1, 1, order, failed), Ok(1));
                assert_eq!(value.compare_exchange_with(2, 1, order, failed), Err(1));
            }
        }
    }
    let float = Value::new(1.0f64).unwrap();
    let flag = Array::from_slice(&[true, false]).unwrap();
    for order in [Relaxed, Acquire, Release, AcqRel, SeqCst] {
        assert_eq!((float.fetch_add_with(1.0, order), float.swap_with(1.0, order)), (1.0, 2.0));
        assert!(flag.fetch_xor_with(0, true, order).unwrap());
        assert!(!flag.swap_with(0, true, order).unwrap());
    }
    flag.store_with(1, true, Release).unwrap();
    assert!(flag.load_with(1, SeqCst).unwrap());
    is(flag.load_with(2, Relaxed), ErrorKind::Invalid, &["2..3"]);
}

fn an_ordering_that_std_refuses_is_a_panic() {
    use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
    std::panic::set_hook(Box::new(|_| {}));
    let panics =
        |body: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err();
    for value in [Value::new(1i64).unwrap(), Value::new_waitable(1).unwrap()] {
        assert!(panics(&|| drop_value(value.load_with(Release))));
        assert!(panics(&|| drop_value(value.load_with(AcqRel))));
        assert!(panics(&|| value.store_with(2, Acquire)));
        assert!(panics(&|| value.store_with(2, AcqRel)));
        assert!(panics(&|| drop_value(value.compare_exchange_with(1, 2, Relaxed, Release))));
        assert_eq!(value.load(), 1, "and changes nothing");
    }
    let float = Value::new(1.0f32).unwrap();
    assert!(panics(&|| drop_value(float.load_with(Release))));
    let _ = std::panic::take_hook();
}

fn drop_value<T>(_: T) {}

fn values_of_128_bits_are_changed_in_one_step() {
    assert!(u128::is_lock_free(), "this processor is too old for the test");
    // Both halves hold the same number, whenever they are looked at.
    let twice = |number: u64| u128::from(number) << 64 | u128::from(number);
    let value = Value::new(twice(1)).unwrap();
    let array = Array::from_slice(&[0, twice(1), 0]).unwrap();
    let rounds = 100_000u64;
    let child = spawn(|| {
        for number in 2..rounds {
            value.store(twice(number));
            array.store(1, twice(number)).unwrap();
            value.fetch_add(twice(1));
        }
    });
    let (mut seen, mut last) = (0u64, 0);
    while last < rounds - 1 {
        for found in [value.load(), array.load(1).unwrap()] {
            assert_eq!((found >> 64) as u64, found as u64, "a torn value");
        }
        let now = array.load(1).unwrap() as u64;
        seen += u64::from(now != last);
        last = now;
    }
    assert!(seen > 0);
    join(&child);
    assert_eq!(array.to_vec(), [0, twice(rounds - 1), 0]);
    // Carries go over the middle.
    let value = Value::new(u128::from(u64::MAX)).unwrap();
    let children: Vec<Process> = (0..2)
        .map(|_| {
            spawn(|| (0..10_000).for_each(|_| drop_value(value.fetch_add(u128::from(u64::MAX)))))
        })
        .collect();
    children.iter().for_each(join);
    assert_eq!(value.load(), u128::from(u64::MAX) * 20_001);
    let name = crate::common::unique("wide");
    drop(Value::create(&name, -1i128).unwrap());
    is(Value::<u128>::open(&name), ErrorKind::Type, &["i128", "u128"]);
    assert_eq!(Value::<i128>::open(&name).unwrap().load(), -1);
    Segment::unlink(&name).unwrap();
}

fn a_range_of_an_array_is_a_view_of_it() {
    let array = Array::<i32>::from_slice(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    let part = array.range(2..6).unwrap();
    assert_eq!((part.len(), part.is_empty(), part.to_vec()), (4, false, vec![2, 3, 4, 5]));
    in_child(|| {
        part.store(0, 20).unwrap();
        part.fetch_add(1, 30).unwrap();
        part.copy_from_slice(2, &[40, 50]).unwrap();
    });
    assert_eq!(array.to_vec(), [0, 1, 20, 33, 40, 50, 6, 7]);
    let inner = part.range(1..3).unwrap();
    inner.fill(0..2, 9).unwrap();
    assert_eq!(array.to_vec(), [0, 1, 20, 9, 9, 50, 6, 7]);
    assert_eq!(inner.iter().collect::<Vec<_>>(), [9, 9]);
    is(inner.load(2), ErrorKind::Invalid, &["2..3", "2"]);
    is(part.copy_from_slice(3, &[1, 2]), ErrorKind::Invalid, &["3..5", "4"]);
    is(array.range(7..9), ErrorKind::Invalid, &["7..9", "8"]);
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = array.range(5..4);
    is(reversed, ErrorKind::Invalid, &["5..4"]);
    let none = array.range(8..8).unwrap();
    assert!(none.is_empty() && none.load(0).is_err());
    assert_eq!(format!("{part:?}"), "[20, 9, 9, 50]");
}

fn a_whole_slice_is_copied_through_a_pointer_under_the_lock() {
    let array = Array::<u64>::new(1000).unwrap();
    let writers: Vec<Process> = (1..=2)
        .map(|number| {
            let array = &array;
            spawn(move || {
                for round in 0..200 {
                    let locked = array.lock().unwrap();
                    let all = vec![number * 1000 + round; 1000];
                    // SAFETY: the array's 1000 elements, which nobody else touches without the lock.
                    unsafe { locked.as_ptr().copy_from_nonoverlapping(all.as_ptr(), 1000) };
                }
            })
        })
        .collect();
    let mut copy = vec![0u64; 1000];
    for _ in 0..200 {
        let locked = array.lock().unwrap();
        // SAFETY: as above.
        unsafe { copy.as_mut_ptr().copy_from_nonoverlapping(locked.as_ptr(), 1000) };
        assert!(copy.iter().all(|&element| element == copy[0]), "half of a slice");
    }
    writers.iter().for_each(join);
}

fn b19_values_made_and_dropped_leave_nothing() {
    let rounds = if std::env::var_os("MPSHM_QUICK").is_some() { 1_000 } else { 20_000 };
    let before = crate::common::descriptors();
    for round in 0..rounds {
        let value = Value::new_waitable(round).unwrap();
        let (event, semaphore) = (Event::new().unwrap(), Semaphore::new(1).unwrap());
        event.set();
        drop(semaphore.acquire().unwrap());
        assert_eq!(value.load(), round);
    }
    assert_eq!(crate::common::descriptors(), before);
}
