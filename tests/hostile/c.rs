//! The same through C: entry points that take plain pointers, give numbers for errors, and let no panic out.

use crate::calls::{Calls, kind_of};
use crate::damage::Field;
use crate::layout::{self, Layout};
use crate::queues::{VICTIM, queue_fields};
use crate::world::Kind;
use mpshm::ffi::array::*;
use mpshm::ffi::mutex::*;
use mpshm::ffi::queue::*;
use mpshm::ffi::queue_batch::*;
use mpshm::ffi::queue_options::*;
use mpshm::ffi::segment::*;
use mpshm::ffi::value::*;
use mpshm::ffi::{MPSHM_I32, MPSHM_I64, MPSHM_U64};
use mpshm::{ErrorKind, Segment};
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{null, null_mut};

const NAME: &CStr = c"victim";
const OWNER_DEAD: c_int = -(ErrorKind::OwnerDead as c_int);

/// A handle of the segment as C has it.
pub struct Attached(*mut mpshm_segment_t);

impl Attached {
    fn to(segment: &Segment) -> Result<Self, ErrorKind> {
        let mut attached = null_mut();
        let fd = segment.as_fd().as_raw_fd();
        // SAFETY: a descriptor, which is duplicated, and a place for the handle.
        kind_of(unsafe { mpshm_segment_attach_fd(fd, &raw mut attached) })?;
        Ok(Self(attached))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: our own handle.
        unsafe { mpshm_segment_close(self.0) };
    }
}

/// A handle of an object: made by `make` in a segment, and closed by `close`.
pub struct Open<T> {
    object: *mut T,
    close: unsafe extern "C" fn(*mut T),
}

impl<T> Open<T> {
    fn new(
        segment: &Attached,
        close: unsafe extern "C" fn(*mut T),
        make: impl FnOnce(*mut mpshm_segment_t, *mut *mut T) -> c_int,
    ) -> Result<Self, ErrorKind> {
        let mut object = null_mut();
        kind_of(make(segment.0, &raw mut object))?;
        Ok(Self { object, close })
    }
}

impl<T> Drop for Open<T> {
    fn drop(&mut self) {
        // SAFETY: our own handle.
        unsafe { (self.close)(self.object) };
    }
}

/// Which queue: of items, or of messages.
pub trait Which: 'static {
    const NAME: &'static str;
    /// 0 = messages.
    const ITEM: usize;
    const FLAGS: u64;
}

pub struct InSlots;

impl Which for InSlots {
    const NAME: &'static str = "c.queue.slots";
    const ITEM: usize = 8;
    const FLAGS: u64 = 0;
}

pub struct InBlocks;

impl Which for InBlocks {
    const NAME: &'static str = "c.queue.blocks";
    const ITEM: usize = 24;
    const FLAGS: u64 = MPSHM_QUEUE_JOINABLE;
}

pub struct OfMessages;

impl Which for OfMessages {
    const NAME: &'static str = "c.queue.messages";
    const ITEM: usize = 0;
    const FLAGS: u64 = MPSHM_QUEUE_JOINABLE | MPSHM_QUEUE_FULL_OVERWRITES;
}

pub struct CQueue<W>(PhantomData<W>);

const MESSAGE_MAX: usize = 80;

fn options<W: Which>() -> mpshm_queue_options_t {
    // SAFETY: integers only, for which zeros are valid.
    let mut options: mpshm_queue_options_t = unsafe { std::mem::zeroed() };
    // SAFETY: a place for the defaults.
    assert_eq!(unsafe { mpshm_queue_options_init(&raw mut options) }, 0);
    options.capacity = 4;
    options.leases = 2;
    options.item_size = W::ITEM;
    options.message_max = MESSAGE_MAX as u64;
    options.flags = W::FLAGS;
    options
}

/// Bytes of what is pushed.
fn length<W: Which>() -> usize {
    if W::ITEM == 0 { MESSAGE_MAX } else { W::ITEM }
}

fn push<W: Which>(queue: *mut mpshm_queue_t, timeout: i64) -> c_int {
    let bytes = [7u8; MESSAGE_MAX];
    // SAFETY: our own handle, and as many bytes as said.
    unsafe { mpshm_queue_push(queue, bytes.as_ptr().cast(), length::<W>(), timeout) }
}

