/* A ring has one producer and one consumer: who they are, what others get, how the ends change hands; threads and forks;
 * rings that follow their ends. */
#include "check.h"
#include <pthread.h>

static int may_not_push(void *context) {
    mpshm_ring_t *r = (mpshm_ring_t *)context;
    int64_t n = 0;
    void *data;
    /* At once, however long it would wait for room. */
    SAME(mpshm_ring_push(r, &n, sizeof n, 0), MPSHM_EBUSY);
    SAME(mpshm_ring_push(r, &n, sizeof n, MPSHM_FOREVER), MPSHM_EBUSY);
    SAME(mpshm_ring_push_many(r, &n, NULL, 1, MPSHM_FOREVER, NULL), MPSHM_EBUSY);
    SAME(mpshm_ring_reserve(r, 1, MPSHM_FOREVER, &data), MPSHM_EBUSY);
    SAME(mpshm_ring_commit(r, 1), MPSHM_ENOTOWNER);
    SAME(mpshm_ring_abort(r), MPSHM_ENOTOWNER);
    return 0;
}

static int may_not_pop(void *context) {
    mpshm_ring_t *r = (mpshm_ring_t *)context;
    int64_t n;
    const void *data;
    size_t count;
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_EBUSY);
    SAME(mpshm_ring_pop(r, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_EBUSY);
    SAME(mpshm_ring_pop_many(r, &n, sizeof n, 1, MPSHM_FOREVER, NULL, &count), MPSHM_EBUSY);
    SAME(mpshm_ring_claim(r, 1, MPSHM_FOREVER, &data, &count), MPSHM_EBUSY);
    SAME(mpshm_ring_release(r, 1), MPSHM_ENOTOWNER);
    SAME(mpshm_ring_give_back(r), MPSHM_ENOTOWNER);
    return 0;
}

static int may_do_neither(void *context) {
    uint64_t n;
    may_not_push(context);
    may_not_pop(context);
    /* Anybody may look. */
    OK(mpshm_ring_capacity((mpshm_ring_t *)context, &n));
    SAME(n, 4);
    SAME(ring_length((mpshm_ring_t *)context), 1);
    return 0;
}

static int pushes_one(void *context) {
    int64_t n = 5;
    OK(mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, 0));
    return 0;
}

static void pushes_one_waiting(void *context) {
    int64_t n = 5;
    OK(mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER));
}

