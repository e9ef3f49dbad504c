//! The atomics that lie in shared memory: std's, or loom's when the models run.
//!
//! In the models each access is a step at which its thread may [vanish](Vanish), as a process that is killed does.
//!
//! Process-private statics use std's directly: they are not part of a model.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};
#[cfg(all(loom, test))]
pub(crate) use model::Vanish;
#[cfg(loom)]
pub(crate) use model::{AtomicU32, AtomicU64, step};

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
            for step in 0.. {
                let vanish = Self { step, met: std::sync::Arc::default() };
                let (one, model) = (vanish.clone(), model.clone());
                let mut builder = loom::model::Builder::new();
                builder.preemption_bound = Some(preemptions);
                builder.check(move || model(&one));
                if !vanish.met.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(step > 0, "the operation has no step at which to vanish");
                    println!("a death at each of {step} steps");
                    return;
                }
            }
        }
    }
}
