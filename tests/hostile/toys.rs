//! Planted bugs: objects that trust their bytes. Each must be found, as what it is.

use crate::board::Fault;
use crate::calls::{Bounds, Calls};
use crate::crew::{self, Outcome, Run, Terms};
use crate::damage::Field;
use crate::guard;
use crate::layout::Layout;
use crate::view::View;
use crate::world::{self, Batch, Kind};
use mpshm::{Array, ErrorKind, Segment};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

const WORDS: usize = 8;

/// Words in a segment, reached as a careless library would.
pub struct Words {
    view: View,
    at: usize,
    length: usize,
}

impl Words {
    /// A pointer to word `index`, whatever that is.
    fn word(&self, index: u64) -> *mut u64 {
        let first = self.view.memory().0.cast_mut().wrapping_add(self.at).cast::<u64>();
        first.wrapping_add(index as usize)
    }

    fn read(&self, index: u64) -> u64 {
        // SAFETY: none: that is the bug. Behind the objects' end are guards.
        unsafe { self.word(index).read_volatile() }
    }
}

/// What is wrong with a toy.
pub trait Bug: 'static {
    const NAME: &'static str;
    fn call(words: &Words);
    /// When it is opened.
    fn open(_segment: &Segment) {}
}

pub struct Toy<B>(PhantomData<B>);

impl<B: Bug> Kind for Toy<B> {
    const NAME: &'static str = B::NAME;
    type Handle = Words;
    const STATES: usize = 1;

    fn create(segment: &Segment) -> Words {
        drop(Array::<u64>::create(segment.at("toy"), WORDS).expect("an array"));
        Self::open(segment).expect("the array")
    }

    fn open(segment: &Segment) -> Result<Words, ErrorKind> {
        B::open(segment);
        let view = View::of(segment, segment.size() as usize);
        // SAFETY: the mapping, which nobody writes at this moment.
        let image = unsafe { std::slice::from_raw_parts(view.memory().0, view.memory().1) };
        let found = image.windows(3).position(|name| name == b"toy").expect("its entry");
        let lines = u64::from_ne_bytes(image[found - 48..found - 40].try_into().unwrap());
        let arena = u64::from_ne_bytes(image[88..96].try_into().unwrap());
        let at = arena as usize + 128 * lines as usize + 128;
        Ok(Words { view, at, length: segment.size() as usize })
    }

    fn prepare(_words: &Words, _peer: &Words, _state: usize) {}

    fn fields(_image: &[u8], layout: &Layout) -> Vec<Field> {
        let first = layout.objects["toy"].start + 128;
        (0..WORDS).map(|word| Field::new("word", first + 8 * word, 8)).collect()
    }

    fn operate(words: &Words, calls: &mut Calls) {
        calls.info(B::NAME, || B::call(words));
    }
}

struct ReadsPastTheEnd;

impl Bug for ReadsPastTheEnd {
    const NAME: &'static str = "toy: an index is not checked";

    fn call(words: &Words) {
        let index = words.read(0);
        // What 32 bits reach: the guards' room.
        words.read(index & 0xffff_ffff);
    }
}

struct NeverEnds;

impl Bug for NeverEnds {
    const NAME: &'static str = "toy: a chain of indexes is followed to its end";

    fn call(words: &Words) {
        let mut index = 0;
        while words.read(index) != 0 {
            index = words.read(index) % WORDS as u64;
        }
    }
}

/// Found only while others write.
struct LooksAgain;

impl Bug for LooksAgain {
    const NAME: &'static str = "toy: a look that lasts until nobody writes";

    fn call(words: &Words) {
        let words = || (0..100_000).map(|word| words.read(word % WORDS as u64));
        let look = || words().fold(0u64, |sum, word| sum.wrapping_mul(3).wrapping_add(word));
        let mut before = look();
        loop {
            let after = look();
            if after == before {
                return;
            }
            before = after;
        }
    }
}

struct ComesLate;

impl Bug for ComesLate {
    const NAME: &'static str = "toy: a length says how long to work";

    fn call(words: &Words) {
        if words.read(1) > 1 << 20 {
            std::thread::sleep(2 * LATE);
        }
    }
}

struct WritesElsewhere;

