//! Items that count as unfinished until their consumer says that they are done.

use super::{Count, LONG, LONGEST, SHORT, decode, encode, is, join, spawn};
use crate::probe::kill;
use mpshm::{Error, ErrorKind, PopError, Queue, QueueOptions};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// A queue of something, and how a number goes in and comes out.
struct Joinable<T: ?Sized> {
    queue: Queue<T>,
    push: fn(&Queue<T>, u64),
    pop: fn(&Queue<T>) -> Result<u64, PopError>,
}

fn options() -> QueueOptions {
    QueueOptions::new(16).message_max(LONGEST as u64).joinable()
}

fn numbers() -> Joinable<u64> {
    let queue = Queue::with_options(&options()).unwrap();
    Joinable { queue, push: |queue, number| queue.push(number).unwrap(), pop: |queue| queue.pop() }
}

fn messages() -> Joinable<[u8]> {
    Joinable {
        queue: Queue::with_options(&options()).unwrap(),
        push: |queue, number| queue.push(&encode(number)).unwrap(),
        pop: |queue| queue.pop().map(|message| decode(&message)),
    }
}

macro_rules! of_both_forms {
    ($($test:ident)*) => {
        $(pub fn $test() {
            each::$test(numbers());
            each::$test(messages());
        })*
    };
}

of_both_forms! {
    join_returns_when_the_last_of_ten_items_is_done
    what_dies_with_its_worker_is_unfinished
}

#[track_caller]
fn is_one_too_many(done: Result<(), Error>) {
    is(done, ErrorKind::Invalid, &[]);
}

mod each {
    use super::*;

    pub fn join_returns_when_the_last_of_ten_items_is_done<T: ?Sized + mpshm::Item>(
        Joinable { queue, push, pop }: Joinable<T>,
    ) {
        queue.join().unwrap();
        is_one_too_many(queue.task_done());
        (0..10).for_each(|number| push(&queue, number));
        let start = Instant::now();
        is(queue.join_timeout(Duration::ZERO), ErrorKind::TimedOut, &[]);
        is(queue.join_timeout(SHORT), ErrorKind::TimedOut, &[]);
        assert!(start.elapsed() >= SHORT);
        let done = Count::new();
        let joins = || {
            queue.join().unwrap();
            assert_eq!(done.get(), 10, "join came before the last one was done");
        };
        let joining = spawn(joins);
        let works = || {
            while pop(&queue).is_ok() {
                std::thread::sleep(Duration::from_millis(5)); // the work
                done.add(1);
                queue.task_done().unwrap();
            }
            is_one_too_many(queue.task_done());
        };
        let workers: Vec<_> = (0..4).map(|_| spawn(works)).collect();
        joins();
        join(&joining);
        is_one_too_many(queue.task_done());
        queue.close().unwrap();
        workers.iter().for_each(join);
        queue.join_timeout(Duration::ZERO).unwrap();
    }

    pub fn what_dies_with_its_worker_is_unfinished<T: ?Sized + mpshm::Item>(
        Joinable { queue, push, pop }: Joinable<T>,
    ) {
        (0..2).for_each(|number| push(&queue, number));
        let popped = Count::new();
        let worker = spawn(|| {
            pop(&queue).unwrap();
            pop(&queue).unwrap();
            queue.task_done().unwrap(); // of the first
            popped.of(0).store(2, SeqCst);
            crate::probe::for_ever();
        });
        crate::common::until("the worker has one in its hands", LONG, || popped.get() == 2);
        is(queue.join_timeout(SHORT), ErrorKind::TimedOut, &[]);
        kill(&worker);
        is(queue.join_timeout(4 * SHORT), ErrorKind::TimedOut, &[]);
        assert_eq!(pop(&queue), Ok(1), "it comes again");
        is(queue.join_timeout(Duration::ZERO), ErrorKind::TimedOut, &[]);
        queue.task_done().unwrap();
        queue.join().unwrap();
        is_one_too_many(queue.task_done());
    }
}
