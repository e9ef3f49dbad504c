//! The words of a read-write lock: who reads, and who waits to write.
//!
//! # Overview
//! Writers exclude each other by a [`RawMutex`]. Each participant has a word on a line of its own in which its readers are
//! counted: a reader counts itself and then looks at the writers' word; a writer takes that word and then looks at all
//! counts. One of the two sees the other. A reader that meets a writer takes its count back and queues for the writers'
//! word: it takes it, counts itself, and gives it back, so that neither side starves the other.
//!
//! # Layout
//! | bits of a participant's word | what |
//! |---|---|
//! | 0–15 | how many of its threads read |
//! | 16–63 | its generation: a count of another generation is a dead one's, and void |
//!
//! No participant from slot `used` on has ever read. The writers' word is held by a writer that waits or writes, or, with
//! its READER flag, by a reader that passes through.
//!
//! # Invariants
//! - I1. A reader is in only while it is counted. It was counted before its look at the writers' word, which was
//!   then nobody's or a passing reader's; or while it held that word itself.
//! - I2. A writer is in only while it holds the writers' word, and after each count was 0, or proven a dead one's, once since
//!   it took it.
//!
//! # Ordering edges
//! - E1. Count, then look (reader); take, then look (writer): the count is a SeqCst read-modify-write and the look a
//!   SeqCst load; between the writer's two stands a SeqCst fence.
//! - E2. Counting down is Release, and the writer's look at the count Acquire: what was read was read before it is written.
//!   What was written is seen by way of the writers' word (its edge E1), passing readers included.
//! - E3. Counting down is SeqCst and stands before the look at the event count, as that one demands.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | reader, counted | its count | a writer, before it sleeps and after each slice; nothing is in doubt |
//! | reader that passes through | the writers' word, with READER | the next writer, or a reader in its queue; nothing is in doubt |
//! | writer, waiting or in | the writers' word | the next one to come: `OwnerDead`, for readers too until a writer swears |
//! | reader, between counting down and waking | a writer asleep | the writer, after its slice |
//!
//! # Progress
//! Blocking by nature: a stopped reader keeps writers out, a stopped writer everybody. A stopped reader never keeps readers
//! out. The `try` forms never wait.
//!
//! # Source
//! Readers on lines of their own: Mellor-Crummey and Scott's and Linux's big-reader locks; counts that know their dead, ours.

use crate::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::error::{Error, ErrorKind};
use crate::layout::offset::Shared;
use crate::os::clock::Deadline;
use crate::segment::participant::Me;
use crate::sync::lock_error::LockError;
use crate::sync::raw_mutex::{Doubt, Locked, Mark, Peek, RawMutex};
use crate::wait::eventcount::{EventCount, GaveUp, Look, SLICE, Spin, wait_for};

const COUNT: u64 = 0xffff;
const GENERATION_SHIFT: u32 = 16;
/// How often a word is tried to be changed while others keep changing it.
const TRIES: u32 = 1000;

/// The head of a read-write lock as it lies in a segment; the lines follow.
#[repr(C, align(128))]
pub(crate) struct Head {
    pub writers: RawMutex,
    /// A writer that waits for readers sleeps here.
    event: EventCount,
    /// See the module's layout. Only grows; by readers.
    used: AtomicU32,
}
// SAFETY: atomics only; the rest of the line is never read.
unsafe impl Shared for Head {}

/// One participant's readers.
#[repr(C, align(128))]
pub(crate) struct Line {
    /// See the module's layout. By that participant, and by a writer when it is dead.
    word: AtomicU64,
}
// SAFETY: an atomic; the rest of the line is never read.
unsafe impl Shared for Line {}

/// The words of one lock.
#[derive(Clone, Copy)]
pub(crate) struct Readers<'a> {
    pub head: &'a Head,
    pub lines: &'a [Line],
}

type Got = Result<Locked, LockError<()>>;

