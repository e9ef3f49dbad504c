//! What the death of one of many participants costs who repairs after it.

use crate::measure::{Row, Side, Sides, Unit, Work};
use crate::shared::Shared;
use crate::{Result, cpu, crew, futex};
use mpshm::{ExitStatus, Process, Queue, QueueOptions};
use std::sync::atomic::{AtomicU32, Ordering};

/// Sleepers, this program among them, which filled the queue; the repairer; and the one that dies.
const PARTICIPANTS: usize = 64;
const BLOCKS: u64 = 65_536;
const BYTES: u64 = 64;
/// Blocks that the one that dies has reserved, and as many that it has claimed.
const HELD: u64 = 2;
const REPAIRS: u64 = 10;
const LIMIT: f64 = 0.010;

/// A row without a peer: processor time of one repair, while the other participants sleep.
pub fn of_a_large_queue() -> Row {
    Row {
        id: "repair_64p_65536b",
        unit: Unit::Milliseconds,
        peer_name: "limit: 10 ms",
        target: 1.0,
        work: Work::Fixed(REPAIRS),
        prepare: Box::new(|| {
            Ok(Sides { ours: ours()?, peer: Ok(Box::new(|work| Ok(work as f64 * LIMIT))) })
        }),
    }
}

fn ours() -> Result<Side> {
    let queue = Queue::<[u8]>::with_options(&QueueOptions::new(BLOCKS).blocks(BYTES, BLOCKS))?;
    // Whoever repairs looks at each block and at each slot: none of them is empty but what the dead one had.
    while queue.len() as u64 + HELD < BLOCKS {
        queue.push(&[0; BYTES as usize])?;
    }
    let sleepers = vec![cpu::pair().0; PARTICIPANTS - 3];
    let cpus = [vec![cpu::pair().1], sleepers].concat();
    Ok(Box::new(move |work| {
        let over = Shared::new(AtomicU32::new(0))?;
        let round = crew::processes(&cpus, |gate| {
            // Takes part: a block is reserved, and given back.
            drop(queue.try_reserve(1).expect("room"));
            gate.pass();
            if gate.index > 0 {
                while over.load(Ordering::Acquire) == 0 {
                    futex::wait(&over, 0);
                }
                return 0;
            }
            let spent = (0..work).map(|_| repair(&queue)).sum();
            over.store(1, Ordering::Release);
            futex::wake(&over, i32::MAX);
            spent
        })?;
        Ok(round.values[0] as f64 / 1e9)
    }))
}

/// Kills a participant that holds blocks; nanoseconds of processor time to repair after it.
fn repair(queue: &Queue<[u8]>) -> u64 {
    let holds = Shared::new(AtomicU32::new(0)).expect("memory");
    let victim = Process::builder().kill_with_parent(true).spawn(|| {
        let _reserved = [(); HELD as usize].map(|()| queue.try_reserve(1).expect("room"));
        let _claimed = [(); HELD as usize].map(|()| queue.try_claim().expect("an item"));
        holds.store(1, Ordering::Release);
        loop {
            std::thread::park();
        }
    });
    let victim = victim.expect("a child");
    while holds.load(Ordering::Acquire) == 0 {
        assert!(victim.is_alive(), "{:?}", victim.panic_message());
        std::thread::yield_now();
    }
    assert_eq!(queue.segment().participants().expect("participants").len(), PARTICIPANTS);
    victim.kill().expect("killed");
    assert_eq!(victim.join().expect("reaped"), ExitStatus::Signaled(libc::SIGKILL));
    let before = (queue.counters(), processor_time());
    queue.recover().expect("repaired");
    let after = (queue.counters(), processor_time());
    assert_eq!(after.0.repairs - before.0.repairs, 1);
    assert_eq!(after.0.redelivered - before.0.redelivered, HELD);
    after.1 - before.1
}

/// Nanoseconds that this process has spent on a processor.
fn processor_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