static int pops_one(void *context) {
    int64_t n = 0;
    OK(mpshm_ring_pop((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER, NULL));
    return (int)n;
}

/* One process, several handles. */
static void handles(void) {
    mpshm_ring_t *r = ring_of(8, 4, 0), *other;
    int64_t n = 5;
    OK(mpshm_ring_clone(r, &other));
    /* One handle may be both. */
    OK(mpshm_ring_push(r, &n, sizeof n, 0));
    OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
    OK(mpshm_ring_push(r, &n, sizeof n, 0));
    may_do_neither(other);
    /* Closed, it is neither. */
    mpshm_ring_close(r);
    SAME(pops_one(other), 5);
    pushes_one(other);
    OK(mpshm_ring_clone(other, &r));
    may_do_neither(r);
    mpshm_ring_close(r);
    mpshm_ring_close(other);

    /* One end each. */
    r = ring_of(8, 4, 0);
    OK(mpshm_ring_clone(r, &other));
    SAME(mpshm_ring_pop(other, &n, sizeof n, 0, NULL), MPSHM_EEMPTY);
    pushes_one(r);
    may_not_pop(r);
    may_not_push(other);
    SAME(pops_one(other), 5);
    mpshm_ring_close(other);
    mpshm_ring_close(r);

    /* What is refused for its arguments takes no end. */
    r = ring_of(8, 4, 0);
    OK(mpshm_ring_clone(r, &other));
    SAME(mpshm_ring_push(r, &n, 7, 0), MPSHM_EINVAL);
    SAME(mpshm_ring_push(r, NULL, 8, 0), MPSHM_EINVAL);
    SAME(mpshm_ring_push(r, &n, 8, -2), MPSHM_EINVAL);
    SAME(mpshm_ring_pop(r, &n, 8, -2, NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_commit(r, 1), MPSHM_ENOTOWNER);
    SAME(mpshm_ring_release(r, 1), MPSHM_ENOTOWNER);
    pushes_one(other);
    SAME(pops_one(other), 5);
    mpshm_ring_close(other);
    mpshm_ring_close(r);
}

static int is_producer_and_dies(void *context) {
    pushes_one(context);
    raise(SIGKILL);
    return 0;
}

static int is_both_and_stops(void *context) {
    pushes_one(context);
    pops_one(context);
    pushes_one(context);
    raise(SIGSTOP);
    pushes_one(context);
    return 0;
}

/* What the parent holds, seen from the child. */
static int inherits(void *context) {
    mpshm_ring_t *r = (mpshm_ring_t *)context, *own;
    may_not_push(r);
    may_not_pop(r);
    OK(mpshm_ring_clone(r, &own));
    may_not_push(own);
    may_not_pop(own);
    mpshm_ring_close(own);
    mpshm_ring_close(r);
    return 0;
}

static int inherits_what_is_in_hand(void *context) {
    mpshm_ring_t *r = (mpshm_ring_t *)context;
    uint64_t n;
    SAME(mpshm_ring_commit(r, 1), MPSHM_EFORKED);
    SAME(mpshm_ring_abort(r), MPSHM_EFORKED);
    SAME(mpshm_ring_release(r, 1), MPSHM_EFORKED);
    SAME(mpshm_ring_give_back(r), MPSHM_EFORKED);
    SAME(mpshm_ring_deliveries(r, &n), MPSHM_EFORKED);
    mpshm_ring_close(r);
    return 0;
}

static void processes(void) {
    mpshm_ring_t *r = ring_of(8, 4, 0);
    int64_t n = 5;
    void *room;
    const void *view;
    size_t count;
    int status, i;
    pid_t pid;
    /* An end that has not been used stays free over a fork; it is free again when its process is gone. */
    SAME(reap(child(pushes_one, r)), 0);
    SAME(reap(child(pushes_one, r)), 0);
    SAME(reap(child(pops_one, r)), 5);
    pushes_one(r);
    SAME(reap(child(may_not_push, r)), 0);
    SAME(reap(child(pops_one, r)), 5);
    SAME(pops_one(r), 5);
    SAME(reap(child(inherits, r)), 0);
    /* The child's close was its own. */
    pushes_one(r);
    SAME(pops_one(r), 5);
    OK(mpshm_ring_reserve(r, 1, 0, &room));
    *(int64_t *)room = 9;
    OK(mpshm_ring_commit(r, 1));
    OK(mpshm_ring_reserve(r, 2, 0, &room));
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    SAME(reap(child(inherits_what_is_in_hand, r)), 0);
    SAME(*(const int64_t *)view, 9);
    OK(mpshm_ring_release(r, 1));
    ((int64_t *)room)[0] = 10;
    ((int64_t *)room)[1] = 11;
    OK(mpshm_ring_commit(r, 2));
    OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
    SAME(n, 10);
    OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
    SAME(n, 11);
    mpshm_ring_close(r);

    /* Killed: its end is free, what it pushed is there. Stopped: nothing changes. */
    r = ring_of(8, 4, 0);
    for (i = 0; i < 4; i++) SAME(reap(child(is_producer_and_dies, r)), -SIGKILL);
    SAME(ring_length(r), 4);
    for (i = 0; i < 4; i++) SAME(pops_one(r), 5);
    pushes_one(r);
    SAME(pops_one(r), 5);
    mpshm_ring_close(r);

    r = ring_of(8, 4, 0);
    pid = child(is_both_and_stops, r);
    SAME(waitpid(pid, &status, WUNTRACED), pid);
    TRUE(WIFSTOPPED(status));
    may_do_neither(r);
    SAME(kill(pid, SIGCONT), 0);
    SAME(reap(pid), 0);
    SAME(pops_one(r), 5);
    SAME(pops_one(r), 5);
    mpshm_ring_close(r);
}

static void *pushes_many(void *context) {
    int64_t n, limit = rounds(200000, 2000);
    for (n = 0; n < limit; n++) OK(mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER));
    return NULL;
}

static void threads(void) {
    mpshm_ring_t *r = ring_of(8, 16, 0), *other;
    pthread_t thread;
    int64_t n, i, limit = rounds(200000, 2000);
    OK(mpshm_ring_clone(r, &other));
    SAME(pthread_create(&thread, NULL, pushes_many, other), 0);
    for (i = 0; i < limit; i++) {
        OK(mpshm_ring_pop(r, &n, sizeof n, MPSHM_FOREVER, NULL));
        SAME(n, i);
    }
    SAME(pthread_join(thread, NULL), 0);
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_EEMPTY);
    mpshm_ring_close(other);
    mpshm_ring_close(r);
}

