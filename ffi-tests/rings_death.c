/* B09, B16 for rings: what a producer or consumer that is killed, or stopped, leaves: claims come again, reservations are
 * given up, nothing is lost or torn, nobody waits for the dead; and who is told. */
#include "check.h"

static int dies_with_a_claim(void *context) {
    const void *data;
    size_t count;
    OK(mpshm_ring_claim((mpshm_ring_t *)context, 2, 0, &data, &count));
    SAME(count, 2);
    raise(SIGKILL);
    return 0;
}

static int gives_back_and_dies(void *context) {
    const void *view;
    size_t count;
    OK(mpshm_ring_claim((mpshm_ring_t *)context, 2, 0, &view, &count));
    OK(mpshm_ring_give_back((mpshm_ring_t *)context));
    raise(SIGKILL);
    return 0;
}

static int dies_after_a_part(void *context) {
    const void *data;
    size_t count;
    OK(mpshm_ring_claim((mpshm_ring_t *)context, 2, 0, &data, &count));
    OK(mpshm_ring_release((mpshm_ring_t *)context, 1));
    OK(mpshm_ring_claim((mpshm_ring_t *)context, 1, 0, &data, &count));
    raise(SIGKILL);
    return 0;
}

static int dies_with_a_reservation(void *context) {
    void *data;
    OK(mpshm_ring_reserve((mpshm_ring_t *)context, 4, 0, &data));
    memset(data, 0xee, 32);
    raise(SIGKILL);
    return 0;
}

static int pushes_and_dies(void *context) {
    int64_t n;
    for (n = 1; n <= 2; n++) OK(mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, 0));
    raise(SIGKILL);
    return 0;
}

static int pops_and_dies(void *context) {
    int64_t n;
    OK(mpshm_ring_pop((mpshm_ring_t *)context, &n, sizeof n, 0, NULL));
    raise(SIGKILL);
    return 0;
}

static int stops_with_both(void *context) {
    mpshm_ring_t *r = (mpshm_ring_t *)context;
    const void *view;
    void *room;
    size_t count;
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    OK(mpshm_ring_reserve(r, 2, 0, &room));
    raise(SIGSTOP);
    SAME(*(const int64_t *)view, 1);
    OK(mpshm_ring_release(r, 1));
    ((int64_t *)room)[0] = 3;
    ((int64_t *)room)[1] = 4;
    OK(mpshm_ring_commit(r, 2));
    return 0;
}

static void is_next(mpshm_ring_t *r, int64_t expected) {
    int64_t n = -1;
    OK(mpshm_ring_pop(r, &n, sizeof n, 0, NULL));
    SAME(n, expected);
}

