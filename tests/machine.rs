//! A state machine: `cargo test --release --test machine [-- --cases N] [--seed S] [--only NAME]`.
//!
//! proptest makes up sequences of calls of the whole API, spread over several worker processes, some of which are killed
//! and replaced on the way; a model says exactly what every call must answer. Steps follow one another: what calls do to
//! each other when they overlap is the matter of `history.rs`. A sequence that fails is made as small as possible, and
//! shown with everything that was said.
//!
//! Steps are chosen without regard to what is there: which handle, which name, which claim is a number, taken modulo how
//! many there are, and a step that nobody can do is passed over. So any part of a sequence is a sequence too, and shrinks
//! as a list does. A model that has to give its consent to each step beforehand, as that of `proptest-state-machine`,
//! could not be asked: what comes next may depend on which of several items a queue chose to deliver.

mod common;
#[path = "machine/crew.rs"]
mod crew;
#[path = "common/forms.rs"]
mod forms;
#[path = "common/hold.rs"]
mod hold;
#[path = "machine/model.rs"]
mod model;
#[path = "common/options.rs"]
mod options;
#[path = "machine/play.rs"]
mod play;
#[path = "common/probe.rs"]
mod probe;
#[path = "machine/queues.rs"]
mod queues;
#[path = "machine/ring_model.rs"]
mod ring_model;
#[path = "machine/ring_steps.rs"]
mod ring_steps;
#[path = "machine/ring_worker.rs"]
mod ring_worker;
#[path = "machine/rings.rs"]
mod rings;
#[path = "machine/spec.rs"]
mod spec;
#[path = "machine/steps.rs"]
mod steps;
#[path = "machine/worker.rs"]
mod worker;

fn main() {
    let only = options::word("--only");
    let (passed, failed) = common::run(
        tests![
            queues_and_the_directory_are_as_the_model_says: 600,
            rings_are_as_the_model_says: 600,
        ],
        only.as_deref(),
    );
    println!("{passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0));
}

fn queues_and_the_directory_are_as_the_model_says() {
    play::play::<queues::Queues>(1_600);
}

fn rings_are_as_the_model_says() {
    play::play::<rings::Rings>(1_600);
}
