/* Rings written and read in place: reserve, commit, abort; claim, release, give_back, deliveries; at every place of the
 * way round; what a close and a shutdown do to them; what is not held cannot be given back. */
#include "check.h"

static uint64_t deliveries_of(const mpshm_ring_t *r) {
    uint64_t deliveries = 0;
    OK(mpshm_ring_deliveries(r, &deliveries));
    return deliveries;
}

static void push_numbers(mpshm_ring_t *r, int64_t from, int64_t to) {
    for (; from < to; from++) OK(mpshm_ring_push(r, &from, sizeof from, 0));
}

static void items(void) {
    mpshm_ring_t *r = ring_of(8, 6, 0);
    int64_t n, *room = NULL, *again = NULL;
    const int64_t *found = NULL;
    void *data = NULL;
    const void *view = NULL;
    size_t count = 99, i;
    double begin;

    /* Written in place, pushed at once, and only so many as were committed. */
    OK(mpshm_ring_reserve(r, 6, 0, &data));
    room = (int64_t *)data;
    SAME((uintptr_t)room % 8, 0);
    for (i = 0; i < 6; i++) room[i] = (int64_t)i;
    SAME(ring_length(r), 0);
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_EEMPTY);
    SAME(mpshm_ring_reserve(r, 1, 0, &data), MPSHM_EBUSY);
    SAME(mpshm_ring_reserve(r, 1, MPSHM_FOREVER, &data), MPSHM_EBUSY);
    SAME(mpshm_ring_push(r, &n, sizeof n, MPSHM_FOREVER), MPSHM_EBUSY);
    SAME(mpshm_ring_push_many(r, room, NULL, 1, MPSHM_FOREVER, NULL), MPSHM_EBUSY);
    SAME(mpshm_ring_commit(r, 7), MPSHM_ETOOBIG);
    SAME(mpshm_ring_commit(r, SIZE_MAX), MPSHM_ETOOBIG);
    OK(mpshm_ring_commit(r, 4));
    SAME(ring_length(r), 4);
    SAME(mpshm_ring_commit(r, 1), MPSHM_ENOTOWNER);
    SAME(mpshm_ring_commit(r, 0), MPSHM_ENOTOWNER);
    SAME(mpshm_ring_abort(r), MPSHM_ENOTOWNER);

    /* More than there is room for, and more than there is. */
    data = NULL;
    SAME(mpshm_ring_reserve(r, 7, MPSHM_FOREVER, &data), MPSHM_ETOOBIG);
    SAME(mpshm_ring_reserve(r, SIZE_MAX, MPSHM_FOREVER, &data), MPSHM_ETOOBIG);
    SAME(mpshm_ring_reserve(r, 3, 0, &data), MPSHM_EFULL);
    begin = seconds();
    SAME(mpshm_ring_reserve(r, 3, 50 * MS, &data), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    TRUE(data == NULL);
    OK(mpshm_ring_reserve(r, 2, 0, &data));
    again = (int64_t *)data;
    again[0] = 77;
    OK(mpshm_ring_abort(r));
    SAME(mpshm_ring_abort(r), MPSHM_ENOTOWNER);
    SAME(ring_length(r), 4);
    OK(mpshm_ring_reserve(r, 2, 0, &data));
    OK(mpshm_ring_commit(r, 0));
    SAME(ring_length(r), 4);
    push_numbers(r, 4, 6);

    /* Read in place; what is not released comes next. */
    OK(mpshm_ring_claim(r, 4, MPSHM_FOREVER, &view, &count));
    SAME(count, 4);
    found = (const int64_t *)view;
    for (i = 0; i < 4; i++) SAME(found[i], i);
    SAME(deliveries_of(r), 1);
    SAME(ring_length(r), 6); /* they are in the ring until they are released */
    view = NULL;
    SAME(mpshm_ring_claim(r, 1, MPSHM_FOREVER, &view, &count), MPSHM_EBUSY);
    SAME(mpshm_ring_pop(r, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_EBUSY);
    SAME(mpshm_ring_pop_many(r, &n, sizeof n, 1, MPSHM_FOREVER, NULL, &count), MPSHM_EBUSY);
    TRUE(view == NULL);
    SAME(count, 4);
    SAME(mpshm_ring_release(r, 5), MPSHM_ETOOBIG);
    OK(mpshm_ring_release(r, 2));
    SAME(mpshm_ring_release(r, 1), MPSHM_ENOTOWNER);
    SAME(mpshm_ring_release(r, 0), MPSHM_ENOTOWNER);
    SAME(mpshm_ring_give_back(r), MPSHM_ENOTOWNER);
    {
        uint64_t unchanged = 5;
        SAME(mpshm_ring_deliveries(r, &unchanged), MPSHM_ENOTOWNER);
        SAME(unchanged, 5);
    }
    SAME(ring_length(r), 4);
    OK(mpshm_ring_claim(r, 100, 0, &view, &count));
    SAME(count, 4);
    SAME(*(const int64_t *)view, 2);
    OK(mpshm_ring_give_back(r));
    SAME(ring_length(r), 4);
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    SAME(count, 1);
    SAME(*(const int64_t *)view, 2);
    SAME(deliveries_of(r), 2);
    OK(mpshm_ring_give_back(r));
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    SAME(deliveries_of(r), 3);
    OK(mpshm_ring_release(r, 1));
    OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
    SAME(n, 3);
    /* What others make room for is usable at once: the claimed are in the way until they are released. */
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    push_numbers(r, 6, 10);
    SAME(mpshm_ring_push(r, &n, sizeof n, 0), MPSHM_EFULL);
    OK(mpshm_ring_release(r, 1));
    push_numbers(r, 10, 11);
    for (i = 5; i < 11; i++) {
        OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
        SAME(n, i);
    }
    SAME(mpshm_ring_claim(r, 1, 0, &view, &count), MPSHM_EEMPTY);
    begin = seconds();
    SAME(mpshm_ring_claim(r, 1, 50 * MS, &view, &count), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    mpshm_ring_close(r);
}

static void messages(void) {
    mpshm_ring_t *r = ring_of(0, 96, 0);
    void *data = NULL;
    const void *view;
    char text[96];
    size_t count = 99;
    SAME(mpshm_ring_reserve(r, 97, MPSHM_FOREVER, &data), MPSHM_ETOOBIG);
    OK(mpshm_ring_reserve(r, 96, 0, &data));
    SAME((uintptr_t)data % 8, 0);
    memcpy(data, "hello", 5);
    SAME(mpshm_ring_commit(r, 97), MPSHM_ETOOBIG);
    OK(mpshm_ring_commit(r, 5));
    /* Only what was committed takes room: 16 of 104 bytes. */
    OK(mpshm_ring_reserve(r, 80, 0, &data));
    memset(data, 'x', 80);
    OK(mpshm_ring_commit(r, 80));
    SAME(mpshm_ring_reserve(r, 0, 0, &data), MPSHM_EFULL);
    SAME(ring_length(r), 2);

    /* One message at a time, whatever `most` is. */
    OK(mpshm_ring_claim(r, 100, 0, &view, &count));
    SAME(count, 5);
    SAME((uintptr_t)view % 8, 0);
    SAME(memcmp(view, "hello", 5), 0);
    SAME(mpshm_ring_release(r, 4), MPSHM_EINVAL);
    SAME(mpshm_ring_release(r, 0), MPSHM_EINVAL);
    SAME(mpshm_ring_release(r, 6), MPSHM_ETOOBIG);
    OK(mpshm_ring_give_back(r));
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    SAME(count, 5);
    SAME(deliveries_of(r), 2);
    OK(mpshm_ring_release(r, 5));
    /* A buffer that is too short. */
    SAME(mpshm_ring_pop(r, text, 79, 0, &count), MPSHM_ETOOBIG);
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    SAME(count, 80);
    OK(mpshm_ring_release(r, 80));
    /* Empty ones, and one of the whole length. */
    OK(mpshm_ring_reserve(r, 0, 0, &data));
    OK(mpshm_ring_commit(r, 0));
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    SAME(count, 0);
    OK(mpshm_ring_release(r, 0));
    OK(mpshm_ring_reserve(r, 96, 0, &data));
    memset(data, 'y', 96);
    OK(mpshm_ring_commit(r, 96));
    OK(mpshm_ring_pop(r, text, sizeof text, 0, &count));
    SAME(count, 96);
    SAME(text[95], 'y');
    mpshm_ring_close(r);
}

/* The room is contiguous wherever the ring is on its way round. */
static void everywhere(size_t size, size_t capacity, bool gives_back) {
    mpshm_ring_t *r = ring_of(size, capacity, 0);
    uint64_t in = 0, out = 0;
    uint32_t random = 3;
    int round, limit = rounds(2000, 100);
    void *data;
    const void *view;
    size_t want, count, most, i;
    for (round = 0; round < limit; round++) {
        want = next_random(&random) % capacity + 1;
        SAME(mpshm_ring_reserve(r, want, 0, &data), in - out + want <= capacity ? 0 : MPSHM_EFULL);
        if (in - out + want <= capacity) {
            for (i = 0; i < want * size; i++) ((unsigned char *)data)[i] = (unsigned char)(in + i / size + i % size * 5);
            if (next_random(&random) % 5 == 0) {
                OK(mpshm_ring_abort(r));
            } else {
                count = next_random(&random) % (want + 1);
                OK(mpshm_ring_commit(r, count));
                in += count;
            }
        }
        want = next_random(&random) % capacity + 1;
        SAME(mpshm_ring_claim(r, want, 0, &view, &count), in == out ? MPSHM_EEMPTY : 0);
        if (in == out) continue;
        /* What was given back may come apart from what follows. */
        most = in - out < want ? (size_t)(in - out) : want;
        TRUE(count >= 1 && count <= most);
        if (!gives_back) SAME(count, most);
        for (i = 0; i < count * size; i++)
            SAME(((const unsigned char *)view)[i], (unsigned char)(out + i / size + i % size * 5));
        if (gives_back && next_random(&random) % 5 == 0) {
            OK(mpshm_ring_give_back(r));
        } else {
            count = next_random(&random) % count + 1;
            OK(mpshm_ring_release(r, count));
            out += count;
        }
        SAME(ring_length(r), in - out);
    }
    mpshm_ring_close(r);
}

/* Items lie as their type asks. */
static void aligned(void) {
    static const size_t aligns[] = {1, 2, 4, 8, 64, 128};
    mpshm_ring_options_t options;
    mpshm_ring_t *r;
    void *data;
    const void *view;
    size_t i, count;
    int round;
    for (i = 0; i < sizeof aligns / sizeof *aligns; i++) {
        OK(mpshm_ring_options_init(&options));
        options.capacity = 5;
        options.item_size = 3 * aligns[i];
        options.item_align = aligns[i];
        OK(mpshm_ring_create(NULL, NULL, &options, &r));
        for (round = 0; round < 12; round++) {
            OK(mpshm_ring_reserve(r, 1, 0, &data));
            SAME((uintptr_t)data % aligns[i], 0);
            OK(mpshm_ring_commit(r, 1));
            OK(mpshm_ring_claim(r, 1, 0, &view, &count));
            SAME((uintptr_t)view % aligns[i], 0);
            OK(mpshm_ring_release(r, 1));
        }
        mpshm_ring_close(r);
    }
}

/* A closed handle gives up what it had reserved, and what it had claimed comes again. */
static void closing(void) {
    mpshm_ring_t *r = ring_of(8, 4, 0), *producer, *consumer;
    void *data;
    const void *view;
    size_t count;
    int64_t n;
    OK(mpshm_ring_clone(r, &producer));
    OK(mpshm_ring_clone(r, &consumer));
    push_numbers(producer, 1, 3);
    OK(mpshm_ring_reserve(producer, 2, 0, &data));
    OK(mpshm_ring_claim(consumer, 2, 0, &view, &count));
    mpshm_ring_close(producer);
    mpshm_ring_close(consumer);
    OK(mpshm_ring_reserve(r, 2, 0, &data));
    OK(mpshm_ring_abort(r));
    OK(mpshm_ring_claim(r, 4, 0, &view, &count));
    SAME(count, 2);
    SAME(*(const int64_t *)view, 1);
    SAME(deliveries_of(r), 2);
    OK(mpshm_ring_release(r, 2));
    mpshm_ring_close(r);

    /* Shut down: a reservation is too late, a claim is not. */
    r = ring_of(8, 4, 0);
    push_numbers(r, 1, 3);
    OK(mpshm_ring_reserve(r, 2, 0, &data));
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    OK(mpshm_ring_shutdown(r));
    SAME(mpshm_ring_commit(r, 1), MPSHM_ECLOSED);
    SAME(mpshm_ring_commit(r, 1), MPSHM_ENOTOWNER);
    SAME(mpshm_ring_abort(r), MPSHM_ENOTOWNER);
    SAME(mpshm_ring_reserve(r, 1, MPSHM_FOREVER, &data), MPSHM_ECLOSED);
    SAME(*(const int64_t *)view, 1);
    OK(mpshm_ring_give_back(r));
    OK(mpshm_ring_claim(r, 1, MPSHM_FOREVER, &view, &count));
    OK(mpshm_ring_release(r, 1));
    OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
    SAME(n, 2);
    SAME(mpshm_ring_claim(r, 1, MPSHM_FOREVER, &view, &count), MPSHM_ECLOSED);
    mpshm_ring_close(r);

    /* Aborted after the shutdown: as ever. */
    r = ring_of(8, 4, 0);
    OK(mpshm_ring_reserve(r, 2, 0, &data));
    OK(mpshm_ring_shutdown(r));
    OK(mpshm_ring_abort(r));
    mpshm_ring_close(r);
}

int main(void) {
    items();
    messages();
    everywhere(1, 7, false);
    everywhere(8, 3, true);
    everywhere(12, 11, true);
    everywhere(1000, 13, false);
    aligned();
    closing();
    return 0;
}
