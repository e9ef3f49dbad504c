//! A hostile peer at work: a thread that keeps writing into the fields while calls go on.
//!
//! The two threads have a processor each, or they would run in turns. The storm rests while the thread that makes the
//! calls has to wait for its processor, so that it is itself seldom interrupted.

use crate::damage::{Field, mix};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// That a thread has run is sometimes seen only at the next tick of its processor.
const REST_AFTER: Duration = Duration::from_millis(5);
const REST: u32 = 0;
const ASKED: u32 = 1;
const BLOWS: u32 = 2;

/// In how many ways it writes.
pub const WAYS: u64 = 4;

/// What is to be written, beside what stood there, and in which way.
struct Job {
    writes: Vec<(Field, u64, u64)>,
    way: u64,
}

/// The thread. It ends with its process, or with this.
pub struct Storm {
    phase: Arc<AtomicU32>,
    jobs: Sender<Job>,
    done: Receiver<()>,
}

impl Storm {
    /// Over the segment that is mapped at `base`, and stays so.
    pub fn over(base: *mut u8) -> Self {
        let phase = Arc::new(AtomicU32::new(REST));
        let (jobs, orders) = channel::<Job>();
        let (said, done) = channel();
        let (seen, base) = (Arc::clone(&phase), base as usize);
        let mut clock = 0;
        // SAFETY: this thread, and a place for the number of its clock.
        let result = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        assert_eq!(result, 0, "this thread's clock");
        let (mine, its) = two_processors();
        run_on(mine);
        std::thread::spawn(move || {
            run_on(its);
            for job in orders {
                blow(base as *mut u8, job, &seen, clock);
                if said.send(()).is_err() {
                    break;
                }
            }
        });
        Self { phase, jobs, done }
    }

    /// Begins; returns when the first values are written.
    pub fn begin(&self, writes: &[(Field, u64)], image: &[u8], way: u64) {
        let writes = writes.iter().map(|&(field, value)| (field, value, field.read(image)));
        self.phase.store(ASKED, Ordering::SeqCst);
        self.jobs.send(Job { writes: writes.collect(), way }).expect("the thread");
        while self.phase.load(Ordering::SeqCst) == ASKED {
            std::thread::yield_now();
        }
    }

    /// Ends; returns when nothing more is written.
    pub fn end(&self) {
        self.phase.store(REST, Ordering::SeqCst);
        self.done.recv().expect("the thread");
    }
}

/// How long the thread with that clock has run.
fn has_run(clock: libc::clockid_t) -> (libc::time_t, libc::c_long) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer; the thread lives as long as the process.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec, time.tv_nsec)
}

/// Two processors that this process may use; the same one twice where there are no two.
fn two_processors() -> (usize, usize) {
    // SAFETY: an all-zero set is valid, and a valid place for the answer.
    let allowed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
        set
    };
    // SAFETY: below the number of bits that a set has.
    let is_allowed = |&cpu: &usize| unsafe { libc::CPU_ISSET(cpu, &allowed) };
    let cpus: Vec<usize> = (0..libc::CPU_SETSIZE as usize).filter(is_allowed).collect();
    // Other children take other pairs.
    let first = 2 * std::process::id() as usize;
    let one = |index: usize| cpus.get(index % cpus.len().max(1)).copied().unwrap_or(0);
    (one(first), one(first + 1))
}

/// This thread on that processor alone.
fn run_on(cpu: usize) {
    // SAFETY: an all-zero set is valid; the number is one that the kernel gave.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

fn blow(base: *mut u8, job: Job, phase: &AtomicU32, clock: libc::clockid_t) {
    let mut round = 0u64;
    let (mut before, mut since) = (has_run(clock), Instant::now());
    loop {
        // Without a look in between: who reads twice shall find that it has changed.
        for _ in 0..64 {
            for &(field, hostile, before) in &job.writes {
                let value = match job.way {
                    0 => hostile, // again and again, whatever others make of it
                    1 if round % 2 == 0 => hostile,
                    1 => before,
                    2 => before.wrapping_add(round), // never the same
                    _ => mix(hostile, round),
                };
                // SAFETY: mapped as long as the storm.
                unsafe { field.store(base, value) };
            }
            round += 1;
        }
        let _ = phase.compare_exchange(ASKED, BLOWS, Ordering::SeqCst, Ordering::SeqCst);
        if phase.load(Ordering::SeqCst) == REST {
            return;
        }
        let now = has_run(clock);
        if now != before {
            (before, since) = (now, Instant::now());
        } else if since.elapsed() > REST_AFTER {
            std::thread::sleep(REST_AFTER / 10);
        }
    }
}
