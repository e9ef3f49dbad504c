/* A49-A56, B11: passing, breaking, resetting, actions, time-outs, a party that dies, misuse. */
#include "check.h"
#include <pthread.h>

static mpshm_barrier_t *barrier;

static int passes(void *context) {
    uint32_t index = 99;
    (void)context;
    OK(mpshm_barrier_wait(barrier, 10000 * MS, &index));
    return (int)index;
}

static int finds_it_broken(void *context) {
    uint32_t index = 99;
    (void)context;
    SAME(mpshm_barrier_wait(barrier, 10000 * MS, &index), MPSHM_EBROKEN);
    SAME(index, 99);
    return 0;
}

static int gives_up(void *context) {
    double begin = seconds();
    (void)context;
    SAME(mpshm_barrier_wait_default(barrier, NULL), MPSHM_EBROKEN);
    TRUE(seconds() - begin >= 0.2);
    return 0;
}

static void counts(void *context) { ++*(int *)context; }

static void hangs(void *context) {
    (void)context;
    for (;;) pause();
}

static int hangs_in_its_action(void *context) {
    return mpshm_barrier_wait_with(barrier, MPSHM_FOREVER, hangs, context, NULL);
}

static uint32_t waiting(void) {
    uint32_t count = 99;
    OK(mpshm_barrier_waiting(barrier, &count));
    return count;
}

static bool is_broken(void) {
    bool broken = false;
    OK(mpshm_barrier_is_broken(barrier, &broken));
    return broken;
}

static void *passes_in_a_thread(void *context) {
    passes(context);
    return NULL;
}

int main(void) {
    pid_t pids[4];
    pthread_t thread;
    uint32_t index, parties = 0;
    int i, runs = 0, seen = 0;
    double begin;
    mpshm_barrier_t *other = NULL;
    mpshm_mutex_t *mutex = NULL;
    const char *name;

    /* Five pass; each place is taken once. */
    OK(mpshm_barrier_create(NULL, NULL, 5, MPSHM_FOREVER, &barrier));
    OK(mpshm_barrier_parties(barrier, &parties));
    SAME(parties, 5);
    for (i = 0; i < 4; i++) pids[i] = child(passes, NULL);
    UNTIL(waiting() == 4);
    OK(mpshm_barrier_wait_with(barrier, MPSHM_FOREVER, counts, &runs, &index));
    SAME(index, 4);
    SAME(runs, 1);
    for (i = 0; i < 4; i++) seen |= 1 << reap(pids[i]);
    SAME(seen, 15);
    SAME(waiting(), 0);

    /* Broken, for all, until a reset. */
    for (i = 0; i < 4; i++) pids[i] = child(finds_it_broken, NULL);
    UNTIL(waiting() == 4);
    OK(mpshm_barrier_abort(barrier));
    for (i = 0; i < 4; i++) SAME(reap(pids[i]), 0);
    TRUE(is_broken());
    SAME(mpshm_barrier_wait(barrier, MPSHM_FOREVER, &index), MPSHM_EBROKEN);
    OK(mpshm_barrier_reset(barrier));
    TRUE(!is_broken());
    for (i = 0; i < 4; i++) pids[i] = child(finds_it_broken, NULL);
    UNTIL(waiting() == 4);
    OK(mpshm_barrier_reset(barrier));
    for (i = 0; i < 4; i++) SAME(reap(pids[i]), 0);
    TRUE(!is_broken());
    mpshm_barrier_close(barrier);

    /* Time-outs break it: the one it was made with, and at once. */
    OK(mpshm_barrier_create(NULL, NULL, 2, 200 * MS, &barrier));
    SAME(reap(child(gives_up, NULL)), 0);
    OK(mpshm_barrier_reset(barrier));
    SAME(mpshm_barrier_wait(barrier, 0, NULL), MPSHM_EBROKEN);
    OK(mpshm_barrier_reset(barrier));

    /* One that is killed while it waits, or in its action. */
    pids[0] = child(passes, NULL);
    UNTIL(waiting() == 1);
    kill_and_reap(pids[0]);
    OK(mpshm_barrier_reset(barrier));
    pids[0] = child(finds_it_broken, NULL);
    UNTIL(waiting() == 1);
    pids[1] = child(hangs_in_its_action, NULL);
    UNTIL(waiting() == 2);
    begin = seconds();
    kill_and_reap(pids[1]);
    SAME(reap(pids[0]), 0);
    TRUE(seconds() - begin < 1);
    OK(mpshm_barrier_reset(barrier));

    /* Threads are parties too. */
    SAME(pthread_create(&thread, NULL, passes_in_a_thread, NULL), 0);
    OK(mpshm_barrier_wait(barrier, MPSHM_FOREVER, NULL));
    SAME(pthread_join(thread, NULL), 0);
    mpshm_barrier_close(barrier);
    mpshm_barrier_close(NULL);

    /* What is refused. */
    SAME(mpshm_barrier_create(NULL, NULL, 0, MPSHM_FOREVER, &barrier), MPSHM_EINVAL);
    SAME(mpshm_barrier_create(NULL, NULL, 4097, MPSHM_FOREVER, &barrier), MPSHM_EINVAL);
    SAME(mpshm_barrier_create(NULL, NULL, 2, -2, &barrier), MPSHM_EINVAL);
    SAME(mpshm_barrier_create(NULL, NULL, 2, MPSHM_FOREVER, NULL), MPSHM_EINVAL);
    SAME(mpshm_barrier_wait(NULL, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_barrier_abort(NULL), MPSHM_EINVAL);
    SAME(mpshm_barrier_reset(NULL), MPSHM_EINVAL);
    name = unique("barrier");
    SAME(mpshm_barrier_open(NULL, name, &barrier), MPSHM_ENOTFOUND);
    OK(mpshm_barrier_open_or_create(NULL, name, 1, MPSHM_FOREVER, &barrier));
    OK(mpshm_barrier_open_or_create(NULL, name, 7, MPSHM_FOREVER, &other));
    OK(mpshm_barrier_parties(other, &parties));
    SAME(parties, 1);
    SAME(mpshm_barrier_parties(other, NULL), MPSHM_EINVAL);
    SAME(mpshm_barrier_waiting(other, NULL), MPSHM_EINVAL);
    SAME(mpshm_barrier_is_broken(NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_barrier_wait(other, -7, NULL), MPSHM_EINVAL);
    OK(mpshm_barrier_wait(other, 0, &index));
    SAME(index, 0);
    SAME(mpshm_mutex_open(NULL, name, MPSHM_U32, 0, 0, &mutex), MPSHM_ETYPE);
    mpshm_barrier_close(other);
    mpshm_barrier_close(barrier);
    OK(mpshm_segment_unlink(name));
    return 0;
}
