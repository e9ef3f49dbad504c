/* What consumers and producers that are killed, or stopped, leave in a queue. */
#include "check.h"

static int dies_with_a_claim(void *context) {
    const void *data;
    size_t length;
    OK(mpshm_queue_claim((mpshm_queue_t *)context, 0, &data, &length));
    raise(SIGKILL);
    return 0;
}

static int dies_with_a_reservation(void *context) {
    void *data;
    OK(mpshm_queue_reserve((mpshm_queue_t *)context, 10, 0, &data));
    raise(SIGKILL);
    return 0;
}

static int stops_with_both(void *context) {
    const void *message;
    void *data;
    size_t length;
    OK(mpshm_queue_claim((mpshm_queue_t *)context, 0, &message, &length));
    OK(mpshm_queue_reserve((mpshm_queue_t *)context, 10, 0, &data));
    raise(SIGSTOP);
    OK(mpshm_queue_release((mpshm_queue_t *)context));
    memcpy(data, "late", 4);
    OK(mpshm_queue_commit((mpshm_queue_t *)context, 4));
    return 0;
}

static int uses_the_parents_claim(void *context) {
    mpshm_queue_t *q = (mpshm_queue_t *)context;
    const void *data;
    size_t length;
    uint64_t n;
    SAME(mpshm_queue_release(q), MPSHM_EFORKED);
    SAME(mpshm_queue_give_back(q), MPSHM_EFORKED);
    SAME(mpshm_queue_deliveries(q, &n), MPSHM_EFORKED);
    SAME(mpshm_queue_commit(q, 3), MPSHM_EFORKED);
    SAME(mpshm_queue_abort(q), MPSHM_EFORKED);
    /* Its own is another matter. */
    OK(mpshm_queue_claim(q, 0, &data, &length));
    SAME(memcmp(data, "second", 6), 0);
    OK(mpshm_queue_release(q));
    return 0;
}

int main(void) {
    mpshm_queue_options_t options;
    mpshm_queue_t *q;
    const void *data;
    void *room;
    char text[100];
    size_t length;
    uint64_t n;
    int i, status;
    pid_t pid;
    double begin;
    OK(mpshm_queue_options_init(&options));
    options.capacity = 4;
    options.message_max = 100;
    options.leases = 2;
    OK(mpshm_queue_create(NULL, NULL, &options, &q));

    OK(mpshm_queue_push(q, "first", 5, 0));
    SAME(reap(child(dies_with_a_claim, q)), -SIGKILL);
    begin = seconds();
    OK(mpshm_queue_claim(q, 2000 * MS, &data, &length));
    TRUE(seconds() - begin < 0.2);
    SAME(length, 5);
    SAME(memcmp(data, "first", 5), 0);
    OK(mpshm_queue_deliveries(q, &n));
    SAME(n, 2);
    OK(mpshm_queue_release(q));

    /* Far more deaths than there are spare blocks or participants: nothing leaks. */
    for (i = 0; i < rounds(600, 100); i++) SAME(reap(child(dies_with_a_reservation, q)), -SIGKILL);
    for (i = 0; i < 4; i++) OK(mpshm_queue_push(q, "x", 1, 100 * MS));
    SAME(mpshm_queue_push(q, "x", 1, 0), MPSHM_EFULL);
    for (i = 0; i < 4; i++) OK(mpshm_queue_pop(q, text, sizeof text, 0, NULL));

    /* A stopped one keeps what it holds, and nobody from anything else. */
    OK(mpshm_queue_push(q, "taken", 5, 0));
    pid = child(stops_with_both, q);
    SAME(waitpid(pid, &status, WUNTRACED), pid);
    TRUE(WIFSTOPPED(status));
    for (i = 0; i < 4; i++) OK(mpshm_queue_push(q, "x", 1, 0));
    SAME(mpshm_queue_push(q, "x", 1, 0), MPSHM_EFULL);
    for (i = 0; i < 4; i++) OK(mpshm_queue_pop(q, text, sizeof text, 0, NULL));
    SAME(mpshm_queue_pop(q, text, sizeof text, 100 * MS, NULL), MPSHM_ETIMEDOUT);
    SAME(kill(pid, SIGCONT), 0);
    SAME(reap(pid), 0);
    OK(mpshm_queue_pop(q, text, sizeof text, 0, &length));
    SAME(length, 4);
    SAME(memcmp(text, "late", 4), 0);

    /* B31: a claim, and a reservation, stay with the process that made them. */
    OK(mpshm_queue_push(q, "first", 5, 0));
    OK(mpshm_queue_push(q, "second", 6, 0));
    OK(mpshm_queue_claim(q, 0, &data, &length));
    OK(mpshm_queue_reserve(q, 3, 0, &room));
    SAME(reap(child(uses_the_parents_claim, q)), 0);
    SAME(memcmp(data, "first", 5), 0);
    OK(mpshm_queue_release(q));
    OK(mpshm_queue_length(q, &n));
    SAME(n, 0);
    memcpy(room, "own", 3);
    OK(mpshm_queue_commit(q, 3));
    OK(mpshm_queue_pop(q, text, sizeof text, 0, &length));
    SAME(memcmp(text, "own", 3), 0);
    mpshm_queue_close(q);
    return 0;
}
