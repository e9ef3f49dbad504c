/* NULL where one is not allowed, unknown codes and flags, impossible numbers: clear errors, nothing changed. */
#include "check.h"

static int takes_part(void *context) {
    mpshm_value_t *v = (mpshm_value_t *)context;
    /* The only slot is the parent's. */
    SAME(mpshm_value_lock(v, 0), MPSHM_ELIMIT);
    return 0;
}

static int task(const void *input, size_t length, mpshm_output_t *output) {
    (void)input;
    (void)length;
    (void)output;
    return 0;
}

int main(void) {
    mpshm_segment_options_t segment_options;
    mpshm_queue_options_t options;
    mpshm_segment_t *s;
    mpshm_value_t *v;
    mpshm_array_t *a;
    mpshm_mutex_t *m;
    mpshm_queue_t *q;
    mpshm_process_t *p;
    mpshm_pool_t *pool;
    mpshm_task_t *t;
    int64_t zero = 0;
    size_t size;
    uint64_t n;
    char text[10];

    SAME(mpshm_segment_create(NULL, 512, NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_segment_options_init(NULL), MPSHM_EINVAL);
    SAME(mpshm_segment_size(NULL, &n), MPSHM_EINVAL);
    SAME(mpshm_segment_unlink(NULL), MPSHM_EINVAL);
    SAME(mpshm_value_create(NULL, NULL, MPSHM_I64, NULL, &v), MPSHM_EINVAL);
    SAME(mpshm_value_create(NULL, NULL, MPSHM_I64, &zero, NULL), MPSHM_EINVAL);
    SAME(mpshm_value_create(NULL, NULL, MPSHM_BYTES, &zero, &v), MPSHM_EINVAL);
    SAME(mpshm_value_create(NULL, NULL, 77, &zero, &v), MPSHM_EINVAL);
    SAME(mpshm_value_open(NULL, NULL, MPSHM_I64, &v), MPSHM_EINVAL);
    SAME(mpshm_value_load(NULL, &zero), MPSHM_EINVAL);
    SAME(mpshm_value_lock(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_array_create(NULL, NULL, MPSHM_I64, 5, NULL), MPSHM_EINVAL);
    SAME(mpshm_array_length(NULL, &n), MPSHM_EINVAL);
    SAME(mpshm_mutex_create(NULL, NULL, MPSHM_BYTES, 8, 8, NULL), MPSHM_EINVAL);
    SAME(mpshm_mutex_lock(NULL, 0), MPSHM_EINVAL);
    SAME(mpshm_queue_create(NULL, NULL, NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_queue_push(NULL, "x", 1, 0), MPSHM_EINVAL);
    SAME(mpshm_process_spawn(NULL, NULL, NULL, &p), MPSHM_EINVAL);
    SAME(mpshm_process_join(NULL, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_pool_create(0, NULL, &pool), MPSHM_EINVAL);
    SAME(mpshm_pool_create(1001, NULL, &pool), MPSHM_EINVAL);
    SAME(mpshm_pool_submit(NULL, task, NULL, 0, &t), MPSHM_EINVAL);
    SAME(mpshm_task_get(NULL, NULL, 0, 0, NULL), MPSHM_EINVAL);
    SAME(mpshm_canceller_cancel(NULL), MPSHM_EINVAL);
    SAME(mpshm_canceller_leave(), MPSHM_EINVAL);
    mpshm_segment_close(NULL);
    mpshm_array_close(NULL);
    mpshm_mutex_close(NULL);
    mpshm_queue_close(NULL);
    mpshm_process_close(NULL);
    mpshm_pool_close(NULL);
    mpshm_task_close(NULL);
    mpshm_canceller_close(NULL);

    OK(mpshm_value_create(NULL, NULL, MPSHM_I64, &zero, &v));
    SAME(mpshm_value_load(v, NULL), MPSHM_EINVAL);
    SAME(mpshm_value_store(v, NULL), MPSHM_EINVAL);
    SAME(mpshm_value_fetch_add(v, NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_value_lock(v, -2), MPSHM_EINVAL);
    SAME(mpshm_value_lock(v, INT64_MIN), MPSHM_EINVAL);
    mpshm_value_close(v);

    OK(mpshm_queue_options_init(&options));
    options.capacity = 0;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_EINVAL);
    options.capacity = UINT64_C(1) << 63;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_EINVAL);
    options.capacity = 1 << 26;
    options.message_max = UINT64_C(1) << 31;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_ENOSPACE);
    options.message_max = UINT64_MAX;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&options));
    options.flags = 32;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_EINVAL);
    options.flags = MPSHM_QUEUE_FULL_FAILS | MPSHM_QUEUE_FULL_OVERWRITES;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_EINVAL);
    options.flags = MPSHM_QUEUE_AT_LEAST_ONCE | MPSHM_QUEUE_AT_MOST_ONCE;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&options));
    options.blocks[0].bytes = 64;
    options.blocks[0].count = 1;
    options.blocks[1].bytes = 64;
    options.blocks[1].count = 1;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&options));
    options.item_size = 8;
    options.blocks[0].bytes = 8;
    options.blocks[0].count = 1;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&options));
    options.struct_size = 8;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&options));
    options.message_align = 3;
    SAME(mpshm_queue_create(NULL, NULL, &options, &q), MPSHM_EINVAL);
    OK(mpshm_queue_options_init(&options));
    options.message_max = 10;
    OK(mpshm_queue_create(NULL, NULL, &options, &q));
    SAME(mpshm_queue_push(q, "01234567890", 11, 0), MPSHM_ETOOBIG);
    SAME(mpshm_queue_push(q, NULL, 5, 0), MPSHM_EINVAL);
    SAME(mpshm_queue_push(q, "x", 1, -2), MPSHM_EINVAL);
    SAME(mpshm_queue_pop(q, text, sizeof text, -2, &size), MPSHM_EINVAL);
    SAME(mpshm_queue_pop(q, NULL, 5, 0, &size), MPSHM_EINVAL);
    SAME(mpshm_queue_claim(q, 0, NULL, &size), MPSHM_EINVAL);
    OK(mpshm_queue_length(q, &n));
    SAME(n, 0);
    OK(mpshm_queue_push(q, "x", 1, INT64_MAX)); /* centuries */
    OK(mpshm_queue_pop(q, text, sizeof text, INT64_MAX, &size));
    mpshm_queue_close(q);

    /* The limit of participants. */
    OK(mpshm_segment_options_init(&segment_options));
    segment_options.participants = 1;
    OK(mpshm_segment_create(NULL, 4096, &segment_options, &s));
    OK(mpshm_value_create(s, "v", MPSHM_I64, &zero, &v));
    SAME(reap(child(takes_part, v)), 0);
    mpshm_value_close(v);
    mpshm_segment_close(s);
    (void)a;
    (void)m;
    return 0;
}
