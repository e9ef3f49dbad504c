/* A16: what a child is to be like before its function or its program runs; what cannot be is the call's error. */
#include "check.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>

static mpshm_process_options_t defaults(void) {
    mpshm_process_options_t options;
    OK(mpshm_process_options_init(&options));
    return options;
}

/* Executes this program, which then takes its role from its first argument. */
static mpshm_process_t *executed(const char *role, const mpshm_process_options_t *options) {
    const char *arguments[2];
    mpshm_process_t *p = NULL;
    arguments[0] = role;
    arguments[1] = NULL;
    OK(mpshm_process_exec("/proc/self/exe", arguments, options, &p));
    return p;
}

static int ended(mpshm_process_t *p) {
    int status = -1000;
    OK(mpshm_process_join(p, MPSHM_FOREVER, &status));
    mpshm_process_close(p);
    return status;
}

/* The roles. */
static int descriptors(void) {
    int fd, open = 0;
    for (fd = 3; fd < 1000; fd++)
        if (fcntl(fd, F_GETFD) >= 0) open++;
    return open;
}

static int adds(void) {
    mpshm_segment_t *segment, *other;
    mpshm_value_t *value;
    int32_t pid;
    int64_t seven = 7;
    OK(mpshm_segment_inherited("the label", &segment));
    SAME(mpshm_segment_inherited("another", &other), MPSHM_ENOTFOUND);
    SAME(mpshm_segment_inherited(NULL, &other), MPSHM_EINVAL);
    SAME(mpshm_segment_inherited("the label", NULL), MPSHM_EINVAL);
    SAME(mpshm_parent_pid(&pid), MPSHM_ENOTFOUND);
    OK(mpshm_value_open(segment, "sum", MPSHM_I64, &value));
    OK(mpshm_value_store(value, &seven));
    mpshm_value_close(value);
    mpshm_segment_close(segment);
    return 5;
}

static int role(const char *name) {
    if (strcmp(name, "descriptors") == 0) return descriptors();
    if (strcmp(name, "adds") == 0) return adds();
    if (strcmp(name, "variable") == 0) return getenv("MPSHM_TEST") && strcmp(getenv("MPSHM_TEST"), "x=y") == 0;
    return 99;
}

/* The functions. */
static int niceness(void *context) {
    (void)context;
    return getpriority(PRIO_PROCESS, 0);
}
static int processors(void *context) {
    cpu_set_t set;
    (void)context;
    SAME(sched_getaffinity(0, sizeof set, &set), 0);
    return CPU_COUNT(&set);
}
static int leads(void *context) {
    (void)context;
    return (getsid(0) == getpid()) + 2 * (getpgrp() == getpid());
}
static int prints(void *context) {
    (void)context;
    printf("out");
    fprintf(stderr, "err");
    return 0;
}
static int daemon_of_daemon(void *context) {
    mpshm_process_options_t options = defaults();
    mpshm_process_t *p;
    bool daemon = false;
    int inner;
    (void)context;
    TRUE(mpshm_current_is_daemon());
    OK(mpshm_process_spawn(niceness, NULL, NULL, &p));
    OK(mpshm_process_is_daemon(p, &daemon));
    TRUE(daemon);
    ended(p);
    options.flags = MPSHM_PROCESS_NO_DAEMON;
    OK(mpshm_process_spawn(niceness, NULL, &options, &p));
    OK(mpshm_process_is_daemon(p, &daemon));
    TRUE(!daemon);
    inner = ended(p);
    return inner == niceness(NULL) ? 1 : 0;
}

static void no_child(void) { SAME(waitpid(-1, NULL, WNOHANG), -1); }

