/* A61, A62: structs, numbers and text behind locks, changed by a child; copies of them. A36: C has no guards. */
#include "check.h"

struct three {
    int32_t i;
    double f;
    int64_t n;
};

static mpshm_mutex_t *three, *text;
static mpshm_array_t *numbers;

static void *data_of(mpshm_mutex_t *m, size_t expected) {
    void *data = NULL;
    size_t size = 0;
    OK(mpshm_mutex_data(m, &data, &size));
    SAME(size, expected);
    return data;
}

static int doubles(void *context) {
    struct three *t = (struct three *)data_of(three, sizeof *t);
    char *word = (char *)data_of(text, 20);
    uint64_t i;
    (void)context;
    OK(mpshm_mutex_lock(three, MPSHM_FOREVER));
    t->i *= 2;
    t->f *= 2;
    t->n *= 2;
    OK(mpshm_mutex_unlock(three));
    OK(mpshm_mutex_lock(text, MPSHM_FOREVER));
    memcpy(word + strlen(word), "hello", 6);
    OK(mpshm_mutex_unlock(text));
    for (i = 0; i < 10; i++) {
        double number = 0;
        OK(mpshm_array_load(numbers, i, &number));
        OK(mpshm_array_fetch_add(numbers, i, &number, NULL));
    }
    return 0;
}

static void a61_a_child_doubles_a_struct_numbers_and_text(void) {
    struct three *t = (struct three *)data_of(three, sizeof *t);
    char *word = (char *)data_of(text, 20);
    double all[10];
    int i;
    OK(mpshm_mutex_lock(three, MPSHM_FOREVER));
    TRUE(t->i == 0 && t->f == 0 && t->n == 0);
    t->i = 7;
    t->f = 1.0 / 3.0;
    t->n = INT64_C(1) << 33;
    OK(mpshm_mutex_unlock(three));
    OK(mpshm_mutex_lock(text, MPSHM_FOREVER));
    memcpy(word, "hello", 6);
    OK(mpshm_mutex_unlock(text));
    for (i = 0; i < 10; i++) all[i] = 0.5 * i;
    OK(mpshm_array_write(numbers, 0, 10, all));
    SAME(reap(child(doubles, NULL)), 0);
    OK(mpshm_mutex_lock(three, MPSHM_FOREVER));
    TRUE(t->i == 14 && t->f == 2.0 / 3.0 && t->n == INT64_C(1) << 34);
    OK(mpshm_mutex_unlock(three));
    OK(mpshm_mutex_lock(text, MPSHM_FOREVER));
    TRUE(strcmp(word, "hellohello") == 0);
    OK(mpshm_mutex_unlock(text));
    OK(mpshm_array_read(numbers, 0, 10, all));
    for (i = 0; i < 10; i++) TRUE(all[i] == i);
}

static void a62_a_copy_is_private(void) {
    struct three *t = (struct three *)data_of(three, sizeof *t), copy;
    OK(mpshm_mutex_lock(three, MPSHM_FOREVER));
    copy = *t;
    OK(mpshm_mutex_unlock(three));
    SAME(reap(child(doubles, NULL)), 0);
    OK(mpshm_mutex_lock(three, MPSHM_FOREVER));
    TRUE(copy.i == 14 && t->i == 28);
    copy.i = 5;
    TRUE(t->i == 28);
    OK(mpshm_mutex_unlock(three));
}

int main(void) {
    OK(mpshm_mutex_create(NULL, NULL, 300, sizeof(struct three), 8, &three));
    OK(mpshm_mutex_create(NULL, NULL, MPSHM_BYTES, 20, 1, &text));
    OK(mpshm_array_create(NULL, NULL, MPSHM_F64, 10, &numbers));
    a61_a_child_doubles_a_struct_numbers_and_text();
    a62_a_copy_is_private();
    mpshm_mutex_close(three);
    mpshm_mutex_close(text);
    mpshm_array_close(numbers);
    return 0;
}
