//! The children of this process that are not known to have ended.
//!
//! # Overview
//! A table by process id. A child is in it from its start until its status is known; so it also
//! keeps what is needed to reap one whose handle was dropped.
//!
//! # Forks
//! The table's lock is a word that names the process generation of its holder. A child that was
//! forked while another thread of its parent held it finds a generation that is not its own: that
//! holder does not exist here, and its table, perhaps half changed, is left alone for good and an
//! empty one begun. A table that nobody held is emptied, which closes the descriptors in it: the
//! children of an ancestor are none of this process's.
//!
//! The lock is held for a few steps in memory, never over a system call that could wait.

use crate::os::fork;
use crate::process::{Child, Process};
use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

struct Table {
    /// The process that these are children of.
    generation: u32,
    children: BTreeMap<u32, Arc<Child>>,
    /// Those whose handle was dropped.
    abandoned: BTreeMap<u32, Arc<Child>>,
}

impl Table {
    const EMPTY: Self =
        Self { generation: 0, children: BTreeMap::new(), abandoned: BTreeMap::new() };
}

struct Locked {
    /// The generation of the process whose thread is inside; 0 = nobody.
    holder: AtomicU32,
    table: UnsafeCell<Table>,
}

// SAFETY: the table is touched by the holder of the lock alone.
unsafe impl Sync for Locked {}

static LOCKED: Locked = Locked { holder: AtomicU32::new(0), table: UnsafeCell::new(Table::EMPTY) };

/// Runs `f` on the table.
fn with<R>(f: impl FnOnce(&mut Table) -> R) -> R {
    struct Unlock;
    impl Drop for Unlock {
        fn drop(&mut self) {
            LOCKED.holder.store(0, Ordering::Release);
        }
    }
    let me = fork::generation();
    lock(me);
    let unlock = Unlock;
    // SAFETY: the lock is this thread's.
    let table = unsafe { &mut *LOCKED.table.get() };
    let mut inherited = Table::EMPTY;
    if table.generation != me {
        inherited = std::mem::replace(table, Table { generation: me, ..Table::EMPTY });
    }
    let result = f(table);
    drop(unlock);
    drop(inherited);
    result
}

fn lock(me: u32) {
    loop {
        let Err(holder) =
            LOCKED.holder.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
        else {
            return;
        };
        if holder == me {
            std::thread::yield_now();
            continue;
        }
        let taken =
            LOCKED.holder.compare_exchange(holder, me, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_ok() {
            // SAFETY: the lock is this thread's; what is there may be half changed, and is not dropped.
            unsafe { LOCKED.table.get().write(Table::EMPTY) };
            return;
        }
    }
}

/// A new child.
pub(super) fn add(child: &Arc<Child>) {
    let child = Arc::clone(child);
    // An older entry of that id is of a child that others reaped.
    let older = with(|table| {
        let older = table.abandoned.remove(&child.pid());
        (table.children.insert(child.pid(), child), older)
    });
    drop(older);
}

/// A child whose status is known.
pub(super) fn remove(child: &Child) {
    let same = |entry: &Arc<Child>| std::ptr::eq(Arc::as_ptr(entry), child);
    let pid = child.pid();
    let entries = with(|table| {
        let known = table.children.get(&pid).is_some_and(same);
        known.then(|| (table.children.remove(&pid), table.abandoned.remove(&pid)))
    });
    drop(entries);
}

/// A child that goes on without a handle.
pub(super) fn abandon(child: &Arc<Child>) {
    with(|table| {
        if table.children.get(&child.pid()).is_some_and(|entry| Arc::ptr_eq(entry, child)) {
            table.abandoned.insert(child.pid(), Arc::clone(child));
        }
    });
}

/// Reaps the children that have ended and whose handles were dropped. Does not wait.
pub(super) fn reap_abandoned() {
    let abandoned = with(|table| {
        if table.abandoned.is_empty() {
            return Vec::new();
        }
        table.abandoned.values().cloned().collect()
    });
    for child in abandoned {
        let _ = child.exit_status();
    }
}

/// The children of this process that have not ended, as further handles; those that have ended are
/// reaped. A child that this process forked in another way is not among them, nor a pool's worker
/// that its fork server made.
///
/// A further handle can do what the first one can, but dropping it does nothing to the child. It
/// also brings back a child whose handle was dropped.
///
/// ```standalone_crate
/// use mpshm::{Process, active_children};
/// let child = Process::builder().name("sleeper").spawn(|| loop { std::thread::park() })?;
/// let all = active_children();
/// assert_eq!((all.len(), all[0].name(), all[0].pid()), (1, "sleeper", child.pid()));
/// all[0].kill()?;
/// assert_eq!(child.join()?.code(), Some(-9));
/// assert!(active_children().is_empty());
/// # Ok::<(), mpshm::Error>(())
/// ```
#[must_use]
pub fn active_children() -> Vec<Process> {
    let known: Vec<_> = with(|table| table.children.values().cloned().collect());
    let live = known.into_iter().filter(|child| matches!(child.exit_status(), Ok(None)));
    live.map(|child| Process { child, first: false }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::process::{self as os, Look, Side};
    use std::os::fd::AsFd;

    #[test]
    fn a_child_forked_while_a_thread_was_inside_begins_an_empty_table() {
        let _alone = crate::os::alone();
        let (inside, waits) = std::sync::mpsc::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            with(|_| {
                inside.send(()).unwrap();
                goes_on.recv().unwrap();
            });
        });
        waits.recv().unwrap();
        let Side::Parent(pid) = os::fork().unwrap() else {
            let empty = with(|table| table.children.is_empty() && table.abandoned.is_empty());
            with(|_| ());
            os::exit_at_once(if empty { 3 } else { 4 });
        };
        let fd = os::open_pidfd(pid).unwrap().unwrap();
        let ended =
            os::wait_readable(fd.as_fd(), std::time::Duration::from_secs(20).into()).unwrap();
        if !ended {
            os::kill_unopened(pid);
        }
        let look = os::reap(fd.as_fd());
        go_on.send(()).unwrap();
        thread.join().unwrap();
        assert!(ended, "the child hung");
        assert_eq!(look, Look::Ended(os::Ended::Exited(3)));
    }
}
