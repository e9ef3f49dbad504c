//! Loom models of the cursors: every interleaving of two or three threads with at most three preemptions, under the
//! C++ memory model; the items are loom cells, so an unordered access is an error.

use crate::atomic::{AtomicU64, Ordering, Vanish, explore};
use crate::os::barrier;
use crate::os::clock::Deadline;
use crate::queue::ring::Refusal;
use crate::queue::spsc::cursors::{Cursors, Reader, Writer};
use crate::wait::eventcount::EventCount;
use loom::cell::UnsafeCell;
use loom::sync::Arc;

/// A ring on the heap, of items of one byte's position each.
struct Heap {
    tail: AtomicU64,
    head: AtomicU64,
    claimed: AtomicU64,
    times: AtomicU64,
    held: AtomicU64,
    end: AtomicU64,
    items: EventCount,
    space: EventCount,
    cells: Vec<UnsafeCell<u64>>,
    /// In place of the cells, where a reader may be overtaken.
    words: Vec<AtomicU64>,
    limit: u64,
}

// SAFETY: a cell is touched by the one whose cursors say so, which loom checks.
unsafe impl Sync for Heap {}

impl Heap {
    fn new(limit: u64, whole: u64) -> Arc<Self> {
        Arc::new(Self {
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            claimed: AtomicU64::new(0),
            times: AtomicU64::new(0),
            held: AtomicU64::new(0),
            end: AtomicU64::new(0),
            items: EventCount::new(),
            space: EventCount::new(),
            cells: (0..limit).map(|_| UnsafeCell::new(0)).collect(),
            words: (0..whole).map(|_| AtomicU64::new(0)).collect(),
            limit,
        })
    }

    fn cursors(&self) -> Cursors<'_> {
        Cursors {
            tail: &self.tail,
            head: &self.head,
            claimed: &self.claimed,
            times: &self.times,
            held: &self.held,
            end: &self.end,
            items: &self.items,
            space: &self.space,
            limit: self.limit,
            whole: self.words.len() as u64,
        }
    }

    fn cell(&self, position: u64) -> &UnsafeCell<u64> {
        &self.cells[(position % self.limit) as usize]
    }

    fn word(&self, position: u64) -> &AtomicU64 {
        &self.words[(position % self.words.len() as u64) as usize]
    }

    fn push(&self, writer: &mut Writer, value: u64) -> Result<(), Refusal> {
        if writer.room() < 1 && !writer.glance(&self.head, &self.items, 1) {
            writer.look(self.cursors(), 1)?;
        }
        self.cell(writer.tail()).with_mut(|cell| {
            // SAFETY: the room is the writer's.
            unsafe { *cell = value }
        });
        self.commit(writer)
    }

    fn commit(&self, writer: &mut Writer) -> Result<(), Refusal> {
        if writer.commit(&self.tail, &self.items, 1) {
            writer.settle(self.cursors(), 1)?;
        }
        Ok(())
    }

    fn front(&self, reader: &mut Reader) -> Result<u64, Refusal> {
        if reader.available() == 0 && !reader.glance(&self.tail, &self.items, 1) {
            reader.look(self.cursors())?;
        }
        Ok(self.cell(reader.head()).with(|cell| {
            // SAFETY: the item is the reader's.
            unsafe { *cell }
        }))
    }

    fn pop(&self, reader: &mut Reader) -> Result<u64, Refusal> {
        let value = self.front(reader)?;
        reader.consume(&self.head, &self.space, 1);
        Ok(value)
    }

    fn writer(&self) -> Writer {
        Writer::start(self.cursors())
    }

    fn reader(&self) -> Reader {
        Reader::start(self.cursors(), false).unwrap().0
    }

    fn overwrite(&self, writer: &mut Writer, value: u64) -> Result<u64, Refusal> {
        let length = |_| Some(1);
        let before = writer.make_room(self.cursors(), 1, length)?;
        self.word(writer.tail()).store(value, Ordering::Relaxed);
        self.commit(writer)?;
        Ok(before + writer.overwrite(self.cursors(), self.limit, length)?)
    }

    fn pop_overwritten(&self, reader: &mut Reader) -> Result<u64, Refusal> {
        loop {
            reader.catch_up(self.cursors());
            let head = reader.head();
            match Reader::look(reader, self.cursors()) {
                Err(Refusal::Corrupt) if reader.is_overtaken(self.cursors()) => continue,
                other => other?,
            };
            let value = self.word(head).load(Ordering::Relaxed);
            if !reader.is_overtaken(self.cursors()) {
                assert_eq!(value, 10 * (head + 1), "not the item at {head}");
            }
            if reader.try_consume(self.cursors(), 1) {
                return Ok(value);
            }
        }
    }
}

