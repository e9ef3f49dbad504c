//! What may be sent to another thread, and used by several at once, is what the README's table says.

use mpshm::*;
use std::marker::PhantomData;

/// Whether a type implements a trait: an inherent constant goes before a trait's.
macro_rules! is {
    ($type:ty: $trait:ident) => {{
        struct Probe<T: ?Sized>(PhantomData<T>);
        #[allow(dead_code)]
        trait Otherwise {
            const YES: bool = false;
        }
        impl<T: ?Sized> Otherwise for Probe<T> {}
        #[allow(dead_code)]
        impl<T: ?Sized + $trait> Probe<T> {
            const YES: bool = true;
        }
        <Probe<$type>>::YES
    }};
}

macro_rules! table {
    ($($name:literal: $type:ty),* $(,)?) => {
        &[$(($name, is!($type: Send), is!($type: Sync))),*]
    };
}

const TYPES: &[(&str, bool, bool)] = table![
    "Array": Array<f64>,
    "Barrier": Barrier,
    "Canceller": Canceller,
    "Condvar": Condvar,
    "Consumer": Consumer<u64>,
    "Event": Event,
    "EventFd": EventFd,
    "FnPool": FnPool<u64, u64>,
    "Latch": Latch,
    "Latest": Latest<[f64; 4]>,
    "LatestReader": LatestReader<[f64; 4]>,
    "Mutex": Mutex<u64>,
    "MutexGuard": MutexGuard<'static, u64>,
    "Newer": Newer,
    "Once": Once,
    "Participant": Participant,
    "Parent": Parent,
    "Permit": Permit<'static>,
    "Pool": Pool,
    "Process": Process,
    "Producer": Producer<u64>,
    "Queue": Queue<u64>,
    "ReadGuard": ReadGuard<'static, u64>,
    "Readable": Readable,
    "RingConsumer": RingConsumer<u64>,
    "RingProducer": RingProducer<u64>,
    "RwLock": RwLock<u64>,
    "Segment": Segment,
    "Semaphore": Semaphore,
    "Value": Value<i64>,
    "Writable": Writable,
    "WriteGuard": WriteGuard<'static, u64>,
];

#[test]
fn the_readme_says_what_the_compiler_says() {
    let readme = include_str!("../README.md");
    let section = readme.split_once("## Threads").expect("a section on threads").1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    for &(name, send, sync) in TYPES {
        let word = format!("`{name}`");
        let row = section.lines().find(|line| line.starts_with('|') && line.contains(&word));
        let row = row.unwrap_or_else(|| panic!("{name} is in no row"));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let yes = |cell: &str| cell.starts_with("yes");
        assert_eq!((yes(cells[2]), yes(cells[3])), (send, sync), "Send and Sync of {name}");
    }
}
