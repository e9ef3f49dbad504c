//! The crash lab: `cargo test --release --test crash [-- --quick] [-- --only NAME] [-- --at K]`.
//!
//! See `tests/lab/mod.rs` for what it does. Without `--release` it takes a sample of the points, for
//! the same operations then have many times the instructions.
//!
//! # Which check has been seen to catch what
//!
//! Every run begins with toys: operations on plain shared words, whose faults are known to the
//! instruction. A toy passes when the lab finds the fault at exactly the points where it lies.
//!
//! | planted | caught by |
//! |---|---|
//! | two words that belong together, stored one after the other | `content`, at the six points between the stores and at no other |
//! | a value that is stored, taken back and stored again | `stage`, at the points behind the second store |
//! | a spin lock around an increment | `blocked`, at exactly the points where the lock is held; `hang` after a kill there |
//! | an operation that never ends, one that sleeps in the kernel, one that faults, one that panics | `hang`, `hang`, `died`, `died` |
//!
//! Then come planted bugs on the real objects ([`plants`]), sampled at every seventh instruction:
//!
//! | planted | caught by |
//! |---|---|
//! | a push that has all items in its hand for a moment | `lost` |
//! | a pop that puts a copy back before it releases | `doubled` |
//! | a push that moves the oldest item behind the others | `order` |
//! | a push that publishes before it writes | `content`, after a kill and while stopped |
//! | a claim under the name of another, who lives | `audit` |
//! | a slot closed ahead of the tail | `cycle` after a kill, `blocked` while stopped |
//! | a push that wavers | `stage` |
//! | a push that closes the queue | `outcome` |
//! | an unlock before the last write | `content` |
//! | an oath on a dead owner's data before the look at them | `lost` |

mod lab;
#[path = "lab/locks.rs"]
mod locks;
#[cfg(target_arch = "x86_64")]
#[path = "lab/plants.rs"]
mod plants;
#[path = "lab/queues.rs"]
mod queues;
#[path = "lab/second.rs"]
mod second;
#[cfg(target_arch = "x86_64")]
#[path = "lab/toys.rs"]
mod toys;
#[path = "lab/values.rs"]
mod values;
#[path = "lab/wakes.rs"]
mod wakes;

use lab::{Lab, Options, Scenario};
use queues::{Form, Op, Queued};
use second::{Second, moments};

fn main() {
    if !cfg!(target_arch = "x86_64") {
        println!("skipped: single steps are counted on x86-64 only\n0 passed, 0 failed");
        return;
    }
    let mut options = match Options::from_args(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("crash: {why}");
            std::process::exit(2);
        }
    };
    options.quick |= cfg!(debug_assertions);
    std::panic::set_hook(Box::new(|_| {})); // panics of children come home as failures
    let before = lab::residue::Residue::now();
    let mut lab = Lab::new(options);
    toys::run(&mut lab);
    plants::run(&mut lab);
    for items in [0, queues::CAPACITY / 2, queues::CAPACITY] {
        run_queue::<queues::Blocks>(&mut lab, items);
        run_queue::<queues::Slots>(&mut lab, items);
    }
    run_locks(&mut lab);
    run_values(&mut lab);
    run_wakes(&mut lab);
    let double = run_second_deaths(&mut lab);
    let left = before.compare();
    lab.test("nothing is left behind", left);
    println!("{} passed, {} failed", lab.passed, lab.failed);
    println!(
        "total: killed {}, stopped {}, double {double}, failed {}",
        lab.killed, lab.stopped, lab.failed_points
    );
    std::process::exit(i32::from(lab.failed > 0));
}

fn run_queue<F: Form>(lab: &mut Lab, items: usize) {
    let mut operations = vec![Op::Push, Op::Pop, Op::Close];
    if F::REDELIVERS {
        operations.extend([Op::GiveBack, Op::Abort]);
    }
    if items == 0 {
        operations.push(Op::WaitToPop);
    } else if items == queues::CAPACITY {
        operations.push(Op::WaitToPush);
    }
    for op in operations {
        lab.run(&Queued::<F>::new(op, items));
    }
    if F::REDELIVERS && items > 0 && items < queues::CAPACITY {
        for op in [Op::Push, Op::Pop] {
            lab.run(&Queued::<F> { first_use: true, ..Queued::new(op, items) });
        }
    }
}

fn run_locks(lab: &mut Lab) {
    use locks::{Locked, Op, State};
    for (state, operations) in [
        (State::Free, &[Op::Lock, Op::TryLock, Op::Unlock, Op::Add][..]),
        (State::Held, &[Op::TryLock, Op::WaitToLock]),
        (State::Dead, &[Op::Lock, Op::TryLock, Op::Add, Op::Abandon]),
    ] {
        for &op in operations {
            lab.run(&Locked::new(op, state));
        }
    }
}

fn run_values(lab: &mut Lab) {
    use values::{Added, Kind};
    for kind in [Kind::Integer, Kind::Float, Kind::Update, Kind::Element] {
        lab.run(&Added::new(kind));
    }
}

fn run_wakes(lab: &mut Lab) {
    use wakes::{Unlocking, Waking};
    for op in [Op::Push, Op::Pop, Op::Close] {
        lab.run(&Waking::<queues::Blocks>::new(op));
        lab.run(&Waking::<queues::Slots>::new(op));
    }
    lab.run(&Unlocking);
}

/// How many repairers were killed.
fn run_second_deaths(lab: &mut Lab) -> usize {
    let mut double = 0;
    for op in [Op::Push, Op::Pop, Op::GiveBack] {
        let mut first = Queued::<queues::Blocks>::new(op, queues::CAPACITY / 2);
        first.filler_gone = true;
        if !lab.options.wants(&format!("repair/{}", first.name())) {
            continue;
        }
        let known = lab.route(&first).and_then(|route| Ok((route, moments(lab, &first)?)));
        match known {
            Ok((route, moments)) => {
                let before = lab.killed;
                // In the quick form, a third of them.
                let step = if lab.options.quick { 3 } else { 1 };
                for k in moments.into_iter().step_by(step) {
                    lab.run(&Second::new(&first, &route, k));
                }
                double += lab.killed - before;
            }
            Err(failure) => lab.test("repair", Err(failure.to_string())),
        }
    }
    double
}
