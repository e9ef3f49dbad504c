//! Five processes increment one number: under its lock, atomically, and wrongly.

use crate::family::Family;
use crate::{Notes, Options, Outcome};
use mpshm::{LockError, Result, Value};
use serde_json::json;

const CHILDREN: usize = 5;
const LOCKED: u64 = 1_000;
const MANY: u64 = 1_000_000;

pub fn run(_: &Options, notes: &Notes) -> Result<Outcome> {
    let locked = Value::<u64>::new(0)?;
    Family::new(CHILDREN, "locked", |_| {
        for _ in 0..LOCKED {
            // One that dies with the lock held is reported by the family; the others go on.
            let mut guard = match locked.lock() {
                Err(LockError::OwnerDead(mut guard)) => {
                    guard.mark_consistent();
                    guard
                }
                other => other?,
            };
            guard.set(guard.get() + 1);
        }
        Ok(())
    })?
    .join()?;
    notes.say(format!("{CHILDREN} × {LOCKED} under the lock: {}", locked.load()));

    let added = Value::<u64>::new(0)?;
    Family::new(CHILDREN, "added", |_| {
        for _ in 0..MANY {
            added.fetch_add(1);
        }
        Ok(())
    })?
    .join()?;
    notes.say(format!("{CHILDREN} × {MANY} by fetch_add: {}", added.load()));

    let wrong = Value::<u64>::new(0)?;
    Family::new(CHILDREN, "wrong", |_| {
        for _ in 0..MANY {
            wrong.store(wrong.load() + 1);
        }
        Ok(())
    })?
    .join()?;
    let lost = CHILDREN as u64 * MANY - wrong.load();
    notes.say(format!("WRONG, load then store: {}, {lost} updates were lost", wrong.load()));

    let mut outcome = Outcome::new(json!({
        "locked": locked.load(), "fetch_add": added.load(),
        "wrong_load_store": wrong.load(), "wrong_lost": lost,
    }));
    outcome.expect("under the lock", locked.load(), CHILDREN as u64 * LOCKED);
    outcome.expect("by fetch_add", added.load(), CHILDREN as u64 * MANY);
    Ok(outcome)
}
