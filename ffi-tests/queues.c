/* A23-A29, A31-A33, B14-B16: items and messages; full, empty, shut down; in place; several processes. */
#include "check.h"

static int pushes_2_to_5(void *context) {
    uint64_t n;
    for (n = 2; n <= 5; n++) OK(mpshm_queue_push((mpshm_queue_t *)context, &n, sizeof n, MPSHM_FOREVER));
    return 0;
}

static int pushes_10_to_19(void *context) {
    uint64_t n;
    for (n = 10; n <= 19; n++) OK(mpshm_queue_push((mpshm_queue_t *)context, &n, sizeof n, MPSHM_FOREVER));
    return 0;
}

static void capacity_six(size_t item) {
    mpshm_queue_options_t options;
    mpshm_queue_t *q;
    unsigned char in[64], out[64];
    uint64_t length;
    size_t got;
    int i;
    double begin;
    memset(in, 0, sizeof in);
    OK(mpshm_queue_options_init(&options));
    options.capacity = 6;
    options.item_size = item;
    OK(mpshm_queue_create(NULL, NULL, &options, &q));
    OK(mpshm_queue_length(q, &length));
    SAME(length, 0);
    SAME(mpshm_queue_pop(q, out, sizeof out, 0, &got), MPSHM_EEMPTY);
    begin = seconds();
    SAME(mpshm_queue_pop(q, out, sizeof out, 200 * MS, &got), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.2);
    for (i = 0; i < 6; i++) {
        in[0] = (unsigned char)i;
        OK(mpshm_queue_push(q, in, item ? item : 10, i % 2 ? MPSHM_FOREVER : 0));
        OK(mpshm_queue_length(q, &length));
        SAME(length, i + 1);
    }
    OK(mpshm_queue_capacity(q, &length));
    SAME(length, 6);
    SAME(mpshm_queue_push(q, in, item ? item : 10, 0), MPSHM_EFULL);
    begin = seconds();
    SAME(mpshm_queue_push(q, in, item ? item : 10, 50 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    for (i = 0; i < 6; i++) {
        OK(mpshm_queue_pop(q, out, sizeof out, i % 2 ? MPSHM_FOREVER : 0, &got));
        SAME(out[0], i);
        SAME(got, item ? item : 10);
    }
    OK(mpshm_queue_push(q, in, item ? item : 10, 0));
    OK(mpshm_queue_shutdown(q));
    OK(mpshm_queue_shutdown(q));
    SAME(mpshm_queue_push(q, in, item ? item : 10, MPSHM_FOREVER), MPSHM_ECLOSED);
    OK(mpshm_queue_pop(q, out, sizeof out, MPSHM_FOREVER, &got));
    SAME(mpshm_queue_pop(q, out, sizeof out, MPSHM_FOREVER, &got), MPSHM_ECLOSED);
    mpshm_queue_close(q);
}

static void in_place(void) {
    mpshm_queue_options_t options;
    mpshm_queue_t *q, *other;
    void *data;
    const void *message;
    char text[100];
    size_t length;
    uint64_t n;
    OK(mpshm_queue_options_init(&options));
    options.capacity = 2;
    options.message_max = 100;
    OK(mpshm_queue_create(NULL, NULL, &options, &q));
    SAME(mpshm_queue_reserve(q, 101, 0, &data), MPSHM_ETOOBIG);
    OK(mpshm_queue_reserve(q, 100, 0, &data));
    SAME((uintptr_t)data % 16, 0);
    SAME(mpshm_queue_reserve(q, 1, 0, &data), MPSHM_EBUSY);
    memcpy(data, "hello", 5);
    SAME(mpshm_queue_commit(q, 101), MPSHM_ETOOBIG);
    OK(mpshm_queue_commit(q, 5));
    SAME(mpshm_queue_commit(q, 5), MPSHM_ENOTOWNER);
    OK(mpshm_queue_reserve(q, 1, 0, &data));
    OK(mpshm_queue_abort(q));
    SAME(mpshm_queue_abort(q), MPSHM_ENOTOWNER);
    OK(mpshm_queue_length(q, &n));
    SAME(n, 1);
    OK(mpshm_queue_claim(q, 0, &message, &length));
    SAME(length, 5);
    SAME(memcmp(message, "hello", 5), 0);
    OK(mpshm_queue_deliveries(q, &n));
    SAME(n, 1);
    SAME(mpshm_queue_claim(q, 0, &message, &length), MPSHM_EBUSY);
    OK(mpshm_queue_give_back(q));
    /* Too short a buffer: the message goes back. */
    SAME(mpshm_queue_pop(q, text, 4, 0, &length), MPSHM_ETOOBIG);
    OK(mpshm_queue_clone(q, &other));
    OK(mpshm_queue_claim(other, 0, &message, &length));
    OK(mpshm_queue_deliveries(other, &n));
    SAME(n, 3);
    OK(mpshm_queue_release(other));
    SAME(mpshm_queue_release(other), MPSHM_ENOTOWNER);
    /* A message may be empty. */
    OK(mpshm_queue_push(other, NULL, 0, 0));
    OK(mpshm_queue_pop(q, text, sizeof text, 0, &length));
    SAME(length, 0);
    /* A closed handle gives back what it had claimed. */
    OK(mpshm_queue_push(q, "kept", 4, 0));
    OK(mpshm_queue_claim(other, 0, &message, &length));
    mpshm_queue_close(other);
    OK(mpshm_queue_pop(q, text, sizeof text, 0, &length));
    SAME(memcmp(text, "kept", 4), 0);
    mpshm_queue_close(q);
}

/* A31, natively a message that is too long: an error, the queue unchanged, the next push and pop work. */
static void refusals(void) {
    mpshm_queue_options_t options;
    mpshm_queue_t *q;
    char text[20] = {0};
    size_t length = 77;
    void *room = NULL;
    int i;
    OK(mpshm_queue_options_init(&options));
    options.capacity = 1;
    options.message_max = 10;
    OK(mpshm_queue_create(NULL, NULL, &options, &q));
    for (i = 0; i < 3; i++) {
        SAME(mpshm_queue_push(q, "0123456789a", 11, i ? 0 : MPSHM_FOREVER), MPSHM_ETOOBIG);
        SAME(mpshm_queue_reserve(q, 11, MPSHM_FOREVER, &room), MPSHM_ETOOBIG);
        TRUE(room == NULL);
        SAME(queue_length(q), 0);
        OK(mpshm_queue_push(q, "0123456789", 10, 0));
        /* Also where it would not fit anyway. */
        SAME(mpshm_queue_push(q, "0123456789a", 11, MPSHM_FOREVER), MPSHM_ETOOBIG);
        SAME(queue_length(q), 1);
        OK(mpshm_queue_pop(q, text, sizeof text, 0, &length));
        SAME(length, 10);
        SAME(strcmp(text, "0123456789"), 0);
    }
    mpshm_queue_close(q);
}

static int observes(void *context) {
    mpshm_queue_t *q = (mpshm_queue_t *)context;
    uint64_t is_empty = queue_length(q) == 0;
    OK(mpshm_queue_push(q, &is_empty, sizeof is_empty, 0));
    is_empty = queue_length(q) == 0;
    OK(mpshm_queue_push(q, &is_empty, sizeof is_empty, 0));
    return 0;
}

static int pushes_2_mb(void *context) {
    static char megabyte[1 << 20];
    int i;
    for (i = 0; i < 2; i++) {
        memset(megabyte, 'a' + i, sizeof megabyte);
        OK(mpshm_queue_push((mpshm_queue_t *)context, megabyte, sizeof megabyte, MPSHM_FOREVER));
    }
    return 0;
}

static int pops_for_ever(void *context) {
    uint64_t n;
    for (;;) OK(mpshm_queue_pop((mpshm_queue_t *)context, &n, sizeof n, MPSHM_FOREVER, NULL));
    return 1;
}

/* A33; B15: a producer ends with 2 MB in the queue and nobody reading; B16: a push ends in time with all consumers dead. */
static void more_processes(void) {
    mpshm_queue_options_t options;
    static char megabyte[1 << 20];
    mpshm_queue_t *q = queue_of(8, 2, 0);
    uint64_t n, i;
    size_t length;
    double begin;
    pid_t consumers[2];
    SAME(reap(child(observes, q)), 0);
    for (i = 0; i < 2; i++) {
        OK(mpshm_queue_pop(q, &n, sizeof n, 0, NULL));
        SAME(n, i == 0);
    }
    SAME(queue_length(q), 0);

    for (i = 0; i < 2; i++) consumers[i] = child(pops_for_ever, q);
    for (i = 0; i < 10; i++) OK(mpshm_queue_push(q, &i, sizeof i, MPSHM_FOREVER));
    UNTIL(queue_length(q) == 0);
    for (i = 0; i < 2; i++) until_asleep(consumers[i]);
    for (i = 0; i < 2; i++) kill_and_reap(consumers[i]);
    for (i = 0; i < 2; i++) OK(mpshm_queue_push(q, &i, sizeof i, MPSHM_FOREVER));
    begin = seconds();
    SAME(mpshm_queue_push(q, &i, sizeof i, 200 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.2 && seconds() - begin < 10);
    for (i = 0; i < 2; i++) {
        OK(mpshm_queue_pop(q, &n, sizeof n, 0, NULL));
        SAME(n, i);
    }
    mpshm_queue_close(q);

    OK(mpshm_queue_options_init(&options));
    options.capacity = 2;
    options.message_max = sizeof megabyte;
    options.leases = 1;
    OK(mpshm_queue_create(NULL, NULL, &options, &q));
    SAME(reap(child(pushes_2_mb, q)), 0);
    for (i = 0; i < 2; i++) {
        OK(mpshm_queue_pop(q, megabyte, sizeof megabyte, 0, &length));
        SAME(length, sizeof megabyte);
        SAME(megabyte[0], 'a' + i);
        SAME(megabyte[sizeof megabyte - 1], 'a' + i);
    }
    mpshm_queue_close(q);
}

int main(void) {
    static const size_t items[] = {0, 1, 8, 9, 64};
    mpshm_queue_options_t options;
    mpshm_queue_t *q, *w;
    uint64_t n, i;
    const char *name = unique("queue");
    for (i = 0; i < sizeof items / sizeof *items; i++) capacity_six(items[i]);
    in_place();
    refusals();
    more_processes();

    OK(mpshm_queue_options_init(&options));
    options.type_code = MPSHM_U64;
    OK(mpshm_queue_create(NULL, NULL, &options, &q));
    SAME(reap(child(pushes_2_to_5, q)), 0);
    for (i = 2; i <= 5; i++) {
        OK(mpshm_queue_pop(q, &n, sizeof n, 0, NULL)); /* B14: a push that returned is visible */
        SAME(n, i);
    }
    for (i = 0; i < 10; i++) OK(mpshm_queue_push(q, &i, sizeof i, 0));
    SAME(reap(child(pushes_10_to_19, q)), 0);
    for (i = 0; i < 20; i++) {
        OK(mpshm_queue_pop(q, &n, sizeof n, 0, NULL));
        SAME(n, i);
    }
    SAME(mpshm_queue_pop(q, &n, sizeof n, 0, NULL), MPSHM_EEMPTY);
    SAME(mpshm_queue_push(q, &n, 4, 0), MPSHM_EINVAL);
    mpshm_queue_close(q);

    OK(mpshm_queue_open_or_create(NULL, name, &options, &q));
    OK(mpshm_queue_open(NULL, name, &options, &w));
    OK(mpshm_queue_push(q, &i, sizeof i, 0));
    OK(mpshm_queue_pop(w, &n, sizeof n, 0, NULL));
    SAME(n, i);
    mpshm_queue_close(w);
    SAME(mpshm_queue_open(NULL, name, NULL, &w), MPSHM_ETYPE);
    options.type_code = MPSHM_I64;
    SAME(mpshm_queue_open(NULL, name, &options, &w), MPSHM_ETYPE);
    OK(mpshm_segment_unlink(name));
    mpshm_queue_close(q);
    return 0;
}
