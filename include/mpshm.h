/*
 * mpshm: Python's multiprocessing for native programs, over lock-free shared memory.
 *
 * Generated from src/ffi; not to be edited.
 *
 * OVERVIEW
 *   Values, arrays, latest values, locks, conditions, barriers, semaphores, events, latches, what is done once, queues and
 *   rings are objects in shared memory. Each is made or opened at a place:
 *     (NULL, NULL)        an anonymous segment of its own; forked children inherit it
 *     (NULL, "name")      a segment of its own with that name, in /dev/shm, mode 0600
 *     (segment, "name")   one of several objects of a segment
 *     (segment, NULL)     one without a name, for _create only: this process and the children that it forks from then on
 *                         have it by its handle; when the last handle here is closed its space is used again
 *   Handles are opaque; _create, _open and _open_or_create make them, _close frees them (NULL is a no-op).
 *   Closing never removes a name: mpshm_segment_unlink() does.
 *
 * RESULTS
 *   Calls return 0, or one of the negative MPSHM_E... numbers, which never change. mpshm_strerror() has a few
 *   words on each; mpshm_last_message() has the thread's last error as a sentence that names the object, what was
 *   expected and what was found. Results go to out-parameters, which are written only on success, but for those
 *   that say otherwise. A NULL where one is not allowed is MPSHM_EINVAL. Beside the errors that are listed, any call
 *   may say MPSHM_EINVAL, MPSHM_ECORRUPT, MPSHM_ESYSTEM and MPSHM_EPANIC, and a process's first one on a segment
 *   MPSHM_ELIMIT (all participants are taken).
 *
 * TIME
 *   Time-outs are in nanoseconds: MPSHM_FOREVER (-1) waits for ever, 0 does not wait, any other negative number is
 *   MPSHM_EINVAL. A call that does not wait says MPSHM_EFULL, MPSHM_EEMPTY or MPSHM_EBUSY; one that waited says
 *   MPSHM_ETIMEDOUT. Signals do not show; mpshm_canceller_t ends a wait on purpose. mpshm_select() waits for several things at once,
 *   and mpshm_eventfd_create() makes a descriptor of them for event loops.
 *
 * DEATH
 *   A participant killed at any instruction blocks nobody, and loses nothing that was committed. Its lock's next owner
 *   gets MPSHM_EOWNERDEAD, with the lock held. What it had claimed is delivered again, marked
 *   (mpshm_queue_deliveries()), in a queue perhaps behind what came later; what it had reserved is given up. An exit
 *   without _close is a death.
 *
 * WHO MAY CALL WHAT
 *   | handle                                  | threads at once  | after a fork, in the child       | signal handler |
 *   |-----------------------------------------|------------------|----------------------------------|----------------|
 *   | const mpshm_segment_t, _value_t, _array_t | any            | usable                           | no             |
 *   | const mpshm_mutex_t                     | any; the owner is a thread | usable; a held lock stays the parent's | no |
 *   | const mpshm_rwlock_t                    | any; the owner is a thread | usable; what is held stays the parent's | no |
 *   | const mpshm_condvar_t                   | any, with the mutex  | usable                           | no             |
 *   | const mpshm_barrier_t                   | any; each is a party | usable; the child is another party | no |
 *   | mpshm_latest_t (const: store, version and so on) | one; const: any | usable; what is reserved stays the parent's (MPSHM_EFORKED) | no |
 *   | mpshm_latest_reader_t                   | one              | another reader; what is claimed stays the parent's | no |
 *   | mpshm_queue_t (const: length and so on) | one, see mpshm_queue_clone | usable; what is reserved or claimed stays the parent's (MPSHM_EFORKED) | no |
 *   | mpshm_ring_t (const: length and so on) | one, see mpshm_ring_clone | usable; producer and consumer stay the parent's (MPSHM_EBUSY), and so does what is reserved or claimed (MPSHM_EFORKED) | no |
 *   | const mpshm_semaphore_t                 | any              | usable; owned permits stay the parent's | no |
 *   | const mpshm_event_t                     | any              | usable                           | all but mpshm_event_wait() |
 *   | const mpshm_once_t, _latch_t            | any              | usable                           | no             |
 *   | const mpshm_participant_t               | any              | usable                           | no             |
 *   | const mpshm_eventfd_t                   | any              | the parent's                     | no             |
 *   | const mpshm_process_t, _pool_t, _task_t | any              | MPSHM_EFORKED                    | no             |
 *   | mpshm_imap_t                            | one              | MPSHM_EFORKED                    | no             |
 *   | const mpshm_canceller_t                 | any              | usable                           | mpshm_canceller_cancel() only |
 *   A handle is closed by one thread, when no other uses it. What a reserve or a claim points to is valid until that is
 *   ended, or the handle closed.
 *   Callbacks must not unwind or longjmp through the library.
 */


#ifndef MPSHM_H
#define MPSHM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define MPSHM_MUST_USE __attribute__((warn_unused_result))
#else
#define MPSHM_MUST_USE
#endif

// A time-out that never comes.
#define MPSHM_FOREVER -1

// Bytes without a meaning that the library knows; give their size and alignment.
#define MPSHM_BYTES 0

// int8_t
#define MPSHM_I8 1

// uint8_t
#define MPSHM_U8 2

// int16_t
#define MPSHM_I16 3

// uint16_t
#define MPSHM_U16 4

// int32_t
#define MPSHM_I32 5

// uint32_t
#define MPSHM_U32 6

// int64_t
#define MPSHM_I64 7

// uint64_t
#define MPSHM_U64 8

// float
#define MPSHM_F32 9

// double
#define MPSHM_F64 10

// bool: one byte, 0 or 1
#define MPSHM_BOOL 11

// 128 bits, signed: 16 bytes aligned to 16, in the machine's byte order (`__int128`, or two uint64_t, on x86-64 and
// AArch64 the lower half first). Only where the processor can exchange so many at once (ESYSTEM else).
#define MPSHM_I128 13

// 128 bits, unsigned: see MPSHM_I128.
#define MPSHM_U128 14

// An argument is outside what the call accepts, or NULL where that is not allowed.
#define MPSHM_EINVAL -1

// Nothing of that name exists.
#define MPSHM_ENOTFOUND -2

// Something of that name exists already.
#define MPSHM_EEXISTS -3

// The operating system, or the owner check, refused the access.
#define MPSHM_EPERM -4

// The memory or the room that was asked for is not there.
#define MPSHM_ENOSPACE -5

// A fixed limit is reached: participants of a segment, objects of a directory.
#define MPSHM_ELIMIT -6

// A system call failed for a reason that has no number here; see mpshm_last_errno().
#define MPSHM_ESYSTEM -7

// The file is no segment, or one of another format version or machine.
#define MPSHM_EVERSION -20

// The object is of another kind, or its items are of another type, size or tag.
#define MPSHM_ETYPE -21

// The segment's bytes contradict each other: damaged, truncated or hostile.
#define MPSHM_ECORRUPT -22

// There is no room, and the call does not wait.
#define MPSHM_EFULL -40

// There is no item, and the call does not wait.
#define MPSHM_EEMPTY -41

// The object was shut down.
#define MPSHM_ECLOSED -42

// The time-out passed first.
#define MPSHM_ETIMEDOUT -43

// The call was cancelled on purpose.
#define MPSHM_EINTERRUPTED -44

// The message is longer than a block, or the buffer too short for it.
#define MPSHM_ETOOBIG -45

// The lock is held by somebody else, and the call does not wait.
#define MPSHM_EBUSY -46

// The lock's owner died: the caller holds the lock now.
#define MPSHM_EOWNERDEAD -60

// An owner died and the next one did not mark the data as consistent: gone for good.
#define MPSHM_ENOTRECOVERABLE -61

// The caller does not hold what it wants to give back.
#define MPSHM_ENOTOWNER -62

// The caller holds the lock already, and would wait for itself.
#define MPSHM_EDEADLOCK -63

// The peer on the other end died.
#define MPSHM_EPEERDEAD -64

// The handle belongs to the process that made it and must not be used in a forked child.
#define MPSHM_EFORKED -65

// The task failed; the message is its own.
#define MPSHM_ETASKFAILED -80

// The worker that ran the task died.
#define MPSHM_EWORKERDIED -81

// The task was cancelled before it ended.
#define MPSHM_ECANCELLED -82

// The pool cannot run tasks any more; or the barrier was broken.
#define MPSHM_EBROKEN -83

// The task took longer than tasks of its pool may, and its worker was killed.
#define MPSHM_ETIMELIMIT -84

// A panic was stopped at the boundary: a defect of the library.
#define MPSHM_EPANIC -100

// The version of the library that this header belongs to.
#define MPSHM_VERSION_MAJOR 0

// The version's second part.
#define MPSHM_VERSION_MINOR 1

// The version's third part.
#define MPSHM_VERSION_PATCH 0

// Attach also to a segment that belongs to another user.
#define MPSHM_SEGMENT_OF_ANY_USER 1

// Give a new segment's file to `group`.
#define MPSHM_SEGMENT_SET_GROUP 2

// Ask for transparent huge pages; only advice, never an error.
#define MPSHM_SEGMENT_HUGE_PAGES 4

// Make an anonymous segment of huge pages from the pool that the machine sets aside; ENOSPACE when there
// are too few.
#define MPSHM_SEGMENT_HUGE_TLB 8

// Lock this process's mapping into memory; ELIMIT where RLIMIT_MEMLOCK does not allow it.
#define MPSHM_SEGMENT_LOCK_MEMORY 16

// Map every page now, so that no later access of this process is a page fault.
#define MPSHM_SEGMENT_PREFAULT 32

// The value is the operand.
#define MPSHM_WAIT_EQUAL 1

// It is not.
#define MPSHM_WAIT_NOT_EQUAL 2

// It is less.
#define MPSHM_WAIT_LESS 3

// It is less, or the same.
#define MPSHM_WAIT_AT_MOST 4

// It is greater.
#define MPSHM_WAIT_GREATER 5

// It is greater, or the same.
#define MPSHM_WAIT_AT_LEAST 6

// Pushes into a full queue, reserves and commits fail with EFULL at once, also where they would wait.
#define MPSHM_QUEUE_FULL_FAILS 1

// A push into a full queue takes the oldest item out, which is counted; what is claimed is not taken from its consumer.
#define MPSHM_QUEUE_FULL_OVERWRITES 2

// What a consumer had claimed, or was just popping, when it died is delivered again: the default of all that lies in blocks.
// Items of up to 8 bytes do then.
#define MPSHM_QUEUE_AT_LEAST_ONCE 4

// What a consumer had claimed, or was just popping, when it died is dropped.
#define MPSHM_QUEUE_AT_MOST_ONCE 8

// Items are unfinished until mpshm_queue_task_done(), and come again if their consumer dies before; mpshm_queue_join() waits
// until none is unfinished.
#define MPSHM_QUEUE_JOINABLE 16

// Pushes into a full ring, and reserves, fail with EFULL at once, also where they would wait.
#define MPSHM_RING_FULL_FAILS 1

// A push into a full ring takes the oldest items out, which are counted. Such a ring is not read in place: a claim says
// EINVAL. Written in place it is, one item at a time; the oldest go at the commit.
#define MPSHM_RING_FULL_OVERWRITES 2

// What a consumer had claimed when it died is dropped, not delivered again.
#define MPSHM_RING_AT_MOST_ONCE 4

// The stream ends when one of its ends does: it is shut down when the handle is closed that is the producer or the consumer,
// and says EPEERDEAD when the other one died (to a consumer that has drained it, to a producer that finds it full), until
// somebody takes the dead one's place. Without this flag nobody says EPEERDEAD: who comes next goes on with the stream.
#define MPSHM_RING_FOLLOW_ENDS 8

// Permits have owners: only the process that took one gives it back, and those of the dead come back by themselves. At most
// 65536, and never more than at first. Without it anybody gives back, and what the dead took stays taken.
#define MPSHM_SEMAPHORE_OWNED 1

// What has no number of its own here: the default of standard descriptors and of the process group.
#define MPSHM_INHERIT -1

// A standard descriptor out of which nothing comes, and what goes in is lost.
#define MPSHM_NULL_DEVICE -2

// The child is killed when the thread that forked it ends.
#define MPSHM_PROCESS_KILL_WITH_PARENT 1

// Closing the handle kills the child, and reaps it.
#define MPSHM_PROCESS_DAEMON 2

// Closing the handle leaves the child alone, also where this process is a daemon itself: what a daemon forks
// is one, too, unless this says otherwise.
#define MPSHM_PROCESS_NO_DAEMON 4

// The child leads a session of its own, without a terminal.
#define MPSHM_PROCESS_NEW_SESSION 8

// The status of a child that somebody else has reaped.
#define MPSHM_STATUS_UNKNOWN (-2147483647 - 1)

// An mpshm_event_t: it is set, or was since the call began.
#define MPSHM_WAITABLE_EVENT 1

// An mpshm_semaphore_t: a permit is free, or its owner dead.
#define MPSHM_WAITABLE_SEMAPHORE 2

// An mpshm_queue_t: a pop without waiting would not say EEMPTY.
#define MPSHM_WAITABLE_QUEUE_READABLE 3

// An mpshm_queue_t: a push of the longest item without waiting would not say EFULL.
#define MPSHM_WAITABLE_QUEUE_WRITABLE 4

// An mpshm_ring_t: a pop without waiting would not say EEMPTY.
#define MPSHM_WAITABLE_RING_READABLE 5