#[test]
fn items_come_once_in_order_and_whole() {
    explore(3, || {
        let heap = Heap::new(1, 1);
        let other = Arc::clone(&heap);
        let thread = loom::thread::spawn(move || {
            let mut reader = other.reader();
            let got: Vec<u64> =
                [other.pop(&mut reader), other.pop(&mut reader)].into_iter().flatten().collect();
            (reader, got)
        });
        let mut writer = heap.writer();
        let first = heap.push(&mut writer, 10);
        let second = heap.push(&mut writer, 20);
        let (mut reader, mut got) = thread.join().unwrap();
        assert_eq!(first, Ok(()));
        got.extend(heap.pop(&mut reader));
        got.extend(heap.pop(&mut reader));
        assert_eq!(got, if second.is_ok() { vec![10, 20] } else { vec![10] });
    });
}

/// Both sides sleep; a lost wake-up is a deadlock here.
#[test]
fn a_quiet_notification_wakes_who_sleeps() {
    explore(3, || {
        let heap = Heap::new(1, 1);
        let other = Arc::clone(&heap);
        fn wait<T>(event: &EventCount, mut attempt: impl FnMut() -> Result<T, Refusal>) -> T {
            loop {
                if let Ok(done) = attempt() {
                    return done;
                }
                let seen = event.announce();
                barrier::heavy();
                if let Ok(done) = attempt() {
                    return done;
                }
                event.sleep(seen, Deadline::FOREVER);
            }
        }
        let thread = loom::thread::spawn(move || {
            let mut writer = other.writer();
            other.push(&mut writer, 10).unwrap();
        });
        let mut reader = heap.reader();
        assert_eq!(wait(&heap.items, || heap.pop(&mut reader)), 10);
        thread.join().unwrap();
    });
}

