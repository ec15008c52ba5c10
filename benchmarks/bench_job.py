"""Whole programs on real input.

python benchmarks/bench_job.py [--quick] [--rounds N] [--json FILE]
"""

from common import run

if __name__ == "__main__":
    run("job")
