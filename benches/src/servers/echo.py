"""An echo server: echo.py asyncio|uvloop tcp|unix|udp DESCRIPTOR"""

import asyncio
import socket
import sys


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Answer(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


async def serve(kind, sock):
    loop = asyncio.get_running_loop()
    if kind == "tcp":
        server = await loop.create_server(Echo, sock=sock, backlog=4096)
        await server.serve_forever()
    elif kind == "unix":
        server = await loop.create_unix_server(Echo, sock=sock, backlog=4096)
        await server.serve_forever()
    else:
        await loop.create_datagram_endpoint(Answer, sock=sock)
        await asyncio.Event().wait()


def main(name, kind, descriptor):
    sock = socket.socket(fileno=int(descriptor))
    sock.setblocking(False)
    if name == "uvloop":
        import uvloop

        uvloop.install()
    asyncio.run(serve(kind, sock))


main(*sys.argv[1:])
