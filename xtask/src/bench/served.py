"""A service for benchmarks: FastAPI under uvicorn on a port of its own, which it prints.

`served.py asyncio|uvloop PORT`, the port of the service that it asks itself.
"""

import asyncio
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

tenant = ContextVar("tenant", default=None)
app = FastAPI()
upstream = httpx.AsyncClient()
pool = ThreadPoolExecutor(4)


class Order(BaseModel):
    id: int
    name: str
    lines: list[str]


class Page(BaseModel):
    owner: str
    orders: list[Order]


@app.post("/orders")
async def order(order: Order):
    return {"owner": tenant.get(), "id": order.id, "name": order.name.upper(), "lines": len(order.lines)}


@app.get("/orders")
async def orders(first: int = 0) -> Page:
    """As a gateway does: what another service answers, checked."""
    answer = await upstream.get(f"http://127.0.0.1:{sys.argv[2]}/orders?first={first}")
    answer.raise_for_status()
    return Page(owner=tenant.get(), orders=answer.json())


def read(times):
    for _ in range(times - 1):
        tenant.get()
    return tenant.get()


@app.get("/work")
async def work():
    """Ten reads, and one handoff."""
    read(5)
    return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, read, 5)


async def identified(scope, receive, send):
    if scope["type"] == "http":
        tenant.set(dict(scope["headers"])[b"x-tenant"].decode())
    await app(scope, receive, send)


# The protocol is named, so that asyncio does not wait for acknowledgements before it sends the next part.
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listener.bind(("127.0.0.1", 0))
listener.listen(64)
config = uvicorn.Config(identified, loop=sys.argv[1], log_level="warning", access_log=False, lifespan="off")
print(listener.getsockname()[1], flush=True)
uvicorn.Server(config).run([listener])
