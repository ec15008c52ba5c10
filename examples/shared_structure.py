"""A structure, an array of structures, and a lock for several values at once.

python examples/shared_structure.py [fork|spawn|forkserver]
"""

import ctypes
import sys

import procfast


class Progress(ctypes.Structure):
    _fields_ = [("done", ctypes.c_int), ("share", ctypes.c_double), ("state", ctypes.c_char * 8)]


class Account(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int), ("balance", ctypes.c_longlong)]


def work(progress, steps):
    for step in range(1, steps + 1):
        with progress.get_lock():  # who looks sees all fields of one step
            progress.done = step
            progress.share = step / steps
            progress.state = b"done" if step == steps else b"busy"


def move_money(accounts, moved, times):
    """A lock around the whole: nothing is lost on the way from one account to the other."""
    for i in range(times):
        with accounts.get_lock():
            accounts[i % 3].balance -= i
            accounts[(i + 1) % 3].balance += i
            moved.value += i  # the same lock: it is this process's already


def main():
    progress = procfast.Value(Progress, 0, 0.0, b"idle")
    accounts = procfast.Array(Account, [(number, 1000) for number in range(3)])
    moved = procfast.Value("q", lock=accounts.get_lock())

    processes = [procfast.Process(target=work, args=(progress, 500))]
    processes += [
        procfast.Process(target=move_money, args=(accounts, moved, 200)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    while processes[0].is_alive():
        with progress.get_lock():
            assert abs(progress.share - progress.done / 500) < 1e-9
    for process in processes:
        process.join()
        assert process.exitcode == 0

    assert (progress.done, progress.share, progress.state) == (500, 1.0, b"done")
    assert sum(account.balance for account in accounts) == 3000
    assert moved.value == 2 * sum(range(200))
    print("balances:", [account.balance for account in accounts])
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
