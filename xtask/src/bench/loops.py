"""Loops for the benchmark: reads lines `OPERATION COUNT`, answers with the nanoseconds that one call took."""

import sys
import threading
import time
from _queue import SimpleQueue
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context

import _queue

DEPTH = 8

watched = ContextVar("tenant")
other = ContextVar("other")
others = [ContextVar(f"other_{number}") for number in range(8)]
# As long as what is read of a value.
watched.set("acme-corporation".ljust(64, "-"))
for variable in [other, *others]:
    variable.set("acme-corporation")
contexts = [copy_context(), copy_context()]
for context, name in zip(contexts, ("globex", "initech")):
    context.run(watched.set, name.ljust(64, "-"))
queue = SimpleQueue()
idle = []


def work_item():
    """An item as an executor makes it, of one that never gets to it."""
    busy = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(busy.wait)
        executor.submit(int)
        while executor._work_queue.qsize() > 1:
            time.sleep(0.001)
        item = executor._work_queue.get()
        busy.set()
    return item


item = work_item()


def get(variable, count):
    get = variable.get
    start = time.perf_counter_ns()
    for _ in range(count):
        get()
    return time.perf_counter_ns() - start


def disagree(count):
    """Every read finds something else than the one before."""
    first, second = (context.run for context in contexts)
    get = watched.get
    start = time.perf_counter_ns()
    for _ in range(count // 2):
        first(get)
        second(get)
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
        put(item)
        get()
    return time.perf_counter_ns() - start


class Idle(threading.Thread):
    """Reads once whenever it is told to; its end is told by what it reads with."""

    def __init__(self):
        super().__init__(daemon=True)
        self.told, self.done, self.ends = threading.Semaphore(0), threading.Semaphore(0), False
        self.start()

    def run(self):
        watched.set("acme-corporation")
        while not self.ends:
            watched.get()
            self.done.release()
            self.told.acquire()

    def once(self):
        self.told.release()
        self.done.acquire()


def threads(count):
    """Has so many threads beside this one, each of which has just read."""
    while len(idle) < count:
        idle.append(Idle())
        idle[-1].done.acquire()
    while len(idle) > count:
        idle[-1].ends = True
        idle[-1].told.release()
        idle.pop().join()
    for thread in idle:
        thread.once()
    return 0


OPERATIONS = {
    "get_other": lambda count: get(other, count),
    "get_agreeing": lambda count: get(watched, count),
    "get_disagreeing": disagree,
    "set_watched": lambda count: bind(watched, count),
    "put_get": hand_over,
    "threads": threads,
}


def deep(depth, operation, count):
    if depth == 0:
        return OPERATIONS[operation](count)
    return deep(depth - 1, operation, count)


# Files that carry the probed functions: the interpreter is told apart by the tracer.
print(_queue.__file__ if hasattr(_queue, "__file__") else "", flush=True)
for line in sys.stdin:
    operation, count = line.split()
    print(deep(DEPTH, operation, int(count)) / max(1, int(count)), flush=True)
