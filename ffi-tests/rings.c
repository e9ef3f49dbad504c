/* A23-A29, A31-A33, B14-B16 for rings, with copies: items and messages; full, empty, shut down; batches; every phase
 * of the way round; what fits. (A30: rings are not joinable.) */
#include "check.h"

/* What number n looks like in `size` bytes. */
static void fill(unsigned char *bytes, size_t size, uint64_t n) {
    size_t i;
    for (i = 0; i < size; i++) bytes[i] = (unsigned char)(n * 131 + i * 7);
}

static void is_filled(const unsigned char *bytes, size_t size, uint64_t n) {
    size_t i;
    for (i = 0; i < size; i++) SAME(bytes[i], (unsigned char)(n * 131 + i * 7));
}

/* A23-A26, A29, A32. */
static void six(size_t item) {
    unsigned char in[200], out[200];
    size_t size = item ? item : 10, got = 99;
    /* Six messages of 10 bytes take 6 * (16 + 8) bytes, of which the last 8 do not count. */
    mpshm_ring_t *r = ring_of(item, item ? 6 : 136, 0);
    double begin;
    uint64_t n;
    int i;
    bool is = true;
    SAME(ring_length(r), 0);
    OK(mpshm_ring_capacity(r, &n));
    SAME(n, item ? 6 : 136);
    SAME(mpshm_ring_pop(r, out, sizeof out, 0, &got), MPSHM_EEMPTY);
    SAME(got, 99);
    begin = seconds();
    SAME(mpshm_ring_pop(r, out, sizeof out, 200 * MS, &got), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.2);
    for (i = 0; i < 6; i++) {
        fill(in, size, (uint64_t)i);
        OK(mpshm_ring_push(r, in, size, i % 3 == 0 ? MPSHM_FOREVER : i % 3 == 1 ? 0 : 1000 * MS));
        SAME(ring_length(r), i + 1);
    }
    SAME(mpshm_ring_push(r, in, size, 0), MPSHM_EFULL);
    begin = seconds();
    SAME(mpshm_ring_push(r, in, size, 50 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    SAME(ring_length(r), 6);
    for (i = 0; i < 6; i++) {
        memset(out, 0xee, sizeof out);
        OK(mpshm_ring_pop(r, out, sizeof out, i % 2 ? MPSHM_FOREVER : 0, i % 4 ? &got : NULL));
        is_filled(out, size, (uint64_t)i);
        SAME(out[size], 0xee);
        if (i % 4) SAME(got, size);
        SAME(ring_length(r), 5 - i);
    }
    SAME(mpshm_ring_pop(r, out, sizeof out, 0, NULL), MPSHM_EEMPTY);
    /* Shut down: what is in it comes out. */
    OK(mpshm_ring_push(r, in, size, 0));
    OK(mpshm_ring_is_shut_down(r, &is));
    SAME(is, 0);
    OK(mpshm_ring_shutdown(r));
    OK(mpshm_ring_shutdown(r));
    OK(mpshm_ring_is_shut_down(r, &is));
    SAME(is, 1);
    SAME(mpshm_ring_push(r, in, size, MPSHM_FOREVER), MPSHM_ECLOSED);
    SAME(mpshm_ring_push(r, in, size, 0), MPSHM_ECLOSED);
    SAME(ring_length(r), 1);
    OK(mpshm_ring_pop(r, out, sizeof out, MPSHM_FOREVER, &got));
    for (i = 0; i < 3; i++) {
        SAME(mpshm_ring_pop(r, out, sizeof out, MPSHM_FOREVER, &got), MPSHM_ECLOSED);
        SAME(mpshm_ring_pop(r, out, sizeof out, 0, &got), MPSHM_ECLOSED);
    }
    mpshm_ring_close(r);
}

static int pushes(void *context) {
    uint64_t n;
    for (n = 2; n <= 5; n++) OK(mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER));
    return 0;
}

static int observes(void *context) {
    mpshm_ring_t *r = (mpshm_ring_t *)context;
    uint64_t is_empty = ring_length(r) == 0;
    OK(mpshm_ring_push(r, &is_empty, sizeof is_empty, 0));
    is_empty = ring_length(r) == 0;
    OK(mpshm_ring_push(r, &is_empty, sizeof is_empty, 0));
    return 0;
}

static int pushes_2_mb(void *context) {
    static unsigned char megabyte[1 << 20];
    int i;
    for (i = 0; i < 2; i++) {
        fill(megabyte, sizeof megabyte, (uint64_t)i);
        OK(mpshm_ring_push((mpshm_ring_t *)context, megabyte, sizeof megabyte, MPSHM_FOREVER));
    }
    return 0;
}

/* A27, A28, A33, B14, B15: what a child pushed outlives it, and is there when its push has returned. */
static void children(void) {
    static unsigned char megabyte[1 << 20];
    mpshm_ring_t *r = ring_of(8, 20, 0);
    uint64_t n, i;
    size_t length, many = 0;
    const void *data;
    SAME(reap(child(pushes, r)), 0);
    OK(mpshm_ring_pop(r, &n, sizeof n, MPSHM_FOREVER, NULL));
    SAME(n, 2);
    OK(mpshm_ring_pop(r, &n, sizeof n, 0, &length));
    SAME(n, 3);
    OK(mpshm_ring_pop_many(r, &n, sizeof n, 1, 0, NULL, &many));
    SAME(n, 4);
    SAME(many, 1);
    OK(mpshm_ring_claim(r, 20, 0, &data, &many));
    SAME(many, 1);
    memcpy(&n, data, sizeof n);
    SAME(n, 5);
    OK(mpshm_ring_release(r, 1));
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_EEMPTY);
    SAME(reap(child(observes, r)), 0);
    for (i = 0; i < 2; i++) {
        OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
        SAME(n, i == 0);
    }
    SAME(ring_length(r), 0);
    /* The dead child is the producer no longer: the parent is, and then another child. */
    for (i = 0; i < 2; i++) OK(mpshm_ring_push(r, &i, sizeof i, 0));
    mpshm_ring_close(r);

    r = ring_of(0, 2 * (sizeof megabyte + 8), 0);
    SAME(reap(child(pushes_2_mb, r)), 0);
    for (i = 0; i < 2; i++) {
        OK(mpshm_ring_pop(r, megabyte, sizeof megabyte, 0, &length));
        SAME(length, sizeof megabyte);
        is_filled(megabyte, sizeof megabyte, i);
    }
    mpshm_ring_close(r);
}

