//! What a `Segment` promises, over real processes: names, sizes, foreign files, owners, descriptors,
//! participants, objects that several make at once, makers that die half-way.
//!
//! Lines of the list of behaviours that are not here: of a66, a negative size (there is none); of a67, random
//! names (anonymous segments have none); a73 and a74 (no managers, no fixed lists); b33 (the compiler refuses).

use crate::common::{Test, until};
use crate::probe::{
    Count, LONG, Random, SHORT, for_ever, go_on, in_child, is, join, kill, spawn, stop,
};
use crate::tests;
use mpshm::{
    Array, ErrorKind, LockError, Mutex, ObjectKind, Process, Queue, QueueOptions, Segment, Value,
};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// What this program is when a test executes it.
pub fn play_role() {
    if let [_, role, what] = &std::env::args().collect::<Vec<_>>()[..] {
        match &**role {
            "--attach-by-name" => unrelated(&Segment::attach(what).unwrap()),
            "--attach-by-number" => {
                // SAFETY: whoever started this program says that the descriptor is open.
                let fd = unsafe { OwnedFd::from_raw_fd(what.parse().unwrap()) };
                unrelated(&Segment::attach_fd(fd).unwrap());
            }
            _ => {}
        }
    }
}

pub const TESTS: &[Test] = tests![
    a65_a_second_attach_sees_what_the_first_wrote,
    a66_bad_names_and_sizes_are_errors,
    a67_a_name_that_exists_and_one_that_is_missing_are_errors,
    a68_unlinking_twice_says_so_and_never_removes_the_newer_one,
    a69_open_or_create_keeps_size_and_content,
    a70_a_child_writes_by_name_and_by_the_inherited_handle,
    a71_a_name_opens_the_same_bytes_until_it_is_unlinked,
    a72_a_killed_creator_leaves_the_named_segment_and_no_anonymous_one,
    b17_an_unrelated_program_that_attaches_and_is_killed_harms_nobody,
    b17_an_unrelated_program_attaches_by_descriptor,
    b18_more_than_there_is_is_no_space,
    b18_a_full_file_system_is_no_space_and_never_sigbus,
    b19_ten_thousand_segments_leave_nothing: 60,
    b32_foreign_and_damaged_files_are_refused_and_left_alone,
    b32_a_header_with_any_other_byte_is_refused_or_harmless,
    mode_is_as_asked_and_0600_else,
    group_is_as_asked_or_an_error_that_leaves_nothing,
    a_segment_of_another_user_is_refused_unless_asked_for,
    no_permission_is_an_error_that_says_so,
    every_page_is_allocated_and_the_size_is_sealed,
    options_out_of_range_are_errors,
    no_descriptors_left_is_an_error_that_leaves_nothing,
    objects_are_listed_and_opened_and_the_directory_has_an_end,
    of_several_who_make_a_name_at_once_one_makes_it: 60,
    of_several_who_make_a_segment_at_once_one_makes_it: 60,
    objects_made_at_once_do_not_overlap: 60,
    a_creation_killed_half_way_leaves_nothing_visible: 120,
    an_object_killed_half_way_leaves_room_for_the_next: 120,
    a_stopped_maker_holds_up_nobody,
    participants_are_those_who_live,
    a_fork_is_a_participant_of_its_own,
    a_process_that_executes_another_program_is_gone,
    a_process_in_another_pid_namespace_is_alive_until_it_dies,
    random_bytes_in_a_live_segment_crash_and_hang_nobody: 300,
];

/// What this program does when it is started as somebody else's: counts itself in, and waits.
fn unrelated(segment: &Segment) -> ! {
    let hits = Value::<u64>::open(segment.at("hits")).unwrap();
    let queue = Queue::<[u8]>::open(segment.at("queue")).unwrap();
    let claim = queue.claim_timeout(LONG).unwrap();
    assert_eq!(claim.to_vec(), b"for the unrelated");
    hits.fetch_add(1);
    for_ever();
}

fn path_of(name: &str) -> PathBuf {
    format!("/dev/shm/mpshm.{name}").into()
}

/// What lies beside the named segments with this word in its name.
fn entries(word: &str) -> Vec<String> {
    let names = std::fs::read_dir("/dev/shm").unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains(word)).collect()
}

fn is_root() -> bool {
    // SAFETY: no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// Says that a test needs more rights than it has.
fn skipped_unless_root() -> bool {
    if !is_root() {
        println!("    skipped: needs root");
    }
    !is_root()
}

/// Makes this process one of user and group 65534.
fn become_nobody() {
    // SAFETY: no pointers but an empty list.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setgid(65534), 0);
        assert_eq!(libc::setuid(65534), 0);
    }
}

fn a65_a_second_attach_sees_what_the_first_wrote() {
    let name = crate::common::unique("a65");
    let first = Segment::create(&name, 512).unwrap();
    assert_eq!((first.name(), first.size() >= 512), (Some(&*name), true));
    let bytes = Array::<u8>::create(first.at("bytes"), 256).unwrap();
    bytes.store(0, 42).unwrap();
    let second = Segment::attach(&name).unwrap();
    assert_eq!((second.size(), second.id()), (first.size(), first.id()));
    let seen = Array::<u8>::open(second.at("bytes")).unwrap();
    assert_eq!((seen.len(), seen.load(0).unwrap()), (256, 42));
    seen.store(255, 43).unwrap();
    assert_eq!(bytes.load(255).unwrap(), 43);
    let third = Segment::options().participants(1).objects(1).attach(&name).unwrap();
    assert_eq!(third.participants_max(), 64, "the segment has its own");
    assert_eq!(Segment::open_or_create(&name, 1 << 20).unwrap().size(), first.size());
    Segment::unlink(&name).unwrap();
}

