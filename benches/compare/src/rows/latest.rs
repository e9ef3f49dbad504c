//! Reading a value of 4 KiB while the other core writes it, against copying 4 KiB that the other core is writing.

use crate::measure::{Row, Unit, Work, sides};
use crate::shared::Shared;
use crate::{Result, cpu, crew};
use mpshm::{Latest, LatestOptions};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

type Page = [u64; 512];

/// Copies that are whole, against copies that may be torn.
pub fn against_memcpy() -> Row {
    Row {
        id: "latest_4k_vs_memcpy",
        unit: Unit::MillionsPerSecond,
        peer_name: "limit: memcpy of what the other core writes",
        target: 0.8,
        work: Work::Grains(1000),
        prepare: sides(
            |work| {
                // One more reader: the one that is made here is another in the child.
                let options = LatestOptions::new().readers(2).writers(1);
                let latest = Latest::<Page>::with_options(&options)?;
                let mut reader = latest.reader()?;
                let mut last = 0;
                read(
                    work,
                    |number| drop(latest.store(&std::hint::black_box([number; 512]))),
                    move || {
                        let page = reader.load().expect("a value");
                        std::hint::black_box(&page);
                        assert!(page[0] == page[511] && page[0] >= last, "torn, or gone back");
                        last = page[0];
                        page[0]
                    },
                )
            },
            Ok(|work| {
                let bare = Shared::new(Bare(UnsafeCell::new([0; 512])))?;
                read(
                    work,
                    |number| {
                        let page = std::hint::black_box([number; 512]);
                        // SAFETY: bytes that the reader may see half written.
                        unsafe { bare.0.get().copy_from_nonoverlapping(&page, 1) };
                    },
                    || {
                        let mut page = [0; 512];
                        // SAFETY: plain bytes, whatever they are by now.
                        unsafe { bare.0.get().copy_to_nonoverlapping(&mut page, 1) };
                        std::hint::black_box(&page)[0]
                    },
                )
            }),
        ),
    }
}

#[repr(align(128))]
struct Bare(UnsafeCell<Page>);
// SAFETY: plain bytes that are read and written as such.
unsafe impl Sync for Bare {}

/// Reads `work` times in one process, while another writes numbers until that is done.
fn read(work: u64, write: impl Fn(u64), read: impl FnMut() -> u64) -> Result<f64> {
    let (first, second) = cpu::pair();
    let done = Shared::new(AtomicBool::new(false))?;
    let read = std::cell::RefCell::new(read);
    let round = crew::processes(&[first, second], |gate| {
        gate.pass();
        if gate.index == 0 {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                write(number);
            }
            return number;
        }
        let mut read = read.borrow_mut();
        let mut different = 0;
        let mut last = 0;
        for _ in 0..work {
            let found = read();
            different += u64::from(found != last);
            last = found;
        }
        done.store(true, Ordering::Relaxed);
        different
    })?;
    let [written, different] = round.values[..] else { return Err("two members".into()) };
    if different < work.min(written) / 100 {
        return Err(format!("{different} values were seen of {written}, in {work} reads").into());
    }
    Ok(round.seconds)
}