impl Readers<'_> {
    /// Counts a reader.
    #[inline]
    fn enter(self, me: Me) -> Result<(), LockError<()>> {
        let Some(line) = self.lines.get(me.slot as usize) else {
            return Err(LockError::Failed(Error::new(
                ErrorKind::Corrupt,
                format!("participant {} of a lock for {}", me.slot, self.lines.len()),
            )));
        };
        let mut seen = line.word.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let next =
                if seen >> GENERATION_SHIFT == me.generation { seen + 1 } else { self.begin(me) };
            if next & COUNT == 0 {
                return Err(LockError::Failed(Error::new(
                    ErrorKind::Limit,
                    format!("this process reads {COUNT} times at once already"),
                )));
            }
            // E1: pairs with the fence in `write`.
            match line.word.compare_exchange(seen, next, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    #[cfg(loom)]
                    fence(Ordering::SeqCst); // loom does not know SeqCst accesses; see E1
                    return Ok(());
                }
                Err(now) => seen = now,
            }
        }
        Err(LockError::Busy) // this process's other threads, or hostile ones, were faster every time
    }

    /// The first word of a participant, instead of what a predecessor left.
    #[cold]
    fn begin(self, me: Me) -> u64 {
        self.head.used.fetch_max(me.slot + 1, Ordering::SeqCst); // E1: before the count
        me.generation << GENERATION_SHIFT | 1
    }

    /// Takes a reader's count back.
    #[inline]
    pub(crate) fn leave(self, me: Me) {
        if let Some(line) = self.lines.get(me.slot as usize) {
            line.word.fetch_sub(1, Ordering::SeqCst); // E2, E3
            self.head.event.notify(1);
        }
    }

    /// Reads if that takes no waiting; `again` = this thread reads already.
    #[inline]
    pub(crate) fn try_read(
        self,
        me: Me,
        again: bool,
        is_over: impl Fn(u32, u64, Doubt) -> bool,
    ) -> Got {
        match self.look(me, again) {
            Err(LockError::Busy) => self.pass(self.head.writers.try_lock(reader(me), is_over), me),
            settled => settled,
        }
    }

    /// Reads, waiting until `deadline`.
    #[inline]
    pub(crate) fn read(
        self,
        me: Me,
        again: bool,
        deadline: Deadline,
        is_over: impl Fn(u32, u64, Doubt) -> bool,
    ) -> Got {
        match self.look(me, again) {
            Err(LockError::Busy) => self.queue(me, deadline, is_over),
            settled => settled,
        }
    }

    /// Is counted, and goes in if no writer is in the way.
    #[inline]
    fn look(self, me: Me, again: bool) -> Got {
        self.enter(me)?;
        // SeqCst: E1, pairs with the writer that takes the word.
        let refused = match self.head.writers.peek(Mark::from(me)) {
            Peek::Open => return Ok(Locked::Sound),
            Peek::OpenInDoubt => return Ok(Locked::OwnerDead),
            // A writer waits for this very thread.
            Peek::Taken if again => return Ok(Locked::Sound),
            Peek::Lost => LockError::NotRecoverable,
            Peek::Mine => LockError::Deadlock,
            Peek::Taken => LockError::Busy,
        };
        self.leave(me);
        Err(refused)
    }

    #[cold]
    fn queue(self, me: Me, deadline: Deadline, is_over: impl Fn(u32, u64, Doubt) -> bool) -> Got {
        loop {
            // By slices, for a passing reader that is stopped keeps the word, but nobody out.
            let slice = if cfg!(loom) { deadline } else { deadline.at_most(SLICE) };
            let locked = self.head.writers.lock(reader(me), slice, &is_over);
            match self.pass(locked, me) {
                Err(LockError::TimedOut) if !deadline.has_passed() => {}
                settled => return settled,
            }
            match self.look(me, false) {
                Err(LockError::Busy) => {}
                settled => return settled,
            }
        }
    }

    /// Who has got the writers' word to read is counted, and gives it back.
    fn pass(self, locked: Got, me: Me) -> Got {
        let locked = locked?;
        let entered = self.enter(me);
        self.head.writers.hand_on_doubt();
        entered.map(|()| locked)
    }

    /// Takes the lock to write, if that takes no waiting.
    pub(crate) fn try_write(self, me: Me, is_over: impl Fn(u32, u64, Doubt) -> bool) -> Got {
        let locked = self.head.writers.try_lock(Mark::from(me), &is_over)?;
        fence(Ordering::SeqCst); // E1: pairs with the count in `enter`
        if self.is_empty(Look::DeathsIfDue, &is_over) {
            return Ok(locked);
        }
        self.head.writers.hand_on_doubt();
        Err(LockError::Busy)
    }

    /// Takes the lock to write, waiting until `deadline`.
    pub(crate) fn write(
        self,
        me: Me,
        deadline: Deadline,
        is_over: impl Fn(u32, u64, Doubt) -> bool,
    ) -> Got {
        let locked = self.head.writers.lock(Mark::from(me), deadline, &is_over)?;
        fence(Ordering::SeqCst); // E1: pairs with the count in `enter`
        if self.is_empty(Look::Items, &is_over) {
            return Ok(locked);
        }
        let waited = wait_for(&self.head.event, deadline, &Spin::new(), |look| {
            self.is_empty(look, &is_over).then_some(())
        });
        match waited {
            Ok(()) => Ok(locked),
            Err(gave_up) => {
                self.head.writers.hand_on_doubt();
                Err(match gave_up {
                    GaveUp::TimedOut => LockError::TimedOut,
                    GaveUp::Interrupted => LockError::Interrupted,
                })
            }
        }
    }

    /// I2: whether nobody reads who is not proven dead.
    fn is_empty(self, look: Look, is_over: &impl Fn(u32, u64, Doubt) -> bool) -> bool {
        let doubt = match look {
            Look::Items => Doubt::None,
            Look::DeathsIfDue => Doubt::Some,
            Look::Deaths => Doubt::Much,
        };
        let used = self.head.used.load(Ordering::SeqCst) as usize; // E1
        let lines = &self.lines[..used.min(self.lines.len())];
        (0..).zip(lines).all(|(slot, line)| {
            let seen = line.word.load(Ordering::SeqCst); // E1, E2
            if seen & COUNT == 0 {
                return true;
            }
            let dead = doubt != Doubt::None && is_over(slot, seen >> GENERATION_SHIFT, doubt);
            if dead {
                // Fails when a newcomer has taken the word.
                let _ = line.word.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::SeqCst);
            }
            // A newcomer has looked at the writers' word since, and is on its way out.
            dead && line.word.load(Ordering::SeqCst) & COUNT == 0
        })
    }
}

