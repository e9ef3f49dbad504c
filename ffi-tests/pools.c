/* A75, A80, A82, A83, A84, A88, B01, B31: tasks and maps, and workers that die. */
#include "check.h"

static int square(const void *item, void *result) {
    uint64_t n;
    memcpy(&n, item, sizeof n);
    n *= n;
    memcpy(result, &n, sizeof n);
    return 0;
}

static int fails_at_7(const void *item, void *result) {
    (void)result;
    return *(const uint64_t *)item == 7;
}

static int repeats(const void *input, size_t length, mpshm_output_t *output) {
    int i;
    for (i = 0; i < 1000; i++)
        if (mpshm_output_write(output, input, length) != 0) return 1;
    return 0;
}

static int fails(const void *input, size_t length, mpshm_output_t *output) {
    (void)input;
    (void)length;
    (void)output;
    return 5;
}

static int dies(const void *input, size_t length, mpshm_output_t *output) {
    (void)input;
    (void)length;
    (void)output;
    raise(SIGKILL);
    return 0;
}

static int sleeps(const void *input, size_t length, mpshm_output_t *output) {
    (void)length;
    nap(*(const int64_t *)input);
    return mpshm_output_write(output, "done", 4);
}

static int in_a_child(void *context) {
    mpshm_task_t *task;
    SAME(mpshm_pool_submit((mpshm_pool_t *)context, repeats, "x", 1, &task), MPSHM_EFORKED);
    return 0;
}

/* B25, A90: limits, through the options. */
static int own_pid(const void *item, void *result) {
    uint64_t pid = (uint64_t)getpid();
    (void)item;
    memcpy(result, &pid, sizeof pid);
    return 0;
}

static void limits(void) {
    mpshm_pool_options_t options;
    mpshm_pool_t *pool;
    mpshm_task_t *task;
    uint64_t items[4] = {0, 0, 0, 0}, pids[4];
    int64_t ns = 100000 * MS;
    double begin;
    OK(mpshm_pool_options_init(&options));
    options.task_timeout_ns = 0;
    SAME(mpshm_pool_create(1, &options, &pool), MPSHM_EINVAL);
    options.task_timeout_ns = 200 * MS;
    options.max_tasks_per_worker = 1;
    OK(mpshm_pool_create(1, &options, &pool));
    OK(mpshm_pool_submit(pool, sleeps, &ns, sizeof ns, &task));
    begin = seconds();
    SAME(mpshm_task_get(task, NULL, 0, MPSHM_FOREVER, NULL), MPSHM_ETIMELIMIT);
    TRUE(seconds() - begin >= 0.1 && seconds() - begin < 2);
    mpshm_task_close(task);
    OK(mpshm_pool_map(pool, own_pid, items, sizeof *items, 4, pids, sizeof *pids, 1));
    TRUE(pids[0] != pids[1] && pids[1] != pids[2] && pids[2] != pids[3]);
    OK(mpshm_pool_finish(pool, MPSHM_FOREVER));
    mpshm_pool_close(pool);

    OK(mpshm_pool_options_init(&options));
    options.restart_limit = 0;
    options.restart_within_ns = 60000 * (uint64_t)MS;
    OK(mpshm_pool_create(1, &options, &pool));
    OK(mpshm_pool_submit(pool, dies, NULL, 0, &task));
    TRUE(mpshm_task_get(task, NULL, 0, MPSHM_FOREVER, NULL) != 0);
    mpshm_task_close(task);
    SAME(mpshm_pool_map(pool, own_pid, items, sizeof *items, 4, pids, sizeof *pids, 1), MPSHM_EBROKEN);
    mpshm_pool_close(pool);
}

int main(void) {
    enum { COUNT = 100000 };
    static uint64_t items[COUNT], results[COUNT];
    static char bytes[4000];
    mpshm_pool_t *pool;
    mpshm_task_t *task, *queued[1000];
    size_t i, length;
    int64_t ns = 200 * MS;
    double begin;
    OK(mpshm_pool_create(3, NULL, &pool));
    for (i = 0; i < COUNT; i++) items[i] = i;
    OK(mpshm_pool_map(pool, square, items, sizeof *items, COUNT, results, sizeof *results, 0));
    for (i = 0; i < COUNT; i++) SAME(results[i], i * i);
    OK(mpshm_pool_map(pool, square, items, sizeof *items, 100, results, sizeof *results, 20));
    OK(mpshm_pool_map(pool, square, NULL, sizeof *items, 0, NULL, sizeof *results, 0));
    SAME(mpshm_pool_map(pool, fails_at_7, items, sizeof *items, 100, results, sizeof *results, 1), MPSHM_ETASKFAILED);
    SAME(mpshm_pool_map(pool, square, items, 0, 100, results, 8, 1), MPSHM_EINVAL);

    OK(mpshm_pool_submit(pool, repeats, "abcd", 4, &task));
    SAME(mpshm_task_get(task, bytes, 10, MPSHM_FOREVER, &length), MPSHM_ETOOBIG);
    SAME(length, 4000);
    OK(mpshm_task_get(task, bytes, sizeof bytes, MPSHM_FOREVER, &length));
    SAME(memcmp(bytes + 3996, "abcd", 4), 0);
    mpshm_task_close(task);

    OK(mpshm_pool_submit(pool, sleeps, &ns, sizeof ns, &task));
    begin = seconds();
    SAME(mpshm_task_get(task, bytes, sizeof bytes, 50 * MS, &length), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    OK(mpshm_task_get(task, bytes, sizeof bytes, MPSHM_FOREVER, &length));
    OK(mpshm_task_get(task, bytes, sizeof bytes, 0, &length));
    SAME(length, 4);
    mpshm_task_close(task);

    OK(mpshm_pool_submit(pool, fails, NULL, 0, &task));
    SAME(mpshm_task_get(task, NULL, 0, MPSHM_FOREVER, NULL), MPSHM_ETASKFAILED);
    mpshm_task_close(task);
    OK(mpshm_pool_submit(pool, dies, NULL, 0, &task));
    begin = seconds();
    SAME(mpshm_task_get(task, NULL, 0, MPSHM_FOREVER, NULL), MPSHM_EWORKERDIED);
    TRUE(seconds() - begin < 1);
    mpshm_task_close(task);
    SAME(mpshm_pool_submit(pool, repeats, items, sizeof items, &task), MPSHM_ETOOBIG);
    SAME(reap(child(in_a_child, pool)), 0);
    OK(mpshm_pool_submit(pool, repeats, "y", 1, &task));
    OK(mpshm_pool_finish(pool, MPSHM_FOREVER));
    OK(mpshm_task_get(task, bytes, sizeof bytes, 0, &length));
    SAME(length, 1000);
    mpshm_task_close(task);
    SAME(mpshm_pool_submit(pool, repeats, "y", 1, &task), MPSHM_ECLOSED);
    mpshm_pool_close(pool);

    OK(mpshm_pool_create(2, NULL, &pool));
    ns = 100000 * MS;
    for (i = 0; i < 1000; i++) OK(mpshm_pool_submit(pool, sleeps, &ns, sizeof ns, &queued[i]));
    begin = seconds();
    OK(mpshm_pool_terminate(pool));
    TRUE(seconds() - begin < 5);
    for (i = 0; i < 1000; i++) {
        SAME(mpshm_task_get(queued[i], NULL, 0, MPSHM_FOREVER, NULL), MPSHM_ECANCELLED);
        mpshm_task_close(queued[i]);
    }
    mpshm_pool_close(pool);
    limits();
    return 0;
}
