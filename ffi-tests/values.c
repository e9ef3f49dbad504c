/* A57, A58, A70, B24: values of every type; a child's writes; locks; by name; types that do not match. */
#include "check.h"

static int child_doubles(void *context) {
    double d;
    OK(mpshm_value_load((mpshm_value_t *)context, &d));
    d *= 2;
    OK(mpshm_value_store((mpshm_value_t *)context, &d));
    return 0;
}

static int adds_a_million(void *context) {
    int i, limit = rounds(1000000, 20000);
    for (i = 0; i < limit; i++) OK(mpshm_value_i64_fetch_add((mpshm_value_t *)context, 1, NULL));
    return 0;
}

static int adds_locked(void *context) {
    mpshm_value_t *value = (mpshm_value_t *)context;
    int i, limit = rounds(1000000, 5000);
    for (i = 0; i < limit; i++) {
        int64_t n;
        OK(mpshm_value_lock(value, MPSHM_FOREVER));
        OK(mpshm_value_i64_load(value, &n));
        OK(mpshm_value_i64_store(value, n + 1));
        OK(mpshm_value_unlock(value));
    }
    return 0;
}

#define EACH(TYPE, CODE, FIRST, DELTA, SUM)                                     \
    do {                                                                        \
        TYPE first = (FIRST), delta = (DELTA), found = 0, before = 0;           \
        mpshm_value_t *v;                                                       \
        OK(mpshm_value_create(NULL, NULL, CODE, &first, &v));                   \
        OK(mpshm_value_load(v, &found));                                        \
        TRUE(found == first);                                                   \
        OK(mpshm_value_fetch_add(v, &delta, &before));                          \
        TRUE(before == first);                                                  \
        OK(mpshm_value_load(v, &found));                                        \
        TRUE(found == (TYPE)(SUM));                                             \
        OK(mpshm_value_fetch_sub(v, &delta, NULL));                             \
        OK(mpshm_value_swap(v, &delta, &before));                               \
        TRUE(before == first);                                                  \
        OK(mpshm_value_fetch_max(v, &first, NULL));                             \
        OK(mpshm_value_fetch_min(v, &delta, NULL));                             \
        mpshm_value_close(v);                                                   \
    } while (0)

int main(void) {
    mpshm_value_t *v, *w;
    double d = 1.5;
    int64_t n = 0;
    uint8_t byte = 6, mask = 3;
    bool flag = true, exchanged = false;
    int i;
    pid_t pids[2];
    const char *name = unique("value");

    EACH(int8_t, MPSHM_I8, 127, 1, -128);
    EACH(uint8_t, MPSHM_U8, 255, 1, 0);
    EACH(int16_t, MPSHM_I16, -5, 3, -2);
    EACH(uint16_t, MPSHM_U16, 65535, 2, 1);
    EACH(int32_t, MPSHM_I32, -7, 8, 1);
    EACH(uint32_t, MPSHM_U32, 7, 8, 15);
    EACH(int64_t, MPSHM_I64, INT64_C(1) << 33, 5, (INT64_C(1) << 33) + 5);
    EACH(uint64_t, MPSHM_U64, UINT64_MAX, 2, 1);
    EACH(float, MPSHM_F32, 0.5f, 0.25f, 0.75f);
    EACH(double, MPSHM_F64, 0.5, 0.25, 0.75);

    OK(mpshm_value_create(NULL, NULL, MPSHM_F64, &d, &v));
    SAME(reap(child(child_doubles, v)), 0);
    OK(mpshm_value_load(v, &d));
    TRUE(d == 3.0);
    SAME(mpshm_value_fetch_and(v, &d, NULL), MPSHM_EINVAL);
    SAME(mpshm_value_i64_load(v, &n), MPSHM_ETYPE);
    mpshm_value_close(v);

    OK(mpshm_value_create(NULL, NULL, MPSHM_U8, &byte, &v));
    OK(mpshm_value_fetch_and(v, &mask, NULL));
    OK(mpshm_value_fetch_or(v, &mask, &byte));
    SAME(byte, 2);
    OK(mpshm_value_fetch_xor(v, &mask, &byte));
    SAME(byte, 3);
    byte = 1;
    OK(mpshm_value_compare_exchange(v, &byte, &mask, &exchanged));
    TRUE(!exchanged);
    SAME(byte, 0);
    OK(mpshm_value_compare_exchange(v, &byte, &mask, &exchanged));
    TRUE(exchanged);
    mpshm_value_close(v);

    OK(mpshm_value_create(NULL, NULL, MPSHM_BOOL, &flag, &v));
    SAME(mpshm_value_fetch_add(v, &flag, NULL), MPSHM_EINVAL);
    OK(mpshm_value_fetch_xor(v, &flag, NULL));
    OK(mpshm_value_load(v, &flag));
    TRUE(!flag);
    mpshm_value_close(v);

    OK(mpshm_value_create(NULL, NULL, MPSHM_I64, &n, &v));
    for (i = 0; i < 2; i++) pids[i] = child(adds_a_million, v);
    for (i = 0; i < 2; i++) SAME(reap(pids[i]), 0);
    OK(mpshm_value_i64_load(v, &n));
    SAME(n, 2 * rounds(1000000, 20000));
    OK(mpshm_value_i64_store(v, 0));
    for (i = 0; i < 2; i++) pids[i] = child(adds_locked, v);
    for (i = 0; i < 2; i++) SAME(reap(pids[i]), 0);
    OK(mpshm_value_i64_load(v, &n));
    SAME(n, 2 * rounds(1000000, 5000));
    SAME(mpshm_value_unlock(v), MPSHM_ENOTOWNER);
    mpshm_value_close(v);

    /* By name: the same bytes in both directions; another type is refused; gone after unlink. */
    n = 7;
    OK(mpshm_value_open_or_create(NULL, name, MPSHM_I64, &n, &v));
    n = 8;
    OK(mpshm_value_open_or_create(NULL, name, MPSHM_I64, &n, &w));
    OK(mpshm_value_i64_fetch_add(w, 1, &n));
    SAME(n, 7);
    OK(mpshm_value_i64_load(v, &n));
    SAME(n, 8);
    mpshm_value_close(w);
    SAME(mpshm_value_create(NULL, name, MPSHM_I64, &n, &w), MPSHM_EEXISTS);
    SAME(mpshm_value_open(NULL, name, MPSHM_U64, &w), MPSHM_ETYPE);
    SAME(mpshm_value_open(NULL, name, MPSHM_I32, &w), MPSHM_ETYPE);
    OK(mpshm_segment_unlink(name));
    SAME(mpshm_value_open(NULL, name, MPSHM_I64, &w), MPSHM_ENOTFOUND);
    mpshm_value_close(v);
    mpshm_value_close(NULL);
    return 0;
}
