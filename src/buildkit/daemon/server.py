"""The daemon put together: an engine, its services, and the listeners they are served on."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

from buildkit.control import health, reflection
from buildkit.control.attending import Attended
from buildkit.control.builds import Builds
from buildkit.control.collection import Collection
from buildkit.control.content import ContentCalls
from buildkit.control.gateway import gateway_methods
from buildkit.control.health import Health
from buildkit.control.journal import journaled
from buildkit.control.metrics import Metrics
from buildkit.control.records import buildkit_version, policy_to_pb
from buildkit.control.reflection import Reflection
from buildkit.control.service import Control
from buildkit.control.traces import trace_methods
from buildkit.core.aio import outlast
from buildkit.core.errors import BuildkitError, FailedPrecondition
from buildkit.core.platform import format_platform, parse_platform
from buildkit.core.sockets import sweep_folders
from buildkit.core.values import dataclass
from buildkit.daemon.config import DaemonConfig, disk_size
from buildkit.daemon.environment import read_environment
from buildkit.daemon.listen import listen_all, listen_for_steps
from buildkit.daemon.notify import notify
from buildkit.daemon.policies import policies_of
from buildkit.daemon.traces import forwarding
from buildkit.engine.engine import Engine, EngineConfig, open_engine
from buildkit.executor.devices import load_devices
from buildkit.executor.network import label_of, resolve_mode
from buildkit.executor.settings import RUNTIMES, DeviceSettings, Settings
from buildkit.frontend.gateway.convert import WorkerFacts
from buildkit.rpc.server import Method, Server
from buildkit.solve.history import History, Limits
from buildkit.store.content import ContentStore

if TYPE_CHECKING:
    from buildkit.store.gc import PrunePolicy

log = getLogger(__name__)

DRAIN_SECONDS = 60.0
"""How long running builds may take to end once the daemon is told to stop."""
FLUSH_SECONDS = 2.0
"""How long calls may take to end once there is no build any more."""


@contextmanager
def daemon_lock(root: Path) -> Iterator[None]:
    """One daemon per state folder; raises `FailedPrecondition`."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = root / "buildkitd.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedPrecondition(f"could not lock {path}, another instance running?") from None
        yield
    finally:
        os.close(handle)


def engine_config(config: DaemonConfig) -> EngineConfig:
    """What the engine is told."""
    worker = config.worker
    return EngineConfig(
        root=config.root,
        snapshotter=worker.snapshotter,
        registries=config.registries,
        max_parallelism=worker.max_parallelism or None,  # a step may wait for ever; other builds must not
        platforms=tuple(parse_platform(text) for text in worker.platforms),
        devices=config.devices or DeviceSettings(()),
        entitlements=config.entitlements | ({"device"} if config.devices else frozenset()),
        labels=worker.labels,
        executor=Settings(
            network=worker.network,
            dns=config.dns,
            cgroup_parent=worker.cgroup_parent,
            apparmor_profile=worker.apparmor_profile,
            runtimes=(worker.binary,) if worker.binary else RUNTIMES,
            trace_socket=config.trace_socket if config.traces is not None else "",
        ),
        without_frontends=config.disabled_frontends,
        environment=read_environment(config.environment) if config.environment is not None else {},
    )


def worker_facts(engine: Engine, network: str, policies: tuple[PrunePolicy, ...]) -> WorkerFacts:
    """What clients are told of the engine's worker. Asks the kernel which platforms run here."""
    worker = engine.builder.worker
    prefix, profile = "org.mobyproject.buildkit.worker.", engine.config.executor.apparmor_profile
    labels = {
        f"{prefix}executor": "oci",
        f"{prefix}snapshotter": engine.store.snapshotter_name,
        f"{prefix}hostname": socket.gethostname() or "unknown",
        f"{prefix}network": network,
        f"{prefix}oci.process-mode": "sandbox",
        f"{prefix}selinux.enabled": "false",
        **({f"{prefix}apparmor.profile": profile} if profile else {}),
        **worker.labels,
    }
    platforms = worker.platforms.all()
    gc = tuple(policy_to_pb(policy) for policy in policies)
    return WorkerFacts(worker.id, labels, platforms, gc, buildkit_version(), worker.devices)


