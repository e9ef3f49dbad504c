//! The owner's side of a pool: what it knows of its tasks and workers, and the step that moves
//! them on, taken inside whichever call waits.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::Zeroable;
use crate::os::clock::{self, Deadline};
use crate::os::{fork, process as os};
use crate::pool::callback::{Callbacks, Ended};
use crate::pool::map::Chunked;
use crate::pool::task::TaskError;
use crate::pool::wire::{self, FAILED, HEADER, LAST, REFUSED, ResultHeader, TaskHeader};
use crate::pool::worker::{Habits, Run};
use crate::process::ExitStatus;
use crate::process::server::{Rules, Server};
use crate::queue::{Claim, PopError, PushError, Queue, QueueOptions};
use crate::segment::{Place, Segment};
use crate::value::Array;
use crate::wait::cancel;
use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the owner waits at a time before it looks whether the fork server lives, in nanoseconds.
pub(super) const LOOK_EVERY: u64 = 50_000_000;

/// How a pool is made.
pub(super) struct Plan {
    pub rules: Rules,
    pub habits: Habits,
    /// The most workers that there may ever be.
    pub workers_max: usize,
    pub queue: u64,
    pub message_max: u64,
    /// Whether a fork server that died is replaced.
    pub replace_server: bool,
    /// How often a task is run again whose worker died.
    pub retries: u32,
}

/// What a pool and its tasks share.
pub(crate) struct Inner {
    /// The process that made the pool.
    process: u32,
    pub(super) plan: Plan,
    /// The owner's own pidfd, for the fork server and the workers to see its end by.
    pub(super) owner: OwnedFd,
    pub(super) states: Array<u64>,
    state: Mutex<State>,
    /// Told when results have come, or when nobody collects any more.
    arrived: Condvar,
    /// How many callbacks are due.
    pub(super) due: Arc<AtomicUsize>,
}

/// The owner's side of the pool.
pub(super) struct State {
    pub(super) tasks: Queue<[u8]>,
    /// Where results come from; taken out by the one thread that collects them, which may sleep on it with
    /// the lock open.
    results: Option<Queue<[u8]>>,
    pub(super) server: Option<Arc<Server>>,
    /// How many ends of workers have been seen to.
    pub(super) seen: u32,
    /// How many workers there are to be.
    pub(super) wanted: usize,
    /// Workers that earlier fork servers forked.
    pub(super) forked_before: u64,
    /// Why the pool cannot go on.
    pub(super) why: Option<Error>,
    /// By slot: the tasks that the workers know of.
    pub(super) flights: Vec<Option<Flight>>,
    free_slots: Vec<u32>,
    backlog: VecDeque<Pending>,
    /// Results that nobody has asked for yet, or may ask for again.
    pub(super) ended: HashMap<u64, Ended>,
    pub(super) callbacks: Callbacks,
    /// Tasks whose handle is gone.
    pub(super) forgotten: HashSet<u64>,
    next_id: u64,
    pub(super) looked: u64,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Closed,
    Ended,
}

/// A task that the workers know of.
pub(super) struct Flight {
    pub(super) id: u64,
    /// The parts of its result that have come home.
    bytes: Vec<u8>,
    /// How many workers have died in it.
    deaths: u32,
    /// To run it again.
    again: Option<Pending>,
}

/// A task that the workers do not know of yet.
struct Pending {
    id: u64,
    run: Run,
    target: u64,
    argument: Box<[u8]>,
    deaths: u32,
}

/// Messages up to this long, header included, have a block for each place in the queue. All pages of a pool's memory are
/// allocated when it is made, so longer ones have a few.
const SHORT: u64 = 256;

/// The queues of tasks and of results.
fn queue_options(plan: &Plan, participants: u32) -> QueueOptions {
    let longest = plan.message_max.saturating_add(HEADER as u64);
    let options = QueueOptions::new(plan.queue);
    if longest <= SHORT {
        // A worker holds one task and one part of a result at a time.
        return options.message_max(longest).leases(1);
    }
    // Each worker has one in hand while others are on their way.
    let long = (4 * plan.workers_max as u64 + 2).min(plan.queue + u64::from(participants));
    options.blocks(SHORT, plan.queue + u64::from(participants)).blocks(longest, long)
}

