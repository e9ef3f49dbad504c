//! The tour as its users run it: what it prints, and what the death of any of its processes leaves.

mod common;
#[path = "common/probe.rs"]
mod probe;

use common::{readable, state_of, until};
use probe::Random;
use serde_json::Value as Json;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const PARTS: [&str; 6] = ["processes", "pool_map", "value", "array", "factorials", "queue"];
/// The longest that a tour may take: without optimization its big numbers take their time.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 300 } else { 60 });

static TOUR: OnceLock<PathBuf> = OnceLock::new();

fn main() {
    TOUR.set(build()).unwrap();
    common::main(tests![
        every_part_is_there_and_ok: 400,
        the_numbers_are_right: 400,
        a_part_alone_is_one_member: 60,
        every_file_is_counted: 60,
        without_files_it_takes_what_git_tracks_or_every_file: 60,
        bad_flags_are_refused_before_anything_runs,
        what_cannot_be_done_is_said_and_the_exit_code_is_not_zero: 60,
        killing_its_parent_leaves_nothing: 600,
        killing_any_of_its_children_leaves_nothing: 600,
    ])
}

/// The tour's program, made up to date in the profile that this test was built in.
fn build() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().and_then(|deps| deps.parent()).expect("a profile's folder");
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let folder = profile.file_name().unwrap().to_string_lossy().into_owned();
    let name = if folder == "debug" { "dev" } else { &*folder };
    let built = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--example", "tour", "--profile", name, "--target-dir"])
        .arg(profile.parent().unwrap())
        // Those that the library was built with for this test: it is not built again.
        .args(cfg!(feature = "serde").then_some("--features=serde"))
        .status();
    let program = profile.join("examples/tour");
    assert!(built.is_ok_and(|status| status.success()) && program.exists(), "no tour: {program:?}");
    program
}

fn tour(arguments: &[&str]) -> Command {
    let mut command = Command::new(TOUR.get().unwrap());
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).stdin(Stdio::null());
    command
}

/// What a run printed, and how it ended.
struct Run {
    status: ExitStatus,
    out: String,
    err: String,
}

#[track_caller]
fn run(arguments: &[&str]) -> Run {
    finish(tour(arguments))
}

#[track_caller]
fn finish(mut command: Command) -> Run {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_within(&child, LIMIT);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { status: output.status, out: text(output.stdout), err: text(output.stderr) }
}

impl Run {
    #[track_caller]
    fn json(&self) -> Json {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    #[track_caller]
    fn ok(&self) -> &Self {
        assert!(self.status.success(), "{}:\n{}\n{}", self.status, self.out, self.err);
        self
    }
}

/// Fails when the process, which has been started here, does not end within the time.
#[track_caller]
fn wait_within(child: &Child, limit: Duration) {
    // SAFETY: our own child, which is not reaped yet; the descriptor is owned by what is returned.
    let fd = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, child.id(), 0);
        assert!(fd >= 0);
        OwnedFd::from_raw_fd(fd as i32)
    };
    assert!(readable(fd.as_raw_fd(), limit), "the tour hangs: still running after {limit:?}");
}

fn every_part_is_there_and_ok() {
    let run = run(&["--files", "Cargo.toml"]);
    run.ok();
    let mut at = 0;
    for part in PARTS {
        let head = format!("{part}:\n");
        at += run.out[at..].find(&head).unwrap_or_else(|| panic!("{part} in {}", run.out));
        let end = run.out[at..].find(" s: ok\n").expect("an end") + at;
        assert!(!run.out[at + head.len()..end].contains(":\n"), "{part}: {}", run.out);
        at = end;
    }
    assert_eq!(run.out.matches(": ok\n").count(), 6);
    let wrong =
        run.out.lines().find(|line| line.contains("WRONG")).expect("the wrong way is labelled");
    assert!(wrong.contains("updates were lost"), "{wrong}");
    assert_eq!(run.err, "");
}