fn reader(me: Me) -> Mark {
    Mark::from(me).of_a_reader()
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::atomic::{Vanish, explore};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Shared {
        head: Head,
        lines: Vec<Line>,
        /// What the lock guards.
        value: UnsafeCell<u32>,
    }
    // SAFETY: the value is touched under the lock only, which loom checks.
    unsafe impl Sync for Shared {}

    /// The participant that dies, in the models that have one.
    const DEAD: u32 = 2;

    fn me(slot: u32) -> Me {
        Me { slot, generation: 1 }
    }

    fn nobody(_: u32, _: u64, _: Doubt) -> bool {
        false
    }

    fn the_dead(slot: u32, _: u64, _: Doubt) -> bool {
        slot == DEAD
    }

    impl Shared {
        fn new() -> Arc<Self> {
            let head = Head {
                writers: RawMutex::new(),
                event: EventCount::new(),
                used: AtomicU32::new(0),
            };
            let lines = (0..3).map(|_| Line { word: AtomicU64::new(0) }).collect();
            Arc::new(Self { head, lines, value: UnsafeCell::new(0) })
        }

        fn readers(&self) -> Readers<'_> {
            Readers { head: &self.head, lines: &self.lines }
        }

        fn get(&self) -> u32 {
            // SAFETY: under the lock.
            self.value.with(|value| unsafe { *value })
        }

        fn add(&self) {
            // SAFETY: under the lock, held to write.
            self.value.with_mut(|value| unsafe { *value += 1 });
        }

        fn write(&self, slot: u32) -> Locked {
            let got = self.readers().write(me(slot), Deadline::FOREVER, nobody).unwrap();
            self.add();
            self.head.writers.unlock();
            got
        }

        fn read(&self, slot: u32) -> u32 {
            self.readers().read(me(slot), false, Deadline::FOREVER, nobody).unwrap();
            let seen = self.get();
            self.readers().leave(me(slot));
            seen
        }
    }

    #[test]
    fn a_reader_and_a_writer_keep_each_other_out_and_both_get_in() {
        explore(3, || {
            let shared = Shared::new();
            let other = Arc::clone(&shared);
            let reads = loom::thread::spawn(move || other.read(1));
            shared.write(0);
            let seen = reads.join().unwrap();
            assert!(seen <= 1);
            assert_eq!(shared.read(0), 1);
        });
    }

    #[test]
    fn two_writers_and_a_reader_all_get_in() {
        explore(2, || {
            let shared = Shared::new();
            let (second, third) = (Arc::clone(&shared), Arc::clone(&shared));
            let reads = loom::thread::spawn(move || second.read(1));
            let writes = loom::thread::spawn(move || third.write(2));
            shared.write(0);
            reads.join().unwrap();
            writes.join().unwrap();
            assert_eq!(shared.get(), 2);
        });
    }

    #[test]
    fn two_readers_and_a_writer_all_get_in() {
        explore(2, || {
            let shared = Shared::new();
            let (second, third) = (Arc::clone(&shared), Arc::clone(&shared));
            let reads = loom::thread::spawn(move || second.read(1));
            let reads_too = loom::thread::spawn(move || third.read(2));
            shared.write(0);
            reads.join().unwrap();
            reads_too.join().unwrap();
            assert_eq!(shared.get(), 1);
        });
    }

    /// A reader dies at each step of coming and going: no writer waits for it, and nothing is in doubt.
    #[test]
    fn a_dead_reader_is_in_nobodys_way() {
        Vanish::at_every_step(2, |vanish| {
            let shared = Shared::new();
            let (other, vanish) = (Arc::clone(&shared), vanish.clone());
            let dying = loom::thread::spawn(move || {
                vanish.at(|| {
                    let got = other.readers().read(me(DEAD), false, Deadline::FOREVER, nobody);
                    let seen = got.map(|_| other.get());
                    other.readers().leave(me(DEAD));
                    seen.is_ok()
                })
            });
            // It may meet the writer, and queue behind it.
            if shared.readers().try_write(me(0), nobody).is_ok() {
                shared.add();
                shared.head.writers.unlock();
            }
            dying.join().unwrap();
            let got = shared.readers().write(me(0), Deadline::FOREVER, the_dead);
            assert!(matches!(got, Ok(Locked::Sound)), "a dead reader leaves nothing in doubt");
            shared.head.writers.unlock();
        });
    }

    /// A writer dies at each step of coming and going: whoever comes gets in, and is told when the value may be in doubt, until
    /// one that writes swears.
    #[test]
    fn after_a_dead_writer_all_are_told() {
        Vanish::at_every_step(2, |vanish| {
            let shared = Shared::new();
            let (other, vanish) = (Arc::clone(&shared), vanish.clone());
            let dying = loom::thread::spawn(move || {
                vanish.at(|| {
                    other.readers().write(me(DEAD), Deadline::FOREVER, nobody).unwrap();
                    other.add();
                    other.head.writers.unlock();
                })
            });
            if shared.readers().try_read(me(0), false, nobody).is_ok() {
                assert!(shared.get() <= 1);
                shared.readers().leave(me(0));
            }
            let died = dying.join().unwrap().is_none();
            let read = || {
                let got = shared.readers().read(me(0), false, Deadline::FOREVER, the_dead).unwrap();
                let seen = shared.get();
                shared.readers().leave(me(0));
                (got, seen)
            };
            let (first, seen) = read();
            assert!(died || (first, seen) == (Locked::Sound, 1), "nobody died: {first:?}, {seen}");
            assert_eq!(read(), (first, seen), "until one swears");
            let got = shared.readers().write(me(1), Deadline::FOREVER, the_dead).unwrap();
            assert_eq!(got, first);
            shared.head.writers.mark_consistent();
            shared.head.writers.unlock();
            assert_eq!(read(), (Locked::Sound, seen));
        });
    }
}
