//! What an `Event` promises, over real processes.

use crate::common::{Test, until};
use crate::probe::{
    Count, LONG, Random, SHORT, costs_next_to_nothing, go_on, in_child, is, join, kill, spawn,
    stop, until_asleep, without_system_calls,
};
use crate::tests;
use mpshm::{Canceller, ErrorKind, Event, Process, Segment, Value};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    a47_an_event_begins_unset_and_stays_set,
    a48_a_cleared_event_blocks_until_a_child_sets_it,
    b10_set_returns_at_once_whoever_of_the_waiters_was_killed,
    b10_a_stopped_waiter_keeps_nobody_and_learns_of_the_pulse_later,
    b12_no_pulse_is_lost: 120,
    b13_set_from_a_signal_handler_that_interrupted_the_same_event: 60,
    a_set_that_died_before_its_wake_is_found_by_sleepers: 60,
    a_million_rounds_of_two_processes: 300,
    a_million_rounds_of_two_processes_on_one_processor: 300,
    all_threads_and_processes_that_wait_go_on,
    cancelling_ends_a_wait,
    errno_is_left_alone,
    opening_as_another_kind_is_an_error,
    an_event_in_a_segment_is_found_by_name,
    waiting_costs_next_to_nothing,
    what_does_not_wait_makes_no_system_call,
];

fn quick() -> bool {
    std::env::var_os("MPSHM_QUICK").is_some()
}

fn a47_an_event_begins_unset_and_stays_set() {
    let event = Event::new().unwrap();
    assert!(!event.is_set());
    let start = Instant::now();
    assert!(!event.wait_timeout(Duration::ZERO).unwrap());
    assert!(start.elapsed() < SHORT, "a look took {:?}", start.elapsed());
    let start = Instant::now();
    assert!(!event.wait_timeout(SHORT).unwrap());
    assert!(start.elapsed() >= SHORT);
    event.set();
    for _ in 0..3 {
        assert!(event.is_set());
        event.wait().unwrap();
        assert!(event.wait_timeout(Duration::ZERO).unwrap());
        event.set();
    }
    event.clear();
    event.clear();
    assert!(!event.is_set());
}

fn a48_a_cleared_event_blocks_until_a_child_sets_it() {
    let event = Event::new().unwrap();
    event.set();
    event.clear();
    let parent = std::process::id();
    let child = spawn(|| {
        until_asleep(parent);
        event.set();
    });
    event.wait().unwrap();
    assert!(event.is_set());
    join(&child);
}

/// Children that wait for ever, all asleep.
fn waiters(event: &Event, count: usize) -> Vec<Process> {
    let waiters: Vec<Process> = (0..count).map(|_| spawn(|| event.wait().unwrap())).collect();
    waiters.iter().for_each(|waiter| until_asleep(waiter.pid()));
    waiters
}

fn b10_set_returns_at_once_whoever_of_the_waiters_was_killed() {
    let event = Event::new().unwrap();
    let waiters = waiters(&event, 5);
    kill(&waiters[0]);
    kill(&waiters[3]);
    let start = Instant::now();
    event.set();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    for index in [1, 2, 4] {
        join(&waiters[index]);
    }
}

fn b10_a_stopped_waiter_keeps_nobody_and_learns_of_the_pulse_later() {
    let event = Event::new().unwrap();
    let waiters = waiters(&event, 3);
    stop(&waiters[0]);
    event.set();
    event.clear();
    join(&waiters[1]);
    join(&waiters[2]);
    go_on(&waiters[0]);
    join(&waiters[0]);
}

fn b12_no_pulse_is_lost() {
    // The waiter says that it waits only by what it shows in its last look: it counts each pulse that it was
    // told of, and the next one is given only then. One that it missed is a time-out.
    let rounds = if quick() { 3_000 } else { 100_000 };
    let event = Event::new().unwrap();
    let (about_to_wait, told) = (Count::new(), Count::new());
    let waiter = spawn(|| {
        for _ in 0..rounds {
            about_to_wait.add(1);
            assert!(event.wait_timeout(Duration::from_secs(60)).unwrap(), "false");
            told.add(1);
        }
    });
    for round in 1..=rounds {
        while about_to_wait.get() < round {
            std::thread::yield_now();
        }
        // Whether the wait has begun is not known: pulses go on until it has ended.
        while told.get() < round {
            event.set();
            event.clear();
            std::thread::yield_now();
        }
    }
    until("all rounds are told", LONG, || told.get() == rounds);
    join(&waiter);

    // Asleep, and so certainly waiting: one pulse is enough.
    for _ in 0..100 {
        let waiter = waiters(&event, 1);
        event.set();
        event.clear();
        join(&waiter[0]);
    }
}

static HANDLED: AtomicU32 = AtomicU32::new(0);
static EVENT: AtomicPtr<Event> = AtomicPtr::new(std::ptr::null_mut());

