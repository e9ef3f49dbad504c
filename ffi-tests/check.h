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

/* Forks; the child runs body and ends. Reaped with reap(). */
static inline pid_t child(int (*body)(void *), void *context) {
    pid_t pid = fork();
    if (pid == 0) {
        is_child = 1;
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

static inline void nap(int64_t ns) {
    struct timespec t;
    t.tv_sec = (time_t)(ns / 1000000000);
    t.tv_nsec = (long)(ns % 1000000000);
    nanosleep(&t, NULL);
}
#endif
