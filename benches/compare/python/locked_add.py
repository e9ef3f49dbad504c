"""Five processes count under a value's lock: `N` increments in all for each line."""

import sys
import time
from multiprocessing import Barrier, Process, Value

MEMBERS = 5


def count(total, gate, times):
    gate.wait()
    for _ in range(times):
        with total.get_lock():
            total.value += 1


def round(work):
    total = Value("q", 0)
    gate = Barrier(MEMBERS + 1)
    members = [Process(target=count, args=(total, gate, work // MEMBERS)) for _ in range(MEMBERS)]
    for member in members:
        member.start()
    gate.wait()
    begun = time.perf_counter()
    for member in members:
        member.join()
    return time.perf_counter() - begun, total.value


print("ready", flush=True)
for line in sys.stdin:
    seconds, total = round(int(line))
    print(seconds, total, flush=True)
