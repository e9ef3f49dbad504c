//! What `select` and `select_all` promise, over real processes.

mod deaths;
mod kinds;

use crate::common::{Test, until};
use crate::probe::{
    Count, LONG, Random, SHORT, costs_next_to_nothing, cpu_seconds, for_ever, is, join, kill,
    spawn, stop, until_asleep, without_system_calls,
};
use crate::tests;
use deaths::*;
use kinds::*;
use mpshm::{
    Canceller, ErrorKind, Event, Readable, Ready, Ring, Semaphore, Waitable, select, select_all,
};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    each_kind_wakes_who_sleeps: 120,
    each_kind_wakes_who_sleeps_without_futex_waitv: 120,
    each_kind_is_found_by_a_look,
    what_is_closed_counts_as_ready,
    no_pulse_is_lost: 60,
    all_that_are_ready_are_said,
    all_waits_for_the_last,
    all_of_processes_and_words,
    times_are_kept,
    no_items_are_an_error,
    hundreds_of_objects: 120,
    hundreds_of_objects_without_futex_waitv: 120,
    wakers_that_are_killed: 60,
    selectors_that_are_killed_keep_nobody: 60,
    a_stopped_selector_keeps_nobody,
    nobody_is_stranded_beside_selectors: 120,
    nobody_is_stranded_by_a_wait_for_all: 120,
    a_ring_loses_no_wake_up: 120,
    cancelling_ends_a_wait,
    an_owner_that_dies_frees_its_permit,
    ends_that_die_are_found,
    a_participant_that_dies_is_known,
    a_participant_that_leaves_is_known,
    a_participant_that_is_stopped_lives,
    peers_are_the_others,
    waiting_costs_next_to_nothing: 60,
    what_is_ready_is_found_without_a_system_call,
];

/// How long something took that ought to take no slice: the median of several tries, for the machine may be busy.
struct Delays(Vec<Duration>);

impl Delays {
    fn are_shorter_than(mut self, most: Duration, what: &str) {
        self.0.sort_unstable();
        let median = self.0[self.0.len() / 2];
        println!("    {what}: {median:?} in the middle, {:?} at most", self.0[self.0.len() - 1]);
        assert!(median < most, "{what}: {median:?}");
    }
}

/// Half of the time after which a sleeper would look by itself.
const BEFORE_THE_SLICE: Duration = Duration::from_millis(40);

fn places(ready: &Ready) -> Vec<usize> {
    ready.iter().collect()
}

fn events(count: usize) -> Vec<Event> {
    let segment = mpshm::Segment::options().objects(1024).anonymous(1 << 18).unwrap();
    (0..count).map(|number| Event::create(segment.at(&number.to_string())).unwrap()).collect()
}

fn all(events: &[Event]) -> Vec<&dyn Waitable> {
    events.iter().map(|event| event as &dyn Waitable).collect()
}

fn all_that_are_ready_are_said() {
    let events = events(5);
    events[1].set();
    events[4].set();
    let ready = select(&all(&events), Duration::ZERO).unwrap();
    assert_eq!(places(&ready), [1, 4]);
    assert_eq!((ready.len(), ready.contains(1), ready.contains(2)), (2, true, false));
    assert!(!ready.is_empty() && !ready.is_all());
    // Nothing was consumed.
    assert_eq!(select(&all(&events), Duration::ZERO).unwrap(), ready);
}

fn all_waits_for_the_last() {
    let events = events(3);
    let parent = std::process::id();
    let child = spawn(|| {
        for event in &events {
            until_asleep(parent);
            event.set();
        }
    });
    let ready = select_all(&all(&events), LONG).unwrap();
    assert!(ready.is_all());
    join(&child);
    events[1].clear();
    let start = Instant::now();
    let ready = select_all(&all(&events), SHORT).unwrap();
    assert!(start.elapsed() >= SHORT);
    assert_eq!((places(&ready), ready.is_all()), (vec![0, 2], false));
}

fn all_of_processes_and_words() {
    let (event, go) = (Event::new().unwrap(), Event::new().unwrap());
    let first = spawn(|| ());
    let second = spawn(|| go.wait().unwrap());
    let third = spawn(|| {
        until_asleep(second.pid());
        event.set();
        go.set();
    });
    let (used, start) = (cpu_seconds(), Instant::now());
    let ready = select_all(&[&first, &event, &second, &third], LONG).unwrap();
    assert!(ready.is_all());
    [&first, &second, &third].into_iter().for_each(join);
    // What has ended does not keep a wait for the others from sleeping.
    let living = spawn(|| for_ever());
    let ended = select_all(&[&first, &living], 4 * SHORT).unwrap();
    assert_eq!(places(&ended), [0]);
    let (used, took) = (cpu_seconds() - used, start.elapsed().as_secs_f64());
    assert!(used < took / 4.0, "{used} s of {took} s");
    kill(&living);
}

