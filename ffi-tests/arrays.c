/* A59, A60: arrays: lengths, ranges, a child's sums in place, zeros, indexes out of range. */
#include "check.h"

static const int32_t numbers[10] = {680, 626, 934, 821, 150, 233, 548, 982, 714, 831};

static int sums(void *context) {
    uint64_t i;
    for (i = 1; i < 10; i++) {
        int32_t before;
        OK(mpshm_array_load((mpshm_array_t *)context, i - 1, &before));
        OK(mpshm_array_fetch_add((mpshm_array_t *)context, i, &before, NULL));
    }
    return 0;
}

int main(void) {
    mpshm_array_t *a;
    mpshm_segment_t *segment;
    int32_t found[10], n = 5;
    uint64_t length;
    int i, round;

    OK(mpshm_array_create(NULL, NULL, MPSHM_I32, 10, &a));
    OK(mpshm_array_length(a, &length));
    SAME(length, 10);
    OK(mpshm_array_write(a, 0, 10, numbers));
    SAME(reap(child(sums, a)), 0);
    OK(mpshm_array_read(a, 0, 10, found));
    SAME(found[9], 6519);
    OK(mpshm_array_read(a, 3, 2, found));
    SAME(found[0], 680 + 626 + 934 + 821);
    OK(mpshm_array_store(a, 9, &n));
    OK(mpshm_array_load(a, 9, &found[0]));
    SAME(found[0], 5);
    /* What reaches past the end changes nothing. */
    SAME(mpshm_array_load(a, 10, &n), MPSHM_EINVAL);
    SAME(mpshm_array_store(a, 10, &n), MPSHM_EINVAL);
    SAME(mpshm_array_store(a, UINT64_MAX, &n), MPSHM_EINVAL);
    SAME(mpshm_array_write(a, 9, 2, numbers), MPSHM_EINVAL);
    SAME(mpshm_array_write(a, UINT64_MAX, 2, numbers), MPSHM_EINVAL);
    SAME(mpshm_array_read(a, 1, UINT64_MAX, found), MPSHM_EINVAL);
    OK(mpshm_array_load(a, 9, &found[0]));
    SAME(found[0], 5);
    OK(mpshm_array_lock(a, MPSHM_FOREVER));
    SAME(mpshm_array_lock(a, MPSHM_FOREVER), MPSHM_EDEADLOCK);
    OK(mpshm_array_unlock(a));
    mpshm_array_close(a);

    SAME(mpshm_array_create(NULL, NULL, MPSHM_I32, 0, &a), MPSHM_EINVAL);
    SAME(mpshm_array_create(NULL, NULL, MPSHM_I32, UINT64_C(1) << 63, &a), MPSHM_ENOSPACE);
    SAME(mpshm_array_create(NULL, NULL, 99, 10, &a), MPSHM_EINVAL);

    /* Zeros, also in memory that was used before. */
    for (round = 0; round < 3; round++) {
        OK(mpshm_array_create(NULL, NULL, MPSHM_I32, 1000, &a));
        for (i = 0; i < 1000; i++) {
            OK(mpshm_array_load(a, (uint64_t)i, &n));
            SAME(n, 0);
            n = -1;
            OK(mpshm_array_store(a, (uint64_t)i, &n));
        }
        mpshm_array_close(a);
    }

    OK(mpshm_segment_create(NULL, 4096, NULL, &segment));
    OK(mpshm_array_open_or_create(segment, "a", MPSHM_I32, 4, &a));
    mpshm_array_close(a);
    OK(mpshm_array_open_or_create(segment, "a", MPSHM_I32, 400, &a));
    OK(mpshm_array_length(a, &length));
    SAME(length, 4);
    mpshm_array_close(a);
    SAME(mpshm_array_open(segment, "a", MPSHM_F32, &a), MPSHM_ETYPE);
    SAME(mpshm_array_open(segment, "b", MPSHM_I32, &a), MPSHM_ENOTFOUND);
    mpshm_segment_close(segment);
    return 0;
}
