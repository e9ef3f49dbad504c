/* A83, A84, A93, B06, B20, B21, B26, B29, B31, B34: how pools end, and with whom. B05 and A76 have no meaning in C: there are
 * no callbacks. */
#include "pools.h"
#include <pthread.h>
#include <sys/prctl.h>

static void a84_an_ended_pool_takes_nothing_and_a_running_one_cannot_be_joined(void) {
    mpshm_pool_t *pool = pool_of(2, NULL);
    mpshm_task_t *task, *other = NULL;
    int32_t pid = 0;
    double begin;
    count_anew();
    SAME(mpshm_pool_join(pool, 0), MPSHM_EINVAL);
    task = submitted(pool, waits, "x", 1);
    OK(mpshm_pool_close_tasks(pool));
    OK(mpshm_pool_close_tasks(pool));
    SAME(mpshm_pool_submit(pool, echoes, "x", 1, &other), MPSHM_ECLOSED);
    begin = seconds();
    SAME(mpshm_pool_join(pool, 50 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    SAME(mpshm_pool_finish(pool, 0), MPSHM_ETIMEDOUT);
    TRUE(server_of(pool) > 0);
    OK(mpshm_event_set(gate));
    OK(mpshm_pool_join(pool, MPSHM_FOREVER));
    OK(mpshm_pool_join(pool, 0));
    OK(end_of(task));
    SAME(pids_of(pool, NULL, 0), 0);
    OK(mpshm_pool_terminate(pool));
    SAME(mpshm_pool_server_pid(pool, &pid), MPSHM_ENOTFOUND);
    SAME(mpshm_pool_submit(pool, echoes, "x", 1, &other), MPSHM_ECLOSED);
    TRUE(other == NULL);
    mpshm_pool_close(pool);
}

static void a83_terminate_with_10_000_tasks_is_quick(void) {
    enum { TASKS = 10000 };
    static mpshm_task_t *tasks[TASKS];
    mpshm_pool_t *pool = pool_of(3, NULL);
    double begin;
    int i;
    count_anew();
    for (i = 0; i < TASKS; i++) tasks[i] = submitted(pool, waits, "x", 1);
    UNTIL(counted() == 3);
    begin = seconds();
    OK(mpshm_pool_terminate(pool));
    TRUE(seconds() - begin < 5);
    for (i = 0; i < TASKS; i++) {
        SAME(mpshm_task_get(tasks[i], NULL, 0, 0, NULL), MPSHM_ECANCELLED);
        mpshm_task_close(tasks[i]);
    }
    SAME(counted(), 3);
    mpshm_pool_close(pool);
}

static int ignores_sigterm(const void *input, size_t length, mpshm_output_t *output) {
    signal(SIGTERM, SIG_IGN);
    return waits(input, length, output);
}

static void b06_a_worker_that_ignores_sigterm_is_killed_after_the_grace(void) {
    mpshm_pool_t *pool = pool_of(1, NULL);
    mpshm_task_t *task;
    double begin;
    count_anew();
    task = submitted(pool, ignores_sigterm, "x", 1);
    UNTIL(counted() == 1);
    SAME(mpshm_pool_terminate_after(pool, -2), MPSHM_EINVAL);
    begin = seconds();
    OK(mpshm_pool_terminate_after(pool, 100 * MS));
    TRUE(seconds() - begin >= 0.1 && seconds() - begin < 5);
    SAME(end_of(task), MPSHM_ECANCELLED);
    mpshm_pool_close(pool);
    /* One that obeys needs none of a grace for ever. */
    count_anew();
    pool = pool_of(1, NULL);
    task = submitted(pool, waits, "x", 1);
    UNTIL(counted() == 1);
    OK(mpshm_pool_terminate_after(pool, MPSHM_FOREVER));
    SAME(end_of(task), MPSHM_ECANCELLED);
    mpshm_pool_close(pool);
}

/* A pool's owner in a process of its own, and what it says of its processes. */
struct owner {
    int fds[2];
    int (*goes_on)(mpshm_pool_t *pool);
};

enum { PROCESSES = 3 };

static mpshm_task_t *begun[2];

static int owns(void *context) {
    struct owner *owner = (struct owner *)context;
    mpshm_pool_t *pool;
    int32_t pids[PROCESSES];
    SAME(setpgid(0, 0), 0); /* with those that it makes */
    kept[1] = pool = pool_of(2, NULL);
    begun[0] = submitted(pool, waits, "x", 1);
    begun[1] = submitted(pool, waits, "x", 1);
    UNTIL(counted() == 2);
    SAME(pids_of(pool, pids, 2), 2);
    pids[2] = server_of(pool);
    SAME(write(owner->fds[1], pids, sizeof pids), sizeof pids);
    return owner->goes_on(pool);
}

static int sleeps(mpshm_pool_t *pool) {
    (void)pool;
    for (;;) pause();
    return 0;
}

static int ends(mpshm_pool_t *pool) {
    (void)pool;
    return 0;
}

static mpshm_canceller_t *canceller;

static void on_interrupt(int signal) {
    int saved = mpshm_canceller_cancel(canceller);
    (void)signal, (void)saved;
}

static int is_interrupted(mpshm_pool_t *pool) {
    mpshm_task_t *task = submitted(pool, echoes, "x", 1); /* behind two that wait */
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    SAME(sigaction(SIGINT, &action, NULL), 0);
    OK(mpshm_canceller_create(&canceller));
    OK(mpshm_canceller_enter(canceller));
    OK(counts_one());
    SAME(mpshm_task_get(task, NULL, 0, MPSHM_FOREVER, NULL), MPSHM_EINTERRUPTED);
    OK(mpshm_canceller_leave());
    /* All of the group had the signal, and only the owner minded. */
    OK(mpshm_event_set(gate));
    OK(end_of(begun[0]));
    OK(end_of(begun[1]));
    OK(end_of(task));
    mpshm_pool_close(pool);
    return 0;
}

static pid_t owner_that(struct owner *owner, int (*goes_on)(mpshm_pool_t *), int32_t *pids) {
    pid_t pid;
    count_anew();
    SAME(pipe(owner->fds), 0);
    owner->goes_on = goes_on;
    pid = child(owns, owner);
    SAME(read(owner->fds[0], pids, PROCESSES * sizeof *pids), PROCESSES * (long)sizeof *pids);
    close(owner->fds[0]);
    close(owner->fds[1]);
    return pid;
}

/* Orphans come here, and are reaped. */
static void all_are_gone(const int32_t *pids) {
    int i;
    for (i = 0; i < PROCESSES; i++) UNTIL((waitpid(-1, NULL, WNOHANG), is_gone(pids[i])));
    while (waitpid(-1, NULL, 0) > 0) {}
}

static void a93_b20_workers_and_server_end_with_their_owner(void) {
    struct owner owner;
    int32_t pids[PROCESSES];
    double begin;
    pid_t pid = owner_that(&owner, sleeps, pids);
    begin = seconds();
    kill_and_reap(pid);
    all_are_gone(pids);
    TRUE(seconds() - begin < 10);
    pid = owner_that(&owner, ends, pids);
    SAME(reap(pid), 0);
    all_are_gone(pids);
}

static void b26_one_interrupt_of_the_group_ends_all_by_the_owners_will(void) {
    struct owner owner;
    int32_t pids[PROCESSES];
    pid_t pid = owner_that(&owner, is_interrupted, pids);
    UNTIL(counted() == 3);
    until_asleep(pid);
    SAME(kill(-pid, SIGINT), 0);
    SAME(reap(pid), 0);
    all_are_gone(pids);
}

static void *makes_a_pool(void *context) {
    (void)context;
    return pool_of(2, NULL);
}

static void b21_the_thread_that_made_a_pool_ends_and_the_pool_lives(void) {
    pthread_t thread;
    void *made = NULL;
    mpshm_pool_t *pool;
    int32_t before[2], after[2];
    SAME(pthread_create(&thread, NULL, makes_a_pool, NULL), 0);
    SAME(pthread_join(thread, &made), 0);
    pool = (mpshm_pool_t *)made;
    UNTIL(pids_of(pool, before, 2) == 2);
    OK(end_of(submitted(pool, echoes, "x", 1)));
    SAME(pids_of(pool, after, 2), 2);
    SAME(memcmp(before, after, sizeof before), 0);
    mpshm_pool_close(pool);
}

static int has_a_pool(const void *input, size_t length, mpshm_output_t *output) {
    uint64_t items[10], results[10], i;
    mpshm_pool_t *pool = NULL;
    (void)input, (void)length;
    for (i = 0; i < 10; i++) items[i] = i;
    if (mpshm_pool_create(2, NULL, &pool) != 0) return 1;
    if (mpshm_pool_map(pool, square, items, 8, 10, results, 8, 0) != 0) return 2;
    mpshm_pool_close(pool);
    return mpshm_output_write(output, results, sizeof results);
}

static void b29_a_pool_inside_a_worker_works(void) {
    mpshm_pool_t *pool = pool_of(2, NULL);
    mpshm_task_t *tasks[4];
    uint64_t results[10];
    int i;
    for (i = 0; i < 4; i++) tasks[i] = submitted(pool, has_a_pool, NULL, 0);
    for (i = 0; i < 4; i++) {
        OK(mpshm_task_get(tasks[i], results, sizeof results, MPSHM_FOREVER, NULL));
        SAME(results[9], 81);
        mpshm_task_close(tasks[i]);
    }
    mpshm_pool_close(pool);
}

static void a_dead_server_is_replaced_unless_it_was_said_not_to(void) {
    mpshm_pool_options_t options = pool_defaults();
    mpshm_pool_t *pool = pool_of(2, NULL);
    int32_t server = server_of(pool), workers[2];
    mpshm_task_t *task;
    int orphans, code;
    count_anew();
    task = submitted(pool, waits, "x", 1);
    UNTIL(counted() == 1 && pids_of(pool, NULL, 0) == 2);
    SAME(kill(server, SIGKILL), 0);
    OK(mpshm_task_wait(task, MPSHM_FOREVER));
    SAME(error_of(task).code, MPSHM_EWORKERDIED);
    mpshm_task_close(task);
    OK(end_of(submitted(pool, echoes, "x", 1)));
    TRUE(server_of(pool) != server);
    mpshm_pool_close(pool);
    options.flags = MPSHM_POOL_NO_NEW_SERVER;
    pool = pool_of(2, &options);
    UNTIL(pids_of(pool, workers, 2) == 2);
    SAME(kill(server_of(pool), SIGKILL), 0);
    UNTIL(is_gone(workers[0]) && is_gone(workers[1]));
    code = mpshm_pool_submit(pool, echoes, "x", 1, &task);
    SAME(code == 0 ? end_of(task) : code, MPSHM_EBROKEN);
    SAME(mpshm_pool_submit(pool, echoes, "x", 1, &task), MPSHM_EBROKEN);
    mpshm_pool_close(pool);
    /* The dead servers' workers came here. */
    for (orphans = 0; waitpid(-1, NULL, 0) > 0;) orphans++;
    SAME(orphans, 4);
}

struct all {
    mpshm_pool_t *pool;
    mpshm_task_t *task;
};

static int uses_the_parents(void *context) {
    struct all *all = (struct all *)context;
    mpshm_worker_stats_t stats;
    mpshm_task_error_t error;
    mpshm_task_t *task = NULL;
    uint64_t n = 2;
    int32_t pid;
    size_t count;
    bool said;
    stats.struct_size = sizeof stats;
    error.struct_size = sizeof error;
    SAME(mpshm_pool_submit(all->pool, echoes, "x", 1, &task), MPSHM_EFORKED);
    SAME(mpshm_pool_map(all->pool, square, &n, 8, 1, &n, 8, 0), MPSHM_EFORKED);
    SAME(mpshm_pool_close_tasks(all->pool), MPSHM_EFORKED);
    SAME(mpshm_pool_join(all->pool, 0), MPSHM_EFORKED);
    SAME(mpshm_pool_finish(all->pool, 0), MPSHM_EFORKED);
    SAME(mpshm_pool_terminate(all->pool), MPSHM_EFORKED);
    SAME(mpshm_pool_resize(all->pool, 1), MPSHM_EFORKED);
    SAME(mpshm_pool_restarts(all->pool, &n), MPSHM_EFORKED);
    SAME(mpshm_pool_worker_pids(all->pool, &pid, 1, &count), MPSHM_EFORKED);
    SAME(mpshm_pool_server_pid(all->pool, &pid), MPSHM_EFORKED);
    SAME(mpshm_pool_stats(all->pool, &stats, 1, &count), MPSHM_EFORKED);
    SAME(mpshm_task_wait(all->task, 0), MPSHM_EFORKED);
    SAME(mpshm_task_get(all->task, NULL, 0, 0, NULL), MPSHM_EFORKED);
    SAME(mpshm_task_is_done(all->task, &said), MPSHM_EFORKED);
    SAME(mpshm_task_cancel(all->task, NULL), MPSHM_EFORKED);
    SAME(mpshm_task_error(all->task, &error), MPSHM_EFORKED);
    SAME(mpshm_task_message(all->task, NULL, 0, NULL), MPSHM_EFORKED);
    mpshm_task_close(all->task);
    mpshm_pool_close(all->pool);
    return 0;
}

static void b31_a_forked_childs_copy_is_of_no_use_and_does_no_harm(void) {
    struct all all;
    count_anew();
    all.pool = pool_of(1, NULL);
    all.task = submitted(all.pool, waits, "x", 1);
    SAME(reap(child(uses_the_parents, &all)), 0);
    OK(mpshm_event_set(gate));
    OK(end_of(all.task));
    OK(end_of(submitted(all.pool, echoes, "x", 1)));
    mpshm_pool_close(all.pool);
}

int main(void) {
    SAME(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    set_up();
    a84_an_ended_pool_takes_nothing_and_a_running_one_cannot_be_joined();
    a83_terminate_with_10_000_tasks_is_quick();
    b06_a_worker_that_ignores_sigterm_is_killed_after_the_grace();
    a93_b20_workers_and_server_end_with_their_owner();
    b26_one_interrupt_of_the_group_ends_all_by_the_owners_will();
    b21_the_thread_that_made_a_pool_ends_and_the_pool_lives();
    b29_a_pool_inside_a_worker_works();
    a_dead_server_is_replaced_unless_it_was_said_not_to();
    b31_a_forked_childs_copy_is_of_no_use_and_does_no_harm();
    tear_down();
    return 0;
}