fn the_numbers_are_right() {
    let run = run(&["--json", "--workers", "3", "--files", "README.md", "Cargo.toml"]);
    let json = run.ok().json();
    assert_eq!(run.out.trim().lines().count(), 1, "one object, and nothing else");
    let names: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), PARTS.len(), "{names:?}");
    for part in PARTS {
        assert_eq!(json[part]["ok"], true, "{part}");
        assert!(json[part]["seconds"].as_f64().unwrap() > 0.0, "{part}");
    }
    let processes = &json["processes"];
    let listed = processes["processes"].as_array().unwrap();
    let mut pids: Vec<u64> = listed.iter().map(|one| one["pid"].as_u64().unwrap()).collect();
    pids.dedup();
    assert_eq!(pids.len(), 3);
    assert!(listed.iter().all(|one| one["exit_code"] == 0 && one["name"].is_string()));
    assert_eq!(processes["killed_exit_code"], -9);
    let total = processes["total_seconds"].as_f64().unwrap();
    assert!((1.0..2.0).contains(&total), "{total} s for three sleeps of one");
    assert_eq!(json["pool_map"]["small"], serde_json::json!([1, 4, 9, 16, 25]));
    let sum: u64 = (0..1_000_000u64).map(|n| n * n).sum();
    assert_eq!(json["pool_map"]["million_sum"], sum);
    assert_eq!(
        (&json["value"]["locked"], &json["value"]["fetch_add"]),
        (&5000.into(), &5_000_000.into())
    );
    let wrong = json["value"]["wrong_load_store"].as_u64().unwrap();
    assert_eq!(json["value"]["wrong_lost"].as_u64().unwrap() + wrong, 5_000_000);
    assert_eq!(json["array"]["prefix_sums"][9], 6519);
    let factorials = json["factorials"]["factorials"].as_array().unwrap();
    let expected = [
        (100_000, 456_574, "820239691ef9b4887957093bb745a1ac33d3184b272db3e9a0d0a37062a13399"),
        (200_000, 973_351, "d6a2649b08aec4e576930d092139c6439be11fcc326259b38963f9d340529e03"),
        (300_000, 1_512_852, "f83acbfe0af5b344fbfa353e883a3fd9b9d2ec87aebff10890add924601e5262"),
    ];
    for (found, (n, digits, hash)) in factorials.iter().zip(expected) {
        assert_eq!(
            (&found["n"], &found["digits"], &found["sha256"]),
            (&n.into(), &digits.into(), &hash.into())
        );
        assert!((150_000..700_000).contains(&found["bytes"].as_u64().unwrap()));
    }
    assert_eq!(factorials.len(), 3);
    assert_eq!(json["queue"]["small"], serde_json::json!([0, 1, 2, 3, 4]));
    assert!(json["queue"]["mb_per_second"].as_f64().unwrap() > 0.0);
}

fn a_part_alone_is_one_member() {
    for (part, workers) in [("array", "3"), ("pool_map", "1"), ("pool_map", "5")] {
        let run = run(&["--json", "--only", part, "--workers", workers]);
        let json = run.ok().json();
        let members: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(members, [part]);
        assert_eq!(json[part]["ok"], true);
    }
    let run = run(&["--only", "array"]);
    assert!(run.ok().out.starts_with("array:\n") && !run.out.contains("value:"), "{}", run.out);
}

/// Bytes, lines and words of what is there, counted the plain way.
fn plainly(paths: &[PathBuf]) -> [u64; 3] {
    paths.iter().fold([0; 3], |[bytes, lines, words], path| {
        let text = std::fs::read(path).unwrap();
        let ends = text.iter().filter(|&&byte| byte == b'\n').count();
        let last = usize::from(text.last().is_some_and(|&byte| byte != b'\n'));
        let found = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        [bytes + text.len() as u64, lines + (ends + last) as u64, words + found as u64]
    })
}

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(label: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mpshm-{}", common::unique(label)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn every_file_is_counted() {
    let folder = Folder::new("files");
    let mut random = Random::new(1);
    let noise: Vec<u8> = (0..200_000).map(|_| random.below(256) as u8).collect();
    let paths = [
        folder.write("empty", b""),
        folder.write("one line without an end", b"hello hello world"),
        folder.write("only ends", b"\n\n\n\n"),
        folder.write("a long line", &b"word ".repeat(100_000)),
        folder.write("noise", &noise),
        folder.write("many lines", &b"the quick brown fox jumps over the dog\n".repeat(20_000)),
    ];
    let mut arguments = vec!["--json", "--only", "queue", "--files"];
    arguments.extend(paths.iter().map(|path| path.to_str().unwrap()));
    let json = run(&arguments).ok().json();
    let queue = &json["queue"];
    let found = ["bytes", "lines", "words"].map(|name| queue[name].as_u64().unwrap());
    assert_eq!((found, &queue["files"]), (plainly(&paths), &6.into()));
    let commonest = queue["commonest"].as_array().unwrap();
    assert_eq!(commonest.len(), 10);
    assert_eq!(commonest[0], serde_json::json!(["word", 100_000]));
    assert_eq!(commonest[1], serde_json::json!(["the", 40_000]));
    let mut counts = commonest.iter().map(|word| word[1].as_u64().unwrap());
    assert!(counts.clone().zip(counts.by_ref().skip(1)).all(|(more, less)| more >= less));

    // Nothing but empty files, and none at all.
    let json =
        run(&["--json", "--only", "queue", "--files", paths[0].to_str().unwrap()]).ok().json();
    assert_eq!(
        (&json["queue"]["bytes"], &json["queue"]["commonest"]),
        (&0.into(), &Json::Array(vec![]))
    );
}

