//! Tasks on bytes out of a source of arguments, as their results are asked for: an endless one never has more than so
//! many in flight.

use crate::error::Result;
use crate::os::clock::Deadline;
use crate::pool::owner::Inner;
use crate::pool::stream::BUFFER;
use crate::pool::task::decode_bytes;
use crate::pool::worker::Run;
use crate::pool::{Pool, Task, TaskError};
use std::collections::VecDeque;
use std::sync::Arc;

/// The tasks of one source. It does not keep the pool: without that, those in flight are cancelled.
pub(crate) struct Feed {
    pool: Arc<Inner>,
    run: Run,
    target: u64,
    ordered: bool,
    /// How many tasks may be in flight beyond one for each worker; none for as many as there are workers.
    buffer: Option<usize>,
    /// In flight, oldest first.
    flying: VecDeque<Task<Vec<u8>>>,
    /// The source is not asked any more.
    is_over: bool,
    /// Why not, to be said once, after what is in flight.
    failure: Option<TaskError>,
}

impl Feed {
    pub(crate) fn new(
        pool: &Pool,
        run: Run,
        target: u64,
        ordered: bool,
        buffer: Option<usize>,
    ) -> Self {
        Self {
            pool: Arc::clone(&pool.inner),
            run,
            target,
            ordered,
            buffer,
            flying: VecDeque::new(),
            is_over: false,
            failure: None,
        }
    }

    /// The next task that has ended, the oldest or any; none after the last. `draw` gives the next argument, or none at
    /// the end. Its error, or one that takes no more tasks, comes after what was in flight, and then the end.
    pub(crate) fn next(
        &mut self,
        deadline: Deadline,
        draw: impl FnMut() -> Result<Option<Vec<u8>>>,
    ) -> std::result::Result<Option<Task<Vec<u8>>>, TaskError> {
        let workers = self.pool.workers()?.max(1);
        self.fill(self.buffer.unwrap_or(BUFFER * workers).saturating_add(workers), draw);
        let ids: Vec<u64> = self.flying.iter().map(Task::id).collect();
        let Some(first) = ids.first() else { return self.failure.take().map_or(Ok(None), Err) };
        let awaited = if self.ordered { std::slice::from_ref(first) } else { &ids };
        let at = self.pool.wait_for_any(awaited, deadline)?;
        Ok(self.flying.remove(at))
    }

    fn fill(&mut self, most: usize, mut draw: impl FnMut() -> Result<Option<Vec<u8>>>) {
        while !self.is_over && self.flying.len() < most {
            let submit = |bytes: Vec<u8>| self.pool.submit(self.run, self.target, &bytes);
            match draw().and_then(|argument| argument.map(submit).transpose()) {
                Ok(Some(id)) => {
                    self.flying.push_back(Task::new(Arc::clone(&self.pool), id, decode_bytes));
                }
                Ok(None) => self.is_over = true,
                Err(error) => (self.is_over, self.failure) = (true, Some(error.into())),
            }
        }
    }
}