// An mpshm_ring_t: there is room for `operand` items, or for a message of so many bytes, or there never will be.
#define MPSHM_WAITABLE_RING_WRITABLE 6

// A waitable mpshm_value_t: it compares to `*value` as `condition` says.
#define MPSHM_WAITABLE_VALUE 7

// An mpshm_latch_t: all have arrived.
#define MPSHM_WAITABLE_LATCH 8

// An mpshm_latest_t: its version is another than `operand`.
#define MPSHM_WAITABLE_LATEST 9

// An mpshm_process_t: it has ended.
#define MPSHM_WAITABLE_PROCESS 10

// An mpshm_participant_t: it has left the segment, or is dead.
#define MPSHM_WAITABLE_PARTICIPANT 11

// Wait until all are ready at once, not any.
#define MPSHM_SELECT_ALL 1

// Each worker stays on one processor, in turn those that the pool's maker may use.
#define MPSHM_POOL_PIN_CPUS 1

// When the fork server dies, the pool is broken. Without this another one is forked, by whichever thread waits for a
// result, from the process as it then is.
#define MPSHM_POOL_NO_NEW_SERVER 2

// What a source returns that has no more arguments.
#define MPSHM_IMAP_END 1

// Tasks come as they end, not in the order of their arguments.
#define MPSHM_IMAP_UNORDERED 1

// An array of scalars in shared memory, of fixed length. Each element is atomic.
typedef struct mpshm_array_t mpshm_array_t;

// Where several processes, or threads, wait for each other.
typedef struct mpshm_barrier_t mpshm_barrier_t;

// Ends the blocking calls of a thread on purpose: they say EINTERRUPTED.
typedef struct mpshm_canceller_t mpshm_canceller_t;

// Where threads of several processes wait, under a mutex, until something has changed.
typedef struct mpshm_condvar_t mpshm_condvar_t;

// A flag in shared memory that processes set, clear and wait for; unset at first.
typedef struct mpshm_event_t mpshm_event_t;

// A descriptor for poll, epoll and event loops, with a thread of its own.
typedef struct mpshm_eventfd_t mpshm_eventfd_t;

// A stream of a pool's results.
typedef struct mpshm_imap_t mpshm_imap_t;

// A count in shared memory that processes count down, once, and wait for until it is 0.
typedef struct mpshm_latch_t mpshm_latch_t;

// One of the readers of a latest value.
typedef struct mpshm_latest_reader_t mpshm_latest_reader_t;

// The latest value of any size: writers replace it as a whole; readers never wait, and never see a half of it. A writer
// killed at any instruction leaves the last whole value.
typedef struct mpshm_latest_t mpshm_latest_t;

// A lock in shared memory, and the bytes that it guards.
typedef struct mpshm_mutex_t mpshm_mutex_t;

// Something that one process does and the others wait for, once for all of them.
typedef struct mpshm_once_t mpshm_once_t;

// Where a function of the program's puts bytes: a task its result, a source the next argument.
typedef struct mpshm_output_t mpshm_output_t;

// A process that takes part in a segment: alive, or not. One incarnation: who comes later with the same number is another.
typedef struct mpshm_participant_t mpshm_participant_t;

// A pool of worker processes, of the process that made it.
typedef struct mpshm_pool_t mpshm_pool_t;

// A forked child process. Closing the handle of one that runs leaves it running.
typedef struct mpshm_process_t mpshm_process_t;

// A bounded queue in shared memory, for any number of producers and consumers. A handle is used by one
// thread at a time; mpshm_queue_clone() gives another. It works on both sides of a fork.
typedef struct mpshm_queue_t mpshm_queue_t;

// A bounded stream in shared memory, from one producer to one consumer. Whoever uses a handle first to push (reserve)
// in a process is the producer until that handle is closed, or its process dies; the same for the consumer, also with the
// same handle. To others such calls say EBUSY, at once. A call that finds the ring full or empty is a use, one that is refused
// for its arguments is none. A handle is used by one thread at a time; mpshm_ring_clone() gives another. It works on
// both sides of a fork.
typedef struct mpshm_ring_t mpshm_ring_t;

// A lock in shared memory that many may hold to read, or one to write, and the bytes that it guards.
typedef struct mpshm_rwlock_t mpshm_rwlock_t;

// A mapped segment. Objects keep it mapped, so it may be closed before them.
typedef struct mpshm_segment_t mpshm_segment_t;

// A number of permits in shared memory: who wants one takes it, or waits until it is free.
typedef struct mpshm_semaphore_t mpshm_semaphore_t;

// A task that was handed to a pool.
typedef struct mpshm_task_t mpshm_task_t;

// A scalar in shared memory. Every operation is one atomic step for everybody else.
typedef struct mpshm_value_t mpshm_value_t;

// How a segment is made or attached to. Set by mpshm_segment_options_init(), then changed.
typedef struct mpshm_segment_options_t {
  // Bytes of this struct, as mpshm_segment_options_init() sets it.
  size_t struct_size;
  // MPSHM_SEGMENT_… bits; 0 by default.
  uint64_t flags;
  // How many processes can own something at one time, 1 to 1023; 64 by default.
  uint32_t participants;
  // How many objects there can be, 1 to 65536; 64 by default.
  uint32_t objects;
  // The file mode of a named segment or a segment file; 0600 by default.
  uint32_t mode;
  // The group of that file, with MPSHM_SEGMENT_SET_GROUP.
  uint32_t group;
} mpshm_segment_options_t;

// How a latest value is made. Set by mpshm_latest_options_init(), then changed.
typedef struct mpshm_latest_options_t {
  // Bytes of this struct, as mpshm_latest_options_init() sets it.
  size_t struct_size;
  // 0.
  uint64_t flags;
  // How many can read at the same moment, 1 to 128; 8 by default. Each costs the space of a value.
  uint32_t readers;
  // How many can write at the same moment, a stopped one included, 1 to 64; 2 by default. Each costs the space of a
  // value; one more waits for them.
  uint32_t writers;
} mpshm_latest_options_t;

// What the last party to come runs before anybody goes on.
typedef void (*mpshm_barrier_action_t)(void *context);

// So many blocks for messages of up to so many bytes.
typedef struct mpshm_queue_blocks_t {
  // Bytes of the longest message.
  uint64_t bytes;
  // Number of blocks.
  uint64_t count;
} mpshm_queue_blocks_t;

// How a queue is made, or which one is expected. Set by mpshm_queue_options_init(), then changed.
typedef struct mpshm_queue_options_t {
  // Bytes of this struct, as mpshm_queue_options_init() sets it.
  size_t struct_size;
  // MPSHM_QUEUE_ flags, or 0.
  uint64_t flags;
  // Items that the queue holds at most, exactly: 1 to 2^26; 1024 by default.
  uint64_t capacity;
  // Bytes of an item; 0, the default, for messages of 0 to message_max bytes. Items of up to 8 bytes
  // travel in slots: faster, but not in place, and lost with a consumer that dies just as it takes one. Not so with
  // MPSHM_QUEUE_AT_LEAST_ONCE or MPSHM_QUEUE_JOINABLE: then they lie in blocks, as longer ones do.
  size_t item_size;
  // Alignment of an item, a power of two up to 128 that divides item_size; 0 = the largest one up to 8.
  // Rust's side has to agree: give `_Alignof` of the type.
  size_t item_align;
  // Bytes of the longest message, at most 2^31; 4096 by default.
  uint64_t message_max;
  // MPSHM_BYTES, a scalar's code (item_size and item_align may then be 0), or a number from 256 on that
  // tells the user's types apart, those of messages too.
  uint32_t type_code;
  // Alignment of messages in place, a power of two up to 128; 16 by default.
  uint32_t message_align;
  // Blocks that a process may hold (reserved or claimed) without taking from the capacity, 1 to 1024; 4 by default.
  uint32_t leases;
  // More than 0: the queue ends with its producers, once so many have come in all. It is shut down when the last one
  // (mpshm_queue_producer()) is closed; pops say EPEERDEAD when the last one to be missed had died.
  uint32_t producers;
  // Blocks of several sizes for messages, in ascending order; a size of 0 blocks ends the list. None, the default:
  // one size, for messages of up to message_max bytes. Else message_max is the largest one's, a message lies in a
  // block of the least size that it fits into and that has one free, and when all of them are taken (reserved, queued or
  // claimed) the queue is full for it, whatever its capacity.
  struct mpshm_queue_blocks_t blocks[8];
} mpshm_queue_options_t;

// What has happened in a queue or a ring since it was made. Set by mpshm_queue_counters() and mpshm_ring_counters().
typedef struct mpshm_queue_counters_t {
  // Bytes of this struct, set by the caller; EINVAL when that is another number.
  size_t struct_size;
  // Items that were put in.
  uint64_t pushed;
  // Items that consumers took out, each counted once, however often it was delivered.
  uint64_t popped;
  // Items that were pushed out by newer ones.
  uint64_t overwritten;
  // How often an item went back to be delivered again, by the death of its consumer or by its will.
  uint64_t redelivered;
  // Items, of those popped, that were dropped because their consumer died.
  uint64_t dropped;
  // Calls that went to sleep.
  uint64_t waits;
  // Dead participants that had something, and were repaired after.
  uint64_t repairs;
} mpshm_queue_counters_t;

// How a ring is made, or which one is expected. Set by mpshm_ring_options_init(), then changed.
typedef struct mpshm_ring_options_t {
  // Bytes of this struct, as mpshm_ring_options_init() sets it.
  size_t struct_size;
  // MPSHM_RING_ flags, or 0.
  uint64_t flags;
  // Items that the ring holds, exactly. Of messages, bytes, which are rounded up to a multiple of 8: a message takes
  // 8 and its length, rounded up to a multiple of 8, and all together take at most 8 more than the capacity, so
  // that one message of the whole capacity fits. At least 1, at most 2^40 bytes; 65536 by default.
  uint64_t capacity;
  // Bytes of an item; 0, the default, for messages of 0 to `capacity` (rounded up) bytes.
  size_t item_size;
  // Alignment of an item, a power of two up to 128 that divides item_size; 0 = the largest one up to 8.
  // Rust's side has to agree: give `_Alignof` of the type.
  size_t item_align;
  // MPSHM_BYTES, a scalar's code (item_size and item_align may then be 0), or a number from 256 on that
  // tells the user's types apart, those of messages too.
  uint32_t type_code;
  // 0, or EINVAL.
  uint32_t reserved;
} mpshm_ring_options_t;

// How a semaphore is made. Set by mpshm_semaphore_options_init(), then changed.
typedef struct mpshm_semaphore_options_t {
  // Bytes of this struct, as mpshm_semaphore_options_init() sets it.
  size_t struct_size;
  // MPSHM_SEMAPHORE_ flags, or 0.
  uint64_t flags;
  // How many permits are free at first, 0 to 2^32 - 1; 1 by default.
  uint64_t initial;
  // The most permits that there can be, 1 to 2^32 - 1; 0, the default: no other bound, or with MPSHM_SEMAPHORE_OWNED as
  // many as at first.
  uint64_t bound;
} mpshm_semaphore_options_t;

// A segment to be handed over to a program.
typedef struct mpshm_process_segment_t {
  // 1 to 100 bytes without ':', ',' and control characters.
  const char *label;
  // The segment; it may be closed when the program runs.
  const struct mpshm_segment_t *segment;
} mpshm_process_segment_t;

// How a process is made. Set by mpshm_process_options_init(), then changed.
typedef struct mpshm_process_options_t {
  // Bytes of this struct, as mpshm_process_options_init() sets it.
  size_t struct_size;
  // MPSHM_PROCESS_… bits; 0 by default.
  uint64_t flags;
  // A name, or NULL for `Process-N`.
  const char *name;
  // The processors it may run on, counted from 0; NULL for this process's.
  const uint32_t *cpus;
  // How many these are.
  size_t cpu_count;
  // Added to its niceness: 1 or more to get less of a busy processor, below 0 (a privilege) for more.
  int nice;
  // A process group that it joins, 0 for a new one that it leads, or MPSHM_INHERIT.
  int group;
  // Its standard input: a descriptor, which stays the caller's, MPSHM_INHERIT or MPSHM_NULL_DEVICE.
  int stdin_fd;
  // Its standard output.
  int stdout_fd;
  // Its standard error.
  int stderr_fd;
  // 0.
  uint32_t reserved;
  // mpshm_process_exec() only: variables to set in the environment, `NAME=VALUE`, a NULL at the end; or NULL.
  const char *const *environment;
  // mpshm_process_exec() only: segments that the program opens by mpshm_segment_inherited(); or NULL.
  const struct mpshm_process_segment_t *segments;
  // How many these are.
  size_t segment_count;
} mpshm_process_options_t;

// What a child runs; what it returns is the exit code (its lowest 8 bits).
typedef int (*mpshm_process_fn)(void *context);

// One thing to wait for. What its kind has no use for is 0, or NULL.
typedef struct mpshm_waitable_t {
  // One of MPSHM_WAITABLE_.
  uint32_t kind;
  // One of MPSHM_WAIT_, for a value.
  uint32_t condition;
  // The handle, of the type that `kind` says.
  const void *handle;
  // See MPSHM_WAITABLE_RING_WRITABLE and MPSHM_WAITABLE_LATEST.
  uint64_t operand;
  // What a value is compared to, of its type.
  const void *value;
} mpshm_waitable_t;

// What each worker calls once, before any task. It runs in the worker, a fork of the pool's maker, also in one that
// replaces another: what `context` points to is the worker's own copy, as it was when the fork server was forked. Returns
// 0; anything else is an error, and the worker ends.
typedef int (*mpshm_pool_init_fn)(void *context);