fn a66_bad_names_and_sizes_are_errors() {
    let long = "x".repeat(201);
    let bad = [
        ("", "is empty"),
        ("a/b", "slash"),
        ("/a", "slash"),
        ("a\0b", "NUL"),
        (&*long, "too long"),
    ];
    for (name, word) in bad {
        let words = [word, "1 to 200 bytes", &format!("{} were found", name.len())];
        is(Segment::create(name, 4096), ErrorKind::Invalid, &words);
        is(Segment::attach(name), ErrorKind::Invalid, &words);
        is(Segment::open_or_create(name, 4096), ErrorKind::Invalid, &words);
        is(Segment::unlink(name), ErrorKind::Invalid, &words);
        is(Value::create(name, 1u8), ErrorKind::Invalid, &words);
        is(Queue::<u64>::open(name), ErrorKind::Invalid, &words);
    }
    let name = crate::common::unique("a66");
    is(Segment::create(&name, 0), ErrorKind::Invalid, &["0 bytes"]);
    is(Segment::open_or_create(&name, 0), ErrorKind::Invalid, &["0 bytes"]);
    is(Segment::anonymous(0), ErrorKind::Invalid, &["0 bytes"]);
    assert_eq!(entries(&name), [""; 0]);
    // The longest name there is, and strange ones.
    for end in ["y".repeat(200 - name.len()), " ü*\n?".into(), "..".into()] {
        let name = name.clone() + &end;
        let segment = Segment::create(&name, 1).unwrap();
        assert_eq!(Segment::attach(&name).unwrap().id(), segment.id());
        Segment::unlink(&name).unwrap();
    }
}

fn a67_a_name_that_exists_and_one_that_is_missing_are_errors() {
    let name = crate::common::unique("a67");
    let quoted = format!("'{name}'");
    let words: [&str; 1] = [&quoted];
    is(Segment::attach(&name), ErrorKind::NotFound, &words);
    is(Segment::unlink(&name), ErrorKind::NotFound, &words);
    is(Value::<u8>::open(&name), ErrorKind::NotFound, &words);
    let segment = Segment::create(&name, 4096).unwrap();
    Value::create(segment.at("v"), 7u8).unwrap();
    is(Segment::create(&name, 4096), ErrorKind::Exists, &words);
    is(Segment::create(&name, 1 << 20), ErrorKind::Exists, &words);
    is(Value::create(&name, 1u8), ErrorKind::Exists, &words);
    // A segment of several objects is none that holds just one.
    is(Value::<u8>::open(&name), ErrorKind::Type, &words);
    is(Value::<u8>::open_or_create(&name, 1), ErrorKind::Type, &words);
    assert_eq!(Value::<u8>::open(segment.at("v")).unwrap().load(), 7);
    assert_eq!(entries(&name).len(), 1);
    Segment::unlink(&name).unwrap();
}

fn a68_unlinking_twice_says_so_and_never_removes_the_newer_one() {
    let name = crate::common::unique("a68");
    let old = Segment::create(&name, 4096).unwrap();
    Segment::unlink(&name).unwrap();
    is(Segment::unlink(&name), ErrorKind::NotFound, &[&name]);
    let new = Segment::create(&name, 4096).unwrap();
    assert_ne!(old.id(), new.id());
    drop(old);
    in_child(|| drop(Segment::attach(&name).unwrap()));
    assert_eq!(Segment::attach(&name).unwrap().id(), new.id(), "closing removes no name");
    Segment::unlink(&name).unwrap();
    is(Segment::unlink(&name), ErrorKind::NotFound, &[&name]);
}

fn a69_open_or_create_keeps_size_and_content() {
    let name = crate::common::unique("a69");
    let first = Segment::open_or_create(&name, 10_000).unwrap();
    Value::create(first.at("v"), 77i32).unwrap();
    for bytes in [1, 10_000, 1 << 24, u64::MAX] {
        let again = Segment::open_or_create(&name, bytes).unwrap();
        assert_eq!((again.size(), again.id()), (first.size(), first.id()));
        assert_eq!(Value::<i32>::open(again.at("v")).unwrap().load(), 77);
    }
    Segment::unlink(&name).unwrap();
}

fn a70_a_child_writes_by_name_and_by_the_inherited_handle() {
    let name = crate::common::unique("a70");
    let segment = Segment::create(&name, 4096).unwrap();
    let bytes = Array::<u8>::create(segment.at("bytes"), 10).unwrap();
    in_child(|| {
        let own = Segment::attach(&name).unwrap();
        let own = Array::<u8>::open(own.at("bytes")).unwrap();
        own.copy_from_slice(0, b"howdy").unwrap();
    });
    assert_eq!(bytes.to_vec(), *b"howdy\0\0\0\0\0");
    in_child(|| bytes.copy_from_slice(5, b"again").unwrap());
    assert_eq!(bytes.to_vec(), *b"howdyagain");
    Segment::unlink(&name).unwrap();
}

fn a71_a_name_opens_the_same_bytes_until_it_is_unlinked() {
    let name = crate::common::unique("a71");
    let here = Value::create(&name, 1u64).unwrap();
    let there = Value::<u64>::open(&name).unwrap();
    here.store(2);
    assert_eq!(there.load(), 2);
    there.store(3);
    assert_eq!(here.load(), 3);
    drop(here);
    assert_eq!(there.load(), 3, "each handle keeps the bytes");
    Segment::unlink(&name).unwrap();
    is(Value::<u64>::open(&name), ErrorKind::NotFound, &[&name]);
    assert_eq!(there.fetch_add(1), 3, "who is attached stays so");
}

fn a72_a_killed_creator_leaves_the_named_segment_and_no_anonymous_one() {
    let name = crate::common::unique("a72");
    let ready = Count::new();
    let creator = spawn(|| {
        let _named = Value::create(&name, 5u64).unwrap();
        let _anonymous = Value::new(6u64).unwrap();
        ready.add(1);
        for_ever();
    });
    until("both are made", LONG, || ready.get() == 1);
    kill(&creator);
    // A name stays until it is unlinked, whoever dies.
    assert_eq!(Value::<u64>::open(&name).unwrap().fetch_add(1), 5);
    in_child(|| assert_eq!(Value::<u64>::open(&name).unwrap().load(), 6));
    Segment::unlink(&name).unwrap();
    assert_eq!(entries(&name), [""; 0]);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert_eq!(maps.matches("memfd:mpshm").count(), 0);
}

