"""Many small targets: `targets.py PROCESSES THREADS PERIOD [loses]`.

Each process has a pool of THREADS threads, all of which are up, and hands a piece of work to it every PERIOD seconds: one after the
other gets it, with its context unless that is to be lost. Prints the process ids; ends with its input.
"""

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context

PROCESSES, THREADS, PERIOD = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
LOSES = sys.argv[4:] == ["loses"]
tenant = ContextVar("tenant", default=None)


def target(parent, up):
    with ThreadPoolExecutor(THREADS) as pool:
        together = threading.Barrier(THREADS)
        list(pool.map(lambda _: together.wait(), range(THREADS)))
        os.write(up, b".")
        # Its parent may have been killed.
        while os.getppid() == parent:
            tenant.set(f"tenant {time.monotonic()}")
            work = [tenant.get] if LOSES else [copy_context().run, tenant.get]
            pool.submit(*work).result()
            time.sleep(PERIOD)


parent = os.getpid()
reads, up = os.pipe()
children = []
for _ in range(PROCESSES):
    child = os.fork()
    if child == 0:
        try:
            target(parent, up)
        finally:
            os._exit(0)
    children.append(child)
waiting = PROCESSES
while waiting:
    waiting -= len(os.read(reads, waiting))
print(*children, flush=True)
sys.stdin.read()
for child in children:
    os.kill(child, signal.SIGKILL)
for child in children:
    os.waitpid(child, 0)
