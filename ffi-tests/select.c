/* Several things waited for at once: every kind; any and all; times; eventfds; participants that die; misuse. */
#include "check.h"

#include <errno.h>
#include <poll.h>

enum { KINDS = 9 };

static mpshm_event_t *event, *never;
static mpshm_semaphore_t *semaphore;
static mpshm_queue_t *queue, *full;
static mpshm_ring_t *ring, *full_ring;
static mpshm_value_t *value;
static mpshm_latch_t *latch;
static mpshm_latest_t *latest;
static int64_t wanted = 5;

static mpshm_waitable_t item(uint32_t kind, const void *handle) {
    mpshm_waitable_t item;
    memset(&item, 0, sizeof item);
    item.kind = kind;
    item.handle = handle;
    return item;
}

/* None is ready. */
static void make(mpshm_waitable_t *items) {
    mpshm_semaphore_options_t seats;
    uint64_t n = 1;
    int64_t zero = 0;
    OK(mpshm_event_create(NULL, NULL, &event));
    OK(mpshm_semaphore_options_init(&seats));
    seats.initial = 0;
    OK(mpshm_semaphore_create(NULL, NULL, &seats, &semaphore));
    queue = queue_of(0, 4, 0);
    full = queue_of(8, 1, 0);
    OK(mpshm_queue_push(full, &n, 8, 0));
    ring = ring_of(8, 4, 0);
    full_ring = ring_of(8, 2, 0);
    OK(mpshm_ring_push(full_ring, &n, 8, 0));
    OK(mpshm_value_create_waitable(NULL, NULL, MPSHM_I64, &zero, &value));
    OK(mpshm_latch_create(NULL, NULL, 1, &latch));
    OK(mpshm_latest_create(NULL, NULL, MPSHM_U64, 0, 0, NULL, &latest));
    items[0] = item(MPSHM_WAITABLE_EVENT, event);
    items[1] = item(MPSHM_WAITABLE_SEMAPHORE, semaphore);
    items[2] = item(MPSHM_WAITABLE_QUEUE_READABLE, queue);
    items[3] = item(MPSHM_WAITABLE_QUEUE_WRITABLE, full);
    items[4] = item(MPSHM_WAITABLE_RING_READABLE, ring);
    items[5] = item(MPSHM_WAITABLE_RING_WRITABLE, full_ring);
    items[5].operand = 2;
    items[6] = item(MPSHM_WAITABLE_VALUE, value);
    items[6].condition = MPSHM_WAIT_AT_LEAST;
    items[6].value = &wanted;
    items[7] = item(MPSHM_WAITABLE_LATCH, latch);
    items[8] = item(MPSHM_WAITABLE_LATEST, latest);
    OK(mpshm_latest_version(latest, &items[8].operand));
}

static void close_all(void) {
    mpshm_event_close(event);
    mpshm_semaphore_close(semaphore);
    mpshm_queue_close(queue);
    mpshm_queue_close(full);
    mpshm_ring_close(ring);
    mpshm_ring_close(full_ring);
    mpshm_value_close(value);
    mpshm_latch_close(latch);
    mpshm_latest_close(latest);
}

static int act(int kind) {
    uint64_t n = 7;
    size_t length;
    switch (kind) {
    case 0: return mpshm_event_set(event);
    case 1: return mpshm_semaphore_release(semaphore, 1);
    case 2: return mpshm_queue_push(queue, "hello", 5, 0);
    case 3: return mpshm_queue_pop(full, &n, 8, 0, &length);
    case 4: return mpshm_ring_push(ring, &n, 8, 0);
    case 5: return mpshm_ring_pop(full_ring, &n, 8, 0, &length);
    case 6: return mpshm_value_store(value, &wanted);
    case 7: return mpshm_latch_count_down(latch, 1);
    default: return mpshm_latest_store(latest, &n, 8, NULL);
    }
}

static int acts(void *context) {
    until_asleep(getppid());
    return act(*(int *)context);
}

static void each_kind(void) {
    mpshm_waitable_t items[KINDS];
    bool ready[KINDS];
    size_t count;
    int kind, other;
    pid_t pid;
    for (kind = 0; kind < KINDS; kind++) {
        make(items);
        SAME(mpshm_select(items, KINDS, 0, 0, ready, &count), MPSHM_ETIMEDOUT);
        pid = child(acts, &kind);
        OK(mpshm_select(items, KINDS, 0, MPSHM_FOREVER, ready, &count));
        SAME(count, 1);
        for (other = 0; other < KINDS; other++) SAME(ready[other], other == kind);
        SAME(reap(pid), 0);
        close_all();
    }
    make(items);
    for (kind = 0; kind < KINDS; kind++) {
        SAME(mpshm_select(items, KINDS, MPSHM_SELECT_ALL, 0, ready, NULL), MPSHM_ETIMEDOUT);
        OK(act(kind));
    }
    OK(mpshm_select(items, KINDS, MPSHM_SELECT_ALL, MPSHM_FOREVER, ready, &count));
    SAME(count, KINDS);
    close_all();
    /* A wait for all goes on when some are ready. */
    make(items);
    for (kind = 0; kind < KINDS - 1; kind++) OK(act(kind));
    pid = child(acts, &kind);
    OK(mpshm_select(items, KINDS, MPSHM_SELECT_ALL, MPSHM_FOREVER, ready, &count));
    SAME(count, KINDS);
    SAME(reap(pid), 0);
    close_all();
}