/// A segment with what [`unrelated`] looks for.
fn shared(segment: &Segment) -> (Value<u64>, Queue<[u8]>) {
    let hits = Value::<u64>::create(segment.at("hits"), 0).unwrap();
    let options = QueueOptions::new(2).message_max(64);
    let queue = Queue::<[u8]>::create(segment.at("queue"), &options).unwrap();
    queue.push(b"for the unrelated").unwrap();
    (hits, queue)
}

/// The program holds a claim when it is killed; nobody is harmed.
#[track_caller]
fn kill_the_unrelated(mut program: std::process::Child, hits: &Value<u64>, queue: &Queue<[u8]>) {
    until("the program has attached", LONG, || hits.load() == 1);
    assert_eq!(queue.len(), 0);
    let participants = queue.segment().participants().unwrap();
    assert_eq!(participants, [std::process::id(), program.id()]);
    program.kill().unwrap();
    program.wait().unwrap();
    let claim = queue.claim_timeout(LONG).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (b"for the unrelated".to_vec(), 2));
}

fn b17_an_unrelated_program_that_attaches_and_is_killed_harms_nobody() {
    let name = crate::common::unique("b17");
    let segment = Segment::create(&name, 1 << 20).unwrap();
    let (hits, queue) = shared(&segment);
    let program = std::env::current_exe().unwrap();
    let program = Command::new(program).args(["--attach-by-name", &name]).spawn().unwrap();
    kill_the_unrelated(program, &hits, &queue);
    assert_eq!(Segment::attach(&name).unwrap().id(), segment.id());
    Segment::unlink(&name).unwrap();
}

fn b17_an_unrelated_program_attaches_by_descriptor() {
    let segment = Segment::anonymous(1 << 20).unwrap();
    let (hits, queue) = shared(&segment);
    let number = segment.as_fd().as_raw_fd();
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--attach-by-number", "100"]);
    // SAFETY: dup2 is async-signal-safe; the copy is not closed on exec.
    unsafe {
        program.pre_exec(move || {
            assert_eq!(libc::dup2(number, 100), 100);
            Ok(())
        });
    }
    kill_the_unrelated(program.spawn().unwrap(), &hits, &queue);
    // In this process too, and a descriptor that is no segment is refused.
    let again = Segment::attach_fd(segment.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!((again.id(), again.name()), (segment.id(), None));
    assert_eq!(Value::<u64>::open(again.at("hits")).unwrap().load(), 1);
    let (reader, _writer) = crate::common::pipe();
    is(Segment::attach_fd(reader.into()), ErrorKind::Version, &["no segment"]);
    let folder = File::open("/dev/shm").unwrap();
    is(Segment::attach_fd(folder.into()), ErrorKind::Version, &["no segment"]);
    let text = File::open(std::env::current_exe().unwrap()).unwrap();
    assert!(Segment::attach_fd(text.into()).is_err());
}

fn b18_more_than_there_is_is_no_space() {
    let name = crate::common::unique("b18");
    let before = crate::common::descriptors();
    for bytes in [1 << 44, 1 << 46, (1 << 46) + 1, u64::MAX - 4096, u64::MAX] {
        is(Segment::create(&name, bytes), ErrorKind::NoSpace, &["no space"]);
        is(Segment::open_or_create(&name, bytes), ErrorKind::NoSpace, &["no space"]);
        is(Segment::anonymous(bytes), ErrorKind::NoSpace, &["no space"]);
    }
    is(Array::<u8>::create(&name, 1 << 44), ErrorKind::NoSpace, &["no space"]);
    assert_eq!(entries(&name), [""; 0]);
    assert_eq!(crate::common::descriptors(), before);
}

fn b18_a_full_file_system_is_no_space_and_never_sigbus() {
    if skipped_unless_root() {
        return;
    }
    let name = crate::common::unique("small");
    in_child(|| {
        // SAFETY: terminated strings; the new name space is this child's alone.
        let mounted = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    c"none".as_ptr(),
                    c"/".as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
                && libc::mount(
                    c"small".as_ptr(),
                    c"/dev/shm".as_ptr(),
                    c"tmpfs".as_ptr(),
                    0,
                    c"size=1m".as_ptr().cast(),
                ) == 0
        };
        if !mounted {
            println!("    skipped: no mount of our own: {}", std::io::Error::last_os_error());
            return;
        }
        is(Segment::create(&name, 2 << 20), ErrorKind::NoSpace, &[&name, "no space"]);
        assert_eq!(entries(""), [""; 0], "nothing is left");
        let mut made = Vec::new();
        let refused = loop {
            let name = format!("{name}{}", made.len());
            match Array::<u8>::create(&name, 100_000) {
                Ok(array) => made.push(array),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), ErrorKind::NoSpace, "{refused}");
        assert!((5..=10).contains(&made.len()), "{} of 100,000 bytes in 1 MiB", made.len());
        assert_eq!(entries("").len(), made.len());
        // Every page is there: no write of the whole length is a SIGBUS.
        for array in &made {
            array.fill(0..100_000, 1).unwrap();
        }
        Segment::unlink(&format!("{name}0")).unwrap();
        drop(made.remove(0));
        Value::create(&name, 1u8).unwrap().store(2);
        // What is anonymous does not lie there.
        Array::<u8>::new(4 << 20).unwrap().fill(0..4 << 20, 1).unwrap();
    });
}

fn b19_ten_thousand_segments_leave_nothing() {
    let name = crate::common::unique("b19");
    let before = crate::common::descriptors();
    for round in 0..10_000u64 {
        let options = Segment::options().participants(1).objects(1);
        let segment = if round % 4 == 0 {
            options.create(&name, 64).unwrap()
        } else {
            options.anonymous(64).unwrap()
        };
        let mutex = Mutex::create(segment.at("m"), round).unwrap();
        assert_eq!(mutex.lock().unwrap().get(), round);
        if round % 4 == 0 {
            Segment::unlink(&name).unwrap();
        }
    }
    assert_eq!(crate::common::descriptors(), before);
    assert_eq!(entries(&name), [""; 0]);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("mpshm"), "{maps}");
}