/* A31: what cannot be pushed, or popped, changes nothing. */
static void refusals(void) {
    mpshm_ring_t *r = ring_of(0, 16, 0);
    char text[20] = {0};
    size_t length = 77;
    int i;
    for (i = 0; i < 3; i++) {
        SAME(mpshm_ring_push(r, "0123456789abcdefg", 17, i ? 0 : MPSHM_FOREVER), MPSHM_ETOOBIG);
        SAME(ring_length(r), 0);
        OK(mpshm_ring_push(r, "0123456789", 10, 0));
        SAME(mpshm_ring_push(r, "0123456789abcdefg", 17, 0), MPSHM_ETOOBIG);
        SAME(mpshm_ring_push(r, "x", 1, 0), MPSHM_EFULL);
        SAME(mpshm_ring_pop(r, text, 9, 0, &length), MPSHM_ETOOBIG);
        SAME(length, i ? 10 : 77);
        SAME(ring_length(r), 1);
        OK(mpshm_ring_pop(r, text, 10, 0, &length));
        SAME(length, 10);
        SAME(memcmp(text, "0123456789", 11), 0);
    }
    OK(mpshm_ring_push(r, NULL, 0, 0));
    SAME(ring_length(r), 1);
    OK(mpshm_ring_pop(r, NULL, 0, 0, &length));
    SAME(length, 0);
    mpshm_ring_close(r);

    r = ring_of(8, 1, 0);
    SAME(mpshm_ring_push(r, "1234567", 7, 0), MPSHM_EINVAL);
    SAME(mpshm_ring_push(r, "123456789", 9, 0), MPSHM_EINVAL);
    SAME(ring_length(r), 0);
    OK(mpshm_ring_push(r, "12345678", 8, 0));
    SAME(mpshm_ring_pop(r, text, 7, 0, &length), MPSHM_ETOOBIG);
    SAME(ring_length(r), 1);
    OK(mpshm_ring_pop(r, text, 8, 0, &length));
    SAME(memcmp(text, "12345678", 8), 0);
    mpshm_ring_close(r);
}

