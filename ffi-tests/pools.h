/* What the tests of pools share. What workers wait for, and count in, is made before the pool: set_up(). */
#ifndef POOLS_H
#define POOLS_H
#include "check.h"

static mpshm_event_t *gate;
static mpshm_value_t *counter;

static inline void set_up(void) {
    int64_t zero = 0;
    OK(mpshm_event_create(NULL, NULL, &gate));
    OK(mpshm_value_create(NULL, NULL, MPSHM_I64, &zero, &counter));
}

static inline void tear_down(void) {
    mpshm_event_close(gate);
    mpshm_value_close(counter);
    /* B34: no zombie, and no orphan that came here. */
    SAME(waitpid(-1, NULL, WNOHANG), -1);
}

static inline int64_t counted(void) {
    int64_t now = -1;
    OK(mpshm_value_load(counter, &now));
    return now;
}

static inline void count_anew(void) {
    int64_t zero = 0;
    OK(mpshm_value_store(counter, &zero));
    OK(mpshm_event_clear(gate));
}

static inline int counts_one(void) {
    int64_t one = 1;
    return mpshm_value_fetch_add(counter, &one, NULL);
}

/* Tasks. */
static inline int echoes(const void *input, size_t length, mpshm_output_t *output) {
    return mpshm_output_write(output, input, length);
}

static inline int says_pid(const void *input, size_t length, mpshm_output_t *output) {
    int32_t pid = (int32_t)getpid();
    (void)input, (void)length;
    return mpshm_output_write(output, &pid, sizeof pid);
}

/* Counts, then waits at the gate. */
static inline int waits(const void *input, size_t length, mpshm_output_t *output) {
    if (counts_one() != 0 || mpshm_event_wait(gate, MPSHM_FOREVER) != 0) return 99;
    return mpshm_output_write(output, input, length);
}

static inline int dies(const void *input, size_t length, mpshm_output_t *output) {
    (void)input, (void)length, (void)output;
    raise(SIGKILL);
    return 0;
}

static inline int fails(const void *input, size_t length, mpshm_output_t *output) {
    (void)input, (void)length, (void)output;
    return 5;
}

/* Steps of maps. */
static inline int square(const void *item, void *result) {
    uint64_t n = *(const uint64_t *)item;
    *(uint64_t *)result = n * n;
    return 0;
}

static inline int pid_of(const void *item, void *result) {
    (void)item;
    *(uint64_t *)result = (uint64_t)getpid();
    return 0;
}

static inline mpshm_pool_options_t pool_defaults(void) {
    mpshm_pool_options_t options;
    OK(mpshm_pool_options_init(&options));
    return options;
}

static inline mpshm_pool_t *pool_of(uint32_t workers, const mpshm_pool_options_t *options) {
    mpshm_pool_t *pool = NULL;
    OK(mpshm_pool_create(workers, options, &pool));
    return pool;
}

static inline mpshm_task_t *submitted(mpshm_pool_t *pool, mpshm_task_fn function, const void *input, size_t length) {
    mpshm_task_t *task = NULL;
    OK(mpshm_pool_submit(pool, function, input, length, &task));
    return task;
}

/* The code that a task ends with; closes it. */
static inline int end_of(mpshm_task_t *task) {
    char bytes[4096];
    int code = mpshm_task_get(task, bytes, sizeof bytes, MPSHM_FOREVER, NULL);
    mpshm_task_close(task);
    return code;
}

static inline mpshm_task_error_t error_of(const mpshm_task_t *task) {
    mpshm_task_error_t error;
    memset(&error, 0xff, sizeof error);
    error.struct_size = sizeof error;
    OK(mpshm_task_error(task, &error));
    return error;
}

static inline size_t pids_of(const mpshm_pool_t *pool, int32_t *pids, size_t room) {
    size_t count = SIZE_MAX;
    OK(mpshm_pool_worker_pids(pool, pids, room, &count));
    return count;
}

static inline int32_t server_of(const mpshm_pool_t *pool) {
    int32_t pid = 0;
    OK(mpshm_pool_server_pid(pool, &pid));
    return pid;
}

/* Gone, or a zombie that is somebody else's to reap. */
static inline int is_gone(pid_t pid) {
    char path[64], text[512], *end;
    FILE *file;
    size_t length;
    if (kill(pid, 0) != 0) return 1;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    file = fopen(path, "r");
    if (file == NULL) return 1;
    length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    end = strrchr(text, ')');
    return end == NULL || end[2] == 'Z';
}

/* Tasks, or chunks, that the pool's workers have run. */
static inline uint64_t tasks_of(const mpshm_pool_t *pool) {
    mpshm_worker_stats_t stats[16];
    size_t count = 0, i;
    uint64_t tasks = 0;
    stats[0].struct_size = sizeof *stats;
    OK(mpshm_pool_stats(pool, stats, 16, &count));
    for (i = 0; i < count; i++) tasks += stats[i].tasks;
    return tasks;
}
#endif
