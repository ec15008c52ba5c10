"""The import, until there is a first queue.

python benchmarks/bench_import.py [--quick] [--rounds N] [--json FILE]
"""

from common import run

if __name__ == "__main__":
    run("import")
