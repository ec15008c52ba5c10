"""Values and arrays: reading, setting, counting, slices, creation.

python benchmarks/bench_value.py [--quick] [--rounds N] [--json FILE]
"""

from common import run

if __name__ == "__main__":
    run("value")
