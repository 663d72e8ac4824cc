"""A daemon that does as it is told, on a unix socket, speaking our own rpc."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager

from buildkit.api import control_pb2 as control
from buildkit.api import gateway_pb2 as gateway
from buildkit.core.errors import Canceled
from buildkit.rpc.server import Method, Server
from buildkit.rpc.transport import serve

CONTROL = "/moby.buildkit.v1.Control/"
BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"


class FakeDaemon:
    """Answers with what its fields say and remembers what it was asked, in order."""

    def __init__(self):
        self.asked = []
        self.requests = {}
        self.metadata = {}
        self.statuses = []
        self.response = {}
        self.result = gateway.Result(ref=gateway.Ref(id="r1"), metadata={"result.txt": b"told\n"})
        self.solve_error = self.bridge_error = self.status_error = None
        self.silent = self.hanging = False
        self.returned = None
        self.cancelled = asyncio.Event()
        self.streams = {}
        self._ended = asyncio.Event()

    def methods(self):
        """Everything it answers."""
        unary = {
            CONTROL + "ListWorkers": self._constant(control.ListWorkersResponse()),
            CONTROL + "Solve": self._solve,
            BRIDGE + "Ping": self._constant(gateway.PongResponse()),
            BRIDGE + "Solve": self._bridge_solve,
            BRIDGE + "Return": self._return,
        }
        unary |= {path: answer for path, answer in self.streams.items() if callable(answer)}
        streaming = {CONTROL + "Status": self._status, CONTROL + "Session": self._session}
        streaming |= {path: self._list(path, answer) for path, answer in self.streams.items() if not callable(answer)}
        return {path: Method(unary=self._noted(path, one)) for path, one in unary.items()} | {
            path: Method(streaming=one) for path, one in streaming.items()
        }

    def _noted(self, path, answer):
        async def answered(request, call):
            self.asked.append(path.rpartition("/")[2] if path.startswith(CONTROL) else path.rpartition(".")[2])
            self.requests[self.asked[-1]] = request
            self.metadata[self.asked[-1]] = call.metadata
            return await answer(request, call)

        return answered

    def _constant(self, message):
        async def answer(request, call):
            return message.SerializeToString()

        return answer

    def _list(self, path, messages):
        async def answer(call):
            self.requests[path.rpartition("/")[2]] = await call.receive()
            for message in messages:
                if isinstance(message, Exception):
                    raise message
                await call.send(message.SerializeToString())

        return answer

    async def _solve(self, request, call):
        try:
            if self.hanging:
                await asyncio.Event().wait()
            if self.solve_error is not None:
                raise self.solve_error
            while self.returned is None:
                await asyncio.sleep(0)
            if self.returned.HasField("error") and self.bridge_error is not None:
                raise self.bridge_error
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self._ended.set()
        return control.SolveResponse(ExporterResponse=self.response).SerializeToString()

    async def _bridge_solve(self, request, call):
        if self.bridge_error is not None:
            raise self.bridge_error
        if self.solve_error is not None:
            raise Canceled("context canceled")
        return gateway.SolveResponse(result=self.result).SerializeToString()

    async def _return(self, request, call):
        self.returned = gateway.ReturnRequest.FromString(request)
        return b""

    async def _status(self, call):
        self.requests["Status"] = await call.receive()
        for status in self.statuses:
            await call.send(status.SerializeToString())
        if self.status_error is not None:
            raise self.status_error
        await (asyncio.Event() if self.silent else self._ended).wait()

    async def _session(self, call):
        self.metadata["Session"] = call.metadata
        while await call.receive() is not None:
            pass


@asynccontextmanager
async def listening(daemon, path):
    """Its address, for as long as it listens at ``path``."""
    server = Server(daemon.methods())
    listener = await asyncio.get_running_loop().create_unix_server(serve(server), path)
    try:
        yield f"unix://{path}"
    finally:
        listener.close()
        server.cancel()


@contextmanager
def in_thread(daemon, path):
    """The same from a thread of its own, for commands that bring their own event loop."""
    loop = asyncio.new_event_loop()
    scope = listening(daemon, path)
    address = loop.run_until_complete(scope.__aenter__())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(scope.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
