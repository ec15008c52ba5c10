"""Variables are each process's own: what a child changes its parent never sees, and the other way round.

Under fork the child begins with what there was at its start (the memory is copied when one of them writes to it);
under spawn and forkserver with a new interpreter, that imports this file, and its arguments.

    python examples/copy_on_write.py [fork|spawn|forkserver]
"""

import sys

import procfast

counter = 0
settings = {"mode": "as imported"}


def child(numbers, start, answer):
    global counter
    start.wait()  # the parent has changed its own by now
    answer.put((counter, settings["mode"], numbers))
    counter += 100
    settings["mode"] = "the child's"
    numbers.append("the child's")


def main():
    global counter
    counter = 1
    settings["mode"] = "before the start"
    numbers = [1, 2]
    start, answer = procfast.Event(), procfast.SimpleQueue()
    process = procfast.Process(target=child, args=(numbers, start, answer))
    process.start()
    counter = 2
    settings["mode"] = "after the start"
    numbers.append(3)
    start.set()

    if procfast.get_start_method() == "fork":
        assert answer.get() == (1, "before the start", [1, 2])
    else:
        assert answer.get() == (0, "as imported", [1, 2])
    process.join()
    assert process.exitcode == 0
    assert (counter, settings, numbers) == (2, {"mode": "after the start"}, [1, 2, 3])
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
