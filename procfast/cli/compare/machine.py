"""What a number was measured on; recorded with every run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import time
from typing import Any

from procfast._version import __version__
from procfast.cli.compare.cell import cpus


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        return platform.processor()  # not a Linux
    return platform.processor()


def version_of(module: str) -> str | None:
    """The version of an installed distribution, None where the module is not installed."""
    if importlib.util.find_spec(module) is None:
        return None
    return importlib.metadata.version(module)


def machine() -> dict[str, Any]:
    """CPU, kernel and versions, as JSON."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "affinity": cpus(),
        "load": os.getloadavg()[0],
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "procfast": __version__,
        "numpy": version_of("numpy"),
    }
