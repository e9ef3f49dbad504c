//! What a `Latest` promises, over real processes.

use crate::common::{Test, unique, until};
use crate::probe::{
    Count, LONG, Random, SHORT, for_ever, go_on, in_child, is, join, kill, spawn, stop,
};
use crate::tests;
use mpshm::{Canceller, ErrorKind, Latest, LatestOptions, Pod, Segment, Zeroable};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    a_store_is_what_the_next_load_gets,
    a_child_stores_and_the_parent_sees_it,
    a_struct_is_seen_by_who_opens_it_by_name,
    values_are_never_torn_and_never_go_back: 60,
    values_from_64_bytes_to_64_megabytes_come_whole: 60,
    a_claimed_value_stays_what_it_is_while_others_are_stored,
    a_reservation_that_is_dropped_changes_nothing,
    a_wait_for_a_newer_value_ends_with_a_store_its_deadline_or_its_canceller,
    a_sleeper_is_woken_by_every_store: 60,
    a_stopped_writer_and_a_stopped_reader_hold_nobody_up,
    a_killed_writer_leaves_the_last_whole_value,
    what_killed_readers_held_is_free_again,
    one_writer_too_many_waits_for_another,
    a_reader_too_many_is_told_so,
    a_forked_child_reads_with_a_pin_of_its_own,
    a_forked_child_cannot_commit_what_its_parent_reserved,
    killed_at_random_nobody_leaves_a_buffer_or_a_pin_taken: 60,
    what_cannot_be_made_or_opened_is_said,
];

/// A value that shows when it is torn: the same number all over.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Page([u64; 512]);

impl Page {
    fn of(number: u64) -> Self {
        Self([number; 512])
    }

    #[track_caller]
    fn number(&self) -> u64 {
        assert!(self.0.iter().all(|&one| one == self.0[0]), "torn: {:?}", &self.0[..]);
        self.0[0]
    }
}

fn options(readers: u32, writers: u32) -> LatestOptions {
    LatestOptions::new().readers(readers).writers(writers)
}

fn pages(readers: u32, writers: u32) -> Latest<Page> {
    Latest::with_options(&options(readers, writers)).unwrap()
}

fn a_store_is_what_the_next_load_gets() {
    let latest = Latest::new(&7u32).unwrap();
    assert_eq!((latest.version(), latest.load().unwrap(), latest.size()), (1, 7, 4));
    for number in 8..1000 {
        assert_eq!(latest.store(&number).unwrap(), u64::from(number) - 6);
        assert_eq!(latest.load().unwrap(), number);
        assert_eq!(latest.version(), u64::from(number) - 6);
    }
}

fn a_child_stores_and_the_parent_sees_it() {
    let latest = pages(2, 1);
    let mut reader = latest.reader().unwrap();
    assert_eq!(reader.load().unwrap().number(), 0);
    in_child(|| {
        latest.store(&Page::of(5)).unwrap();
    });
    assert_eq!(reader.load().unwrap().number(), 5);
    let claim = reader.claim().unwrap();
    assert_eq!((claim.version(), claim.get().number()), (2, 5));
}

fn a_struct_is_seen_by_who_opens_it_by_name() {
    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    #[repr(C)]
    struct Pose {
        at: [f64; 3],
        id: u64,
    }
    let name = unique("pose");
    let first = Pose { at: [1.0, 2.0, 3.0], id: 9 };
    let made = Latest::create_with(&name, &options(3, 1), &first).unwrap();
    let again = Latest::<Pose>::open_or_create(&name, &options(8, 8)).unwrap();
    assert_eq!(again.load().unwrap(), first);
    again.store(&Pose { id: 10, ..first }).unwrap();
    assert_eq!(made.load().unwrap().id, 10);
    is(Latest::<Page>::open(&name), ErrorKind::Type, &["4096"]);
    is(Latest::<[u8]>::open(&name), ErrorKind::Type, &["32"]);
    Segment::unlink(&name).unwrap();
}

