//! What a `Barrier` promises, over real processes.

use crate::common::{Test, state_of, until};
use crate::probe::{
    Count, LONG, Random, SHORT, costs_next_to_nothing, for_ever, go_on, in_child, is, join, kill,
    spawn, stop, until_asleep, without_system_calls,
};
use crate::tests;
use mpshm::{
    Barrier, BarrierError, BarrierOptions, Canceller, Error, ErrorKind, Process, Segment, Value,
};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    a49_nobody_enters_a_phase_before_all_have_finished_the_last: 60,
    a50_the_indexes_are_a_permutation_and_exactly_one_leads,
    a51_the_action_runs_once_before_anyone_is_released,
    a51_an_action_that_panics_breaks_the_barrier,
    a52_an_abort_breaks_it_for_the_other_four,
    a53_a_reset_breaks_it_for_those_who_wait_and_then_all_pass,
    a54_after_an_abort_a_reset_makes_it_as_new,
    a55_one_that_waits_no_longer_breaks_it_for_all,
    a55_the_time_out_it_was_made_with_holds,
    a56_one_party_passes_again_and_again,
    a56_a_thousand_passes_of_five_stay_in_order: 60,
    b11_a_waiter_that_is_killed_breaks_it,
    b11_the_last_one_killed_in_its_action_breaks_it,
    b11_parties_killed_at_random_leave_a_barrier_that_works: 120,
    a_stopped_leader_does_not_keep_others_from_giving_up,
    a_party_too_many_waits_for_the_next_cycle,
    a_stopped_sleeper_learns_how_its_own_cycle_ended,
    cancelling_breaks_it,
    threads_are_parties_too,
    what_is_no_barrier_is_refused,
    waiting_costs_next_to_nothing,
    passing_alone_makes_no_system_call,
    a_counted_party_that_is_dead_is_missed_by_who_waits_after_its_death,
    a_counted_party_that_is_dead_is_not_missed_when_the_last_one_comes_at_once,
];

const FIVE: u32 = 5;

/// Runs `f` in five children at once, and waits for them.
#[track_caller]
fn five(f: impl Fn(u32)) {
    let children: Vec<Process> = (0..FIVE).map(|n| spawn(|| f(n))).collect();
    children.iter().for_each(join);
}

fn is_broken(waited: &Result<mpshm::BarrierPass, BarrierError>) -> bool {
    matches!(waited, Err(BarrierError::Broken))
}

#[track_caller]
fn broken(barrier: &Barrier) {
    let start = Instant::now();
    let waited = barrier.wait_timeout(LONG);
    assert!(is_broken(&waited), "{waited:?}");
    assert!(start.elapsed() < LONG / 2);
}

#[track_caller]
fn pass(barrier: &Barrier) {
    let pass = barrier.wait_timeout(LONG).unwrap();
    assert!(pass.index() < barrier.parties());
}

fn until_waiting(barrier: &Barrier, count: u32) {
    until("they wait", LONG, || barrier.waiting() == count);
}

fn a49_nobody_enters_a_phase_before_all_have_finished_the_last() {
    for rounds in [1, 10] {
        let barrier = Barrier::new(FIVE).unwrap();
        let finished = [Value::new(0u32).unwrap(), Value::new(0u32).unwrap()];
        five(|_| {
            for round in 0..rounds {
                for phase in &finished {
                    phase.fetch_add(1);
                    barrier.wait().unwrap();
                    assert!(phase.load() >= (round + 1) * FIVE);
                    assert!(phase.load() <= (round + 1) * FIVE, "one is ahead");
                    barrier.wait().unwrap();
                }
            }
        });
        assert_eq!(finished[1].load(), rounds * FIVE);
        assert_eq!(barrier.waiting(), 0);
        assert!(!barrier.is_broken());
    }
}

fn a50_the_indexes_are_a_permutation_and_exactly_one_leads() {
    let barrier = Barrier::new(FIVE).unwrap();
    let (taken, leaders) = (Count::new(), Count::new());
    five(|_| {
        let pass = barrier.wait().unwrap();
        taken.of(pass.index() as usize).fetch_add(1, SeqCst);
        leaders.add(u64::from(pass.is_leader()));
        assert_eq!(pass.is_leader(), pass.index() == FIVE - 1);
    });
    let leaders = leaders.get();
    let counts: Vec<u64> = (0..6).map(|index| taken.of(index).load(SeqCst)).collect();
    assert_eq!((counts, leaders), (vec![1, 1, 1, 1, 1, 0], 1));
}

fn a51_the_action_runs_once_before_anyone_is_released() {
    let barrier = Barrier::new(FIVE).unwrap();
    let runs = Value::new(0u32).unwrap();
    five(|_| {
        for round in 1..=3 {
            let action = || {
                std::thread::sleep(SHORT); // for those who do not wait for it
                runs.fetch_add(1);
            };
            barrier.wait_with(action).unwrap();
            assert_eq!(runs.load(), round);
            barrier.wait().unwrap();
        }
    });
    assert_eq!(runs.load(), 3);
}

