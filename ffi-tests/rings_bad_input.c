/* Rings: NULL where one is not allowed, unknown flags and sizes, impossible numbers: clear errors, nothing changed. */
#include "check.h"

/* Every function, with every pointer NULL that may not be. */
static void nulls(void) {
    mpshm_ring_t *r = ring_of(8, 4, 0), *none = NULL;
    mpshm_queue_counters_t counters;
    int64_t n = 1;
    uint64_t number = 77;
    size_t size = 77;
    bool is = false;
    void *room = NULL;
    const void *view = NULL;
    mpshm_ring_close(NULL);
    SAME(mpshm_ring_options_init(NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_size_for(NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_create(NULL, NULL, NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_open(NULL, "x", NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_open_or_create(NULL, "x", NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_clone(NULL, &none), MPSHM_EINVAL);
    SAME(mpshm_ring_clone(r, NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_push(NULL, &n, sizeof n, 0), MPSHM_EINVAL);
    SAME(mpshm_ring_push(r, NULL, sizeof n, 0), MPSHM_EINVAL);
    SAME(mpshm_ring_push_many(NULL, &n, NULL, 1, 0, &size), MPSHM_EINVAL);
    SAME(mpshm_ring_push_many(r, NULL, NULL, 1, 0, &size), MPSHM_EINVAL);
    SAME(mpshm_ring_reserve(NULL, 1, 0, &room), MPSHM_EINVAL);
    SAME(mpshm_ring_reserve(r, 1, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_commit(NULL, 1), MPSHM_EINVAL);
    SAME(mpshm_ring_abort(NULL), MPSHM_EINVAL);
    SAME(ring_length(r), 0);
    OK(mpshm_ring_push(r, &n, sizeof n, 0));
    SAME(mpshm_ring_pop(NULL, &n, sizeof n, 0, &size), MPSHM_EINVAL);
    SAME(mpshm_ring_pop(r, NULL, sizeof n, 0, &size), MPSHM_EINVAL);
    SAME(mpshm_ring_pop_many(NULL, &n, sizeof n, 1, 0, NULL, &size), MPSHM_EINVAL);
    SAME(mpshm_ring_pop_many(r, NULL, sizeof n, 1, 0, NULL, &size), MPSHM_EINVAL);
    SAME(mpshm_ring_pop_many(r, &n, sizeof n, 1, 0, NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_claim(NULL, 1, 0, &view, &size), MPSHM_EINVAL);
    SAME(mpshm_ring_claim(r, 1, 0, NULL, &size), MPSHM_EINVAL);
    SAME(mpshm_ring_claim(r, 1, 0, &view, NULL), MPSHM_EINVAL);
    /* None of these claimed it. */
    SAME(mpshm_ring_release(r, 1), MPSHM_ENOTOWNER);
    SAME(mpshm_ring_deliveries(NULL, &number), MPSHM_EINVAL);
    SAME(mpshm_ring_release(NULL, 1), MPSHM_EINVAL);
    SAME(mpshm_ring_give_back(NULL), MPSHM_EINVAL);
    OK(mpshm_ring_claim(r, 1, 0, &view, &size));
    SAME(mpshm_ring_deliveries(r, NULL), MPSHM_EINVAL);
    OK(mpshm_ring_give_back(r));
    SAME(mpshm_ring_shutdown(NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_is_shut_down(NULL, &is), MPSHM_EINVAL);
    SAME(mpshm_ring_is_shut_down(r, NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_length(NULL, &number), MPSHM_EINVAL);
    SAME(mpshm_ring_length(r, NULL), MPSHM_EINVAL);
    SAME(mpshm_ring_capacity(NULL, &number), MPSHM_EINVAL);
    SAME(mpshm_ring_capacity(r, NULL), MPSHM_EINVAL);
    counters.struct_size = sizeof counters;
    SAME(mpshm_ring_counters(NULL, &counters), MPSHM_EINVAL);
    SAME(mpshm_ring_counters(r, NULL), MPSHM_EINVAL);
    SAME(number, 77);
    TRUE(none == NULL && room == NULL);
    SAME(ring_length(r), 1);
    OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
    SAME(n, 1);
    mpshm_ring_close(r);
}

static void refused(const mpshm_ring_options_t *options, int code) {
    mpshm_ring_t *none = NULL;
    uint64_t bytes = 77;
    char text[300];
    SAME(mpshm_ring_create(NULL, NULL, options, &none), code);
    TRUE(none == NULL);
    /* A sentence of its own, not only a number. */
    TRUE(mpshm_last_message(text, sizeof text) > 10);
    if (code == MPSHM_EINVAL) {
        SAME(mpshm_ring_size_for(options, &bytes), code);
        SAME(bytes, 77);
    }
}

static void options(void) {
    static const uint64_t capacities[] = {0, UINT64_C(1) << 63, (UINT64_C(1) << 63) + 1, UINT64_MAX};
    static const size_t sizes[] = {0, 1, 7, 8, 47, 4096, SIZE_MAX};
    static const uint64_t flags[] = {16, 32, UINT64_C(1) << 63, UINT64_MAX, 16 | 1};
    static const size_t aligns[] = {3, 5, 256, 4096, SIZE_MAX};
    static const uint32_t codes[] = {12, 77, 255};
    mpshm_ring_options_t o;
    mpshm_queue_counters_t counters;
    mpshm_ring_t *r;
    size_t i;
    for (i = 0; i < sizeof capacities / sizeof *capacities; i++) {
        OK(mpshm_ring_options_init(&o));
        o.capacity = capacities[i];
        refused(&o, MPSHM_EINVAL);
        o.item_size = 8;
        refused(&o, MPSHM_EINVAL);
        o.item_size = 24;
        refused(&o, MPSHM_EINVAL);
    }
    /* More than there is memory. */
    OK(mpshm_ring_options_init(&o));
    o.capacity = UINT64_C(1) << 40;
    refused(&o, MPSHM_ENOSPACE);
    o.capacity++;
    refused(&o, MPSHM_EINVAL);
    /* The product is more than 2^64. */
    OK(mpshm_ring_options_init(&o));
    o.capacity = UINT64_C(1) << 40;
    o.item_size = (size_t)1 << 30;
    refused(&o, MPSHM_EINVAL);
    o.item_size = SIZE_MAX;
    o.capacity = 1;
    refused(&o, MPSHM_EINVAL);
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        OK(mpshm_ring_options_init(&o));
        o.struct_size = sizes[i];
        refused(&o, MPSHM_EINVAL);
    }
    for (i = 0; i < sizeof flags / sizeof *flags; i++) {
        OK(mpshm_ring_options_init(&o));
        o.flags = flags[i];
        refused(&o, MPSHM_EINVAL);
    }
    OK(mpshm_ring_options_init(&o));
    o.flags = MPSHM_RING_FULL_FAILS | MPSHM_RING_FULL_OVERWRITES;
    refused(&o, MPSHM_EINVAL);
    OK(mpshm_ring_options_init(&o));
    o.reserved = 1;
    refused(&o, MPSHM_EINVAL);
    for (i = 0; i < sizeof aligns / sizeof *aligns; i++) {
        OK(mpshm_ring_options_init(&o));
        o.item_size = 480;
        o.item_align = aligns[i];
        refused(&o, MPSHM_EINVAL);
    }
    OK(mpshm_ring_options_init(&o));
    o.item_size = 12; /* 8 does not divide it */
    o.item_align = 8;
    refused(&o, MPSHM_EINVAL);
    for (i = 0; i < sizeof codes / sizeof *codes; i++) {
        OK(mpshm_ring_options_init(&o));
        o.type_code = codes[i];
        refused(&o, MPSHM_EINVAL);
        o.item_size = 8;
        refused(&o, MPSHM_EINVAL);
    }
    OK(mpshm_ring_options_init(&o));
    o.type_code = MPSHM_U64;
    o.item_size = 4;
    refused(&o, MPSHM_EINVAL);
    o.item_size = 8;
    o.item_align = 4;
    refused(&o, MPSHM_EINVAL);

    r = ring_of(8, 4, 0);
    memset(&counters, 0, sizeof counters);
    SAME(mpshm_ring_counters(r, &counters), MPSHM_EINVAL);
    counters.struct_size = 9;
    SAME(mpshm_ring_counters(r, &counters), MPSHM_EINVAL);
    mpshm_ring_close(r);
}

static void calls(void) {
    static const int64_t times[] = {-2, -1000000000, INT64_MIN};
    mpshm_ring_t *r = ring_of(8, 4, 0), *m = ring_of(0, 64, 0);
    int64_t n = 5, many[4] = {1, 2, 3, 4};
    size_t done = 77, count = 77, i;
    static const size_t lengths[2] = {4, 8};
    void *room = NULL;
    const void *view = NULL;
    char text[100];
    for (i = 0; i < sizeof times / sizeof *times; i++) {
        SAME(mpshm_ring_push(r, &n, sizeof n, times[i]), MPSHM_EINVAL);
        SAME(mpshm_ring_push_many(r, many, NULL, 4, times[i], &done), MPSHM_EINVAL);
        SAME(mpshm_ring_reserve(r, 1, times[i], &room), MPSHM_EINVAL);
        SAME(mpshm_ring_pop(r, &n, sizeof n, times[i], &done), MPSHM_EINVAL);
        SAME(mpshm_ring_pop_many(r, many, sizeof many, 4, times[i], NULL, &count), MPSHM_EINVAL);
        SAME(mpshm_ring_claim(r, 1, times[i], &view, &count), MPSHM_EINVAL);
    }
    TRUE(room == NULL && view == NULL);
    SAME(count, 77);
    SAME(ring_length(r), 0);
    /* Centuries. */
    OK(mpshm_ring_push(r, &n, sizeof n, INT64_MAX));
    OK(mpshm_ring_pop(r, &n, sizeof n, INT64_MAX, NULL));

    /* Nothing is not something. */
    SAME(mpshm_ring_push(r, &n, 0, 0), MPSHM_EINVAL);
    SAME(mpshm_ring_push(r, &n, 4, 0), MPSHM_EINVAL);
    SAME(mpshm_ring_push(r, &n, SIZE_MAX, 0), MPSHM_EINVAL);
    OK(mpshm_ring_push_many(r, NULL, NULL, 0, 0, &done));
    SAME(done, 0);
    OK(mpshm_ring_push_many(m, NULL, NULL, 0, MPSHM_FOREVER, &done));
    SAME(done, 0);
    OK(mpshm_ring_reserve(r, 0, 0, &room));
    SAME(mpshm_ring_commit(r, 1), MPSHM_ETOOBIG);
    OK(mpshm_ring_commit(r, 0));
    SAME(ring_length(r), 0);
    SAME(mpshm_ring_claim(r, 0, 0, &view, &count), MPSHM_EINVAL);
    SAME(mpshm_ring_claim(m, 0, MPSHM_FOREVER, &view, &count), MPSHM_EINVAL);
    OK(mpshm_ring_push_many(r, many, NULL, 2, 0, &done));
    OK(mpshm_ring_pop_many(r, many, sizeof many, 0, MPSHM_FOREVER, NULL, &done));
    SAME(done, 0);
    SAME(ring_length(r), 2);
    OK(mpshm_ring_pop_many(r, many, sizeof many, 4, 0, NULL, &done));
    SAME(done, 2);

    /* Lengths: messages have them, items have not. */
    SAME(mpshm_ring_push_many(m, "abcd12345678", NULL, 2, 0, &done), MPSHM_EINVAL);
    SAME(mpshm_ring_push_many(r, many, lengths, 2, 0, &done), MPSHM_EINVAL);
    SAME(ring_length(m), 0);
    SAME(ring_length(r), 0);
    OK(mpshm_ring_push_many(m, "abcd12345678", lengths, 2, 0, &done));
    SAME(done, 2);
    /* The sizes of all items together are more than memory. */
    SAME(mpshm_ring_push_many(r, many, NULL, SIZE_MAX / 4, 0, &done), MPSHM_EINVAL);
    SAME(done, 2);
    OK(mpshm_ring_pop_many(m, text, sizeof text, SIZE_MAX, 0, NULL, &done));
    SAME(done, 2);
    {
        static const size_t enormous[2] = {8, SIZE_MAX - 4};
        SAME(mpshm_ring_push_many(m, many, enormous, 2, 0, &done), MPSHM_EINVAL);
        SAME(ring_length(m), 0);
    }
    /* Claims of as many as there are. */
    OK(mpshm_ring_push(r, &n, sizeof n, 0));
    OK(mpshm_ring_claim(r, SIZE_MAX, 0, &view, &count));
    SAME(count, 1);
    SAME(mpshm_ring_release(r, SIZE_MAX), MPSHM_ETOOBIG);
    OK(mpshm_ring_release(r, 1));
    OK(mpshm_ring_push(m, "message", 7, 0));
    OK(mpshm_ring_claim(m, SIZE_MAX, 0, &view, &count));
    SAME(count, 7);
    SAME(mpshm_ring_release(m, SIZE_MAX), MPSHM_ETOOBIG);
    OK(mpshm_ring_release(m, 7));
    mpshm_ring_close(r);
    mpshm_ring_close(m);
}

int main(void) {
    nulls();
    options();
    calls();
    return 0;
}