static void in_hand(void) {
    mpshm_ring_t *r = ring_of(8, 4, 0), *other;
    int64_t n;
    const void *view;
    void *room;
    size_t count;
    uint64_t deliveries;
    int i;
    mpshm_queue_counters_t counters;
    for (n = 1; n <= 4; n++) OK(mpshm_ring_push(r, &n, sizeof n, 0));
    /* Twice handed out, twice died with: the third time. */
    for (i = 0; i < 2; i++) SAME(reap(child(dies_with_a_claim, r)), -SIGKILL);
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    SAME(*(const int64_t *)view, 1);
    OK(mpshm_ring_deliveries(r, &deliveries));
    SAME(deliveries, 3);
    counters = ring_counters(r);
    TRUE(counters.redelivered >= 2);
    SAME(counters.dropped, 0);
    TRUE(counters.repairs >= 2);
    OK(mpshm_ring_release(r, 1));
    for (n = 2; n <= 4; n++) is_next(r, n);
    mpshm_ring_close(r);

    /* A part of a claim that came again: the rest, on which the dead one may have worked, is marked still. */
    r = ring_of(8, 4, 0);
    for (n = 1; n <= 4; n++) OK(mpshm_ring_push(r, &n, sizeof n, 0));
    SAME(reap(child(dies_with_a_claim, r)), -SIGKILL);
    OK(mpshm_ring_claim(r, 4, 0, &view, &count));
    SAME(count, 2); /* what comes again comes apart from what is new */
    OK(mpshm_ring_release(r, 1));
    OK(mpshm_ring_claim(r, 4, 0, &view, &count));
    SAME(count, 1);
    SAME(*(const int64_t *)view, 2);
    OK(mpshm_ring_deliveries(r, &deliveries));
    SAME(deliveries, 2); /* what was not released was not worked on */
    OK(mpshm_ring_release(r, 0));
    OK(mpshm_ring_claim(r, 4, 0, &view, &count));
    SAME(count, 1);
    OK(mpshm_ring_deliveries(r, &deliveries));
    SAME(deliveries, 2);
    OK(mpshm_ring_release(r, 1));
    OK(mpshm_ring_claim(r, 4, 0, &view, &count));
    SAME(count, 2);
    OK(mpshm_ring_deliveries(r, &deliveries));
    SAME(deliveries, 1);
    OK(mpshm_ring_release(r, 2));
    mpshm_ring_close(r);

    /* What it had released is gone, what it had not comes again. */
    r = ring_of(8, 4, 0);
    for (n = 1; n <= 4; n++) OK(mpshm_ring_push(r, &n, sizeof n, 0));
    SAME(reap(child(dies_after_a_part, r)), -SIGKILL);
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    SAME(*(const int64_t *)view, 2);
    OK(mpshm_ring_deliveries(r, &deliveries));
    SAME(deliveries, 2);
    OK(mpshm_ring_release(r, 1));
    is_next(r, 3);
    is_next(r, 4);
    mpshm_ring_close(r);

    /* At most once: what was claimed is dropped, and counted. */
    r = ring_of(8, 4, MPSHM_RING_AT_MOST_ONCE);
    for (n = 1; n <= 4; n++) OK(mpshm_ring_push(r, &n, sizeof n, 0));
    SAME(reap(child(dies_with_a_claim, r)), -SIGKILL);
    is_next(r, 3);
    is_next(r, 4);
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_EEMPTY);
    SAME(ring_counters(r).dropped, 2);
    SAME(ring_counters(r).popped, 4); /* the dropped ones, too, were taken out */
    /* Given back on purpose is another matter. */
    OK(mpshm_ring_push(r, &n, sizeof n, 0));
    OK(mpshm_ring_claim(r, 1, 0, &view, &count));
    OK(mpshm_ring_give_back(r));
    is_next(r, n);
    /* It stays when the one who gave it back dies later; so does what a handle was closed with, whoever dies then. */
    for (n = 1; n <= 4; n++) OK(mpshm_ring_push(r, &n, sizeof n, 0));
    OK(mpshm_ring_clone(r, &other));
    mpshm_ring_close(r);
    SAME(reap(child(gives_back_and_dies, other)), -SIGKILL);
    OK(mpshm_ring_clone(other, &r));
    OK(mpshm_ring_claim(r, 4, 0, &view, &count));
    SAME(count, 2);
    SAME(*(const int64_t *)view, 1);
    mpshm_ring_close(r);
    SAME(reap(child(pops_and_dies, other)), -SIGKILL);
    is_next(other, 2);
    is_next(other, 3);
    is_next(other, 4);
    SAME(ring_counters(other).dropped, 2);
    mpshm_ring_close(other);

    /* A reservation is given up; what was committed stays. */
    r = ring_of(8, 4, 0);
    for (i = 0; i < 3; i++) SAME(reap(child(dies_with_a_reservation, r)), -SIGKILL);
    SAME(reap(child(pushes_and_dies, r)), -SIGKILL);
    OK(mpshm_ring_reserve(r, 2, 0, &room));
    ((int64_t *)room)[0] = 3;
    ((int64_t *)room)[1] = 4;
    OK(mpshm_ring_commit(r, 2));
    for (n = 1; n <= 4; n++) is_next(r, n);
    mpshm_ring_close(r);
}

