/* Rings whose pushes take the oldest out when they are full: the newest stay, in order and whole, and the others are
 * counted; a slow, stopped or dead consumer holds nobody up. */
#include "check.h"

static void items(void) {
    mpshm_ring_t *r = ring_of(8, 4, MPSHM_RING_FULL_OVERWRITES);
    int64_t many[10], n, i;
    size_t done = 0, count;
    const void *view = NULL;
    void *room;
    mpshm_queue_counters_t counters;
    for (n = 1; n <= 10; n++) OK(mpshm_ring_push(r, &n, sizeof n, n % 2 ? 0 : MPSHM_FOREVER));
    SAME(ring_length(r), 4);
    counters = ring_counters(r);
    SAME(counters.pushed, 10);
    SAME(counters.overwritten, 6);
    SAME(counters.popped, 0);
    for (i = 7; i <= 10; i++) {
        OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
        SAME(n, i);
    }
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_EEMPTY);
    counters = ring_counters(r);
    SAME(counters.popped, 4);
    SAME(counters.overwritten, 6);

    /* A batch that is longer than the ring. */
    for (i = 0; i < 10; i++) many[i] = 100 + i;
    OK(mpshm_ring_push_many(r, many, NULL, 10, 0, &done));
    SAME(done, 10);
    SAME(ring_length(r), 4);
    OK(mpshm_ring_pop_many(r, many, sizeof many, 10, 0, NULL, &done));
    SAME(done, 4);
    for (i = 0; i < 4; i++) SAME(many[i], 106 + i);

    /* Written in place, yes; read in place, no. */
    for (n = 1; n <= 4; n++) OK(mpshm_ring_push(r, &n, sizeof n, 0));
    SAME(mpshm_ring_claim(r, 1, 0, &view, &count), MPSHM_EINVAL);
    TRUE(view == NULL);
    SAME(mpshm_ring_reserve(r, 2, 0, &room), MPSHM_ETOOBIG);
    for (i = 5; i <= 7; i++) {
        OK(mpshm_ring_reserve(r, 1, 0, &room));
        *(int64_t *)room = i;
        /* The oldest goes when the new one comes, not before. */
        SAME(ring_counters(r).overwritten, 12 + i - 5);
        OK(mpshm_ring_commit(r, 1));
    }
    SAME(ring_length(r), 4);
    for (i = 4; i <= 7; i++) {
        OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
        SAME(n, i);
    }
    OK(mpshm_ring_push(r, &n, sizeof n, 0));
    OK(mpshm_ring_shutdown(r));
    SAME(mpshm_ring_push(r, &n, sizeof n, 0), MPSHM_ECLOSED);
    OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_ECLOSED);
    counters = ring_counters(r);
    SAME(counters.pushed, counters.popped + counters.overwritten);
    mpshm_ring_close(r);
}

static void messages(void) {
    /* Three messages of 10 bytes: 3 * (16 + 8) = 64 + 8. */
    mpshm_ring_t *r = ring_of(0, 64, MPSHM_RING_FULL_OVERWRITES);
    char text[64];
    const void *view;
    size_t length;
    int i;
    for (i = 0; i < 10; i++) {
        memset(text, '0' + i, 10);
        OK(mpshm_ring_push(r, text, 10, 0));
    }
    SAME(ring_length(r), 3);
    SAME(ring_counters(r).pushed, 240);
    /* A long one takes several out. */
    memset(text, 'x', 30);
    OK(mpshm_ring_push(r, text, 30, 0));
    SAME(ring_length(r), 2);
    OK(mpshm_ring_pop(r, text, sizeof text, 0, &length));
    SAME(length, 10);
    SAME(text[0], '9');
    OK(mpshm_ring_pop(r, text, sizeof text, 0, &length));
    SAME(length, 30);
    SAME(mpshm_ring_push(r, text, 65, 0), MPSHM_ETOOBIG);
    SAME(ring_counters(r).overwritten, 9);
    SAME(ring_counters(r).pushed, 240 + 40);

    /* A buffer that was too short, in the meantime of which everything is overwritten. */
    memset(text, 'a', 10);
    OK(mpshm_ring_push(r, text, 10, 0));
    SAME(mpshm_ring_pop(r, text, 9, 0, &length), MPSHM_ETOOBIG);
    SAME(mpshm_ring_claim(r, 1, 0, &view, &length), MPSHM_EINVAL);
    for (i = 0; i < 5; i++) {
        memset(text, 'b' + i, 10);
        OK(mpshm_ring_push(r, text, 10, 0));
    }
    for (i = 2; i < 5; i++) {
        OK(mpshm_ring_pop(r, text, sizeof text, 0, &length));
        SAME(length, 10);
        SAME(text[9], 'b' + i);
    }
    SAME(mpshm_ring_pop(r, text, sizeof text, 0, &length), MPSHM_EEMPTY);
    mpshm_ring_close(r);
}

typedef struct {
    uint64_t n, same[7];
} wide_t;

static int pushes_for_ever(void *context) {
    wide_t w;
    int i;
    w.n = 0;
    for (;;) {
        for (i = 0; i < 7; i++) w.same[i] = w.n;
        OK(mpshm_ring_push((mpshm_ring_t *)context, &w, sizeof w, MPSHM_FOREVER));
        w.n++;
    }
    return 1;
}

/* Pops until it has had so many; each is whole, and newer than the one before. */
static void pops(mpshm_ring_t *r, int many) {
    wide_t w;
    uint64_t before = 0;
    int i, popped;
    for (popped = 0; popped < many; popped++) {
        OK(mpshm_ring_pop(r, &w, sizeof w, MPSHM_FOREVER, NULL));
        for (i = 0; i < 7; i++) SAME(w.same[i], w.n);
        if (popped > 0) TRUE(w.n > before);
        before = w.n;
    }
}

static int pops_for_ever(void *context) {
    pops((mpshm_ring_t *)context, INT32_MAX);
    return 1;
}

static void races(void) {
    mpshm_ring_t *r = ring_of(sizeof(wide_t), 5, MPSHM_RING_FULL_OVERWRITES);
    mpshm_queue_counters_t counters;
    uint64_t pushed;
    uint32_t random = 9;
    int i, limit = rounds(100, 3);
    pid_t producer = child(pushes_for_ever, r), consumer;
    /* The ring goes on, whoever does not read. */
    UNTIL(ring_counters(r).pushed > 1000);
    for (i = 0; i < limit; i++) {
        consumer = child(pops_for_ever, r);
        nap(next_random(&random) % (2 * MS));
        kill_and_reap(consumer);
    }
    consumer = child(pops_for_ever, r);
    UNTIL(ring_counters(r).popped > 100);
    SAME(kill(consumer, SIGSTOP), 0);
    UNTIL(state_of(consumer) == 'T');
    pushed = ring_counters(r).pushed;
    UNTIL(ring_counters(r).pushed > pushed + 1000);
    kill_and_reap(consumer);
    pops(r, rounds(20000, 200));
    kill_and_reap(producer);
    while (ring_length(r) > 0) pops(r, 1);
    counters = ring_counters(r);
    TRUE(counters.overwritten > 0);
    SAME(counters.pushed, counters.popped + counters.overwritten);
    mpshm_ring_close(r);
}

int main(void) {
    items();
    messages();
    races();
    return 0;
}
