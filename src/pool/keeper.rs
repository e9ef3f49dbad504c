//! What the owner does about its fork server and workers, inside whichever call waits.
//!
//! The server has replaced a dead worker by itself when the owner learns of it; what is left to do is to end, or run
//! again, the tasks that the dead one had begun. Records that name them are free only after that, so that a task is
//! never taken for the new worker's.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::Zeroable;
use crate::os::clock;
use crate::pool::owner::{Arrival, End, Inner, LOOK_EVERY, Phase, State};
use crate::pool::wire::{self, HEADER, LOOK, ResultHeader};
use crate::pool::worker::{self, Equipment};
use crate::process::ExitStatus;
use crate::process::roster::Standing;
use crate::process::server::{Post, Server};
use crate::queue::{PopError, Queue};
use std::os::fd::AsFd;
use std::sync::Arc;

impl Inner {
    /// Forks a server, and it the workers.
    pub(super) fn start_server(&self, state: &State, results: &Queue<[u8]>) -> Result<Server> {
        let (tasks, results, news) = (state.tasks.clone(), results.clone(), results.clone());
        let owner = self.owner.as_fd();
        let mut rules = self.plan.rules.clone();
        rules.workers = state.wanted as u32;
        let work = |post: Post<'_>| {
            let (states, habits) = (&self.states, &self.plan.habits);
            let (tasks, results) = (&tasks, &results);
            let pid = std::process::id();
            worker::run(post, &Equipment { tasks, results, states, owner, habits, pid })
        };
        // Without room the owner is not asleep on this queue.
        let tell = || {
            let header = ResultHeader { kind: LOOK, slot: u32::MAX, ..ResultHeader::zeroed() };
            if let Ok(mut place) = news.try_reserve(HEADER) {
                if place.write_at(0, bytemuck::bytes_of(&header)).is_ok() {
                    let _ = place.commit(HEADER);
                }
            }
        };
        Server::start(&rules, owner, &work, &tell)
    }

    /// Sees to workers that have died and, now and then, whether the server lives.
    pub(super) fn look_after(&self, results: &Queue<[u8]>) -> Result<()> {
        let mut state = self.lock()?;
        let Some(server) = state.server.clone() else { return Ok(()) };
        if state.phase == Phase::Ended {
            return Ok(());
        }
        let ends = server.ends();
        if ends != state.seen {
            state.seen = ends;
            self.see_to_ends(&mut state, &server, results)?;
        }
        let now = clock::now_coarse();
        if now.wrapping_sub(state.looked) < LOOK_EVERY / 2 && server.failure().is_none() {
            return Ok(());
        }
        state.looked = now;
        if let Some(why) = server.failure() {
            self.give_up(&mut state, why);
        } else if server.has_ended()? && server.workers_are_gone() {
            self.see_to_a_dead_server(&mut state, &server, results)?;
        }
        Ok(())
    }

    /// Ends the tasks that dead workers had begun.
    fn see_to_ends(&self, state: &mut State, server: &Server, results: &Queue<[u8]>) -> Result<()> {
        let records = server.records();
        let ended: Vec<usize> = (0..records.len())
            .filter(|&index| records[index].entry().standing == Standing::Ended)
            .collect();
        self.take_all(state, results)?;
        for &index in &ended {
            let entry = records[index].entry();
            let end = if entry.too_long { End::TooLong } else { End::Died(entry.status) };
            for slot in self.begun_by(state, index)? {
                self.bury(state, slot, entry.pid, end);
            }
            records[index].free();
        }
        if !ended.is_empty() {
            // It may have waited for a free record.
            server.wake();
        }
        Ok(())
    }

    /// The server and all its workers are gone.
    fn see_to_a_dead_server(
        &self,
        state: &mut State,
        server: &Server,
        results: &Queue<[u8]>,
    ) -> Result<()> {
        self.take_all(state, results)?;
        for index in 0..server.records().len() {
            let entry = server.records()[index].entry();
            let end = match entry.standing {
                Standing::Ended if entry.too_long => End::TooLong,
                Standing::Ended => End::Died(entry.status),
                _ => End::Died(ExitStatus::Unknown),
            };
            for slot in self.begun_by(state, index)? {
                self.bury(state, slot, entry.pid, end);
            }
        }
        if !self.plan.replace_server {
            let text = format!("the pool's fork server (pid {}) died", server.pid());
            self.give_up(state, Error::new(ErrorKind::Broken, text));
            return Ok(());
        }
        state.seen = 0;
        state.forked_before += u64::from(server.forks());
        match self.start_server(state, results) {
            Ok(fresh) => state.server = Some(Arc::new(fresh)),
            Err(error) => {
                let text = format!("the pool's fork server died, and no other can be had: {error}");
                self.give_up(state, Error::new(ErrorKind::Broken, text));
            }
        }
        Ok(())
    }

    /// Takes every result that is there: all that the dead had sent, and a complete one counts.
    fn take_all(&self, state: &mut State, results: &Queue<[u8]>) -> Result<()> {
        for _ in 0..results.len() {
            match results.try_claim().map(Arrival::read) {
                Ok(arrival) => self.deliver(state, arrival?),
                Err(PopError::Empty) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The slots of tasks that the worker of a record had begun.
    fn begun_by(&self, state: &State, record: usize) -> Result<Vec<u32>> {
        let mut slots = Vec::new();
        for (slot, flight) in (0u32..).zip(&state.flights) {
            let Some(flight) = flight else { continue };
            if self.states.load(slot as usize)? == wire::begun(flight.id, record as u32) {
                slots.push(slot);
            }
        }
        Ok(slots)
    }

    /// How many workers the pool keeps.
    pub(super) fn workers(&self) -> Result<usize> {
        Ok(self.lock()?.wanted)
    }

    pub(super) fn resize(&self, workers: usize) -> Result<()> {
        let mut state = self.lock()?;
        state.check_open()?;
        let most = self.plan.workers_max;
        if workers == 0 || workers > most {
            let text = format!("a pool resized to {workers} workers: 1 to {most} are possible");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        state.wanted = workers;
        state.server.iter().for_each(|server| server.resize(workers as u32));
        Ok(())
    }

    /// The process ids of the workers as of now, and the fork server's.
    pub(super) fn pids(&self) -> Result<(Vec<u32>, Option<u32>)> {
        let server = self.lock()?.server.clone();
        let records = server.iter().flat_map(|server| server.records());
        let living = records.map(|record| record.entry()).filter(|entry| {
            matches!(entry.standing, Standing::Starting | Standing::Ready) && entry.pid != 0
        });
        Ok((living.map(|entry| entry.pid).collect(), server.as_ref().map(|server| server.pid())))
    }
}
