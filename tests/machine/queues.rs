//! The machine of queues and of the segment's directory.

use super::crew::Crew;
use super::forms::decode;
use super::model::{How, Life, Model, No, PARTICIPANTS, Place, Stuck};
use super::play::Machine;
use super::spec::{Spec, Type, length};
use super::steps::{End, Learn, Pick, Step, first, step};
use super::worker::{TIMED, Worker};
use mpshm::{PopError, Queue, Segment};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Objects that the directory has room for.
const ENTRIES: usize = 3;
const NAMES: [&str; 3] = ["a", "b", "c"];
const WORKERS: usize = 3;
/// Handles of one worker, at most; also reservations, and claims: as many blocks as one may hold.
const HANDLES: usize = 5;
/// A call that looks for the dead at most every 5 ms, on a clock that moves on every 10 ms at worst, looks after this.
const SETTLED: Duration = Duration::from_millis(16);

/// A handle as the machine knows it.
#[derive(Clone, Debug)]
struct Handle {
    object: usize,
    pushes: bool,
    pops: bool,
    /// Counts as a producer's end.
    end: bool,
    /// Popped from a joinable queue and not done.
    undone: VecDeque<u64>,
    /// No two handles have the same.
    number: u64,
}

/// A worker as the machine knows it.
#[derive(Default)]
struct Hands {
    handles: Vec<Handle>,
    reservations: Vec<(u64, usize, Place, How)>,
    claims: Vec<(u64, usize, u64)>,
}

/// What was made.
#[allow(clippy::large_enum_variant)] // a handful of them, in a test
enum Object {
    Queue(Model),
    Value(u64),
}

struct World<F> {
    segment: Segment,
    crew: Crew<F>,
    hands: Vec<Hands>,
    dead: BTreeSet<Life>,
    objects: Vec<Object>,
    names: BTreeMap<&'static str, usize>,
    /// The numbers that come next: of an item, of a handle.
    item: u64,
    handle: u64,
}

/// An error says what was expected; a step that cannot be done is passed over.
type Done = Result<(), String>;

fn expect(reply: &str, expected: &str) -> Done {
    if reply == expected { Ok(()) } else { Err(format!("'{expected}' was expected")) }
}

fn said<T>(result: Result<T, No>) -> String {
    result.map_or_else(str::to_string, |_| "ok".into())
}

pub struct Queues;

impl Machine for Queues {
    type Case = (Spec, Vec<Step>);

    fn cases() -> BoxedStrategy<Self::Case> {
        (first(), prop::collection::vec(step(), 1..=100)).boxed()
    }

    fn play((spec, steps): &Self::Case) -> Done {
        let segment = Segment::options()
            .objects(ENTRIES as u32)
            .participants(PARTICIPANTS)
            .anonymous(1 << 20)
            .map_err(|error| error.to_string())?;
        let inherited = segment.clone();
        let crew = Crew::new(WORKERS, || Worker::new(&inherited));
        let mut world = World {
            segment,
            crew,
            hands: (0..WORKERS).map(|_| Hands::default()).collect(),
            dead: BTreeSet::new(),
            objects: Vec::new(),
            names: BTreeMap::new(),
            item: 0,
            handle: 0,
        };
        let made = [Step::Create(0, 0, *spec), Step::OpenRight(1, 0), Step::OpenRight(2, 0)];
        let result = made.iter().chain(steps).try_for_each(|step| world.step(step));
        let result = result.and_then(|()| world.last_look());
        if std::env::var_os("STORY").is_some() {
            eprintln!("STORY{}", world.crew.story());
        }
        result.map_err(|why| format!("{why}; what was done:{}", world.crew.story()))
    }
}

