/* Latches: parties that wait for each other; counts below nothing; waiters that were killed; misuse. */
#include "check.h"

static int arrives(void *context) {
    OK(mpshm_latch_arrive_and_wait((mpshm_latch_t *)context, MPSHM_FOREVER));
    return 0;
}

static uint64_t count(const mpshm_latch_t *l) {
    uint64_t count = UINT64_MAX;
    OK(mpshm_latch_count(l, &count));
    return count;
}

int main(void) {
    mpshm_latch_t *l, *other;
    const char *name = unique("latch");
    char text[200];
    pid_t pids[3];
    uint64_t left;
    int i;

    OK(mpshm_latch_create(NULL, NULL, 3, &l));
    SAME(mpshm_latch_wait(l, 0), MPSHM_ETIMEDOUT);
    SAME(mpshm_latch_wait(l, 20 * MS), MPSHM_ETIMEDOUT);
    TRUE(mpshm_last_message(text, sizeof text) > 0 && strstr(text, "3 have not arrived") != NULL);
    for (i = 0; i < 2; i++) {
        pids[i] = child(arrives, l);
        until_asleep(pids[i]);
    }
    SAME(count(l), 1);
    SAME(mpshm_latch_count_down(l, 2), MPSHM_EINVAL);
    SAME(mpshm_latch_count_down(l, 0), MPSHM_EINVAL);
    SAME(count(l), 1);
    kill_and_reap(pids[0]);
    OK(mpshm_latch_arrive_and_wait(l, MPSHM_FOREVER));
    SAME(reap(pids[1]), 0);
    SAME(count(l), 0);
    OK(mpshm_latch_wait(l, 0));
    SAME(mpshm_latch_count_down(l, 1), MPSHM_EINVAL);
    SAME(mpshm_latch_arrive_and_wait(l, 0), MPSHM_EINVAL);
    mpshm_latch_close(l);

    OK(mpshm_latch_create(NULL, name, 2, &l));
    SAME(mpshm_latch_create(NULL, name, 2, &other), MPSHM_EEXISTS);
    SAME(mpshm_latch_arrive_and_wait(l, -9), MPSHM_EINVAL);
    SAME(mpshm_latch_wait(l, -9), MPSHM_EINVAL);
    SAME(count(l), 2);
    SAME(mpshm_latch_arrive_and_wait(l, 0), MPSHM_ETIMEDOUT);
    OK(mpshm_latch_open(NULL, name, &other));
    SAME(count(other), 1);
    mpshm_latch_close(other);
    OK(mpshm_latch_open_or_create(NULL, name, 7, &other));
    OK(mpshm_latch_count_down(other, 1));
    OK(mpshm_latch_wait(l, MPSHM_FOREVER));
    OK(mpshm_segment_unlink(name));
    mpshm_latch_close(other);

    SAME(mpshm_latch_create(NULL, NULL, 1, NULL), MPSHM_EINVAL);
    SAME(mpshm_latch_count_down(NULL, 1), MPSHM_EINVAL);
    SAME(mpshm_latch_wait(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_latch_arrive_and_wait(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_latch_count(NULL, &left), MPSHM_EINVAL);
    SAME(mpshm_latch_count(l, NULL), MPSHM_EINVAL);
    mpshm_latch_close(l);
    mpshm_latch_close(NULL);
    return 0;
}
