/* A77, A79, A81, B27: streams of results. */
#include "pools.h"
#include <errno.h>
#include <pthread.h>

static mpshm_pool_t *pool;

/* A source of numbers. */
struct numbers {
    uint64_t next, end;  /* UINT64_MAX: endless */
    uint64_t fails_at;   /* returns 3 instead of this one */
    uint64_t too_long_at; /* gives too much instead of this one */
};

static int gives(void *context, mpshm_output_t *argument) {
    static char much[1 << 20];
    struct numbers *numbers = (struct numbers *)context;
    if (numbers->next == numbers->end) return MPSHM_IMAP_END;
    if (numbers->next == numbers->fails_at) return 3;
    if (numbers->next == numbers->too_long_at) return mpshm_output_write(argument, much, sizeof much);
    numbers->next++;
    return mpshm_output_write(argument, &numbers->next, sizeof numbers->next);
}

static struct numbers up_to(uint64_t end) {
    struct numbers numbers = {0, 0, UINT64_MAX, UINT64_MAX};
    numbers.end = end;
    return numbers;
}

/* What comes of the n-th argument, counted from 1. Slow for the first few, so that order is something. */
static int squares(const void *input, size_t length, mpshm_output_t *output) {
    uint64_t n;
    if (length != sizeof n) return 1;
    memcpy(&n, input, sizeof n);
    if (n == 1) nap(20 * MS);
    n *= n;
    return mpshm_output_write(output, &n, sizeof n);
}

static mpshm_imap_t *stream(mpshm_task_fn function, struct numbers *numbers, uint64_t flags, uint64_t buffer) {
    mpshm_imap_options_t options;
    mpshm_imap_t *imap = NULL;
    OK(mpshm_imap_options_init(&options));
    options.flags = flags;
    options.buffer = buffer;
    OK(mpshm_pool_imap(pool, function, gives, numbers, &options, &imap));
    return imap;
}

static mpshm_task_t *next_of(mpshm_imap_t *imap) {
    mpshm_task_t *task = NULL;
    OK(mpshm_imap_next(imap, MPSHM_FOREVER, &task));
    return task;
}

static uint64_t value_of(mpshm_task_t *task) {
    uint64_t value = 0;
    OK(mpshm_task_get(task, &value, sizeof value, 0, NULL));
    mpshm_task_close(task);
    return value;
}

static void a77_nothing_streams_nothing(void) {
    struct numbers none = up_to(0);
    mpshm_imap_t *imap = stream(squares, &none, 0, UINT64_MAX);
    TRUE(next_of(imap) == NULL);
    TRUE(next_of(imap) == NULL);
    mpshm_imap_close(imap);
}

static void a81_ordered_and_not(void) {
    struct numbers numbers = up_to(1000);
    mpshm_imap_t *imap = stream(squares, &numbers, 0, UINT64_MAX);
    mpshm_task_t *task;
    bool seen[1001];
    uint64_t n, root, in_order = 0;
    for (n = 1; n <= 1000; n++) SAME(value_of(next_of(imap)), n * n);
    TRUE(next_of(imap) == NULL);
    mpshm_imap_close(imap);
    numbers = up_to(1000);
    memset(seen, 0, sizeof seen);
    imap = stream(squares, &numbers, MPSHM_IMAP_UNORDERED, 10);
    for (n = 1; (task = next_of(imap)) != NULL; n++) {
        uint64_t value = value_of(task);
        for (root = 1; root * root < value; root++) {}
        TRUE(root <= 1000 && root * root == value && !seen[root]);
        seen[root] = true;
        in_order += root == n;
    }
    SAME(n, 1001);
    TRUE(in_order < 1000); /* the first one is late */
    mpshm_imap_close(imap);
}

static void a79_a_source_that_fails_does_so_after_what_came_before_it(void) {
    uint64_t at, n;
    int kind;
    for (kind = 0; kind < 2; kind++) {
        for (at = 0; at <= 3; at += 3) {
            struct numbers numbers = up_to(10);
            mpshm_imap_t *imap;
            mpshm_task_t *task = NULL;
            char text[100];
            if (kind == 0) numbers.fails_at = at;
            if (kind == 1) numbers.too_long_at = at;
            imap = stream(squares, &numbers, 0, UINT64_MAX);
            for (n = 1; n <= at; n++) SAME(value_of(next_of(imap)), n * n);
            SAME(mpshm_imap_next(imap, MPSHM_FOREVER, &task), kind == 0 ? MPSHM_ETASKFAILED : MPSHM_ETOOBIG);
            TRUE(mpshm_last_message(text, sizeof text) > 0);
            TRUE(strstr(text, kind == 0 ? "source of arguments returned 3" : "1048576 bytes") != NULL);
            TRUE(next_of(imap) == NULL);
            mpshm_imap_close(imap);
        }
    }
    OK(end_of(submitted(pool, echoes, "x", 1)));
}

