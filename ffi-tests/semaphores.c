/* A37, A38, A39: semaphores over processes; bounds; owned permits of the dead; several at once; misuse. */
#include "check.h"

static mpshm_semaphore_t *semaphore(uint64_t initial, uint64_t bound, uint64_t flags) {
    mpshm_semaphore_options_t options;
    mpshm_semaphore_t *s = NULL;
    OK(mpshm_semaphore_options_init(&options));
    options.initial = initial;
    options.bound = bound;
    options.flags = flags;
    OK(mpshm_semaphore_create(NULL, NULL, &options, &s));
    return s;
}

static uint64_t value(const mpshm_semaphore_t *s) {
    uint64_t value = UINT64_MAX;
    OK(mpshm_semaphore_value(s, &value));
    return value;
}

static int takes_and_ends(void *context) {
    OK(mpshm_semaphore_acquire((mpshm_semaphore_t *)context, 1, MPSHM_FOREVER));
    return 0;
}

static int takes_and_stays(void *context) {
    OK(mpshm_semaphore_acquire((mpshm_semaphore_t *)context, 1, MPSHM_FOREVER));
    for (;;) pause();
    return 0;
}

static int turns(void *context) {
    mpshm_semaphore_t **two = (mpshm_semaphore_t **)context;
    int i;
    for (i = 0; i < rounds(20000, 500); i++) {
        OK(mpshm_semaphore_acquire(two[0], 1, MPSHM_FOREVER));
        OK(mpshm_semaphore_release(two[1], 1));
    }
    return 0;
}

static void refuses(uint64_t initial, uint64_t bound, uint64_t flags) {
    mpshm_semaphore_options_t options;
    mpshm_semaphore_t *s = NULL;
    uint64_t size = 0;
    OK(mpshm_semaphore_options_init(&options));
    options.initial = initial;
    options.bound = bound;
    options.flags = flags;
    SAME(mpshm_semaphore_create(NULL, NULL, &options, &s), MPSHM_EINVAL);
    SAME(mpshm_semaphore_size_for(&options, &size), MPSHM_EINVAL);
    TRUE(s == NULL && size == 0);
}

static void misuse(void) {
    mpshm_semaphore_options_t options;
    mpshm_semaphore_t *s = semaphore(1, 3, 0);
    char text[200];
    uint64_t free;
    refuses((uint64_t)-1, 0, 0);
    TRUE(mpshm_last_message(text, sizeof text) > 0 && strstr(text, "-1") != NULL);
    refuses(3, 2, 0);
    refuses(1, UINT64_C(1) << 32, 0);
    refuses(1, 2, MPSHM_SEMAPHORE_OWNED);
    refuses(0, 0, MPSHM_SEMAPHORE_OWNED);
    refuses(65537, 0, MPSHM_SEMAPHORE_OWNED);
    refuses(1, 1, 2);
    SAME(mpshm_semaphore_acquire(s, 0, 0), MPSHM_EINVAL);
    SAME(mpshm_semaphore_acquire(s, 4, 0), MPSHM_EINVAL);
    SAME(mpshm_semaphore_acquire(s, UINT64_MAX, 0), MPSHM_EINVAL);
    SAME(mpshm_semaphore_acquire(s, 2, -5), MPSHM_EINVAL);
    SAME(mpshm_semaphore_release(s, 0), MPSHM_EINVAL);
    SAME(mpshm_semaphore_release(s, 3), MPSHM_EINVAL);
    SAME(mpshm_semaphore_release(s, UINT64_C(1) << 32), MPSHM_EINVAL);
    SAME(mpshm_semaphore_acquire(NULL, 1, 0), MPSHM_EINVAL);
    SAME(mpshm_semaphore_release(NULL, 1), MPSHM_EINVAL);
    SAME(mpshm_semaphore_value(NULL, &free), MPSHM_EINVAL);
    SAME(mpshm_semaphore_value(s, NULL), MPSHM_EINVAL);
    SAME(mpshm_semaphore_options_init(NULL), MPSHM_EINVAL);
    SAME(mpshm_semaphore_create(NULL, NULL, NULL, NULL), MPSHM_EINVAL);
    options.struct_size = 3;
    SAME(mpshm_semaphore_size_for(&options, &free), MPSHM_EINVAL);
    SAME(value(s), 1);
    mpshm_semaphore_close(s);
    mpshm_semaphore_close(NULL);
}