// How a pool is made. Set by mpshm_pool_options_init(), then changed.
typedef struct mpshm_pool_options_t {
  // Bytes of this struct, as mpshm_pool_options_init() sets it.
  size_t struct_size;
  // MPSHM_POOL_… bits; 0 by default.
  uint64_t flags;
  // Tasks that the queue to the workers holds; 128 by default.
  uint64_t queue;
  // Bytes of the longest argument, or chunk of a map; 16 KiB by default.
  uint64_t message_max;
  // Tasks, or chunks of maps, after which a worker ends and another takes its place; 0, the default: never.
  uint64_t max_tasks_per_worker;
  // How long a task may run before its worker is killed and it says ETIMELIMIT; MPSHM_FOREVER by default.
  int64_t task_timeout_ns;
  // Bytes of address space that a worker may have beyond those it begins with; 0, the default: no limit.
  uint64_t memory_limit;
  // How often a task is run again whose worker died in it; 0 by default.
  uint32_t retries;
  // How many workers may die within restart_within_ns, or the pool is broken; counts only if that is not 0.
  uint32_t restart_limit;
  // In nanoseconds; 0, the default: as many as will.
  uint64_t restart_within_ns;
  // Up to how many workers mpshm_pool_resize() may go, at most 1000; 0, the default: as many as the pool begins with.
  // Memory is set aside for each.
  uint32_t workers_max;
  // 0.
  uint32_t reserved;
  // Or NULL. A pool in which it fails three times in a row is broken, with what it returned in the message.
  mpshm_pool_init_fn initializer;
  // What the initializer gets.
  void *initializer_context;
} mpshm_pool_options_t;

// What one worker has done so far. Set by mpshm_pool_stats().
typedef struct mpshm_worker_stats_t {
  // Bytes of this struct: set by the caller in the first of several; EINVAL when that is another number.
  size_t struct_size;
  // Its process id.
  int32_t pid;
  // Whether its initializer is done.
  bool is_ready;
  // Whether it runs a task at the moment.
  bool is_busy;
  // 0.
  uint16_t reserved;
  // Tasks, or chunks of maps, that it has run, those that failed included.
  uint64_t tasks;
  // How long it has spent in tasks, the present one included, in nanoseconds.
  uint64_t busy_ns;
  // How long it has waited for tasks, or for room for results, since it was ready, in nanoseconds.
  uint64_t idle_ns;
} mpshm_worker_stats_t;

// A task: reads `length` bytes at `input`, puts its result out with mpshm_output_write(), returns 0;
// anything else is an error, whose message mpshm_output_fail() sets. It runs in a worker, forked when the pool was made: it
// must have been in the program's memory by then, and what it changes is the worker's own, but for shared memory.
typedef int (*mpshm_task_fn)(const void *input, size_t length, struct mpshm_output_t *output);

// Why a task has no result. Set by mpshm_task_error().
typedef struct mpshm_task_error_t {
  // Bytes of this struct, set by the caller; EINVAL when that is another number.
  size_t struct_size;
  // ETASKFAILED, EWORKERDIED, ETIMELIMIT, ECANCELLED, EBROKEN; 0 for a task that has a result.
  int code;
  // ETASKFAILED, EWORKERDIED, ETIMELIMIT: the worker's process id; else 0.
  int32_t pid;
  // EWORKERDIED: its exit code, −N when signal N killed it, or MPSHM_STATUS_UNKNOWN; else 0.
  int status;
  // EWORKERDIED: how many workers have died in this task; else 0.
  uint32_t attempts;
} mpshm_task_error_t;

// One step of a map: makes a result out of an item. Returns 0; anything else is an error. It runs in a worker, as an
// mpshm_task_fn does; both places are the worker's own, aligned as in arrays that begin at a multiple of 16.
typedef int (*mpshm_map_fn)(const void *item, void *result);

// How a stream is made. Set by mpshm_imap_options_init(), then changed.
typedef struct mpshm_imap_options_t {
  // Bytes of this struct, as mpshm_imap_options_init() sets it.
  size_t struct_size;
  // MPSHM_IMAP_… bits; 0 by default.
  uint64_t flags;
  // How many tasks may be in flight beyond one for each worker; UINT64_MAX, the default: 16 for each worker.
  uint64_t buffer;
} mpshm_imap_options_t;

// Gives the next argument: writes it with mpshm_output_write() and returns 0. MPSHM_IMAP_END: there are no more; anything else is
// an error, whose message mpshm_output_fail() sets. It runs in the pool's own process, in the thread that calls
// mpshm_imap_next() and inside that call, and may use the pool, but not the stream.
typedef int (*mpshm_source_fn)(void *context, struct mpshm_output_t *argument);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// A few words on an error number, English, never NULL. Static: not to be freed.
const char *mpshm_strerror(int code);

// The name of an error number, `"MPSHM_EINVAL"`, never NULL. Static: not to be freed.
const char *mpshm_err_name(int code);

// The system's error number behind this thread's last failed call, or 0.
int mpshm_last_errno(void);

// Copies the sentence of this thread's last failed call, cut to `length` bytes with its NUL: it
// names the object, what was expected and what was found. Returns the bytes that the whole sentence
// needs, its NUL included. `buffer` may be NULL when `length` is 0.
size_t mpshm_last_message(char *buffer, size_t length);

// The version of the library at run time: major << 16 | minor << 8 | patch.
uint32_t mpshm_version(void);

// The version of the bytes in a segment that the library makes and attaches to.
uint32_t mpshm_format_version(void);

// Sets the defaults.
MPSHM_MUST_USE int mpshm_segment_options_init(struct mpshm_segment_options_t *options);

// Makes a segment with room for `bytes` of objects: named, or anonymous when `name` is NULL (forked
// children inherit it). All of its memory is allocated now. `options` may be NULL.
// Errors: EEXISTS, EINVAL, ENOSPACE, EPERM.
MPSHM_MUST_USE
int mpshm_segment_create(const char *name,
                         uint64_t bytes,
                         const struct mpshm_segment_options_t *options,
                         struct mpshm_segment_t **segment);

// Attaches to the segment `name`. Errors: ENOTFOUND, EPERM, EVERSION, ECORRUPT, EINVAL.
MPSHM_MUST_USE
int mpshm_segment_attach(const char *name,
                         const struct mpshm_segment_options_t *options,
                         struct mpshm_segment_t **segment);

// Attaches to the segment `name`, or makes it; an existing one keeps its size and content.
MPSHM_MUST_USE
int mpshm_segment_open_or_create(const char *name,
                                 uint64_t bytes,
                                 const struct mpshm_segment_options_t *options,
                                 struct mpshm_segment_t **segment);

// Attaches to the segment behind `fd`, which was inherited or came over a socket. The descriptor is
// duplicated: it stays the caller's. Errors: EINVAL, EVERSION, ECORRUPT, ELIMIT.
MPSHM_MUST_USE int mpshm_segment_attach_fd(int fd, struct mpshm_segment_t **segment);

// The descriptor of the segment's memory, to be handed to another process. It stays the segment's.
MPSHM_MUST_USE int mpshm_segment_fd(const struct mpshm_segment_t *segment, int *fd);

// Bytes of the whole segment.
MPSHM_MUST_USE int mpshm_segment_size(const struct mpshm_segment_t *segment, uint64_t *bytes);

// How many objects the segment has.
MPSHM_MUST_USE int mpshm_segment_objects(const struct mpshm_segment_t *segment, uint64_t *count);

// How many processes own or may own something in the segment and are not proven dead.
MPSHM_MUST_USE int mpshm_segment_participants(const struct mpshm_segment_t *segment, uint64_t *count);

// Repairs everything that dead participants left in the segment. Nobody has to call it: whoever
// trips over a dead one's mark repairs that mark.
MPSHM_MUST_USE int mpshm_segment_recover(const struct mpshm_segment_t *segment);

// Closes the handle; NULL is a no-op. The name, and who else is attached, are not touched.
void mpshm_segment_close(struct mpshm_segment_t *segment);

// Removes the name of a segment. Who is attached stays attached. Errors: ENOTFOUND, EINVAL, EPERM.
MPSHM_MUST_USE int mpshm_segment_unlink(const char *name);

// Makes a segment in the file `path`, with room for `bytes` of objects; the contents outlive a reboot.
// Every page is allocated; where the file system cannot do that, by writing zeros. `options` may be NULL.
// Errors: EEXISTS, ENOTFOUND (the folder), EINVAL, ENOSPACE, EPERM, ELIMIT.
MPSHM_MUST_USE
int mpshm_segment_create_file(const char *path,
                              uint64_t bytes,
                              const struct mpshm_segment_options_t *options,
                              struct mpshm_segment_t **segment);

// Attaches to the segment in the file `path`, which is not followed when it is a symbolic link.
// Errors: ENOTFOUND, EPERM, EVERSION, ECORRUPT, EINVAL, ENOSPACE (a copy with holes), ELIMIT.
MPSHM_MUST_USE
int mpshm_segment_attach_file(const char *path,
                              const struct mpshm_segment_options_t *options,
                              struct mpshm_segment_t **segment);

// Attaches to the segment in the file `path`, or makes it; an existing one keeps its size and content.
MPSHM_MUST_USE
int mpshm_segment_open_or_create_file(const char *path,
                                      uint64_t bytes,
                                      const struct mpshm_segment_options_t *options,
                                      struct mpshm_segment_t **segment);

// Removes the file `path`, whatever is in it. Who is attached stays attached. Errors: ENOTFOUND, EINVAL, EPERM.
MPSHM_MUST_USE
int mpshm_segment_unlink_file(const char *path);

// Writes what has changed to the storage of the segment's file, and returns when it is there. Needed only
// against a power failure; for memory without a file it does nothing. Errors: ESYSTEM.
MPSHM_MUST_USE int mpshm_segment_sync(const struct mpshm_segment_t *segment);

// Removes the object `name`. The name is gone at once; who has the object open keeps using it. Its space is
// used again when everybody who had it open has closed it, or is dead; a stopped process, and a forked child
// that inherited the handle, count as having it open. Errors: ENOTFOUND, EINVAL, ECORRUPT.
MPSHM_MUST_USE int mpshm_segment_remove(const struct mpshm_segment_t *segment, const char *name);

// Sends the segment's descriptor over a connected Unix socket, to mpshm_segment_receive(). Blocks as the
// socket does. Errors: ECLOSED, ETIMEDOUT, EINVAL, ELIMIT.
MPSHM_MUST_USE int mpshm_segment_send(const struct mpshm_segment_t *segment, int socket);

// Receives a segment that mpshm_segment_send() sent, and attaches to it. Blocks as the socket does.
// Errors: those of mpshm_recv_fd() and of mpshm_segment_attach_fd().
MPSHM_MUST_USE
int mpshm_segment_receive(int socket,
                          const struct mpshm_segment_options_t *options,
                          struct mpshm_segment_t **segment);

// Sends a copy of descriptor `fd` over a connected Unix socket, to mpshm_recv_fd(). The message has one byte
// of data. Blocks as the socket does. Errors: ECLOSED when the other end is; ETIMEDOUT when
// the socket waits no longer; EINVAL for what is no socket or no descriptor; ELIMIT.
MPSHM_MUST_USE int mpshm_send_fd(int socket, int fd);

// Receives a descriptor that mpshm_send_fd() sent: the caller's, closed on exec. Blocks as the socket does.
// Errors: ECLOSED, ETIMEDOUT, EINVAL; ETYPE when the message has no descriptor or more than one, all of which
// are closed then; ELIMIT when this process can have no more: the one that was sent is lost.
MPSHM_MUST_USE int mpshm_recv_fd(int socket, int *fd);

// Makes a value of the type `type_code` (MPSHM_I8 … MPSHM_U128) that begins as `*initial`.
//
// `segment` NULL: in a segment of its own, named `name`, or anonymous when `name` is NULL too (forked
// children inherit it). Otherwise the object `name` of that segment, or one without a name when that is NULL. So for every
// _create below.
// Errors: EEXISTS, EINVAL, ENOSPACE, ELIMIT.
MPSHM_MUST_USE
int mpshm_value_create(const struct mpshm_segment_t *segment,
                       const char *name,
                       uint32_t type_code,
                       const void *initial,
                       struct mpshm_value_t **value);

// Makes a waitable value: one whose changes mpshm_value_wait() waits for. Each change then looks for sleepers, which costs
// a load, and a store an exchange.
MPSHM_MUST_USE
int mpshm_value_create_waitable(const struct mpshm_segment_t *segment,
                                const char *name,
                                uint32_t type_code,
                                const void *initial,
                                struct mpshm_value_t **value);

// Opens a value, which must be of the type `type_code`. Errors: ENOTFOUND, ETYPE, EVERSION,
// ECORRUPT, EPERM. So for every _open below.
MPSHM_MUST_USE
int mpshm_value_open(const struct mpshm_segment_t *segment,
                     const char *name,
                     uint32_t type_code,
                     struct mpshm_value_t **value);

// Opens a value, or makes it; of several who do so at once, one makes it.
MPSHM_MUST_USE
int mpshm_value_open_or_create(const struct mpshm_segment_t *segment,
                               const char *name,
                               uint32_t type_code,
                               const void *initial,
                               struct mpshm_value_t **value);

// Closes the handle; NULL is a no-op. The value stays for others, a name until it is unlinked.
void mpshm_value_close(struct mpshm_value_t *value);