impl Inner {
    /// Makes the pool's memory and forks its workers; if one cannot be forked, the others end again.
    pub(super) fn new(plan: Plan) -> Result<Self> {
        // Beside the workers: the owner, the server, and some that are dead and not repaired yet.
        let participants = plan.workers_max as u32 + 6;
        let options = queue_options(&plan, participants);
        let one = Queue::<[u8]>::size_with(&options, participants)?;
        let slots = plan.queue as usize + plan.workers_max + 64;
        let size = 2 * one + Array::<u64>::size_for(slots)? + 4096;
        let segment = Segment::options().participants(participants).objects(4).anonymous(size)?;
        let tasks = Queue::<[u8]>::create(Place::fresh(&segment, "tasks"), &options)?;
        let results = Queue::<[u8]>::create(Place::fresh(&segment, "results"), &options)?;
        let states = Array::<u64>::create(Place::fresh(&segment, "states"), slots)?;
        let owner = os::open_pidfd(os::own_pid())?
            .ok_or_else(|| Error::new(ErrorKind::System, "this process has no pidfd"))?;
        let due = Arc::new(AtomicUsize::new(0));
        let callbacks = Callbacks::new(Arc::clone(&due));
        let inner = Self {
            process: fork::generation(),
            due,
            arrived: Condvar::new(),
            owner,
            states,
            state: Mutex::new(State {
                tasks,
                results: Some(results),
                server: None,
                seen: 0,
                wanted: plan.rules.workers as usize,
                forked_before: 0,
                why: None,
                flights: (0..slots).map(|_| None).collect(),
                free_slots: (0..slots as u32).rev().collect(),
                backlog: VecDeque::new(),
                ended: HashMap::new(),
                callbacks,
                forgotten: HashSet::new(),
                next_id: 1,
                looked: 0,
                phase: Phase::Running,
            }),
            plan,
        };
        let mut state = inner.lock()?;
        let results = state.results.as_ref().expect("nobody collects yet");
        let server = inner.start_server(&state, results)?;
        state.server = Some(Arc::new(server));
        drop(state);
        Ok(inner)
    }

    pub(crate) fn message_max(&self) -> usize {
        self.plan.message_max as usize
    }

    /// Takes a task, and hands it out if there is room; returns its id.
    pub(super) fn submit(&self, run: Run, target: u64, argument: &[u8]) -> Result<u64> {
        self.check_argument(argument.len())?;
        let mut state = self.lock()?;
        state.check_open()?;
        let id = state.new_id();
        state.backlog.push_back(Pending { id, run, target, argument: argument.into(), deaths: 0 });
        drop(state);
        // The task is taken; what goes wrong now is for those who wait to find.
        let _ = self.turn(None, |_| false);
        Ok(id)
    }

    pub(super) fn close(&self) -> Result<()> {
        let mut state = self.lock()?;
        if state.phase == Phase::Running {
            state.phase = Phase::Closed;
        }
        Ok(())
    }

