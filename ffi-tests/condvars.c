/* A40, A42, A43, A45, A46, B08, B10: waiting, notifying, without the lock, recursive locks, deaths, misuse. */
#include "check.h"

static mpshm_mutex_t *m;
static mpshm_condvar_t *c;

static int waits(void *context) {
    (void)context;
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    OK(mpshm_condvar_wait(c, m, 10000 * MS));
    OK(mpshm_mutex_unlock(m));
    return 0;
}

static uint32_t waiting(void) {
    uint32_t count = 99;
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    OK(mpshm_condvar_waiters(c, &count));
    OK(mpshm_mutex_unlock(m));
    return count;
}

static uint32_t notify(uint32_t count) {
    uint32_t notified = 99;
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    OK(mpshm_condvar_notify(c, m, count, &notified));
    OK(mpshm_mutex_unlock(m));
    return notified;
}

static int notifies(void *context) {
    (void)context;
    SAME(notify(1), 1);
    return 0;
}

static int notifies_and_dies(void *context) {
    (void)context;
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    OK(mpshm_condvar_notify(c, m, 1, NULL));
    raise(SIGKILL);
    return 0;
}

static int has_no_lock(void *context) {
    (void)context;
    SAME(mpshm_condvar_wait(c, m, 0), MPSHM_ENOTOWNER);
    SAME(mpshm_condvar_notify(c, m, 1, NULL), MPSHM_ENOTOWNER);
    SAME(mpshm_mutex_lock(m, 0), MPSHM_EBUSY);
    return 0;
}

int main(void) {
    pid_t pids[3];
    int i;
    double begin;
    uint32_t count = 99;
    const char *name;
    mpshm_mutex_t *other = NULL;
    mpshm_condvar_t *same = NULL;
    OK(mpshm_mutex_create_recursive(NULL, NULL, MPSHM_BYTES, 0, 1, &m));
    OK(mpshm_condvar_create(NULL, NULL, 3, &c));

    /* Without the lock: an error, for this thread, and for another process. */
    SAME(mpshm_condvar_wait(c, m, 0), MPSHM_ENOTOWNER);
    SAME(mpshm_condvar_notify(c, m, 1, NULL), MPSHM_ENOTOWNER);
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    SAME(reap(child(has_no_lock, NULL)), 0);

    /* A time-out takes its time, and the lock is held again, as deep as before. */
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    begin = seconds();
    SAME(mpshm_condvar_wait(c, m, 100 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.1);
    SAME(mpshm_condvar_wait(c, m, 0), MPSHM_ETIMEDOUT);
    OK(mpshm_mutex_unlock(m));
    SAME(reap(child(has_no_lock, NULL)), 0);

    /* A child's notification gets through a lock that is held twice. */
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    pids[0] = child(notifies, NULL);
    OK(mpshm_condvar_wait(c, m, 10000 * MS));
    SAME(reap(pids[0]), 0);
    OK(mpshm_mutex_unlock(m));
    OK(mpshm_mutex_unlock(m));
    SAME(mpshm_mutex_unlock(m), MPSHM_ENOTOWNER);

    /* So many are notified, and nothing is remembered. */
    for (i = 0; i < 3; i++) pids[i] = child(waits, NULL);
    UNTIL(waiting() == 3);
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    SAME(mpshm_condvar_wait(c, m, MPSHM_FOREVER), MPSHM_ELIMIT);
    OK(mpshm_mutex_unlock(m));
    SAME(notify(2), 2);
    UNTIL(waiting() == 1);
    SAME(notify(UINT32_MAX), 1);
    for (i = 0; i < 3; i++) SAME(reap(pids[i]), 0);
    SAME(notify(3), 0);

    /* Who was killed is not notified. */
    pids[0] = child(waits, NULL);
    UNTIL(waiting() == 1);
    kill_and_reap(pids[0]);
    begin = seconds();
    SAME(notify(UINT32_MAX), 0);
    TRUE(seconds() - begin < 0.05);

    /* The lock's owner dies meanwhile. */
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    pids[0] = child(notifies_and_dies, NULL);
    SAME(mpshm_condvar_wait(c, m, 10000 * MS), MPSHM_EOWNERDEAD);
    SAME(reap(pids[0]), -SIGKILL);
    OK(mpshm_mutex_mark_consistent(m));
    OK(mpshm_mutex_unlock(m));
    OK(mpshm_mutex_lock(m, 0));
    OK(mpshm_mutex_unlock(m));

    /* Another lock, while somebody waits with this one. */
    OK(mpshm_mutex_create(NULL, NULL, MPSHM_BYTES, 0, 1, &other));
    pids[0] = child(waits, NULL);
    UNTIL(waiting() == 1);
    OK(mpshm_mutex_lock(other, MPSHM_FOREVER));
    SAME(mpshm_condvar_wait(c, other, 0), MPSHM_EINVAL);
    SAME(mpshm_condvar_notify(c, other, 1, NULL), MPSHM_EINVAL);
    OK(mpshm_mutex_unlock(other));
    SAME(notify(1), 1);
    SAME(reap(pids[0]), 0);
    mpshm_mutex_close(other);

    /* What is refused. */
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    SAME(mpshm_condvar_wait(c, m, -2), MPSHM_EINVAL);
    SAME(mpshm_condvar_wait(NULL, m, 0), MPSHM_EINVAL);
    SAME(mpshm_condvar_wait(c, NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_condvar_notify(NULL, m, 1, NULL), MPSHM_EINVAL);
    SAME(mpshm_condvar_waiters(c, NULL), MPSHM_EINVAL);
    OK(mpshm_mutex_unlock(m));
    mpshm_condvar_close(c);
    mpshm_condvar_close(NULL);
    mpshm_mutex_close(m);
    SAME(mpshm_condvar_create(NULL, NULL, 4097, &c), MPSHM_EINVAL);
    SAME(mpshm_condvar_create(NULL, NULL, 0, NULL), MPSHM_EINVAL);
    name = unique("condvar");
    SAME(mpshm_condvar_open(NULL, name, &c), MPSHM_ENOTFOUND);
    OK(mpshm_condvar_open_or_create(NULL, name, 0, &c));
    OK(mpshm_condvar_open(NULL, name, &same));
    OK(mpshm_condvar_waiters(same, &count));
    SAME(count, 0);
    SAME(mpshm_mutex_open(NULL, name, MPSHM_U32, 0, 0, &other), MPSHM_ETYPE);
    mpshm_condvar_close(same);
    mpshm_condvar_close(c);
    OK(mpshm_segment_unlink(name));
    return 0;
}