fn b32_foreign_and_damaged_files_are_refused_and_left_alone() {
    let name = crate::common::unique("b32");
    let path = path_of(&name);
    let sound = {
        let segment = Segment::create(&name, 4096).unwrap();
        Value::create(segment.at("v"), 1u64).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        Segment::unlink(&name).unwrap();
        bytes
    };
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = sound.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let swapped: Vec<u8> = sound[..8].iter().rev().copied().collect();
    let other_size = 1u64.to_ne_bytes();
    let longer = [&sound[..], &[0; 4096]].concat();
    let files: [(&str, Vec<u8>, ErrorKind, &[&str]); 13] = [
        ("nothing", vec![], ErrorKind::Version, &["0 bytes"]),
        ("one byte", vec![7], ErrorKind::Version, &["1 bytes"]),
        (
            "text",
            b"hello world\n".repeat(1000),
            ErrorKind::Version,
            &["magic", "expected", "found"],
        ),
        ("zeros", vec![0; 1 << 16], ErrorKind::Version, &["magic"]),
        ("ones", vec![255; 1 << 16], ErrorKind::Version, &["magic"]),
        ("half a header", sound[..50].to_vec(), ErrorKind::Version, &["50 bytes"]),
        ("a header alone", sound[..128].to_vec(), ErrorKind::Corrupt, &["128"]),
        ("a page less", sound[..sound.len() - 4096].to_vec(), ErrorKind::Corrupt, &["header says"]),
        ("a byte less", sound[..sound.len() - 1].to_vec(), ErrorKind::Corrupt, &["header says"]),
        ("a page more", longer, ErrorKind::Corrupt, &["header says"]),
        ("the other byte order", changed(0, &swapped), ErrorKind::Version, &["byte order"]),
        ("a later version", changed(8, &2u32.to_ne_bytes()), ErrorKind::Version, &["1", "found 2"]),
        ("another size", changed(16, &other_size), ErrorKind::Corrupt, &["header says 1 bytes"]),
    ];
    for (what, bytes, kind, words) in files {
        println!("    {what}");
        std::fs::write(&path, &bytes).unwrap();
        let named = [&[&*name], words].concat();
        is(Segment::attach(&name), kind, &named);
        is(Segment::open_or_create(&name, 64), kind, &named);
        is(Value::<u64>::open(&name), kind, &named);
        is(Value::<u64>::open_or_create(&name, 1), kind, &named);
        is(Segment::create(&name, 64), ErrorKind::Exists, &[&name]);
        let file = File::options().read(true).write(true).open(&path).unwrap();
        is(Segment::attach_fd(file.into()), kind, words);
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what} was changed");
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::write(&path, &sound).unwrap();
    assert!(Segment::attach(&name).is_ok(), "the sound one");
    std::fs::remove_file(&path).unwrap();

    std::fs::create_dir(&path).unwrap();
    assert!(Segment::attach(&name).is_err(), "a folder");
    is(Segment::create(&name, 64), ErrorKind::Exists, &[&name]);
    std::fs::remove_dir(&path).unwrap();
    let start = Instant::now();
    let terminated = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a terminated path.
    assert_eq!(unsafe { libc::mkfifo(terminated.as_ptr(), 0o600) }, 0);
    is(Segment::attach(&name), ErrorKind::Version, &[&name, "not a regular file"]);
    assert!(start.elapsed() < Duration::from_secs(1), "a pipe without a writer");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(Segment::attach(&name).is_err(), "a link is not followed");
    is(Segment::create(&name, 64), ErrorKind::Exists, &[&name]);
    std::fs::remove_file(&path).unwrap();
}

fn b32_a_header_with_any_other_byte_is_refused_or_harmless() {
    let name = crate::common::unique("header");
    let segment = Segment::options().participants(2).objects(2).create(&name, 4096).unwrap();
    let value = Value::create(segment.at("v"), 9u64).unwrap();
    let file = File::options().read(true).write(true).open(path_of(&name)).unwrap();
    let mut refused = 0;
    for at in 0..96 {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        for flip in [0x01, 0x80, 0xff] {
            file.write_all_at(&[byte[0] ^ flip], at).unwrap();
            match Segment::attach(&name) {
                Ok(attached) => {
                    let again = Value::<u64>::open(attached.at("v")).unwrap();
                    assert_eq!(again.load(), 9, "byte {at}");
                }
                Err(error) => {
                    assert!([ErrorKind::Version, ErrorKind::Corrupt].contains(&error.kind()));
                    refused += 1;
                }
            }
            assert_eq!(value.load(), 9, "who is attached does not look at it again");
            assert_eq!(segment.objects().unwrap().len(), 1);
        }
        file.write_all_at(&byte, at).unwrap();
    }
    // All but the ids (32 bytes) and who made it (8), which nothing else follows from.
    assert_eq!(refused, (96 - 40) * 3);
    Segment::unlink(&name).unwrap();
}

fn mode_is_as_asked_and_0600_else() {
    let name = crate::common::unique("mode");
    // SAFETY: no pointers; this process is the test's own.
    unsafe { libc::umask(0o077) };
    let mode = |name: &str| path_of(name).metadata().unwrap().permissions().mode() & 0o7777;
    drop(Segment::create(&name, 64).unwrap());
    assert_eq!(mode(&name), 0o600);
    Segment::unlink(&name).unwrap();
    drop(Value::create(&name, 1u8).unwrap());
    assert_eq!(mode(&name), 0o600);
    Segment::unlink(&name).unwrap();
    for wanted in [0o600, 0o640, 0o660, 0o666, 0o400] {
        drop(Segment::options().mode(wanted).create(&name, 64).unwrap());
        assert_eq!(mode(&name), wanted, "not cut down by the mask");
        Segment::unlink(&name).unwrap();
    }
}

fn group_is_as_asked_or_an_error_that_leaves_nothing() {
    if skipped_unless_root() {
        return;
    }
    let name = crate::common::unique("group");
    drop(Segment::options().group(65534).mode(0o660).create(&name, 64).unwrap());
    let status = path_of(&name).metadata().unwrap();
    assert_eq!((status.gid(), status.mode() & 0o7777), (65534, 0o660));
    Segment::unlink(&name).unwrap();
    in_child(|| {
        become_nobody();
        let refused = Segment::options().group(0).create(&name, 64);
        is(refused, ErrorKind::Permission, &[&name, "group 0"]);
        assert_eq!(entries(&name), [""; 0]);
    });
}

