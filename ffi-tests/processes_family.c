/* A01, A02, A10, A11, B23, B34: whose child lives, who the parent is, what can be known of an end. */
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>

static int sleeps(void *context) {
    (void)context;
    for (;;) pause();
    return 0;
}
static int returns_3(void *context) {
    (void)context;
    return 3;
}

static mpshm_process_t *spawned(int (*function)(void *), void *context, const char *name) {
    mpshm_process_options_t options;
    mpshm_process_t *p = NULL;
    OK(mpshm_process_options_init(&options));
    options.name = name;
    OK(mpshm_process_spawn(function, context, &options, &p));
    return p;
}

static void kill_and_close(mpshm_process_t *p) {
    int status = 0;
    OK(mpshm_process_kill(p));
    OK(mpshm_process_join(p, MPSHM_FOREVER, &status));
    SAME(status, -SIGKILL);
    mpshm_process_close(p);
}

static void no_child(void) { SAME(waitpid(-1, NULL, WNOHANG), -1); }

static size_t active(void) {
    size_t count = 1000;
    OK(mpshm_active_children(NULL, 0, &count));
    return count;
}

static void names_and_children(void) {
    mpshm_process_t *one = spawned(sleeps, NULL, "one"), *two = spawned(sleeps, NULL, "two"), *more[3];
    char name[16];
    size_t length = 0, count = 0;
    OK(mpshm_process_name(one, name, sizeof name, &length));
    TRUE(strcmp(name, "one") == 0 && length == 4);
    OK(mpshm_process_name(one, name, 2, &length));
    TRUE(strcmp(name, "o") == 0 && length == 4);
    OK(mpshm_process_name(one, NULL, 0, NULL));
    SAME(mpshm_process_name(one, NULL, 1, NULL), MPSHM_EINVAL);
    OK(mpshm_current_name(name, sizeof name, NULL));
    TRUE(strcmp(name, "MainProcess") == 0);
    TRUE(!mpshm_current_is_child() && !mpshm_current_is_daemon());
    SAME(active(), 2);
    mpshm_process_close(two);
    OK(mpshm_active_children(more, 3, &count));
    SAME(count, 2);
    SAME(mpshm_active_children(NULL, 3, &count), MPSHM_EINVAL);
    SAME(mpshm_active_children(more, 3, NULL), MPSHM_EINVAL);
    kill_and_close(more[0]);
    kill_and_close(more[1]);
    SAME(active(), 0);
    mpshm_process_close(one);
    no_child();
}

/* What the grandchild writes, and the child's process id. */
struct told {
    int fds[2];
    pid_t main;
};

static int watches(void *context) {
    struct told *told = (struct told *)context;
    struct pollfd fd;
    char name[16];
    int32_t pid;
    bool alive = false;
    SAME(mpshm_parent_wait_death(0), MPSHM_ETIMEDOUT);
    SAME(mpshm_parent_wait_death(-2), MPSHM_EINVAL);
    OK(mpshm_parent_pid(&pid));
    SAME(pid, getppid());
    OK(mpshm_parent_name(name, sizeof name, NULL));
    TRUE(strcmp(name, "middle") == 0);
    OK(mpshm_parent_is_alive(&alive));
    TRUE(alive);
    OK(mpshm_parent_fd(&fd.fd));
    fd.events = POLLIN;
    SAME(poll(&fd, 1, 0), 0);
    SAME(write(told->fds[1], &pid, sizeof pid), sizeof pid);
    OK(mpshm_parent_wait_death(MPSHM_FOREVER));
    OK(mpshm_parent_is_alive(&alive));
    TRUE(!alive);
    SAME(poll(&fd, 1, 0), 1);
    SAME(write(told->fds[1], &pid, sizeof pid), sizeof pid);
    return 0;
}

static int middle(void *context) {
    struct told *told = (struct told *)context;
    mpshm_process_t *p;
    int32_t pid;
    TRUE(mpshm_current_is_child());
    OK(mpshm_parent_pid(&pid));
    SAME(pid, told->main);
    OK(mpshm_process_spawn(watches, told, NULL, &p));
    for (;;) pause();
    return 0;
}

static void parents(void) {
    struct told told;
    mpshm_process_t *p;
    int32_t pid, again;
    bool alive;
    SAME(mpshm_parent_pid(&pid), MPSHM_ENOTFOUND);
    SAME(mpshm_parent_is_alive(&alive), MPSHM_ENOTFOUND);
    SAME(mpshm_parent_wait_death(0), MPSHM_ENOTFOUND);
    SAME(pipe(told.fds), 0);
    told.main = getpid();
    p = spawned(middle, &told, "middle");
    SAME(read(told.fds[0], &pid, sizeof pid), sizeof pid);
    OK(mpshm_process_pid(p, &again));
    SAME(pid, again);
    /* A zombie at first, for nobody has reaped it when the grandchild says that it is dead. */
    OK(mpshm_process_kill(p));
    SAME(read(told.fds[0], &again, sizeof again), sizeof again);
    SAME(pid, again);
    kill_and_close(p);
    TRUE(waitpid(-1, NULL, 0) > 0);
    close(told.fds[0]);
    close(told.fds[1]);
    no_child();
}

