/* Waits for several things, eventfds, participants, cancellers: NULL, unknown kinds, wrong sizes, handles that go first. */
#include "check.h"

#include <errno.h>
#include <poll.h>

static mpshm_waitable_t item(uint32_t kind, const void *handle) {
    mpshm_waitable_t item;
    memset(&item, 0, sizeof item);
    item.kind = kind;
    item.handle = handle;
    return item;
}

/* Looked at together with an event that is never set; the answer is not touched. */
static void refused(mpshm_waitable_t bad, const mpshm_event_t *never) {
    mpshm_waitable_t items[2];
    mpshm_eventfd_t *eventfd = NULL;
    bool ready[2] = {true, true};
    size_t count = 77;
    items[0] = item(MPSHM_WAITABLE_EVENT, never);
    items[1] = bad;
    SAME(mpshm_select(items, 2, 0, 0, ready, &count), MPSHM_EINVAL);
    SAME(mpshm_select(items, 2, MPSHM_SELECT_ALL, MPSHM_FOREVER, ready, &count), MPSHM_EINVAL);
    TRUE(ready[0] && ready[1] && count == 77);
    SAME(mpshm_eventfd_create(items, 2, &eventfd), MPSHM_EINVAL);
    TRUE(eventfd == NULL);
}

static void kinds(const mpshm_event_t *never) {
    mpshm_waitable_t bad;
    mpshm_value_t *value = NULL;
    int64_t zero = 0;
    uint32_t kind, condition;
    for (kind = 0; kind <= 300; kind++) {
        bool known = kind >= MPSHM_WAITABLE_EVENT && kind <= MPSHM_WAITABLE_PARTICIPANT;
        refused(item(kind, known ? NULL : (const void *)never), never);
    }
    refused(item(UINT32_MAX, never), never);
    bad = item(MPSHM_WAITABLE_EVENT, never);
    bad.operand = UINT64_MAX;
    refused(bad, never);
    bad.operand = 0;
    bad.condition = MPSHM_WAIT_EQUAL;
    refused(bad, never);
    bad.condition = 0;
    bad.value = &zero;
    refused(bad, never);
    OK(mpshm_value_create_waitable(NULL, NULL, MPSHM_I64, &zero, &value));
    bad = item(MPSHM_WAITABLE_VALUE, value);
    bad.value = &zero;
    for (condition = 7; condition < 300; condition++) {
        bad.condition = condition;
        refused(bad, never);
    }
    bad.condition = MPSHM_WAIT_EQUAL;
    bad.operand = 1;
    refused(bad, never);
    mpshm_value_close(value);
}

/* Structs of C's may lie where they like. */
static void unaligned_items(mpshm_event_t *event) {
    char place[3 * sizeof(mpshm_waitable_t)];
    mpshm_waitable_t aligned = item(MPSHM_WAITABLE_EVENT, event);
    bool ready = false;
    memcpy(place + 1, &aligned, sizeof aligned);
    OK(mpshm_event_set(event));
    OK(mpshm_select((const mpshm_waitable_t *)(const void *)(place + 1), 1, 0, 0, &ready, NULL));
    TRUE(ready);
    OK(mpshm_event_clear(event));
}

static void counts(const mpshm_event_t *never) {
    mpshm_waitable_t one = item(MPSHM_WAITABLE_EVENT, never);
    mpshm_eventfd_t *eventfd = NULL;
    bool ready = false;
    uint64_t flag;
    for (flag = 2; flag != 0; flag <<= 1) SAME(mpshm_select(&one, 1, flag, 0, &ready, NULL), MPSHM_EINVAL);
    SAME(mpshm_select(&one, 1, 0, INT64_MIN, &ready, NULL), MPSHM_EINVAL);
    SAME(mpshm_select(&one, SIZE_MAX / sizeof one, 0, 0, &ready, NULL), MPSHM_EINVAL);
    SAME(mpshm_eventfd_create(&one, SIZE_MAX, &eventfd), MPSHM_EINVAL);
    TRUE(eventfd == NULL);
}

static int uses_the_parents(void *context) {
    mpshm_eventfd_t *eventfd = (mpshm_eventfd_t *)context;
    int fd = -1;
    OK(mpshm_eventfd_fd(eventfd, &fd));
    TRUE(fd >= 0);
    mpshm_eventfd_close(eventfd);
    return 0;
}

