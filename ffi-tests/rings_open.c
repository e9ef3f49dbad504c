/* Where rings are: anonymous, by name, several in a segment; from a program that was executed; of another type; removed
 * while they are used; what size_for says. */
#include "check.h"

static mpshm_ring_options_t options_of(size_t item_size, uint64_t capacity, uint32_t type_code) {
    mpshm_ring_options_t options;
    OK(mpshm_ring_options_init(&options));
    options.item_size = item_size;
    options.capacity = capacity;
    options.type_code = type_code;
    return options;
}

/* The executed program: doubles numbers until the stream ends. */
static int doubles(const char *from, const char *to) {
    mpshm_ring_options_t options = options_of(0, 1, MPSHM_I64);
    mpshm_ring_t *in, *out;
    int64_t n;
    int code;
    is_child = 1;
    OK(mpshm_ring_open(NULL, from, &options, &in));
    OK(mpshm_ring_open(NULL, to, &options, &out));
    while ((code = mpshm_ring_pop(in, &n, sizeof n, MPSHM_FOREVER, NULL)) == 0) {
        n *= 2;
        OK(mpshm_ring_push(out, &n, sizeof n, MPSHM_FOREVER));
    }
    SAME(code, MPSHM_ECLOSED);
    mpshm_ring_close(in);
    mpshm_ring_close(out);
    return 0;
}