fn a51_an_action_that_panics_breaks_the_barrier() {
    let barrier = Barrier::new(2).unwrap();
    let other = spawn(|| broken(&barrier));
    until_waiting(&barrier, 1);
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = barrier.wait_with(|| panic!("on purpose"));
    }));
    assert!(panics.is_err() && barrier.is_broken());
    join(&other);
    barrier.reset();
    let other = spawn(|| pass(&barrier));
    barrier.wait().unwrap();
    join(&other);
}

fn a52_an_abort_breaks_it_for_the_other_four() {
    let barrier = Barrier::new(FIVE).unwrap();
    five(|n| {
        if n == 3 {
            until_waiting(&barrier, 4);
            barrier.abort();
        }
        broken(&barrier);
    });
    assert!(barrier.is_broken());
    assert_eq!(barrier.waiting(), 0);
    broken(&barrier);
    in_child(|| broken(&barrier));
}

fn a53_a_reset_breaks_it_for_those_who_wait_and_then_all_pass() {
    let barrier = Barrier::new(FIVE).unwrap();
    let told = Count::new();
    five(|n| {
        if n == 0 {
            until_waiting(&barrier, 4);
            barrier.reset();
            assert!(!barrier.is_broken());
        } else {
            broken(&barrier);
            told.add(1);
        }
        barrier.wait_timeout(LONG).unwrap();
        assert_eq!(told.get(), 4);
    });
    // With nobody there it does nothing.
    barrier.reset();
    five(|_| pass(&barrier));
}

fn a54_after_an_abort_a_reset_makes_it_as_new() {
    let barrier = Barrier::new(FIVE).unwrap();
    for _ in 0..20 {
        // More often than broken cycles are remembered.
        barrier.abort();
        barrier.abort();
        five(|_| broken(&barrier));
        barrier.reset();
        assert!(!barrier.is_broken());
        five(|_| pass(&barrier));
    }
}

fn a55_one_that_waits_no_longer_breaks_it_for_all() {
    let barrier = Barrier::new(FIVE).unwrap();
    let half = Duration::from_millis(500);
    let start = Instant::now(); // the first one's time is over after this
    five(|n| {
        if n == 0 {
            std::thread::sleep(2 * half);
        }
        let waited = barrier.wait_timeout(half);
        assert!(is_broken(&waited), "{waited:?}");
        assert!(start.elapsed() >= half, "{:?}", start.elapsed());
        assert!(start.elapsed() < 4 * half, "{:?}", start.elapsed());
    });
    assert!(barrier.is_broken());
}

fn a55_the_time_out_it_was_made_with_holds() {
    let half = Duration::from_millis(500);
    let segment = Segment::anonymous(8192).unwrap();
    let options = BarrierOptions::new(FIVE).timeout(half);
    let made = Barrier::create(segment.at("b"), &options).unwrap();
    let opened = Barrier::open(segment.at("b")).unwrap();
    let start = Instant::now();
    five(|n| {
        if n == 0 {
            std::thread::sleep(2 * half);
        }
        let waited = if n % 2 == 0 { opened.wait() } else { made.wait_with(|| ()) };
        assert!(is_broken(&waited), "{waited:?}");
        assert!(start.elapsed() >= half && start.elapsed() < 4 * half, "{:?}", start.elapsed());
    });
}

fn a56_one_party_passes_again_and_again() {
    let barrier = Barrier::new(1).unwrap();
    for _ in 0..10_000 {
        let pass = barrier.wait_timeout(Duration::ZERO).unwrap();
        assert!(pass.index() == 0 && pass.is_leader());
    }
}

fn a56_a_thousand_passes_of_five_stay_in_order() {
    let barrier = Barrier::new(FIVE).unwrap();
    let rounds: Vec<Value<u64>> = (0..FIVE).map(|_| Value::new(0).unwrap()).collect();
    five(|n| {
        for round in 1..=1000 {
            rounds[n as usize].store(round);
            barrier.wait().unwrap();
            for other in &rounds {
                assert!((round..=round + 1).contains(&other.load()));
            }
        }
    });
    assert!(!barrier.is_broken() && barrier.waiting() == 0);
}

