//! The crash lab: `cargo test --release --test crash [-- --quick] [-- --only NAME] [-- --at K]`.
//!
//! See `tests/lab/mod.rs` for what it does. Without `--release` it takes a sample of the points, for
//! the same operations then have many times the instructions.
//!
//! # Which check has been seen to catch what
//!
//! Every run begins with toys (`tests/lab/toys.rs`): operations on plain shared words, whose faults are known to the
//! instruction. A toy passes when the lab finds the fault at exactly the points where it lies. Then come planted bugs
//! on the real objects (`tests/lab/plants.rs`, `ring_plants.rs` and `signal_plants.rs`, with the check beside each that must catch it): what
//! a careless queue, ring, lock, event, directory or attachment would do, done instead of the operation that the scenario is
//! about.

#[path = "lab/barriers.rs"]
mod barriers;
#[path = "lab/conditions.rs"]
mod conditions;
#[path = "lab/ends.rs"]
mod ends;
#[path = "lab/events.rs"]
mod events;
#[path = "lab/forms.rs"]
mod forms;
mod lab;
#[path = "lab/latches.rs"]
mod latches;
#[path = "lab/latest.rs"]
mod latest;
#[path = "lab/locks.rs"]
mod locks;
#[path = "lab/model.rs"]
mod model;
#[path = "lab/objects.rs"]
mod objects;
#[cfg(target_arch = "x86_64")]
#[path = "lab/plants.rs"]
mod plants;
#[path = "lab/queues.rs"]
mod queues;
#[path = "lab/ring_forms.rs"]
mod ring_forms;
#[path = "lab/ring_jobs.rs"]
mod ring_jobs;
#[path = "lab/ring_look.rs"]
mod ring_look;
#[path = "lab/ring_model.rs"]
mod ring_model;
#[path = "lab/ring_pairs.rs"]
mod ring_pairs;
#[cfg(target_arch = "x86_64")]
#[path = "lab/ring_plants.rs"]
mod ring_plants;
#[path = "lab/ring_wakes.rs"]
mod ring_wakes;
#[path = "lab/ring_world.rs"]
mod ring_world;
#[path = "lab/rings.rs"]
mod rings;
#[path = "lab/rwlocks.rs"]
mod rwlocks;
#[path = "lab/second.rs"]
mod second;
#[path = "lab/segments.rs"]
mod segments;
#[path = "lab/selects.rs"]
mod selects;
#[path = "lab/semaphores.rs"]
mod semaphores;
#[cfg(target_arch = "x86_64")]
#[path = "lab/signal_plants.rs"]
mod signal_plants;
#[cfg(target_arch = "x86_64")]
#[path = "lab/toys.rs"]
mod toys;
#[path = "lab/values.rs"]
mod values;
#[path = "lab/wakes.rs"]
mod wakes;

use forms::{Blocks, Form, Items, Large, Slots};
use lab::share::{Job, share};
use lab::{Lab, Options, Scenario, Sum};
use model::{CAPACITY, Kind, Op};
use mpshm::{Queue, Value};
use queues::Queued;

const EMPTY: usize = 0;
const SOME: usize = CAPACITY / 2;
const FULL: usize = CAPACITY;

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
    if cfg!(debug_assertions) {
        options.quick();
    }
    std::panic::set_hook(Box::new(|_| {})); // panics of children come home as failures
    queues::warm_up();
    let lab = Lab::new(options);
    let before = lab::residue::Residue::now();
    // Made once for all, and not in the course of what is traced.
    ring_forms::Messages::message(0);
    let mut jobs = Jobs::default();
    // The long ones first, so that the processes are done at about the same time.
    jobs.0.push(Box::new(toys::run));
    jobs.0.push(Box::new(plants::run));
    jobs.0.push(Box::new(ring_plants::run));
    jobs.0.push(Box::new(signal_plants::run));
    jobs.wakes();
    jobs.heirs_of_rings();
    jobs.second_deaths();
    jobs.queues();
    jobs.rings();
    jobs.segments();
    jobs.rest();
    jobs.signals();
    share(&lab, &jobs.0);
    lab.test("nothing is left behind", before.compare());
    println!("{} passed, {} failed", lab.sum(Sum::Passed), lab.sum(Sum::Failed));
    println!(
        "total: killed {}, stopped {}, double {}, failed {}",
        lab.sum(Sum::Killed),
        lab.sum(Sum::Stopped),
        lab.sum(Sum::Double),
        lab.sum(Sum::FailedPoints)
    );
    std::process::exit(i32::from(lab.sum(Sum::Failed) > 0));
}