// Copies the value to `*out`, which has the type's size.
MPSHM_MUST_USE int mpshm_value_load(const struct mpshm_value_t *value, void *out);

// Replaces the value by `*new_value`.
MPSHM_MUST_USE int mpshm_value_store(const struct mpshm_value_t *value, const void *new_value);

// Replaces the value by `*new_value`; the one before goes to `*out`, unless that is NULL.
MPSHM_MUST_USE int mpshm_value_swap(const struct mpshm_value_t *value, const void *new_value, void *out);

// Replaces the value by `*new_value` if it is `*expected` (floats: the same bits), and says in
// `*exchanged` whether it did. If not, the value that was found goes to `*expected`.
MPSHM_MUST_USE
int mpshm_value_compare_exchange(const struct mpshm_value_t *value,
                                 void *expected,
                                 const void *new_value,
                                 bool *exchanged);

// Adds `*delta` (integers wrap; not for bool); the value before goes to `*out`, unless that is NULL. So
// for the others that follow.
MPSHM_MUST_USE int mpshm_value_fetch_add(const struct mpshm_value_t *value, const void *delta, void *out);

// Subtracts.
MPSHM_MUST_USE int mpshm_value_fetch_sub(const struct mpshm_value_t *value, const void *delta, void *out);

// Keeps the smaller.
MPSHM_MUST_USE int mpshm_value_fetch_min(const struct mpshm_value_t *value, const void *other, void *out);

// Keeps the greater.
MPSHM_MUST_USE int mpshm_value_fetch_max(const struct mpshm_value_t *value, const void *other, void *out);

// Keeps the bits that are in both (not for floats).
MPSHM_MUST_USE int mpshm_value_fetch_and(const struct mpshm_value_t *value, const void *bits, void *out);

// Keeps the bits that are not in both (not for floats).
MPSHM_MUST_USE int mpshm_value_fetch_nand(const struct mpshm_value_t *value, const void *bits, void *out);

// Keeps the bits that are in either (not for floats).
MPSHM_MUST_USE int mpshm_value_fetch_or(const struct mpshm_value_t *value, const void *bits, void *out);

// Keeps the bits that are in one of the two (not for floats).
MPSHM_MUST_USE int mpshm_value_fetch_xor(const struct mpshm_value_t *value, const void *bits, void *out);

// Adds to an int64_t without a detour through pointers; the value before goes to `*out`, unless that is NULL.
// ETYPE when the value is of another type.
MPSHM_MUST_USE int mpshm_value_i64_fetch_add(const struct mpshm_value_t *value, int64_t delta, int64_t *out);

// Copies an int64_t to `*out`. ETYPE when the value is of another type.
MPSHM_MUST_USE int mpshm_value_i64_load(const struct mpshm_value_t *value, int64_t *out);

// Replaces an int64_t. ETYPE when the value is of another type.
MPSHM_MUST_USE int mpshm_value_i64_store(const struct mpshm_value_t *value, int64_t new_value);

// Takes the value's lock, as Python's get_lock(). It keeps out who takes it too, nobody else.
//
// 0, or: EOWNERDEAD (the owner died, the lock is held now: make the data whole, then
// mpshm_value_mark_consistent()), ENOTRECOVERABLE, EBUSY (time-out 0), ETIMEDOUT, EDEADLOCK,
// EINTERRUPTED. The lock belongs to the calling thread.
MPSHM_MUST_USE int mpshm_value_lock(const struct mpshm_value_t *value, int64_t timeout_ns);

// Gives the value's lock back. ENOTOWNER when this thread does not hold it.
MPSHM_MUST_USE int mpshm_value_unlock(const struct mpshm_value_t *value);

// Says that the data are whole again after EOWNERDEAD. ENOTOWNER when this thread does not hold the lock.
MPSHM_MUST_USE int mpshm_value_mark_consistent(const struct mpshm_value_t *value);

// Waits until a waitable value compares to `*operand` as `condition` says (one of MPSHM_WAIT_); the value that did goes to
// `*out`, unless that is NULL. What the value is for a moment only, between two changes, may be missed. EINVAL when it was
// not made by mpshm_value_create_waitable(); ETIMEDOUT, also for a time-out of 0, which is a look; EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_value_wait(const struct mpshm_value_t *value,
                     uint32_t condition,
                     const void *operand,
                     int64_t timeout_ns,
                     void *out);

// Makes an array of `length` zeros of the type `type_code`; place and errors as mpshm_value_create().
MPSHM_MUST_USE
int mpshm_array_create(const struct mpshm_segment_t *segment,
                       const char *name,
                       uint32_t type_code,
                       uint64_t length,
                       struct mpshm_array_t **array);

// Opens an array of the type `type_code`, whatever its length.
MPSHM_MUST_USE
int mpshm_array_open(const struct mpshm_segment_t *segment,
                     const char *name,
                     uint32_t type_code,
                     struct mpshm_array_t **array);

// Opens an array, or makes it; an existing one keeps its length.
MPSHM_MUST_USE
int mpshm_array_open_or_create(const struct mpshm_segment_t *segment,
                               const char *name,
                               uint32_t type_code,
                               uint64_t length,
                               struct mpshm_array_t **array);

// Closes the handle; NULL is a no-op.
void mpshm_array_close(struct mpshm_array_t *array);

// The number of elements.
MPSHM_MUST_USE int mpshm_array_length(const struct mpshm_array_t *array, uint64_t *length);

// Copies element `index` to `*out`. EINVAL when there is none; so for all that follow.
MPSHM_MUST_USE int mpshm_array_load(const struct mpshm_array_t *array, uint64_t index, void *out);

// Replaces element `index` by `*new_value`.
MPSHM_MUST_USE
int mpshm_array_store(const struct mpshm_array_t *array,
                      uint64_t index,
                      const void *new_value);

// Adds `*delta` to element `index` (not for bool); the one before goes to `*out`, unless that is NULL.
MPSHM_MUST_USE
int mpshm_array_fetch_add(const struct mpshm_array_t *array,
                          uint64_t index,
                          const void *delta,
                          void *out);

// Copies `count` elements from `start` on to `out`, which has room for them. Each element is read
// atomically, all of them are not: take the lock for that.
MPSHM_MUST_USE
int mpshm_array_read(const struct mpshm_array_t *array,
                     uint64_t start,
                     uint64_t count,
                     void *out);

// Replaces `count` elements from `start` on by those at `from`. When they reach past the end, none is.
MPSHM_MUST_USE
int mpshm_array_write(const struct mpshm_array_t *array,
                      uint64_t start,
                      uint64_t count,
                      const void *from);

// Takes the array's lock; as mpshm_value_lock().
MPSHM_MUST_USE int mpshm_array_lock(const struct mpshm_array_t *array, int64_t timeout_ns);

// Gives the array's lock back. ENOTOWNER when this thread does not hold it.
MPSHM_MUST_USE int mpshm_array_unlock(const struct mpshm_array_t *array);

// Says that the data are whole again after EOWNERDEAD. ENOTOWNER when this thread does not hold the lock.
MPSHM_MUST_USE int mpshm_array_mark_consistent(const struct mpshm_array_t *array);

// Sets the defaults.
MPSHM_MUST_USE int mpshm_latest_options_init(struct mpshm_latest_options_t *options);

// Makes a latest value of `size` bytes that begins as zeros. `type_code` is MPSHM_BYTES, or a scalar's for which size and
// align may be 0; `align` a power of two up to 128 that divides `size`, or 0 for bytes without a type (Rust's
// `Latest<[u8]>`). `options` may be NULL. Place and errors as mpshm_value_create().
MPSHM_MUST_USE
int mpshm_latest_create(const struct mpshm_segment_t *segment,
                        const char *name,
                        uint32_t type_code,
                        size_t size,
                        size_t align,
                        const struct mpshm_latest_options_t *options,
                        struct mpshm_latest_t **latest);

// Opens a latest value of that type, size and alignment; with an `align` of 0, bytes of whatever size.
MPSHM_MUST_USE
int mpshm_latest_open(const struct mpshm_segment_t *segment,
                      const char *name,
                      uint32_t type_code,
                      size_t size,
                      size_t align,
                      struct mpshm_latest_t **latest);

// Opens a latest value, or makes it.
MPSHM_MUST_USE
int mpshm_latest_open_or_create(const struct mpshm_segment_t *segment,
                                const char *name,
                                uint32_t type_code,
                                size_t size,
                                size_t align,
                                const struct mpshm_latest_options_t *options,
                                struct mpshm_latest_t **latest);

// Closes the handle; NULL is a no-op. What is reserved through it is given up. Its readers stay usable.
void mpshm_latest_close(struct mpshm_latest_t *latest);

// Bytes of the value.
MPSHM_MUST_USE int mpshm_latest_size(const struct mpshm_latest_t *latest, size_t *size);

// The version of the newest value: 1 at first, and one more with each that is stored.
MPSHM_MUST_USE int mpshm_latest_version(const struct mpshm_latest_t *latest, uint64_t *version);

// Waits until the newest value's version is another than `seen`; `version` may be NULL. Errors: EBUSY (time-out 0), ETIMEDOUT,
// EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_latest_wait_newer(const struct mpshm_latest_t *latest,
                            uint64_t seen,
                            int64_t timeout_ns,
                            uint64_t *version);

// Replaces the value by the `size` bytes at `data`, as many as it has; `version` may be NULL. Waits only when more write at once than
// the value was made for. Errors: ETOOBIG, EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_latest_store(const struct mpshm_latest_t *latest,
                       const void *data,
                       size_t size,
                       uint64_t *version);

// Takes a buffer to write the next value in place, one at a time for each handle; an older value stands there. Then
// mpshm_latest_commit() or mpshm_latest_abort(). Waits only when more write at once than the value was made for.
// Errors: EBUSY (time-out 0, or one is reserved already), ETIMEDOUT, EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_latest_reserve(struct mpshm_latest_t *latest,
                         int64_t timeout_ns,
                         void **data);

// Makes what is reserved the newest value; `version` may be NULL. Errors: ENOTOWNER (nothing is reserved), EFORKED (it is the
// parent's).
MPSHM_MUST_USE
int mpshm_latest_commit(struct mpshm_latest_t *latest,
                        uint64_t *version);

// Gives up what is reserved; the newest value stays what it was. Errors: ENOTOWNER (nothing is reserved), EFORKED.
MPSHM_MUST_USE
int mpshm_latest_abort(struct mpshm_latest_t *latest);

// A reader, one of as many as the value was made for; in a forked child it is another one, from its first read on. Errors: ELIMIT
// (there are so many already; what the dead had is free again).
MPSHM_MUST_USE
int mpshm_latest_reader(const struct mpshm_latest_t *latest,
                        struct mpshm_latest_reader_t **reader);

// Closes the reader; NULL is a no-op. What it has claimed is let go.
void mpshm_latest_reader_close(struct mpshm_latest_reader_t *reader);

// Copies the newest value to `data`, which has room for `size` bytes, as many as the value has. Never waits. `version` may be
// NULL. Errors: ETOOBIG, EBUSY (the reader has claimed one); in a forked child ELIMIT.
MPSHM_MUST_USE
int mpshm_latest_load(struct mpshm_latest_reader_t *reader,
                      void *data,
                      size_t size,
                      uint64_t *version);

// Holds the newest value, to be read in place until mpshm_latest_release(); one at a time for each reader. Never waits, and
// writers go on. `version` may be NULL. Errors: EBUSY (one is claimed); in a forked child ELIMIT.
MPSHM_MUST_USE
int mpshm_latest_claim(struct mpshm_latest_reader_t *reader,
                       const void **data,
                       uint64_t *version);

// Lets go of what is claimed. Errors: ENOTOWNER (nothing is claimed), EFORKED (it is the parent's).
MPSHM_MUST_USE int mpshm_latest_release(struct mpshm_latest_reader_t *reader);

// Makes a mutex with `size` bytes of data, zeroed and aligned to `align` (a power of two up to 128 that
// divides `size`; 1 for a size of 0). `type_code` is MPSHM_BYTES, or a scalar's for which size and
// align may be 0. Place and errors as mpshm_value_create().
MPSHM_MUST_USE
int mpshm_mutex_create(const struct mpshm_segment_t *segment,
                       const char *name,
                       uint32_t type_code,
                       size_t size,
                       size_t align,
                       struct mpshm_mutex_t **mutex);

// Makes a mutex that its owner, a thread, may lock up to 65535 times, and has to unlock as often; it is that for
// everybody who opens it. Else as mpshm_mutex_create(). Who gets it after EOWNERDEAD holds it once, and is told so at
// each lock until mpshm_mutex_mark_consistent().
MPSHM_MUST_USE
int mpshm_mutex_create_recursive(const struct mpshm_segment_t *segment,
                                 const char *name,
                                 uint32_t type_code,
                                 size_t size,
                                 size_t align,
                                 struct mpshm_mutex_t **mutex);

// Opens a mutex whose data have that type, size and alignment.
MPSHM_MUST_USE
int mpshm_mutex_open(const struct mpshm_segment_t *segment,
                     const char *name,
                     uint32_t type_code,
                     size_t size,
                     size_t align,
                     struct mpshm_mutex_t **mutex);

// Opens a mutex, or makes it.
MPSHM_MUST_USE
int mpshm_mutex_open_or_create(const struct mpshm_segment_t *segment,
                               const char *name,
                               uint32_t type_code,
                               size_t size,
                               size_t align,
                               struct mpshm_mutex_t **mutex);

