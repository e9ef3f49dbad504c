//! Workers killed and stopped on their way from sleep to sleep.

use super::common::state_of;
use super::crew::*;
use super::tracer::{Point, Traced};
use mpshm::{ExitStatus, TaskError};
use std::time::Duration;

/// The ends of a task whose worker was killed.
const ELSEWHERE: u64 = 0;
const DIED: u64 = 1;
const SENT: u64 = 2;

/// Longer than workers go without looking who has died.
const BETWEEN_LOOKS: Duration = Duration::from_millis(15);

/// Of the points that are not met at full speed, one in so many is stepped to.
const STEPPED: usize = 30;

/// One trial: the worker on its way to its next sleep, the other stopped meanwhile.
struct Trial {
    form: Form,
    victim: u32,
    other: u32,
    traced: Traced,
    task: Handed,
}

impl Trial {
    fn new(crew: &mut Crew) -> Self {
        let [victim, other] = crew.settle();
        signal(other, libc::SIGSTOP);
        until_state(other, 'T');
        let traced = crew.take(victim);
        clear_board();
        let task = (crew.form.submit)(&crew.pool);
        Self { form: crew.form, victim, other, traced, task }
    }

    /// The worker came to its end before the point: all went well.
    fn well(self) {
        self.traced.let_go();
        signal(self.other, libc::SIGCONT);
        assert_eq!(self.task.get(), Ok(()));
    }

    fn begun(&self) -> u64 {
        (1..=self.form.items).map(runs).sum()
    }

    /// SIGKILL here; says what became of the task.
    fn kill(self, crew: &Crew) -> u64 {
        let (form, begun) = (self.form, self.begun());
        let before = crew.pool.restarts().expect("restarts");
        self.traced.kill();
        signal(self.other, libc::SIGCONT);
        let outcome = self.task.get();
        let ran: Vec<u64> = (1..=form.items).map(runs).collect();
        let sum: u64 = ran.iter().sum();
        assert!(ran.iter().all(|&runs| runs <= form.attempts), "begun too often: {ran:?}");
        let stage = match outcome {
            Ok(()) if form.attempts > 1 => {
                assert!(ran.iter().all(|&runs| runs >= 1), "not run: {ran:?}");
                if sum > form.items { DIED } else { ELSEWHERE }
            }
            Ok(()) => {
                assert_eq!(sum, form.items, "runs: {ran:?}");
                if begun == form.items { SENT } else { ELSEWHERE }
            }
            Err(TaskError::WorkerDied { pid, status, attempts: 1 }) if form.attempts == 1 => {
                assert_eq!((pid, status), (self.victim, ExitStatus::Signaled(9)));
                assert!(sum + 1 >= form.items, "not run: {ran:?}");
                DIED
            }
            Err(error) => panic!("the task ended so: {error:?}, runs {ran:?}"),
        };
        if stage == SENT && form.items == 1 {
            assert_eq!(runner(), self.victim, "nobody else can have run what had been run");
        }
        crew.works(Some(self.victim));
        crew.is_gone(self.victim);
        crew.idle();
        let after = crew.pool.restarts().expect("restarts");
        assert!(
            after == before + 1 || form.ends && after > before,
            "{before} then {after} restarts"
        );
        stage
    }

    /// SIGSTOP here, the other does its work; SIGCONT, and the task is done.
    fn stop(self, crew: &Crew) -> u64 {
        let begun = self.begun();
        let form = self.form;
        self.traced.stop();
        signal(self.other, libc::SIGCONT);
        crew.works(None);
        assert_eq!(state_of(self.victim), Some('T'), "the victim is to be stopped still");
        signal(self.victim, libc::SIGCONT);
        assert_eq!(self.task.get(), Ok(()));
        let ran: Vec<u64> = (1..=form.items).map(runs).collect();
        assert!(ran.iter().all(|&runs| runs == 1), "runs: {ran:?}");
        begun
    }
}

/// A worker at this point; none if it does not come by there. Now and then workers look whether others have died: that
/// is on the way only when the last look was a while ago, so that the second one rests at a point that was `met` before,
/// and a third, if so wanted, is stepped all the way.
fn at(crew: &mut Crew, point: Point, met: Option<Point>, stepped: bool) -> Option<Trial> {
    let mut trial = Trial::new(crew);
    if trial.traced.run_to(point, || false) {
        return Some(trial);
    }
    trial.well();
    let mut trial = Trial::new(crew);
    if trial.traced.run_to(met?, || false) {
        std::thread::sleep(BETWEEN_LOOKS);
        if trial.traced.run_to(point, || false) {
            return Some(trial);
        }
    }
    trial.well();
    let mut trial = stepped.then(|| Trial::new(crew))?;
    if trial.traced.step_to(point) {
        return Some(trial);
    }
    trial.well();
    None
}

pub fn sweep(form: Form, mode: Mode, most: usize) {
    let mut crew = Crew::new(form);
    // What a worker finds at its first task it finds at none after; those that are killed are at their first, in a pool
    // where others have died.
    if mode == Mode::Kill {
        let victim = crew.settle()[0];
        signal(victim, libc::SIGKILL);
        crew.is_gone(victim);
    } else {
        Trial::new(&mut crew).well();
    }
    let mut trial = Trial::new(&mut crew);
    let (all, length) = trial.traced.survey(|| false);
    trial.well();
    let points = thinned(&all, most);
    let mut sum = Sum::default();
    let (mut met, mut missed) = (None, 0);
    for &point in &points {
        let stepped = missed % STEPPED == STEPPED - 1;
        let Some(trial) = at(&mut crew, point, met, stepped) else {
            missed += 1;
            continue;
        };
        sum.count(point);
        met = Some(point).filter(|point| point.times == 1).or(met);
        sum.stages.insert(if mode == Mode::Kill { trial.kill(&crew) } else { trial.stop(&crew) });
    }
    sum.print(&format!("{mode:?} in {}", form.name), length, points.len());
}

pub fn a_worker_is_killed_anywhere_in_a_call() {
    sweep(CALL, Mode::Kill, 3000);
}

pub fn a_worker_is_stopped_anywhere_in_a_call() {
    sweep(CALL, Mode::Stop, 1000);
}

pub fn a_worker_is_killed_anywhere_in_a_call_of_many_blocks() {
    sweep(BYTES, Mode::Kill, 1500);
}

pub fn a_worker_is_stopped_anywhere_in_a_call_of_many_blocks() {
    sweep(BYTES, Mode::Stop, 400);
}

pub fn a_worker_is_killed_anywhere_in_two_chunks_of_a_map() {
    sweep(MAP, Mode::Kill, 800);
}

pub fn a_worker_is_stopped_anywhere_in_two_chunks_of_a_map() {
    sweep(MAP, Mode::Stop, 300);
}

pub fn a_worker_is_killed_anywhere_in_a_call_that_is_tried_again() {
    sweep(RETRIED, Mode::Kill, 800);
}

pub fn a_worker_is_killed_anywhere_in_its_only_call_or_its_end() {
    sweep(LAST, Mode::Kill, 800);
}

pub fn a_worker_is_stopped_anywhere_in_its_only_call_or_its_end() {
    sweep(LAST, Mode::Stop, 300);
}