@dataclass(frozen=True, slots=True)
class Services:
    """An open engine's services: the server of their methods, and what they serve."""

    server: Server
    builds: Builds
    history: History
    metrics: Metrics

    async def drain(self) -> None:
        """Let running builds end, within `DRAIN_SECONDS`; then end every call."""
        self.history.close()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self.builds.stop()
        except TimeoutError:
            log.warning("builds did not end within %d seconds and are cancelled", DRAIN_SECONDS)
            self.server.cancel()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self.server.drain()
        except TimeoutError:
            self.server.cancel()
            await self.server.drain()


@asynccontextmanager
async def open_services(config: DaemonConfig) -> AsyncIterator[Services]:
    """The engine and everything that it can be asked over the wire."""
    network = label_of(resolve_mode(config.worker.network))
    policies = policies_of(config.worker.gc, disk_size(config.root))

    def waiting(holder: str) -> None:
        log.info("waiting for %s, which uses %s", holder, config.root)

    async with open_engine(engine_config(config), waiting=waiting) as engine:
        builds = Builds()
        collection = Collection(engine.store, policies, engine.builder.solver.forget_lost)
        limits = Limits(config.history.max_age, config.history.max_entries)
        history = History(engine.db, ContentStore(config.root / "history"), limits)
        facts = cache(lambda: worker_facts(engine, network, policies))
        metrics = Metrics()
        attended = Attended()
        control = Control(engine, builds, history, facts, collection, metrics, attended)
        content = ContentCalls((engine.store.content, history.content))
        collecting = asyncio.create_task(history.collect_regularly())
        getting_ready = asyncio.create_task(_get_ready(engine))
        try:
            _warn_of_devices(engine.config.devices)
            async with _collector(config) as take:
                methods = {**control.methods(), **gateway_methods(builds), **content.methods(), **attended.methods()}
                methods |= trace_methods(take)
                yield Services(Server(journaled(_all_methods(methods))), builds, history, metrics)
        finally:
            collecting.cancel()
            await outlast(getting_ready)
            history.close()
            await collection.close()


async def _get_ready(engine: Engine) -> None:
    """What the first build would have to wait for; meanwhile the daemon serves."""
    try:
        await asyncio.to_thread(sweep_folders)
        await engine.prepare()
    except (BuildkitError, OSError) as error:
        log.warning("steps that run processes will fail: %s", error)


def _warn_of_devices(settings: DeviceSettings) -> None:
    """Files that say nothing because something is wrong with them are told to whoever reads the log."""
    for path, complaint in load_devices(settings).broken.items():
        log.warning("CDI setup error %s: %s", path, complaint)


@asynccontextmanager
async def _collector(config: DaemonConfig) -> AsyncIterator[Callable[[bytes], None] | None]:
    """What takes spans, if anybody wants them; steps reach it through a socket that serves nothing else."""
    if config.traces is None:
        yield None
        return
    async with forwarding(config.traces, flush_seconds=FLUSH_SECONDS) as forwarder:
        server = Server(trace_methods(forwarder.take))
        listener = await listen_for_steps(Path(config.trace_socket), server)
        try:
            yield forwarder.take
        finally:
            listener.close()
            server.cancel()


def _all_methods(methods: dict[str, Method]) -> dict[str, Method]:
    services = {*(path.split("/")[1] for path in methods), health.SERVICE, *reflection.SERVICES}
    names = sorted(services)
    return methods | Health(names).methods() | Reflection(names).methods()


async def run(config: DaemonConfig, environ: MutableMapping[str, str]) -> None:
    """Serve until a signal says stop; then finish what runs, or cancel it at the second signal."""
    with daemon_lock(config.root):
        async with AsyncExitStack() as stack:
            services = await stack.enter_async_context(open_services(config))
            listeners = await listen_all(config, services.server, environ)
            if config.debug_address:
                from buildkit.daemon.debug import serving

                stack.enter_context(serving(config.debug_address, services.metrics.text))
            stop = _stop_signals(services.server)
            for listener in listeners:
                log.info("running server on %s", listener.shown)
            notify("READY=1", environ)
            try:
                await stop.wait()
                log.info("stopping server")
                notify("STOPPING=1", environ)
            finally:
                for listener in listeners:
                    listener.close()
            await services.drain()


def _stop_signals(server: Server) -> asyncio.Event:
    """Set by the first signal; the second one cancels every call."""
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set():
            server.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    return stop


def describe(facts: WorkerFacts) -> str:
    """One line of the log about a worker."""
    platforms = " ".join(format_platform(platform) for platform in facts.platforms)
    return f'found worker "{facts.id}", labels={facts.labels}, platforms=[{platforms}]'
