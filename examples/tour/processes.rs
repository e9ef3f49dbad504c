//! Three processes at once, and one that is killed.

use crate::{Notes, Options, Outcome};
use mpshm::{Process, Result};
use serde_json::json;
use std::time::{Duration, Instant};

pub fn run(_: &Options, notes: &Notes) -> Result<Outcome> {
    let start = Instant::now();
    let children: Vec<Process> = ["north", "east", "south"]
        .iter()
        .map(|&name| {
            Process::builder().name(name).kill_with_parent(true).spawn(|| {
                std::thread::sleep(Duration::from_secs(1));
                0
            })
        })
        .collect::<Result<_>>()?;
    let mut codes = Vec::new();
    let mut listed = Vec::new();
    for child in &children {
        let code = child.join()?.code();
        notes.say(format!("{} (pid {}) ended with {code:?}", child.name(), child.pid()));
        listed.push(json!({ "name": child.name(), "pid": child.pid(), "exit_code": code }));
        codes.push(code);
    }
    let total = start.elapsed().as_secs_f64();
    notes.say(format!("three seconds of sleep in {total:.3} s"));

    let victim = Process::builder().name("west").kill_with_parent(true).spawn(|| {
        loop {
            std::thread::sleep(Duration::from_secs(100));
        }
    })?;
    let alive = victim.is_alive();
    victim.kill()?;
    let killed = victim.join()?.code();
    notes.say(format!("{} (pid {}) was killed: {killed:?}", victim.name(), victim.pid()));

    let mut outcome = Outcome::new(json!({
        "processes": listed, "total_seconds": total, "killed_exit_code": killed,
    }));
    outcome.expect("exit codes", codes, vec![Some(0); 3]);
    outcome.expect("the victim lives before the kill", alive, true);
    outcome.expect("exit code of the killed", killed, Some(-9));
    outcome.expect("the sleeps overlap", (1.0..2.5).contains(&total), true);
    Ok(outcome)
}
