//! A segment with objects to be damaged, and what one child does to it.

use crate::board::{Board, Fault};
use crate::calls::{Bounds, Calls};
use crate::common::descriptors;
use crate::damage::{Damage, Field, Fields, mix};
use crate::guard;
use crate::layout::{CANARIES, Layout};
use crate::probe::Random;
use crate::storm::{Storm, WAYS};
use crate::view::View;
use mpshm::{Array, ErrorKind, Segment};
use std::ops::Range;
use std::os::fd::AsFd;

/// A kind of object. To have another one damaged, write one of these and add it to the list in `hostile.rs`.
pub trait Kind: 'static {
    const NAME: &'static str;
    /// What a process has when it has the objects open.
    type Handle;
    /// How many states of the objects there are: [`prepare`](Self::prepare) goes from one to the next.
    const STATES: usize;
    /// Lines of the segment that stay free, for [`manage`](Self::manage).
    const SLACK: usize = 0;
    /// Whether the fields say where objects lie: then calls may rightly go to other objects' bytes.
    const ELSEWHERE: bool = false;

    /// Makes the objects, and nothing else.
    fn create(segment: &Segment) -> Self::Handle;

    /// Opens them.
    fn open(segment: &Segment) -> Result<Self::Handle, ErrorKind>;

    /// Brings the objects into the state `state`, from the one before. `peer` is another participant, which lives on
    /// and keeps what it takes.
    fn prepare(handle: &Self::Handle, peer: &Self::Handle, state: usize);

    /// In a process of its own that dies right behind it: takes what a dead participant may leave behind.
    fn die(_handle: &Self::Handle) {}

    /// What there is to be damaged, in the sound segment `image`.
    fn fields(image: &[u8], layout: &Layout) -> Vec<Field>;

    /// Makes every call that there is. None may wait for ever.
    fn operate(handle: &Self::Handle, calls: &mut Calls);

    /// Makes the calls that concern the whole segment.
    fn manage(_segment: &Segment, _calls: &mut Calls) {}

    /// A lie of several fields that fit each other, which no random values would.
    fn forge(_random: &mut Random, _image: &[u8], _layout: &Layout) -> Option<Vec<(Field, u64)>> {
        None
    }
}

/// What one child is to do.
#[derive(Clone, Debug)]
pub struct Batch {
    pub seed: u64,
    /// The numbers of the mutations.
    pub mutations: Vec<u64>,
    /// Whether they are made again and again while the calls go on.
    pub storms: bool,
    /// Whether the objects lie at the end of the mapping.
    pub flush: bool,
    /// Only fields whose name has this in it.
    pub only: Option<String>,
    /// The mutation that is to be described on stderr.
    pub show: Option<u64>,
    pub bounds: Bounds,
}

const PARTICIPANTS: u32 = 8;
const OBJECTS: u32 = 12;
const LINE: usize = 128;

struct World<'a, K: Kind> {
    board: &'a Board,
    batch: &'a Batch,
    segment: Segment,
    handle: K::Handle,
    view: View,
    /// Images of the segment in each state.
    states: Vec<Vec<u8>>,
    layout: Layout,
    fields: Fields,
    /// Only where there are storms to be made.
    storm: Option<Storm>,
    /// Another participant, which lives and does nothing.
    _peer: (K::Handle, Segment),
}

/// Does the batch, in a child that ends with it.
pub fn run<K: Kind>(board: &Board, batch: &Batch) {
    let world = World::<K>::make(board, batch);
    world.is_sound();
    let before = descriptors();
    let all = || batch.mutations.iter().for_each(|&at| world.mutate(at));
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(all)).is_err() {
        board.fail(Fault::Panic, ""); // before anything is unmapped, for the storm may still blow
    }
    let after = descriptors();
    if before != after {
        board.fail(Fault::Leak, &format!("descriptors before {before:?}, after {after:?}"));
    }
}

/// A segment whose arena has exactly so many lines, or up to a page more.
fn segment(lines: usize) -> Segment {
    let options = Segment::options().participants(PARTICIPANTS).objects(OBJECTS);
    options.anonymous((lines * LINE) as u64).expect("a segment")
}

fn view(segment: &Segment) -> View {
    View::of(segment, segment.size() as usize)
}

fn image(view: &View) -> Vec<u8> {
    let (start, length) = view.memory();
    // SAFETY: inside the mapping; nobody else writes it at this moment, for the storm rests.
    unsafe { std::slice::from_raw_parts(start, length) }.to_vec()
}