impl<'s, F: Fn() -> Worker<'s>> World<F> {
    fn step(&mut self, step: &Step) -> Done {
        match *step {
            Step::Create(w, name, spec) => self.make(w, name, spec, "create"),
            Step::OpenOrCreate(w, name, spec) => self.make(w, name, spec, "open-or-create"),
            Step::Open(w, name, of) => self.open(w, name, Some(of)),
            Step::OpenRight(w, name) => self.open(w, name, None),
            Step::Remove(w, name) => self.remove(w, name),
            Step::List(w) => self.list(w),
            Step::Clone(h) => self.derive(h, "clone"),
            Step::Producer(h) => self.derive(h, "producer"),
            Step::Consumer(h) => self.derive(h, "consumer"),
            Step::Drop(h) => self.put_down(h),
            Step::Push(h, how) => self.push(h, how),
            Step::PushMany(h, how, count) => self.push_many(h, how, count),
            Step::Reserve(h, how, all) => self.reserve(h, how, all),
            Step::Commit(r, long) => self.commit(r, long),
            Step::Abort(r) => self.abort(r),
            Step::Pop(h, how) => self.pop(h, how),
            Step::PopMany(h, how, most) => self.pop_many(h, how, most),
            Step::PopInto(h, room) => self.pop_into(h, room),
            Step::Claim(h, how) => self.claim(h, how),
            Step::Release(c) => self.end_claim(c, "release"),
            Step::GiveBack(c) => self.end_claim(c, "give-back"),
            Step::TaskDone(h) => self.task_done(h),
            Step::Join(h, how) => self.join(h, how),
            Step::Close(h) => self.close(h),
            Step::Look(h) => self.look(h),
            Step::Recover(h) => self.recover(h),
            Step::Sweep => self.sweep(),
            Step::End(w, end, learn) => {
                self.end(self.worker(w), end)?;
                self.others_learn(learn)
            }
            Step::KillProducers(h, learn) => self.kill_producers(h, learn),
        }
    }

    // ---- whom and what a step is about ----

    fn worker(&self, which: Pick) -> usize {
        which as usize % self.crew.count()
    }

    fn queue(&mut self, object: usize) -> &mut Model {
        match &mut self.objects[object] {
            Object::Queue(model) => model,
            Object::Value(_) => panic!("a value"),
        }
    }

    /// A handle of a queue, of which `fits` holds: whose, where it is, its object, and the owner's life.
    fn of_queue(
        &self,
        which: Pick,
        fits: impl Fn(&Handle) -> bool,
    ) -> Option<(usize, usize, usize, Life)> {
        let is = |handle: &Handle| {
            matches!(self.objects[handle.object], Object::Queue(_)) && fits(handle)
        };
        let (w, at) = self.one_of(which, |hands| hands.handles.iter().map(is).collect())?;
        Some((w, at, self.hands[w].handles[at].object, self.crew.life(w)))
    }

    /// The same, of those of which `better` holds, if there are any.
    fn of_queue_where(
        &self,
        which: Pick,
        fits: impl Fn(&Handle) -> bool,
        better: impl Fn(&Handle, &Model) -> bool,
    ) -> Option<(usize, usize, usize, Life)> {
        let is_better = |handle: &Handle| match &self.objects[handle.object] {
            Object::Queue(queue) => fits(handle) && better(handle, queue),
            Object::Value(_) => false,
        };
        self.of_queue(which, is_better).or_else(|| self.of_queue(which, &fits))
    }

    /// One of all things that fit, of all workers: whose, and where in its list.
    fn one_of(&self, which: Pick, fit: impl Fn(&Hands) -> Vec<bool>) -> Option<(usize, usize)> {
        let of = |w: usize| {
            let fit = fit(&self.hands[w]);
            (0..fit.len()).filter(move |&at| fit[at]).map(move |at| (w, at))
        };
        let all: Vec<(usize, usize)> = (0..self.hands.len()).flat_map(of).collect();
        (!all.is_empty()).then(|| all[which as usize % all.len()])
    }

    fn has_room(&self, w: usize) -> bool {
        self.hands[w].handles.len() < HANDLES
    }

    fn new_handle(&mut self, w: usize, object: usize) {
        self.handle += 1;
        self.hands[w].handles.push(Handle {
            object,
            pushes: true,
            pops: true,
            end: false,
            undone: VecDeque::new(),
            number: self.handle,
        });
    }

    fn next_item(&mut self) -> u64 {
        self.item += 1;
        self.item
    }

    // ---- the directory ----

    /// Entries that nobody can have: named ones, and removed ones that somebody has open.
    fn entries(&self) -> usize {
        let open: BTreeSet<usize> = self
            .hands
            .iter()
            .flat_map(|hands| &hands.handles)
            .map(|handle| handle.object)
            .collect();
        (0..self.objects.len())
            .filter(|object| open.contains(object) || self.names.values().any(|it| it == object))
            .count()
    }