int main(int argc, char **argv) {
    mpshm_process_options_t options = defaults();
    mpshm_process_t *p;
    uint32_t cpus[2] = {0, 60000};
    if (argc > 1) {
        is_child = 1;
        return role(argv[1]);
    }

    /* Options of a function. */
    options.nice = 2;
    OK(mpshm_process_spawn(niceness, NULL, &options, &p));
    SAME(ended(p), (niceness(NULL) + 2 > 19 ? 19 : niceness(NULL) + 2) & 0xff);
    options = defaults();
    options.flags = MPSHM_PROCESS_NEW_SESSION;
    OK(mpshm_process_spawn(leads, NULL, &options, &p));
    SAME(ended(p), 3);
    options = defaults();
    options.group = 0;
    OK(mpshm_process_spawn(leads, NULL, &options, &p));
    SAME(ended(p), 2);
    options.flags = MPSHM_PROCESS_DAEMON;
    OK(mpshm_process_spawn(daemon_of_daemon, NULL, &options, &p));
    SAME(ended(p), 1);
    options = defaults();
    {
        cpu_set_t set;
        uint32_t cpu = 0;
        SAME(sched_getaffinity(0, sizeof set, &set), 0);
        while (!CPU_ISSET(cpu, &set)) cpu++;
        cpus[0] = cpu;
        options.cpus = cpus;
        options.cpu_count = 1;
        OK(mpshm_process_spawn(processors, NULL, &options, &p));
        SAME(ended(p), 1);
    }

    /* What cannot be. */
    p = NULL;
    options.cpu_count = 2;
    SAME(mpshm_process_spawn(processors, NULL, &options, &p), MPSHM_EINVAL);
    options.cpu_count = 0;
    SAME(mpshm_process_spawn(processors, NULL, &options, &p), MPSHM_EINVAL);
    options.cpus = NULL;
    options.cpu_count = 2;
    SAME(mpshm_process_spawn(processors, NULL, &options, &p), MPSHM_EINVAL);
    options = defaults();
    options.flags = MPSHM_PROCESS_DAEMON | MPSHM_PROCESS_NO_DAEMON;
    SAME(mpshm_process_spawn(leads, NULL, &options, &p), MPSHM_EINVAL);
    options = defaults();
    options.reserved = 1;
    SAME(mpshm_process_spawn(leads, NULL, &options, &p), MPSHM_EINVAL);
    options = defaults();
    options.group = -5;
    SAME(mpshm_process_spawn(leads, NULL, &options, &p), MPSHM_EINVAL);
    options = defaults();
    options.stdout_fd = 999;
    TRUE(mpshm_process_spawn(leads, NULL, &options, &p) < 0);
    TRUE(p == NULL);
    no_child();

    /* Standard descriptors. */
    {
        int pipes[2];
        char text[100];
        ssize_t got, all = 0;
        SAME(pipe(pipes), 0);
        options = defaults();
        options.stdin_fd = MPSHM_NULL_DEVICE;
        options.stdout_fd = options.stderr_fd = pipes[1];
        OK(mpshm_process_spawn(prints, NULL, &options, &p));
        SAME(ended(p), 0);
        TRUE(fcntl(pipes[1], F_GETFD) >= 0);
        close(pipes[1]);
        while ((got = read(pipes[0], text + all, sizeof text - 1 - (size_t)all)) > 0) all += got;
        text[all] = 0;
        TRUE(strcmp(text, "errout") == 0 || strcmp(text, "outerr") == 0);
        close(pipes[0]);
    }

    /* Programs. */
    {
        mpshm_process_segment_t handed[2];
        mpshm_segment_t *segment;
        mpshm_value_t *value;
        int64_t sum = 1;
        const char *environment[] = {"MPSHM_TEST=old", "MPSHM_TEST=x=y", NULL};
        const char *bad[] = {"no-value", NULL};
        int leaking = dup(0);
        OK(mpshm_segment_create(NULL, 4096, NULL, &segment));
        OK(mpshm_value_create(segment, "sum", MPSHM_I64, &sum, &value));
        handed[0].label = "the label";
        handed[0].segment = segment;
        handed[1] = handed[0];
        options = defaults();
        options.segments = handed;
        options.segment_count = 1;
        SAME(ended(executed("adds", &options)), 5);
        OK(mpshm_value_load(value, &sum));
        SAME(sum, 7);
        SAME(ended(executed("descriptors", &options)), 1);
        SAME(ended(executed("descriptors", NULL)), 0);
        close(leaking);
        options.segment_count = 2;
        SAME(mpshm_process_exec("true", NULL, &options, &p), MPSHM_EEXISTS);
        handed[1].label = NULL;
        SAME(mpshm_process_exec("true", NULL, &options, &p), MPSHM_EINVAL);
        handed[1].label = "b";
        handed[1].segment = NULL;
        SAME(mpshm_process_exec("true", NULL, &options, &p), MPSHM_EINVAL);
        options = defaults();
        options.environment = environment;
        SAME(ended(executed("variable", &options)), 1);
        options.environment = bad;
        SAME(mpshm_process_exec("true", NULL, &options, &p), MPSHM_EINVAL);
        mpshm_value_close(value);
        mpshm_segment_close(segment);
    }
    OK(mpshm_process_exec("true", NULL, NULL, &p));
    SAME(ended(p), 0);
    p = NULL;
    SAME(mpshm_process_exec("no-such-program-anywhere", NULL, NULL, &p), MPSHM_ENOTFOUND);
    SAME(mpshm_last_errno(), ENOENT);
    SAME(mpshm_process_exec("/", NULL, NULL, &p), MPSHM_EPERM);
    SAME(mpshm_process_exec(NULL, NULL, NULL, &p), MPSHM_EINVAL);
    SAME(mpshm_process_exec("true", NULL, NULL, NULL), MPSHM_EINVAL);
    TRUE(p == NULL);
    no_child();
    return 0;
}
