"""`python -m procfast compare`: a cell answers only when what arrived is what was sent."""

import json

import pytest
from conftest import BACKENDS

from procfast.cli.compare import run, units, workloads

PAYLOADS = (workloads.Ints(), workloads.Words(), workloads.Blocks(3 * 4096), workloads.Arrays(8192))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    "key",
    [
        "pipe.int.select",
        "pipe.bytes.64k",
        "pipe.pingpong.one",
        "pipe.make",
        "pipe.fds",
        "value.add",
        "value.slice.set",
        "value.make",
        "shm.cycle",
        "shm.attach",
        "process.fork.16",
        "process.forkserver",
    ],
)
def test_cell(python, key, name):
    done = python("-m", "procfast.cli.compare.cell", key, name, "--quick")
    sample = json.loads(done.stdout)
    assert sample["value"] > 0
    assert sample["items"] > 0


def take(payload, items):
    payload.check(payload.take(iter(items).__next__, len(items)), len(items))


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: type(payload).__name__)
def test_payload_notices_what_is_wrong(payload):
    items = payload.items(6)
    take(payload, items)
    with pytest.raises(AssertionError):
        take(payload, [items[1], items[0], *items[2:]])
    with pytest.raises(AssertionError):
        take(payload, [*items[:5], items[4]])


def test_torn_block_is_noticed():
    payload = workloads.Blocks(3 * 4096)
    first, second = payload.items(2)
    for torn in (first[:4096] + second[4096:], first[:-1], first + b"\0"):
        with pytest.raises(AssertionError):
            take(payload, [torn, second])


def test_cases_have_names_of_their_own():
    keys = [case.key for case in workloads.CASES]
    assert len(set(keys)) == len(keys)
    assert len({case.title for case in workloads.CASES}) == len(keys)
    assert {case.unit for case in workloads.CASES} <= set(units._STEPS)
    chosen, _ = run.select(r"^pipe\b")
    assert all(case.key.startswith("pipe.") for case in chosen)


def test_cases_that_need_more_memory_than_is_free(monkeypatch):
    monkeypatch.setattr(run, "available_memory", lambda: 1 << 30)
    chosen, left_out = run.select(r"^process\.fork")
    assert "process.fork" in [case.key for case in chosen]
    assert "process.fork.1g" not in [case.key for case in chosen]
    assert [line for line in left_out if "1024 MB of heap: it needs 2048 MiB of memory" in line]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(3, "fds", "3.00"), (2.5e-6, "s", "2.50 us"), (12.3e9, "bytes/s", "12.3 GB/s")],
)
def test_numbers_for_people(value, unit, shown):
    assert units.show(value, unit) == shown
