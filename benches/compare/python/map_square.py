"""multiprocessing.Pool(2).map(square, range(1_000_000)), once for each operation asked for."""

import multiprocessing
import sys
import time


def square(number):
    return number * number


def main():
    with multiprocessing.Pool(2) as pool:
        print("ready", flush=True)
        for line in sys.stdin:
            seconds = 0.0
            for _ in range(int(line)):
                begun = time.perf_counter()
                squares = pool.map(square, range(1_000_000))
                seconds += time.perf_counter() - begun
            print(seconds, sum(squares) % 2**64, flush=True)


if __name__ == "__main__":
    main()
