/* A04, A12, A14, A15, A17, A18, A19, A20, A21, A22, B22: children of children, many at once, and what surrounds them. Of A02 and A06
 * nothing is here: a handle is a started process. A05 is in processes_start.c, but for a flag changed later: there is no call. */
#include "pools.h"
#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

static int status_of(mpshm_process_t *p) {
    int status = -1000;
    OK(mpshm_process_join(p, MPSHM_FOREVER, &status));
    mpshm_process_close(p);
    return status;
}

static mpshm_process_t *spawned(int (*function)(void *), void *context) {
    mpshm_process_t *p = NULL;
    OK(mpshm_process_spawn(function, context, NULL, &p));
    return p;
}

static int returns_0(void *context) {
    (void)context;
    return 0;
}

static int sleeps(void *context) {
    (void)context;
    for (;;) pause();
    return 0;
}

/* What a child says of itself. */
struct said {
    int number;
    int32_t pid;
    char name[20];
};

static mpshm_queue_t *queue;

static int says(void *context) {
    struct said *said = (struct said *)context;
    said->pid = (int32_t)getpid();
    OK(mpshm_current_name(said->name, sizeof said->name, NULL));
    said->number++;
    return mpshm_queue_push(queue, said, sizeof *said, MPSHM_FOREVER);
}

static void a04_a_child_is_what_its_handle_says(void) {
    mpshm_process_options_t options;
    mpshm_process_t *p;
    struct said given, said;
    int32_t pid = 0;
    memset(&given, 0, sizeof given);
    given.number = 41;
    OK(mpshm_process_options_init(&options));
    options.name = "forty-one";
    OK(mpshm_process_spawn(says, &given, &options, &p));
    OK(mpshm_queue_pop(queue, &said, sizeof said, MPSHM_FOREVER, NULL));
    OK(mpshm_process_pid(p, &pid));
    SAME(said.pid, pid);
    SAME(said.number, 42);
    SAME(given.number, 41);
    TRUE(strcmp(said.name, "forty-one") == 0);
    SAME(status_of(p), 0);
}

static int is_a_node(void *context) {
    int id = *(int *)context, child;
    OK(mpshm_queue_push(queue, &id, sizeof id, MPSHM_FOREVER));
    for (child = 1; child <= 2 && id < 100; child++) {
        int next = id * 10 + child;
        SAME(status_of(spawned(is_a_node, &next)), 0);
    }
    return 0;
}

static void a12_a_tree_joined_depth_first_reports_in_pre_order(void) {
    static const int order[] = {1, 11, 111, 112, 12, 121, 122};
    int root = 1, id = 0;
    size_t i;
    SAME(status_of(spawned(is_a_node, &root)), 0);
    for (i = 0; i < sizeof order / sizeof *order; i++) {
        OK(mpshm_queue_pop(queue, &id, sizeof id, 0, NULL));
        SAME(id, order[i]);
    }
    SAME(queue_length(queue), 0);
}

static void a14_closing_the_handle_of_one_that_runs_leaves_it_alone(void) {
    mpshm_process_t *p = spawned(sleeps, NULL);
    int32_t pid = 0;
    OK(mpshm_process_pid(p, &pid));
    mpshm_process_close(p);
    mpshm_process_close(NULL);
    SAME(kill(pid, 0), 0);
    kill_and_reap(pid);
}

static void a15_a_hundred_at_once(void) {
    enum { MANY = 100 };
    mpshm_process_t *all[MANY];
    int i, many = rounds(MANY, 20);
    for (i = 0; i < many; i++) all[i] = spawned(returns_0, NULL);
    for (i = 0; i < many; i++) SAME(status_of(all[i]), 0);
    for (i = 0; i < many; i++) {
        all[i] = spawned(sleeps, NULL);
        OK(mpshm_process_terminate(all[i]));
    }
    for (i = 0; i < many; i++) SAME(status_of(all[i]), -SIGTERM);
}

static void *sleeps_for_ever(void *context) {
    sleeps(context);
    return NULL;
}

static int starts_a_thread(void *context) {
    pthread_t thread;
    SAME(pthread_create(&thread, NULL, sleeps_for_ever, context), 0);
    return 3;
}

static void a17_threads_end_with_the_childs_function(void) { SAME(status_of(spawned(starts_a_thread, NULL)), 3); }

static int prints(void *context) {
    (void)context;
    printf("lost");
    fprintf(stderr, "lost");
    return 0;
}

static int has_no_output(void *context) {
    close(1);
    close(2);
    return status_of(spawned(prints, context));
}

static void a18_a_child_without_output_runs(void) { SAME(status_of(spawned(has_no_output, NULL)), 0); }

static void handles(int signal) { (void)signal; }

static int signals_its_parent(void *context) {
    int i;
    (void)context;
    until_asleep(getppid());
    for (i = 0; i < 10; i++) {
        kill(getppid(), SIGUSR1);
        nap(MS);
    }
    return 0;
}

