/* A41, A44: six waiters at once; waiting for a condition. There is no wait_for in C: a loop around the wait is one. */
#include "check.h"

static mpshm_mutex_t *m;
static mpshm_condvar_t *c;

static uint32_t waiting(void) {
    uint32_t count = 99;
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    OK(mpshm_condvar_waiters(c, &count));
    OK(mpshm_mutex_unlock(m));
    return count;
}

static int waits(void *context) {
    int code;
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    code = mpshm_condvar_wait(c, m, *(int64_t *)context);
    OK(mpshm_mutex_unlock(m));
    return -code;
}

static void a41_six_that_time_out_leave_nothing_and_six_new_ones_all_wake(void) {
    int64_t times[2] = {50 * MS, MPSHM_FOREVER};
    uint32_t notified = 0;
    pid_t pids[6];
    int i;
    for (i = 0; i < 6; i++) pids[i] = child(waits, &times[0]);
    for (i = 0; i < 6; i++) SAME(reap(pids[i]), -MPSHM_ETIMEDOUT);
    SAME(waiting(), 0);
    for (i = 0; i < 6; i++) pids[i] = child(waits, &times[1]);
    UNTIL(waiting() == 6);
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    OK(mpshm_condvar_notify(c, m, UINT32_MAX, &notified));
    OK(mpshm_mutex_unlock(m));
    SAME(notified, 6);
    for (i = 0; i < 6; i++) SAME(reap(pids[i]), 0);
    SAME(waiting(), 0);
}

/* In the mutex's data. */
static int64_t *state(void) {
    void *data = NULL;
    OK(mpshm_mutex_data(m, &data, NULL));
    return (int64_t *)data;
}

static int increments(void *context) {
    int i;
    for (i = 0; i < *(int *)context; i++) {
        OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
        ++*state();
        OK(mpshm_condvar_notify(c, m, 1, NULL));
        OK(mpshm_mutex_unlock(m));
    }
    return 0;
}

/* Whether the state was 4 before a wait took too long. */
static bool waited_for_4(int64_t timeout_ns, int times) {
    bool there;
    pid_t pid;
    OK(mpshm_mutex_lock(m, MPSHM_FOREVER));
    *state() = 0;
    pid = child(increments, &times);
    while (*state() != 4 && mpshm_condvar_wait(c, m, timeout_ns) == 0) {}
    there = *state() == 4;
    OK(mpshm_mutex_unlock(m));
    SAME(reap(pid), 0);
    return there;
}

static void a44_a_condition_is_waited_for(void) {
    double begin;
    TRUE(waited_for_4(MPSHM_FOREVER, 4));
    begin = seconds();
    TRUE(!waited_for_4(100 * MS, 3));
    TRUE(seconds() - begin >= 0.1);
}

int main(void) {
    OK(mpshm_mutex_create(NULL, NULL, MPSHM_I64, 0, 0, &m));
    OK(mpshm_condvar_create(NULL, NULL, 8, &c));
    a41_six_that_time_out_leave_nothing_and_six_new_ones_all_wake();
    a44_a_condition_is_waited_for();
    mpshm_condvar_close(c);
    mpshm_mutex_close(m);
    return 0;
}
