/* The latest value: newest and whole, in place and copied, killed writers and readers, misuse. */
#include "check.h"

struct page {
    uint64_t number[512];
};

static void set(struct page *page, uint64_t number) {
    int i;
    for (i = 0; i < 512; i++) page->number[i] = number;
}

static uint64_t whole(const struct page *page) {
    int i;
    for (i = 0; i < 512; i++) SAME(page->number[i], page->number[0]);
    return page->number[0];
}

static int stores(void *context) {
    struct page page;
    uint64_t number, version;
    for (number = 1; number <= 2000; number++) {
        set(&page, number);
        OK(mpshm_latest_store((mpshm_latest_t *)context, &page, sizeof page, &version));
        SAME(version, number + 1);
    }
    return 0;
}

/* Reserves, writes a half, and is killed. */
static int dies_writing(void *context) {
    void *data;
    OK(mpshm_latest_reserve((mpshm_latest_t *)context, MPSHM_FOREVER, &data));
    memset(data, 0xff, sizeof(struct page) / 2);
    raise(SIGKILL);
    return 1;
}

static int dies_reading(void *context) {
    mpshm_latest_reader_t *reader;
    const void *data;
    OK(mpshm_latest_reader((mpshm_latest_t *)context, &reader));
    OK(mpshm_latest_claim(reader, &data, NULL));
    raise(SIGKILL);
    return 1;
}

static int waits(void *context) {
    uint64_t version;
    OK(mpshm_latest_wait_newer((mpshm_latest_t *)context, 1, 10000 * MS, &version));
    SAME(version, 2);
    return 0;
}

static int is_forked(void *context) {
    SAME(mpshm_latest_commit((mpshm_latest_t *)context, NULL), MPSHM_EFORKED);
    SAME(mpshm_latest_abort((mpshm_latest_t *)context), MPSHM_EFORKED);
    return 0;
}

static int is_a_reader_of_its_own(void *context) {
    mpshm_latest_reader_t *reader = (mpshm_latest_reader_t *)context;
    struct page page;
    SAME(mpshm_latest_release(reader), MPSHM_EFORKED);
    OK(mpshm_latest_load(reader, &page, sizeof page, NULL));
    mpshm_latest_reader_close(reader);
    return 0;
}

