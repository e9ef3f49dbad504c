//! What an `EventFd` promises: readable when something is ready, one thread, and nothing left of it.

use crate::common::{Test, until};
use crate::probe::{LONG, Random, SHORT, costs_next_to_nothing, for_ever, is, join, kill, spawn};
use crate::tests;
use mpshm::{ErrorKind, Event, EventFd, Latch, Queue, Ring, Semaphore, Value, Waitable};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    it_is_readable_while_something_is_ready,
    a_read_by_anybody_asks_again,
    a_pulse_between_report_and_read_is_reported,
    edges_reach_who_reads_first_and_tries_then: 60,
    it_wakes_for_processes_too,
    what_somebody_writes_to_it_does_no_harm,
    dropping_it_ends_its_thread,
    dropping_it_at_any_moment: 60,
    in_a_child_it_does_nothing,
    its_thread_runs_no_signal_handler,
    no_items_are_an_error,
    waiting_costs_next_to_nothing,
];

/// Whether it is readable within the time.
fn is_readable(eventfd: &EventFd, within: Duration) -> bool {
    let fd = eventfd.as_fd().as_raw_fd();
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&raw mut poll, 1, within.as_millis() as i32) == 1 }
}

fn read(eventfd: &EventFd) {
    let mut bytes = [0u8; 8];
    // SAFETY: room for eight bytes.
    let read = unsafe { libc::read(eventfd.as_fd().as_raw_fd(), bytes.as_mut_ptr().cast(), 8) };
    assert_eq!(read, 8, "{}", std::io::Error::last_os_error());
}

fn one(item: impl Waitable + Send + 'static) -> EventFd {
    EventFd::new(vec![Box::new(item)]).unwrap()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn it_is_readable_while_something_is_ready() {
    let (queue, ring) = (Queue::<u64>::new(4).unwrap(), Ring::<u64>::new(4).unwrap());
    let (event, seats) = (Arc::new(Event::new().unwrap()), Arc::new(Semaphore::new(0).unwrap()));
    let (value, latch) = (Value::new_waitable(0u8).unwrap(), Arc::new(Latch::new(1).unwrap()));
    let items: Vec<Box<dyn Waitable + Send>> = vec![
        Box::new(queue.readable()),
        Box::new(ring.readable()),
        Box::new(Arc::clone(&event)),
        Box::new(Arc::clone(&seats)),
        Box::new(value.when(|value| value == 3).unwrap()),
        Box::new(Arc::clone(&latch)),
    ];
    let eventfd = EventFd::new(items).unwrap();
    assert!(!is_readable(&eventfd, SHORT));
    let told = |make: &dyn Fn(), unmake: &dyn Fn()| {
        make();
        assert!(is_readable(&eventfd, LONG));
        assert!(is_readable(&eventfd, Duration::ZERO), "nobody has read it");
        eventfd.clear();
        assert!(is_readable(&eventfd, LONG), "nobody has taken it");
        unmake();
        eventfd.clear();
        assert!(!is_readable(&eventfd, SHORT));
    };
    told(&|| queue.push(1).unwrap(), &|| {
        queue.pop().unwrap();
    });
    let mut ends = (ring.producer(), ring.consumer());
    ends.0.push(1).unwrap();
    assert!(is_readable(&eventfd, LONG));
    ends.1.pop().unwrap();
    eventfd.clear();
    assert!(!is_readable(&eventfd, SHORT));
    told(&|| event.set(), &|| event.clear());
    told(&|| seats.release(1).unwrap(), &|| seats.try_acquire().unwrap().forget());
    told(&|| value.store(3), &|| value.store(4));
    latch.count_down(1).unwrap();
    assert!(is_readable(&eventfd, LONG));
}

fn a_read_by_anybody_asks_again() {
    let event = Arc::new(Event::new().unwrap());
    let eventfd = one(Arc::clone(&event));
    event.set();
    for _ in 0..100 {
        assert!(is_readable(&eventfd, LONG));
        read(&eventfd);
    }
    event.clear();
    // The last report may have been on its way.
    eventfd.clear();
    assert!(!is_readable(&eventfd, SHORT));
}

fn a_pulse_between_report_and_read_is_reported() {
    let event = Arc::new(Event::new().unwrap());
    let eventfd = one(Arc::clone(&event));
    for _ in 0..100 {
        event.set();
        event.clear();
        assert!(is_readable(&eventfd, LONG));
        // Before the read, so that nothing of it is seen after it but by what was remembered.
        event.set();
        event.clear();
        read(&eventfd);
        assert!(is_readable(&eventfd, LONG), "the second pulse was lost");
        read(&eventfd);
    }
}

fn edges_reach_who_reads_first_and_tries_then() {
    let queue = Queue::<u64>::new(64).unwrap();
    let count = if std::env::var_os("MPSHM_QUICK").is_some() { 3_000 } else { 50_000 };
    let child = spawn(|| {
        let mut random = Random::new(9);
        for number in 0..count {
            if number % 16 == 0 {
                random.pause(50);
            }
            queue.push(number).unwrap();
        }
    });
    let eventfd = one(queue.readable());
    // SAFETY: no pointers; closed below.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    let fd = eventfd.as_fd().as_raw_fd();
    let mut wanted = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 7 };
    // SAFETY: a valid event.
    assert_eq!(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut wanted) }, 0);
    let mut next = 0;
    while next < count {
        let mut told = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event.
        let events = unsafe { libc::epoll_wait(epoll, &raw mut told, 1, 10_000) };
        assert_eq!(events, 1, "nothing was told of {next}");
        eventfd.clear();
        while let Ok(number) = queue.try_pop() {
            assert_eq!(number, next);
            next += 1;
        }
    }
    join(&child);
    // SAFETY: our own descriptor.
    unsafe { libc::close(epoll) };
}

