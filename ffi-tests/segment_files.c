/* B32, B33: segments in files, removal of objects, options of the mapping, bad input to each. */
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char path[200];

static int counts_in_the_file(void *context) {
    mpshm_segment_t *s;
    mpshm_value_t *v;
    int64_t one = 1, old;
    (void)context;
    OK(mpshm_segment_attach_file(path, NULL, &s));
    OK(mpshm_value_open(s, "count", MPSHM_I64, &v));
    OK(mpshm_value_fetch_add(v, &one, &old));
    SAME(old, 7);
    mpshm_value_close(v);
    mpshm_segment_close(s);
    return 0;
}

static void files(void) {
    mpshm_segment_t *s, *t;
    mpshm_segment_options_t options;
    mpshm_value_t *v;
    struct stat status;
    int64_t value = 7;
    uint64_t n, m;

    SAME(mpshm_segment_create_file(NULL, 4096, NULL, &s), MPSHM_EINVAL);
    SAME(mpshm_segment_create_file(path, 4096, NULL, NULL), MPSHM_EINVAL);
    SAME(mpshm_segment_create_file("", 4096, NULL, &s), MPSHM_EINVAL);
    SAME(mpshm_segment_create_file("/tmp/", 4096, NULL, &s), MPSHM_EINVAL);
    SAME(mpshm_segment_create_file("/no such folder/file", 4096, NULL, &s), MPSHM_ENOTFOUND);
    SAME(mpshm_segment_create_file(path, 0, NULL, &s), MPSHM_EINVAL);
    SAME(mpshm_segment_create_file(path, UINT64_MAX, NULL, &s), MPSHM_ENOSPACE);
    SAME(mpshm_segment_create_file(path, UINT64_C(1) << 45, NULL, &s), MPSHM_ENOSPACE);
    SAME(mpshm_segment_attach_file(path, NULL, &s), MPSHM_ENOTFOUND);
    SAME(mpshm_segment_unlink_file(path), MPSHM_ENOTFOUND);
    SAME(mpshm_segment_unlink_file(NULL), MPSHM_EINVAL);
    SAME(mpshm_segment_sync(NULL), MPSHM_EINVAL);

    OK(mpshm_segment_options_init(&options));
    options.mode = 0640;
    OK(mpshm_segment_create_file(path, 10000, &options, &s));
    SAME(mpshm_segment_create_file(path, 10000, NULL, &t), MPSHM_EEXISTS);
    SAME(stat(path, &status), 0);
    SAME(status.st_mode & 0777, 0640);
    OK(mpshm_segment_size(s, &n));
    SAME((uint64_t)status.st_size, n);
    TRUE((uint64_t)status.st_blocks * 512 >= n);
    OK(mpshm_value_create(s, "count", MPSHM_I64, &value, &v));
    OK(mpshm_segment_sync(s));
    SAME(reap(child(counts_in_the_file, NULL)), 0);
    OK(mpshm_value_load(v, &value));
    SAME(value, 8);
    mpshm_value_close(v);
    mpshm_segment_close(s);
    OK(mpshm_segment_open_or_create_file(path, 1 << 20, NULL, &s));
    OK(mpshm_segment_size(s, &m));
    SAME(m, n);
    OK(mpshm_value_open(s, "count", MPSHM_I64, &v));
    OK(mpshm_value_load(v, &value));
    SAME(value, 8);
    OK(mpshm_segment_unlink_file(path));
    SAME(mpshm_segment_attach_file(path, NULL, &t), MPSHM_ENOTFOUND);
    mpshm_value_close(v);
    mpshm_segment_close(s);

    SAME(symlink("/dev/zero", path), 0);
    TRUE(mpshm_segment_attach_file(path, NULL, &s) < 0);
    OK(mpshm_segment_unlink_file(path));
}

