//! A sweep over a segment: what each kind of object does about the dead.
//!
//! Nobody has to call it. Whoever trips over a dead owner's mark repairs that mark, there and then; a
//! sweep does the same for all marks at once, so that blocks and returned items do not wait for the
//! next one who needs them.
//!
//! | kind | repair |
//! |---|---|
//! | Value, Array | nothing is ever held; their lock is a mutex |
//! | Mutex | its word names the dead owner beyond doubt: the next locker is told |
//! | Queue | blocks are freed, leased items returned |
//! | Latest | buffers and pins are free again |
//! | Ring | the roles of the dead are taken by whoever comes |
//! | RwLock | its words name the dead beyond doubt, too |
//! | Condvar | a sleeper passes on what the dead were notified of |
//! | Barrier | a sleeper breaks it for a dead party |
//! | Semaphore | owned permits are freed; those that are only counted stay taken |
//! | Event, Latch | nothing is ever held |
//! | Once | the next one who comes finds the dead runner's mark, and runs it |
//! | an object half made | its space is free again, or it is finished |
//! | an object removed | its space is free again when nobody has it open |

use crate::error::{ErrorKind, Result};
use crate::queue;
use crate::segment::place::Place;
use crate::segment::{ObjectKind, Segment};
use crate::sync::semaphore;
use crate::value::latest;

/// Repairs everything that dead participants left in `segment`. Never waits; a stopped participant is
/// left alone. May be called by anybody, by several at once, and be killed at any step.
///
/// ```
/// use mpshm::{Queue, QueueOptions, Segment};
/// let options = QueueOptions::new(8).message_max(32);
/// let segment = Segment::anonymous(Queue::<[u8]>::size_for(&options)?)?;
/// let queue = Queue::<[u8]>::create(segment.at("jobs"), &options)?;
/// queue.push(b"kept")?;
/// mpshm::recover(&segment)?;
/// assert_eq!(queue.pop()?, b"kept");
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// # Errors
/// `Corrupt`; `Limit` when this process finds no participant slot.
pub fn recover(segment: &Segment) -> Result<()> {
    segment.directory()?.repair()?;
    for object in segment.objects()? {
        let place = Place::listed(segment, &object.name);
        match object.kind {
            Some(ObjectKind::Queue) => there_or_not(queue::recover(place, object.item))?,
            Some(ObjectKind::Latest) => there_or_not(latest::recover(place, object.item))?,
            Some(ObjectKind::Semaphore) => there_or_not(semaphore::recover(place))?,
            Some(
                ObjectKind::Value
                | ObjectKind::Array
                | ObjectKind::Mutex
                | ObjectKind::Ring
                | ObjectKind::RwLock
                | ObjectKind::Condvar
                | ObjectKind::Barrier
                | ObjectKind::Event
                | ObjectKind::Once
                | ObjectKind::Latch,
            )
            | None => {}
        }
    }
    Ok(())
}

/// What was removed since it was listed needs no repair.
fn there_or_not(repaired: Result<()>) -> Result<()> {
    repaired.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
