"""Private mount and process namespaces that containers are made in.

One process lives in them as their init: it reads from a pipe that we hold. When we end, however we end, the pipe
closes, that process ends, and the kernel kills everything in the process namespace and drops every mount of the
mount namespace. So nothing can be left behind, and no mount ever shows in the host's table.

Threads enter the namespaces for good; what they spawn is born there. In them ``/proc`` shows the inner processes
only, so code there must not go through ``/proc/self``.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from buildkit.core.errors import PermissionDenied, Unsupported

T = TypeVar("T")

_CLONE_FS, _CLONE_NEWNS, _CLONE_NEWPID = 0x200, 0x20000, 0x20000000
_THREADS = 4
_UMASK = 0o022
_READY = b"ready\n"

# crun refuses a hybrid tree where a controller is left on the unified side, so that side is hidden; children of
# containers whose runtime was killed end up with the init, which lets the kernel reap them
_INIT = """
umount /sys/fs/cgroup/unified 2>/dev/null
printf 'ready\\n'
exec env --ignore-signal=CHLD --ignore-signal=INT --ignore-signal=TERM cat >/dev/null
"""


class Enclosure:
    """The namespaces, the init that keeps them, and threads inside of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._keeper = 0
        self._lifeline = -1
        self._namespaces: tuple[int, int] = (-1, -1)

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread inside; the namespaces are made at the first call."""
        loop = asyncio.get_running_loop()
        pool = self._pool or await loop.run_in_executor(None, self.start)
        return await loop.run_in_executor(pool, work)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have ``work`` run by a thread inside, without waiting for it; blocks while the namespaces are made."""
        return self.start().submit(work)

    def start(self) -> ThreadPoolExecutor:
        """Make the namespaces if that has not been done; blocks for some milliseconds. Gives the threads inside."""
        with self._lock:
            if self._pool is None:
                self._make()
                self._pool = ThreadPoolExecutor(_THREADS, "enclosure", self._enter)
            return self._pool

    def close(self) -> None:
        """End everything inside and drop the namespaces."""
        with self._lock:
            pool, self._pool = self._pool, None
            if pool is None:
                return
            pool.shutdown()
            for fd in (self._lifeline, *self._namespaces):
                os.close(fd)
            os.waitpid(self._keeper, 0)

    def _make(self) -> None:
        if os.geteuid() != 0:
            raise Unsupported("running containers without root is not supported yet: start as root")
        lifeline_end, lifeline = os.pipe()
        ready, ready_end = os.pipe()
        failed = True
        try:
            self._keeper = os.posix_spawnp(
                "unshare",
                ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", _INIT],
                {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, lifeline_end, 0),
                    (os.POSIX_SPAWN_DUP2, ready_end, 1),
                ],
                setsid=True,
            )
            os.close(ready_end)
            ready_end = -1
            if os.read(ready, len(_READY)) != _READY:
                os.waitpid(self._keeper, 0)
                raise PermissionDenied(
                    "cannot make mount and process namespaces: running containers needs CAP_SYS_ADMIN"
                )
            init = Path(f"/proc/{self._keeper}/task/{self._keeper}/children").read_text().split()[0]
            mounts = os.open(f"/proc/{init}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            processes = os.open(f"/proc/{init}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            self._namespaces = (mounts, processes)
            self._lifeline = lifeline
            failed = False
        finally:
            os.close(lifeline_end)
            os.close(ready)
            if ready_end >= 0:
                os.close(ready_end)
            if failed:
                os.close(lifeline)

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        mounts, processes = self._namespaces
        for name, result in (
            ("unshare", libc.unshare(_CLONE_FS)),
            ("setns", libc.setns(mounts, _CLONE_NEWNS)),
            ("setns", libc.setns(processes, _CLONE_NEWPID)),
        ):
            if result:
                raise OSError(ctypes.get_errno(), f"{name} failed")
        # this thread's own since it left the others: runtimes make mount points, which are parts of layers, under it
        os.umask(_UMASK)
