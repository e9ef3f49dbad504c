"""A multiprocessing.Pool(2) and what it is asked to do, so often for each line: see `main`."""

import multiprocessing
import sys
import time

PAUSE = 100e-6


def square(number):
    return number * number


def create(workers):
    """Makes a pool; its end is not timed."""
    begun = time.perf_counter()
    pool = multiprocessing.Pool(workers)
    seconds = time.perf_counter() - begun
    pool.terminate()
    pool.join()
    return seconds, 1


def map_over(pool, items):
    begun = time.perf_counter()
    squares = pool.map(square, range(items))
    return time.perf_counter() - begun, sum(squares)


def call(pool):
    """A call to a worker that has fallen asleep."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < PAUSE:
        pass
    begun = time.perf_counter()
    found = pool.apply(square, (7,))
    return time.perf_counter() - begun, found


def stream(pool, items):
    begun = time.perf_counter()
    total = sum(pool.imap_unordered(square, range(items), chunksize=1))
    return time.perf_counter() - begun, total


def rounds(once, items):
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, total = 0.0, 0
        # A stream is one for all the operations.
        times = 1 if items == "all" else int(line)
        for _ in range(times):
            more, found = once(int(line) if items == "all" else items)
            seconds += more
            total += found
        print(seconds, total % 2**64, flush=True)


def main():
    what = sys.argv[1]
    if what == "create":
        return rounds(create, int(sys.argv[2]))
    with multiprocessing.Pool(2) as pool:
        if what == "map":
            rounds(lambda items: map_over(pool, items), int(sys.argv[2]))
        elif what == "call":
            rounds(lambda _: call(pool), 0)
        elif what == "stream":
            rounds(lambda items: stream(pool, items), "all")


if __name__ == "__main__":
    main()
