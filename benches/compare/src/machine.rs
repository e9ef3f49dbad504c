//! What the figures were taken on.

use crate::cpu;
use std::fmt;
use std::time::SystemTime;

/// A machine and a moment.
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many of its processors this program may use.
    pub cores: usize,
    /// The kernel's name and release.
    pub kernel: String,
    /// The compiler that built this program.
    pub rustc: &'static str,
    /// When, in UTC.
    pub date: String,
}

/// Describes this one.
pub fn describe() -> Machine {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let name = info.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    let kernel = read("/proc/sys/kernel/osrelease");
    Machine {
        cpu: name.unwrap_or(std::env::consts::ARCH).into(),
        cores: cpu::usable().len(),
        kernel: format!("Linux {}", kernel.trim()),
        rustc: env!("COMPARE_RUSTC"),
        date: date(),
    }
}

/// Now, as 2026-01-31T23:59:59Z.
fn date() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() as libc::time_t;
    // SAFETY: plain numbers, for which all zeros is a value; a pointer in it is only read by libc.
    let mut time: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid for the call.
    unsafe { libc::gmtime_r(&seconds, &mut time) };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.tm_year + 1900,
        time.tm_mon + 1,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec
    )
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, kernel, rustc, date } = self;
        write!(f, "{cpu}, {cores} cores, {kernel}, {rustc}, {date}")
    }
}
