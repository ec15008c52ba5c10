"""An executor as in concurrent.futures: submit, as_completed, map, cancel."""

from procfast.futures import ProcessPoolExecutor, as_completed


def is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def main() -> None:
    with ProcessPoolExecutor(2) as executor:
        calls = {
            executor.submit(is_prime, n): n
            for n in (112272535095293, 112582705942171, 115280095190773)
        }
        for future in as_completed(calls):
            print(calls[future], "is prime" if future.result() else "is not prime")

        # at most ten calls ahead of whoever takes the results
        primes = executor.map(is_prime, range(1000), chunksize=50, buffersize=10)
        print(sum(primes), "primes below 1000")

        error = executor.submit(is_prime, "7").exception()
        print("its own error:", type(error).__name__)
    print("ok")


if __name__ == "__main__":
    main()
