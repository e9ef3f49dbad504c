/* Read-write locks: many read or one writes, deaths, who may unlock, time-outs, misuse. B08. */
#include "check.h"
#include <pthread.h>

static mpshm_rwlock_t *l;

static int reads(void *context) {
    (void)context;
    OK(mpshm_rwlock_read_lock(l, 0));
    SAME(mpshm_rwlock_write_lock(l, MPSHM_FOREVER), MPSHM_EDEADLOCK);
    OK(mpshm_rwlock_read_unlock(l));
    return 0;
}

static int cannot_write(void *context) {
    double begin = seconds();
    (void)context;
    SAME(mpshm_rwlock_write_lock(l, 0), MPSHM_EBUSY);
    SAME(mpshm_rwlock_write_lock(l, 50 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    SAME(mpshm_rwlock_read_unlock(l), MPSHM_ENOTOWNER);
    SAME(mpshm_rwlock_write_unlock(l), MPSHM_ENOTOWNER);
    SAME(mpshm_rwlock_mark_consistent(l), MPSHM_ENOTOWNER);
    return 0;
}

static int can_do_nothing(void *context) {
    SAME(mpshm_rwlock_read_lock(l, 0), MPSHM_EBUSY);
    SAME(mpshm_rwlock_read_lock(l, 20 * MS), MPSHM_ETIMEDOUT);
    return cannot_write(context);
}

static void *in_a_thread(void *context) {
    can_do_nothing(context);
    return NULL;
}

static int dies_writing(void *context) {
    OK(mpshm_rwlock_write_lock(l, MPSHM_FOREVER));
    *(uint64_t *)context = 6;
    raise(SIGKILL);
    return 0;
}

static int dies_reading(void *context) {
    (void)context;
    OK(mpshm_rwlock_read_lock(l, MPSHM_FOREVER));
    raise(SIGKILL);
    return 0;
}

static int writes(void *context) {
    OK(mpshm_rwlock_write_lock(l, 10000 * MS));
    ++*(uint64_t *)context;
    OK(mpshm_rwlock_write_unlock(l));
    return 0;
}

int main(void) {
    void *data;
    uint64_t *number;
    size_t size;
    pid_t pid;
    pthread_t thread;
    const char *name;
    double begin;
    mpshm_rwlock_t *other = NULL;
    mpshm_mutex_t *mutex = NULL;
    OK(mpshm_rwlock_create(NULL, NULL, MPSHM_U64, 0, 0, &l));
    OK(mpshm_rwlock_data(l, &data, &size));
    SAME(size, 8);
    number = (uint64_t *)data;

    /* Many read, also again and again in one thread; then nobody writes. */
    OK(mpshm_rwlock_read_lock(l, MPSHM_FOREVER));
    OK(mpshm_rwlock_read_lock(l, MPSHM_FOREVER));
    SAME(reap(child(reads, NULL)), 0);
    SAME(reap(child(cannot_write, NULL)), 0);
    OK(mpshm_rwlock_read_unlock(l));
    SAME(reap(child(cannot_write, NULL)), 0);
    pid = child(writes, number);
    until_asleep(pid);
    OK(mpshm_rwlock_read_unlock(l));
    SAME(reap(pid), 0);
    SAME(*number, 1);
    SAME(mpshm_rwlock_read_unlock(l), MPSHM_ENOTOWNER);

    /* One writes, and nobody else does anything. */
    OK(mpshm_rwlock_write_lock(l, MPSHM_FOREVER));
    SAME(mpshm_rwlock_read_lock(l, MPSHM_FOREVER), MPSHM_EDEADLOCK);
    SAME(mpshm_rwlock_write_lock(l, 0), MPSHM_EDEADLOCK);
    SAME(mpshm_rwlock_read_unlock(l), MPSHM_ENOTOWNER);
    SAME(reap(child(can_do_nothing, NULL)), 0);
    SAME(pthread_create(&thread, NULL, in_a_thread, NULL), 0);
    SAME(pthread_join(thread, NULL), 0);
    OK(mpshm_rwlock_write_unlock(l));
    SAME(mpshm_rwlock_write_unlock(l), MPSHM_ENOTOWNER);

    /* A dead reader is in nobody's way. */
    SAME(reap(child(dies_reading, NULL)), -SIGKILL);
    OK(mpshm_rwlock_write_lock(l, 0));
    OK(mpshm_rwlock_write_unlock(l));

    /* After a dead writer all are told, until one that writes swears. */
    SAME(reap(child(dies_writing, number)), -SIGKILL);
    begin = seconds();
    SAME(mpshm_rwlock_read_lock(l, MPSHM_FOREVER), MPSHM_EOWNERDEAD);
    TRUE(seconds() - begin < 0.01);
    SAME(mpshm_rwlock_mark_consistent(l), MPSHM_ENOTOWNER);
    SAME(*number, 6);
    OK(mpshm_rwlock_read_unlock(l));
    SAME(mpshm_rwlock_read_lock(l, 0), MPSHM_EOWNERDEAD);
    OK(mpshm_rwlock_read_unlock(l));
    SAME(mpshm_rwlock_write_lock(l, MPSHM_FOREVER), MPSHM_EOWNERDEAD);
    OK(mpshm_rwlock_mark_consistent(l));
    OK(mpshm_rwlock_write_unlock(l));
    OK(mpshm_rwlock_read_lock(l, 0));
    OK(mpshm_rwlock_read_unlock(l));

    /* One that does not swear loses it. */
    SAME(reap(child(dies_writing, number)), -SIGKILL);
    SAME(mpshm_rwlock_write_lock(l, 0), MPSHM_EOWNERDEAD);
    OK(mpshm_rwlock_write_unlock(l));
    SAME(mpshm_rwlock_read_lock(l, MPSHM_FOREVER), MPSHM_ENOTRECOVERABLE);
    SAME(mpshm_rwlock_write_lock(l, 0), MPSHM_ENOTRECOVERABLE);
    mpshm_rwlock_close(l);
    mpshm_rwlock_close(NULL);

    /* What is refused. */
    SAME(mpshm_rwlock_create(NULL, NULL, MPSHM_BYTES, 24, 7, &l), MPSHM_EINVAL);
    SAME(mpshm_rwlock_create(NULL, NULL, MPSHM_U64, 0, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_rwlock_read_lock(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_rwlock_write_lock(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_rwlock_read_unlock(NULL), MPSHM_EINVAL);
    SAME(mpshm_rwlock_write_unlock(NULL), MPSHM_EINVAL);
    name = unique("rwlock");
    SAME(mpshm_rwlock_open(NULL, name, MPSHM_U64, 0, 0, &l), MPSHM_ENOTFOUND);
    OK(mpshm_rwlock_open_or_create(NULL, name, MPSHM_BYTES, 24, 8, &l));
    OK(mpshm_rwlock_open(NULL, name, MPSHM_BYTES, 24, 8, &other));
    SAME(mpshm_rwlock_read_lock(l, -2), MPSHM_EINVAL);
    SAME(mpshm_rwlock_write_lock(l, -2), MPSHM_EINVAL);
    SAME(mpshm_rwlock_data(l, NULL, NULL), MPSHM_EINVAL);
    OK(mpshm_rwlock_read_lock(l, MPSHM_FOREVER));
    SAME(mpshm_rwlock_read_unlock(other), MPSHM_ENOTOWNER); /* another participant */
    OK(mpshm_rwlock_read_unlock(l));
    mpshm_rwlock_close(other);
    SAME(mpshm_rwlock_open(NULL, name, MPSHM_U64, 0, 0, &other), MPSHM_ETYPE);
    SAME(mpshm_mutex_open(NULL, name, MPSHM_BYTES, 24, 8, &mutex), MPSHM_ETYPE);
    mpshm_rwlock_close(l);
    OK(mpshm_segment_unlink(name));
    return 0;
}
