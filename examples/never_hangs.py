"""What happens to a pool of Python's when something in it dies: one case, named by the first argument.

Prints what came of it. Who calls this ends it when it takes too long.
"""

import itertools
import multiprocessing
import os
import signal
import sys
import time


def square(n):
    return n * n


def die(n):
    os.kill(os.getpid(), n)


def leave(n):
    os._exit(n)


def sleep(n):
    time.sleep(n)
    return n


def ignore():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Unreadable(Exception):
    """Can be sent, but not read again."""

    def __init__(self, first, second):
        super().__init__(first)


def fail(n):
    raise Unreadable(n, n)


def no(*_):
    raise ValueError("no")


def outcome(get):
    try:
        return f"value {get()}"
    except Exception as error:
        return type(error).__name__


def killed_in_a_task():
    with multiprocessing.Pool(2) as pool:
        return outcome(lambda: pool.apply(die, (9,)))


def exits_in_a_task():
    with multiprocessing.Pool(2) as pool:
        return outcome(lambda: pool.apply(leave, (3,)))


def idle_workers_killed():
    with multiprocessing.Pool(2) as pool:
        pool.map(square, range(10))
        for worker in list(pool._pool):
            os.kill(worker.pid, 9)
        return outcome(lambda: pool.apply(square, (5,)))


def initializer_fails():
    sys.stderr.close()
    with multiprocessing.Pool(2, initializer=no) as pool:
        return outcome(lambda: pool.apply(square, (5,)))


def result_that_cannot_be_read():
    with multiprocessing.Pool(2) as pool:
        return outcome(lambda: pool.apply(fail, (1,)))


def callback_fails():
    with multiprocessing.Pool(2) as pool:
        pool.apply_async(square, (1,), callback=no)
        time.sleep(0.2)
        return outcome(lambda: pool.apply(square, (5,)))


def terminated_with_tasks_waiting():
    pool = multiprocessing.Pool(2)
    waiting = pool.map_async(sleep, [0.1] * 10_000, chunksize=1)
    pool.terminate()
    return outcome(waiting.get)


def ignores_sigterm():
    pool = multiprocessing.Pool(2, initializer=ignore)
    pool.map_async(sleep, [1000, 1000], chunksize=1)
    time.sleep(0.2)
    pool.terminate()
    return "ended"


def owner_killed():
    reader, writer = os.pipe()
    owner = os.fork()
    if owner == 0:
        pool = multiprocessing.Pool(2)
        pool.map_async(sleep, [1000, 1000], chunksize=1)
        time.sleep(0.2)
        os.write(writer, " ".join(str(worker.pid) for worker in pool._pool).encode())
        time.sleep(1000)
    workers = [int(pid) for pid in os.read(reader, 1000).split()]
    os.kill(owner, 9)
    os.waitpid(owner, 0)
    alive = lambda pid: os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().split()[2] != "Z"
    while any(alive(worker) for worker in workers):
        time.sleep(0.01)
    return "workers ended"


def endless_input():
    taken = itertools.count()
    drawn = []

    def numbers():
        for n in taken:
            drawn.append(n)
            yield n

    with multiprocessing.Pool(2) as pool:
        results = pool.imap(square, numbers())
        for _ in range(10):
            next(results)
        time.sleep(1)
        return f"10 results, {len(drawn)} items taken"


print(globals()[sys.argv[1]](), flush=True)
os._exit(0)
