/* A ring: a child process writes samples in place, the parent reads them in place, until the stream ends. */
#include <mpshm.h>
#include <stdio.h>
#define CHECK(call) \
    do { int e = (call); if (e) { fprintf(stderr, #call ": %s\n", mpshm_strerror(e)); return 1; } } while (0)
typedef struct { uint64_t number; double value; } sample_t;
static int producer(void *ring) {
    uint64_t n;
    for (n = 0; n < 100000; n++) {
        void *room;
        CHECK(mpshm_ring_reserve(ring, 1, MPSHM_FOREVER, &room));
        ((sample_t *)room)->number = n;
        ((sample_t *)room)->value = (double)n / 2;
        CHECK(mpshm_ring_commit(ring, 1));
    }
    mpshm_ring_close(ring); /* its end is the stream's; dead without it, the parent would get MPSHM_EPEERDEAD */
    return 0;
}
int main(void) {
    mpshm_ring_options_t options; mpshm_ring_t *ring; mpshm_process_t *child;
    const void *samples; size_t count, i; double sum = 0; int error, status;
    CHECK(mpshm_ring_options_init(&options));
    options.capacity = 1024;
    options.item_size = sizeof(sample_t);
    options.flags = MPSHM_RING_FOLLOW_ENDS;
    CHECK(mpshm_ring_create(NULL, NULL, &options, &ring));
    CHECK(mpshm_process_spawn(producer, ring, NULL, &child));
    while ((error = mpshm_ring_claim(ring, 256, MPSHM_FOREVER, &samples, &count)) == 0) {
        for (i = 0; i < count; i++) sum += ((const sample_t *)samples)[i].value;
        CHECK(mpshm_ring_release(ring, count));
    }
    if (error != MPSHM_ECLOSED) CHECK(error);
    CHECK(mpshm_process_join(child, MPSHM_FOREVER, &status));
    printf("the sum is %.1f (the child ended with %d)\n", sum, status);
    mpshm_process_close(child);
    mpshm_ring_close(ring);
    return status;
}