fn pop<W: Which>(queue: *mut mpshm_queue_t, timeout: i64) -> c_int {
    let mut buffer = [0u8; MESSAGE_MAX];
    let mut count = usize::MAX;
    // SAFETY: our own handle, a buffer with its length, a place for a number.
    let code = unsafe {
        let buffer: *mut c_void = buffer.as_mut_ptr().cast();
        mpshm_queue_pop(queue, buffer, MESSAGE_MAX, timeout, &raw mut count)
    };
    if code == 0 && W::ITEM != 0 {
        assert_eq!(count, W::ITEM, "a part of an item was popped");
    }
    code
}

impl<W: Which> Kind for CQueue<W> {
    const NAME: &'static str = W::NAME;
    type Handle = (Open<mpshm_queue_t>, Attached);
    const STATES: usize = 4;

    fn create(segment: &Segment) -> Self::Handle {
        let (options, attached) = (options::<W>(), Attached::to(segment).expect("a segment"));
        let open = Open::new(&attached, mpshm_queue_close, |segment, queue| {
            // SAFETY: a segment's handle, a name, options, and a place for the handle.
            unsafe { mpshm_queue_create(segment, NAME.as_ptr(), &raw const options, queue) }
        });
        (open.expect("a queue"), attached)
    }

    fn open(segment: &Segment) -> Result<Self::Handle, ErrorKind> {
        let (options, attached) = (options::<W>(), Attached::to(segment)?);
        let open = Open::new(&attached, mpshm_queue_close, |segment, queue| {
            // SAFETY: as in `create`.
            unsafe { mpshm_queue_open(segment, NAME.as_ptr(), &raw const options, queue) }
        });
        Ok((open?, attached))
    }

    fn prepare((open, _): &Self::Handle, (peer, _): &Self::Handle, state: usize) {
        match state {
            0 => {
                for queue in [open.object, peer.object] {
                    assert_eq!((push::<W>(queue, 0), pop::<W>(queue, 0)), (0, 0));
                    // SAFETY: our own handle. It may not be joinable.
                    let _ = unsafe { mpshm_queue_task_done(queue) };
                }
            }
            // SAFETY: our own handle.
            3 => assert_eq!(unsafe { mpshm_queue_shutdown(open.object) }, 0),
            _ => {
                for _ in 0..3 {
                    assert_eq!(push::<W>(open.object, 0), 0);
                    if state == 2 {
                        assert_eq!(pop::<W>(open.object, 0), 0);
                    }
                }
            }
        }
    }

    fn die((open, _): &Self::Handle) {
        let (mut data, mut length) = (null(), 0);
        // SAFETY: our own handle, and places for the answers. Not for items in slots.
        let _ = unsafe { mpshm_queue_claim(open.object, 0, &raw mut data, &raw mut length) };
    }

    fn fields(image: &[u8], layout: &Layout) -> Vec<Field> {
        queue_fields(image, layout, VICTIM)
    }

    fn operate((open, _): &Self::Handle, calls: &mut Calls) {
        let queue = open.object;
        for step in calls.shuffled(6) {
            match step {
                0 => {
                    calls.code("mpshm_queue_push", || push::<W>(queue, 0));
                    calls.timed_code("mpshm_queue_push", |wait| push::<W>(queue, wait));
                }
                1 => {
                    calls.code("mpshm_queue_pop", || pop::<W>(queue, 0));
                    calls.timed_code("mpshm_queue_pop", |wait| pop::<W>(queue, wait));
                }
                2 => many::<W>(queue, calls),
                3 => in_place::<W>(queue, calls),
                4 => info(queue, calls),
                _ => {
                    // SAFETY: our own handle.
                    calls.code("mpshm_queue_task_done", || unsafe { mpshm_queue_task_done(queue) });
                    // SAFETY: our own handle.
                    calls.timed_code("mpshm_queue_join", |wait| unsafe {
                        mpshm_queue_join(queue, wait)
                    });
                }
            }
        }
        if calls.random.below(4) == 0 {
            // SAFETY: our own handle.
            calls.code("mpshm_queue_shutdown", || unsafe { mpshm_queue_shutdown(queue) });
            calls.timed_code("mpshm_queue_pop", |wait| pop::<W>(queue, wait));
        }
    }
}

