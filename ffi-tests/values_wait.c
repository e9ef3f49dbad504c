/* Waiting for a value; values and arrays of 128 bits, as two words; bits that are not in both; misuse. */
#include "check.h"

static int adds_three(void *context) {
    int i;
    for (i = 0; i < 3; i++) {
        nap(5 * MS);
        OK(mpshm_value_i64_fetch_add((mpshm_value_t *)context, 1, NULL));
    }
    return 0;
}

static int waits_for_one(void *context) {
    int64_t one = 1;
    OK(mpshm_value_wait((mpshm_value_t *)context, MPSHM_WAIT_AT_LEAST, &one, MPSHM_FOREVER, NULL));
    return 0;
}

static void conditions(void) {
    static const struct {
        uint32_t condition;
        int holds[3]; /* of 1, 2, 3, against 2 */
    } all[] = {
        {MPSHM_WAIT_EQUAL, {0, 1, 0}},   {MPSHM_WAIT_NOT_EQUAL, {1, 0, 1}}, {MPSHM_WAIT_LESS, {1, 0, 0}},
        {MPSHM_WAIT_AT_MOST, {1, 1, 0}}, {MPSHM_WAIT_GREATER, {0, 0, 1}},   {MPSHM_WAIT_AT_LEAST, {0, 1, 1}},
    };
    mpshm_value_t *v;
    double two = 2, d = 0;
    size_t i, k;
    OK(mpshm_value_create_waitable(NULL, NULL, MPSHM_F64, &two, &v));
    for (i = 0; i < sizeof all / sizeof *all; i++) {
        for (k = 0; k < 3; k++) {
            double now = (double)k + 1;
            OK(mpshm_value_store(v, &now));
            SAME(mpshm_value_wait(v, all[i].condition, &two, 0, &d), all[i].holds[k] ? 0 : MPSHM_ETIMEDOUT);
            if (all[i].holds[k]) TRUE(d == now);
        }
    }
    SAME(mpshm_value_wait(v, 0, &two, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_value_wait(v, 7, &two, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_value_wait(v, MPSHM_WAIT_EQUAL, NULL, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_value_wait(v, MPSHM_WAIT_EQUAL, &two, -7, NULL), MPSHM_EINVAL);
    SAME(mpshm_value_wait(NULL, MPSHM_WAIT_EQUAL, &two, 0, NULL), MPSHM_EINVAL);
    mpshm_value_close(v);
}

static void wide(void) {
    /* On this machine the lower half comes first. */
    uint64_t first[2] = {UINT64_MAX, 0}, one[2] = {1, 0}, found[2] = {7, 7};
    mpshm_value_t *v;
    mpshm_array_t *a;
    bool exchanged = true;
    int code = mpshm_value_create(NULL, NULL, MPSHM_U128, first, &v);
    if (code == MPSHM_ESYSTEM) return; /* a processor that is too old */
    OK(code);
    OK(mpshm_value_fetch_add(v, one, found));
    TRUE(found[0] == UINT64_MAX && found[1] == 0);
    OK(mpshm_value_load(v, found));
    TRUE(found[0] == 0 && found[1] == 1);
    OK(mpshm_value_compare_exchange(v, one, first, &exchanged));
    TRUE(!exchanged && one[0] == 0 && one[1] == 1);
    OK(mpshm_value_compare_exchange(v, one, first, &exchanged));
    TRUE(exchanged);
    mpshm_value_close(v);
    OK(mpshm_array_create(NULL, NULL, MPSHM_I128, 3, &a));
    OK(mpshm_array_store(a, 1, first));
    OK(mpshm_array_load(a, 1, found));
    TRUE(found[0] == UINT64_MAX && found[1] == 0);
    OK(mpshm_array_load(a, 2, found));
    TRUE(found[0] == 0 && found[1] == 0);
    SAME(mpshm_array_load(a, 3, found), MPSHM_EINVAL);
    mpshm_array_close(a);
}

int main(void) {
    mpshm_value_t *v;
    int64_t n = 0, three = 3;
    uint8_t byte = 12, ten = 10;
    float f = 1;
    pid_t pids[2];

    OK(mpshm_value_create_waitable(NULL, NULL, MPSHM_I64, &n, &v));
    SAME(mpshm_value_wait(v, MPSHM_WAIT_AT_LEAST, &three, 20 * MS, &n), MPSHM_ETIMEDOUT);
    pids[0] = child(waits_for_one, v);
    until_asleep(pids[0]);
    pids[1] = child(adds_three, v);
    OK(mpshm_value_wait(v, MPSHM_WAIT_AT_LEAST, &three, MPSHM_FOREVER, &n));
    SAME(n, 3);
    SAME(reap(pids[0]), 0);
    SAME(reap(pids[1]), 0);
    mpshm_value_close(v);

    OK(mpshm_value_create(NULL, NULL, MPSHM_U8, &byte, &v));
    SAME(mpshm_value_wait(v, MPSHM_WAIT_EQUAL, &byte, 0, NULL), MPSHM_EINVAL);
    OK(mpshm_value_fetch_nand(v, &ten, &byte));
    SAME(byte, 12);
    OK(mpshm_value_load(v, &byte));
    SAME(byte, 255 - 8);
    mpshm_value_close(v);
    OK(mpshm_value_create(NULL, NULL, MPSHM_F32, &f, &v));
    SAME(mpshm_value_fetch_nand(v, &f, NULL), MPSHM_EINVAL);
    mpshm_value_close(v);
    SAME(mpshm_value_create(NULL, NULL, 12, &byte, &v), MPSHM_EINVAL);
    SAME(mpshm_value_create(NULL, NULL, 15, &byte, &v), MPSHM_EINVAL);

    conditions();
    wide();
    return 0;
}