/// Installs a handler of SIGUSR1 that sets `event`, and gives it to `body`.
fn set_in_a_handler(event: &Event, body: impl FnOnce()) {
    extern "C" fn handler(_: libc::c_int) {
        // SAFETY: set below, and taken away only after the handler.
        unsafe { &*EVENT.load(Ordering::Relaxed) }.set();
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
    EVENT.store(std::ptr::from_ref(event).cast_mut(), Ordering::Relaxed);
    // SAFETY: a handler that does what is async-signal-safe.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t) };
    body();
    // SAFETY: no handler.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
}

fn b13_set_from_a_signal_handler_that_interrupted_the_same_event() {
    let event = Event::new().unwrap();
    let parent = std::process::id() as i32;
    let done = Count::new();
    set_in_a_handler(&event, || {
        let shooter = spawn(|| {
            let mut random = Random::new(13);
            while done.get() == 0 {
                random.pause(60);
                // SAFETY: our parent, which waits for us.
                unsafe { libc::kill(parent, libc::SIGUSR1) };
                std::thread::yield_now();
            }
        });
        // Calls of all kinds are interrupted; each wait ends by a set of the handler's.
        let wanted = if quick() { 300 } else { 3_000 };
        let mut rounds = 0;
        while HANDLED.load(Ordering::Relaxed) < wanted || rounds < 300 {
            assert!(event.wait_timeout(LONG).unwrap(), "a set was lost");
            for _ in 0..20 {
                event.clear();
                let _ = event.is_set();
                event.set();
            }
            event.clear();
            rounds += 1;
        }
        done.add(1);
        join(&shooter);
    });
}

fn a_set_that_died_before_its_wake_is_found_by_sleepers() {
    // Whoever is killed as it sets and clears leaves sleepers that another set still reaches, soon.
    let event = Event::new().unwrap();
    let mut random = Random::new(7);
    for _ in 0..if quick() { 30 } else { 300 } {
        event.clear();
        let waiter = waiters(&event, 1);
        let setter = spawn(|| {
            loop {
                event.set();
                event.clear();
            }
        });
        random.pause(200);
        kill(&setter);
        event.set();
        join(&waiter[0]);
    }
}

fn rounds_of_two(rounds: u64) {
    let (ping, pong) = (Event::new().unwrap(), Event::new().unwrap());
    let child = spawn(|| {
        for round in 0..rounds {
            assert!(ping.wait_timeout(LONG).unwrap(), "lost in round {round}");
            ping.clear();
            pong.set();
        }
    });
    let start = Instant::now();
    for round in 0..rounds {
        ping.set();
        assert!(pong.wait_timeout(LONG).unwrap(), "lost in round {round}");
        pong.clear();
    }
    println!("    {:.0} ns a round", start.elapsed().as_secs_f64() * 1e9 / rounds as f64);
    join(&child);
}

fn a_million_rounds_of_two_processes() {
    rounds_of_two(if quick() { 20_000 } else { 1_000_000 });
}

fn a_million_rounds_of_two_processes_on_one_processor() {
    crate::pin::to_one_processor();
    rounds_of_two(if quick() { 20_000 } else { 1_000_000 });
}

fn all_threads_and_processes_that_wait_go_on() {
    let event = Event::new().unwrap();
    let waiting = waiters(&event, 3);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..3).map(|_| scope.spawn(|| event.wait_timeout(LONG).unwrap())).collect();
        event.set();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    });
    waiting.iter().for_each(join);
}

fn cancelling_ends_a_wait() {
    let event = Event::new().unwrap();
    let canceller = Canceller::new();
    let other = canceller.clone();
    let thread = std::thread::spawn(move || other.cancel());
    is(canceller.run(|| event.wait()), ErrorKind::Interrupted, &["event", "cancelled"]);
    thread.join().unwrap();
    event.set();
    assert!(canceller.run(|| event.wait_timeout(LONG)).unwrap(), "what is there wins");
}

fn errno_is_left_alone() {
    let event = Event::new().unwrap();
    let waiter = waiters(&event, 1);
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() = 77 };
    event.set();
    event.set();
    event.clear();
    assert!(!event.is_set());
    // SAFETY: as above.
    assert_eq!(unsafe { *libc::__errno_location() }, 77);
    join(&waiter[0]);
}

fn opening_as_another_kind_is_an_error() {
    let name = crate::common::unique("kind");
    let event = Event::create(&name).unwrap();
    is(Value::<i32>::open(&name), ErrorKind::Type, &["Event", "Value"]);
    is(Event::create(&name), ErrorKind::Exists, &[&name]);
    drop(event);
    Segment::unlink(&name).unwrap();
    is(Event::open(&name), ErrorKind::NotFound, &[&name]);
    let value = Value::create(&name, 1i32).unwrap();
    is(Event::open(&name), ErrorKind::Type, &["Event", "Value"]);
    drop(value);
    Segment::unlink(&name).unwrap();
}

fn an_event_in_a_segment_is_found_by_name() {
    let segment = Segment::anonymous(4096).unwrap();
    let event = Event::open_or_create(segment.at("go")).unwrap();
    in_child(|| Event::open(segment.at("go")).unwrap().set());
    assert!(event.is_set());
    assert!(Event::open_or_create(segment.at("go")).unwrap().is_set());
    mpshm::recover(&segment).unwrap();
    assert!(event.is_set());
    assert_eq!(segment.objects().unwrap()[0].kind, Some(mpshm::ObjectKind::Event));
}

fn waiting_costs_next_to_nothing() {
    let event = Event::new().unwrap();
    costs_next_to_nothing("Event::wait_timeout", || {
        assert!(!event.wait_timeout(Duration::from_secs(2)).unwrap());
    });
}

fn what_does_not_wait_makes_no_system_call() {
    let event = Event::new().unwrap();
    let used = || {
        event.set();
        event.set();
        event.wait().unwrap();
        event.clear();
        assert!(!event.is_set());
        assert!(!event.wait_timeout(Duration::ZERO).unwrap());
    };
    assert!(without_system_calls(used, used));
    // And the check can tell.
    assert!(!without_system_calls(used, || drop(event.wait_timeout(SHORT))));
}
