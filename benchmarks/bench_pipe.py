"""Pipes: round trips, throughput, select, a blocked recv, creation, descriptors.

python benchmarks/bench_pipe.py [--quick] [--rounds N] [--json FILE]
"""

from common import run

if __name__ == "__main__":
    run("pipe")
