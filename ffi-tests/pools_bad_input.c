/* Pools, tasks, streams: NULL where one is not allowed, unknown flags, wrong sizes, impossible numbers: clear errors, nothing
 * changed; and calls in an order that nobody meant. */
#include "pools.h"

static mpshm_pool_t *pool;
static mpshm_task_t *task;

static int gives_nothing(void *context, mpshm_output_t *argument) {
    (void)context, (void)argument;
    return MPSHM_IMAP_END;
}

static void refused(mpshm_pool_options_t options) {
    mpshm_pool_t *none = NULL;
    SAME(mpshm_pool_create(1, &options, &none), MPSHM_EINVAL);
    TRUE(none == NULL);
}

static void options_that_cannot_be(void) {
    mpshm_pool_options_t options = pool_defaults();
    uint64_t flag;
    SAME(mpshm_pool_options_init(NULL), MPSHM_EINVAL);
    SAME(mpshm_pool_create(1, &options, NULL), MPSHM_EINVAL);
    for (flag = 1; flag != 0; flag <<= 1) {
        options.flags = flag;
        if (flag != MPSHM_POOL_PIN_CPUS && flag != MPSHM_POOL_NO_NEW_SERVER) refused(options);
    }
    options = pool_defaults();
    options.struct_size = 0;
    refused(options);
    options.struct_size = sizeof options - 8;
    refused(options);
    options.struct_size = sizeof options + 8;
    refused(options);
    options = pool_defaults();
    options.reserved = 1;
    refused(options);
    options = pool_defaults();
    options.message_max = 0;
    refused(options);
    options.message_max = UINT64_MAX;
    refused(options);
    options = pool_defaults();
    options.queue = 0;
    refused(options);
    options.queue = UINT64_MAX;
    refused(options);
    options = pool_defaults();
    options.task_timeout_ns = 0;
    refused(options);
    options.task_timeout_ns = -2;
    refused(options);
    options.task_timeout_ns = INT64_MIN;
    refused(options);
}