int main(void) {
    mpshm_latest_options_t options;
    mpshm_latest_t *latest, *other;
    mpshm_latest_reader_t *reader, *second;
    mpshm_canceller_t *canceller;
    struct page page;
    const void *claimed;
    void *data;
    uint64_t version, last = 0;
    size_t size;
    pid_t pid;
    int i;
    float f = 2.5f;
    char bytes[10];
    const char *name = unique("latest");

    OK(mpshm_latest_options_init(&options));
    options.readers = 2;
    options.writers = 1;
    OK(mpshm_latest_create(NULL, NULL, MPSHM_BYTES, sizeof page, 8, &options, &latest));
    OK(mpshm_latest_size(latest, &size));
    SAME(size, sizeof page);
    OK(mpshm_latest_version(latest, &version));
    SAME(version, 1);
    OK(mpshm_latest_reader(latest, &reader));
    OK(mpshm_latest_load(reader, &page, sizeof page, &version));
    SAME(whole(&page), 0);
    SAME(version, 1);

    /* A child stores; what is read is whole, and never older than before. */
    pid = child(stores, latest);
    while (last < 2001) {
        OK(mpshm_latest_claim(reader, &claimed, &version));
        TRUE(version >= last);
        SAME(whole((const struct page *)claimed), version - 1);
        SAME(mpshm_latest_load(reader, &page, sizeof page, NULL), MPSHM_EBUSY);
        SAME(mpshm_latest_claim(reader, &claimed, NULL), MPSHM_EBUSY);
        OK(mpshm_latest_release(reader));
        last = version;
    }
    SAME(reap(pid), 0);

    /* In place, and given up. */
    OK(mpshm_latest_reserve(latest, 0, &data));
    SAME(mpshm_latest_reserve(latest, 0, &data), MPSHM_EBUSY);
    set((struct page *)data, 7);
    SAME(reap(child(is_forked, latest)), 0);
    OK(mpshm_latest_commit(latest, &version));
    SAME(version, 2002);
    OK(mpshm_latest_reserve(latest, 0, &data));
    set((struct page *)data, 8);
    OK(mpshm_latest_abort(latest));
    SAME(mpshm_latest_abort(latest), MPSHM_ENOTOWNER);
    SAME(mpshm_latest_commit(latest, NULL), MPSHM_ENOTOWNER);
    SAME(mpshm_latest_release(reader), MPSHM_ENOTOWNER);
    OK(mpshm_latest_claim(reader, &claimed, NULL));
    SAME(reap(child(is_a_reader_of_its_own, reader)), 0);
    SAME(whole((const struct page *)claimed), 7);

    /* Who is killed with a value leaves the last whole one, and nothing else. */
    for (i = 0; i < 10; i++) {
        SAME(reap(child(dies_writing, latest)), -SIGKILL);
        SAME(reap(child(dies_reading, latest)), -SIGKILL);
        SAME(whole((const struct page *)claimed), 7);
        set(&page, 100 + (uint64_t)i);
        OK(mpshm_latest_store(latest, &page, sizeof page, NULL));
        OK(mpshm_latest_reader(latest, &second));
        OK(mpshm_latest_load(second, &page, sizeof page, NULL));
        SAME(whole(&page), 100 + i);
        mpshm_latest_reader_close(second);
    }
    OK(mpshm_latest_release(reader));
    OK(mpshm_latest_reader(latest, &second));
    SAME(mpshm_latest_reader(latest, &reader), MPSHM_ELIMIT);
    mpshm_latest_reader_close(second);
    mpshm_latest_reader_close(reader);
    mpshm_latest_reader_close(NULL);

    /* Waiting. */
    OK(mpshm_latest_create(NULL, NULL, MPSHM_F32, 0, 0, NULL, &other));
    SAME(mpshm_latest_wait_newer(other, 1, 0, NULL), MPSHM_EBUSY);
    SAME(mpshm_latest_wait_newer(other, 1, 2 * MS, NULL), MPSHM_ETIMEDOUT);
    SAME(mpshm_latest_wait_newer(other, 1, -2, NULL), MPSHM_EINVAL);
    OK(mpshm_latest_wait_newer(other, 0, 0, &version));
    SAME(version, 1);
    pid = child(waits, other);
    OK(mpshm_latest_store(other, &f, sizeof f, NULL));
    SAME(reap(pid), 0);
    OK(mpshm_canceller_create(&canceller));
    OK(mpshm_canceller_cancel(canceller));
    OK(mpshm_canceller_enter(canceller));
    SAME(mpshm_latest_wait_newer(other, 2, MPSHM_FOREVER, NULL), MPSHM_EINTERRUPTED);
    OK(mpshm_canceller_leave());
    mpshm_canceller_close(canceller);

    /* Misuse. */
    SAME(mpshm_latest_store(other, &f, 3, NULL), MPSHM_EINVAL);
    SAME(mpshm_latest_store(other, &f, 5, NULL), MPSHM_ETOOBIG);
    SAME(mpshm_latest_store(other, NULL, 4, NULL), MPSHM_EINVAL);
    SAME(mpshm_latest_store(NULL, &f, 4, NULL), MPSHM_EINVAL);
    SAME(mpshm_latest_load(NULL, &f, 4, NULL), MPSHM_EINVAL);
    SAME(mpshm_latest_size(other, NULL), MPSHM_EINVAL);
    mpshm_latest_close(other);
    mpshm_latest_close(latest);
    mpshm_latest_close(NULL);
    options.readers = 0;
    SAME(mpshm_latest_create(NULL, NULL, MPSHM_BYTES, 8, 8, &options, &latest), MPSHM_EINVAL);
    options.readers = 1;
    options.flags = 1;
    SAME(mpshm_latest_create(NULL, NULL, MPSHM_BYTES, 8, 8, &options, &latest), MPSHM_EINVAL);
    options.flags = 0;
    options.struct_size = 3;
    SAME(mpshm_latest_create(NULL, NULL, MPSHM_BYTES, 8, 8, &options, &latest), MPSHM_EINVAL);
    SAME(mpshm_latest_create(NULL, NULL, MPSHM_BYTES, 0, 1, NULL, &latest), MPSHM_EINVAL);
    SAME(mpshm_latest_create(NULL, NULL, MPSHM_BYTES, 0, 0, NULL, &latest), MPSHM_EINVAL);
    SAME(mpshm_latest_create(NULL, NULL, MPSHM_BYTES, 8, 3, NULL, &latest), MPSHM_EINVAL);
    SAME(mpshm_latest_create(NULL, NULL, MPSHM_BYTES, 8, 8, NULL, NULL), MPSHM_EINVAL);

    /* By name; bytes of whatever size. */
    OK(mpshm_latest_open_or_create(NULL, name, MPSHM_BYTES, sizeof bytes, 0, NULL, &latest));
    OK(mpshm_latest_store(latest, "123456789", sizeof bytes, NULL));
    OK(mpshm_latest_open(NULL, name, MPSHM_BYTES, 0, 0, &other));
    OK(mpshm_latest_size(other, &size));
    SAME(size, sizeof bytes);
    OK(mpshm_latest_reader(other, &reader));
    OK(mpshm_latest_load(reader, bytes, sizeof bytes, NULL));
    SAME(strcmp(bytes, "123456789"), 0);
    SAME(mpshm_latest_open(NULL, name, MPSHM_F32, 0, 0, &other), MPSHM_ETYPE);
    mpshm_latest_reader_close(reader);
    mpshm_latest_close(other);
    mpshm_latest_close(latest);
    OK(mpshm_segment_unlink(name));
    return 0;
}
