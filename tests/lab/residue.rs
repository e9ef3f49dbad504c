//! What a run may leave behind: nothing.

use std::collections::BTreeSet;

/// Descriptors, children and shared memory at one moment.
pub struct Residue {
    descriptors: BTreeSet<String>,
    shared: BTreeSet<String>,
}

impl Residue {
    pub fn now() -> Self {
        Self { descriptors: list("/proc/self/fd"), shared: names(&own_prefix()) }
    }

    /// What is there now that was not there then.
    pub fn compare(&self) -> Result<(), String> {
        // SAFETY: asks only whether there is any child.
        let child = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        if child >= 0 {
            return Err("a child is left".to_owned());
        }
        let now = Self::now();
        let fds: Vec<_> = now.descriptors.difference(&self.descriptors).collect();
        let shared: Vec<_> = now.shared.difference(&self.shared).collect();
        if fds.is_empty() && shared.is_empty() {
            return Ok(());
        }
        Err(format!("left behind: descriptors {fds:?}, in /dev/shm {shared:?}"))
    }
}

fn list(path: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What the names of this process's segments begin with: others may run at the same time.
pub fn own_prefix() -> String {
    format!("crash.{}.", std::process::id())
}

/// What there is in `/dev/shm` with this in its name.
pub fn names(part: &str) -> BTreeSet<String> {
    list("/dev/shm").into_iter().filter(|name| name.contains(part)).collect()
}
