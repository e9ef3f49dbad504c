/* A75, A77, A78, A86, A87, B07: maps, and what comes home of any length. A76 and the asynchronous maps of A75: there are no
 * callbacks in C, whoever waits gets the result, and what is not waited for is submitted. */
#include "pools.h"
#include <pthread.h>

enum { COUNT = 1000 };
static uint64_t items[COUNT], results[COUNT];
static mpshm_pool_t *pool;

struct pair {
    double factor;
    uint32_t n;
};

static int multiplies(const void *item, void *result) {
    const struct pair *pair = (const struct pair *)item;
    *(double *)result = pair->factor * pair->n;
    return 0;
}

static int squares(const void *input, size_t length, mpshm_output_t *output) {
    uint64_t n;
    if (length != sizeof n) return 1;
    memcpy(&n, input, sizeof n);
    n *= n;
    return mpshm_output_write(output, &n, sizeof n);
}

static void a75_every_form_of_map_equals_the_serial_one(void) {
    static const size_t chunks[] = {0, 1, 7, 20, 1000, SIZE_MAX};
    struct pair pairs[100];
    double products[100];
    mpshm_task_t *tasks[10];
    uint64_t five = 5, squared = 0;
    size_t form, i;
    for (i = 0; i < COUNT; i++) items[i] = i;
    for (form = 0; form < sizeof chunks / sizeof *chunks; form++) {
        memset(results, 0xff, sizeof results);
        OK(mpshm_pool_map(pool, square, items, 8, COUNT, results, 8, chunks[form]));
        for (i = 0; i < COUNT; i++) SAME(results[i], i * i);
        OK(mpshm_pool_map(pool, square, items, 8, 10, results, 8, chunks[form]));
    }
    for (i = 0; i < 100; i++) {
        pairs[i].factor = 0.5;
        pairs[i].n = (uint32_t)i;
    }
    OK(mpshm_pool_map(pool, multiplies, pairs, sizeof *pairs, 100, products, sizeof *products, 0));
    for (i = 0; i < 100; i++) TRUE(products[i] == 0.5 * (double)i);
    tasks[0] = submitted(pool, squares, &five, sizeof five);
    OK(mpshm_task_get(tasks[0], &squared, sizeof squared, MPSHM_FOREVER, NULL));
    SAME(squared, 25);
    mpshm_task_close(tasks[0]);
    for (i = 0; i < 10; i++) tasks[i] = submitted(pool, squares, &items[i], 8);
    for (i = 10; i-- > 0; mpshm_task_close(tasks[i])) {
        OK(mpshm_task_get(tasks[i], &squared, sizeof squared, MPSHM_FOREVER, NULL));
        SAME(squared, i * i);
    }
}

static void a77_nothing_is_mapped_at_once(void) {
    OK(mpshm_pool_map(pool, square, NULL, 8, 0, NULL, 8, 0));
    OK(mpshm_pool_map(pool, square, items, 8, 0, results, 8, 1));
    OK(mpshm_pool_map(pool, square, NULL, 8, 0, NULL, 8, 1000));
}

static void a78_what_fits_no_message_fails_and_the_pool_is_good(void) {
    static char big[1 << 20];
    SAME(mpshm_pool_map(pool, square, big, sizeof big, 1, results, 8, 0), MPSHM_ETOOBIG);
    SAME(mpshm_pool_map(pool, square, big, SIZE_MAX / 2, 1, results, 8, 0), MPSHM_ETOOBIG);
    OK(mpshm_pool_map(pool, square, items, 8, 10, results, 8, 0));
}

static void b07_chunks_are_as_long_as_said_and_0_is_automatic(void) {
    static const size_t chunks[] = {1, 7, 20, 100, SIZE_MAX, 0}, tasks[] = {100, 15, 5, 1, 1, 8};
    size_t form;
    for (form = 0; form < 6; form++) {
        uint64_t before = tasks_of(pool);
        OK(mpshm_pool_map(pool, square, items, 8, 100, results, 8, chunks[form]));
        SAME(tasks_of(pool) - before, tasks[form]);
    }
}

static mpshm_array_t *array;

static int squares_in_the_array(const void *item, void *result) {
    uint64_t index = *(const uint64_t *)item;
    int64_t n = 0;
    if (mpshm_array_load(array, index, &n) != 0) return 1;
    n *= n;
    *(char *)result = 1;
    return mpshm_array_store(array, index, &n);
}

static void results_may_take_their_items_place(void) {
    size_t i;
    int64_t all[COUNT];
    for (i = 0; i < COUNT; i++) results[i] = i;
    OK(mpshm_pool_map(pool, square, results, 8, COUNT, results, 8, 3));
    for (i = 0; i < COUNT; i++) SAME(results[i], i * i);
    /* The workers themselves write, in an array that was there before them. */
    for (i = 0; i < COUNT; i++) all[i] = (int64_t)i;
    OK(mpshm_array_write(array, 0, COUNT, all));
    OK(mpshm_pool_map(pool, squares_in_the_array, items, 8, COUNT, results, 1, 0));
    OK(mpshm_array_read(array, 0, COUNT, all));
    for (i = 0; i < COUNT; i++) SAME(all[i], i * i);
}

