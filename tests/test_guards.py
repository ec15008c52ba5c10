"""The guards of conftest.py, tried on tests that deserve them."""

import textwrap

import pytest

LEAKS = {
    "descriptor": "import os; os.open('/dev/null', os.O_RDONLY)",
    "process": "import subprocess; subprocess.Popen(['sleep', '60'])",
    "orphan": "import subprocess; subprocess.run(['sh', '-c', 'sleep 60 & exit'])",
    "zombie": "import os; os.fork() or os._exit(0)",
    "thread": "import threading, time\n    threading.Thread(target=time.sleep, args=(4,)).start()",
    "name in /dev/shm": "import os; open(f'/dev/shm/procfast-guard-{os.getpid()}', 'w').close()",
    "mapping": "import mmap, os\n    global kept\n    fd = os.memfd_create('guard')\n"
    "    os.ftruncate(fd, 4096)\n    kept = mmap.mmap(fd, 4096)\n    os.close(fd)",
}


def run(python, script, body, **kwargs):
    path = script("def test_leak():\n    " + body, "test_leak.py")
    args = ("-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "-c", "/dev/null")
    return python(*args, "--rootdir", str(python.cwd), path, check=False, **kwargs)


@pytest.mark.parametrize("kind", LEAKS)
def test_leak_fails(python, script, kind):
    cleanup = f"\n\ndef test_after():\n    {CLEANUPS.get(kind, 'pass')}"
    done = run(python, script, LEAKS[kind] + cleanup)
    assert done.returncode == 1, done.stdout
    assert "left behind" in done.stdout
    assert {"orphan": "process", "zombie": "process"}.get(kind, kind) in done.stdout


CLEANUPS = {
    "name in /dev/shm": "import os; os.unlink(f'/dev/shm/procfast-guard-{os.getpid()}')",
}


def test_clean_passes(python, script):
    done = run(python, script, "import os; os.close(os.dup(0))")
    assert done.returncode == 0, done.stdout + done.stderr


def test_hang_is_explained(python, script):
    """Stacks of the test and of its child, the kernel's wait channel; the run goes on."""
    body = textwrap.indent(
        textwrap.dedent(
            """
            import pytest, os, time

            def hang_in_child():
                time.sleep(600)

            @pytest.mark.limit(1)
            def test_hangs():
                if os.fork() == 0:
                    hang_in_child()
                os.wait()

            def test_next():
                pass
            """
        ),
        "",
    )
    path = script(body, "test_hang.py")
    args = ("-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "-c", "/dev/null")
    done = python(*args, "--rootdir", str(python.cwd), path, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "in hang_in_child" in done.stderr
    assert "in test_hangs" in done.stderr
    assert "waits in" in done.stderr


def test_uninterruptible_hang_ends_the_run(python, script):
    body = (
        "import ctypes, pytest, signal\n\n"
        "@pytest.mark.limit(1)\n"
        "def test_stuck():\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
        "    ctypes.PyDLL(None).sleep(600)\n"  # PyDLL keeps the GIL
    )
    path = script(body, "test_stuck.py")
    args = ("-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "-c", "/dev/null")
    done = python(*args, "--rootdir", str(python.cwd), path, check=False)
    assert done.returncode == 128 + 9, done.stdout + done.stderr
    assert "does not react; the run ends here" in done.stderr
