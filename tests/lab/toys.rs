//! Toys: operations on plain shared words whose faults are known to the instruction. They show that the
//! lab stops where it says, and that its checks can fail.

use super::lab::{
    Arrival, Check, Failure, Lab, Mode, Moment, Options, Page, Phase, Scenario, Sweep, Which,
    demand, in_child,
};
use std::arch::asm;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

type Words = [AtomicU64; super::lab::page::WORDS];

/// A toy: shared words, an operation on them, and what must hold of them.
struct Toy {
    name: &'static str,
    operate: fn(&Words) -> u64,
    survive: fn(&Words) -> Result<u64, Failure>,
    meanwhile: fn(&Words) -> Result<u64, Failure>,
    after: fn(&Words, u64) -> Result<(), Failure>,
    patience: Duration,
    /// From how many points on only the telling ones are taken.
    dense: usize,
}

const PLAIN: Toy = Toy {
    name: "",
    operate: |_| 0,
    survive: |_| Ok(0),
    meanwhile: |_| Ok(0),
    after: |_, _| Ok(()),
    patience: Duration::from_secs(4),
    dense: usize::MAX,
};

/// A toy that must be seen to hang is not given long.
const SHORT: Duration = Duration::from_millis(150);

impl Scenario for Toy {
    type World = Page;

    fn name(&self) -> String {
        format!("toy/{}", self.name)
    }

    fn setup(&self) -> Result<Page, Failure> {
        Ok(Page::new())
    }

    fn memory(&self, world: &Page) -> (*const u8, usize) {
        world.memory()
    }

    fn operate(&self, world: &mut Page) -> u64 {
        (self.operate)(world.words())
    }

    fn survive(&self, world: &mut Page) -> Result<u64, Failure> {
        (self.survive)(world.words())
    }

    fn meanwhile(&self, world: &mut Page) -> Result<u64, Failure> {
        (self.meanwhile)(world.words())
    }