static int counts_and_fails_at_20_and_40(const void *item, void *result) {
    uint64_t n = *(const uint64_t *)item;
    *(uint64_t *)result = n;
    if (counts_one() != 0) return 99;
    return n == 20 || n == 40 ? 7 : 0;
}

static int fails_at_length(const void *input, size_t length, mpshm_output_t *output) {
    char *text = (char *)malloc((1 << 20) + 1);
    int code;
    (void)input, (void)length;
    memset(text, 'x', 1 << 20);
    text[1 << 20] = 0;
    code = mpshm_output_fail(output, text);
    free(text);
    return code == 0 ? 6 : 99;
}

static void a86_a_map_with_failures_runs_to_its_end_and_long_messages_block_nobody(void) {
    mpshm_pool_t *short_lived = pool_of(2, NULL);
    mpshm_task_t *tasks[8];
    char text[100], *all = (char *)malloc((1 << 20) + 1);
    size_t length = 0;
    int i;
    count_anew();
    SAME(mpshm_pool_map(pool, counts_and_fails_at_20_and_40, items, 8, 100, results, 8, 1), MPSHM_ETASKFAILED);
    TRUE(mpshm_last_message(text, sizeof text) > 0 && strstr(text, "returned 7") != NULL);
    SAME(counted(), 100);
    /* The workers wait for room on their way home, and nobody collects before the pool is joined. */
    for (i = 0; i < 8; i++) tasks[i] = submitted(short_lived, fails_at_length, NULL, 0);
    OK(mpshm_pool_close_tasks(short_lived));
    OK(mpshm_pool_join(short_lived, MPSHM_FOREVER));
    for (i = 0; i < 8; mpshm_task_close(tasks[i++])) {
        SAME(mpshm_task_get(tasks[i], NULL, 0, 0, NULL), MPSHM_ETASKFAILED);
        OK(mpshm_task_message(tasks[i], all, (1 << 20) + 1, &length));
        SAME(length, (1 << 20) + 1);
        TRUE(strspn(all, "x") == 1 << 20);
    }
    mpshm_pool_close(short_lived);
    free(all);
}

static long resident(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    TRUE(file != NULL && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void a87_nothing_of_an_ended_task_is_kept(void) {
    static char argument[16000];
    int i, all = rounds(3000, 100);
    long before = 0;
    for (i = 0; i < all; i++) {
        mpshm_task_t *task = submitted(pool, echoes, argument, sizeof argument);
        OK(mpshm_task_wait(task, MPSHM_FOREVER));
        mpshm_task_close(task);
        if (i == 50) before = resident();
    }
#if !defined(__SANITIZE_ADDRESS__) /* which keeps what is freed */
    TRUE(resident() - before < 10000); /* KiB, of 46 MiB that went there and back */
#else
    (void)before;
#endif
}

static void *cancels(void *context) {
    UNTIL(counted() > 0);
    OK(mpshm_canceller_cancel((mpshm_canceller_t *)context));
    return NULL;
}

static int waits_too(const void *item, void *result) {
    *(uint64_t *)result = *(const uint64_t *)item;
    return counts_one() == 0 && mpshm_event_wait(gate, MPSHM_FOREVER) == 0 ? 0 : 99;
}

static void a_wait_for_a_map_is_cancelled_and_the_pool_is_good(void) {
    mpshm_canceller_t *canceller;
    pthread_t thread;
    count_anew();
    OK(mpshm_canceller_create(&canceller));
    OK(mpshm_canceller_enter(canceller));
    SAME(pthread_create(&thread, NULL, cancels, canceller), 0);
    SAME(mpshm_pool_map(pool, waits_too, items, 8, 100, results, 8, 1), MPSHM_EINTERRUPTED);
    SAME(pthread_join(thread, NULL), 0);
    OK(mpshm_canceller_leave());
    mpshm_canceller_close(canceller);
    OK(mpshm_event_set(gate));
    OK(mpshm_pool_map(pool, square, items, 8, 100, results, 8, 1));
}

int main(void) {
    set_up();
    OK(mpshm_array_create(NULL, NULL, MPSHM_I64, COUNT, &array));
    pool = pool_of(2, NULL);
    a75_every_form_of_map_equals_the_serial_one();
    a77_nothing_is_mapped_at_once();
    a78_what_fits_no_message_fails_and_the_pool_is_good();
    b07_chunks_are_as_long_as_said_and_0_is_automatic();
    results_may_take_their_items_place();
    a86_a_map_with_failures_runs_to_its_end_and_long_messages_block_nobody();
    a87_nothing_of_an_ended_task_is_kept();
    a_wait_for_a_map_is_cancelled_and_the_pool_is_good();
    mpshm_pool_close(pool);
    mpshm_array_close(array);
    tear_down();
    return 0;
}
