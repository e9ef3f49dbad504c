//! Which processors there are, and how to stay on one.

use crate::Result;

/// Two processors that this program may use, of different cores where there are two; else the same twice.
pub fn pair() -> (usize, usize) {
    let usable = usable();
    let first = usable.first().copied().unwrap_or(0);
    let siblings = siblings(first);
    let other = usable.iter().copied().find(|cpu| *cpu != first && !siblings.contains(cpu));
    (first, other.or(usable.get(1).copied()).unwrap_or(first))
}

/// The processors that this program may use.
pub fn usable() -> Vec<usize> {
    // SAFETY: plain bits, for which all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is writable and of the stated size.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } != 0 {
        return vec![0];
    }
    // SAFETY: the index is below the set's size.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Keeps the calling thread on `cpu`.
pub fn pin(cpu: usize) -> Result<()> {
    // SAFETY: as in `usable`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` came from `usable`, and is below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is readable and of the stated size.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

/// The hardware threads of the core that `cpu` is one of.
fn siblings(cpu: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    let number = |text: &str| text.trim().parse().ok();
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(part).map(|cpu: usize| cpu..=cpu),
    };
    list.split(',').filter_map(range).flatten().collect()
}
