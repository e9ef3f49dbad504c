/* A82, A89, A90, A91, A92, B03, B25, B28: what a pool is told when it is made, and other numbers of workers. */
#include "pools.h"
#include <sched.h>
#include <sys/resource.h>

static uint64_t items[100], results[100];

static void a82_pools_of_none_and_of_three(void) {
    mpshm_pool_t *pool = NULL;
    uint64_t workers = 0;
    SAME(mpshm_pool_create(0, NULL, &pool), MPSHM_EINVAL);
    SAME(mpshm_pool_create(UINT32_MAX, NULL, &pool), MPSHM_EINVAL); /* -1 */
    TRUE(pool == NULL);
    pool = pool_of(3, NULL);
    OK(mpshm_pool_workers(pool, &workers));
    SAME(workers, 3);
    UNTIL(pids_of(pool, NULL, 0) == 3);
    mpshm_pool_close(pool);
}

static void a89_workers_end_after_so_many_tasks_and_others_take_their_place(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool;
    uint64_t restarts = 0;
    int i, other, pids = 0;
    options.max_tasks_per_worker = 10;
    pool = pool_of(3, &options);
    OK(mpshm_pool_map(pool, pid_of, items, 8, 100, results, 8, 1));
    for (i = 0; i < 100; i++) {
        int tasks = 0;
        for (other = 0; other < 100; other++) tasks += results[other] == results[i];
        TRUE(tasks <= 10);
        for (other = 0; other < i && results[other] != results[i]; other++) {}
        pids += other == i;
    }
    TRUE(pids >= 10);
    OK(mpshm_pool_restarts(pool, &restarts));
    TRUE(restarts >= 7);
    UNTIL(pids_of(pool, NULL, 0) == 3);
    mpshm_pool_close(pool);
}

static void a90_b28_a_closed_pool_whose_workers_do_one_task_each_does_them_all(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool;
    mpshm_task_t *tasks[12];
    int i;
    options.max_tasks_per_worker = 1;
    pool = pool_of(2, &options);
    for (i = 0; i < 12; i++) tasks[i] = submitted(pool, echoes, "x", 1);
    OK(mpshm_pool_close_tasks(pool));
    OK(mpshm_pool_join(pool, MPSHM_FOREVER));
    for (i = 0; i < 12; i++) {
        char byte = 0;
        OK(mpshm_task_get(tasks[i], &byte, 1, 0, NULL));
        SAME(byte, 'x');
        mpshm_task_close(tasks[i]);
    }
    mpshm_pool_close(pool);
}

static int initialized = 0;

static int initializes(void *context) {
    initialized += *(int *)context;
    return counts_one();
}

static int says_initialized(const void *input, size_t length, mpshm_output_t *output) {
    (void)input, (void)length;
    return mpshm_output_write(output, &initialized, sizeof initialized);
}

static void a91_an_initializer_runs_once_in_each_worker_before_any_task(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool;
    int context = 7, i, said;
    count_anew();
    options.initializer = initializes;
    options.initializer_context = &context;
    options.max_tasks_per_worker = 2;
    pool = pool_of(2, &options);
    for (i = 0; i < 20; i++) {
        mpshm_task_t *task = submitted(pool, says_initialized, NULL, 0);
        OK(mpshm_task_get(task, &said, sizeof said, MPSHM_FOREVER, NULL));
        SAME(said, 7);
        mpshm_task_close(task);
    }
    TRUE(counted() >= 10);
    SAME(initialized, 0);
    mpshm_pool_close(pool);
}

static int refuses(void *context) {
    (void)context;
    return counts_one() == 0 ? 42 : 99;
}

static void b03_an_initializer_that_fails_breaks_the_pool_after_few_forks(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool = NULL;
    mpshm_task_t *task = NULL;
    char text[200];
    int code;
    count_anew();
    options.initializer = refuses;
    OK(mpshm_pool_create(2, &options, &pool));
    code = mpshm_pool_submit(pool, echoes, "x", 1, &task);
    if (code == 0) code = mpshm_task_get(task, text, sizeof text, MPSHM_FOREVER, NULL);
    SAME(code, MPSHM_EBROKEN);
    TRUE(mpshm_last_message(text, sizeof text) > 0 && strstr(text, "the initializer returned 42") != NULL);
    TRUE(counted() <= 2 + 2);
    if (task != NULL) {
        bool done = false;
        OK(mpshm_task_is_done(task, &done));
        TRUE(done);
        SAME(error_of(task).code, MPSHM_EBROKEN);
        mpshm_task_close(task);
    }
    SAME(mpshm_pool_submit(pool, echoes, "x", 1, &task), MPSHM_EBROKEN);
    mpshm_pool_close(pool);
}