static int pushes_messages(void *context) {
    unsigned char text[300];
    uint32_t random = 5;
    int i, limit = rounds(100000, 1000);
    for (i = 0; i < limit; i++) {
        size_t length = next_random(&random) % sizeof text;
        memset(text, i, length);
        OK(mpshm_ring_push((mpshm_ring_t *)context, text, length, MPSHM_FOREVER));
    }
    mpshm_ring_close((mpshm_ring_t *)context);
    return 0;
}

/* A whole stream between two processes, whose end is its producer's. */
static void stream(void) {
    mpshm_ring_t *r = ring_of(0, 1000, MPSHM_RING_FOLLOW_ENDS);
    unsigned char text[300];
    uint32_t random = 5;
    int i, limit = rounds(100000, 1000);
    size_t length, b;
    bool is = false;
    pid_t pid = child(pushes_messages, r);
    for (i = 0; i < limit; i++) {
        OK(mpshm_ring_pop(r, text, sizeof text, MPSHM_FOREVER, &length));
        SAME(length, next_random(&random) % sizeof text);
        for (b = 0; b < length; b++) SAME(text[b], (unsigned char)i);
    }
    SAME(mpshm_ring_pop(r, text, sizeof text, MPSHM_FOREVER, &length), MPSHM_ECLOSED);
    OK(mpshm_ring_is_shut_down(r, &is));
    TRUE(is);
    SAME(reap(pid), 0);
    mpshm_ring_close(r);
}

static int pops_to_the_end(void *context) {
    int64_t n;
    SAME(pops_one(context), 5);
    SAME(mpshm_ring_pop((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_ECLOSED);
    return 0;
}

static int pushes_to_the_end(void *context) {
    int64_t n = 5;
    int i;
    for (i = 0; i < 3; i++) pushes_one_waiting(context);
    SAME(mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER), MPSHM_ECLOSED);
    return 0;
}

/* The end of one end is the end of the stream; a handle that is neither may be closed. */
static void follows(void) {
    mpshm_ring_t *r = ring_of(8, 2, MPSHM_RING_FOLLOW_ENDS), *producer, *consumer;
    int64_t n = 5;
    bool is = true;
    pid_t pid;
    OK(mpshm_ring_clone(r, &producer));
    OK(mpshm_ring_clone(r, &consumer));
    mpshm_ring_close(r);
    OK(mpshm_ring_is_shut_down(producer, &is));
    SAME(is, 0);
    pushes_one(producer);
    pushes_one(producer);
    SAME(pops_one(consumer), 5);
    OK(mpshm_ring_is_shut_down(consumer, &is));
    SAME(is, 0);
    mpshm_ring_close(producer);
    OK(mpshm_ring_is_shut_down(consumer, &is));
    SAME(is, 1);
    /* Drained first. */
    SAME(pops_one(consumer), 5);
    SAME(mpshm_ring_pop(consumer, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_ECLOSED);
    SAME(mpshm_ring_push(consumer, &n, sizeof n, MPSHM_FOREVER), MPSHM_ECLOSED);
    mpshm_ring_close(consumer);

    r = ring_of(8, 2, MPSHM_RING_FOLLOW_ENDS);
    OK(mpshm_ring_clone(r, &consumer));
    SAME(mpshm_ring_pop(consumer, &n, sizeof n, 0, NULL), MPSHM_EEMPTY);
    pushes_one(r);
    mpshm_ring_close(consumer);
    SAME(mpshm_ring_push(r, &n, sizeof n, MPSHM_FOREVER), MPSHM_ECLOSED);
    mpshm_ring_close(r);

    /* Sleepers are told. */
    r = ring_of(8, 2, MPSHM_RING_FOLLOW_ENDS);
    OK(mpshm_ring_clone(r, &producer));
    pid = child(pops_to_the_end, r);
    pushes_one(producer);
    UNTIL(ring_length(r) == 0);
    until_asleep(pid);
    mpshm_ring_close(producer);
    SAME(reap(pid), 0);
    mpshm_ring_close(r);

    r = ring_of(8, 2, MPSHM_RING_FOLLOW_ENDS);
    OK(mpshm_ring_clone(r, &consumer));
    pid = child(pushes_to_the_end, r);
    SAME(pops_one(consumer), 5);
    UNTIL(ring_length(r) == 2);
    until_asleep(pid);
    mpshm_ring_close(consumer);
    SAME(reap(pid), 0);
    mpshm_ring_close(r);
}

int main(void) {
    handles();
    processes();
    threads();
    stream();
    follows();
    return 0;
}
