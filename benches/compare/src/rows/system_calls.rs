//! System calls of pushes while nobody sleeps: there are to be none.

use crate::measure::{Row, Unit, Work, sides};
use crate::{Result, cpu, crew, trace};
use mpshm::Queue;

/// Messages through each form of a queue, which has room for all of them.
const EACH: u64 = 50_000;

/// A row without a peer: the limit is none.
pub fn of_push() -> Row {
    Row {
        id: "push_system_calls",
        unit: Unit::Calls,
        peer_name: "limit: none while nobody sleeps",
        target: 1.0,
        work: Work::Fixed(2 * EACH),
        prepare: sides(|_| count_all(), Ok(|_| Ok(0.0))),
    }
}

fn count_all() -> Result<f64> {
    let numbers = Queue::<u64>::new(EACH)?;
    let in_slots =
        count(|number| numbers.push(number).expect("pushed"), || numbers.try_pop().ok())?;
    let items = Queue::<[u64; 8]>::new(EACH)?;
    let in_blocks = count(
        |number| items.push([number; 8]).expect("pushed"),
        || items.try_pop().ok().map(|item| item[0]),
    )?;
    Ok((in_slots + in_blocks) as f64)
}

/// System calls of one process that pushes, while another one pops and does not sleep.
fn count(push: impl Fn(u64), try_pop: impl Fn() -> Option<u64>) -> Result<u64> {
    let (first, second) = cpu::pair();
    let round = crew::processes(&[first, second], |gate| {
        gate.pass();
        if gate.index == 0 {
            let first_one = || push(0);
            return trace::system_calls(first_one, || (1..EACH).for_each(&push)).expect("traced");
        }
        let mut popped = 0;
        while popped < EACH {
            match try_pop() {
                Some(number) if number == popped => popped += 1,
                Some(number) => panic!("{number} was popped, {popped} was expected"),
                None => std::hint::spin_loop(),
            }
        }
        0
    })?;
    Ok(round.values[0])
}
