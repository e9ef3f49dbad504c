/* The tour in C: processes, value, array, queue, with nothing but the header and libc.
 * Usage: tour [FILE...]; the queue part counts the files' bytes and lines (by default this program's own). */
#include <mpshm.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int differences = 0;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Ends the program on an error that no part expects: children die with it. */
static void must(int code, const char *what) {
    char text[512];
    if (code == 0) return;
    mpshm_last_message(text, sizeof text);
    fprintf(stderr, "%s: %s: %s\n", what, mpshm_err_name(code), text);
    exit(1);
}

static void expect(const char *what, int64_t found, int64_t expected) {
    if (found == expected) return;
    printf("  %s: expected %" PRId64 ", found %" PRId64 "\n", what, expected, found);
    differences++;
}

static mpshm_process_t *start(mpshm_process_fn body, void *context, const char *name) {
    mpshm_process_options_t options;
    mpshm_process_t *child;
    must(mpshm_process_options_init(&options), "options");
    options.name = name;
    options.flags = MPSHM_PROCESS_KILL_WITH_PARENT | MPSHM_PROCESS_DAEMON;
    must(mpshm_process_spawn(body, context, &options, &child), "spawn");
    return child;
}

/* Waits for all; when one dies, ends the program, and with it the others: nobody waits for the dead. */
static void join_all(mpshm_process_t **children, int count) {
    int ended = 0;
    char *done = calloc((size_t)count, 1);
    while (ended < count) {
        int i;
        for (i = 0; i < count; i++) {
            int status, code;
            if (done[i]) continue;
            code = mpshm_process_join(children[i], 2000000, &status);
            if (code == MPSHM_ETIMEDOUT) continue;
            must(code, "join");
            if (status != 0) {
                printf("  a child ended with %d: NOT as expected\n", status);
                for (i = 0; i < count; i++) mpshm_process_close(children[i]);
                exit(1);
            }
            done[i] = 1;
            ended++;
        }
    }
    free(done);
}

static void close_all(mpshm_process_t **children, int count) {
    int i;
    for (i = 0; i < count; i++) mpshm_process_close(children[i]);
}

static void ended(const char *part, double start, int before) {
    printf("  %s: %.3f s: %s\n", part, now() - start, differences == before ? "ok" : "NOT as expected");
}

/* ---- processes ---- */

static int sleeps(void *context) {
    (void)context;
    sleep(1);
    return 0;
}

static int sleeps_long(void *context) {
    (void)context;
    sleep(1000);
    return 0;
}

static void processes(void) {
    static const char *const names[3] = {"north", "east", "south"};
    mpshm_process_t *children[3], *victim;
    double begin = now(), total;
    int i, status, before = differences;
    printf("processes:\n");
    for (i = 0; i < 3; i++) children[i] = start(sleeps, NULL, names[i]);
    for (i = 0; i < 3; i++) {
        int32_t pid;
        must(mpshm_process_join(children[i], MPSHM_FOREVER, &status), "join");
        must(mpshm_process_pid(children[i], &pid), "pid");
        printf("  %s (pid %d) ended with %d\n", names[i], (int)pid, status);
        expect("exit code", status, 0);
    }
    total = now() - begin;
    close_all(children, 3);
    printf("  three seconds of sleep in %.3f s\n", total);
    expect("the sleeps overlap", total >= 1.0 && total < 2.5, 1);
    victim = start(sleeps_long, NULL, "west");
    must(mpshm_process_kill(victim), "kill");
    must(mpshm_process_join(victim, MPSHM_FOREVER, &status), "join");
    printf("  west was killed: %d\n", status);
    expect("exit code of the killed", status, -9);
    mpshm_process_close(victim);
    ended("processes", begin, before);
}

/* ---- value ---- */

static int locked_adds(void *context) {
    mpshm_value_t *value = context;
    int i;
    for (i = 0; i < 1000; i++) {
        int64_t n;
        int code = mpshm_value_lock(value, MPSHM_FOREVER);
        if (code == MPSHM_EOWNERDEAD) code = mpshm_value_mark_consistent(value);
        if (code != 0) return 1;
        if (mpshm_value_i64_load(value, &n) != 0) return 1;
        if (mpshm_value_i64_store(value, n + 1) != 0) return 1;
        if (mpshm_value_unlock(value) != 0) return 1;
    }
    return 0;
}

static int atomic_adds(void *context) {
    int i;
    for (i = 0; i < 1000000; i++)
        if (mpshm_value_i64_fetch_add(context, 1, NULL) != 0) return 1;
    return 0;
}

