"""How processes are made that are killed: forked from one that has imported everything, so in milliseconds."""

import multiprocessing

context = multiprocessing.get_context("forkserver")
# a context has one such process, whichever test asks first; and what runs the tests is imported by each process anew
context.set_forkserver_preload(["tests.crash.server", "tests.crash.relaying", "tests.crash.clockwork", "pytest"])

MAX_RECOVERIES = 10_000
"""Kills by a test are no fault of the run that they hit, which on a slow machine is many times the same one."""
