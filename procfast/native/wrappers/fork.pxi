# Fork: a process started by fork, and its whole life, which is what BaseProcess._bootstrap does.
#
# In C because every page that either side writes to after the fork is copied first, and in Python a reference count, a
# warm-up counter and a cached lookup are writes: that, more than the code that runs, is what a start costs. So what the
# child needs is made before the fork, and what would have nothing to do is not called.

import atexit as _atexit
import itertools as _itertools
import multiprocessing.context as _mp_context
import multiprocessing.popen_fork as _mp_popen_fork
import multiprocessing.process as _mp_process
import multiprocessing.util as _mp_util
import threading as _threading

from posix.fcntl cimport O_CLOEXEC, O_RDONLY, open as _c_open
from posix.stat cimport S_ISCHR, fstat as _c_fstat, struct_stat
from posix.unistd cimport _exit as _c_exit

# From Python 3.13 on a child runs the exit functions registered in it, and only these.
cdef bint _runs_atexit = hasattr(_mp_popen_fork, "atexit")

cdef bint forks_hooked = False
cdef object fork_guard = object()  # of the changes of this file's globals


def _before_fork():
    count_fork()
    make_loans_private()


def _after_fork_in_parent():
    count_fork()  # again: hooks of others ran since the first time, and may have let other threads make pipes


def _after_fork_in_child():
    global fork_guard, arena_guard, pool_guard
    if FREE_THREADED:
        fork_guard, arena_guard, pool_guard = object(), object(), object()
    if idle_count[0] or idle_count[1]:
        forget_idle()
    if this_process.id:
        pf_shm_owner_forget(&this_process)


cdef int hook_forks() except -1:
    """Before there is anything that a fork concerns; not earlier, as each hook costs each fork."""
    global forks_hooked
    cdef bint mine
    if forks_hooked:
        return 0
    with cython.critical_section(fork_guard):
        mine = not forks_hooked
        forks_hooked = True
    if mine:
        _os.register_at_fork(
            before=_before_fork,
            after_in_parent=_after_fork_in_parent,
            after_in_child=_after_fork_in_child,
        )
    return 0


if FREE_THREADED:
    hook_forks()  # guards may be in use at any fork


cdef object _Base = _mp_process.BaseProcess
cdef object _std_bootstrap = _Base._bootstrap
cdef object _std_after_fork = _Base._after_fork
cdef object _ParentProcess = _mp_process._ParentProcess
cdef dict _process_state = vars(_mp_process)
cdef dict _util_state = vars(_mp_util)
cdef dict _threading_state = vars(_threading)
cdef dict _context_state = vars(_mp_context)
cdef dict _sys_state = vars(_sys)
cdef dict _os_state = vars(_os)

cdef object _kept = None  # the parent's, in the child: to free it would touch it
cdef object _stdin = None  # what children of this process get for sys.stdin, at one descriptor of this process's
cdef int _stdin_fd = -1
cdef uint64_t _stdin_device = 0


cdef object _empty_stdin():
    """A file at its end; None: the child has to make its own."""
    global _stdin, _stdin_fd, _stdin_device
    cdef struct_stat status
    cdef int fd
    with cython.critical_section(fork_guard):
        if _stdin is not None and _stdin is not _sys_state.get("stdin") and _c_fstat(_stdin_fd, &status) == 0 and \
                S_ISCHR(status.st_mode) and <uint64_t>status.st_rdev == _stdin_device:
            return _stdin
        fd = _c_open(b"/dev/null", O_RDONLY | O_CLOEXEC)
        if fd < 0 or _c_fstat(fd, &status) < 0:
            return None
        made = open(fd, encoding="utf-8", closefd=False)  # as in the standard library
        _stdin, _stdin_fd, _stdin_device = made, fd, <uint64_t>status.st_rdev
        return made