fn many<W: Which>(queue: *mut mpshm_queue_t, calls: &mut Calls) {
    let bytes = [9u8; 3 * MESSAGE_MAX];
    let lengths = [length::<W>(); 3];
    let lengths = if W::ITEM == 0 { lengths.as_ptr() } else { null() };
    calls.timed_code("mpshm_queue_push_many", |wait| {
        let data: *const c_void = bytes.as_ptr().cast();
        // SAFETY: our own handle; as many items as said, and their lengths where those are asked for.
        unsafe { mpshm_queue_push_many(queue, data, lengths, 3, wait, null_mut()) }
    });
    let mut buffer = [0u8; 5 * MESSAGE_MAX];
    let (mut lengths, mut popped) = ([0; 4], 0);
    calls.timed_code("mpshm_queue_pop_many", |wait| {
        let (buffer, size): (*mut c_void, _) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: our own handle, a buffer with its length, room for the lengths and the number.
        unsafe {
            let lengths = lengths.as_mut_ptr();
            mpshm_queue_pop_many(queue, buffer, size, 4, wait, lengths, &raw mut popped)
        }
    });
    if W::ITEM != 0 {
        assert!(lengths[..popped].iter().all(|&length| length == W::ITEM), "{lengths:?}");
    }
}

fn in_place<W: Which>(queue: *mut mpshm_queue_t, calls: &mut Calls) {
    let mut data = null_mut();
    let reserved = calls.timed_code("mpshm_queue_reserve", |wait| {
        // SAFETY: our own handle, and a place for the answer.
        unsafe { mpshm_queue_reserve(queue, length::<W>(), wait, &raw mut data) }
    });
    if reserved {
        // SAFETY: so many bytes were reserved there.
        unsafe { data.cast::<u8>().write_bytes(3, length::<W>()) };
        // SAFETY: our own handle.
        let commit = || unsafe { mpshm_queue_commit(queue, length::<W>()) };
        if !calls.timed_code("mpshm_queue_commit", |_| commit()) {
            // SAFETY: our own handle.
            calls.code("mpshm_queue_abort", || unsafe { mpshm_queue_abort(queue) });
        }
    }
    let (mut data, mut length, mut deliveries) = (null(), 0, 0);
    let claimed = calls.timed_code("mpshm_queue_claim", |wait| {
        // SAFETY: our own handle, and places for the answers.
        unsafe { mpshm_queue_claim(queue, wait, &raw mut data, &raw mut length) }
    });
    if claimed {
        calls.code("mpshm_queue_deliveries", || {
            // SAFETY: our own handle, and a place for the answer.
            unsafe { mpshm_queue_deliveries(queue, &raw mut deliveries) }
        });
        // SAFETY: so many bytes are claimed there.
        let bytes = (0..length).map(|at| unsafe { data.cast::<u8>().add(at).read_volatile() });
        let back = bytes.map(u32::from).sum::<u32>() % 2 == 0;
        calls.code("mpshm_queue_release", || {
            // SAFETY: our own handle.
            unsafe { if back { mpshm_queue_give_back(queue) } else { mpshm_queue_release(queue) } }
        });
    }
}

fn info(queue: *mut mpshm_queue_t, calls: &mut Calls) {
    let (mut number, mut flag, mut other) = (0u64, false, null_mut());
    calls.code("mpshm_queue_length", || {
        // SAFETY: our own handle, and a place for the answer.
        unsafe { mpshm_queue_length(queue, &raw mut number) }
    });
    calls.code("mpshm_queue_capacity", || {
        // SAFETY: as above.
        unsafe { mpshm_queue_capacity(queue, &raw mut number) }
    });
    calls.code("mpshm_queue_message_max", || {
        // SAFETY: as above.
        unsafe { mpshm_queue_message_max(queue, &raw mut number) }
    });
    calls.code("mpshm_queue_is_shut_down", || {
        // SAFETY: as above.
        unsafe { mpshm_queue_is_shut_down(queue, &raw mut flag) }
    });
    // SAFETY: integers only, for which zeros are valid.
    let mut counters: mpshm_queue_counters_t = unsafe { std::mem::zeroed() };
    counters.struct_size = size_of::<mpshm_queue_counters_t>();
    calls.code("mpshm_queue_counters", || {
        // SAFETY: as above.
        unsafe { mpshm_queue_counters(queue, &raw mut counters) }
    });
    // SAFETY: as above.
    if calls.code("mpshm_queue_clone", || unsafe { mpshm_queue_clone(queue, &raw mut other) }) {
        // SAFETY: the handle just made.
        calls.info("mpshm_queue_close", || unsafe { mpshm_queue_close(other) });
    }
    // SAFETY: as above.
    if calls.code("mpshm_queue_producer", || unsafe { mpshm_queue_producer(queue, &raw mut other) })
    {
        // SAFETY: the handle just made.
        calls.info("mpshm_queue_close", || unsafe { mpshm_queue_close(other) });
    }
}

