/* What every test uses: checks that name the line, children, unique names. Exit code 77 = skipped. */
#ifndef CHECK_H
#define CHECK_H
#include <mpshm.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static int is_child = 0;

static inline void fail(const char *file, int line, const char *what, long found, long expected) {
    char text[400];
    mpshm_last_message(text, sizeof text);
    fprintf(stderr, "%s:%d: %s: found %ld (%s), expected %ld (%s); last message: %s\n", file, line, what, found,
            mpshm_err_name((int)found), expected, mpshm_err_name((int)expected), text);
    fflush(NULL);
    if (is_child) _exit(1);
    exit(1);
}

#define SAME(found, expected)                                                  \
    do {                                                                       \
        long f_ = (long)(found), e_ = (long)(expected);                        \
        if (f_ != e_) fail(__FILE__, __LINE__, #found, f_, e_);                \
    } while (0)
#define OK(call) SAME(call, 0)
#define TRUE(what) SAME(!!(what), 1)

#define MS INT64_C(1000000)

static inline double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A name that only this process uses. */
static inline const char *unique(const char *label) {
    static char names[8][64];
    static int next = 0;
    char *name = names[next++ % 8];
    snprintf(name, sizeof names[0], "ffi.%ld.%s", (long)getpid(), label);
    return name;
}

/* What a child ends with open on purpose, so that it is no leak to who looks for those. */
static void *volatile kept[2];

/* Forks; the child runs body and ends. Reaped with reap(). */
static inline pid_t child(int (*body)(void *), void *context) {
    pid_t pid = fork();
    if (pid == 0) {
        is_child = 1;
        kept[0] = context;
        _exit(body(context));
    }
    TRUE(pid > 0);
    return pid;
}

static inline int reap(pid_t pid) {
    int status = 0;
    SAME(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* A sleep of no meaning of its own. */
static inline void nap(int64_t ns) {
    struct timespec t;
    t.tv_sec = (time_t)(ns / 1000000000);
    t.tv_nsec = (long)(ns % 1000000000);
    nanosleep(&t, NULL);
}

/* Waits for what no call waits for; fails after a minute. */
#define UNTIL(what)                                                            \
    do {                                                                       \
        double end_ = seconds() + 60;                                          \
        while (!(what)) {                                                      \
            if (seconds() > end_) fail(__FILE__, __LINE__, "not within a minute: " #what, 0, 1); \
            nap(MS);                                                           \
        }                                                                      \
    } while (0)

/* The letter of a process's state in /proc. */
static inline char state_of(pid_t pid) {
    char path[64], text[512], *end;
    FILE *file;
    size_t length;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    file = fopen(path, "r");
    TRUE(file != NULL);
    length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    end = strrchr(text, ')');
    TRUE(end != NULL && end[1] == ' ');
    return end[2];
}

/* Waits until a child of one thread sleeps. */
static inline void until_asleep(pid_t pid) { UNTIL(state_of(pid) == 'S'); }

/* Kills a child, and reaps it. */
static inline void kill_and_reap(pid_t pid) {
    SAME(kill(pid, SIGKILL), 0);
    SAME(reap(pid), -SIGKILL);
}

/* Takes part in everything that is random here; the same at every run. */
static inline uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* How often something is repeated: where a machine runs the program slowly (valgrind), less often. */
static inline int rounds(int many, int few) { return getenv("MPSHM_FEW") ? few : many; }

/* Short for what the tests ask most. */
static inline mpshm_ring_t *ring_of(size_t item_size, uint64_t capacity, uint64_t flags) {
    mpshm_ring_options_t options;
    mpshm_ring_t *r = NULL;
    OK(mpshm_ring_options_init(&options));
    options.item_size = item_size;
    options.capacity = capacity;
    options.flags = flags;
    OK(mpshm_ring_create(NULL, NULL, &options, &r));
    return r;
}

static inline uint64_t ring_length(const mpshm_ring_t *r) {
    uint64_t length = UINT64_MAX;
    OK(mpshm_ring_length(r, &length));
    return length;
}

static inline mpshm_queue_counters_t ring_counters(const mpshm_ring_t *r) {
    mpshm_queue_counters_t counters;
    memset(&counters, 0xff, sizeof counters);
    counters.struct_size = sizeof counters;
    OK(mpshm_ring_counters(r, &counters));
    return counters;
}

static inline mpshm_queue_t *queue_of(size_t item_size, uint64_t capacity, uint64_t flags) {
    mpshm_queue_options_t options;
    mpshm_queue_t *q = NULL;
    OK(mpshm_queue_options_init(&options));
    options.item_size = item_size;
    options.capacity = capacity;
    options.flags = flags;
    options.message_max = 100;
    OK(mpshm_queue_create(NULL, NULL, &options, &q));
    return q;
}

static inline uint64_t queue_length(const mpshm_queue_t *q) {
    uint64_t length = UINT64_MAX;
    OK(mpshm_queue_length(q, &length));
    return length;
}

static inline mpshm_queue_counters_t queue_counters(const mpshm_queue_t *q) {
    mpshm_queue_counters_t counters;
    memset(&counters, 0xff, sizeof counters);
    counters.struct_size = sizeof counters;
    OK(mpshm_queue_counters(q, &counters));
    return counters;
}
#endif
