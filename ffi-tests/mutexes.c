/* A34, B08: locking, an owner that dies, a lock that is lost, who may unlock, time-outs. */
#include "check.h"

static int dies_with_it(void *context) {
    OK(mpshm_mutex_lock((mpshm_mutex_t *)context, MPSHM_FOREVER));
    raise(SIGKILL);
    return 0;
}

static int cannot_unlock(void *context) {
    SAME(mpshm_mutex_unlock((mpshm_mutex_t *)context), MPSHM_ENOTOWNER);
    SAME(mpshm_mutex_lock((mpshm_mutex_t *)context, 0), MPSHM_EBUSY);
    return 0;
}

static int holds_it_a_while(void *context) {
    OK(mpshm_mutex_lock((mpshm_mutex_t *)context, MPSHM_FOREVER));
    nap(300 * MS);
    OK(mpshm_mutex_unlock((mpshm_mutex_t *)context));
    return 0;
}

static int waits_and_then_dies_holding(void *context) {
    OK(mpshm_mutex_lock((mpshm_mutex_t *)context, MPSHM_FOREVER));
    nap(200 * MS);
    raise(SIGKILL);
    return 0;
}

int main(void) {
    mpshm_mutex_t *m;
    void *data;
    size_t size;
    double begin;
    pid_t pid;
    OK(mpshm_mutex_create(NULL, NULL, MPSHM_BYTES, 24, 8, &m));
    OK(mpshm_mutex_data(m, &data, &size));
    SAME(size, 24);
    SAME((uintptr_t)data % 8, 0);
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    memset(data, 7, 24);
    SAME(mpshm_mutex_lock(m, MPSHM_FOREVER), MPSHM_EDEADLOCK);
    SAME(mpshm_mutex_lock(m, 0), MPSHM_EDEADLOCK);
    SAME(reap(child(cannot_unlock, m)), 0);
    OK(mpshm_mutex_unlock(m));
    SAME(mpshm_mutex_unlock(m), MPSHM_ENOTOWNER);
    SAME(mpshm_mutex_mark_consistent(m), MPSHM_ENOTOWNER);

    /* Time-outs: at once, and not before their time. */
    pid = child(holds_it_a_while, m);
    while (mpshm_mutex_lock(m, 0) == 0) OK(mpshm_mutex_unlock(m));
    begin = seconds();
    SAME(mpshm_mutex_lock(m, 50 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    OK(mpshm_mutex_unlock(m));
    SAME(reap(pid), 0);
    SAME(mpshm_mutex_lock(m, -2), MPSHM_EINVAL);
    OK(mpshm_mutex_lock(m, INT64_MAX));
    OK(mpshm_mutex_unlock(m));

    /* The owner dies: the next one is told at once, with the lock held. */
    SAME(reap(child(dies_with_it, m)), -SIGKILL);
    begin = seconds();
    SAME(mpshm_mutex_lock(m, MPSHM_FOREVER), MPSHM_EOWNERDEAD);
    TRUE(seconds() - begin < 0.01);
    OK(mpshm_mutex_mark_consistent(m));
    OK(mpshm_mutex_unlock(m));
    OK(mpshm_mutex_lock(m, 0));
    OK(mpshm_mutex_unlock(m));

    /* Who waits is told too. */
    pid = child(waits_and_then_dies_holding, m);
    while (mpshm_mutex_lock(m, 0) == 0) OK(mpshm_mutex_unlock(m));
    SAME(mpshm_mutex_lock(m, 2000 * MS), MPSHM_EOWNERDEAD);
    SAME(reap(pid), -SIGKILL);

    /* Not marked as consistent: lost for everybody. */
    OK(mpshm_mutex_unlock(m));
    SAME(mpshm_mutex_lock(m, MPSHM_FOREVER), MPSHM_ENOTRECOVERABLE);
    SAME(mpshm_mutex_lock(m, 0), MPSHM_ENOTRECOVERABLE);
    mpshm_mutex_close(m);

    SAME(mpshm_mutex_create(NULL, NULL, MPSHM_BYTES, 24, 7, &m), MPSHM_EINVAL);
    SAME(mpshm_mutex_create(NULL, NULL, MPSHM_U64, 4, 4, &m), MPSHM_EINVAL);
    OK(mpshm_mutex_create(NULL, NULL, MPSHM_U64, 0, 0, &m));
    mpshm_mutex_close(m);
    return 0;
}