static void executed(char *program) {
    const char *there = unique("there"), *back = unique("back");
    mpshm_ring_options_t options = options_of(0, 16, MPSHM_I64);
    mpshm_ring_t *in, *out, *none;
    int64_t n, i;
    pid_t pid;
    options.flags = MPSHM_RING_FOLLOW_ENDS;
    OK(mpshm_ring_create(NULL, there, &options, &in));
    OK(mpshm_ring_create(NULL, back, &options, &out));
    SAME(mpshm_ring_create(NULL, there, &options, &none), MPSHM_EEXISTS);
    pid = fork();
    if (pid == 0) {
        execl(program, program, there, back, (char *)NULL);
        _exit(99);
    }
    for (i = 0; i < 100; i++) {
        OK(mpshm_ring_push(in, &i, sizeof i, MPSHM_FOREVER));
        OK(mpshm_ring_pop(out, &n, sizeof n, MPSHM_FOREVER, NULL));
        SAME(n, 2 * i);
    }
    mpshm_ring_close(in);
    SAME(reap(pid), 0);
    SAME(mpshm_ring_pop(out, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_ECLOSED);
    mpshm_ring_close(out);
    /* Closing removed no name; the ring behind it is as it was left. */
    OK(mpshm_ring_open(NULL, there, &options, &in));
    SAME(mpshm_ring_pop(in, &n, sizeof n, MPSHM_FOREVER, NULL), MPSHM_ECLOSED);
    mpshm_ring_close(in);
    OK(mpshm_segment_unlink(there));
    OK(mpshm_segment_unlink(back));
    SAME(mpshm_ring_open(NULL, there, &options, &in), MPSHM_ENOTFOUND);
}

static int opens_by_name(void *context) {
    mpshm_ring_options_t options = options_of(0, 1, MPSHM_I64);
    mpshm_ring_t *r;
    int64_t n = 42;
    OK(mpshm_ring_open_or_create(NULL, (const char *)context, &options, &r));
    OK(mpshm_ring_push(r, &n, sizeof n, 0));
    mpshm_ring_close(r);
    return 0;
}

static void named(void) {
    const char *name = unique("named");
    mpshm_ring_options_t options = options_of(0, 5, MPSHM_I64), other;
    mpshm_ring_t *r, *none = NULL;
    uint64_t n;
    int64_t found = 0;
    OK(mpshm_ring_open_or_create(NULL, name, &options, &r));
    SAME(reap(child(opens_by_name, (void *)(uintptr_t)name)), 0);
    OK(mpshm_ring_pop(r, &found, sizeof found, 0, NULL));
    SAME(found, 42);
    mpshm_ring_close(r);
    /* It has its own capacity, whatever is asked for. */
    other = options_of(8, 1000, MPSHM_I64);
    OK(mpshm_ring_open_or_create(NULL, name, &other, &r));
    OK(mpshm_ring_capacity(r, &n));
    SAME(n, 5);
    mpshm_ring_close(r);

    /* Another type, size, alignment, tag, kind. */
    SAME(mpshm_ring_open(NULL, name, NULL, &none), MPSHM_ETYPE);
    other = options_of(0, 5, MPSHM_U64);
    SAME(mpshm_ring_open(NULL, name, &other, &none), MPSHM_ETYPE);
    SAME(mpshm_ring_open_or_create(NULL, name, &other, &none), MPSHM_ETYPE);
    other = options_of(8, 5, MPSHM_BYTES);
    SAME(mpshm_ring_open(NULL, name, &other, &none), MPSHM_ETYPE);
    other = options_of(0, 5, MPSHM_I32);
    SAME(mpshm_ring_open(NULL, name, &other, &none), MPSHM_ETYPE);
    {
        mpshm_queue_options_t as_queue;
        mpshm_queue_t *q;
        mpshm_value_t *v;
        OK(mpshm_queue_options_init(&as_queue));
        as_queue.type_code = MPSHM_I64;
        SAME(mpshm_queue_open(NULL, name, &as_queue, &q), MPSHM_ETYPE);
        SAME(mpshm_value_open(NULL, name, MPSHM_I64, &v), MPSHM_ETYPE);
    }
    OK(mpshm_segment_unlink(name));
    {
        mpshm_queue_t *q;
        OK(mpshm_queue_create(NULL, name, NULL, &q));
        SAME(mpshm_ring_open(NULL, name, NULL, &none), MPSHM_ETYPE);
        mpshm_queue_close(q);
        OK(mpshm_segment_unlink(name));
    }
    TRUE(none == NULL);

    /* The user's own types. */
    other = options_of(24, 5, 1000);
    OK(mpshm_ring_create(NULL, name, &other, &r));
    mpshm_ring_close(r);
    OK(mpshm_ring_open(NULL, name, &other, &r));
    mpshm_ring_close(r);
    other.type_code = 1001;
    SAME(mpshm_ring_open(NULL, name, &other, &none), MPSHM_ETYPE);
    other = options_of(24, 5, 1000);
    other.item_align = 4;
    SAME(mpshm_ring_open(NULL, name, &other, &none), MPSHM_ETYPE);
    other = options_of(16, 5, 1000);
    SAME(mpshm_ring_open(NULL, name, &other, &none), MPSHM_ETYPE);
    OK(mpshm_segment_unlink(name));
    other = options_of(0, 64, 1000);
    OK(mpshm_ring_create(NULL, name, &other, &r));
    mpshm_ring_close(r);
    SAME(mpshm_ring_open(NULL, name, NULL, &none), MPSHM_ETYPE);
    /* The flags are the ring's own. */
    other.flags = MPSHM_RING_FULL_FAILS;
    OK(mpshm_ring_open(NULL, name, &other, &r));
    OK(mpshm_ring_push(r, NULL, 0, 0));
    SAME(mpshm_ring_push(r, "0123456789012345678901234567890123456789012345678901234567890123", 64, 20 * MS),
         MPSHM_ETIMEDOUT);
    mpshm_ring_close(r);
    OK(mpshm_segment_unlink(name));

    SAME(mpshm_ring_create(NULL, "a/b", NULL, &none), MPSHM_EINVAL);
    SAME(mpshm_ring_create(NULL, "", NULL, &none), MPSHM_EINVAL);
    SAME(mpshm_ring_open(NULL, NULL, NULL, &none), MPSHM_EINVAL);
    SAME(mpshm_ring_open_or_create(NULL, NULL, NULL, &none), MPSHM_EINVAL);
}

static int uses_by_descriptor(void *context) {
    mpshm_segment_t *s;
    mpshm_ring_t *r;
    mpshm_ring_options_t options = options_of(100, 1, MPSHM_BYTES);
    char item[100];
    OK(mpshm_segment_attach_fd(*(int *)context, &s));
    OK(mpshm_ring_open(s, "two", &options, &r));
    mpshm_segment_close(s);
    memset(item, 'd', sizeof item);
    OK(mpshm_ring_push(r, item, sizeof item, 0));
    mpshm_ring_close(r);
    return 0;
}

static void in_a_segment(void) {
    mpshm_ring_options_t one = options_of(0, 1000, MPSHM_BYTES), two = options_of(100, 7, MPSHM_BYTES);
    mpshm_segment_t *s, *second;
    mpshm_ring_t *messages, *items, *again, *none = NULL;
    char item[100] = {0};
    uint64_t bytes = 0, more = 0, n;
    size_t length;
    int fd, i;
    OK(mpshm_ring_size_for(&one, &bytes));
    OK(mpshm_ring_size_for(&two, &more));
    OK(mpshm_segment_create(NULL, bytes + more, NULL, &s));
    OK(mpshm_ring_create(s, "one", &one, &messages));
    OK(mpshm_ring_create(s, "two", &two, &items));
    /* Exactly that much: there is no room for a third. */
    SAME(mpshm_ring_create(s, "three", &two, &none), MPSHM_ENOSPACE);
    SAME(mpshm_ring_create(s, "two", &two, &none), MPSHM_EEXISTS);
    SAME(mpshm_ring_open(s, NULL, &two, &none), MPSHM_EINVAL);
    SAME(mpshm_ring_open(s, "three", &two, &none), MPSHM_ENOTFOUND);
    SAME(mpshm_ring_open(s, "one", &two, &none), MPSHM_ETYPE);
    TRUE(none == NULL);
    OK(mpshm_segment_objects(s, &n));
    SAME(n, 2);
    OK(mpshm_segment_fd(s, &fd));
    SAME(reap(child(uses_by_descriptor, &fd)), 0);
    OK(mpshm_ring_pop(items, item, sizeof item, 0, &length));
    SAME(length, 100);
    SAME(item[99], 'd');

    /* Another mapping of this process is one more handle. */
    OK(mpshm_segment_attach_fd(fd, &second));
    OK(mpshm_ring_open(second, "two", &two, &again));
    mpshm_segment_close(second);
    SAME(mpshm_ring_pop(again, item, sizeof item, 0, NULL), MPSHM_EBUSY);
    OK(mpshm_ring_push(again, item, sizeof item, 0));
    OK(mpshm_ring_pop(items, item, sizeof item, 0, NULL));
    mpshm_ring_close(again);

    /* Removed while it is used: those who use it go on, and the name is free; the room is, when they have closed. */
    OK(mpshm_ring_push(messages, "kept", 4, 0));
    OK(mpshm_segment_remove(s, "one"));
    SAME(mpshm_segment_remove(s, "one"), MPSHM_ENOTFOUND);
    SAME(mpshm_ring_open(s, "one", &one, &none), MPSHM_ENOTFOUND);
    SAME(mpshm_ring_create(s, "one", &one, &none), MPSHM_ENOSPACE);
    OK(mpshm_ring_push(messages, "too", 3, 0));
    OK(mpshm_ring_pop(messages, item, sizeof item, 0, &length));
    SAME(length, 4);
    SAME(memcmp(item, "kept", 4), 0);
    OK(mpshm_ring_pop(messages, item, sizeof item, 0, &length));
    SAME(length, 3);
    mpshm_ring_close(messages);
    for (i = 0; i < 3; i++) {
        OK(mpshm_ring_create(s, "one", &one, &messages));
        SAME(ring_length(messages), 0);
        OK(mpshm_ring_push(messages, "new", 3, 0));
        mpshm_ring_close(messages);
        OK(mpshm_segment_remove(s, "one"));
    }
    /* The segment's handle goes first; the ring keeps it mapped. */
    mpshm_segment_close(s);
    OK(mpshm_ring_push(items, item, sizeof item, 0));
    OK(mpshm_ring_pop(items, item, sizeof item, 0, NULL));
    mpshm_ring_close(items);

    /* Too small a segment is told at creation, and nothing is left in it. */
    OK(mpshm_segment_create(NULL, 512, NULL, &s));
    SAME(mpshm_ring_create(s, "large", NULL, &none), MPSHM_ENOSPACE);
    OK(mpshm_segment_objects(s, &n));
    SAME(n, 0);
    mpshm_segment_close(s);

    /* The defaults: 65536 bytes. */
    OK(mpshm_ring_size_for(NULL, &bytes));
    TRUE(bytes >= 65536 && bytes < 3 * 65536);
    OK(mpshm_ring_create(NULL, NULL, NULL, &messages));
    OK(mpshm_ring_capacity(messages, &n));
    SAME(n, 65536);
    mpshm_ring_close(messages);
}

/* Many made and closed leave nothing. */
static void nothing_is_left(void) {
    mpshm_ring_t *r;
    int i, first = dup(0);
    for (i = 0; i < rounds(2000, 50); i++) {
        int64_t n = i;
        r = ring_of(8, 4, 0);
        OK(mpshm_ring_push(r, &n, sizeof n, 0));
        mpshm_ring_close(r);
    }
    i = dup(0);
    SAME(i, first + 1);
    close(i);
    close(first);
}

int main(int argc, char **argv) {
    if (argc == 3) return doubles(argv[1], argv[2]);
    executed(argv[0]);
    named();
    in_a_segment();
    nothing_is_left();
    return 0;
}
