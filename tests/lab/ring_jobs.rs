//! What a run does with rings.

use super::Jobs;
use super::ring_forms::{LargeItems, Messages, Numbers, RingForm};
use super::ring_model::Kind::{AtMostOnce, Failing, Following, Overwriting};
use super::ring_model::{Op, Role};
use super::ring_pairs::{self, Closing};
use super::ring_wakes::RingWaking;
use super::rings::Ringed;

const EMPTY: usize = 0;
const SOME: usize = 2;
const FULL: usize = 4;

impl Jobs {
    pub fn rings(&mut self) {
        self.ring_sleepers::<Numbers>();
        self.ring_sleepers::<Messages>();
        self.ring_wakes::<Numbers>();
        self.run(RingWaking::<Messages>::new(Op::TryPush, Role::Consumer));
        for items in [EMPTY, SOME] {
            self.run(Closing::<Numbers>::new(items));
            self.run(Closing::<Messages>::new(items));
        }
        self.producers::<Numbers>();
        self.consumers::<Numbers>();
        self.both_ends::<Numbers>();
        self.messages();
        self.large_items();
        self.overwriting_rings::<Numbers>();
        self.overwriting_rings::<Messages>();
        self.run(Ringed::<Messages>::of(Op::Commit, Overwriting, FULL));
        self.run(Ringed::<Messages>::of(Op::Commit, Overwriting, FULL).then_closed());
        self.run(Ringed::<Messages>::of(Op::TryPushAll, Overwriting, FULL));
        self.run(Ringed::<Messages>::of(Op::TryPushAll, Overwriting, SOME).then_closed());
        self.policies::<Numbers>();
        self.policies::<Messages>();
    }

    /// Who takes over dies too.
    pub fn heirs_of_rings(&mut self) {
        let new = |op, items| Ringed::<Numbers>::new(op, items).everywhere();
        let of = |op, kind, items| Ringed::<Numbers>::of(op, kind, items).everywhere();
        self.after(new(Op::TryPush, SOME));
        self.after(new(Op::TryPop, SOME));
        self.after(new(Op::TryClaim, SOME));
        self.after(new(Op::ReleasePart, FULL).again());
        self.after(new(Op::TryPop, SOME).first_use());
        self.after(new(Op::Leave, SOME).by(Role::Producer));
        self.after(new(Op::Close, SOME));
        self.after(of(Op::TryPush, Overwriting, FULL));
        self.after(of(Op::TryClaim, AtMostOnce, SOME));
        self.after(of(Op::TryPop, AtMostOnce, SOME).inherited().again());
        self.after(Ringed::<Messages>::new(Op::TryClaim, SOME));
        self.after(Ringed::<Messages>::of(Op::TryPush, Overwriting, FULL));
    }

    fn after<F: RingForm>(&mut self, first: Ringed<F>) {
        self.0.push(Box::new(move |lab| ring_pairs::run(lab, &first)));
    }

    /// Sleepers, whom somebody was about to wake.
    fn ring_wakes<F: RingForm>(&mut self) {
        self.run(RingWaking::<F>::new(Op::TryPush, Role::Consumer));
        self.run(RingWaking::<F>::new(Op::TryPop, Role::Producer));
        self.run(RingWaking::<F>::new(Op::Close, Role::Consumer));
        self.run(RingWaking::<F>::new(Op::Close, Role::Producer));
    }

    fn on_ring<F: RingForm>(&mut self, op: Op, items: &[usize], closed: &[usize]) {
        for &items in items {
            let one = Ringed::<F>::new(op, items);
            self.run(if F::FRAMED { one } else { one.everywhere() });
        }
        for &items in closed {
            self.run(Ringed::<F>::new(op, items).closed());
        }
    }

    fn both_ends<F: RingForm>(&mut self) {
        let new = Ringed::<F>::new;
        self.on_ring::<F>(Op::Close, &[EMPTY, SOME, FULL], &[SOME]);
        for role in [Role::Producer, Role::Consumer] {
            self.run(new(Op::Close, EMPTY).by(role));
            self.run(new(Op::Close, SOME).by(role));
            self.run(new(Op::Leave, SOME).by(role));
            self.run(new(Op::Leave, SOME).by(role).closed());
        }
        self.run(new(Op::Leave, SOME).by(Role::Consumer).again());
    }

