//! `include/mpshm.h` is what the sources say, and the library exports what the list says.
//!
//! `MPSHM_UPDATE=1 cargo test --release --test header` writes both anew.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn compare(path: &Path, made: &str) {
    if std::env::var_os("MPSHM_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let differs = made.lines().zip(committed.lines()).position(|(a, b)| a != b);
    assert!(
        committed == made,
        "{} is not what the sources say (from line {:?} on): run MPSHM_UPDATE=1 cargo test --release --test header",
        path.display(),
        differs.map(|line| line + 1)
    );
}

#[test]
fn the_header_is_what_the_sources_say() {
    let builder = cbindgen::Builder::new()
        .with_config(cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap())
        .with_src(root().join("src/ffi/mod.rs")); // and its modules, in their order there
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    let header = String::from_utf8(header).unwrap();
    let symbols = std::fs::read_to_string(root().join("ffi-tests/symbols.txt")).unwrap();
    let comment = |line: &&str| [" *", "//"].iter().any(|with| line.starts_with(with));
    let code = header.lines().map(|line| line.strip_prefix("  ").unwrap_or(line));
    let code: Vec<&str> = code.filter(|line| !comment(line)).collect();
    for function in symbols.lines() {
        let declares = |line: &&&str| {
            [" ", "*"].iter().any(|before| line.contains(&format!("{before}{function}(")))
        };
        let declared = code.iter().filter(declares).count();
        assert_eq!(declared, 1, "{function} is declared {declared} times");
    }
    compare(&root().join("include/mpshm.h"), &header);
}

#[test]
fn the_exported_symbols_are_the_listed_ones() {
    // The library beside this test's own program: target/PROFILE/deps/libmpshm.so.
    let library = std::env::current_exe().unwrap().with_file_name("libmpshm.so");
    assert!(library.exists(), "{} was not built", library.display());
    let output = match Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: nm is not there ({error})");
            return;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut symbols: Vec<&str> = std::str::from_utf8(&output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .collect();
    symbols.sort_unstable();
    compare(&root().join("ffi-tests/symbols.txt"), &(symbols.join("\n") + "\n"));
}

#[test]
fn the_readmes_c_program_is_the_example() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let hello = std::fs::read_to_string(root().join("examples/c/hello.c")).unwrap();
    assert!(
        readme.contains(&format!("```c\n{hello}```")),
        "README.md shows another program than examples/c/hello.c"
    );
}
