/* A98, B30: descriptors and segments over Unix sockets; messages that are none. */
#include "check.h"
#include <fcntl.h>
#include <sys/socket.h>

static int sockets[2];

static int receives_a_segment(void *context) {
    mpshm_segment_t *s;
    mpshm_value_t *v;
    int64_t value = 0, one = 1;
    (void)context;
    close(sockets[0]);
    OK(mpshm_segment_receive(sockets[1], NULL, &s));
    OK(mpshm_value_open(s, "count", MPSHM_I64, &v));
    OK(mpshm_value_fetch_add(v, &one, &value));
    SAME(value, 5);
    mpshm_value_close(v);
    mpshm_segment_close(s);
    SAME(mpshm_segment_receive(sockets[1], NULL, &s), MPSHM_ECLOSED);
    return 0;
}

static void pair(void) { SAME(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0); }

static void unpair(void) {
    close(sockets[0]);
    close(sockets[1]);
}

int main(void) {
    mpshm_segment_t *s;
    mpshm_value_t *v;
    int64_t value = 5;
    int ends[2], fd = -1, i, next;
    char text[6] = {0};
    pid_t pid;

    OK(mpshm_segment_create(NULL, 4096, NULL, &s));
    OK(mpshm_value_create(s, "count", MPSHM_I64, &value, &v));
    pair();
    pid = child(receives_a_segment, NULL);
    close(sockets[1]);
    OK(mpshm_segment_send(s, sockets[0]));
    close(sockets[0]);
    SAME(reap(pid), 0);
    OK(mpshm_value_load(v, &value));
    SAME(value, 6);

    pair();
    SAME(pipe(ends), 0);
    OK(mpshm_send_fd(sockets[0], ends[1]));
    close(ends[1]);
    OK(mpshm_recv_fd(sockets[1], &fd));
    TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    SAME(write(fd, "howdy", 5), 5);
    close(fd);
    SAME(read(ends[0], text, 6), 5);
    SAME(strcmp(text, "howdy"), 0);

    /* Data without a descriptor; the output is written on success only. */
    fd = -7;
    SAME(write(sockets[0], "F", 1), 1);
    SAME(mpshm_recv_fd(sockets[1], &fd), MPSHM_ETYPE);
    SAME(fd, -7);
    SAME(mpshm_recv_fd(sockets[1], NULL), MPSHM_EINVAL);
    SAME(mpshm_recv_fd(-1, &fd), MPSHM_EINVAL);
    SAME(mpshm_recv_fd(ends[0], &fd), MPSHM_EINVAL);
    SAME(mpshm_recv_fd(9999, &fd), MPSHM_EINVAL);
    SAME(mpshm_send_fd(-1, ends[0]), MPSHM_EINVAL);
    SAME(mpshm_send_fd(sockets[0], -1), MPSHM_EINVAL);
    SAME(mpshm_send_fd(sockets[0], 9999), MPSHM_EINVAL);
    SAME(mpshm_send_fd(ends[0], ends[0]), MPSHM_EINVAL);
    SAME(mpshm_segment_send(NULL, sockets[0]), MPSHM_EINVAL);
    SAME(mpshm_segment_send(s, -1), MPSHM_EINVAL);
    SAME(mpshm_segment_receive(sockets[1], NULL, NULL), MPSHM_EINVAL);
    /* What is no segment is refused, and closed. */
    next = dup(0);
    close(next);
    OK(mpshm_send_fd(sockets[0], ends[0]));
    {
        mpshm_segment_t *none;
        SAME(mpshm_segment_receive(sockets[1], NULL, &none), MPSHM_EVERSION);
    }
    SAME(dup(0), next);
    close(next);
    SAME(fcntl(sockets[1], F_SETFL, O_NONBLOCK), 0);
    SAME(mpshm_recv_fd(sockets[1], &fd), MPSHM_ETIMEDOUT);
    close(sockets[1]);
    SAME(mpshm_send_fd(sockets[0], ends[0]), MPSHM_ECLOSED);
    SAME(mpshm_recv_fd(sockets[0], &fd), MPSHM_ECLOSED);
    close(sockets[0]);

    pair();
    for (i = 0; i < 10000; i++) {
        OK(mpshm_segment_send(s, sockets[0]));
        OK(mpshm_recv_fd(sockets[1], &fd));
        TRUE(fd < 64);
        close(fd);
    }
    unpair();
    close(ends[0]);
    mpshm_value_close(v);
    mpshm_segment_close(s);
    return 0;
}
