/* DPDK's ring, many producers and many consumers, in memory of ours.
 *
 * What pushes and pops is all in its headers. Without its library, and without its environment (huge pages, lcores),
 * the ring's public fields are filled in here. */

#include "backoff.h"
#include <rte_ring.h>
#include <stdbool.h>
#include <stdint.h>

/* Bytes of a ring of `slots`, which are a power of two; it holds one message less. */
size_t compare_dpdk_size(uint32_t slots) {
    return sizeof(struct rte_ring) + slots * sizeof(void *);
}

/* `at` is zeroed and aligned to a cache line. */
void compare_dpdk_make(void *at, uint32_t slots) {
    struct rte_ring *ring = at;
    ring->size = slots;
    ring->mask = slots - 1;
    ring->capacity = slots - 1;
    ring->prod.sync_type = RTE_RING_SYNC_MT;
    ring->cons.sync_type = RTE_RING_SYNC_MT;
}

bool compare_dpdk_try_push(void *ring, uint64_t number) {
    return rte_ring_mp_enqueue(ring, (void *)(uintptr_t)number) == 0;
}

void compare_dpdk_push_all(void *ring, uint64_t number, uint64_t end) {
    for (; number < end; number++) {
        unsigned step = 0;
        while (!compare_dpdk_try_push(ring, number)) {
            compare_snooze(&step);
        }
    }
}

bool compare_dpdk_try_pop(void *ring, uint64_t *number) {
    return rte_ring_mc_dequeue(ring, (void **)number) == 0;
}

uint64_t compare_dpdk_pop_all(void *ring, uint64_t count) {
    uint64_t sum = 0;
    for (; count > 0; count--) {
        uint64_t number;
        unsigned step = 0;
        while (!compare_dpdk_try_pop(ring, &number)) {
            compare_snooze(&step);
        }
        sum += number;
    }
    return sum;
}