fn times_are_kept() {
    let events = events(200);
    for count in [1, 2, 200] {
        let start = Instant::now();
        assert!(select(&all(&events[..count]), Duration::ZERO).unwrap().is_empty());
        assert!(start.elapsed() < SHORT, "a look took {:?}", start.elapsed());
        let start = Instant::now();
        assert!(select(&all(&events[..count]), 3 * SHORT).unwrap().is_empty());
        assert!(start.elapsed() >= 3 * SHORT, "{:?}", start.elapsed());
        assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    }
    let child = spawn(|| for_ever());
    let start = Instant::now();
    assert!(select(&[&child], 3 * SHORT).unwrap().is_empty());
    assert!(select(&[&child, &events[0]], Instant::now() + SHORT).unwrap().is_empty());
    assert!(start.elapsed() >= 4 * SHORT, "{:?}", start.elapsed());
    kill(&child);
}

fn no_items_are_an_error() {
    is(select(&[], LONG), ErrorKind::Invalid, &["no items"]);
    is(select_all(&[], LONG), ErrorKind::Invalid, &["no items"]);
}

fn no_pulse_is_lost() {
    let (event, other) = (Event::new().unwrap(), Event::new().unwrap());
    for _ in 0..100 {
        let child = spawn(|| assert_eq!(places(&select(&[&other, &event], LONG).unwrap()), [1]));
        until_asleep(child.pid());
        event.set();
        event.clear();
        join(&child);
    }
}

fn hundreds_of_objects() {
    let events = events(300);
    let parent = std::process::id();
    let (turn, mut delays) = (Count::new(), Vec::new());
    let child = spawn(|| {
        let mut random = Random::new(300);
        for round in 1..=60 {
            until("the next round", LONG, || turn.get() == round);
            until_asleep(parent);
            let place = random.below(300);
            turn.of(1).store(place, Ordering::SeqCst);
            turn.of(2).store(now(), Ordering::SeqCst);
            events[place as usize].set();
        }
    });
    for _ in 0..60 {
        turn.add(1);
        let ready = select(&all(&events), LONG).unwrap();
        delays.push(Duration::from_nanos(now() - turn.of(2).load(Ordering::SeqCst)));
        let place = turn.of(1).load(Ordering::SeqCst) as usize;
        assert_eq!(places(&ready), [place]);
        events[place].clear();
    }
    join(&child);
    Delays(delays).are_shorter_than(BEFORE_THE_SLICE, "one of 300");
}

fn hundreds_of_objects_without_futex_waitv() {
    crate::probe::without_futex_waitv();
    hundreds_of_objects();
}

/// Nanoseconds of the clock that all processes have.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn wakers_that_are_killed() {
    let events = events(3);
    let mut random = Random::new(5);
    for _ in 0..60 {
        let waiter = spawn(|| {
            // The dying one may have set and not cleared.
            let ready = select(&all(&events), LONG).unwrap();
            assert!(!ready.is_empty());
        });
        until_asleep(waiter.pid());
        let setter = spawn(|| {
            loop {
                events[0].set();
                events[0].clear();
            }
        });
        random.pause(200);
        kill(&setter);
        events[2].set();
        join(&waiter);
        events[0].clear();
        events[2].clear();
    }
}

fn selectors_that_are_killed_keep_nobody() {
    let (seats, other) = (Semaphore::new(0).unwrap(), Event::new().unwrap());
    let mut random = Random::new(6);
    for _ in 0..60 {
        let sleeper = spawn(|| seats.acquire().unwrap().forget());
        let selector = spawn(|| {
            loop {
                select(&[&seats, &other], LONG).unwrap();
            }
        });
        until_asleep(sleeper.pid());
        random.pause(300);
        seats.release(1).unwrap();
        random.pause(100);
        kill(&selector);
        join(&sleeper);
        assert_eq!(seats.value(), 0, "nothing was consumed");
    }
}

fn a_stopped_selector_keeps_nobody() {
    let (seats, other) = (Semaphore::new(0).unwrap(), Event::new().unwrap());
    let selector = spawn(|| assert!(!select(&[&other, &seats], LONG).unwrap().is_empty()));
    until_asleep(selector.pid());
    let sleeper = spawn(|| seats.acquire().unwrap().forget());
    until_asleep(sleeper.pid());
    stop(&selector);
    // The wake-up may go to the one that is stopped; then the sleeper finds the permit after its slice.
    seats.release(1).unwrap();
    join(&sleeper);
    crate::probe::go_on(&selector);
    other.set();
    join(&selector);
}

/// Waits for either of two semaphores, for ever, and takes from the second only.
fn takes_the_second(one: &Semaphore, two: &Semaphore, taken: &Count) -> ! {
    loop {
        if !select(&[one, two], LONG).unwrap().contains(1) {
            std::thread::yield_now();
        } else if let Ok(permit) = two.try_acquire() {
            permit.forget();
            taken.add(1);
        }
    }
}

