"""A WebSocket echo service as people write it in Python: websockets and prometheus_client.

Arguments: the port of the service, the port of the metrics, and `honest` or `lying`. The lying one
decrements after its loop, which an aborted connection leaves by an exception.
"""

import asyncio
import sys

from prometheus_client import Gauge, start_http_server
from websockets.asyncio.server import serve

ACTIVE = Gauge("active_connections", "Open WebSocket sessions.")


async def honest(socket):
    with ACTIVE.track_inprogress():
        async for message in socket:
            await socket.send(message)


async def lying(socket):
    ACTIVE.inc()
    while True:
        message = await socket.recv()
        if message == "quit":
            break
        await socket.send(message)
    ACTIVE.dec()


async def main(port, metrics_port, handler):
    start_http_server(metrics_port, addr="127.0.0.1")
    async with serve(handler, "127.0.0.1", port, ping_interval=None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    handlers = {"honest": honest, "lying": lying}
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), handlers[sys.argv[3]]))
