"""map and starmap: a function over many items, in the workers.

python examples/pool_map.py [START METHOD]
"""

import sys

import procfast


def is_prime(n):
    return n > 1 and all(n % k for k in range(2, int(n**0.5) + 1))


def power(base, exponent):
    return base**exponent


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with ctx.Pool(2) as pool:
        numbers = range(1000)
        primes = [n for n, prime in zip(numbers, pool.map(is_prime, numbers), strict=True) if prime]
        assert len(primes) == 168 and primes[:4] == [2, 3, 5, 7]

        # one task for each item, where items take long and differ; else several make one task
        assert pool.map(is_prime, [2**31 - 1, 10], chunksize=1) == [True, False]
        assert pool.starmap(power, [(2, 10), (3, 3)]) == [1024, 27]

        # the others go on; the error has the traceback of the worker in it
        try:
            pool.starmap(power, [(2, 2), (2, "two")])
        except TypeError as error:
            assert "in power" in str(error.__cause__)
            print("as expected:", error)
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
