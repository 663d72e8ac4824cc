"""One run of an exec step: mounts, container, results."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from buildkit.api import ops as pb
from buildkit.core.errors import BuildkitError, ExitError, InvalidInput, SolveDetail
from buildkit.core.goquote import quote
from buildkit.core.platform import DEFAULT_PATH, Platform, format_platform
from buildkit.executor.executor import Attachment, Container, Failed, Process, Ulimit, Usage
from buildkit.ops.clip import Clip
from buildkit.ops.limits import merged_limits
from buildkit.ops.load import Result
from buildkit.ops.mounts import CacheKey, Preparation, Prepared, find_secret
from buildkit.solver.graph import Step
from buildkit.store.draft import Draft
from buildkit.store.refs import Ref
from buildkit.worker.worker import Worker

if TYPE_CHECKING:
    from buildkit.executor.cdi import Edits

_EMULATOR = "/dev/.buildkit_qemu_emulator"
_NETWORKS = {pb.UNSET: "", pb.HOST: "host", pb.NONE: "none"}


class ExecRun:
    """A process as a step, once."""

    def __init__(
        self,
        op: pb.Op,
        platform: Platform,
        forget: set[CacheKey] | None,
        worker: Worker,
        step: Step,
    ) -> None:
        self._whole = op
        self._op = op.exec
        self._platform = platform
        self._forget = forget
        self._worker = worker
        self._step = step

    async def results(self, inputs: Sequence[Result]) -> Sequence[Result]:
        """Run it; gives the trees of those mounts that have an output."""
        step = self._step
        async with self._worker.leases.of(step) as lease, AsyncExitStack() as scope:
            prepared = await Preparation(self._op, self._worker, lease, step, scope).run(inputs, self._forget)
            clip = Clip(step.progress.log)
            try:
                container = await self._container(prepared)
                usage = await self._worker.executor.run(container, clip.write)
            except BuildkitError as error:
                clip.flush()
                words = quote(" ".join(self._op.meta.args))
                error.prefixed(f"process {words} did not complete successfully: ")
                if isinstance(error, Failed):
                    self._note(error.usage)
                    error.suffixed(self._foreign_hint())
                raise await self._explained(error, inputs, prepared) from None
            self._note(usage)
            results = [await _ref_of(prepared.results[number]) for number in sorted(prepared.results)]
            for ref in results:
                step.hold(ref)
            return results

    def _note(self, usage: Usage) -> None:
        self._step.note(usage=_usage_facts(usage), exit_code=usage.exit_code)

    async def _container(self, prepared: Prepared) -> Container:
        meta = self._op.meta
        args = tuple(meta.args)
        attachments = list(prepared.attachments)
        emulator = self._worker.platforms.emulator(self._platform)
        if emulator is not None:
            args = (_EMULATOR, *args)
            attachments.append(Attachment(_EMULATOR, emulator, readonly=True))
        process = Process(
            args,
            (*_environment(self._op), *await self._secret_variables()),
            meta.cwd or "/",
            meta.user,
            meta.hostname,
            _network(self._op),
            self._op.security == pb.INSECURE,
            tuple(Ulimit(limit.Name, limit.Soft, limit.Hard) for limit in meta.ulimit),
            merged_limits(self._step.limits()),
            tuple((host.Host, host.IP) for host in meta.extraHosts),
            meta.cgroupParent,
            tuple(meta.validExitCodes),
            remove_stubs_recursive=meta.removeMountStubsRecursive,
            trace_parent=self._trace_parent(),
            devices=self._devices(),
        )
        return Container(prepared.root, process, tuple(attachments), prepared.readonly_root)

    def _trace_parent(self) -> str:
        if not self._worker.trace_parents:
            return ""
        from buildkit.worker.traces import parent_of

        return parent_of(self._worker.trace_parents, self._step)

    def _devices(self) -> Edits | None:
        """What the step's devices change, by what the machine says of them now."""
        if not self._op.cdiDevices:
            return None
        from buildkit.executor.devices import load_devices

        devices = load_devices(self._worker.devices)
        try:
            names = devices.resolve((device.name, device.optional) for device in self._op.cdiDevices)
        except BuildkitError as error:
            raise error.prefixed("CDI device injection failed: ") from None
        return devices.edits_of(names) if names else None

    def _foreign_hint(self) -> str:
        """What may be wrong with a step whose platform neither this machine nor an emulator runs; else nothing."""
        platforms, wanted = self._worker.platforms, self._platform
        if platforms.runs(wanted) or platforms.emulator(wanted) is not None:
            return ""
        name = format_platform(wanted)
        return f" ({name} does not run here: no emulator for it is installed; qemu-user-static registers one)"

    async def _secret_variables(self) -> list[str]:
        variables: list[str] = []
        for wanted in self._op.secretenv:
            if not wanted.ID:
                raise InvalidInput(f"secret ID missing for {quote(wanted.name)} environment variable")
            content = await find_secret(self._worker, self._step, wanted.ID, optional=wanted.optional)
            variables.append(f"{wanted.name}={(content or b'').decode(errors='surrogateescape')}")
        return variables

    async def _explained(self, error: BuildkitError, inputs: Sequence[Result], prepared: Prepared) -> BuildkitError:
        """With the trees as they are now, for whoever wants to look into them."""
        if not isinstance(error, ExitError):
            return error
        mounted: list[str] = []
        given: list[str] = []
        for number, mount in enumerate(self._op.mounts):
            ref = inputs[mount.input] if 0 <= mount.input < len(inputs) else None
            given.append(ref.id if ref is not None else "")
            draft = prepared.drafts.get(number)
            if draft is not None:
                ref = await draft.commit(fleeting=True)
                self._step.hold(ref)
            mounted.append(ref.id if ref is not None else "")
        return error.detailed(SolveDetail(tuple(given), tuple(mounted), self._whole.SerializeToString()))


async def _ref_of(result: Draft | Ref) -> Ref:
    return result if isinstance(result, Ref) else await result.commit()


def _usage_facts(usage: Usage) -> dict[str, object]:
    """For the step's record: seconds and bytes."""
    facts: dict[str, object] = {"user": usage.user_time, "system": usage.system_time, "wall": usage.wall_time}
    for name in ("memory_peak", "received", "sent"):
        value = getattr(usage, name)
        if value is not None:
            facts[name] = value
    if usage.samples:
        facts["samples"] = list(usage.samples)
    return facts


def _environment(op: pb.ExecOp) -> list[str]:
    env = list(op.meta.env)
    if op.meta.HasField("proxy_env"):
        proxies = op.meta.proxy_env
        for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"):
            value = getattr(proxies, name)
            if value:
                env += [f"{name.upper()}={value}", f"{name}={value}"]
    if not any(entry.startswith("PATH=") for entry in env):
        env.append("PATH=" + DEFAULT_PATH)
    return env


def _network(op: pb.ExecOp) -> str:
    if op.network not in _NETWORKS:
        raise InvalidInput(f"unknown network mode {op.network}")
    return _NETWORKS[op.network]