/// What a run consists of.
#[derive(Default)]
struct Jobs(Vec<Job>);

impl Jobs {
    fn run<S: Scenario + 'static>(&mut self, scenario: S) {
        self.0.push(Box::new(move |lab| {
            lab.run(&scenario);
        }));
    }

    fn asleep<S: Scenario + 'static>(&mut self, scenario: S) {
        self.0.push(Box::new(move |lab| lab.run_asleep(&scenario)));
    }

    fn roused<S: Scenario + 'static>(&mut self, scenario: S) {
        self.0.push(Box::new(move |lab| lab.run_roused(&scenario)));
    }

    fn in_calls<S: Scenario + 'static>(&mut self, scenario: S) {
        self.0.push(Box::new(move |lab| lab.run_in_calls(&scenario)));
    }

    fn repair<S: second::Repairable + 'static>(&mut self, first: S, most: usize) {
        self.0.push(Box::new(move |lab| second::run(lab, &first, most)));
    }

    /// The operation on queues with so many items each, and on closed ones.
    fn on<F: Form + 'static>(&mut self, op: Op, kind: Kind, items: &[usize], closed: &[usize]) {
        for &items in items {
            self.run(Queued::<F>::of(op, kind, items));
        }
        for &items in closed {
            self.run(Queued::<F> { closed: true, ..Queued::of(op, kind, items) });
        }
    }

    fn queues(&mut self) {
        self.every_form::<Blocks>();
        self.every_form::<Slots>();
        self.every_form::<Items>();
        self.in_place::<Blocks>();
        self.joinable::<Items>();
        self.joinable::<Blocks>();
        self.run(Queued::<Large>::new(Op::TryPush, EMPTY));
        self.run(Queued::<Large>::new(Op::TryPop, SOME));
        for op in [Op::TryPush, Op::Push, Op::TryPushMany] {
            self.on::<Slots>(op, Kind::Overwriting, &[FULL], &[]);
            self.on::<Blocks>(op, Kind::Overwriting, &[FULL], &[]);
        }
        self.on::<Blocks>(Op::Commit, Kind::Overwriting, &[FULL], &[FULL]);
        self.on::<Blocks>(Op::TryPush, Kind::Tight, &[FULL], &[]);
    }

    /// What there is in each form.
    fn every_form<F: Form + 'static>(&mut self) {
        use Kind::Plain;
        self.on::<F>(Op::TryPush, Plain, &[EMPTY, SOME, FULL], &[SOME]);
        self.on::<F>(Op::Push, Plain, &[EMPTY, SOME], &[SOME]);
        self.on::<F>(Op::TryPushMany, Plain, &[EMPTY, SOME, FULL], &[SOME]);
        self.on::<F>(Op::PushMany, Plain, &[EMPTY], &[SOME]);
        self.on::<F>(Op::TryPop, Plain, &[EMPTY, SOME, FULL], &[EMPTY, SOME]);
        self.on::<F>(Op::Pop, Plain, &[SOME, FULL], &[EMPTY, SOME]);
        self.on::<F>(Op::TryPopMany, Plain, &[EMPTY, SOME, FULL], &[EMPTY, SOME]);
        self.on::<F>(Op::PopMany, Plain, &[SOME, FULL], &[EMPTY, SOME]);
        self.on::<F>(Op::Close, Plain, &[EMPTY, SOME, FULL], &[SOME]);
        self.on::<F>(Op::PushTimeout, Plain, &[FULL], &[]);
        self.on::<F>(Op::PopTimeout, Plain, &[EMPTY], &[]);
        for (op, items) in [
            (Op::Push, FULL),
            (Op::PushMany, SOME),
            (Op::PushMany, FULL),
            (Op::Pop, EMPTY),
            (Op::PopMany, EMPTY),
        ] {
            self.asleep(Queued::<F>::new(op, items));
        }
        self.asleep(Queued::<F> { cancellable: true, ..Queued::new(Op::Pop, EMPTY) });
    }

    /// Reservations and claims.
    fn in_place<F: Form + 'static>(&mut self) {
        use Kind::Plain;
        self.on::<F>(Op::TryReserve, Plain, &[EMPTY, SOME, FULL], &[SOME]);
        self.on::<F>(Op::Reserve, Plain, &[EMPTY, SOME], &[SOME]);
        self.on::<F>(Op::Commit, Plain, &[EMPTY, SOME, FULL], &[SOME]);
        self.on::<F>(Op::Abort, Plain, &[EMPTY, SOME, FULL], &[SOME]);
        self.on::<F>(Op::TryClaim, Plain, &[EMPTY, SOME, FULL], &[EMPTY, SOME]);
        self.on::<F>(Op::Claim, Plain, &[SOME, FULL], &[EMPTY, SOME]);
        self.on::<F>(Op::Release, Plain, &[EMPTY, SOME, FULL], &[SOME]);
        self.on::<F>(Op::GiveBack, Plain, &[EMPTY, SOME, FULL], &[SOME]);
        for (op, items) in [(Op::Reserve, FULL), (Op::WaitToCommit, FULL), (Op::Claim, EMPTY)] {
            self.asleep(Queued::<F>::new(op, items));
        }
    }

    fn joinable<F: Form + 'static>(&mut self) {
        use Kind::Joinable;
        self.on::<F>(Op::TryPop, Joinable, &[EMPTY, SOME, FULL], &[SOME]);
        self.on::<F>(Op::TryPopMany, Joinable, &[SOME], &[SOME]);
        self.on::<F>(Op::TaskDone, Joinable, &[EMPTY, SOME, FULL], &[SOME]);
        self.on::<F>(Op::Work, Joinable, &[SOME, FULL], &[SOME]);
        self.on::<F>(Op::Drop, Joinable, &[EMPTY, SOME, FULL], &[SOME]);
        self.on::<F>(Op::Join, Joinable, &[EMPTY], &[EMPTY]);
        self.asleep(Queued::<F>::of(Op::Join, Joinable, SOME));
    }

    fn wakes(&mut self) {
        use wakes::{Roused, RousedLocker, Unlocking, Waking};
        for op in [Op::TryPush, Op::TryPop, Op::Close] {
            self.run(Waking::<Blocks>::new(op));
            self.run(Waking::<Slots>::new(op));
        }
        self.run(Waking::<Items>::new(Op::TaskDone));
        self.run(Unlocking);
        for op in [Op::Push, Op::Pop] {
            self.roused(Roused::<Blocks>::new(op));
            self.roused(Roused::<Slots>::new(op));
        }
        self.roused(RousedLocker);
        let held = locks::Locked::new(locks::Op::Lock, locks::State::Held);
        self.asleep(held);
        use rwlocks::{Guarded, Op as Guard, State as Found};
        self.asleep(Guarded::new(Guard::Read, Found::Written));
        self.asleep(Guarded::new(Guard::Write, Found::Read));
        self.roused(conditions::Waited::new(conditions::Op::Roused));
        self.asleep(conditions::Waited::new(conditions::Op::Wait));
        self.asleep(barriers::Met::new(barriers::Op::First));
    }

    fn segments(&mut self) {
        self.objects::<Value<u64>>();
        self.objects::<Queue<u64>>();
        use segments::{Attached, Named, NamedOp, Op as Call};
        for call in
            [Call::Attach, Call::AttachByDescriptor, Call::Open, Call::FirstUse, Call::Detach]
        {
            self.run(Attached(call));
        }
        for op in [NamedOp::Create, NamedOp::OpenOrCreate, NamedOp::CreateSegment, NamedOp::Unlink]
        {
            self.in_calls(Named::new(op, false));
            self.in_calls(Named::new(op, true));
        }
    }

    fn objects<M: objects::Made + 'static>(&mut self) {
        use objects::{Directed, Op as Change, State::*};
        for (change, states) in [
            (Change::Create, &[Empty, PartFull, Full, Left, There][..]),
            (Change::OpenOrCreate, &[Empty, There]),
            (Change::Open, &[PartFull, There, InUse]),
            (Change::Remove, &[PartFull, There, InUse]),
            (Change::Unnamed, &[Empty, PartFull, Full, Left]),
        ] {
            for &state in states {
                self.run(Directed::<M>::new(change, state));
            }
        }
    }

    fn rest(&mut self) {
        for op in [Op::TryPush, Op::TryPop] {
            self.run(Queued::<Blocks> { first_use: true, ..Queued::new(op, SOME) });
            self.run(Queued::<Slots> { first_use: true, ..Queued::new(op, SOME) });
        }
        use ends::{Followed, Op as End, Other};
        for op in [End::Come, End::Push, End::Leave] {
            for other in [Other::Nobody, Other::Stays, Other::Left] {
                self.run(Followed::<Slots>::new(op, other));
                self.run(Followed::<Blocks>::new(op, other));
            }
        }
        use locks::{Locked, Op as Lock, State};
        for (state, operations) in [
            (State::Free, &[Lock::Lock, Lock::TryLock, Lock::Unlock, Lock::Add][..]),
            (State::Held, &[Lock::TryLock, Lock::WaitToLock]),
            (State::Dead, &[Lock::Lock, Lock::TryLock, Lock::Add, Lock::Abandon]),
        ] {
            for &op in operations {
                self.run(Locked::new(op, state));
            }
        }
        use latest::{Newest, Op as Newer, Others};
        for op in [Newer::Store, Newer::Reserve, Newer::Reader] {
            self.run(Newest::new(op, Others::Dead));
        }
        for op in [
            Newer::Store,
            Newer::Reserve,
            Newer::Commit,
            Newer::Abort,
            Newer::Reader,
            Newer::Load,
            Newer::Claim,
            Newer::Release,
        ] {
            self.run(Newest::new(op, Others::Nobody));
        }
        self.asleep(Newest::new(Newer::Wait, Others::Nobody));
        for state in [State::Free, State::Dead] {
            self.run(Locked::recursive(Lock::Add, state));
        }
        use rwlocks::{Guarded, Op as Guard, State as Found};
        for (state, operations) in [
            (Found::Free, &[Guard::Read, Guard::TryRead, Guard::Write, Guard::TryWrite][..]),
            (Found::Read, &[Guard::Read, Guard::TryWrite, Guard::GiveUp, Guard::LetIn]),
            (Found::Written, &[Guard::TryRead, Guard::TryWrite]),
            (Found::Dead, &[Guard::Read, Guard::TryRead, Guard::Write, Guard::TryWrite]),
        ] {
            for &op in operations {
                self.run(Guarded::new(op, state));
            }
        }
        self.run(conditions::Waited::new(conditions::Op::Notify));
        self.run(conditions::Waited::new(conditions::Op::GiveUp));
        // Who repairs dies too.
        self.run(conditions::Waited::new(conditions::Op::NotifyPast));
        self.run(conditions::Waited::new(conditions::Op::PassOn));
        self.run(barriers::Met::new(barriers::Op::Finds));
        use barriers::{Met, Op as Meet};
        for op in [Meet::Last, Meet::GiveUp, Meet::Abort, Meet::Reset] {
            self.run(Met::new(op));
        }
        use values::{Added, Kind};
        for kind in
            [Kind::Integer, Kind::Float, Kind::Update, Kind::Element, Kind::Wide, Kind::Waitable]
        {
            self.run(Added::new(kind));
        }
    }

    fn signals(&mut self) {
        use events::{Op as Event, Signalled};
        for op in [
            Event::Set,
            Event::SetAgain,
            Event::Clear,
            Event::Wait,
            Event::WaitTimeout,
            Event::SetForSleeper,
        ] {
            self.run(Signalled::new(op));
        }
        self.asleep(Signalled::new(Event::Sleep));
        self.roused(Signalled::new(Event::SleepFirst));
        use selects::{Op as Select, Selected};
        self.run(Selected(Select::Look));
        self.run(Selected(Select::TimeOut));
        self.asleep(Selected(Select::Sleep));
        self.roused(Selected(Select::SleepFirst));
        self.roused(Selected(Select::AllFirst));
        use latches::{Called, Found, Latched, Op as Latch};
        for op in [Latch::CountDown, Latch::CountDownSome, Latch::CountDownForSleeper, Latch::Wait]
        {
            self.run(Latched(op));
        }
        self.asleep(Latched(Latch::Sleep));
        self.roused(Latched(Latch::SleepFirst));
        for found in [Found::New, Found::Begun, Found::Done] {
            self.run(Called(found));
        }
        use semaphores::{Op as Permit, Permitted};
        for owned in [false, true] {
            for op in [
                Permit::TryAcquire,
                Permit::TryAcquireMany,
                Permit::AcquireTimeout,
                Permit::Release,
                Permit::ReleaseMany,
                Permit::ReleaseForSleeper,
            ] {
                self.run(Permitted::new(op, owned));
            }
            self.asleep(Permitted::new(Permit::Sleep, owned));
            self.roused(Permitted::new(Permit::SleepFirst, owned));
        }
        self.run(Permitted::new(Permit::AcquireFromDead, true));
        let dies = Permitted { repaired: true, ..Permitted::new(Permit::TryAcquireMany, true) };
        self.repair(dies, usize::MAX);
    }

    /// The repairer dies too.
    fn second_deaths(&mut self) {
        const ALL: usize = usize::MAX;
        let gone =
            |op, kind, items| Queued::<Blocks> { filler_gone: true, ..Queued::of(op, kind, items) };
        self.repair(gone(Op::TryPush, Kind::Plain, SOME), ALL);
        self.repair(gone(Op::TryPop, Kind::Plain, SOME), ALL);
        self.repair(gone(Op::GiveBack, Kind::Plain, SOME), 2);
        self.repair(gone(Op::Abort, Kind::Plain, SOME), 1);
        self.repair(gone(Op::TryPopMany, Kind::Joinable, SOME), 4);
        self.repair(gone(Op::TaskDone, Kind::Joinable, SOME), 1);
        self.repair(gone(Op::TryPush, Kind::Overwriting, FULL), 6);
        use ends::{Followed, Op as End, Other};
        for op in [End::Come, End::Leave] {
            self.repair(Followed::<Slots>::new(op, Other::Nobody), ALL);
            self.repair(Followed::<Slots>::new(op, Other::Stays), ALL);
        }
        use latest::{Newest, Op as Newer, Others};
        self.repair(Newest::new(Newer::Store, Others::Nobody), 3);
        self.repair(Newest::new(Newer::Reserve, Others::Dead), 1);
        self.repair(Newest::new(Newer::Claim, Others::Nobody), 2);
        use objects::{Directed, Op as Change, State};
        for state in [State::PartFull, State::Left] {
            self.repair(Directed::<Value<u64>>::new(Change::Create, state), ALL);
        }
        self.repair(Directed::<Value<u64>>::new(Change::Unnamed, State::PartFull), ALL);
        for state in [State::There, State::InUse] {
            self.repair(Directed::<Value<u64>>::new(Change::Remove, state), ALL);
        }
    }
}
