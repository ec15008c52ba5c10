"""procfast.usable_cpus: affinity, and the CPU quotas of cgroups; and what Pool() makes of it."""

import contextlib
import os
import subprocess
import sys
import time

import pytest

import procfast
from procfast import _cpus

V1 = "31 23 0:29 {top} {place} rw - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "32 23 0:30 {top} {place} rw,nosuid shared:9 master:1 - cgroup2 cgroup2 rw,nsdelegate\n"
OTHER = (
    "22 27 0:21 / /proc rw - proc proc rw\n33 23 0:31 / /cg/memory rw - cgroup cgroup rw,memory\n"
)


@pytest.fixture
def quotas(tmp_path):
    """What is found where /proc and the cgroups have these texts."""

    def found(groups: str, mounts: str, **limits: str) -> list[int]:
        folder = tmp_path / "proc/self"
        folder.mkdir(parents=True)
        (folder / "cgroup").write_text(groups)
        (folder / "mountinfo").write_text(OTHER + mounts)
        for where, text in limits.items():
            group = tmp_path / where
            group.mkdir(parents=True, exist_ok=True)
            if text.startswith("v1 "):
                _, quota, period = text.split()
                (group / "cpu.cfs_quota_us").write_text(f"{quota}\n")
                (group / "cpu.cfs_period_us").write_text(f"{period}\n")
            else:
                (group / "cpu.max").write_text(f"{text}\n")
        return list(_cpus.quotas(str(tmp_path)))

    return found


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [
        ("100000 100000", [1]),
        ("100001 100000", [2]),
        ("1000 100000", [1]),
        ("250000 100000", [3]),
        ("75000 25000", [3]),
        ("max 100000", []),
        ("v1 150000 100000", [2]),
        ("v1 -1 100000", []),
        ("", []),
    ],
)
def test_quota_is_rounded_up(quotas, limit, cpus):
    if limit.startswith("v1"):
        assert quotas("3:cpu,cpuacct:/\n0::/\n", V1.format(top="/", place="/cg"), cg=limit) == cpus
    else:
        assert quotas("0::/\n", V2.format(top="/", place="/cg"), cg=limit) == cpus


@pytest.mark.parametrize("version", ["v1 ", ""])
def test_each_group_around_it_counts(quotas, version):
    groups = {"v1 ": "4:cpu:/a/b/c\n0::/z\n", "": "0::/a/b/c\n"}[version]
    mount = {"v1 ": V1, "": V2}[version].format(top="/", place="/cg")
    none = "v1 -1 100000" if version else "max 100000"
    found = quotas(
        groups,
        mount,
        **{
            "cg/a": f"{version}900000 100000",
            "cg/a/b": none,
            "cg/a/b/c": f"{version}700000 100000",
            "cg/a/other": f"{version}100000 100000",
            "cg/z": f"{version}100000 100000",
        },
    )
    assert sorted(found) == [7, 9]


def test_container_that_sees_its_own_group_only(quotas):
    """Without a cgroup namespace /proc names the whole path, of which only the lower part is mounted."""
    groups = "5:cpuacct,cpu:/docker/1f/inner\n"
    mount = V1.format(top="/docker/1f", place="/cg")
    assert quotas(groups, mount, **{"cg": "v1 400000 100000", "cg/inner": "v1 3 1"}) == [4, 3]


@pytest.mark.parametrize(
    ("groups", "top"),
    [
        ("0::/docker/1f\n", "/docker/1"),  # a brother whose name is alike
        ("0::/../x\n", "/"),  # outside of the namespace
        ("0::/\n", "/.."),
        ("9:memory:/\n", "/"),  # of no group of version 2
    ],
)
def test_mounts_of_other_groups_do_not_count(quotas, groups, top):
    mount = V2.format(top=top, place="/cg")
    assert quotas(groups, mount, **{"cg": "200000 100000", "cg/f": "1 1", "x": "1 1"}) == []


