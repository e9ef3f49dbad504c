/* B09: producers and consumers of a queue killed at random, hundreds of times. Every item that was committed comes, whole;
 * again only when it is marked. (At every single instruction, and 10,000 kills: the crash tests in Rust.) */
#include "check.h"

#define EACH 4096 /* items of a generation of a producer, at most */

typedef struct {
    uint64_t generation, n, check;
} record_t;

static mpshm_queue_t *queue;
/* How many each generation knows to have pushed; how often each item was consumed. */
static mpshm_array_t *pushed, *seen;
static uint64_t generation;
static bool in_place;

static uint64_t check_of(uint64_t g, uint64_t n) { return (g << 32 | n) * UINT64_C(0x9e3779b97f4a7c15); }

static int produces(void *context) {
    uint64_t n;
    (void)context;
    for (n = 0; n < EACH; n++) {
        uint64_t known = n + 1, key = generation << 32 | n;
        record_t record;
        record.generation = generation;
        record.n = n;
        record.check = check_of(generation, n);
        if (in_place) OK(mpshm_queue_push(queue, &record, sizeof record, MPSHM_FOREVER));
        else OK(mpshm_queue_push(queue, &key, sizeof key, MPSHM_FOREVER));
        OK(mpshm_array_store(pushed, generation, &known));
    }
    pause();
    return 1;
}

/* Counts an item, and returns how often it had come before. */
static int count(uint64_t g, uint64_t n) {
    uint8_t one = 1, before = 0;
    TRUE(n < EACH);
    OK(mpshm_array_fetch_add(seen, g * EACH + n, &one, &before));
    return before;
}

/* Takes one item; false when there is none in time. */
static bool consume(int64_t timeout) {
    const void *view;
    size_t length;
    uint64_t deliveries = 1, key;
    record_t record;
    int code;
    if (!in_place) {
        code = mpshm_queue_pop(queue, &key, sizeof key, timeout, NULL);
        if (code == MPSHM_ETIMEDOUT) return false;
        OK(code);
        SAME(count(key >> 32, key & UINT32_MAX), 0);
        return true;
    }
    code = mpshm_queue_claim(queue, timeout, &view, &length);
    if (code == MPSHM_ETIMEDOUT) return false;
    OK(code);
    OK(mpshm_queue_deliveries(queue, &deliveries));
    SAME(length, sizeof record);
    memcpy(&record, view, sizeof record);
    SAME(record.check, check_of(record.generation, record.n));
    if (count(record.generation, record.n) > 0) TRUE(deliveries > 1);
    OK(mpshm_queue_release(queue));
    return true;
}

static int consumes(void *context) {
    (void)context;
    while (consume(MPSHM_FOREVER)) {}
    return 1;
}

static void kills(size_t item_size, int limit) {
    uint64_t g, n, known, lost = 0, killed_consumers = 2, gone;
    uint32_t random = 11 + (uint32_t)item_size;
    pid_t pids[4];
    int i, which;
    mpshm_queue_counters_t counters;
    in_place = item_size != 8;
    queue = queue_of(item_size, 7, 0);
    OK(mpshm_array_create(NULL, NULL, MPSHM_U64, (uint64_t)limit + 3, &pushed));
    OK(mpshm_array_create(NULL, NULL, MPSHM_U8, ((uint64_t)limit + 3) * EACH, &seen));
    for (i = 0; i < 4; i++) {
        generation = (uint64_t)i;
        pids[i] = child(i < 2 ? produces : consumes, NULL);
    }
    generation = 1;
    for (i = 0; i < limit; i++) {
        nap(next_random(&random) % (3 * MS));
        which = (int)(next_random(&random) % 4);
        kill_and_reap(pids[which]);
        if (which < 2) generation++;
        else killed_consumers++;
        pids[which] = child(which < 2 ? produces : consumes, NULL);
    }
    for (i = 0; i < 4; i++) kill_and_reap(pids[i]);
    /* What the dead had comes within this time. */
    while (consume(1000 * MS)) {}
    for (g = 0; g <= generation; g++) {
        OK(mpshm_array_load(pushed, g, &known));
        for (n = 0; n < EACH; n++) {
            uint8_t times = 0;
            OK(mpshm_array_load(seen, g * EACH + n, &times));
            /* The last one may be in without its producer knowing. */
            if (n > known) SAME(times, 0);
            if (n < known && times == 0) lost++;
        }
    }
    /* In slots: at most what each dead consumer was just taking. */
    gone = in_place ? 0 : killed_consumers;
    TRUE(lost <= gone);
    SAME(queue_length(queue), 0);
    counters = queue_counters(queue);
    SAME(counters.pushed, counters.popped);
    if (in_place) TRUE(counters.repairs > 0);
    mpshm_array_close(seen);
    mpshm_array_close(pushed);
    mpshm_queue_close(queue);
}

int main(void) {
    kills(24, rounds(150, 4));
    kills(0, rounds(150, 4));
    kills(8, rounds(150, 4));
    return 0;
}