static void *joins(void *context) {
    static int status[2];
    static int next = 0;
    int *mine = &status[__atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) % 2];
    OK(mpshm_process_join((mpshm_process_t *)context, MPSHM_FOREVER, mine));
    return mine;
}

static void *cancels(void *context) {
    nap(20 * MS);
    OK(mpshm_canceller_cancel((mpshm_canceller_t *)context));
    return NULL;
}

static void statuses(void) {
    mpshm_process_t *p;
    mpshm_canceller_t *canceller;
    pthread_t thread;
    void *other;
    bool said;
    int status, round;
    int32_t pid;
    /* Two threads at once. */
    for (round = 0; round < rounds(50, 5); round++) {
        p = spawned(returns_3, NULL, NULL);
        SAME(pthread_create(&thread, NULL, joins, p), 0);
        SAME(*(int *)joins(p), 3);
        SAME(pthread_join(thread, &other), 0);
        SAME(*(int *)other, 3);
        mpshm_process_close(p);
    }
    /* Somebody else reaps it. */
    p = spawned(returns_3, NULL, NULL);
    OK(mpshm_process_pid(p, &pid));
    SAME(reap(pid), 3);
    OK(mpshm_process_join(p, 0, &status));
    SAME(status, MPSHM_STATUS_UNKNOWN);
    OK(mpshm_process_is_alive(p, &said));
    TRUE(!said);
    mpshm_process_close(p);
    /* A stopped one lives. */
    p = spawned(sleeps, NULL, NULL);
    OK(mpshm_process_pid(p, &pid));
    OK(mpshm_process_signal(p, SIGSTOP));
    UNTIL(state_of(pid) == 'T');
    OK(mpshm_process_is_alive(p, &said));
    TRUE(said);
    SAME(mpshm_process_join(p, 10 * MS, &status), MPSHM_ETIMEDOUT);
    /* The first signal does not come to it. */
    OK(mpshm_process_terminate_then_kill(p, 10 * MS, &status));
    SAME(status, -SIGKILL);
    OK(mpshm_process_core_dumped(p, &said));
    TRUE(!said);
    mpshm_process_close(p);
    p = spawned(sleeps, NULL, NULL);
    SAME(mpshm_process_terminate_then_kill(p, -2, &status), MPSHM_EINVAL);
    OK(mpshm_process_terminate_then_kill(p, MPSHM_FOREVER, NULL));
    OK(mpshm_process_join(p, 0, &status));
    SAME(status, -SIGTERM);
    mpshm_process_close(p);
    p = spawned(sleeps, NULL, NULL);
    OK(mpshm_process_interrupt(p));
    OK(mpshm_process_join(p, MPSHM_FOREVER, &status));
    SAME(status, -SIGINT);
    mpshm_process_close(p);
    /* A join is cancelled. */
    p = spawned(sleeps, NULL, NULL);
    OK(mpshm_canceller_create(&canceller));
    OK(mpshm_canceller_enter(canceller));
    SAME(pthread_create(&thread, NULL, cancels, canceller), 0);
    SAME(mpshm_process_join(p, MPSHM_FOREVER, &status), MPSHM_EINTERRUPTED);
    SAME(pthread_join(thread, NULL), 0);
    OK(mpshm_canceller_leave());
    SAME(mpshm_process_join(p, 10 * MS, &status), MPSHM_ETIMEDOUT);
    mpshm_canceller_close(canceller);
    kill_and_close(p);
    no_child();
    /* Nobody is told of any. */
    signal(SIGCHLD, SIG_IGN);
    for (round = 0; round < rounds(20, 5); round++) {
        p = spawned(returns_3, NULL, NULL);
        OK(mpshm_process_join(p, MPSHM_FOREVER, &status));
        SAME(status, MPSHM_STATUS_UNKNOWN);
        mpshm_process_close(p);
    }
    SAME(active(), 0);
    no_child();
    signal(SIGCHLD, SIG_DFL);
}

/* What a NULL does. */
static void nothings(void) {
    mpshm_process_t *p = spawned(returns_3, NULL, NULL);
    bool said;
    SAME(mpshm_process_core_dumped(NULL, &said), MPSHM_EINVAL);
    SAME(mpshm_process_core_dumped(p, NULL), MPSHM_EINVAL);
    SAME(mpshm_process_is_daemon(NULL, &said), MPSHM_EINVAL);
    SAME(mpshm_process_interrupt(NULL), MPSHM_EINVAL);
    SAME(mpshm_process_name(NULL, NULL, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_process_terminate_then_kill(NULL, 0, NULL), MPSHM_EINVAL);
    OK(mpshm_process_join(p, MPSHM_FOREVER, NULL));
    mpshm_process_close(p);
}

int main(void) {
    /* What a child leaves comes here. */
    SAME(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    nothings();
    names_and_children();
    parents();
    statuses();
    return 0;
}