    fn is_of(&self, object: usize) -> Type {
        match &self.objects[object] {
            Object::Queue(model) => model.spec.of,
            Object::Value(_) => Type::Value,
        }
    }

    fn make(&mut self, w: Pick, name: Pick, spec: Spec, call: &str) -> Done {
        let (w, name) = (self.worker(w), NAMES[name as usize % NAMES.len()]);
        if !self.has_room(w) {
            return Ok(());
        }
        let reply = self.crew.tell(w, &format!("{call} {name} {}", spec.words()))?;
        match self.names.get(name) {
            Some(_) if call == "create" => expect(&reply, "EXISTS"),
            Some(&object) if self.is_of(object) != spec.of => expect(&reply, "TYPE"),
            Some(&object) => {
                self.new_handle(w, object);
                expect(&reply, "ok")
            }
            None if self.entries() == ENTRIES => expect(&reply, "LIMIT"),
            None => {
                self.objects.push(match spec.of {
                    Type::Value => Object::Value(0),
                    _ => Object::Queue(Model::new(spec)),
                });
                let object = self.objects.len() - 1;
                self.names.insert(name, object);
                self.new_handle(w, object);
                expect(&reply, "ok")
            }
        }
    }

    fn open(&mut self, w: Pick, name: Pick, of: Option<Type>) -> Done {
        let (w, mut name) = (self.worker(w), NAMES[name as usize % NAMES.len()]);
        if !self.has_room(w) {
            return Ok(());
        }
        if of.is_none() && !self.names.is_empty() {
            let there = self.names.keys().filter(|it| **it >= name).chain(self.names.keys());
            name = there.copied().next().expect("a name");
        }
        let object = self.names.get(name).copied();
        let is = object.map(|object| self.is_of(object));
        let of = of.or(is).unwrap_or(Type::Numbers);
        let reply = self.crew.tell(w, &format!("open {name} {}", of.word()))?;
        match object {
            None => expect(&reply, "NOTFOUND"),
            Some(_) if is != Some(of) => expect(&reply, "TYPE"),
            Some(object) => {
                self.new_handle(w, object);
                expect(&reply, "ok")
            }
        }
    }

    fn remove(&mut self, w: Pick, name: Pick) -> Done {
        let (w, name) = (self.worker(w), NAMES[name as usize % NAMES.len()]);
        let reply = self.crew.tell(w, &format!("remove {name}"))?;
        let was = self.names.remove(name);
        expect(&reply, if was.is_some() { "ok" } else { "NOTFOUND" })
    }

    fn list(&mut self, w: Pick) -> Done {
        let w = self.worker(w);
        let mut all: Vec<(usize, &str)> =
            self.names.iter().map(|(name, at)| (*at, *name)).collect();
        all.sort_unstable_by(|one, other| other.cmp(one)); // the newest first
        let words = all.iter().map(|&(object, name)| match self.objects[object] {
            Object::Queue(_) => format!("{name}:Some(Queue) "),
            Object::Value(_) => format!("{name}:Some(Value) "),
        });
        let expected: String = words.collect();
        let reply = self.crew.tell(w, "list")?;
        expect(&reply, expected.trim_end())
    }

    // ---- handles ----

    fn derive(&mut self, h: Pick, how: &str) -> Done {
        let both = |handle: &Handle| how == "clone" || handle.pushes && handle.pops;
        let Some((w, at, object, life)) = self.of_queue(h, both) else { return Ok(()) };
        if !self.has_room(w) {
            return Ok(());
        }
        let reply = self.crew.tell(w, &format!("{how} {at}"))?;
        let end = how == "producer" || self.hands[w].handles[at].end;
        let queue = self.queue(object);
        if end {
            queue.comes(life);
        }
        if how == "producer" && queue.closed {
            queue.leaves(life);
            return expect(&reply, "CLOSED");
        }
        let from = &self.hands[w].handles[at];
        let (pushes, pops) = match how {
            "producer" => (true, false),
            "consumer" => (false, true),
            _ => (from.pushes, from.pops),
        };
        self.new_handle(w, object);
        let handle = self.hands[w].handles.last_mut().expect("a handle");
        (handle.pushes, handle.pops, handle.end) = (pushes, pops, end);
        expect(&reply, "ok")
    }

