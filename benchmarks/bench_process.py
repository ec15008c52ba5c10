"""Processes: start and join.

python benchmarks/bench_process.py [--quick] [--rounds N] [--json FILE]
"""

from common import run

if __name__ == "__main__":
    run("process")
