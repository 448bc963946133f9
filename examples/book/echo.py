"""The echo server of the book, in asyncio."""

import asyncio
import sys


# ANCHOR: echo
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


async def main(host, port):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, host, port)
    print("serving on", "%s:%s" % server.sockets[0].getsockname(), flush=True)
    async with server:
        await server.serve_forever()
# ANCHOR_END: echo


host, port = sys.argv[1].split(":") if len(sys.argv) > 1 else ("127.0.0.1", "8888")
asyncio.run(main(host, int(port)))
