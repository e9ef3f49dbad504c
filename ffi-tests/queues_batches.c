/* Queues: push_many and pop_many of items in slots, items in blocks, and messages. */
#include "check.h"

static void fill(unsigned char *bytes, size_t size, uint64_t n) {
    size_t i;
    for (i = 0; i < size; i++) bytes[i] = (unsigned char)(n * 131 + i * 7);
}

static void is_filled(const unsigned char *bytes, size_t size, uint64_t n) {
    size_t i;
    for (i = 0; i < size; i++) SAME(bytes[i], (unsigned char)(n * 131 + i * 7));
}

static void items(size_t size) {
    mpshm_queue_t *q = queue_of(size, 7, 0);
    unsigned char in[10 * 24], out[10 * 24];
    size_t done = 55, lengths[10], i;
    for (i = 0; i < 10; i++) fill(in + i * size, size, i);
    SAME(mpshm_queue_pop_many(q, out, sizeof out, 10, 0, NULL, &done), MPSHM_EEMPTY);
    SAME(mpshm_queue_pop_many(q, out, sizeof out, 10, 20 * MS, NULL, &done), MPSHM_ETIMEDOUT);
    SAME(done, 55);
    /* As many as fit; those are there. */
    OK(mpshm_queue_push_many(q, in, NULL, 10, 0, &done));
    SAME(done, 7);
    SAME(queue_length(q), 7);
    SAME(mpshm_queue_push_many(q, in, NULL, 1, 0, &done), MPSHM_EFULL);
    SAME(done, 0);
    /* As many as there is room for; a part of an item is not. */
    OK(mpshm_queue_pop_many(q, out, 5 * size - 1, 10, MPSHM_FOREVER, lengths, &done));
    SAME(done, 4);
    for (i = 0; i < 4; i++) is_filled(out + i * size, size, i);
    for (i = 0; i < 4; i++) SAME(lengths[i], size);
    SAME(mpshm_queue_pop_many(q, out, size - 1, 10, 0, NULL, &done), MPSHM_ETOOBIG);
    SAME(queue_length(q), 3);
    OK(mpshm_queue_pop_many(q, out, sizeof out, 3, 0, NULL, &done));
    SAME(done, 3);
    for (i = 0; i < 3; i++) is_filled(out + i * size, size, 4 + i);
    OK(mpshm_queue_push_many(q, in, NULL, 2, MPSHM_FOREVER, NULL));
    SAME(mpshm_queue_push_many(q, in + 2 * size, NULL, 8, 20 * MS, &done), MPSHM_ETIMEDOUT);
    SAME(done, 5);
    OK(mpshm_queue_pop_many(q, out, sizeof out, 10, 0, NULL, &done));
    SAME(done, 7);
    for (i = 0; i < 7; i++) is_filled(out + i * size, size, i);
    OK(mpshm_queue_push_many(q, in, NULL, 2, 0, &done));
    OK(mpshm_queue_shutdown(q));
    SAME(mpshm_queue_push_many(q, in, NULL, 2, MPSHM_FOREVER, &done), MPSHM_ECLOSED);
    SAME(done, 0);
    OK(mpshm_queue_pop_many(q, out, sizeof out, 10, MPSHM_FOREVER, NULL, &done));
    SAME(done, 2);
    SAME(mpshm_queue_pop_many(q, out, sizeof out, 10, MPSHM_FOREVER, NULL, &done), MPSHM_ECLOSED);
    mpshm_queue_close(q);
}

static void messages(void) {
    mpshm_queue_t *q = queue_of(0, 4, 0);
    static const size_t lengths[5] = {3, 0, 9, 1, 2}, too_long[3] = {1, 101, 1};
    static const char text[] = "abcdefghijklmno";
    char out[300];
    size_t got[5], done = 0, i;
    OK(mpshm_queue_push_many(q, text, lengths, 5, 0, &done));
    SAME(done, 4);
    OK(mpshm_queue_pop_many(q, out, 13, 5, 0, got, &done));
    SAME(done, 4);
    for (i = 0; i < 4; i++) SAME(got[i], lengths[i]);
    SAME(memcmp(out, text, 13), 0);
    OK(mpshm_queue_push_many(q, text, lengths, 4, 0, NULL));
    OK(mpshm_queue_pop_many(q, out, 11, 4, 0, got, &done));
    SAME(done, 2);
    SAME(mpshm_queue_pop_many(q, out, 8, 4, 0, NULL, &done), MPSHM_ETOOBIG);
    SAME(queue_length(q), 2);
    OK(mpshm_queue_pop_many(q, out, sizeof out, 4, 0, got, &done));
    SAME(done, 2);
    SAME(got[0] + got[1], 10);
    /* One that is too long: the error tells how many went before it. */
    memset(out, 'x', sizeof out);
    SAME(mpshm_queue_push_many(q, out, too_long, 3, MPSHM_FOREVER, &done), MPSHM_ETOOBIG);
    SAME(done, 1);
    SAME(queue_length(q), 1);
    mpshm_queue_close(q);
}

static int pushes_in_batches(void *context) {
    uint64_t batch[16], next = 0, limit = (uint64_t)rounds(50000, 500);
    uint32_t random = (uint32_t)getpid();
    size_t want, done, i;
    while (next < limit) {
        want = next_random(&random) % 16 + 1;
        if (want > limit - next) want = (size_t)(limit - next);
        for (i = 0; i < want; i++) batch[i] = (uint64_t)getpid() << 32 | (next + i);
        OK(mpshm_queue_push_many((mpshm_queue_t *)context, batch, NULL, want, MPSHM_FOREVER, &done));
        SAME(done, want);
        next += done;
    }
    return 0;
}

/* Batches from two producers, longer than the queue: each one's items come in its order, once. */
static void two_producers(void) {
    mpshm_queue_t *q = queue_of(8, 5, 0);
    uint64_t batch[32], next[2] = {0, 0}, limit = (uint64_t)rounds(50000, 500);
    size_t done, i;
    int p;
    pid_t pids[2];
    for (p = 0; p < 2; p++) pids[p] = child(pushes_in_batches, q);
    while (next[0] + next[1] < 2 * limit) {
        OK(mpshm_queue_pop_many(q, batch, sizeof batch, 32, MPSHM_FOREVER, NULL, &done));
        TRUE(done >= 1 && done <= 32);
        for (i = 0; i < done; i++) {
            p = batch[i] >> 32 == (uint64_t)pids[1];
            SAME(batch[i] >> 32, pids[p]);
            SAME(batch[i] & UINT32_MAX, next[p]++);
        }
    }
    for (p = 0; p < 2; p++) SAME(reap(pids[p]), 0);
    SAME(queue_length(q), 0);
    SAME(queue_counters(q).pushed, 2 * limit);
    SAME(queue_counters(q).popped, 2 * limit);
    mpshm_queue_close(q);
}

int main(void) {
    items(1);
    items(8);
    items(12);
    items(24);
    messages();
    two_producers();
    return 0;
}