fn a_segment_of_another_user_is_refused_unless_asked_for() {
    if skipped_unless_root() {
        return;
    }
    let name = crate::common::unique("other");
    drop(Value::create(&name, 5u64).unwrap());
    std::os::unix::fs::chown(path_of(&name), Some(65534), None).unwrap();
    let words: [&str; 3] = [&name, "user 65534", "user 0"];
    is(Segment::attach(&name), ErrorKind::Permission, &words);
    is(Segment::open_or_create(&name, 64), ErrorKind::Permission, &words);
    is(Value::<u64>::open(&name), ErrorKind::Permission, &words);
    is(Value::<u64>::open_or_create(&name, 1), ErrorKind::Permission, &words);
    let segment = Segment::options().of_any_user(true).attach(&name).unwrap();
    assert_eq!(segment.objects().unwrap().len(), 1);
    Segment::unlink(&name).unwrap();
}

fn no_permission_is_an_error_that_says_so() {
    if skipped_unless_root() {
        return;
    }
    let name = crate::common::unique("closed");
    let value = Value::create(&name, 5u64).unwrap();
    in_child(|| {
        become_nobody();
        is(Segment::attach(&name), ErrorKind::Permission, &[&name]);
        let options = Segment::options().of_any_user(true);
        is(options.attach(&name), ErrorKind::Permission, &[&name]);
        is(Segment::unlink(&name), ErrorKind::Permission, &[&name]);
        is(Segment::create(&name, 64), ErrorKind::Exists, &[&name]);
    });
    // Where the mode allows it, another user takes part.
    std::fs::set_permissions(path_of(&name), std::fs::Permissions::from_mode(0o666)).unwrap();
    in_child(|| {
        become_nobody();
        is(Segment::attach(&name), ErrorKind::Permission, &[&name, "user 0", "user 65534"]);
        drop(Segment::options().of_any_user(true).attach(&name).unwrap());
    });
    assert_eq!(value.load(), 5);
    Segment::unlink(&name).unwrap();
}

fn every_page_is_allocated_and_the_size_is_sealed() {
    let name = crate::common::unique("pages");
    for bytes in [1, 4096, 1 << 20, (5 << 20) + 1] {
        for segment in [Segment::anonymous(bytes).unwrap(), Segment::create(&name, bytes).unwrap()]
        {
            let expected = Segment::options().size_for(bytes).unwrap();
            assert_eq!(segment.size(), expected);
            let file = File::from(segment.as_fd().try_clone_to_owned().unwrap());
            let status = file.metadata().unwrap();
            assert_eq!((status.len(), status.blocks() * 512), (expected, expected));
            if segment.name().is_none() {
                file.set_len(0).unwrap_err();
                file.set_len(expected + 4096).unwrap_err();
            }
        }
        Segment::unlink(&name).unwrap();
    }
    let options = Segment::options().participants(1).objects(1);
    assert_eq!(options.anonymous(1000).unwrap().size(), 4096, "no more than it needs");
}

fn options_out_of_range_are_errors() {
    let name = crate::common::unique("options");
    for count in [0, 1024, u32::MAX] {
        let found = format!("{count} were asked for");
        let options = Segment::options().participants(count);
        is(options.create(&name, 64), ErrorKind::Invalid, &["participants", "1023", &found]);
        is(options.anonymous(64), ErrorKind::Invalid, &["participants"]);
        is(options.size_for(64), ErrorKind::Invalid, &["participants"]);
    }
    for count in [0, 65_537, u32::MAX] {
        let options = Segment::options().objects(count);
        is(options.create(&name, 64), ErrorKind::Invalid, &["objects", "65536"]);
    }
    assert_eq!(entries(&name), [""; 0]);
    let most = Segment::options().participants(1023).objects(65_536).anonymous(64).unwrap();
    assert_eq!(most.participants_max(), 1023);
}

fn no_descriptors_left_is_an_error_that_leaves_nothing() {
    let name = crate::common::unique("fds");
    let segment = Segment::anonymous(4096).unwrap();
    Value::create(segment.at("v"), 1u64).unwrap();
    let copy = segment.as_fd().try_clone_to_owned().unwrap();
    let own = Segment::attach_fd(copy).unwrap(); // attached, and without a part in it as yet
    let value = Value::<u64>::open(own.at("v")).unwrap();
    in_child(|| {
        // SAFETY: a valid limit for this child alone.
        unsafe {
            let next = libc::dup(0);
            libc::close(next);
            let limit = libc::rlimit { rlim_cur: next as u64, rlim_max: next as u64 };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        }
        is(Segment::create(&name, 64), ErrorKind::Limit, &[&name]);
        is(Segment::attach(&name), ErrorKind::Limit, &[&name]);
        is(Segment::anonymous(64), ErrorKind::Limit, &[]);
        assert_eq!(value.load(), 1, "what needs no part in the segment works");
        is(value.lock().map(drop), ErrorKind::Limit, &["descriptor"]);
        is(Value::create(own.at("x"), 1u8), ErrorKind::Limit, &["descriptor"]);
    });
    assert_eq!(entries(&name), [""; 0]);
    drop(value.lock().unwrap());
}

