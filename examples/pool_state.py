"""What a worker sets up once: `initializer` for what is global, `worker_init` for what is passed to its tasks.

python examples/pool_state.py [START METHOD]
"""

import os
import sqlite3
import sys

import procfast

greeting = None


def set_greeting(text):
    global greeting
    greeting = text


def greet(name):
    return f"{greeting}, {name}"


def connect():
    """Once in each worker. What it returns can't be pickled, and need not be."""
    database = sqlite3.connect(":memory:")
    database.execute("create table squares (x, y)")
    database.executemany("insert into squares values (?, ?)", [(x, x * x) for x in range(100)])
    return database


def look_up(database, x):
    return database.execute("select y from squares where x = ?", (x,)).fetchone()[0], os.getpid()


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with ctx.Pool(2, set_greeting, ("hello",), worker_init=connect) as pool:
        assert pool.map(greet, ["Ada", "Alan"]) == ["hello, Ada", "hello, Alan"]
        found = pool.map(look_up, range(100), chunksize=5, with_state=True)
        assert [value for value, _ in found] == [x * x for x in range(100)]
        print(len({pid for _, pid in found}), "databases were asked")
        assert pool.apply(look_up, (7,), with_state=True)[0] == 49
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
