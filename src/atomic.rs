//! The atomics that lie in shared memory: std's, or loom's when the models run.
//!
//! In the models each access is a step at which its thread may [vanish](Vanish), as a process that is killed does.
//!
//! Process-private statics use std's directly: they are not part of a model.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};
#[cfg(loom)]
pub(crate) use model::{AtomicU32, AtomicU64, step};
#[cfg(all(loom, test))]
pub(crate) use model::{Vanish, explore};

#[cfg(loom)]
mod model {
    use super::Ordering;
    use std::cell::Cell;

    loom::thread_local! {
        /// How many accesses this thread still makes; none = as many as it likes.
        static LEFT: Cell<Option<u32>> = Cell::new(None);
    }

    /// What a thread that vanishes unwinds with.
    struct Vanished;

    /// Before each access to what the threads of a model share.
    pub(crate) fn step() {
        let vanishes = LEFT.with(|left| match left.get() {
            Some(0) => true,
            some => {
                left.set(some.map(|count| count - 1));
                false
            }
        });
        if vanishes {
            LEFT.with(|left| left.set(None));
            std::panic::resume_unwind(Box::new(Vanished));
        }
    }

    macro_rules! atomic {
        ($name:ident, $int:ty) => {
            /// Loom's atomic, with a step before each access.
            #[derive(Debug)]
            pub(crate) struct $name(loom::sync::atomic::$name);

            // Each model uses its own part of them.
            #[allow(dead_code)]
            impl $name {
                pub(crate) fn new(value: $int) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                pub(crate) fn load(&self, order: Ordering) -> $int {
                    step();
                    self.0.load(order)
                }

                /// A look that is no step of the thread's: the kernel's.
                pub(crate) fn load_unseen(&self) -> $int {
                    self.0.load(Ordering::Relaxed)
                }

                pub(crate) fn store(&self, value: $int, order: Ordering) {
                    step();
                    self.0.store(value, order);
                }

                pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.0.swap(value, order)
                }

                pub(crate) fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.0.fetch_add(value, order)
                }

                pub(crate) fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.0.fetch_sub(value, order)
                }

                pub(crate) fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.0.fetch_or(value, order)
                }

                pub(crate) fn fetch_and(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.0.fetch_and(value, order)
                }

                pub(crate) fn fetch_max(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.0.fetch_max(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    from: $int,
                    to: $int,
                    done: Ordering,
                    failed: Ordering,
                ) -> Result<$int, $int> {
                    step();
                    self.0.compare_exchange(from, to, done, failed)
                }

                pub(crate) fn compare_exchange_weak(
                    &self,
                    from: $int,
                    to: $int,
                    done: Ordering,
                    failed: Ordering,
                ) -> Result<$int, $int> {
                    self.compare_exchange(from, to, done, failed)
                }

                pub(crate) fn fetch_update(
                    &self,
                    done: Ordering,
                    failed: Ordering,
                    mut to: impl FnMut($int) -> Option<$int>,
                ) -> Result<$int, $int> {
                    let mut seen = self.load(failed);
                    while let Some(next) = to(seen) {
                        match self.compare_exchange(seen, next, done, failed) {
                            Ok(before) => return Ok(before),
                            Err(other) => seen = other,
                        }
                    }
                    Err(seen)
                }
            }
        };
    }
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);

    /// Every order of the model's threads with at most so many preemptions.
    ///
    /// Loom goes back to the last access to a word before a change of it; a look of the changing thread itself hides
    /// that of another thread before it. So the thread that runs first, the one that spawns, has to be the one that changes
    /// something, and the spawned one that which looks: else one order of them is all that is explored. That there
    /// were more is checked.
    #[cfg(test)]
    pub(crate) fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
        let explored = orders(preemptions, model);
        assert!(explored > 5, "only {explored} orders of the threads were explored");
    }

    #[cfg(test)]
    fn orders(preemptions: usize, model: impl Fn() + Send + Sync + 'static) -> u64 {
        let mut builder = loom::model::Builder::new();
        let quick = std::env::var_os("MPSHM_QUICK").is_some();
        builder.preemption_bound = Some(if quick { preemptions.min(2) } else { preemptions });
        let explored = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = std::sync::Arc::clone(&explored);
        builder.check(move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            model();
        });
        explored.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// A death at one step of an operation.
    #[cfg(test)]
    #[derive(Clone)]
    pub(crate) struct Vanish {
        step: u32,
        /// Whether anybody vanished at that step, in any interleaving.
        met: std::sync::Arc<std::sync::atomic::AtomicBool>,
    }

    #[cfg(test)]
    impl Vanish {
        /// Runs `operation` up to the step; `None` when its thread vanished there.
        pub(crate) fn at<R>(&self, operation: impl FnOnce() -> R) -> Option<R> {
            LEFT.with(|left| left.set(Some(self.step)));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(operation));
            LEFT.with(|left| left.set(None));
            match result {
                Ok(done) => Some(done),
                Err(panic) if panic.is::<Vanished>() => {
                    self.met.store(true, std::sync::atomic::Ordering::Relaxed);
                    None
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }

        /// Explores `model` with a death at step 0, 1, 2 and so on, until no interleaving has so many; prints how many.
        pub(crate) fn at_every_step(
            preemptions: usize,
            model: impl Fn(&Vanish) + Send + Sync + Clone + 'static,
        ) {
            let mut explored = 0;
            for step in 0.. {
                let vanish = Self { step, met: std::sync::Arc::default() };
                let (one, model) = (vanish.clone(), model.clone());
                explored += orders(preemptions, move || model(&one));
                if !vanish.met.load(std::sync::atomic::Ordering::Relaxed) {
                    // One that dies at once leaves the others in the only order that they have.
                    let several = explored > 2 * u64::from(step);
                    assert!(
                        several && step > 0,
                        "{explored} orders with a death at each of {step} steps"
                    );
                    println!("a death at each of {step} steps, {explored} orders of all threads");
                    return;
                }
            }
        }
    }
}