/// A value, an array and a mutex.
pub struct Locks;

pub struct AllLocks {
    value: Open<mpshm_value_t>,
    array: Open<mpshm_array_t>,
    mutex: Open<mpshm_mutex_t>,
    segment: Attached,
}

const ELEMENTS: u64 = 10;
const DATA: usize = 40;

impl AllLocks {
    fn made(segment: &Segment, new: bool) -> Result<Self, ErrorKind> {
        let attached = Attached::to(segment)?;
        let initial = 5i64;
        let initial: *const c_void = (&raw const initial).cast();
        Ok(Self {
            // SAFETY: the segment's handle, a name, and places for what is asked and answered.
            value: Open::new(&attached, mpshm_value_close, |segment, value| unsafe {
                match new {
                    true => {
                        mpshm_value_create(segment, c"value".as_ptr(), MPSHM_I64, initial, value)
                    }
                    false => mpshm_value_open(segment, c"value".as_ptr(), MPSHM_I64, value),
                }
            })?,
            // SAFETY: as above.
            array: Open::new(&attached, mpshm_array_close, |segment, array| unsafe {
                match new {
                    true => {
                        mpshm_array_create(segment, c"array".as_ptr(), MPSHM_I32, ELEMENTS, array)
                    }
                    false => mpshm_array_open(segment, c"array".as_ptr(), MPSHM_I32, array),
                }
            })?,
            // SAFETY: as above.
            mutex: Open::new(&attached, mpshm_mutex_close, |segment, mutex| unsafe {
                match new {
                    true => mpshm_mutex_create(segment, c"mutex".as_ptr(), 300, DATA, 8, mutex),
                    false => mpshm_mutex_open(segment, c"mutex".as_ptr(), 300, DATA, 8, mutex),
                }
            })?,
            segment: attached,
        })
    }

    fn lock(&self, which: usize, timeout: i64) -> c_int {
        // SAFETY: our own handles.
        unsafe {
            match which {
                0 => mpshm_value_lock(self.value.object, timeout),
                1 => mpshm_array_lock(self.array.object, timeout),
                _ => mpshm_mutex_lock(self.mutex.object, timeout),
            }
        }
    }

    /// Makes it sound, and gives it back.
    fn unlock(&self, which: usize) -> c_int {
        // SAFETY: our own handles.
        unsafe {
            match which {
                0 => {
                    let _ = mpshm_value_mark_consistent(self.value.object);
                    mpshm_value_unlock(self.value.object)
                }
                1 => {
                    let _ = mpshm_array_mark_consistent(self.array.object);
                    mpshm_array_unlock(self.array.object)
                }
                _ => {
                    let _ = mpshm_mutex_mark_consistent(self.mutex.object);
                    mpshm_mutex_unlock(self.mutex.object)
                }
            }
        }
    }

    fn use_value(&self, calls: &mut Calls) {
        let value = self.value.object;
        let (mut seen, one) = (0u64, 1u64);
        let (out, one): (*mut c_void, *const c_void) =
            ((&raw mut seen).cast(), (&raw const one).cast());
        // SAFETY: our own handle, and places of eight bytes.
        calls.code("mpshm_value_load", || unsafe { mpshm_value_load(value, out) });
        // SAFETY: as above.
        calls.code("mpshm_value_swap", || unsafe { mpshm_value_swap(value, one, out) });
        // SAFETY: as above.
        calls.code("mpshm_value_fetch_add", || unsafe { mpshm_value_fetch_add(value, one, out) });
    }

