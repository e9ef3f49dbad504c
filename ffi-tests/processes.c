/* A03, A07, A08, A09, A13, B31: children, their statuses, waiting for them. */
#include "check.h"
#include <poll.h>

static int returns(void *context) { return *(int *)context; }

static int aborts(void *context) {
    (void)context;
    abort();
    return 0;
}

static int sleeps(void *context) {
    (void)context;
    sleep(100);
    return 0;
}

static int prints_without_newline(void *context) {
    (void)context;
    printf("child");
    return 0;
}

static int joins_the_parents(void *context) {
    SAME(mpshm_process_join((mpshm_process_t *)context, 0, NULL), MPSHM_EFORKED);
    SAME(mpshm_process_kill((mpshm_process_t *)context), MPSHM_EFORKED);
    return 0;
}

int main(void) {
    mpshm_process_options_t options;
    mpshm_process_t *p;
    int codes[3] = {0, 8, 300}, expected[3] = {0, 8, 44}, i, status, fd;
    bool alive;
    int32_t pid;
    double begin;
    struct pollfd poll_fd;
    for (i = 0; i < 3; i++) {
        OK(mpshm_process_spawn(returns, &codes[i], NULL, &p));
        OK(mpshm_process_join(p, MPSHM_FOREVER, &status));
        SAME(status, expected[i]);
        OK(mpshm_process_join(p, 0, &status));
        SAME(status, expected[i]);
        OK(mpshm_process_is_alive(p, &alive));
        TRUE(!alive);
        OK(mpshm_process_kill(p));
        mpshm_process_close(p);
    }
    OK(mpshm_process_spawn(aborts, NULL, NULL, &p));
    OK(mpshm_process_join(p, MPSHM_FOREVER, &status));
    SAME(status, -SIGABRT);
    mpshm_process_close(p);

    OK(mpshm_process_options_init(&options));
    options.name = "sleeper";
    options.flags = MPSHM_PROCESS_KILL_WITH_PARENT;
    OK(mpshm_process_spawn(sleeps, NULL, &options, &p));
    OK(mpshm_process_is_alive(p, &alive));
    TRUE(alive);
    OK(mpshm_process_pid(p, &pid));
    TRUE(pid > 0);
    begin = seconds();
    SAME(mpshm_process_join(p, 50 * MS, &status), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    SAME(mpshm_process_join(p, 0, &status), MPSHM_ETIMEDOUT);
    OK(mpshm_process_fd(p, &fd));
    poll_fd.fd = fd;
    poll_fd.events = POLLIN;
    SAME(poll(&poll_fd, 1, 0), 0);
    SAME(reap(child(joins_the_parents, p)), 0);
    SAME(mpshm_process_signal(p, 4000), MPSHM_EINVAL);
    OK(mpshm_process_terminate(p));
    SAME(poll(&poll_fd, 1, 5000), 1);
    OK(mpshm_process_join(p, MPSHM_FOREVER, &status));
    SAME(status, -SIGTERM);
    mpshm_process_close(p);

    options.flags = MPSHM_PROCESS_DAEMON;
    OK(mpshm_process_spawn(sleeps, NULL, &options, &p));
    OK(mpshm_process_pid(p, &pid));
    mpshm_process_close(p);
    SAME(kill(pid, 0), -1);
    options.flags = 1 << 30;
    SAME(mpshm_process_spawn(sleeps, NULL, &options, &p), MPSHM_EINVAL);

    /* Buffered output comes out once on either side. */
    {
        int pipes[2], saved = dup(1);
        char text[100];
        ssize_t got;
        SAME(pipe(pipes), 0);
        fflush(stdout);
        dup2(pipes[1], 1);
        printf("parent,");
        OK(mpshm_process_spawn(prints_without_newline, NULL, NULL, &p));
        OK(mpshm_process_join(p, MPSHM_FOREVER, &status));
        printf(",parent");
        fflush(stdout);
        dup2(saved, 1);
        close(pipes[1]);
        got = read(pipes[0], text, sizeof text - 1);
        TRUE(got >= 0);
        text[got] = 0;
        if (strcmp(text, "parent,child,parent") != 0) fprintf(stderr, "%s\n", text);
        SAME(strcmp(text, "parent,child,parent"), 0);
        mpshm_process_close(p);
        close(pipes[0]);
        close(saved);
    }
    return 0;
}
