/* A47, A48, B10, B12, B13: events over processes; pulses; waiters that were killed; set in a signal handler; misuse. */
#include "check.h"

#include <errno.h>

static int sets(void *context) {
    nap(20 * MS);
    OK(mpshm_event_set((mpshm_event_t *)context));
    return 0;
}

static int waits(void *context) {
    OK(mpshm_event_wait((mpshm_event_t *)context, MPSHM_FOREVER));
    return 0;
}

static mpshm_event_t *in_handler;
static volatile sig_atomic_t handled = 0;

static void handler(int number) {
    (void)number;
    if (mpshm_event_set(in_handler) != 0) abort();
    handled++;
}

static void from_a_signal_handler(void) {
    struct sigaction action;
    int i;
    OK(mpshm_event_create(NULL, NULL, &in_handler));
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    SAME(sigaction(SIGALRM, &action, NULL), 0);
    for (i = 0; i < rounds(300, 30); i++) {
        bool is_set;
        ualarm(200 + (useconds_t)(i % 50) * 20, 0);
        OK(mpshm_event_wait(in_handler, 60000 * MS));
        OK(mpshm_event_clear(in_handler));
        OK(mpshm_event_is_set(in_handler, &is_set));
        TRUE(!is_set);
    }
    SAME(handled, rounds(300, 30));
    errno = 77;
    raise(SIGALRM);
    SAME(errno, 77);
    mpshm_event_close(in_handler);
}

int main(void) {
    mpshm_event_t *e, *f;
    bool is_set = true;
    double begin;
    pid_t pids[3];
    int i;
    const char *name = unique("event");

    OK(mpshm_event_create(NULL, NULL, &e));
    OK(mpshm_event_is_set(e, &is_set));
    TRUE(!is_set);
    SAME(mpshm_event_wait(e, 0), MPSHM_ETIMEDOUT);
    begin = seconds();
    SAME(mpshm_event_wait(e, 50 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    OK(mpshm_event_set(e));
    OK(mpshm_event_set(e));
    OK(mpshm_event_is_set(e, &is_set));
    TRUE(is_set);
    OK(mpshm_event_wait(e, 0));
    OK(mpshm_event_wait(e, MPSHM_FOREVER));
    OK(mpshm_event_clear(e));
    OK(mpshm_event_clear(e));
    pids[0] = child(sets, e);
    OK(mpshm_event_wait(e, MPSHM_FOREVER));
    SAME(reap(pids[0]), 0);

    /* Everybody who waits is woken, by a pulse too, whoever of them was killed or stopped. */
    OK(mpshm_event_clear(e));
    for (i = 0; i < 3; i++) {
        pids[i] = child(waits, e);
        until_asleep(pids[i]);
    }
    kill_and_reap(pids[0]);
    SAME(kill(pids[1], SIGSTOP), 0);
    UNTIL(state_of(pids[1]) == 'T');
    OK(mpshm_event_set(e));
    OK(mpshm_event_clear(e));
    SAME(reap(pids[2]), 0);
    SAME(kill(pids[1], SIGCONT), 0);
    SAME(reap(pids[1]), 0);

    SAME(mpshm_event_wait(e, -2), MPSHM_EINVAL);
    SAME(mpshm_event_wait(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_event_set(NULL), MPSHM_EINVAL);
    SAME(mpshm_event_clear(NULL), MPSHM_EINVAL);
    SAME(mpshm_event_is_set(e, NULL), MPSHM_EINVAL);
    SAME(mpshm_event_is_set(NULL, &is_set), MPSHM_EINVAL);
    SAME(mpshm_event_create(NULL, NULL, NULL), MPSHM_EINVAL);
    mpshm_event_close(e);

    OK(mpshm_event_create(NULL, name, &e));
    SAME(mpshm_event_create(NULL, name, &f), MPSHM_EEXISTS);
    OK(mpshm_event_open(NULL, name, &f));
    OK(mpshm_event_set(f));
    OK(mpshm_event_wait(e, 0));
    mpshm_event_close(f);
    OK(mpshm_event_open_or_create(NULL, name, &f));
    OK(mpshm_event_wait(f, 0));
    mpshm_event_close(f);
    OK(mpshm_segment_unlink(name));
    SAME(mpshm_event_open(NULL, name, &f), MPSHM_ENOTFOUND);
    mpshm_event_close(e);
    mpshm_event_close(NULL);

    from_a_signal_handler();
    return 0;
}