// Opens a mutex, or makes a recursive one. One that is there stays what it is.
MPSHM_MUST_USE
int mpshm_mutex_open_or_create_recursive(const struct mpshm_segment_t *segment,
                                         const char *name,
                                         uint32_t type_code,
                                         size_t size,
                                         size_t align,
                                         struct mpshm_mutex_t **mutex);

// Whether the mutex was made recursive.
MPSHM_MUST_USE int mpshm_mutex_is_recursive(const struct mpshm_mutex_t *mutex, bool *is_recursive);

// Closes the handle; NULL is a no-op. A lock that is held through it stays held.
void mpshm_mutex_close(struct mpshm_mutex_t *mutex);

// Locks; as mpshm_value_lock(): 0, EOWNERDEAD (held), ENOTRECOVERABLE, EBUSY (time-out 0), ETIMEDOUT,
// EDEADLOCK (this thread holds it, and it is not recursive), ELIMIT (it is, and held 65535 times), EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_mutex_lock(const struct mpshm_mutex_t *mutex,
                     int64_t timeout_ns);

// Unlocks, a recursive one once. ENOTOWNER when this thread of this process does not hold the lock.
MPSHM_MUST_USE int mpshm_mutex_unlock(const struct mpshm_mutex_t *mutex);

// Says that the data are whole again after EOWNERDEAD; unlocked without it, the mutex is lost. ENOTOWNER
// when this thread does not hold the lock.
MPSHM_MUST_USE int mpshm_mutex_mark_consistent(const struct mpshm_mutex_t *mutex);

// Where the data lie; to be touched only with the lock held, until the handle is closed. `size` may be
// NULL.
MPSHM_MUST_USE int mpshm_mutex_data(const struct mpshm_mutex_t *mutex, void **data, size_t *size);

// Makes a read-write lock. Data as for mpshm_mutex_create(), place and errors as mpshm_value_create().
MPSHM_MUST_USE
int mpshm_rwlock_create(const struct mpshm_segment_t *segment,
                        const char *name,
                        uint32_t type_code,
                        size_t size,
                        size_t align,
                        struct mpshm_rwlock_t **rwlock);

// Opens a read-write lock whose data have that type, size and alignment.
MPSHM_MUST_USE
int mpshm_rwlock_open(const struct mpshm_segment_t *segment,
                      const char *name,
                      uint32_t type_code,
                      size_t size,
                      size_t align,
                      struct mpshm_rwlock_t **rwlock);

// Opens a read-write lock, or makes it.
MPSHM_MUST_USE
int mpshm_rwlock_open_or_create(const struct mpshm_segment_t *segment,
                                const char *name,
                                uint32_t type_code,
                                size_t size,
                                size_t align,
                                struct mpshm_rwlock_t **rwlock);

// Closes the handle; NULL is a no-op. What is held through it stays held.
void mpshm_rwlock_close(struct mpshm_rwlock_t *rwlock);

// Locks to read, as one of many: 0, EOWNERDEAD (held; a writer died, and none has marked the data as consistent since),
// ENOTRECOVERABLE, EBUSY (time-out 0), ETIMEDOUT, EDEADLOCK (this thread writes), ELIMIT (this process reads 65535 times),
// EINTERRUPTED. A thread that reads may read again, and ends each reading.
MPSHM_MUST_USE
int mpshm_rwlock_read_lock(const struct mpshm_rwlock_t *rwlock,
                           int64_t timeout_ns);

// Ends a reading. ENOTOWNER when this thread of this process does not read.
MPSHM_MUST_USE int mpshm_rwlock_read_unlock(const struct mpshm_rwlock_t *rwlock);

// Locks to write, alone: 0, EOWNERDEAD (held), ENOTRECOVERABLE, EBUSY (time-out 0), ETIMEDOUT, EDEADLOCK (this thread reads
// or writes), EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_rwlock_write_lock(const struct mpshm_rwlock_t *rwlock,
                            int64_t timeout_ns);

// Ends a writing. ENOTOWNER when this thread of this process does not write.
MPSHM_MUST_USE int mpshm_rwlock_write_unlock(const struct mpshm_rwlock_t *rwlock);

// Says that the data are whole again after EOWNERDEAD; a writer that unlocks without it loses the lock. ENOTOWNER when this
// thread does not write.
MPSHM_MUST_USE
int mpshm_rwlock_mark_consistent(const struct mpshm_rwlock_t *rwlock);

// Where the data lie; to be touched only with the lock held, until the handle is closed. `size` may be
// NULL.
MPSHM_MUST_USE int mpshm_rwlock_data(const struct mpshm_rwlock_t *rwlock, void **data, size_t *size);

// Makes a condition variable with which up to `waiters` (1 to 4096; 0 = 128) wait at a time. Place and errors as
// mpshm_value_create().
MPSHM_MUST_USE
int mpshm_condvar_create(const struct mpshm_segment_t *segment,
                         const char *name,
                         uint32_t waiters,
                         struct mpshm_condvar_t **condvar);

// Opens a condition variable.
MPSHM_MUST_USE
int mpshm_condvar_open(const struct mpshm_segment_t *segment,
                       const char *name,
                       struct mpshm_condvar_t **condvar);

// Opens a condition variable, or makes it.
MPSHM_MUST_USE
int mpshm_condvar_open_or_create(const struct mpshm_segment_t *segment,
                                 const char *name,
                                 uint32_t waiters,
                                 struct mpshm_condvar_t **condvar);

// Closes the handle; NULL is a no-op.
void mpshm_condvar_close(struct mpshm_condvar_t *condvar);

// Unlocks the mutex, however often it is held, waits until it is notified, and returns with the mutex held as before: 0.
// ETIMEDOUT: not notified within the time (a time-out of 0 lets others have the mutex once). EOWNERDEAD: the mutex's
// owner died meanwhile, as from mpshm_mutex_lock(). EINTERRUPTED: cancelled. ENOTOWNER, EINVAL (others wait with another
// mutex), ELIMIT (so many wait already): it did not wait. In all these cases the mutex is held as before (ENOTOWNER: not).
// ENOTRECOVERABLE: the mutex was lost meanwhile, and is not held.
MPSHM_MUST_USE
int mpshm_condvar_wait(const struct mpshm_condvar_t *condvar,
                       const struct mpshm_mutex_t *mutex,
                       int64_t timeout_ns);

// Notifies the `count` that have waited longest (UINT32_MAX: all); `notified`, which may be NULL, is how many there were.
// Never waits, and is not remembered. ENOTOWNER: this thread does not hold the mutex. EINVAL: some wait with another one.
MPSHM_MUST_USE
int mpshm_condvar_notify(const struct mpshm_condvar_t *condvar,
                         const struct mpshm_mutex_t *mutex,
                         uint32_t count,
                         uint32_t *notified);

// How many wait and are not notified; exact with the mutex held.
MPSHM_MUST_USE int mpshm_condvar_waiters(const struct mpshm_condvar_t *condvar, uint32_t *waiters);

// Makes a barrier for 1 to 4096 parties. `timeout_ns` is how long mpshm_barrier_wait_default() waits. Place and errors as
// mpshm_value_create().
MPSHM_MUST_USE
int mpshm_barrier_create(const struct mpshm_segment_t *segment,
                         const char *name,
                         uint32_t parties,
                         int64_t timeout_ns,
                         struct mpshm_barrier_t **barrier);

// Opens a barrier.
MPSHM_MUST_USE
int mpshm_barrier_open(const struct mpshm_segment_t *segment,
                       const char *name,
                       struct mpshm_barrier_t **barrier);

// Opens a barrier, or makes it.
MPSHM_MUST_USE
int mpshm_barrier_open_or_create(const struct mpshm_segment_t *segment,
                                 const char *name,
                                 uint32_t parties,
                                 int64_t timeout_ns,
                                 struct mpshm_barrier_t **barrier);

// Closes the handle; NULL is a no-op.
void mpshm_barrier_close(struct mpshm_barrier_t *barrier);

// Waits for all parties. `index`, which may be NULL, is the place in the order of coming: the last one has parties - 1.
// EBROKEN: a party's time was over (perhaps this one's), it was cancelled or died, or somebody broke or reset the
// barrier. EINTERRUPTED: cancelled, and the barrier broken by that.
MPSHM_MUST_USE
int mpshm_barrier_wait(const struct mpshm_barrier_t *barrier,
                       int64_t timeout_ns,
                       uint32_t *index);

// The same with the time-out that the barrier was made with.
MPSHM_MUST_USE int mpshm_barrier_wait_default(const struct mpshm_barrier_t *barrier, uint32_t *index);

// Waits for all parties; if this one is the last, it runs `action(context)` before anybody goes on. When its process dies
// in there, the barrier is broken.
MPSHM_MUST_USE
int mpshm_barrier_wait_with(const struct mpshm_barrier_t *barrier,
                            int64_t timeout_ns,
                            mpshm_barrier_action_t action,
                            void *context,
                            uint32_t *index);

// Breaks the barrier for all who wait and all who come, until mpshm_barrier_reset(). Never waits.
MPSHM_MUST_USE int mpshm_barrier_abort(const struct mpshm_barrier_t *barrier);

// Makes the barrier as new; who waits gets EBROKEN. Never waits.
MPSHM_MUST_USE int mpshm_barrier_reset(const struct mpshm_barrier_t *barrier);

// Whether the barrier is broken.
MPSHM_MUST_USE int mpshm_barrier_is_broken(const struct mpshm_barrier_t *barrier, bool *is_broken);

// How many parties wait now.
MPSHM_MUST_USE int mpshm_barrier_waiting(const struct mpshm_barrier_t *barrier, uint32_t *waiting);

// How many parties it takes.
MPSHM_MUST_USE int mpshm_barrier_parties(const struct mpshm_barrier_t *barrier, uint32_t *parties);

// Sets the defaults: 1024 messages of up to 4096 bytes.
MPSHM_MUST_USE int mpshm_queue_options_init(struct mpshm_queue_options_t *options);

// Bytes that such a queue needs in a segment of 64 participants. `options` may be NULL.
MPSHM_MUST_USE int mpshm_queue_size_for(const struct mpshm_queue_options_t *options, uint64_t *bytes);

// Makes a queue; `options` may be NULL. Place and errors as mpshm_value_create().
MPSHM_MUST_USE
int mpshm_queue_create(const struct mpshm_segment_t *segment,
                       const char *name,
                       const struct mpshm_queue_options_t *options,
                       struct mpshm_queue_t **queue);

// Opens a queue, whose items must be as `options` say (NULL: messages) in size, alignment and type code; the rest is its own.
// Errors as mpshm_value_open().
MPSHM_MUST_USE
int mpshm_queue_open(const struct mpshm_segment_t *segment,
                     const char *name,
                     const struct mpshm_queue_options_t *options,
                     struct mpshm_queue_t **queue);

// Opens a queue, or makes it; of several who do so at once, one makes it.
MPSHM_MUST_USE
int mpshm_queue_open_or_create(const struct mpshm_segment_t *segment,
                               const char *name,
                               const struct mpshm_queue_options_t *options,
                               struct mpshm_queue_t **queue);

// Another handle of the same queue, for another thread. A producer's clone counts as one more producer.
MPSHM_MUST_USE int mpshm_queue_clone(const struct mpshm_queue_t *queue, struct mpshm_queue_t **other);

// Another handle of the same queue, which counts as one of the producers that it follows until it is closed or its
// process ends; a forked child's copy counts in the child from its first push on. Of a queue that follows none, a
// handle like any other. Errors: ECLOSED, ELIMIT.
MPSHM_MUST_USE
int mpshm_queue_producer(const struct mpshm_queue_t *queue,
                         struct mpshm_queue_t **producer);

// Closes the handle; NULL is a no-op. What it has reserved is given up, what it has claimed goes back to
// be delivered again. To end the queue for everybody, see mpshm_queue_shutdown().
void mpshm_queue_close(struct mpshm_queue_t *queue);

// Pushes a copy of `length` bytes (for a queue of items: exactly an item's), waiting for room at most
// `timeout_ns`. Visible to every consumer on return. Also while something is reserved or claimed through the handle.
// Errors: EFULL (time-out 0), ETIMEDOUT, ECLOSED, ETOOBIG (more than message_max), EINVAL (not an item's length),
// EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_queue_push(struct mpshm_queue_t *queue,
                     const void *data,
                     size_t length,
                     int64_t timeout_ns);

// Pops the oldest item into `buffer` of `size` bytes, waiting for one at most `timeout_ns`; `*length`, unless
// that is NULL, gets its length. A message that the buffer is too short for goes back, as by mpshm_queue_give_back(): ETOOBIG.
// Errors: EEMPTY (time-out 0), ETIMEDOUT, ECLOSED (shut down and drained), EPEERDEAD (drained, and the last producer
// died), EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_queue_pop(struct mpshm_queue_t *queue,
                    void *buffer,
                    size_t size,
                    int64_t timeout_ns,
                    size_t *length);

// Reserves a block to write a message of up to `length` bytes (an item: exactly its own) into, at `*data`, aligned to
// message_align (an item: to its own); one at a time for each handle. Then mpshm_queue_commit() or mpshm_queue_abort().
// Errors: EFULL (time-out 0; the queue is full, or no block is free), ETIMEDOUT, ECLOSED, ETOOBIG, EBUSY (one is reserved),
// EINVAL (items that travel in slots), EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_queue_reserve(struct mpshm_queue_t *queue,
                        size_t length,
                        int64_t timeout_ns,
                        void **data);