    fn put_down(&mut self, h: Pick) -> Done {
        let all = |hands: &Hands| vec![true; hands.handles.len()];
        let Some((w, at)) = self.one_of(h, all) else { return Ok(()) };
        let reply = self.crew.tell(w, &format!("drop {at}"))?;
        self.dropped(w, at);
        expect(&reply, "ok")
    }

    /// Puts down a handle, and what is borrowed from it before.
    fn dropped(&mut self, w: usize, at: usize) {
        let life = self.crew.life(w);
        let handle = self.hands[w].handles.remove(at);
        let hands = &mut self.hands[w];
        let (mine, others) = std::mem::take(&mut hands.reservations)
            .into_iter()
            .partition(|it| it.0 == handle.number);
        hands.reservations = others;
        let (claims, others) =
            std::mem::take(&mut hands.claims).into_iter().partition(|it| it.0 == handle.number);
        hands.claims = others;
        type Mine = Vec<(u64, usize, Place, How)>;
        type Claims = Vec<(u64, usize, u64)>;
        let (mine, claims): (Mine, Claims) = (mine, claims);
        let Object::Queue(queue) = &mut self.objects[handle.object] else { return };
        mine.into_iter().for_each(|it| queue.abort(life, it.2));
        claims.into_iter().for_each(|it| queue.release(life, it.2));
        handle.undone.into_iter().for_each(|number| queue.gives_back(life, number));
        if handle.end {
            queue.leaves(life);
        }
    }

    // ---- pushing ----

    fn push(&mut self, h: Pick, how: How) -> Done {
        let Some((w, at, object, life)) = self.of_queue(h, |handle| handle.pushes) else {
            return Ok(());
        };
        let (number, dead) = (self.next_item(), self.dead.clone());
        let Some((how, expected)) =
            unstuck(how, self.queue(object), |queue, how| queue.push(how, life, &dead, number))
        else {
            return Ok(());
        };
        let reply = self.crew.tell(w, &format!("push {at} {} {number}", how.word()))?;
        expect(&reply, &said(expected))
    }

    fn push_many(&mut self, h: Pick, how: How, count: usize) -> Done {
        let Some((w, at, object, life)) = self.of_queue(h, |handle| handle.pushes) else {
            return Ok(());
        };
        let numbers: Vec<u64> = (0..count).map(|_| self.next_item()).collect();
        let dead = self.dead.clone();
        let Some((how, (pushed, no))) = unstuck(how, self.queue(object), |queue, how| {
            queue.push_many(how, life, &dead, &numbers)
        }) else {
            return Ok(());
        };
        let words: String = numbers.iter().map(|number| format!(" {number}")).collect();
        let reply = self.crew.tell(w, &format!("push-many {at} {}{words}", how.word()))?;
        expect(&reply, &no.map_or(pushed.to_string(), |no| format!("{pushed} {no}")))
    }

    fn reserve(&mut self, h: Pick, how: How, all: bool) -> Done {
        let Some((w, at, object, life)) = self.of_queue_where(h, |handle| handle.pushes, in_blocks)
        else {
            return Ok(());
        };
        if self.hands[w].reservations.len() + self.hands[w].claims.len() >= HANDLES {
            return Ok(());
        }
        let spec = self.queue(object).spec;
        let room = match spec.of {
            Type::Messages if !all => length(self.item + 1),
            _ => spec.message_max,
        };
        let dead = self.dead.clone();
        let Some((how, expected)) =
            unstuck(how, self.queue(object), |queue, how| queue.reserve(how, life, &dead, room))
        else {
            return Ok(());
        };
        let reply = self.crew.tell(w, &format!("reserve {at} {} {room}", how.word()))?;
        let handle = self.hands[w].handles[at].number;
        if let Ok(place) = expected {
            self.hands[w].reservations.push((handle, object, place, how));
        }
        expect(&reply, &said(expected))
    }

