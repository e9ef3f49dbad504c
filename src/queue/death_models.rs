//! Loom models with a death: one participant vanishes, at each of its accesses to shared memory in turn, while another is in
//! the middle of an operation; when it is gone for good it is repaired after, while that other one still goes on.

use crate::atomic::{AtomicU64, Vanish};
use crate::queue::models::Heap;
use crate::queue::ring::{InSlots, Refusal, Ring};
use crate::queue::slot::{AtomicU128, ItemSlots};
use loom::sync::Arc;

/// Participant 1 does `dying` and may vanish in it; participant 2 does `living` meanwhile. Then all that is in the queue.
fn with_a_death<T: Send + 'static>(
    heap: &Arc<Heap>,
    vanish: &Vanish,
    dying: impl FnOnce(&Heap) -> T + Send + 'static,
    living: impl FnOnce(&Heap) -> Vec<u64> + Send + 'static,
) -> (Option<T>, Vec<u64>) {
    let (first, second, vanish) = (Arc::clone(heap), Arc::clone(heap), vanish.clone());
    let dying = loom::thread::spawn(move || vanish.at(|| dying(&first)));
    let living = loom::thread::spawn(move || living(&second));
    let done = dying.join().unwrap();
    if done.is_none() {
        heap.repair();
    }
    let mut got = living.join().unwrap();
    got.extend(heap.drain(2));
    assert!(heap.all_free(), "a block is in nobody's hands");
    (done, got)
}

#[test]
fn a_push_is_done_or_not_whenever_its_producer_dies() {
    Vanish::at_every_step(2, |vanish| {
        let heap = Heap::new(1, 3);
        let (done, got) = with_a_death(
            &heap,
            vanish,
            |heap| heap.push(1, 10),
            |heap| heap.pop(2).into_iter().collect(),
        );
        match done {
            Some(pushed) => assert_eq!(got, pushed.map_or(vec![], |()| vec![10])),
            None => assert!(got.is_empty() || got == [10], "{got:?}"),
        }
        assert_eq!((heap.push(2, 20), heap.pop(2)), (Ok(()), Ok(20)));
    });
}

#[test]
fn an_item_comes_again_unless_its_consumer_was_done_with_it() {
    Vanish::at_every_step(2, |vanish| {
        let heap = Heap::new(2, 4);
        heap.push(2, 10).unwrap();
        let (done, mut got) = with_a_death(
            &heap,
            vanish,
            |heap| heap.pop(1),
            |heap| {
                heap.push(2, 20).unwrap();
                Vec::new()
            },
        );
        got.extend(done.and_then(Result::ok));
        got.sort_unstable();
        assert_eq!(got, [10, 20]);
    });
}

#[test]
fn two_consumers_share_an_item_though_one_dies() {
    Vanish::at_every_step(2, |vanish| {
        let heap = Heap::new(1, 3);
        heap.push(2, 10).unwrap();
        let (done, mut got) = with_a_death(
            &heap,
            vanish,
            |heap| heap.pop(1),
            |heap| heap.pop(2).into_iter().collect(),
        );
        got.extend(done.and_then(Result::ok));
        assert_eq!(got, [10]);
    });
}

#[test]
fn what_is_given_back_is_given_once_whenever_its_consumer_dies() {
    Vanish::at_every_step(2, |vanish| {
        let heap = Heap::new(1, 3);
        heap.push(2, 10).unwrap();
        let (_, got) = with_a_death(
            &heap,
            vanish,
            |heap| {
                let (held, _) = heap.claim(1)?;
                heap.exchange().give_back(held);
                Ok::<(), Refusal>(())
            },
            |heap| heap.pop(2).into_iter().collect(),
        );
        assert_eq!(got, [10]);
    });
}

/// Participant 1 died with a claim and a reservation, and the one who repairs after it dies, too.
#[test]
fn a_repair_is_finished_by_the_next_one() {
    Vanish::at_every_step(2, |vanish| {
        let heap = Heap::new(2, 4);
        heap.push(2, 10).unwrap();
        heap.push(1, 20).unwrap();
        let _vanished = heap.claim(1).unwrap();
        let _too = heap.reserve(1, 99).unwrap();
        let (other, dying) = (Arc::clone(&heap), vanish.clone());
        let repairer = loom::thread::spawn(move || dying.at(|| other.repair()));
        let mut got: Vec<u64> = heap.pop(2).into_iter().collect();
        repairer.join().unwrap();
        heap.repair();
        got.extend(heap.drain(2));
        got.sort_unstable();
        assert_eq!(got, [10, 20]);
        assert!(heap.all_free());
    });
}

