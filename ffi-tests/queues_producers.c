/* Queues that end with their producers: closed, killed, cloned, forked. */
#include "check.h"

static mpshm_queue_t *followed(uint32_t producers) {
    mpshm_queue_options_t options;
    mpshm_queue_t *q;
    OK(mpshm_queue_options_init(&options));
    options.item_size = 8;
    options.capacity = 8;
    options.producers = producers;
    OK(mpshm_queue_create(NULL, NULL, &options, &q));
    return q;
}

static void push(mpshm_queue_t *q, int64_t n) { OK(mpshm_queue_push(q, &n, sizeof n, 0)); }

static void is_next(mpshm_queue_t *q, int64_t expected) {
    int64_t n = -1;
    OK(mpshm_queue_pop(q, &n, sizeof n, MPSHM_FOREVER, NULL));
    SAME(n, expected);
}

static void ends(mpshm_queue_t *q, int code) {
    int64_t n;
    size_t many;
    SAME(mpshm_queue_pop(q, &n, sizeof n, MPSHM_FOREVER, NULL), code);
    SAME(mpshm_queue_pop(q, &n, sizeof n, 0, NULL), code);
    SAME(mpshm_queue_pop_many(q, &n, sizeof n, 1, MPSHM_FOREVER, NULL, &many), code);
}

static bool is_shut_down(const mpshm_queue_t *q) {
    bool is = false;
    OK(mpshm_queue_is_shut_down(q, &is));
    return is;
}

static void closed(void) {
    mpshm_queue_t *q = followed(2), *one, *two, *three;
    int64_t n;
    OK(mpshm_queue_producer(q, &one));
    push(one, 1);
    mpshm_queue_close(one);
    /* Two are to come before the last one's end counts. */
    SAME(is_shut_down(q), 0);
    OK(mpshm_queue_producer(q, &one));
    OK(mpshm_queue_producer(q, &two));
    OK(mpshm_queue_clone(two, &three));
    push(two, 2);
    mpshm_queue_close(one);
    mpshm_queue_close(two);
    SAME(is_shut_down(q), 0);
    push(three, 3);
    mpshm_queue_close(three);
    SAME(is_shut_down(q), 1);
    SAME(mpshm_queue_push(q, &n, sizeof n, 0), MPSHM_ECLOSED);
    SAME(mpshm_queue_producer(q, &one), MPSHM_ECLOSED);
    for (n = 1; n <= 3; n++) is_next(q, n);
    ends(q, MPSHM_ECLOSED);
    mpshm_queue_close(q);

    /* The closing of a handle that is no producer ends nothing. */
    q = followed(1);
    OK(mpshm_queue_producer(q, &one));
    OK(mpshm_queue_clone(q, &two));
    mpshm_queue_close(two);
    SAME(is_shut_down(q), 0);
    mpshm_queue_close(one);
    ends(q, MPSHM_ECLOSED);
    mpshm_queue_close(q);

    /* Without the option nothing is followed. */
    q = followed(0);
    OK(mpshm_queue_producer(q, &one));
    push(one, 1);
    mpshm_queue_close(one);
    SAME(is_shut_down(q), 0);
    is_next(q, 1);
    mpshm_queue_close(q);
}

static int produces_and_closes(void *context) {
    mpshm_queue_t *producer;
    OK(mpshm_queue_producer((mpshm_queue_t *)context, &producer));
    push(producer, 1);
    mpshm_queue_close(producer);
    return 0;
}

static int produces_and_ends(void *context) {
    mpshm_queue_t *producer;
    OK(mpshm_queue_producer((mpshm_queue_t *)context, &producer));
    kept[1] = producer;
    push(producer, 1);
    return 0;
}

static int produces_and_dies(void *context) {
    produces_and_ends(context);
    raise(SIGKILL);
    return 0;
}

static int produces_and_pauses(void *context) {
    produces_and_ends(context);
    pause();
    return 1;
}

static int pops_to_the_end(void *context) {
    int64_t n;
    is_next((mpshm_queue_t *)context, 1);
    SAME(mpshm_queue_pop((mpshm_queue_t *)context, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_EPEERDEAD);
    return 0;
}

static void died(void) {
    mpshm_queue_t *q = followed(1), *one;
    pid_t pid, other;
    int64_t n;
    SAME(reap(child(produces_and_closes, q)), 0);
    is_next(q, 1);
    ends(q, MPSHM_ECLOSED);
    mpshm_queue_close(q);

    q = followed(1);
    SAME(reap(child(produces_and_dies, q)), -SIGKILL);
    is_next(q, 1);
    ends(q, MPSHM_EPEERDEAD);
    mpshm_queue_close(q);

    /* An exit without a close is the end of a process, too. */
    q = followed(1);
    SAME(reap(child(produces_and_ends, q)), 0);
    is_next(q, 1);
    ends(q, MPSHM_EPEERDEAD);
    mpshm_queue_close(q);

    /* What the last one did counts. */
    q = followed(2);
    OK(mpshm_queue_producer(q, &one));
    SAME(reap(child(produces_and_dies, q)), -SIGKILL);
    is_next(q, 1);
    push(one, 2);
    is_next(q, 2);
    /* Its death is learned of by those who find nothing. */
    UNTIL(mpshm_queue_pop(q, &n, sizeof n, 0, NULL) == MPSHM_EEMPTY && queue_counters(q).repairs == 1);
    mpshm_queue_close(one);
    ends(q, MPSHM_ECLOSED);
    mpshm_queue_close(q);

    q = followed(2);
    OK(mpshm_queue_producer(q, &one));
    pid = child(produces_and_pauses, q);
    is_next(q, 1);
    mpshm_queue_close(one);
    SAME(is_shut_down(q), 0);
    kill_and_reap(pid);
    ends(q, MPSHM_EPEERDEAD);
    mpshm_queue_close(q);

    /* Who sleeps is told. */
    q = followed(1);
    other = child(pops_to_the_end, q);
    pid = child(produces_and_pauses, q);
    UNTIL(queue_counters(q).popped == 1);
    until_asleep(other);
    kill_and_reap(pid);
    SAME(reap(other), 0);
    mpshm_queue_close(q);
}

static int pushes_through_the_parents(void *context) {
    push((mpshm_queue_t *)context, 1);
    mpshm_queue_close((mpshm_queue_t *)context);
    return 0;
}

static int pushes_and_pauses(void *context) {
    push((mpshm_queue_t *)context, 1);
    pause();
    return 1;
}

static int closes_without_a_push(void *context) {
    mpshm_queue_close((mpshm_queue_t *)context);
    return 0;
}

/* A child's copy counts in the child, from its first push on. */
static void forked(void) {
    mpshm_queue_t *q = followed(1), *producer;
    pid_t pid;
    OK(mpshm_queue_producer(q, &producer));
    SAME(reap(child(closes_without_a_push, producer)), 0);
    SAME(is_shut_down(q), 0);
    SAME(reap(child(pushes_through_the_parents, producer)), 0);
    is_next(q, 1);
    SAME(is_shut_down(q), 0);
    pid = child(pushes_and_pauses, producer);
    is_next(q, 1);
    mpshm_queue_close(producer);
    SAME(is_shut_down(q), 0);
    kill_and_reap(pid);
    ends(q, MPSHM_EPEERDEAD);
    mpshm_queue_close(q);
}

int main(void) {
    closed();
    died();
    forked();
    return 0;
}
