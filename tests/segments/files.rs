//! Segments in files: contents that outlive their users and a reboot; and segments and descriptors that
//! are handed over sockets.

use crate::common::{Test, until};
use crate::probe::{Count, LONG, for_ever, in_child, is, join, kill, spawn};
use crate::tests;
use mpshm::{Array, ErrorKind, LockError, Mutex, Queue, QueueOptions, Segment, Value};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

pub const TESTS: &[Test] = tests![
    a_file_keeps_its_content_and_is_nowhere_until_complete,
    bad_paths_are_errors_that_leave_nothing,
    after_a_reboot_all_of_before_are_dead_and_repaired,
    b32_damaged_files_are_refused,
    what_may_not_be_locked_is_an_error_that_names_the_limit,
    huge_pages_are_advice_or_there_or_no_space,
    a98_a_segment_goes_to_another_process,
    a98_messages_that_are_no_descriptor_are_errors_and_leak_nothing,
];

/// A path of this test's own, in a folder that is removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(label: &str) -> Self {
        let path = std::env::temp_dir().join(crate::common::unique(label));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn entries(&self) -> usize {
        std::fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn a_file_keeps_its_content_and_is_nowhere_until_complete() {
    let folder = Folder::new("keeps");
    let path = folder.0.join("segment");
    let segment = Segment::create_file(&path, 10_000).unwrap();
    assert_eq!((segment.path(), segment.name()), (Some(&*path), None));
    let status = path.metadata().unwrap();
    assert_eq!((status.len(), status.mode() & 0o777), (segment.size(), 0o600));
    assert!(status.blocks() * 512 >= segment.size(), "every page is allocated");
    Value::create(segment.at("v"), 5u64).unwrap();
    segment.sync().unwrap();
    drop(segment);
    in_child(|| {
        let same = Segment::attach_file(&path).unwrap();
        Value::<u64>::open(same.at("v")).unwrap().fetch_add(1);
    });
    let same = Segment::open_or_create_file(&path, 1 << 20).unwrap();
    assert_eq!(Value::<u64>::open(same.at("v")).unwrap().load(), 6);
    assert_eq!(same.size(), status.len());
    is(Segment::create_file(&path, 64), ErrorKind::Exists, &["'"]);
    assert_eq!(folder.entries(), 1);
    Segment::unlink_file(&path).unwrap();
    is(Segment::unlink_file(&path), ErrorKind::NotFound, &[]);
    assert_eq!(Value::<u64>::open(same.at("v")).unwrap().load(), 6, "who is attached stays so");
}

fn bad_paths_are_errors_that_leave_nothing() {
    let folder = Folder::new("bad");
    for (path, word) in [("", "empty"), ("a\0b", "NUL"), ("/tmp/", "no file"), ("..", "no file")] {
        is(Segment::create_file(path, 64), ErrorKind::Invalid, &[word]);
        is(Segment::attach_file(path), ErrorKind::Invalid, &[word]);
        is(Segment::unlink_file(path), ErrorKind::Invalid, &[word]);
    }
    let path = folder.0.join("x");
    is(Segment::create_file(&path, 0), ErrorKind::Invalid, &["0 bytes"]);
    is(Segment::create_file(&path, 1 << 46), ErrorKind::NoSpace, &["no space"]);
    is(Segment::create_file(path.join("y"), 64), ErrorKind::NotFound, &[]);
    is(Segment::attach_file(&path), ErrorKind::NotFound, &["x"]);
    let reserved = Segment::options().huge_tlb(true);
    is(reserved.create_file(&path, 64), ErrorKind::Invalid, &["anonymous"]);
    assert!(Segment::attach_file(&folder.0).is_err(), "a folder");
    is(Segment::create_file(&folder.0, 64), ErrorKind::Exists, &[]);
    assert_eq!(folder.entries(), 0);
}

/// A copy of the file has no locks on it, which is what a reboot leaves.
fn after_a_reboot_all_of_before_are_dead_and_repaired() {
    let folder = Folder::new("reboot");
    let (before, after) = (folder.0.join("before"), folder.0.join("after"));
    let segment = Segment::create_file(&before, 100_000).unwrap();
    let mutex = Mutex::create(segment.at("m"), 1u64).unwrap();
    let options = QueueOptions::new(4).message_max(64);
    let queue = Queue::<[u8]>::create(segment.at("q"), &options).unwrap();
    queue.push(b"work").unwrap();
    let removed = Array::<u8>::create(segment.at("gone"), 50_000).unwrap();
    segment.remove("gone").unwrap();
    let holds = Count::new();
    let child = spawn(|| {
        let _guard = mutex.lock().unwrap();
        let _claim = queue.claim().unwrap();
        holds.add(1);
        for_ever();
    });
    until("it holds all", LONG, || holds.get() == 1);
    // All of them still live, in the segment of before.
    assert_eq!(segment.participants().unwrap().len(), 2);
    std::fs::copy(&before, &after).unwrap();
    let again = Segment::attach_file(&after).unwrap();
    assert_eq!(again.participants().unwrap(), []);
    let mutex = Mutex::<u64>::open(again.at("m")).unwrap();
    assert!(matches!(mutex.lock_timeout(LONG), Err(LockError::OwnerDead(_))));
    let queue = Queue::<[u8]>::open(again.at("q")).unwrap();
    let claim = queue.claim_timeout(LONG).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (b"work".to_vec(), 2));
    drop(Array::<u8>::create(again.at("gone"), 50_000).unwrap());
    // And before the reboot that was not so.
    is(Array::<u8>::create(segment.at("more"), 60_000), ErrorKind::NoSpace, &[]);
    drop(removed);
    kill(&child);
}

