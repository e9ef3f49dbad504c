/* Queues with blocks of several sizes, alignment of messages in place, leases, and what size_for says. */
#include "check.h"

static mpshm_queue_options_t options_of(uint64_t capacity) {
    mpshm_queue_options_t options;
    OK(mpshm_queue_options_init(&options));
    options.capacity = capacity;
    return options;
}

static void sizes(void) {
    mpshm_queue_options_t options = options_of(100), whole;
    mpshm_queue_t *q;
    static char large[1000], text[1000];
    uint64_t bytes, more, n;
    size_t length;
    void *room;
    int i, larges = 0, smalls = 0;
    options.blocks[0].bytes = 16;
    options.blocks[0].count = 50;
    options.blocks[1].bytes = 1000;
    options.blocks[1].count = 3;
    whole = options_of(100);
    whole.message_max = 1000;
    OK(mpshm_queue_size_for(&options, &bytes));
    OK(mpshm_queue_size_for(&whole, &more));
    TRUE(bytes < more);
    OK(mpshm_queue_create(NULL, NULL, &options, &q));
    OK(mpshm_queue_message_max(q, &n));
    SAME(n, 1000);
    OK(mpshm_queue_capacity(q, &n));
    SAME(n, 100);
    SAME(mpshm_queue_push(q, large, 1001, 0), MPSHM_ETOOBIG);
    /* As many of a size as it has blocks; the small ones have theirs. */
    memset(large, 'L', sizeof large);
    while (mpshm_queue_push(q, large, 1000 - (size_t)larges, 0) == 0) larges++;
    SAME(larges, 3);
    SAME(mpshm_queue_push(q, large, 17, 0), MPSHM_EFULL);
    SAME(mpshm_queue_push(q, large, 17, 20 * MS), MPSHM_ETIMEDOUT);
    SAME(mpshm_queue_reserve(q, 500, 0, &room), MPSHM_EFULL);
    while (mpshm_queue_push(q, "small", 5, 0) == 0) smalls++;
    SAME(smalls, 50);
    SAME(queue_length(q), 53);
    for (i = 0; i < 3; i++) {
        OK(mpshm_queue_pop(q, text, sizeof text, 0, &length));
        SAME(length, 1000 - i);
        SAME(text[length - 1], 'L');
    }
    /* Free large ones take small messages where no small one is left. */
    OK(mpshm_queue_push(q, "small", 5, 0));
    for (i = 0; i < 51; i++) {
        OK(mpshm_queue_pop(q, text, sizeof text, 0, &length));
        SAME(length, 5);
        SAME(memcmp(text, "small", 5), 0);
    }
    SAME(queue_length(q), 0);
    mpshm_queue_close(q);
}

static void alignment(void) {
    static const uint32_t aligns[] = {1, 2, 8, 16, 64, 128};
    size_t i, n, length;
    void *room[3];
    const void *view;
    mpshm_queue_t *q, *others[3];
    for (i = 0; i < sizeof aligns / sizeof *aligns; i++) {
        mpshm_queue_options_t options = options_of(4);
        options.message_max = 33;
        options.message_align = aligns[i];
        OK(mpshm_queue_create(NULL, NULL, &options, &q));
        for (n = 0; n < 3; n++) {
            OK(mpshm_queue_clone(q, &others[n]));
            OK(mpshm_queue_reserve(others[n], 33, 0, &room[n]));
            SAME((uintptr_t)room[n] % aligns[i], 0);
            memset(room[n], (int)n, 33);
        }
        for (n = 0; n < 3; n++) OK(mpshm_queue_commit(others[n], 33));
        for (n = 0; n < 3; n++) {
            OK(mpshm_queue_claim(others[n], 0, &view, &length));
            SAME((uintptr_t)view % aligns[i], 0);
            SAME(length, 33);
            SAME(*(const char *)view, (int)n);
            SAME(((const char *)view)[32], (int)n);
        }
        for (n = 0; n < 3; n++) {
            OK(mpshm_queue_release(others[n]));
            mpshm_queue_close(others[n]);
        }
        mpshm_queue_close(q);
    }
}

/* What is held beside the queue, up to the leases, takes nothing from the capacity. */
static void leases(void) {
    mpshm_queue_options_t options = options_of(4);
    mpshm_queue_t *q, *others[3];
    void *room;
    const void *view;
    size_t length;
    int i;
    options.message_max = 8;
    options.leases = 3;
    OK(mpshm_queue_create(NULL, NULL, &options, &q));
    for (i = 0; i < 3; i++) {
        OK(mpshm_queue_clone(q, &others[i]));
        OK(mpshm_queue_reserve(others[i], 8, 0, &room));
    }
    for (i = 0; i < 4; i++) OK(mpshm_queue_push(q, "x", 1, 0));
    SAME(mpshm_queue_push(q, "x", 1, 0), MPSHM_EFULL);
    for (i = 0; i < 3; i++) OK(mpshm_queue_abort(others[i]));
    for (i = 0; i < 3; i++) OK(mpshm_queue_claim(others[i], 0, &view, &length));
    SAME(queue_length(q), 1);
    for (i = 0; i < 3; i++) OK(mpshm_queue_push(q, "x", 1, 0));
    SAME(mpshm_queue_push(q, "x", 1, 0), MPSHM_EFULL);
    for (i = 0; i < 3; i++) {
        OK(mpshm_queue_release(others[i]));
        mpshm_queue_close(others[i]);
    }
    SAME(queue_length(q), 4);
    mpshm_queue_close(q);
}

/* A segment of exactly the size that is said has room for it. */
static void room(void) {
    mpshm_queue_options_t one = options_of(100), two = options_of(7);
    mpshm_segment_t *s;
    mpshm_queue_t *q, *p, *none = NULL;
    uint64_t bytes, more;
    one.item_size = 24;
    two.message_max = 100;
    OK(mpshm_queue_size_for(&one, &bytes));
    OK(mpshm_queue_size_for(&two, &more));
    OK(mpshm_segment_create(NULL, bytes + more, NULL, &s));
    OK(mpshm_queue_create(s, "one", &one, &q));
    OK(mpshm_queue_create(s, "two", &two, &p));
    SAME(mpshm_queue_create(s, "three", &two, &none), MPSHM_ENOSPACE);
    TRUE(none == NULL);
    OK(mpshm_queue_push(p, "x", 1, 0));
    mpshm_queue_close(p);
    mpshm_queue_close(q);
    mpshm_segment_close(s);
    OK(mpshm_queue_size_for(NULL, &bytes));
    TRUE(bytes >= 1024 * 4096);
}

int main(void) {
    sizes();
    alignment();
    leases();
    room();
    return 0;
}
