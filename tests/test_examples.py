"""The examples run, under both backends."""

import os
import re

import pytest
from conftest import BACKENDS, METHODS, ROOT

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
# The table of examples/README.md says which take a start method as their argument.
TABLE = dict(
    re.findall(r"^\| `(\w+\.py)` \|.*\| (\w+) \|$", (ROOT / "examples/README.md").read_text(), re.M)
)


def test_every_example_is_in_the_table():
    assert sorted(TABLE) == EXAMPLES


@pytest.mark.limit(150)
@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_example(python, example, name):
    path = str(ROOT / "examples" / example)
    command = ["-m", "procfast", "run", path] if example == "count_tokens.py" else [path]
    done = python(*command, env={"PROCFAST_BACKEND": name}, timeout=140)
    assert done.stdout.rstrip().endswith("ok"), done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("example", [e for e in EXAMPLES if TABLE.get(e) == "any"])
def test_example_by_start_method(python, example, method):
    done = python(str(ROOT / "examples" / example), method, timeout=55)
    assert done.stdout.rstrip().endswith("ok"), done.stdout
    assert "Traceback" not in done.stderr


def test_examples_are_executable_text():
    for example in EXAMPLES:
        text = (ROOT / "examples" / example).read_text()
        assert text.startswith('"""') and '__name__ == "__main__"' in text, example
        assert not os.path.islink(ROOT / "examples" / example)
