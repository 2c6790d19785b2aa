"""A service for the benchmark: an MCP server of the SDK under uvicorn on a port of its own, which it prints.

Its tool is no coroutine, so that the SDK has one of its threads work on it.
"""

import logging
import socket
from contextvars import ContextVar

import uvicorn
from mcp.server import MCPServer

tenant = ContextVar("tenant", default=None)
logging.disable(logging.WARNING)
server = MCPServer("bench")


def read(times):
    for _ in range(times - 1):
        tenant.get()
    return tenant.get()


@server.tool()
def work() -> str:
    return read(9)


inner = server.streamable_http_app(json_response=True, stateless_http=True)


async def identified(scope, receive, send):
    if scope["type"] == "http":
        tenant.set(dict(scope["headers"])[b"x-tenant"].decode())
        read(1)
    await inner(scope, receive, send)


# The protocol is named, so that asyncio does not wait for acknowledgements before it sends the next part.
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listener.bind(("127.0.0.1", 0))
listener.listen(64)
config = uvicorn.Config(identified, loop="asyncio", log_level="warning", access_log=False)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(config).run([listener])
