"""What the service of the benchmark of the wire asks for orders: the least that speaks HTTP, on a port of its own, which it prints."""

import asyncio
import json

BODY = json.dumps([{"id": number, "name": f"order {number}", "lines": ["a line of it"] * 4} for number in range(20)]).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Upstream(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        # A request comes in one piece, and has no body.
        self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