/* Far more deaths than there are participants: nothing leaks. */
static void many_deaths(void) {
    mpshm_segment_t *s;
    mpshm_ring_options_t options;
    mpshm_ring_t *r, *own;
    const void *view;
    size_t count;
    uint64_t bytes, n;
    int i, limit = rounds(200, 4);
    OK(mpshm_ring_options_init(&options));
    options.capacity = 4;
    options.item_size = 8;
    OK(mpshm_ring_size_for(&options, &bytes));
    OK(mpshm_segment_create(NULL, bytes, NULL, &s));
    OK(mpshm_ring_create(s, "ring", &options, &r));
    for (i = 0; i < limit; i++) {
        SAME(reap(child(dies_with_a_reservation, r)), -SIGKILL);
        SAME(reap(child(pushes_and_dies, r)), -SIGKILL);
        SAME(reap(child(pops_and_dies, r)), -SIGKILL);
        SAME(reap(child(pushes_and_dies, r)), -SIGKILL);
        SAME(reap(child(dies_with_a_claim, r)), -SIGKILL);
        OK(mpshm_ring_clone(r, &own));
        OK(mpshm_ring_claim(own, 2, 0, &view, &count));
        SAME(count, 2);
        SAME(((const int64_t *)view)[0], 2);
        SAME(((const int64_t *)view)[1], 1);
        OK(mpshm_ring_release(own, 2));
        is_next(own, 2);
        SAME(ring_length(own), 0);
        mpshm_ring_close(own);
    }
    OK(mpshm_segment_participants(s, &n));
    SAME(n, 1);
    mpshm_ring_close(r);
    mpshm_segment_close(s);
}

static void stopped(void) {
    mpshm_ring_t *r = ring_of(8, 4, 0);
    int64_t n;
    int status;
    double begin;
    pid_t pid;
    SAME(reap(child(pushes_and_dies, r)), -SIGKILL);
    pid = child(stops_with_both, r);
    SAME(waitpid(pid, &status, WUNTRACED), pid);
    TRUE(WIFSTOPPED(status));
    /* Both ends are its own; who wants them is told at once, and nobody waits for it. */
    begin = seconds();
    SAME(mpshm_ring_pop(r, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_EBUSY);
    SAME(mpshm_ring_push(r, &n, sizeof n, MPSHM_FOREVER), MPSHM_EBUSY);
    TRUE(seconds() - begin < 5);
    SAME(kill(pid, SIGCONT), 0);
    SAME(reap(pid), 0);
    for (n = 2; n <= 4; n++) is_next(r, n);
    mpshm_ring_close(r);
}

static int pushes_for_ever(void *context) {
    int64_t n = 1;
    while (mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER) == 0) {}
    return 1;
}

