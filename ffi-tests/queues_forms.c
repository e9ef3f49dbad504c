/* Queues: every form of push and pop, in every form of queue; lengths on the way up and down; and what one process has
 * done is there for the other as soon as the call has returned. */
#include "check.h"

static size_t sizes[] = {0, 8, 24};

/* What number n looks like: the first byte tells. */
static const unsigned char *of(int64_t n) {
    static unsigned char bytes[64];
    memset(bytes, (int)n, sizeof bytes);
    return bytes;
}

static size_t size_of(size_t item_size) { return item_size ? item_size : 40; }

static void push(mpshm_queue_t *q, size_t item_size, int64_t n) {
    OK(mpshm_queue_push(q, of(n), size_of(item_size), 0));
}

static void pops(mpshm_queue_t *q, int64_t timeout, int64_t n) {
    unsigned char out[64];
    OK(mpshm_queue_pop(q, out, sizeof out, timeout, NULL));
    SAME(out[0], n);
}

struct six {
    mpshm_queue_t *q;
    int pops;
};

static int takes_six(void *context) {
    struct six *six = (struct six *)context;
    int n;
    for (n = 1; n <= 6; n++) pops(six->q, MPSHM_FOREVER, n);
    return 0;
}

/* Six pushes of mixed forms fill a queue of six, and another process takes them. What does not fit changes nothing. */
static void six(size_t item_size) {
    mpshm_queue_t *q = queue_of(item_size, 6, 0);
    size_t size = size_of(item_size), done = 0;
    unsigned char two[128];
    size_t lengths[2];
    struct six context;
    void *room;
    double begin;
    int code;
    OK(mpshm_queue_push(q, of(1), size, MPSHM_FOREVER));
    OK(mpshm_queue_push(q, of(2), size, 0));
    OK(mpshm_queue_push(q, of(3), size, 1000 * MS));
    memset(two, 4, size);
    memset(two + size, 5, size);
    lengths[0] = lengths[1] = size;
    OK(mpshm_queue_push_many(q, two, item_size ? NULL : lengths, 2, 0, &done));
    SAME(done, 2);
    code = mpshm_queue_reserve(q, size, 0, &room);
    if (code == 0) {
        memset(room, 6, size);
        OK(mpshm_queue_commit(q, size));
    } else {
        SAME(code, MPSHM_EINVAL); /* items in slots are not written in place */
        SAME(item_size, 8);
        push(q, item_size, 6);
    }
    SAME(queue_length(q), 6);
    begin = seconds();
    SAME(mpshm_queue_push(q, of(7), size, 0), MPSHM_EFULL);
    TRUE(seconds() - begin < 1);
    SAME(mpshm_queue_push(q, of(7), size, 20 * MS), MPSHM_ETIMEDOUT);
    SAME(queue_length(q), 6);
    context.q = q;
    SAME(reap(child(takes_six, &context)), 0);
    SAME(queue_length(q), 0);
    SAME(mpshm_queue_pop(q, two, sizeof two, 0, NULL), MPSHM_EEMPTY);
    push(q, item_size, 8);
    pops(q, 0, 8);
    mpshm_queue_close(q);
}

static int pushes_2_to_5(void *context) {
    struct six *it = (struct six *)context;
    int n;
    for (n = 2; n <= 5; n++) push(it->q, sizes[it->pops], n);
    return 0;
}

/* What a child pushed comes by four forms of pop; what is there is counted. */
static void four(size_t which) {
    size_t item_size = sizes[which], length, done = 0;
    mpshm_queue_t *q = queue_of(item_size, 5, 0);
    unsigned char out[64];
    const void *view;
    struct six context;
    int code;
    context.q = q;
    context.pops = (int)which;
    SAME(reap(child(pushes_2_to_5, &context)), 0);
    SAME(queue_length(q), 4);
    pops(q, MPSHM_FOREVER, 2);
    SAME(queue_length(q), 3);
    pops(q, 1000 * MS, 3);
    SAME(queue_length(q), 2);
    OK(mpshm_queue_pop_many(q, out, sizeof out, 1, 0, NULL, &done));
    SAME(done, 1);
    SAME(out[0], 4);
    SAME(queue_length(q), 1);
    code = mpshm_queue_claim(q, 0, &view, &length);
    if (code == 0) {
        SAME(length, size_of(item_size));
        SAME(*(const unsigned char *)view, 5);
        OK(mpshm_queue_release(q));
    } else {
        SAME(code, MPSHM_EINVAL);
        SAME(item_size, 8);
        pops(q, 0, 5);
    }
    SAME(queue_length(q), 0);
    push(q, item_size, 1);
    SAME(queue_length(q), 1);
    push(q, item_size, 2);
    SAME(queue_length(q), 2);
    pops(q, 0, 1);
    SAME(queue_length(q), 1);
    pops(q, 0, 2);
    SAME(queue_length(q), 0);
    mpshm_queue_close(q);
}

static mpshm_queue_t *shared;
static mpshm_value_t *turn;

static void at(int64_t n) {
    int64_t now = -1;
    while (now < n) {
        OK(mpshm_value_i64_load(turn, &now));
        if (now < n) nap(1000);
    }
}

static int takes_two_by_two(void *context) {
    int64_t n, limit = rounds(1000, 50);
    unsigned char out[64];
    (void)context;
    for (n = 0; n < limit; n++) {
        at(2 * n + 1);
        SAME(queue_length(shared), 2);
        pops(shared, 0, n % 100);
        pops(shared, 0, n % 100 + 1);
        SAME(mpshm_queue_pop(shared, out, sizeof out, 0, NULL), MPSHM_EEMPTY);
        OK(mpshm_value_i64_fetch_add(turn, 1, NULL));
    }
    return 0;
}

/* In turn: what the one pushed the other has at once, and there is room at once when it has. */
static void in_turn(size_t item_size) {
    int64_t n = 0, limit = rounds(1000, 50);
    pid_t pid;
    OK(mpshm_value_create(NULL, NULL, MPSHM_I64, &n, &turn));
    shared = queue_of(item_size, 2, 0);
    pid = child(takes_two_by_two, shared);
    for (n = 0; n < limit; n++) {
        SAME(queue_length(shared), 0);
        push(shared, item_size, n % 100);
        push(shared, item_size, n % 100 + 1);
        SAME(mpshm_queue_push(shared, of(9), size_of(item_size), 0), MPSHM_EFULL);
        OK(mpshm_value_i64_fetch_add(turn, 1, NULL));
        at(2 * n + 2);
    }
    SAME(reap(pid), 0);
    mpshm_queue_close(shared);
    mpshm_value_close(turn);
}

int main(void) {
    size_t i;
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        six(sizes[i]);
        four(i);
        in_turn(sizes[i]);
    }
    return 0;
}
