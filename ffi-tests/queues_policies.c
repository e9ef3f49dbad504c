/* Queues: what a push into a full one does, and what comes of what a consumer had when it died; all counted. */
#include "check.h"

static size_t size_of(size_t item_size) { return item_size ? item_size : 30; }

static void push(mpshm_queue_t *q, size_t item_size, int n) {
    unsigned char item[100];
    memset(item, n, sizeof item);
    OK(mpshm_queue_push(q, item, size_of(item_size), 0));
}

static int pop(mpshm_queue_t *q, size_t item_size) {
    unsigned char item[100];
    size_t length, i;
    int code = mpshm_queue_pop(q, item, sizeof item, 0, &length);
    if (code == MPSHM_EEMPTY) return -1;
    OK(code);
    SAME(length, size_of(item_size));
    for (i = 0; i < length; i++) SAME(item[i], item[0]);
    return item[0];
}

static void fails(size_t item_size) {
    mpshm_queue_t *q = queue_of(item_size, 2, MPSHM_QUEUE_FULL_FAILS);
    unsigned char items[300] = {0};
    size_t lengths[3] = {30, 30, 30}, done = 77;
    void *room;
    push(q, item_size, 1);
    if (item_size == 0) OK(mpshm_queue_reserve(q, 5, MPSHM_FOREVER, &room));
    SAME(mpshm_queue_push_many(q, items, item_size ? NULL : lengths, 3, MPSHM_FOREVER, &done), MPSHM_EFULL);
    SAME(done, 1);
    SAME(mpshm_queue_push(q, items, size_of(item_size), MPSHM_FOREVER), MPSHM_EFULL);
    SAME(mpshm_queue_push(q, items, size_of(item_size), 1000 * MS), MPSHM_EFULL);
    if (item_size == 0) {
        memset(room, 3, 5);
        SAME(mpshm_queue_commit(q, 5), MPSHM_EFULL);
        SAME(pop(q, 0), 1);
        OK(mpshm_queue_commit(q, 5));
        SAME(pop(q, 0), 0);
        OK(mpshm_queue_pop(q, items, sizeof items, 0, &done));
        SAME(done, 5);
        SAME(items[4], 3);
    } else {
        SAME(pop(q, item_size), 1);
        push(q, item_size, 3);
        SAME(pop(q, item_size), 0);
        SAME(pop(q, item_size), 3);
    }
    /* Pops wait as ever. */
    SAME(mpshm_queue_pop(q, items, sizeof items, 20 * MS, NULL), MPSHM_ETIMEDOUT);
    SAME(queue_counters(q).overwritten, 0);
    mpshm_queue_close(q);
}

static void overwrites(size_t item_size) {
    mpshm_queue_t *q = queue_of(item_size, 4, MPSHM_QUEUE_FULL_OVERWRITES);
    unsigned char items[1000];
    size_t lengths[10], done = 0, i;
    const void *view;
    mpshm_queue_counters_t counters;
    int n;
    for (n = 1; n <= 10; n++) push(q, item_size, n);
    SAME(queue_length(q), 4);
    counters = queue_counters(q);
    SAME(counters.pushed, 10);
    SAME(counters.overwritten, 6);
    SAME(counters.popped, 0);
    for (n = 7; n <= 10; n++) SAME(pop(q, item_size), n);
    SAME(pop(q, item_size), -1);
    for (i = 0; i < 10; i++) {
        lengths[i] = size_of(item_size);
        memset(items + i * lengths[i], (int)(20 + i), lengths[i]);
    }
    OK(mpshm_queue_push_many(q, items, item_size ? NULL : lengths, 10, 0, &done));
    SAME(done, 10);
    SAME(pop(q, item_size), 26);
    SAME(queue_counters(q).overwritten, 12);
    if (item_size > 8 || item_size == 0) {
        /* What is claimed is not taken out from under its reader. */
        OK(mpshm_queue_claim(q, 0, &view, &done));
        for (n = 40; n < 50; n++) push(q, item_size, n);
        SAME(*(const unsigned char *)view, 27);
        SAME(((const unsigned char *)view)[done - 1], 27);
        OK(mpshm_queue_release(q));
        for (n = 46; n < 50; n++) SAME(pop(q, item_size), n);
    }
    OK(mpshm_queue_shutdown(q));
    SAME(mpshm_queue_push(q, items, size_of(item_size), 0), MPSHM_ECLOSED);
    counters = queue_counters(q);
    SAME(counters.pushed, counters.popped + counters.overwritten + queue_length(q));
    mpshm_queue_close(q);
}

static size_t childs_item;