static int fails_at_3_and_dies_at_5(const void *input, size_t length, mpshm_output_t *output) {
    uint64_t n;
    memcpy(&n, input, sizeof n);
    if (n == 3) return 1;
    if (n == 5) raise(SIGKILL);
    return mpshm_output_write(output, input, length);
}

static void a_failure_stands_at_its_place_and_the_others_come(void) {
    struct numbers numbers = up_to(10);
    mpshm_imap_t *imap = stream(fails_at_3_and_dies_at_5, &numbers, 0, UINT64_MAX);
    uint64_t n;
    for (n = 1; n <= 10; n++) {
        mpshm_task_t *task = next_of(imap);
        TRUE(task != NULL);
        SAME(error_of(task).code, n == 3 ? MPSHM_ETASKFAILED : n == 5 ? MPSHM_EWORKERDIED : 0);
        mpshm_task_close(task);
    }
    TRUE(next_of(imap) == NULL);
    mpshm_imap_close(imap);
}

static void b27_an_endless_source_has_so_many_in_flight_and_a_late_result_is_asked_for_again(void) {
    struct numbers numbers = up_to(UINT64_MAX);
    mpshm_imap_t *imap = stream(squares, &numbers, 0, 3), *lazy = NULL;
    mpshm_task_t *task = NULL;
    uint64_t n;
    double begin;
    SAME(numbers.next, 0);
    for (n = 1; n <= 100; n++) {
        SAME(value_of(next_of(imap)), n * n);
        TRUE(numbers.next >= n && numbers.next <= n - 1 + 3 + 2);
    }
    mpshm_imap_close(imap);
    count_anew();
    numbers = up_to(UINT64_MAX);
    lazy = stream(waits, &numbers, 0, 0);
    begin = seconds();
    SAME(mpshm_imap_next(lazy, 50 * MS, &task), MPSHM_ETIMEDOUT);
    TRUE(seconds() - begin >= 0.05);
    SAME(mpshm_imap_next(lazy, 0, &task), MPSHM_ETIMEDOUT);
    SAME(numbers.next, 2);
    OK(mpshm_event_set(gate));
    SAME(value_of(next_of(lazy)), 1);
    mpshm_imap_close(lazy); /* with a task in flight */
}

static void *cancels(void *context) {
    UNTIL(counted() > 0);
    OK(mpshm_canceller_cancel((mpshm_canceller_t *)context));
    return NULL;
}

static int uses_the_parents(void *context) {
    mpshm_task_t *task = NULL;
    SAME(mpshm_imap_next((mpshm_imap_t *)context, 0, &task), MPSHM_EFORKED);
    return 0;
}

static void waits_are_cancelled_children_refused_and_a_closed_pool_ends_the_stream(void) {
    struct numbers numbers = up_to(UINT64_MAX);
    mpshm_imap_t *imap;
    mpshm_task_t *task = NULL;
    mpshm_canceller_t *canceller;
    pthread_t thread;
    int i;
    count_anew();
    imap = stream(waits, &numbers, 0, 0);
    OK(mpshm_canceller_create(&canceller));
    OK(mpshm_canceller_enter(canceller));
    SAME(pthread_create(&thread, NULL, cancels, canceller), 0);
    SAME(mpshm_imap_next(imap, MPSHM_FOREVER, &task), MPSHM_EINTERRUPTED);
    SAME(pthread_join(thread, NULL), 0);
    OK(mpshm_canceller_leave());
    mpshm_canceller_close(canceller);
    SAME(reap(child(uses_the_parents, imap)), 0);
    SAME(numbers.next, 2);
    UNTIL(counted() == 2);
    mpshm_pool_close(pool);
    for (i = 0; i < 2; i++) SAME(end_of(next_of(imap)), MPSHM_ECANCELLED);
    SAME(mpshm_imap_next(imap, MPSHM_FOREVER, &task), MPSHM_ECLOSED);
    TRUE(task == NULL && next_of(imap) == NULL);
    mpshm_imap_close(imap);
    mpshm_imap_close(NULL);
}

int main(void) {
    set_up();
    pool = pool_of(2, NULL);
    a77_nothing_streams_nothing();
    a81_ordered_and_not();
    a79_a_source_that_fails_does_so_after_what_came_before_it();
    a_failure_stands_at_its_place_and_the_others_come();
    b27_an_endless_source_has_so_many_in_flight_and_a_late_result_is_asked_for_again();
    waits_are_cancelled_children_refused_and_a_closed_pool_ends_the_stream();
    tear_down();
    return 0;
}
