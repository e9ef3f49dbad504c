//! The layers hold: a module imports only what lies on a floor below its own.
//!
//! Reads every `crate::…` path of the sources, imports of several lines included, and holds it
//! against the table. Siblings on one floor do not import each other; the files of one module may.
//! `libc` and `memmap2` are named in `src/os` alone, except for the numbers of system errors, which
//! `src/error.rs` translates.

use std::path::{Path, PathBuf};

/// The modules and their floors. `src/lib.rs` re-exports and is exempt.
const FLOORS: [(&str, u32); 16] = [
    ("error", 1),
    ("atomic", 1),
    ("layout", 2),
    ("os", 2),
    ("segment", 3),
    ("block", 4),
    ("wait", 4),
    ("sync", 5),
    ("queue", 6),
    ("value", 6),
    ("process", 7),
    ("pipe", 7),
    ("pool", 8),
    ("recover", 8),
    ("ffi", 9),
    ("bin", 9),
];

fn floor(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|&(_, floor)| floor)
}

/// The code alone: comments are left out, and so is what stands in strings.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if first == '"' {
            end_of_string(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if let Some(escaped) = rest.strip_prefix("'\\") {
            escaped.char_indices().skip(1).find(|&(_, c)| c == '\'').map_or(2, |(at, _)| at + 3)
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skip..];
    }
    code
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return at + 1,
            _ => escaped = false,
        }
    }
    text.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What follows each `NAME::` in the code: the next word of the path, or of each branch of `{…}`.
fn paths_of(code: &str, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(name) {
        let inside_a_word = code[..at].chars().next_back().is_some_and(is_word);
        let Some(after) = code[at + name.len()..].trim_start().strip_prefix("::") else { continue };
        if inside_a_word {
            continue;
        }
        let after = after.trim_start();
        match after.strip_prefix('{') {
            None => found.push(first_word(after)),
            Some(group) => branches(group, &mut found),
        }
    }
    found
}

fn branches(group: &str, found: &mut Vec<String>) {
    let mut depth = 0;
    let mut branch = 0;
    for (at, c) in group.char_indices() {
        let ends = depth == 0 && (c == ',' || c == '}');
        if ends && !group[branch..at].trim().is_empty() {
            found.push(first_word(group[branch..at].trim_start()));
        }
        match c {
            '}' if depth == 0 => return,
            '}' => depth -= 1,
            '{' => depth += 1,
            ',' if depth == 0 => branch = at + 1,
            _ => {}
        }
    }
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|&c| is_word(c) || c == '*').collect()
}

/// What is wrong with one file; `path` is relative to `src`.
fn faults(path: &str, source: &str) -> Vec<String> {
    let own = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    let Some(own_floor) = floor(own) else {
        return vec![format!("src/{path}: no floor is stated for '{own}'")];
    };
    let code = code_of(source);
    let mut faults = Vec::new();
    for module in paths_of(&code, "crate") {
        match floor(&module) {
            _ if module == own => {}
            None => faults.push(format!("src/{path} names crate::{module}, which is no module")),
            Some(floor) if floor >= own_floor => faults.push(format!(
                "src/{path} (floor {own_floor}) imports crate::{module} (floor {floor})"
            )),
            Some(_) => {}
        }
    }
    for foreign in ["libc", "memmap2"] {
        let names = paths_of(&code, foreign);
        let numbers_only = own == "error"
            && foreign == "libc"
            && names
                .iter()
                .all(|name| name.starts_with('E') && name.chars().all(|c| c.is_ascii_uppercase()));
        if !names.is_empty() && own != "os" && !numbers_only {
            faults.push(format!("src/{path} names {foreign}::{}", names.join(", ")));
        }
    }
    if code.contains("super::super") {
        faults.push(format!("src/{path} goes up by super::super; write crate::"));
    }
    faults
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_import_goes_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "only {} files were found", files.len());
    let mut imports = 0;
    let mut all = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        if path == "lib.rs" {
            continue;
        }
        let source = std::fs::read_to_string(&file).unwrap();
        imports += paths_of(&code_of(&source), "crate").len();
        all.extend(faults(&path, &source));
    }
    assert!(imports > 100, "only {imports} imports were found");
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn forbidden_imports_are_found() {
    let bad = [
        ("os/futex.rs", "use crate::segment::Segment;", "imports crate::segment"),
        ("os/futex.rs", "use crate::layout::header;", "imports crate::layout"),
        ("queue/core.rs", "use crate::value::Value;", "imports crate::value"),
        (
            "queue/mod.rs",
            "use crate::{\n    os::clock::{self, now},\n    pool::Pool,\n};",
            "crate::pool",
        ),
        ("queue/mod.rs", "use crate::{error::Error, sync::{Mutex, a::B}, value};", "crate::value"),
        ("wait/mod.rs", "fn f() { crate::block::free() }", "imports crate::block"),
        ("sync/mutex.rs", "use crate::Error;", "no module"),
        ("block/mod.rs", "let x = \"a \\\" b\"; use crate :: queue;", "imports crate::queue"),
        ("block/mod.rs", "let x = '\"'; use crate::queue; let y = '\"';", "imports crate::queue"),
        ("error.rs", "fn f() { unsafe { libc::getpid() }; }", "names libc::getpid"),
        ("segment/mod.rs", "use libc::{c_int, getpid};", "names libc::c_int, getpid"),
        ("segment/mod.rs", "use memmap2::MmapRaw;", "names memmap2"),
        ("segment/mod.rs", "use super::super::pool;", "super::super"),
        ("shelf/mod.rs", "", "no floor"),
    ];
    for (path, source, fault) in bad {
        let found = faults(path, source);
        assert!(found.len() == 1 && found[0].contains(fault), "{path}: {source}: {found:?}");
    }
}

#[test]
fn allowed_imports_are_not_found() {
    let good = [
        ("queue/core.rs", "use crate::queue::ring::Ring;\nuse crate::{sync::Mutex, os};"),
        ("os/futex.rs", "use crate::error::Error; use memmap2::Mmap; fn f() { libc::getpid(); }"),
        ("os/futex.rs", "// crate::pool::Pool\n/// [`Value`](crate::Value)\n/* crate::pool */"),
        ("os/futex.rs", "const TEXT: &str = \"use crate::pool::Pool;\";"),
        ("os/futex.rs", "const TEXT: &str = r#\"use \"crate::pool::Pool;\"#;"),
        ("error.rs", "match errno { libc::ENOENT | libc::EACCES => 1, _ => 2 }"),
        (
            "pool/mod.rs",
            "pub(crate) use owner::Inner; macro_rules! m { () => { $crate::pool::x() } }",
        ),
        ("recover.rs", "use crate::queue; use crate::segment::{Segment, place::Place};"),
    ];
    for (path, source) in good {
        assert_eq!(faults(path, source), [""; 0], "{path}: {source}");
    }
}