fn values_are_never_torn_and_never_go_back() {
    let latest = pages(2, 2);
    let count = Count::new();
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (latest, count) = (&latest, &count);
            spawn(move || {
                while count.of(0).load(std::sync::atomic::Ordering::Relaxed) == 0 {
                    let mut write = latest.reserve().unwrap();
                    let number = latest.version();
                    write.set(&Page::of(number));
                    // Others may have stored meanwhile, but never fewer than were there.
                    assert!(write.commit().unwrap() > number);
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let latest = &latest;
            spawn(move || {
                let mut reader = latest.reader().unwrap();
                let (mut last, mut different) = (0, 0);
                while different < 4_000 {
                    let known = latest.version();
                    let claim = reader.claim().unwrap();
                    assert!(claim.version() >= known.max(last), "an older value than was seen");
                    assert!(claim.get().number() < claim.version());
                    different += u32::from(claim.version() > last);
                    last = claim.version();
                }
            })
        })
        .collect();
    for reader in &readers {
        join(reader);
    }
    count.add(1);
    for writer in &writers {
        join(writer);
    }
}

fn values_from_64_bytes_to_64_megabytes_come_whole() {
    for size in [64, 4096, 1 << 20, 64 << 20] {
        let latest = Latest::<[u8]>::with_options(&options(1, 1).bytes(size as u64)).unwrap();
        let rounds = (256 << 20) / size.max(1 << 16);
        let child = spawn(|| {
            let pattern = vec![1u8; 1 << 12];
            for round in 0..rounds as u64 {
                let mut write = latest.reserve().unwrap();
                let bytes: Vec<u8> = pattern.iter().map(|&one| one * (round % 200) as u8).collect();
                for start in (0..size).step_by(1 << 12) {
                    write.copy_from_slice(start, &bytes[..bytes.len().min(size - start)]).unwrap();
                }
                write.commit().unwrap();
            }
        });
        let mut reader = latest.reader().unwrap();
        let mut bytes = vec![0; size];
        let deadline = Instant::now() + LONG;
        let mut last = 0;
        while last < 1 + rounds as u64 {
            assert!(Instant::now() < deadline, "the last value does not come");
            let claim = reader.claim().unwrap();
            claim.copy_to_slice(0, &mut bytes).unwrap();
            assert!(bytes.iter().all(|&one| one == bytes[0]), "{size} bytes are torn");
            let first = claim.version() == 1;
            let round = if first { 0 } else { (claim.version() - 2) % 200 };
            assert_eq!(u64::from(bytes[0]), round);
            last = claim.version();
        }
        join(&child);
    }
}

fn a_claimed_value_stays_what_it_is_while_others_are_stored() {
    let latest = pages(3, 1);
    let mut readers: Vec<_> = (0..3).map(|_| latest.reader().unwrap()).collect();
    let mut claims = Vec::new();
    for (number, reader) in (1..).zip(&mut readers) {
        latest.store(&Page::of(number)).unwrap();
        claims.push(reader.claim().unwrap());
    }
    in_child(|| {
        for number in 10..1000 {
            latest.store(&Page::of(number)).unwrap();
        }
    });
    for (number, claim) in (1..).zip(&claims) {
        assert_eq!((claim.get().number(), claim.version()), (number, number + 1));
    }
    drop(claims);
    assert_eq!(readers[0].load().unwrap().number(), 999);
}

fn a_reservation_that_is_dropped_changes_nothing() {
    let latest = pages(1, 1);
    latest.store(&Page::of(3)).unwrap();
    for _ in 0..10 {
        let mut write = latest.reserve().unwrap();
        write.set(&Page::of(4));
    }
    assert_eq!((latest.load().unwrap().number(), latest.version()), (3, 2));
    let mut write = latest.reserve().unwrap();
    is(write.copy_from_slice(4095, &[1, 2]), ErrorKind::Invalid, &["2 bytes", "4095", "4096"]);
    is(write.copy_from_slice(usize::MAX, &[1]), ErrorKind::Invalid, &["4096"]);
    drop(write);
    let mut reader = latest.reader().unwrap();
    let claim = reader.claim().unwrap();
    is(claim.copy_to_slice(4096, &mut [0]), ErrorKind::Invalid, &["1 bytes", "4096"]);
}

fn a_wait_for_a_newer_value_ends_with_a_store_its_deadline_or_its_canceller() {
    let latest = Latest::new(&1u64).unwrap();
    let begin = Instant::now();
    is(latest.wait_newer(1, SHORT), ErrorKind::TimedOut, &["newer"]);
    assert!(begin.elapsed() >= SHORT);
    is(latest.wait_newer(1, Duration::ZERO), ErrorKind::TimedOut, &["newer"]);
    assert_eq!(latest.wait_newer(0, Duration::ZERO).unwrap(), 1);
    let child = spawn(|| {
        assert_eq!(latest.wait_newer(1, LONG).unwrap(), 2);
        assert_eq!(latest.load().unwrap(), 5);
    });
    crate::probe::until_asleep(child.pid());
    latest.store(&5).unwrap();
    join(&child);
    let canceller = Canceller::new();
    canceller.cancel();
    is(canceller.run(|| latest.wait_newer(2, LONG)), ErrorKind::Interrupted, &["cancelled"]);
}

fn a_sleeper_is_woken_by_every_store() {
    let (there, back) = (Latest::new(&0u64).unwrap(), Latest::new(&0u64).unwrap());
    let rounds = if std::env::var_os("MPSHM_QUICK").is_some() { 2_000 } else { 50_000 };
    let child = spawn(|| {
        for version in 1..=rounds {
            assert_eq!(there.wait_newer(version, LONG).unwrap(), version + 1);
            back.store(&version).unwrap();
        }
    });
    for version in 1..=rounds {
        there.store(&version).unwrap();
        assert_eq!(back.wait_newer(version, LONG).unwrap(), version + 1);
        assert_eq!(back.load().unwrap(), version);
    }
    join(&child);
}

fn a_stopped_writer_and_a_stopped_reader_hold_nobody_up() {
    let latest = pages(2, 2);
    let count = Count::new();
    let writer = spawn(|| {
        let mut write = latest.reserve().unwrap();
        count.add(1);
        loop {
            write.set(&Page::of(99));
        }
    });
    let reader = spawn(|| {
        let mut reader = latest.reader().unwrap();
        let _claim = reader.claim().unwrap();
        count.add(1);
        for_ever();
    });
    until("both are in the middle", LONG, || count.get() == 2);
    stop(&writer);
    stop(&reader);
    let mut mine = latest.reader().unwrap();
    for number in 1..100 {
        drop(latest.reserve_timeout(Duration::ZERO).unwrap());
        latest.store(&Page::of(number)).unwrap();
        assert_eq!(mine.load().unwrap().number(), number);
    }
    for child in [writer, reader] {
        go_on(&child);
        kill(&child);
    }
}

fn a_killed_writer_leaves_the_last_whole_value() {
    let latest = pages(1, 1);
    latest.store(&Page::of(7)).unwrap();
    for round in 0..20 {
        let count = Count::new();
        let writer = spawn(|| {
            let mut write = latest.reserve().unwrap();
            count.add(1);
            loop {
                write.set(&Page::of(99));
            }
        });
        until("it writes", LONG, || count.get() == 1);
        kill(&writer);
        assert_eq!(latest.load().unwrap().number(), 7 + round);
        let begin = Instant::now();
        latest.store(&Page::of(8 + round)).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        assert_eq!(latest.load().unwrap().number(), 8 + round);
    }
}

fn what_killed_readers_held_is_free_again() {
    let latest = pages(2, 1);
    for round in 1..20 {
        let count = Count::new();
        let readers = [(); 2].map(|()| {
            spawn(|| {
                let mut reader = latest.reader().unwrap();
                let _claim = reader.claim().unwrap();
                count.add(1);
                for_ever();
            })
        });
        until("both have claimed", LONG, || count.get() == 2);
        is(latest.reader(), ErrorKind::Limit, &["2 readers"]);
        readers.iter().for_each(kill);
        for number in 0..5 {
            latest.store(&Page::of(10 * round + number)).unwrap();
        }
        let mut mine = [(); 2].map(|()| latest.reader().unwrap());
        for reader in &mut mine {
            assert_eq!(reader.load().unwrap().number(), 10 * round + 4);
        }
    }
}

fn one_writer_too_many_waits_for_another() {
    let latest = pages(1, 2);
    let mut reader = latest.reader().unwrap();
    let _old = reader.claim().unwrap();
    latest.store(&Page::of(3)).unwrap();
    let first = latest.reserve().unwrap();
    let second = latest.reserve().unwrap();
    is(latest.reserve_timeout(Duration::ZERO), ErrorKind::TimedOut, &["buffer"]);
    is(latest.reserve_timeout(SHORT), ErrorKind::TimedOut, &["buffer"]);
    let child = spawn(|| {
        latest.store(&Page::of(4)).unwrap();
    });
    crate::probe::until_asleep(child.pid());
    drop(first);
    join(&child);
    assert_eq!(latest.version(), 3);
    second.commit().unwrap();
    assert_eq!(latest.version(), 4);
}

fn a_reader_too_many_is_told_so() {
    let latest = pages(2, 1);
    let first = latest.reader().unwrap();
    let second = latest.reader().unwrap();
    is(latest.reader(), ErrorKind::Limit, &["2 readers"]);
    is(latest.load().map(|page| page.number()), ErrorKind::Limit, &["2 readers"]);
    drop(first);
    assert_eq!(latest.load().unwrap().number(), 0);
    drop(second);
}

fn a_forked_child_reads_with_a_pin_of_its_own() {
    let latest = pages(2, 1);
    let mut reader = latest.reader().unwrap();
    latest.store(&Page::of(1)).unwrap();
    let claim = reader.claim().unwrap();
    in_child(|| {
        let mut own = latest.reader().unwrap();
        assert_eq!(own.load().unwrap().number(), 1);
        // Both pins are taken: the parent's is not the child's.
        is(latest.reader(), ErrorKind::Limit, &["2 readers"]);
        for number in 2..50 {
            latest.store(&Page::of(number)).unwrap();
        }
    });
    assert_eq!(claim.get().number(), 1);
    drop(claim);
    in_child(|| {
        // SAFETY: this child's copy of its parent's reader, which does not look at it again.
        let mut reader = unsafe { (&raw const reader).read() };
        assert_eq!(reader.load().unwrap().number(), 49);
        is(latest.reader(), ErrorKind::Limit, &["2 readers"]);
        drop(reader);
        latest.reader().unwrap();
    });
    // The parent's is still taken.
    let _one = latest.reader().unwrap();
    is(latest.reader(), ErrorKind::Limit, &["2 readers"]);
}

fn a_forked_child_cannot_commit_what_its_parent_reserved() {
    let latest = pages(1, 1);
    let mut write = latest.reserve().unwrap();
    write.set(&Page::of(5));
    let child = {
        let latest = &latest;
        // The child's copy: what it does with it must not change the parent's.
        let write = &raw mut write;
        spawn(move || {
            // SAFETY: the child's own copy, which the parent does not use.
            let mut write = unsafe { write.read() };
            is(write.copy_from_slice(0, &[1]), ErrorKind::Forked, &["parent"]);
            write.set(&Page::of(6));
            is(write.commit(), ErrorKind::Forked, &["parent"]);
            assert_eq!(latest.version(), 1);
        })
    };
    join(&child);
    assert_eq!(write.commit().unwrap(), 2);
    assert_eq!(latest.load().unwrap().number(), 5);
}

fn killed_at_random_nobody_leaves_a_buffer_or_a_pin_taken() {
    let latest = pages(3, 2);
    let mut random = Random::new(17);
    let kills = if std::env::var_os("MPSHM_QUICK").is_some() { 200 } else { 2000 };
    let mut children: Vec<_> = (0..4).map(|index| start(&latest, index)).collect();
    let mut last = 0;
    let mut reader = latest.reader().unwrap();
    for _ in 0..kills {
        random.pause(300);
        let index = random.below(4) as usize;
        kill(&children[index]);
        children[index] = start(&latest, index);
        let claim = reader.claim().unwrap();
        claim.get().number();
        assert!(claim.version() >= last);
        last = claim.version();
    }
    children.iter().for_each(kill);
    assert!(last > 1, "nobody stored anything");
    drop(reader);
    let mut readers: Vec<_> = (0..3).map(|_| latest.reader().unwrap()).collect();
    let claims: Vec<_> = readers.iter_mut().map(|reader| reader.claim().unwrap()).collect();
    let one = latest.reserve_timeout(LONG).unwrap();
    let two = latest.reserve_timeout(LONG).unwrap();
    drop((one, two, claims));

    fn start(latest: &Latest<Page>, index: usize) -> mpshm::Process {
        spawn(move || {
            if index < 2 {
                for number in 0.. {
                    latest.store(&Page::of(number)).unwrap();
                }
            }
            loop {
                let mut reader = latest.reader().unwrap();
                for _ in 0..100 {
                    reader.load().unwrap().number();
                }
            }
        })
    }
}

fn what_cannot_be_made_or_opened_is_said() {
    is(Latest::<u32>::with_options(&options(0, 1)), ErrorKind::Invalid, &["0 readers", "128"]);
    is(Latest::<u32>::with_options(&options(129, 1)), ErrorKind::Invalid, &["129 readers"]);
    is(Latest::<u32>::with_options(&options(1, 0)), ErrorKind::Invalid, &["0 writers", "64"]);
    is(Latest::<u32>::with_options(&options(1, 65)), ErrorKind::Invalid, &["65 writers"]);
    is(Latest::<[u8]>::with_options(&options(1, 1)), ErrorKind::Invalid, &["0 bytes"]);
    is(Latest::<()>::new(&()), ErrorKind::Invalid, &["0 bytes"]);
    let huge = options(1, 1).bytes(u64::MAX);
    is(Latest::<[u8]>::with_options(&huge), ErrorKind::NoSpace, &["18446744073709551615"]);
    let large = options(100, 60).bytes(1 << 39);
    is(Latest::<[u8]>::with_options(&large), ErrorKind::NoSpace, &[]);
    is(Latest::<u32>::open(&unique("none")), ErrorKind::NotFound, &["none"]);
    let name = unique("twice");
    let _made = Latest::<u32>::create(&name, &options(1, 1)).unwrap();
    is(Latest::<u32>::create(&name, &options(1, 1)), ErrorKind::Exists, &["twice"]);
    is(Latest::<f32>::open(&name), ErrorKind::Type, &["f32", "u32"]);
    is(mpshm::Value::<u32>::open(&name), ErrorKind::Type, &[]);
    Segment::unlink(&name).unwrap();
}