    fn after(&self, world: &mut Page, answer: u64, _: u64) -> Result<(), Failure> {
        (self.after)(world.words(), answer)
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn dense(&self, _: Mode) -> usize {
        self.dense
    }

    /// Wakes whoever sleeps on the first word.
    fn rouse(&self, world: &mut Page) -> Result<(), Failure> {
        // SAFETY: a wake uses the address as a key only.
        unsafe { libc::syscall(libc::SYS_futex, world.words().as_ptr(), libc::FUTEX_WAKE, 1) };
        Ok(())
    }
}

fn read(words: &Words, index: usize) -> u64 {
    words[index].load(Ordering::Acquire)
}

/// Two words that belong together, with five instructions between their stores.
const TORN: Toy = Toy {
    name: "torn",
    operate: |words| {
        // SAFETY: stores to two words of the shared page.
        unsafe {
            asm!(
                "nop", "mov qword ptr [{0}], 7",
                "nop", "nop", "nop", "nop", "nop",
                "mov qword ptr [{0} + 8], 7", "nop",
                in(reg) words.as_ptr(),
            );
        }
        0
    },
    survive: |words| {
        let (first, second) = (read(words, 0), read(words, 1));
        demand(first == second, Check::Content, || format!("{first} and {second}"))?;
        Ok(first)
    },
    ..PLAIN
};

/// The same with one store: nothing to find.
const WHOLE: Toy = Toy {
    name: "whole",
    operate: |words| words[0].fetch_add(1, Ordering::AcqRel) + 10,
    survive: |words| Ok(read(words, 0)),
    meanwhile: |words| Ok(words[0].fetch_add(1, Ordering::AcqRel)),
    after: |words, answer| {
        let value = read(words, 0);
        demand(value == 2, Check::Lost, || format!("{value} after two additions"))?;
        demand(answer == 10 || answer == 11, Check::Outcome, || format!("answer {answer}"))
    },
    ..PLAIN
};

/// A value that appears, goes away for two instructions, and appears again.
const BACK: Toy = Toy {
    name: "back",
    operate: |words| {
        // SAFETY: stores to a word of the shared page.
        unsafe {
            asm!(
                "mov qword ptr [{0}], 1", "nop",
                "mov qword ptr [{0}], 0", "nop",
                "mov qword ptr [{0}], 1", "nop",
                in(reg) words.as_ptr(),
            );
        }
        0
    },
    survive: |words| Ok(read(words, 0)),
    ..PLAIN
};

/// A lock that nobody can take from the dead, held for six instructions.
const LOCK: Toy = Toy {
    name: "lock",
    operate: |words| {
        // SAFETY: exchanges and stores on words of the shared page.
        unsafe {
            asm!(
                "mov {1}, 1",
                "xchg {1}, qword ptr [{0}]",
                "nop", "nop",
                "add qword ptr [{0} + 8], 1",
                "nop", "nop",
                "mov qword ptr [{0}], 0",
                "nop",
                in(reg) words.as_ptr(),
                out(reg) _,
            );
        }
        0
    },
    survive: |words| {
        while words[0].swap(1, Ordering::Acquire) != 0 {
            std::hint::spin_loop();
        }
        Ok(read(words, 1))
    },
    meanwhile: |words| {
        let free = words[0].swap(1, Ordering::Acquire) == 0;
        if free {
            words[0].store(0, Ordering::Release);
        }
        demand(free, Check::Blocked, || "the lock is taken".to_owned())?;
        Ok(0)
    },
    patience: SHORT,
    ..PLAIN
};

/// A loop, so that most addresses are met more than once.
const LOOP: Toy = Toy {
    name: "loop",
    operate: |words| {
        for round in 0..std::hint::black_box(20) {
            words[0].store(round, Ordering::Release);
            if round % 8 == 0 {
                words[1].fetch_add(1, Ordering::Relaxed);
            }
        }
        0
    },
    survive: |words| Ok(read(words, 0) << 8 | read(words, 1)),
    ..PLAIN
};

/// What an ordinary operation may contain: the vdso, a system call, a signal with a handler.
const MIXED: Toy = Toy {
    name: "mixed",
    operate: |words| {
        extern "C" fn handler(_: i32) {}
        let now = std::time::Instant::now();
        // SAFETY: a handler that does nothing, and a signal to this process itself.
        unsafe {
            libc::signal(libc::SIGUSR1, handler as extern "C" fn(i32) as usize);
            libc::kill(libc::getpid(), libc::SIGUSR1);
        }
        words[0].store(1, Ordering::Release);
        u64::from(now.elapsed() < Duration::from_secs(5))
    },
    // The vdso's clock takes a few instructions more in some runs: no point means the same in all of them.
    survive: |words| {
        demand(read(words, 0) <= 1, Check::Content, || "a word that nobody wrote".to_owned())?;
        Ok(0)
    },
    after: |words, answer| {
        demand(read(words, 0) == 1 && answer == 1, Check::Lost, || "not done".to_owned())
    },
    ..PLAIN
};

/// Runs every toy and counts each as a test.
pub fn run(lab: &Lab) {
    if !lab.options.wants("toy") {
        return;
    }
    let every_point = lab.with(Options::default());
    type Test = fn(&Lab) -> Result<(), String>;
    let tests: [(&str, Test); 17] = [
        ("a word between two stores is torn at six points", torn),
        ("one atomic store is never torn", whole),
        ("an effect taken back is noticed", back),
        ("a lock that dies with its owner hangs the survivor", dead_lock),
        ("a lock held by a stopped process blocks the others", held_lock),
        ("breakpoints and single steps lead to the same points", same_points),
        ("a child's stack lies the same however deep the lab is", same_stack),
        ("a repeated string instruction and a system call count once", counted_once),
        ("a long operation is stopped wherever something changes", telling),
        ("system calls are met before, asleep and after", in_calls),
        ("sleeps are met whatever comes before them", varied),
        ("a sleeper is met when it was just woken", roused),
        ("the vdso, system calls and signals are passed through", mixed),
        ("an operation that never ends is ended", endless),
        ("an operation that sleeps in the kernel is ended", asleep),
        ("an operation that faults or panics is reported", faulty),
        ("a check that dies, panics or never ends is reported", bad_checks),
    ];
    for (name, test) in tests {
        let result = test(&every_point);
        lab.test(&format!("toy: {name}"), result);
    }
}

fn sweep(lab: &Lab, toy: &Toy, mode: Mode) -> Result<(usize, Sweep), String> {
    let route = lab.route(toy).map_err(|failure| failure.to_string())?;
    let points = lab.points(toy, &route, mode);
    let sweep = lab.sweep(toy, &route, &points, mode);
    expect("points reached", sweep.points.len(), points.len())?;
    Ok((route.points(), sweep))
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?}, not {wanted:?}")) }
}