static void a19_a_join_survives_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handles; /* without SA_RESTART */
    SAME(sigaction(SIGUSR1, &action, NULL), 0);
    SAME(status_of(spawned(signals_its_parent, NULL)), 0);
}

static int shouts(void *context) {
    mpshm_queue_t **ways = (mpshm_queue_t **)context;
    char text[100];
    size_t length = 0, i;
    for (;;) {
        OK(mpshm_queue_pop(ways[0], text, sizeof text, MPSHM_FOREVER, &length));
        if (length == 0) return 0;
        for (i = 0; i < length; i++) text[i] = (char)toupper((unsigned char)text[i]);
        OK(mpshm_queue_push(ways[1], text, length, MPSHM_FOREVER));
    }
}

static void a20_a_child_answers_until_it_is_stopped(void) {
    mpshm_queue_t *ways[2];
    mpshm_process_t *p;
    char text[100];
    ways[0] = queue_of(0, 4, 0);
    ways[1] = queue_of(0, 4, 0);
    p = spawned(shouts, ways);
    OK(mpshm_queue_push(ways[0], "hello", 5, MPSHM_FOREVER));
    OK(mpshm_queue_pop(ways[1], text, sizeof text, MPSHM_FOREVER, NULL));
    SAME(memcmp(text, "HELLO", 5), 0);
    OK(mpshm_queue_push(ways[0], "world", 5, MPSHM_FOREVER));
    OK(mpshm_queue_pop(ways[1], text, sizeof text, MPSHM_FOREVER, NULL));
    SAME(memcmp(text, "WORLD", 5), 0);
    OK(mpshm_queue_push(ways[0], "", 0, MPSHM_FOREVER));
    SAME(status_of(p), 0);
    mpshm_queue_close(ways[0]);
    mpshm_queue_close(ways[1]);
}

static int pushes_7(void *context) {
    int seven = 7;
    return mpshm_queue_push((mpshm_queue_t *)context, &seven, sizeof seven, MPSHM_FOREVER);
}

static int uses_everything(void *context) {
    mpshm_queue_t *q = queue_of(sizeof(int), 4, 0);
    mpshm_pool_t *pool = pool_of(2, NULL);
    uint64_t items[10], results[10], i;
    int seven = 0;
    (void)context;
    for (i = 0; i < 10; i++) items[i] = i;
    SAME(status_of(spawned(pushes_7, q)), 0);
    OK(mpshm_queue_pop(q, &seven, sizeof seven, 0, NULL));
    OK(mpshm_pool_map(pool, square, items, 8, 10, results, 8, 0));
    SAME(results[9], 81);
    OK(mpshm_pool_finish(pool, MPSHM_FOREVER));
    mpshm_pool_close(pool);
    mpshm_queue_close(q);
    SAME(waitpid(-1, NULL, WNOHANG), -1);
    return seven;
}

static void a21_a_child_has_children_queues_and_a_pool(void) { SAME(status_of(spawned(uses_everything, NULL)), 7); }

static void a22_processors_are_no_more_than_may_be_used(void) {
    cpu_set_t set;
    SAME(sched_getaffinity(0, sizeof set, &set), 0);
    TRUE(mpshm_cpu_count() >= 1 && mpshm_cpu_count() <= (uint32_t)CPU_COUNT(&set));
}

static int stop = 0;

/* Holds the allocator's lock, and its stream's, as often as not. */
static void *is_busy(void *context) {
    FILE *nowhere = fopen("/dev/null", "w");
    TRUE(nowhere != NULL);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        void *volatile memory = malloc(5000);
        fprintf(nowhere, "%p\n", memory);
        free(memory);
        sched_yield();
    }
    fclose(nowhere);
    return context;
}

static int counts(void *context) {
    (void)context;
    return counts_one();
}

static void b22_children_of_a_program_with_busy_threads_reach_their_function(void) {
    pthread_t threads[8];
#if defined(__SANITIZE_ADDRESS__) /* which makes a fork slow */
    int i, many = 15;
#else
    int i, many = rounds(200, 20);
#endif
    count_anew();
    for (i = 0; i < 8; i++) SAME(pthread_create(&threads[i], NULL, is_busy, NULL), 0);
    for (i = 0; i < many; i++) SAME(status_of(spawned(counts, NULL)), 0);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < 8; i++) SAME(pthread_join(threads[i], NULL), 0);
    SAME(counted(), many);
}

int main(void) {
    set_up();
    queue = queue_of(0, 16, 0);
    a04_a_child_is_what_its_handle_says();
    a12_a_tree_joined_depth_first_reports_in_pre_order();
    a14_closing_the_handle_of_one_that_runs_leaves_it_alone();
    a15_a_hundred_at_once();
    a17_threads_end_with_the_childs_function();
    a18_a_child_without_output_runs();
    a19_a_join_survives_signals();
    a20_a_child_answers_until_it_is_stopped();
    a21_a_child_has_children_queues_and_a_pool();
    a22_processors_are_no_more_than_may_be_used();
    b22_children_of_a_program_with_busy_threads_reach_their_function();
    mpshm_queue_close(queue);
    tear_down();
    return 0;
}
