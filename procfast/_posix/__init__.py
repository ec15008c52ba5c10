"""What procfast.posix is on every backend: which arguments it takes, and what its errors say.

A backend provides the bare calls.

arguments      what the functions accept
pipes          whole reads and writes
names          semaphores and message queues that have names
status         ExitStatus, and the numbers of waitid
processes      fork, wait and reap; what follows a parent's end
pidfd          a process by a descriptor
detached       the double fork
api            what is the same on each, and the list of all names
limits         why a fork failed
handles, proc  closing beside other threads; reading /proc
"""
