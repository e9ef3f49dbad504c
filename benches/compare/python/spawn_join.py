"""A process that does nothing is started and joined: `N` of them for each line, one after another."""

import sys
import time
from multiprocessing import get_context

FORK = get_context("fork")


def end():
    sys.exit(1)


def round(work):
    begun = time.perf_counter()
    ended = 0
    for _ in range(work):
        process = FORK.Process(target=end)
        process.start()
        process.join()
        ended += process.exitcode == 1
    return time.perf_counter() - begun, ended


print("ready", flush=True)
for line in sys.stdin:
    seconds, ended = round(int(line))
    print(seconds, ended, flush=True)
