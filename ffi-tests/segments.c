/* A65-A71, B17, B18, B32: names, sizes, attaching by name and by descriptor, what is no segment. */
#include "check.h"
#include <fcntl.h>
#include <sys/stat.h>

static const char *path_of(const char *name) {
    static char path[200];
    snprintf(path, sizeof path, "/dev/shm/mpshm.%s", name);
    return path;
}

static void write_file(const char *name, const char *bytes, size_t length) {
    int fd = open(path_of(name), O_CREAT | O_TRUNC | O_RDWR, 0600);
    TRUE(fd >= 0);
    SAME(write(fd, bytes, length), length);
    close(fd);
}

static int writes_howdy(void *context) {
    mpshm_segment_t *segment;
    mpshm_array_t *array;
    OK(mpshm_segment_attach((const char *)context, NULL, &segment));
    OK(mpshm_array_open(segment, "text", MPSHM_U8, &array));
    OK(mpshm_array_write(array, 0, 5, "howdy"));
    mpshm_array_close(array);
    mpshm_segment_close(segment);
    return 0;
}

static int attaches_and_dies(void *context) {
    mpshm_segment_t *segment;
    mpshm_array_t *array;
    OK(mpshm_segment_attach((const char *)context, NULL, &segment));
    OK(mpshm_array_open(segment, "text", MPSHM_U8, &array));
    OK(mpshm_array_lock(array, MPSHM_FOREVER));
    raise(SIGKILL);
    return 0;
}

static int adds_ten(void *context) {
    int64_t ten = 10;
    OK(mpshm_value_fetch_add((mpshm_value_t *)context, &ten, NULL));
    return 0;
}

static void unnamed(void) {
    mpshm_segment_t *s;
    mpshm_value_t *v, *w;
    int64_t n = 5;
    int i;
    OK(mpshm_segment_create(NULL, 4096, NULL, &s));
    OK(mpshm_value_create(s, NULL, MPSHM_I64, &n, &v));
    SAME(mpshm_value_open(s, NULL, MPSHM_I64, &w), MPSHM_EINVAL);
    SAME(mpshm_value_open_or_create(s, NULL, MPSHM_I64, &n, &w), MPSHM_EINVAL);
    SAME(reap(child(adds_ten, v)), 0);
    OK(mpshm_value_load(v, &n));
    SAME(n, 15);
    for (i = 0; i < 10000; i++) {
        OK(mpshm_value_create(s, NULL, MPSHM_I64, &n, &w));
        mpshm_value_close(w);
    }
    mpshm_value_close(v);
    mpshm_segment_close(s);
}