static int wrong_adds(void *context) {
    int i;
    for (i = 0; i < 1000000; i++) {
        int64_t n;
        if (mpshm_value_i64_load(context, &n) != 0) return 1;
        if (mpshm_value_i64_store(context, n + 1) != 0) return 1;
    }
    return 0;
}

static int64_t five(mpshm_process_fn body) {
    mpshm_value_t *value;
    mpshm_process_t *children[5];
    int64_t zero = 0, result;
    int i;
    must(mpshm_value_create(NULL, NULL, MPSHM_I64, &zero, &value), "value");
    for (i = 0; i < 5; i++) children[i] = start(body, value, NULL);
    join_all(children, 5);
    close_all(children, 5);
    must(mpshm_value_i64_load(value, &result), "load");
    mpshm_value_close(value);
    return result;
}

static void value(void) {
    double begin = now();
    int before = differences;
    int64_t n;
    printf("value:\n");
    n = five(locked_adds);
    printf("  5 x 1000 under the lock: %" PRId64 "\n", n);
    expect("under the lock", n, 5000);
    n = five(atomic_adds);
    printf("  5 x 1000000 by fetch_add: %" PRId64 "\n", n);
    expect("by fetch_add", n, 5000000);
    n = five(wrong_adds);
    printf("  WRONG, load then store: %" PRId64 ", %" PRId64 " updates were lost\n", n, 5000000 - n);
    ended("value", begin, before);
}

/* ---- array ---- */

static const int64_t numbers[10] = {680, 626, 934, 821, 150, 233, 548, 982, 714, 831};

struct part {
    mpshm_array_t *array;
    uint64_t first;
};

static int writes_part(void *context) {
    struct part *part = context;
    return mpshm_array_write(part->array, part->first, 2, numbers + part->first) != 0;
}

static int sums_up(void *context) {
    uint64_t i;
    for (i = 1; i < 10; i++) {
        int64_t before;
        if (mpshm_array_load(context, i - 1, &before) != 0) return 1;
        if (mpshm_array_fetch_add(context, i, &before, NULL) != 0) return 1;
    }
    return 0;
}

static void array(void) {
    double begin = now();
    int i, before = differences;
    mpshm_array_t *array;
    mpshm_process_t *children[5];
    struct part parts[5];
    int64_t found[10];
    printf("array:\n");
    must(mpshm_array_create(NULL, NULL, MPSHM_I64, 10, &array), "array");
    for (i = 0; i < 5; i++) {
        parts[i].array = array;
        parts[i].first = (uint64_t)i * 2;
        children[i] = start(writes_part, &parts[i], NULL);
    }
    join_all(children, 5);
    close_all(children, 5);
    must(mpshm_array_read(array, 0, 10, found), "read");
    expect("what was written", memcmp(found, numbers, sizeof numbers), 0);
    children[0] = start(sums_up, array, NULL);
    join_all(children, 1);
    close_all(children, 1);
    must(mpshm_array_read(array, 0, 10, found), "read");
    printf("  summed up in place:");
    for (i = 0; i < 10; i++) printf(" %" PRId64, found[i]);
    printf("\n");
    expect("the last sum", found[9], 6519);
    mpshm_array_close(array);
    ended("array", begin, before);
}

/* ---- queue ---- */

#define LINE_MAX_BYTES 65536

struct lines {
    mpshm_queue_t *queue;
    mpshm_array_t *totals; /* bytes, lines */
    char **files;
    int count, index;
};

/* Sends every second file's lines; a longer line goes in pieces. */
static int sends_lines(void *context) {
    struct lines *lines = context;
    int i;
    for (i = lines->index; i < lines->count; i += 2) {
        static char line[LINE_MAX_BYTES];
        size_t length = 0;
        int c;
        FILE *file = fopen(lines->files[i], "rb");
        if (file == NULL) return 1;
        do {
            c = getc(file);
            if (c != EOF) line[length++] = (char)c;
            if (length == sizeof line || c == '\n' || (c == EOF && length > 0)) {
                if (mpshm_queue_push(lines->queue, line, length, MPSHM_FOREVER) != 0) return 1;
                length = 0;
            }
        } while (c != EOF);
        fclose(file);
    }
    return 0;
}

