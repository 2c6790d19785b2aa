"""Binds context variables in several threads, prints the truth about itself as one line of JSON, and waits to be read."""

import argparse
import asyncio.base_events
import collections
import contextvars
import dataclasses
import dis
import json
import sys
import sysconfig
import threading
import time
import types

try:
    import ctypes
except ImportError:  # not everywhere installed
    ctypes = None

VAR_HASH = 48 if sysconfig.get_config_var("Py_GIL_DISABLED") else 56


@dataclasses.dataclass(frozen=True)
class Principal:
    sub: str


tenant = contextvars.ContextVar("tenant", default="<unset>")
values = {
    "ascii": "acme",
    "latin": "t\u00e9nant",
    "wide": "\u3042\u3044",
    "emoji": "\U0001f600!",
    "empty": "",
    "long": "x" * 100,
    "bytes": b"\x00key",
    "zero": 0,
    "int": 7 + (5 << 30),
    "negative": -(9 << 61),
    "none": None,
    "principal": Principal("alice"),
}
variables = {name: contextvars.ContextVar(name) for name in values}
many = [contextvars.ContextVar(f"many_{i}") for i in range(300)]
colliding = [contextvars.ContextVar(f"colliding_{i}") for i in range(4)]
for var in colliding if ctypes else ():
    ctypes.c_ssize_t.from_address(id(var) + VAR_HASH).value = 0x12345

# A module whose globals are a table of keys of any kind, and something that is no module.
other = types.ModuleType("other")
other.__dict__[5] = "five"
other.alias = tenant
sys.modules["other"] = other
sys.modules["impostor"] = 5

stop = threading.Event()
ready = threading.Barrier(4)
bound = {}


def wait():
    ready.wait()
    stop.wait()


def bind(pairs):
    for var, value in pairs:
        var.set(value)
    bound[threading.get_native_id()] = [(id(var), id(value)) for var, value in pairs]


def values_thread():
    bind([(variables[name], value) for name, value in values.items()])
    wait()


contexts = {}


def many_thread():
    def inside():
        bind([(var, var.name) for var in many + colliding + [tenant]])
        wait()

    context = contextvars.Context()
    contexts[threading.get_native_id()] = context
    context.run(inside)


def nothing_thread():
    def nested():
        yield wait()

    next(nested())


def codes_of(module):
    for item in vars(module).values():
        for function in [item, *(vars(item).values() if isinstance(item, type) else ())]:
            if isinstance(function, types.FunctionType):
                yield function.__code__


def lines_of(code):
    if hasattr(code, "co_lines"):
        return [(start, end, line) for start, end, line in code.co_lines()]
    starts = list(dis.findlinestarts(code)) + [(len(code.co_code), None)]
    return [(start, end, line) for (start, line), (end, _) in zip(starts, starts[1:])]


def name_of(code):
    return getattr(code, "co_qualname", code.co_name)


def stack_of(frame):
    while frame is not None:
        code = frame.f_code
        yield (id(code), name_of(code), code.co_filename, frame.f_lineno)
        frame = frame.f_back


threads = [threading.Thread(target=t) for t in (values_thread, many_thread, nothing_thread)]
for thread in threads:
    thread.start()
ready.wait()


def is_waiting(thread):
    names = [frame[1].split(".")[-1] for frame in stack_of(sys._current_frames()[thread.ident])]
    return names[:2] == ["wait", "wait"]


while not all(map(is_waiting, threads)):
    time.sleep(0.01)
# The last of them may still have to come to the line that it waits at.
time.sleep(0.2)
frames = sys._current_frames()
codes = [code for module in (argparse, asyncio.base_events, collections, threading, sys.modules[__name__])
         for code in codes_of(module)]
print(json.dumps({
    "tenant": id(tenant),
    "tenant_default": id(contextvars.ContextVar.get(tenant)),
    "values": {name: {"variable": id(var), "object": id(values[name]), "type": type(values[name]).__name__}
               for name, var in variables.items()},
    "threads": [{
        "native_id": t.native_id,
        "ident": t.ident,
        "context": id(contexts[t.native_id]) if t.native_id in contexts else None,
        "bindings": bound.get(t.native_id, []),
        "stack": list(stack_of(frames[t.ident])),
    } for t in threads],
    "main": {"native_id": threading.get_native_id(), "ident": threading.get_ident()},
    "codes": [{"id": id(c), "qualname": name_of(c), "filename": c.co_filename, "first": c.co_firstlineno,
               "lines": lines_of(c)} for c in codes],
}), flush=True)
sys.stdin.readline()
stop.set()
