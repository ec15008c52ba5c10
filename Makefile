# The chores. PYTHON chooses the interpreter, PYTHONS those of `make conformance`, ARGS is passed on.
PYTHON ?= python3
PYTHONS ?= $(PYTHON)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help build test stress csrc sanitize asan crash bench lint wheels wheels-test wheels-aarch64 wheels-musl wheels-cibw free-threaded release conformance clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build:  ## the extension, in place
	$(PYTHON) setup.py -q build_ext --inplace

test:  ## the tests (ARGS='--backend native --start-method fork -k get')
	$(PYTHON) -m pytest -q $(ARGS)

stress:  ## the long and random tests: more kills, a backlog of 1 GB, an item of 4 GiB
	PROCFAST_KILLS=10000 $(PYTHON) -m pytest -q -m "stress or not stress" tests/native $(ARGS)

csrc:  ## the C library's own tests, and what it exports
	$(MAKE) -C csrc check symbols

sanitize:  ## the same under ThreadSanitizer, Address- and UndefinedBehaviourSanitizer, and on portable POSIX
	$(MAKE) -C csrc check SAN=thread
	$(MAKE) -C csrc check SAN=address,undefined
	$(MAKE) -C csrc check OS=posix

ASAN := queues connection synchronize sharedctypes shared_memory pool futures process posix_names
# left out: a test whose handler raises so often that nothing else gets done when everything is slow
asan:  ## the tests under Address- and UndefinedBehaviourSanitizer (PROCFAST_SANITIZE=address,undefined make build)
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so):$$(gcc -print-file-name=libubsan.so)" PYTHONMALLOC=malloc \
	    ASAN_OPTIONS=detect_leaks=0:handle_segv=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	    $(PYTHON) -m pytest -q --backend native --start-method fork -k "not nothing_is_lost_by_interrupts" \
	    $(or $(ARGS),$(ASAN:%=tests/test_%.py))

crash:  ## the kill matrix: a death at every step of every protocol
	$(MAKE) -C csrc crash

bench:  ## this machine's table
	$(PYTHON) -m procfast compare $(ARGS)

lint:  ## style, types, changelog fragments, workflows
	ruff check . && ruff format --check . && mypy
	towncrier build --draft --version next
	zizmor --offline --pedantic .github

wheels:  ## Linux wheels of each CPython at hand, and the pure ones for Windows, tested, into wheelhouse/
	$(PYTHON) tools/wheels/manylinux.py $(ARGS)
	$(PYTHON) tools/wheels/windows.py

wheels-test:  ## the same, with all tests on each of the Linux wheels
	$(PYTHON) tools/wheels/manylinux.py --full $(ARGS)

wheels-aarch64:  ## a wheel for aarch64, tested under qemu-user (ARGS=--full; ARGS=--csrc: the C tests)
	$(PYTHON) tools/wheels/aarch64.py $(ARGS)

wheels-musl:  ## a wheel for musl, tested on a CPython on musl (ARGS as above)
	$(PYTHON) tools/wheels/musl.py $(ARGS)

free-threaded:  ## tests with the GIL off, on a CPython 3.13t that is built for it (ARGS as of pytest)
	tools/wheels/free_threaded.sh $(ARGS)

wheels-cibw:  ## what hosted CI does: cibuildwheel, in a local container image
	$(PYTHON) tools/wheels/cibw.py $(ARGS)

release:  ## is this commit fit to be released? Checks everything and stops before publishing
	$(PYTHON) tools/release.py $(ARGS)

conformance:  ## CPython's own tests, all start methods; writes docs/conformance.md
	$(PYTHON) tools/conformance.py $(foreach p,$(PYTHONS),--python $(p)) $(ARGS)

clean:  ## what building leaves
	rm -rf build dist csrc/build procfast/native/_native*.so *.egg-info