fn b32_damaged_files_are_refused() {
    let folder = Folder::new("damaged");
    let path = folder.0.join("x");
    drop(Segment::create_file(&path, 10_000).unwrap());
    let sound = std::fs::read(&path).unwrap();
    for (bytes, kind) in [
        (&b""[..], ErrorKind::Version),
        (b"#!/bin/sh\n", ErrorKind::Version),
        (&sound[..50], ErrorKind::Version),
        (&sound[..sound.len() - 4096], ErrorKind::Corrupt),
    ] {
        std::fs::write(&path, bytes).unwrap();
        is(Segment::attach_file(&path), kind, &["segment file"]);
        is(Segment::open_or_create_file(&path, 64), kind, &[]);
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "left alone");
    }
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(Segment::attach_file(&path).is_err(), "a link is not followed");
}

fn what_may_not_be_locked_is_an_error_that_names_the_limit() {
    in_child(|| {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid limit; this child alone changes its user.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none), 0);
            if libc::geteuid() == 0 {
                assert_eq!(libc::setuid(65534), 0);
            }
        }
        let options = Segment::options().lock_memory(true);
        is(options.anonymous(100_000), ErrorKind::Limit, &["RLIMIT_MEMLOCK"]);
    });
    drop(Segment::options().prefault(true).anonymous(1 << 20).unwrap());
}

fn huge_pages_are_advice_or_there_or_no_space() {
    let segment = Segment::options().huge_pages(true).prefault(true).anonymous(5 << 20).unwrap();
    Value::create(segment.at("v"), 1u8).unwrap();
    match Segment::options().huge_tlb(true).anonymous(4096) {
        Ok(segment) => {
            assert_eq!(segment.size() % (2 << 20), 0);
            drop(Value::create(segment.at("v"), 1u8).unwrap());
            segment.remove("v").unwrap();
        }
        Err(error) => {
            println!("    no huge pages are set aside here: {error}");
            is(Err::<(), _>(error), ErrorKind::NoSpace, &["huge pages"]);
        }
    }
}

fn a98_a_segment_goes_to_another_process() {
    let segment = Segment::anonymous(4096).unwrap();
    let value = Value::create(segment.at("v"), 5u64).unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    let child = spawn(|| {
        let same = Segment::receive_from(&there).unwrap();
        assert_eq!(same.id(), segment.id());
        Value::<u64>::open(same.at("v")).unwrap().fetch_add(1);
    });
    segment.send_to(&here).unwrap();
    join(&child);
    assert_eq!(value.load(), 6);
    drop(there);
    is(segment.send_to(&here), ErrorKind::Closed, &["closed"]);
    is(Segment::receive_from(&here), ErrorKind::Closed, &["closed"]);
}

/// Sends one message with so many copies of descriptor 0.
fn send_many(socket: &UnixStream, count: usize) {
    let mut control = [0u64; 200];
    let mut data = *b"F";
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: pointers to what outlives the call; room for the numbers.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4 * count as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4 * count as u32) as _;
        assert_eq!(libc::sendmsg(socket.as_raw_fd(), &raw const message, 0), 1);
    }
}

fn a98_messages_that_are_no_descriptor_are_errors_and_leak_nothing() {
    let (mut here, there) = UnixStream::pair().unwrap();
    let before = crate::common::descriptors();
    here.write_all(b"F").unwrap();
    is(mpshm::recv_fd(&there), ErrorKind::Type, &["with 0 was found"]);
    for count in [2, 253] {
        send_many(&here, count);
        is(mpshm::recv_fd(&there), ErrorKind::Type, &[&format!("with {count} was found")]);
        assert_eq!(crate::common::descriptors(), before, "surplus descriptors are closed");
    }
    mpshm::send_fd(&here, std::io::stdin().as_fd()).unwrap();
    assert!(Segment::receive_from(&there).is_err(), "no segment");
    there.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    is(mpshm::recv_fd(&there), ErrorKind::TimedOut, &[]);
    is(mpshm::recv_fd(std::io::stdin().as_fd()), ErrorKind::Invalid, &["socket"]);
    mpshm::send_fd(&here, &here).unwrap();
    in_child(|| {
        // SAFETY: a valid limit for this child alone.
        unsafe {
            let next = libc::dup(0);
            libc::close(next);
            let limit = libc::rlimit { rlim_cur: next as u64, rlim_max: next as u64 };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        }
        is(mpshm::recv_fd(&there), ErrorKind::Limit, &["lost"]);
    });
    assert_eq!(crate::common::descriptors(), before);
}
