"""Loops for the benchmark: reads lines `OPERATION COUNT`, answers with the nanoseconds that one call took."""

import sys
import time
from _queue import SimpleQueue
from contextvars import ContextVar

import _queue

DEPTH = 8

watched = ContextVar("tenant")
other = ContextVar("other")
others = [ContextVar(f"other_{number}") for number in range(8)]
for variable in [watched, other, *others]:
    variable.set("acme-corporation")
queue = SimpleQueue()


def get(variable, count):
    get = variable.get
    start = time.perf_counter_ns()
    for _ in range(count):
        get()
    return time.perf_counter_ns() - start


def bind(variable, count):
    bind = variable.set
    start = time.perf_counter_ns()
    for _ in range(count):
        bind("globex-corporation")
    return time.perf_counter_ns() - start


def hand_over(count):
    put, get = queue.put, queue.get
    start = time.perf_counter_ns()
    for _ in range(count):
        put(queue)
        get()
    return time.perf_counter_ns() - start


OPERATIONS = {
    "get_other": lambda count: get(other, count),
    "get_watched": lambda count: get(watched, count),
    "set_watched": lambda count: bind(watched, count),
    "put_get": hand_over,
}


def deep(depth, operation, count):
    if depth == 0:
        return OPERATIONS[operation](count)
    return deep(depth - 1, operation, count)


# Files that carry the probed functions: the interpreter is told apart by the tracer.
print(_queue.__file__ if hasattr(_queue, "__file__") else "", flush=True)
for line in sys.stdin:
    operation, count = line.split()
    print(deep(DEPTH, operation, int(count)) / int(count), flush=True)
