"""The exact feature set of each backend, so that a gap cannot open unnoticed."""

FEATURES = {
    "native": {
        "array_buffers",
        "atomic_raw_values",
        "atomic_values",
        "batches",
        "crash_safe_locks",
        "crash_safe_pipes",
        "crash_safe_queues",
        "exact_qsize",
        "interrupt",
        "lock_owner",
        "max_bytes",
        "no_feeder_thread",
        "pool_cancel_running",
        "pool_retries",
        "pool_timeout",
        "pool_worker_died",
        "robust_locks",
        "swept_shared_memory",
    },
    "stdlib": {"atomic_values", "batches", "interrupt"},
}


def test_features(ctx):
    assert ctx.features == FEATURES[ctx.backend]
    assert isinstance(ctx.features, frozenset)


def test_backend_is_named(ctx, cell):
    assert ctx.backend == cell.backend.name
    assert ctx.get_start_method() == cell.method


def test_module_tells(python):
    for backend in FEATURES:
        done = python(
            "-c",
            "import procfast as p; print(p.backend, sorted(p.features), p.backend_error)",
            env={"PROCFAST_BACKEND": backend},
        )
        assert done.stdout.strip() == f"{backend} {sorted(FEATURES[backend])} None"