/* A push that would wait fails at once, when the ring was made so. */
static void full_fails(void) {
    mpshm_ring_t *r = ring_of(4, 2, MPSHM_RING_FULL_FAILS);
    int32_t three[3] = {1, 2, 3};
    size_t pushed = 0;
    void *room;
    OK(mpshm_ring_push(r, three, 4, MPSHM_FOREVER));
    SAME(mpshm_ring_push_many(r, three, NULL, 3, MPSHM_FOREVER, &pushed), MPSHM_EFULL);
    SAME(pushed, 1);
    SAME(mpshm_ring_push(r, three, 4, MPSHM_FOREVER), MPSHM_EFULL);
    SAME(mpshm_ring_reserve(r, 1, MPSHM_FOREVER, &room), MPSHM_EFULL);
    OK(mpshm_ring_pop(r, three, 4, 0, NULL));
    SAME(mpshm_ring_reserve(r, 2, MPSHM_FOREVER, &room), MPSHM_EFULL);
    OK(mpshm_ring_reserve(r, 1, MPSHM_FOREVER, &room));
    OK(mpshm_ring_abort(r));
    OK(mpshm_ring_push(r, three, 4, MPSHM_FOREVER));
    mpshm_ring_close(r);
}

static void batches_of_items(void) {
    mpshm_ring_t *r = ring_of(4, 7, 0);
    int32_t in[10], out[10];
    size_t done = 55, lengths[10], i;
    for (i = 0; i < 10; i++) in[i] = (int32_t)i;
    SAME(mpshm_ring_pop_many(r, out, sizeof out, 10, 0, NULL, &done), MPSHM_EEMPTY);
    SAME(mpshm_ring_pop_many(r, out, sizeof out, 10, 20 * MS, NULL, &done), MPSHM_ETIMEDOUT);
    SAME(done, 55);
    /* As many as fit; those are there. */
    OK(mpshm_ring_push_many(r, in, NULL, 10, 0, &done));
    SAME(done, 7);
    SAME(ring_length(r), 7);
    SAME(mpshm_ring_push_many(r, in, NULL, 1, 0, &done), MPSHM_EFULL);
    SAME(done, 0);
    /* As many as there is room for; a part of an item is not. */
    OK(mpshm_ring_pop_many(r, out, 4 * 4 + 3, 10, MPSHM_FOREVER, lengths, &done));
    SAME(done, 4);
    for (i = 0; i < 4; i++) SAME(out[i], i);
    for (i = 0; i < 4; i++) SAME(lengths[i], 4);
    OK(mpshm_ring_pop_many(r, out, sizeof out, 1, 0, NULL, &done));
    SAME(done, 1);
    SAME(out[0], 4);
    SAME(mpshm_ring_pop_many(r, out, 3, 1, 0, NULL, &done), MPSHM_ETOOBIG);
    SAME(ring_length(r), 2);
    SAME(mpshm_ring_push_many(r, in, NULL, 10, 20 * MS, &done), MPSHM_ETIMEDOUT);
    SAME(done, 5);
    OK(mpshm_ring_pop_many(r, out, sizeof out, 10, 0, NULL, &done));
    SAME(done, 7);
    SAME(out[0], 5);
    SAME(out[1], 6);
    for (i = 0; i < 5; i++) SAME(out[i + 2], i);
    OK(mpshm_ring_push_many(r, in, NULL, 2, 0, NULL));
    OK(mpshm_ring_shutdown(r));
    SAME(mpshm_ring_push_many(r, in, NULL, 2, 0, &done), MPSHM_ECLOSED);
    SAME(done, 0);
    OK(mpshm_ring_pop_many(r, out, sizeof out, 10, MPSHM_FOREVER, NULL, &done));
    SAME(done, 2);
    SAME(mpshm_ring_pop_many(r, out, sizeof out, 10, MPSHM_FOREVER, NULL, &done), MPSHM_ECLOSED);
    mpshm_ring_close(r);
}