static int pops_for_ever(void *context) {
    int64_t n = 1;
    while (mpshm_ring_pop((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER, NULL) == 0) {}
    return 1;
}

static int learns_of_the_producers_death(void *context) {
    int64_t n;
    OK(mpshm_ring_pop((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER, NULL));
    SAME(mpshm_ring_pop((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_EPEERDEAD);
    return 0;
}

static int learns_of_the_consumers_death(void *context) {
    int64_t n = 1;
    int code;
    do code = mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER);
    while (code == 0);
    SAME(code, MPSHM_EPEERDEAD);
    return 0;
}

static int pushes_one_and_pauses(void *context) {
    int64_t n = 1;
    OK(mpshm_ring_push((mpshm_ring_t *)context, &n, sizeof n, 0));
    pause();
    return 1;
}

static int pops_one_and_pauses(void *context) {
    int64_t n;
    OK(mpshm_ring_pop((mpshm_ring_t *)context, &n, sizeof n, MPSHM_FOREVER, NULL));
    pause();
    return 1;
}

static int dies_without_taking_part(void *context) {
    SAME(ring_length((mpshm_ring_t *)context), 0);
    raise(SIGKILL);
    return 0;
}

/* B16: a full ring and a dead consumer, an empty one and a dead producer: time-outs hold; told only who asked for it. */
static void who_is_told(void) {
    mpshm_ring_t *r = ring_of(8, 2, 0), *next;
    int64_t n = 1;
    double begin;
    pid_t pid, other;
    const void *view;
    void *room;
    size_t count;
    /* Not followed: the end may be taken over, so that waiting is right. */
    pid = child(pops_for_ever, r);
    until_asleep(pid);
    kill_and_reap(pid);
    for (n = 1; n <= 2; n++) OK(mpshm_ring_push(r, &n, sizeof n, MPSHM_FOREVER));
    begin = seconds();
    SAME(mpshm_ring_push(r, &n, sizeof n, 300 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.3 && seconds() - begin < 10);
    is_next(r, 1);
    is_next(r, 2);
    mpshm_ring_close(r);
    r = ring_of(8, 2, 0);
    pid = child(pushes_for_ever, r);
    UNTIL(ring_length(r) == 2);
    kill_and_reap(pid);
    is_next(r, 1);
    is_next(r, 1);
    SAME(mpshm_ring_pop(r, &n, sizeof n, 300 * MS, NULL), MPSHM_ETIMEDOUT);
    mpshm_ring_close(r);

    /* Followed: drained, then told; whoever sleeps is woken; also who comes later. */
    r = ring_of(8, 2, MPSHM_RING_FOLLOW_ENDS);
    pid = child(pushes_for_ever, r);
    UNTIL(ring_length(r) == 2);
    kill_and_reap(pid);
    is_next(r, 1);
    OK(mpshm_ring_claim(r, 5, MPSHM_FOREVER, &view, &count));
    SAME(count, 1);
    OK(mpshm_ring_release(r, 1));
    SAME(mpshm_ring_pop(r, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_EPEERDEAD);
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_EPEERDEAD);
    SAME(mpshm_ring_pop_many(r, &n, sizeof n, 1, MPSHM_FOREVER, NULL, &count), MPSHM_EPEERDEAD);
    SAME(mpshm_ring_claim(r, 1, MPSHM_FOREVER, &view, &count), MPSHM_EPEERDEAD);
    /* Until somebody takes its place; when that ends, so does the stream. */
    OK(mpshm_ring_clone(r, &next));
    n = 9;
    OK(mpshm_ring_push(next, &n, sizeof n, 0));
    is_next(r, 9);
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_EEMPTY);
    mpshm_ring_close(next);
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_ECLOSED);
    mpshm_ring_close(r);

    r = ring_of(8, 2, MPSHM_RING_FOLLOW_ENDS);
    pid = child(pops_for_ever, r);
    n = 1;
    OK(mpshm_ring_push(r, &n, sizeof n, 0));
    UNTIL(ring_length(r) == 0);
    until_asleep(pid);
    kill_and_reap(pid);
    for (n = 1; n <= 2; n++) OK(mpshm_ring_push(r, &n, sizeof n, MPSHM_FOREVER));
    SAME(mpshm_ring_push(r, &n, sizeof n, MPSHM_FOREVER), MPSHM_EPEERDEAD);
    SAME(mpshm_ring_push_many(r, &n, NULL, 1, MPSHM_FOREVER, &count), MPSHM_EPEERDEAD);
    SAME(mpshm_ring_reserve(r, 1, MPSHM_FOREVER, &room), MPSHM_EPEERDEAD);
    mpshm_ring_close(r);

    /* Asleep when it happens. */
    r = ring_of(8, 2, MPSHM_RING_FOLLOW_ENDS);
    pid = child(pushes_one_and_pauses, r);
    other = child(learns_of_the_producers_death, r);
    UNTIL(ring_length(r) == 0 && ring_counters(r).popped == 1);
    until_asleep(other);
    kill_and_reap(pid);
    SAME(reap(other), 0);
    mpshm_ring_close(r);

    r = ring_of(8, 2, MPSHM_RING_FOLLOW_ENDS);
    pid = child(pops_one_and_pauses, r);
    other = child(learns_of_the_consumers_death, r);
    UNTIL(ring_length(r) == 2 && ring_counters(r).pushed == 3);
    until_asleep(other);
    kill_and_reap(pid);
    SAME(reap(other), 0);
    mpshm_ring_close(r);

    /* Over when it had taken part, and only then. */
    r = ring_of(8, 2, MPSHM_RING_FOLLOW_ENDS);
    pid = child(dies_without_taking_part, r);
    SAME(reap(pid), -SIGKILL);
    n = 7;
    OK(mpshm_ring_push(r, &n, sizeof n, 0));
    is_next(r, 7);
    SAME(mpshm_ring_pop(r, &n, sizeof n, 0, NULL), MPSHM_EEMPTY);
    mpshm_ring_close(r);
}

int main(void) {
    in_hand();
    stopped();
    who_is_told();
    many_deaths();
    return 0;
}