static int counts_lines(void *context) {
    struct lines *lines = context;
    uint64_t bytes = 0, count = 0;
    for (;;) {
        const void *data;
        size_t length;
        int code = mpshm_queue_claim(lines->queue, MPSHM_FOREVER, &data, &length);
        if (code == MPSHM_ECLOSED) break;
        if (code != 0) return 1;
        bytes += length;
        count += length > 0 && ((const char *)data)[length - 1] == '\n';
        if (mpshm_queue_release(lines->queue) != 0) return 1;
    }
    if (mpshm_array_fetch_add(lines->totals, 0, &bytes, NULL) != 0) return 1;
    return mpshm_array_fetch_add(lines->totals, 1, &count, NULL) != 0;
}

static int puts_five(void *context) {
    uint64_t n;
    for (n = 0; n < 5; n++)
        if (mpshm_queue_push(context, &n, sizeof n, MPSHM_FOREVER) != 0) return 1;
    return 0;
}

static int reads_five(void *context) {
    uint64_t n, found;
    for (n = 0; n < 5; n++)
        if (mpshm_queue_pop(context, &found, sizeof found, MPSHM_FOREVER, NULL) != 0 || found != n) return 1;
    return 0;
}

static void queue(char **files, int count) {
    double begin = now(), work;
    int i, before = differences;
    uint64_t serial_bytes = 0, serial_lines = 0, totals[2];
    mpshm_queue_options_t options;
    mpshm_queue_t *queue;
    mpshm_array_t *array;
    mpshm_process_t *children[4];
    struct lines lines[2];
    printf("queue:\n");
    must(mpshm_queue_options_init(&options), "options");
    options.type_code = MPSHM_U64;
    options.capacity = 5;
    must(mpshm_queue_create(NULL, NULL, &options, &queue), "queue");
    children[0] = start(puts_five, queue, "producer");
    join_all(children, 1);
    close_all(children, 1);
    children[0] = start(reads_five, queue, "consumer");
    join_all(children, 1);
    close_all(children, 1);
    mpshm_queue_close(queue);
    printf("  a producer put 0..4 and ended, then a consumer read them\n");

    for (i = 0; i < count; i++) {
        FILE *file = fopen(files[i], "rb");
        int c;
        if (file == NULL) {
            perror(files[i]);
            exit(1);
        }
        while ((c = getc(file)) != EOF) {
            serial_bytes++;
            serial_lines += c == '\n';
        }
        fclose(file);
    }
    must(mpshm_queue_options_init(&options), "options");
    options.capacity = 64;
    options.message_max = LINE_MAX_BYTES;
    options.leases = 1;
    must(mpshm_queue_create(NULL, NULL, &options, &queue), "queue");
    must(mpshm_array_create(NULL, NULL, MPSHM_U64, 2, &array), "array");
    work = now();
    for (i = 0; i < 2; i++) {
        lines[i].queue = queue;
        lines[i].totals = array;
        lines[i].files = files;
        lines[i].count = count;
        lines[i].index = i;
        children[i] = start(sends_lines, &lines[i], "producer");
        children[2 + i] = start(counts_lines, &lines[i], "consumer");
    }
    /* Consumers that die leave producers waiting for room: watch all four. */
    for (i = 0; i < 2;) {
        int k, status, code = mpshm_process_join(children[i], 2000000, &status);
        if (code != MPSHM_ETIMEDOUT) {
            must(code, "join");
            if (status != 0) join_all(children, 4);
            i++;
        }
        for (k = 2; k < 4; k++) {
            if (mpshm_process_join(children[k], 0, &status) == 0 && status != 0) join_all(children, 4);
        }
    }
    must(mpshm_queue_shutdown(queue), "shutdown");
    join_all(children, 4);
    close_all(children, 4);
    must(mpshm_array_read(array, 0, 2, totals), "read");
    work = now() - work;
    printf("  %d files: %" PRIu64 " bytes, %" PRIu64 " lines in %.3f s, %.1f MB/s\n", count, totals[0], totals[1],
           work, (double)totals[0] / 1e6 / work);
    expect("bytes", (int64_t)totals[0], (int64_t)serial_bytes);
    expect("lines", (int64_t)totals[1], (int64_t)serial_lines);
    mpshm_array_close(array);
    mpshm_queue_close(queue);
    ended("queue", begin, before);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    processes();
    value();
    array();
    if (argc > 1)
        queue(argv + 1, argc - 1);
    else
        queue(argv, 1);
    printf("%s\n", differences == 0 ? "all ok" : "NOT as expected");
    return differences == 0 ? 0 : 1;
}