fn b11_a_waiter_that_is_killed_breaks_it() {
    for limit in [Duration::from_millis(300), LONG] {
        let barrier = Barrier::new(4).unwrap();
        let told = || {
            let waited = barrier.wait_timeout(limit);
            assert!(is_broken(&waited), "{waited:?}");
        };
        let victim = spawn(|| pass(&barrier));
        let others = [spawn(told), spawn(told)];
        until_waiting(&barrier, 3);
        let start = Instant::now();
        kill(&victim);
        others.iter().for_each(join);
        let took = start.elapsed();
        println!("    after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(barrier.is_broken());
        barrier.reset();
        assert_eq!(barrier.waiting(), 0);
    }
}

fn b11_the_last_one_killed_in_its_action_breaks_it() {
    let barrier = Barrier::new(2).unwrap();
    let other = spawn(|| broken(&barrier));
    until_waiting(&barrier, 1);
    let last = spawn(|| assert!(barrier.wait_with(|| for_ever()).is_err()));
    until_waiting(&barrier, 2);
    let start = Instant::now();
    kill(&last);
    join(&other);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// A barrier of so many parties, the first of which was counted and has been killed.
fn with_a_dead_party(parties: u32) -> Barrier {
    let barrier = Barrier::new(parties).unwrap();
    let victim = spawn(|| pass(&barrier));
    until_waiting(&barrier, 1);
    until_asleep(victim.pid());
    kill(&victim);
    assert!(barrier.waiting() == 1 && !barrier.is_broken(), "nobody has looked yet");
    barrier
}

fn a_counted_party_that_is_dead_is_missed_by_who_waits_after_its_death() {
    let barrier = with_a_dead_party(3);
    let start = Instant::now();
    broken(&barrier);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // Who comes after that is told at once.
    let start = Instant::now();
    broken(&barrier);
    assert!(start.elapsed() < SHORT, "{:?}", start.elapsed());
}

fn a_counted_party_that_is_dead_is_not_missed_when_the_last_one_comes_at_once() {
    let barrier = with_a_dead_party(2);
    // It has come, and everybody is there.
    assert!(barrier.wait_timeout(LONG).unwrap().is_leader());
    // In the next cycle it is missing like anybody who has not come.
    let waited = barrier.wait_timeout(SHORT);
    assert!(is_broken(&waited), "{waited:?}");
}

fn b11_parties_killed_at_random_leave_a_barrier_that_works() {
    let barrier = Barrier::new(3).unwrap();
    let (passed, told) = (Count::new(), Count::new());
    let work = || {
        loop {
            match barrier.wait_timeout(LONG) {
                Ok(_) => passed.add(1),
                Err(BarrierError::Broken) => {
                    told.add(1);
                    barrier.reset();
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    let mut random = Random::new(3);
    let mut children: Vec<Process> = (0..3).map(|_| spawn(work)).collect();
    for round in 0..150 {
        random.pause(400);
        let victim = random.below(3) as usize;
        if round % 15 == 0 {
            // While it waits for one that does not come before it is missed.
            let [other, third] = [1, 2].map(|on| &children[(victim + on) % 3]);
            stop(other);
            // The two, not the stopped one and the victim.
            let asleep = |child: &Process| state_of(child.pid()) == Some('S');
            until("two wait", LONG, || {
                barrier.waiting() == 2 && asleep(third) && asleep(&children[victim])
            });
            let before = told.get();
            kill(&children[victim]);
            until("it is missed", LONG, || told.get() > before);
            go_on(other);
        } else {
            kill(&children[victim]);
        }
        children[victim] = spawn(work);
    }
    let before = passed.get();
    until("they go round", LONG, || passed.get() > before + 1000);
    println!("    {} passes, told {} times", passed.get(), told.get());
    assert!(told.get() >= 10);
    for child in &children {
        assert!(child.is_alive(), "{:?}", child.panic_message());
        kill(child);
    }
}

fn a_stopped_leader_does_not_keep_others_from_giving_up() {
    let barrier = Barrier::new(2).unwrap();
    let acts = Value::new(false).unwrap();
    let other = spawn(|| {
        let start = Instant::now();
        let waited = barrier.wait_timeout(Duration::from_millis(500));
        assert!(is_broken(&waited), "{waited:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    });
    until_waiting(&barrier, 1);
    let leader = spawn(|| {
        let waited = barrier.wait_with(|| {
            acts.store(true);
            std::thread::sleep(SHORT);
        });
        assert!(is_broken(&waited), "{waited:?}");
    });
    until("it acts", LONG, || acts.load());
    stop(&leader);
    join(&other);
    // Nor from making it as new.
    barrier.reset();
    let both = [spawn(|| pass(&barrier)), spawn(|| pass(&barrier))];
    both.iter().for_each(join);
    go_on(&leader);
    join(&leader);
}

fn a_party_too_many_waits_for_the_next_cycle() {
    let barrier = Barrier::new(2).unwrap();
    let go = Value::new(false).unwrap();
    let first = spawn(|| pass(&barrier));
    until_waiting(&barrier, 1);
    let second = spawn(|| {
        let action = || until("it may go on", LONG, || go.load());
        barrier.wait_with(action).unwrap();
    });
    until_waiting(&barrier, 2);
    let third = spawn(|| pass(&barrier));
    until_asleep(third.pid());
    let fourth = spawn(|| pass(&barrier));
    until_asleep(fourth.pid());
    assert_eq!(third.join_timeout(2 * SHORT).unwrap(), None);
    assert_eq!(barrier.waiting(), 2, "of this cycle");
    go.store(true);
    [&first, &second, &third, &fourth].into_iter().for_each(join);
    assert!(barrier.waiting() == 0 && !barrier.is_broken());
}

fn a_stopped_sleeper_learns_how_its_own_cycle_ended() {
    let barrier = Barrier::new(2).unwrap();
    let passes = || {
        let other = spawn(|| pass(&barrier));
        barrier.wait().unwrap();
        join(&other);
    };
    let is_told = |ends: &dyn Fn(), is_ok: bool| {
        let sleeper = spawn(|| assert_eq!(barrier.wait().is_ok(), is_ok));
        until_waiting(&barrier, 1);
        until_asleep(sleeper.pid());
        stop(&sleeper);
        ends();
        go_on(&sleeper);
        join(&sleeper);
    };
    let breaks = |times: usize| {
        for _ in 0..times {
            barrier.abort();
            barrier.reset();
        }
    };
    // It passed, and then others broke and passed; it was broken, and then others passed and broke.
    is_told(&|| pass(&barrier), true);
    is_told(
        &|| {
            barrier.wait().unwrap();
            breaks(10);
            (0..20).for_each(|_| passes());
        },
        true,
    );
    is_told(
        &|| {
            breaks(1);
            (0..20).for_each(|_| passes());
            breaks(10);
        },
        false,
    );
    // After so many that nobody knows any more, the answer is the careful one.
    is_told(&|| breaks(40), false);
}

fn cancelling_breaks_it() {
    let barrier = Barrier::new(3).unwrap();
    let other = spawn(|| broken(&barrier));
    until_waiting(&barrier, 1);
    let canceller = Canceller::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until_waiting(&barrier, 2);
            canceller.cancel();
        });
        let waited = canceller.run(|| barrier.wait());
        assert!(matches!(waited, Err(BarrierError::Interrupted)), "{waited:?}");
    });
    join(&other);
    barrier.reset();
    // Who comes last does not wait, and so cannot be cancelled.
    let alone = Barrier::new(1).unwrap();
    canceller.run(|| alone.wait()).unwrap();
}

fn threads_are_parties_too() {
    let barrier = Barrier::new(4).unwrap();
    let child = spawn(|| {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..100).for_each(|_| pass(&barrier)));
            }
        });
    });
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..100).for_each(|_| pass(&barrier)));
        }
    });
    join(&child);
}