    /// Waits until every task has ended, then ends the workers; false when `deadline` came first.
    pub(super) fn join(&self, deadline: Deadline) -> Result<bool> {
        let server = loop {
            let mut state = self.lock()?;
            if state.phase == Phase::Running {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "join on a pool that still runs: close it first",
                ));
            }
            if !state.has_work() {
                state.phase = Phase::Ended;
                let server = state.server.clone();
                // First the server, or it would replace the workers that end.
                server.iter().for_each(|server| server.drain());
                state.tasks.close()?;
                break server;
            }
            drop(state);
            if deadline.has_passed() {
                return Ok(false);
            }
            self.turn(Some(deadline), |state| !state.has_work())?;
        };
        let ended = server.is_none_or(|server| server.join(deadline) == Ok(true));
        Ok(ended)
    }

    /// The owner's side, if this is the owner. (A child's copy of the lock may be held for ever.)
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, State>> {
        if self.process != fork::generation() {
            return Err(Error::new(
                ErrorKind::Forked,
                "the pool belongs to the process that made it and cannot be used in a forked child",
            ));
        }
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn check_argument(&self, length: usize) -> Result<()> {
        if length > self.message_max() {
            return Err(Error::new(
                ErrorKind::TooBig,
                format!(
                    "an argument of {length} bytes: the pool's messages hold {}",
                    self.message_max()
                ),
            ));
        }
        Ok(())
    }

    /// Hands out what can be handed out, and collects what has come home, unless another thread is at that; then runs what
    /// callbacks are due. With a deadline, waits for a result first if none is there and `done` does not hold, never with the
    /// lock held.
    fn turn(&self, wait: Option<Deadline>, done: impl Fn(&State) -> bool) -> Result<()> {
        let turned = self.turn_once(wait, done);
        self.run_due();
        turned
    }

    fn turn_once(&self, wait: Option<Deadline>, done: impl Fn(&State) -> bool) -> Result<()> {
        let mut state = self.lock()?;
        if state.phase == Phase::Ended || done(&state) {
            return Ok(());
        }
        self.hand_out(&mut state)?;
        if let Some(results) = state.results.take() {
            drop(state);
            return Collector { inner: self, results: Some(results) }.collect(wait);
        }
        let Some(deadline) = wait else { return Ok(()) };
        if cancel::is_cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "the wait was cancelled"));
        }
        let slice = deadline.at_most(LOOK_EVERY).as_nanoseconds().saturating_sub(clock::now());
        let waited = self.arrived.wait_timeout(state, Duration::from_nanos(slice));
        drop(waited);
        Ok(())
    }

    /// Moves tasks from the backlog to the queue while there is room.
    fn hand_out(&self, state: &mut State) -> Result<()> {
        while let Some(next) = state.backlog.pop_front() {
            if !self.start(state, (next.id, next.deaths), next.run, next.target, &next.argument)? {
                state.backlog.push_front(next);
                break;
            }
        }
        Ok(())
    }

    /// Hands one task to the workers; false when the queue has no room.
    fn start(
        &self,
        state: &mut State,
        (id, deaths): (u64, u32),
        run: Run,
        target: u64,
        argument: &[u8],
    ) -> Result<bool> {
        let Some(&slot) = state.free_slots.last() else { return Ok(false) };
        let header = TaskHeader { id, run: run as usize as u64, target, slot, reserved: 0 };
        let mut place = match state.tasks.try_reserve(HEADER + argument.len()) {
            Ok(place) => place,
            Err(PushError::Full(())) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        place.write_at(0, bytemuck::bytes_of(&header))?;
        place.write_at(HEADER, argument)?;
        self.states.store(slot as usize, wire::waiting(id))?;
        match place.commit(HEADER + argument.len()) {
            Ok(()) => {}
            Err(PushError::Full(_)) => return Ok(false),
            Err(error) => return Err(Error::new(error.kind(), error.to_string())),
        }
        state.free_slots.pop();
        let again = (deaths < self.plan.retries).then(|| Pending {
            id,
            run,
            target,
            argument: argument.into(),
            deaths: deaths + 1,
        });
        state.flights[slot as usize] = Some(Flight { id, bytes: Vec::new(), deaths, again });
        Ok(true)
    }

    pub(super) fn deliver(&self, state: &mut State, arrival: Arrival) {
        let Arrival { header, bytes } = arrival;
        let flight = state.flights.get_mut(header.slot as usize).and_then(Option::as_mut);
        let Some(flight) = flight.filter(|flight| flight.id == header.id) else { return };
        if flight.bytes.is_empty() {
            flight.bytes = bytes;
        } else {
            flight.bytes.extend_from_slice(&bytes);
        }
        let bytes = match header.kind {
            LAST | FAILED | REFUSED => std::mem::take(&mut flight.bytes),
            _ => return,
        };
        let result = match header.kind {
            LAST => Ok(bytes),
            REFUSED => {
                let status = ExitStatus::Unknown;
                Err(TaskError::WorkerDied { pid: 0, status, attempts: flight.deaths })
            }
            _ => {
                let message = String::from_utf8_lossy(&bytes).into_owned();
                Err(TaskError::Failed { message, pid: header.pid })
            }
        };
        self.land(state, header.slot, result);
    }

    /// A task has ended: its slot is free again.
    fn land(&self, state: &mut State, slot: u32, result: std::result::Result<Vec<u8>, TaskError>) {
        if let Some(flight) = state.flights[slot as usize].take() {
            let _ = self.states.store(slot as usize, 0);
            state.free_slots.push(slot);
            state.end(flight.id, result);
        }
    }

    /// A worker has died in a task, which is run again or ends.
    pub(super) fn bury(&self, state: &mut State, slot: u32, pid: u32, end: End) {
        let Some(flight) = &mut state.flights[slot as usize] else { return };
        let attempts = flight.deaths + 1;
        let error = match end {
            End::TooLong => TaskError::TimeLimit { pid },
            End::Died(status) => match flight.again.take() {
                Some(again) if !state.forgotten.contains(&again.id) => {
                    let _ = self.states.store(slot as usize, 0);
                    state.flights[slot as usize] = None;
                    state.free_slots.push(slot);
                    return state.backlog.push_front(again);
                }
                _ => TaskError::WorkerDied { pid, status, attempts },
            },
        };
        self.land(state, slot, Err(error));
    }

    /// The pool cannot go on: every task ends with the reason.
    pub(super) fn give_up(&self, state: &mut State, why: Error) {
        state.phase = Phase::Ended;
        let error = TaskError::Pool(why.clone());
        state.why = Some(why);
        for pending in std::mem::take(&mut state.backlog) {
            state.end(pending.id, Err(error.clone()));
        }
        for slot in 0..state.flights.len() as u32 {
            self.land(state, slot, Err(error.clone()));
        }
        let _ = state.tasks.close();
        if let Some(server) = state.server.take() {
            server.end(Duration::ZERO);
        }
    }

    /// Ends a task that no worker has begun; false if one has, or it has ended.
    pub(super) fn cancel(&self, id: u64) -> Result<bool> {
        let mut state = self.lock()?;
        if let Some(at) = state.backlog.iter().position(|pending| pending.id == id) {
            state.backlog.remove(at);
            state.end(id, Err(TaskError::Cancelled));
            drop(state);
            self.run_due();
            return Ok(true);
        }
        let flies = |flight: &Option<Flight>| flight.as_ref().is_some_and(|flight| flight.id == id);
        let Some(slot) = state.flights.iter().position(flies) else { return Ok(false) };
        let waiting = wire::waiting(id);
        let done = self.states.compare_exchange(slot, waiting, waiting | wire::CANCELLED)?.is_ok();
        if done {
            self.land(&mut state, slot as u32, Err(TaskError::Cancelled));
        }
        drop(state);
        self.run_due();
        Ok(done)
    }

    /// Waits for a task to end, and reads what came of it.
    pub(super) fn outcome<T>(
        &self,
        id: u64,
        deadline: Deadline,
        read: impl Fn(&[u8]) -> std::result::Result<T, TaskError>,
    ) -> std::result::Result<T, TaskError> {
        let waiting = |error: Error| match error.kind() {
            ErrorKind::Interrupted => TaskError::Interrupted,
            _ => TaskError::Pool(error),
        };
        self.turn(None, |state| state.ended.contains_key(&id)).map_err(waiting)?;
        loop {
            if let Some(result) = self.lock()?.ended.get(&id) {
                return result.as_ref().map_err(Clone::clone).and_then(|bytes| read(bytes));
            }
            if deadline.has_passed() {
                return Err(TaskError::TimedOut);
            }
            self.turn(Some(deadline), |state| state.ended.contains_key(&id)).map_err(waiting)?;
        }
    }

    /// Waits until one of these tasks has ended, the first if several have; says which.
    pub(super) fn wait_for_any(
        &self,
        ids: &[u64],
        deadline: Deadline,
    ) -> std::result::Result<usize, TaskError> {
        let find = |state: &State| ids.iter().position(|id| state.ended.contains_key(id));
        let mut turn = None;
        loop {
            self.turn(turn, |state| find(state).is_some()).map_err(|error| match error.kind() {
                ErrorKind::Interrupted => TaskError::Interrupted,
                _ => TaskError::Pool(error),
            })?;
            if let Some(found) = find(&*self.lock()?) {
                return Ok(found);
            }
            if deadline.has_passed() {
                return Err(TaskError::TimedOut);
            }
            turn = Some(deadline);
        }
    }

    /// Nobody will ask for this task's result any more.
    pub(super) fn forget(&self, id: u64) {
        if let Ok(mut state) = self.lock() {
            state.callbacks.forget(id);
            if state.ended.remove(&id).is_none() && state.knows(id) {
                state.forgotten.insert(id);
            }
        }
    }

    /// Runs `run` on every argument; `each` gets the results, as they come, with their index.
    pub(crate) fn map(
        &self,
        run: Run,
        target: u64,
        arguments: impl Iterator<Item = impl AsRef<[u8]>>,
        each: impl FnMut(usize, Ended),
    ) -> std::result::Result<(), TaskError> {
        self.map_telling(run, target, arguments, each, || {})
    }

    /// The same with arguments that may be more again when results have come, and `tell` called after some have, without the lock.
    pub(super) fn map_telling(
        &self,
        run: Run,
        target: u64,
        arguments: impl Iterator<Item = impl AsRef<[u8]>>,
        mut each: impl FnMut(usize, Ended),
        mut tell: impl FnMut(),
    ) -> std::result::Result<(), TaskError> {
        let mut pending = Chunked { inner: self, chunks: HashMap::new() };
        self.map_pending(run, target, arguments, &mut pending.chunks, &mut each, &mut tell)
    }

    fn map_pending(
        &self,
        run: Run,
        target: u64,
        arguments: impl Iterator<Item = impl AsRef<[u8]>>,
        pending: &mut HashMap<u64, usize>,
        each: &mut impl FnMut(usize, Ended),
        tell: &mut impl FnMut(),
    ) -> std::result::Result<(), TaskError> {
        let mut arguments = arguments.enumerate();
        let mut next = None;
        self.lock()?.check_open()?;
        loop {
            let mut state = self.lock()?;
            while state.backlog.is_empty() && state.phase != Phase::Ended {
                next = next.or_else(|| arguments.next());
                let Some((index, argument)) = &next else { break };
                let id = state.next_id;
                if !self.start(&mut state, (id, 0), run, target, argument.as_ref())? {
                    break;
                }
                state.new_id();
                pending.insert(id, *index);
                next = None;
            }
            let before = pending.len();
            pending.retain(|&id, &mut index| match state.ended.remove(&id) {
                Some(result) => {
                    each(index, result);
                    false
                }
                None => true,
            });
            let ended = state.phase == Phase::Ended;
            drop(state);
            if pending.len() < before {
                tell();
            }
            if next.is_none() {
                next = arguments.next();
                if next.is_some() && !ended {
                    continue;
                }
            }
            if pending.is_empty() {
                match next {
                    None => return Ok(()),
                    Some(_) if ended => return Err(self.lock()?.over()),
                    Some(_) => {}
                }
            }
            let some_ended = |state: &State| pending.keys().any(|id| state.ended.contains_key(id));
            self.turn(Some(Deadline::FOREVER), some_ended).map_err(|error| match error.kind() {
                ErrorKind::Interrupted => TaskError::Interrupted,
                _ => TaskError::Pool(error),
            })?;
        }
    }

    pub(super) fn terminate(&self, grace: Duration) -> Result<()> {
        let mut state = self.lock()?;
        state.phase = Phase::Ended;
        for pending in std::mem::take(&mut state.backlog) {
            state.end(pending.id, Err(TaskError::Cancelled));
        }
        for slot in 0..state.flights.len() as u32 {
            if let Some(flight) = &state.flights[slot as usize] {
                let _ = self.states.compare_exchange(
                    slot as usize,
                    wire::waiting(flight.id),
                    wire::waiting(flight.id) | wire::CANCELLED,
                );
            }
        }
        let server = state.server.take();
        server.iter().for_each(|server| server.drain());
        let _ = state.tasks.close();
        drop(state);
        if let Some(server) = server {
            server.end(grace);
        }
        // What was sent before the end counts.
        let results = self.lock()?.results.take();
        if let Some(results) = results {
            let _ = Collector { inner: self, results: Some(results) }.drain();
        }
        let mut state = self.lock()?;
        for slot in 0..state.flights.len() as u32 {
            self.land(&mut state, slot, Err(TaskError::Cancelled));
        }
        drop(state);
        self.arrived.notify_all();
        self.run_due();
        Ok(())
    }
}