    fn commit(&mut self, r: Pick, long: bool) -> Done {
        let all = |hands: &Hands| vec![true; hands.reservations.len()];
        let Some((w, at)) = self.one_of(r, all) else { return Ok(()) };
        let (_, object, place, how) = self.hands[w].reservations[at];
        let (number, life, dead) = (self.next_item(), self.crew.life(w), self.dead.clone());
        let queue = self.queue(object);
        let of = queue.spec.of;
        let length = match (long, of) {
            (true, _) => place.room + 1,
            (_, Type::Messages) => length(number),
            _ => 8,
        };
        let before = queue.clone();
        let Ok(expected) = queue.commit(how, life, &dead, place, (number, length)) else {
            *queue = before; // it would wait for ever
            return Ok(());
        };
        if how == How::Timed {
            std::thread::sleep(2 * TIMED); // it may not wait any more
        }
        let command = format!("commit {at} {number} {length} {}", of.word());
        let reply = self.crew.tell(w, &command)?;
        if expected.is_ok() {
            self.hands[w].reservations.remove(at);
        }
        expect(&reply, &said(expected))
    }

    fn abort(&mut self, r: Pick) -> Done {
        let all = |hands: &Hands| vec![true; hands.reservations.len()];
        let Some((w, at)) = self.one_of(r, all) else { return Ok(()) };
        let (_, object, place, _) = self.hands[w].reservations.remove(at);
        let life = self.crew.life(w);
        self.queue(object).abort(life, place);
        let reply = self.crew.tell(w, &format!("abort {at}"))?;
        expect(&reply, "ok")
    }

    // ---- popping ----

    /// Whether a pop gets something; nothing when the step is passed over.
    fn pops(&mut self, object: usize, how: How, life: Life) -> Option<(How, Result<(), No>)> {
        let dead = self.dead.clone();
        unstuck(how, self.queue(object), |queue, how| queue.pops(how, life, &dead))
    }

    /// Takes the item that came, if it may have come, for a handle that pops it.
    fn took(&mut self, w: usize, at: usize, number: u64) -> Done {
        let life = self.crew.life(w);
        let object = self.hands[w].handles[at].object;
        let queue = self.queue(object);
        let item = queue.take(number).ok_or("another item was expected")?;
        if queue.spec.joinable {
            queue.keeps(life, item);
            self.hands[w].handles[at].undone.push_back(number);
        } else {
            queue.consumed(item);
        }
        Ok(())
    }

    fn pop(&mut self, h: Pick, how: How) -> Done {
        let Some((w, at, object, life)) = self.of_queue(h, |handle| handle.pops) else {
            return Ok(());
        };
        let Some((how, expected)) = self.pops(object, how, life) else { return Ok(()) };
        let reply = self.crew.tell(w, &format!("pop {at} {}", how.word()))?;
        match expected {
            Ok(()) => self.took(w, at, numbers(&reply, 1..=1)?[0]),
            Err(no) => expect(&reply, no),
        }
    }

    fn pop_many(&mut self, h: Pick, how: How, most: usize) -> Done {
        let Some((w, at, object, life)) = self.of_queue(h, |handle| handle.pops) else {
            return Ok(());
        };
        let Some((how, expected)) = self.pops(object, how, life) else { return Ok(()) };
        let count = self.queue(object).candidates_of(most);
        let reply = self.crew.tell(w, &format!("pop-many {at} {} {most}", how.word()))?;
        match expected {
            Ok(()) => numbers(&reply, count..=count)?
                .into_iter()
                .try_for_each(|number| self.took(w, at, number)),
            Err(no) => expect(&reply, no),
        }
    }

    fn pop_into(&mut self, h: Pick, room: usize) -> Done {
        let Some((w, at, object, life)) = self.of_queue(h, |handle| handle.pops) else {
            return Ok(());
        };
        if self.queue(object).spec.of != Type::Messages {
            return Ok(());
        }
        // Which one did not fit is not told.
        let [number] = self.queue(object).candidates()[..] else { return Ok(()) };
        let Some((How::Ever, Ok(()))) = self.pops(object, How::Ever, life) else {
            return Err("an item was there".into());
        };
        let reply = self.crew.tell(w, &format!("pop-into {at} {room}"))?;
        if length(number) <= room {
            expect(&reply, &number.to_string())?;
            return self.took(w, at, number);
        }
        let queue = self.queue(object);
        let item = queue.take(number).ok_or("it was there")?;
        queue.keeps(life, item);
        queue.gives_back(life, number);
        expect(&reply, "TOOBIG")
    }

