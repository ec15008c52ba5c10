"""Locks, events, barriers: alone, contended, created, blocked, from one process to another.

python benchmarks/bench_lock.py [--quick] [--rounds N] [--json FILE]
"""

from common import run

if __name__ == "__main__":
    run("lock", "event", "barrier")
