/* A80, A85, A88, B01, B02, B04: what becomes of a task: waiting, looking, cancelling, and how its error is told. */
#include "pools.h"
#include <pthread.h>

static mpshm_pool_t *pool;

static bool is_done(const mpshm_task_t *task) {
    bool done = false;
    OK(mpshm_task_is_done(task, &done));
    return done;
}

static const char *message_of(const mpshm_task_t *task) {
    static char text[200];
    OK(mpshm_task_message(task, text, sizeof text, NULL));
    return text;
}

static void a80_a_wait_takes_its_time_and_the_result_comes_again_and_again(void) {
    mpshm_task_t *task;
    char bytes[4];
    size_t length = 0;
    double begin;
    int i;
    count_anew();
    task = submitted(pool, waits, "abc", 3);
    UNTIL(counted() == 1);
    begin = seconds();
    SAME(mpshm_task_wait(task, 50 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    SAME(mpshm_task_get(task, bytes, sizeof bytes, 0, NULL), MPSHM_ETIMEDOUT);
    SAME(mpshm_task_wait(task, 0), MPSHM_ETIMEDOUT);
    TRUE(!is_done(task));
    OK(mpshm_event_set(gate));
    UNTIL(is_done(task));
    OK(mpshm_task_wait(task, 0));
    for (i = 0; i < 3; i++) {
        OK(mpshm_task_get(task, bytes, sizeof bytes, 0, &length));
        TRUE(length == 3 && memcmp(bytes, "abc", 3) == 0);
    }
    SAME(error_of(task).code, 0);
    TRUE(*message_of(task) == 0);
    mpshm_task_close(task);
}

static int explains(const void *input, size_t length, mpshm_output_t *output) {
    if (mpshm_output_write(output, input, length) != 0) return 99;
    return mpshm_output_fail(output, "no such thing") == 0 ? -3 : 99;
}

static void a85_a_failure_says_its_message_and_its_worker_which_lives_on(void) {
    int32_t pids[2];
    mpshm_task_t *task = submitted(pool, explains, "xyz", 3);
    mpshm_task_error_t error;
    size_t length = 0;
    char text[3];
    SAME(mpshm_task_get(task, NULL, 0, MPSHM_FOREVER, NULL), MPSHM_ETASKFAILED);
    error = error_of(task);
    SAME(error.code, MPSHM_ETASKFAILED);
    SAME(pids_of(pool, pids, 2), 2);
    TRUE(error.pid == pids[0] || error.pid == pids[1]);
    TRUE(error.status == 0 && error.attempts == 0);
    TRUE(strcmp(message_of(task), "no such thing") == 0);
    OK(mpshm_task_message(task, text, sizeof text, &length));
    TRUE(strcmp(text, "no") == 0 && length == sizeof "no such thing");
    mpshm_task_close(task);
    task = submitted(pool, fails, NULL, 0);
    OK(mpshm_task_wait(task, MPSHM_FOREVER));
    TRUE(strcmp(message_of(task), "the task's function returned 5") == 0);
    mpshm_task_close(task);
}

static int overflows(const void *input, size_t length, mpshm_output_t *output) {
    static char bytes[100000];
    (void)input, (void)length;
    return mpshm_output_write(output, bytes, sizeof bytes);
}

static void a88_a_result_that_is_too_long_for_the_buffer_costs_no_worker(void) {
    int32_t before[2], after[2];
    static char bytes[100000];
    size_t length;
    int i;
    SAME(pids_of(pool, before, 2), 2);
    for (i = 0; i < 20; i++) {
        mpshm_task_t *task = submitted(pool, overflows, NULL, 0);
        length = 0;
        SAME(mpshm_task_get(task, bytes, 100, MPSHM_FOREVER, &length), MPSHM_ETOOBIG);
        SAME(length, sizeof bytes);
        if (i == 0) OK(mpshm_task_get(task, bytes, sizeof bytes, 0, &length));
        mpshm_task_close(task);
    }
    SAME(pids_of(pool, after, 2), 2);
    SAME(memcmp(before, after, sizeof before), 0);
}

static int exits_with_8(const void *input, size_t length, mpshm_output_t *output) {
    (void)input, (void)length, (void)output;
    exit(8);
}

static int aborts(const void *input, size_t length, mpshm_output_t *output) {
    (void)input, (void)length, (void)output;
    abort();
}

static void b01_b04_a_task_that_ends_its_worker_says_how_and_no_other_does(void) {
    mpshm_task_fn functions[3] = {dies, aborts, exits_with_8};
    int statuses[3] = {-SIGKILL, -SIGABRT, 8}, i;
    uint64_t restarts = 0, before = 0;
    OK(mpshm_pool_restarts(pool, &before));
    for (i = 0; i < 3; i++) {
        mpshm_task_t *task = submitted(pool, functions[i], NULL, 0), *other = submitted(pool, echoes, "x", 1);
        mpshm_task_error_t error;
        double begin = seconds();
        OK(mpshm_task_wait(task, MPSHM_FOREVER));
        TRUE(seconds() - begin < 5);
        error = error_of(task);
        SAME(error.code, MPSHM_EWORKERDIED);
        SAME(error.status, statuses[i]);
        SAME(error.attempts, 1);
        TRUE(error.pid > 0 && error.pid != getpid());
        TRUE(strstr(message_of(task), "died") != NULL);
        mpshm_task_close(task);
        OK(end_of(other));
    }
    UNTIL(mpshm_pool_restarts(pool, &restarts) == 0 && restarts == before + 3);
    UNTIL(pids_of(pool, NULL, 0) == 2);
}

static void b02_all_idle_workers_killed_and_the_next_task_has_its_result(void) {
    int32_t pids[2];
    int32_t pid = 0;
    mpshm_task_t *task;
    UNTIL(pids_of(pool, pids, 2) == 2);
    OK(end_of(submitted(pool, echoes, "x", 1)));
    SAME(kill(pids[0], SIGKILL), 0);
    SAME(kill(pids[1], SIGKILL), 0);
    task = submitted(pool, says_pid, NULL, 0);
    OK(mpshm_task_get(task, &pid, sizeof pid, 20000 * MS, NULL));
    TRUE(pid != pids[0] && pid != pids[1]);
    mpshm_task_close(task);
    UNTIL(pids_of(pool, NULL, 0) == 2);
}

static void what_has_not_begun_is_cancelled_and_what_runs_is_not(void) {
    mpshm_task_t *running[2], *waiting;
    bool cancelled = true;
    int i;
    count_anew();
    for (i = 0; i < 2; i++) running[i] = submitted(pool, waits, "x", 1);
    UNTIL(counted() == 2);
    waiting = submitted(pool, waits, "x", 1);
    OK(mpshm_task_cancel(running[0], &cancelled));
    TRUE(!cancelled);
    OK(mpshm_task_cancel(waiting, &cancelled));
    TRUE(cancelled && is_done(waiting));
    OK(mpshm_task_cancel(waiting, &cancelled));
    TRUE(!cancelled);
    OK(mpshm_task_cancel(waiting, NULL));
    SAME(mpshm_task_get(waiting, NULL, 0, 0, NULL), MPSHM_ECANCELLED);
    SAME(error_of(waiting).code, MPSHM_ECANCELLED);
    mpshm_task_close(waiting);
    OK(mpshm_event_set(gate));
    for (i = 0; i < 2; i++) OK(end_of(running[i]));
    SAME(counted(), 2);
}

static void *cancels(void *context) {
    UNTIL(counted() == 1);
    OK(mpshm_canceller_cancel((mpshm_canceller_t *)context));
    return NULL;
}

static void a_wait_is_cancelled_and_the_task_goes_on(void) {
    mpshm_canceller_t *canceller;
    mpshm_task_t *task;
    pthread_t thread;
    count_anew();
    OK(mpshm_canceller_create(&canceller));
    OK(mpshm_canceller_enter(canceller));
    SAME(pthread_create(&thread, NULL, cancels, canceller), 0);
    task = submitted(pool, waits, "x", 1);
    SAME(mpshm_task_get(task, NULL, 0, MPSHM_FOREVER, NULL), MPSHM_EINTERRUPTED);
    SAME(pthread_join(thread, NULL), 0);
    SAME(mpshm_task_wait(task, MPSHM_FOREVER), MPSHM_EINTERRUPTED);
    TRUE(!is_done(task));
    OK(mpshm_canceller_leave());
    mpshm_canceller_close(canceller);
    OK(mpshm_event_set(gate));
    OK(end_of(task));
}

int main(void) {
    set_up();
    pool = pool_of(2, NULL);
    a80_a_wait_takes_its_time_and_the_result_comes_again_and_again();
    a85_a_failure_says_its_message_and_its_worker_which_lives_on();
    a88_a_result_that_is_too_long_for_the_buffer_costs_no_worker();
    b01_b04_a_task_that_ends_its_worker_says_how_and_no_other_does();
    b02_all_idle_workers_killed_and_the_next_task_has_its_result();
    what_has_not_begun_is_cancelled_and_what_runs_is_not();
    a_wait_is_cancelled_and_the_task_goes_on();
    OK(mpshm_pool_finish(pool, MPSHM_FOREVER));
    mpshm_pool_close(pool);
    tear_down();
    return 0;
}
