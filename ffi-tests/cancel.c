/* A blocked call ends on purpose, from a signal handler. */
#include "check.h"

static mpshm_canceller_t *canceller;

static void on_alarm(int signal) {
    int saved = mpshm_canceller_cancel(canceller);
    (void)signal;
    (void)saved;
}

int main(void) {
    mpshm_queue_t *q;
    char text[4096];
    double begin;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    SAME(sigaction(SIGALRM, &action, NULL), 0);
    OK(mpshm_canceller_create(&canceller));
    OK(mpshm_queue_create(NULL, NULL, NULL, &q));
    OK(mpshm_canceller_enter(canceller));
    alarm(1);
    begin = seconds();
    SAME(mpshm_queue_pop(q, text, sizeof text, MPSHM_FOREVER, NULL), MPSHM_EINTERRUPTED);
    TRUE(seconds() - begin >= 0.9 && seconds() - begin < 3);
    /* It sticks until it is reset; what is there is taken all the same. */
    SAME(mpshm_queue_pop(q, text, sizeof text, MPSHM_FOREVER, NULL), MPSHM_EINTERRUPTED);
    OK(mpshm_queue_push(q, "x", 1, MPSHM_FOREVER));
    OK(mpshm_queue_pop(q, text, sizeof text, MPSHM_FOREVER, NULL));
    OK(mpshm_canceller_reset(canceller));
    SAME(mpshm_queue_pop(q, text, sizeof text, 50 * MS, NULL), MPSHM_ETIMEDOUT);
    OK(mpshm_canceller_leave());
    mpshm_canceller_close(canceller);
    mpshm_queue_close(q);
    return 0;
}
