//! What a `Once` promises, over real processes.

use crate::common::{Test, until};
use crate::probe::{
    Count, LONG, Random, SHORT, for_ever, go_on, in_child, is, join, kill, spawn, stop,
    until_asleep, without_system_calls,
};
use crate::tests;
use mpshm::{Attempt, Canceller, ErrorKind, Event, Once, Process, Segment, Value};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    of_many_one_does_it_and_the_others_wait_for_it: 60,
    who_comes_later_finds_it_done,
    a_runner_that_panics_is_followed_by_one_that_is_told,
    a_runner_that_dies_is_followed_by_one_that_is_told,
    a_sleeper_follows_a_runner_that_dies,
    a_runner_that_fails_is_followed_by_one_that_is_told,
    who_dies_before_it_begins_is_forgotten,
    a_stopped_runner_is_waited_for_until_the_deadline,
    runners_killed_at_random_do_it_once: 60,
    a_call_in_the_middle_of_its_own_run_is_told_so,
    a_child_forked_in_the_middle_has_not_done_it,
    cancelling_ends_a_wait,
    opening_by_name_finds_it_as_it_is,
    what_is_done_is_asked_without_a_system_call,
];

fn quick() -> bool {
    std::env::var_os("MPSHM_QUICK").is_some()
}

fn of_many_one_does_it_and_the_others_wait_for_it() {
    for _ in 0..if quick() { 50 } else { 500 } {
        let once = Once::new().unwrap();
        let (runs, told) = (Count::new(), Count::new());
        let children: Vec<Process> = (0..4)
            .map(|_| {
                spawn(|| {
                    let ran = once.call(|attempt| {
                        assert_eq!(attempt, Attempt::First);
                        std::thread::yield_now();
                        runs.add(1);
                    });
                    told.add(u64::from(ran.unwrap()));
                    assert_eq!(runs.get(), 1);
                })
            })
            .collect();
        children.iter().for_each(join);
        assert_eq!((runs.get(), told.get()), (1, 1));
        assert!(once.is_done());
    }
}

fn who_comes_later_finds_it_done() {
    let once = Once::new().unwrap();
    assert!(!once.is_done());
    in_child(|| assert!(once.call(|_| ()).unwrap()));
    assert!(once.is_done());
    assert!(!once.call(|_| panic!("twice")).unwrap());
    assert!(!once.call_timeout(Duration::ZERO, |_| panic!("twice")).unwrap());
}

fn told_of_a_failure(once: &Once) {
    assert!(!once.is_done());
    let ran = once.call_timeout(LONG, |attempt| assert_eq!(attempt, Attempt::AfterFailure));
    assert!(ran.unwrap());
    assert!(once.is_done());
}

fn a_runner_that_panics_is_followed_by_one_that_is_told() {
    let once = Once::new().unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = once.call(|_| panic!("half-way"));
    }));
    let _ = std::panic::take_hook();
    assert!(panicked.is_err());
    in_child(|| told_of_a_failure(&once));
}

/// A child that is in the middle of its run for ever.
fn runner(once: &Once) -> Process {
    let inside = Count::new();
    let runner = spawn(|| {
        let _ = once.call(|_| {
            inside.add(1);
            for_ever();
        });
    });
    until("it runs", LONG, || inside.get() == 1);
    runner
}

fn a_runner_that_dies_is_followed_by_one_that_is_told() {
    let once = Once::new().unwrap();
    for _ in 0..3 {
        kill(&runner(&once)); // each of them in the middle
    }
    let start = Instant::now();
    told_of_a_failure(&once);
    assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
}

fn a_sleeper_follows_a_runner_that_dies() {
    let once = Once::new().unwrap();
    let dies = runner(&once);
    let sleepers: Vec<Process> =
        (0..3).map(|_| spawn(|| assert!(once.call_timeout(LONG, |_| ()).is_ok()))).collect();
    sleepers.iter().for_each(|sleeper| until_asleep(sleeper.pid()));
    let start = Instant::now();
    kill(&dies);
    sleepers.iter().for_each(join);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(once.is_done());
}

fn a_runner_that_fails_is_followed_by_one_that_is_told() {
    let once = Once::new().unwrap();
    let failed = once.try_call_timeout(LONG, |attempt| {
        assert_eq!(attempt, Attempt::First);
        false
    });
    is(failed, ErrorKind::TaskFailed, &["once", "failed"]);
    told_of_a_failure(&once);
}

