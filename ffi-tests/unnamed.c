/* A63, A64, B19: objects without a name: their space is nobody else's while anybody has them, and all there again afterwards. */
#include "check.h"
#include <pthread.h>

enum { SIZE = 200000, LIVE = 50 };

static mpshm_segment_t *segment;
/* The longest array that an empty segment has room for. */
static uint64_t most = 0;

static bool has_room(uint64_t length) {
    mpshm_array_t *array = NULL;
    int code = mpshm_array_create(segment, NULL, MPSHM_U8, length, &array);
    if (code != MPSHM_ENOSPACE) OK(code);
    mpshm_array_close(array);
    return code == 0;
}

static void find_most(void) {
    uint64_t too_much = 2 * SIZE;
    for (most = 1; most + 1 < too_much;) {
        uint64_t middle = (most + too_much) / 2;
        if (has_room(middle)) most = middle;
        else too_much = middle;
    }
    TRUE(most > SIZE / 2);
}

/* One object can have all the room there is: what was freed has become one piece again. */
static void all_space_is_free(void) { TRUE(has_room(most)); }

/* Bytes behind a lock, of one object alone. */
static mpshm_mutex_t *made(size_t size) {
    mpshm_mutex_t *m = NULL;
    OK(mpshm_mutex_create(segment, NULL, MPSHM_BYTES, size, 1, &m));
    return m;
}

static unsigned char *bytes_of(mpshm_mutex_t *m, size_t expected) {
    void *data = NULL;
    size_t size = 0;
    OK(mpshm_mutex_data(m, &data, &size));
    SAME(size, expected);
    return (unsigned char *)data;
}

static void a63_what_lives_never_overlaps_and_what_is_freed_joins(void) {
    mpshm_mutex_t *live[LIVE];
    size_t sizes[LIVE], i;
    uint32_t random = 1;
    int turn, turns = rounds(5000, 500);
    memset(live, 0, sizeof live);
    for (turn = 0; turn < turns; turn++) {
        size_t at = next_random(&random) % LIVE;
        if (live[at] == NULL) {
            sizes[at] = 1 + next_random(&random) % 3000;
            live[at] = made(sizes[at]);
            for (i = 0; i < sizes[at]; i++) SAME(bytes_of(live[at], sizes[at])[i], 0);
            memset(bytes_of(live[at], sizes[at]), (int)at + 1, sizes[at]);
        } else {
            unsigned char *bytes = bytes_of(live[at], sizes[at]);
            for (i = 0; i < sizes[at]; i++) SAME(bytes[i], at + 1);
            mpshm_mutex_close(live[at]);
            live[at] = NULL;
        }
    }
    TRUE(!has_room(most));
    for (i = 0; i < LIVE; i++) mpshm_mutex_close(live[i]);
    all_space_is_free();
}

/* What one thread made for the other to free. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    mpshm_mutex_t *all[LIVE];
    int count;
    bool is_over;
} given = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {NULL}, 0, false};

static void *frees(void *context) {
    int *freed = (int *)context;
    for (;;) {
        mpshm_mutex_t *m = NULL;
        pthread_mutex_lock(&given.lock);
        while (given.count == 0 && !given.is_over) pthread_cond_wait(&given.changed, &given.lock);
        if (given.count > 0) m = given.all[--given.count];
        pthread_cond_signal(&given.changed);
        pthread_mutex_unlock(&given.lock);
        if (m == NULL) return NULL;
        mpshm_mutex_close(m);
        ++*freed;
    }
}

static void a64_another_thread_frees_what_this_one_makes(void) {
    int turn, turns = rounds(100000, 2000), freed = 0;
    pthread_t thread;
    SAME(pthread_create(&thread, NULL, frees, &freed), 0);
    for (turn = 0; turn < turns; turn++) {
        mpshm_mutex_t *m = made(1);
        SAME(*bytes_of(m, 1), 0);
        *bytes_of(m, 1) = 1;
        pthread_mutex_lock(&given.lock);
        while (given.count == LIVE) pthread_cond_wait(&given.changed, &given.lock);
        given.all[given.count++] = m;
        pthread_cond_signal(&given.changed);
        pthread_mutex_unlock(&given.lock);
    }
    pthread_mutex_lock(&given.lock);
    given.is_over = true;
    pthread_cond_signal(&given.changed);
    pthread_mutex_unlock(&given.lock);
    SAME(pthread_join(thread, NULL), 0);
    SAME(freed, turns);
    all_space_is_free();
}

static int adds_and_waits(void *context) {
    mpshm_value_t *v = (mpshm_value_t *)context;
    OK(mpshm_value_i64_fetch_add(v, 1, NULL));
    for (;;) pause();
    return 0;
}

static void a_child_keeps_it_and_its_death_frees_it(void) {
    mpshm_value_t *v = NULL, *other = NULL;
    int64_t zero = 0, now = 0;
    pid_t pid;
    OK(mpshm_value_create(segment, NULL, MPSHM_I64, &zero, &v));
    pid = child(adds_and_waits, v);
    UNTIL(mpshm_value_i64_load(v, &now) == 0 && now == 1);
    mpshm_value_close(v);
    TRUE(!has_room(most));
    kill_and_reap(pid);
    all_space_is_free();
    /* It cannot be found. */
    SAME(mpshm_value_open(segment, NULL, MPSHM_I64, &other), MPSHM_EINVAL);
    SAME(mpshm_value_open_or_create(segment, NULL, MPSHM_I64, &zero, &other), MPSHM_EINVAL);
    SAME(mpshm_segment_remove(segment, NULL), MPSHM_EINVAL);
    SAME(mpshm_segment_remove(segment, ""), MPSHM_EINVAL);
    TRUE(other == NULL);
}

/* The segment's handle goes first. */
static void an_object_outlives_the_handle_of_its_segment(void) {
    mpshm_segment_t *another = NULL;
    mpshm_mutex_t *m = NULL;
    OK(mpshm_segment_create(NULL, 4096, NULL, &another));
    OK(mpshm_mutex_create(another, NULL, MPSHM_BYTES, 100, 1, &m));
    mpshm_segment_close(another);
    memset(bytes_of(m, 100), 1, 100);
    OK(mpshm_mutex_lock(m, 0));
    OK(mpshm_mutex_unlock(m));
    mpshm_mutex_close(m);
}

int main(void) {
    OK(mpshm_segment_create(NULL, SIZE, NULL, &segment));
    find_most();
    a63_what_lives_never_overlaps_and_what_is_freed_joins();
    a64_another_thread_frees_what_this_one_makes();
    a_child_keeps_it_and_its_death_frees_it();
    an_object_outlives_the_handle_of_its_segment();
    mpshm_segment_close(segment);
    return 0;
}
