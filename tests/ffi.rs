//! The C library, through C: every program of `ffi-tests` and `examples/c`, with the header alone.
//!
//! Each test of `ffi-tests` is compiled as C99 and as C++11 with all warnings as errors, against the
//! shared and against the static library, and run plain; then under AddressSanitizer and
//! UndefinedBehaviorSanitizer, then under valgrind. What is not installed is skipped, and said.
//! `MPSHM_QUICK` leaves out valgrind, and the static library and C++ but for the programs in [`SAMPLE`].

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A test may take so long, also under valgrind.
const LIMIT: Duration = Duration::from_secs(120);

/// Compiled as C++, and linked against the static library, also in the quick form.
const SAMPLE: [&str; 3] = ["processes", "queues", "values"];

struct Suite {
    root: PathBuf,
    libraries: PathBuf,
    build: PathBuf,
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Suite {
    fn report(&mut self, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                println!("test {name} ... ok");
                self.passed += 1;
            }
            Err(why) if why == SKIPPED => {
                println!("test {name} ... skipped");
                self.skipped += 1;
            }
            Err(why) => {
                println!("test {name} ... FAILED\n{why}");
                self.failed += 1;
            }
        }
    }

    /// Compiles `source`, and returns the program.
    fn compile(
        &self,
        compiler: &str,
        flags: &[&str],
        source: &Path,
        linking: &str,
    ) -> Result<PathBuf, String> {
        let name = source.file_stem().unwrap().to_str().unwrap();
        let tag: String = format!("{compiler}{}{linking}", flags.join(""))
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let program = self.build.join(format!("{name}-{tag}"));
        let mut command = Command::new(compiler);
        command.args(flags).args([
            "-D_GNU_SOURCE",
            "-pthread",
            "-g",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
        ]);
        if compiler == "g++" {
            command.args(["-x", "c++"]);
        }
        command.arg(source).arg("-o").arg(&program).arg("-I").arg(self.root.join("include"));
        if linking == "static" {
            command.args(["-x", "none"]).arg(self.libraries.join("libmpshm.a"));
            command.args(["-lpthread", "-ldl", "-lm", "-lgcc_s"]);
        } else {
            command.arg("-L").arg(&self.libraries).arg("-lmpshm");
            command.arg(format!("-Wl,-rpath,{}", self.libraries.display()));
        }
        let output = command.output().map_err(|error| format!("{compiler}: {error}"))?;
        if output.status.success() { Ok(program) } else { Err(said(&output)) }
    }

    fn run(&self, command: &mut Command) -> Result<(), String> {
        let before = entries();
        let output = finish(command)?;
        let left: Vec<String> =
            entries().into_iter().filter(|entry| !before.contains(entry)).collect();
        match output.status.code() {
            Some(0) if left.is_empty() => Ok(()),
            Some(0) => Err(format!("left in /dev/shm: {left:?}")),
            Some(77) => Err(SKIPPED.into()),
            _ => Err(format!("{}\n{}", output.status, said(&output))),
        }
    }
}

const SKIPPED: &str = "skipped";