/// How a worker ended.
#[derive(Clone, Copy)]
pub(super) enum End {
    Died(ExitStatus),
    /// Killed, for its task took too long.
    TooLong,
}

/// The one thread that collects results, while it does.
struct Collector<'a> {
    inner: &'a Inner,
    results: Option<Queue<[u8]>>,
}

impl Collector<'_> {
    fn results(&self) -> &Queue<[u8]> {
        self.results.as_ref().expect("taken only when dropped")
    }

    /// Takes what is there; with a deadline and if there is nothing, waits for one result, but no longer
    /// than until it is time to look after the workers.
    fn collect(&self, wait: Option<Deadline>) -> Result<()> {
        let mut came = self.drain()?;
        if let (false, Some(deadline)) = (came, wait) {
            match self.results().claim_timeout(deadline.at_most(LOOK_EVERY)).map(Arrival::read) {
                Ok(arrival) => {
                    let arrival = arrival?;
                    self.inner.deliver(&mut *self.inner.lock()?, arrival);
                    came = true;
                }
                Err(PopError::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if came {
            let mut state = self.inner.lock()?;
            if state.phase != Phase::Ended {
                self.inner.hand_out(&mut state)?;
            }
        }
        self.inner.look_after(self.results())
    }

    /// Takes every result that is there; says whether there was one.
    fn drain(&self) -> Result<bool> {
        let mut came = false;
        for _ in 0..self.results().len() {
            let arrival = match self.results().try_claim().map(Arrival::read) {
                Ok(arrival) => arrival?,
                Err(PopError::Empty) => break,
                Err(error) => return Err(error.into()),
            };
            self.inner.deliver(&mut *self.inner.lock()?, arrival);
            came = true;
        }
        Ok(came)
    }
}

impl Drop for Collector<'_> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.inner.lock() {
            state.results = self.results.take();
        }
        self.inner.arrived.notify_all();
    }
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.phase == Phase::Running {
            return Ok(());
        }
        if let Some(why) = &self.why {
            return Err(why.clone());
        }
        Err(Error::new(
            ErrorKind::Closed,
            "the pool takes no more tasks: it was closed or terminated",
        ))
    }

    /// What those are told whose tasks did not begin before the pool's end.
    fn over(&self) -> TaskError {
        self.why.clone().map_or(TaskError::Cancelled, TaskError::Pool)
    }

    fn has_work(&self) -> bool {
        !self.backlog.is_empty() || self.flights.iter().any(Option::is_some)
    }

    fn knows(&self, id: u64) -> bool {
        self.backlog.iter().any(|pending| pending.id == id)
            || self.flights.iter().flatten().any(|flight| flight.id == id)
    }

    fn end(&mut self, id: u64, result: Ended) {
        self.callbacks.end(id, &result);
        if !self.forgotten.remove(&id) {
            self.ended.insert(id, result);
        }
    }
}

/// A message from a worker, copied out of the queue.
pub(super) struct Arrival {
    header: ResultHeader,
    bytes: Vec<u8>,
}

impl Arrival {
    pub(super) fn read(message: Claim<'_>) -> Result<Self> {
        let mut header = ResultHeader::zeroed();
        message.read_at(0, bytemuck::bytes_of_mut(&mut header))?;
        // `read_at` has checked that a header is there.
        Ok(Self { header, bytes: message.to_vec_from(HEADER) })
    }
}