fn without_files_it_takes_what_git_tracks_or_every_file() {
    let folder = Folder::new("default");
    let paths = [folder.write("a", b"one two\n"), folder.write("b/c", b"three\nfour")];
    let count = |here: &PathBuf| {
        let mut command = tour(&["--json", "--only", "queue"]);
        // What may lie above the folder is none of its business.
        command.current_dir(here).env("GIT_CEILING_DIRECTORIES", std::env::temp_dir());
        let json = finish(command).ok().json();
        ["bytes", "lines", "words"].map(|name| json["queue"][name].as_u64().unwrap())
    };
    assert_eq!(count(&folder.0), plainly(&paths), "every regular file");
    let git = |arguments: &[&str]| {
        let git = Command::new("git").current_dir(&folder.0).args(arguments).output();
        git.is_ok_and(|output| output.status.success())
    };
    if !git(&["init", "--quiet"]) || !git(&["add", "b/c"]) {
        println!("    git is not there: that half is skipped");
        return;
    }
    assert_eq!(count(&folder.0), plainly(&paths[1..]), "what git tracks");
    assert_eq!(count(&folder.0.join("b")), plainly(&paths[1..]), "below the current folder");
}

fn bad_flags_are_refused_before_anything_runs() {
    for arguments in [
        &["--unknown"][..],
        &["--only"],
        &["--only", "nothing"],
        &["--workers", "many"],
        &["--workers", "-1"],
        &["--json", "yes"],
        &["stray"],
    ] {
        let start = Instant::now();
        let run = run(arguments);
        assert_eq!(run.status.code(), Some(2), "{arguments:?}: {}", run.err);
        assert_eq!(run.out, "", "{arguments:?}");
        let named = arguments.last().unwrap();
        assert!(run.err.contains(named), "{arguments:?} is not named in: {}", run.err);
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

fn what_cannot_be_done_is_said_and_the_exit_code_is_not_zero() {
    let arguments = ["--json", "--only", "pool_map", "--workers", "0"];
    let refused = run(&arguments);
    assert_eq!(refused.status.code(), Some(1));
    let json = refused.json();
    assert_eq!(json["pool_map"]["ok"], false);
    let difference = json["pool_map"]["differences"][0].as_str().unwrap();
    assert!(difference.contains("0 workers"), "{difference}");

    let refused = run(&["--json", "--only", "queue", "--files", "Cargo.toml", "/no/such/file"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(refused.json()["queue"]["ok"], false);
    assert!(refused.err.contains("/no/such/file"), "{}", refused.err);
}

/// The process and all that came from it, by the parents that `/proc` names.
fn family(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat[stat.rfind(')')? + 1..].split_ascii_whitespace().nth(1)?.parse().ok()
    };
    let names = std::fs::read_dir("/proc").unwrap().filter_map(std::result::Result::ok);
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<_> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        at += 1;
    }
    found
}

/// Gives this process a `/dev/shm` of its own, so that what lies there is what the tour left.
fn own_shm() -> bool {
    // SAFETY: terminated strings; the name space is this test's process's own.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
            && libc::mount(
                c"own".as_ptr(),
                c"/dev/shm".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                std::ptr::null(),
            ) == 0
    }
}

/// Starts the part, kills what `pick` picks of its processes after a while, and checks that the tour
/// ends, that it says what happened, and that nothing is left. Says how the tour ended.
fn kill_one(
    part: &str,
    after: Duration,
    own_shm: bool,
    pick: impl FnOnce(&[u32]) -> u32,
) -> Option<ExitStatus> {
    // Enough input that the queue's processes are met at work.
    let mut arguments = vec!["--json", "--only", part, "--files"];
    arguments.extend(["Cargo.lock"; 60]);
    let start = Instant::now();
    let mut command = tour(&arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    while start.elapsed() < after {
        std::thread::sleep(Duration::from_micros(200).min(after.saturating_sub(start.elapsed())));
    }
    let all = family(child.id());
    let victim = pick(&all);
    // SAFETY: the tour, which we have not reaped, or a process of its, which it may just have reaped:
    // then the number is not used again so soon.
    let killed = unsafe { libc::kill(victim as i32, libc::SIGKILL) } == 0;
    let of_parent = victim == child.id();
    if killed && !of_parent {
        until("the dead one is no zombie", Duration::from_secs(2), || {
            !matches!(state_of(victim), Some('Z')) || state_of(child.id()) == Some('Z')
        });
    }
    wait_within(&child, LIMIT);
    let ended = Instant::now();
    let output = child.wait_with_output().unwrap();
    if !of_parent {
        let json: Json = serde_json::from_slice(&output.stdout).expect("one object, still");
        let ok = json[part]["ok"].as_bool().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!ok)), "{part}: {}", output.status);
        assert_eq!(json[part]["differences"].is_array(), !ok, "{part}: {json}");
    }
    // Orphans would come to this process, and would have to be gone in no time.
    until("no orphan is left", Duration::from_secs(2).saturating_sub(ended.elapsed()), || {
        // SAFETY: a null status is allowed.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        !common::has_children()
    });
    for pid in all {
        assert!(state_of(pid).is_none(), "{part}: process {pid} is still there");
    }
    if own_shm {
        let left: Vec<_> = std::fs::read_dir("/dev/shm").unwrap().collect();
        assert!(left.is_empty(), "{part} left {left:?}");
    }
    killed.then_some(output.status)
}