fn who_dies_before_it_begins_is_forgotten() {
    let once = Once::new().unwrap();
    let runner = runner(&once);
    let waits = spawn(|| drop(once.call(|_| ())));
    until_asleep(waits.pid());
    kill(&waits);
    kill(&runner);
    told_of_a_failure(&once);
}

fn a_stopped_runner_is_waited_for_until_the_deadline() {
    let once = Once::new().unwrap();
    let go = Event::new().unwrap();
    let runs = spawn(|| assert!(once.call(|_| go.wait().unwrap()).unwrap()));
    until_asleep(runs.pid());
    stop(&runs);
    go.set();
    let start = Instant::now();
    is(once.call_timeout(SHORT, |_| panic!("it lives")), ErrorKind::TimedOut, &["deadline"]);
    assert!(start.elapsed() >= SHORT);
    go_on(&runs);
    assert!(!once.call(|_| panic!("it is being done")).unwrap());
    join(&runs);
}

fn runners_killed_at_random_do_it_once() {
    let mut random = Random::new(17);
    for round in 0..if quick() { 50 } else { 500 } {
        let (once, sum) = (Once::new().unwrap(), Value::new(0u64).unwrap());
        let half = Count::new();
        let run = |attempt| {
            // Half of it, and all of it; who is not told would find the half of another.
            let before = sum.load();
            if attempt == Attempt::First {
                assert_eq!(before, 0, "half done, and nobody was told");
            }
            sum.store(1);
            half.add(1);
            sum.store(2);
        };
        let children: Vec<Process> =
            (0..3).map(|_| spawn(|| assert!(once.call_timeout(LONG, run).is_ok()))).collect();
        random.pause(700);
        let _ = children[random.below(3) as usize].kill();
        for child in &children {
            child.join().unwrap();
        }
        let ran = once.call_timeout(LONG, run).unwrap();
        assert!(once.is_done() && sum.load() == 2, "round {round}, ran here: {ran}");
        assert!((1..=2).contains(&half.of(0).load(Ordering::SeqCst)), "round {round}");
    }
}

fn a_call_in_the_middle_of_its_own_run_is_told_so() {
    let once = Once::new().unwrap();
    let ran = once.call(|_| {
        is(once.call(|_| ()), ErrorKind::Deadlock, &["its own run"]);
        assert!(!once.is_done());
        let other = std::thread::scope(|scope| {
            scope.spawn(|| once.call_timeout(SHORT, |_| ())).join().unwrap()
        });
        is(other, ErrorKind::TimedOut, &["deadline"]);
    });
    assert!(ran.unwrap() && once.is_done());
}

fn a_child_forked_in_the_middle_has_not_done_it() {
    let once = Once::new().unwrap();
    let mut child = 0;
    let ran = once.call(|_| {
        // SAFETY: this test has one thread; the child ends below.
        child = unsafe { libc::fork() };
    });
    if child == 0 {
        let forked = ran.is_err_and(|error| error.kind() == ErrorKind::Forked);
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!forked)) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "the child took it for its own");
    assert!(ran.unwrap() && once.is_done());
}

fn cancelling_ends_a_wait() {
    let once = Once::new().unwrap();
    let runner = runner(&once);
    let canceller = Canceller::new();
    let other = canceller.clone();
    let thread = std::thread::spawn(move || other.cancel());
    is(canceller.run(|| once.call(|_| ())), ErrorKind::Interrupted, &["cancelled"]);
    thread.join().unwrap();
    kill(&runner);
}

fn opening_by_name_finds_it_as_it_is() {
    let segment = Segment::anonymous(4096).unwrap();
    let once = Once::open_or_create(segment.at("setup")).unwrap();
    in_child(|| assert!(Once::open(segment.at("setup")).unwrap().call(|_| ()).unwrap()));
    assert!(once.is_done());
    assert!(Once::open_or_create(segment.at("setup")).unwrap().is_done());
    is(Once::create(segment.at("setup")), ErrorKind::Exists, &["setup"]);
    is(Event::open(segment.at("setup")), ErrorKind::Type, &["Once", "Event"]);
    mpshm::recover(&segment).unwrap();
    assert_eq!(segment.objects().unwrap()[0].kind, Some(mpshm::ObjectKind::Once));
}

fn what_is_done_is_asked_without_a_system_call() {
    let once = Once::new().unwrap();
    let other = Once::new().unwrap();
    assert!(once.call(|_| ()).unwrap());
    assert!(without_system_calls(
        || (),
        || {
            assert!(once.is_done() && !once.call(|_| ()).unwrap());
        }
    ));
    assert!(!without_system_calls(|| (), || drop(other.call(|_| ()))), "it takes part first");
}
