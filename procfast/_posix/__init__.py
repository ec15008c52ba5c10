"""What procfast.posix is on every backend: which arguments it takes, and what its errors say.

A backend provides the bare calls.

arguments      what the functions accept
pipes          whole reads and writes
names          semaphores and message queues that have names
"""