static void b25_a_task_that_takes_too_long_is_killed_and_no_other(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool;
    mpshm_task_t *late;
    mpshm_task_error_t error;
    uint64_t n;
    count_anew();
    options.task_timeout_ns = 300 * MS;
    pool = pool_of(2, &options);
    late = submitted(pool, waits, "x", 1);
    UNTIL(counted() == 1);
    for (n = 0; n < 100; n++) items[n] = n;
    OK(mpshm_pool_map(pool, square, items, 8, 100, results, 8, 1));
    SAME(results[99], 99 * 99);
    OK(mpshm_task_wait(late, MPSHM_FOREVER));
    error = error_of(late);
    SAME(error.code, MPSHM_ETIMELIMIT);
    TRUE(error.pid > 0 && error.status == 0 && error.attempts == 0);
    SAME(mpshm_task_get(late, NULL, 0, 0, NULL), MPSHM_ETIMELIMIT);
    mpshm_task_close(late);
    OK(end_of(submitted(pool, echoes, "x", 1)));
    mpshm_pool_close(pool);
}

static int counts_and_dies(const void *input, size_t length, mpshm_output_t *output) {
    if (counts_one() != 0) return 99;
    return dies(input, length, output);
}

static int dies_twice(const void *input, size_t length, mpshm_output_t *output) {
    if (counts_one() != 0) return 99;
    return counted() <= 2 ? dies(input, length, output) : echoes(input, length, output);
}

static void a_task_whose_worker_dies_is_run_again_as_often_as_asked(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool;
    mpshm_task_t *task;
    count_anew();
    options.retries = 2;
    pool = pool_of(1, &options);
    task = submitted(pool, counts_and_dies, "x", 1);
    OK(mpshm_task_wait(task, MPSHM_FOREVER));
    SAME(error_of(task).code, MPSHM_EWORKERDIED);
    SAME(error_of(task).attempts, 3);
    SAME(counted(), 3);
    mpshm_task_close(task);
    count_anew();
    OK(end_of(submitted(pool, dies_twice, "x", 1)));
    mpshm_pool_close(pool);
}

static void more_deaths_than_may_be_break_the_pool(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool;
    int i;
    options.restart_limit = 2;
    options.restart_within_ns = UINT64_C(60000000000);
    pool = pool_of(1, &options);
    for (i = 0; i < 2; i++) SAME(end_of(submitted(pool, dies, NULL, 0)), MPSHM_EWORKERDIED);
    OK(end_of(submitted(pool, echoes, "x", 1)));
    TRUE(end_of(submitted(pool, dies, NULL, 0)) != 0);
    SAME(mpshm_pool_map(pool, square, items, 8, 10, results, 8, 1), MPSHM_EBROKEN);
    mpshm_pool_close(pool);
}

#if !defined(__SANITIZE_ADDRESS__) /* whose allocator ends the process that gets no memory */
static int allocates(const void *input, size_t length, mpshm_output_t *output) {
    void *volatile memory = malloc(*(const size_t *)input);
    bool got = memory != NULL;
    (void)length;
    free(memory);
    return mpshm_output_write(output, &got, sizeof got);
}

static void a_worker_gets_no_more_memory_than_it_may_have(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool;
    size_t sizes[2] = {(size_t)1 << 20, (size_t)200 << 20};
    int i;
    options.memory_limit = UINT64_C(64) << 20;
    pool = pool_of(1, &options);
    for (i = 0; i < 2; i++) {
        bool got = i == 1;
        mpshm_task_t *task = submitted(pool, allocates, &sizes[i], sizeof sizes[i]);
        OK(mpshm_task_get(task, &got, sizeof got, MPSHM_FOREVER, NULL));
        SAME(got, i == 0);
        mpshm_task_close(task);
    }
    mpshm_pool_close(pool);
}
#endif

static int processors(const void *item, void *result) {
    cpu_set_t set;
    (void)item;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    *(uint64_t *)result = (uint64_t)CPU_COUNT(&set);
    return 0;
}

static void pinned_workers_have_one_processor_each(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool;
    int i;
    options.flags = MPSHM_POOL_PIN_CPUS;
    pool = pool_of(3, &options);
    OK(mpshm_pool_map(pool, processors, items, 8, 30, results, 8, 1));
    for (i = 0; i < 30; i++) SAME(results[i], 1);
    mpshm_pool_close(pool);
}