fn objects_are_listed_and_opened_and_the_directory_has_an_end() {
    let segment = Segment::options().objects(5).anonymous(1 << 16).unwrap();
    assert_eq!(segment.objects().unwrap(), []);
    let long = "n".repeat(56);
    Value::create(segment.at("value"), 1u8).unwrap();
    Array::<i16>::create(segment.at("array"), 100).unwrap();
    Mutex::create(segment.at("mutex"), [1u32; 3]).unwrap();
    Queue::<[u8]>::create(segment.at(&long), &QueueOptions::new(2).message_max(8)).unwrap();
    Value::create(segment.at("/a b/ü"), 1.5f64).unwrap();
    let listed = segment.objects().unwrap();
    let names: Vec<&str> = listed.iter().map(|object| &*object.name).collect();
    assert_eq!(names, ["/a b/ü", &long, "mutex", "array", "value"], "newest first");
    let kinds: Vec<_> = listed.iter().map(|object| object.kind.unwrap()).collect();
    let value = ObjectKind::Value;
    assert_eq!(kinds, [value, ObjectKind::Queue, ObjectKind::Mutex, ObjectKind::Array, value]);
    assert_eq!((listed[3].item.size, listed[2].item.size), (2, 12));
    assert!(listed[3].size >= 200 && listed[3].size < 1000);
    in_child(|| assert_eq!(segment.objects().unwrap(), listed));
    is(Value::create(segment.at("one more"), 1u8), ErrorKind::Limit, &["'one more'", "5 entries"]);
    is(Value::create(segment.at("value"), 1u8), ErrorKind::Exists, &["'value'"]);
    assert_eq!(Value::<f64>::open(segment.at("/a b/ü")).unwrap().load(), 1.5);

    let segment = Segment::anonymous(4096).unwrap();
    for (name, word) in [("", "empty"), (&*(long + "n"), "too long"), ("a\0", "NUL")] {
        let found = format!("{} were found", name.len());
        let words = [word, "1 to 56 bytes", &*found];
        is(Value::create(segment.at(name), 1u8), ErrorKind::Invalid, &words);
        is(Value::<u8>::open(segment.at(name)), ErrorKind::Invalid, &words);
        is(Value::open_or_create(segment.at(name), 1u8), ErrorKind::Invalid, &words);
    }
    is(Array::<u8>::create(segment.at("a"), 9000), ErrorKind::NoSpace, &["'a'", "are left"]);
    assert_eq!(segment.objects().unwrap(), []);
    Array::<u8>::create(segment.at("a"), 3500).unwrap();
    is(Array::<u8>::create(segment.at("b"), 9000), ErrorKind::NoSpace, &["'b'"]);
    Array::<u8>::create(segment.at("b"), 300).unwrap();
}

/// Runs `body` in `count` children that begin at the same moment.
fn at_once(count: usize, body: impl Fn(usize)) {
    let (go, ready) = (Count::new(), Count::new());
    let children: Vec<Process> = (0..count)
        .map(|index| {
            let (go, ready, body) = (&go, &ready, &body);
            spawn(move || {
                ready.add(1);
                while go.get() == 0 {
                    std::thread::yield_now();
                }
                body(index);
            })
        })
        .collect();
    until("all are ready", LONG, || ready.get() == count as u64);
    go.add(1);
    children.iter().for_each(join);
}

fn of_several_who_make_a_name_at_once_one_makes_it() {
    let segment = Segment::options().objects(1000).anonymous(1 << 20).unwrap();
    for round in 0..50 {
        let (made, name) = (Count::new(), format!("round {round}"));
        at_once(4, |index| {
            match Value::create(segment.at(&name), index as u64) {
                Ok(_) => made.add(1),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Exists, "{error}"),
            }
            Value::<u64>::open(segment.at(&name)).unwrap();
            let sum = Value::open_or_create(segment.at("sum"), 0u64).unwrap();
            sum.fetch_add(1);
        });
        assert_eq!(made.get(), 1);
    }
    assert_eq!(Value::<u64>::open(segment.at("sum")).unwrap().load(), 200);
    assert_eq!(segment.objects().unwrap().len(), 51);
}

fn of_several_who_make_a_segment_at_once_one_makes_it() {
    let name = crate::common::unique("first");
    for _ in 0..50 {
        let made = Count::new();
        at_once(4, |_| {
            match Segment::create(&name, 4096) {
                Ok(segment) => {
                    made.add(1);
                    Value::open_or_create(segment.at("v"), 0u64).unwrap().fetch_add(1);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Exists, "{error}"),
            }
            let segment = Segment::open_or_create(&name, 4096).unwrap();
            Value::open_or_create(segment.at("v"), 0u64).unwrap().fetch_add(1);
        });
        assert_eq!(made.get(), 1);
        let segment = Segment::attach(&name).unwrap();
        assert_eq!(Value::<u64>::open(segment.at("v")).unwrap().load(), 5);
        Segment::unlink(&name).unwrap();
    }
}

fn objects_made_at_once_do_not_overlap() {
    let segment = Segment::options().objects(200).anonymous(1 << 20).unwrap();
    at_once(4, |index| {
        for n in 0..40 {
            let name = format!("{index}.{n}");
            let length = 1 + (index * 40 + n) % 300;
            let array = Array::<u8>::create(segment.at(&name), length).unwrap();
            assert!(array.iter().all(|byte| byte == 0), "{name}");
            array.fill(0..length, (index * 40 + n) as u8).unwrap();
        }
    });
    for (index, n) in (0..4).flat_map(|index| (0..40).map(move |n| (index, n))) {
        let array = Array::<u8>::open(segment.at(&format!("{index}.{n}"))).unwrap();
        assert_eq!(array.to_vec(), vec![(index * 40 + n) as u8; 1 + (index * 40 + n) % 300]);
    }
    assert_eq!(segment.objects().unwrap().len(), 160);
}

/// Waits without sleeping, so that what follows hits the beginning.
fn begins(begun: &Count, count: u64) {
    while begun.get() < count {
        std::hint::spin_loop();
    }
}

fn a_creation_killed_half_way_leaves_nothing_visible() {
    let name = crate::common::unique("half");
    let (mut complete, mut random) = (0, Random::new(7));
    let begun = Count::new();
    for round in 0..200 {
        let creator = spawn(|| {
            begun.add(1);
            let options = QueueOptions::new(1000).message_max(200);
            let _queue = Queue::<[u8]>::create(&name, &options).unwrap();
            for_ever();
        });
        begins(&begun, round + 1);
        random.pause(400);
        kill(&creator);
        let found = entries(&name);
        match Queue::<[u8]>::open(&name) {
            Ok(queue) => {
                complete += 1;
                assert_eq!((queue.capacity(), queue.message_max(), queue.len()), (1000, 200, 0));
                queue.push(b"works").unwrap();
                assert_eq!(queue.pop().unwrap(), b"works");
                Segment::unlink(&name).unwrap();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                assert_eq!(found, [""; 0]);
            }
        }
        drop(Value::create(&name, 1u8).unwrap());
        Segment::unlink(&name).unwrap();
    }
    println!("    {complete} of 200 were complete");
    assert!((1..200).contains(&complete), "none was killed half-way, or all were");
}

