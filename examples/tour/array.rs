//! Children write parts of one array; another sums it in place.

use crate::family::Family;
use crate::{Notes, Options, Outcome};
use mpshm::{Array, Result};
use serde_json::json;

const NUMBERS: [i64; 10] = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];

pub fn run(_: &Options, notes: &Notes) -> Result<Outcome> {
    let array = Array::<i64>::new(NUMBERS.len())?;
    Family::new(5, "part", |part| {
        let range = part * 2..part * 2 + 2;
        array.copy_from_slice(range.start, &NUMBERS[range])
    })?
    .join()?;
    let written = array.to_vec();
    notes.say(format!("five children wrote {written:?}"));

    Family::new(1, "sum", |_| {
        for index in 1..array.len() {
            array.fetch_add(index, array.load(index - 1)?)?;
        }
        Ok(())
    })?
    .join()?;
    let sums = array.to_vec();
    notes.say(format!("another summed them up in place: {sums:?}"));

    let mut outcome = Outcome::new(json!({ "written": written, "prefix_sums": sums }));
    outcome.expect("what was written", written, NUMBERS.to_vec());
    outcome.expect("the last sum", sums.last().copied(), Some(6519));
    Ok(outcome)
}