/* The child's close does nothing to the parent's thread, and what was closed first is still waited for. */
static void eventfds(void) {
    mpshm_event_t *event = NULL, *same = NULL;
    mpshm_eventfd_t *eventfd = NULL;
    mpshm_waitable_t one;
    struct pollfd fd;
    const char *name = unique("event");
    OK(mpshm_event_create(NULL, name, &event));
    OK(mpshm_event_open(NULL, name, &same));
    one = item(MPSHM_WAITABLE_EVENT, event);
    OK(mpshm_eventfd_create(&one, 1, &eventfd));
    mpshm_event_close(event);
    OK(mpshm_eventfd_fd(eventfd, &fd.fd));
    fd.events = POLLIN;
    /* What the parent's thread had is a leak in its child, to who looks for those. */
    if (!getenv("MPSHM_FEW")) SAME(reap(child(uses_the_parents, eventfd)), 0);
    SAME(poll(&fd, 1, 0), 0);
    OK(mpshm_event_set(same));
    SAME(poll(&fd, 1, 10000), 1);
    SAME(mpshm_eventfd_fd(eventfd, NULL), MPSHM_EINVAL);
    SAME(mpshm_eventfd_fd(NULL, NULL), MPSHM_EINVAL);
    mpshm_eventfd_close(eventfd);
    mpshm_event_close(same);
    OK(mpshm_segment_unlink(name));
}

static void participants(void) {
    mpshm_segment_t *segment = NULL;
    mpshm_participant_t *none = NULL;
    uint32_t pids[2] = {7, 7};
    size_t count = 77;
    OK(mpshm_segment_create(NULL, 4096, NULL, &segment));
    SAME(mpshm_participant_open(segment, 0, &none), MPSHM_ENOTFOUND);
    SAME(mpshm_participant_open(segment, UINT32_MAX, &none), MPSHM_ENOTFOUND);
    SAME(mpshm_participant_open(segment, 1, &none), MPSHM_ENOTFOUND);
    SAME(mpshm_participant_open(segment, 1, NULL), MPSHM_EINVAL);
    TRUE(none == NULL);
    SAME(mpshm_participant_wait_death(NULL, -2), MPSHM_EINVAL);
    SAME(mpshm_participant_is_alive(NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_segment_peers(NULL, pids, 2, &count), MPSHM_EINVAL);
    SAME(mpshm_segment_peers(segment, NULL, 2, &count), MPSHM_EINVAL);
    SAME(count, 77);
    OK(mpshm_segment_peers(segment, pids, 2, &count));
    TRUE(count == 0 && pids[0] == 7);
    mpshm_segment_close(segment);
}

/* Regions nest; one that is left more often than entered is none; a closed canceller lives while a thread is inside. */
static void cancellers(const mpshm_event_t *never) {
    mpshm_canceller_t *outer = NULL, *inner = NULL;
    SAME(mpshm_canceller_create(NULL), MPSHM_EINVAL);
    SAME(mpshm_canceller_enter(NULL), MPSHM_EINVAL);
    SAME(mpshm_canceller_reset(NULL), MPSHM_EINVAL);
    SAME(mpshm_canceller_leave(), MPSHM_EINVAL);
    OK(mpshm_canceller_create(&outer));
    OK(mpshm_canceller_create(&inner));
    OK(mpshm_canceller_enter(outer));
    OK(mpshm_canceller_enter(inner));
    OK(mpshm_canceller_cancel(outer));
    SAME(mpshm_event_wait(never, 10 * MS), MPSHM_ETIMEDOUT);
    mpshm_canceller_close(inner);
    SAME(mpshm_event_wait(never, 10 * MS), MPSHM_ETIMEDOUT);
    OK(mpshm_canceller_leave());
    SAME(mpshm_event_wait(never, MPSHM_FOREVER), MPSHM_EINTERRUPTED);
    mpshm_canceller_close(outer);
    SAME(mpshm_event_wait(never, MPSHM_FOREVER), MPSHM_EINTERRUPTED);
    OK(mpshm_canceller_leave());
    SAME(mpshm_canceller_leave(), MPSHM_EINVAL);
    SAME(mpshm_event_wait(never, 10 * MS), MPSHM_ETIMEDOUT);
}

int main(void) {
    mpshm_event_t *never = NULL;
    OK(mpshm_event_create(NULL, NULL, &never));
    kinds(never);
    unaligned_items(never);
    counts(never);
    eventfds();
    participants();
    cancellers(never);
    mpshm_event_close(never);
    return 0;
}
