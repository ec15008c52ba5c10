"""The wheels for Windows, which have no extension: on the standard library alone.

    python tools/wheels/windows.py

They are for Windows only, since pip would take a wheel for any platform instead of compiling the sdist.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import common
from common import WORK

PLATFORMS = ("win_amd64", "win_arm64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=common.WHEELHOUSE, help="not to wheelhouse/")
    options = parser.parse_args()
    source = common.unpack(common.sdist(), WORK / "source")
    made = WORK / "windows"
    shutil.rmtree(made, ignore_errors=True)
    env = {"PROCFAST_PURE": "1", "SOURCE_DATE_EPOCH": common.epoch()}
    for platform in PLATFORMS:
        setting = f"--config-setting=--build-option=--plat-name={platform}"
        common.tool("build", "--quiet", "--wheel", setting, "--outdir", made, source, env=env)
    common.check(made)
    common.deliver(made, options.out)


if __name__ == "__main__":
    main()