/// The failures are all of one check, at `count` points in a row.
fn in_a_row(sweep: &Sweep, check: Check, count: usize) -> Result<(), String> {
    expect("checks that failed", sweep.checks(), BTreeSet::from([check]))?;
    let points: Vec<usize> = sweep.failures.keys().copied().collect();
    expect("failing points", points.len(), count)?;
    expect("first to last", points[count - 1] - points[0] + 1, count)
}

fn torn(lab: &Lab) -> Result<(), String> {
    let (_, sweep) = sweep(lab, &TORN, Mode::Kill)?;
    in_a_row(&sweep, Check::Content, 6)?;
    expect("distinct states", sweep.states.len(), 3)
}

fn whole(lab: &Lab) -> Result<(), String> {
    for mode in [Mode::Kill, Mode::Stop] {
        let (_, sweep) = sweep(lab, &WHOLE, mode)?;
        expect("checks that failed", sweep.checks(), BTreeSet::new())?;
        expect("distinct states", sweep.states.len(), 2)?;
    }
    Ok(())
}

fn back(lab: &Lab) -> Result<(), String> {
    let (_, sweep) = sweep(lab, &BACK, Mode::Kill)?;
    in_a_row(&sweep, Check::Stage, 2)
}

fn dead_lock(lab: &Lab) -> Result<(), String> {
    let route = lab.route(&LOCK).map_err(|failure| failure.to_string())?;
    // The sweep gives up after five hangs in all, so these are the first five of six.
    let points = lab.points(&LOCK, &route, Mode::Kill);
    in_a_row(&lab.sweep(&LOCK, &route, &points, Mode::Kill), Check::Hang, 5)
}

fn held_lock(lab: &Lab) -> Result<(), String> {
    let (_, sweep) = sweep(lab, &LOCK, Mode::Stop)?;
    in_a_row(&sweep, Check::Blocked, 6)
}

fn same_points(lab: &Lab) -> Result<(), String> {
    let (points, fast) = sweep(lab, &LOOP, Mode::Kill)?;
    expect("a loop has many points", points > 60, true)?;
    let route = lab.route(&LOOP).map_err(|failure| failure.to_string())?;
    for k in (0..points).step_by(points / 25) {
        let stepped = lab.begin(&LOOP, Page::new()).and_then(|(world, mut traced)| {
            Ok((traced.run_to(k, None)?, traced.address(), (LOOP.survive)(world.words())?))
        });
        let (arrival, address, stage) = stepped.map_err(|failure| failure.to_string())?;
        expect("arrival and address", (arrival, address), (Arrival::There, route.address(k)))?;
        expect("stage", Some(&stage), fast.stages.get(&k))?;
    }
    Ok(())
}

#[inline(never)]
fn deeper<T>(call: impl FnOnce() -> T) -> T {
    let frame = std::hint::black_box([0_u8; 1000]);
    let done = call();
    std::hint::black_box(frame);
    done
}

/// Copies go one way or another by where their ends lie in a page.
fn same_stack(lab: &Lab) -> Result<(), String> {
    let toy = Toy {
        operate: |words| {
            let local = 0_u8;
            words[0].store(1 + (&raw const local as u64 & 4095), Ordering::Release);
            0
        },
        ..PLAIN
    };
    let place = || -> Result<u64, Failure> {
        let (world, mut traced) = lab.begin(&toy, toy.setup()?)?;
        traced.record(|| 0)?;
        Ok(read(world.words(), 0))
    };
    let [one, other] = [place(), deeper(place)].map(|place| place.map_err(|why| why.to_string()));
    expect("where it lies in its page", one?, other?)
}

