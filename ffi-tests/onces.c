/* What is done once: by one of many; after a runner that failed, and one that died; in its own middle; misuse. */
#include "check.h"

typedef struct {
    mpshm_once_t *once;
    mpshm_value_t *runs;
} shared_t;

static int counts(bool after_failure, void *context) {
    shared_t *shared = (shared_t *)context;
    int64_t before;
    OK(mpshm_value_i64_fetch_add(shared->runs, after_failure ? 100 : 1, &before));
    return 0;
}

static int fails(bool after_failure, void *context) {
    (void)context;
    return after_failure ? 2 : 1;
}

static int stays(bool after_failure, void *context) {
    (void)after_failure;
    OK(mpshm_value_i64_fetch_add(((shared_t *)context)->runs, 10, NULL));
    for (;;) pause();
    return 0;
}

static int calls_itself(bool after_failure, void *context) {
    shared_t *shared = (shared_t *)context;
    SAME(mpshm_once_call(shared->once, counts, context, MPSHM_FOREVER, NULL), MPSHM_EDEADLOCK);
    return after_failure;
}

static int calls(void *context) {
    shared_t *shared = (shared_t *)context;
    OK(mpshm_once_call(shared->once, counts, context, MPSHM_FOREVER, NULL));
    return 0;
}

static int runs_for_ever(void *context) {
    return mpshm_once_call(((shared_t *)context)->once, stays, context, MPSHM_FOREVER, NULL);
}

static int64_t runs(const shared_t *shared) {
    int64_t n = -1;
    OK(mpshm_value_i64_load(shared->runs, &n));
    return n;
}

int main(void) {
    shared_t shared;
    mpshm_once_t *other;
    const char *name = unique("once");
    int64_t zero = 0;
    bool ran = true, is_done = true;
    pid_t pids[3];
    int i;

    OK(mpshm_value_create(NULL, NULL, MPSHM_I64, &zero, &shared.runs));
    OK(mpshm_once_create(NULL, NULL, &shared.once));
    OK(mpshm_once_is_done(shared.once, &is_done));
    TRUE(!is_done);
    for (i = 0; i < 3; i++) pids[i] = child(calls, &shared);
    for (i = 0; i < 3; i++) SAME(reap(pids[i]), 0);
    SAME(runs(&shared), 1);
    OK(mpshm_once_call(shared.once, fails, NULL, 0, &ran));
    TRUE(!ran);
    OK(mpshm_once_is_done(shared.once, &is_done));
    TRUE(is_done);
    mpshm_once_close(shared.once);

    /* A failure, then a death, then who is told. */
    OK(mpshm_value_i64_store(shared.runs, 0));
    OK(mpshm_once_create(NULL, NULL, &shared.once));
    SAME(mpshm_once_call(shared.once, fails, NULL, MPSHM_FOREVER, NULL), MPSHM_ETASKFAILED);
    pids[0] = child(runs_for_ever, &shared);
    UNTIL(runs(&shared) == 10);
    SAME(mpshm_once_call(shared.once, counts, &shared, 20 * MS, &ran), MPSHM_ETIMEDOUT);
    pids[1] = child(calls, &shared);
    until_asleep(pids[1]);
    kill_and_reap(pids[0]);
    SAME(reap(pids[1]), 0);
    SAME(runs(&shared), 110);
    OK(mpshm_once_call(shared.once, counts, &shared, 0, NULL));
    SAME(runs(&shared), 110);
    mpshm_once_close(shared.once);

    OK(mpshm_once_create(NULL, name, &shared.once));
    SAME(mpshm_once_create(NULL, name, &other), MPSHM_EEXISTS);
    OK(mpshm_once_open(NULL, name, &other));
    OK(mpshm_once_call(shared.once, calls_itself, &shared, MPSHM_FOREVER, &ran));
    TRUE(ran);
    OK(mpshm_once_is_done(other, &is_done));
    TRUE(is_done);
    mpshm_once_close(other);
    OK(mpshm_once_open_or_create(NULL, name, &other));
    OK(mpshm_segment_unlink(name));
    mpshm_once_close(other);

    SAME(mpshm_once_create(NULL, NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_once_call(NULL, counts, &shared, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_once_call(shared.once, NULL, &shared, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_once_call(shared.once, counts, &shared, -3, NULL), MPSHM_EINVAL);
    SAME(mpshm_once_is_done(NULL, &is_done), MPSHM_EINVAL);
    SAME(mpshm_once_is_done(shared.once, NULL), MPSHM_EINVAL);
    mpshm_once_close(shared.once);
    mpshm_once_close(NULL);
    mpshm_value_close(shared.runs);
    return 0;
}
