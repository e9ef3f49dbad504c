//! Maps of a pool over items of one size.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::pool::mpshm_pool_t;
use crate::ffi::{call, check_out, given, invalid};
use crate::pool::TaskError;
use crate::pool::worker::{Argument, Output};
use std::ffi::{c_int, c_void};

/// One step of a map: makes a result out of an item. Returns 0; anything else is an error. It runs in a worker, as an
/// mpshm_task_fn does; both places are the worker's own, aligned as in arrays that begin at a multiple of 16.
pub type mpshm_map_fn =
    Option<unsafe extern "C" fn(item: *const c_void, result: *mut c_void) -> c_int>;

/// The head of a chunk: the sizes of an item and of a result.
const CHUNK_HEAD: usize = 16;

/// # Safety
/// `target` is the address of an `mpshm_map_fn`'s function; the argument begins with the sizes of an
/// item and of a result.
unsafe fn run_map(target: u64, argument: Argument, output: &mut Output<'_>) {
    type Function = unsafe extern "C" fn(*const c_void, *mut c_void) -> c_int;
    // SAFETY: the owner, a process with this very code, wrote the function's address there.
    let function: Function = unsafe { std::mem::transmute(target as usize) };
    // SAFETY: the head is there.
    let [item, result] =
        unsafe { argument.start.cast::<[u64; 2]>().read() }.map(|size| size as usize);
    let count = (argument.length - CHUNK_HEAD) / item;
    let mut results = vec![0u128; (count * result).div_ceil(16)];
    for index in 0..count {
        // SAFETY: `count` items and room for as many results.
        let code = unsafe {
            function(
                argument.start.add(CHUNK_HEAD + index * item).cast(),
                results.as_mut_ptr().cast::<u8>().add(index * result).cast(),
            )
        };
        if code != 0 {
            return output.fail(&format!("the map's function returned {code}"));
        }
    }
    output.bytes(&bytemuck::cast_slice(&results)[..count * result]);
}

/// Items of C's, of which any may be overwritten by a result once it has been handed out: raw pointers only.
struct Items {
    start: *const u8,
    count: usize,
    /// Bytes of an item, and of a result.
    sizes: [usize; 2],
    /// Items that go to a worker at a time.
    chunk: usize,
}

impl Items {
    /// The chunk that begins with this item.
    fn argument(&self, first: usize) -> Vec<u8> {
        let size = self.sizes[0];
        let length = self.chunk.min(self.count - first) * size;
        let mut bytes = Vec::with_capacity(CHUNK_HEAD + length);
        bytes.extend(self.sizes.iter().flat_map(|&size| (size as u64).to_ne_bytes()));
        // SAFETY: `count` items lie there, by the word of the map's caller, and nobody writes during this call.
        bytes.extend_from_slice(unsafe {
            std::slice::from_raw_parts(self.start.add(first * size), length)
        });
        bytes
    }
}

/// Bytes of `count` items.
fn total(size: usize, count: usize) -> Result<usize> {
    let bytes = size.checked_mul(count).filter(|&bytes| isize::try_from(bytes).is_ok());
    bytes.ok_or_else(|| invalid(format!("{count} items overflow the address space")))
}

/// Calls `function` for each of `count` items of `item_size` bytes at `items` in the workers, and waits; the
/// results of `result_size` bytes each go to `results`, in order. `chunk` items go to a worker at a time, or as many as
/// message_max has room for; 0 = as many as seems best. `results` may be `items` where both have one size. What fails takes its chunk with it;
/// the others run to their end, and then the first error is said. On an error the content of `results` is undefined.
/// Errors: ETASKFAILED, EWORKERDIED, ETIMELIMIT, ECANCELLED, ECLOSED, EBROKEN, ETOOBIG (not even one item fits a message),
/// EINTERRUPTED, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_map(
    pool: *const mpshm_pool_t,
    function: mpshm_map_fn,
    items: *const c_void,
    item_size: usize,
    count: usize,
    results: *mut c_void,
    result_size: usize,
    chunk: usize,
) -> c_int {
    call(|| {
        let function = function.ok_or_else(|| invalid("the function is NULL"))?;
        // SAFETY: the caller's pointer.
        let pool = &unsafe { given(pool, "pool") }?.0;
        if item_size == 0 || result_size == 0 {
            return Err(invalid("items and results have at least 1 byte"));
        }
        total(item_size, count)?;
        let room = total(result_size, count)?;
        if count == 0 {
            return Ok(());
        }
        check_out(items.cast_mut(), "items")?;
        check_out(results, "results")?;
        let inner = pool.inner();
        inner.check_argument(CHUNK_HEAD.saturating_add(item_size))?;
        let fit = (inner.message_max() - CHUNK_HEAD) / item_size;
        let share = count.div_ceil(4 * pool.workers().max(1));
        let chunk = if chunk == 0 { share } else { chunk }.min(fit).max(1);
        let items = Items { start: items.cast(), count, sizes: [item_size, result_size], chunk };
        let mut failed: Option<TaskError> = None;
        let arguments = (0..count).step_by(chunk).map(|first| items.argument(first));
        inner.map(run_map, function as usize as u64, arguments, |index, result| match result {
            Ok(bytes) => {
                let start = index * chunk * result_size;
                let expected = (room - start).min(chunk * result_size);
                if bytes.len() == expected {
                    // SAFETY: `results` has room for `room` bytes.
                    unsafe {
                        results
                            .cast::<u8>()
                            .add(start)
                            .copy_from_nonoverlapping(bytes.as_ptr(), expected);
                    }
                } else {
                    let text = format!(
                        "a chunk's result of {} bytes, {expected} were expected",
                        bytes.len()
                    );
                    failed.get_or_insert(Error::new(ErrorKind::Corrupt, text).into());
                }
            }
            Err(error) => {
                failed.get_or_insert(error);
            }
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    })
}