fn what_is_no_barrier_is_refused() {
    is(Barrier::new(0), ErrorKind::Invalid, &["0 parties"]);
    is(Barrier::new(4097), ErrorKind::Invalid, &["4097", "4096"]);
    assert_eq!(Barrier::new(4096).unwrap().parties(), 4096);
    let segment = Segment::anonymous(16384).unwrap();
    let made = Barrier::create(segment.at("b"), &BarrierOptions::new(2)).unwrap();
    is(Value::<u64>::open(segment.at("b")), ErrorKind::Type, &["'b'", "Barrier"]);
    drop(Value::create(segment.at("v"), 1u64).unwrap());
    is(Barrier::open(segment.at("v")), ErrorKind::Type, &["'v'", "Value"]);
    is(Barrier::open(segment.at("n")), ErrorKind::NotFound, &["'n'"]);
    let five = BarrierOptions::new(5);
    is(Barrier::create(segment.at("b"), &five), ErrorKind::Exists, &["'b'"]);
    let opened = Barrier::open_or_create(segment.at("b"), &five).unwrap();
    assert_eq!(opened.parties(), 2, "what is there stays");
    let other = spawn(|| pass(&made));
    opened.wait().unwrap();
    join(&other);
    let error: Error = BarrierError::Broken.into();
    assert_eq!(error.kind(), ErrorKind::Broken);
}

fn waiting_costs_next_to_nothing() {
    let barrier = Barrier::new(3).unwrap();
    let others = [spawn(|| broken(&barrier))];
    until_waiting(&barrier, 1);
    costs_next_to_nothing("a wait at a barrier", || {
        assert!(is_broken(&barrier.wait_timeout(Duration::from_secs(2))));
    });
    others.iter().for_each(join);
}

fn passing_alone_makes_no_system_call() {
    let barrier = Barrier::new(1).unwrap();
    let two = Barrier::new(2).unwrap();
    let pass = || pass(&barrier);
    assert!(without_system_calls(pass, || (0..100).for_each(|_| pass())));
    let waits = || assert!(two.wait_timeout(Duration::from_millis(1)).is_err());
    assert!(!without_system_calls(pass, waits), "a system call is seen");
}
