/* B09 for rings: producers and consumers killed at random, hundreds of times. Every item that was committed comes, whole
 * and in order; again only when it is marked. (At every single instruction: the crash tests in Rust.) */
#include "check.h"

#define GENERATIONS 4096

typedef struct {
    uint64_t generation, n, check;
} record_t;

static mpshm_ring_t *ring;
/* How many each generation of producers knows to have pushed; the last that was consumed: generation << 32 | n. */
static mpshm_array_t *pushed;
static mpshm_value_t *last;
static uint64_t generation;

static uint64_t check_of(uint64_t g, uint64_t n) { return (g << 32 | n) * UINT64_C(0x9e3779b97f4a7c15); }

static int produces(void *context) {
    record_t record;
    uint64_t n;
    (void)context;
    for (n = 0;; n++) {
        uint64_t known = n + 1;
        record.generation = generation;
        record.n = n;
        record.check = check_of(generation, n);
        OK(mpshm_ring_push(ring, &record, sizeof record, MPSHM_FOREVER));
        OK(mpshm_array_store(pushed, generation, &known));
    }
    return 1;
}

/* Takes what is there, at most 3 items; false when nothing came in time. */
static bool consume(mpshm_ring_t *r, int64_t timeout) {
    const void *view;
    size_t count, i;
    uint64_t deliveries, before, g;
    int code = mpshm_ring_claim(r, 3, timeout, &view, &count);
    if (code == MPSHM_EEMPTY) return false;
    OK(code);
    OK(mpshm_ring_deliveries(r, &deliveries));
    for (i = 0; i < count; i++) {
        record_t record;
        uint64_t key;
        memcpy(&record, (const record_t *)view + i, sizeof record);
        key = record.generation << 32 | record.n;
        SAME(record.check, check_of(record.generation, record.n));
        OK(mpshm_value_load(last, &before));
        if (key <= before) {
            /* It was consumed, and its consumer killed before it could say so. */
            TRUE(deliveries > 1);
            continue;
        }
        if (record.n > 0) {
            SAME(key, before + 1);
        } else {
            /* A new generation: the others' items have all come. */
            for (g = before >> 32; g < record.generation; g++) {
                uint64_t known;
                OK(mpshm_array_load(pushed, g, &known));
                TRUE(known <= (g == before >> 32 ? (before & UINT32_MAX) + 1 : 0));
            }
        }
        OK(mpshm_value_store(last, &key));
    }
    OK(mpshm_ring_release(r, count));
    return true;
}

static int consumes(void *context) {
    (void)context;
    while (consume(ring, MPSHM_FOREVER)) {}
    return 1;
}

int main(void) {
    uint64_t begin = UINT32_MAX, known, before; /* generation 0, and nothing of it */
    uint32_t random = 11;
    int i, limit = rounds(250, 6);
    pid_t producer, consumer;
    mpshm_queue_counters_t counters;
    ring = ring_of(sizeof(record_t), 7, 0);
    OK(mpshm_array_create(NULL, NULL, MPSHM_U64, GENERATIONS, &pushed));
    OK(mpshm_value_create(NULL, NULL, MPSHM_U64, &begin, &last));
    known = 0;
    generation = 1;
    producer = child(produces, NULL);
    consumer = child(consumes, NULL);
    for (i = 0; i < limit; i++) {
        nap(next_random(&random) % (3 * MS));
        if (next_random(&random) % 2) {
            kill_and_reap(producer);
            generation++;
            producer = child(produces, NULL);
        } else {
            kill_and_reap(consumer);
            consumer = child(consumes, NULL);
        }
    }
    /* They still go on. */
    counters = ring_counters(ring);
    UNTIL(ring_counters(ring).popped > counters.popped + 100);
    kill_and_reap(producer);
    kill_and_reap(consumer);
    while (consume(ring, 0)) {}
    OK(mpshm_array_load(pushed, generation, &known));
    OK(mpshm_value_load(last, &before));
    SAME(before >> 32, generation);
    TRUE((before & UINT32_MAX) + 1 >= known);
    counters = ring_counters(ring);
    SAME(counters.pushed, counters.popped);
    TRUE(counters.repairs > 0);
    mpshm_value_close(last);
    mpshm_array_close(pushed);
    mpshm_ring_close(ring);
    return 0;
}