/// The parts with a moment somewhere in their course.
fn moments(random: &mut Random, rounds: usize) -> Vec<(&'static str, Duration)> {
    let took = PARTS.map(|part| {
        let start = Instant::now();
        let mut arguments = vec!["--json", "--only", part, "--files"];
        arguments.extend(["Cargo.lock"; 60]);
        run(&arguments).ok();
        start.elapsed().as_micros() as u64
    });
    let all = (0..rounds).flat_map(|_| PARTS.into_iter().zip(took));
    all.map(|(part, took)| (part, Duration::from_micros(random.below(took)))).collect()
}

fn killing_its_parent_leaves_nothing() {
    let own_shm = own_shm();
    let mut random = Random::new(2);
    let (mut killed, mut at_work) = (0, 0);
    for (part, after) in moments(&mut random, 3) {
        let mut children = 0;
        let status = kill_one(part, after, own_shm, |all| {
            children = all.len() - 1;
            all[0]
        });
        killed += usize::from(status.is_some_and(|status| status.code().is_none()));
        at_work += usize::from(children > 0);
    }
    println!("    18 runs: {killed} were killed, {at_work} of them had children then");
    assert!(killed >= 9 && at_work >= 5);
}

fn killing_any_of_its_children_leaves_nothing() {
    let own_shm = own_shm();
    let mut random = Random::new(3);
    let (mut killed, mut told) = (0, 0);
    for (part, after) in moments(&mut random, 4) {
        let mut met = false;
        let choice = random.below(1000) as usize;
        let status = kill_one(part, after, own_shm, |all| {
            met = all.len() > 1;
            if met { all[1 + choice % (all.len() - 1)] } else { all[0] }
        });
        if met {
            killed += 1;
            told += usize::from(status.is_some_and(|status| status.code() == Some(1)));
        }
    }
    println!("    {killed} children were killed; {told} of these deaths made a difference");
    assert!(killed >= 8 && told >= 4);
}