impl Bug for WritesElsewhere {
    const NAME: &'static str = "toy: an index is checked against the segment, not the object";

    fn call(words: &Words) {
        let index = words.read(0).saturating_mul(16);
        let end = index.saturating_mul(8).saturating_add(words.at as u64 + 8);
        if end <= words.length as u64 {
            // SAFETY: inside the mapping; that it may be another object's is the bug.
            unsafe { words.word(index).write_volatile(7) };
        }
    }
}

struct Panics;

impl Bug for Panics {
    const NAME: &'static str = "toy: an index is left to the compiler's check";

    fn call(words: &Words) {
        let few = [1, 2, 3];
        std::hint::black_box(few[words.read(0) as usize]);
    }
}

struct KeepsDescriptors;

impl Bug for KeepsDescriptors {
    const NAME: &'static str = "toy: an error keeps a descriptor";

    fn call(words: &Words) {
        if words.read(0) != 0 {
            // SAFETY: a descriptor that is there.
            unsafe { libc::dup(0) };
        }
    }
}

struct HasNoGuards;

impl Bug for HasNoGuards {
    const NAME: &'static str = "toy: a mapping of which the harness does not know";

    fn call(_words: &Words) {}

    fn open(segment: &Segment) {
        let (length, fd) = (segment.size() as usize, segment.as_fd().as_raw_fd());
        let (access, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: a fresh mapping, which nobody uses.
        unsafe { guard::map_bare(std::ptr::null_mut(), length, access, flags, fd, 0) };
    }
}

const LATE: Duration = Duration::from_millis(150);
const BOUNDS: Bounds = Bounds { late: LATE, busy: Duration::from_millis(3) };
const TERMS: Terms = Terms { children: 1, hang: Duration::from_millis(600), enough: 1 };

/// Runs every toy; says which were not found.
pub fn run(seed: u64) -> Vec<(&'static str, Result<(), String>)> {
    type Expected = fn(Fault) -> bool;
    let toys: [(&str, Run, Expected); 8] = [
        (ReadsPastTheEnd::NAME, world::run::<Toy<ReadsPastTheEnd>>, |fault| {
            fault == Fault::Signal(libc::SIGSEGV)
        }),
        (NeverEnds::NAME, world::run::<Toy<NeverEnds>>, |fault| fault == Fault::Hang),
        (LooksAgain::NAME, world::run::<Toy<LooksAgain>>, |fault| fault == Fault::Hang),
        (ComesLate::NAME, world::run::<Toy<ComesLate>>, |fault| fault == Fault::Hang),
        (WritesElsewhere::NAME, world::run::<Toy<WritesElsewhere>>, |fault| {
            fault == Fault::Overwritten
        }),
        (Panics::NAME, world::run::<Toy<Panics>>, |fault| fault == Fault::Panic),
        (KeepsDescriptors::NAME, world::run::<Toy<KeepsDescriptors>>, |fault| fault == Fault::Leak),
        (HasNoGuards::NAME, world::run::<Toy<HasNoGuards>>, |fault| fault == Fault::Unguarded),
    ];
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    toys.into_iter()
        .filter(|toy| {
            let possible = cpus > 1 || toy.0 != LooksAgain::NAME;
            if !possible {
                println!(
                    "skipped: {}: with one processor nobody writes while another looks",
                    toy.0
                );
            }
            possible
        })
        .map(|(name, run, expected)| {
            let batch = |flush| Batch {
                seed,
                mutations: (0..200).collect(),
                storms: name == LooksAgain::NAME,
                flush,
                only: None,
                show: None,
                bounds: BOUNDS,
            };
            let batches = [false, true].map(|flush| (0, batch(flush))).to_vec();
            let mut outcomes = [Outcome::default()];
            crew::work(&[run], batches, TERMS, &mut outcomes);
            (name, verdict(&outcomes[0], expected))
        })
        .collect()
}

fn verdict(outcome: &Outcome, expected: fn(Fault) -> bool) -> Result<(), String> {
    match outcome.failures.first() {
        Some(failure) if expected(failure.fault) => Ok(()),
        Some(other) => Err(format!("found as something else: {other:?}")),
        None => Err("not found".to_owned()),
    }
}