/// Of a push and a close at the same time, both sides know the same.
#[test]
fn an_item_is_in_exactly_if_its_push_said_so() {
    explore(3, || {
        let heap = Heap::new(2, 2);
        let (other, closer) = (Arc::clone(&heap), Arc::clone(&heap));
        let thread = loom::thread::spawn(move || {
            let mut writer = other.writer();
            (other.push(&mut writer, 10), other.push(&mut writer, 20))
        });
        let closing = loom::thread::spawn(move || closer.cursors().close());
        let mut reader = heap.reader();
        let mut got = Vec::new();
        let before = heap.pop(&mut reader);
        got.extend(before);
        let pushed = thread.join().unwrap();
        closing.join().unwrap();
        if before == Err(Refusal::Closed) {
            assert_eq!(pushed, (Err(Refusal::Closed), Err(Refusal::Closed)));
        }
        let last = loop {
            match heap.pop(&mut reader) {
                Ok(value) => got.push(value),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(last, Refusal::Closed);
        let wanted: &[u64] = match pushed {
            (Ok(()), Ok(())) => &[10, 20],
            (Ok(()), Err(Refusal::Closed)) => &[10],
            (Err(Refusal::Closed), Err(Refusal::Closed)) => &[],
            other => panic!("{other:?}"),
        };
        assert_eq!(got, wanted);
    });
}

/// The closer vanishes before it decides: writer and reader decide, and agree.
#[test]
fn a_close_that_was_only_begun_is_finished_by_who_sees_it() {
    explore(3, || {
        let heap = Heap::new(1, 1);
        heap.items.raise_flag();
        let other = Arc::clone(&heap);
        let thread = loom::thread::spawn(move || {
            let mut writer = other.writer();
            other.push(&mut writer, 10)
        });
        let mut reader = heap.reader();
        let got = heap.pop(&mut reader);
        let pushed = thread.join().unwrap();
        match got {
            Ok(10) => assert_eq!(pushed, Ok(())),
            Err(Refusal::Closed) => assert_eq!(pushed, Err(Refusal::Closed)),
            Err(Refusal::Empty) => {
                let next = heap.pop(&mut reader);
                assert_eq!(next, pushed.map(|()| 10));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(heap.pop(&mut reader), Err(Refusal::Closed));
    });
}

/// A reader that is overtaken gets whole items in order, and those that it does not get were counted as overwritten.
#[test]
fn what_is_overwritten_is_not_read() {
    explore(3, || {
        let heap = Heap::new(1, 2);
        assert_eq!(heap.overwrite(&mut heap.writer(), 10), Ok(0));
        let other = Arc::clone(&heap);
        let thread = loom::thread::spawn(move || {
            let mut writer = other.writer();
            (2..=3).map(|value| other.overwrite(&mut writer, value * 10).unwrap()).sum::<u64>()
        });
        let mut reader = heap.reader();
        let mut got = Vec::new();
        got.extend(heap.pop_overwritten(&mut reader));
        let overwritten = thread.join().unwrap();
        while let Ok(value) = heap.pop_overwritten(&mut reader) {
            got.push(value);
        }
        assert!(got.is_sorted() && got.iter().all(|value| [10, 20, 30].contains(value)), "{got:?}");
        assert_eq!(got.last(), Some(&30));
        assert_eq!(got.len() as u64 + overwritten, 3);
    });
}

/// The reader vanishes with a claim, while the writer goes on: the next reader gets all, and knows.
#[test]
fn a_claim_of_a_vanished_reader_comes_again() {
    explore(3, || {
        let heap = Heap::new(2, 2);
        heap.push(&mut heap.writer(), 10).unwrap();
        let mut vanishing = heap.reader();
        assert_eq!(heap.front(&mut vanishing), Ok(10));
        assert_eq!(vanishing.claim(heap.cursors(), 1), 1);
        let other = Arc::clone(&heap);
        let thread = loom::thread::spawn(move || {
            let mut writer = other.writer();
            other.push(&mut writer, 20)
        });
        let mut reader = heap.reader();
        assert_eq!(heap.front(&mut reader), Ok(10));
        assert_eq!(reader.handed_out(heap.cursors()), 1);
        assert_eq!(reader.claim(heap.cursors(), 1), 2);
        reader.consume(&heap.head, &heap.space, 1);
        thread.join().unwrap().unwrap();
        assert_eq!(heap.front(&mut reader), Ok(20));
        assert_eq!(reader.handed_out(heap.cursors()), 0);
    });
}

/// The writer dies while it pushes two items; a successor pushes a third.
#[test]
fn a_push_is_done_or_not_whenever_its_writer_dies() {
    Vanish::at_every_step(3, |vanish| {
        let heap = Heap::new(2, 2);
        let other = Arc::clone(&heap);
        let thread = loom::thread::spawn(move || {
            let mut reader = other.reader();
            let got: Vec<u64> = other.pop(&mut reader).into_iter().collect();
            (reader, got)
        });
        let pushed = std::cell::Cell::new(0);
        vanish.at(|| {
            let mut writer = heap.writer();
            for value in [10, 20] {
                heap.push(&mut writer, value).unwrap();
                pushed.set(pushed.get() + 1);
            }
        });
        let pushed = pushed.get();
        let (mut reader, mut got) = thread.join().unwrap();
        got.extend(heap.pop(&mut reader));
        heap.push(&mut heap.writer(), 30).unwrap();
        got.extend(std::iter::from_fn(|| heap.pop(&mut reader).ok()));
        assert_eq!(got.pop(), Some(30));
        assert!([10, 20].starts_with(&got) && got.len() >= pushed, "{got:?}, {pushed} were pushed");
    });
}

/// The reader dies while it pops two items, of which it has claimed the first; a successor reads on.
#[test]
fn an_item_comes_again_unless_its_reader_was_done_with_it() {
    Vanish::at_every_step(3, |vanish| {
        let heap = Heap::new(2, 2);
        let mut writer = heap.writer();
        heap.push(&mut writer, 10).unwrap();
        heap.push(&mut writer, 20).unwrap();
        let other = Arc::clone(&heap);
        let thread = loom::thread::spawn(move || other.push(&mut writer, 30));
        let (seen, popped) = (std::cell::Cell::new(false), std::cell::Cell::new(0));
        vanish.at(|| {
            let mut reader = heap.reader();
            assert_eq!(heap.front(&mut reader), Ok(10));
            reader.claim(heap.cursors(), 1);
            seen.set(true);
            reader.consume(&heap.head, &heap.space, 1);
            popped.set(1);
            assert_eq!(heap.pop(&mut reader), Ok(20));
            popped.set(2);
        });
        let (seen, popped) = (seen.get(), popped.get());
        let pushed = thread.join().unwrap();
        let mut reader = heap.reader();
        if heap.front(&mut reader) == Ok(10) && seen {
            assert_eq!(reader.handed_out(heap.cursors()), 1, "handed out, and not marked");
        }
        let mut got: Vec<u64> = std::iter::from_fn(|| heap.pop(&mut reader).ok()).collect();
        if pushed.is_ok() {
            assert_eq!(got.pop(), Some(30));
        }
        // What it was done with is gone; the one that it was just taking may be.
        let gone = 2 - got.len();
        let fine = [10, 20].ends_with(&got) && (popped..=popped + 1).contains(&gone);
        assert!(fine, "{got:?} after {popped}");
    });
}

/// The closer dies while the writer pushes: whoever sees the flag decides, and all agree.
#[test]
fn a_close_is_decided_once_whenever_the_closer_dies() {
    Vanish::at_every_step(2, |vanish| {
        let heap = Heap::new(2, 2);
        let (other, closer, vanish) = (Arc::clone(&heap), Arc::clone(&heap), vanish.clone());
        let closing = loom::thread::spawn(move || vanish.at(|| closer.cursors().close()));
        let thread = loom::thread::spawn(move || other.push(&mut other.writer(), 10));
        let closed = closing.join().unwrap().is_some();
        let mut reader = heap.reader();
        let first = heap.pop(&mut reader);
        let pushed = thread.join().unwrap();
        let second = heap.pop(&mut reader);
        let got: Vec<u64> = first.into_iter().chain(second).collect();
        assert_eq!(got, if pushed.is_ok() { vec![10] } else { vec![] });
        assert!(!closed || heap.pop(&mut reader) == Err(Refusal::Closed));
    });
}

/// The writer dies while it overwrites, and a reader may be overtaken by it; a successor goes on.
#[test]
fn an_overwriting_push_is_done_or_not_whenever_its_writer_dies() {
    Vanish::at_every_step(2, |vanish| {
        let heap = Heap::new(1, 2);
        assert_eq!(heap.overwrite(&mut heap.writer(), 10), Ok(0));
        let (other, vanish) = (Arc::clone(&heap), vanish.clone());
        let thread = loom::thread::spawn(move || {
            vanish.at(|| other.overwrite(&mut other.writer(), 20).unwrap())
        });
        let mut reader = heap.reader();
        let mut got: Vec<u64> = heap.pop_overwritten(&mut reader).into_iter().collect();
        let done = thread.join().unwrap();
        // Each item tells its position.
        let last = 10 * (heap.writer().tail() + 1);
        heap.overwrite(&mut heap.writer(), last).unwrap();
        got.extend(std::iter::from_fn(|| heap.pop_overwritten(&mut reader).ok()));
        assert_eq!(got.pop(), Some(last));
        let fine = [&[][..], &[10], &[20], &[10, 20]].contains(&&got[..]);
        assert!(fine, "{got:?} after {done:?}");
    });
}
