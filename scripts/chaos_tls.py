"""TLS over a socket that does not block, with the methods of such a socket."""

import ssl

CHUNK = 64 * 1024


VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def make_context(version=None):
    """Trusts everybody: who the server is does not matter here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


class Tls:
    """One session. What would block raises `BlockingIOError`, as with the socket."""

    def __init__(self, context, sock):
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing)
        self.unsent = b""
        self.unread = b""

    def shake(self):
        """Moves the handshake on; returns when it is done."""
        while True:
            try:
                self.session.do_handshake()
                return self.flush()
            except ssl.SSLWantReadError:
                self.flush()
                self.fill()
            except ssl.SSLError as err:
                raise ConnectionResetError(0, str(err)) from None

    def send(self, data):
        self.flush()
        count = self.session.write(data[:CHUNK])
        try:
            self.flush()
        except BlockingIOError:
            pass  # It goes before the next one.
        return count

    def recv(self, most):
        if self.unread:
            data, self.unread = self.unread[:most], self.unread[most:]
            return data
        while True:
            try:
                return self.session.read(most)
            except ssl.SSLWantReadError:
                self.fill()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as err:
                raise ConnectionResetError(0, str(err)) from None

    def end(self):
        """Sends close_notify; what comes can still be read, so OpenSSL must not see it now: it would be an error."""
        rest = self.incoming.read()
        while self.session.pending():
            self.unread += self.session.read(CHUNK)
        try:
            self.session.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.incoming.write(rest)
        try:
            self.flush()
        except BlockingIOError:
            pass

    def has_unsent(self):
        return bool(self.unsent or self.outgoing.pending)

    def flush(self):
        """Passes all ciphertext on."""
        while self.has_unsent():
            self.unsent = self.unsent or self.outgoing.read(CHUNK)
            self.unsent = self.unsent[self.sock.send(self.unsent):]

    def fill(self):
        """Takes in ciphertext; the end of the connection is an error of the session, unless it has ended before."""
        data = self.sock.recv(CHUNK)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