// Pushes the first `length` bytes of the reserved block as one message. If others filled the queue
// meanwhile, waits for as long as the reservation was allowed to; then EFULL or ETIMEDOUT, and the block
// stays reserved. Other errors: ECLOSED (the block is given up), ETOOBIG (more than was reserved, which it still is),
// ENOTOWNER (nothing is reserved), EFORKED (it is the parent's).
MPSHM_MUST_USE
int mpshm_queue_commit(struct mpshm_queue_t *queue,
                       size_t length);

// Gives the reserved block up; nothing is pushed. Errors: ENOTOWNER (nothing is reserved), EFORKED.
MPSHM_MUST_USE int mpshm_queue_abort(struct mpshm_queue_t *queue);

// Claims the oldest message, to be read in place: `*length` bytes at `*data`; one at a time for each
// handle. Then mpshm_queue_release() or mpshm_queue_give_back(). If this process dies with the claim,
// the message is delivered again, or dropped, as the queue was made.
// Errors: EEMPTY (time-out 0), ETIMEDOUT, ECLOSED, EPEERDEAD, EBUSY (one is claimed), EINVAL (items that travel in slots),
// EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_queue_claim(struct mpshm_queue_t *queue,
                      int64_t timeout_ns,
                      const void **data,
                      size_t *length);

// How often the claimed message has been handed to a consumer, this time included: 1 is the ordinary case. Errors: ENOTOWNER
// (nothing is claimed), EFORKED.
MPSHM_MUST_USE
int mpshm_queue_deliveries(const struct mpshm_queue_t *queue,
                           uint64_t *deliveries);

// Ends the claim: the message is consumed. Errors: ENOTOWNER (nothing is claimed), EFORKED (it is the parent's).
MPSHM_MUST_USE
int mpshm_queue_release(struct mpshm_queue_t *queue);

// Ends the claim: the message goes back, to be delivered again, marked; who pops next gets it first, but others may have got
// later ones meanwhile. Errors: ENOTOWNER (nothing is claimed), EFORKED.
MPSHM_MUST_USE
int mpshm_queue_give_back(struct mpshm_queue_t *queue);

// Ends the queue for everybody: pushes say ECLOSED, pops too once everything has been taken. Also twice.
MPSHM_MUST_USE int mpshm_queue_shutdown(const struct mpshm_queue_t *queue);

// Whether the queue was shut down.
MPSHM_MUST_USE int mpshm_queue_is_shut_down(const struct mpshm_queue_t *queue, bool *shut_down);

// Items that can be popped, without what is reserved or claimed: exact when nobody else acts, else true at some moment of
// the call.
MPSHM_MUST_USE
int mpshm_queue_length(const struct mpshm_queue_t *queue,
                       uint64_t *length);

// Items that the queue holds at most.
MPSHM_MUST_USE int mpshm_queue_capacity(const struct mpshm_queue_t *queue, uint64_t *capacity);

// Bytes of the longest message, or of an item.
MPSHM_MUST_USE int mpshm_queue_message_max(const struct mpshm_queue_t *queue, uint64_t *bytes);

// Pushes copies of `count` items that lie one behind the other at `data`, in their order, waiting for room at most
// `timeout_ns`. In a queue of messages, `lengths` has the bytes of each (EINVAL without); else it is NULL (EINVAL with).
// `*pushed`, unless that is NULL, gets how many were pushed, also when it fails: ETIMEDOUT, ECLOSED, ETOOBIG (those before it
// are pushed), EINTERRUPTED, or EFULL where the queue was made so. With a time-out of 0 as many are pushed as fit; EFULL
// when none does.
MPSHM_MUST_USE
int mpshm_queue_push_many(struct mpshm_queue_t *queue,
                          const void *data,
                          const size_t *lengths,
                          size_t count,
                          int64_t timeout_ns,
                          size_t *pushed);

// Pops up to `most` items into `buffer` of `size` bytes, one behind the other, as many as there are and fit, waiting
// for the first one at most `timeout_ns`. `lengths`, unless that is NULL, gets the bytes of each (it has room for
// `most`), and `*popped` how many there are: 0 only if `most` is. A message that does not fit any more goes back, as by
// mpshm_queue_give_back(). Errors as mpshm_queue_pop(), and then none was popped.
MPSHM_MUST_USE
int mpshm_queue_pop_many(struct mpshm_queue_t *queue,
                         void *buffer,
                         size_t size,
                         size_t most,
                         int64_t timeout_ns,
                         size_t *lengths,
                         size_t *popped);

// Says that the oldest item which this handle has popped, and which is not done, is done. What is claimed is done
// when it is released. What a handle is closed with, or a process dies with, and is not done, is delivered again. EINVAL when
// there is none, or the queue is not joinable.
MPSHM_MUST_USE
int mpshm_queue_task_done(struct mpshm_queue_t *queue);

// Waits at most `timeout_ns` until every item is done. What a dead consumer had comes again first. Errors: ETIMEDOUT (also
// of a time-out of 0), EINTERRUPTED, EINVAL when the queue is not joinable.
MPSHM_MUST_USE
int mpshm_queue_join(const struct mpshm_queue_t *queue,
                     int64_t timeout_ns);

// Sets `*counters`, whose struct_size the caller has set.
MPSHM_MUST_USE
int mpshm_queue_counters(const struct mpshm_queue_t *queue,
                         struct mpshm_queue_counters_t *counters);

// Sets the defaults: 65536 bytes of messages.
MPSHM_MUST_USE int mpshm_ring_options_init(struct mpshm_ring_options_t *options);

// Bytes that such a ring needs in a segment of ordinary pages. `options` may be NULL.
MPSHM_MUST_USE int mpshm_ring_size_for(const struct mpshm_ring_options_t *options, uint64_t *bytes);

// Makes a ring; `options` may be NULL. Place and errors as mpshm_value_create(); ESYSTEM without membarrier(2).
MPSHM_MUST_USE
int mpshm_ring_create(const struct mpshm_segment_t *segment,
                      const char *name,
                      const struct mpshm_ring_options_t *options,
                      struct mpshm_ring_t **ring);

// Opens a ring, whose items must be as `options` say (NULL: messages) in size, alignment and type code; capacity and flags
// are its own. Errors as mpshm_value_open().
MPSHM_MUST_USE
int mpshm_ring_open(const struct mpshm_segment_t *segment,
                    const char *name,
                    const struct mpshm_ring_options_t *options,
                    struct mpshm_ring_t **ring);

// Opens a ring, or makes it; of several who do so at once, one makes it.
MPSHM_MUST_USE
int mpshm_ring_open_or_create(const struct mpshm_segment_t *segment,
                              const char *name,
                              const struct mpshm_ring_options_t *options,
                              struct mpshm_ring_t **ring);

// Another handle of the same ring, for another thread. It is neither producer nor consumer yet.
MPSHM_MUST_USE int mpshm_ring_clone(const struct mpshm_ring_t *ring, struct mpshm_ring_t **other);

// Closes the handle; NULL is a no-op. It is no longer the ring's producer or consumer, which others may become then; what it has
// reserved is given up, what it has claimed is delivered again. To end the stream for both sides, see mpshm_ring_shutdown().
void mpshm_ring_close(struct mpshm_ring_t *ring);

// Pushes a copy of `length` bytes (for a ring of items: exactly an item's), waiting for room at most
// `timeout_ns`. Visible to the consumer on return.
// Errors: EFULL (time-out 0), ETIMEDOUT, ECLOSED, EPEERDEAD (full, the consumer died, and the ring follows its ends),
// ETOOBIG (a message longer than the capacity), EINVAL (not an item's length), EBUSY (somebody else is the producer,
// or room is reserved), EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_ring_push(struct mpshm_ring_t *ring,
                    const void *data,
                    size_t length,
                    int64_t timeout_ns);

// Pops the oldest item or message into `buffer` of `size` bytes, waiting for one at most `timeout_ns`; `*length`, unless
// that is NULL, gets its length. What the buffer is too short for stays: ETOOBIG.
// Errors: EEMPTY (time-out 0), ETIMEDOUT, ECLOSED (shut down and drained), EPEERDEAD (drained, the producer died, and the
// ring follows its ends), EBUSY (somebody else is the consumer, or something is claimed), EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_ring_pop(struct mpshm_ring_t *ring,
                   void *buffer,
                   size_t size,
                   int64_t timeout_ns,
                   size_t *length);

// Pushes copies of `count` items that lie one behind the other at `data`, in their order, waiting for room at most
// `timeout_ns`; those that find room at a time become visible at once. In a ring of messages, `lengths` has the bytes of
// each (EINVAL without); else it is NULL (EINVAL with). `*pushed`, unless that is NULL, gets how many were pushed, also when
// it fails: ETIMEDOUT, ECLOSED, EPEERDEAD, ETOOBIG (those before it are pushed), EINTERRUPTED, or EFULL where the ring was
// made so. With a time-out of 0 as many are pushed as fit; EFULL when none does. EBUSY as mpshm_ring_push().
MPSHM_MUST_USE
int mpshm_ring_push_many(struct mpshm_ring_t *ring,
                         const void *data,
                         const size_t *lengths,
                         size_t count,
                         int64_t timeout_ns,
                         size_t *pushed);

// Pops up to `most` items into `buffer` of `size` bytes, one behind the other, as many as there are and fit, waiting
// for the first one at most `timeout_ns`. `lengths`, unless that is NULL, gets the bytes of each (it has room for
// `most`), and `*popped` how many there are: 0 only if `most` is. Errors as mpshm_ring_pop(), and then none was popped.
MPSHM_MUST_USE
int mpshm_ring_pop_many(struct mpshm_ring_t *ring,
                        void *buffer,
                        size_t size,
                        size_t most,
                        int64_t timeout_ns,
                        size_t *lengths,
                        size_t *popped);

// Reserves contiguous room for `count` items, or for one message of up to `count` bytes, at `*data`, aligned as items are,
// messages to 8 bytes; once for each handle. Then mpshm_ring_commit() or mpshm_ring_abort(). Waits at most `timeout_ns`
// until there is room for all.
// Errors: EFULL (time-out 0), ETIMEDOUT, ECLOSED, EPEERDEAD, ETOOBIG (more than the capacity; of items of a ring that
// overwrites, more than one), EBUSY (somebody else is the producer, or room is reserved), EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_ring_reserve(struct mpshm_ring_t *ring,
                       size_t count,
                       int64_t timeout_ns,
                       void **data);

// Pushes the first `count` items of what was reserved, or its first `count` bytes as one message: visible to the
// consumer on return, all at once; the rest is given up. 0 items are none, a message of 0 bytes is one. Errors: ECLOSED (and
// nothing is reserved any more), ETOOBIG (more than was reserved, which it still is), ENOTOWNER (nothing is reserved),
// EFORKED (it is the parent's).
MPSHM_MUST_USE
int mpshm_ring_commit(struct mpshm_ring_t *ring,
                      size_t count);

// Gives what was reserved up; nothing is pushed. Errors: ENOTOWNER (nothing is reserved), EFORKED.
MPSHM_MUST_USE int mpshm_ring_abort(struct mpshm_ring_t *ring);

// Claims up to `most` items, or the oldest message, to be read in place: `*count` items, or bytes, contiguous at
// `*data`, aligned as for mpshm_ring_reserve(); once for each handle. Then mpshm_ring_release() or mpshm_ring_give_back(). If this
// process dies with the claim, it is delivered again. Waits for the first item at most `timeout_ns`. What had been handed out
// before comes apart from what is new. Errors as mpshm_ring_pop() but ETOOBIG; EINVAL (`most` is 0; a ring that overwrites).
MPSHM_MUST_USE
int mpshm_ring_claim(struct mpshm_ring_t *ring,
                     size_t most,
                     int64_t timeout_ns,
                     const void **data,
                     size_t *count);

// How often what is claimed has been handed out, this time included: 1 is the ordinary case. Never too few; of items that were
// once handed out together with others there may be fewer, for the ring keeps one number for all that was. Errors: ENOTOWNER (nothing is claimed), EFORKED.
MPSHM_MUST_USE
int mpshm_ring_deliveries(const struct mpshm_ring_t *ring,
                          uint64_t *deliveries);

// Ends the claim: its first `count` items are consumed, the others come next, as if this claim of them had not been. Of a
// message, `count` is its length. Errors: ENOTOWNER (nothing is claimed), ETOOBIG (more than is claimed), EINVAL (a part
// of a message), EFORKED; the claim stays then.
MPSHM_MUST_USE
int mpshm_ring_release(struct mpshm_ring_t *ring,
                       size_t count);

// Ends the claim: what was claimed stays in the ring, and is delivered again, marked. Errors: ENOTOWNER (nothing is claimed),
// EFORKED.
MPSHM_MUST_USE
int mpshm_ring_give_back(struct mpshm_ring_t *ring);

// Ends the stream for both sides, and wakes them: pushes and commits say ECLOSED, pops too once everything has been taken.
// By anybody, also twice.
MPSHM_MUST_USE
int mpshm_ring_shutdown(const struct mpshm_ring_t *ring);

// Whether the ring was shut down.
MPSHM_MUST_USE int mpshm_ring_is_shut_down(const struct mpshm_ring_t *ring, bool *shut_down);

// Items, or messages, in the ring: exact when nobody else acts, else true at some moment of the call. What is claimed counts
// until it is released. Messages are counted one by one.
MPSHM_MUST_USE
int mpshm_ring_length(const struct mpshm_ring_t *ring,
                      uint64_t *length);

