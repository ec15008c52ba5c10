"""Which backend answers, and what is said about it; each case in an interpreter of its own."""

import pytest

SHOW = "import procfast as p; print(p.backend, type(p.get_context()).__module__, p.backend_error)"

# An import hook that stands for a missing or broken extension.
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "procfast.native._native":
            raise {error}
sys.meta_path.insert(0, Missing())
"""
NOT_BUILT = WITHOUT.format(error='ModuleNotFoundError("No module named " + repr(name), name=name)')
BROKEN = WITHOUT.format(error='ImportError("undefined symbol: pf_ring_put")')

STALE = """
import sys, types
module = types.ModuleType("procfast.native._native")
module.VERSION = "0.0.0-stale"
module.__file__ = "/somewhere/_native.so"
sys.modules["procfast.native._native"] = module
import procfast.native
procfast.native._native = module
"""


def test_native_is_the_first_choice(python):
    done = python("-W", "error", "-c", SHOW)
    assert done.stdout.split()[0] == "native" and done.stdout.strip().endswith("None")


@pytest.mark.parametrize("name", ["native", "stdlib"])
def test_environment_chooses(python, name):
    done = python("-W", "error", "-c", SHOW, env={"PROCFAST_BACKEND": name})
    assert done.stdout.startswith(f"{name} procfast.{name}")


def test_empty_variable_is_none(python):
    assert python("-c", SHOW, env={"PROCFAST_BACKEND": ""}).stdout.startswith("native")


def test_unknown_name(python):
    done = python("-c", SHOW, env={"PROCFAST_BACKEND": "dask"}, check=False)
    assert done.returncode == 1
    assert "PROCFAST_BACKEND=dask" in done.stderr and "native, stdlib" in done.stderr


@pytest.mark.parametrize(
    ("hook", "reason"), [(NOT_BUILT, "no native extension"), (BROKEN, "pf_ring_put")]
)
def test_fallback_warns_once_and_says_why(python, hook, reason):
    done = python("-c", hook + SHOW + "\nimport procfast; procfast.get_context('spawn')")
    assert done.stdout.startswith("stdlib procfast.stdlib")
    assert reason in done.stdout
    assert done.stderr.count("RuntimeWarning") == 1
    assert reason in done.stderr and "PROCFAST_BACKEND=stdlib" in done.stderr


@pytest.mark.parametrize(
    ("hook", "reason"), [(NOT_BUILT, "no native extension"), (BROKEN, "pf_ring_put")]
)
def test_explicit_native_is_never_overridden(python, hook, reason):
    done = python("-c", hook + SHOW, env={"PROCFAST_BACKEND": "native"}, check=False)
    assert done.returncode == 1
    assert "PROCFAST_BACKEND=native" in done.stderr and reason in done.stderr
    assert "ImportError" in done.stderr or "BackendError" in done.stderr


def test_explicit_stdlib_does_not_touch_native(python):
    code = SHOW + "\nimport sys; print('procfast.native._native' in sys.modules)"
    done = python("-W", "error", "-c", code, env={"PROCFAST_BACKEND": "stdlib"})
    assert done.stdout.split()[-1] == "False"


def test_both_in_one_process(python):
    code = """
import procfast
a = procfast.get_context("fork", backend="native")
b = procfast.get_context("fork", backend="stdlib")
for c in (a, b):
    q = c.Queue(); q.put(1); print(c.backend, q.get(), type(q).__module__); q.close()
"""
    for variable in ("native", "stdlib"):
        lines = python("-c", code, env={"PROCFAST_BACKEND": variable}).stdout.split("\n")
        assert lines[0].startswith("native 1 procfast.native")
        assert lines[1].startswith("stdlib 1 procfast.stdlib")


def test_get_context_without_native(python):
    code = NOT_BUILT + (
        "import procfast\n"
        "try: procfast.get_context('fork', backend='native')\n"
        "except ImportError as error: print('refused:', error)\n"
    )
    done = python("-c", code, env={"PROCFAST_BACKEND": "stdlib"})
    assert "refused:" in done.stdout and "no native extension" in done.stdout


def test_stale_binary_is_refused(python):
    """It names both versions, and what to do."""
    code = STALE.replace("import procfast.native\n", "") + SHOW
    code = code.replace("procfast.native._native = module\n", "")
    done = python("-c", code, check=False, env={"PROCFAST_BACKEND": "native"})
    assert done.returncode == 1
    import procfast

    for text in ("0.0.0-stale", procfast.__version__, "build it again"):
        assert text in done.stderr


def test_children_have_the_same_backend(python, script):
    path = script(
        """
import procfast, sys
def tell(q):
    q.put(procfast.backend)
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        ctx = procfast.get_context(method)
        q = ctx.SimpleQueue()
        p = ctx.Process(target=tell, args=(q,))
        p.start(); print(q.get()); p.join()
"""
    )
    for name in ("native", "stdlib"):
        assert python(path, env={"PROCFAST_BACKEND": name}).stdout.split() == [name] * 3


def test_info_command(python):
    for name in ("native", "stdlib"):
        said = python("-m", "procfast", "info", env={"PROCFAST_BACKEND": name}).stdout
        assert name in said and "Queue" in said and "Process" in said