static int dies_with_a_claim(void *context) {
    const void *view;
    size_t length;
    OK(mpshm_queue_claim((mpshm_queue_t *)context, 0, &view, &length));
    SAME(length, size_of(childs_item));
    raise(SIGKILL);
    return 0;
}

static int stops_over_a_pop(void *context) {
    for (;;) SAME(pop((mpshm_queue_t *)context, childs_item) >= -1, 1);
    return 0;
}

static int dies_after_a_pop(void *context) {
    TRUE(pop((mpshm_queue_t *)context, childs_item) >= 0);
    raise(SIGKILL);
    return 0;
}

static void once(size_t item_size, uint64_t flag, bool comes_again) {
    mpshm_queue_t *q = queue_of(item_size, 4, flag);
    mpshm_queue_counters_t counters;
    childs_item = item_size;
    push(q, item_size, 1);
    push(q, item_size, 2);
    SAME(reap(child(dies_with_a_claim, q)), -SIGKILL);
    if (comes_again) {
        const void *view;
        size_t length;
        uint64_t deliveries;
        int n, sum = 0;
        /* It may come after others. */
        for (n = 0; n < 2; n++) {
            OK(mpshm_queue_claim(q, 1000 * MS, &view, &length));
            OK(mpshm_queue_deliveries(q, &deliveries));
            SAME(length, size_of(item_size));
            SAME(deliveries, *(const unsigned char *)view == 1 ? 2 : 1);
            sum += *(const unsigned char *)view;
            OK(mpshm_queue_release(q));
        }
        SAME(sum, 3);
    } else {
        SAME(pop(q, item_size), 2);
        SAME(pop(q, item_size), -1);
    }
    counters = queue_counters(q);
    SAME(counters.redelivered, comes_again);
    SAME(counters.dropped, !comes_again);
    SAME(counters.pushed, 2);
    SAME(counters.popped, 2); /* taken out once, dropped or not */
    SAME(counters.repairs, 1);
    /* A pop that has returned has taken it. */
    push(q, item_size, 3);
    SAME(reap(child(dies_after_a_pop, q)), -SIGKILL);
    SAME(pop(q, item_size), -1);
    mpshm_queue_close(q);
}

/* Counted, also where many consumers were killed at random places: nothing is unaccounted for. */
static void killed_consumers(size_t item_size, uint64_t flag) {
    mpshm_queue_t *q = queue_of(item_size, 4, flag);
    mpshm_queue_counters_t counters;
    uint32_t random = (uint32_t)item_size;
    int i, n, limit = rounds(60, 2);
    childs_item = item_size;
    for (i = 0; i < limit; i++) {
        pid_t pid = child(stops_over_a_pop, q);
        double end = seconds() + (double)(next_random(&random) % 3000) / 1e6;
        for (n = 0; seconds() < end; n++) {
            unsigned char item[100];
            memset(item, n & 63, sizeof item);
            SAME(mpshm_queue_push(q, item, size_of(item_size), 1000 * MS), 0);
        }
        kill_and_reap(pid);
    }
    while (pop(q, item_size) >= 0) {}
    counters = queue_counters(q);
    SAME(counters.pushed, counters.popped);
    TRUE(flag == MPSHM_QUEUE_AT_MOST_ONCE || counters.dropped == 0);
    mpshm_queue_close(q);
}

static int pops_one(void *context) {
    unsigned char item[100];
    OK(mpshm_queue_pop((mpshm_queue_t *)context, item, sizeof item, MPSHM_FOREVER, NULL));
    return 0;
}

static void waits(void) {
    mpshm_queue_t *q = queue_of(8, 4, 0);
    pid_t pid;
    SAME(queue_counters(q).waits, 0);
    pid = child(pops_one, q);
    until_asleep(pid);
    TRUE(queue_counters(q).waits >= 1);
    push(q, 8, 1);
    SAME(reap(pid), 0);
    mpshm_queue_close(q);
}

int main(void) {
    static const size_t sizes[] = {0, 8, 24};
    size_t i;
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fails(sizes[i]);
        overwrites(sizes[i]);
        once(sizes[i], MPSHM_QUEUE_AT_LEAST_ONCE, true);
        if (sizes[i] != 8) {
            once(sizes[i], 0, true);
            once(sizes[i], MPSHM_QUEUE_AT_MOST_ONCE, false);
        }
        killed_consumers(sizes[i], MPSHM_QUEUE_AT_LEAST_ONCE);
        if (sizes[i] != 8) killed_consumers(sizes[i], MPSHM_QUEUE_AT_MOST_ONCE);
    }
    waits();
    return 0;
}