    fn claim(&mut self, h: Pick, how: How) -> Done {
        let Some((w, at, object, life)) = self.of_queue_where(h, |handle| handle.pops, in_blocks)
        else {
            return Ok(());
        };
        if self.hands[w].reservations.len() + self.hands[w].claims.len() >= HANDLES {
            return Ok(());
        }
        if self.queue(object).spec.in_slots() {
            let reply = self.crew.tell(w, &format!("claim {at} {}", how.word()))?;
            return expect(&reply, "INVAL");
        }
        let Some((how, expected)) = self.pops(object, how, life) else { return Ok(()) };
        let reply = self.crew.tell(w, &format!("claim {at} {}", how.word()))?;
        if let Err(no) = expected {
            return expect(&reply, no);
        }
        let told = numbers(&reply, 2..=2)?;
        let queue = self.queue(object);
        let item = queue.take(told[0]).ok_or("another item was expected")?;
        queue.keeps(life, item);
        let handle = self.hands[w].handles[at].number;
        self.hands[w].claims.push((handle, object, told[0]));
        expect(&told[1].to_string(), &item.deliveries.to_string())
    }

    fn end_claim(&mut self, c: Pick, call: &str) -> Done {
        let all = |hands: &Hands| vec![true; hands.claims.len()];
        let Some((w, at)) = self.one_of(c, all) else { return Ok(()) };
        let (_, object, number) = self.hands[w].claims.remove(at);
        let life = self.crew.life(w);
        match call {
            "release" => self.queue(object).release(life, number),
            _ => self.queue(object).gives_back(life, number),
        }
        let reply = self.crew.tell(w, &format!("{call} {at}"))?;
        expect(&reply, "ok")
    }

    fn task_done(&mut self, h: Pick) -> Done {
        let undone = |handle: &Handle, _: &Model| !handle.undone.is_empty();
        let Some((w, at, object, life)) = self.of_queue_where(h, |handle| handle.pops, undone)
        else {
            return Ok(());
        };
        let reply = self.crew.tell(w, &format!("task-done {at}"))?;
        match self.hands[w].handles[at].undone.pop_front() {
            Some(number) => {
                self.queue(object).release(life, number);
                expect(&reply, "ok")
            }
            None => expect(&reply, "INVAL"),
        }
    }

    fn join(&mut self, h: Pick, how: How) -> Done {
        let joinable = |_: &Handle, queue: &Model| queue.spec.joinable;
        let Some((w, at, object, life)) = self.of_queue_where(h, |_| true, joinable) else {
            return Ok(());
        };
        let dead = self.dead.clone();
        let Some((how, expected)) =
            unstuck(how, self.queue(object), |queue, how| queue.join(how, life, &dead))
        else {
            return Ok(());
        };
        let reply = self.crew.tell(w, &format!("join {at} {}", how.word()))?;
        expect(&reply, &said(expected))
    }

    // ---- the whole queue ----

    fn close(&mut self, h: Pick) -> Done {
        let Some((w, at, object, _)) = self.of_queue(h, |_| true) else { return Ok(()) };
        self.queue(object).closed = true;
        let reply = self.crew.tell(w, &format!("close {at}"))?;
        expect(&reply, "ok")
    }

    fn look(&mut self, h: Pick) -> Done {
        let all = |hands: &Hands| vec![true; hands.handles.len()];
        let Some((w, at)) = self.one_of(h, all) else { return Ok(()) };
        let object = self.hands[w].handles[at].object;
        let (call, expected) = match &mut self.objects[object] {
            Object::Queue(queue) => ("look", queue.looks()),
            Object::Value(value) => {
                *value += 1;
                ("add", (*value - 1).to_string())
            }
        };
        let reply = self.crew.tell(w, &format!("{call} {at}"))?;
        expect(&reply, &expected)
    }

    fn recover(&mut self, h: Pick) -> Done {
        let Some((w, at, object, life)) = self.of_queue(h, |_| true) else { return Ok(()) };
        let dead = self.dead.clone();
        self.queue(object).look(life, &dead);
        let reply = self.crew.tell(w, &format!("recover {at}"))?;
        expect(&reply, "ok")
    }

    // ---- life and death ----

    /// The machine's own process has no number among the workers.
    const OWN: Life = 0;

    fn sweep(&mut self) -> Done {
        mpshm::recover(&self.segment).map_err(|error| error.to_string())?;
        self.crew.note("the segment is swept".into());
        let listed: Vec<usize> = self.names.values().copied().collect();
        for object in listed {
            if let Object::Queue(queue) = &mut self.objects[object] {
                queue.look(Self::OWN, &self.dead);
            }
        }
        Ok(())
    }

