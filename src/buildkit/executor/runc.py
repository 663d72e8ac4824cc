"""The executor: one call of an OCI runtime for each container, inside of private namespaces."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import time
from pathlib import Path

from buildkit.core.aio import Shared, outlast
from buildkit.core.errors import AlreadyExists, Exhausted, FailedPrecondition, InvalidInput, NotFound
from buildkit.core.identity import new_id
from buildkit.executor.bundle import Bundle, read_identity, write_private
from buildkit.executor.child import Child
from buildkit.executor.enclosure import Enclosure
from buildkit.executor.executor import DEFAULT_HOSTNAME, Command, Container, Failed, Output, Usage
from buildkit.executor.hosts import NameFiles
from buildkit.executor.interaction import Interaction
from buildkit.executor.network import Lent, Networks
from buildkit.executor.runtime import Filter, Probe, Runtime, has_cgroup_namespace, make_filter, runtime_environ
from buildkit.executor.sampling import Sampler
from buildkit.executor.settings import Settings
from buildkit.executor.spec import Place, cgroups_path, change_process, make_spec
from buildkit.executor.sweep import NETWORKS, remove_cgroups, sweep
from buildkit.executor.tracing import traced

_VMSTAT = "/proc/vmstat"
_KILLED = 137
_PAUSE = 0.01
"""Seconds between two looks whether a container is there that somebody wants to enter."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class _Running:
    """A container at work."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.child: Child | None = None
        self.ended = asyncio.Event()
        self.error: BaseException | None = None
        self.entered: set[asyncio.Future[tuple[int, resource.struct_rusage]]] = set()
        """Processes that were started in it later."""


class RuncExecutor:
    """Runs containers with crun or runc; its state is in ``directory``, that no other process uses meanwhile."""

    def __init__(self, directory: Path, settings: Settings = Settings()) -> None:
        self._directory = directory
        self._settings = settings
        self._names = NameFiles(directory, settings.dns)
        self._enclosure = Enclosure()
        self._networks = Networks(directory / NETWORKS, settings.network, self._enclosure)
        self._ready: Shared[tuple[Runtime, Filter]] = Shared(self._prepare)
        self._running: dict[str, _Running] = {}

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

    async def run(self, container: Container, output: Output, interaction: Interaction | None = None) -> Usage:
        """Run to the end; see `buildkit.executor.executor.Executor`."""
        id = container.id or new_id()
        if not (id.isascii() and id.isalnum()):
            raise InvalidInput(f'invalid container id "{id}": only letters and numbers are allowed')
        if id in self._running:
            raise AlreadyExists(f"container {id} exists")
        if self._settings.trace_socket:
            container = traced(container, self._settings.trace_socket)
        running = self._running[id] = _Running(container)
        try:
            runtime, filter = await self._ready.wait()
            async with self._networks.lent(container.process) as network:
                bundle = Bundle(self._directory / id, container)
                return await self._run(runtime, filter, id, bundle, network, output, interaction)
        except BaseException as error:
            running.error = error
            raise
        finally:
            del self._running[id]
            running.ended.set()
            if interaction is not None:
                interaction.close()

    async def execute(
        self, container_id: str, command: Command, output: Output, interaction: Interaction | None = None
    ) -> Usage:
        """Run a further process in a container; see `buildkit.executor.executor.Executor`."""
        try:
            running = await self._enterable(container_id)
            runtime, _ = await self._ready.wait()
            begin = time.monotonic()
            ended = asyncio.ensure_future(self._execute(runtime, container_id, command, output, interaction))
            running.entered.add(ended)
            try:
                code, used = await ended
            finally:
                running.entered.discard(ended)
            usage = Usage(used.ru_utime, used.ru_stime, time.monotonic() - begin, code)
            if code in (command.valid_exit_codes or (0,)):
                return usage
            raise Failed(usage)
        finally:
            if interaction is not None:
                interaction.close()

    async def _enterable(self, id: str) -> _Running:
        """The container, once its own process runs."""
        running = self._running.get(id)
        if running is None:
            raise NotFound(f"container {id} not found")
        while running.child is None or running.child.process() is None or not self._is_known(id):
            if running.ended.is_set():
                if running.error is None:
                    raise FailedPrecondition(f"container {id} has stopped")
                raise FailedPrecondition(f"container {id} has exited with error: {running.error}")
            try:
                await asyncio.wait_for(running.ended.wait(), _PAUSE)
            except TimeoutError:
                continue
        return running

    def _is_known(self, id: str) -> bool:
        """Whether the runtime has written down what it needs to enter a container."""
        return any((self._state / id / name).exists() for name in ("status", "state.json"))

    async def _execute(
        self, runtime: Runtime, id: str, command: Command, output: Output, interaction: Interaction | None
    ) -> tuple[int, resource.struct_rusage]:
        file = self._directory / id / f"process-{new_id()}.json"
        try:
            starting = asyncio.ensure_future(
                self._enclosure.run(lambda: self._enter(runtime, id, command, file, stdin=_wants_input(interaction)))
            )
            left = await outlast(starting)
            try:
                child = starting.result()
            except OSError as error:
                raise FailedPrecondition(f"cannot start a process in container {id}: {error}") from error
            return await _watch(child, output, interaction, left)
        finally:
            file.unlink(missing_ok=True)

    def _enter(self, runtime: Runtime, id: str, command: Command, file: Path, *, stdin: bool) -> Child:
        """Inside of the enclosure: start a further process."""
        directory = self._directory / id
        process = json.loads((directory / "config.json").read_bytes().decode(errors="surrogateescape"))["process"]
        change_process(process, command, read_identity(str(directory / "rootfs"), command.user))
        write_private(file, json.dumps(process, ensure_ascii=False))
        words = runtime.command(self._state, directory / "log.json", "exec", "--process", str(file), id)
        return Child(words, runtime_environ(directory), terminal=command.tty, stdin=stdin)

    async def _run(
        self,
        runtime: Runtime,
        filter: Filter,
        id: str,
        bundle: Bundle,
        network: Lent,
        output: Output,
        interaction: Interaction | None,
    ) -> Usage:
        process, running = bundle.container.process, self._running[id]
        begin, kills = time.monotonic(), _count_oom_kills()
        parent = process.cgroup_parent or self._settings.cgroup_parent
        sampler = Sampler(cgroups_path(parent, id), network)
        bundle.open()
        try:
            starting = asyncio.ensure_future(
                self._enclosure.run(
                    lambda: self._start(runtime, filter, id, bundle, network.path, stdin=_wants_input(interaction))
                )
            )
            left = await outlast(starting)
            try:
                child = starting.result()
            except OSError as error:
                kind = Exhausted if error.errno in _FULL else FailedPrecondition
                raise kind(f"cannot start container {id}: {error}") from error
            running.child = child
            sampler.start()
            code, used = await _watch(child, output, interaction, left)
        finally:
            if running.entered:
                await outlast(asyncio.ensure_future(asyncio.wait(running.entered)))
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
        raise Failed(usage, oom=starved)

    def _start(
        self, runtime: Runtime, filter: Filter, id: str, bundle: Bundle, network: str | None, *, stdin: bool
    ) -> Child:
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
            apparmor_profile=self._settings.apparmor_profile,
        )
        config = make_spec(process, identity, bundle.mounts, place, bundle.device_mounts)
        text = json.dumps(config, ensure_ascii=False, separators=(",", ":"))
        write_private(bundle.directory / "config.json", text)
        command = runtime.command(self._state, bundle.log, "run", "--bundle", str(bundle.directory), id)
        return Child(command, runtime_environ(bundle.directory), terminal=process.tty, stdin=stdin)

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
        os.waitpid(os.posix_spawn(command[0], command, runtime_environ(self._directory / id), file_actions=quiet), 0)

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


def _wants_input(interaction: Interaction | None) -> bool:
    return interaction is not None and interaction.stdin


async def _watch(
    child: Child, output: Output, interaction: Interaction | None, left: asyncio.CancelledError | None
) -> tuple[int, resource.struct_rusage]:
    """Follow a runtime to its end: its exit code and what it used. ``left``: somebody cancelled already."""
    ended = child.watch(output)
    if interaction is not None:
        interaction.attach(child)
    try:
        if left is not None:
            raise left
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        await outlast(asyncio.ensure_future(child.kill(ended)))
        raise
    finally:
        if interaction is not None:
            interaction.close()
        child.close_input()


def _count_oom_kills() -> int:
    """How many processes the kernel has killed for memory since it started, in whatever cgroup."""
    try:
        with open(_VMSTAT, "rb") as file:
            _, _, rest = file.read().partition(b"\noom_kill ")
    except OSError:
        return 0
    return int(rest.split(b"\n", 1)[0] or 0)
