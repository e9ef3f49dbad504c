//! Pools for one function that may capture: it was there before the workers were forked, which have their own copies
//! at the same address.

use crate::error::Result;
use crate::layout::plain::Pod;
use crate::pool::chunks;
use crate::pool::map::Way;
use crate::pool::task::decode_plain;
use crate::pool::worker::{self, Argument, Output, Run};
use crate::pool::{Imap, Pool, PoolBuilder, Task, TaskError};
use std::any::Any;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// A pool whose one function may capture; made by [`PoolBuilder::build_with`] or [`PoolBuilder::build_with_state`].
///
/// What it dereferences to is a [`Pool`] like any other, for captureless functions too.
pub struct FnPool<T, R> {
    pool: Pool,
    run: Run,
    /// The same for a part of what it is handed.
    run_some: Run,
    /// The function's address.
    target: u64,
    /// Keeps it there, for workers that are forked from this process again if the fork server dies.
    _function: Arc<dyn Any + Send + Sync>,
    types: PhantomData<fn(T) -> R>,
}

impl<T: Pod, R: Pod> FnPool<T, R> {
    pub(super) fn plain<F>(builder: PoolBuilder, f: F) -> Result<Self>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
    {
        let function = Arc::new(f);
        let target = Arc::as_ptr(&function) as usize as u64;
        let pool = builder.build_keeping(None)?;
        let (run, run_some) = (run::<F, T, R, false>, run::<F, T, R, true>);
        Ok(Self { pool, run, run_some, target, _function: function, types: PhantomData })
    }

    pub(super) fn with_state<S, M, F>(builder: PoolBuilder, make: M, f: F) -> Result<Self>
    where
        S: 'static,
        M: Fn() -> S + Send + Sync + 'static,
        F: Fn(&mut S, T) -> R + Send + Sync + 'static,
    {
        let function = Arc::new(f);
        let target = Arc::as_ptr(&function) as usize as u64;
        let make = Box::new(move || Box::new(make()) as Box<dyn Any>);
        let pool = builder.build_keeping(Some(make))?;
        let (run, run_some) = (run_on_state::<S, F, T, R, false>, run_on_state::<S, F, T, R, true>);
        Ok(Self { pool, run, run_some, target, _function: function, types: PhantomData })
    }

    /// Runs the function on `argument` in a worker, and waits for the value.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn call(&self, argument: T) -> std::result::Result<R, TaskError> {
        self.submit(argument)?.get()
    }

    /// Hands `argument` to a worker, and does not wait.
    ///
    /// # Errors
    /// As [`Pool::submit`].
    pub fn submit(&self, argument: T) -> Result<Task<R>> {
        let bytes = bytemuck::bytes_of(&argument);
        self.pool.submit_run(self.run, self.target, bytes, decode_plain)
    }

    /// Runs the function on each of `items`, and waits for all the values, in order.
    ///
    /// # Errors
    /// As [`Pool::map`].
    pub fn map(&self, items: &[T]) -> std::result::Result<Vec<R>, TaskError> {
        self.map_with_progress(items, |_, _| {})
    }

    /// [`map`](Self::map) that says how far it is: see [`Pool::map_with_progress`].
    ///
    /// # Errors
    /// As [`Pool::map`].
    pub fn map_with_progress(
        &self,
        items: &[T],
        progress: impl FnMut(usize, usize),
    ) -> std::result::Result<Vec<R>, TaskError> {
        self.pool.map_way(Way::Some(self.run_some), self.target, items, progress)
    }

    /// The function's values for an iterator's items, lazily and in order: see [`Pool::imap`].
    pub fn imap<I: IntoIterator<Item = T>>(&self, items: I) -> Imap<'_, I::IntoIter, R> {
        Imap::new(&self.pool, self.run, self.target, items.into_iter())
    }
}

/// # Safety
/// `target` is the address of an `F`; the argument is `T`s.
unsafe fn run<F, T, R, const SOME: bool>(target: u64, argument: Argument, output: &mut Output<'_>)
where
    F: Fn(T) -> R,
    T: Pod,
    R: Pod,
{
    const { assert!(size_of::<T>() != 0 && align_of::<T>() <= 16 && align_of::<R>() <= 16) };
    // SAFETY: the caller's word; nobody ends it, for what owns it is the owner's.
    let f = unsafe { &*(target as usize as *const F) };
    // SAFETY: the caller's word.
    unsafe { run_each::<SOME, T, R>(argument, output, f) }
}

/// # Safety
/// As [`run`].
unsafe fn run_on_state<S, F, T, R, const SOME: bool>(
    target: u64,
    argument: Argument,
    output: &mut Output<'_>,
) where
    S: 'static,
    F: Fn(&mut S, T) -> R,
    T: Pod,
    R: Pod,
{
    const { assert!(size_of::<T>() != 0 && align_of::<T>() <= 16 && align_of::<R>() <= 16) };
    // SAFETY: as in `run`.
    let f = unsafe { &*(target as usize as *const F) };
    let Some(state) = output.state().downcast_mut::<S>().map(std::ptr::from_mut) else {
        return output.fail("the worker's state is of another type");
    };
    // SAFETY: the caller's word. The state is not in `output`, which only refers to it, and nothing else uses it.
    unsafe { run_each::<SOME, T, R>(argument, output, |item| f(&mut *state, item)) }
}

/// # Safety
/// The argument is `T`s.
unsafe fn run_each<const SOME: bool, T: Pod, R: Pod>(
    argument: Argument,
    output: &mut Output<'_>,
    f: impl FnMut(T) -> R,
) {
    // SAFETY: the caller's word.
    unsafe {
        if SOME {
            chunks::run_some(argument, output, f);
        } else {
            worker::run_each(argument, output, f);
        }
    }
}

impl<T, R> Deref for FnPool<T, R> {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

impl<T, R> std::fmt::Debug for FnPool<T, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FnPool").field("pool", &self.pool).finish_non_exhaustive()
    }
}