int main(void) {
    const char *name = unique("segment"), *odd = unique("odd");
    static char junk[100000];
    char text[6] = {0};
    mpshm_segment_t *s, *t;
    mpshm_segment_options_t options;
    mpshm_array_t *a;
    mpshm_value_t *v;
    uint64_t n;
    int fd, i;
    struct stat status;

    SAME(mpshm_segment_create(name, 0, NULL, &s), MPSHM_EINVAL);
    SAME(mpshm_segment_create("", 512, NULL, &s), MPSHM_EINVAL);
    SAME(mpshm_segment_create("a/b", 512, NULL, &s), MPSHM_EINVAL);
    memset(junk, 'x', 300);
    SAME(mpshm_segment_create(junk, 512, NULL, &s), MPSHM_EINVAL);
    SAME(mpshm_segment_attach(NULL, NULL, &s), MPSHM_EINVAL);
    SAME(mpshm_segment_attach(name, NULL, &s), MPSHM_ENOTFOUND);
    SAME(mpshm_segment_create(NULL, UINT64_C(1) << 45, NULL, &s), MPSHM_ENOSPACE);
    SAME(mpshm_segment_create(name, UINT64_C(1) << 45, NULL, &s), MPSHM_ENOSPACE);
    SAME(mpshm_segment_create(name, UINT64_MAX, NULL, &s), MPSHM_ENOSPACE);
    SAME(mpshm_segment_unlink(name), MPSHM_ENOTFOUND);

    OK(mpshm_segment_create(name, 512, NULL, &s));
    SAME(mpshm_segment_create(name, 512, NULL, &t), MPSHM_EEXISTS);
    OK(mpshm_segment_open_or_create(name, 1 << 20, NULL, &t));
    OK(mpshm_segment_size(s, &n));
    TRUE(n >= 512);
    {
        uint64_t m;
        OK(mpshm_segment_size(t, &m));
        SAME(m, n);
    }
    SAME(stat(path_of(name), &status), 0);
    SAME(status.st_mode & 0777, 0600);
    SAME((uint64_t)status.st_size, n);
    OK(mpshm_array_create(s, "text", MPSHM_U8, 5, &a));
    SAME(reap(child(writes_howdy, (void *)(uintptr_t)name)), 0);
    OK(mpshm_array_read(a, 0, 5, text));
    SAME(strcmp(text, "howdy"), 0);
    SAME(reap(child(attaches_and_dies, (void *)(uintptr_t)name)), -SIGKILL);
    OK(mpshm_array_read(a, 0, 5, text));
    SAME(strcmp(text, "howdy"), 0);
    SAME(mpshm_array_lock(a, MPSHM_FOREVER), MPSHM_EOWNERDEAD);
    OK(mpshm_array_mark_consistent(a));
    OK(mpshm_array_unlock(a));
    OK(mpshm_segment_recover(s));
    OK(mpshm_segment_objects(t, &n));
    SAME(n, 1);
    SAME(mpshm_array_create(s, "text", MPSHM_U8, 5, &a), MPSHM_EEXISTS);
    SAME(mpshm_value_open(s, "text", MPSHM_U8, &v), MPSHM_ETYPE);
    SAME(mpshm_array_create(s, "", MPSHM_U8, 5, &a), MPSHM_EINVAL);
    SAME(mpshm_array_create(s, junk, MPSHM_U8, 5, &a), MPSHM_EINVAL);
    SAME(mpshm_array_create(s, "large", MPSHM_U8, 1 << 20, &a), MPSHM_ENOSPACE);
    OK(mpshm_segment_fd(s, &fd));
    mpshm_segment_close(t);
    OK(mpshm_segment_attach_fd(fd, &t));
    OK(mpshm_segment_objects(t, &n));
    SAME(n, 1);
    mpshm_segment_close(t);
    SAME(mpshm_segment_attach_fd(-1, &t), MPSHM_EINVAL);
    TRUE(mpshm_segment_attach_fd(9999, &t) < 0);
    mpshm_array_close(a);
    OK(mpshm_segment_unlink(name));
    SAME(mpshm_segment_unlink(name), MPSHM_ENOTFOUND);
    SAME(mpshm_segment_attach(name, NULL, &t), MPSHM_ENOTFOUND);
    mpshm_segment_close(s);

    /* What is no segment, or is damaged. */
    memset(junk, 0, 100000);
    write_file(odd, junk, 0);
    SAME(mpshm_segment_attach(odd, NULL, &s), MPSHM_EVERSION);
    write_file(odd, "#!/bin/sh\n", 10);
    SAME(mpshm_segment_attach(odd, NULL, &s), MPSHM_EVERSION);
    write_file(odd, junk, 100000);
    SAME(mpshm_segment_attach(odd, NULL, &s), MPSHM_EVERSION);
    SAME(unlink(path_of(odd)), 0);
    OK(mpshm_segment_create(odd, 100000, NULL, &s));
    mpshm_segment_close(s);
    SAME(truncate(path_of(odd), 8192), 0);
    SAME(mpshm_segment_attach(odd, NULL, &s), MPSHM_ECORRUPT);
    SAME(mpshm_value_open(NULL, odd, MPSHM_I64, &v), MPSHM_ECORRUPT);
    OK(mpshm_segment_unlink(odd));
    SAME(mkdir(path_of(odd), 0700), 0);
    TRUE(mpshm_segment_attach(odd, NULL, &s) < 0);
    SAME(rmdir(path_of(odd)), 0);

    /* Mode; another user's segment; options. */
    OK(mpshm_segment_options_init(&options));
    options.mode = 0640;
    options.participants = 2;
    options.objects = 1;
    OK(mpshm_segment_create(odd, 100, &options, &s));
    SAME(stat(path_of(odd), &status), 0);
    SAME(status.st_mode & 0777, 0640);
    mpshm_segment_close(s);
    if (getuid() == 0) {
        SAME(chown(path_of(odd), 12345, 12345), 0);
        SAME(mpshm_segment_attach(odd, NULL, &s), MPSHM_EPERM);
        options.flags = MPSHM_SEGMENT_OF_ANY_USER;
        OK(mpshm_segment_attach(odd, &options, &s));
        mpshm_segment_close(s);
    }
    OK(mpshm_segment_unlink(odd));
    options.flags = 1 << 20;
    SAME(mpshm_segment_create(odd, 100, &options, &s), MPSHM_EINVAL);
    options.flags = 0;
    options.struct_size = 3;
    SAME(mpshm_segment_create(odd, 100, &options, &s), MPSHM_EINVAL);
    OK(mpshm_segment_options_init(&options));
    options.participants = 2000;
    SAME(mpshm_segment_create(odd, 100, &options, &s), MPSHM_EINVAL);

    /* Many made and dropped leave nothing. */
    OK(mpshm_segment_fd(NULL, &fd) == MPSHM_EINVAL ? 0 : 1);
    for (i = 0; i < 2000; i++) {
        int64_t zero = 0;
        OK(mpshm_value_create(NULL, NULL, MPSHM_I64, &zero, &v));
        mpshm_value_close(v);
    }
    fd = open("/dev/null", O_RDONLY);
    TRUE(fd >= 0 && fd < 20);
    close(fd);
    unnamed();
    return 0;
}