int main(void) {
    mpshm_semaphore_t *s, *other, *two[2];
    mpshm_semaphore_options_t options;
    const char *name = unique("semaphore");
    uint64_t size = 0;
    double begin;
    pid_t pids[2];
    int i;

    s = semaphore(2, 0, 0);
    OK(mpshm_semaphore_acquire(s, 1, MPSHM_FOREVER));
    SAME(value(s), 1);
    OK(mpshm_semaphore_acquire(s, 1, MPSHM_FOREVER));
    SAME(mpshm_semaphore_acquire(s, 1, 0), MPSHM_EBUSY);
    begin = seconds();
    SAME(mpshm_semaphore_acquire(s, 1, 50 * MS), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    for (i = 1; i <= 4; i++) {
        OK(mpshm_semaphore_release(s, 1));
        SAME(value(s), i);
    }
    SAME(mpshm_semaphore_acquire(s, 5, 0), MPSHM_EBUSY);
    OK(mpshm_semaphore_acquire(s, 3, 0));
    SAME(value(s), 1);
    SAME(reap(child(takes_and_ends, s)), 0);
    SAME(value(s), 0);
    mpshm_semaphore_close(s);

    s = semaphore(2, 2, 0);
    SAME(mpshm_semaphore_release(s, 1), MPSHM_EINVAL);
    SAME(value(s), 2);
    mpshm_semaphore_close(s);

    /* What the dead own comes back; what the living own is theirs, be they stopped. */
    s = semaphore(2, 0, MPSHM_SEMAPHORE_OWNED);
    SAME(mpshm_semaphore_release(s, 1), MPSHM_ENOTOWNER);
    pids[0] = child(takes_and_stays, s);
    pids[1] = child(takes_and_stays, s);
    UNTIL(value(s) == 0);
    SAME(kill(pids[0], SIGSTOP), 0);
    SAME(mpshm_semaphore_acquire(s, 1, 0), MPSHM_EBUSY);
    SAME(mpshm_semaphore_release(s, 1), MPSHM_ENOTOWNER);
    kill_and_reap(pids[1]);
    OK(mpshm_semaphore_acquire(s, 1, 0));
    SAME(mpshm_semaphore_acquire(s, 1, 0), MPSHM_EBUSY);
    kill_and_reap(pids[0]);
    OK(mpshm_semaphore_acquire(s, 1, MPSHM_FOREVER));
    OK(mpshm_semaphore_release(s, 2));
    SAME(reap(child(takes_and_ends, s)), 0);
    OK(mpshm_semaphore_acquire(s, 2, MPSHM_FOREVER));
    OK(mpshm_semaphore_release(s, 2));
    mpshm_semaphore_close(s);

    /* Two in turn. */
    two[0] = semaphore(0, 1, 0);
    two[1] = semaphore(0, 1, 0);
    pids[0] = child(turns, two);
    for (i = 0; i < rounds(20000, 500); i++) {
        OK(mpshm_semaphore_release(two[0], 1));
        OK(mpshm_semaphore_acquire(two[1], 1, 10000 * MS));
    }
    SAME(reap(pids[0]), 0);
    mpshm_semaphore_close(two[0]);
    mpshm_semaphore_close(two[1]);

    OK(mpshm_semaphore_options_init(&options));
    OK(mpshm_semaphore_size_for(NULL, &size));
    TRUE(size > 0 && size <= 128);
    OK(mpshm_semaphore_create(NULL, name, NULL, &s));
    SAME(mpshm_semaphore_create(NULL, name, &options, &other), MPSHM_EEXISTS);
    OK(mpshm_semaphore_open(NULL, name, &other));
    OK(mpshm_semaphore_acquire(other, 1, 0));
    mpshm_semaphore_close(other);
    OK(mpshm_semaphore_open_or_create(NULL, name, &options, &other));
    SAME(value(other), 0);
    OK(mpshm_segment_unlink(name));
    mpshm_semaphore_close(other);
    mpshm_semaphore_close(s);
    misuse();
    return 0;
}
