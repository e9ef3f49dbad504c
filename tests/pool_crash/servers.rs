//! The fork server killed and stopped on its way from a worker's death to its next sleep, its fork of another included.

use super::common::until;
use super::crew::*;
use super::tracer::{Point, Traced};
use mpshm::{ExitStatus, Task, TaskError};

/// A task that does not end.
fn endless(n: u64) -> u64 {
    counted(n);
    loop {
        std::thread::park();
    }
}

/// One trial: the server on its way, a worker dead in its task.
struct Trial {
    server: u32,
    traced: Traced,
    dead: u32,
    begun: Task<u64>,
    next: Task<u64>,
}

impl Trial {
    fn new(crew: &Crew) -> Self {
        crew.idle();
        clear_board();
        let begun = crew.pool.submit(endless, 2).expect("a task");
        until("the task has begun", limit(), || runner() != 0);
        let dead = runner();
        let server = crew.pool.server_pid().expect("pids").expect("a server");
        let traced = await_asleep(server, libc::SYS_ppoll);
        signal(dead, libc::SIGKILL);
        until_state(dead, 'Z');
        let next = crew.pool.submit(counted, 3).expect("a task");
        Self { server, traced, dead, begun, next }
    }

    /// What must come of it when the server goes on, or another does.
    fn ends(self, crew: &Crew, mode: Mode) -> u64 {
        let Self { server, traced, dead, begun, next } = self;
        match mode {
            Mode::Kill => traced.kill(),
            Mode::Stop => traced.stop(),
        }
        match begun.get_timeout(limit()) {
            Err(TaskError::WorkerDied { pid, status, attempts: 1 }) => {
                let known = [ExitStatus::Signaled(9), ExitStatus::Unknown];
                assert!(
                    pid == dead && known[..1 + usize::from(mode == Mode::Kill)].contains(&status)
                );
            }
            other => panic!("the dead worker's task ended so: {other:?}"),
        }
        assert_eq!(runs(2), 1, "runs of the dead worker's task");
        let stage = match next.get_timeout(limit()) {
            Ok(16) => 0,
            // With the server the other worker died, in this task perhaps.
            Err(TaskError::WorkerDied { .. }) if mode == Mode::Kill => 1,
            other => panic!("the next task ended so: {other:?}"),
        };
        assert!(runs(3) <= 1 && runs(3) + stage >= 1, "{} runs of the next task", runs(3));
        crew.works(None);
        if mode == Mode::Stop {
            // Where nothing was left for it to do, nobody has waited for it, and so it was not continued.
            signal(server, libc::SIGCONT);
        }
        crew.idle();
        let now = crew.pool.server_pid().expect("pids").expect("a server");
        assert_eq!(now == server, mode == Mode::Stop, "whether it is the same server");
        reap_all_but(now);
        stage
    }
}

/// Nothing is left of those that are dead; they have come to this process, or will.
fn reap_all_but(server: u32) {
    until("all others have ended", limit(), || {
        let others: Vec<u32> = children().into_iter().filter(|&pid| pid != server).collect();
        for &pid in &others {
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), libc::WNOHANG) };
        }
        others.is_empty()
    });
}

/// This process's children.
fn children() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| parent_of(pid) == Some(std::process::id())).collect()
}

fn sweep(mode: Mode, most: usize) {
    let crew = Crew::new(CALL);
    let mut trial = Trial::new(&crew);
    let (all, length) = trial.traced.survey(|| false);
    trial.traced = {
        trial.traced.let_go();
        await_asleep(trial.server, libc::SYS_ppoll)
    };
    trial.ends(&crew, Mode::Stop);
    let points: Vec<Point> = thinned(&all, most);
    let mut sum = Sum::default();
    for &point in &points {
        let mut trial = Trial::new(&crew);
        if trial.traced.run_to(point, || false) {
            sum.count(point);
            sum.stages.insert(trial.ends(&crew, mode));
        } else {
            trial.ends(&crew, Mode::Stop);
        }
    }
    sum.print(&format!("{mode:?} of the server as it replaces a worker"), length, points.len());
}

pub fn the_server_is_killed_anywhere_as_it_replaces_a_worker() {
    sweep(Mode::Kill, 500);
}

pub fn the_server_is_stopped_anywhere_as_it_replaces_a_worker() {
    sweep(Mode::Stop, 200);
}