fn counted_once(lab: &Lab) -> Result<(), String> {
    const REPEAT: Toy = Toy {
        operate: |words| {
            let answer: u64;
            // SAFETY: fills 64 bytes of the shared page; getppid changes nothing but rax, rcx, r11.
            unsafe {
                asm!(
                    "rep stosb", "syscall",
                    inout("rdi") words.as_ptr() => _,
                    inout("rcx") 64 => _,
                    inlateout("rax") libc::SYS_getppid => answer,
                    out("r11") _,
                );
            }
            answer
        },
        ..PLAIN
    };
    let route = lab.route(&REPEAT).map_err(|failure| failure.to_string())?;
    // F3 AA is `rep stosb`, and 0F 05 `syscall`: each followed at once by what stands behind it.
    let bytes = |address: u64| {
        // SAFETY: an address of an instruction of this very program: the child is its fork.
        unsafe { (address as *const u16).read_unaligned() }
    };
    let met: Vec<usize> =
        (0..route.points()).filter(|&k| bytes(route.address(k)) == 0xaaf3).collect();
    let &[at] = &met[..] else {
        return Err(format!("the string instruction was met at points {met:?}"));
    };
    let relative = [1, 2].map(|next| route.address(at + next) - route.address(at));
    expect("what follows it", relative, [2, 4])?;
    expect("the system call", bytes(route.address(at + 1)), 0x050f)
}

/// Two stores and a system call among a thousand instructions.
fn telling(lab: &Lab) -> Result<(), String> {
    const LONG: Toy = Toy {
        operate: |words| {
            let wait = || {
                for _ in 0..std::hint::black_box(400) {
                    std::hint::spin_loop();
                }
            };
            wait();
            words[0].store(1, Ordering::Release);
            wait();
            // SAFETY: no preconditions.
            unsafe { libc::syscall(libc::SYS_getppid) };
            words[0].store(2, Ordering::Release);
            wait();
            0
        },
        survive: |words| Ok(read(words, 0)),
        dense: 500,
        ..PLAIN
    };
    for mode in [Mode::Kill, Mode::Stop] {
        let (points, sweep) = sweep(lab, &LONG, mode)?;
        expect("it is long", points > 1000, true)?;
        // Both ends, and two points each for a change and a call; some may be the same.
        expect("few points are taken", (8..=10).contains(&sweep.points.len()), true)?;
        expect("distinct states", sweep.states.len(), 3)?;
        expect("checks that failed", sweep.checks(), BTreeSet::new())?;
    }
    Ok(())
}

/// Sleeps on the first word for a moment, then on the same again, and counts how often it is back.
const SLEEPY: Toy = Toy {
    operate: |words| {
        for round in 1..=2 {
            let moment = libc::timespec { tv_sec: 0, tv_nsec: 60_000_000 };
            // SAFETY: a word of the shared page, and a valid time.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    words.as_ptr(),
                    libc::FUTEX_WAIT,
                    0,
                    &raw const moment,
                );
            }
            words[1].store(round, Ordering::Release);
        }
        0
    },
    survive: |words| Ok(read(words, 1)),
    after: |words, _| {
        let rounds = read(words, 1);
        demand(rounds == 2, Check::Lost, || format!("{rounds} rounds"))
    },
    ..PLAIN
};

fn in_calls(lab: &Lab) -> Result<(), String> {
    let moments = lab.around_sleeps(&SLEEPY).map_err(|failure| failure.to_string())?;
    use Phase::{Asleep, Entered, Returned};
    use Which::{Call, Sleep};
    let wanted = [(Call(0), Entered), (Sleep(0), Asleep), (Sleep(0), Returned), (Sleep(1), Asleep)];
    let wanted = wanted.map(|(which, phase)| Moment { which, phase });
    expect("moments", &moments[..], &wanted[..])?;
    let kill = lab.sweep_calls(&SLEEPY, &moments, Mode::Kill, false);
    expect("checks that failed", kill.checks(), BTreeSet::new())?;
    let stages: Vec<u64> = kill.stages.values().copied().collect();
    expect("rounds", stages, vec![0, 0, 0, 1])?;
    let stop = lab.sweep_calls(&SLEEPY, &moments, Mode::Stop, false);
    expect("checks that failed", stop.checks(), BTreeSet::new())?;
    expect("moments met", stop.points.len(), 4)
}

/// Makes other calls before it sleeps, and not as many in each run.
fn varied(lab: &Lab) -> Result<(), String> {
    let varied = Toy {
        operate: |words| {
            for _ in 0..std::process::id() % 3 {
                // SAFETY: no preconditions.
                unsafe { libc::syscall(libc::SYS_getppid) };
            }
            (SLEEPY.operate)(words)
        },
        ..SLEEPY
    };
    let moments = [(Which::Sleep(0), Phase::Asleep), (Which::Sleep(1), Phase::Asleep)]
        .map(|(which, phase)| Moment { which, phase });
    for _ in 0..3 {
        let sweep = lab.sweep_calls(&varied, &moments, Mode::Kill, false);
        let stages: Vec<u64> = sweep.stages.values().copied().collect();
        expect("rounds", stages, vec![0, 1])?;
    }
    Ok(())
}

