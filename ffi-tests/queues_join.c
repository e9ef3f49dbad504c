/* A30: unfinished items, task_done and join; what workers that die leave unfinished comes again. */
#include "check.h"

static mpshm_queue_t *queue;
static mpshm_value_t *finished;
static size_t item_size;

static int works(void *context) {
    char item[100];
    size_t length;
    (void)context;
    for (;;) {
        int code = mpshm_queue_pop(queue, item, sizeof item, MPSHM_FOREVER, &length);
        if (code == MPSHM_ECLOSED) break;
        OK(code);
        nap(5 * MS); /* the work */
        OK(mpshm_value_i64_fetch_add(finished, 1, NULL));
        OK(mpshm_queue_task_done(queue));
    }
    /* One too many. */
    SAME(mpshm_queue_task_done(queue), MPSHM_EINVAL);
    return 0;
}

static int dies_at_work(void *context) {
    char item[100];
    (void)context;
    OK(mpshm_queue_pop(queue, item, sizeof item, MPSHM_FOREVER, NULL));
    raise(SIGKILL);
    return 0;
}

static int joins(void *context) {
    int64_t n = 0;
    (void)context;
    OK(mpshm_queue_join(queue, MPSHM_FOREVER));
    OK(mpshm_value_i64_load(finished, &n));
    return (int)n;
}

static void workers(void) {
    char item[100] = {0};
    int64_t zero = 0, n = 0;
    pid_t pids[4], joiner;
    int i;
    queue = queue_of(item_size, 16, MPSHM_QUEUE_JOINABLE);
    OK(mpshm_value_create(NULL, NULL, MPSHM_I64, &zero, &finished));
    /* Nothing is unfinished. */
    OK(mpshm_queue_join(queue, 0));
    SAME(mpshm_queue_task_done(queue), MPSHM_EINVAL);
    for (i = 0; i < 10; i++) {
        item[0] = (char)i;
        OK(mpshm_queue_push(queue, item, item_size ? item_size : 30, 0));
    }
    SAME(mpshm_queue_join(queue, 0), MPSHM_ETIMEDOUT);
    SAME(mpshm_queue_join(queue, 20 * MS), MPSHM_ETIMEDOUT);
    joiner = child(joins, NULL);
    for (i = 0; i < 4; i++) pids[i] = child(works, NULL);
    OK(mpshm_queue_join(queue, MPSHM_FOREVER));
    OK(mpshm_value_i64_load(finished, &n));
    SAME(n, 10);
    SAME(reap(joiner), 10);
    SAME(mpshm_queue_task_done(queue), MPSHM_EINVAL);
    OK(mpshm_queue_shutdown(queue));
    for (i = 0; i < 4; i++) SAME(reap(pids[i]), 0);
    OK(mpshm_queue_join(queue, 0));
    mpshm_queue_close(queue);
    mpshm_value_close(finished);
}

/* What was popped is not done; what dies with its worker comes again, and keeps join waiting. */
static void deaths(void) {
    char item[100] = {7};
    size_t size = item_size ? item_size : 30, length;
    queue = queue_of(item_size, 4, MPSHM_QUEUE_JOINABLE);
    OK(mpshm_queue_push(queue, item, size, 0));
    SAME(reap(child(dies_at_work, NULL)), -SIGKILL);
    SAME(mpshm_queue_join(queue, 20 * MS), MPSHM_ETIMEDOUT);
    item[0] = 0;
    OK(mpshm_queue_pop(queue, item, sizeof item, 1000 * MS, &length));
    SAME(length, size);
    SAME(item[0], 7);
    SAME(mpshm_queue_join(queue, 0), MPSHM_ETIMEDOUT);
    OK(mpshm_queue_task_done(queue));
    OK(mpshm_queue_join(queue, 0));
    SAME(queue_counters(queue).redelivered, 1);
    mpshm_queue_close(queue);
}

static void forms(void) {
    mpshm_queue_t *other;
    char text[100];
    const void *view;
    size_t length, done;
    static const size_t lengths[3] = {1, 1, 1};
    queue = queue_of(0, 8, MPSHM_QUEUE_JOINABLE);
    /* A claim is done when it is released, not when it is given back. */
    OK(mpshm_queue_push(queue, "a", 1, 0));
    OK(mpshm_queue_claim(queue, 0, &view, &length));
    SAME(mpshm_queue_task_done(queue), MPSHM_EINVAL);
    OK(mpshm_queue_give_back(queue));
    SAME(mpshm_queue_join(queue, 0), MPSHM_ETIMEDOUT);
    OK(mpshm_queue_claim(queue, 0, &view, &length));
    SAME(mpshm_queue_join(queue, 0), MPSHM_ETIMEDOUT);
    OK(mpshm_queue_release(queue));
    OK(mpshm_queue_join(queue, 0));
    /* A batch: one task_done for each. */
    OK(mpshm_queue_push_many(queue, "bcd", lengths, 3, 0, NULL));
    OK(mpshm_queue_pop_many(queue, text, sizeof text, 3, 0, NULL, &done));
    SAME(done, 3);
    OK(mpshm_queue_task_done(queue));
    OK(mpshm_queue_task_done(queue));
    SAME(mpshm_queue_join(queue, 0), MPSHM_ETIMEDOUT);
    OK(mpshm_queue_task_done(queue));
    OK(mpshm_queue_join(queue, 0));
    SAME(mpshm_queue_task_done(queue), MPSHM_EINVAL);
    /* Of the handle that popped it; a closed handle's come again. */
    OK(mpshm_queue_clone(queue, &other));
    OK(mpshm_queue_push(queue, "e", 1, 0));
    OK(mpshm_queue_pop(other, text, sizeof text, 0, NULL));
    SAME(mpshm_queue_task_done(queue), MPSHM_EINVAL);
    SAME(mpshm_queue_join(queue, 0), MPSHM_ETIMEDOUT);
    mpshm_queue_close(other);
    OK(mpshm_queue_pop(queue, text, sizeof text, 0, NULL));
    SAME(text[0], 'e');
    OK(mpshm_queue_task_done(queue));
    OK(mpshm_queue_join(queue, 0));
    mpshm_queue_close(queue);

    /* Small items lie in blocks then, so that they can be read in place. */
    queue = queue_of(1, 8, MPSHM_QUEUE_JOINABLE);
    OK(mpshm_queue_push(queue, "f", 1, 0));
    OK(mpshm_queue_claim(queue, 0, &view, &length));
    SAME(length, 1);
    SAME(*(const char *)view, 'f');
    OK(mpshm_queue_release(queue));
    OK(mpshm_queue_join(queue, 0));
    mpshm_queue_close(queue);

    queue = queue_of(0, 8, 0);
    OK(mpshm_queue_push(queue, "a", 1, 0));
    OK(mpshm_queue_pop(queue, text, sizeof text, 0, NULL));
    SAME(mpshm_queue_task_done(queue), MPSHM_EINVAL);
    SAME(mpshm_queue_join(queue, 0), MPSHM_EINVAL);
    mpshm_queue_close(queue);
}

int main(void) {
    static const size_t sizes[] = {0, 8, 24};
    size_t i;
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        item_size = sizes[i];
        workers();
        deaths();
    }
    forms();
    return 0;
}
