/* A34, A35, B08: locking, locking again, an owner that dies, a lock that is lost, who may unlock, time-outs. */
#include "check.h"
#include <pthread.h>

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

static int dies_with_it_twice(void *context) {
    OK(mpshm_mutex_lock((mpshm_mutex_t *)context, MPSHM_FOREVER));
    OK(mpshm_mutex_lock((mpshm_mutex_t *)context, MPSHM_FOREVER));
    raise(SIGKILL);
    return 0;
}

static void *another_thread(void *context) {
    cannot_unlock(context);
    return NULL;
}

static void locks_again(void) {
    mpshm_mutex_t *m;
    pthread_t thread;
    bool is_recursive = false;
    int i;
    OK(mpshm_mutex_create_recursive(NULL, NULL, MPSHM_BYTES, 0, 1, &m));
    OK(mpshm_mutex_is_recursive(m, &is_recursive));
    TRUE(is_recursive);
    SAME(mpshm_mutex_is_recursive(m, NULL), MPSHM_EINVAL);
    SAME(mpshm_mutex_is_recursive(NULL, &is_recursive), MPSHM_EINVAL);
    for (i = 0; i < 3; i++) OK(mpshm_mutex_lock(m, i == 0 ? MPSHM_FOREVER : 0));
    for (i = 0; i < 3; i++) {
        SAME(reap(child(cannot_unlock, m)), 0);
        SAME(pthread_create(&thread, NULL, another_thread, m), 0);
        SAME(pthread_join(thread, NULL), 0);
        OK(mpshm_mutex_unlock(m));
    }
    SAME(mpshm_mutex_unlock(m), MPSHM_ENOTOWNER);
    for (i = 0; i < 65535; i++) OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    SAME(mpshm_mutex_lock(m, MPSHM_FOREVER), MPSHM_ELIMIT);
    for (i = 0; i < 65535; i++) OK(mpshm_mutex_unlock(m));
    SAME(mpshm_mutex_unlock(m), MPSHM_ENOTOWNER);

    /* After a death it is held once. */
    SAME(reap(child(dies_with_it_twice, m)), -SIGKILL);
    SAME(mpshm_mutex_lock(m, MPSHM_FOREVER), MPSHM_EOWNERDEAD);
    SAME(mpshm_mutex_lock(m, MPSHM_FOREVER), MPSHM_EOWNERDEAD);
    OK(mpshm_mutex_mark_consistent(m));
    OK(mpshm_mutex_unlock(m));
    OK(mpshm_mutex_unlock(m));
    SAME(mpshm_mutex_unlock(m), MPSHM_ENOTOWNER);
    mpshm_mutex_close(m);
}

static void stays_what_it_is(void) {
    const char *name = unique("plain");
    mpshm_mutex_t *plain, *same;
    bool is_recursive = true;
    OK(mpshm_mutex_create(NULL, name, MPSHM_U32, 0, 0, &plain));
    OK(mpshm_mutex_open_or_create_recursive(NULL, name, MPSHM_U32, 0, 0, &same));
    OK(mpshm_mutex_is_recursive(same, &is_recursive));
    TRUE(!is_recursive);
    OK(mpshm_mutex_lock(same, 0));
    SAME(mpshm_mutex_lock(plain, 0), MPSHM_EBUSY);
    SAME(mpshm_mutex_lock(same, 0), MPSHM_EDEADLOCK);
    OK(mpshm_mutex_unlock(same));
    mpshm_mutex_close(same);
    mpshm_mutex_close(plain);
    OK(mpshm_segment_unlink(name));
    OK(mpshm_mutex_open_or_create_recursive(NULL, name, MPSHM_U32, 0, 0, &same));
    OK(mpshm_mutex_is_recursive(same, &is_recursive));
    TRUE(is_recursive);
    mpshm_mutex_close(same);
    OK(mpshm_segment_unlink(name));
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

    locks_again();
    stays_what_it_is();
    return 0;
}