    fn producers<F: RingForm>(&mut self) {
        self.on_ring::<F>(Op::TryPush, &[EMPTY, SOME, FULL], &[SOME]);
        self.on_ring::<F>(Op::Push, &[EMPTY, SOME], &[SOME]);
        self.on_ring::<F>(Op::TryPushMany, &[EMPTY, SOME, FULL], &[SOME]);
        self.on_ring::<F>(Op::PushMany, &[EMPTY], &[]);
        self.on_ring::<F>(Op::TryPushAll, &[EMPTY, SOME], &[EMPTY]);
        self.on_ring::<F>(Op::PushAll, &[EMPTY], &[]);
        self.on_ring::<F>(Op::TryReserve, &[EMPTY, FULL], &[EMPTY]);
        self.on_ring::<F>(Op::Reserve, &[EMPTY], &[]);
        self.on_ring::<F>(Op::Commit, &[EMPTY, 1], &[1]);
        self.on_ring::<F>(Op::CommitPart, &[EMPTY, 1], &[1]);
        self.on_ring::<F>(Op::Abort, &[EMPTY, 1], &[1]);
        self.on_ring::<F>(Op::PushTimeout, &[FULL], &[]);
        let new = Ringed::<F>::new;
        for op in [Op::TryPush, Op::TryPushMany, Op::TryPushAll] {
            self.run(new(op, EMPTY).unseen());
            self.run(new(op, EMPTY).then_closed());
        }
        self.run(new(Op::TryReserve, EMPTY).unseen().closed());
        for op in [Op::PushMany, Op::Commit, Op::CommitPart] {
            self.run(new(op, 1).then_closed());
        }
        self.run(new(Op::TryPush, SOME).first_use());
        self.run(new(Op::TryPush, SOME).inherited());
        self.run(new(Op::TryPush, SOME).inherited().closed());
    }

    fn consumers<F: RingForm>(&mut self) {
        self.on_ring::<F>(Op::TryPop, &[EMPTY, SOME, FULL], &[EMPTY, SOME]);
        self.on_ring::<F>(Op::Pop, &[SOME], &[EMPTY]);
        self.on_ring::<F>(Op::TryPopMany, &[EMPTY, SOME, FULL], &[EMPTY, SOME]);
        self.on_ring::<F>(Op::PopMany, &[SOME, FULL], &[EMPTY]);
        self.on_ring::<F>(Op::TryClaim, &[EMPTY, SOME, FULL], &[EMPTY, SOME]);
        self.on_ring::<F>(Op::Claim, &[SOME], &[EMPTY]);
        self.on_ring::<F>(Op::Release, &[SOME, FULL], &[SOME]);
        self.on_ring::<F>(Op::ReleasePart, &[SOME, FULL], &[SOME]);
        self.on_ring::<F>(Op::GiveBack, &[SOME], &[SOME]);
        self.on_ring::<F>(Op::PopTimeout, &[EMPTY], &[]);
        let new = Ringed::<F>::new;
        for op in [Op::TryPop, Op::TryPopMany, Op::TryClaim] {
            self.run(new(op, SOME).unseen());
            self.run(new(op, SOME).again());
            self.run(new(op, SOME).then_closed());
            self.run(new(op, SOME).inherited().again());
        }
        for op in [Op::Release, Op::ReleasePart, Op::GiveBack] {
            self.run(new(op, FULL).again());
            self.run(new(op, SOME).then_closed());
        }
        self.run(new(Op::TryPop, EMPTY).then_closed());
        self.run(new(Op::TryPop, SOME).first_use());
        self.run(new(Op::TryPop, SOME).inherited());
        self.run(new(Op::TryPop, SOME).inherited().closed());
    }

    /// What is another piece of code for messages, and where lengths matter.
    fn messages(&mut self) {
        let new = Ringed::<Messages>::new;
        self.on_ring::<Messages>(Op::TryPush, &[EMPTY, SOME, FULL], &[SOME]);
        self.on_ring::<Messages>(Op::TryPushMany, &[EMPTY, SOME], &[SOME]);
        self.on_ring::<Messages>(Op::PushMany, &[EMPTY], &[]);
        self.on_ring::<Messages>(Op::TryPushAll, &[EMPTY], &[]);
        self.on_ring::<Messages>(Op::TryReserve, &[EMPTY, FULL], &[]);
        self.on_ring::<Messages>(Op::Commit, &[1], &[1]);
        self.on_ring::<Messages>(Op::CommitPart, &[1], &[]);
        self.on_ring::<Messages>(Op::Abort, &[1], &[]);
        self.on_ring::<Messages>(Op::TryPop, &[EMPTY, SOME, FULL], &[EMPTY, SOME]);
        self.on_ring::<Messages>(Op::TryPopMany, &[FULL], &[SOME]);
        self.on_ring::<Messages>(Op::TryPopInto, &[EMPTY, SOME, FULL], &[EMPTY, SOME]);
        self.on_ring::<Messages>(Op::Read, &[SOME, FULL], &[EMPTY, SOME]);
        self.asleep(new(Op::Read, EMPTY));
        self.on_ring::<Messages>(Op::TryClaim, &[EMPTY, SOME], &[EMPTY]);
        self.on_ring::<Messages>(Op::Release, &[SOME], &[]);
        self.on_ring::<Messages>(Op::ReleasePart, &[SOME], &[]);
        self.on_ring::<Messages>(Op::GiveBack, &[SOME], &[]);
        self.on_ring::<Messages>(Op::Close, &[SOME], &[]);
        for op in [Op::TryPush, Op::TryPushMany, Op::Commit] {
            self.run(new(op, 1).then_closed());
        }
        for op in [Op::TryPop, Op::TryPopInto, Op::Read, Op::TryClaim] {
            self.run(new(op, SOME).unseen());
            self.run(new(op, SOME).again());
            self.run(new(op, SOME).then_closed());
            self.run(new(op, SOME).inherited().again());
        }
        for op in [Op::Release, Op::ReleasePart] {
            self.run(new(op, FULL).again());
        }
        self.run(new(Op::TryPush, EMPTY).unseen());
        self.run(new(Op::TryPush, SOME).inherited());
        for role in [Role::Producer, Role::Consumer] {
            self.run(new(Op::Leave, SOME).by(role));
        }
    }