// Items, or bytes of messages, as was asked for when the ring was made.
MPSHM_MUST_USE int mpshm_ring_capacity(const struct mpshm_ring_t *ring, uint64_t *capacity);

// Sets `*counters`, whose struct_size the caller has set. In a ring of messages `pushed` and `popped` are the bytes that they
// take, and `popped` has those that were overwritten as well; the others are messages. What is claimed is popped when it
// is released, and redelivered when it is claimed again.
MPSHM_MUST_USE
int mpshm_ring_counters(const struct mpshm_ring_t *ring,
                        struct mpshm_queue_counters_t *counters);

// Sets the defaults.
MPSHM_MUST_USE int mpshm_semaphore_options_init(struct mpshm_semaphore_options_t *options);

// Makes a semaphore; `options` may be NULL. Place and errors as mpshm_value_create().
MPSHM_MUST_USE
int mpshm_semaphore_create(const struct mpshm_segment_t *segment,
                           const char *name,
                           const struct mpshm_semaphore_options_t *options,
                           struct mpshm_semaphore_t **semaphore);

// Opens a semaphore, however it was made.
MPSHM_MUST_USE
int mpshm_semaphore_open(const struct mpshm_segment_t *segment,
                         const char *name,
                         struct mpshm_semaphore_t **semaphore);

// Opens a semaphore, which stays as it is, or makes it.
MPSHM_MUST_USE
int mpshm_semaphore_open_or_create(const struct mpshm_segment_t *segment,
                                   const char *name,
                                   const struct mpshm_semaphore_options_t *options,
                                   struct mpshm_semaphore_t **semaphore);

// Bytes that such a semaphore needs in a segment.
MPSHM_MUST_USE int mpshm_semaphore_size_for(const struct mpshm_semaphore_options_t *options, uint64_t *size);

// Closes the handle; NULL is a no-op. What was taken through it stays taken.
void mpshm_semaphore_close(struct mpshm_semaphore_t *semaphore);

// Takes `count` permits, all or none, when so many are free. EBUSY (time-out 0), ETIMEDOUT, EINTERRUPTED; EINVAL for 0 and for
// more than the bound. Owned permits are taken one after the other, and given back if they do not suffice: others
// may find them taken meanwhile.
MPSHM_MUST_USE
int mpshm_semaphore_acquire(const struct mpshm_semaphore_t *semaphore,
                            uint64_t count,
                            int64_t timeout_ns);

// Gives `count` permits back. EINVAL for 0, and if there would be more than the bound; ENOTOWNER if this process holds fewer
// owned ones. Nothing is changed then.
MPSHM_MUST_USE
int mpshm_semaphore_release(const struct mpshm_semaphore_t *semaphore,
                            uint64_t count);

// How many permits are free; those of the dead are not, until somebody needs them.
MPSHM_MUST_USE int mpshm_semaphore_value(const struct mpshm_semaphore_t *semaphore, uint64_t *value);

// Makes an event. Place and errors as mpshm_value_create().
MPSHM_MUST_USE
int mpshm_event_create(const struct mpshm_segment_t *segment,
                       const char *name,
                       struct mpshm_event_t **event);

// Opens an event.
MPSHM_MUST_USE
int mpshm_event_open(const struct mpshm_segment_t *segment,
                     const char *name,
                     struct mpshm_event_t **event);

// Opens an event, or makes it.
MPSHM_MUST_USE
int mpshm_event_open_or_create(const struct mpshm_segment_t *segment,
                               const char *name,
                               struct mpshm_event_t **event);

// Closes the handle; NULL is a no-op.
void mpshm_event_close(struct mpshm_event_t *event);

// Sets the event: all who wait go on, and so does whoever comes until it is cleared. Nothing is changed if it is set.
// Never waits; may be called from a signal handler, and leaves errno alone.
MPSHM_MUST_USE
int mpshm_event_set(const struct mpshm_event_t *event);

// Clears the event; nothing is changed if it is not set. May be called from a signal handler.
MPSHM_MUST_USE int mpshm_event_clear(const struct mpshm_event_t *event);

// Whether the event is set now. May be called from a signal handler.
MPSHM_MUST_USE int mpshm_event_is_set(const struct mpshm_event_t *event, bool *is_set);

// Waits until the event is set, or has been since the call began: no pulse of set and clear is lost. ETIMEDOUT when the
// time-out passed first, also for one of 0, which is a look; EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_event_wait(const struct mpshm_event_t *event,
                     int64_t timeout_ns);

// Makes what is done once. Place and errors as mpshm_value_create().
MPSHM_MUST_USE
int mpshm_once_create(const struct mpshm_segment_t *segment,
                      const char *name,
                      struct mpshm_once_t **once);

// Opens what is done once.
MPSHM_MUST_USE
int mpshm_once_open(const struct mpshm_segment_t *segment,
                    const char *name,
                    struct mpshm_once_t **once);

// Opens what is done once, which stays as it is, or makes it.
MPSHM_MUST_USE
int mpshm_once_open_or_create(const struct mpshm_segment_t *segment,
                              const char *name,
                              struct mpshm_once_t **once);

// Closes the handle; NULL is a no-op.
void mpshm_once_close(struct mpshm_once_t *once);

// Runs `run(after_failure, context)` unless that is done, by whatever process; who runs it meanwhile is waited for. When this
// returns 0 it is done, and `*ran`, unless that is NULL, says whether this call did it. `after_failure` is true when one before
// died or failed in the middle: what it did half is to be made whole. ETASKFAILED when `run` returned anything but 0: the next
// one is told. ETIMEDOUT, EDEADLOCK (in the middle of a run of this thread's own), EINTERRUPTED, EFORKED (a child that `run`
// forked and that returned from it).
MPSHM_MUST_USE
int mpshm_once_call(const struct mpshm_once_t *once,
                    int (*run)(bool after_failure, void *context),
                    void *context,
                    int64_t timeout_ns,
                    bool *ran);

// Whether it is done.
MPSHM_MUST_USE int mpshm_once_is_done(const struct mpshm_once_t *once, bool *is_done);

// Makes a latch that waits for `count` to arrive; with 0 it is open. Place and errors as mpshm_value_create().
MPSHM_MUST_USE
int mpshm_latch_create(const struct mpshm_segment_t *segment,
                       const char *name,
                       uint64_t count,
                       struct mpshm_latch_t **latch);

// Opens a latch.
MPSHM_MUST_USE
int mpshm_latch_open(const struct mpshm_segment_t *segment,
                     const char *name,
                     struct mpshm_latch_t **latch);

// Opens a latch, which stays as it is, or makes it.
MPSHM_MUST_USE
int mpshm_latch_open_or_create(const struct mpshm_segment_t *segment,
                               const char *name,
                               uint64_t count,
                               struct mpshm_latch_t **latch);

// Closes the handle; NULL is a no-op.
void mpshm_latch_close(struct mpshm_latch_t *latch);

// `count` have arrived. Never waits. EINVAL for 0, and when fewer are left: nothing is changed then.
MPSHM_MUST_USE int mpshm_latch_count_down(const struct mpshm_latch_t *latch, uint64_t count);

// Waits until all have arrived. ETIMEDOUT, also for a time-out of 0, which is a look; EINTERRUPTED.
MPSHM_MUST_USE int mpshm_latch_wait(const struct mpshm_latch_t *latch, int64_t timeout_ns);

// Arrives, and waits for the others; after ETIMEDOUT or EINTERRUPTED it has arrived.
MPSHM_MUST_USE int mpshm_latch_arrive_and_wait(const struct mpshm_latch_t *latch, int64_t timeout_ns);

// How many have still to arrive.
MPSHM_MUST_USE int mpshm_latch_count(const struct mpshm_latch_t *latch, uint64_t *count);

// Sets the defaults.
MPSHM_MUST_USE int mpshm_process_options_init(struct mpshm_process_options_t *options);

// Forks a child that calls `function(context)` and exits with what that returns, without running the
// parent's atexit handlers; output buffers are flushed on both sides. `options` may be NULL. What the options
// ask for has been done when this returns, or is its error, and then there is no child.
// Errors: EINVAL, EPERM, ELIMIT, ENOSPACE, EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_process_spawn(mpshm_process_fn function,
                        void *context,
                        const struct mpshm_process_options_t *options,
                        struct mpshm_process_t **process);

// Forks a child that executes `program`: a path or, without a slash, looked for in PATH. `arguments` are what
// follows its name, a NULL at the end; they and `options` may be NULL. It gets the standard descriptors, the
// segments of the options, and no other descriptor; what the options ask for has been done, and the program runs,
// when this returns.
// Errors: ENOTFOUND (no such program), EPERM, EINVAL, EEXISTS (two segments of a label), ELIMIT, ENOSPACE,
// ESYSTEM (it cannot be executed), EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_process_exec(const char *program,
                       const char *const *arguments,
                       const struct mpshm_process_options_t *options,
                       struct mpshm_process_t **process);

// Attaches to the segment that the process which executed this program handed over as `label`, in the options of
// mpshm_process_exec(). Errors: ENOTFOUND, EINVAL, EVERSION.
MPSHM_MUST_USE
int mpshm_segment_inherited(const char *label,
                            struct mpshm_segment_t **segment);

// Waits for the child to end, at most `timeout_ns`; `*status`, unless that is NULL, gets its exit
// code, −N when signal N killed it, or MPSHM_STATUS_UNKNOWN. Again and again.
// Errors: ETIMEDOUT (it runs), EFORKED, EINTERRUPTED (within 80 ms).
MPSHM_MUST_USE int mpshm_process_join(const struct mpshm_process_t *process, int64_t timeout_ns, int *status);

// Sends SIGTERM, SIGKILL if the child has not ended `grace_ns` later, and waits until it has; `*status` as in
// mpshm_process_join(). Errors: EFORKED, EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_process_terminate_then_kill(const struct mpshm_process_t *process,
                                      int64_t grace_ns,
                                      int *status);

// Whether the signal that ended the child left a core. Errors: EFORKED.
MPSHM_MUST_USE int mpshm_process_core_dumped(const struct mpshm_process_t *process, bool *dumped);

// Whether closing the handle kills the child.
MPSHM_MUST_USE int mpshm_process_is_daemon(const struct mpshm_process_t *process, bool *daemon);

// Copies the child's name, cut to `size` bytes with its NUL; `*length`, unless that is NULL, gets the bytes that
// the whole name needs, its NUL included. `buffer` may be NULL when `size` is 0.
MPSHM_MUST_USE
int mpshm_process_name(const struct mpshm_process_t *process,
                       char *buffer,
                       size_t size,
                       size_t *length);

// Whether the child runs; a stopped one does.
MPSHM_MUST_USE int mpshm_process_is_alive(const struct mpshm_process_t *process, bool *alive);

// Sends a signal; to a child that has ended, nothing. Errors: EINVAL, EFORKED.
MPSHM_MUST_USE int mpshm_process_signal(const struct mpshm_process_t *process, int signal);

// Sends SIGKILL.
MPSHM_MUST_USE int mpshm_process_kill(const struct mpshm_process_t *process);

// Sends SIGTERM.
MPSHM_MUST_USE int mpshm_process_terminate(const struct mpshm_process_t *process);

// Sends SIGINT, as Ctrl-C does.
MPSHM_MUST_USE int mpshm_process_interrupt(const struct mpshm_process_t *process);

// The child's process id.
MPSHM_MUST_USE int mpshm_process_pid(const struct mpshm_process_t *process, int32_t *pid);

// A descriptor that becomes readable when the child ends, for poll(2). It stays the handle's.
MPSHM_MUST_USE int mpshm_process_fd(const struct mpshm_process_t *process, int *fd);

// Closes the handle; NULL is a no-op. A child that runs goes on (MPSHM_PROCESS_DAEMON: is killed).
void mpshm_process_close(struct mpshm_process_t *process);

// The children of this process that have not ended, made by mpshm_process_spawn() or _exec(); those that have
// are reaped. `*count` gets their number, `handles` a further handle on each, up to `room`, which are to be
// closed; that does nothing to the child. `handles` may be NULL when `room` is 0.
MPSHM_MUST_USE int mpshm_active_children(struct mpshm_process_t **handles, size_t room, size_t *count);

// Copies this process's name as mpshm_process_name() does: `MainProcess` in what no mpshm_process_spawn() made.
MPSHM_MUST_USE
int mpshm_current_name(char *buffer,
                       size_t size,
                       size_t *length);

// Whether this process was made by mpshm_process_spawn().
bool mpshm_current_is_child(void);

// Whether closing the parent's handle kills this process.
bool mpshm_current_is_daemon(void);

// The process id that the parent had when it made this process. Errors, here and below: ENOTFOUND in what no
// mpshm_process_spawn() made.
MPSHM_MUST_USE int mpshm_parent_pid(int32_t *pid);

// Copies the parent's name as mpshm_process_name() does.
MPSHM_MUST_USE int mpshm_parent_name(char *buffer, size_t size, size_t *length);

// Whether the parent has not ended; a stopped one has not, a zombie has.
MPSHM_MUST_USE int mpshm_parent_is_alive(bool *alive);

// Waits until the parent has ended, at most `timeout_ns`. Errors: ETIMEDOUT (it lives), EINTERRUPTED.
MPSHM_MUST_USE int mpshm_parent_wait_death(int64_t timeout_ns);

// A descriptor that becomes readable when the parent ends, for poll(2). It stays the library's.
MPSHM_MUST_USE int mpshm_parent_fd(int *fd);

// How many processors this process may use: affinity and control group.
uint32_t mpshm_cpu_count(void);