/// One that is told of two things takes one of them: who sleeps for the other gets that at once, not after its slice.
fn nobody_is_stranded_beside_selectors() {
    let (one, two) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    let taken = Count::new();
    let selector = spawn(|| takes_the_second(&one, &two, &taken));
    let mut delays = Vec::new();
    for round in 1..=40 {
        until_asleep(selector.pid());
        // It comes last, so that the selector is woken first; by the time that it runs both permits are there.
        let sleeper = spawn(|| {
            one.acquire().unwrap().forget();
            taken.add(1);
        });
        until_asleep(sleeper.pid());
        until_asleep(selector.pid());
        let start = Instant::now();
        one.release(1).unwrap();
        two.release(1).unwrap();
        until("both permits are taken", LONG, || taken.get() == 2 * round);
        delays.push(start.elapsed());
        join(&sleeper);
    }
    kill(&selector);
    Delays(delays).are_shorter_than(BEFORE_THE_SLICE, "until both permits are taken");
}

fn nobody_is_stranded_by_a_wait_for_all() {
    let (one, never) = (Semaphore::new(0).unwrap(), Event::new().unwrap());
    let taken = Count::new();
    let mut delays = Vec::new();
    for round in 1..=40 {
        let selector = spawn(|| drop(select_all(&[&one, &never], LONG * 6)));
        until_asleep(selector.pid());
        // It comes last, so that the selector is woken first.
        let sleeper = spawn(|| {
            one.acquire().unwrap().forget();
            taken.add(1);
        });
        until_asleep(sleeper.pid());
        let start = Instant::now();
        one.release(1).unwrap();
        until("the permit is taken", LONG, || taken.get() == round);
        delays.push(start.elapsed());
        join(&sleeper);
        kill(&selector);
    }
    Delays(delays).are_shorter_than(BEFORE_THE_SLICE, "until the permit is taken");
}

/// A ring's push makes no barrier of its own: who is about to sleep makes it for both.
fn a_ring_loses_no_wake_up() {
    let (there, back) = (Ring::<u64>::new(1).unwrap(), Ring::<u64>::new(1).unwrap());
    // So many that a wait goes to sleep without lingering.
    let never = events(20);
    let waits = |items: &Readable| {
        let mut all = all(&never);
        all.push(items);
        assert_eq!(places(&select(&all, LONG).unwrap()), [20]);
    };
    let rounds = if std::env::var_os("MPSHM_QUICK").is_some() { 3_000 } else { 20_000 };
    let child = spawn(|| {
        let (mut pops, mut pushes) = (there.consumer(), back.producer());
        for round in 0..rounds {
            waits(&pops.readable());
            assert_eq!(pops.try_pop(), Ok(round));
            pushes.push(round).unwrap();
        }
    });
    let (mut pops, mut pushes) = (back.consumer(), there.producer());
    let (mut late, mut random) = (0, Random::new(20));
    for round in 0..rounds {
        // Now and then the push comes just when the other one announces itself and looks.
        random.pause(10);
        let start = Instant::now();
        pushes.push(round).unwrap();
        while pops.try_pop() != Ok(round) {
            std::thread::yield_now();
        }
        late += u64::from(start.elapsed() > BEFORE_THE_SLICE);
    }
    println!("    {late} of {rounds} rounds took longer than {BEFORE_THE_SLICE:?}");
    assert!(late <= rounds / 1000);
    join(&child);
}

fn cancelling_ends_a_wait() {
    let (event, living) = (Event::new().unwrap(), spawn(|| for_ever()));
    let many = events(200);
    let mut items: Vec<Vec<&dyn Waitable>> =
        vec![vec![&event], vec![&event, &living], vec![&living], all(&many)];
    for items in items.drain(..) {
        let canceller = Canceller::new();
        let other = canceller.clone();
        let start = Instant::now();
        std::thread::scope(|threads| {
            threads.spawn(move || {
                std::thread::sleep(SHORT);
                other.cancel();
            });
            let ended = canceller.run(|| select(&items, LONG * 3));
            is(ended, ErrorKind::Interrupted, &["cancelled"]);
        });
        assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    }
    event.set();
    let canceller = Canceller::new();
    canceller.cancel();
    let found = canceller.run(|| select(&[&living, &event], LONG)).unwrap();
    assert_eq!(places(&found), [1], "what is there wins");
    kill(&living);
}

fn waiting_costs_next_to_nothing() {
    let events = events(100);
    for count in [1, 10, 100] {
        costs_next_to_nothing(&format!("select of {count}"), || {
            let ready = select(&all(&events[..count]), Duration::from_secs(2)).unwrap();
            assert!(ready.is_empty());
        });
    }
    let child = spawn(|| for_ever());
    costs_next_to_nothing("select of a process", || {
        assert!(select(&[&child], Duration::from_secs(2)).unwrap().is_empty());
    });
    let used = cpu_seconds();
    assert!(select(&[&child, &events[0]], Duration::from_secs(4)).unwrap().is_empty());
    let used = (cpu_seconds() - used) / 4.0;
    println!("    select of a process and an event: {:.4} % of a processor", used * 100.0);
    assert!(used < 0.01, "{used}");
    kill(&child);
}

fn what_is_ready_is_found_without_a_system_call() {
    let events = events(3);
    events[1].set();
    let look = || assert_eq!(places(&select(&all(&events), LONG).unwrap()), [1]);
    assert!(without_system_calls(look, look));
    // And the check can tell.
    let waits = || drop(select(&all(&events[..1]), SHORT));
    assert!(!without_system_calls(look, waits));
}
