/* Queues: NULL where one is not allowed, impossible numbers, calls out of turn: clear errors, the queue unchanged. (A
 * second producer is the ring's business: rings_ends.c; another element type is in queues_open.c.) */
#include "check.h"

/* Every function, with every pointer NULL that may not be. */
static void nulls(void) {
    mpshm_queue_t *q = queue_of(24, 4, MPSHM_QUEUE_JOINABLE), *none = NULL;
    mpshm_queue_counters_t counters;
    char item[24] = "item";
    uint64_t number = 77;
    size_t size = 77;
    bool is = false;
    void *room = NULL;
    const void *view = NULL;
    mpshm_queue_close(NULL);
    SAME(mpshm_queue_options_init(NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_size_for(NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_create(NULL, NULL, NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_open(NULL, "x", NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_open(NULL, NULL, NULL, &none), MPSHM_EINVAL);
    SAME(mpshm_queue_open_or_create(NULL, "x", NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_open_or_create(NULL, NULL, NULL, &none), MPSHM_EINVAL);
    SAME(mpshm_queue_clone(NULL, &none), MPSHM_EINVAL);
    SAME(mpshm_queue_clone(q, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_producer(NULL, &none), MPSHM_EINVAL);
    SAME(mpshm_queue_producer(q, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_push(NULL, item, sizeof item, 0), MPSHM_EINVAL);
    SAME(mpshm_queue_push(q, NULL, sizeof item, 0), MPSHM_EINVAL);
    SAME(mpshm_queue_push_many(NULL, item, NULL, 1, 0, &size), MPSHM_EINVAL);
    SAME(mpshm_queue_push_many(q, NULL, NULL, 1, 0, &size), MPSHM_EINVAL);
    SAME(mpshm_queue_reserve(NULL, 1, 0, &room), MPSHM_EINVAL);
    SAME(mpshm_queue_reserve(q, 1, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_commit(NULL, 1), MPSHM_EINVAL);
    SAME(mpshm_queue_abort(NULL), MPSHM_EINVAL);
    SAME(queue_length(q), 0);
    OK(mpshm_queue_push(q, item, sizeof item, 0));
    SAME(mpshm_queue_pop(NULL, item, sizeof item, 0, &size), MPSHM_EINVAL);
    SAME(mpshm_queue_pop(q, NULL, sizeof item, 0, &size), MPSHM_EINVAL);
    SAME(mpshm_queue_pop_many(NULL, item, sizeof item, 1, 0, NULL, &size), MPSHM_EINVAL);
    SAME(mpshm_queue_pop_many(q, NULL, sizeof item, 1, 0, NULL, &size), MPSHM_EINVAL);
    SAME(mpshm_queue_pop_many(q, item, sizeof item, 1, 0, NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_claim(NULL, 0, &view, &size), MPSHM_EINVAL);
    SAME(mpshm_queue_claim(q, 0, NULL, &size), MPSHM_EINVAL);
    SAME(mpshm_queue_claim(q, 0, &view, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_release(q), MPSHM_ENOTOWNER);
    SAME(mpshm_queue_deliveries(NULL, &number), MPSHM_EINVAL);
    SAME(mpshm_queue_deliveries(q, &number), MPSHM_ENOTOWNER);
    SAME(mpshm_queue_release(NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_give_back(NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_task_done(NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_join(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_queue_shutdown(NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_is_shut_down(NULL, &is), MPSHM_EINVAL);
    SAME(mpshm_queue_is_shut_down(q, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_length(NULL, &number), MPSHM_EINVAL);
    SAME(mpshm_queue_length(q, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_capacity(NULL, &number), MPSHM_EINVAL);
    SAME(mpshm_queue_capacity(q, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_message_max(NULL, &number), MPSHM_EINVAL);
    SAME(mpshm_queue_message_max(q, NULL), MPSHM_EINVAL);
    counters.struct_size = sizeof counters;
    SAME(mpshm_queue_counters(NULL, &counters), MPSHM_EINVAL);
    SAME(mpshm_queue_counters(q, NULL), MPSHM_EINVAL);
    memset(&counters, 0, sizeof counters);
    SAME(mpshm_queue_counters(q, &counters), MPSHM_EINVAL);
    SAME(number, 77);
    TRUE(none == NULL && room == NULL && view == NULL);
    SAME(queue_length(q), 1);
    memset(item, 0, sizeof item);
    OK(mpshm_queue_pop(q, item, sizeof item, 0, NULL));
    SAME(strcmp(item, "item"), 0);
    mpshm_queue_close(q);
}

static void refused(const mpshm_queue_options_t *options, int code) {
    mpshm_queue_t *none = NULL;
    uint64_t bytes = 77;
    SAME(mpshm_queue_create(NULL, NULL, options, &none), code);
    TRUE(none == NULL);
    if (code == MPSHM_EINVAL) {
        SAME(mpshm_queue_size_for(options, &bytes), code);
        SAME(bytes, 77);
    }
}

/* Capacities are exact, whatever they are a power of; what cannot be is refused, and so is what overflows. */
static void options(void) {
    static const uint64_t capacities[] = {1, 2, 3, 6, 7, 100, 1000}, none[] = {0, (1 << 26) + 1, UINT64_MAX};
    static const size_t sizes[] = {0, 8, 24};
    mpshm_queue_options_t o;
    mpshm_queue_t *q;
    unsigned char item[24] = {0};
    size_t i, k;
    uint64_t n;
    for (k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        for (i = 0; i < sizeof capacities / sizeof *capacities; i++) {
            q = queue_of(sizes[k], capacities[i], 0);
            OK(mpshm_queue_capacity(q, &n));
            SAME(n, capacities[i]);
            for (n = 0; n < capacities[i]; n++) OK(mpshm_queue_push(q, item, sizes[k] ? sizes[k] : 1, 0));
            SAME(mpshm_queue_push(q, item, sizes[k] ? sizes[k] : 1, 0), MPSHM_EFULL);
            mpshm_queue_close(q);
        }
        for (i = 0; i < sizeof none / sizeof *none; i++) {
            OK(mpshm_queue_options_init(&o));
            o.item_size = sizes[k];
            o.capacity = none[i];
            refused(&o, MPSHM_EINVAL);
        }
    }
    OK(mpshm_queue_options_init(&o));
    o.item_size = SIZE_MAX;
    refused(&o, MPSHM_EINVAL);
    o.item_size = (size_t)1 << 62;
    refused(&o, MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&o));
    o.item_size = 24;
    o.item_align = 16;
    refused(&o, MPSHM_EINVAL);
    o.item_align = 3;
    refused(&o, MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&o));
    o.type_code = 200;
    refused(&o, MPSHM_EINVAL);
    o.type_code = MPSHM_U64;
    o.item_size = 4;
    refused(&o, MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&o));
    o.leases = 0;
    refused(&o, MPSHM_EINVAL);
    o.leases = 1025;
    refused(&o, MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&o));
    o.message_max = (UINT64_C(1) << 31) + 1;
    refused(&o, MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&o));
    o.capacity = 1 << 26;
    o.message_max = UINT64_C(1) << 31;
    refused(&o, MPSHM_ENOSPACE);
}

static void out_of_turn(void) {
    mpshm_queue_t *q = queue_of(0, 2, 0), *items = queue_of(8, 2, 0);
    void *room = NULL;
    const void *view = NULL;
    size_t length = 77, done = 77;
    char text[100];
    int i;
    int64_t n = 5;
    /* Before there is anything. */
    SAME(mpshm_queue_commit(q, 0), MPSHM_ENOTOWNER);
    SAME(mpshm_queue_abort(q), MPSHM_ENOTOWNER);
    SAME(mpshm_queue_release(q), MPSHM_ENOTOWNER);
    SAME(mpshm_queue_give_back(q), MPSHM_ENOTOWNER);
    /* More than was reserved, twice, after an abort; a handle closed with a reservation. */
    OK(mpshm_queue_reserve(q, 4, 0, &room));
    SAME(mpshm_queue_commit(q, 5), MPSHM_ETOOBIG);
    SAME(mpshm_queue_commit(q, SIZE_MAX), MPSHM_ETOOBIG);
    SAME(queue_length(q), 0);
    memcpy(room, "good", 4);
    OK(mpshm_queue_commit(q, 4));
    SAME(mpshm_queue_commit(q, 4), MPSHM_ENOTOWNER);
    OK(mpshm_queue_reserve(q, 4, 0, &room));
    OK(mpshm_queue_abort(q));
    SAME(mpshm_queue_abort(q), MPSHM_ENOTOWNER);
    SAME(mpshm_queue_commit(q, 4), MPSHM_ENOTOWNER);
    for (i = 0; i < rounds(1000, 100); i++) {
        mpshm_queue_t *dropped;
        OK(mpshm_queue_clone(q, &dropped));
        OK(mpshm_queue_reserve(dropped, 100, 0, &room));
        mpshm_queue_close(dropped);
    }
    SAME(queue_length(q), 1);
    OK(mpshm_queue_push(q, "more", 4, 0));
    SAME(mpshm_queue_push(q, "more", 4, 0), MPSHM_EFULL);
    /* Released twice, given back after it was released. */
    OK(mpshm_queue_claim(q, 0, &view, &length));
    SAME(length, 4);
    SAME(memcmp(view, "good", 4), 0);
    OK(mpshm_queue_release(q));
    SAME(mpshm_queue_release(q), MPSHM_ENOTOWNER);
    SAME(mpshm_queue_give_back(q), MPSHM_ENOTOWNER);
    SAME(queue_length(q), 1);
    /* While something is claimed or reserved, copies go on; a second one in place does not. */
    OK(mpshm_queue_claim(q, 0, &view, &length));
    SAME(mpshm_queue_claim(q, MPSHM_FOREVER, &view, &length), MPSHM_EBUSY);
    OK(mpshm_queue_push(q, "third", 5, 0));
    OK(mpshm_queue_pop(q, text, sizeof text, 0, &length));
    SAME(length, 5);
    OK(mpshm_queue_give_back(q));
    OK(mpshm_queue_pop(q, text, sizeof text, 1000 * MS, &length));
    SAME(length, 4);
    /* Empty messages, and nothing at all. */
    OK(mpshm_queue_push(q, NULL, 0, 0));
    OK(mpshm_queue_pop(q, NULL, 0, 0, &length));
    SAME(length, 0);
    OK(mpshm_queue_push_many(q, NULL, NULL, 0, MPSHM_FOREVER, &done));
    SAME(done, 0);
    OK(mpshm_queue_push(q, "x", 1, 0));
    OK(mpshm_queue_pop_many(q, text, sizeof text, 0, MPSHM_FOREVER, NULL, &done));
    SAME(done, 0);
    SAME(queue_length(q), 1);
    /* Items: exactly their length, and not in place up to 8 bytes. */
    SAME(mpshm_queue_push(items, &n, 7, 0), MPSHM_EINVAL);
    SAME(mpshm_queue_push(items, &n, 9, 0), MPSHM_EINVAL);
    SAME(mpshm_queue_push(items, &n, 0, 0), MPSHM_EINVAL);
    SAME(mpshm_queue_push(items, &n, SIZE_MAX, 0), MPSHM_EINVAL);
    SAME(mpshm_queue_push(q, &n, SIZE_MAX, 0), MPSHM_EINVAL);
    room = NULL;
    view = NULL;
    SAME(mpshm_queue_reserve(items, 8, 0, &room), MPSHM_EINVAL);
    SAME(mpshm_queue_claim(items, 0, &view, &length), MPSHM_EINVAL);
    TRUE(room == NULL && view == NULL);
    SAME(queue_length(items), 0);
    /* Lengths: messages have them, items have not. */
    {
        static const size_t lengths[1] = {8};
        SAME(mpshm_queue_push_many(q, "abcdefgh", NULL, 1, 0, &done), MPSHM_EINVAL);
        SAME(mpshm_queue_push_many(items, &n, lengths, 1, 0, &done), MPSHM_EINVAL);
        SAME(mpshm_queue_push_many(items, &n, NULL, SIZE_MAX / 4, 0, &done), MPSHM_EINVAL);
        SAME(queue_length(items), 0);
    }
    /* A pop on a closed queue, a second close, time-outs that are none. */
    SAME(mpshm_queue_join(q, -2), MPSHM_EINVAL);
    SAME(mpshm_queue_push(q, "x", 1, -2), MPSHM_EINVAL);
    SAME(mpshm_queue_push_many(items, &n, NULL, 1, INT64_MIN, &done), MPSHM_EINVAL);
    SAME(mpshm_queue_pop(q, text, sizeof text, -2, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_pop_many(q, text, sizeof text, 1, -2, NULL, &done), MPSHM_EINVAL);
    SAME(mpshm_queue_reserve(q, 1, -2, &room), MPSHM_EINVAL);
    SAME(mpshm_queue_claim(q, -2, &view, &length), MPSHM_EINVAL);
    OK(mpshm_queue_shutdown(items));
    OK(mpshm_queue_shutdown(items));
    SAME(mpshm_queue_pop(items, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_ECLOSED);
    SAME(mpshm_queue_push(items, &n, sizeof n, MPSHM_FOREVER), MPSHM_ECLOSED);
    SAME(mpshm_queue_reserve(items, 8, 0, &room), MPSHM_EINVAL);
    /* A reservation that a shutdown overtakes. */
    OK(mpshm_queue_reserve(q, 1, 0, &room));
    OK(mpshm_queue_shutdown(q));
    SAME(mpshm_queue_commit(q, 1), MPSHM_ECLOSED);
    SAME(mpshm_queue_claim(q, 0, &view, &length), 0);
    OK(mpshm_queue_release(q));
    SAME(mpshm_queue_claim(q, MPSHM_FOREVER, &view, &length), MPSHM_ECLOSED);
    mpshm_queue_close(items);
    mpshm_queue_close(q);
}

int main(void) {
    nulls();
    options();
    out_of_turn();
    return 0;
}
