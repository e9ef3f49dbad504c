//! Interrupts a call at an instruction of our choice: the processor is given away there, or the process is killed.
//!
//! Calls last a hundred nanoseconds, so on two processors few of them would overlap, and hardly any would be
//! interrupted between the two instructions that matter. On x86-64 the trap flag makes the processor raise SIGTRAP after each
//! instruction; the handler counts, and at the chosen one lets others run, or kills its process. From there on the call runs
//! at full speed. On other processors calls are only interrupted by the system, and killed from outside.

use std::sync::atomic::{AtomicU32, Ordering};

/// What happens to a process in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    None,
    /// After so many instructions the processor is given away so many times.
    Yield(u32, u32),
    /// After so many instructions it is killed.
    Die(u32),
}

/// Whether calls can be interrupted at an instruction.
pub const AT_INSTRUCTIONS: bool = cfg!(target_arch = "x86_64");

/// Instructions to go; 0 = full speed.
static LEFT: AtomicU32 = AtomicU32::new(0);
/// How often to give the processor away then; [`DIES`] = to be killed.
static YIELDS: AtomicU32 = AtomicU32::new(0);
const DIES: u32 = u32::MAX;

#[cfg(target_arch = "x86_64")]
extern "C" fn on_trap(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    const TRAP: libc::greg_t = 0x100;
    // SAFETY: the context that the kernel hands to a handler.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let flags = &mut context.uc_mcontext.gregs[libc::REG_EFL as usize];
    let left = LEFT.load(Ordering::Relaxed);
    if left > 1 {
        LEFT.store(left - 1, Ordering::Relaxed);
        *flags |= TRAP;
        return;
    }
    *flags &= !TRAP;
    if LEFT.swap(0, Ordering::Relaxed) == 0 {
        return;
    }
    let yields = YIELDS.load(Ordering::Relaxed);
    // SAFETY: no pointers, and allowed in a handler.
    unsafe {
        if yields == DIES {
            libc::kill(libc::getpid(), libc::SIGKILL);
        }
        for _ in 0..yields {
            libc::sched_yield();
        }
    }
}

/// Prepares this process, and its children.
pub fn install() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: an action of zeros but for the handler, which does only what handlers may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()), 0);
    }
}

/// Begins what is to happen in the call that follows.
#[inline(always)]
pub fn begin(fate: Fate) {
    let (left, yields) = match fate {
        Fate::None => return,
        Fate::Yield(left, yields) => (left, yields),
        Fate::Die(left) => (left, DIES),
    };
    YIELDS.store(yields, Ordering::Relaxed);
    LEFT.store(left + 1, Ordering::Relaxed);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: raises SIGTRAP, whose handler is installed; it sets the trap flag.
    unsafe {
        std::arch::asm!("int3");
    }
}

/// The call is over, whatever did not happen.
#[inline(always)]
pub fn end() {
    LEFT.store(0, Ordering::Relaxed);
}
