"""A multi-tenant proxy in small, with the mistake in it: identity is ambient, and blocking work goes to a thread pool.

Requests carry their tenant in a header. The proxy binds it in a ContextVar, calls a blocking vendor SDK in a pool thread,
and mints a task handle. It sends itself the traffic of two tenants, 20 rounds of it or as many as its argument says."""

import asyncio
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
tenant = ContextVar("tenant", default=None)
pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="vendor-sdk")


class TaskStore:
    """Task handles and their owners."""

    def __init__(self):
        self.owners = {}

    def create_task(self):
        handle = uuid.uuid4().hex
        self.owners[handle] = tenant.get()
        return handle


class VendorSdk:
    """Blocking calls that know nothing of event loops."""

    def login(self, name):
        tenant.set(name)
        time.sleep(0.002)

    def charge(self):
        time.sleep(0.002)
        return tenant.get()


store = TaskStore()
sdk = VendorSdk()


async def login(name):
    """The tenant is known only from what the worker finds out, and is bound there."""
    await asyncio.get_running_loop().run_in_executor(pool, sdk.login, name)
    return store.create_task()


async def charge(name):
    """The tenant is bound on the loop; the worker that charges does not see it."""
    tenant.set(name)
    charged = await asyncio.get_running_loop().run_in_executor(pool, sdk.charge)
    return "right" if charged == name else f"charged {charged}"


async def report(name):
    """The one that is right: `to_thread` brings the context along."""
    tenant.set(name)
    charged = await asyncio.to_thread(sdk.charge)
    return "right" if charged == name else f"charged {charged}"


ROUTES = {"/login": login, "/charge": charge, "/report": report}


async def handle(reader, writer):
    _, path, _ = (await reader.readline()).decode().split()
    headers = {}
    while line := (await reader.readline()).decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    try:
        body = (await ROUTES[path](headers["x-tenant"])).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
    finally:
        writer.close()


async def request(port, name, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: proxy\r\nX-Tenant: {name}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.rpartition(b"\r\n\r\n")[2].decode()


async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wrong = 0
    async with server:
        await request(port, "acme", "/charge")
        for _ in range(ROUNDS):
            await request(port, "acme", "/login")
            answers = await asyncio.gather(*(
                request(port, name, path) for name in ("acme", "globex") for path in ("/charge", "/report")
            ))
            wrong += sum(answer != "right" for answer in answers)
        # Long enough for a last look at the metrics.
        await asyncio.sleep(2)
    nobody = sum(owner is None for owner in store.owners.values())
    print(f"proxy: {1 + 5 * ROUNDS} requests, every one answered with 200 OK;", flush=True)
    print(f"proxy: {wrong} charged to somebody else or nobody, {nobody} of {len(store.owners)} tasks owned by nobody", flush=True)


asyncio.run(main())
pool.shutdown()