static void a_pool_grows_shrinks_and_counts(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool;
    mpshm_worker_stats_t stats[4];
    mpshm_task_t *tasks[4];
    uint64_t workers = 0, restarts = 9;
    size_t count = 0, i, busy;
    count_anew();
    options.workers_max = 4;
    pool = pool_of(1, &options);
    OK(mpshm_pool_resize(pool, 4));
    for (i = 0; i < 4; i++) tasks[i] = submitted(pool, waits, "x", 1);
    UNTIL(counted() == 4); /* all four at once */
    OK(mpshm_pool_workers(pool, &workers));
    SAME(workers, 4);
    memset(stats, 0xff, sizeof stats);
    stats[0].struct_size = sizeof *stats;
    OK(mpshm_pool_stats(pool, stats, 4, &count));
    SAME(count, 4);
    for (i = busy = 0; i < 4; i++) {
        SAME(stats[i].struct_size, sizeof *stats);
        TRUE(stats[i].pid > 0 && stats[i].is_ready && stats[i].reserved == 0 && stats[i].tasks == 0);
        busy += stats[i].is_busy;
    }
    SAME(busy, 4);
    nap(2 * MS);
    OK(mpshm_event_set(gate));
    for (i = 0; i < 4; i++) OK(end_of(tasks[i]));
    OK(mpshm_pool_stats(pool, stats, 4, &count));
    for (i = 0; i < 4; i++) TRUE(stats[i].tasks == 1 && stats[i].busy_ns >= (uint64_t)(2 * MS));
    stats[1].pid = -5;
    OK(mpshm_pool_stats(pool, stats, 1, &count));
    TRUE(count == 4 && stats[1].pid == -5);
    OK(mpshm_pool_resize(pool, 2));
    UNTIL(pids_of(pool, NULL, 0) == 2);
    OK(mpshm_pool_restarts(pool, &restarts));
    SAME(mpshm_pool_resize(pool, 0), MPSHM_EINVAL);
    SAME(mpshm_pool_resize(pool, 5), MPSHM_EINVAL);
    OK(mpshm_pool_close_tasks(pool));
    SAME(mpshm_pool_resize(pool, 2), MPSHM_ECLOSED);
    mpshm_pool_close(pool);
    options.workers_max = 1;
    SAME(mpshm_pool_create(2, &options, &pool), MPSHM_EINVAL);
    options.workers_max = 1001;
    SAME(mpshm_pool_create(2, &options, &pool), MPSHM_EINVAL);
}

/* In a child of another user, whose processes can be limited. */
static int cannot_fork_them_all(void *context) {
    struct rlimit limit;
    mpshm_pool_t *pool = NULL;
    (void)context;
    if (setuid(54321) != 0) return 77;
    limit.rlim_cur = limit.rlim_max = 4; /* this one, the server, two workers */
    SAME(setrlimit(RLIMIT_NPROC, &limit), 0);
    SAME(mpshm_pool_create(8, NULL, &pool), MPSHM_ELIMIT);
    TRUE(pool == NULL);
    SAME(waitpid(-1, NULL, WNOHANG), -1);
    OK(mpshm_pool_create(2, NULL, &pool));
    OK(end_of(submitted(pool, echoes, "x", 1)));
    mpshm_pool_close(pool);
    return 0;
}

static void a92_when_a_worker_cannot_be_forked_there_is_no_pool(void) {
    int code = reap(child(cannot_fork_them_all, NULL));
    TRUE(code == 0 || code == 77);
}

int main(void) {
    set_up();
    a82_pools_of_none_and_of_three();
    a89_workers_end_after_so_many_tasks_and_others_take_their_place();
    a90_b28_a_closed_pool_whose_workers_do_one_task_each_does_them_all();
    a91_an_initializer_runs_once_in_each_worker_before_any_task();
    b03_an_initializer_that_fails_breaks_the_pool_after_few_forks();
    b25_a_task_that_takes_too_long_is_killed_and_no_other();
    a_task_whose_worker_dies_is_run_again_as_often_as_asked();
    more_deaths_than_may_be_break_the_pool();
#if !defined(__SANITIZE_ADDRESS__)
    a_worker_gets_no_more_memory_than_it_may_have();
#endif
    pinned_workers_have_one_processor_each();
    a_pool_grows_shrinks_and_counts();
    a92_when_a_worker_cannot_be_forked_there_is_no_pool();
    tear_down();
    return 0;
}
