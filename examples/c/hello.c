#include <mpshm.h>
#include <stdio.h>
#define CHECK(call) \
    do { int e = (call); if (e) { fprintf(stderr, #call ": %s\n", mpshm_strerror(e)); return 1; } } while (0)
static int producer(void *queue) {
    CHECK(mpshm_queue_push(queue, "hello, world", 12, MPSHM_FOREVER));
    return 0;
}
int main(void) {
    mpshm_queue_t *queue; mpshm_process_t *child; char text[4096]; size_t length; int status;
    CHECK(mpshm_queue_create(NULL, NULL, NULL, &queue));
    CHECK(mpshm_process_spawn(producer, queue, NULL, &child));
    CHECK(mpshm_queue_pop(queue, text, sizeof text, MPSHM_FOREVER, &length));
    CHECK(mpshm_process_join(child, MPSHM_FOREVER, &status));
    printf("%.*s (the child ended with %d)\n", (int)length, text, status);
    mpshm_process_close(child);
    mpshm_queue_close(queue);
    return status;
}