#[test]
fn a_queue_is_closed_or_not_whenever_the_closer_dies() {
    Vanish::at_every_step(2, |vanish| {
        let heap = Heap::new(1, 3);
        let (done, got) = with_a_death(
            &heap,
            vanish,
            |heap| heap.exchange().close(),
            |heap| heap.push(2, 10).map_or(vec![], |()| vec![0]),
        );
        let pushed = got.first() == Some(&0);
        let got = &got[usize::from(pushed)..];
        assert_eq!(got, if pushed { &[10][..] } else { &[] });
        let closed = heap.exchange().is_closed().unwrap();
        assert!(closed || done.is_none());
        let again = if closed { Err(Refusal::Closed) } else { Ok(()) };
        assert_eq!(heap.push(2, 20), again);
    });
}

/// Two slots with items in them.
struct Items(AtomicU64, AtomicU64, [AtomicU128; 2]);

impl Items {
    fn new() -> Arc<Self> {
        let slots = [AtomicU128::new(0), AtomicU128::new(0)];
        Arc::new(Self(AtomicU64::new(0), AtomicU64::new(0), slots))
    }

    fn ring(&self) -> Ring<'_, ItemSlots<'_>> {
        Ring { head: &self.0, tail: &self.1, slots: ItemSlots(&self.2), bits: 1 }
    }

    fn push(&self, item: u64) -> Result<(), Refusal> {
        let ring = self.ring();
        ring.commit(ring.tail_hint()?, item, &InSlots)
    }

    fn drain(&self) -> Vec<u64> {
        std::iter::from_fn(|| self.ring().take().ok()).collect()
    }
}

#[test]
fn an_item_in_a_slot_is_pushed_or_not_whenever_its_producer_dies() {
    Vanish::at_every_step(2, |vanish| {
        let items = Items::new();
        let (first, second, vanish) = (Arc::clone(&items), Arc::clone(&items), vanish.clone());
        let dying = loom::thread::spawn(move || vanish.at(|| first.push(10)));
        let living = loom::thread::spawn(move || (second.push(20), second.ring().take()));
        let done = dying.join().unwrap();
        let (pushed, taken) = living.join().unwrap();
        assert_eq!(pushed, Ok(()));
        let mut got: Vec<u64> = taken.into_iter().chain(items.drain()).collect();
        got.sort_unstable();
        assert!(got == [10, 20] || got == [20] && done.is_none(), "{got:?} after {done:?}");
    });
}

#[test]
fn a_consumer_that_dies_takes_one_item_from_the_slots_along_at_most() {
    Vanish::at_every_step(2, |vanish| {
        let items = Items::new();
        items.push(10).unwrap();
        items.push(20).unwrap();
        let (first, second, vanish) = (Arc::clone(&items), Arc::clone(&items), vanish.clone());
        let dying = loom::thread::spawn(move || vanish.at(|| first.ring().take()));
        let living = loom::thread::spawn(move || second.ring().take());
        let done = dying.join().unwrap();
        let mut got: Vec<u64> = living.join().unwrap().into_iter().chain(items.drain()).collect();
        got.extend(done.and_then(Result::ok));
        got.sort_unstable();
        let whole = got == [10, 20];
        assert!(whole || done.is_none() && (got == [10] || got == [20]), "{got:?} after {done:?}");
        items.push(30).unwrap();
        assert_eq!(items.drain(), [30]);
    });
}

#[test]
fn an_overwriting_push_takes_one_item_out_or_none_whenever_its_producer_dies() {
    Vanish::at_every_step(2, |vanish| {
        let items = Items::new();
        items.push(10).unwrap();
        items.push(20).unwrap();
        let (first, second, vanish) = (Arc::clone(&items), Arc::clone(&items), vanish.clone());
        let dying = loom::thread::spawn(move || vanish.at(|| first.ring().overwrite(30)));
        let living = loom::thread::spawn(move || second.ring().take());
        let done = dying.join().unwrap();
        let taken = living.join().unwrap();
        let got: Vec<u64> = taken.into_iter().chain(items.drain()).collect();
        let before = got == [10, 20] && done.is_none();
        let after = got == [20, 30] || got == [10, 20, 30];
        assert!(before || after, "{got:?} after {done:?}");
    });
}
