#!/bin/bash
# The tests on a free-threaded CPython 3.13, with the GIL off, of a procfast that is built for it here.
#
#     tools/wheels/free_threaded.sh [ARGUMENTS of pytest]
#
# No distribution has that CPython, so it is built from the source of Debian trixie (about four minutes, once), and kept
# in build/wheels, or what PROCFAST_WORK names. Where the source is not to be had it says so, and ends with status 1.
# FREE_THREADED_PYTHON names one that is there already.
set -euo pipefail

tree=$(cd "$(dirname "$0")/../.." && pwd)
work=${PROCFAST_WORK:-$tree/build/wheels}/free-threaded
python=${FREE_THREADED_PYTHON:-$work/python/bin/python3.13t}
mkdir -p "$work"

missing() {
    echo "free_threaded: $1" >&2
    exit 1
}

source_of_python() {  # into the current folder
    command -v apt-get >/dev/null || missing "no source of CPython 3.13: it is had from Debian (apt-get); or FREE_THREADED_PYTHON"
    local mirror apt
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)
    [ -n "$mirror" ] || missing "no source of CPython 3.13: run apt-get update first; or FREE_THREADED_PYTHON"
    mkdir -p apt/lists/partial
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >apt/sources.list
    apt=(apt-get -qq -o "Dir::Etc::SourceList=$PWD/apt/sources.list" -o Dir::Etc::SourceParts=-
        -o "Dir::State::Lists=$PWD/apt/lists" -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root)
    "${apt[@]}" update && "${apt[@]}" source --download-only python3.13 ||
        missing "no source of CPython 3.13: Debian trixie's python3.13 can't be had; or FREE_THREADED_PYTHON"
    tar xf python3.13_*.orig.tar.xz
}

if [ ! -x "$python" ]; then
    [ -z "${FREE_THREADED_PYTHON:-}" ] || missing "FREE_THREADED_PYTHON is no program: $python"
    rm -rf "$work/source"
    mkdir -p "$work/source"
    cd "$work/source"
    source_of_python
    cd Python-3.13*
    echo "free_threaded: builds CPython; see $work/source/log" >&2
    {
        ./configure -q --prefix="$work/python" --disable-gil --with-ensurepip=install --disable-test-modules
        make -s -j"$(nproc)"
        make -s install
    } >"$work/source/log" 2>&1 || missing "CPython did not build: $work/source/log"
fi

[ "$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("Py_GIL_DISABLED"))')" = 1 ] ||
    missing "this CPython has a GIL: $python"
if ! "$work/venv/bin/python" -c 'import Cython, setuptools, numpy, pytest, rich' 2>/dev/null; then
    "$python" -m venv "$work/venv"
    "$work/venv/bin/python" -m pip install --quiet --prefer-binary cython setuptools numpy pytest rich
fi
cd "$tree"
"$work/venv/bin/python" setup.py -q build_ext --inplace
# PYTHON_GIL=0: off, whatever extensions say of themselves
export PYTHON_GIL=0 PYTHONPATH=$tree
"$work/venv/bin/python" -P -c '
import sys
import procfast.native._native as native
assert native.__file__.startswith(sys.argv[1]) and "313t" in native.__file__, native.__file__
assert not sys._is_gil_enabled()
print("free_threaded:", sys.version)
' "$tree"
exec "$work/venv/bin/python" -P -m pytest -q -p no:cacheprovider --backend native "$@"
