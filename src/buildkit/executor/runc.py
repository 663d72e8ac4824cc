"""The executor: one call of an OCI runtime for each container, inside of private namespaces."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from pathlib import Path

from buildkit.core.aio import Shared, outlast
from buildkit.core.errors import AlreadyExists, Exhausted, ExitError, FailedPrecondition, InvalidInput, Unsupported
from buildkit.core.identity import new_id
from buildkit.executor.bundle import Bundle
from buildkit.executor.child import Child
from buildkit.executor.enclosure import Enclosure
from buildkit.executor.executor import DEFAULT_HOSTNAME, Container, Output, Usage
from buildkit.executor.hosts import NameFiles
from buildkit.executor.network import Lent, Networks
from buildkit.executor.runtime import Filter, Probe, Runtime, has_cgroup_namespace, make_filter, runtime_environ
from buildkit.executor.sampling import Sampler
from buildkit.executor.settings import Settings
from buildkit.executor.spec import Place, cgroups_path, make_spec
from buildkit.executor.sweep import NETWORKS, remove_cgroups, sweep

_VMSTAT = "/proc/vmstat"
_KILLED = 137
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class RuncExecutor:
    """Runs containers with crun or runc; its state is in ``directory``, that no other process uses meanwhile."""

    def __init__(self, directory: Path, settings: Settings = Settings()) -> None:
        self._directory = directory
        self._settings = settings
        self._names = NameFiles(directory, settings.dns)
        self._enclosure = Enclosure()
        self._networks = Networks(directory / NETWORKS, settings.network, self._enclosure)
        self._ready: Shared[tuple[Runtime, Filter]] = Shared(self._prepare)
        self._running: set[str] = set()

    @property
    def network(self) -> str:
        """The mode of a process that asks for none in particular."""
        return self._networks.mode

    async def prepare(self) -> Runtime:
        """Get everything ready that the first container would have to wait for; may be called early or not at all."""
        return (await self._ready.wait())[0]

    def close(self) -> None:
        """Kill what still runs and drop the namespaces."""
        self._networks.close()
        self._enclosure.close()

    async def run(self, container: Container, output: Output) -> Usage:
        """Run to the end; see `buildkit.executor.executor.Executor`."""
        if container.process.tty:
            raise Unsupported("terminals in containers are not supported yet")
        id = container.id or new_id()
        if not id.replace("_", "").replace("-", "").replace(".", "").isalnum() or not id[0].isalnum():
            raise InvalidInput(f"invalid container id {id!r}")
        if id in self._running:
            raise AlreadyExists(f"container {id} exists")
        runtime, filter = await self._ready.wait()
        self._running.add(id)
        try:
            async with self._networks.lent(container.process) as network:
                bundle = Bundle(self._directory / id, container)
                return await self._run(runtime, filter, id, bundle, network, output)
        finally:
            self._running.discard(id)

    async def _run(
        self, runtime: Runtime, filter: Filter, id: str, bundle: Bundle, network: Lent, output: Output
    ) -> Usage:
        process = bundle.container.process
        begin, kills = time.monotonic(), _count_oom_kills()
        parent = process.cgroup_parent or self._settings.cgroup_parent
        sampler = Sampler(cgroups_path(parent, id), network)
        bundle.open()
        try:
            starting = asyncio.ensure_future(
                self._enclosure.run(lambda: self._start(runtime, filter, id, bundle, network.path))
            )
            left = await outlast(starting)
            try:
                child = starting.result()
            except OSError as error:
                kind = Exhausted if error.errno in _FULL else FailedPrecondition
                raise kind(f"cannot start container {id}: {error}") from error
            ended = child.watch(output)
            sampler.start()
            try:
                if left is not None:
                    raise left
                code, used = await asyncio.shield(ended)
            except asyncio.CancelledError:
                await outlast(asyncio.ensure_future(child.kill(ended)))
                raise
        finally:
            samples, traffic = sampler.stop(), sampler.traffic()
            finishing = asyncio.ensure_future(self._enclosure.run(lambda: self._finish(runtime, id, bundle)))
            left = await outlast(finishing)
            finishing.result()
        if left is not None:
            raise left
        received, sent = traffic or (None, None)
        peak = max((one.memory_peak for one in samples if one.memory_peak is not None), default=None)
        facts = tuple(one.facts() for one in samples)
        usage = Usage(used.ru_utime, used.ru_stime, time.monotonic() - begin, code, peak, received, sent, facts)
        if code in (process.valid_exit_codes or (0,)):
            return usage
        starved = code != 0 and (code == _KILLED or process.resources.memory > 0) and _count_oom_kills() > kills
        reason = "cannot allocate memory" if starved else f"exit code: {code}"
        raise ExitError(reason, code=code, signal=code - 128 if 128 < code <= 192 else 0, oom=starved)

    def _start(self, runtime: Runtime, filter: Filter, id: str, bundle: Bundle, network: str | None) -> Child:
        """Inside of the enclosure: make the bundle and start the runtime on it."""
        container = bundle.container
        process = container.process
        bundle.attach()
        bundle.note_stubs()
        identity = bundle.identity()
        bundle.make_working_directory(identity)
        hostname = process.hostname or DEFAULT_HOSTNAME
        place = Place(
            id,
            bundle.root,
            self._names.resolv_conf(host_network=process.network == "host"),
            self._names.hosts(hostname, process.extra_hosts, bundle.directory, DEFAULT_HOSTNAME),
            cgroup_parent=self._settings.cgroup_parent,
            cgroup_namespace=has_cgroup_namespace(),
            network=network,
            seccomp=filter.seccomp,
            annotations=filter.annotations,
            readonly_root=container.readonly_root,
        )
        config = make_spec(process, identity, bundle.mounts, place, bundle.device_mounts)
        text = json.dumps(config, ensure_ascii=False, separators=(",", ":"))
        (bundle.directory / "config.json").write_bytes(text.encode(errors="surrogateescape"))
        command = runtime.command(self._state, bundle.log, "run", "--bundle", str(bundle.directory), id)
        return Child(command, runtime_environ())

    def _finish(self, runtime: Runtime, id: str, bundle: Bundle) -> None:
        """Inside of the enclosure: whatever the runtime, perhaps killed, did not take away itself."""
        if (self._state / id).exists():
            self._delete(runtime, id)
        bundle.close()
        parent = bundle.container.process.cgroup_parent or self._settings.cgroup_parent
        remove_cgroups(cgroups_path(parent, id))

    def _delete(self, runtime: Runtime, id: str) -> None:
        command = runtime.command(self._state, Path(os.devnull), "delete", "--force", id)
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        os.waitpid(os.posix_spawn(command[0], command, runtime_environ(), file_actions=quiet), 0)

    @property
    def _state(self) -> Path:
        return self._directory / "runtime"

    async def _prepare(self) -> tuple[Runtime, Filter]:
        loop = asyncio.get_running_loop()
        probe = await loop.run_in_executor(None, self._open_directory)
        runtime = probe.recall()
        if runtime is None:
            runtime = await self._enclosure.run(probe.find)
        filter = make_filter(self._directory, compiled=runtime.compiled)
        if filter is None:
            raise FailedPrecondition("the system call filter can no longer be compiled: is libseccomp gone?")
        return runtime, filter

    def _open_directory(self) -> Probe:
        self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._enclosure.start()
        sweep(self._directory, self._state, self._settings.cgroup_parent)
        self._networks.open()
        return Probe(self._directory, self._settings.runtimes)


def _count_oom_kills() -> int:
    """How many processes the kernel has killed for memory since it started, in whatever cgroup."""
    try:
        with open(_VMSTAT, "rb") as file:
            _, _, rest = file.read().partition(b"\noom_kill ")
    except OSError:
        return 0
    return int(rest.split(b"\n", 1)[0] or 0)