def test_both_versions_and_odd_names(quotas):
    found = quotas(
        "0::/a:b c (deleted)\n7:cpu:/jobs/\\x\n1:name=systemd:/cpu\n",
        V2.format(top="/", place="/c\\040g") + V1.format(top="/jobs", place="/cg\\134"),
        **{"c g/a:b c (deleted)": "5 1", "cg\\": "v1 8 1", "cg\\/\\x": "v1 6 1", "c g": "nonsense"},
    )
    assert sorted(found) == [5, 6, 8]


def test_no_proc(tmp_path):
    assert list(_cpus.quotas(str(tmp_path))) == []
    assert _cpus.usable_cpus(str(tmp_path)) == min(os.cpu_count(), len(os.sched_getaffinity(0)))


def test_never_more_than_there_are_nor_fewer_than_one(quotas, tmp_path):
    quotas("0::/\n", V2.format(top="/", place="/cg"), cg="100000000 1000")
    assert _cpus.usable_cpus(str(tmp_path)) == min(os.cpu_count(), len(os.sched_getaffinity(0)))
    (tmp_path / "cg/cpu.max").write_text("1000 100000\n")
    assert _cpus.usable_cpus(str(tmp_path)) == 1


def test_as_a_name_of_the_package():
    assert 1 <= procfast.usable_cpus() <= procfast.cpu_count()
    assert "usable_cpus" in procfast.__all__
    assert procfast.info()["usable CPUs"].split()[0] == str(procfast.usable_cpus())


POOL = """
import os, procfast
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(procfast.usable_cpus(), procfast.cpu_count() == os.cpu_count())
for method in ("fork", "spawn", "forkserver"):
    ctx = procfast.get_context(method)
    for processes in (None, 3):
        with ctx.Pool(processes) as pool:
            print(len(pool._pool))
"""


def test_affinity_and_pool(python, backend):
    done = python("-c", POOL, env={"PROCFAST_BACKEND": backend.name})
    assert done.stdout.split() == ["1", "True", *["1", "3"] * 3]


@pytest.mark.parametrize("option", [["-X", "cpu_count=7"], []])
def test_a_number_that_python_was_told(python, option):
    done = python(*option, "-c", "import procfast; print(procfast.usable_cpus())")
    told = option and sys.version_info >= (3, 13)
    assert int(done.stdout) == (7 if told else procfast.usable_cpus())


# -- a real one -----------------------------------------------------------------------------------


@contextlib.contextmanager
def real_groups():
    """(outer, inner, how a quota of 0.6 CPUs is written): new groups of this process; () where there are none."""
    made: list[str] = []
    try:
        for own in _cpus.cgroups("cpu"):
            with contextlib.suppress(OSError):
                for folder in (own, f"{own}/procfast-test-{os.getpid()}"):
                    made.append(f"{folder}/procfast-test-{os.getpid()}")
                    os.mkdir(made[-1])
            for name, text in (("cpu.max", "60000 100000"), ("cpu.cfs_quota_us", "60000")):
                if len(made) > 1 and os.path.exists(f"{made[-2]}/{name}"):
                    yield *made[-2:], name, text
                    return
        yield ()
    finally:
        for folder in reversed(made):
            end = time.monotonic() + 10
            while os.path.isdir(folder):
                try:
                    os.rmdir(folder)
                except OSError:  # a process that has ended is still in it for a moment
                    assert time.monotonic() < end
                    time.sleep(0.01)


def test_in_a_real_group():
    """The quota of the outer group holds for who is in the inner one."""
    code, enter, expected = (
        "import procfast; print(procfast.usable_cpus())",
        "exec",
        procfast.usable_cpus(),
    )
    with real_groups() as groups:
        if groups:
            outer, inner, name, text = groups
            with open(f"{outer}/{name}", "w") as file:
                file.write(text)
            enter, expected = f'echo $$ > "{inner}/cgroup.procs" && exec', 1
        done = subprocess.run(
            ["sh", "-c", f'{enter} "$@"', "sh", sys.executable, "-P", "-c", code],
            capture_output=True, text=True, timeout=50, check=True,
        )  # fmt: skip
        assert int(done.stdout) == expected
