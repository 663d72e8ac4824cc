"""Connections that are fed bytes by hand, and what they answer."""

import struct

from buildkit.rpc import frames
from buildkit.rpc.cutter import Cutter
from buildkit.rpc.h2 import Connection
from buildkit.rpc.hpack import encode

REQUEST = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b"content-type", b"application/grpc"))
HELLO = frames.PREFACE + frames.settings({})


class Listener:
    """Events of a stream, written down."""

    def __init__(self):
        self.chunks, self.ends, self.resets, self.heads = [], 0, [], []

    def headers(self, headers, end):
        self.heads.append(headers)
        self.ends += end

    def data(self, chunks, end):
        self.chunks += map(bytes, chunks)
        self.ends += end

    def reset(self, code, reason):
        self.resets.append((code, reason))

    def drained(self):
        pass


class Peer:
    """A server's connection and the streams that it accepted."""

    def __init__(self, *, client=False, limits=None):
        self.written = bytearray()
        self.streams = {}
        self.closed = []
        self.connection = Connection(
            client=client,
            write=lambda chunks: self.written.extend(b"".join(chunks)),
            accept=self.accept,
            closed=self.closed.append,
            limits=limits,
        )
        self.connection.start()

    def accept(self, stream, headers, end):
        stream.events = self.streams[stream.id] = Listener()

    def take(self, *content):
        """Feed bytes; gives the frames that were answered."""
        self.written.clear()
        for part in content:
            self.connection.receive(part)
        return Cutter(preface=False, limit=1 << 24).cut(bytes(self.written))

    def fault(self, *content):
        """Feed bytes; gives the code of the GOAWAY that ends the connection, None if it goes on."""
        for kind, _, _, payload in self.take(*content):
            if kind == frames.GOAWAY:
                return struct.unpack(">I", payload[4:8])[0]
        return None


def head(id, headers=REQUEST, flags=frames.END_HEADERS):
    """A HEADERS frame."""
    return frames.frame(frames.HEADERS, flags, id, encode(tuple(headers)))
