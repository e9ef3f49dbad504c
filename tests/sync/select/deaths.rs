//! Deaths as something to wait for: of processes, of participants, of owners and ends.

use super::places;
use crate::probe::{self, LONG, for_ever, in_child, is, join, kill, spawn, stop, until_asleep};
use mpshm::{
    ErrorKind, Event, Mutex, PopError, PushError, Queue, QueueOptions, Ring, RingOptions, Segment,
    Semaphore, SemaphoreOptions, select,
};
use std::time::{Duration, Instant};

pub fn an_owner_that_dies_frees_its_permit() {
    let seats = Semaphore::with_options(&SemaphoreOptions::new(1).owned()).unwrap();
    let (has, never) = (Event::new().unwrap(), Event::new().unwrap());
    let owner = spawn(|| {
        seats.acquire().unwrap().forget();
        has.set();
        for_ever();
    });
    has.wait().unwrap();
    let parent = std::process::id();
    let killer = spawn(|| {
        until_asleep(parent);
        // SAFETY: our sibling, which is not reaped before this process is.
        unsafe { libc::kill(owner.pid() as i32, libc::SIGKILL) };
    });
    let ready = select(&[&never, &seats], LONG).unwrap();
    assert_eq!(places(&ready), [1]);
    seats.try_acquire().unwrap().forget();
    join(&killer);
    owner.join().unwrap();
}

pub fn ends_that_die_are_found() {
    let options = QueueOptions::new(4).follow_producers(1);
    let queue = Queue::<u64>::with_options(&options).unwrap();
    let options = RingOptions::new(4).follow_ends();
    let (read, written) = (
        Ring::<u64>::with_options(&options).unwrap(),
        Ring::<u64>::with_options(&options).unwrap(),
    );
    let begun = Event::new().unwrap();
    let mut producer = written.producer();
    producer.push_many(&[1, 2, 3, 4]).unwrap();
    let peer = spawn(|| {
        let pushes = queue.producer().unwrap();
        pushes.push(1).unwrap();
        let mut end = read.producer();
        end.push(1).unwrap();
        let mut other = written.consumer();
        other.pop().unwrap();
        begun.set();
        for_ever();
    });
    begun.wait().unwrap();
    queue.pop().unwrap();
    let mut consumer = read.consumer();
    consumer.pop().unwrap();
    producer.push(5).unwrap();
    let items = (queue.readable(), consumer.readable(), producer.writable(1));
    for item in [&items.0 as &dyn mpshm::Waitable, &items.1, &items.2] {
        assert!(select(&[item], Duration::ZERO).unwrap().is_empty());
    }
    kill(&peer);
    for item in [&items.0 as &dyn mpshm::Waitable, &items.1, &items.2] {
        assert!(select(&[item], LONG).unwrap().contains(0));
    }
    assert_eq!(queue.try_pop(), Err(PopError::PeerDead));
    assert_eq!(consumer.try_pop(), Err(PopError::PeerDead));
    assert_eq!(producer.try_push(6), Err(PushError::PeerDead(6)));
}

/// Takes part, says so, and goes on with `then`.
fn takes_part(segment: &Segment, then: impl FnOnce()) -> mpshm::Process {
    let joined = Event::new().unwrap();
    let child = spawn(|| {
        let segment = segment.clone();
        drop(Mutex::<u64>::open(segment.at("lock")).unwrap().lock().unwrap());
        joined.set();
        then();
    });
    joined.wait().unwrap();
    child
}

fn segment() -> Segment {
    let segment = Segment::anonymous(4096).unwrap();
    Mutex::create(segment.at("lock"), 0u64).unwrap();
    segment
}

pub fn a_participant_that_dies_is_known() {
    let segment = segment();
    let (child, never) = (takes_part(&segment, || for_ever()), Event::new().unwrap());
    let peer = segment.participant(child.pid()).unwrap();
    assert_eq!((peer.pid(), peer.is_alive()), (child.pid(), true));
    assert!(!peer.wait_death(Duration::ZERO).unwrap());
    assert!(select(&[&peer, &never], Duration::ZERO).unwrap().is_empty());
    let parent = std::process::id();
    let killer = spawn(|| {
        until_asleep(parent);
        // SAFETY: our sibling, which is not reaped before this process is.
        unsafe { libc::kill(child.pid() as i32, libc::SIGKILL) };
    });
    let start = Instant::now();
    assert!(peer.wait_death(LONG).unwrap());
    println!("    known after {:?}", start.elapsed());
    join(&killer);
    // It is a zombie now; then it is reaped, and its slot another one's.
    assert_eq!(places(&select(&[&never, &peer], LONG).unwrap()), [1]);
    child.join().unwrap();
    let next = takes_part(&segment, || for_ever());
    assert!(!peer.is_alive() && peer.wait_death(LONG).unwrap());
    is(segment.participant(child.pid()), ErrorKind::NotFound, &[&child.pid().to_string()]);
    assert!(segment.participant(next.pid()).unwrap().is_alive());
    kill(&next);
}

pub fn a_participant_that_leaves_is_known() {
    let segment = segment();
    let go = Event::new().unwrap();
    let descriptor = std::os::fd::AsFd::as_fd(&segment).try_clone_to_owned().unwrap();
    let joined = Event::new().unwrap();
    let child = spawn(|| {
        // An attachment of its own, which it can give up.
        let own = Segment::attach_fd(descriptor.try_clone().unwrap()).unwrap();
        drop(Mutex::<u64>::open(own.at("lock")).unwrap().lock().unwrap());
        joined.set();
        go.wait().unwrap();
        drop(own);
        for_ever();
    });
    joined.wait().unwrap();
    let peer = segment.participant(child.pid()).unwrap();
    assert!(peer.is_alive());
    go.set();
    assert!(peer.wait_death(LONG).unwrap());
    assert!(child.is_alive() && !peer.is_alive());
    kill(&child);
}

pub fn a_participant_that_is_stopped_lives() {
    let segment = segment();
    let child = takes_part(&segment, || for_ever());
    let peer = segment.participant(child.pid()).unwrap();
    stop(&child);
    assert!(!peer.wait_death(Duration::from_millis(300)).unwrap());
    assert!(peer.is_alive());
    probe::go_on(&child);
    kill(&child);
    assert!(!peer.is_alive());
}

pub fn peers_are_the_others() {
    let segment = segment();
    assert!(segment.peers().unwrap().is_empty());
    drop(Mutex::<u64>::open(segment.at("lock")).unwrap().lock().unwrap());
    assert!(segment.peers().unwrap().is_empty(), "this process is no peer of its own");
    let own = segment.participant(std::process::id()).unwrap();
    assert!(own.is_alive());
    let children = [takes_part(&segment, || for_ever()), takes_part(&segment, || for_ever())];
    let pids = || {
        let mut pids: Vec<u32> =
            segment.peers().unwrap().iter().map(mpshm::Participant::pid).collect();
        pids.sort_unstable();
        pids
    };
    let mut expected = children.each_ref().map(mpshm::Process::pid);
    expected.sort_unstable();
    assert_eq!(pids(), expected);
    in_child(|| assert!(own.is_alive(), "it can be asked after by children too"));
    kill(&children[0]);
    assert_eq!(pids(), [children[1].pid()]);
    kill(&children[1]);
    is(segment.participant(0), ErrorKind::NotFound, &["process 0"]);
}
