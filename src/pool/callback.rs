//! What is to be called when a task has ended.
//!
//! A callback is due when its task ends, whoever notices that, and is run by the next call on the pool that has let go of the
//! owner's lock, which is nearly always the same one: so that it may use the pool itself. It is taken out before it is
//! called, and so is never called twice.

use crate::error::Result;
use crate::pool::owner::Inner;
use crate::pool::task::TaskError;
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What came of a task.
pub(super) type Ended = std::result::Result<Vec<u8>, TaskError>;

/// Is called once with what came of a task.
pub(super) type Callback = Box<dyn FnOnce(&Ended) + Send>;

/// The owner's callbacks, under its lock.
pub(super) struct Callbacks {
    /// By task.
    waiting: HashMap<u64, Vec<Callback>>,
    due: VecDeque<(u64, Vec<Callback>, Ended)>,
    /// How many are due: to be read without the lock.
    count: Arc<AtomicUsize>,
    /// What a task's callback panicked with, as long as there is a handle to ask with.
    panics: HashMap<u64, String>,
}

impl Callbacks {
    pub(super) fn new(count: Arc<AtomicUsize>) -> Self {
        Self { waiting: HashMap::new(), due: VecDeque::new(), count, panics: HashMap::new() }
    }

    /// A task has ended.
    pub(super) fn end(&mut self, id: u64, ended: &Ended) {
        if self.waiting.is_empty() {
            return;
        }
        if let Some(callbacks) = self.waiting.remove(&id) {
            self.make_due(id, callbacks, ended.clone());
        }
    }

    fn make_due(&mut self, id: u64, callbacks: Vec<Callback>, ended: Ended) {
        self.due.push_back((id, callbacks, ended));
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Nobody can ask for this task's panic any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.panics.remove(&id);
    }
}

impl Inner {
    /// Has `callback` called when the task has ended: now, if it has.
    pub(super) fn on_done(&self, id: u64, callback: Callback) -> Result<()> {
        let mut state = self.lock()?;
        match state.ended.get(&id).cloned() {
            Some(ended) => state.callbacks.make_due(id, vec![callback], ended),
            None => state.callbacks.waiting.entry(id).or_default().push(callback),
        }
        drop(state);
        self.run_due();
        Ok(())
    }

    pub(super) fn callback_panic(&self, id: u64) -> Option<String> {
        self.lock().ok()?.callbacks.panics.get(&id).cloned()
    }

    /// Runs what callbacks are due. Not with the lock held.
    pub(super) fn run_due(&self) {
        // Who made one due has held the lock since, and so has whoever relies on it here.
        while self.due.load(Ordering::Relaxed) != 0 {
            let Ok(mut state) = self.lock() else { return };
            let Some((id, callbacks, ended)) = state.callbacks.due.pop_front() else { return };
            self.due.fetch_sub(1, Ordering::Relaxed);
            drop(state);
            for callback in callbacks {
                let called = std::panic::catch_unwind(AssertUnwindSafe(|| callback(&ended)));
                if let Err(panic) = called {
                    self.record_panic(id, panic);
                }
            }
        }
    }

    fn record_panic(&self, id: u64, panic: Box<dyn Any + Send>) {
        let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "a panic without a text".to_owned(),
        };
        // Its destructor may panic.
        std::mem::forget(panic);
        if let Ok(mut state) = self.lock() {
            // Kept as long as the task's handle, and so its outcome, is there.
            if state.ended.contains_key(&id) {
                state.callbacks.panics.entry(id).or_insert(text);
            }
        }
    }
}