static int sleeps(void *context) {
    uint64_t n = 1;
    OK(mpshm_queue_push((mpshm_queue_t *)context, &n, 8, 0));
    for (;;) pause();
    return 0;
}

static int ends(void *context) {
    (void)context;
    return 0;
}

static void deaths(void) {
    mpshm_segment_t *segment;
    mpshm_queue_t *q;
    mpshm_queue_options_t options;
    mpshm_participant_t *peer;
    mpshm_process_t *process;
    mpshm_waitable_t items[2];
    bool ready[2], is_alive = false;
    uint32_t pids[4] = {0, 0, 0, 0};
    size_t count = 9;
    int status;
    pid_t pid;
    OK(mpshm_queue_options_init(&options));
    options.item_size = 8;
    options.capacity = 4;
    options.flags = MPSHM_QUEUE_JOINABLE;
    OK(mpshm_segment_create(NULL, 1 << 20, NULL, &segment));
    OK(mpshm_queue_create(segment, "q", &options, &q));
    OK(mpshm_segment_peers(segment, NULL, 0, &count));
    SAME(count, 0);
    pid = child(sleeps, q);
    UNTIL(mpshm_segment_peers(segment, pids, 4, &count) == 0 && count == 1);
    SAME(pids[0], pid);
    OK(mpshm_participant_open(segment, (uint32_t)pid, &peer));
    OK(mpshm_participant_is_alive(peer, &is_alive));
    TRUE(is_alive);
    SAME(mpshm_participant_wait_death(peer, 0), MPSHM_ETIMEDOUT);
    SAME(mpshm_participant_wait_death(peer, 20 * MS), MPSHM_ETIMEDOUT);
    items[0] = item(MPSHM_WAITABLE_PARTICIPANT, peer);
    items[1] = item(MPSHM_WAITABLE_EVENT, never);
    SAME(mpshm_select(items, 2, 0, 20 * MS, ready, NULL), MPSHM_ETIMEDOUT);
    SAME(kill(pid, SIGKILL), 0);
    OK(mpshm_select(items, 2, 0, MPSHM_FOREVER, ready, NULL));
    TRUE(ready[0] && !ready[1]);
    OK(mpshm_participant_wait_death(peer, MPSHM_FOREVER));
    OK(mpshm_participant_is_alive(peer, &is_alive));
    TRUE(!is_alive);
    SAME(reap(pid), -SIGKILL);
    mpshm_participant_close(peer);
    SAME(mpshm_participant_open(segment, (uint32_t)pid, &peer), MPSHM_ENOTFOUND);
    SAME(mpshm_participant_open(segment, 1, NULL), MPSHM_EINVAL);
    SAME(mpshm_participant_open(NULL, 1, &peer), MPSHM_EINVAL);
    SAME(mpshm_participant_is_alive(NULL, &is_alive), MPSHM_EINVAL);
    SAME(mpshm_participant_wait_death(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_segment_peers(segment, NULL, 1, &count), MPSHM_EINVAL);
    SAME(mpshm_segment_peers(segment, pids, 1, NULL), MPSHM_EINVAL);
    mpshm_participant_close(NULL);
    mpshm_queue_close(q);
    mpshm_segment_close(segment);

    status = mpshm_process_spawn(ends, NULL, NULL, &process);
    if (status == MPSHM_ESYSTEM && mpshm_last_errno() == ENOSYS) return; /* valgrind knows no pidfds */
    OK(status);
    items[0] = item(MPSHM_WAITABLE_PROCESS, process);
    OK(mpshm_select(items, 2, 0, MPSHM_FOREVER, ready, NULL));
    TRUE(ready[0] && !ready[1]);
    OK(mpshm_process_join(process, MPSHM_FOREVER, &status));
    mpshm_process_close(process);
}

static int is_readable(int fd, int timeout_ms) {
    struct pollfd poll_it;
    poll_it.fd = fd;
    poll_it.events = POLLIN;
    return poll(&poll_it, 1, timeout_ms);
}

static void eventfds(void) {
    mpshm_waitable_t items[KINDS];
    mpshm_eventfd_t *eventfd;
    uint64_t counter;
    char text[16];
    size_t length;
    int fd = -1;
    make(items);
    OK(mpshm_eventfd_create(items, KINDS, &eventfd));
    OK(mpshm_eventfd_fd(eventfd, &fd));
    SAME(is_readable(fd, 20), 0);
    OK(mpshm_queue_push(queue, "hello", 5, 0));
    SAME(is_readable(fd, -1), 1);
    /* Not consumed, so it is readable again. */
    SAME(read(fd, &counter, 8), 8);
    SAME(is_readable(fd, -1), 1);
    OK(mpshm_queue_pop(queue, text, sizeof text, 0, &length));
    SAME(read(fd, &counter, 8), 8);
    SAME(is_readable(fd, 20), 0);
    OK(mpshm_event_set(event));
    SAME(is_readable(fd, -1), 1);
    OK(mpshm_event_clear(event));
    OK(mpshm_eventfd_clear(eventfd));
    SAME(is_readable(fd, 20), 0);
    close_all(); /* The descriptor has handles of its own. */
    SAME(is_readable(fd, 0), 0);
    mpshm_eventfd_close(eventfd);
    mpshm_eventfd_close(NULL);
    items[0] = item(MPSHM_WAITABLE_EVENT, never);
    SAME(mpshm_eventfd_create(items, 0, &eventfd), MPSHM_EINVAL);
    SAME(mpshm_eventfd_create(NULL, 1, &eventfd), MPSHM_EINVAL);
    SAME(mpshm_eventfd_create(items, 1, NULL), MPSHM_EINVAL);
    SAME(mpshm_eventfd_fd(NULL, &fd), MPSHM_EINVAL);
    SAME(mpshm_eventfd_clear(NULL), MPSHM_EINVAL);
}

static void misuse(void) {
    mpshm_waitable_t items[2];
    mpshm_value_t *plain;
    bool ready[2];
    char text[200];
    int64_t zero = 0;
    items[0] = item(MPSHM_WAITABLE_EVENT, never);
    items[1] = item(MPSHM_WAITABLE_EVENT, never);
    SAME(mpshm_select(items, 0, 0, 0, ready, NULL), MPSHM_EINVAL);
    SAME(mpshm_select(NULL, 2, 0, 0, ready, NULL), MPSHM_EINVAL);
    SAME(mpshm_select(items, 2, 0, 0, NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_select(items, 2, 2, 0, ready, NULL), MPSHM_EINVAL);
    SAME(mpshm_select(items, 2, 0, -2, ready, NULL), MPSHM_EINVAL);
    SAME(mpshm_select(items, SIZE_MAX, 0, 0, ready, NULL), MPSHM_EINVAL);
    items[1].handle = NULL;
    SAME(mpshm_select(items, 2, 0, 0, ready, NULL), MPSHM_EINVAL);
    items[1] = item(0, never);
    SAME(mpshm_select(items, 2, 0, 0, ready, NULL), MPSHM_EINVAL);
    items[1] = item(99, never);
    SAME(mpshm_select(items, 2, 0, 0, ready, NULL), MPSHM_EINVAL);
    TRUE(mpshm_last_message(text, sizeof text) > 0 && strstr(text, "99") != NULL);
    items[1] = item(MPSHM_WAITABLE_EVENT, never);
    items[1].operand = 1;
    SAME(mpshm_select(items, 2, 0, 0, ready, NULL), MPSHM_EINVAL);
    OK(mpshm_value_create(NULL, NULL, MPSHM_I64, &zero, &plain));
    items[1] = item(MPSHM_WAITABLE_VALUE, plain);
    items[1].condition = MPSHM_WAIT_EQUAL;
    items[1].value = &wanted;
    SAME(mpshm_select(items, 2, 0, 0, ready, NULL), MPSHM_EINVAL);
    TRUE(mpshm_last_message(text, sizeof text) > 0 && strstr(text, "not waitable") != NULL);
    items[1].condition = 99;
    SAME(mpshm_select(items, 2, 0, 0, ready, NULL), MPSHM_EINVAL);
    items[1].condition = MPSHM_WAIT_EQUAL;
    items[1].value = NULL;
    SAME(mpshm_select(items, 2, 0, 0, ready, NULL), MPSHM_EINVAL);
    mpshm_value_close(plain);
}

static void times_and_cancels(void) {
    mpshm_waitable_t one = item(MPSHM_WAITABLE_EVENT, never);
    mpshm_canceller_t *canceller;
    bool ready;
    double begin = seconds();
    SAME(mpshm_select(&one, 1, 0, 50 * MS, &ready, NULL), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    OK(mpshm_canceller_create(&canceller));
    OK(mpshm_canceller_enter(canceller));
    OK(mpshm_canceller_cancel(canceller));
    SAME(mpshm_select(&one, 1, 0, MPSHM_FOREVER, &ready, NULL), MPSHM_EINTERRUPTED);
    OK(mpshm_canceller_leave());
    mpshm_canceller_close(canceller);
}

int main(void) {
    OK(mpshm_event_create(NULL, NULL, &never));
    each_kind();
    deaths();
    eventfds();
    misuse();
    times_and_cancels();
    mpshm_event_close(never);
    return 0;
}
