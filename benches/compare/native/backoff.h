/* Waiting as the Rust peers do: spins a little, then offers the processor to others. */
#ifndef COMPARE_BACKOFF_H
#define COMPARE_BACKOFF_H

#include <sched.h>

static inline void compare_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* `*step` is 0 at first. */
static inline void compare_snooze(unsigned *step) {
    if (*step > 6) {
        sched_yield();
        return;
    }
    for (unsigned i = 0; i < 1u << *step; i++) {
        compare_pause();
    }
    *step += 1;
}

#endif