fn an_object_killed_half_way_leaves_room_for_the_next() {
    const LENGTH: usize = 2_000_000;
    // Room for ten, in the directory and in the arena: what a dead maker held must be used again.
    let segment = Segment::options().objects(10).anonymous(10 * 2_000_200).unwrap();
    let begun = Count::new();
    let (mut kills, mut half_way, mut complete, mut random) = (0u64, 0, 0, Random::new(8));
    while complete < 10 {
        assert!(kills < 5000, "only {complete} objects after {kills} kills");
        let name = format!("{kills}");
        let maker = spawn(|| {
            // SAFETY: no pointers. On a busy machine the maker shall be slower than who kills it.
            unsafe { libc::nice(19) };
            begun.add(1);
            let array = Array::<u8>::create(segment.at(&name), LENGTH).unwrap();
            array.fill(0..LENGTH, 7).unwrap();
            for_ever();
        });
        kills += 1;
        begins(&begun, kills);
        // Ever later, so that every step is met, and there is an end.
        random.pause(20 + 4 * kills);
        kill(&maker);
        match Array::<u8>::open(segment.at(&name)) {
            Ok(array) => {
                assert_eq!(array.len(), LENGTH);
                assert!(array.iter().all(|byte| byte == 0 || byte == 7));
                if half_way < 20 {
                    // The machine is busy, and the kill came late: this one shows nothing.
                    drop(array);
                    segment.remove(&name).unwrap();
                    continue;
                }
                complete += 1;
                array.fill(0..LENGTH, 9).unwrap();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                half_way += 1;
            }
        }
    }
    println!("    ten objects were complete after {kills} kills, {half_way} of them half-way");
    let listed = segment.objects().unwrap();
    assert_eq!(listed.len(), 10);
    for object in &listed {
        let array = Array::<u8>::open(segment.at(&object.name)).unwrap();
        assert!(array.iter().all(|byte| byte == 9), "object '{}' is another's too", object.name);
    }
    is(Array::<u8>::create(segment.at("more"), 1), ErrorKind::Limit, &["10 entries"]);
}

fn a_stopped_maker_holds_up_nobody() {
    let segment = Segment::options().objects(20_000).anonymous(128 << 20).unwrap();
    let mut random = Random::new(9);
    let at = Count::new();
    let maker = spawn(|| {
        for n in 0.. {
            if Array::<u8>::create(segment.at(&format!("his {n}")), 4000).is_err() {
                break;
            }
            at.add(1);
        }
        for_ever();
    });
    for n in 0..100 {
        random.pause(200);
        stop(&maker);
        let name = format!("mine {n}");
        let start = Instant::now();
        let mine = Array::<u8>::create(segment.at(&name), 10).unwrap();
        assert_eq!(Array::<u8>::open(segment.at(&name)).unwrap().len(), mine.len());
        assert!(segment.objects().unwrap().len() as u64 > at.get());
        assert!(start.elapsed() < Duration::from_secs(1));
        go_on(&maker);
    }
    kill(&maker);
}

fn participants_are_those_who_live() {
    let segment = Segment::anonymous(4096).unwrap();
    assert_eq!(segment.participants().unwrap(), [], "attached, but nothing was ever owned");
    let mutex = Mutex::create(segment.at("m"), 0u64).unwrap();
    let me = std::process::id();
    assert_eq!(segment.participants().unwrap(), [me]);
    let children: Vec<Process> = (0..3)
        .map(|_| {
            spawn(|| {
                drop(mutex.lock().unwrap());
                for_ever();
            })
        })
        .collect();
    let pids = || {
        let mut pids = segment.participants().unwrap();
        pids.sort_unstable();
        pids
    };
    until("all take part", LONG, || pids().len() == 4);
    stop(&children[0]);
    assert_eq!(pids().len(), 4, "a stopped process lives");
    go_on(&children[0]);
    kill(&children[1]);
    let mut expected = [me, children[0].pid(), children[2].pid()];
    expected.sort_unstable();
    assert_eq!(pids(), expected);
    children[2].terminate().unwrap();
    children[2].join().unwrap();
    kill(&children[0]);
    assert_eq!(pids(), [me]);
    in_child(|| {
        drop(mutex.lock().unwrap());
        assert_eq!(pids().len(), 2);
    });
    assert_eq!(pids(), [me]);
    drop(mutex);
    assert_eq!(pids(), [me], "until the last handle is closed");
}

fn a_fork_is_a_participant_of_its_own() {
    let segment = Segment::options().participants(3).anonymous(4096).unwrap();
    let mutex = Mutex::create(segment.at("m"), 0u64).unwrap();
    let guard = mutex.lock().unwrap();
    in_child(|| {
        assert!(matches!(mutex.try_lock(), Err(LockError::Busy)));
        in_child(|| assert!(matches!(mutex.try_lock(), Err(LockError::Busy))));
        assert_eq!(segment.participants().unwrap().len(), 2, "its own child has ended");
        // A handle that it does not need any more takes nothing from the parent.
        drop(segment.clone());
    });
    // A child made without the library, which closes what it inherited, ends nothing either.
    // SAFETY: the child calls only what this test's single thread may.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: closes every descriptor of the child, and ends it.
        unsafe {
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
            libc::_exit(0);
        }
    }
    // SAFETY: our own child.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    in_child(|| assert!(matches!(mutex.try_lock(), Err(LockError::Busy))));
    drop(guard);
    in_child(|| drop(mutex.try_lock().unwrap()));
}

