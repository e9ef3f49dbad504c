/* A70, B32, B33: queues by name from an executed program; of another type; in damaged segments; removed, unlinked or with
 * their segment's handle closed while they are used. */
#include "check.h"
#include <fcntl.h>

static mpshm_queue_options_t options_of(size_t item_size, uint32_t type_code) {
    mpshm_queue_options_t options;
    OK(mpshm_queue_options_init(&options));
    options.capacity = 8;
    options.item_size = item_size;
    options.type_code = type_code;
    options.message_max = 100;
    return options;
}

/* The executed program. */
static int doubles(const char *from, const char *to) {
    mpshm_queue_options_t options = options_of(0, MPSHM_I64);
    mpshm_queue_t *in, *out;
    int64_t n;
    int code;
    is_child = 1;
    OK(mpshm_queue_open(NULL, from, &options, &in));
    OK(mpshm_queue_open(NULL, to, &options, &out));
    while ((code = mpshm_queue_pop(in, &n, sizeof n, MPSHM_FOREVER, NULL)) == 0) {
        n *= 2;
        OK(mpshm_queue_push(out, &n, sizeof n, MPSHM_FOREVER));
    }
    SAME(code, MPSHM_ECLOSED);
    mpshm_queue_close(in);
    mpshm_queue_close(out);
    return 0;
}

static void executed(char *program) {
    const char *there = unique("there"), *back = unique("back");
    mpshm_queue_options_t options = options_of(8, MPSHM_I64);
    mpshm_queue_t *in, *out;
    int64_t n, i;
    pid_t pid;
    OK(mpshm_queue_create(NULL, there, &options, &in));
    OK(mpshm_queue_create(NULL, back, &options, &out));
    pid = fork();
    if (pid == 0) {
        execl(program, program, there, back, (char *)NULL);
        _exit(99);
    }
    for (i = 0; i < 100; i++) {
        OK(mpshm_queue_push(in, &i, sizeof i, MPSHM_FOREVER));
        OK(mpshm_queue_pop(out, &n, sizeof n, MPSHM_FOREVER, NULL));
        SAME(n, 2 * i);
    }
    OK(mpshm_queue_shutdown(in));
    SAME(reap(pid), 0);
    mpshm_queue_close(in);
    mpshm_queue_close(out);
    OK(mpshm_segment_unlink(there));
    OK(mpshm_segment_unlink(back));
}

/* Another element type, and the queue is as it was. */
static void types(void) {
    static const uint32_t codes[] = {MPSHM_BYTES, MPSHM_U64, MPSHM_I64, MPSHM_F64, 1000};
    const char *name = unique("types");
    mpshm_queue_options_t options = options_of(8, MPSHM_I64), other;
    mpshm_queue_t *q, *none = NULL;
    mpshm_array_t *a;
    int64_t n = 7;
    char text[300];
    size_t i;
    OK(mpshm_queue_create(NULL, name, &options, &q));
    OK(mpshm_queue_push(q, &n, sizeof n, 0));
    SAME(mpshm_queue_create(NULL, name, &options, &none), MPSHM_EEXISTS);
    SAME(mpshm_queue_open(NULL, name, NULL, &none), MPSHM_ETYPE);
    for (i = 0; i < sizeof codes / sizeof *codes; i++) {
        other = options_of(8, codes[i]);
        if (codes[i] == MPSHM_I64) continue;
        SAME(mpshm_queue_open(NULL, name, &other, &none), MPSHM_ETYPE);
        SAME(mpshm_queue_open_or_create(NULL, name, &other, &none), MPSHM_ETYPE);
    }
    other = options_of(4, MPSHM_I32);
    SAME(mpshm_queue_open(NULL, name, &other, &none), MPSHM_ETYPE);
    /* Both sides are named. */
    TRUE(mpshm_last_message(text, sizeof text) > 0);
    TRUE(strstr(text, "4 bytes") != NULL && strstr(text, "8 bytes") != NULL);
    SAME(mpshm_array_open(NULL, name, MPSHM_I64, &a), MPSHM_ETYPE);
    SAME(mpshm_queue_open(NULL, unique("none"), &options, &none), MPSHM_ENOTFOUND);
    TRUE(none == NULL);
    n = 0;
    SAME(queue_length(q), 1);
    OK(mpshm_queue_pop(q, &n, sizeof n, 0, NULL));
    SAME(n, 7);
    mpshm_queue_close(q);
    OK(mpshm_segment_unlink(name));
    /* Its own capacity, not the one that is asked for. */
    OK(mpshm_queue_open_or_create(NULL, name, &options, &q));
    mpshm_queue_close(q);
    options.capacity = 1000;
    OK(mpshm_queue_open_or_create(NULL, name, &options, &q));
    {
        uint64_t capacity;
        OK(mpshm_queue_capacity(q, &capacity));
        SAME(capacity, 8);
    }
    mpshm_queue_close(q);
    OK(mpshm_segment_unlink(name));
}

