"""Cells that cannot hold, one line each with its reason; they are deselected and listed.

Key: backend or cell, and the test's name with or without its parameters.
"""

_FEEDER = "its feeder thread pickles later, so the error goes to stderr and the item is lost"
_RESET = "its socket is reset, and what was sent before is lost"
_TEARS = "an exception in mid-call tears the message"
_TORN = "several on one end tear its messages"
_DEAD = "it waits for the dead for ever"
_UNLINKED = "its name is gone with the parent's reference, before the child opens it"
_STATUS = "where the exit status was taken by another, it holds the child for alive for ever"
_DEAD_TASK = "the task is waited for, for ever"
_SURVIVES = "its daemonic children outlive a parent that is killed"
_WRITES = "its start() waits until a dead child reads"
_THREADS = "a start() in another thread may take the status: alive for a moment more"
_OTHERS = "join looks at no other child"
_BUFFER = "an array with a lock is no buffer"

_TRACKER = "its resource tracker removes what its process has attached to, at that process's exit"
_LATER = "memory is allocated when it is first written to"
_UNWATCHED = "the death of a worker that was started later is not seen before the next call"
_BREAKS = "its executor breaks, with all calls"

DEVIATIONS: dict[tuple[str, str], str] = {
    ("stdlib", "test_exception_that_does_not_unpickle"): _BREAKS,
    ("stdlib", "test_result_that_does_not_unpickle"): _BREAKS,
    ("stdlib", "test_argument_that_does_not_unpickle"): _BREAKS,
    ("stdlib", "test_death_concerns_one_call"): _BREAKS,
    ("stdlib-spawn", "test_strict"): _UNWATCHED,
    ("stdlib-forkserver", "test_strict"): _UNWATCHED,
    ("stdlib", "test_cancelled_while_waited_for"): "wait() hears of it when its turn comes",
    ("stdlib-fork", "test_sigchld_ignored"): _STATUS,
    ("stdlib-spawn", "test_sigchld_ignored"): _STATUS,
    ("stdlib", "test_waited_for_by_another"): _STATUS,
    ("stdlib-fork", "test_dropped_and_reaped[stdlib-fork-join]"): _OTHERS,
    ("stdlib-spawn", "test_dropped_and_reaped[stdlib-spawn-join]"): _OTHERS,
    ("stdlib-fork", "test_many_threads_start"): _THREADS,
    ("stdlib-spawn", "test_many_threads_start"): _THREADS,
    ("stdlib-fork", "test_sigchld_handler_takes_everything"): _STATUS,
    ("stdlib-spawn", "test_sigchld_handler_takes_everything"): _STATUS,
    ("stdlib-fork", "test_sigchld_ignored_for_many"): _STATUS,
    ("stdlib-spawn", "test_sigchld_ignored_for_many"): _STATUS,
    ("stdlib-fork", "test_asyncio[stdlib-fork-FastChildWatcher]"): _STATUS,
    ("stdlib-spawn", "test_asyncio[stdlib-spawn-FastChildWatcher]"): _STATUS,
    ("stdlib", "test_daemons_end_with_a_killed_parent"): _SURVIVES,
    ("stdlib", "test_daemons_of_a_killed_child"): _SURVIVES,
    ("stdlib-fork", "test_orphans_go_on"): "siblings hold the pipe by which it sees its parent end",
    ("stdlib-fork", "test_exit_code_beyond_all_bounds"): "the child comes back as a second parent",
    ("stdlib-fork", "test_no_more_processes"): "a fork that fails leaves four descriptors",
    ("stdlib-forkserver", "test_no_more_processes"): "a fork that fails ends its server",
    ("stdlib", "test_any_descriptor_may_be_the_last"): "leaves descriptors when there are no more",
    ("stdlib-spawn", "test_killed_before_it_has_read_everything"): _WRITES,
    ("stdlib-forkserver", "test_killed_before_it_has_read_everything"): "BrokenPipeError",
    ("stdlib-spawn", "test_interpreter_ends_at_once[stdlib-spawn-kill -9 $$--9-1048576]"): _WRITES,
    ("stdlib-spawn", "test_interpreter_ends_at_once[stdlib-spawn-exit 3-3-1048576]"): _WRITES,
    ("stdlib-forkserver", "test_join_by_many_threads"): "two threads read the one status; 255",
    ("stdlib", "test_unpicklable_put_raises[stdlib-Queue]"): _FEEDER,
    ("stdlib", "test_unpicklable_put_raises[stdlib-JoinableQueue]"): _FEEDER,
    ("stdlib", "test_memoryview_is_refused[stdlib-Queue]"): _FEEDER,
    ("stdlib", "test_memoryview_is_refused[stdlib-JoinableQueue]"): _FEEDER,
    ("stdlib", "test_queue_in_a_queue_is_refused[stdlib-Queue]"): _FEEDER,
    ("stdlib", "test_queue_in_a_queue_is_refused[stdlib-JoinableQueue]"): _FEEDER,
    ("stdlib", "test_put_many_unpicklable"): _FEEDER,
    ("stdlib", "test_mutated_after_put"): _FEEDER,
    ("stdlib", "test_pickle_buffer"): "pickles with protocol 4, which has no buffers",
    ("stdlib", "test_exact_at_once"): "an item is seen only when the feeder thread has written it",
    ("stdlib", "test_child_ends_with_items_undrained"): "its feeder thread waits for a reader",
    ("stdlib", "test_nothing_is_lost_by_interrupts"): "an exception in mid-read tears the pipe",
    ("stdlib", "test_pickled_only_for_other_processes"): "gives the number of its descriptor away",
    ("stdlib", "test_nothing_is_torn_when_receipts_are_interrupted"): _TEARS,
    ("stdlib", "test_usable_after_an_interrupt[stdlib-send]"): _TEARS,
    ("stdlib", "test_usable_after_an_interrupt[stdlib-send_bytes]"): _TEARS,
    ("stdlib", "test_usable_after_an_interrupt[stdlib-send_bytes in parts]"): _TEARS,
    ("stdlib", "test_many_processes"): _TORN,
    ("stdlib", "test_recv_bytes_into_what_is_read_only"): "the message is read first, and lost",
    ("stdlib", "test_messages_to_a_closed_end_do_not_hide_the_last_words"): _RESET,
    ("stdlib", "test_many_threads_on_one_end[stdlib-sent]"): _TORN,
    ("stdlib", "test_many_threads_on_one_end[stdlib-received]"): _TORN,
    ("stdlib", "test_unrelated_reader_does_not_destroy"): _TRACKER,
    ("stdlib", "test_left_but_in_use"): _TRACKER,
    ("stdlib", "test_small_ones_have_their_memory_at_once"): _LATER,
    ("stdlib", "test_too_little_room"): _LATER,
    ("stdlib", "test_bad_size_leaves_no_name"): "the size is looked at when the name is there",
    ("stdlib", "test_null_in_a_name"): "before Python 3.13 it cuts the name off there",
    ("stdlib", "test_good_names[stdlib-\\xfc-\\xdf]"): "its resource tracker takes ASCII only",
    ("stdlib", "test_created_by_signal_handlers"): "its resource tracker is not reentrant",
    ("stdlib", "test_unloadable_in_get_many"): "a loop of get(): the batch begun is lost with it",
    ("stdlib", "test_handler_frees_what_it_interrupted[stdlib-event]"): "set() waits for it",
    ("stdlib", "test_rlock_of_the_dead"): _DEAD,
    ("stdlib", "test_robust_lock_of_the_dead"): "no lock of its is robust",
    ("stdlib", "test_condition_of_the_dead"): _DEAD,
    ("stdlib", "test_barrier_of_the_dead"): _DEAD,
    ("stdlib", "test_value_of_the_dead"): _DEAD,
    ("stdlib-spawn", "test_collected_while_a_child_uses_it"): _UNLINKED,
    ("stdlib-forkserver", "test_collected_while_a_child_uses_it"): _UNLINKED,
    ("stdlib", "test_reduce_puts_into_the_same_queue[stdlib-SimpleQueue]"): "its lock is held",
    ("stdlib", "test_lock_free"): "nothing is atomic without a lock",
    ("stdlib", "test_lock_free_updates_count"): "nothing is atomic without a lock",
    ("stdlib", "test_all_or_nothing"): "what came before the wrong item is assigned",
    ("stdlib", "test_buffer"): _BUFFER,
    ("stdlib", "test_buffer_of_other_types"): _BUFFER,
    ("stdlib", "test_buffer_outlives_the_array"): _BUFFER,
    ("stdlib", "test_buffer_of_nothing"): _BUFFER,
    ("stdlib", "test_dropped_after_start"): "its memory is given to another, its lock has no name",
    ("stdlib", "test_sent_to_another_start_method"): "its lock belongs to one start method",
    ("stdlib", "test_unpicklable_argument_raises_at_the_call"): "its thread pickles; from get()",
    ("stdlib", "test_terminated_calls_end"): _DEAD_TASK,
    ("stdlib", "test_child_must_not_use_the_parents"): "the result goes to the parent",
    ("stdlib", "test_cancel_of_what_runs"): "it cannot kill one worker",
    ("stdlib", "test_worker_dies"): _DEAD_TASK,
    ("stdlib", "test_idle_workers_die"): "the dead keep its lock",
    ("stdlib", "test_retries"): _DEAD_TASK,
    ("stdlib", "test_timeout"): "it cannot kill one worker",
    ("stdlib", "test_initializer_that_always_fails"): "it starts workers for ever",
    ("native", "test_what_needs_to_notice_a_death_is_refused"): "it notices",
}