static void removal(void) {
    mpshm_segment_t *s;
    mpshm_segment_options_t options;
    mpshm_array_t *a, *b;
    uint64_t n;
    int i;
    char text[6] = {0};

    OK(mpshm_segment_options_init(&options));
    options.objects = 3;
    OK(mpshm_segment_create(NULL, 40000, &options, &s));
    SAME(mpshm_segment_remove(s, "a"), MPSHM_ENOTFOUND);
    SAME(mpshm_segment_remove(s, ""), MPSHM_EINVAL);
    SAME(mpshm_segment_remove(s, NULL), MPSHM_EINVAL);
    SAME(mpshm_segment_remove(NULL, "a"), MPSHM_EINVAL);
    OK(mpshm_array_create(s, "a", MPSHM_U8, 20000, &a));
    OK(mpshm_array_write(a, 0, 5, "stays"));
    OK(mpshm_segment_remove(s, "a"));
    SAME(mpshm_segment_remove(s, "a"), MPSHM_ENOTFOUND);
    SAME(mpshm_array_open(s, "a", MPSHM_U8, &b), MPSHM_ENOTFOUND);
    OK(mpshm_segment_objects(s, &n));
    SAME(n, 0);
    /* Its space is in use, its name is not. */
    SAME(mpshm_array_create(s, "a", MPSHM_U8, 30000, &b), MPSHM_ENOSPACE);
    OK(mpshm_array_create(s, "a", MPSHM_U8, 5, &b));
    OK(mpshm_array_write(b, 0, 5, "fresh"));
    OK(mpshm_array_read(a, 0, 5, text));
    SAME(strcmp(text, "stays"), 0);
    mpshm_array_close(b);
    OK(mpshm_segment_remove(s, "a"));
    mpshm_array_close(a);
    for (i = 0; i < 1000; i++) {
        OK(mpshm_array_create(s, "a", MPSHM_U8, 30000, &a));
        OK(mpshm_array_read(a, 0, 5, text));
        SAME(text[0], 0);
        OK(mpshm_array_write(a, 0, 5, "dirty"));
        mpshm_array_close(a);
        OK(mpshm_segment_remove(s, "a"));
    }
    mpshm_segment_close(s);
}

static int may_lock_nothing(void *context) {
    struct rlimit none = {0, 0};
    mpshm_segment_options_t options;
    mpshm_segment_t *s;
    (void)context;
    SAME(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    if (getuid() == 0) SAME(setuid(65534), 0);
    if (mlock(&none, sizeof none) == 0) return 0; /* AddressSanitizer's, which does nothing */
    OK(mpshm_segment_options_init(&options));
    options.flags = MPSHM_SEGMENT_LOCK_MEMORY;
    SAME(mpshm_segment_create(NULL, 100000, &options, &s), MPSHM_ELIMIT);
    return 0;
}

static void mappings(void) {
    mpshm_segment_t *s;
    mpshm_segment_options_t options;
    int result;

    OK(mpshm_segment_options_init(&options));
    options.flags = MPSHM_SEGMENT_HUGE_PAGES | MPSHM_SEGMENT_PREFAULT;
    OK(mpshm_segment_create(NULL, 5 << 20, &options, &s));
    mpshm_segment_close(s);
    SAME(reap(child(may_lock_nothing, NULL)), 0);
    options.flags = MPSHM_SEGMENT_HUGE_TLB;
    SAME(mpshm_segment_create(unique("huge"), 4096, &options, &s), MPSHM_EINVAL);
    result = mpshm_segment_create(NULL, 4096, &options, &s);
    if (result == 0)
        mpshm_segment_close(s);
    else
        SAME(result, MPSHM_ENOSPACE);
    options.flags = 64;
    SAME(mpshm_segment_create(NULL, 4096, &options, &s), MPSHM_EINVAL);
}

int main(void) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/mpshm.%s", folder ? folder : "/tmp", unique("file"));
    files();
    removal();
    mappings();
    return 0;
}