fn a_process_that_executes_another_program_is_gone() {
    let mutex = Mutex::new(0u64).unwrap();
    let queue = Queue::<[u8]>::new(2, 8).unwrap();
    queue.push(b"work").unwrap();
    let child = spawn(|| {
        let _guard = mutex.lock().unwrap();
        let _claim = queue.claim().unwrap();
        let error = Command::new("sleep").arg("100").exec();
        panic!("{error}");
    });
    until("it sleeps", LONG, || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", child.pid()));
        name.is_ok_and(|name| name.trim() == "sleep")
    });
    assert!(child.is_alive());
    assert!(matches!(mutex.lock_timeout(LONG), Err(LockError::OwnerDead(_))));
    let claim = queue.claim_timeout(LONG).unwrap();
    assert_eq!((claim.to_vec(), claim.deliveries()), (b"work".to_vec(), 2));
    kill(&child);
}

fn a_process_in_another_pid_namespace_is_alive_until_it_dies() {
    if skipped_unless_root() {
        return;
    }
    let mutex = Mutex::new(0u64).unwrap();
    let (holds, allowed) = (Count::new(), Count::new());
    let middle = spawn(|| {
        // SAFETY: no pointers. Children of this process get a name space of their own.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            allowed.add(1);
            return;
        }
        let inner = spawn(|| {
            assert_eq!(std::process::id(), 1);
            let _guard = mutex.lock().unwrap();
            holds.add(1);
            for_ever();
        });
        inner.join().unwrap();
    });
    until("it holds the lock, or may not", LONG, || holds.get() + allowed.get() > 0);
    if allowed.get() > 0 {
        println!("    skipped: no pid namespace of our own");
        return join(&middle);
    }
    assert!(mutex.segment().participants().unwrap().contains(&1));
    // Long enough for every proof of death that there is.
    assert!(matches!(mutex.lock_timeout(6 * SHORT), Err(LockError::TimedOut)));
    kill(&middle); // and the kernel kills its child
    assert!(matches!(mutex.lock_timeout(LONG), Err(LockError::OwnerDead(_))));
    // The orphan came to this process.
    until("it has ended", LONG, || {
        // SAFETY: a null status is allowed.
        unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) != 0 }
    });
}

/// What a program does with a segment, none of it for ever.
type Everything = (Queue<u64>, Queue<[u8]>, Mutex<u64>, Array<u16>);

fn use_everything(segment: &Segment, live: &Everything) {
    let wait = Duration::from_millis(2);
    let (numbers, messages, mutex, array) = live;
    for n in 0..6 {
        let _ = numbers.try_push(n);
        let _ = messages.try_push(&[n as u8; 20]);
        let _ = messages.try_reserve(30).map(|reservation| reservation.commit(10));
    }
    let _ = numbers.push_timeout(1, wait);
    let _ = messages.push_timeout(b"x", wait);
    let _ = (numbers.len(), messages.len(), messages.audit(), messages.is_closed());
    for _ in 0..6 {
        let _ = numbers.try_pop();
        let _ = messages.try_claim().map(|claim| (claim.to_vec(), claim.deliveries()));
        let _ = messages.try_pop();
    }
    let _ = messages.try_claim().map(mpshm::Claim::give_back);
    let _ = numbers.pop_timeout(wait);
    let _ = messages.pop_timeout(wait);
    let _ = mutex.try_lock().map(|mut guard| guard.set(guard.get() + 1));
    let _ = mutex.lock_timeout(wait).map(|guard| guard.get());
    let _ = (array.fetch_add(3, 1), array.to_vec());
    let _ = (segment.objects(), segment.participants(), mpshm::recover(segment));
    let _ = Queue::<u64>::open(segment.at("numbers")).map(|queue| queue.try_push(1));
    let _ = Queue::<[u8]>::open(segment.at("messages")).map(|queue| queue.try_pop());
    let _ = Mutex::<u64>::open(segment.at("mutex")).map(|mutex| mutex.try_lock().is_ok());
    let _ = Array::<u16>::open(segment.at("array")).map(|array| array.to_vec());
    let _ = Value::create(segment.at("new"), 1u64).map(|value| value.load());
    let _ = (numbers.close(), messages.close());
}

fn random_bytes_in_a_live_segment_crash_and_hang_nobody() {
    let rounds = if std::env::var_os("MPSHM_QUICK").is_some() { 300 } else { 1500 };
    let mut random = Random::new(10);
    for round in 0..rounds {
        let options = Segment::options().participants(4).objects(8);
        let segment = options.anonymous(16 << 10).unwrap();
        let queue = QueueOptions::new(4).message_max(40).leases(1);
        let live = (
            Queue::<u64>::create(segment.at("numbers"), &queue).unwrap(),
            Queue::<[u8]>::create(segment.at("messages"), &queue).unwrap(),
            Mutex::create(segment.at("mutex"), 1u64).unwrap(),
            Array::<u16>::create(segment.at("array"), 10).unwrap(),
        );
        live.0.push(1).unwrap();
        live.1.push(b"some").unwrap();
        let file = File::from(segment.as_fd().try_clone_to_owned().unwrap());
        let used = 8 << 10; // the tables and the objects
        // One byte, a word, or a lot; anywhere, before the child looks and while it does.
        let changes: Vec<(u64, Vec<u8>)> = (0..1 + random.below(8))
            .map(|_| {
                let length = [1, 1, 8, 8, 64, 512][random.below(6) as usize];
                let special = [0, 0xff, 0x80, 1][random.below(4) as usize];
                let plain = random.below(2) == 0;
                let bytes = (0..length)
                    .map(|_| if plain { special } else { random.below(256) as u8 })
                    .collect();
                (random.below(used - length) / length.min(8) * length.min(8), bytes)
            })
            .collect();
        let child = spawn(|| {
            use_everything(&segment, &live);
        });
        for (at, bytes) in changes.iter().cycle().take(3 * changes.len()) {
            file.write_all_at(bytes, *at).unwrap();
            random.pause(30);
        }
        let status = child.join_timeout(Duration::from_secs(5)).unwrap();
        let Some(status) = status else { panic!("round {round} hangs after {changes:?}") };
        assert!(
            status.success(),
            "round {round}: {status}, {:?}, after {changes:?}",
            child.panic_message()
        );
    }
    println!("    {rounds} rounds");
}