    /// Where copying takes long, and a place is used again at once.
    fn large_items(&mut self) {
        self.on_ring::<LargeItems>(Op::TryPush, &[SOME], &[]);
        self.on_ring::<LargeItems>(Op::TryPushAll, &[EMPTY], &[]);
        self.on_ring::<LargeItems>(Op::Commit, &[1], &[]);
        self.on_ring::<LargeItems>(Op::TryPop, &[SOME, FULL], &[]);
        self.on_ring::<LargeItems>(Op::TryPopMany, &[FULL], &[]);
        self.on_ring::<LargeItems>(Op::TryClaim, &[FULL], &[]);
        self.on_ring::<LargeItems>(Op::Release, &[FULL], &[]);
        self.on_ring::<LargeItems>(Op::ReleasePart, &[FULL], &[]);
        self.run(Ringed::<LargeItems>::new(Op::TryPush, EMPTY).then_closed());
        // Its place is written to again while it is read.
        self.run(Ringed::<LargeItems>::of(Op::TryPop, Overwriting, 3));
        self.run(Ringed::<LargeItems>::of(Op::TryPush, Overwriting, 3));
    }

    fn overwriting_rings<F: RingForm>(&mut self) {
        let of = |op, items| Ringed::<F>::of(op, Overwriting, items);
        let full = F::capacity(Overwriting);
        for op in [Op::TryPush, Op::Push, Op::TryPushMany] {
            self.run(of(op, full));
        }
        self.run(of(Op::TryPush, SOME));
        self.run(of(Op::TryPush, full).closed());
        self.run(of(Op::TryPush, full).then_closed());
        self.run(of(Op::TryPush, full).inherited());
        self.run(of(Op::TryPop, EMPTY));
        self.run(of(Op::TryPop, SOME));
        self.run(of(Op::TryPop, full));
        self.run(of(Op::TryPop, SOME).closed());
        self.run(of(Op::TryPop, full).then_closed());
        self.run(of(Op::TryPop, full).inherited());
        self.run(of(Op::TryPopMany, full));
        self.run(of(Op::Close, full));
    }

    /// What is gone with a dead consumer, and what ends with an end.
    fn policies<F: RingForm>(&mut self) {
        let of = Ringed::<F>::of;
        for op in [Op::TryClaim, Op::Release, Op::ReleasePart, Op::GiveBack] {
            self.run(of(op, AtMostOnce, SOME));
        }
        self.run(of(Op::TryClaim, AtMostOnce, SOME).again());
        for op in [Op::TryPop, Op::TryClaim] {
            self.run(of(op, AtMostOnce, SOME).inherited().again());
        }
        for role in [Role::Producer, Role::Consumer] {
            self.run(of(Op::Leave, Following, SOME).by(role));
            self.run(of(Op::Leave, Following, SOME).by(role).closed());
        }
        for op in [Op::TryPush, Op::Push, Op::PushTimeout, Op::PushAll, Op::Reserve] {
            self.run(of(op, Failing, FULL));
        }
        self.run(of(Op::Push, Failing, SOME));
        self.run(of(Op::Push, Failing, SOME).closed());
        self.run(of(Op::TryPush, Following, SOME));
        self.run(of(Op::TryPop, Following, SOME));
    }

    fn ring_sleepers<F: RingForm>(&mut self) {
        let new = Ringed::<F>::new;
        for (op, items) in [
            (Op::Push, FULL),
            (Op::PushMany, SOME),
            (Op::PushMany, FULL),
            (Op::PushAll, SOME),
            (Op::Reserve, FULL),
            (Op::Pop, EMPTY),
            (Op::PopMany, EMPTY),
            (Op::Claim, EMPTY),
        ] {
            self.asleep(new(op, items));
        }
        for (op, items) in [(Op::Push, FULL), (Op::Pop, EMPTY), (Op::Claim, EMPTY)] {
            self.roused(new(op, items).roused());
        }
    }
}
