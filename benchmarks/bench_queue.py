"""Queues: throughput, round trips, a blocked get, memory after a backlog.

python benchmarks/bench_queue.py [--quick] [--rounds N] [--json FILE]
"""

from common import run

if __name__ == "__main__":
    run("queue", "pingpong", "blocked", "memory")