fn canary(segment: &Segment, name: &str, lines: usize) {
    const FIRST: usize = 128; // its lock's line
    let array = Array::<u8>::create(segment.at(name), lines * LINE - FIRST).expect("a canary");
    array.fill(0..array.len(), 0xa5).expect("its elements");
}

/// Runs `f` in a process that ends right behind it, without any destructor.
fn in_one_that_dies(f: impl FnOnce()) {
    // SAFETY: this process has one thread as yet.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(done.is_err())) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(status, 0, "the participant that dies");
}

impl<'a, K: Kind> World<'a, K> {
    /// The objects between two others, or behind one, with their end at the mapping's end.
    fn make(board: &'a Board, batch: &'a Batch) -> Self {
        let sample = segment(1 << 12);
        drop(K::create(&sample));
        let needed = Layout::of(&image(&view(&sample))).own.len() / LINE;
        let flush = batch.flush && K::SLACK == 0;
        let behind = if flush { 0 } else { 9 };
        let segment = segment(9 + needed + behind + K::SLACK);
        let arena = Layout::of(&image(&view(&segment))).arena.len() / LINE;
        canary(&segment, CANARIES[0], arena - needed - behind - K::SLACK);
        let handle = K::create(&segment);
        if !flush {
            canary(&segment, CANARIES[1], behind);
        }
        let copy = segment.as_fd().try_clone_to_owned().expect("a descriptor");
        let other = Segment::attach_fd(copy).expect("a second participant");
        let peer = K::open(&other).expect("the objects, opened");
        let view = view(&segment);
        let mut states = Vec::new();
        for state in 0..K::STATES {
            K::prepare(&handle, &peer, state);
            if state % 2 == 1 {
                in_one_that_dies(|| K::die(&handle));
            }
            states.push(image(&view));
        }
        let layout = Layout::of(&states[0]);
        let fields = Fields::new(K::fields(&states[0], &layout), batch.only.as_deref());
        board.has_rows(fields.names());
        let storm = batch.storms.then(|| Storm::over(view.memory().0.cast_mut()));
        let _peer = (peer, other);
        Self { board, batch, segment, handle, view, states, layout, fields, storm, _peer }
    }

    /// Checks the harness: mappings have guards, the sound objects refuse nothing, and what changes in them is in the
    /// table of fields.
    fn is_sound(&self) {
        let unsound = |why: String| self.board.fail(Fault::Unsound, &why);
        if !self.fields.is_wanted() {
            unsound(format!("no field of {} is called {:?}", K::NAME, self.batch.only));
        }
        if let Err(why) = guard::check() {
            self.board.fail(Fault::Unguarded, &why);
        }
        if self.batch.flush && K::SLACK == 0 && self.layout.own.end != self.states[0].len() {
            unsound(format!(
                "the objects end at {} of {}",
                self.layout.own.end,
                self.states[0].len()
            ));
        }
        let first = &self.states[0];
        let mut covered = vec![false; first.len()];
        self.fields.iter().for_each(|field| covered[field.at..field.end()].fill(true));
        for state in &self.states {
            let changes = |&at: &usize| state[at] != first[at] && !covered[at];
            let missing = self.layout.own.clone().find(changes);
            if let Some(at) = missing.filter(|_| K::SLACK == 0) {
                let at = at - self.layout.own.start;
                unsound(format!("byte {at} of the objects changes, and is in no field"));
            }
        }
        for state in 0..K::STATES {
            for live in [true, false] {
                self.restore(&self.states[state]);
                let mut calls =
                    Calls::new(self.board, Random::new(state as u64), self.batch.bounds);
                self.use_it(live, &self.states[state], &mut calls);
                if let Some((call, kind)) = calls.refused() {
                    unsound(format!("in state {state}, undamaged, {call} said {kind:?}"));
                }
            }
        }
    }

    fn base(&self) -> *mut u8 {
        self.view.memory().0.cast_mut()
    }

    fn restore(&self, image: &[u8]) {
        // SAFETY: the mapping is as long as the image, and the storm rests.
        unsafe { self.base().copy_from_nonoverlapping(image.as_ptr(), image.len()) };
    }