static const char *path_of(const char *name) {
    static char path[200];
    snprintf(path, sizeof path, "/dev/shm/mpshm.%s", name);
    return path;
}

/* B32: a file of another version, another size, or of something else. */
static void damaged(void) {
    const char *name = unique("damaged");
    mpshm_queue_options_t options = options_of(8, MPSHM_I64);
    mpshm_queue_t *q;
    unsigned char header[4096];
    size_t i;
    int fd, refused = 0;
    OK(mpshm_queue_create(NULL, name, &options, &q));
    mpshm_queue_close(q);
    fd = open(path_of(name), O_RDWR);
    TRUE(fd >= 0);
    SAME(pread(fd, header, sizeof header, 0), sizeof header);
    /* Any other byte at the beginning: refused, or without a meaning; the magic and the version are refused. */
    for (i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)(header[i] ^ 0x55);
        int code;
        SAME(pwrite(fd, &byte, 1, (off_t)i), 1);
        code = mpshm_queue_open(NULL, name, &options, &q);
        if (code == 0) mpshm_queue_close(q);
        else TRUE(code == MPSHM_EVERSION || code == MPSHM_ECORRUPT || code == MPSHM_EPERM);
        if (i < 8) SAME(code, MPSHM_EVERSION);
        refused += code != 0;
        SAME(pwrite(fd, &header[i], 1, (off_t)i), 1);
    }
    TRUE(refused > 16);
    OK(mpshm_queue_open(NULL, name, &options, &q));
    mpshm_queue_close(q);
    SAME(ftruncate(fd, 8192), 0);
    SAME(mpshm_queue_open(NULL, name, &options, &q), MPSHM_ECORRUPT);
    SAME(ftruncate(fd, 100), 0);
    TRUE(mpshm_queue_open(NULL, name, &options, &q) == MPSHM_ECORRUPT ||
         mpshm_queue_open(NULL, name, &options, &q) == MPSHM_EVERSION);
    SAME(ftruncate(fd, 0), 0);
    SAME(mpshm_queue_open(NULL, name, &options, &q), MPSHM_EVERSION);
    close(fd);
    OK(mpshm_segment_unlink(name));
}

/* B33, and "removed while others use it": the handle keeps what it needs. */
static void outlived(void) {
    const char *name = unique("outlived");
    mpshm_queue_options_t options = options_of(0, MPSHM_BYTES);
    mpshm_segment_t *s;
    mpshm_queue_t *q, *again, *none = NULL;
    const void *view;
    char text[100];
    size_t length;
    uint64_t n;
    OK(mpshm_segment_create(name, 1 << 20, NULL, &s));
    OK(mpshm_queue_create(s, "q", &options, &q));
    OK(mpshm_queue_push(q, "one", 3, 0));
    OK(mpshm_queue_push(q, "two", 3, 0));
    OK(mpshm_queue_claim(q, 0, &view, &length));
    OK(mpshm_segment_remove(s, "q"));
    SAME(mpshm_queue_open(s, "q", &options, &none), MPSHM_ENOTFOUND);
    OK(mpshm_queue_create(s, "q", &options, &again));
    SAME(queue_length(again), 0);
    OK(mpshm_queue_push(again, "new", 3, 0));
    OK(mpshm_segment_unlink(name));
    mpshm_segment_close(s);
    /* The view is of memory that is still there; so is the rest. */
    SAME(memcmp(view, "one", 3), 0);
    OK(mpshm_queue_release(q));
    OK(mpshm_queue_pop(q, text, sizeof text, 0, &length));
    SAME(memcmp(text, "two", 3), 0);
    OK(mpshm_queue_push(q, "three", 5, 0));
    OK(mpshm_queue_length(q, &n));
    SAME(n, 1);
    SAME(queue_length(again), 1);
    mpshm_queue_close(q);
    OK(mpshm_queue_pop(again, text, sizeof text, 0, &length));
    SAME(memcmp(text, "new", 3), 0);
    mpshm_queue_close(again);
    SAME(mpshm_segment_attach(name, NULL, &s), MPSHM_ENOTFOUND);
}

int main(int argc, char **argv) {
    if (argc == 3) return doubles(argv[1], argv[2]);
    executed(argv[0]);
    types();
    damaged();
    outlived();
    return 0;
}