    fn use_array(&self, calls: &mut Calls) {
        let array = self.array.object;
        let mut length = 0;
        // SAFETY: our own handle, and a place for the answer.
        calls.code("mpshm_array_length", || unsafe { mpshm_array_length(array, &raw mut length) });
        // An array that says it is longer has room for that.
        let mut elements = vec![0i32; length as usize];
        let all: *mut c_void = elements.as_mut_ptr().cast();
        // SAFETY: our own handle, and as many elements as it has.
        calls.code("mpshm_array_read", || unsafe { mpshm_array_read(array, 0, length, all) });
        // SAFETY: as above.
        calls.code("mpshm_array_write", || unsafe { mpshm_array_write(array, 0, length, all) });
        let past = || {
            // SAFETY: our own handle; what is past the end is refused.
            unsafe { mpshm_array_load(array, length, elements.as_mut_ptr().cast()) }
        };
        calls.code("mpshm_array_load", past);
    }

    fn use_mutex(&self, calls: &mut Calls) {
        let (mut data, mut size) = (null_mut(), 0);
        calls.code("mpshm_mutex_data", || {
            // SAFETY: our own handle, and places for the answers.
            unsafe { mpshm_mutex_data(self.mutex.object, &raw mut data, &raw mut size) }
        });
        assert_eq!(size, DATA);
        // SAFETY: so many bytes lie there.
        calls.info("the mutex's data", || unsafe { data.cast::<u8>().write_bytes(1, size) });
    }
}

impl Kind for Locks {
    const NAME: &'static str = "c.locks";
    type Handle = AllLocks;
    const STATES: usize = 3;

    fn create(segment: &Segment) -> AllLocks {
        AllLocks::made(segment, true).expect("three objects")
    }

    fn open(segment: &Segment) -> Result<AllLocks, ErrorKind> {
        AllLocks::made(segment, false)
    }

    fn prepare(all: &AllLocks, peer: &AllLocks, state: usize) {
        for which in 0..3 {
            let locked = all.lock(which, 0);
            assert_eq!(locked, if state == 2 { OWNER_DEAD } else { 0 });
            assert_eq!(all.unlock(which), 0);
            if state == 2 {
                assert_eq!(peer.lock(which, 0), 0);
            }
        }
    }

    fn die(all: &AllLocks) {
        (0..3).for_each(|which| assert_eq!(all.lock(which, 0), 0));
    }

    fn fields(_image: &[u8], layout: &Layout) -> Vec<Field> {
        let [value, array, mutex] =
            ["value", "array", "mutex"].map(|name| layout.objects[name].start);
        let mut fields = vec![Field::new("value", value, 8)];
        fields.extend([value + 64, array, mutex].into_iter().flat_map(layout::lock));
        fields.extend((0..10).map(|index| Field::new("element", array + 128 + 4 * index, 4)));
        fields.extend((0..DATA).map(|index| Field::new("data", mutex + 32 + index, 1)));
        fields
    }

    fn operate(all: &AllLocks, calls: &mut Calls) {
        for which in calls.shuffled(3) {
            let mut got = false;
            calls.timed_code("mpshm_…_lock", |wait| {
                let code = all.lock(which, wait);
                got = code == 0 || code == OWNER_DEAD;
                code
            });
            match which {
                0 => all.use_value(calls),
                1 => all.use_array(calls),
                _ => all.use_mutex(calls),
            }
            if got {
                calls.code("mpshm_…_lock", || all.lock(which, 0)); // ours already
                calls.code("mpshm_…_unlock", || all.unlock(which));
            }
            calls.code("mpshm_…_unlock", || all.unlock(which)); // not ours any more
        }
        // As another type.
        let mut other = null_mut();
        calls.code("mpshm_value_open", || {
            let segment = all.segment.0;
            // SAFETY: the segment's handle, a name, and a place for the handle.
            let code =
                unsafe { mpshm_value_open(segment, c"array".as_ptr(), MPSHM_U64, &raw mut other) };
            if code == 0 { 0 } else { -(ErrorKind::Empty as c_int) }
        });
        // SAFETY: the handle just made, or NULL.
        unsafe { mpshm_value_close(other) };
    }
}