static void batches_of_messages(void) {
    mpshm_ring_t *r = ring_of(0, 64, 0);
    static const size_t lengths[4] = {3, 0, 9, 1};
    static const size_t too_long[3] = {1, 65, 1};
    size_t got[4], done = 0, i;
    mpshm_queue_counters_t counters;
    char text[100];
    /* 16 + 8 + 24 + 16 = 64 of the 64 + 8 bytes. */
    OK(mpshm_ring_push_many(r, "abcdefghijklm", lengths, 4, 0, &done));
    SAME(done, 4);
    SAME(ring_length(r), 4);
    counters = ring_counters(r);
    SAME(counters.pushed, 64);
    SAME(counters.popped, 0);
    OK(mpshm_ring_push(r, NULL, 0, 0));
    SAME(mpshm_ring_push(r, NULL, 0, 0), MPSHM_EFULL);
    memset(got, 0, sizeof got);
    OK(mpshm_ring_pop_many(r, text, 13, 4, 0, got, &done));
    SAME(done, 4);
    for (i = 0; i < 4; i++) SAME(got[i], lengths[i]);
    SAME(memcmp(text, "abcdefghijklm", 13), 0);
    counters = ring_counters(r);
    SAME(counters.popped, 64);
    OK(mpshm_ring_pop(r, text, sizeof text, 0, &done));
    /* Up to the one that does not fit into the buffer; that one alone is an error. */
    OK(mpshm_ring_push_many(r, "abcdefghijklm", lengths, 4, 0, NULL));
    OK(mpshm_ring_pop_many(r, text, 11, 4, 0, NULL, &done));
    SAME(done, 2);
    SAME(mpshm_ring_pop_many(r, text, 8, 4, 0, NULL, &done), MPSHM_ETOOBIG);
    SAME(ring_length(r), 2);
    OK(mpshm_ring_pop_many(r, text, 100, 4, 0, NULL, &done));
    SAME(done, 2);
    SAME(memcmp(text, "defghijklm", 10), 0);
    /* What can never fit ends the batch. */
    SAME(mpshm_ring_push_many(r, text, too_long, 3, MPSHM_FOREVER, &done), MPSHM_ETOOBIG);
    SAME(done, 1);
    SAME(ring_length(r), 1);
    mpshm_ring_close(r);
}

/* Batches of every size, at every place of the ring: what comes out is what went in. */
static void items_go_round(size_t size, uint64_t capacity) {
    mpshm_ring_t *r = ring_of(size, capacity, 0);
    unsigned char *buffer = (unsigned char *)malloc(size * 20);
    uint64_t in = 0, out = 0;
    uint32_t random = 1;
    int round, limit = rounds(3000, 100);
    size_t done, i, want;
    TRUE(buffer != NULL);
    for (round = 0; round < limit; round++) {
        want = next_random(&random) % 20 + 1;
        for (i = 0; i < want; i++) fill(buffer + i * size, size, in + i);
        done = 0;
        if (want == 1) {
            int code = mpshm_ring_push(r, buffer, size, 0);
            SAME(code, in - out == capacity ? MPSHM_EFULL : 0);
            done = code == 0;
        } else {
            SAME(mpshm_ring_push_many(r, buffer, NULL, want, 0, &done), in - out == capacity ? MPSHM_EFULL : 0);
            SAME(done, capacity - (in - out) < want ? capacity - (in - out) : want);
        }
        in += done;
        SAME(ring_length(r), in - out);
        want = next_random(&random) % 20 + 1;
        memset(buffer, 0, size * 20);
        done = 0;
        SAME(mpshm_ring_pop_many(r, buffer, size * 20, want, 0, NULL, &done), in == out ? MPSHM_EEMPTY : 0);
        SAME(done, in - out < want ? in - out : want);
        for (i = 0; i < done; i++) is_filled(buffer + i * size, size, out + i);
        out += done;
        SAME(ring_length(r), in - out);
    }
    SAME(ring_counters(r).pushed, in);
    SAME(ring_counters(r).popped, out);
    free(buffer);
    mpshm_ring_close(r);
}

