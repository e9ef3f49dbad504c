//! Tells the program which compiler built it, and builds the peers in C and C++ that are installed.

use std::process::Command;

/// Messages of 8 bytes that a ring holds whose capacity is part of its type; the program checks it.
const RING: &str = "1024";

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = output(Command::new(rustc).arg("--version"));
    println!("cargo:rustc-env=COMPARE_RUSTC={}", version.as_deref().unwrap_or("unknown"));
    println!("cargo:rustc-check-cfg=cfg(boost, dpdk)");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=native");
    boost();
    dpdk();
}

/// Debian: libboost-dev, for the headers are all that is needed.
fn boost() {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").file("native/boost.cpp").define("COMPARE_RING", RING);
    build_if(build, "boost", "/usr/include/boost/version.hpp", "boost/lockfree/spsc_queue.hpp");
}

/// Debian: libdpdk-dev. Its headers need the flags that it was built with.
fn dpdk() {
    let mut build = cc::Build::new();
    build.file("native/dpdk.c");
    if let Some(flags) = output(Command::new("pkg-config").args(["--cflags", "libdpdk"])) {
        build.flags(flags.split_whitespace());
    }
    build_if(build, "dpdk", "/usr/include/dpdk/rte_ring.h", "rte_ring.h");
}

/// Builds a peer whose header the compiler finds, and tells the program so. Where it is not found, its usual `place`
/// is watched.
fn build_if(mut build: cc::Build, name: &str, place: &str, header: &str) {
    println!("cargo:rerun-if-changed={place}");
    build.opt_level(3).warnings(true).extra_warnings(false).cargo_warnings(false);
    let found = build.try_get_compiler().is_ok_and(|compiler| {
        let probe = format!("{}/{name}.h", std::env::var("OUT_DIR").unwrap_or_default());
        std::fs::write(&probe, format!("#include <{header}>\n")).is_ok()
            && output(compiler.to_command().args(["-fsyntax-only", &probe])).is_some()
    });
    if found && build.try_compile(&format!("compare_{name}")).is_ok() {
        println!("cargo:rustc-cfg={name}");
    }
}

/// What a command says, when it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().into())
}