/// Whether a test failed because valgrind is too old for it: pidfd_open, without which there are no processes, is known to it
/// since 3.21, membarrier, without which there are no rings, since 3.15.
fn is_too_old(test: &str, output: &str) -> bool {
    let unhandled = |call| output.contains(&format!("unhandled amd64-linux syscall: {call}\n"));
    match test {
        test if test.starts_with("pools") || test.starts_with("processes") => unhandled("434"),
        test if test.starts_with("rings") => unhandled("324"),
        _ => false,
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Our entries in /dev/shm that the C tests make.
fn entries() -> Vec<String> {
    let Ok(folder) = std::fs::read_dir("/dev/shm") else { return Vec::new() };
    let names = folder.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("mpshm.ffi.")).collect()
}

/// Runs to the end, or kills at the limit.
fn finish(command: &mut Command) -> Result<Output, String> {
    // Into files, so that a child that outlives its parent cannot hold a pipe open.
    let log = std::env::temp_dir().join(format!("mpshm-ffi-{}.log", std::process::id()));
    let file = std::fs::File::create(&log).map_err(|error| error.to_string())?;
    let second = file.try_clone().map_err(|error| error.to_string())?;
    let mut child = command
        // cargo names target/PROFILE here, where an older library may lie; the programs know theirs.
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(second)
        .spawn()
        .map_err(|error| error.to_string())?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if start.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let _ = std::fs::remove_file(&log);
            return Err(format!("did not end within {LIMIT:?}\n{text}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let stdout = std::fs::read(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    Ok(Output { status, stdout, stderr: Vec::new() })
}

fn is_there(tool: &str) -> bool {
    Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    if !is_there("gcc") {
        println!("skipped: there is no gcc\n0 passed, 0 failed");
        return;
    }
    // A shell starts what runs in its background with these ignored, and the programs would inherit that.
    // SAFETY: no handlers, only the default.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        libc::signal(libc::SIGQUIT, libc::SIG_DFL);
    }
    // The libraries that were built for this very program: target/PROFILE/deps.
    let libraries = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    assert!(libraries.join("libmpshm.a").exists(), "{} has no library", libraries.display());
    let target = libraries.ancestors().nth(2).unwrap();
    let soname = libraries.join("libmpshm.so.0");
    let _ = std::fs::remove_file(&soname);
    std::os::unix::fs::symlink("libmpshm.so", &soname).expect("a link beside the library");
    let build = target.join("ffi-tests");
    std::fs::create_dir_all(&build).unwrap();
    let quick = std::env::var_os("MPSHM_QUICK").is_some();

    let mut suite =
        Suite { root: root.clone(), libraries, build, passed: 0, failed: 0, skipped: 0 };
    let mut sources: Vec<PathBuf> = std::fs::read_dir(root.join("ffi-tests"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    let (cpp, valgrind) = (is_there("g++"), is_there("valgrind"));
    for source in &sources {
        let name = source.file_stem().unwrap().to_str().unwrap().to_owned();
        if !wanted(&name) {
            continue;
        }
        if name == "layout" {
            let compiled = suite.compile("gcc", &["-std=c11"], source, "shared");
            let result = compiled.and_then(|program| suite.run(&mut Command::new(program)));
            suite.report("layout (C11)", result);
            continue;
        }
        let sanitized = ["-std=c99", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
        // What every program is built as, side by side.
        let (plain, sanitized) = std::thread::scope(|scope| {
            let sanitized = scope.spawn(|| suite.compile("gcc", &sanitized, source, "shared"));
            let plain = suite.compile("gcc", &["-std=c99"], source, "shared");
            (plain, sanitized.join().expect("compiled"))
        });
        for (compiler, standard) in [("gcc", "-std=c99"), ("g++", "-std=c++11")] {
            if compiler == "g++" && !cpp {
                suite.report(&format!("{name} (C++11)"), Err(SKIPPED.into()));
                continue;
            }
            for linking in ["shared", "static"] {
                let other = compiler == "g++" || linking == "static";
                if quick && other && !SAMPLE.contains(&name.as_str()) {
                    continue;
                }
                let compiled = if other {
                    suite.compile(compiler, &[standard], source, linking)
                } else {
                    plain.clone()
                };
                let result = compiled.and_then(|program| suite.run(&mut Command::new(program)));
                suite.report(&format!("{name} ({standard}, {linking})"), result);
            }
        }
        let result = sanitized.and_then(|program| {
            // Leaks: a forked child that `_exit`s, and thread-locals of the library, are none.
            suite.run(Command::new(program).env("ASAN_OPTIONS", "detect_leaks=0"))
        });
        suite.report(&format!("{name} (sanitizers)"), result);
        let result = if !valgrind || quick {
            Err(SKIPPED.into())
        } else {
            plain.and_then(|program| {
                let mut command = Command::new("valgrind");
                command.env("MPSHM_FEW", "1");
                command.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
                command.args(["--errors-for-leak-kinds=definite", "--child-silent-after-fork=yes"]);
                match suite.run(command.arg(program)) {
                    Err(why) if is_too_old(&name, &why) => Err(SKIPPED.into()),
                    result => result,
                }
            })
        };
        suite.report(&format!("{name} (valgrind)"), result);
    }

    let examples = root.join("examples/c");
    for name in ["hello", "ring", "tour"] {
        if !wanted(name) {
            continue;
        }
        let source = examples.join(format!("{name}.c"));
        let compiled = suite.compile("gcc", &["-std=c99"], &source, "shared");
        let result = compiled.and_then(|program| {
            let mut command = Command::new(program);
            if name == "tour" {
                command.arg(&source).arg(root.join("include/mpshm.h")).arg(root.join("README.md"));
            }
            suite.run(&mut command)
        });
        suite.report(&format!("examples/c/{name}.c"), result);
    }
    for (name, most) in [("hello", 20), ("ring", 40)] {
        let source = std::fs::read_to_string(examples.join(format!("{name}.c"))).unwrap();
        let lines = source.lines().count();
        let result = if lines <= most { Ok(()) } else { Err(format!("{lines} lines")) };
        suite.report(&format!("examples/c/{name}.c has at most {most} lines"), result);
    }
    println!("{} passed, {} failed, {} skipped", suite.passed, suite.failed, suite.skipped);
    std::process::exit(i32::from(suite.failed > 0));
}