static void calls_on_nothing(void) {
    mpshm_worker_stats_t stats;
    mpshm_task_error_t error;
    uint64_t n = 0;
    int32_t pid = 0;
    size_t count = 0;
    bool said = false;
    stats.struct_size = sizeof stats;
    error.struct_size = sizeof error;
    SAME(mpshm_pool_close_tasks(NULL), MPSHM_EINVAL);
    SAME(mpshm_pool_join(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_finish(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_terminate(NULL), MPSHM_EINVAL);
    SAME(mpshm_pool_terminate_after(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_workers(NULL, &n), MPSHM_EINVAL);
    SAME(mpshm_pool_resize(NULL, 1), MPSHM_EINVAL);
    SAME(mpshm_pool_restarts(NULL, &n), MPSHM_EINVAL);
    SAME(mpshm_pool_worker_pids(NULL, &pid, 1, &count), MPSHM_EINVAL);
    SAME(mpshm_pool_server_pid(NULL, &pid), MPSHM_EINVAL);
    SAME(mpshm_pool_stats(NULL, &stats, 1, &count), MPSHM_EINVAL);
    SAME(mpshm_pool_map(NULL, square, &n, 8, 1, &n, 8, 0), MPSHM_EINVAL);
    SAME(mpshm_task_wait(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_task_is_done(NULL, &said), MPSHM_EINVAL);
    SAME(mpshm_task_cancel(NULL, &said), MPSHM_EINVAL);
    SAME(mpshm_task_error(NULL, &error), MPSHM_EINVAL);
    SAME(mpshm_task_message(NULL, NULL, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_output_write(NULL, "x", 1), MPSHM_EINVAL);
    SAME(mpshm_output_fail(NULL, "x"), MPSHM_EINVAL);
    mpshm_imap_close(NULL);
}

static void answers_to_nowhere(void) {
    mpshm_worker_stats_t stats;
    mpshm_task_error_t error;
    mpshm_task_t *none = NULL;
    uint64_t n = 3;
    int32_t pid = 0;
    size_t count = 77;
    SAME(mpshm_pool_submit(pool, NULL, "x", 1, &none), MPSHM_EINVAL);
    SAME(mpshm_pool_submit(pool, echoes, NULL, 1, &none), MPSHM_EINVAL);
    SAME(mpshm_pool_submit(pool, echoes, "x", SIZE_MAX, &none), MPSHM_EINVAL);
    SAME(mpshm_pool_submit(pool, echoes, "x", 1, NULL), MPSHM_EINVAL);
    TRUE(none == NULL);
    SAME(mpshm_pool_workers(pool, NULL), MPSHM_EINVAL);
    SAME(mpshm_pool_restarts(pool, NULL), MPSHM_EINVAL);
    SAME(mpshm_pool_server_pid(pool, NULL), MPSHM_EINVAL);
    SAME(mpshm_pool_worker_pids(pool, NULL, 1, &count), MPSHM_EINVAL);
    SAME(mpshm_pool_worker_pids(pool, &pid, 1, NULL), MPSHM_EINVAL);
    SAME(mpshm_pool_stats(pool, NULL, 1, &count), MPSHM_EINVAL);
    stats.struct_size = sizeof stats;
    SAME(mpshm_pool_stats(pool, &stats, 1, NULL), MPSHM_EINVAL);
    stats.struct_size = sizeof stats - 1;
    SAME(mpshm_pool_stats(pool, &stats, 1, &count), MPSHM_EINVAL);
    SAME(count, 77);
    OK(mpshm_pool_stats(pool, NULL, 0, &count));
    SAME(count, 1);
    SAME(mpshm_task_is_done(task, NULL), MPSHM_EINVAL);
    SAME(mpshm_task_error(task, NULL), MPSHM_EINVAL);
    error.struct_size = sizeof error + 1;
    SAME(mpshm_task_error(task, &error), MPSHM_EINVAL);
    error.struct_size = sizeof error;
    error.code = 1;
    SAME(mpshm_task_error(task, &error), MPSHM_ETIMEDOUT); /* it runs */
    SAME(error.code, 1);
    SAME(mpshm_task_message(task, NULL, 0, &count), MPSHM_ETIMEDOUT);
    SAME(mpshm_task_wait(task, -2), MPSHM_EINVAL);
    SAME(mpshm_task_wait(task, INT64_MIN), MPSHM_EINVAL);
    SAME(mpshm_task_get(task, NULL, 1, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_task_get(task, NULL, 0, -2, NULL), MPSHM_EINVAL);
    SAME(mpshm_pool_map(pool, NULL, &n, 8, 1, &n, 8, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_map(pool, square, NULL, 8, 1, &n, 8, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_map(pool, square, &n, 8, 1, NULL, 8, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_map(pool, square, &n, 0, 1, &n, 8, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_map(pool, square, &n, 8, 1, &n, 0, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_map(pool, square, &n, 8, SIZE_MAX, &n, 8, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_map(pool, square, &n, 8, SIZE_MAX / 8, &n, 8, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_map(pool, square, &n, 8, SIZE_MAX / 16, &n, SIZE_MAX / 2, 0), MPSHM_EINVAL);
    SAME(n, 3);
    SAME(mpshm_pool_join(pool, -2), MPSHM_EINVAL);
    /* A wrong time does not close the pool. */
    SAME(mpshm_pool_finish(pool, -2), MPSHM_EINVAL);
    SAME(mpshm_pool_terminate_after(pool, INT64_MIN), MPSHM_EINVAL);
    OK(mpshm_event_set(gate));
    OK(mpshm_pool_map(pool, square, &n, 8, 1, &n, 8, 0));
    SAME(n, 9);
    OK(mpshm_task_wait(task, MPSHM_FOREVER));
    SAME(mpshm_task_message(task, NULL, 1, &count), MPSHM_EINVAL);
}

static void streams_that_cannot_be(void) {
    mpshm_imap_options_t options;
    mpshm_imap_t *imap = NULL;
    mpshm_task_t *none = NULL;
    SAME(mpshm_imap_options_init(NULL), MPSHM_EINVAL);
    OK(mpshm_imap_options_init(&options));
    SAME(mpshm_pool_imap(NULL, echoes, gives_nothing, NULL, &options, &imap), MPSHM_EINVAL);
    SAME(mpshm_pool_imap(pool, NULL, gives_nothing, NULL, &options, &imap), MPSHM_EINVAL);
    SAME(mpshm_pool_imap(pool, echoes, NULL, NULL, &options, &imap), MPSHM_EINVAL);
    SAME(mpshm_pool_imap(pool, echoes, gives_nothing, NULL, &options, NULL), MPSHM_EINVAL);
    options.flags = 2;
    SAME(mpshm_pool_imap(pool, echoes, gives_nothing, NULL, &options, &imap), MPSHM_EINVAL);
    OK(mpshm_imap_options_init(&options));
    options.struct_size--;
    SAME(mpshm_pool_imap(pool, echoes, gives_nothing, NULL, &options, &imap), MPSHM_EINVAL);
    TRUE(imap == NULL);
    OK(mpshm_imap_options_init(&options));
    options.buffer = UINT64_MAX - 1;
    OK(mpshm_pool_imap(pool, echoes, gives_nothing, NULL, &options, &imap));
    SAME(mpshm_imap_next(NULL, 0, &none), MPSHM_EINVAL);
    SAME(mpshm_imap_next(imap, -2, &none), MPSHM_EINVAL);
    SAME(mpshm_imap_next(imap, 0, NULL), MPSHM_EINVAL);
    none = task;
    OK(mpshm_imap_next(imap, 0, &none));
    TRUE(none == NULL);
    mpshm_imap_close(imap);
}

static int writes_nonsense(const void *input, size_t length, mpshm_output_t *output) {
    char not_text[3] = {'a', (char)0xff, 0};
    (void)input, (void)length;
    if (mpshm_output_write(output, NULL, 5) != MPSHM_EINVAL) return 1;
    if (mpshm_output_write(output, "x", SIZE_MAX) != MPSHM_EINVAL) return 2;
    if (mpshm_output_fail(output, NULL) != MPSHM_EINVAL) return 3;
    if (mpshm_output_fail(output, not_text) != MPSHM_EINVAL) return 4;
    if (mpshm_output_write(output, NULL, 0) != 0) return 5;
    /* Without an error to go with, it is not used. */
    return mpshm_output_fail(output, "unused");
}

/* A pool is closed first, and what came of it later. */
static void handles_closed_in_another_order(void) {
    mpshm_pool_t *first = pool_of(1, NULL);
    mpshm_task_t *ended = submitted(first, echoes, "abc", 3), *cancelled;
    mpshm_imap_t *imap = NULL;
    mpshm_task_t *none = NULL;
    char bytes[3];
    OK(mpshm_task_wait(ended, MPSHM_FOREVER));
    count_anew();
    cancelled = submitted(first, waits, "x", 1);
    UNTIL(counted() == 1);
    OK(mpshm_pool_imap(first, echoes, gives_nothing, NULL, NULL, &imap));
    mpshm_pool_close(first);
    OK(mpshm_task_get(ended, bytes, sizeof bytes, 0, NULL));
    SAME(memcmp(bytes, "abc", 3), 0);
    SAME(mpshm_task_cancel(cancelled, NULL), 0);
    SAME(end_of(cancelled), MPSHM_ECANCELLED);
    OK(mpshm_imap_next(imap, MPSHM_FOREVER, &none));
    TRUE(none == NULL);
    mpshm_imap_close(imap);
    mpshm_task_close(ended);
}

int main(void) {
    set_up();
    options_that_cannot_be();
    calls_on_nothing();
    pool = pool_of(1, NULL);
    task = submitted(pool, waits, "x", 1);
    UNTIL(counted() == 1);
    answers_to_nowhere();
    streams_that_cannot_be();
    OK(end_of(submitted(pool, writes_nonsense, NULL, 0)));
    handles_closed_in_another_order();
    mpshm_task_close(task);
    mpshm_pool_close(pool);
    tear_down();
    return 0;
}