fn it_wakes_for_processes_too() {
    let child = Arc::new(spawn(|| for_ever()));
    let eventfd = one(Arc::clone(&child));
    assert!(!is_readable(&eventfd, SHORT));
    kill(&child);
    assert!(is_readable(&eventfd, LONG));
}

fn what_somebody_writes_to_it_does_no_harm() {
    let event = Arc::new(Event::new().unwrap());
    let eventfd = one(Arc::clone(&event));
    let one = 1u64;
    // SAFETY: eight readable bytes.
    unsafe { libc::write(eventfd.as_fd().as_raw_fd(), (&raw const one).cast(), 8) };
    event.set();
    let used = crate::probe::cpu_seconds();
    std::thread::sleep(4 * SHORT);
    assert!(crate::probe::cpu_seconds() - used < 0.1, "its thread runs and runs");
    assert!(is_readable(&eventfd, LONG));
    read(&eventfd);
    assert!(is_readable(&eventfd, LONG));
}

fn dropping_it_ends_its_thread() {
    let event = Arc::new(Event::new().unwrap());
    let before = threads();
    let (eventfd, other) = (one(Arc::clone(&event)), one(Arc::clone(&event)));
    assert_eq!(threads(), before + 2);
    let name = "mpshm-eventfd\n";
    let named = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        names.filter(|found| found.as_ref().is_ok_and(|found| found == name)).count()
    };
    until("both have their names", LONG, || named() == 2);
    let start = Instant::now();
    drop(eventfd);
    // One that has reported, and waits for the read.
    event.set();
    assert!(is_readable(&other, LONG));
    drop(other);
    assert!(start.elapsed() < LONG);
    until("the threads are gone", LONG, || threads() == before);
    assert_eq!(Arc::strong_count(&event), 1, "the items are dropped");
}

fn dropping_it_at_any_moment() {
    let event = Arc::new(Event::new().unwrap());
    let mut random = Random::new(12);
    for round in 0..1000 {
        let eventfd = one(Arc::clone(&event));
        if round % 3 > 0 {
            random.pause(100);
            event.set();
        }
        random.pause(100);
        drop(eventfd);
        event.clear();
    }
    until("the threads are gone", LONG, || threads() == 1);
}

fn in_a_child_it_does_nothing() {
    let event = Arc::new(Event::new().unwrap());
    let eventfd = one(Arc::clone(&event));
    let copy = eventfd.as_fd().as_raw_fd();
    let child = spawn(move || {
        assert_eq!(threads(), 1);
        drop(eventfd);
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::fcntl(copy, libc::F_GETFD) }, -1, "it is closed");
    });
    join(&child);
    let eventfd = one(Arc::clone(&event));
    let child = spawn(|| assert!(!event.is_set()));
    join(&child);
    event.set();
    assert!(is_readable(&eventfd, LONG), "the parent's works on");
}

fn its_thread_runs_no_signal_handler() {
    let eventfd = one(Arc::new(Event::new().unwrap()));
    let own = std::process::id().to_string();
    let others = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let others: Vec<_> = others.filter(|task| !task.ends_with(&own)).collect();
    assert_eq!(others.len(), 1);
    let status = std::fs::read_to_string(others[0].join("status")).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    let blocked = u64::from_str_radix(blocked, 16).unwrap();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGALRM, libc::SIGCHLD] {
        assert!(blocked & 1 << (signal - 1) != 0, "signal {signal} is not blocked");
    }
    drop(eventfd);
}

fn no_items_are_an_error() {
    is(EventFd::new(Vec::new()), ErrorKind::Invalid, &["no items"]);
}

fn waiting_costs_next_to_nothing() {
    let event = Arc::new(Event::new().unwrap());
    let (idle, told) = (one(Arc::new(Event::new().unwrap())), one(Arc::clone(&event)));
    event.set();
    assert!(is_readable(&told, LONG));
    costs_next_to_nothing("two eventfds", || std::thread::sleep(Duration::from_secs(2)));
    drop(idle);
}