/* Messages of every length: they fit exactly when the header says so. */
static void messages_go_round(uint64_t capacity) {
    mpshm_ring_t *r = ring_of(0, capacity, 0);
    unsigned char *buffer = (unsigned char *)malloc(capacity);
    size_t *waiting = (size_t *)malloc(sizeof(size_t) * (capacity + 2)), length;
    uint64_t in = 0, out = 0, used = 0, all = (capacity + 7) / 8 * 8 + 8;
    uint32_t random = 2;
    int round, limit = rounds(20000, 500), refused = 0;
    TRUE(buffer != NULL && waiting != NULL);
    for (round = 0; round < limit; round++) {
        if (next_random(&random) % 2) {
            size_t takes;
            length = next_random(&random) % (next_random(&random) % 4 ? capacity / 3 + 1 : capacity + 1);
            takes = (length + 7) / 8 * 8 + 8;
            fill(buffer, length, in);
            SAME(mpshm_ring_push(r, buffer, length, 0), used + takes <= all ? 0 : MPSHM_EFULL);
            if (used + takes <= all) {
                waiting[in++ % (capacity + 2)] = length;
                used += takes;
            } else {
                refused++;
            }
        } else {
            memset(buffer, 0, capacity);
            SAME(mpshm_ring_pop(r, buffer, capacity, 0, &length), in == out ? MPSHM_EEMPTY : 0);
            if (in == out) continue;
            SAME(length, waiting[out % (capacity + 2)]);
            is_filled(buffer, length, out++);
            used -= (length + 7) / 8 * 8 + 8;
        }
        SAME(ring_length(r), in - out);
    }
    TRUE(refused > 10);
    free(buffer);
    free(waiting);
    mpshm_ring_close(r);
}

static int pushes_when_there_is_room(void *context) {
    int64_t n = 3;
    OK(mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER));
    return 0;
}

static int pops_when_there_is_one(void *context) {
    int64_t n = 0;
    OK(mpshm_ring_pop((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER, NULL));
    return (int)n;
}

static int pops_from_a_closed_one(void *context) {
    int64_t n;
    SAME(mpshm_ring_pop((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_ECLOSED);
    return 0;
}

static int pushes_into_a_closed_one(void *context) {
    int64_t n = 9;
    SAME(mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER), MPSHM_ECLOSED);
    return 0;
}

static int shuts_down(void *context) {
    OK(mpshm_ring_shutdown((mpshm_ring_t *)context));
    return 0;
}

/* Whoever sleeps is woken by what it waits for, and by a third party that shuts the ring down. */
static void sleepers(void) {
    mpshm_ring_t *r = ring_of(8, 2, 0);
    int64_t n = 7;
    pid_t pid = child(pops_when_there_is_one, r), other;
    uint64_t waits;
    until_asleep(pid);
    waits = ring_counters(r).waits;
    TRUE(waits >= 1);
    OK(mpshm_ring_push(r, &n, sizeof n, 0));
    SAME(reap(pid), 7);
    mpshm_ring_close(r);

    r = ring_of(8, 2, 0);
    pid = child(pushes_when_there_is_room, r);
    SAME(reap(pid), 0);
    pid = child(pushes_when_there_is_room, r);
    SAME(reap(pid), 0);
    pid = child(pushes_when_there_is_room, r);
    until_asleep(pid);
    OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
    SAME(reap(pid), 0);
    pid = child(pushes_into_a_closed_one, r);
    until_asleep(pid);
    other = child(shuts_down, r);
    SAME(reap(other), 0);
    SAME(reap(pid), 0);
    mpshm_ring_close(r);

    r = ring_of(8, 2, 0);
    pid = child(pops_from_a_closed_one, r);
    until_asleep(pid);
    other = child(shuts_down, r);
    SAME(reap(other), 0);
    SAME(reap(pid), 0);
    mpshm_ring_close(r);
}

int main(void) {
    static const size_t sizes[] = {0, 1, 3, 8, 12, 24, 100};
    static const size_t odd[] = {1, 3, 7, 8, 12, 100, 1021};
    size_t i;
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) six(sizes[i]);
    children();
    refusals();
    full_fails();
    batches_of_items();
    batches_of_messages();
    for (i = 0; i < sizeof odd / sizeof *odd; i++) items_go_round(odd[i], 2 * i + 1);
    items_go_round(4097, 5);
    items_go_round(8, 1000);
    messages_go_round(1);
    messages_go_round(61);
    messages_go_round(64);
    messages_go_round(5000);
    sleepers();
    return 0;
}