def fork_child(popen, process, first=None, int parent=-1, int pipe=-1):
    """Fork a child that lives `process`, and note it in both. False where there are no pidfds and no pipes were given.

    first: what the child calls before anything else, or None. parent: the descriptor by which it sees this process end
    and pipe: the one by which this process sees its end, where there are no pidfds. OSError: nothing was forked, or what
    was is dead.
    """
    cdef object pid, code = 1
    cdef int own = pf_parent_open() if parent < 0 else -1
    if own == -ENOSYS:
        return False
    if parent < 0:
        check(own)
    try:
        _flush("stdout")
        _flush("stderr")
        ready = _ParentProcess(process._parent_name, process._parent_pid, parent if own < 0 else own)
        counter = _itertools.count(1)
        children = set()
        stdin = _empty_stdin()
        pid = (<object>_os_state["fork"])()
    except BaseException:
        if own >= 0:
            close(own)
        raise
    if <int>pid == 0:
        try:
            if _runs_atexit:
                _atexit._clear()
                _atexit.register(_util_state["_exit_function"])
            if first is not None:
                first()
            if type(process)._bootstrap is _std_bootstrap:
                code = _bootstrap(process, ready, counter, children, stdin)
            else:
                code = process._bootstrap(parent_sentinel=ready._sentinel)
        finally:
            try:
                if _runs_atexit:
                    _atexit._run_exitfuncs()
            finally:
                try:
                    (<object>_os_state["_exit"])(code)
                finally:
                    _c_exit(255)  # it takes no int that is larger than C's; nobody comes back from here
    # Open until here it also was the free place in the table without which opening the child's own could fail.
    if own >= 0:
        close(own)
    child = watch(<int>pid, pipe)
    popen.pid = pid
    popen._child = child
    # As start() would do it: here no signal handler that raises comes between, and leaves a child that nobody knows.
    process._popen = popen
    process._sentinel = popen.sentinel = child.fileno()
    _process_state["_children"].add(process)
    return True


def watch(int pid, int pipe=-1):
    """The Child of a process that has just been started; OSError where it can't be watched, and it is dead then."""
    try:
        return Child(pid, pipe)
    except OSError:
        _os.kill(pid, 9)
        _os.waitpid(pid, 0)
        raise


cdef object _bootstrap(process, ready, counter, set children, stdin):
    global _kept
    cdef object before, kept, code = 1
    try:
        if process._start_method is not None:
            _context_state["_default_context"]._actual_context = \
                (<dict>_context_state["_concrete_contexts"])[process._start_method]
        kept = (_process_state["_process_counter"], _process_state["_children"])
        _process_state["_process_counter"] = counter
        _process_state["_children"] = children
        _close_stdin(stdin)
        before = _process_state["_current_process"]
        _process_state["_current_process"] = process
        _process_state["_parent_process"] = ready
        _threading_state["_main_thread"]._native_id = _threading_state["get_native_id"]()
        try:
            _after_fork(process)
        finally:
            if type(before).__name__ != "_MainProcess":
                before = None  # not finalized until the hooks have run
        _kept = kept, before
        if _util_state["_logger"] is not None:
            _mp_util.info("child process calling self.run()")
        try:
            process.run()
            code = 0
        finally:
            if not _runs_atexit:
                _leave(children)
    except SystemExit as error:
        if error.code is None:
            code = 0
        elif isinstance(error.code, int):
            code = error.code
        else:
            _sys.stderr.write(f"{error.code}\n")
            code = 1
    except BaseException:
        code = 1
        import traceback
        _sys.stderr.write(f"Process {process.name}:\n")
        traceback.print_exc()
    finally:
        if len(_threading_state["_active"]) > 1 or _threading_state["_threading_atexits"]:
            _threading._shutdown()
        if _util_state["_logger"] is not None:
            _mp_util.info("process exiting with exitcode %d", code)
        _flush("stdout")
        _flush("stderr")
    return code


cdef int _flush(str name) except -1:
    try:
        (<object>_sys_state.get(name)).flush()
    except (AttributeError, ValueError):
        pass  # as the standard library has it
    return 0


cdef int _close_stdin(empty) except -1:
    cdef object stdin = _sys_state.get("stdin")
    if empty is None or stdin is None:
        _util_state["_close_stdin"]()
        return 0
    try:
        stdin.close()
    except (OSError, ValueError):
        pass  # as the standard library has it
    _sys_state["stdin"] = empty
    return 0


cdef int _after_fork(process) except -1:
    if type(process)._after_fork is not _std_after_fork:
        process._after_fork()
        return 0
    (<dict>_util_state["_finalizer_registry"]).clear()
    if _util_state["_afterfork_registry"].data:
        _util_state["_run_after_forkers"]()
    return 0


cdef int _leave(set children) except -1:
    """util._exit_function, where it has anything to do."""
    if _util_state["_finalizer_registry"] or children or _util_state["_logger"] is not None:
        _util_state["_exit_function"]()
    else:
        _util_state["_exiting"] = True
    return 0
