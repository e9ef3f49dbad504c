//! Adding to a shared integer, against the bare instruction on a shared page.

use crate::measure::{Row, Sides, Unit, Work};
use crate::shared::Shared;
use crate::{Result, cpu, crew};
use mpshm::Value;
use std::sync::atomic::{AtomicI64, Ordering};

/// One process alone adds, as fast as it can.
pub fn alone() -> Row {
    Row {
        id: "fetch_add_vs_instruction",
        unit: Unit::Nanoseconds,
        peer_name: "lock xadd on a shared page",
        target: 0.97,
        work: Work::Grains(1000),
        prepare: Box::new(|| {
            let value = Value::<i64>::new(0)?;
            let bare = Shared::new(Line(AtomicI64::new(0)))?;
            Ok(Sides {
                ours: Box::new(move |work| {
                    value.store(0);
                    let seconds = add_alone(work, || value.fetch_add(1))?;
                    check(work, value.load(), seconds)
                }),
                peer: Ok(Box::new(move |work| {
                    bare.0.store(0, Ordering::Relaxed);
                    let seconds = add_alone(work, || instruction(&bare.0, 1))?;
                    check(work, bare.0.load(Ordering::Relaxed), seconds)
                })),
            })
        }),
    }
}

/// Two processes on two cores add to the same integer.
pub fn of_two() -> Row {
    Row {
        id: "fetch_add_2p_vs_instruction",
        unit: Unit::Nanoseconds,
        peer_name: "lock xadd on a shared page",
        target: 0.97,
        work: Work::Grains(2000),
        prepare: Box::new(|| {
            let value = Value::<i64>::new(0)?;
            let bare = Shared::new(Line(AtomicI64::new(0)))?;
            Ok(Sides {
                ours: Box::new(move |work| {
                    value.store(0);
                    let seconds = add_both(work, || value.fetch_add(1))?;
                    check(work, value.load(), seconds)
                }),
                peer: Ok(Box::new(move |work| {
                    bare.0.store(0, Ordering::Relaxed);
                    let seconds = add_both(work, || instruction(&bare.0, 1))?;
                    check(work, bare.0.load(Ordering::Relaxed), seconds)
                })),
            })
        }),
    }
}

/// Adds `work` times in all, half of it in each of two processes.
fn add_both(work: u64, add: impl Fn() -> i64) -> Result<f64> {
    let (first, second) = cpu::pair();
    let round = crew::processes(&[first, second], |gate| {
        gate.pass();
        (0..work / 2).fold(0, |sum: u64, _| sum.wrapping_add(add() as u64))
    })?;
    Ok(round.seconds)
}

/// On a line of its own, as a value of ours is.
#[repr(align(128))]
struct Line(AtomicI64);

/// The processor's own instruction.
#[inline]
fn instruction(cell: &AtomicI64, value: i64) -> i64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut before = value;
        // SAFETY: an atomic change of a cell that is an atomic.
        unsafe {
            std::arch::asm!(
                "lock xadd qword ptr [{cell}], {value}",
                cell = in(reg) cell.as_ptr(),
                value = inout(reg) before,
                options(nostack),
            );
        }
        before
    }
    #[cfg(not(target_arch = "x86_64"))]
    cell.fetch_add(value, Ordering::AcqRel)
}

/// Adds `work` times in one process, and checks what was found there before.
fn add_alone(work: u64, add: impl Fn() -> i64) -> Result<f64> {
    let round = crew::processes(&[cpu::pair().1], |gate| {
        gate.pass();
        (0..work).fold(0, |sum: u64, _| sum.wrapping_add(add() as u64))
    })?;
    let expected = (u128::from(work) * u128::from(work - 1) / 2) as u64;
    if round.values != [expected] {
        return Err(format!("the sum is {:?}, {expected} was expected", round.values).into());
    }
    Ok(round.seconds)
}

fn check(work: u64, found: i64, seconds: f64) -> Result<f64> {
    if found as u64 != work {
        return Err(format!("{found} after adding 1 for {work} times").into());
    }
    Ok(seconds)
}