    /// Everything about mutation `at` follows from the seed and its number.
    fn mutate(&self, at: u64) {
        let mut random = Random::new(mix(self.batch.seed, at));
        let state = random.below(self.states.len() as u64) as usize;
        let damage = self.damage(&mut random, state);
        let live = at % 2 == 0;
        self.board.begin(at, damage.row);
        let mut image = self.states[state].clone();
        self.restore(&image);
        if let Some(storm) = &self.storm {
            storm.begin(&damage.writes, &image, mix(at, self.batch.seed) % WAYS);
        } else {
            for &(field, value) in &damage.writes {
                field.write(&mut image, value);
            }
            self.restore(&image);
        }
        if self.batch.show == Some(at) {
            self.describe(at, state, &damage);
        }
        let mut calls = Calls::new(self.board, random, self.batch.bounds);
        calls.in_a_storm = self.storm.is_some();
        let check = if self.storm.is_some() { &[][..] } else { &image };
        self.use_it(live, check, &mut calls);
        if let Some(storm) = &self.storm {
            storm.end();
            let now = self::image(&self.view);
            for &(field, _) in &damage.writes {
                image[field.at..field.end()].copy_from_slice(&now[field.at..field.end()]);
            }
            self.check(&image, &self.may_change(live, true));
        }
        if self.batch.show == Some(at) {
            eprintln!("    refused: {:?}", calls.refused());
        }
        self.board.end(damage.row, calls.refused().is_some());
    }

    fn damage(&self, random: &mut Random, state: usize) -> Damage {
        if self.batch.only.is_none() && random.below(8) == 0 {
            if let Some(writes) = K::forge(random, &self.states[state], &self.layout) {
                let name = writes[0].0.name;
                let row = self.fields.names().iter().position(|&row| row == name);
                return Damage { row: row.expect("a field of the table"), writes };
            }
        }
        Damage::new(random, &self.fields, &self.states, state)
    }

    fn describe(&self, at: u64, state: usize, damage: &Damage) {
        let way = if at % 2 == 0 { "under live handles" } else { "before attach" };
        let storms = if self.batch.storms { ", again and again while the calls go on" } else { "" };
        eprintln!("mutation {at} of {}, state {state}, {way}{storms}:", K::NAME);
        for (field, value) in &damage.writes {
            let from = field.read(&self.states[state]);
            eprintln!("    {} at byte {}: {from:#x} -> {value:#x}", field.name, field.at);
        }
    }

    /// Makes all calls. No byte may then differ from `image`, unless that is empty, but where calls may write.
    fn use_it(&self, live: bool, image: &[u8], calls: &mut Calls) {
        if live {
            K::operate(&self.handle, calls);
            self.check(image, &self.may_change(true, false));
            K::manage(&self.segment, calls);
        } else {
            self.use_anew(calls);
        }
        self.board.calls("");
        self.check(image, &self.may_change(live, true));
    }

    fn use_anew(&self, calls: &mut Calls) {
        let fd = self.segment.as_fd().try_clone_to_owned().expect("a descriptor");
        let Some(segment) = calls.call("Segment::attach_fd", || Segment::attach_fd(fd)) else {
            return;
        };
        if let Some(handle) = calls.call("open", || K::open(&segment)) {
            if calls.random.below(256) == 0 {
                if let Err(why) = guard::check() {
                    self.board.fail(Fault::Unguarded, &why);
                }
            }
            K::operate(&handle, calls);
            self.board.calls("drop");
            drop(handle);
        }
        K::manage(&segment, calls);
        self.board.calls("drop");
        drop(segment);
    }

    /// Where calls may write: into the objects and the participants' table; those that manage the segment into its
    /// directory and its free room as well. Where a damaged directory says that the objects lie elsewhere, who opens
    /// them then, or makes new ones, may write wherever objects can lie.
    fn may_change(&self, live: bool, managed: bool) -> Vec<Range<usize>> {
        let layout = &self.layout;
        let mut ranges = vec![layout.own.clone(), layout.participants.clone()];
        if managed && K::SLACK > 0 {
            ranges.extend([layout.directory.clone(), layout.slack.clone()]);
        }
        if K::ELSEWHERE && (managed || !live) {
            ranges.extend([layout.directory.clone(), layout.arena.clone()]);
        }
        ranges
    }

    fn check(&self, image: &[u8], may_change: &[Range<usize>]) {
        if image.is_empty() {
            return;
        }
        // SAFETY: inside the mapping; the storm rests.
        let now = unsafe { std::slice::from_raw_parts(self.base(), image.len()) };
        let mut others = may_change.to_vec();
        others.push(image.len()..image.len());
        others.sort_by_key(|range| range.start);
        let mut from = 0;
        for range in others {
            if from < range.start && now[from..range.start] != image[from..range.start] {
                let at = (from..range.start).find(|&at| now[at] != image[at]).unwrap_or(from);
                let whose = self.layout.objects.iter().find(|(_, bytes)| bytes.contains(&at));
                let whose = whose.map_or("no object", |(name, _)| name);
                let text = format!("byte {at} ({whose}): {:#x} -> {:#x}", image[at], now[at]);
                self.board.fail(Fault::Overwritten, &text);
            }
            from = from.max(range.end);
        }
    }
}