fn roused(lab: &Lab) -> Result<(), String> {
    let begin = std::time::Instant::now();
    let moment = Moment { which: Which::Sleep(0), phase: Phase::Roused };
    let patient = Toy {
        operate: |words| {
            // SAFETY: a word of the shared page; no time limit.
            unsafe { libc::syscall(libc::SYS_futex, words.as_ptr(), libc::FUTEX_WAIT, 0, 0) as u64 }
        },
        ..PLAIN
    };
    for mode in [Mode::Kill, Mode::Stop] {
        let sweep = lab.sweep_calls(&patient, &[moment], mode, false);
        expect("checks that failed", sweep.checks(), BTreeSet::new())?;
        expect("moments met", sweep.points.len(), 1)?;
    }
    expect("woken, not timed out", begin.elapsed() < patient.patience, true)
}

fn mixed(lab: &Lab) -> Result<(), String> {
    for mode in [Mode::Kill, Mode::Stop] {
        let route = lab.route(&MIXED).map_err(|failure| failure.to_string())?;
        let points = lab.points(&MIXED, &route, mode);
        let sweep = lab.sweep(&MIXED, &route, &points, mode);
        let failures: Vec<_> = sweep.failures.into_iter().take(3).collect();
        expect("failures", failures.len(), 0).map_err(|why| format!("{why} {failures:?}"))?;
        expect("most points are reached", sweep.points.len() + 20 > route.points(), true)?;
    }
    Ok(())
}

/// The check that fails when this operation is recorded.
fn recorded(lab: &Lab, operate: fn(&Words) -> u64) -> Result<Check, String> {
    let toy = Toy { operate, patience: SHORT, ..PLAIN };
    match lab.route(&toy) {
        Ok(route) => Err(format!("it ended after {} instructions", route.points())),
        Err(failure) => Ok(failure.check),
    }
}

fn endless(lab: &Lab) -> Result<(), String> {
    let check = recorded(lab, |_| {
        loop {
            std::hint::spin_loop();
        }
    })?;
    expect("check", check, Check::Hang)
}

fn asleep(lab: &Lab) -> Result<(), String> {
    let check = recorded(lab, |_| {
        // SAFETY: sleeps until a signal comes.
        unsafe { libc::pause() as u64 }
    })?;
    expect("check", check, Check::Hang)
}

fn faulty(lab: &Lab) -> Result<(), String> {
    let check = recorded(lab, |_| {
        // SAFETY: not at all; the fault is the point.
        unsafe { std::hint::black_box(std::ptr::dangling::<u64>()).read_volatile() }
    })?;
    expect("check of a fault", check, Check::Died)?;
    // A panic has many thousand instructions: at full speed.
    const PANICS: Toy = Toy {
        operate: |words| {
            assert!(read(words, 0) == 1, "as planned");
            0
        },
        ..PLAIN
    };
    let (_world, traced) =
        lab.begin(&PANICS, Page::new()).map_err(|failure| failure.to_string())?;
    let panics = traced.stop().and_then(|stopped| stopped.go_on());
    let panics = panics.map_err(|failure| (failure.check, failure.detail));
    expect("a panic", panics, Err((Check::Died, "panicked: as planned".to_owned())))
}

fn bad_checks(_: &Lab) -> Result<(), String> {
    let page = Page::new();
    let found = |body: fn() -> Result<u64, Failure>| {
        in_child(&page, "it", SHORT, body).map_err(|failure| (failure.check, failure.detail))
    };
    expect("fine", found(|| Ok(5)), Ok(5))?;
    let lost = || Err(Failure::new(Check::Lost, "an item"));
    expect("failed", found(lost), Err((Check::Lost, "an item".to_owned())))?;
    let panics = found(|| panic!("as planned"));
    expect("panics", panics, Err((Check::Died, "it panicked: as planned".to_owned())))?;
    let aborts = found(|| std::process::abort());
    expect("dies", aborts, Err((Check::Died, "it died of signal 6".to_owned())))?;
    let never = found(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    expect("never ends", never.map_err(|(check, _)| check), Err(Check::Hang))
}