    fn end(&mut self, w: usize, end: End) -> Done {
        let life = self.crew.life(w);
        match end {
            End::Kill => self.crew.kill(w),
            End::Retire => {
                while !self.hands[w].handles.is_empty() {
                    self.dropped(w, 0);
                }
                self.crew.retire(w)?;
            }
        }
        self.hands[w] = Hands::default();
        self.dead.insert(life);
        Ok(())
    }

    fn kill_producers(&mut self, h: Pick, learn: Learn) -> Done {
        let Some((_, _, object, _)) = self.of_queue(h, |handle| handle.end) else {
            return Ok(());
        };
        for w in 0..self.hands.len() {
            if self.hands[w].handles.iter().any(|handle| handle.end && handle.object == object) {
                self.end(w, End::Kill)?;
            }
        }
        self.others_learn(learn)
    }

    fn others_learn(&mut self, learn: Learn) -> Done {
        if matches!(learn, Learn::Sweep) {
            self.sweep()?;
        }
        let dead = &self.dead;
        let left = |object: &Object| matches!(object, Object::Queue(queue) if queue.has_dead(dead));
        if self.objects.iter().any(left) {
            std::thread::sleep(SETTLED);
        }
        Ok(())
    }

    /// Everybody is killed; then each queue that has a name holds what it should, and nothing else.
    fn last_look(&mut self) -> Done {
        for w in 0..self.crew.count() {
            self.dead.insert(self.crew.life(w));
        }
        self.crew.kill_all();
        self.sweep()?;
        for (name, object) in self.names.clone() {
            let Object::Queue(queue) = &self.objects[object] else { continue };
            let (ring, returned) = queue.rest();
            let of = queue.spec.of;
            let found = match of {
                Type::Messages => drained(&self.segment, name, |queue: &Queue<[u8]>| {
                    queue.try_pop().map(|message| decode(&message))
                }),
                _ => drained(&self.segment, name, Queue::<u64>::try_pop),
            }?;
            let (mut again, rest): (Vec<u64>, Vec<u64>) =
                found.iter().partition(|number| returned.contains(number));
            let mut returned = returned;
            again.sort_unstable();
            returned.sort_unstable();
            if rest != ring || again != returned {
                return Err(format!(
                    "'{name}' should hold {ring:?} and, given back, {returned:?}, and holds {found:?}"
                ));
            }
        }
        Ok(())
    }
}

fn in_blocks(_: &Handle, queue: &Model) -> bool {
    !queue.spec.in_slots()
}

/// Does what the model does of it, in such a way that it ends: a call that would wait for ever is a timed one.
fn unstuck<T>(
    how: How,
    queue: &mut Model,
    mut call: impl FnMut(&mut Model, How) -> Result<T, Stuck>,
) -> Option<(How, T)> {
    let before = queue.clone();
    match call(queue, how) {
        Ok(done) => Some((how, done)),
        Err(Stuck) => {
            *queue = before;
            call(queue, How::Timed).ok().map(|done| (How::Timed, done))
        }
    }
}

/// The numbers of a reply, so many.
fn numbers(reply: &str, count: std::ops::RangeInclusive<usize>) -> Result<Vec<u64>, String> {
    let read: Result<Vec<u64>, _> = reply.split_whitespace().map(str::parse).collect();
    match read {
        Ok(numbers) if count.contains(&numbers.len()) => Ok(numbers),
        _ => Err(format!("{count:?} numbers were expected")),
    }
}

/// Everything that is left in a queue, of which nothing else may be taken.
fn drained<T: ?Sized + mpshm::Item>(
    segment: &Segment,
    name: &str,
    pop: impl Fn(&Queue<T>) -> Result<u64, PopError>,
) -> Result<Vec<u64>, String> {
    let queue = Queue::<T>::open(segment.at(name)).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    while let Ok(number) = pop(&queue) {
        all.push(number);
        // In a joinable queue.
        let _ = queue.task_done();
    }
    let audit = queue.audit().map_err(|error| error.to_string())?;
    if audit.free != audit.blocks || !queue.is_empty() {
        return Err(format!("'{name}' is not clear at the end: {audit:?}"));
    }
    Ok(all)
}