// Writes the process ids of the living that own or may own something in the segment, but for this process, to `pids`, at most `room`, and how many
// they are to `*count`. `pids` may be NULL when `room` is 0.
MPSHM_MUST_USE
int mpshm_segment_peers(const struct mpshm_segment_t *segment,
                        uint32_t *pids,
                        size_t room,
                        size_t *count);

// Opens the participant with this process id. ENOTFOUND when no living process of that number takes part.
MPSHM_MUST_USE
int mpshm_participant_open(const struct mpshm_segment_t *segment,
                           uint32_t pid,
                           struct mpshm_participant_t **participant);

// Whether it is not proven that it is dead, or has left the segment.
MPSHM_MUST_USE int mpshm_participant_is_alive(const struct mpshm_participant_t *participant, bool *is_alive);

// Waits until it is dead, or has left the segment: at once where its process can be opened, else within 80 ms. ETIMEDOUT when the time-out
// passed first, also for one of 0, which is a look; EINTERRUPTED.
MPSHM_MUST_USE
int mpshm_participant_wait_death(const struct mpshm_participant_t *participant,
                                 int64_t timeout_ns);

// Closes the handle; NULL is a no-op.
void mpshm_participant_close(struct mpshm_participant_t *participant);

// Waits until any of `count` items is ready (with MPSHM_SELECT_ALL: until all are, in one look). Then `ready[i]` says for each whether it is, and
// `*ready_count`, unless that is NULL, how many are. Nothing is consumed: by now somebody else may have been faster, so try, and select
// again. A caller that is told of a single item and does not try it keeps others that sleep there, for 80 ms at most.
// What is wrong with an item counts as ready: the try tells what it is. `flags`: 0 or MPSHM_SELECT_ALL. ETIMEDOUT when the time-out passed first,
// also for one of 0, which is a look; EINTERRUPTED; EINVAL for no items, an unknown kind, a value that is not waitable.
MPSHM_MUST_USE
int mpshm_select(const struct mpshm_waitable_t *items,
                 size_t count,
                 uint64_t flags,
                 int64_t timeout_ns,
                 bool *ready,
                 size_t *ready_count);

// Makes a descriptor that is readable when any of `count` items is ready: see mpshm_select(). Read 8 bytes from it (or call
// mpshm_eventfd_clear()), then try everything: it becomes readable again at once when something still is ready. The handles in `items` may be
// closed meanwhile. A thread of the library's, which runs no signal handlers, waits for the items until the handle is
// closed. In a forked child the descriptor is the parent's, and closing the handle only closes it. EINVAL as for mpshm_select(); ESYSTEM.
MPSHM_MUST_USE
int mpshm_eventfd_create(const struct mpshm_waitable_t *items,
                         size_t count,
                         struct mpshm_eventfd_t **eventfd);

// Sets `*fd` to the descriptor: for poll, not to be closed. Reads of it do not block.
MPSHM_MUST_USE int mpshm_eventfd_fd(const struct mpshm_eventfd_t *eventfd, int *fd);

// As a read of 8 bytes: unreadable until something is ready at the next look, which is made now.
MPSHM_MUST_USE int mpshm_eventfd_clear(const struct mpshm_eventfd_t *eventfd);

// Closes the descriptor, and ends its thread; NULL is a no-op.
void mpshm_eventfd_close(struct mpshm_eventfd_t *eventfd);

// Sets the defaults.
MPSHM_MUST_USE int mpshm_pool_options_init(struct mpshm_pool_options_t *options);

// Makes a pool of `workers` processes, 1 to 1000, and a fork server that is their parent, replaces those that die
// and ends with all of them when the calling process ends. Server and workers keep what memory and descriptors this
// process has now. `options` may be NULL. Errors: EINVAL, ENOSPACE, ELIMIT.
MPSHM_MUST_USE
int mpshm_pool_create(uint32_t workers,
                      const struct mpshm_pool_options_t *options,
                      struct mpshm_pool_t **pool);

// Takes no more tasks; those that were handed over go on. Errors: EFORKED.
MPSHM_MUST_USE int mpshm_pool_close_tasks(const struct mpshm_pool_t *pool);

// Waits at most `timeout_ns` until all tasks of a pool that takes no more have ended, and ends the workers.
// Errors: EINVAL (it takes tasks), ETIMEDOUT, EINTERRUPTED, EFORKED.
MPSHM_MUST_USE int mpshm_pool_join(const struct mpshm_pool_t *pool, int64_t timeout_ns);

// Takes no more tasks, waits at most `timeout_ns` until all have ended, and ends the workers:
// mpshm_pool_close_tasks() and mpshm_pool_join(). Errors: ETIMEDOUT, EINTERRUPTED, EFORKED.
MPSHM_MUST_USE int mpshm_pool_finish(const struct mpshm_pool_t *pool, int64_t timeout_ns);

// Ends the workers now: SIGTERM, half a second later SIGKILL. Tasks that have not ended say ECANCELLED.
// Errors: EFORKED.
MPSHM_MUST_USE int mpshm_pool_terminate(const struct mpshm_pool_t *pool);

// mpshm_pool_terminate() with another time between SIGTERM and SIGKILL; MPSHM_FOREVER: no SIGKILL.
// Errors: EFORKED.
MPSHM_MUST_USE int mpshm_pool_terminate_after(const struct mpshm_pool_t *pool, int64_t grace_ns);

// How many workers the pool keeps.
MPSHM_MUST_USE int mpshm_pool_workers(const struct mpshm_pool_t *pool, uint64_t *workers);

// Changes how many workers the pool keeps, from 1 to the options' workers_max. New ones are forked at once; those that
// are too many end when they have no task in hand. Errors: EINVAL, ECLOSED, EFORKED.
MPSHM_MUST_USE
int mpshm_pool_resize(const struct mpshm_pool_t *pool,
                      uint32_t workers);

// How many workers have been forked in place of others. Errors: EFORKED.
MPSHM_MUST_USE int mpshm_pool_restarts(const struct mpshm_pool_t *pool, uint64_t *restarts);

// The process ids of the workers as of now: at most `room` go to `pids`, and how many they are to `*count`. `pids` may
// be NULL when `room` is 0. Errors: EFORKED.
MPSHM_MUST_USE
int mpshm_pool_worker_pids(const struct mpshm_pool_t *pool,
                           int32_t *pids,
                           size_t room,
                           size_t *count);

// The process id of the fork server, the parent of all workers. Errors: ENOTFOUND once the pool has ended; EFORKED.
MPSHM_MUST_USE
int mpshm_pool_server_pid(const struct mpshm_pool_t *pool,
                          int32_t *pid);

// What each living worker has done, read from shared words: no worker is disturbed. At most `room` go to `stats`, and how
// many workers there are to `*count`. `stats` may be NULL when `room` is 0. Errors: EINVAL, EFORKED.
MPSHM_MUST_USE
int mpshm_pool_stats(const struct mpshm_pool_t *pool,
                     struct mpshm_worker_stats_t *stats,
                     size_t room,
                     size_t *count);

// Terminates the pool and closes the handle; NULL is a no-op. In a forked child the pool goes on.
void mpshm_pool_close(struct mpshm_pool_t *pool);

// Hands a task with a copy of `length` bytes at `input` to the workers, and does not wait.
// Errors: ETOOBIG (more than message_max), ECLOSED, EBROKEN, EFORKED.
MPSHM_MUST_USE
int mpshm_pool_submit(const struct mpshm_pool_t *pool,
                      mpshm_task_fn function,
                      const void *input,
                      size_t length,
                      struct mpshm_task_t **task);

// Appends `length` bytes to the result, or the argument. To be called by the function that was given the output, in that call.
MPSHM_MUST_USE
int mpshm_output_write(struct mpshm_output_t *output,
                       const void *data,
                       size_t length);

// Sets the message of the error that the function is going to return, of any length; without it the message has the number that it
// returns. To be called as mpshm_output_write().
MPSHM_MUST_USE
int mpshm_output_fail(struct mpshm_output_t *output,
                      const char *message);

// Waits for the task's result, at most `timeout_ns`, and copies it to `buffer` of `size` bytes; `*length`,
// unless that is NULL, gets the length that it has. Again and again.
// Errors: ETASKFAILED, EWORKERDIED, ECANCELLED, ETIMEDOUT, ETOOBIG (`*length` says what it needs),
// ETIMELIMIT, EBROKEN, EINTERRUPTED, EFORKED.
MPSHM_MUST_USE
int mpshm_task_get(const struct mpshm_task_t *task,
                   void *buffer,
                   size_t size,
                   int64_t timeout_ns,
                   size_t *length);

// Waits until the task has ended, with a result or without, at most `timeout_ns`.
// Errors: ETIMEDOUT, EINTERRUPTED, EFORKED.
MPSHM_MUST_USE int mpshm_task_wait(const struct mpshm_task_t *task, int64_t timeout_ns);

// Whether the task has ended, with a result or without. Never waits, but moves the pool on: tasks that the queue to
// the workers had no room for, results that have come. Errors: EFORKED.
MPSHM_MUST_USE
int mpshm_task_is_done(const struct mpshm_task_t *task,
                       bool *is_done);

// Ends the task as ECANCELLED if no worker has begun it; `*cancelled`, unless that is NULL, gets whether that was so.
// Errors: EFORKED.
MPSHM_MUST_USE
int mpshm_task_cancel(const struct mpshm_task_t *task,
                      bool *cancelled);

// Sets `*error`, whose struct_size the caller has set, to what came of a task that has ended. Never waits.
// Errors: ETIMEDOUT (it has not ended), EFORKED.
MPSHM_MUST_USE int mpshm_task_error(const struct mpshm_task_t *task, struct mpshm_task_error_t *error);

// Copies what is to be said of a task that has ended without a result, as mpshm_process_name() copies: of one that failed, its
// own message. Of one that has a result, nothing. Errors: ETIMEDOUT (it has not ended), EFORKED.
MPSHM_MUST_USE
int mpshm_task_message(const struct mpshm_task_t *task,
                       char *buffer,
                       size_t size,
                       size_t *length);

// Closes the handle; NULL is a no-op. The task goes on, its result is forgotten.
void mpshm_task_close(struct mpshm_task_t *task);

// Calls `function` for each of `count` items of `item_size` bytes at `items` in the workers, and waits; the
// results of `result_size` bytes each go to `results`, in order. `chunk` items go to a worker at a time, or as many as
// message_max has room for; 0 = as many as seems best. `results` may be `items` where both have one size. What fails takes its chunk with it;
// the others run to their end, and then the first error is said. On an error the content of `results` is undefined.
// Errors: ETASKFAILED, EWORKERDIED, ETIMELIMIT, ECANCELLED, ECLOSED, EBROKEN, ETOOBIG (not even one item fits a message),
// EINTERRUPTED, EFORKED.
MPSHM_MUST_USE
int mpshm_pool_map(const struct mpshm_pool_t *pool,
                   mpshm_map_fn function,
                   const void *items,
                   size_t item_size,
                   size_t count,
                   void *results,
                   size_t result_size,
                   size_t chunk);

// Sets the defaults.
MPSHM_MUST_USE int mpshm_imap_options_init(struct mpshm_imap_options_t *options);

// Makes a stream of tasks that run `function`, each on an argument of `source`, which is asked for it only inside
// mpshm_imap_next(): it may be endless, for so many are in flight at most as the options say. `options` may be NULL. The
// pool may be closed before the stream. Errors: EINVAL.
MPSHM_MUST_USE
int mpshm_pool_imap(const struct mpshm_pool_t *pool,
                    mpshm_task_fn function,
                    mpshm_source_fn source,
                    void *context,
                    const struct mpshm_imap_options_t *options,
                    struct mpshm_imap_t **imap);

// Waits for the next task to end, at most `timeout_ns`, and hands it out: mpshm_task_get() has its result, or its error, without
// waiting. `*task` is NULL at the end of the stream. What is wrong with the source (ETASKFAILED), with an argument
// (ETOOBIG) or with the pool comes after the tasks that were in flight, once, and then the end.
// Errors: ETIMEDOUT (it can be asked for again), ETASKFAILED, ETOOBIG, ECLOSED, EBROKEN, EINTERRUPTED, EFORKED.
MPSHM_MUST_USE
int mpshm_imap_next(struct mpshm_imap_t *imap,
                    int64_t timeout_ns,
                    struct mpshm_task_t **task);

// Closes the handle; NULL is a no-op. Tasks in flight go on, their results are forgotten; those handed out stay.
void mpshm_imap_close(struct mpshm_imap_t *imap);

// Makes a canceller.
MPSHM_MUST_USE int mpshm_canceller_create(struct mpshm_canceller_t **canceller);

// From here to mpshm_canceller_leave(), blocking calls of this thread end when the canceller is used. Regions
// nest.
MPSHM_MUST_USE int mpshm_canceller_enter(const struct mpshm_canceller_t *canceller);

// Ends this thread's innermost region. EINVAL when it is in none.
MPSHM_MUST_USE int mpshm_canceller_leave(void);

// Ends the blocking calls, now and until mpshm_canceller_reset(). From any thread; async-signal-safe.
MPSHM_MUST_USE int mpshm_canceller_cancel(const struct mpshm_canceller_t *canceller);

// Makes calls block again.
MPSHM_MUST_USE int mpshm_canceller_reset(const struct mpshm_canceller_t *canceller);

// Closes the handle; NULL is a no-op. Regions that were entered keep it alive.
void mpshm_canceller_close(struct mpshm_canceller_t *canceller);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MPSHM_H */
