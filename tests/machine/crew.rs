//! Worker processes that do what they are told: a command is a line, and so is the reply.

use super::common::{pipe, readable};
use super::probe;
use mpshm::Process;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// After so long without a reply, a worker hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a worker makes of commands.
pub trait Obeys {
    /// Does it, and says what came of it.
    fn obey(&mut self, words: &[&str]) -> String;
}

struct Worker {
    process: Process,
    commands: File,
    replies: BufReader<File>,
    /// Which of all workers of the case it is.
    life: u32,
}

/// Some workers, and what was said. All are killed when it is dropped.
pub struct Crew<F> {
    hire: F,
    workers: Vec<Worker>,
    lives: u32,
    said: Vec<String>,
}

impl<W: Obeys, F: Fn() -> W> Crew<F> {
    /// `hire` makes a worker's mind, in its own process.
    pub fn new(count: usize, hire: F) -> Self {
        let mut crew = Self { hire, workers: Vec::new(), lives: 0, said: Vec::new() };
        for _ in 0..count {
            let worker = crew.start();
            crew.workers.push(worker);
        }
        crew
    }

    fn start(&mut self) -> Worker {
        let (orders, commands) = pipe();
        let (replies, answers) = pipe();
        let hire = &self.hire;
        let process = probe::spawn(|| work(hire(), orders, answers));
        self.lives += 1;
        Worker { process, commands, replies: BufReader::new(replies), life: self.lives }
    }

    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Who is at the place: no two workers have the same number.
    pub fn life(&self, at: usize) -> u32 {
        self.workers[at].life
    }

    /// Notes what is not said by a worker.
    pub fn note(&mut self, what: String) {
        self.said.push(what);
    }

    /// Everything that was said.
    pub fn story(&self) -> String {
        self.said.iter().map(|line| format!("\n    {line}")).collect()
    }

    /// Has it done; an error when there is no reply.
    pub fn tell(&mut self, at: usize, command: &str) -> Result<String, String> {
        let worker = &mut self.workers[at];
        let life = worker.life;
        let mut reply = String::new();
        let sent = worker.commands.write_all(format!("{command}\n").as_bytes());
        let replies = sent.is_ok() && readable(worker.replies.get_ref().as_raw_fd(), PATIENCE);
        if !replies || worker.replies.read_line(&mut reply).unwrap_or(0) == 0 {
            let status = worker.process.join_timeout(Duration::from_millis(500));
            let message = worker.process.panic_message();
            return Err(format!("process {life}: {command}: no reply: {status:?}, {message:?}"));
        }
        let reply = reply.trim_end().to_string();
        self.said.push(format!("process {life}: {command} → {reply}"));
        Ok(reply)
    }

    /// Kills the worker, wherever it is, and starts another in its place.
    pub fn kill(&mut self, at: usize) {
        probe::kill(&self.workers[at].process);
        self.said.push(format!("process {} is killed", self.workers[at].life));
        self.workers[at] = self.start();
    }

    /// Lets the worker put down all that it has, and end; starts another in its place.
    pub fn retire(&mut self, at: usize) -> Result<(), String> {
        self.tell(at, "quit")?;
        let status = self.workers[at].process.join_timeout(PATIENCE).unwrap();
        if !status.is_some_and(|status| status.success()) {
            return Err(format!("process {} does not end well: {status:?}", self.workers[at].life));
        }
        self.workers[at] = self.start();
        Ok(())
    }

    /// Kills all of them; there is nobody any more.
    pub fn kill_all(&mut self) {
        self.workers.drain(..).for_each(|worker| probe::kill(&worker.process));
    }
}

impl<F> Drop for Crew<F> {
    fn drop(&mut self) {
        for worker in &self.workers {
            let _ = worker.process.kill();
            let _ = worker.process.join();
        }
    }
}

fn work(mut mind: impl Obeys, orders: File, mut answers: File) {
    let mut orders = BufReader::new(orders);
    let mut command = String::new();
    while orders.read_line(&mut command).unwrap() > 0 {
        let words: Vec<&str> = command.split_whitespace().collect();
        let quits = words == ["quit"];
        let reply = mind.obey(&words);
        answers.write_all(format!("{reply}\n").as_bytes()).unwrap();
        if quits {
            return;
        }
        command.clear();
    }
}
